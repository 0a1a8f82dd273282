"""Crosstalk between the amplifiers of a detector."""

from __future__ import annotations

__all__ = ("count_bracket", "flag_beyond", "flag_sources", "subtract_crosstalk")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

# Columns that are worked on at a time: values and squares of 16 amplifiers
# take 24 kB, which the innermost cache holds.
_CHUNK = 192


@kernel
def subtract_crosstalk(
    image: NDArray[np.float32],
    geometry: NDArray[np.int64],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    terms: NDArray[np.int64],
    n_terms: NDArray[np.int64],
    coefficients: NDArray[np.float32],
    row_range: tuple[int, int],
    out_subtrahend: NDArray[np.float32],
    out_image: NDArray[np.float32],
) -> None:
    """Subtract from every amplifier the weighted sum of all others.

    Parameters
    ----------
    image
        Untrimmed image, shape ``(ny, nx)``.
    geometry
        By amplifier, shape ``(n, 6)``: first column, first row, width, height, and 1 where columns or
        rows run towards the readout corner.
    before, after
        Factors on the pixels of an amplifier before and after, shape ``(n,)``.
    terms, n_terms, coefficients
        Terms of the sum of each target, shape ``(n, 2 n)``, and their number, shape ``(n,)``: amplifier
        ``k`` for its pixels, ``n + k`` for their squares.
    row_range
        First row from the readout corner, and the one after the last.
    out_subtrahend, out_image
        What was subtracted, and the difference; shape ``(ny, nx)``, written where there are amplifiers.
    """
    n = geometry.shape[0]
    width = geometry[0, 2]
    stack = np.empty((2 * n, _CHUNK), np.float32)
    total = np.empty(_CHUNK, np.float32)
    for row in range(row_range[0], row_range[1]):
        for begin in range(0, width, _CHUNK):
            size = min(_CHUNK, width - begin)
            for k in range(n):
                y = geometry[k, 1] + (geometry[k, 3] - 1 - row if geometry[k, 5] else row)
                factor = before[k]
                if geometry[k, 4]:
                    x = geometry[k, 0] + width - begin - size
                    source = image[y, x : x + size][::-1]
                    for i in range(size):
                        stack[k, i] = source[i] * factor
                else:
                    x = geometry[k, 0] + begin
                    source_forward = image[y, x : x + size]
                    for i in range(size):
                        stack[k, i] = source_forward[i] * factor
                for i in range(size):
                    stack[n + k, i] = stack[k, i] * stack[k, i]
            for k in range(n):
                for i in range(size):
                    total[i] = 0.0
                _accumulate(stack, terms[k], n_terms[k], coefficients[k], size, total)
                y = geometry[k, 1] + (geometry[k, 3] - 1 - row if geometry[k, 5] else row)
                factor = after[k]
                if geometry[k, 4]:
                    x = geometry[k, 0] + width - begin - size
                    target = out_image[y, x : x + size][::-1]
                    subtrahend = out_subtrahend[y, x : x + size][::-1]
                    for i in range(size):
                        target[i] = (stack[k, i] - total[i]) * factor
                    for i in range(size):
                        subtrahend[i] = total[i]
                else:
                    x = geometry[k, 0] + begin
                    target_forward = out_image[y, x : x + size]
                    subtrahend_forward = out_subtrahend[y, x : x + size]
                    for i in range(size):
                        target_forward[i] = (stack[k, i] - total[i]) * factor
                    for i in range(size):
                        subtrahend_forward[i] = total[i]


@kernel
def _accumulate(
    stack: NDArray[np.float32],
    terms: NDArray[np.int64],
    n_terms: int,
    coefficients: NDArray[np.float32],
    size: int,
    sum_total: NDArray[np.float32],
) -> None:
    """Add terms one after the other, six in a pass over the row."""
    term = 0
    while term + 6 <= n_terms:
        a, b, c = stack[terms[term]], stack[terms[term + 1]], stack[terms[term + 2]]
        d, e, f = stack[terms[term + 3]], stack[terms[term + 4]], stack[terms[term + 5]]
        ca, cb, cc = coefficients[term], coefficients[term + 1], coefficients[term + 2]
        cd, ce, cf = coefficients[term + 3], coefficients[term + 4], coefficients[term + 5]
        for i in range(size):
            # From left to right, each product and each sum rounded.
            sum_total[i] = (
                sum_total[i] + ca * a[i] + cb * b[i] + cc * c[i] + cd * d[i] + ce * e[i] + cf * f[i]
            )
        term += 6
    while term < n_terms:
        a, ca = stack[terms[term]], coefficients[term]
        for i in range(size):
            sum_total[i] = sum_total[i] + ca * a[i]
        term += 1


@kernel
def count_bracket(
    image: NDArray[np.float32],
    box: tuple[int, int, int, int],
    low: float,
    high: float,
    out_inside: NDArray[np.float32],
) -> tuple[int, int, int]:
    """Count the pixels below a bracket, and gather those in it.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    box
        First column, first row, width and height.
    low, high
        Ends of the bracket, which belong to it.
    out_inside
        Pixels in the bracket, shape ``(width * height + 1,)``.

    Returns
    -------
    n_below, n_inside, n_nan
        Pixels below, in the bracket, and without a number.
    """
    n_below = n_inside = n_nan = 0
    for y in range(box[1], box[1] + box[3]):
        row = image[y, box[0] : box[0] + box[2]]
        for i in range(row.size):
            n_below += row[i] < low
            n_nan += row[i] != row[i]
        for i in range(row.size):
            # Written always and kept seldom, which costs less than a branch.
            out_inside[n_inside] = row[i]
            n_inside += (row[i] >= low) & (row[i] <= high)
    return n_below, n_inside, n_nan


@kernel
def flag_beyond(
    image: NDArray[np.float32],
    boxes: NDArray[np.int64],
    offsets: NDArray[np.float32],
    limit: float,
    bit: int,
    out_mask: NDArray[np.uint16],
) -> None:
    """Set a bit where a pixel is as far from an offset as a limit, or farther.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    boxes
        Boxes, shape ``(n, 4)``: first column, first row, width and height.
    offsets
        Offset of each box, shape ``(n,)``.
    limit
        Smallest distance that counts.
    bit
        Bit to set.
    out_mask
        Mask, shape ``(ny, nx)``; other bits stay.
    """
    set_bit, none = np.uint16(bit), np.uint16(0)
    for k in range(boxes.shape[0]):
        x, y, width, height = boxes[k]
        offset = offsets[k]
        for j in range(y, y + height):
            row, mask = image[j, x : x + width], out_mask[j, x : x + width]
            for i in range(width):
                mask[i] |= set_bit if abs(row[i] - offset) >= limit else none


@kernel
def flag_sources(
    image: NDArray[np.float32],
    geometry: NDArray[np.int64],
    before: NDArray[np.float32],
    contributes: NDArray[np.bool_],
    limit: float,
    bit: int,
    out_mask: NDArray[np.uint16],
) -> None:
    """Set a bit in the amplifiers that a bright pixel has an effect on.

    Parameters
    ----------
    image
        Untrimmed image before the correction, shape ``(ny, nx)``.
    geometry, before
        As in `subtract_crosstalk`.
    contributes
        Whether a source [source, target] counts, shape ``(n, n)``.
    limit
        Smallest pixel that is bright.
    bit
        Bit to set.
    out_mask
        Mask, shape ``(ny, nx)``; other bits stay.
    """
    n = geometry.shape[0]
    for source in range(n):
        x0, y0, width, height, x_back, y_back = geometry[source]
        for j in range(height):
            row = image[y0 + j, x0 : x0 + width]
            brightest = np.float32(-np.inf)
            for i in range(width):
                brightest = max(brightest, row[i])
            if brightest * before[source] < limit:
                continue
            for i in range(width):
                if row[i] * before[source] < limit or row[i] != row[i]:
                    continue
                for target in range(n):
                    if not contributes[source, target]:
                        continue
                    x = width - 1 - i if geometry[target, 4] != x_back else i
                    y = height - 1 - j if geometry[target, 5] != y_back else j
                    out_mask[geometry[target, 1] + y, geometry[target, 0] + x] |= np.uint16(bit)
