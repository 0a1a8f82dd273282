"""Corrections of non-linearity, pixel by pixel."""

from __future__ import annotations

__all__ = ("add_lookup", "add_polynomial", "evaluate_piece", "scale_by_signal", "subtract_splines")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .isr_intervals_nb import find_interval

# Neighbours mostly lie in the same interval of a spline.  So many are looked
# at together, and need no search if they do.
_CHUNK = 64


@kernel
def evaluate_piece(offset: float, c0: float, c1: float, c2: float, c3: float) -> float:
    """Return a cubic at a distance from its knot; terms and powers in SciPy's order, not Horner's."""
    value, power = c0, offset
    value += c1 * power
    power *= offset
    value += c2 * power
    power *= offset
    return value + c3 * power


@kernel
def subtract_splines(
    image: NDArray[np.float32],
    box: tuple[int, int, int, int],
    knots: NDArray[np.float64],
    pieces: NDArray[np.float64],
    tables: NDArray[np.int32],
    limits: NDArray[np.float64],
    out_image: NDArray[np.float32],
) -> None:
    """Subtract a spline of the pixel's value, then the next one of what is left, and so on.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    box
        First column, first row, width and height.
    knots
        Knots of each spline, padded with infinity, shape ``(m, n)``.
    pieces
        Coefficients, lowest power first, shape ``(m, n - 1, 4)``.
    tables
        Tables for `find_interval`, shape ``(m, n_cells)``.
    limits
        Lowest and highest argument, origin and cells per unit, shape ``(m, 4)``.
    out_image
        Result, shape ``(ny, nx)``, written in the box.  It is rounded to float32 after each spline.
    """
    values = np.empty(_CHUNK, np.float64)
    for y in range(box[1], box[1] + box[3]):
        source, target = image[y], out_image[y]
        for x in range(box[0], box[0] + box[2], _CHUNK):
            size = min(_CHUNK, box[0] + box[2] - x)
            for i in range(size):
                values[i] = source[x + i]
            for m in range(knots.shape[0]):
                _subtract(values, size, m, knots, pieces, tables, limits)
            for i in range(size):
                target[x + i] = values[i]


@kernel
def _subtract(
    out_values: NDArray[np.float64],
    size: int,
    m: int,
    knots: NDArray[np.float64],
    pieces: NDArray[np.float64],
    tables: NDArray[np.int32],
    limits: NDArray[np.float64],
) -> None:
    """Subtract spline ``m`` in place from the first values."""
    low, high, origin, cells_per_unit = limits[m, 0], limits[m, 1], limits[m, 2], limits[m, 3]
    point = _clip(out_values[0], low, high)
    k = find_interval(point, knots, tables, m, origin, cells_per_unit)
    begin = knots[m, k] if k > 0 else -np.inf
    end = knots[m, k + 1]
    n_inside = 0
    for i in range(size):
        # False for NaN.
        n_inside += (out_values[i] >= begin) & (out_values[i] < end)
    if n_inside == size:
        knot = knots[m, k]
        c0, c1, c2, c3 = pieces[m, k, 0], pieces[m, k, 1], pieces[m, k, 2], pieces[m, k, 3]
        for i in range(size):
            offset = _clip(out_values[i], low, high) - knot
            out_values[i] = np.float32(out_values[i] - evaluate_piece(offset, c0, c1, c2, c3))
        return
    for i in range(size):
        point = _clip(out_values[i], low, high)
        k = find_interval(point, knots, tables, m, origin, cells_per_unit)
        c0, c1, c2, c3 = pieces[m, k, 0], pieces[m, k, 1], pieces[m, k, 2], pieces[m, k, 3]
        # NaN stays NaN, whatever is subtracted.
        out_values[i] = np.float32(out_values[i] - evaluate_piece(point - knots[m, k], c0, c1, c2, c3))


@kernel
def _clip(value: float, low: float, high: float) -> float:
    """Return the nearest number from low to high; low for NaN."""
    value = value if value > low else low
    return value if value < high else high


@kernel
def scale_by_signal(
    image: NDArray[np.float32],
    box: tuple[int, int, int, int],
    coefficient: float,
    out_image: NDArray[np.float32],
) -> None:
    """Multiply each pixel by one plus a coefficient times itself.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    box
        First column, first row, width and height.
    coefficient
        Coefficient, per unit of the image.
    out_image
        Result, shape ``(ny, nx)``, written in the box.
    """
    for y in range(box[1], box[1] + box[3]):
        source, target = image[y, box[0] : box[0] + box[2]], out_image[y, box[0] : box[0] + box[2]]
        for i in range(source.size):
            value = np.float64(source[i])
            target[i] = value * (1.0 + coefficient * value)


@kernel
def add_polynomial(
    image: NDArray[np.float32],
    box: tuple[int, int, int, int],
    coefficients: NDArray[np.float64],
    out_image: NDArray[np.float32],
) -> None:
    """Add a polynomial of each pixel, of the powers from 2.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    box
        First column, first row, width and height.
    coefficients
        Coefficients, lowest power first, shape ``(n,)``.
    out_image
        Result, shape ``(ny, nx)``, written in the box.
    """
    for y in range(box[1], box[1] + box[3]):
        source, target = image[y, box[0] : box[0] + box[2]], out_image[y, box[0] : box[0] + box[2]]
        for i in range(source.size):
            value = np.float64(source[i])
            power, total = value * value, 0.0
            for k in range(coefficients.size):
                total += coefficients[k] * power
                power *= value
            target[i] = value + total


@kernel
def add_lookup(
    image: NDArray[np.float32],
    box: tuple[int, int, int, int],
    table: NDArray[np.float64],
    offset: float,
    gain: float,
    out_image: NDArray[np.float32],
) -> None:
    """Add to each pixel an entry of a table.

    Parameters
    ----------
    image
        Image, shape ``(ny, nx)``.
    box
        First column, first row, width and height.
    table
        Corrections, in image units over the gain, shape ``(n,)``.
    offset
        Index of the correction of a pixel of zero.
    gain
        Image units per step of the table.
    out_image
        Result, shape ``(ny, nx)``, written in the box.  Beyond its ends the table has the value of the end.
    """
    last = table.size - 1
    for y in range(box[1], box[1] + box[3]):
        source, target = image[y, box[0] : box[0] + box[2]], out_image[y, box[0] : box[0] + box[2]]
        for i in range(source.size):
            value = np.float64(source[i])
            index = _clip(offset + value / gain, 0.0, last)
            target[i] = value + gain * table[int(index)]
