"""A coadd of real exposures of DECam, from images in memory."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.io.fits
import numpy as np
from astropy.table import Table

from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage

from ..coadds import Coadd, InputKey, Recipe, Warp, make_coadd, warp_image
from ..container import read_plain_image
from ..errors import InputDataError
from ..geometry import TargetGrid
from ..plotting import plot_coadd
from ..psfs import PolynomialPsfTables, make_psf_evaluator, make_psfex_tables
from ..repository import fetch_dataset, find_datasets
from . import decam
from .chapters import Step, show_code
from .decam_repository import PIXELS, RUN
from .output import OutputFolder

TITLE = "DECam: a coadd without artifacts"
"""Heading of the chapter."""

TEXT = (
    "The four z exposures again, with the PSFEx models of the survey: a camera of which the library knows "
    "nothing, so that its images are brought to one grid and combined in memory."
)
"""What the data are."""

DATA = decam.DATA
"""The exposures, relative to the folder of real data."""

_REFERENCE = "reference_independent/swarp/coadd_z_swarp.fits.gz"
_NANOMAGGY_IN_NJY = 3630.78
_RECIPE = Recipe(name="decam_z")
# Corner of the only cosmic ray that no flag tells of, on the grid of the comparison.
_RAY = np.s_[46:53, 231:240]


def read_psf(path: Path, bbox: Box) -> PolynomialPsfTables:
    """Read a PSFEx model, whose positions count from 1."""
    with astropy.io.fits.open(path) as hdus:
        header, row = hdus[1].header, hdus[1].data[0]
        return make_psfex_tables(
            np.asarray(row["PSF_MASK"], np.float64),
            degree=int(header["POLDEG1"]),
            origin=(header["POLZERO1"] - 1.0, header["POLZERO2"] - 1.0),
            scale=(header["POLSCAL1"], header["POLSCAL2"]),
            step_px=header["PSF_SAMP"],
            bounds=bbox.padded(20),
        )


def warp_all(butler: Butler, data: Path, grid: TargetGrid) -> list[Warp]:
    """Bring the exposures to the pixels of a grid, in the order of their numbers."""
    warps = []
    for ref in find_datasets(butler, PIXELS, bands=["z"]):
        image: MaskedImage = fetch_dataset(butler, ref)
        visit, detector = int(ref.dataId["visit"]), int(ref.dataId["detector"])
        psf = read_psf(_find_psf_file(data, visit), image.bbox)
        warps.append(
            warp_image(
                image,
                grid,
                key=InputKey("DECam", visit, detector, ref.id),
                weight=1.0 / float(np.median(image.variance.array)),
                psf=make_psf_evaluator(psf),
            )
        )
    return sorted(warps, key=lambda warp: warp.key)


def combine(warps: list[Warp], grid: TargetGrid) -> Coadd:
    """Average them without what differs from the others in few of them."""
    return make_coadd(warps, grid.sky_projection, recipe=_RECIPE, bbox=grid.bbox, bands=["z"] * len(warps))


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Coadd exposures of the repository that an earlier chapter has made.

    Parameters
    ----------
    folder
        Where the results go.
    data
        The brick of the Legacy Survey, with a mean by SWarp to compare with.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    InputDataError
        Raised if that mean or a PSF model is missing or unusable.
    OutputError
        Raised if a file cannot be written.
    """
    swarp = read_plain_image(data / _REFERENCE)
    if swarp.sky_projection is None:
        raise InputDataError(f"{data / _REFERENCE} has no sky projection.")
    grid = TargetGrid(swarp.sky_projection, swarp.bbox)
    padded = TargetGrid(grid.sky_projection, grid.bbox.padded(_RECIPE.cells.padding_px))
    with Butler.from_config(str(folder.repository("decam")), collections=RUN, writeable=False) as butler:
        coadd = combine(warp_all(butler, data, padded), grid)
    picture = folder.save_figure(
        plot_coadd(coadd),
        "decam_coadd",
        caption="The coadd, the number of exposures behind each pixel, and the PSF from four PSFEx models.",
        alt="Grey-scale image of a galaxy and stars, a map of 1 to 4 exposures, a PSF and a table.",
    )
    peaks = [
        float(np.nanmax(image[_RAY])) for image in (swarp.array * _NANOMAGGY_IN_NJY, coadd.image.image.array)
    ]
    step = Step(
        "A cosmic ray without a flag",
        "The survey's flags miss one cosmic ray: in the mean that SWarp has made it is as bright as "
        f"{peaks[0]:.0f} nJy per pixel. Comparison of the exposures finds it, and {peaks[1]:.0f} nJy are "
        "left as the brightest pixel there.",
        show_code(read_psf, warp_all, combine),
        (picture,),
        (folder.save_fits(coadd.write, "decam_coadd/z"),),
    )
    return (step,)


def _find_psf_file(data: Path, visit: int) -> Path:
    """Return the PSFEx model of an exposure."""
    table = Table.read(data / "survey-ccds-1.fits.gz")
    row = table[table["expnum"] == visit][0]
    name = Path(str(row["image_filename"]).strip())
    detector = str(row["ccdname"]).strip()
    stem = name.name.removesuffix(f".{detector}.fits")
    path = data / "calib" / name.parent / stem / f"{stem}-{detector}-psfex.fits"
    if not path.is_file():
        raise InputDataError(f"The PSF model {path} of the exposure {visit} is missing.")
    return path
