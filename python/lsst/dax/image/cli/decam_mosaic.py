"""Real exposures of DECam on one grid."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.units as u
import numpy as np

from lsst.daf.butler import Butler
from lsst.images import Image

from ..container import read_plain_image
from ..errors import InputDataError
from ..geometry import TargetGrid
from ..mosaics import Mosaic, MosaicRules, Overlap, VarianceRule, fetch_mosaic
from ..plotting import plot_mosaic
from ..repository import find_datasets
from . import decam
from .chapters import Step, show_code
from .decam_repository import PIXELS, RUN
from .output import OutputFolder

TITLE = "DECam: four exposures as one image"
"""Heading of the chapter."""

TEXT = "The four z exposures of the same field, of three years, with their TPV projections."
"""What the data are."""

DATA = decam.DATA
"""The exposures, relative to the folder of real data."""


_REFERENCE = "reference_independent/swarp/coadd_z_swarp.fits.gz"
_NANOMAGGY = 3630.78 * u.nJy


def average(butler: Butler, grid: TargetGrid) -> Mosaic:
    """Average exposures with inverse variances, without what the data quality flags."""
    refs = find_datasets(butler, PIXELS, bands=["z"])
    flagged = ("BAD", "NO_DATA", "SATURATED", "BLEED", "COSMIC_RAY", "TRANSIENT")
    rules = MosaicRules(overlap=Overlap.COMBINE, variance=VarianceRule.INDEPENDENT, exclude_planes=flagged)
    return fetch_mosaic(butler, refs, grid, rules=rules)


def compare(mosaic: Mosaic, swarp: Image) -> float:
    """Return the usual difference from the mean that SWarp made of the files, in sigma of the noise."""
    masked = mosaic.masked_image
    difference = masked.image.array - swarp.array * _NANOMAGGY.value
    pull = np.abs(difference) / np.sqrt(masked.variance.array)
    return float(np.median(pull[np.isfinite(pull)]))


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Average exposures of the repository that an earlier chapter has made.

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
        Raised if that mean is missing or unusable.
    OutputError
        Raised if a file cannot be written.
    """
    swarp = read_plain_image(data / _REFERENCE)
    if swarp.sky_projection is None:
        raise InputDataError(f"{data / _REFERENCE} has no sky projection.")
    with Butler.from_config(str(folder.repository("decam")), collections=RUN, writeable=False) as butler:
        mosaic = average(butler, TargetGrid(swarp.sky_projection, swarp.bbox))
    picture = folder.save_figure(
        plot_mosaic(mosaic),
        "decam_mosaic",
        caption="Where all four exposures count, the noise is half of that of one.",
        alt="Grey-scale image of a galaxy and stars, and a map of the number of exposures from 1 to 4.",
    )
    step = Step(
        "The mean of four exposures",
        "Cosmic rays do not contribute. In the median pixel this mean differs by "
        f"{compare(mosaic, swarp):.2f} sigma of its noise from that which SWarp has made of the same files, "
        "with the sky and weights of its own.",
        show_code(average, compare),
        (picture,),
        (folder.save_fits(mosaic.write, "decam_mosaic/z"),),
    )
    return (step,)
