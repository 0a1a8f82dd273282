"""The table of what goes into a coadd."""

from __future__ import annotations

__all__ = ("Candidate", "make_inputs_table")

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time

from .recipe import Recipe
from .rules import Weighting
from .selection import Conditions, Verdict, find_rank, find_weight
from .warp import InputKey

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef

# Column, field of the conditions, unit.
_CONDITIONS: tuple[tuple[str, str, u.UnitBase | None], ...] = (
    ("exposure_time", "exposure_time_s", u.s),
    ("effective_time", "effective_time_s", u.s),
    ("fwhm", "fwhm_arcsec", u.arcsec),
    ("psf_area", "psf_area_px2", u.pix**2),
    ("pixel_scale", "pixel_scale_arcsec", u.arcsec / u.pix),
    ("sky_level", "sky_njy_per_arcsec2", u.nJy / u.arcsec**2),
    ("sky_variance", "sky_variance_njy2", u.nJy**2),
    ("depth", "depth_mag", u.ABmag),
    ("airmass", "airmass", None),
)

_WEIGHT_UNITS = {
    Weighting.INVERSE_VARIANCE: u.nJy**-2,
    Weighting.POINT_SOURCE: u.nJy**-2 / u.pix**2,
    Weighting.EFFECTIVE_TIME: u.s,
    Weighting.EQUAL: u.dimensionless_unscaled,
}


@dataclass(frozen=True)
class Candidate:
    """An image that might go into a coadd, and what is found out about it."""

    ref: DatasetRef
    key: InputKey
    band: str
    physical_filter: str
    day_obs: int
    time: Time | None
    """Middle of the exposure."""

    verdict: Verdict | None = None
    """Why it does not go in."""

    geometry: Any = None
    """Where its pixels are, once its file was looked into."""

    conditions: Conditions | None = None
    """What its file says."""

    n_cells: int = 0
    """Cells that it may go into by where it lies."""

    n_cells_used: int = 0
    """Cells that it goes into."""

    def rank(self, recipe: Recipe) -> float:
        """Return where it stands in what the best are the best in; NaN if nobody knows."""
        return math.nan if self.conditions is None else find_rank(self.conditions, recipe.criterion)

    def weight(self, recipe: Recipe) -> float:
        """Return how much it counts; NaN if nobody knows."""
        return math.nan if self.conditions is None else find_weight(self.conditions, recipe.weighting)


def make_inputs_table(candidates: Sequence[Candidate], recipe: Recipe) -> QTable:
    """Make the table of all images in question.

    Parameters
    ----------
    candidates
        Images in the order of the rows.
    recipe
        What was asked for.

    Returns
    -------
    table
        See `CoaddInputs`.
    """
    verdicts = [candidate.verdict for candidate in candidates]
    weights = np.array([candidate.weight(recipe) for candidate in candidates], np.float64)
    table = QTable(
        {
            "uuid": [str(candidate.key.uuid) for candidate in candidates],
            "instrument": [candidate.key.instrument for candidate in candidates],
            "visit": np.array([candidate.key.visit for candidate in candidates], np.int64),
            "detector": np.array([candidate.key.detector for candidate in candidates], np.int64),
            "band": [candidate.band for candidate in candidates],
            "physical_filter": [candidate.physical_filter for candidate in candidates],
            "day_obs": np.array([candidate.day_obs for candidate in candidates], np.int64),
            "time": _make_times([candidate.time for candidate in candidates]),
            "is_used": np.array([candidate.n_cells_used > 0 for candidate in candidates], np.bool_),
            "weight": u.Quantity(weights, _WEIGHT_UNITS[recipe.weighting]),
            "rank": np.array([candidate.rank(recipe) for candidate in candidates], np.float64),
            "n_cells": np.array([candidate.n_cells for candidate in candidates], np.int64),
            "n_cells_used": np.array([candidate.n_cells_used for candidate in candidates], np.int64),
            "reason": ["" if verdict is None else verdict.reason.value for verdict in verdicts],
            "detail": ["" if verdict is None else verdict.text for verdict in verdicts],
        }
    )
    for column, name, unit in _CONDITIONS:
        values = [math.nan if c.conditions is None else getattr(c.conditions, name) for c in candidates]
        if unit == u.ABmag:
            table[column] = u.Magnitude(values, unit)
        else:
            table[column] = np.array(values) if unit is None else u.Quantity(values, unit)
    table.meta["recipe"] = recipe.to_json()
    table.meta["fingerprint"] = recipe.fingerprint
    return table


def _make_times(times: Sequence[Time | None]) -> Time:
    """Return times as a column, TAI; those that nobody knows are masked."""
    parts = [(math.nan, math.nan) if time is None else (time.tai.jd1, time.tai.jd2) for time in times]
    known = np.array([time is not None for time in times], np.bool_)
    days, fractions = np.where(known[:, np.newaxis], np.array(parts, np.float64).reshape(-1, 2), 2451545.0).T
    column = Time(days, fractions, format="jd", scale="tai")
    column.format = "isot"
    if not known.all():
        column[~known] = np.ma.masked
    return column
