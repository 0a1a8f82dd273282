"""What sinks that write files have in common."""

from __future__ import annotations

__all__ = ("FileSink", "StagedSink")

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import OutputError, RequestError
from .._stamps import Stamp
from ._sink import StampKey, stamp_key
from ._target_log import TARGETS_FILE, TargetLog
from ._targets import TargetColumn, Value


class FileSink(ABC):
    """A sink with a table of targets in a folder.

    Parameters
    ----------
    path
        Output of the sink, for messages.
    folder
        Where the sink works; made if it does not exist.
    columns
        Columns of the sink's own in the table of targets.

    Raises
    ------
    OutputError
        Raised if the folder cannot be made, if another run writes to it, or
        if it belongs to another kind of sink.
    """

    def __init__(self, path: Path, folder: Path, columns: Sequence[TargetColumn]) -> None:
        self.path = path
        self._is_open = False
        with self._errors_reported():
            folder.mkdir(parents=True, exist_ok=True)
            self._log = TargetLog(folder / TARGETS_FILE, columns)
        self._is_open = True

    def finished(self) -> frozenset[StampKey]:
        """Return the keys of the stamps that need not be added again.

        Returns
        -------
        keys
            Stamps that this or an interrupted run has added, without those
            that could not be read.
        """
        return self._log.finished

    def add(self, stamp: Stamp) -> None:
        """Take a stamp.

        Parameters
        ----------
        stamp
            Stamp, with pixels or without.

        Raises
        ------
        RequestError
            Raised if the sink has the stamp already, is closed, or cannot hold
            a stamp of this kind.
        InconsistentUnitsError
            Raised if the stamp has another unit than those before, where all
            share one.
        OutputError
            Raised if the stamp cannot be written.  The sink takes no more
            then; what it has is kept for another run.
        """
        key = stamp_key(stamp)
        if not self._is_open:
            raise RequestError(f"{self.path} is closed and does not take {key}.")
        if key in self._log:
            raise RequestError(f"{self.path} has {key} already.")
        with self._errors_reported():
            self._log.append(stamp, self._write(stamp))

    def close(self) -> None:
        """Complete the output and give it its name.

        Raises
        ------
        OutputError
            Raised if the output cannot be completed.
        """
        if self._is_open:
            try:
                with self._errors_reported():
                    self._complete()
            finally:
                self.release()

    def release(self) -> None:
        """Close all files and leave them for another run to complete."""
        self._is_open = False
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.release()

    @abstractmethod
    def _write(self, stamp: Stamp) -> Mapping[str, Value]:
        """Write the pixels of a stamp; return what the sink's columns say."""

    @abstractmethod
    def _complete(self) -> None:
        """Make the output of what was written."""

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        """Turn an error of the operating system into an `OutputError`.

        After a failure the files may end in half a stamp, which only opening
        them anew mends.
        """
        try:
            yield
        except OSError as error:
            if self._is_open:
                self.release()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.path} cannot be written: {type(error).__name__}: {error}") from error


class StagedSink(FileSink):
    """A sink that works in a hidden folder next to its output.

    Parameters
    ----------
    path
        Output, a file or a folder.
    columns
        Columns of the sink's own in the table of targets.
    overwrite
        Whether an output of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if the output exists and may not be replaced, if the folder
        cannot be made, if another run writes to it, or if it belongs to
        another kind of sink.
    """

    def __init__(self, path: Path, columns: Sequence[TargetColumn], *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._check_target(path)
        self._staging = path.with_name(f".{path.name}.part")
        super().__init__(path, self._staging, columns)

    def _publish(self, made: Path) -> None:
        """Give a finished file or folder its name, and clear up."""
        for file in [made, *made.rglob("*")] if made.is_dir() else [made]:
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        self._check_target(self.path)
        if made.is_dir() and self.path.exists():
            # A folder cannot be replaced in one step.
            self.path.replace(self._staging / "replaced")
        made.replace(self.path)
        # A network file system keeps folders of open files.
        self.release()
        shutil.rmtree(self._staging)

    def _check_target(self, path: Path) -> None:
        """Check that the output may have its name."""
        if not path.exists():
            return
        if not self._overwrite:
            raise OutputError(f"{path} exists already, and overwrite is False.")
        if path.is_dir() and not any((path / mark).exists() for mark in (TARGETS_FILE, "zarr.json")):
            raise OutputError(
                f"{path} is a folder without a {TARGETS_FILE!r} or 'zarr.json', so it is no output of "
                f"a sink and is not replaced."
            )
