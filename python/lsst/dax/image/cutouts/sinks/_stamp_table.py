"""A sink that writes a table whose cells are images."""

from __future__ import annotations

__all__ = ("StampTable",)

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, override

import astropy.io.fits
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from lsst.images import MaskSchema

from ...errors import RequestError
from ._pixel_stack import PixelStack
from ._stacked import StackedSink, import_package
from ._table_hdu import BLOCK, render_primary

_PARQUET = ".parquet"
_PURPOSE = "A Parquet table"
_FITS = ".fits"
_NAME = "STAMPS"
# Rows are put together in pieces of this size.
_PIECE_BYTES = 16 << 20
_FORMATS = {"f4": "E", "f8": "D", "i4": "J", "i8": "K"}


class StampTable(StackedSink):
    """Writes one table with a row per target and a column per array.

    The columns ``image``, ``mask`` and ``variance``, and ``psf`` if a stamp has
    one, follow those of the target and have two-dimensional cells.  Stamps have one size and one unit per
    array, as in a `StampStack`.  The WCS of a row is in the columns ``ra``,
    ``dec``, ``crpix1``, ``crpix2`` and ``cd1_1`` to ``cd2_2``, which
    `target_wcs` reads; the keywords of the FITS standard for the WCS of table
    cells (``1CRVLn`` and so on) are not written.

    A path that ends in ``.fits`` becomes a binary table ``STAMPS``, whose cells
    without pixels are NaN, and for the mask have the bit ``NO_DATA``; its
    header has the mask planes as cards ``MSKNnnnn`` (name), ``MSKMnnnn`` (bit)
    and ``MSKDnnnn`` (meaning).  A path that ends in ``.parquet`` becomes a
    Parquet file with cells of Arrow's type for tensors of fixed shape, null
    where there are no pixels; units and mask planes are JSON under the key
    ``layout`` of the schema's metadata.

    Parameters
    ----------
    path
        Local file to make.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    RequestError
        Raised if the name ends in neither, or if the package ``pyarrow`` is
        needed and not installed.
    OutputError
        Raised if the file exists and may not be replaced, if its folder cannot
        be made, or if another run writes to it.
    InputDataError
        Raised if arrays of an interrupted run are shorter than they were.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        path = Path(path)
        if path.suffix not in {_FITS, _PARQUET}:
            raise RequestError(f"Tables are {_FITS!r} or {_PARQUET!r} files, and not {path.name!r}.")
        if path.suffix == _PARQUET:
            import_package("pyarrow", _PURPOSE)
        super().__init__(path, overwrite=overwrite)

    @override
    def _complete(self) -> None:
        self._stack.finish()
        made = self._staging / f"table{self.path.suffix}"
        write = _write_fits if self.path.suffix == _FITS else _write_parquet
        write(made, self._stack, self._log.table(without=["row"]), _row_numbers(self._log.rows()))
        self._publish(made)


def _row_numbers(rows: list[dict[str, int | float | str]]) -> NDArray[np.int64]:
    """Return where in the arrays the pixels of each target are; -1 for nowhere."""
    return np.array([row["row"] for row in rows], dtype=np.int64)


def _pieces(stack: PixelStack, rows: NDArray[np.int64]) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    """Yield targets and their pixels, so many at a time as fit into memory easily."""
    layout = stack.layout
    pixels = {} if layout is None else {name: stack.load(name) for name in layout.dtypes}
    row_bytes = sum(array[:1].nbytes for array in pixels.values())
    step = max(1, _PIECE_BYTES // max(row_bytes, 1))
    for start in range(0, len(rows), step):
        targets = slice(start, min(start + step, len(rows)))
        found = rows[targets]
        piece = {}
        for name, array in pixels.items():
            assert layout is not None  # noqa: S101  # there are arrays
            piece[name] = np.full((len(found), *layout.shapes[name]), layout.blank(name), array.dtype)
            piece[name][found >= 0] = array[found[found >= 0]]
        yield targets, piece


def _write_fits(path: Path, stack: PixelStack, table: Table, rows: NDArray[np.int64]) -> None:
    """Write targets and pixels as a binary table."""
    targets = astropy.io.fits.table_to_hdu(table)
    columns = targets.columns
    layout = stack.layout
    if layout is not None:
        for name, dtype in layout.dtypes.items():
            ny, nx = layout.shapes[name]
            unit = layout.units.get(name)
            columns += astropy.io.fits.Column(
                name=name,
                format=f"{ny * nx}{_FORMATS[dtype.str[1:]]}",
                dim=f"({nx},{ny})",
                unit=None if unit is None else unit.to_string("fits"),
            )
    empty = astropy.io.fits.BinTableHDU.from_columns(columns, nrows=1, name=_NAME)
    empty.header["NAXIS2"] = len(rows)
    if layout is not None and "mask" in layout.dtypes:
        MaskSchema(layout.mask_planes, layout.dtypes["mask"]).update_header(empty.header)
    dtype = empty.data.dtype.newbyteorder(">")
    with path.open("wb") as file:
        file.write(render_primary())
        file.write(empty.header.tostring().encode("ascii"))
        for part, pixels in _pieces(stack, rows):
            piece = np.zeros(part.stop - part.start, dtype)
            for name in table.colnames:
                piece[name] = targets.data[name][part]
            for name, values in pixels.items():
                piece[name] = values
            file.write(piece.tobytes())
        file.write(b"\0" * (-file.tell() % BLOCK))


def _write_parquet(path: Path, stack: PixelStack, table: Table, rows: NDArray[np.int64]) -> None:
    """Write targets and pixels as a Parquet file, one group of rows per piece."""
    pa = import_package("pyarrow", _PURPOSE)
    parquet = import_package("pyarrow.parquet", _PURPOSE)
    layout = stack.layout
    fields = [
        pa.field(
            column.name,
            pa.string() if column.dtype.kind == "U" else pa.from_numpy_dtype(column.dtype),
            metadata={"description": column.description}
            | ({} if column.unit is None else {"unit": column.unit.to_string()}),
        )
        for column in table.itercols()
    ]
    if layout is not None:
        for name, dtype in layout.dtypes.items():
            fields.append(
                pa.field(name, pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), layout.shapes[name]))
            )
    metadata = {} if layout is None else {"layout": json.dumps(layout.describe())}
    schema = pa.schema(fields, metadata=metadata)
    with parquet.ParquetWriter(path, schema) as writer:
        for part, pixels in _pieces(stack, rows):
            arrays = [
                pa.array(table[name][part].tolist(), schema.field(name).type) for name in table.colnames
            ]
            blank = pa.array(rows[part] < 0)
            for name, values in pixels.items():
                flat = pa.array(values.reshape(-1))
                cells = pa.FixedSizeListArray.from_arrays(flat, values[0].size, mask=blank)
                arrays.append(pa.ExtensionArray.from_storage(schema.field(name).type, cells))
            writer.write_batch(pa.record_batch(arrays, schema=schema))
