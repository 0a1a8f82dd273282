"""Sizes of stellar images, and the mask planes around positions."""

from __future__ import annotations

__all__ = ("collect_planes", "find_shapes")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Floats = NDArray[np.float64]
type Bits = NDArray[np.uint8]
type Integers = NDArray[np.int64]

_PASSES = 20
_TOLERANCE = 1e-3  # of the squared scale; a Gaussian takes one pass, a Moffat profile four


@kernel
def find_shapes(
    stamps: Floats, center_x: Floats, center_y: Floats, start_sigma: Floats, out_moments: Floats
) -> None:
    """Return the adaptive second moments of stellar images.

    The weight is a round Gaussian of the area of the moments' ellipse.

    Parameters
    ----------
    stamps
        Stellar images, shape ``(n, height, width)``.
    center_x, center_y
        Where the star is on its stamp, in pixels from the first, shape
        ``(n,)``.
    start_sigma
        First guess of the scale in pixels, shape ``(n,)``.
    out_moments
        Moments xx, yy and xy in square pixels, shape ``(n, 3)``; NaN where
        there are none.
    """
    n, height, width = stamps.shape
    gauss_x = np.empty(width)
    gauss_y = np.empty(height)
    for s in range(n):
        scale = start_sigma[s] * start_sigma[s]
        xx = yy = xy = math.nan
        for _ in range(_PASSES):
            for i in range(width):
                gauss_x[i] = math.exp(-0.5 * (i - center_x[s]) ** 2 / scale)
            for j in range(height):
                gauss_y[j] = math.exp(-0.5 * (j - center_y[s]) ** 2 / scale)
            total = s_xx = s_yy = s_xy = 0.0
            for j in range(height):
                dy = j - center_y[s]
                row = row_x = row_xx = 0.0
                for i in range(width):
                    dx = i - center_x[s]
                    value = stamps[s, j, i] * gauss_x[i]
                    row += value
                    row_x += value * dx
                    row_xx += value * dx * dx
                total += gauss_y[j] * row
                s_xx += gauss_y[j] * row_xx
                s_yy += gauss_y[j] * row * dy * dy
                s_xy += gauss_y[j] * row_x * dy
            # Inverse covariances add where profiles multiply: take that of
            # the weight off.
            w_xx, w_yy, w_xy = s_xx / total, s_yy / total, s_xy / total
            det = w_xx * w_yy - w_xy * w_xy
            i_xx, i_yy, i_xy = w_yy / det - 1.0 / scale, w_xx / det - 1.0 / scale, -w_xy / det
            det = i_xx * i_yy - i_xy * i_xy
            if not (det > 0.0 and i_xx > 0.0):
                xx = yy = xy = math.nan
                break
            xx, yy, xy = i_yy / det, i_xx / det, -i_xy / det
            before, scale = scale, 1.0 / math.sqrt(det)
            if abs(scale - before) < _TOLERANCE * scale:
                break
        out_moments[s, 0] = xx
        out_moments[s, 1] = yy
        out_moments[s, 2] = xy


@kernel
def collect_planes(
    mask: Bits,
    x: Floats,
    y: Floats,
    moments: Floats,
    scaling: float,
    out_any: Bits,
    out_center: Bits,
) -> None:
    """Collect the mask planes within ellipses, and at their centres.

    Parameters
    ----------
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    x, y
        Positions in pixels of the array, shape ``(n,)``.
    moments
        Second moments xx, yy and xy in square pixels, shape ``(n, 3)``; where
        they are NaN, the centre alone is collected.
    scaling
        Half axes of the ellipse, in those of the moments.
    out_any
        Planes that some pixel of the ellipse or of the centre has, shape
        ``(n, n_bytes)``.
    out_center
        Planes that some of the 3 x 3 pixels around the nearest one has, shape
        ``(n, n_bytes)``.
    """
    n_rows, n_columns, n_bytes = mask.shape
    for s in range(x.size):
        out_any[s] = 0
        out_center[s] = 0
        nearest_x, nearest_y = math.floor(x[s] + 0.5), math.floor(y[s] + 0.5)
        for j in range(max(0, nearest_y - 1), min(n_rows, nearest_y + 2)):
            for i in range(max(0, nearest_x - 1), min(n_columns, nearest_x + 2)):
                for k in range(n_bytes):
                    out_center[s, k] |= mask[j, i, k]
        for k in range(n_bytes):
            out_any[s, k] = out_center[s, k]
        xx, yy, xy = moments[s, 0], moments[s, 1], moments[s, 2]
        det = xx * yy - xy * xy
        if not (det > 0.0 and xx > 0.0):
            continue
        half_y = scaling * math.sqrt(yy)
        for j in range(max(0, math.ceil(y[s] - half_y)), min(n_rows, math.floor(y[s] + half_y) + 1)):
            dy = j - y[s]
            middle = x[s] + xy / yy * dy
            half_x = math.sqrt(max(0.0, (scaling * scaling - dy * dy / yy) * det / yy))
            for i in range(
                max(0, math.ceil(middle - half_x)), min(n_columns, math.floor(middle + half_x) + 1)
            ):
                for k in range(n_bytes):
                    out_any[s, k] |= mask[j, i, k]
