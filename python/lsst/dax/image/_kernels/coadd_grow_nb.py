"""Masks grown by the support of a kernel."""

from __future__ import annotations

__all__ = ("grow_bits",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def grow_bits(
    mask: NDArray[np.uint32],
    row_offsets: NDArray[np.int64],
    first_columns: NDArray[np.int64],
    last_columns: NDArray[np.int64],
    out_mask: NDArray[np.uint32],
) -> None:
    """Combine by OR the mask words around each pixel.

    Parameters
    ----------
    mask
        Mask words, shape ``(height, width)``.
    row_offsets, first_columns, last_columns
        Runs of pixels that a word is carried to, relative to its own: a row,
        and the first and last column in it, shape ``(n_runs,)``.
    out_mask
        Grown words, shape ``(height, width)``, zeroed by the caller.
    """
    height, width = mask.shape
    for j in range(height):
        i = 0
        while i < width:
            word = mask[j, i]
            start = i
            # A run of equal words is carried as one.
            while i < width and mask[j, i] == word:
                i += 1
            if word == 0:
                continue
            for r in range(row_offsets.shape[0]):
                row = j + row_offsets[r]
                if 0 <= row < height:
                    for k in range(max(0, start + first_columns[r]), min(width, i + last_columns[r])):
                        out_mask[row, k] |= word
