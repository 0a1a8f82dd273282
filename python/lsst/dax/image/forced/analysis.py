"""What is made of light curves: means over epochs, and a level before an event."""

from __future__ import annotations

__all__ = ("MAX_MASKED_FRACTION", "StackBy", "correct_baseline", "find_usable", "stack_fluxes")

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from ..choices import as_choice
from ..errors import RequestError
from ..flags import FLAGS
from .schema import FAILED, require_columns

type Floats = NDArray[np.float64]
type Bools = NDArray[np.bool_]
type Ints = NDArray[np.int64]

MAX_MASKED_FRACTION = 0.3
"""Largest share of a PSF off the fit with which a flux counts as usable."""

_NIGHT_BEGINS = 0.5
"""Fraction of a day at which an observing day begins."""

_MEASURED = ("flux", "flux_err", "flux_err_sky", "masked_fraction", "flags")

_MEDIAN_FACTOR = np.sqrt(np.pi / 2.0)
"""Standard deviation of the median of many Gaussian values, in that of their mean."""


class StackBy(enum.Enum):
    """Which epochs of a target and band become one."""

    ALL = "all"
    """All of them."""

    NIGHT = "night"
    """Those of an observing day, which changes at 12 h TAI: ``day_obs`` to half a minute."""


def find_usable(
    table: QTable, *, max_masked_fraction: float = MAX_MASKED_FRACTION, ignore: Sequence[str] = ("EDGE",)
) -> Bools:
    """Tell which fluxes of a table are fit for sums over epochs.

    Parameters
    ----------
    table
        Fluxes as `measure` returns them.
    max_masked_fraction
        Largest fraction of the PSF that is not in the fit.
    ignore
        Flags of a failed flux that do not count: with the fraction above, an
        image's edge is no reason to leave a flux out.

    Returns
    -------
    usable
        Whether flux and errors are finite and no flag of a failure is set, of
        shape ``(n,)``.

    Raises
    ------
    RequestError
        Raised if a flag is not in the registry.
    """
    require_columns(table, _MEASURED)
    unknown = sorted(set(ignore) - set(FLAGS))
    if unknown:
        raise RequestError(f"There are no flags {unknown}; there are {sorted(FLAGS)}.")
    failed = FAILED & ~sum(FLAGS[name].value for name in ignore)
    usable = (np.asarray(table["flags"]) & failed) == 0
    for name in ("flux", "flux_err", "flux_err_sky"):
        usable &= np.isfinite(table[name].to_value(u.nJy))
    usable &= table["flux_err_sky"].to_value(u.nJy) > 0.0
    return np.asarray(usable & (np.asarray(table["masked_fraction"]) <= max_masked_fraction), np.bool_)


def stack_fluxes(
    table: QTable,
    by: StackBy | u.Quantity = StackBy.ALL,
    *,
    usable: Bools | None = None,
    clip_sigma: float | None = None,
) -> QTable:
    """Return the mean fluxes of targets over epochs.

    Parameters
    ----------
    table
        Fluxes of one or many targets in one or many images, as `measure` and
        `fetch_light_curves` return them.
    by
        Which epochs become one: all, those of a night, or those within
        windows of this length of time, which begin at multiples of it.
        Targets, bands and dataset types are always apart.
    usable
        Rows that count; those of `find_usable` if `None`.
    clip_sigma
        Distance from the mean, in standard deviations, from which on an
        epoch is left out, once; `None` for no clipping.  A clipped mean is
        biased for a source that varies.

    Returns
    -------
    table
        One row per target, band, dataset type and group of epochs, in their
        order: ``id``, ``band``, ``dataset_type`` (if the table has it),
        ``mjd`` (TAI, mean with the weights), ``mjd_begin``, ``mjd_end``,
        ``n_epochs``, ``flux``, ``flux_err``, ``flux_err_sky``, ``snr``,
        ``chi2`` about the mean with ``dof``, ``scatter`` (weighted standard
        deviation), ``max_share`` (largest weight of one epoch) and
        ``n_left_out``.  A group without a usable epoch has a row of NaN.

    Raises
    ------
    RequestError
        Raised if ``by`` is no choice and no positive time, if ``usable`` has another
        length than the table, or if the clipping is not positive.

    Notes
    -----
    The mean is that of fluxes, never of magnitudes.  The weights are
    ``1 / flux_err_sky**2``: they do not know the flux of the source, so that
    the mean of many faint epochs is not biased low, as one with weights from
    the noise of the source itself is.  ``flux_err`` is propagated from the
    errors of the epochs, ``sqrt(sum(w**2 err**2)) / sum(w)``, and
    ``flux_err_sky`` is ``1 / sqrt(sum(w))``.
    """
    require_columns(table, ("mjd", *_MEASURED))
    usable = find_usable(table) if usable is None else np.asarray(usable, np.bool_)
    if usable.shape != (len(table),):
        raise RequestError(f"There are {len(table)} fluxes, and {usable.shape} values that say which count.")
    if clip_sigma is not None and not clip_sigma > 0.0:
        raise RequestError(f"A clipping is a positive number of standard deviations, not {clip_sigma}.")
    groups = _Groups.of(
        [*(np.asarray(table[name]) for name in _find_keys(table, _APART)), _find_epochs(table, by)]
    )
    rows = np.flatnonzero(usable)
    flux, error, sky = (table[name].to_value(u.nJy) for name in ("flux", "flux_err", "flux_err_sky"))
    if clip_sigma is not None:
        mean = groups.mean(rows, flux, sky**-2.0)[groups.place[rows]]
        rows = rows[np.abs(flux[rows] - mean) <= clip_sigma * error[rows]]
    return _average(table, groups, rows)


_APART = ("id", "band", "dataset_type")
"""Columns whose values are never averaged over; the last one only where there is one."""


def _find_keys(table: QTable, names: Sequence[str]) -> list[str]:
    """Return the columns of a table that tell fluxes apart."""
    require_columns(table, [name for name in names if name != "dataset_type"])
    return [name for name in names if name in table.colnames]


def _find_epochs(table: QTable, by: StackBy | u.Quantity) -> Floats:
    """Return for each flux the number of the night or window it belongs to."""
    mjd = np.asarray(table["mjd"].to_value(u.d), np.float64)
    if isinstance(by, StackBy | str):
        by = as_choice(by, StackBy, "by")
        return np.zeros(len(table)) if by is StackBy.ALL else np.floor(mjd - _NIGHT_BEGINS)
    is_time = isinstance(by, u.Quantity) and by.isscalar and by.unit.is_equivalent(u.d)
    if not (is_time and by > 0.0 * u.d):
        raise RequestError(f"A window is a positive length of time, not {by}.")
    epochs: Floats = np.floor(mjd / by.to_value(u.d))
    return epochs


@dataclass(frozen=True)
class _Groups:
    """Rows that belong together."""

    place: Ints
    """Group of each row."""

    first: Ints
    """One row of each group."""

    @classmethod
    def of(cls, columns: Sequence[NDArray[Any]]) -> _Groups:
        """Return the groups of equal values, in the order of the columns."""
        # Numbers of values, not the values: identifiers have more digits than floats.
        codes = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in columns]
        _, first, place = np.unique(np.column_stack(codes), axis=0, return_index=True, return_inverse=True)
        return cls(place.reshape(-1), first)

    def sum(self, rows: Ints, values: Floats) -> Floats:
        """Return the sum over rows in each group."""
        total: Floats = np.bincount(self.place[rows], weights=values[rows], minlength=len(self.first))
        return total

    def mean(self, rows: Ints, values: Floats, weights: Floats) -> Floats:
        """Return the weighted mean over rows in each group, NaN without rows."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean: Floats = self.sum(rows, weights * values) / self.sum(rows, weights)
        return mean

    def extreme(self, rows: Ints, values: Floats, choose: np.ufunc) -> Floats:
        """Return the smallest or largest value in each group, NaN without rows."""
        found = np.full(len(self.first), np.nan)
        # `fmin` and `fmax` pass over the NaN that stands there at first.
        choose.at(found, self.place[rows], values[rows])
        return found

    def median(self, rows: Ints, values: Floats) -> Floats:
        """Return the median in each group, NaN without rows."""
        ordered = values[rows][np.lexsort((values[rows], self.place[rows]))]
        number = np.bincount(self.place[rows], minlength=len(self.first))
        start = np.cumsum(number) - number
        found = np.full(len(self.first), np.nan)
        some = number > 0
        low, high = (start + (number - 1) // 2)[some], (start + number // 2)[some]
        found[some] = 0.5 * (ordered[low] + ordered[high])
        return found


def _average(table: QTable, groups: _Groups, rows: Ints) -> QTable:
    """Return the means of groups as a table."""
    flux, error, sky = (table[name].to_value(u.nJy) for name in ("flux", "flux_err", "flux_err_sky"))
    mjd = table["mjd"].to_value(u.d)
    weight = np.zeros(len(table))
    weight[rows] = sky[rows] ** -2.0
    number = np.bincount(groups.place[rows], minlength=len(groups.first))
    members = np.bincount(groups.place, minlength=len(groups.first))
    mean = groups.mean(rows, flux, weight)
    residual = flux - mean[groups.place]
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(number > 0, groups.sum(rows, weight), np.nan)
        mean_err = np.sqrt(groups.sum(rows, (weight * error) ** 2)) / total
        chi2 = np.where(number > 0, groups.sum(rows, (residual / error) ** 2), np.nan)
        scatter = np.sqrt(groups.sum(rows, weight * residual**2) / total)
    out = QTable()
    for name in _find_keys(table, _APART):
        out[name] = np.asarray(table[name])[groups.first]
    out["mjd"] = groups.mean(rows, mjd, weight) * u.d
    out["mjd_begin"] = groups.extreme(rows, mjd, np.fmin) * u.d
    out["mjd_end"] = groups.extreme(rows, mjd, np.fmax) * u.d
    out["n_epochs"] = number
    out["flux"], out["flux_err"], out["flux_err_sky"] = mean * u.nJy, mean_err * u.nJy, total**-0.5 * u.nJy
    out["snr"] = mean / mean_err
    out["chi2"], out["dof"] = chi2, np.maximum(number - 1, 0)
    out["scatter"] = scatter * u.nJy
    out["max_share"] = groups.extreme(rows, weight, np.fmax) / total
    out["n_left_out"] = members - number
    return out


def correct_baseline(
    table: QTable,
    *,
    begin: Time | None = None,
    end: Time | None = None,
    by: Sequence[str] = ("id", "band"),
    min_epochs: int = 5,
    usable: Bools | None = None,
) -> QTable:
    """Subtract from fluxes on difference images the level of epochs without the event.

    A template that was made while the source shone, or of another brightness
    level, leaves the same flux in all difference images of a band.

    Parameters
    ----------
    table
        Fluxes on difference images.  Not modified.
    begin, end
        Range of times of the baseline, either open if `None`, but not both.
    by
        Columns that tell which epochs have a baseline in common: add
        ``detector`` where each detector has a template of its own.  Dataset
        types are always apart.
    min_epochs
        Smallest number of usable epochs of a baseline.
    usable
        Rows that count for the baseline; those of `find_usable` if `None`.

    Returns
    -------
    table
        A copy with ``flux``, ``flux_err`` and ``snr`` corrected, and the
        columns ``baseline``, ``baseline_err`` and ``baseline_n_epochs``.
        Where there are fewer epochs than ``min_epochs`` the flux is NaN and
        the flag ``NO_BASELINE`` is set.

    Raises
    ------
    RequestError
        Raised if both ends are open, if a column is missing, or if
        ``min_epochs`` is not positive.

    Notes
    -----
    The baseline is the median of its epochs; its error, ``sqrt(pi / 2)``
    times that of their mean, is added in quadrature.  It is common to all
    epochs of a group: a mean over them keeps it whole.
    """
    if begin is None and end is None:
        raise RequestError("A baseline has a begin or an end; both are None.")
    if min_epochs < 1:
        raise RequestError(f"A baseline has one epoch or more, not {min_epochs}.")
    groups = _Groups.of([np.asarray(table[name]) for name in _find_keys(table, (*by, "dataset_type"))])
    mjd = table["mjd"].to_value(u.d)
    counts = find_usable(table) if usable is None else np.asarray(usable, np.bool_).copy()
    counts &= mjd >= begin.tai.mjd if begin is not None else True
    counts &= mjd <= end.tai.mjd if end is not None else True
    out = table.copy()
    flux, error = (table[name].to_value(u.nJy) for name in ("flux", "flux_err"))
    rows = np.flatnonzero(counts)
    number = np.bincount(groups.place[rows], minlength=len(groups.first))
    level = np.where(number >= min_epochs, groups.median(rows, flux), np.nan)[groups.place]
    number = number[groups.place]
    level_err = _MEDIAN_FACTOR * np.sqrt(groups.sum(rows, error**2))[groups.place] / np.maximum(number, 1)
    level_err[np.isnan(level)] = np.nan
    out["baseline"], out["baseline_err"] = level * u.nJy, level_err * u.nJy
    out["baseline_n_epochs"] = number
    out["flux"] = (flux - level) * u.nJy
    out["flux_err"] = np.hypot(error, level_err) * u.nJy
    out["snr"] = (out["flux"] / out["flux_err"]).to_value(u.dimensionless_unscaled)
    out["flags"] = np.asarray(table["flags"]) | np.where(np.isnan(level), FLAGS["NO_BASELINE"].value, 0)
    return out
