"""What is made of light curves: means over epochs, and a level before an event."""

from __future__ import annotations

__all__ = ("MAX_MASKED_FRACTION", "StackBy", "correct_baseline", "find_usable", "stack_fluxes")

import enum
from collections.abc import Iterator, Sequence

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from ..choices import as_choice
from ..errors import RequestError
from ..flags import FLAGS
from .schema import FAILED

type Floats = NDArray[np.float64]
type Bools = NDArray[np.bool_]

MAX_MASKED_FRACTION = 0.3
"""Largest share of a PSF off the fit with which a flux counts as usable."""

_NIGHT_BEGINS = 0.5
"""Fraction of a day at which an observing day begins."""

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
        Targets and bands are always apart.
    usable
        Rows that count; those of `find_usable` if `None`.
    clip_sigma
        Distance from the mean, in standard deviations, from which on an
        epoch is left out, once; `None` for no clipping.  A clipped mean is
        biased for a source that varies.

    Returns
    -------
    table
        One row per target, band and group of epochs, in their order: ``id``,
        ``band``, ``mjd`` (TAI, mean with the weights), ``mjd_begin``,
        ``mjd_end``, ``n_epochs``, ``flux``, ``flux_err``, ``flux_err_sky``,
        ``snr``, ``chi2`` about the mean with ``dof``, ``scatter`` (weighted
        standard deviation), ``max_share`` (largest weight of one epoch) and
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
    usable = find_usable(table) if usable is None else np.asarray(usable, np.bool_)
    if usable.shape != (len(table),):
        raise RequestError(f"There are {len(table)} fluxes, and {usable.shape} values that say which count.")
    if clip_sigma is not None and not clip_sigma > 0.0:
        raise RequestError(f"A clipping is a positive number of standard deviations, not {clip_sigma}.")
    rows = [_stack_group(table, members, usable, clip_sigma) for members in _find_groups(table, by)]
    units = {"flux": u.nJy, "flux_err": u.nJy, "flux_err_sky": u.nJy, "scatter": u.nJy}
    units |= {"mjd": u.d, "mjd_begin": u.d, "mjd_end": u.d}
    out = QTable()
    for name in _STACKED:
        values = np.array([row[name] for row in rows], dtype=_DTYPES.get(name, np.float64))
        out[name] = values * units[name] if name in units else values
    return out


_STACKED = (
    "id", "band", "mjd", "mjd_begin", "mjd_end", "n_epochs", "flux", "flux_err", "flux_err_sky", "snr",
    "chi2", "dof", "scatter", "max_share", "n_left_out",
)  # fmt: skip
_DTYPES: dict[str, type | str] = {
    "id": np.int64, "band": "U16", "n_epochs": np.int64, "dof": np.int64, "n_left_out": np.int64
}  # fmt: skip


def _find_groups(table: QTable, by: StackBy | u.Quantity) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each group, in the order of targets, bands and times."""
    mjd = table["mjd"].to_value(u.d)
    if isinstance(by, StackBy | str):
        by = as_choice(by, StackBy, "by")
        places = np.zeros(len(table)) if by is StackBy.ALL else np.floor(mjd - _NIGHT_BEGINS)
    else:
        window = by
        if not (
            isinstance(window, u.Quantity)
            and window.isscalar
            and window.unit.is_equivalent(u.d)
            and window > 0.0 * u.d
        ):
            raise RequestError(f"A window is a positive length of time, not {by}.")
        places = np.floor(mjd / window.to_value(u.d))
    bands = np.asarray(table["band"])
    _, band = np.unique(bands, return_inverse=True)
    keys = np.column_stack([np.asarray(table["id"], np.float64), band, np.nan_to_num(places, nan=np.inf)])
    _, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.reshape(-1)
    order = np.argsort(place, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(table) else ()


def _stack_group(
    table: QTable, members: NDArray[np.int64], usable: Bools, clip_sigma: float | None
) -> dict[str, object]:
    """Return the mean of one group of epochs."""
    rows = members[usable[members]]
    names = ("flux", "flux_err", "flux_err_sky")
    flux, error, sky = (table[name][rows].to_value(u.nJy) for name in names)
    if clip_sigma is not None and rows.size:
        mean = np.average(flux, weights=sky**-2.0)
        kept = np.abs(flux - mean) <= clip_sigma * error
        rows, flux, error, sky = rows[kept], flux[kept], error[kept], sky[kept]
    row: dict[str, object] = dict.fromkeys(_STACKED, np.nan)
    row |= {"id": table["id"][members[0]], "band": table["band"][members[0]], "n_epochs": rows.size}
    row |= {"n_left_out": members.size - rows.size, "dof": max(rows.size - 1, 0)}
    if not rows.size:
        return row
    weight = sky**-2.0
    total = weight.sum()
    mean = (weight * flux).sum() / total
    mjd = table["mjd"][rows].to_value(u.d)
    mean_err = np.sqrt((weight**2 * error**2).sum()) / total
    row |= {"mjd": (weight * mjd).sum() / total, "mjd_begin": mjd.min(), "mjd_end": mjd.max()}
    row |= {"flux": mean, "flux_err": mean_err, "flux_err_sky": total**-0.5, "snr": mean / mean_err}
    row |= {"chi2": (((flux - mean) / error) ** 2).sum(), "max_share": weight.max() / total}
    row["scatter"] = np.sqrt((weight * (flux - mean) ** 2).sum() / total)
    return row


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
        ``detector`` where each detector has a template of its own.
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
    missing = [name for name in by if name not in table.colnames]
    if missing or min_epochs < 1:
        raise RequestError(f"No column {missing} in {table.colnames}, or {min_epochs} epochs are too few.")
    mjd = table["mjd"].to_value(u.d)
    counts = find_usable(table) if usable is None else np.asarray(usable, np.bool_).copy()
    counts &= mjd >= begin.tai.mjd if begin is not None else True
    counts &= mjd <= end.tai.mjd if end is not None else True
    out = table.copy()
    level, level_err = np.full((2, len(table)), np.nan)
    number = np.zeros(len(table), np.int64)
    flux, error = (table[name].to_value(u.nJy) for name in ("flux", "flux_err"))
    places = np.zeros(len(table), np.int64)
    for name in by:
        _, place = np.unique(np.asarray(table[name]), return_inverse=True)
        places = np.unique(places * (place.max(initial=0) + 1) + place, return_inverse=True)[1]
    for place in np.unique(places):
        members = places == place
        rows = members & counts
        number[members] = rows.sum()
        if rows.sum() >= min_epochs:
            level[members] = np.median(flux[rows])
            level_err[members] = _MEDIAN_FACTOR * np.sqrt((error[rows] ** 2).sum()) / rows.sum()
    out["baseline"], out["baseline_err"] = level * u.nJy, level_err * u.nJy
    out["baseline_n_epochs"] = number
    out["flux"] = (flux - level) * u.nJy
    out["flux_err"] = np.hypot(error, level_err) * u.nJy
    out["snr"] = (out["flux"] / out["flux_err"]).to_value(u.dimensionless_unscaled)
    out["flags"] = np.asarray(table["flags"]) | np.where(np.isnan(level), FLAGS["NO_BASELINE"].value, 0)
    return out
