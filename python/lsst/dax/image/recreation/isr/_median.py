"""Fast and exact medians of images."""

from __future__ import annotations

__all__ = ("find_median",)

import math

import numpy as np
import numpy.typing as npt

from .exposure import FloatImage, IsrPlane, MaskBits

type Counts = npt.NDArray[np.int64]


def find_median(image: FloatImage, *, mask: MaskBits, without: IsrPlane) -> float:
    """Return the median of the finite pixels that have none of some planes set.

    Parameters
    ----------
    image
        Image, indexed [y, x].
    mask
        Bits of `IsrPlane`, of the same shape.
    without
        Planes that leave a pixel out.

    Returns
    -------
    median
        Median in double precision: of an even number of values the mean of
        the middle two.  NaN if no pixel is left.

    Notes
    -----
    Exact, but three to five times faster than `numpy.median`, which has to
    move the values about.
    """
    from ..._kernels.isr_select_nb import count_upper_halves  # noqa: PLC0415

    values = np.ascontiguousarray(image, dtype=np.float32).reshape(-1).view(np.uint32)
    bits = np.ascontiguousarray(mask, dtype=np.uint16).reshape(-1)
    counts = np.empty(1 << 16, np.int64)
    count_upper_halves(values, bits, np.uint16(without), counts)
    cumulated = np.cumsum(counts)
    n = int(cumulated[-1])
    if n == 0:
        return math.nan
    found: dict[int, Counts] = {}
    middle = [_find_rank(values, bits, without, cumulated, rank, found) for rank in ((n - 1) // 2, n // 2)]
    return 0.5 * middle[0] + 0.5 * middle[1]


def _find_rank(
    values: npt.NDArray[np.uint32],
    bits: MaskBits,
    without: IsrPlane,
    cumulated: Counts,
    rank: int,
    found: dict[int, Counts],
) -> float:
    """Return the value of a rank; ``found`` keeps the histograms of upper halves."""
    from ..._kernels.isr_select_nb import count_lower_halves  # noqa: PLC0415

    upper = int(np.searchsorted(cumulated, rank, side="right"))
    if upper not in found:
        counts = np.empty(1 << 16, np.int64)
        count_lower_halves(values, bits, np.uint16(without), upper, counts)
        found[upper] = np.cumsum(counts)
    before = int(cumulated[upper - 1]) if upper else 0
    lower = int(np.searchsorted(found[upper], rank - before, side="right"))
    pattern = upper << 16 | lower
    bit_pattern = pattern ^ (0x80000000 if pattern & 0x80000000 else 0xFFFFFFFF)
    return float(np.array(bit_pattern, np.uint32).view(np.float32))
