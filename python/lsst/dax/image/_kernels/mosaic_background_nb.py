"""Sums over the pixels that two images have in common."""

from __future__ import annotations

__all__ = ("sum_differences",)

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def sum_differences(
    image_a: NDArray[np.floating],
    image_b: NDArray[np.floating],
    variance_a: NDArray[np.floating],
    variance_b: NDArray[np.floating],
    usable: NDArray[np.bool_],
    weighted: int,
    x_start: float,
    y_start: float,
    sum_moments: NDArray[np.float64],
) -> None:
    """Add weighted moments of positions and of differences.

    Parameters
    ----------
    image_a, image_b, variance_a, variance_b
        Values and variances, shape ``(ny, nx)``.
    usable
        Pixels that count if both values are finite, shape ``(ny, nx)``.
    weighted
        1 if the weight of a pixel is one over the sum of the variances, which
        must be positive; 0 if it is one.
    x_start, y_start
        Position of the first pixel.
    sum_moments
        Number of pixels and sums of ``w, wx, wy, wxx, wxy, wyy, wd, wxd, wyd``
        for the weight w and the difference d of a minus b, shape ``(10,)``.
    """
    ny, nx = image_a.shape
    n = 0
    w0, wx, wy, wxx, wxy, wyy, wd, wxd, wyd = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(ny):
        y = y_start + i
        for j in range(nx):
            difference = np.float64(image_a[i, j]) - np.float64(image_b[i, j])
            if not usable[i, j] or not math.isfinite(difference):
                continue
            weight = 1.0
            if weighted:
                total = np.float64(variance_a[i, j]) + np.float64(variance_b[i, j])
                if not (total > 0.0 and total < math.inf):
                    continue
                weight = 1.0 / total
            x = x_start + j
            n += 1
            w0 += weight
            wx += weight * x
            wy += weight * y
            wxx += weight * x * x
            wxy += weight * x * y
            wyy += weight * y * y
            wd += weight * difference
            wxd += weight * x * difference
            wyd += weight * y * difference
    sums = (np.float64(n), w0, wx, wy, wxx, wxy, wyy, wd, wxd, wyd)
    for k in range(10):
        sum_moments[k] += sums[k]
