"""Charge that pixels owe to their neighbours by the brighter-fatter effect."""

from __future__ import annotations

__all__ = ("correct_by_divergence", "exchange_charge", "fill_tiles", "transfer_flux")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def fill_tiles(
    image: NDArray[np.floating], part: int, y0: int, x0: int, out_tiles: NDArray[np.float64]
) -> None:
    """Copy a part of an image into one of two interleaved tiles, with zeros beyond the image.

    Parameters
    ----------
    image
        Image of float32 or float64, shape ``(ny, nx)``.
    part
        Which of the tiles: 0 or 1.
    y0, x0
        Pixel of the image that is the first of the tile; may be negative.
    out_tiles
        Tiles, shape ``(rows, columns, 2)``.
    """
    ny, nx = image.shape
    rows, columns, _ = out_tiles.shape
    first, last = max(-x0, 0), min(nx - x0, columns)
    for row in range(rows):
        values = out_tiles[row, :, part]
        if y0 + row < 0 or y0 + row >= ny:
            values[:] = 0.0
            continue
        values[:first] = 0.0
        values[first:last] = image[y0 + row, x0 + first : x0 + last]
        values[last:] = 0.0


@kernel
def exchange_charge(
    image: NDArray[np.float32],
    north: NDArray[np.float64],
    east: NDArray[np.float64],
    part: int,
    box: tuple[int, int, int, int],
    origin: tuple[int, int],
    work: NDArray[np.float64],
    out_image: NDArray[np.float32],
) -> None:
    """Move the charge between the shifted boundaries of a block of pixels back.

    Parameters
    ----------
    image
        Image in electron, shape ``(ny, nx)``.
    north, east
        A quarter of the shift of the upper and the right boundary of each pixel, in pixels: tiles of shape
        ``(rows, columns, 2)``.
    part
        Which of the tiles: 0 or 1.
    box
        First row, end row, first column and end column of the block.
    origin
        Row and column of the image that are the first of the tiles.
    work
        Memory, shape ``(3, n)`` with ``n`` above the columns of the block.
    out_image
        Corrected image, shape ``(ny, nx)``; the block is filled.
    """
    ny, nx = image.shape
    y0, y1, x0, x1 = box
    width = x1 - x0
    upper, lower, sides = work[0, :width], work[1, :width], work[2, : width + 1]
    lower[:] = 0.0
    if y0 > 0:
        _boundary_charge(
            image[y0 - 1, x0:x1],
            image[y0, x0:x1],
            north[y0 - 1 - origin[0], x0 - origin[1] : x1 - origin[1], part],
            lower,
        )
    # Boundaries from the left of the first pixel to the right of the last; at
    # the edge of the image nothing passes.
    begin, end = max(x0 - 1, 0), min(x1, nx - 1)
    sides[:] = 0.0
    for y in range(y0, y1):
        upper[:] = 0.0
        if y + 1 < ny:
            _boundary_charge(
                image[y, x0:x1],
                image[y + 1, x0:x1],
                north[y - origin[0], x0 - origin[1] : x1 - origin[1], part],
                upper,
            )
        _boundary_charge(
            image[y, begin:end],
            image[y, begin + 1 : end + 1],
            east[y - origin[0], begin - origin[1] : end - origin[1], part],
            sides[begin - x0 + 1 : end - x0 + 1],
        )
        values, corrected = image[y, x0:x1], out_image[y, x0:x1]
        left, right = sides[:width], sides[1:]
        for x in range(width):
            corrected[x] = np.float64(values[x]) - (upper[x] - lower[x] + right[x] - left[x])
        lower[:] = upper


@kernel
def _boundary_charge(
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    shift: NDArray[np.float64],
    out_charge: NDArray[np.float64],
) -> None:
    """Multiply sums of neighbours with the shifts of the boundaries between them; all of shape ``(n,)``."""
    for i in range(out_charge.size):
        out_charge[i] = (np.float64(one[i]) + np.float64(other[i])) * shift[i]


@kernel
def correct_by_divergence(
    image: NDArray[np.float32],
    estimate: NDArray[np.float64],
    potential: NDArray[np.float64],
    part: int,
    box: tuple[int, int, int, int],
    origin: tuple[int, int],
    interior: tuple[int, int, int, int],
    work: NDArray[np.float64],
    out_estimate: NDArray[np.float64],
) -> tuple[float, float]:
    """Make a better estimate of a block of the true image from the divergence of the deflected flux.

    Parameters
    ----------
    image
        Measured image, shape ``(ny, nx)``.
    estimate
        Estimate of the true image, shape ``(ny, nx)``.
    potential
        The estimate convolved with the kernel: tiles of shape ``(rows, columns, 2)``.
    part
        Which of the tiles: 0 or 1.
    box
        First row, end row, first column and end column of the block.
    origin
        Row and column of the image that are the first of the tiles.
    interior
        The same of the pixels that are corrected; the others keep the measured value.
    work
        Memory, shape ``(2, n)`` with ``n`` not below the columns of the block.
    out_estimate
        New estimate, shape ``(ny, nx)``; the block is filled.

    Returns
    -------
    total, change
        Sum of the absolute values of the new estimate, and of its differences from the one before.
    """
    y0, y1, x0, x1 = box
    totals, changes = work[0, : x1 - x0], work[1, : x1 - x0]
    totals[:] = 0.0
    changes[:] = 0.0
    begin, end = max(x0, interior[2]), min(x1, interior[3])
    for y in range(y0, y1):
        before, after = estimate[y, x0:x1], out_estimate[y, x0:x1]
        after[:] = image[y, x0:x1]
        if begin < end and interior[0] <= y < interior[1]:
            row = y - origin[0]
            columns = slice(begin - origin[1], end - origin[1])
            _add_divergence(
                estimate[y - 1 : y + 2, begin - 1 : end + 1],
                potential[row - 1, columns, part],
                potential[row, begin - 1 - origin[1] : end + 1 - origin[1], part],
                potential[row + 1, columns, part],
                out_estimate[y, begin:end],
            )
        for x in range(x1 - x0):
            totals[x] += abs(after[x])
            changes[x] += abs(before[x] - after[x])
    return totals.sum(), changes.sum()


@kernel
def _add_divergence(
    estimate: NDArray[np.float64],
    lower: NDArray[np.float64],
    middle: NDArray[np.float64],
    upper: NDArray[np.float64],
    out_values: NDArray[np.float64],
) -> None:
    """Add half the divergence of the estimate times the gradient of the potential to a row.

    ``estimate`` are three rows with a pixel more on either side, shape ``(3, n + 2)``; ``lower`` and
    ``upper`` are of shape ``(n,)``, ``middle`` has a pixel more on either side.
    """
    south, here, north = estimate[0, 1:-1], estimate[1], estimate[2, 1:-1]
    for x in range(out_values.size):
        center = middle[x + 1]
        first = (north[x] - south[x]) / 2.0 * ((upper[x] - lower[x]) / 2.0)
        first += (here[x + 2] - here[x]) / 2.0 * ((middle[x + 2] - middle[x]) / 2.0)
        second = (upper[x] - center) - (center - lower[x])
        second += (middle[x + 2] - center) - (center - middle[x])
        out_values[x] += 0.5 * (first + here[x + 1] * second)


@kernel
def transfer_flux(
    image: NDArray[np.float32],
    flux: NDArray[np.float64],
    potential: NDArray[np.float64],
    first: tuple[int, int],
    mean: float,
    rows: tuple[int, int],
    work: NDArray[np.float64],
    out_flux: NDArray[np.float64],
    out_image: NDArray[np.float32],
) -> tuple[float, float]:
    """Give to rows of pixels what flows over their boundaries down the gradient of the potential.

    Parameters
    ----------
    image
        Measured image, shape ``(ny, nx)``.
    flux
        Flux of the donors: the estimate of the true image less the mean, shape ``(ny, nx)``.
    potential
        Potential, shape ``(ny, nx)``.
    first
        First row and column where the potential is known.
    mean
        Mean of the measured image.
    rows
        First row and end row.
    work
        Memory, shape ``(5, nx + 1)``.
    out_flux
        New estimate less the mean, shape ``(ny, nx)``; the rows are filled.
    out_image
        New estimate, shape ``(ny, nx)``; the rows are filled.

    Returns
    -------
    total, change
        Sum of the absolute values of the new flux, and of its differences from the one before.
    """
    ny, nx = image.shape
    upper, lower, sides = work[0, :nx], work[1, :nx], work[2]
    totals, changes = work[3, :nx], work[4, :nx]
    # Nothing flows where the potential is unknown, nor over the edge.
    work[:] = 0.0
    start = first[1]
    if rows[0] > first[0] and start < nx:
        y = rows[0] - 1
        _flow(
            flux[y, start:],
            flux[y + 1, start:],
            potential[y, start:],
            potential[y + 1, start:],
            lower[start:],
        )
    for y in range(rows[0], rows[1]):
        if first[0] <= y < ny - 1 and start < nx:
            _flow(
                flux[y, start:],
                flux[y + 1, start:],
                potential[y, start:],
                potential[y + 1, start:],
                upper[start:],
            )
        else:
            upper[:] = 0.0
        if y >= first[0] and start < nx - 1:
            _flow(
                flux[y, start : nx - 1],
                flux[y, start + 1 :],
                potential[y, start : nx - 1],
                potential[y, start + 1 :],
                sides[start + 1 : nx],
            )
        for x in range(nx):
            corrected = np.float64(image[y, x]) + (lower[x] - upper[x] + sides[x] - sides[x + 1])
            out_image[y, x] = corrected
            new = corrected - mean
            totals[x] += abs(new)
            changes[x] += abs(flux[y, x] - new)
            out_flux[y, x] = new
        lower[:] = upper
    return totals.sum(), changes.sum()


@kernel
def _flow(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    potential_one: NDArray[np.float64],
    potential_other: NDArray[np.float64],
    out_flow: NDArray[np.float64],
) -> None:
    """Find what flows from pixels to their neighbours; all of shape ``(n,)``."""
    for i in range(out_flow.size):
        gradient = potential_other[i] - potential_one[i]
        donor = one[i] if gradient > 0.0 else other[i]
        out_flow[i] = -0.5 * donor * gradient
