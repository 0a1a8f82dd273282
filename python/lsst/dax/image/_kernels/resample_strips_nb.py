"""Weighted sums and masks of a strip of target pixels."""

from __future__ import annotations

__all__ = ("MASK_WEIGHT_FLOOR", "SEGMENTS", "join_masks", "split_positions", "weigh_strip_plain")

from typing import Any

import numpy as np

from ._jit import kernel
from .resample_vectors_nb import STRIP

SEGMENTS = 128
"""Segments of a pixel in a table of weights."""

MASK_WEIGHT_FLOOR = 1e-6
"""Bilinear weight below which a pixel does not contribute: positions are no better known."""


@kernel
def _find_segments(positions: Any, shift: float, out_segments: Any, out_fractions: Any) -> None:
    """Find the place of each position in the table of weights."""
    last = np.int32(SEGMENTS - 1)
    for k in range(STRIP):
        x = positions[k] + shift
        place = (x - np.floor(x)) * SEGMENTS
        # NaN gives a fraction of NaN, in the last segment.
        segment = np.int32(place) if place < SEGMENTS - 1 else last
        out_segments[k] = segment
        out_fractions[k] = np.float32(place - segment)


@kernel
def _find_taps(
    positions: Any,
    shift: float,
    start: int,
    end: int,
    taps: int,
    first_tap: int,
    out_first: Any,
    out_inside: Any,
) -> None:
    """Find the first tap of each position, moved into the source, and whether it was there."""
    zero, last = np.int32(start), np.int32(end - taps)
    low, high, offset = start - shift - 16.0, end + 16.0, np.int32(first_tap)
    for k in range(STRIP):
        x = positions[k]
        # False for NaN as well; integers of that would be undefined.
        x = x if (x > low) & (x < high) else low
        first = np.int32(np.floor(x + shift)) + offset
        safe = min(max(first, zero), last)
        out_first[k] = safe
        out_inside[k] = np.int32(safe == first)


@kernel
def split_positions(
    positions: Any,
    area: Any,
    taps: int,
    first_tap: int,
    shift: float,
    out_places: Any,
    out_fractions: Any,
) -> None:
    """Split positions into first taps and places in the table of weights.

    Parameters
    ----------
    positions
        Source positions x and y, shape ``(2, STRIP)``.
    area
        Parent pixels of the source: first column and row, and those past the last.
    taps, first_tap, shift
        Taps along each axis, and the first one relative to the pixel that the
        position plus ``shift`` falls into.
    out_places
        Shape ``(6, STRIP)``: segments in x and y, first column and row, and
        whether all taps are in the source; the last row is scratch.  Columns
        and rows are moved into the source where they are not.
    out_fractions
        Shape ``(2, STRIP)`` or more rows: place within the segments, 0 to 1.
    """
    # Short loops over few arrays: LLVM makes vectors of no others.
    for axis in range(2):
        _find_segments(positions[axis], shift, out_places[axis], out_fractions[axis])
    inside, other = out_places[4], out_places[5]
    _find_taps(positions[0], shift, area[0], area[2], taps, first_tap, out_places[2], inside)
    _find_taps(positions[1], shift, area[1], area[3], taps, first_tap, out_places[3], other)
    for k in range(STRIP):
        inside[k] &= other[k]


@kernel
def weigh_strip_plain(
    image: Any,
    variance: Any,
    x0: int,
    y0: int,
    table: Any,
    taps: int,
    places: Any,
    fractions: Any,
    out_sums: Any,
) -> None:
    """Weigh the neighbours of a strip of target pixels.

    Parameters
    ----------
    image, variance
        Planes of float32 that hold all of the taps.
    x0, y0
        Parent column and row that these planes start with.
    table
        Coefficients of the weights, shape ``(SEGMENTS, 3, n)`` with at least
        ``taps`` values on the last axis: constant, linear and quadratic.
    taps
        Taps along each axis.
    places, fractions
        As from `split_positions`.
    out_sums
        Shape ``(2, STRIP)``: the weighted sum of the image, and that of the
        variance with the squared weights.
    """
    weights = np.empty((2, taps), np.float32)
    for k in range(STRIP):
        for axis in range(2):
            segment, t = places[axis, k], fractions[axis, k]
            for tap in range(taps):
                weights[axis, tap] = table[segment, 0, tap] + t * (
                    table[segment, 1, tap] + t * table[segment, 2, tap]
                )
        column, row = np.int64(places[2, k]) - x0, np.int64(places[3, k]) - y0
        total, total_variance = np.float32(0.0), np.float32(0.0)
        for j in range(taps):
            part, part_variance = np.float32(0.0), np.float32(0.0)
            for i in range(taps):
                weight = weights[0, i]
                part += weight * image[row + j, column + i]
                part_variance += weight * weight * variance[row + j, column + i]
            total += weights[1, j] * part
            total_variance += weights[1, j] * weights[1, j] * part_variance
        out_sums[0, k], out_sums[1, k] = total, total_variance


@kernel
def _grow_masks(mask: Any, x0: int, y0: int, places: Any, taps: int, grown: Any, out_bits: Any) -> None:
    """Join some bits over all taps."""
    for k in range(STRIP):
        if places[4, k] != 0:
            bits = out_bits[k]
            for j in range(taps):
                for i in range(taps):
                    bits |= mask[places[3, k] - y0 + j, places[2, k] - x0 + i] & grown
            out_bits[k] = bits


@kernel
def join_masks(
    mask: Any,
    x0: int,
    y0: int,
    positions: Any,
    places: Any,
    taps: int,
    nearest: Any,
    grown: Any,
    out_bits: Any,
) -> None:
    """Join the mask bits of the pixels that contribute to a strip of target pixels.

    Parameters
    ----------
    mask
        Mask words that hold all of the taps.
    x0, y0
        Parent column and row that they start with.
    positions, places
        As from `split_positions`.
    taps
        Taps along each axis.
    nearest
        Whether only the nearest pixel counts, instead of the two by two
        around the position.
    grown
        Bits that are joined over all taps as well.
    out_bits
        Joined bits, shape ``(STRIP,)``; left alone where not inside.
    """
    low, high = MASK_WEIGHT_FLOOR, 1.0 - MASK_WEIGHT_FLOOR
    if nearest:
        low = high = 0.5
    for k in range(STRIP):
        if places[4, k] == 0:
            continue
        if taps == 1:
            out_bits[k] = mask[places[3, k] - y0, places[2, k] - x0]
            continue
        x, y = positions[0, k], positions[1, k]
        floor_x, floor_y = np.floor(x), np.floor(y)
        column, row = np.int64(floor_x) - x0, np.int64(floor_y) - y0
        # A neighbour without weight is left out: then both are one.
        left, right = np.uint64(column + (x - floor_x >= high)), np.uint64(column + (x - floor_x >= low))
        bottom, top = np.uint64(row + (y - floor_y >= high)), np.uint64(row + (y - floor_y >= low))
        out_bits[k] = mask[bottom, left] | mask[bottom, right] | mask[top, left] | mask[top, right]
    if grown != 0:
        _grow_masks(mask, x0, y0, places, taps, grown, out_bits)
