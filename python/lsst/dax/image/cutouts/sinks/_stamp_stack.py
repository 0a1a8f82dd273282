"""A sink that writes arrays of all stamps."""

from __future__ import annotations

__all__ = ("StampStack",)

import os
from pathlib import Path
from typing import override

from astropy.table import Table

from ._pixel_stack import PixelStack
from ._stacked import StackedSink, import_package
from ._target_log import TARGETS_FILE

_ZARR = ".zarr"
_PURPOSE = "A Zarr stack"
# Chunks of some megabytes are read at once, and are few for a store of objects.
_CHUNK_BYTES = 4 << 20


class StampStack(StackedSink):
    """Writes arrays ``image``, ``mask`` and ``variance`` of shape ``(n, ny, nx)``.

    If a stamp has a PSF, there is an array ``psf`` too, with NaN for stamps
    without one.
    The arrays hold the stamps that have pixels; the column ``row`` of the
    table of targets says which is where, and is -1 for targets without pixels.
    All stamps have one size and one unit per array.  Images are floating point.
    A mask is one integer per pixel, whose bits mean the same in all stamps; the
    plane ``NO_DATA`` is always among them.  Further components of a stamp are not
    written.

    A path that ends in ``.zarr`` becomes a Zarr group (format 3) of the arrays
    and of a group ``targets`` with one array per column; units and mask planes
    are its attributes.  Any other path becomes a folder of ``image.npy`` and so
    on, ``targets.ecsv``, and ``layout.json`` with units and mask planes.  If no
    stamp has pixels, there are targets only.

    Parameters
    ----------
    path
        Local folder to make.
    overwrite
        Whether an output of that name may be replaced.

    Raises
    ------
    RequestError
        Raised if the package ``zarr`` is needed and not installed.
    OutputError
        Raised if the output exists and may not be replaced, if its folder
        cannot be made, or if another run writes to it.
    InputDataError
        Raised if arrays of an interrupted run are shorter than they were.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        path = Path(path)
        if path.suffix == _ZARR:
            import_package("zarr", _PURPOSE)
        super().__init__(path, overwrite=overwrite)

    @override
    def _complete(self) -> None:
        self._stack.finish()
        if self.path.suffix == _ZARR:
            made = self._staging / "stack.zarr"
            _write_zarr(made, self._stack, self._log.table())
        else:
            made = self._stack.folder
            self._log.save(made / TARGETS_FILE)
        self._publish(made)


def _write_zarr(path: Path, stack: PixelStack, table: Table) -> None:
    """Write arrays and targets as a Zarr group; a group of that name is replaced."""
    zarr = import_package("zarr", _PURPOSE)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    if stack.layout is not None:
        group.attrs.update(stack.layout.describe())
        for name in stack.layout.dtypes:
            pixels = stack.load(name)
            per_chunk = max(1, _CHUNK_BYTES // pixels[:1].nbytes)
            array = group.create_array(
                name,
                shape=pixels.shape,
                chunks=(min(per_chunk, len(pixels)), *pixels.shape[1:]),
                dtype=pixels.dtype,
                dimension_names=("stamp", "y", "x"),
            )
            for start in range(0, len(pixels), per_chunk):
                array[start : start + per_chunk] = pixels[start : start + per_chunk]
    targets = group.create_group("targets")
    for column in table.itercols():
        values = column.data.astype(object) if column.dtype.kind == "U" else column.data
        array = targets.create_array(
            column.name,
            shape=values.shape,
            chunks=(max(1, len(values)),),
            dtype=str if column.dtype.kind == "U" else values.dtype,
            dimension_names=("target",),
        )
        array[:] = values
        array.attrs["description"] = column.description
        if column.unit is not None:
            array.attrs["unit"] = column.unit.to_string()
