"""Virtual coadds of the mini survey: three recipes on one region."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from lsst.daf.butler import Butler

from ..coadds import (
    DEEP,
    GOOD_SEEING,
    Coadd,
    CoaddInputs,
    fetch_coadd,
    find_inputs,
    make_weekly_recipe,
    recreate_from,
)
from ..geometry import CircleStencil
from ..plotting import plot_coadd, plot_coadds, plot_inputs
from ..repository import find_datasets
from ..simulation import MiniSurvey
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "Virtual coadds"
"""Heading of the chapter."""

TEXT = (
    "Coadds of the mini survey that nobody stored: a recipe says which visits become one and how, a region "
    "says which pixels. Only these are read, and the same region has the same bits in every request."
)
"""What the data are."""

_BAND = "r"

# The functions up to `follow_file` are shown on the page.


def look_first(butler: Butler, region: CircleStencil) -> CoaddInputs:
    """Find what would go into the coadd of the sharpest third, and why the rest would not."""
    return find_inputs(butler, GOOD_SEEING.with_selection(bands=_BAND), region)


def make_three(butler: Butler, region: CircleStencil) -> list[Coadd]:
    """Make the coadd of all visits, of the sharpest third, and of the week of the last one."""
    last = max(int(ref.dataId["day_obs"]) for ref in find_datasets(butler, "visit_image", bands=[_BAND]))
    recipes = [DEEP, GOOD_SEEING, make_weekly_recipe(last)]
    return [fetch_coadd(butler, recipe.with_selection(bands=_BAND), region) for recipe in recipes]


def follow_file(butler: Butler, file: Path) -> Coadd:
    """Make a coadd again from what its file says that it was made from."""
    return recreate_from(file, butler)


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Make coadds of the mini survey, which an earlier chapter has simulated.

    Parameters
    ----------
    folder
        Where the results go.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    OutputError
        Raised if a file cannot be written.
    """
    survey = MiniSurvey.load(folder.repository("mini_survey"))
    # In the middle of one patch, where all visits overlap.
    center = survey.config.center_position.spherical_offsets_by(-13.5 * u.arcsec, -0.5 * u.arcsec)
    region = CircleStencil(SkyCoord(center), 15 * u.arcsec)
    butler = survey.open()
    try:
        return (_show_inputs(butler, folder, region), *_show_coadds(butler, folder, region))
    finally:
        butler.close()


def _show_inputs(butler: Butler, folder: OutputFolder, region: CircleStencil) -> Step:
    """Show what would go in."""
    inputs = look_first(butler, region)
    details = "; ".join(
        f"visit {row['visit']}, detector {row['detector']}: {row['detail']}" for row in inputs.rejected
    )
    picture = folder.save_figure(
        plot_inputs(inputs),
        "coadd_inputs",
        caption="Each point is an image of the repository that overlaps the region.",
        alt="Points of seeing and weight, filled for what goes in, and bars that count the reasons.",
    )
    return Step(
        "What would go in",
        f"Nothing but the files' summaries is read. {len(inputs.rows)} of {len(inputs.table)} images go in. "
        f"Not so {details}.",
        show_code(look_first),
        (picture,),
    )


def _show_coadds(butler: Butler, folder: OutputFolder, region: CircleStencil) -> tuple[Step, Step]:
    """Show three coadds side by side, and the first by itself."""
    coadds = make_three(butler, region)
    files = tuple(folder.save_fits(coadd.write, f"coadds/{coadd.recipe.name}") for coadd in coadds)
    side_by_side = folder.save_figure(
        plot_coadds(coadds),
        "coadds",
        caption="All visits, the sharpest, and those of one week, on one scale: more visits have less "
        "noise, and where a cell has one visit alone its cosmic rays stay. Dark violet are cells that no "
        "visit covers whole, and the core of a saturated star.",
        alt="Three grey-scale images of the same stars and galaxies with different noise.",
    )
    sigmas = [float(np.sqrt(np.nanmedian(coadd.image.variance.array))) for coadd in coadds]
    noises = ", ".join(f"{sigma:.2f}" for sigma in sigmas)
    step = Step(
        "Deep, good seeing, one week",
        f"The noise of a pixel is {noises} nJy. Each file holds image, mask, variance, the PSF of each cell, "
        "the number of inputs, the effective time and the record of everything that it was made from.",
        show_code(make_three),
        (side_by_side,),
        files,
    )
    picture = folder.save_figure(
        plot_coadd(coadds[0]),
        "coadd_deep",
        caption="The deep coadd: where a cosmic ray was found in one visit, the others remain.",
        alt="Image of the coadd, map of the number of inputs, its PSF, and a table of inputs.",
    )
    again = follow_file(butler, folder.root / files[0])
    planes = [
        np.count_nonzero(
            getattr(again.image, name).array.view(np.uint8)
            != getattr(coadds[0].image, name).array.view(np.uint8)
        )
        for name in ("image", "variance", "mask")
    ]
    recreated = Step(
        "A coadd with its inputs, and again from its file",
        f"Made again from its file alone, {sum(planes)} bytes of image, variance and mask differ.",
        show_code(follow_file),
        (picture,),
    )
    return step, recreated
