"""Light curves of the mini survey and their truth."""

from __future__ import annotations

__all__ = ("assert_same_table", "find_truth", "to_array")

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.dax.image.simulation import MiniSurvey


def to_array(column: Any) -> NDArray[Any]:
    """Return a column without its unit."""
    return np.asarray(column.value if isinstance(column, u.Quantity) else column)


def assert_same_table(actual: QTable, desired: QTable) -> None:
    """Assert that two tables are equal to the bit, NaN included."""
    assert actual.colnames == desired.colnames
    for name in desired.colnames:
        one, other = to_array(actual[name]), to_array(desired[name])
        assert one.dtype.kind == other.dtype.kind, name
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
        assert actual[name].info.unit == desired[name].info.unit, name


def find_truth(survey: MiniSurvey, table: QTable, kind: str) -> NDArray[np.float64]:
    """Return the true fluxes in nJy of the first source of a kind at the times of a table."""
    row = survey.truth["kind"].tolist().index(kind)
    fluxes = []
    for band, mjd in zip(table["band"].tolist(), table["mjd"].value.tolist(), strict=True):
        time = Time(mjd, format="mjd", scale="tai")
        fluxes.append(survey.truth_fluxes(band, time)[row].to_value(u.nJy))
    return np.array(fluxes)
