"""Search of the few marked pixels of a mask."""

from __future__ import annotations

__all__ = ("next_marked",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

_WORDS = 16  # words that are looked at together: most of a mask is clean


@kernel
def next_marked(mask: NDArray[np.uint16], words: NDArray[np.uint64], bits: int, start: int, stop: int) -> int:
    """Return the first pixel of a range that has one of some bits, or the end of the range.

    Parameters
    ----------
    mask
        Mask, flat, shape ``(n,)``.
    words
        The same memory, 4 pixels at a time, shape ``(n // 4,)``.
    bits
        The bits.
    start, stop
        Range of pixels in the flat mask.
    """
    pattern = np.uint64(bits) * np.uint64(0x0001000100010001)
    position = start
    while position < stop:
        if position % 4 == 0:
            word = position // 4
            while word + _WORDS <= words.size and 4 * word < stop:
                seen = np.uint64(0)
                for offset in range(_WORDS):
                    seen |= words[word + offset]
                if seen & pattern != 0:
                    break
                word += _WORDS
            position = 4 * word
            while position < stop and word < words.size:
                if words[word] & pattern != 0:
                    break
                word += 1
                position = 4 * word
        if position >= stop:
            return stop
        if mask[position] & bits != 0:
            return position
        position += 1
    return stop
