"""Read a coadd that was written as a file."""

from __future__ import annotations

__all__ = ("read_coadd",)

from collections.abc import Mapping
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from lsst.images import YX, Box, Image, MaskedImage
from lsst.images.cells import CellCoadd, CellField, CellGrid, CellGridBounds, CellIJ, CellPointSpreadFunction
from lsst.images.serialization import open_archive
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InputDataError, UnsupportedProductError
from .coadd import Coadd
from .recipe import parse_recipe
from .record import RECORD_KEY, read_coadd_record

_HDUS = ("N_INPUTS", "EFFECTIVE_TIME", "REJECTED", "INPUTS", "CELLS", "RECIPE")
_OWN_COLUMNS = ("x", "y", "noise_correlation", "psf")


def read_coadd(uri: ResourcePathExpression) -> Coadd:
    """Read a whole coadd from its file.

    Parameters
    ----------
    uri
        File that `Coadd.write` wrote: a path or a URI.

    Returns
    -------
    coadd
        The coadd that was written, with the same bits, but for the
        contributions cell by cell of what is no
        `~lsst.images.cells.CellCoadd`.

    Raises
    ------
    UnsupportedProductError
        Raised if the file is no coadd of this library.
    InputDataError
        Raised if the file is missing or damaged.
    """
    path = ResourcePath(uri, forceDirectory=False)
    try:
        with path.as_local() as local:
            with astropy.io.fits.open(local.ospath, memmap=False) as hdus:
                missing = [name for name in _HDUS if name not in hdus]
                if missing:
                    raise UnsupportedProductError(
                        f"{path} has no {', '.join(missing)}: it is no coadd of this library."
                    )
                parts = _read_parts(hdus)
            with open_archive(local) as archive:
                image = archive.read()
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, UnsupportedProductError):
            raise
        raise InputDataError(f"{path} is not readable: {type(error).__name__}: {error}") from error
    if not isinstance(image, MaskedImage | CellCoadd):
        raise UnsupportedProductError(f"{path} has a {type(image).__name__}, which is no coadd.")
    return _join(image, parts)


def _read_parts(hdus: astropy.io.fits.HDUList) -> dict[str, Any]:
    """Read what follows the image."""
    parts: dict[str, Any] = {name: np.array(hdus[name].data) for name in _HDUS[:3]}
    for name in ("INPUTS", "CELLS", "RECIPE"):
        parts[name] = QTable.read(hdus[name], character_as_bytes=False)
    parts["GRID"] = dict(hdus["CELLS"].header)
    parts["NOISE"] = np.array(hdus["NOISE"].data) if "NOISE" in hdus else ()
    return parts


def _join(image: MaskedImage | CellCoadd, parts: Mapping[str, Any]) -> Coadd:
    """Return the coadd."""
    bbox = image.bbox
    cells = parts["CELLS"]
    bounds = _find_bounds(cells, parts["GRID"])
    names = [name for name in cells.colnames if name not in _OWN_COLUMNS]
    fields = {name: _make_field(bounds, cells, name) for name in ("noise_correlation", *names)}
    noise: tuple[Image, ...]
    if isinstance(image, CellCoadd):
        noise = tuple(image.noise_realizations)
    else:
        noise = tuple(_make_image(layer, bbox, u.nJy) for layer in parts["NOISE"])
    return Coadd(
        image=image,
        psf=image.psf if isinstance(image, CellCoadd) else _make_psf(bounds, cells),
        n_inputs=_make_image(parts["N_INPUTS"].astype(np.uint16), bbox),
        effective_time=_make_image(parts["EFFECTIVE_TIME"].astype(np.float32), bbox, u.s),
        rejected=_make_image(parts["REJECTED"].astype(np.float32), bbox),
        noise_correlation=fields.pop("noise_correlation"),
        noise_realizations=noise,
        aperture_corrections=fields,
        inputs=parts["INPUTS"],
        provenance=image.provenance if isinstance(image, CellCoadd) else None,
        recipe=parse_recipe(str(parts["RECIPE"]["json"][0])),
        record=read_coadd_record(image.metadata) if RECORD_KEY in image.metadata else None,
    )


def _find_bounds(cells: Table, header: Mapping[str, Any]) -> CellGridBounds:
    """Return the cells; those without a row are missing."""
    boxes = [_read_box(header, prefix) for prefix in ("GRID", "SPAN")]
    shape = YX(y=int(header["CELLH"]), x=int(header["CELLW"]))
    grid = CellGrid(bbox=boxes[0], cell_shape=shape)
    known = {grid.index_of(y=int(y), x=int(x)) for x, y in zip(cells["x"], cells["y"], strict=True)}
    first = grid.index_of(y=boxes[1].y.start, x=boxes[1].x.start)
    rows, columns = boxes[1].y.size // shape.y, boxes[1].x.size // shape.x
    every = {
        CellIJ(i=i, j=j) for i in range(first.i, first.i + rows) for j in range(first.j, first.j + columns)
    }
    return CellGridBounds(grid=grid, bbox=boxes[1], missing=frozenset(every - known))


def _read_box(header: Mapping[str, Any], prefix: str) -> Box:
    x, y, width, height = (int(header[f"{prefix}{letter}"]) for letter in "XYWH")
    return Box.factory[y : y + height, x : x + width]


def _places(bounds: CellGridBounds, cells: Table) -> list[tuple[int, int]]:
    """Return where the cells of the rows are in arrays."""
    found = [
        bounds.grid.index_of(y=int(y), x=int(x)) - bounds.subgrid_start
        for x, y in zip(cells["x"], cells["y"], strict=True)
    ]
    return [place.as_tuple() for place in found]


def _make_field(bounds: CellGridBounds, cells: Table, name: str) -> CellField:
    array = np.full(bounds.subgrid_size.as_tuple(), np.nan)
    for place, value in zip(_places(bounds, cells), cells[name], strict=True):
        array[place] = float(value)
    return CellField(bounds, array)


def _make_psf(bounds: CellGridBounds, cells: Table) -> CellPointSpreadFunction:
    pictures = np.asarray(cells["psf"], np.float64)
    array = np.full((*bounds.subgrid_size.as_tuple(), *pictures.shape[1:]), np.nan)
    for place, picture in zip(_places(bounds, cells), pictures, strict=True):
        array[place] = picture
    return CellPointSpreadFunction(array, bounds)


def _make_image(array: np.ndarray[Any, Any], bbox: Box, unit: u.UnitBase | None = None) -> Image:
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return Image(native, bbox=bbox, unit=unit)
