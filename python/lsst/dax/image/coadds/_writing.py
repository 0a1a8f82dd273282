"""Write a coadd as a file."""

from __future__ import annotations

__all__ = ("write_coadd",)

from pathlib import Path

import astropy.io.fits
import numpy as np
from astropy.table import QTable, Table
from astropy.time import Time

from lsst.images import Image
from lsst.images.cells import CellCoadd
from lsst.resources import ResourcePath, ResourcePathExpression

from ..container import Compression, placed_whole, write_fits
from ..errors import RequestError
from ..version import __version__
from .coadd import Coadd


def write_coadd(
    coadd: Coadd, uri: ResourcePathExpression, *, overwrite: bool, created: Time | None
) -> ResourcePath:
    """Write a coadd; see `Coadd.write`."""
    target = ResourcePath(uri, forceAbsolute=True, forceDirectory=False)
    if target.getExtension() != ".fits":
        raise RequestError(f"Coadds are written as '.fits' files, not as {target.basename()!r}.")
    with placed_whole(target, overwrite=overwrite) as path:
        _write(coadd, path, created)
    return target


def _write(coadd: Coadd, path: Path, created: Time | None) -> None:
    """Write a coadd to a new local file."""
    header = astropy.io.fits.Header()
    header["COADNAME"] = (coadd.recipe.name, "Name of the recipe")
    header["COADHASH"] = (coadd.recipe.fingerprint, "Fingerprint of the recipe")
    header["COADNIMG"] = (len(coadd.inputs), "Number of images, listed in extension INPUTS")
    header["COADVERS"] = (f"lsst-dax-image {__version__}", "Software that made the coadd")
    write_fits(coadd.image, str(path), header=header, compression=Compression.NONE, written=created)
    # What lsst.images has no place for follows after its own index.
    with astropy.io.fits.open(path, mode="append", memmap=False) as hdus:
        for name, image in (
            ("N_INPUTS", coadd.n_inputs),
            ("EFFECTIVE_TIME", coadd.effective_time),
            ("REJECTED", coadd.rejected),
        ):
            hdus.append(_make_plane(name, image))
        hdus.append(astropy.io.fits.table_to_hdu(_to_table(coadd.inputs)))
        hdus[-1].name = "INPUTS"
        hdus.append(_make_cells(coadd))
        hdus.append(astropy.io.fits.table_to_hdu(Table({"json": [coadd.recipe.to_json()]})))
        hdus[-1].name = "RECIPE"
        if coadd.noise_realizations and not isinstance(coadd.image, CellCoadd):
            cube = np.stack([noise.array for noise in coadd.noise_realizations])
            hdus.append(astropy.io.fits.ImageHDU(cube, name="NOISE"))


def _make_plane(name: str, image: Image) -> astropy.io.fits.ImageHDU:
    """Return the HDU of a plane; FITS has no unsigned integers of its own."""
    array = (
        np.minimum(image.array, np.iinfo(np.int16).max).astype(np.int16)
        if name == "N_INPUTS"
        else image.array
    )
    hdu = astropy.io.fits.ImageHDU(array, name=name)
    if image.unit is not None:
        hdu.header["BUNIT"] = image.unit.to_string("fits")
    hdu.header["LTV1"] = (-image.bbox.x.start, "Parent x of the first pixel, negative")
    hdu.header["LTV2"] = (-image.bbox.y.start, "Parent y of the first pixel, negative")
    return hdu


def _to_table(inputs: QTable) -> Table:
    """Return a table as FITS takes it."""
    return Table(inputs)


def _make_cells(coadd: Coadd) -> astropy.io.fits.BinTableHDU:
    """Return the table of the cells, with the grid that they are of."""
    hdu = astropy.io.fits.table_to_hdu(_tabulate_cells(coadd))
    hdu.name = "CELLS"
    bounds = coadd.psf.bounds
    for prefix, box, text in (("GRID", bounds.grid.bbox, "all cells"), ("SPAN", bounds.bbox, "these cells")):
        values = (box.x.start, box.y.start, box.x.size, box.y.size)
        for letter, value in zip("XYWH", values, strict=True):
            hdu.header[f"{prefix}{letter}"] = (value, f"Box of {text} in parent pixels")
    shape = bounds.grid.cell_shape
    hdu.header["CELLW"], hdu.header["CELLH"] = shape.x, shape.y
    return hdu


def _tabulate_cells(coadd: Coadd) -> Table:
    """Return one row per cell that has inputs."""
    bounds = coadd.psf.bounds
    cells = list(bounds.cell_indices())
    boxes = [bounds.grid.bbox_of(cell) for cell in cells]
    table = Table(
        {
            "x": np.array([box.x.start for box in boxes], np.int64),
            "y": np.array([box.y.start for box in boxes], np.int64),
            "noise_correlation": np.array(
                [coadd.noise_correlation.value_in_cell(cell) for cell in cells], float
            ),
        }
    )
    for name, field in coadd.aperture_corrections.items():
        table[name] = np.array([field.value_in_cell(cell) for cell in cells], np.float64)
    size = coadd.psf.kernel_bbox.y.size
    pictures = np.array([coadd.psf[cell].array for cell in cells], np.float64)
    table["psf"] = pictures.reshape(len(cells), size, size)
    return table
