"""Combine many images, row by row, in one pass over their pixels."""

from __future__ import annotations

__all__ = ("accumulate_rows", "compose_rows", "stack_rows")

from typing import Any

import numpy as np

from ._jit import kernel
from .stack_code_nb import BIG, LANES
from .stack_order_nb import clip, find_median, find_window, load, sort_in_memory, sort_in_registers
from .stack_sums_nb import (
    CLIPPED,
    EDGE,
    REJECTED,
    accumulate,
    accumulate_deviations,
    accumulate_left_out,
    choose_extreme,
)
from .stack_types_nb import (
    CLIPPED_MEAN,
    LEFT_UNION,
    LEFT_WEIGHT,
    MAX,
    MEDIAN,
    MIN,
    NUMBER,
    REASONS,
    SPREAD,
    UNION,
    VALUE,
    WEIGHT,
    Inputs,
    Outputs,
    Settings,
    Sums,
)

LEAST_REST = np.float32(1e-4)
"""Smallest 1 - sum(w**2) / sum(w)**2 of which a deviation is made; below it one value has all the weight."""


SEGMENT_BYTES = 1 << 19
"""Pixels of so much memory are read twice before others are, so that they stay in the second cache."""


@kernel
def _find_rows(inputs: Inputs, y: int, out_rows: Any) -> None:
    """Find the addresses of row y of all inputs."""
    for plane in range(out_rows.shape[0]):
        for k in range(out_rows.shape[1]):
            out_rows[plane, k] = inputs.addresses[plane, k] + y * inputs.strides[plane, k]


@kernel
def _find_lanes(begin: int, end: int, first: int, start: int) -> int:
    """Return as bits which pixels of a block are counted: of columns begin to end, from ``start`` on."""
    lanes = 0
    for lane in range(LANES):
        x = first + lane
        if x >= start and begin <= x < end:
            lanes |= 1 << lane
    return lanes


@kernel
def _add_blocks(
    rows: Any, inputs: Inputs, settings: Settings, y: int, begin: int, end: int, start: int, sums: Sums,
    sum_used: Any,
) -> None:  # fmt: skip
    """Add all inputs to sums of blocks, columns begin to end; those before ``start`` are not counted."""
    # Addresses are looked up once: where arrays meet in a loop, references to
    # them are counted, which costs more than the block.
    at_rows, at_weights, n = rows.ctypes.data, inputs.weights.ctypes.data, inputs.weights.size
    place = y * sums.real.strides[1]
    center = sums.windows.ctypes.data + place
    width = center + sums.windows.strides[0]
    real, whole, stride = sums.real.ctypes.data + place, sums.whole.ctypes.data + place, sums.real.strides[0]
    bits, used = settings.bits.ctypes.data, sum_used.ctypes.data
    first_counted, after_counted = settings.columns
    is_median = settings.kind == MEDIAN
    for first in range(begin, end, LANES):
        lanes = _find_lanes(first_counted, after_counted, first, start)
        at = 4 * first
        if is_median:
            accumulate_deviations(
                at_rows, n, at, bits, at_weights, used, lanes, center + at, width + at, real + at,
                whole + at, stride,
            )  # fmt: skip
        else:
            accumulate(
                at_rows, n, at, bits, at_weights, used, lanes, center + at, width + at, real + at,
                whole + at, stride,
            )  # fmt: skip
    for p in range(settings.planes.size):
        plane, bad = settings.planes[p], settings.bits[0]
        total = sums.left.ctypes.data + p * sums.left.strides[0] + place
        for first in range(begin, end, LANES):
            union = np.int32(0)
            for lane in range(LANES):
                union |= sums.whole[LEFT_UNION, y, first + lane]
            if union & plane:  # in few blocks
                at = 4 * first
                accumulate_left_out(
                    at_rows, n, at, bad, plane, at_weights, center + at, width + at, total + at
                )


@kernel
def _put_back(saved: Sums, first: int, y: int, width: int, sums: Sums) -> None:
    """Copy sums of the first ``width`` pixels of a block back."""
    for lane in range(width):
        for plane in range(4):
            sums.real[plane, y, first + lane] = saved.real[plane, 0, lane]
            sums.whole[plane, y, first + lane] = saved.whole[plane, 0, lane]
        for plane in range(sums.left.shape[0]):
            sums.left[plane, y, first + lane] = saved.left[plane, 0, lane]


@kernel
def _add_columns(
    rows: Any, inputs: Inputs, settings: Settings, y: int, begin: int, end: int, sums: Sums, sum_used: Any
) -> None:
    """Add all inputs to the sums of a row from column begin to end: whole blocks, or the last columns."""
    over = (end - begin) % LANES
    if over:
        # The last block overlaps with the one before it.  It comes first, and
        # the sums that it shares are put back.
        first, row = end - LANES, slice(y, y + 1)
        saved = Sums(
            sums.real[:, row, first:end].copy(),
            sums.whole[:, row, first:end].copy(),
            sums.left[:, row, first:end].copy(),
            sums.windows,
        )
        _add_blocks(rows, inputs, settings, y, first, end, end - over, sums, sum_used)
        _put_back(saved, first, y, LANES - over, sums)
    _add_blocks(rows, inputs, settings, y, begin, end - over, begin, sums, sum_used)


@kernel
def accumulate_rows(
    inputs: Inputs, settings: Settings, begin: int, end: int, sums: Sums, sum_used: Any
) -> None:
    """Add inputs to the sums of some rows, for a mean.

    Parameters
    ----------
    inputs
        What is added.
    settings
        How.
    begin, end
        First row, and the one after the last.
    sums
        Sums, which are added to, at least `LANES` pixels wide.  Their windows
        hold 0 and `BIG`.
    sum_used
        Number of counted pixels of each input, int64, shape ``(n,)``; added to.
    """
    rows = np.empty(inputs.addresses.shape, np.int64)
    for y in range(begin, end):
        _find_rows(inputs, y, rows)
        _add_columns(rows, inputs, settings, y, 0, sums.real.shape[2], sums, sum_used)


@kernel
def _find_windows(
    rows: Any, inputs: Inputs, settings: Settings, unrolled: Any, pairs: Any, begin: int, end: int,
    scratch: Any, windows: Any,
) -> None:  # fmt: skip
    """Find the median of pixels of a row, or the window of their clipped mean.

    Parameters
    ----------
    rows
        Addresses of the row of all inputs.
    inputs, settings, unrolled, pairs
        Those of `stack_rows`.
    begin, end
        First column, and the one after the last.
    scratch
        Values of a block, float32, shape ``(2, size, LANES)``.
    windows
        Median and `BIG`, or middle and half width, which are filled; shape
        ``(2, 1, nx)``.
    """
    nx, n, number = windows.shape[2], inputs.weights.size, np.zeros(LANES, np.int32)
    at_rows, at_number, at_weights = rows.ctypes.data, number.ctypes.data, inputs.weights.ctypes.data
    values, at_pairs, n_pairs = scratch.ctypes.data, pairs.ctypes.data, pairs.shape[0]
    ordered = values + scratch.strides[0]
    center, width = windows.ctypes.data, windows.ctypes.data + windows.strides[0]
    bad, n_sigma, is_median = settings.bits[0], settings.n_sigma, settings.kind == MEDIAN
    for start in range(begin, end, LANES):
        at = 4 * min(start, nx - LANES)
        load(at_rows, n, at, bad, values, at_number)
        if n_pairs:
            scratch[1] = scratch[0]
            sort_in_memory(at_pairs, n_pairs, ordered)
        else:
            sort_in_registers(unrolled, values, ordered)
        if is_median:
            find_median(ordered, at_number, center + at)
        else:
            find_window(ordered, at_number, n_sigma, center + at, width + at)
            for _ in range(settings.iterations - 1):
                clip(values, n, at_weights, center + at, width + at, n_sigma, LEAST_REST)


@kernel
def _mark_planes(settings: Settings, y: int, row: int, sums: Sums, out: Outputs) -> None:
    """Set the planes for which much weight was left out, in a row."""
    for p in range(settings.planes.size):
        threshold, plane = settings.thresholds[p], settings.planes[p]
        for x in range(out.mask.shape[1]):
            left = sums.left[p, y, x]
            is_much = left > threshold * (sums.real[WEIGHT, y, x] + left)
            out.mask[row, x] |= plane if is_much else np.int32(0)


@kernel
def compose_rows(settings: Settings, begin: int, end: int, y0: int, sums: Sums, out: Outputs) -> None:
    """Make the result of sums.

    Parameters
    ----------
    settings
        How they were made.
    begin, end
        First row of the sums, and the one after the last.
    y0
        Row of the result that the first of these becomes.
    sums
        Sums over inputs.
    out
        Result, which is filled.
    """
    real, nan, none = sums.real, np.float32(np.nan), np.int32(0)
    no_data, rejected, clipped, edge, inexact = settings.marks
    for y in range(begin, end):
        row = y0 + y - begin
        for x in range(real.shape[2]):
            number, reasons, mask = (
                sums.whole[NUMBER, y, x],
                sums.whole[REASONS, y, x],
                sums.whole[UNION, y, x],
            )
            weight, left = real[WEIGHT, y, x], real[LEFT_WEIGHT, y, x]
            value, variance = sums.windows[0, y, x], real[SPREAD, y, x]
            if settings.kind <= CLIPPED_MEAN:
                value += real[VALUE, y, x] / weight
                variance /= weight * weight
            elif settings.kind == MEDIAN:
                mean = np.float32(number) / variance
                variance = settings.factors[number] * mean * mean
            out.image[row, x] = value if number > 0 else nan
            out.variance[row, x] = variance if number > 0 else nan
            out.weight[row, x] = weight
            out.left[row, x] = left / (weight + left) if left > 0 else np.float32(0.0)
            out.count[row, x] = number
            mask |= no_data if number == 0 else none
            mask |= rejected | inexact if reasons & (REJECTED | CLIPPED) else none
            mask |= clipped if reasons & CLIPPED else none
            mask |= edge | inexact if reasons & EDGE else none
            out.mask[row, x] = mask
        _mark_planes(settings, y, row, sums, out)


@kernel
def _clear(sums: Sums) -> None:
    """Begin anew."""
    sums.real[:] = 0
    sums.whole[:] = 0
    sums.left[:] = 0
    sums.windows[0] = 0
    sums.windows[1] = np.float32(BIG)


@kernel
def _choose(rows: Any, inputs: Inputs, settings: Settings, sums: Sums) -> None:
    """Put the pixels of the extreme input of a row in the place of sums."""
    nx, n, at_rows, bad = sums.real.shape[2], inputs.weights.size, rows.ctypes.data, settings.bits[0]
    sign = np.float32(-1.0) if settings.kind == MIN else np.float32(1.0)
    value = sums.windows.ctypes.data
    variance = sums.real.ctypes.data + SPREAD * sums.real.strides[0]
    mask = sums.whole.ctypes.data + UNION * sums.whole.strides[0]
    for start in range(0, nx, LANES):
        at = 4 * min(start, nx - LANES)
        choose_extreme(at_rows, n, at, bad, sign, value + at, variance + at, mask + at)


@kernel
def stack_rows(
    inputs: Inputs, settings: Settings, unrolled: Any, pairs: Any, begin: int, end: int, sum_used: Any,
    out: Outputs,
) -> None:  # fmt: skip
    """Combine some rows of all inputs.

    Parameters
    ----------
    inputs, settings
        What is combined, and how.
    unrolled
        A tuple of as many numbers as values are sorted: no less than there are
        inputs.  Code is made for each size.
    pairs
        Exchanges that sort as many values in memory instead, int64, shape
        ``(n_pairs, 2)``; empty to sort in registers.
    begin, end
        First row, and the one after the last.
    sum_used
        Number of counted pixels of each input, int64, shape ``(n,)``; added to.
    out
        Result, at least `LANES` pixels wide, of which these rows are filled.
    """
    nx = out.image.shape[1]
    rows = np.empty(inputs.addresses.shape, np.int64)
    size = max(len(unrolled), inputs.weights.size)
    scratch = np.full((2, size, LANES), np.float32(BIG), np.float32)
    sums = Sums(
        np.zeros((4, 1, nx), np.float32),
        np.zeros((4, 1, nx), np.int32),
        np.zeros((settings.planes.size, 1, nx), np.float32),
        np.zeros((2, 1, nx), np.float32),
    )
    width = max(SEGMENT_BYTES // (12 * inputs.weights.size * LANES), 1) * LANES
    for y in range(begin, end):
        _find_rows(inputs, y, rows)
        _clear(sums)
        for start in range(0, nx, width):
            stop = min(start + width, nx)
            if settings.kind == CLIPPED_MEAN or settings.kind == MEDIAN:
                _find_windows(rows, inputs, settings, unrolled, pairs, start, stop, scratch, sums.windows)
            _add_columns(rows, inputs, settings, 0, start, stop, sums, sum_used)
        if settings.kind == MIN or settings.kind == MAX:
            _choose(rows, inputs, settings, sums)
        compose_rows(settings, 0, 1, y, sums, out)
