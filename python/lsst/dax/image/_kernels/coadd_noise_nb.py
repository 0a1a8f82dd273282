"""Correlation of the noise that interpolation leaves between target pixels."""

from __future__ import annotations

__all__ = ("correlate_stretched_weights", "correlate_weights", "share_places")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .coadd_psf_nb import fill_weights, interpolate_profile

type Floats = NDArray[np.float64]


@kernel
def correlate_weights(
    matrices: Floats,
    phases: Floats,
    shares: Floats,
    coefficients: NDArray[np.float32],
    taps: int,
    first_tap: int,
    shift: float,
    out_products: Floats,
) -> None:
    """Return mean products of the weights of a target pixel and of its neighbours.

    Parameters
    ----------
    matrices
        Derivatives of source (x, y) with respect to target (x, y), shape
        ``(n, 2, 2)``.
    phases
        Places (x, y) between source pixels, shape ``(m, 2)``.
    shares
        How much each place counts in a cell, shape ``(n, m)``.
    coefficients, taps, first_tap, shift
        Weights of the kernel: see `fill_weights`.
    out_products
        Sum over source pixels of the product of weights, averaged over
        places, by the target offset (y, x) of the neighbour, shape
        ``(n, side, side)`` with an odd side.
    """
    n, side = out_products.shape[:2]
    half = side // 2
    own_x, own_y, other_x, other_y = np.empty(taps), np.empty(taps), np.empty(taps), np.empty(taps)
    for s in range(n):
        a, b, c, d = matrices[s, 0, 0], matrices[s, 0, 1], matrices[s, 1, 0], matrices[s, 1, 1]
        out_products[s] = 0.0
        for m in range(phases.shape[0]):
            x, y = phases[m, 0], phases[m, 1]
            own_x0 = fill_weights(x, coefficients, taps, first_tap, shift, own_x)
            own_y0 = fill_weights(y, coefficients, taps, first_tap, shift, own_y)
            for j in range(half, side):
                for i in range(side):
                    u, v = i - half, j - half
                    if v == 0 and u < 0:
                        continue
                    step_x, step_y = a * u + b * v, c * u + d * v
                    if abs(step_x) >= taps or abs(step_y) >= taps:
                        continue
                    move_x = fill_weights(x + step_x, coefficients, taps, first_tap, shift, other_x) - own_x0
                    move_y = fill_weights(y + step_y, coefficients, taps, first_tap, shift, other_y) - own_y0
                    sum_x = sum_y = 0.0
                    for k in range(max(0, move_x), min(taps, taps + move_x)):
                        sum_x += own_x[k] * other_x[k - move_x]
                    for k in range(max(0, move_y), min(taps, taps + move_y)):
                        sum_y += own_y[k] * other_y[k - move_y]
                    out_products[s, j, i] += shares[s, m] * sum_x * sum_y
        # A pixel's neighbour has the pixel for a neighbour.
        for j in range(half + 1):
            for i in range(side):
                if j < half or i < half:
                    out_products[s, j, i] = out_products[s, side - 1 - j, side - 1 - i]


@kernel
def _fill_stretched(
    x: float,
    y: float,
    to_kernel: Floats,
    corner_x: int,
    corner_y: int,
    profile: Floats,
    places: float,
    half_width: float,
    out_weights: Floats,
) -> None:
    """Set the weights of all source pixels of a window, with a sum of 1."""
    total = 0.0
    for j in range(out_weights.shape[0]):
        for i in range(out_weights.shape[1]):
            dx, dy = corner_x + i - x, corner_y + j - y
            u = abs(to_kernel[0, 0] * dx + to_kernel[0, 1] * dy)
            v = abs(to_kernel[1, 0] * dx + to_kernel[1, 1] * dy)
            weight = 0.0
            if u < half_width and v < half_width:
                weight = interpolate_profile(profile, places, u) * interpolate_profile(profile, places, v)
            out_weights[j, i] = weight
            total += weight
    for j in range(out_weights.shape[0]):
        for i in range(out_weights.shape[1]):
            out_weights[j, i] /= total


@kernel
def correlate_stretched_weights(
    matrix: Floats,
    to_kernel: Floats,
    reach: Floats,
    phases: Floats,
    shares: Floats,
    profile: Floats,
    places: float,
    half_width: float,
    out_products: Floats,
) -> None:
    """Return the same as `correlate_weights` for a stretched kernel and one cell.

    Parameters
    ----------
    matrix
        As for `correlate_weights`, of one cell.
    to_kernel
        Map from source offsets to kernel coordinates, shape ``(2, 2)``.
    reach
        Reach of the kernel in source x and y, in pixels, shape ``(2,)``.
    phases, shares
        As for `correlate_weights`, of one cell.
    profile, places, half_width
        The kernel's profile, its values per pixel and its half-width.
    out_products
        Shape ``(side, side)``.
    """
    side = out_products.shape[0]
    half = side // 2
    reach_x, reach_y = math.ceil(reach[0]) + 1, math.ceil(reach[1]) + 1
    own = np.empty((2 * reach_y + 1, 2 * reach_x + 1))
    other = np.empty_like(own)
    out_products[:] = 0.0
    for m in range(phases.shape[0]):
        x, y = phases[m, 0], phases[m, 1]
        corner_x, corner_y = math.floor(x) - reach_x, math.floor(y) - reach_y
        _fill_stretched(x, y, to_kernel, corner_x, corner_y, profile, places, half_width, own)
        for j in range(half, side):
            for i in range(side):
                u, v = i - half, j - half
                if v == 0 and u < 0:
                    continue
                step_x = matrix[0, 0] * u + matrix[0, 1] * v
                step_y = matrix[1, 0] * u + matrix[1, 1] * v
                if abs(step_x) > 2.0 * reach[0] or abs(step_y) > 2.0 * reach[1]:
                    continue
                other_x, other_y = math.floor(x + step_x) - reach_x, math.floor(y + step_y) - reach_y
                _fill_stretched(
                    x + step_x, y + step_y, to_kernel, other_x, other_y, profile, places, half_width, other
                )
                move_x, move_y = other_x - corner_x, other_y - corner_y
                product = 0.0
                for q in range(max(0, move_y), min(own.shape[0], own.shape[0] + move_y)):
                    for p in range(max(0, move_x), min(own.shape[1], own.shape[1] + move_x)):
                        product += own[q, p] * other[q - move_y, p - move_x]
                out_products[j, i] += shares[m] * product
    for j in range(half + 1):
        for i in range(side):
            if j < half or i < half:
                out_products[j, i] = out_products[side - 1 - j, side - 1 - i]


@kernel
def _find_dirichlet(x: float, n: int) -> float:
    """Return the mean of ``cos(2 pi x t)`` over the n offsets t of a row of pixels around its middle."""
    whole = round(x)
    rest = x - whole
    sign = -1.0 if (whole * (n - 1)) % 2 else 1.0
    if abs(rest) < 1e-9:
        return sign
    return sign * math.sin(math.pi * n * rest) / (n * math.sin(math.pi * rest))


@kernel
def share_places(positions: Floats, matrices: Floats, nodes: int, cell_px: int, out_shares: Floats) -> None:
    """Return how much each place of a grid between source pixels counts in the mean over a cell.

    Cells are worked on one by one, so that a cell has the same bits among
    any others.

    Parameters
    ----------
    positions
        Source positions (x, y) of the middles of cells, shape ``(n, 2)``.
    matrices
        Derivatives of source (x, y) with respect to target (x, y), shape
        ``(n, 2, 2)``.
    nodes
        Places along each axis.
    cell_px
        Side of a cell.
    out_shares
        Shares, with a sum of 1, shape ``(n, nodes**2)``; x runs fastest.
    """
    turns = 2.0 * math.pi * np.arange(nodes) / nodes
    cosines, sines = np.cos(turns), np.sin(turns)
    real, imaginary = np.empty((nodes, nodes)), np.empty((nodes, nodes))
    for s in range(positions.shape[0]):
        for j in range(nodes):
            for i in range(nodes):
                ky = j if j < (nodes + 1) // 2 else j - nodes
                kx = i if i < (nodes + 1) // 2 else i - nodes
                u = kx * matrices[s, 0, 0] + ky * matrices[s, 1, 0]
                v = kx * matrices[s, 0, 1] + ky * matrices[s, 1, 1]
                mean = _find_dirichlet(u, cell_px) * _find_dirichlet(v, cell_px) / nodes**2
                angle = 2.0 * math.pi * (kx * (positions[s, 0] % 1.0) + ky * (positions[s, 1] % 1.0))
                real[j, i] = mean * math.cos(angle)
                imaginary[j, i] = mean * math.sin(angle)
        for y in range(nodes):
            for x in range(nodes):
                total = 0.0
                for j in range(nodes):
                    for i in range(nodes):
                        turn = (j * y + i * x) % nodes
                        total += real[j, i] * cosines[turn] + imaginary[j, i] * sines[turn]
                out_shares[s, y * nodes + x] = total
