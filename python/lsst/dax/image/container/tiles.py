"""From byte ranges to pixels: plan and decode part of an array."""

from __future__ import annotations

__all__ = ("ArrayPlan", "PixelSlices", "decode_array", "plan_array", "plan_rows", "plan_tiles", "split_plan")

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .array_layout import ArrayLayout, Compression, TileTable
from .inflate import inflate
from .rice import decode_rice_tile, dequantize_tile
from .sources import ByteRange

_ROWS = 64  # of 2000 pixels: what they need stays in the cache of a core
_BLOCK_BYTES = 2**18
_LITTLE_ENDIAN = sys.byteorder == "little"

type PixelSlices = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last, within the array."""


@dataclass(frozen=True)
class ArrayPlan:
    """What has to be read for part of an array."""

    layout: ArrayLayout
    pixels: PixelSlices
    """What is wanted."""

    tiles: Sequence[int]
    """Numbers of the tiles, in the order of ``ranges``; of an uncompressed
    array, the first row of each block of rows."""

    ranges: Sequence[ByteRange]
    """Bytes of each tile or block."""

    unquantized: frozenset[int] = frozenset()
    """Tiles that could not be quantized and are stored without loss."""


def plan_array(layout: ArrayLayout, pixels: PixelSlices, *, max_gap: int) -> ArrayPlan:
    """Find the bytes of part of an array.

    Parameters
    ----------
    layout
        The array.
    pixels
        Rows and columns within it.
    max_gap
        Bytes between two rows that are cheaper to read than to leave out.

    Returns
    -------
    plan
        Tiles that overlap, and their bytes.

    Raises
    ------
    InputDataError
        Raised if the file says that a tile is where it cannot be.
    """
    y0, y1, x0, x1 = pixels
    if layout.tiles is not None:
        (ty, tx), (_, columns) = layout.tiles.tile_shape, layout.tiles.grid_shape
        numbers = [
            row * columns + column
            for row in range(y0 // ty, (y1 - 1) // ty + 1)
            for column in range(x0 // tx, (x1 - 1) // tx + 1)
        ]
        return plan_tiles(layout, pixels, numbers)
    return plan_rows(layout, pixels, range(y0, y1), max_gap=max_gap)


def plan_rows(layout: ArrayLayout, pixels: PixelSlices, rows: Sequence[int], *, max_gap: int) -> ArrayPlan:
    """Find the bytes of some rows of an uncompressed array.

    Parameters
    ----------
    layout
        The array.
    pixels
        Rows and columns that are wanted.
    rows
        Rows, ascending.
    max_gap
        Bytes between two rows that are cheaper to read than to leave out.

    Returns
    -------
    plan
        Blocks of rows, and their bytes.
    """
    size, nx = layout.dtype.itemsize, layout.shape[1]
    x0, x1 = pixels[2:]
    limit = max(1, _BLOCK_BYTES // (nx * size)) if (nx - x1 + x0) * size <= max_gap else 1
    blocks: list[list[int]] = []
    for row in rows:
        if blocks and row == blocks[-1][1] + 1 and row - blocks[-1][0] < limit:
            blocks[-1][1] = row
        else:
            blocks.append([row, row])
    ranges = [
        (layout.data + (first * nx + x0) * size, layout.data + (last * nx + x1) * size)
        for first, last in blocks
    ]
    return ArrayPlan(layout, pixels, [first for first, _ in blocks], ranges)


def plan_tiles(layout: ArrayLayout, pixels: PixelSlices, numbers: Sequence[int]) -> ArrayPlan:
    """Find the bytes of some tiles of a compressed array.

    Parameters
    ----------
    layout
        The array.
    pixels
        Rows and columns that are wanted of the tiles.
    numbers
        Numbers of the tiles in row-major order.

    Returns
    -------
    plan
        The tiles, and their bytes.

    Raises
    ------
    InputDataError
        Raised if the file says that a tile is where it cannot be.
    """
    tiles = layout.tiles
    if tiles is None or not numbers:
        return ArrayPlan(layout, pixels, (), ())
    rows = tiles.table[list(numbers)]
    lengths, offsets = rows["COMPRESSED_DATA"].astype(np.int64).T
    unquantized: frozenset[int] = frozenset()
    if "GZIP_COMPRESSED_DATA" in (rows.dtype.names or ()):
        # A tile that could not be quantized is in the other column.
        other = rows["GZIP_COMPRESSED_DATA"].astype(np.int64)
        empty = lengths == 0
        lengths = np.where(empty, other[:, 0], lengths)
        offsets = np.where(empty, other[:, 1], offsets)
        unquantized = frozenset(np.asarray(numbers)[empty].tolist())
    wrong = (lengths <= 0) | (offsets < 0) | (lengths > tiles.heap_size - offsets)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputDataError(
            f"Tile {numbers[first]} of {layout.name} has {lengths[first]} bytes at {offsets[first]} of a "
            f"heap of {tiles.heap_size} bytes."
        )
    begins = offsets + tiles.heap
    ranges = list(zip(begins.tolist(), (begins + lengths).tolist(), strict=True))
    return ArrayPlan(layout, pixels, numbers, ranges, unquantized)


def split_plan(plan: ArrayPlan, max_bytes: int) -> Iterator[ArrayPlan]:
    """Split a plan into parts that are read and decoded one after the other.

    Parameters
    ----------
    plan
        What is wanted.
    max_bytes
        Bytes to read for each part, as long as a part has several tiles.

    Yields
    ------
    part
        Plan with some of the tiles.
    """
    start = size = 0
    for number, (begin, end) in enumerate(plan.ranges):
        if number > start and size + end - begin > max_bytes:
            yield _part(plan, start, number)
            start, size = number, 0
        size += end - begin
    yield _part(plan, start, len(plan.ranges))


def _part(plan: ArrayPlan, start: int, stop: int) -> ArrayPlan:
    """Return a plan with some of the tiles."""
    return dataclasses.replace(plan, tiles=plan.tiles[start:stop], ranges=plan.ranges[start:stop])


def decode_array(plan: ArrayPlan, data: Sequence[memoryview], *, out_pixels: NDArray[Any]) -> None:
    """Decode part of an array.

    Parameters
    ----------
    plan
        What is wanted.
    data
        Bytes of each of its ranges.
    out_pixels
        Array of the shape that is wanted, in the type of the layout.

    Raises
    ------
    InputDataError
        Raised if a tile is damaged.
    """
    layout = plan.layout
    if layout.tiles is None:
        for row, part in zip(plan.tiles, data, strict=True):
            _copy_rows(part, layout, out_pixels[row - plan.pixels[0] :])
        return
    is_gzip_2 = layout.tiles.compression is Compression.GZIP_2 and layout.tiles.quantization is None
    if is_gzip_2 and layout.tiles.tile_shape == (1, layout.shape[1]):
        _decode_gzip_2_rows(plan, data, out_pixels)
        return
    for number, part in zip(plan.tiles, data, strict=True):
        try:
            _decode_tile(plan, layout.tiles, number, part, out_pixels)
        except InputDataError as error:
            raise InputDataError(f"Tile {number} of {layout.name}: {error}") from error


def _copy_rows(data: memoryview, layout: ArrayLayout, out_pixels: NDArray[Any]) -> None:
    """Copy the rows of a block; it ends with the last pixel that is wanted."""
    pixels = np.frombuffer(data, layout.dtype.newbyteorder(">"))
    nx, columns = layout.shape[1], out_pixels.shape[1]
    count = (len(pixels) - columns) // nx + 1
    strides = (nx * layout.dtype.itemsize, layout.dtype.itemsize)
    out_pixels[:count] = np.lib.stride_tricks.as_strided(pixels, (count, columns), strides)


def _decode_tile(
    plan: ArrayPlan, tiles: TileTable, number: int, data: memoryview, out_pixels: NDArray[Any]
) -> None:
    """Decode one tile and put the part that is wanted where it belongs."""
    layout, pixels = plan.layout, plan.pixels
    (ny, nx), (ty, tx) = layout.shape, tiles.tile_shape
    row, column = divmod(number, tiles.grid_shape[1])
    top, left = row * ty, column * tx
    height, width = min(ty, ny - top), min(tx, nx - left)
    y0, y1 = max(pixels[0], top), min(pixels[1], top + height)
    x0, x1 = max(pixels[2], left), min(pixels[3], left + width)
    out = out_pixels[y0 - pixels[0] : y1 - pixels[0], x0 - pixels[2] : x1 - pixels[2]]
    ys, xs = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    quantization = tiles.quantization
    if number in plan.unquantized:
        _copy_gzip_1(data, (height, width), layout.dtype, ys, xs, out)
        return
    stored: np.dtype[Any] = layout.dtype if quantization is None else np.dtype(np.int32)
    if quantization is None and tiles.compression is Compression.GZIP_2:
        _copy_gzip_2(data, (height, width), stored, ys, xs, out)
    elif quantization is None and tiles.compression is Compression.GZIP_1:
        _copy_gzip_1(data, (height, width), stored, ys, xs, out)
    elif tiles.compression is Compression.RICE_1:
        values = decode_rice_tile(data, height * width, n_block=tiles.rice_block, n_bytes=tiles.rice_bytes)
        if quantization is None:
            out[...] = values.reshape(height, width)[ys, xs]
        else:
            dequantize_tile(
                values, quantization, tile=number, width=width, corner=(ys.start, xs.start), out_pixels=out
            )
    else:
        integers = np.empty((height, width), np.int32)
        copy = _copy_gzip_2 if tiles.compression is Compression.GZIP_2 else _copy_gzip_1
        copy(data, (height, width), stored, slice(None), slice(None), integers)
        assert quantization is not None  # noqa: S101  # the cases without it are above
        dequantize_tile(
            integers.ravel(),
            quantization,
            tile=number,
            width=width,
            corner=(ys.start, xs.start),
            out_pixels=out,
        )


def _decode_gzip_2_rows(plan: ArrayPlan, data: Sequence[memoryview], out_pixels: NDArray[Any]) -> None:
    """Decode tiles of one row each, the usual tiling.

    Bytes of many rows are put in order at once: row by row that took a third
    of the time of the decompression.
    """
    layout, (y0, _, x0, x1) = plan.layout, plan.pixels
    size, nx = layout.dtype.itemsize, layout.shape[1]
    if not plan.tiles:
        return
    for start in range(0, len(data), _ROWS):
        rows = plan.tiles[start : start + _ROWS]
        planes = np.empty((size, len(rows), x1 - x0), np.uint8)
        for place, (row, part) in enumerate(zip(rows, data[start : start + _ROWS], strict=True)):
            try:
                content = inflate(part, nx * size)
            except InputDataError as error:
                raise InputDataError(f"Tile {row} of {layout.name}: {error}") from error
            planes[:, place] = np.frombuffer(content, np.uint8).reshape(size, nx)[:, x0:x1]
        first = rows[0] - y0
        if rows[-1] - rows[0] == len(rows) - 1:
            _interleave(planes, out_pixels[first : first + len(rows)])
        else:
            block = np.empty((len(rows), x1 - x0), layout.dtype)
            _interleave(planes, block)
            out_pixels[np.asarray(rows) - y0] = block


def _interleave(planes: NDArray[np.uint8], out_pixels: NDArray[Any]) -> None:
    """Make pixels of their first, second, ... bytes."""
    size = len(planes)
    pixels = out_pixels.view(np.uint8)
    for byte in range(size):
        # The file has the first byte first, the memory of most machines last.
        place = size - 1 - byte if _LITTLE_ENDIAN else byte
        pixels[:, place::size] = planes[byte]


def _copy_gzip_1(
    data: memoryview, shape: tuple[int, int], dtype: np.dtype[Any], ys: slice, xs: slice, out: NDArray[Any]
) -> None:
    """Decompress big-endian pixels and copy some of them."""
    content = inflate(data, shape[0] * shape[1] * dtype.itemsize)
    out[...] = np.frombuffer(content, dtype.newbyteorder(">")).reshape(shape)[ys, xs]


def _copy_gzip_2(
    data: memoryview, shape: tuple[int, int], dtype: np.dtype[Any], ys: slice, xs: slice, out: NDArray[Any]
) -> None:
    """Decompress pixels whose first, second, ... bytes stand together; copy some."""
    size = dtype.itemsize
    content = inflate(data, shape[0] * shape[1] * size)
    _interleave(np.frombuffer(content, np.uint8).reshape(size, *shape)[:, ys, xs], out)
