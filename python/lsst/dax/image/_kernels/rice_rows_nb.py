"""RICE decompression of many tiles in one call."""

from __future__ import annotations

__all__ = ("decode_rice_rows",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .rice_nb import decode_rice


@kernel
def decode_rice_rows(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    n_block: int,
    n_bytes: int,
    out_values: NDArray[np.int32],
) -> int:
    """Decompress RICE tiles of one row each.

    Parameters
    ----------
    data
        Bytes that hold all tiles, shape ``(n,)``.
    begins, ends
        First byte and first byte after each tile, shape ``(rows,)``; within ``data``.
    n_block
        Pixels of a block.
    n_bytes
        Bytes of an integer before compression: 1, 2 or 4.
    out_values
        Integers, shape ``(rows, columns)``; 1 byte is unsigned, more are signed.

    Returns
    -------
    failed
        First row that is no RICE code, or -1 if all are.
    """
    for row in range(out_values.shape[0]):
        if decode_rice(data[begins[row] : ends[row]], n_block, n_bytes, out_values[row]) != 0:
            return row
    return -1
