"""Mask planes as words, and where any are set."""

from __future__ import annotations

__all__ = ("find_mask_blocks", "pack_mask", "unpack_mask")

from typing import Any

from ._jit import kernel
from .resample_vectors_nb import TILE


@kernel
def pack_mask(mask: Any, out_words: Any) -> None:
    """Put the bytes of each pixel's mask into one word, the first into the lowest bits.

    Parameters
    ----------
    mask
        Bytes, shape ``(ny, nx, n)``.
    out_words
        Words of at least ``n`` bytes, zero, shape ``(ny, nx)``.
    """
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            for i in range(mask.shape[2]):
                out_words[y, x] |= out_words.dtype.type(mask[y, x, i]) << out_words.dtype.type(8 * i)


@kernel
def unpack_mask(words: Any, out_mask: Any) -> None:
    """Put the words of `pack_mask` back into bytes.

    Parameters
    ----------
    words
        Words, shape ``(ny, nx)``.
    out_mask
        Bytes, shape ``(ny, nx, n)``.
    """
    for y in range(words.shape[0]):
        for x in range(words.shape[1]):
            for i in range(out_mask.shape[2]):
                out_mask[y, x, i] = (words[y, x] >> words.dtype.type(8 * i)) & words.dtype.type(255)


@kernel
def find_mask_blocks(words: Any, out_blocks: Any) -> None:
    """Find the bits that are set anywhere in each block of pixels.

    Parameters
    ----------
    words
        Mask words, shape ``(ny, nx)``.
    out_blocks
        Zero, one word for each `TILE` by `TILE` pixels.
    """
    for y in range(words.shape[0]):
        for block in range(out_blocks.shape[1]):
            bits = out_blocks[y // TILE, block]
            for x in range(block * TILE, min(words.shape[1], block * TILE + TILE)):
                bits |= words[y, x]
            out_blocks[y // TILE, block] = bits
