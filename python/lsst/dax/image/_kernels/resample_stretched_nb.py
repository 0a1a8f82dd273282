"""Resampling onto coarser pixels, with a kernel that is as wide as they are.

The kernel lies along the axes of the target and is measured in its pixels, so
that it passes what the target can hold and nothing finer, at any scale,
rotation and shear.  Where a target pixel is smaller than a source pixel in
some direction, it is widened to it (as by Deforest 2004).
"""

from __future__ import annotations

__all__ = ("Profile", "resample_stretched_row")

import math
from typing import Any, NamedTuple

import numpy as np

from ._jit import kernel
from .resample_positions_nb import find_positions, find_slopes, inlined
from .resample_tiles_nb import LEFT_OUT, Choice, Source, Target, Tiles, fill_outside
from .resample_vectors_nb import STRIP, STRIP_ROWS, TILE

CHUNK = 128
"""Columns of the source whose weights are found together, in fast memory."""


class Profile(NamedTuple):
    """A kernel as a function of one coordinate."""

    values: Any
    """Its values at equidistant places from 0 on, and their differences to the next ones, shape ``(n, 2)``.

    The last row is zero.
    """

    per_pixel: float
    """Number of places in a target pixel."""

    half_width: float
    """Reach in target pixels."""


@kernel
def _widen(x_u: float, y_u: float, x_v: float, y_v: float) -> tuple[float, float, float, float]:
    """Make a linear map so wide that nothing is shorter than one source pixel."""
    # The map is rotation times scales times rotation: raise the scales to 1.
    e, f = 0.5 * (x_u + y_v), 0.5 * (x_u - y_v)
    g, h = 0.5 * (y_u + x_v), 0.5 * (y_u - x_v)
    q, r = math.hypot(e, h), math.hypot(f, g)
    if abs(q - r) >= 1.0:
        return x_u, y_u, x_v, y_v
    large, small = max(q + r, 1.0), (1.0 if q >= r else -1.0)
    first, second = math.atan2(g, f), math.atan2(h, e)
    outer, inner = 0.5 * (second + first), 0.5 * (second - first)
    c, s, k, t = math.cos(outer), math.sin(outer), math.cos(inner), math.sin(inner)
    return (
        c * large * k - s * small * t,
        s * large * k + c * small * t,
        -c * large * t - s * small * k,
        -s * large * t + c * small * k,
    )


@inlined
def _interval(inverse: float, offset: float, reach: float) -> tuple[float, float]:
    """Return the places at which a line is between plus and minus a reach, from its inverse slope."""
    if abs(inverse) == np.inf:
        return (-np.inf, np.inf) if abs(offset) < reach else (np.inf, -np.inf)
    middle, half = -offset * inverse, reach * abs(inverse)
    return middle - half, middle + half


@inlined
def _find_line_weights(
    values: Any, u: float, v: float, step_u: float, step_v: float, n: int, out_weights: Any
) -> None:
    """Find the weights of some columns, from their places in the profile."""
    one, two = np.uint64(0), np.uint64(1)
    for column in range(np.uint64(n)):
        place_u, place_v = abs(u + step_u * column), abs(v + step_v * column)
        i, j = np.int64(place_u), np.int64(place_v)
        a, b = np.uint64(i), np.uint64(j)
        out_weights[column] = (values[a, one] + (place_u - i) * values[a, two]) * (
            values[b, one] + (place_v - j) * values[b, two]
        )


@inlined
def _sum_line(source: Source, row: int, first: int, end: int, weights: Any, out_sums: Any) -> int:
    """Add some columns of a row of the source to the sums; return how many have no value.

    Numbers are parent pixels; columns that are not in the source count for
    the sum of all weights alone.
    """
    height, width = source.image.shape
    local, x0 = row - source.y0, source.x0
    n_missing = 0
    all_weights = usable = 0.0
    total: Any = 0.0
    total_variance: Any = 0.0
    # Columns from ``left`` to ``right`` are in the source.
    left, right = (max(first, x0), min(end, x0 + width)) if 0 <= local < height else (end, end)
    left = min(left, end)
    right = max(right, left)
    for column in range(first, left):
        all_weights += weights[column - first]
    for column in range(right, end):
        all_weights += weights[column - first]
    line, to, at = np.uint64(max(local, 0)), np.uint64(max(left - x0, 0)), np.uint64(left - first)
    for k in range(np.uint64(right - left)):
        weight, value = weights[at + k], source.image[line, to + k]
        all_weights += weight
        is_missing = value != value
        # No branch: it would cost more than what it saves.
        weight = 0.0 if is_missing else weight
        usable += weight
        total += weight * (np.float32(0.0) if is_missing else value)
        total_variance += weight * weight * (np.float32(0.0) if is_missing else source.variance[line, to + k])
        n_missing += is_missing
    out_sums[0] += all_weights
    out_sums[1] += usable
    out_sums[2] += total
    out_sums[3] += total_variance
    return end - first - (right - left) + n_missing


@inlined
def _weigh_line(
    source: Source,
    profile: Profile,
    row: int,
    first: int,
    end: int,
    u: float,
    v: float,
    steps: Any,
    weights: Any,
    out_sums: Any,
) -> int:
    """Add a part of one row of the source to the sums.

    ``u`` and ``v`` are the target coordinates at column 0, and ``steps`` those
    from column to column.  The sums are those of all weights, of the weights
    of pixels with values, of values, and of variances.

    Returns
    -------
    n_missing
        Number of pixels without a value.
    """
    per_pixel = profile.per_pixel
    step_u, step_v = steps[0] * per_pixel, steps[1] * per_pixel
    n_missing = 0
    for start in range(first, end, CHUNK):
        stop = min(start + CHUNK, end)
        at_u, at_v = u * per_pixel + step_u * start, v * per_pixel + step_v * start
        _find_line_weights(profile.values, at_u, at_v, step_u, step_v, stop - start, weights)
        n_missing += _sum_line(source, row, start, stop, weights, out_sums)
    return n_missing


@inlined
def _join_line(source: Source, row: int, low: float, high: float) -> Any:
    """Join the mask bits of a part of one row of the source."""
    bits = source.mask[0, 0] & ~source.mask[0, 0]
    height, width = source.mask.shape
    local, x0 = row - source.y0, source.x0
    if 0 <= local < height and low <= high:
        for column in range(max(x0, math.ceil(low)), min(x0 + width, math.floor(high) + 1)):
            bits |= source.mask[local, column - x0]
    return bits


@inlined
def _bits_near(source: Source, x: float, y: float, broad: float, tall: float) -> Any:
    """Return the mask bits of all blocks of the source that are near a position."""
    blocks = source.mask_blocks
    bits = blocks[0, 0] & ~blocks[0, 0]
    left, bottom = max(int(x - broad) - source.x0, 0), max(int(y - tall) - source.y0, 0)
    right = min(int(x + broad) + 1 - source.x0, source.image.shape[1] - 1)
    top = min(int(y + tall) + 1 - source.y0, source.image.shape[0] - 1)
    for j in range(bottom // TILE, top // TILE + 1):
        for i in range(left // TILE, right // TILE + 1):
            bits |= blocks[j, i]
    return bits


@kernel
def _weigh_pixel(
    source: Source, profile: Profile, choice: Choice, place: Any, wide: Any, weights: Any, out_sums: Any
) -> tuple[int, Any]:
    """Weigh the source pixels under the kernel of one target pixel.

    Parameters
    ----------
    source, profile, choice
        Planes, kernel, and rules.
    place
        Source position.
    wide
        Linear map from target to source pixels, dx/du, dy/du, dx/dv, dy/dv.
    weights
        Scratch, shape ``(CHUNK,)``.
    out_sums
        Sums of `_weigh_line`.

    Returns
    -------
    n_missing, bits
        Number of pixels without a value, and mask bits.
    """
    x, y = place
    x_u, y_u, x_v, y_v = wide
    area = x_u * y_v - y_u * x_v
    # Target coordinates change by these from column to column and from row to row.
    u_x, v_x, u_y, v_y = y_v / area, -y_u / area, -x_v / area, x_u / area
    # Infinite where the axes are parallel.
    inverse_u, inverse_v = (np.inf if u_x == 0.0 else 1.0 / u_x), (np.inf if v_x == 0.0 else 1.0 / v_x)
    reach = profile.half_width
    tall, broad = reach * (abs(y_u) + abs(y_v)), reach * (abs(x_u) + abs(x_v))
    bits = source.mask[0, 0] & ~source.mask[0, 0]
    near = _bits_near(source, x, y, broad + 1.0, tall + 1.0)
    n_missing = 0
    out_sums[:] = 0.0
    for row in range(math.ceil(y - tall), math.floor(y + tall) + 1):
        u, v = u_y * (row - y) - u_x * x, v_y * (row - y) - v_x * x
        low_u, high_u = _interval(inverse_u, u, reach)
        low_v, high_v = _interval(inverse_v, v, reach)
        low, high = max(low_u, low_v), min(high_u, high_v)
        if not low <= high:
            continue
        first, end = math.ceil(low), math.floor(high) + 1
        n_missing += _weigh_line(source, profile, row, first, end, u, v, (u_x, v_x), weights, out_sums)
        if near == 0:
            continue
        if choice.grown & near != 0:
            bits |= _join_line(source, row, low, high) & choice.grown
        if not choice.nearest_mask:
            low_u, high_u = _interval(inverse_u, u, 1.0)
            low_v, high_v = _interval(inverse_v, v, 1.0)
            bits |= _join_line(source, row, max(low_u, low_v), min(high_u, high_v))
    if choice.nearest_mask:
        column = math.floor(x + 0.5)
        bits |= _join_line(source, math.floor(y + 0.5), column, column)
    return n_missing, bits


@kernel
def _resample_strip(
    source: Source,
    profile: Profile,
    choice: Choice,
    positions: Any,
    slopes: Any,
    out_values: Any,
    out_bits: Any,
) -> None:
    """Resample one strip; the values are image, variance and coverage."""
    height, width = source.image.shape
    sums, weights = np.empty(4, np.float64), np.empty(CHUNK, np.float64)
    for k in range(STRIP):
        x, y = positions[0, k], positions[1, k]
        x_u, y_u, x_v, y_v = slopes[0, k], slopes[1, k], slopes[2, k], slopes[3, k]
        out_values[0, k], out_values[1, k], out_values[2, k] = np.nan, np.nan, 0.0
        out_bits[k] = choice.no_data
        area = abs(x_u * y_v - y_u * x_v)
        local_x, local_y = x - source.x0, y - source.y0
        if not (-1.0 < local_x < width and -1.0 < local_y < height and area < np.inf):
            continue
        wide = _widen(x_u, y_u, x_v, y_v)
        n_missing, bits = _weigh_pixel(source, profile, choice, (x, y), wide, weights, sums)
        share = sums[1] / sums[0]
        if n_missing > 0 and not (choice.renormalise and share >= 0.5):
            inside = 0.0 <= local_x <= width - 1.0 and 0.0 <= local_y <= height - 1.0
            out_bits[k] = (bits | choice.no_data) if inside else choice.no_data
            continue
        factor = area if choice.conserve_flux else 1.0
        out_values[0, k] = factor * sums[2] / sums[1]
        out_values[1, k] = factor * factor * sums[3] / (sums[1] * sums[1])
        out_values[2, k] = min(share, 1.0)
        out_bits[k] = bits


@kernel
def resample_stretched_row(
    source: Source, tiles: Tiles, profile: Profile, choice: Choice, tile_row: int, out_target: Target
) -> None:
    """Resample one row of tiles onto pixels that are coarser than those of the source.

    Parameters
    ----------
    source, tiles, profile, choice
        Planes of the source, which are read-only arrays, positions, kernel,
        and what is done; of the choice only the rules count.
    tile_row
        Row of tiles.
    out_target
        Planes that are written.
    """
    n_rows, n_columns = out_target.image.shape
    positions, slopes = np.empty((2, STRIP), np.float64), np.empty((4, STRIP), np.float64)
    values, bits = np.empty((3, STRIP), np.float32), np.empty(STRIP, source.mask.dtype)
    for tile_column in range(tiles.spacings.shape[1]):
        spacing, start = tiles.spacings[tile_row, tile_column], tiles.starts[tile_row, tile_column]
        left = tile_column * TILE - tiles.skipped_columns
        first, end = max(left, 0), min(left + TILE, n_columns)
        if spacing == LEFT_OUT:
            continue
        for strip_row in range(0, TILE, STRIP_ROWS):
            top = tile_row * TILE + strip_row - tiles.skipped_rows
            if top + STRIP_ROWS <= 0 or top >= n_rows:
                continue
            if spacing != 0:
                find_positions(tiles.nodes, start, spacing, strip_row, positions)
                find_slopes(tiles.nodes, start, spacing, strip_row, slopes)
                _resample_strip(source, profile, choice, positions, slopes, values, bits)
            for row in range(max(top, 0), min(top + STRIP_ROWS, n_rows)):
                if spacing == 0:
                    fill_outside(out_target, choice.no_data, row, first, end)
                    continue
                at = (row - top) * TILE + first - left
                out_target.image[row, first:end] = values[0, at : at + end - first]
                out_target.variance[row, first:end] = values[1, at : at + end - first]
                if out_target.coverage.size:
                    out_target.coverage[row, first:end] = values[2, at : at + end - first]
                out_target.mask[row, first:end] = bits[at : at + end - first]
