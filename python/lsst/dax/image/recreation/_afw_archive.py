"""Objects that the survey's first pipelines persisted in the tables of a FITS file.

The table ``ARCHIVE_INDEX`` says for each object, by its number, in which of the
tables that follow it lies, in which rows, and of which class it is.
"""

from __future__ import annotations

__all__ = ("BOX_COLUMNS", "Archive", "ArchiveObject", "make_box", "open_archive_of")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Row, Table

from lsst.images import Box

from ..container.fits_hdus import FitsHdu
from ..errors import InputDataError

INDEX_NAME = "ARCHIVE_INDEX"
_INDEX_COLUMNS = ("id", "cat.archive", "row0", "nrows", "name")
_MAX_OBJECTS = 10**6


@dataclass(frozen=True, eq=False)
class ArchiveObject:
    """Rows of the table that hold one object."""

    label: str
    """What messages call it."""
    kind: str
    """Its class, without module."""
    table: Table
    """Its rows."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of its rows.

        Raises
        ------
        InputDataError
            Raised if there is none.
        """
        if name not in self.table.colnames:
            raise InputDataError(f"{self.label} has no column {name!r}; it has {self.table.colnames}.")
        return np.asarray(self.table[name])

    def value(self, name: str) -> Any:
        """Return a column of its only row.

        Raises
        ------
        InputDataError
            Raised if there is no such column, or not one row.
        """
        values = self.column(name)
        if len(values) != 1:
            raise InputDataError(f"{self.label} has {len(values)} rows instead of one.")
        return values[0]

    def box(self) -> Box:
        """Return the pixels from ``bbox_min`` to ``bbox_max``, both inclusive.

        Raises
        ------
        InputDataError
            Raised if they are not there, or the box is empty.
        """
        return make_box(self.label, {name: int(self.value(name)) for name in BOX_COLUMNS})


BOX_COLUMNS = ("bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y")
"""Columns of a box; its maximum is its last pixel."""


def make_box(label: str, corners: Mapping[str, int]) -> Box:
    """Return the box of the `BOX_COLUMNS`.

    Raises
    ------
    InputDataError
        Raised if it is empty.
    """
    x0, y0, x1, y1 = (corners[name] for name in BOX_COLUMNS)
    if x1 < x0 or y1 < y0:
        raise InputDataError(f"{label} has an empty box from ({x0}, {y0}) to ({x1}, {y1}).")
    return Box.factory[y0 : y1 + 1, x0 : x1 + 1]


@dataclass(frozen=True, eq=False)
class Archive:
    """The objects of a file."""

    source: str
    """File, for messages."""
    hdus: Mapping[int, FitsHdu]
    """Tables by their number in the archive; the index is 0."""

    def find(self, number: int) -> ArchiveObject:
        """Return an object.

        Parameters
        ----------
        number
            Its number, as other tables of the file have it; not 0, which is no object.

        Raises
        ------
        InputDataError
            Raised if there is no such object, or its rows are not there.
        """
        rows = self._index[self._index["id"] == number]
        if len(rows) != 1:
            raise InputDataError(f"{self.source} has {len(rows)} objects of number {number} in its archive.")
        return self._load(rows[0])

    def kind(self, number: int) -> str:
        """Return the class of an object, which need not be readable.

        Raises
        ------
        InputDataError
            Raised if there is no such object.
        """
        rows = self._index[self._index["id"] == number]
        if not len(rows):
            raise InputDataError(f"{self.source} has no object of number {number} in its archive.")
        return _text(rows["name"][0])

    def _load(self, row: Row) -> ArchiveObject:
        kind, number, start, count = (_text(row["name"]), *(int(row[n]) for n in ("id", "row0", "nrows")))
        label = f"{kind} {number} of {self.source}"
        table = self._table(int(row["cat.archive"]), label)
        if start < 0 or count < 0 or start + count > len(table):
            raise InputDataError(f"{label} has the rows {start} to {start + count} of {len(table)}.")
        return ArchiveObject(label, kind, table[start : start + count])

    @cached_property
    def _index(self) -> Table:
        table = self.hdus[0].table()
        if missing := [name for name in _INDEX_COLUMNS if name not in table.colnames]:
            raise InputDataError(f"The archive's index of {self.source} has no columns {missing}.")
        if len(table) > _MAX_OBJECTS:
            raise InputDataError(f"The archive of {self.source} has {len(table)} objects.")
        return table

    @cached_property
    def _tables(self) -> dict[int, Table]:
        return {}

    def _table(self, number: int, label: str) -> Table:
        if number not in self._tables:
            if number == 0 or number not in self.hdus:
                raise InputDataError(f"{label} is in table {number}; there are {sorted(self.hdus)[1:]}.")
            self._tables[number] = self.hdus[number].table()
        return self._tables[number]


def open_archive_of(hdus: Sequence[FitsHdu], source: str) -> Archive:
    """Return the archive in the HDUs of a file.

    Raises
    ------
    InputDataError
        Raised if there is none.
    """
    tables = [hdu for hdu in hdus if hdu.is_table]
    for place, hdu in enumerate(tables):
        if hdu.name == INDEX_NAME:
            # The tables are numbered in the order of the file.
            return Archive(source, dict(enumerate(tables[place:])))
    raise InputDataError(f"{source} has no table {INDEX_NAME!r}; it has {[hdu.name for hdu in hdus]}.")


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip("\0 ")
