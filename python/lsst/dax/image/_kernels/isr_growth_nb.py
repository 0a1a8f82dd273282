"""Dilation of mask planes by a diamond."""

from __future__ import annotations

__all__ = ("grow_bits",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .isr_scan_nb import next_marked


@kernel
def grow_bits(
    mask: NDArray[np.uint16],
    words: NDArray[np.uint64],
    bits: int,
    radius: int,
    out_mask: NDArray[np.uint16],
) -> None:
    """Add to a mask the bits of every pixel that is near enough.

    Parameters
    ----------
    mask
        Mask, flat, shape ``(ny * nx,)``.
    words
        The same memory, 4 pixels at a time, shape ``(ny * nx // 4,)``.
    bits
        The bits to spread; each of them spreads alone.
    radius
        Largest ``|dx| + |dy|``, in pixels.
    out_mask
        Copy of ``mask``, shape ``(ny, nx)``; the bits are added to it.
    """
    ny, nx = out_mask.shape
    position = next_marked(mask, words, bits, 0, ny * nx)
    while position < ny * nx:
        # Pixels of a run with the same bits are painted together.
        y = position // nx
        value = mask[position] & bits
        start = position - y * nx
        stop = start
        while stop < nx and mask[y * nx + stop] & bits == value:
            stop += 1
        for row in range(max(y - radius, 0), min(y + radius + 1, ny)):
            reach = radius - abs(row - y)
            for column in range(max(start - reach, 0), min(stop + reach, nx)):
                out_mask[row, column] |= value
        position = next_marked(mask, words, bits, y * nx + stop, ny * nx)
