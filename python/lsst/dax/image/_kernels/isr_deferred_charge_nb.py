"""Inverse of the serial charge transfer: local electronics offset and traps."""

from __future__ import annotations

__all__ = ("CAPTURE_LINEAR", "CAPTURE_LOGISTIC", "CAPTURE_NONE", "CAPTURE_SPLINE", "restore_charge")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .isr_intervals_nb import find_interval

CAPTURE_NONE = 0
CAPTURE_LINEAR = 1
CAPTURE_LOGISTIC = 2
CAPTURE_SPLINE = 3

# Neighbours mostly lie in the same interval of a capture table.
_CHUNK = 64


@kernel
def restore_charge(
    box: tuple[int, int, int, int],
    flip: int,
    drift_scale: float,
    decays: NDArray[np.float64],
    capture: int,
    coefficients: NDArray[np.float64],
    knots: NDArray[np.float64],
    table: NDArray[np.int32],
    releases: NDArray[np.float64],
    transfer: float,
    out_image: NDArray[np.float32],
) -> None:
    """Undo the serial charge transfer of one amplifier, in place.

    Parameters
    ----------
    box
        First column, first row, width and height of the amplifier.
    flip
        1 if columns run towards the readout corner, else 0.
    drift_scale
        Fraction of the signal that drifts into the offset; nothing is done about it unless it is positive.
    decays
        What is left of the offset after 0, 1, ... transfers, shape ``(n,)``.
    capture
        Form of the capture function, one of the ``CAPTURE_`` numbers.
    coefficients
        Size and coefficients of a linear or logistic function; for a table the origin and the cells per
        unit of `find_interval`.
    knots
        Arguments, values and slopes of a table, shape ``(3, n + 1)``: the last interval is flat, and ends
        at infinity.
    table
        Table for `find_interval`, shape ``(1, n_cells)``.
    releases
        What a trap still holds after 0, 1, ... transfers, shape ``(m,)``; the second is its retention.
    transfer
        Fraction of the charge that is transferred.
    out_image
        Image, shape ``(ny, nx)``.
    """
    width = box[2]
    n_decays, n_releases = decays.size, releases.size
    signal = np.empty(width)
    # Before the first column there is nothing.
    drift, held = np.zeros(n_decays - 1 + width), np.zeros(n_releases + width)
    drift_now, held_now = drift[n_decays - 1 :], held[n_releases:]
    offset, occupancy = np.empty(width), np.empty(width)
    for y in range(box[1], box[1] + box[3]):
        row = out_image[y, box[0] : box[0] + width]
        if flip:
            row = row[::-1]
        n_nan = 0
        for i in range(width):
            signal[i] = row[i]
            n_nan += row[i] != row[i]
        if drift_scale > 0:
            _fill_drift(signal, drift_scale, drift_now)
            _maximum_before(drift, decays, offset)
            for i in range(width):
                signal[i] -= offset[i]
        if capture != CAPTURE_NONE:
            _fill_held(signal, capture, coefficients, knots, table, held_now)
            _maximum_before(held[:-1], releases, occupancy)
            retention = releases[1]
            for i in range(width):
                caught = held_now[i] - occupancy[i] * retention
                caught = caught if caught > 0 else 0.0
                released = occupancy[i] * (1 - retention)
                signal[i] -= transfer * (released - caught)
        for i in range(width):
            row[i] = signal[i]
        if n_nan:
            _spread_nan(row, n_decays - 1 if drift_scale > 0 else 0, n_releases if capture else 0)


@kernel
def _fill_drift(signal: NDArray[np.float64], drift_scale: float, out_drift: NDArray[np.float64]) -> None:
    """Scale the positive part of a signal."""
    for i in range(signal.size):
        positive = signal[i] if signal[i] > 0 else 0.0
        out_drift[i] = drift_scale * positive


@kernel
def _maximum_before(
    values: NDArray[np.float64], factors: NDArray[np.float64], out_maximum: NDArray[np.float64]
) -> None:
    """Find the largest of each value and those before it, each times the factor of its distance.

    The first ``factors.size - 1`` values have no place in the result.
    """
    # Indices count from the start of a view: the compiler must see that none is
    # negative, or it does not vectorize.  Nor does it a call of max.
    last = factors.size - 1
    n = out_maximum.size
    here, factor = values[last : last + n], factors[0]
    for i in range(n):
        out_maximum[i] = here[i] * factor
    j = 1
    # Four distances in a pass over the row.
    while j + 4 <= factors.size:
        fa, fb, fc, fd = factors[j], factors[j + 1], factors[j + 2], factors[j + 3]
        start = last - j
        va, vb = values[start : start + n], values[start - 1 : start - 1 + n]
        vc, vd = values[start - 2 : start - 2 + n], values[start - 3 : start - 3 + n]
        for i in range(n):
            a, b, c, d = va[i] * fa, vb[i] * fb, vc[i] * fc, vd[i] * fd
            a, c = a if a > b else b, c if c > d else d
            a = a if a > c else c
            out_maximum[i] = a if a > out_maximum[i] else out_maximum[i]
        j += 4
    while j < factors.size:
        here, factor = values[last - j : last - j + n], factors[j]
        for i in range(n):
            a = here[i] * factor
            out_maximum[i] = a if a > out_maximum[i] else out_maximum[i]
        j += 1


@kernel
def _fill_held(
    signal: NDArray[np.float64],
    capture: int,
    coefficients: NDArray[np.float64],
    knots: NDArray[np.float64],
    table: NDArray[np.int32],
    out_held: NDArray[np.float64],
) -> None:
    """Evaluate the capture function of the positive part of a signal."""
    if capture == CAPTURE_LINEAR:
        for i in range(signal.size):
            positive = signal[i] if signal[i] > 0 else 0.0
            caught = coefficients[1] * positive
            out_held[i] = caught if caught < coefficients[0] else coefficients[0]
    elif capture == CAPTURE_LOGISTIC:
        for i in range(signal.size):
            positive = signal[i] if signal[i] > 0 else 0.0
            exponent = -coefficients[2] * (positive - coefficients[1])
            out_held[i] = coefficients[0] / (1.0 + math.exp(exponent))
    else:
        for begin in range(0, signal.size, _CHUNK):
            end = min(begin + _CHUNK, signal.size)
            _interpolate(signal, begin, end, coefficients, knots, table, out_held)


@kernel
def _interpolate(
    signal: NDArray[np.float64],
    begin: int,
    end: int,
    coefficients: NDArray[np.float64],
    knots: NDArray[np.float64],
    table: NDArray[np.int32],
    out_held: NDArray[np.float64],
) -> None:
    """Interpolate in a table, for a part of the signal."""
    low, high = knots[0, 0], knots[0, knots.shape[1] - 2]
    point = _clip(signal[begin], low, high)
    k = find_interval(point, knots, table, 0, coefficients[0], coefficients[1])
    knot, value, slope = knots[0, k], knots[1, k], knots[2, k]
    next_knot = knots[0, k + 1]
    n_inside = 0
    for i in range(begin, end):
        point = _clip(signal[i], low, high)
        n_inside += (point >= knot) & (point < next_knot)
    if n_inside == end - begin:
        for i in range(begin, end):
            out_held[i] = slope * (_clip(signal[i], low, high) - knot) + value
        return
    for i in range(begin, end):
        point = _clip(signal[i], low, high)
        k = find_interval(point, knots, table, 0, coefficients[0], coefficients[1])
        out_held[i] = knots[2, k] * (point - knots[0, k]) + knots[1, k]


@kernel
def _clip(value: float, low: float, high: float) -> float:
    """Return the nearest number from the larger of low and zero to high; for NaN the lowest."""
    value = value if value > 0 else 0.0
    value = value if value > low else low
    return value if value < high else high


@kernel
def _spread_nan(out_row: NDArray[np.float32], n_drift: int, n_trap: int) -> None:
    """Make NaN what depends on a pixel that is."""
    reach = n_drift + n_trap
    left = -1
    for i in range(out_row.size):
        if out_row[i] != out_row[i]:
            left = reach
        elif left > 0:
            out_row[i] = np.nan
            left -= 1
