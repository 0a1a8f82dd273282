"""Floating-point and integer tiles that are compressed with RICE, and dither."""

from __future__ import annotations

__all__ = ("decode_rice_tile", "dequantize_tile", "dither_numbers")

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .array_layout import Quantization

_N_RANDOM = 10000
_NO_BLANK = 2**40


@cache
def _kernels() -> ModuleType:
    """Return the compiled part.

    numba takes longer to import than a cutout takes, and files without RICE do
    not need it.
    """
    from .._kernels import rice_nb  # noqa: PLC0415

    return rice_nb


@cache
def dither_numbers() -> NDArray[np.float32]:
    """Return the random numbers of the subtractive dithers.

    Returns
    -------
    numbers
        10000 numbers from 0 to 1.

    Notes
    -----
    The FITS standard 4.0, appendix I, gives the generator, which is that of
    Park and Miller (1988, CACM 31, 1192), and its last state.
    """
    numbers = np.empty(_N_RANDOM, np.float32)
    state = 1
    for number in range(_N_RANDOM):
        state = 16807 * state % 2147483647
        numbers[number] = state / 2147483647.0
    numbers.flags.writeable = False
    return numbers


def decode_rice_tile(data: memoryview, count: int, *, n_block: int, n_bytes: int) -> NDArray[np.int32]:
    """Decompress a RICE tile.

    Parameters
    ----------
    data
        Compressed bytes.
    count
        Integers of the tile.
    n_block
        Pixels of a block.
    n_bytes
        Bytes of an integer before compression: 1, 2 or 4.

    Returns
    -------
    values
        ``count`` integers.

    Raises
    ------
    InputDataError
        Raised if the bytes end too early or too late, or are no RICE code:
        there is no checksum that would find damage.
    """
    # The shortest code of a block says, in 3 to 5 bits, that all is constant.
    if count > (3 * len(data) + 1) * n_block:
        raise InputDataError(f"A RICE tile of {len(data)} bytes cannot hold {count} pixels.")
    values = np.empty(count, np.int32)
    if _kernels().decode_rice(np.frombuffer(data, np.uint8), n_block, n_bytes, values):
        raise InputDataError(f"A tile of {len(data)} bytes is no RICE code of {count} pixels.")
    return values


def dequantize_tile(
    values: NDArray[np.int32],
    quantization: Quantization,
    *,
    tile: int,
    width: int,
    corner: tuple[int, int],
    out_pixels: NDArray[np.floating],
) -> None:
    """Make floating-point pixels of the integers of part of a tile.

    Parameters
    ----------
    values
        Integers of the tile in row-major order.
    quantization
        How the pixels were made integers.
    tile
        Number of the tile, from 0.
    width
        Columns of the tile.
    corner
        Row and column within the tile of the first pixel that is wanted.
    out_pixels
        Pixels, shape ``(rows, columns)``.

    Notes
    -----
    The arithmetic is that of the FITS standard 4.0, section 10.2, in double
    precision and in its order, so that pixels agree with other readers to the
    last bit.
    """
    _kernels().dequantize(
        values,
        corner[0],
        corner[1],
        width,
        dither_numbers(),
        tile + quantization.seed - 1,
        int(quantization.dither),
        float(quantization.scale[tile]),
        float(quantization.zero[tile]),
        _NO_BLANK if quantization.blank is None else quantization.blank,
        out_pixels,
    )
