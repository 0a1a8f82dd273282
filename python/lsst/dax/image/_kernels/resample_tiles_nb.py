"""Resampling with a kernel of fixed width: image, variance, mask and coverage in one pass."""

from __future__ import annotations

__all__ = ("LEFT_OUT", "Choice", "Source", "Target", "Tiles", "fill_outside", "resample_tile_row")

from typing import Any, NamedTuple

import numpy as np

from ._jit import kernel
from .resample_positions_nb import find_areas, find_positions, find_sparse, inlined
from .resample_strips_nb import join_masks, split_positions, weigh_strip_plain
from .resample_vectors_nb import (
    LANES,
    STRIP,
    STRIP_ROWS,
    TILE,
    VECTOR_TAPS,
    fetch_strip,
    weigh_strip_scattered,
    weigh_strip_vectors,
)

WINDOW = 160
"""Side of the part of the source that is copied for a tile.

Tiles are read from a copy, because neighbouring rows of a large image lie on
different pages of memory (36 instead of 17 ns per pixel).  A tile of 64 pixels
at 45 degrees needs 112 at the scale up to which kernels have a fixed width.
"""


LEFT_OUT = -1
"""Spacing of tiles that another kernel fills."""


class Source(NamedTuple):
    """Planes of the source, shape ``(height, width)`` but for the last."""

    image: Any
    """Values, float32."""

    variance: Any
    """Variance, float32."""

    mask: Any
    """Mask words, unsigned."""

    mask_blocks: Any
    """Bits that are set anywhere in each block of `TILE` by `TILE` pixels."""

    x0: int
    """Parent column of the first column.

    Everything is computed in parent pixels, so that a part of a source gives
    the same bits as the whole.
    """

    y0: int
    """Parent row of the first row."""


class Tiles(NamedTuple):
    """Where the pixels of each tile of the target lie in the source."""

    spacings: Any
    """Pixels between nodes, shape ``(n_rows, n_columns)``; 1: each was evaluated; 0: off the source.

    `LEFT_OUT` for tiles that are not filled.
    """

    starts: Any
    """Index of the first node of each tile."""

    nodes: Any
    """Parent positions in the source, float64: for each tile the x of all its nodes, then the y."""

    skipped_rows: int
    """Rows of the first row of tiles that lie before the target."""

    skipped_columns: int
    """Columns of the first column of tiles that lie before the target."""


class Choice(NamedTuple):
    """What is done with the neighbours of a position."""

    table: Any
    """Table of weights, float32."""

    taps: int
    """Taps along each axis."""

    first_tap: int
    """First tap, relative to the pixel that the position plus ``shift`` falls into."""

    shift: float
    """Half a pixel for the nearest pixel, else 0."""

    use_vectors: bool
    """Whether `VECTOR_TAPS` taps are weighed by vector instructions."""

    conserve_flux: bool
    """Whether values are multiplied by the area of the target's pixel in source pixels."""

    renormalise: bool
    """Whether a part of the neighbours is enough."""

    nearest_mask: bool
    """Whether the mask of the nearest pixel alone counts."""

    grown: Any
    """Mask bits that are joined over all taps."""

    no_data: Any
    """Mask bit of pixels without a value."""


class Target(NamedTuple):
    """Planes of the target, which the caller allocates, shape ``(n_rows, n_columns)``."""

    image: Any
    """Values, float32."""

    variance: Any
    """Variance, float32."""

    mask: Any
    """Mask words, unsigned."""

    coverage: Any
    """Share of the weight that lies on pixels with a value, float32.

    Without pixels where only all or nothing count: NaN then tells.
    """


@kernel
def fill_outside(target: Any, no_data: Any, row: int, first: int, end: int) -> None:
    """Write pixels of one row that have no source."""
    target.image[row, first:end] = np.nan
    target.variance[row, first:end] = np.nan
    target.mask[row, first:end] = no_data
    if target.coverage.size:
        target.coverage[row, first:end] = 0.0


@kernel
def _weigh_usable(source: Any, choice: Any, x: float, y: float, out_sums: Any, k: int) -> float:
    """Weigh the neighbours of one position that are in the source and not NaN.

    Returns
    -------
    share
        Their weight; the sums are divided by it.
    """
    height, width = source.image.shape
    x, y = x + choice.shift, y + choice.shift
    if not ((abs(x - source.x0) < width + 1e6) & (abs(y - source.y0) < height + 1e6)):
        return 0.0
    column: Any = np.int64(np.floor(x)) + choice.first_tap - source.x0
    row: Any = np.int64(np.floor(y)) + choice.first_tap - source.y0
    u, v = (x - np.floor(x)) * choice.table.shape[0], (y - np.floor(y)) * choice.table.shape[0]
    table_x = choice.table[min(np.int64(u), choice.table.shape[0] - 1)]
    table_y = choice.table[min(np.int64(v), choice.table.shape[0] - 1)]
    u, v = u - np.floor(u), v - np.floor(v)
    share = total = total_variance = 0.0
    first_row, end_row = max(0, -row), min(choice.taps, height - row)
    first_column, end_column = max(0, -column), min(choice.taps, width - column)
    for j in range(first_row, end_row):
        weight_y = table_y[0, j] + v * (table_y[1, j] + v * table_y[2, j])
        for i in range(first_column, end_column):
            value = source.image[row + j, column + i]
            if np.isnan(value):
                continue
            weight = weight_y * (table_x[0, i] + u * (table_x[1, i] + u * table_x[2, i]))
            share += weight
            total += weight * value
            total_variance += weight * weight * source.variance[row + j, column + i]
    if share > 0.0:
        out_sums[0, k], out_sums[1, k] = total / share, total_variance / (share * share)
    return share


@kernel
def _usable_bits(source: Any, choice: Any, x: float, y: float) -> Any:
    """Return the mask bits around a position some of whose neighbours are not in the source."""
    height, width = source.mask.shape
    bits = source.mask[0, 0] & ~source.mask[0, 0]
    shift = 0.5 if choice.nearest_mask else 0.0
    reach = 1 if choice.nearest_mask else 2
    column: Any = np.int64(np.floor(x + shift)) - source.x0
    row: Any = np.int64(np.floor(y + shift)) - source.y0
    for j in range(max(0, row), min(height, row + reach)):
        for i in range(max(0, column), min(width, column + reach)):
            bits |= source.mask[j, i]
    column = np.int64(np.floor(x)) + choice.first_tap - source.x0
    row = np.int64(np.floor(y)) + choice.first_tap - source.y0
    for j in range(max(0, row), min(height, row + choice.taps)):
        for i in range(max(0, column), min(width, column + choice.taps)):
            bits |= source.mask[j, i] & choice.grown
    return bits


@kernel
def _mend_strip(
    source: Source, choice: Choice, positions: Any, places: Any, out_values: Any, out_bits: Any
) -> None:
    """Settle the pixels of a strip of which some neighbours are missing."""
    sums, coverage = out_values[2:4], out_values[5]
    for k in range(STRIP):
        coverage[k] = 1.0
        inside = places[4, k] != 0
        if inside and not np.isnan(sums[0, k]):
            continue
        share = 0.0
        if choice.renormalise:
            # Dropped lobes are negative: a share may exceed one by a little.
            share = min(1.0, _weigh_usable(source, choice, positions[0, k], positions[1, k], sums, k))
            if share > 0.0 and not inside:
                out_bits[k] = _usable_bits(source, choice, positions[0, k], positions[1, k])
        if share < 0.5:
            # Below a half the position itself is off the pixels with values.
            sums[0, k], sums[1, k] = np.nan, np.nan
            if not inside:
                out_bits[k] = 0
            out_bits[k] |= choice.no_data
            share = 0.0
        coverage[k] = share


@kernel
def _find_extent(places: Any, taps: int, out_extent: Any) -> None:
    """Find the first column and row of the taps of a strip, and those past the last."""
    first_column = end_column = places[2, 0]
    first_row = end_row = places[3, 0]
    for k in range(STRIP):
        first_column, end_column = min(first_column, places[2, k]), max(end_column, places[2, k])
        first_row, end_row = min(first_row, places[3, k]), max(end_row, places[3, k])
    out_extent[0], out_extent[1] = first_column, first_row
    out_extent[2], out_extent[3] = end_column + taps, end_row + taps


@kernel
def _bits_within(blocks: Any, x0: int, y0: int, extent: Any) -> Any:
    """Return the mask bits of all blocks that an extent touches."""
    bits = blocks[0, 0] & ~blocks[0, 0]
    for j in range((extent[1] - y0) // TILE, (extent[3] - 1 - y0) // TILE + 1):
        for i in range((extent[0] - x0) // TILE, (extent[2] - 1 - x0) // TILE + 1):
            bits |= blocks[j, i]
    return bits


@kernel
def _find_window(positions: Any, margin: int, area: Any, out_box: Any) -> None:
    """Find the part of the source around some positions; nothing if it is too large."""
    out_box[:] = 0
    x0 = y0 = 1e9
    x1 = y1 = -1e9
    for k in range(positions.shape[1]):
        x, y = positions[0, k], positions[1, k]
        x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    room = WINDOW - 2 * margin - LANES
    if not (x1 - x0 < room and y1 - y0 < room and x0 > -1e8 and y0 > -1e8 and x1 < 1e8 and y1 < 1e8):
        return
    left, right = max(area[0], int(np.floor(x0)) - margin), min(area[2], int(x1) + margin)
    bottom, top = max(area[1], int(np.floor(y0)) - margin), min(area[3], int(y1) + margin)
    if right > left and top > bottom:
        out_box[0], out_box[1], out_box[2], out_box[3] = left, bottom, right, top


@kernel
def _copy_window(source: Source, box: Any, out_window: Any, out_mask: Any) -> None:
    """Copy a part of the source."""
    # Unsigned indices: numba compares others with zero, and counts references
    # to slices, either of which costs more than the copy.
    left, bottom = np.uint64(box[0] - source.x0), np.uint64(box[1] - source.y0)
    n_columns, n_rows = np.uint64(box[2] - box[0]), np.uint64(box[3] - box[1])
    for j in range(n_rows):
        for i in range(n_columns):
            out_window[np.uint64(0), j, i] = source.image[bottom + j, left + i]
        for i in range(n_columns):
            out_window[np.uint64(1), j, i] = source.variance[bottom + j, left + i]
    if n_columns > 0 and _bits_within(source.mask_blocks, source.x0, source.y0, box) != 0:
        for j in range(n_rows):
            for i in range(n_columns):
                out_mask[j, i] = source.mask[bottom + j, left + i]


@kernel
def _write_strip(target: Target, conserve_flux: Any, top: int, left: int, values: Any, bits: Any) -> None:
    """Write the part of a strip that lies in the target."""
    if conserve_flux:
        for k in range(STRIP):
            values[2, k] *= values[4, k]
            values[3, k] *= values[4, k] * values[4, k]
    out_image, out_variance, out_mask, out_coverage = target
    n_rows, n_columns = out_image.shape
    first, end = max(left, 0), min(left + TILE, n_columns)
    to, count = np.uint64(first), np.uint64(end - first)
    for row in range(max(top, 0), min(top + STRIP_ROWS, n_rows)):
        # Unsigned as in `_copy_window`, and for the same reason no calls.
        at, line = np.uint64((row - top) * TILE + first - left), np.uint64(row)
        for i in range(count):
            out_image[line, to + i] = values[np.uint64(2), at + i]
        for i in range(count):
            out_variance[line, to + i] = values[np.uint64(3), at + i]
        for i in range(count):
            out_mask[line, to + i] = bits[at + i]
        if out_coverage.size:
            for i in range(count):
                out_coverage[line, to + i] = values[np.uint64(5), at + i]


@kernel
def _is_complete(inside: Any, image: Any) -> bool:
    """Tell whether all pixels of a strip have values."""
    n = 0
    for k in range(STRIP):
        n += inside[k] & np.int32(image[k] == image[k])
    return n == STRIP


@kernel
def _fill_tile(target: Target, no_data: Any, top: int, left: int) -> None:
    """Write the pixels of a tile that has no source."""
    n_rows, n_columns = target.image.shape
    for row in range(max(top, 0), min(top + TILE, n_rows)):
        fill_outside(target, no_data, row, max(left, 0), min(left + TILE, n_columns))


@inlined
def _weigh_strip(
    choice: Choice,
    fits: Any,
    image: Any,
    variance: Any,
    x0: int,
    y0: int,
    places: Any,
    fractions: Any,
    out_sums: Any,
) -> None:
    """Weigh the neighbours of a strip; it ``fits`` if the planes are a window with room beyond its taps."""
    table, taps = choice.table, choice.taps
    if not (choice.use_vectors and taps == VECTOR_TAPS):
        weigh_strip_plain(image, variance, x0, y0, table, taps, places, fractions, out_sums)
    elif fits:
        weigh_strip_vectors(image, variance, x0, y0, table, places, fractions, out_sums)
    else:
        weigh_strip_scattered(image, variance, x0, y0, table, places, fractions, out_sums)


@kernel
def resample_tile_row(
    source: Source, tiles: Tiles, choice: Choice, tile_row: int, out_target: Target
) -> None:
    """Resample one row of tiles.

    Parameters
    ----------
    source, tiles, choice
        Planes of the source, which hold at least ``choice.taps`` rows and
        columns and are read-only arrays, positions, and what is done.
    tile_row
        Row of tiles.
    out_target
        Planes that are written.

    Notes
    -----
    Every pixel of a strip is computed, also those before and after the
    target, so that a part of a target gets the same bits as the whole.
    """
    # One level of calls: numba optimises callees once more in every caller.
    height, width = source.image.shape
    window, positions = np.zeros((2, WINDOW, WINDOW), np.float32), np.zeros((2, STRIP), np.float64)
    window_mask, bits = np.zeros((WINDOW, WINDOW), source.mask.dtype), np.zeros(STRIP, source.mask.dtype)
    # Places in segments in x and y, sums of image and variance, areas, coverage.
    values, places = np.zeros((6, STRIP), np.float32), np.zeros((6, STRIP), np.int32)
    box, extent, sparse = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros((2, 16), np.float64)
    area = (source.x0, source.y0, source.x0 + width, source.y0 + height)
    # What is taken from a tuple or an array in the loop is counted there.
    sums, inside, weighed, areas, coverage = values[2:4], places[4], values[2], values[4], values[5]
    taps, first_tap, shift = choice.taps, choice.first_tap, choice.shift
    spacings, starts, nodes, blocks = tiles.spacings, tiles.starts, tiles.nodes, source.mask_blocks
    window_image, window_variance = window[0], window[1]
    top = tile_row * TILE - tiles.skipped_rows
    for column in range(spacings.shape[1]):
        spacing, start = spacings[tile_row, column], starts[tile_row, column]
        left = column * TILE - tiles.skipped_columns
        if spacing == LEFT_OUT:
            continue
        if spacing == 0:
            _fill_tile(out_target, choice.no_data, top, left)
            continue
        find_sparse(nodes, start, spacing, sparse)
        _find_window(sparse, taps + 2, area, box)
        _copy_window(source, box, window, window_mask)
        for first_row in range(0, TILE, STRIP_ROWS):
            if top + first_row >= out_target.image.shape[0] or top + first_row + STRIP_ROWS <= 0:
                continue
            if choice.use_vectors:
                for plane in (out_target.image, out_target.variance):
                    fetch_strip(plane, top + first_row, left)
                fetch_strip(out_target.mask, top + first_row, left)
            find_positions(nodes, start, spacing, first_row, positions)
            split_positions(positions, area, taps, first_tap, shift, places, values)
            _find_extent(places, taps, extent)
            fits = box[0] <= extent[0] and box[1] <= extent[1] and box[2] >= extent[2] and box[3] >= extent[3]
            image, variance, mask, x0, y0 = source.image, source.variance, source.mask, area[0], area[1]
            if fits:
                image, variance, mask, x0, y0 = window_image, window_variance, window_mask, box[0], box[1]
            _weigh_strip(choice, fits, image, variance, x0, y0, places, values, sums)
            for k in range(STRIP):
                bits[k] = 0
            near = _bits_within(blocks, source.x0, source.y0, extent)
            if near != 0:
                nearest, grown = choice.nearest_mask, choice.grown & near
                join_masks(mask, x0, y0, positions, places, taps, nearest, grown, bits)
            if not _is_complete(inside, weighed):
                _mend_strip(source, choice, positions, places, values, bits)
            else:
                coverage[:] = 1.0
            if choice.conserve_flux:
                find_areas(nodes, start, spacing, first_row, areas)
            _write_strip(out_target, choice.conserve_flux, top + first_row, left, values, bits)
