"""RICE decompression and dequantization of FITS tiles."""

from __future__ import annotations

__all__ = ("decode_rice", "dequantize")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

# Number of bits of a byte up to its highest set one.
_BIT_LENGTH = np.array([value.bit_length() for value in range(256)], dtype=np.int64)

# By bytes of an integer: bits that tell the split of a block, and the split of
# a block that holds its differences as they are.
_N_BITS_SPLIT = np.array([0, 3, 4, 0, 5], dtype=np.int64)
_MAX_SPLIT = np.array([0, 6, 14, 0, 25], dtype=np.int64)

_DITHER_2_ZERO = -2147483646  # stands for a pixel that is exactly zero


@kernel
def decode_rice(data: NDArray[np.uint8], n_block: int, n_bytes: int, out_values: NDArray[np.int32]) -> int:
    """Decompress a RICE tile.

    Parameters
    ----------
    data
        Compressed bytes, shape ``(n,)``.
    n_block
        Pixels of a block.
    n_bytes
        Bytes of an integer before compression: 1, 2 or 4.
    out_values
        Integers, shape ``(m,)``; 1 byte is unsigned, more are signed.

    Returns
    -------
    status
        0, or 1 if the bytes end too early or too late, or are no RICE code.
    """
    n_bits_pixel = 8 * n_bytes
    n_bits_split, max_split = _N_BITS_SPLIT[n_bytes], _MAX_SPLIT[n_bytes]
    mask = (np.int64(1) << n_bits_pixel) - 1
    highest = mask >> 1 if n_bytes > 1 else mask
    n_data = data.size
    if n_data < n_bytes + 1:
        return 1
    last = np.int64(0)
    for position in range(n_bytes):
        last = (last << 8) | np.int64(data[position])
    position = n_bytes
    # The bits that were read and not used yet, right-aligned.
    bits = np.int64(0)
    n_bits = 0
    pixel = 0
    while pixel < out_values.size:
        stop = min(pixel + n_block, out_values.size)
        while n_bits < n_bits_split:
            if position >= n_data:
                return 1
            bits = (bits << 8) | np.int64(data[position])
            position += 1
            n_bits += 8
        n_bits -= n_bits_split
        split = int(bits >> n_bits) - 1
        bits &= (np.int64(1) << n_bits) - 1
        if split > max_split:
            return 1
        while pixel < stop:
            if split >= 0:  # else all are the same
                n_wanted = n_bits_pixel if split == max_split else split
                high = np.int64(0)
                if split < max_split:
                    # As many zeros as the upper part says, and a one.
                    while bits == 0:
                        high += n_bits
                        if position >= n_data:
                            return 1
                        bits = np.int64(data[position])
                        position += 1
                        n_bits = 8
                    length = _BIT_LENGTH[bits]
                    high += n_bits - length
                    n_bits = int(length) - 1
                    bits ^= np.int64(1) << n_bits
                while n_bits < n_wanted:
                    if position >= n_data:
                        return 1
                    bits = (bits << 8) | np.int64(data[position])
                    position += 1
                    n_bits += 8
                n_bits -= n_wanted
                difference = (high << n_wanted) | (bits >> n_bits)
                bits &= (np.int64(1) << n_bits) - 1
                # Even codes are differences from 0 up, odd ones from -1 down.
                difference = ~(difference >> 1) if difference & 1 else difference >> 1
                last = (last + difference) & mask
            out_values[pixel] = last - mask - 1 if last > highest else last
            pixel += 1
    return 0 if position == n_data else 1


@kernel
def dequantize(
    values: NDArray[np.int32],
    row_start: int,
    column_start: int,
    width: int,
    random: NDArray[np.float32],
    sequence: int,
    dither: int,
    scale: float,
    zero: float,
    blank: int,
    out_pixels: NDArray[np.floating],
) -> None:
    """Make floating-point pixels of the integers of part of a tile.

    Parameters
    ----------
    values
        Integers of the tile in row-major order, shape ``(m,)``.
    row_start, column_start
        First pixel within the tile that is wanted.
    width
        Columns of the tile.
    random
        Random numbers from 0 to 1, shape ``(10000,)``.
    sequence
        Number of the dither sequence of the tile, from 0.
    dither
        0 for none, 1 or 2 for the subtractive dithers.
    scale
        Step.
    zero
        Zero point.
    blank
        Integer that stands for NaN; beyond 32 bits if there is none.
    out_pixels
        Pixels, shape ``(rows, columns)``.
    """
    n_random = random.size
    for row in range(out_pixels.shape[0]):
        first = (row_start + row) * width + column_start
        # Each sequence is a walk through the table that begins at one of its
        # first 500 numbers; where it ends, the next begins.
        seed = sequence % n_random
        number = np.int64(random[seed] * np.float32(500)) + first
        while number >= n_random:
            number -= n_random
            seed = (seed + 1) % n_random
            number += np.int64(random[seed] * np.float32(500))
        for column in range(out_pixels.shape[1]):
            value = values[first + column]
            pixel = float(value)
            if dither > 0:
                pixel = pixel - float(random[number]) + 0.5
                number += 1
                if number == n_random:
                    seed = (seed + 1) % n_random
                    number = np.int64(random[seed] * np.float32(500))
            pixel = pixel * scale + zero
            if dither == 2 and value == _DITHER_2_ZERO:
                pixel = 0.0
            if value == blank:
                pixel = np.nan
            out_pixels[row, column] = pixel
