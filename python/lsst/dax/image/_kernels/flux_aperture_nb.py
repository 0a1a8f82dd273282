"""Sums over circular apertures, and clipped means over annuli."""

from __future__ import annotations

__all__ = ("clip_annulus", "find_overlap", "sum_apertures", "sum_weight_stamps")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .flux_psf_nb import is_dropped

type Floats = NDArray[np.float64]
type Pixels = NDArray[np.float32] | NDArray[np.float64]
type Bits = NDArray[np.uint8]
type Integers = NDArray[np.int64]

_HALF_DIAGONAL = math.sqrt(0.5)
_LARGEST_SQUARE = 0.056  # of half a chord, for which the series of a segment is exact
_IQ_TO_SIGMA = 0.741301109  # 1 / (2 Phi^-1(3/4)): standard deviation of a normal interquartile range of 1


@kernel
def _find_segment(square: float) -> float:
    """Return the area between a chord and its arc, for a circle of unit radius.

    ``square`` is that of half the chord, s: the area, asin s - s sqrt(1 - s²),
    is the integral of 2 s² / sqrt(1 - s²), whose binomial series is summed
    here.  Chords within a pixel have s² < 0.056 from a radius of 3 pixels on,
    where the next term is below 1e-15.
    """
    if square > _LARGEST_SQUARE:
        half = math.sqrt(min(square, 1.0))
        return math.asin(half) - half * math.sqrt(max(0.0, 1.0 - square))
    total = 2.0 * 46189.0 / 262144.0 / 23.0
    total = total * square + 2.0 * 12155.0 / 65536.0 / 21.0
    total = total * square + 2.0 * 6435.0 / 32768.0 / 19.0
    total = total * square + 2.0 * 429.0 / 2048.0 / 17.0
    total = total * square + 2.0 * 231.0 / 1024.0 / 15.0
    total = total * square + 2.0 * 63.0 / 256.0 / 13.0
    total = total * square + 2.0 * 35.0 / 128.0 / 11.0
    total = total * square + 2.0 * 5.0 / 16.0 / 9.0
    total = total * square + 2.0 * 3.0 / 8.0 / 7.0
    total = total * square + 2.0 * 1.0 / 2.0 / 5.0
    total = total * square + 2.0 / 3.0
    return total * square * math.sqrt(square)


@kernel
def _overlap_quadrant(x0: float, x1: float, y0: float, y1: float, radius: float) -> float:
    """Return the area of a rectangle of one quadrant within a circle."""
    square = radius * radius
    if x0 * x0 + y0 * y0 >= square:
        return 0.0
    if x1 * x1 + y1 * y1 <= square:
        return (x1 - x0) * (y1 - y0)
    # The circle enters through the top or the left side, and leaves through
    # the right side or the bottom.
    if x0 * x0 + y1 * y1 < square:
        enter_x, enter_y = math.sqrt(square - y1 * y1), y1
    else:
        enter_x, enter_y = x0, math.sqrt(square - x0 * x0)
    if x1 * x1 + y0 * y0 < square:
        leave_x, leave_y = x1, math.sqrt(square - x1 * x1)
    else:
        leave_x, leave_y = math.sqrt(square - y0 * y0), y0
    across, down = leave_x - enter_x, enter_y - leave_y
    area = (enter_x - x0) * (y1 - y0) + across * (0.5 * (enter_y + leave_y) - y0)
    return area + square * _find_segment(0.25 * (across * across + down * down) / square)


@kernel
def find_overlap(dx: float, dy: float, radius: float) -> float:
    """Return the area of a pixel within a circle.

    Parameters
    ----------
    dx, dy
        Centre of the pixel, from that of the circle, in pixels.
    radius
        Radius of the circle in pixels.
    """
    x0, x1 = abs(dx) - 0.5, abs(dx) + 0.5
    y0, y1 = abs(dy) - 0.5, abs(dy) + 0.5
    area = _overlap_quadrant(max(x0, 0.0), x1, max(y0, 0.0), y1, radius)
    if x0 < 0.0:
        area += _overlap_quadrant(0.0, -x0, max(y0, 0.0), y1, radius)
    if y0 < 0.0:
        area += _overlap_quadrant(max(x0, 0.0), x1, 0.0, -y0, radius)
    if x0 < 0.0 and y0 < 0.0:
        area += _overlap_quadrant(0.0, -x0, 0.0, -y0, radius)
    return area


@kernel
def sum_apertures(
    image: Pixels,
    variance: Pixels,
    mask: Bits,
    drop: Bits,
    x: Floats,
    y: Floats,
    radii: Floats,
    out_flux: Floats,
    out_variance: Floats,
    out_area: Floats,
) -> None:
    """Sum pixels over circles, weighted by the area within, for all radii at once.

    Parameters
    ----------
    image, variance
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    x, y
        Finite positions in pixels of the array, shape ``(n,)``.
    radii
        Positive radii in pixels, ascending, shape ``(n_radii,)``.
    out_flux
        Sum of w d over the pixels that are used, shape ``(n, n_radii)``.
    out_variance
        Sum of w² v, shape ``(n, n_radii)``.
    out_area
        Sum of w, shape ``(n, n_radii)``.
    """
    n_rows, n_columns = image.shape
    n_radii = radii.size
    largest = radii[n_radii - 1]
    inner = np.empty(n_radii)
    outer = np.empty(n_radii)
    for k in range(n_radii):
        inner[k] = max(radii[k] - _HALF_DIAGONAL, 0.0) ** 2
        outer[k] = (radii[k] + _HALF_DIAGONAL) ** 2
    # Pixels wholly within radius k, but not k - 1, are summed apart: one
    # addition per pixel, however many radii follow.
    ring = np.empty((3, n_radii + 1))
    for s in range(x.size):
        ring[:] = 0.0
        for k in range(n_radii):
            out_flux[s, k] = out_variance[s, k] = out_area[s, k] = 0.0
        for j in range(
            max(0, math.floor(y[s] - largest + 0.5)), min(n_rows, math.floor(y[s] + largest + 0.5) + 1)
        ):
            dy = j - y[s]
            nearest = max(0.0, abs(dy) - 0.5)
            half = math.sqrt(max(0.0, largest * largest - nearest * nearest))
            k = n_radii
            for i in range(
                max(0, math.floor(x[s] - half + 0.5)), min(n_columns, math.floor(x[s] + half + 0.5) + 1)
            ):
                if is_dropped(mask[j, i], drop):
                    continue
                dx = i - x[s]
                square = dx * dx + dy * dy
                d = float(image[j, i])
                v = float(variance[j, i])
                while k < n_radii and square >= inner[k]:
                    k += 1
                while k > 0 and square < inner[k - 1]:
                    k -= 1
                if k < n_radii:
                    ring[0, k] += d
                    ring[1, k] += v
                    ring[2, k] += 1.0
                q = k - 1
                while q >= 0 and square < outer[q]:
                    w = find_overlap(dx, dy, radii[q])
                    # A NaN beyond the circle is no part of the sum.
                    if w > 0.0:
                        out_flux[s, q] += w * d
                        out_variance[s, q] += w * w * v
                        out_area[s, q] += w
                    q -= 1
        flux = square_sum = area = 0.0
        for k in range(n_radii):
            flux += ring[0, k]
            square_sum += ring[1, k]
            area += ring[2, k]
            out_flux[s, k] += flux
            out_variance[s, k] += square_sum
            out_area[s, k] += area


@kernel
def sum_weight_stamps(
    image: Pixels,
    variance: Pixels,
    mask: Bits,
    drop: Bits,
    weights: Floats,
    stamp_x: Integers,
    stamp_y: Integers,
    out_sums: Floats,
) -> None:
    """Sum pixels with given weights.

    Parameters
    ----------
    image, variance
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    weights
        Weights, shape ``(n, height, width)``.
    stamp_x, stamp_y
        Column and row of each first weight in the arrays, shape ``(n,)``.
    out_sums
        Sums of w d, w² v and w over the pixels that are used, shape
        ``(n, 3)``.
    """
    n_rows, n_columns = image.shape
    n, height, width = weights.shape
    for s in range(n):
        flux = square_sum = area = 0.0
        for j in range(max(0, -stamp_y[s]), min(height, n_rows - stamp_y[s])):
            row = stamp_y[s] + j
            for i in range(max(0, -stamp_x[s]), min(width, n_columns - stamp_x[s])):
                column = stamp_x[s] + i
                if is_dropped(mask[row, column], drop):
                    continue
                w = weights[s, j, i]
                flux += w * float(image[row, column])
                square_sum += w * w * float(variance[row, column])
                area += w
        out_sums[s, 0] = flux
        out_sums[s, 1] = square_sum
        out_sums[s, 2] = area


@kernel
def _find_quantile(ordered: Floats, fraction: float) -> float:
    """Return a quantile of ordered values, interpolated linearly."""
    place = fraction * (ordered.size - 1)
    below = min(int(place), ordered.size - 1)
    above = min(below + 1, ordered.size - 1)
    low = float(ordered[below])
    return low + (place - below) * (float(ordered[above]) - low)


@kernel
def clip_annulus(
    image: Pixels,
    mask: Bits,
    drop: Bits,
    x: Floats,
    y: Floats,
    inner: Floats,
    outer: Floats,
    n_sigma: float,
    n_passes: int,
    out_clipped: Floats,
) -> None:
    """Return the clipped mean of the pixels around positions.

    Parameters
    ----------
    image
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    x, y
        Positions in pixels of the array, shape ``(n,)``.
    inner, outer
        Radii between which a pixel's centre has to lie, shape ``(n,)``.
    n_sigma
        Pixels farther off than so many standard deviations are left out; the
        first pass starts from the median and the interquartile range.
    n_passes
        Number of passes, at least 1.
    out_clipped
        Mean, standard deviation and number of pixels, shape ``(n, 3)``; NaN,
        NaN and 0 where no pixel is left.
    """
    n_rows, n_columns = image.shape
    for s in range(x.size):
        out_clipped[s, 0] = out_clipped[s, 1] = math.nan
        out_clipped[s, 2] = 0.0
        if not (math.isfinite(outer[s]) and outer[s] > 0.0):
            continue
        first_j, last_j = max(0, math.ceil(y[s] - outer[s])), min(n_rows - 1, math.floor(y[s] + outer[s]))
        first_i, last_i = max(0, math.ceil(x[s] - outer[s])), min(n_columns - 1, math.floor(x[s] + outer[s]))
        if last_j < first_j or last_i < first_i:
            continue
        values = np.empty((last_j - first_j + 1) * (last_i - first_i + 1))
        n = 0
        for j in range(first_j, last_j + 1):
            for i in range(first_i, last_i + 1):
                square = (j - y[s]) ** 2 + (i - x[s]) ** 2
                if square < inner[s] ** 2 or square > outer[s] ** 2 or is_dropped(mask[j, i], drop):
                    continue
                d = float(image[j, i])
                if math.isfinite(d):
                    values[n] = d
                    n += 1
        if n == 0:
            continue
        ordered = np.sort(values[:n])
        center = _find_quantile(ordered, 0.5)
        sigma = _IQ_TO_SIGMA * (_find_quantile(ordered, 0.75) - _find_quantile(ordered, 0.25))
        count = 0
        for _ in range(n_passes):
            low, high = center - n_sigma * sigma, center + n_sigma * sigma
            total = squares = 0.0
            count = 0
            for k in range(n):
                if low <= ordered[k] <= high:
                    offset = ordered[k] - center
                    total += offset
                    squares += offset * offset
                    count += 1
            if count == 0:
                break
            mean = total / count
            center += mean
            sigma = math.sqrt(max(0.0, squares - count * mean * mean) / max(1, count - 1))
        if count:
            out_clipped[s, 0] = center
            out_clipped[s, 1] = sigma
            out_clipped[s, 2] = count
