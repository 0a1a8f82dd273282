"""Source positions of a strip of target pixels, from the nodes of the tile."""

from __future__ import annotations

__all__ = ("find_areas", "find_positions", "find_slopes", "find_sparse", "inlined")

from typing import Any

import numba
import numpy as np

from ._jit import kernel
from .resample_vectors_nb import STRIP, STRIP_ROWS, TILE

inlined = numba.njit(inline="always", error_model="numpy")
"""Compile a function as a part of its callers: a call would count references to its arrays."""

type Four = tuple[float, float, float, float]


@inlined
def _values(v: float) -> Four:
    """Return the weights of four equidistant nodes (Lagrange) at a place between the inner two."""
    return (
        v * (1.0 - v) * (v - 2.0) / 6.0,
        (v * v - 1.0) * (v - 2.0) / 2.0,
        v * (1.0 + v) * (2.0 - v) / 2.0,
        v * (v * v - 1.0) / 6.0,
    )


@inlined
def _slopes(v: float) -> Four:
    """Return the derivatives of the weights of `_values`."""
    return (
        (-3.0 * v * v + 6.0 * v - 2.0) / 6.0,
        (3.0 * v * v - 4.0 * v - 1.0) / 2.0,
        (-3.0 * v * v + 2.0 * v + 2.0) / 2.0,
        (3.0 * v * v - 1.0) / 6.0,
    )


@inlined
def _cubic(nodes: Any, first: int, side: int, weights: Four) -> Four:
    """Find the cubic along x through four columns of nodes.

    Parameters
    ----------
    nodes, first, side
        Nodes, the index of the first of the four by four, and how many there
        are in a row.
    weights
        Weights of the four rows.

    Returns
    -------
    coefficients
        From the constant to the cubic one, of the place between the inner
        columns.
    """
    w0, w1, w2, w3 = weights
    a, b, c, d = first, first + side, first + 2 * side, first + 3 * side
    p0 = w0 * nodes[a] + w1 * nodes[b] + w2 * nodes[c] + w3 * nodes[d]
    p1 = w0 * nodes[a + 1] + w1 * nodes[b + 1] + w2 * nodes[c + 1] + w3 * nodes[d + 1]
    p2 = w0 * nodes[a + 2] + w1 * nodes[b + 2] + w2 * nodes[c + 2] + w3 * nodes[d + 2]
    p3 = w0 * nodes[a + 3] + w1 * nodes[b + 3] + w2 * nodes[c + 3] + w3 * nodes[d + 3]
    c1 = -p0 / 3.0 - p1 / 2.0 + p2 - p3 / 6.0
    return p1, c1, p0 / 2.0 - p1 + p2 / 2.0, (p3 - p0) / 6.0 + (p1 - p2) / 2.0


@inlined
def _first_node(start: int, spacing: int, axis: int, row: int, cell: int) -> int:
    """Return the index of the first of the four by four nodes around a cell."""
    side = TILE // spacing + 3
    first: int = start + axis * side * side + (row // spacing) * side + cell
    return first


@kernel
def find_positions(nodes: Any, start: int, spacing: int, first_row: int, out_positions: Any) -> None:
    """Find the source positions of one strip of a tile.

    Parameters
    ----------
    nodes, start, spacing
        Nodes of all tiles, the index of the first one of this tile, and the
        pixels between its nodes (1: every pixel was evaluated).
    first_row
        First row of the strip in the tile.
    out_positions
        Shape ``(2, STRIP)`` or more rows: x and y are put into the first two.
    """
    step = 1.0 / spacing
    for axis in range(2):
        for j in range(STRIP_ROWS):
            row = first_row + j
            if spacing == 1:
                side = TILE + 2
                first = start + axis * side * side + (row + 1) * side + 1
                for k in range(TILE):
                    out_positions[axis, j * TILE + k] = nodes[first + k]
                continue
            side, v = TILE // spacing + 3, (row % spacing) * step
            for cell in range(TILE // spacing):
                first = _first_node(start, spacing, axis, row, cell)
                c0, c1, c2, c3 = _cubic(nodes, first, side, _values(v))
                line, at = np.uint64(axis), np.uint64(j * TILE + cell * spacing)
                for k in range(np.uint64(spacing)):
                    u = k * step
                    out_positions[line, at + k] = c0 + u * (c1 + u * (c2 + u * c3))


@kernel
def find_sparse(nodes: Any, start: int, spacing: int, out_positions: Any) -> None:
    """Find the source positions of four by four pixels of a tile, out to its corners.

    Parameters
    ----------
    nodes, start, spacing
        As for `find_positions`.
    out_positions
        Shape ``(2, 16)``.
    """
    for axis in range(2):
        for j in range(4):
            for i in range(4):
                row, column = 21 * j, 21 * i
                if spacing == 1:
                    side = TILE + 2
                    first = start + axis * side * side + (row + 1) * side + column + 1
                    out_positions[axis, 4 * j + i] = nodes[first]
                    continue
                side, v, u = TILE // spacing + 3, (row % spacing) / spacing, (column % spacing) / spacing
                first = _first_node(start, spacing, axis, row, column // spacing)
                c0, c1, c2, c3 = _cubic(nodes, first, side, _values(v))
                out_positions[axis, 4 * j + i] = c0 + u * (c1 + u * (c2 + u * c3))


@kernel
def _difference(before: float, here: float, after: float) -> float:
    """Return the slope at the middle of three values, one of which may lie beyond a jump or be NaN."""
    back, ahead = here - before, after - here
    # At the seam of a map that closes upon itself one of the two is a jump.
    if not abs(ahead - back) <= 0.5 * min(abs(ahead), abs(back)):
        if not abs(back) <= abs(ahead):
            return ahead
        return back
    return 0.5 * (back + ahead)


@kernel
def _copy_slopes(nodes: Any, start: int, row: int, out_slopes: Any) -> None:
    """Find the slopes of a row of a tile whose every pixel was evaluated."""
    side = TILE + 2
    for axis in range(2):
        first = start + axis * side * side + (row + 1) * side + 1
        for k in range(TILE):
            i = first + k
            out_slopes[axis, k] = _difference(nodes[i - 1], nodes[i], nodes[i + 1])
            out_slopes[2 + axis, k] = _difference(nodes[i - side], nodes[i], nodes[i + side])


@kernel
def find_slopes(nodes: Any, start: int, spacing: int, first_row: int, out_slopes: Any) -> None:
    """Find the derivatives of the source positions of one strip of a tile.

    Parameters
    ----------
    nodes, start, spacing, first_row
        As for `find_positions`.
    out_slopes
        Shape ``(4, STRIP)``: dx/du, dy/du, dx/dv and dy/dv with respect to
        the target's column u and row v.
    """
    step = 1.0 / spacing
    for j in range(STRIP_ROWS):
        row = first_row + j
        if spacing == 1:
            _copy_slopes(nodes, start, row, out_slopes[:, j * TILE : (j + 1) * TILE])
            continue
        side, v = TILE // spacing + 3, (row % spacing) * step
        for axis in range(2):
            for cell in range(TILE // spacing):
                first = _first_node(start, spacing, axis, row, cell)
                _, c1, c2, c3 = _cubic(nodes, first, side, _values(v))
                e0, e1, e2, e3 = _cubic(nodes, first, side, _slopes(v))
                for k in range(spacing):
                    u, at = k * step, j * TILE + cell * spacing + k
                    out_slopes[axis, at] = step * (c1 + u * (2.0 * c2 + u * 3.0 * c3))
                    out_slopes[2 + axis, at] = step * (e0 + u * (e1 + u * (e2 + u * e3)))


@kernel
def _area_at(first: Any, second: Any, u: float) -> float:
    """Return the area in units of a cell, from the cubics of x and of y and their slopes across."""
    _, a1, a2, a3, b0, b1, b2, b3 = first
    _, c1, c2, c3, d0, d1, d2, d3 = second
    x_u, y_u = a1 + u * (2.0 * a2 + u * 3.0 * a3), c1 + u * (2.0 * c2 + u * 3.0 * c3)
    x_v, y_v = b0 + u * (b1 + u * (b2 + u * b3)), d0 + u * (d1 + u * (d2 + u * d3))
    area: float = abs(x_u * y_v - y_u * x_v)
    return area


@kernel
def find_areas(nodes: Any, start: int, spacing: int, first_row: int, out_areas: Any) -> None:
    """Find the areas of the pixels of one strip of a tile, in source pixels.

    Parameters
    ----------
    nodes, start, spacing, first_row
        As for `find_positions`.
    out_areas
        Shape ``(STRIP,)``.
    """
    if spacing == 1:
        slopes = np.empty((4, STRIP), np.float64)
        find_slopes(nodes, start, spacing, first_row, slopes)
        for k in range(STRIP):
            out_areas[k] = np.float32(abs(slopes[0, k] * slopes[3, k] - slopes[1, k] * slopes[2, k]))
        return
    step = 1.0 / spacing
    for j in range(STRIP_ROWS):
        row = first_row + j
        side, v = TILE // spacing + 3, (row % spacing) * step
        for cell in range(TILE // spacing):
            first = _first_node(start, spacing, 0, row, cell)
            second = _first_node(start, spacing, 1, row, cell)
            along_x = _cubic(nodes, first, side, _values(v)) + _cubic(nodes, first, side, _slopes(v))
            along_y = _cubic(nodes, second, side, _values(v)) + _cubic(nodes, second, side, _slopes(v))
            # Where a cubic holds the positions, three values hold the area.
            a0, a1 = _area_at(along_x, along_y, 0.0), _area_at(along_x, along_y, 0.5)
            a2 = _area_at(along_x, along_y, 1.0)
            linear, quadratic = -3.0 * a0 + 4.0 * a1 - a2, 2.0 * a0 - 4.0 * a1 + 2.0 * a2
            at = np.uint64(j * TILE + cell * spacing)
            for k in range(np.uint64(spacing)):
                u = k * step
                out_areas[at + k] = np.float32((a0 + u * (linear + u * quadratic)) * step * step)
