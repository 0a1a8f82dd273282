"""The clipped mean of a whole image plane, without sorting it."""

from __future__ import annotations

__all__ = ("clipped_mean",)

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_IQR_TO_SIGMA = 0.741301109252802
"""Standard deviation of a normal distribution over its interquartile range: 1 / (2 * 0.67448975)."""
_LANES = 256
"""Sums side by side: enough that vectors are full, and few enough to stay in the first cache."""


def clipped_mean(image: npt.NDArray[np.float32], *, sigma: float = 3.0, iterations: int = 3) -> float:
    """Return the mean of the finite pixels after clipping.

    Parameters
    ----------
    image
        Pixels, of any shape.
    sigma
        Clipping limit in standard deviations.
    iterations
        Means to take; all pixels are looked at again each time.

    Returns
    -------
    mean
        Mean in the unit of the image, NaN if no pixel is finite.

    Notes
    -----
    The first mean is of pixels within ``sigma * 0.7413 * IQR`` of the median,
    each further one of those within ``sigma`` standard deviations of the mean
    before; a pixel at the limit counts.  Quantiles interpolate between order
    statistics at ``q * (n - 1)``.
    """
    values = np.ascontiguousarray(image, dtype=np.float32).ravel()
    quartiles = _quantiles(values, (0.25, 0.5, 0.75))
    if not quartiles:
        return math.nan
    low, center, high = quartiles
    limit = sigma * _IQR_TO_SIGMA * (high - low)
    for _ in range(iterations):
        count, total, squares = _clipped_moments(values, center, limit)
        center += total / count if count else math.nan
        if count < 2:
            return center
        limit = sigma * math.sqrt(max(squares - total * total / count, 0.0) / (count - 1))
    return center


def _clipped_moments(
    values: npt.NDArray[np.float32], center: float, limit: float
) -> tuple[int, float, float]:
    """Return count, sum and sum of squares of the differences from a centre that are within a limit."""
    from ..._kernels.isr_clipped_mean_nb import clipped_moments  # noqa: PLC0415 (numba is slow to import)

    counts, totals, squares = np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES)
    clipped_moments(values, center, limit, counts, totals, squares)
    return int(counts.sum()), float(totals.sum()), float(squares.sum())


def _quantiles(values: npt.NDArray[np.float32], fractions: Sequence[float]) -> list[float]:
    """Return quantiles of the finite values, none if there are none.

    The order statistics are exact: two passes count the numbers by the upper,
    then by the lower half of their bits.  For a detector this takes a third of
    the time of a partition.
    """
    from ..._kernels.isr_clipped_mean_nb import count_prefixes, count_suffixes  # noqa: PLC0415

    keys = values.view(np.uint32)
    counts = np.zeros(1 << 16, np.int64)
    count_prefixes(keys, counts)
    ends = np.cumsum(counts)
    n = int(ends[-1])
    if n == 0:
        return []
    positions = [fraction * (n - 1) for fraction in fractions]
    ranks = sorted({rank for p in positions for rank in (math.floor(p), math.ceil(p))})
    prefix_of_rank = np.searchsorted(ends, ranks, side="right")
    prefixes = np.unique(prefix_of_rank)
    group_of_prefix = np.full(1 << 16, -1, np.int8)
    group_of_prefix[prefixes] = np.arange(prefixes.size)
    suffixes = np.zeros((prefixes.size, 1 << 16), np.int64)
    count_suffixes(keys, group_of_prefix, suffixes)
    statistics: dict[int, float] = {}
    for rank, prefix in zip(ranks, prefix_of_rank, strict=True):
        inside = rank - int(ends[prefix] - counts[prefix])
        suffix = int(np.searchsorted(np.cumsum(suffixes[group_of_prefix[prefix]]), inside, side="right"))
        statistics[rank] = _number_of_key(int(prefix) << 16 | suffix)
    return [
        statistics[math.floor(p)]
        + (p - math.floor(p)) * (statistics[math.ceil(p)] - statistics[math.floor(p)])
        for p in positions
    ]


def _number_of_key(key: int) -> float:
    """Return the float32 of an ordered key."""
    bits = key ^ (0x80000000 if key & 0x80000000 else 0xFFFFFFFF)
    return float(np.uint32(bits).view(np.float32))
