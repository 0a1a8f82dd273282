"""Sums over the pixels that two images have in common."""

from __future__ import annotations

__all__ = ("sum_differences",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def sum_differences(
    difference: NDArray[np.float64],
    usable: NDArray[np.bool_],
    x_start: float,
    y_start: float,
    sum_moments: NDArray[np.float64],
) -> None:
    """Add moments of positions and of differences.

    Parameters
    ----------
    difference
        Differences of two images, shape ``(ny, nx)``.
    usable
        Pixels that count, shape ``(ny, nx)``.
    x_start, y_start
        Position of the first pixel.
    sum_moments
        Number n of pixels and sums of ``1, x, y, xx, xy, yy, d, xd, yd`` for
        the difference d, shape ``(10,)``.
    """
    ny, nx = difference.shape
    n = 0
    sx, sy, sxx, sxy, syy, sd, sxd, syd = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(ny):
        y = y_start + i
        for j in range(nx):
            if not usable[i, j]:
                continue
            x = x_start + j
            d = difference[i, j]
            n += 1
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
            syy += y * y
            sd += d
            sxd += x * d
            syd += y * d
    sums = (np.float64(n), np.float64(n), sx, sy, sxx, sxy, syy, sd, sxd, syd)
    for k in range(10):
        sum_moments[k] += sums[k]
