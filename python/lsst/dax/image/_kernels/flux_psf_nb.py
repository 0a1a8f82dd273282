"""Sums over the images of point sources at fixed positions."""

from __future__ import annotations

__all__ = (
    "N_SUMS",
    "SUM_COUNT",
    "SUM_D",
    "SUM_M",
    "SUM_MD",
    "SUM_MM",
    "SUM_MMV",
    "SUM_MV",
    "SUM_V",
    "SUM_W",
    "SUM_WD",
    "SUM_WDD",
    "SUM_WM",
    "SUM_WMD",
    "SUM_WMM",
    "find_median_rim",
    "sum_over_stamps",
)

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Floats = NDArray[np.float64]
type Pixels = NDArray[np.float32] | NDArray[np.float64]
type Bits = NDArray[np.uint8]
type Integers = NDArray[np.int64]

# Columns of the sums: m is the model of unit flux, d the data, v the variance
# and w = 1/v.
SUM_COUNT = 0
SUM_M = 1
SUM_D = 2
SUM_V = 3
SUM_MM = 4
SUM_MD = 5
SUM_MV = 6
SUM_MMV = 7
SUM_W = 8
SUM_WM = 9
SUM_WD = 10
SUM_WMM = 11
SUM_WMD = 12
SUM_WDD = 13
N_SUMS = 14


@kernel
def is_dropped(bits: Bits, drop: Bits) -> bool:
    """Tell whether a pixel has one of the planes that are left out.

    Parameters
    ----------
    bits, drop
        Mask of one pixel and planes to leave out, shape ``(n_bytes,)``.
    """
    found = False
    for k in range(drop.size):
        found |= (bits[k] & drop[k]) != 0
    return found


@kernel
def sum_over_stamps(
    image: Pixels,
    variance: Pixels,
    mask: Bits,
    drop: Bits,
    drop_not_finite: bool,  # noqa: FBT001 - numba calls by position
    stamps: Floats,
    stamp_x: Integers,
    stamp_y: Integers,
    out_sums: Floats,
) -> None:
    """Sum products of model, data and variance over each stamp.

    Parameters
    ----------
    image, variance
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    drop_not_finite
        Whether pixels are left out whose value or variance is not finite.
    stamps
        Models of unit flux, shape ``(n, height, width)``.
    stamp_x, stamp_y
        Column and row of each stamp's first pixel in the arrays, shape
        ``(n,)``; stamps may lie off the image in part or wholly.
    out_sums
        Sums over the pixels that are used, shape ``(n, N_SUMS)``.
    """
    n_rows, n_columns = image.shape
    n, height, width = stamps.shape
    drops_planes = False
    for k in range(drop.size):
        drops_planes |= drop[k] != 0
    for s in range(n):
        first_i, last_i = max(0, -stamp_x[s]), min(width, n_columns - stamp_x[s])
        count = 0
        s_m = s_d = s_v = s_mm = s_md = s_mv = s_mmv = 0.0
        s_w = s_wm = s_wd = s_wmm = s_wmd = s_wdd = 0.0
        for j in range(max(0, -stamp_y[s]), min(height, n_rows - stamp_y[s])):
            y = stamp_y[s] + j
            for i in range(first_i, last_i):
                x = stamp_x[s] + i
                if drops_planes and is_dropped(mask[y, x], drop):
                    continue
                d = float(image[y, x])
                v = float(variance[y, x])
                if drop_not_finite and not (math.isfinite(d) and math.isfinite(v)):
                    continue
                m = stamps[s, j, i]
                w = 1.0 / v
                wm = w * m
                wd = w * d
                count += 1
                s_m += m
                s_d += d
                s_v += v
                s_mm += m * m
                s_md += m * d
                s_mv += m * v
                s_mmv += m * m * v
                s_w += w
                s_wm += wm
                s_wd += wd
                s_wmm += wm * m
                s_wmd += wm * d
                s_wdd += wd * d
        out_sums[s, SUM_COUNT] = count
        out_sums[s, SUM_M] = s_m
        out_sums[s, SUM_D] = s_d
        out_sums[s, SUM_V] = s_v
        out_sums[s, SUM_MM] = s_mm
        out_sums[s, SUM_MD] = s_md
        out_sums[s, SUM_MV] = s_mv
        out_sums[s, SUM_MMV] = s_mmv
        out_sums[s, SUM_W] = s_w
        out_sums[s, SUM_WM] = s_wm
        out_sums[s, SUM_WD] = s_wd
        out_sums[s, SUM_WMM] = s_wmm
        out_sums[s, SUM_WMD] = s_wmd
        out_sums[s, SUM_WDD] = s_wdd


@kernel
def find_median_rim(
    variance: Pixels,
    mask: Bits,
    drop: Bits,
    stamp_x: Integers,
    stamp_y: Integers,
    height: int,
    width: int,
    out_median: Floats,
) -> None:
    """Return the median of the variance along the rim of each stamp.

    Parameters
    ----------
    variance
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    stamp_x, stamp_y
        Column and row of each stamp's first pixel, shape ``(n,)``.
    height, width
        Size of a stamp.
    out_median
        Median over those outermost pixels of the stamp that are on the image,
        finite and not left out, shape ``(n,)``; NaN where there is none.
    """
    n_rows, n_columns = variance.shape
    rim = np.empty(2 * (height + width))
    drops_planes = False
    for k in range(drop.size):
        drops_planes |= drop[k] != 0
    for s in range(stamp_x.size):
        count = 0
        for j in range(height):
            y = stamp_y[s] + j
            if y < 0 or y >= n_rows:
                continue
            step = 1 if j in (0, height - 1) else max(1, width - 1)
            for i in range(0, width, step):
                x = stamp_x[s] + i
                if x < 0 or x >= n_columns or (drops_planes and is_dropped(mask[y, x], drop)):
                    continue
                v = float(variance[y, x])
                if math.isfinite(v):
                    rim[count] = v
                    count += 1
        out_median[s] = np.median(rim[:count]) if count else math.nan
