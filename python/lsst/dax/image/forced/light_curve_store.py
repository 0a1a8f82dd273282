"""A folder of fluxes that grows image by image."""

from __future__ import annotations

__all__ = ("LightCurveStore",)

import errno
import fcntl
import importlib
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InputDataError, OutputError, RequestError
from .schema import Column

type Columns = dict[str, NDArray[Any]]

_REQUEST_FILE = "request.json"
_LOCK_FILE = ".lock"
_PART = "part-*.parquet"
_MAX_IMAGES = 64
_MAX_ROWS = 500_000
_MAX_SECONDS = 20.0

# File systems without locks say so; runs are then not kept apart.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


class LightCurveStore:
    """A folder of Parquet files to which the fluxes of images are added.

    A file holds all rows of some images, and gets its name when it is
    complete: a run that is killed loses the images of one file at most, and
    the next run on the folder goes on with those that are missing.  It is a
    context manager that writes what it holds when it is left.

    Parameters
    ----------
    folder
        Local folder; made if it does not exist.
    columns
        Columns of the fluxes.
    request
        What the fluxes are of, in words; a folder holds those of one request.

    Raises
    ------
    RequestError
        Raised if the folder is not local, or pyarrow is not installed.
    OutputError
        Raised if the folder cannot be used, another run writes to it, or it
        holds fluxes of another request.
    InputDataError
        Raised if a file in the folder cannot be read.
    """

    def __init__(
        self, folder: ResourcePathExpression, columns: Sequence[Column], request: Mapping[str, str]
    ) -> None:
        self._parquet = import_parquet()
        path = ResourcePath(folder, forceDirectory=True)
        if not path.isLocal:
            raise RequestError(f"Fluxes are kept in a local folder while they are measured, not in {path}.")
        self.path = Path(path.ospath)
        self._columns = tuple(columns)
        self._waiting: list[Columns] = []
        self._flushed = time.monotonic()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (self.path / _LOCK_FILE).open("w", encoding="ascii")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written to: {error}") from error
        try:
            self._take_lock()
            self._check_request(dict(request))
            for leftover in self.path.glob(".part-*"):
                leftover.unlink()  # of a run that was killed
            self._finished = self._find_finished()
        except BaseException:
            self._lock.close()
            raise

    @property
    def finished(self) -> frozenset[str]:
        """UUIDs of the images that the folder has."""
        return frozenset(self._finished)

    def add(self, dataset: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take the fluxes of one image.

        Parameters
        ----------
        dataset
            UUID of the image, as its rows say it.
        columns
            Plain arrays by column.

        Raises
        ------
        RequestError
            Raised if the folder has the image already.
        OutputError
            Raised if a file cannot be written.
        """
        if dataset in self._finished:
            raise RequestError(f"{self.path} has the fluxes of image {dataset} already.")
        self._finished.add(dataset)
        self._waiting.append(dict(columns))
        n_rows = sum(len(part["id"]) for part in self._waiting)
        is_late = time.monotonic() - self._flushed > _MAX_SECONDS
        if len(self._waiting) >= _MAX_IMAGES or n_rows >= _MAX_ROWS or is_late:
            self.flush()

    def flush(self) -> None:
        """Write what was taken since the last file.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        if self._waiting:
            values = join_columns(self._columns, self._waiting)
            name = f"part-{uuid.uuid4().hex}.parquet"
            staged = self.path / f".{name}"
            try:
                self._parquet.write_table(_to_arrow(values), staged)
                staged.replace(self.path / name)
            except OSError as error:
                staged.unlink(missing_ok=True)
                raise OutputError(f"Fluxes cannot be written to {self.path}: {error}") from error
            self._waiting = []
        self._flushed = time.monotonic()

    def read(self) -> Columns:
        """Read all fluxes, written or not.

        Returns
        -------
        columns
            Plain arrays by column, in no order.

        Raises
        ------
        InputDataError
            Raised if a file cannot be read.
        """
        names = [column.name for column in self._columns]
        parts = [self._read_part(path, names) for path in sorted(self.path.glob(_PART))]
        return join_columns(self._columns, [*parts, *self._waiting])

    def close(self) -> None:
        """Write what is left and let other runs use the folder.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        try:
            self.flush()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self) -> None:
        """Keep other runs off the folder."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another run writes to {self.path}.") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OutputError(f"{self.path} cannot be locked: {error}") from error

    def _check_request(self, request: dict[str, str]) -> None:
        """Refuse a folder with fluxes of another request; say what a new one is of."""
        path = self.path / _REQUEST_FILE
        wanted = request | {"columns": " ".join(column.name for column in self._columns)}
        try:
            if not path.exists():
                staged = path.with_name(f".part-{_REQUEST_FILE}")
                staged.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
                staged.replace(path)
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} cannot be used: {error}") from error
        if found != wanted:
            different = sorted(name for name in wanted if found.get(name) != wanted[name])
            raise OutputError(
                f"{self.path} holds fluxes of another request: {', '.join(different)} differ; "
                f"it has {[found.get(name) for name in different]}, asked are "
                f"{[wanted[name] for name in different]}."
            )

    def _find_finished(self) -> set[str]:
        """Return the images of all files."""
        found: set[str] = set()
        for path in self.path.glob(_PART):
            found.update(np.unique(self._read_part(path, ["dataset"])["dataset"]).tolist())
        return found

    def _read_part(self, path: Path, names: Sequence[str]) -> Columns:
        """Read columns of one file."""
        try:
            table = self._parquet.read_table(path, columns=list(names))
            columns = {name: table.column(name) for name in names}
        except (OSError, ValueError, KeyError) as error:
            raise InputDataError(f"{path} is no file of fluxes: {error}") from error
        return {name: _to_numpy(column) for name, column in columns.items()}


def join_columns(columns: Sequence[Column], parts: Iterable[Mapping[str, NDArray[Any]]]) -> Columns:
    """Put the rows of several images one after the other.

    Parameters
    ----------
    columns
        Columns.
    parts
        Plain arrays by column.

    Returns
    -------
    values
        Plain arrays by column.
    """
    known = list(parts)
    values: Columns = {}
    for column in columns:
        empty = np.empty(0, dtype=column.dtype)
        values[column.name] = np.concatenate([empty, *(part[column.name] for part in known)])
    return values


def import_parquet() -> ModuleType:
    """Return the module that reads and writes Parquet files.

    Returns
    -------
    module
        ``pyarrow.parquet``.

    Raises
    ------
    RequestError
        Raised if pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise RequestError(f"Parquet files need pyarrow, which is not installed: {error}") from error


def _to_arrow(values: Mapping[str, NDArray[Any]]) -> Any:
    """Return columns as an arrow table; names of images occur many times."""
    pyarrow: Any = importlib.import_module("pyarrow")
    arrays = {}
    for name, array in values.items():
        column = pyarrow.array(array)
        arrays[name] = column.dictionary_encode() if array.dtype.kind == "U" else column
    return pyarrow.table(arrays)


def _to_numpy(column: Any) -> NDArray[Any]:
    """Return an arrow column as an array; texts as numpy has them."""
    pyarrow: Any = importlib.import_module("pyarrow")
    if pyarrow.types.is_dictionary(column.type) or pyarrow.types.is_string(column.type):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    array: NDArray[Any] = column.to_numpy()
    return array
