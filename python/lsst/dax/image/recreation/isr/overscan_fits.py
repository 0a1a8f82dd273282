"""Levels of an overscan: how the pixels of a region become one number per row or column."""

from __future__ import annotations

__all__ = ("OverscanFit", "RegionStatistics", "fit_overscan", "measure_statistics")

import enum
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import RequestError

type Values = npt.NDArray[np.float32]
type Vector = npt.NDArray[np.float64]
type Flags = npt.NDArray[np.bool_]

_N_SIGMA_CLIP = 3.0
_N_CLIPS = 3
# Standard deviation of a normal distribution, in units of its interquartile range.
_SIGMA_OF_IQR = 0.741301109252802
# The same for the rejection of outliers in a row, as the observatory rounds it.
_ROUNDED_SIGMA_OF_IQR = 0.74
_N_NEIGHBORS = 5
_MIN_BINS = 5


class OverscanFit(enum.StrEnum):
    """How the level of an overscan is found."""

    MEDIAN_PER_ROW = "median_per_row"
    """Median of each row (parallel overscan: column), without outliers."""
    MEAN_PER_ROW = "mean_per_row"
    """Mean of each row (column), without outliers."""
    MEAN = "mean"
    """One mean."""
    MEANCLIP = "meanclip"
    """One mean, 3-sigma clipped three times."""
    MEDIAN = "median"
    """One median."""
    POLY = "poly"
    """Polynomial through the means of the rows (columns)."""
    CHEB = "cheb"
    """The same in Chebyshev's polynomials."""
    LEG = "leg"
    """The same in Legendre's polynomials."""
    NATURAL_SPLINE = "natural_spline"
    """Natural cubic spline through means in bins."""
    CUBIC_SPLINE = "cubic_spline"
    """The observatory's second name of the natural cubic spline."""
    AKIMA_SPLINE = "akima_spline"
    """Akima spline through means in bins."""


@dataclass(frozen=True)
class RegionStatistics:
    """Statistics of finite values that are not masked; NaN if there are none."""

    mean: float
    """Mean."""
    median: float
    """Median."""
    mean_clipped: float
    """Mean after clipping."""
    stdev_clipped: float
    """Standard deviation, with n - 1, after clipping."""


def fit_overscan(values: Values, excluded: Flags, *, fit: OverscanFit, order: int) -> Vector:
    """Find the level of every row of an overscan region.

    Parameters
    ----------
    values
        Pixels [row, column]; of a parallel overscan transposed.
    excluded
        Masked pixels, of the same shape.
    fit
        How.
    order
        Order of a polynomial, or bins of a spline.

    Returns
    -------
    levels
        Level of every row, shape ``(n_rows,)``; NaN everywhere if no pixel is usable.

    Raises
    ------
    RequestError
        Raised if the rows do not suffice for the order, or the order for a spline.

    Notes
    -----
    Outliers of a row are farther from its median than three times its
    dispersion, 0.74 times the interquartile range; a dispersion of more than
    twice the median one is replaced by the median one.  These percentiles
    ignore the mask, and are linear between ranks.  Rows without a usable pixel
    get the median of up to five rows on either side, where these are at least
    six rows away from an end; otherwise the median of all.
    """
    match fit:
        case OverscanFit.MEAN | OverscanFit.MEDIAN | OverscanFit.MEANCLIP:
            statistics = measure_statistics(values[~excluded])
            constants = {
                OverscanFit.MEAN: statistics.mean,
                OverscanFit.MEDIAN: statistics.median,
                OverscanFit.MEANCLIP: statistics.mean_clipped,
            }
            return np.full(values.shape[0], constants[fit])
        case OverscanFit.MEDIAN_PER_ROW:
            return _fill(_collapse_median(values, excluded))
        case OverscanFit.MEAN_PER_ROW:
            return _fill(_collapse_mean(values, excluded))
        case OverscanFit.POLY | OverscanFit.CHEB | OverscanFit.LEG:
            levels = _fill(_collapse_mean(values, excluded))
            return _fit_polynomial(levels, fit=fit, order=order)
        case OverscanFit.NATURAL_SPLINE | OverscanFit.CUBIC_SPLINE | OverscanFit.AKIMA_SPLINE:
            levels = _fill(_collapse_mean(values, excluded))
            return _fit_spline(levels, is_akima=fit is OverscanFit.AKIMA_SPLINE, n_bins=order)


def measure_statistics(values: npt.NDArray[np.floating]) -> RegionStatistics:
    """Return the statistics of values, of which those that are not finite do not count.

    Parameters
    ----------
    values
        Values of any shape.

    Returns
    -------
    statistics
        Their statistics, in double precision.

    Notes
    -----
    Percentiles are linear between ranks.  The first clip keeps what lies within
    3 x 0.7413 interquartile ranges of the median, each of two more what lies
    within 3 standard deviations of the mean.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    ordered = ordered[np.searchsorted(ordered, -np.inf, side="right") : np.searchsorted(ordered, np.inf)]
    if not ordered.size:
        return RegionStatistics(math.nan, math.nan, math.nan, math.nan)
    lower, median, upper = (_percentile(ordered, fraction) for fraction in (0.25, 0.5, 0.75))
    center, width = median, _N_SIGMA_CLIP * _SIGMA_OF_IQR * (upper - lower)
    variance = math.nan
    for _ in range(_N_CLIPS):
        low = np.searchsorted(ordered, center - width)
        kept = ordered[low : np.searchsorted(ordered, center + width, side="right")]
        if not kept.size:
            return RegionStatistics(float(ordered.mean()), median, math.nan, math.nan)
        center = float(kept.mean())
        variance = float(kept.var(ddof=1)) if kept.size > 1 else math.nan
        if math.isnan(variance):
            break
        width = _N_SIGMA_CLIP * math.sqrt(variance)
    return RegionStatistics(float(ordered.mean()), median, center, math.sqrt(variance))


def _percentile(ordered: Vector, fraction: float) -> float:
    """Return a percentile of sorted values."""
    rank = fraction * (ordered.size - 1)
    low = int(rank)
    high = min(low + 1, ordered.size - 1)
    weight = rank - low
    return float((1.0 - weight) * ordered[low] + weight * ordered[high])


def _row_percentile(ordered: Values, fraction: float) -> Vector:
    """Return a percentile of every sorted row, to the bit as `numpy.percentile` does."""
    rank = fraction * (ordered.shape[1] - 1)
    low = math.floor(rank)
    weight = rank - low
    left = ordered[:, low]
    right = ordered[:, min(low + 1, ordered.shape[1] - 1)]
    # The difference is in single precision.  Starting from the nearer of the two
    # values is NumPy's way.
    step = (right - left).astype(np.float64)
    percentile = right - step * (1.0 - weight) if weight >= 0.5 else left + step * weight
    # A NaN is sorted last.
    return np.where(np.isnan(ordered[:, -1]), np.nan, percentile)


def _find_limits(ordered: Values) -> tuple[Vector, Vector]:
    """Return the median of every sorted row, and how far from it a value is an outlier."""
    # Pixels may be infinite or NaN.
    with np.errstate(invalid="ignore"):
        lower, middle, upper = (_row_percentile(ordered, fraction) for fraction in (0.25, 0.5, 0.75))
        spread = _ROUNDED_SIGMA_OF_IQR * (upper - lower)
        # A large spread is charge that bled into the overscan.
        usual = np.median(spread)
        spread = np.where(spread > 2.0 * usual, usual, spread)
    return middle, _N_SIGMA_CLIP * spread


def _collapse_median(values: Values, excluded: Flags) -> Vector:
    """Return the median of every row without masked pixels and outliers; NaN where none is left."""
    ordered = np.sort(values, axis=1)
    middle, limit = _find_limits(ordered)
    rows = excluded.any(axis=1)
    if rows.any():
        ordered[rows] = np.sort(np.where(excluded[rows], np.float32(np.nan), values[rows]), axis=1)
    kept = _find_kept(ordered, middle, limit)
    # What is kept of a sorted row is contiguous.
    first, count = kept.argmax(axis=1), kept.sum(axis=1)
    row = np.arange(values.shape[0])
    left = ordered[row, np.minimum(first + (count - 1) // 2, ordered.shape[1] - 1)].astype(np.float64)
    right = ordered[row, np.minimum(first + count // 2, ordered.shape[1] - 1)].astype(np.float64)
    return np.where(count > 0, 0.5 * left + 0.5 * right, np.nan)


def _collapse_mean(values: Values, excluded: Flags) -> Vector:
    """Return the mean of every row without masked pixels and outliers; NaN where none is left."""
    kept = _find_kept(values, *_find_limits(np.sort(values, axis=1))) & ~excluded
    count = kept.sum(axis=1)
    total = np.where(kept, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _find_kept(values: Values, middle: Vector, limit: Vector) -> Flags:
    """Tell which values are finite and no outliers of their row."""
    with np.errstate(invalid="ignore"):
        is_outlier = np.abs(values - middle[:, np.newaxis]) > limit[:, np.newaxis]
    return np.isfinite(values) & ~is_outlier


def _fill(levels: Vector) -> Vector:
    """Return levels whose gaps are filled from their neighbours."""
    is_gap = np.isnan(levels)
    if not is_gap.any() or is_gap.all():
        return levels
    filled = levels.copy()
    usual = np.median(levels[~is_gap])
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_gap, [False]))))
    for start, stop in edges.reshape(-1, 2).tolist():
        # Gaps below are filled already: they count as neighbours.
        before = filled[start - _N_NEIGHBORS : start] if start > _N_NEIGHBORS else filled[:0]
        after = filled[stop : stop + _N_NEIGHBORS] if stop < filled.size - _N_NEIGHBORS else filled[:0]
        near = np.concatenate((before, after))
        filled[start:stop] = np.nanmedian(near) if near.size else usual
    return filled


def _make_abscissa(n: int) -> Vector:
    """Return the coordinate of n rows, from -1 to less than 1."""
    return 2.0 * np.arange(n) / n - 1.0


def _fit_polynomial(levels: Vector, *, fit: OverscanFit, order: int) -> Vector:
    """Return the values of a polynomial at the rows whose levels it fits."""
    if not 0 <= order < levels.size:
        raise RequestError(
            f"A polynomial of order {order} cannot be fitted to an overscan of {levels.size} rows."
        )
    if np.isnan(levels).any():
        return levels
    abscissa = _make_abscissa(levels.size)
    basis = {
        OverscanFit.POLY: np.polynomial.polynomial.polyvander,
        OverscanFit.CHEB: np.polynomial.chebyshev.chebvander,
        OverscanFit.LEG: np.polynomial.legendre.legvander,
    }[fit](abscissa, order)
    fitted: Vector = basis @ np.linalg.lstsq(basis, levels)[0]
    return fitted


def _fit_spline(levels: Vector, *, is_akima: bool, n_bins: int) -> Vector:
    """Return the values of a spline at the rows; beyond the outer bins it goes on as a parabola."""
    # scipy takes 0.2 s to import, which the usual fit does not need.
    from scipy.interpolate import Akima1DInterpolator, CubicSpline  # noqa: PLC0415

    if not _MIN_BINS <= n_bins <= levels.size:
        raise RequestError(
            f"A spline needs at least {_MIN_BINS} bins and at most one per row, not {n_bins} bins of "
            f"{levels.size} rows."
        )
    if np.isnan(levels).any():
        return levels
    abscissa = _make_abscissa(levels.size)
    count = np.histogram(abscissa, bins=n_bins)[0]
    centers = np.histogram(abscissa, bins=n_bins, weights=abscissa)[0] / count
    means = np.histogram(abscissa, bins=n_bins, weights=levels)[0] / count
    spline = (
        Akima1DInterpolator(centers, means) if is_akima else CubicSpline(centers, means, bc_type="natural")
    )
    nearest = np.clip(abscissa, centers[0], centers[-1])
    beyond = abscissa - nearest
    parabola = spline(nearest, 1) * beyond + 0.5 * spline(nearest, 2) * beyond * beyond
    fitted: Vector = spline(nearest) + np.where(beyond == 0.0, 0.0, parabola)
    return fitted
