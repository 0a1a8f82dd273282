"""Order statistics of an image, from histograms of bit patterns.

A float32, taken as an integer whose sign bits are turned, sorts as its value
does.  One histogram of the upper 16 bits finds the bin of a rank, a second one
of the lower 16 bits in that bin its exact value.
"""

from __future__ import annotations

__all__ = ("count_lower_halves", "count_upper_halves")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Patterns = NDArray[np.uint32]
type Bits = NDArray[np.uint16]
type Counts = NDArray[np.int64]

_EXPONENT = np.uint32(0x7F800000)
_SIGN = np.uint32(0x80000000)
_ALL = np.uint32(0xFFFFFFFF)


@kernel
def count_upper_halves(values: Patterns, mask: Bits, bits: np.uint16, out_counts: Counts) -> None:
    """Count finite, unmasked values by the upper half of their sorting pattern.

    Parameters
    ----------
    values
        Bit patterns of float32, shape ``(n,)``.
    mask
        Mask, shape ``(n,)``.
    bits
        Bits of which one leaves a value out.
    out_counts
        Counts, shape ``(65536,)``.
    """
    out_counts[:] = 0
    for i in range(values.size):
        if (mask[i] & bits) == 0 and (values[i] & _EXPONENT) != _EXPONENT:
            out_counts[_sorting(values[i]) >> np.uint32(16)] += 1


@kernel
def count_lower_halves(values: Patterns, mask: Bits, bits: np.uint16, upper: int, out_counts: Counts) -> None:
    """Count values with a given upper half by the lower half of their sorting pattern.

    Parameters
    ----------
    values
        Bit patterns of float32, shape ``(n,)``.
    mask
        Mask, shape ``(n,)``.
    bits
        Bits of which one leaves a value out.
    upper
        Upper half.
    out_counts
        Counts, shape ``(65536,)``.
    """
    out_counts[:] = 0
    for i in range(values.size):
        pattern = _sorting(values[i])
        if (pattern >> np.uint32(16)) == upper and (mask[i] & bits) == 0:
            out_counts[pattern & np.uint32(0xFFFF)] += 1


@kernel
def _sorting(pattern: np.uint32) -> np.uint32:
    """Return the integer that sorts as the float of a bit pattern."""
    return np.uint32(pattern ^ (_ALL if pattern & _SIGN else _SIGN))
