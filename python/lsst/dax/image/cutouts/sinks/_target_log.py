"""The table of targets on disk, which grows row by row and outlives a killed run."""

from __future__ import annotations

__all__ = ("TARGETS_FILE", "TargetLog")

import errno
import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from astropy.table import Table

from ...errors import InputDataError, OutputError
from ...flags import FLAGS
from .._stamps import Stamp
from ._closing import close_unflushed
from ._sink import StampKey, stamp_key
from ._targets import (
    TARGET_COLUMNS,
    TargetColumn,
    Value,
    format_header,
    format_row,
    make_row,
    make_table,
    parse_rows,
)

TARGETS_FILE = "targets.ecsv"
"""Name of the table in each folder that has one."""

# File systems without locks say so; runs are then not kept apart.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


class TargetLog:
    """An ECSV table that rows are appended to.

    A row is what commits a stamp: a sink writes the pixels first and the row
    last.  If a target is recorded again, its last row counts.

    Parameters
    ----------
    path
        File of the table; made if it does not exist, else continued.  Half a
        row at its end, of a run that was killed, is removed.
    extra
        Columns of the sink, after those that all sinks have.

    Raises
    ------
    OutputError
        Raised if another run writes to the file, or if it is not such a table.
    """

    def __init__(self, path: Path, extra: Sequence[TargetColumn]) -> None:
        self.path = path
        self._columns = (*TARGET_COLUMNS, *extra)
        self._names = [column.name for column in self._columns]
        self._finished: set[StampKey] = set()
        self._file = path.open("a+", encoding="ascii", newline="")
        try:
            self._lock()
            self._recover()
        except BaseException:
            self._file.close()
            raise

    @property
    def finished(self) -> frozenset[StampKey]:
        """Stamps with a row, without those that could not be read."""
        return frozenset(self._finished)

    def __contains__(self, key: StampKey) -> bool:
        return key in self._finished

    def append(self, stamp: Stamp, extra: Mapping[str, Value]) -> None:
        """Record a stamp.

        Parameters
        ----------
        stamp
            Stamp, with pixels or without.
        extra
            Values of the sink's own columns.
        """
        row = make_row(stamp) | dict(extra)
        self._file.write(format_row([row[name] for name in self._names]))
        self._file.flush()
        self._note(stamp_key(stamp), stamp.flags)

    def forget(self, keys: Iterable[StampKey]) -> None:
        """Take stamps as not finished, though they have a row.

        Parameters
        ----------
        keys
            Their keys.
        """
        self._finished.difference_update(keys)

    def rows(self) -> list[dict[str, Value]]:
        """Return the rows that count, in the order in which targets were first recorded.

        Returns
        -------
        rows
            Values by column.
        """
        latest: dict[tuple[Value, Value], dict[str, Value]] = {}
        for values in self._read():
            row = dict(zip(self._names, values, strict=True))
            latest[row["dataset"], row["index"]] = row
        return list(latest.values())

    def table(self, *, without: Sequence[str] = ()) -> Table:
        """Return the rows that count as a table.

        Parameters
        ----------
        without
            Columns to leave out.

        Returns
        -------
        table
            The table.
        """
        columns = [column for column in self._columns if column.name not in without]
        return make_table(columns, [[row[column.name] for column in columns] for row in self.rows()])

    def save(self, path: Path) -> None:
        """Write the rows that count as a table of its own, in one step.

        Parameters
        ----------
        path
            File of the table; replaced if it exists.
        """
        staged = path.with_name(f".{path.name}.part")
        with staged.open("w", encoding="ascii", newline="") as file:
            file.write(format_header(self._columns))
            for row in self.rows():
                file.write(format_row([row[name] for name in self._names]))
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)

    def close(self) -> None:
        """Close the file, and let another run have it."""
        close_unflushed(self._file)

    def _lock(self) -> None:
        """Keep other runs away; the system ends the lock with the process."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another run is writing to {self.path.parent}.") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _recover(self) -> None:
        """Read what there is, or begin the table."""
        self._file.seek(0)
        text = self._file.read()
        complete = text[: text.rfind("\n") + 1]
        lines = complete.splitlines()
        names = next((line for line in lines if not line.startswith("#")), None)
        if names is None:
            # A run was killed before the header was written.
            self._file.truncate(0)
            self._file.write(format_header(self._columns))
            self._file.flush()
            return
        if names.split(",") != self._names:
            raise OutputError(
                f"{self.path} is the table of something else: its columns are {names}, and those of this "
                f"sink {','.join(self._names)}."
            )
        self._file.truncate(len(complete))
        for row in self.rows():
            self._note(StampKey(str(row["dataset"]), int(row["index"])), int(row["flags"]))

    def _read(self) -> list[tuple[Value, ...]]:
        """Read all rows."""
        text = self.path.read_text(encoding="ascii")
        start = text.index(f"\n{','.join(self._names)}\n") + 1
        start = text.index("\n", start) + 1
        try:
            return parse_rows(text[start:], self._columns)
        except ValueError as error:
            raise InputDataError(f"{self.path} has a row that is not one of its table: {error}") from error

    def _note(self, key: StampKey, flags: int) -> None:
        """Remember a stamp, unless it deserves another chance."""
        if not flags & FLAGS["READ_FAILED"].value:
            self._finished.add(key)
