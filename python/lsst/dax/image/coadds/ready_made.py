"""Recipes of the coadds that are asked for most."""

from __future__ import annotations

__all__ = (
    "CHI_SQUARED",
    "DEEP",
    "GOOD_SEEING",
    "PROPER",
    "PSF_MATCHED",
    "READY_MADE",
    "make_nightly_recipe",
    "make_template_recipe",
    "make_weekly_recipe",
)

import datetime
from collections.abc import Mapping
from types import MappingProxyType

from astropy.time import Time

from ..errors import RequestError
from .recipe import Recipe
from .rules import PsfMatching, PsfTarget, Statistic, Weighting
from .selection_rules import Best, Criterion, PsfQuality, Selection

# Detectors of the mini survey and parts of real ones have few stars, and good PSFs all the same.
_QUALITY = PsfQuality(min_stars=None)

DEEP = Recipe(name="deep", selection=Selection(max_fwhm_arcsec=1.8, psf_quality=_QUALITY))
"""All images of usable quality, artifacts removed, weighted by the inverse variance of the sky."""

GOOD_SEEING = Recipe(
    name="good_seeing",
    selection=Selection(
        max_fwhm_arcsec=1.8,
        psf_quality=_QUALITY,
        best=Best(criterion=Criterion.SEEING, fraction=1 / 3),
    ),
)
"""The third of the visits with the sharpest PSF, in each cell."""

PSF_MATCHED = Recipe(
    name="psf_matched",
    selection=Selection(max_fwhm_arcsec=1.2, psf_quality=_QUALITY),
    psf_matching=PsfMatching(target=PsfTarget(fwhm_arcsec=1.3)),
)
"""All images brought to a Gaussian PSF of 1.3 arcsec, for colours in apertures."""

CHI_SQUARED = Recipe(
    name="chi_squared",
    selection=Selection(max_fwhm_arcsec=1.8, psf_quality=_QUALITY),
    statistic=Statistic.CHI_SQUARED,
)
"""The squared signal-to-noise of each band's mean, summed over bands, for detection."""

PROPER = Recipe(
    name="proper",
    selection=Selection(max_fwhm_arcsec=1.8, psf_quality=_QUALITY),
    statistic=Statistic.PROPER,
)
"""The statistically optimal coadd for point sources."""

READY_MADE: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (DEEP, GOOD_SEEING, PSF_MATCHED, CHI_SQUARED, PROPER)}
)
"""The recipes that need no dates, by name."""


def make_template_recipe(
    begin: Time | None, end: Time | None, *, fraction: float = 1 / 3, at_least: int = 12
) -> Recipe:
    """Make the recipe of a template for difference imaging, from the sharpest visits of a time range.

    Parameters
    ----------
    begin, end
        Begin and end of the range; open where `None`.
    fraction
        Share of the visits that is taken, in each cell.
    at_least
        Least number of visits that are taken, where there are as many.

    Returns
    -------
    recipe
        The recipe.

    Raises
    ------
    RequestError
        Raised if the range ends before it begins, or the numbers make no
        sense.
    """
    return Recipe(
        name="template",
        selection=Selection(
            begin=begin,
            end=end,
            max_fwhm_arcsec=1.8,
            psf_quality=_QUALITY,
            best=Best(criterion=Criterion.SEEING, fraction=fraction, at_least=at_least),
        ),
    )


def make_nightly_recipe(day_obs: int) -> Recipe:
    """Make the recipe of the coadd of one night.

    Parameters
    ----------
    day_obs
        Day of observation (YYYYMMDD).

    Returns
    -------
    recipe
        All images of the night, weighted for point sources.

    Raises
    ------
    RequestError
        Raised if this is no day.
    """
    return _make_short_recipe("nightly", day_obs, days=1)


def make_weekly_recipe(first_day_obs: int) -> Recipe:
    """Make the recipe of the coadd of seven nights.

    Parameters
    ----------
    first_day_obs
        First day of observation (YYYYMMDD).

    Returns
    -------
    recipe
        All images of the week, weighted for point sources.

    Raises
    ------
    RequestError
        Raised if this is no day.
    """
    return _make_short_recipe("weekly", first_day_obs, days=7)


def _make_short_recipe(name: str, first: int, *, days: int) -> Recipe:
    """Make the recipe of a few nights, in which nothing may be lost that changes with time."""
    try:
        begin = datetime.date(first // 10_000, first // 100 % 100, first % 100)
        last = begin + datetime.timedelta(days=days - 1)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"{first} is no day of the form YYYYMMDD: {error}.") from error
    return Recipe(
        name=name,
        selection=Selection(day_obs=(first, int(last.strftime("%Y%m%d"))), max_fwhm_arcsec=1.8),
        weighting=Weighting.POINT_SOURCE,
        statistic=Statistic.CLIPPED_MEAN,
    )
