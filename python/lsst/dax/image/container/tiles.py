"""From byte ranges to pixels: plan and decode part of an array."""

from __future__ import annotations

__all__ = ("ArrayPlan", "PixelSlices", "decode_array", "plan_array")

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .array_layout import ArrayLayout, Compression, TileTable
from .inflate import inflate
from .rice import decode_rice_tile, dequantize_tile
from .sources import ByteRange

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
    array, the rows."""

    ranges: Sequence[ByteRange]
    """Bytes of each tile."""


def plan_array(layout: ArrayLayout, pixels: PixelSlices) -> ArrayPlan:
    """Find the bytes of part of an array.

    Parameters
    ----------
    layout
        The array.
    pixels
        Rows and columns within it.

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
        return ArrayPlan(layout, pixels, numbers, tile_ranges(layout, numbers))
    size, nx = layout.dtype.itemsize, layout.shape[1]
    starts = [layout.data + (row * nx + x0) * size for row in range(y0, y1)]
    return ArrayPlan(layout, pixels, range(y0, y1), [(start, start + (x1 - x0) * size) for start in starts])


def tile_ranges(layout: ArrayLayout, numbers: Sequence[int]) -> list[ByteRange]:
    """Return the bytes of some tiles of a compressed array.

    Parameters
    ----------
    layout
        The array.
    numbers
        Numbers of the tiles in row-major order.

    Returns
    -------
    ranges
        Begin and end of each tile in the file.

    Raises
    ------
    InputDataError
        Raised if the file says that a tile is where it cannot be.
    """
    tiles = layout.tiles
    if tiles is None:
        return []
    rows = tiles.table[list(numbers)]
    lengths, offsets = rows["COMPRESSED_DATA"].astype(np.int64).T
    if "GZIP_COMPRESSED_DATA" in (rows.dtype.names or ()):
        # A tile that could not be quantized is in the other column.
        other = rows["GZIP_COMPRESSED_DATA"].astype(np.int64)
        empty = lengths == 0
        lengths = np.where(empty, other[:, 0], lengths)
        offsets = np.where(empty, other[:, 1], offsets)
    wrong = (lengths <= 0) | (offsets < 0) | (lengths > tiles.heap_size - offsets)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputDataError(
            f"Tile {numbers[first]} of {layout.name} has {lengths[first]} bytes at {offsets[first]} of a "
            f"heap of {tiles.heap_size} bytes."
        )
    begins = offsets + tiles.heap
    return list(zip(begins.tolist(), (begins + lengths).tolist(), strict=True))


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
        stored = layout.dtype.newbyteorder(">")
        for row, part in enumerate(data):
            out_pixels[row] = np.frombuffer(part, stored)
        return
    for number, part in zip(plan.tiles, data, strict=True):
        try:
            _decode_tile(layout, layout.tiles, number, part, plan.pixels, out_pixels)
        except InputDataError as error:
            raise InputDataError(f"Tile {number} of {layout.name}: {error}") from error


def _decode_tile(
    layout: ArrayLayout,
    tiles: TileTable,
    number: int,
    data: memoryview,
    pixels: PixelSlices,
    out_pixels: NDArray[Any],
) -> None:
    """Decode one tile and put the part that is wanted where it belongs."""
    (ny, nx), (ty, tx) = layout.shape, tiles.tile_shape
    row, column = divmod(number, tiles.grid_shape[1])
    top, left = row * ty, column * tx
    height, width = min(ty, ny - top), min(tx, nx - left)
    y0, y1 = max(pixels[0], top), min(pixels[1], top + height)
    x0, x1 = max(pixels[2], left), min(pixels[3], left + width)
    out = out_pixels[y0 - pixels[0] : y1 - pixels[0], x0 - pixels[2] : x1 - pixels[2]]
    ys, xs = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    quantization = tiles.quantization
    if quantization is not None and tiles.table[number]["COMPRESSED_DATA"][0] == 0:
        _copy_gzip_1(data, (height, width), layout.dtype, ys, xs, out)
        return
    stored: np.dtype[Any] = layout.dtype if quantization is None else np.dtype(np.int32)
    if quantization is None and tiles.compression is Compression.GZIP_2:
        _copy_gzip_2(data, (height, width), stored, ys, xs, out)
    elif quantization is None and tiles.compression is Compression.GZIP_1:
        _copy_gzip_1(data, (height, width), stored, ys, xs, out)
    elif tiles.compression is Compression.RICE_1:
        # Nothing behind the last pixel that is wanted has to be decoded.
        count = (ys.stop - 1) * width + xs.stop
        values = decode_rice_tile(data, count, n_block=tiles.rice_block, n_bytes=tiles.rice_bytes)
        if quantization is None:
            whole = np.empty(height * width, np.int32)
            whole[:count] = values
            out[...] = whole.reshape(height, width)[ys, xs]
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
    planes = np.frombuffer(content, np.uint8).reshape(size, *shape)
    pixels = out.view(np.uint8)
    for byte in range(size):
        # The file has the first byte first, the memory of most machines last.
        place = size - 1 - byte if _LITTLE_ENDIAN else byte
        pixels[:, place::size] = planes[byte, ys, xs]
