"""Interpolation along rows over runs of bad pixels."""

from __future__ import annotations

__all__ = ("interpolate_runs",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .isr_scan_nb import next_marked

# Pixels from a good one within which its neighbourhood matters; the tables of
# weights are made for the same numbers.
_REACH = 6
_WIDE = 11


@kernel
def interpolate_runs(
    mask: NDArray[np.uint16],
    words: NDArray[np.uint64],
    bits: int,
    interpolated: int,
    weights: NDArray[np.float64],
    one_sided: NDArray[np.float64],
    fallback: float,
    out_image: NDArray[np.float32],
    out_variance: NDArray[np.float32],
    out_mask: NDArray[np.uint16],
) -> None:
    """Replace every run of bad pixels of every row.

    Parameters
    ----------
    mask
        Mask, flat, shape ``(ny * nx,)``; it is not the memory of ``out_mask``.
    words
        The same memory, 4 pixels at a time, shape ``(ny * nx // 4,)``.
    bits
        Bits of which one makes a pixel bad.
    interpolated
        Bit that marks what was replaced.
    weights
        Weights of the good pixels two and one to the left, one and two to the right, shape
        ``(4, 12, 13, 4)``: by the case (1 if the second to the left is there, plus 2 if the second to the
        right is), the length of the run (11: wide, of which the pixels are the first 6, any between, and the
        last 6) and the pixel.
    one_sided
        Weights of the nearest good pixel and the next, by the distance less 1, shape ``(6, 2)``.
    fallback
        Value of pixels that no good pixel is near to.
    out_image, out_variance, out_mask
        Copies of the planes, shape ``(ny, nx)``; bad pixels are changed.
    """
    ny, nx = out_mask.shape
    position = next_marked(mask, words, bits, 0, ny * nx)
    while position < ny * nx:
        y = position // nx
        row = mask[y * nx : (y + 1) * nx]
        first = position - y * nx
        last = first
        while last + 1 < nx and row[last + 1] & bits != 0:
            last += 1
        for x in range(first, last + 1):
            out_mask[y, x] |= interpolated
        left_two = 1 if first >= 2 and row[first - 2] & bits == 0 else 0
        right_two = 1 if last + 2 < nx and row[last + 2] & bits == 0 else 0
        for values in (out_image[y], out_variance[y]):
            begin, end = first, last
            two_before, two_after = left_two, right_two
            if first == 0 and last == nx - 1:
                for x in range(nx):
                    values[x] = fallback
                continue
            if first == 0:
                if last < _REACH:
                    _extrapolate(values, last + 1, -1, last + 1, 1 + right_two, one_sided)
                    continue
                begin = last - _REACH + 1
                two_before = 1 if begin >= 2 else 0
                for x in range(begin):
                    values[x] = fallback
            if last == nx - 1:
                if last - first < _REACH:
                    _extrapolate(values, first - 1, 1, last - first + 1, 1 + left_two, one_sided)
                    continue
                end = first + _REACH - 1
                two_after = 1 if end + 2 < nx else 0
                for x in range(end + 1, nx):
                    values[x] = fallback
            _interpolate(values, begin, end, two_before + 2 * two_after, weights)
        position = next_marked(mask, words, bits, y * nx + last + 1, ny * nx)


@kernel
def _interpolate(
    values: NDArray[np.float32],
    first: int,
    last: int,
    case: int,
    weights: NDArray[np.float64],
) -> None:
    """Replace a run with pixels to use on both sides; ``values`` is changed."""
    length = last - first + 1
    two_left = np.float64(values[first - 2]) if case & 1 else 0.0
    one_left = np.float64(values[first - 1])
    one_right = np.float64(values[last + 1])
    two_right = np.float64(values[last + 2]) if case & 2 else 0.0
    for x in range(first, last + 1):
        pixel = x - first
        if length >= _WIDE:
            # The zones of the two ends share a pixel at the shortest length:
            # it is the right end's.
            if last - x < _REACH:
                pixel = 2 * _REACH - (last - x)
            elif pixel > _REACH:
                pixel = _REACH
        w = weights[case, min(length, _WIDE), pixel]
        value = w[0] * two_left + w[1] * one_left + w[2] * one_right + w[3] * two_right
        if length == 2 and case == 0 and value < 0.0:
            value = 0.0
        values[x] = value


@kernel
def _extrapolate(
    values: NDArray[np.float32],
    good: int,
    step: int,
    length: int,
    n_good: int,
    one_sided: NDArray[np.float64],
) -> None:
    """Replace a run that ends at the edge, going from the good pixel by ``step``; ``values`` is changed."""
    one = np.float64(values[good])
    two = np.float64(values[good - step]) if n_good > 1 else 0.0
    for distance in range(1, length + 1):
        value = one
        if n_good > 1:
            value = one_sided[distance - 1, 0] * one + one_sided[distance - 1, 1] * two
        values[good + step * distance] = value
