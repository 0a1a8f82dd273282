"""Pictures of point sources from pixel models: linear combination and separable resampling."""

from __future__ import annotations

__all__ = ("draw_stamps", "fill_taps")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def fill_taps(
    phase: float,
    half: int,
    center: float,
    step: float,
    order: int,
    unit_sum: int,
    corrections: NDArray[np.float64],
    turns: NDArray[np.float64],
    out_first: NDArray[np.int64],
    out_taps: NDArray[np.float64],
) -> None:
    """Set the Lanczos weights of the model samples around each of a row of pixels.

    Pixel i lies ``i - half - phase`` pixels from the star, so at sample
    ``(i - half - phase) / step + center``.  Shapes: ``out_first`` (rows,), the
    first sample; ``out_taps`` (rows, 2 order), the weights from there on.
    ``unit_sum`` of 1 gives weights of that sum; with 0 they are divided by
    ``1 - 4 sum_j corrections[j - 1] sin(pi j f)**2`` at the sub-sample phase f.
    ``turns`` (2 order, 2) has sine and cosine of ``pi t / order``.
    """
    for i in range(out_first.shape[0]):
        position = (i - half - phase) / step + center
        base = math.floor(position)
        fraction = position - base
        out_first[i] = int(base) - order + 1
        taps = out_taps[i]
        if fraction == 0.0:
            taps[:] = 0.0
            taps[order - 1] = 1.0
            continue
        # Reflected, so that the sine keeps its precision next to both samples.
        sine = math.sin(math.pi * min(fraction, 1.0 - fraction))
        start_sine = math.sin(math.pi * (fraction + (order - 1)) / order)
        start_cosine = math.cos(math.pi * (fraction + (order - 1)) / order)
        scale = sine * order / (math.pi * math.pi)
        total = 0.0
        for t in range(2 * order):
            distance = fraction + (order - 1 - t)
            # sin(pi distance / order) as the sine of a difference: a third of
            # the time of the drawing goes into sines otherwise.
            window = start_sine * turns[t, 1] - start_cosine * turns[t, 0]
            if t == order - 1 or t == order:
                # Next to a sample the difference of the products loses digits.
                window = math.sin(math.pi * distance / order)
            sign = 1.0 if (order - 1 - t) % 2 == 0 else -1.0
            taps[t] = sign * scale * window / (distance * distance)
            total += taps[t]
        if unit_sum == 0:
            # The sines squared through cosines of multiples, by recurrence.
            total = 1.0
            cosine = math.cos(2.0 * math.pi * fraction)
            before, now = 1.0, cosine
            for j in range(corrections.shape[0]):
                total -= 2.0 * corrections[j] * (1.0 - now)
                before, now = now, 2.0 * cosine * now - before
        for t in range(2 * order):
            taps[t] /= total


# The offsets are unsigned: for signed ones each access asks whether the index
# counts from the end, which keeps the loops from being vectorized; slices
# instead of offsets cost four times as much on short rows.


@kernel
def _add_four(
    source: NDArray[np.float64],
    begin: np.uint64,
    step: np.uint64,
    weights: NDArray[np.float64],
    length: int,
    place: np.uint64,
    sum_values: NDArray[np.float64],
) -> None:
    """Add to ``length`` values from ``place`` on four weighted rows of the source.

    They start at ``begin`` and every ``step`` values after it.  Four at a time
    save traffic on the sum.
    """
    second, third, fourth = begin + step, begin + step + step, begin + step + step + step
    a, b, c, d = weights[0], weights[1], weights[2], weights[3]
    for i in range(length):
        e = np.uint64(i)
        sum_values[place + e] += (a * source[begin + e] + b * source[second + e]) + (
            c * source[third + e] + d * source[fourth + e]
        )


@kernel
def _add_one(
    source: NDArray[np.float64],
    begin: np.uint64,
    weight: float,
    length: int,
    place: np.uint64,
    sum_values: NDArray[np.float64],
) -> None:
    """Add one weighted row."""
    for i in range(length):
        e = np.uint64(i)
        sum_values[place + e] += weight * source[begin + e]


@kernel
def _combine_components(
    components: NDArray[np.float64],
    indices: NDArray[np.int64],
    weights: NDArray[np.float64],
    length: int,
    place: int,
    out_values: NDArray[np.float64],
) -> None:
    """Set ``length`` values to the sum over m of ``weights[m] * components[indices[m]]``."""
    start = np.uint64(place)
    for i in range(length):
        out_values[start + np.uint64(i)] = 0.0
    m = 0
    while m < indices.shape[0]:
        begin = np.uint64(indices[m] * length)
        # Polynomials take all components in their order.
        run = 1
        while run < 4 and m + run < indices.shape[0] and indices[m + run] == indices[m] + run:
            run += 1
        if run == 4:
            _add_four(components, begin, np.uint64(length), weights[m : m + 4], length, start, out_values)
            m += 4
        else:
            _add_one(components, begin, weights[m], length, start, out_values)
            m += 1


@kernel
def _combine_rows(
    source: NDArray[np.float64],
    width: int,
    length: int,
    first: NDArray[np.int64],
    taps: NDArray[np.float64],
    out_rows: NDArray[np.float64],
) -> None:
    """Set row r of ``length`` values to the weighted sum of rows of the source.

    The source is flat, with rows of ``width`` values.  Where all pixels have
    the same phase, one long row stands for all of them: ``length`` is then a
    multiple of ``width``.
    """
    fours = taps.shape[1] // 4 * 4
    for r in range(first.shape[0]):
        place = np.uint64(r * length)
        for i in range(length):
            out_rows[place + np.uint64(i)] = 0.0
        for t in range(0, fours, 4):
            begin = np.uint64((first[r] + t) * width)
            _add_four(source, begin, np.uint64(width), taps[r, t : t + 4], length, place, out_rows)
        # An odd order leaves two.
        for t in range(fours, taps.shape[1]):
            _add_one(source, np.uint64((first[r] + t) * width), taps[r, t], length, place, out_rows)


@kernel
def _measure(stamp: NDArray[np.float64]) -> tuple[float, float]:
    """Return the sums of the values and of their squares.

    Four sums in turn, because each addition waits for the one before.
    """
    a0 = a1 = a2 = a3 = 0.0
    b0 = b1 = b2 = b3 = 0.0
    whole = stamp.shape[0] // 4 * 4
    for e in range(0, whole, 4):
        a0 += stamp[e]
        a1 += stamp[e + 1]
        a2 += stamp[e + 2]
        a3 += stamp[e + 3]
        b0 += stamp[e] * stamp[e]
        b1 += stamp[e + 1] * stamp[e + 1]
        b2 += stamp[e + 2] * stamp[e + 2]
        b3 += stamp[e + 3] * stamp[e + 3]
    for e in range(whole, stamp.shape[0]):
        a0 += stamp[e]
        b0 += stamp[e] * stamp[e]
    return (a0 + a1) + (a2 + a3), (b0 + b1) + (b2 + b3)


@kernel
def _make_turns(order: int, out_turns: NDArray[np.float64]) -> None:
    """Set the sine and cosine of ``pi t / order``, shape ``(2 order, 2)``."""
    for t in range(2 * order):
        out_turns[t, 0] = math.sin(math.pi * t / order)
        out_turns[t, 1] = math.cos(math.pi * t / order)


@kernel
def _transpose(
    values: NDArray[np.float64], rows: int, columns: int, pad: int, out_turned: NDArray[np.float64]
) -> None:
    """Turn a picture (rows * columns,) on its side, after ``pad`` rows of the turned one."""
    for x in range(columns):
        for y in range(rows):
            out_turned[np.uint64((x + pad) * rows + y)] = values[np.uint64(y * columns + x)]


@kernel
def _scale_transposed(
    values: NDArray[np.float64], rows: int, columns: int, factor: float, out_stamp: NDArray[np.float64]
) -> None:
    """Set a stamp (rows, columns) to a factor times a picture that lies on its side."""
    for y in range(rows):
        for x in range(columns):
            out_stamp[y, x] = values[np.uint64(x * rows + y)] * factor


@kernel
def draw_stamps(
    components: NDArray[np.float64],
    model_shape: tuple[int, int],
    indices: NDArray[np.int64],
    weights: NDArray[np.float64],
    phases: NDArray[np.float64],
    step: float,
    order: int,
    unit_sum: int,
    corrections: NDArray[np.float64],
    pad: int,
    divisors: NDArray[np.float64],
    targets: NDArray[np.int64],
    out_stamps: NDArray[np.float64],
    out_sums: NDArray[np.float64],
) -> None:
    """Draw the stars s into ``out_stamps[targets[s]]``.

    Shapes: ``components`` (k * my * mx,), ``model_shape`` (my, mx); ``indices``
    (n, m) or (1, m) for all stars, ``weights`` (n, m): the model of star s is
    the sum of ``weights[s, i]`` times component ``indices[s, i]``.  ``phases`` (n, 2)
    are x and y minus those of the central pixel; ``step`` pixels per sample;
    ``pad`` samples of zero on every side, enough for all taps; ``divisors``
    (n,), what to divide the picture by, 0 for its own sum; ``out_stamps``
    (any, h, w) with odd sides; ``out_sums`` (any, 2): sum of the values and of their squares.
    """
    model_rows, model_columns = model_shape
    rows, columns = out_stamps.shape[1:]
    # One long row serves all pixels where they share a phase.
    shared = step == 1.0
    tap_rows = 1 if shared else rows
    tap_columns = 1 if shared else columns
    row_length = rows * model_columns if shared else model_columns
    column_length = columns * rows if shared else rows
    turns = np.empty((2 * order, 2))
    _make_turns(order, turns)
    first_row = np.empty(tap_rows, np.int64)
    first_column = np.empty(tap_columns, np.int64)
    row_taps = np.empty((tap_rows, 2 * order))
    column_taps = np.empty((tap_columns, 2 * order))
    padded = np.zeros((model_rows + 2 * pad) * model_columns)
    model_size = model_rows * model_columns
    half_drawn = np.empty(rows * model_columns)
    turned = np.zeros((model_columns + 2 * pad) * rows)
    drawn = np.empty(columns * rows)
    row_center = float(model_rows // 2 + pad)
    column_center = float(model_columns // 2 + pad)
    for s in range(targets.shape[0]):
        terms = indices[min(s, indices.shape[0] - 1)]
        _combine_components(components, terms, weights[s], model_size, pad * model_columns, padded)
        # Rows first, then columns.
        fill_taps(
            phases[s, 1],
            rows // 2,
            row_center,
            step,
            order,
            unit_sum,
            corrections,
            turns,
            first_row,
            row_taps,
        )
        fill_taps(
            phases[s, 0],
            columns // 2,
            column_center,
            step,
            order,
            unit_sum,
            corrections,
            turns,
            first_column,
            column_taps,
        )
        _combine_rows(padded, model_columns, row_length, first_row, row_taps, half_drawn)
        # The second pass combines rows too, which run along memory.
        _transpose(half_drawn, rows, model_columns, pad, turned)
        _combine_rows(turned, rows, column_length, first_column, column_taps, drawn)
        total, squares = _measure(drawn)
        factor = 1.0 / (total if divisors[s] == 0.0 else divisors[s])
        _scale_transposed(drawn, rows, columns, factor, out_stamps[targets[s]])
        out_sums[targets[s], 0] = total * factor
        out_sums[targets[s], 1] = squares * factor * factor
