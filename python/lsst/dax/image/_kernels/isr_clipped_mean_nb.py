"""Order statistics and clipped moments of many float32 values."""

from __future__ import annotations

__all__ = ("clipped_moments", "count_prefixes", "count_suffixes")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def count_prefixes(keys: NDArray[np.uint32], out_counts: NDArray[np.int64]) -> None:
    """Count finite numbers by the upper 16 bits of their ordered key.

    Parameters
    ----------
    keys
        Memory of float32 values, flat.
    out_counts
        Counts, shape ``(65536,)``, zeroed by the caller.

    Notes
    -----
    The bits of a float32 order like the number once the sign bit is turned
    over, and all bits if it was set.
    """
    for i in range(keys.size):
        bits = keys[i]
        if (bits >> np.uint32(23)) & np.uint32(255) != 255:
            if bits >> np.uint32(31) != 0:
                out_counts[(bits >> np.uint32(16)) ^ np.uint32(0xFFFF)] += 1
            else:
                out_counts[(bits >> np.uint32(16)) ^ np.uint32(0x8000)] += 1


@kernel
def count_suffixes(
    keys: NDArray[np.uint32], group_of_prefix: NDArray[np.int8], out_counts: NDArray[np.int64]
) -> None:
    """Count finite numbers of some prefixes by the lower 16 bits of their ordered key.

    Parameters
    ----------
    keys
        Memory of float32 values, flat.
    group_of_prefix
        Group of each prefix, -1 if its numbers do not count, shape ``(65536,)``.
    out_counts
        Counts by group, shape ``(n, 65536)``, zeroed by the caller.
    """
    for i in range(keys.size):
        bits = keys[i]
        if (bits >> np.uint32(23)) & np.uint32(255) != 255:
            flip = np.uint32(0xFFFFFFFF) if bits >> np.uint32(31) != 0 else np.uint32(0x80000000)
            key = bits ^ flip
            group = group_of_prefix[key >> np.uint32(16)]
            if group >= 0:
                out_counts[group, key & np.uint32(0xFFFF)] += 1


@kernel
def clipped_moments(
    values: NDArray[np.float32],
    center: float,
    limit: float,
    out_counts: NDArray[np.float64],
    out_totals: NDArray[np.float64],
    out_squares: NDArray[np.float64],
) -> None:
    """Sum the differences from a centre that are within a limit, and their squares.

    Parameters
    ----------
    values
        Values, flat; those that are not finite do not count.
    center
        Centre.
    limit
        Largest absolute difference.
    out_counts, out_totals, out_squares
        Number of differences, their sum and that of their squares, by the index of the value modulo ``n``,
        shape ``(n,)``, zeroed by the caller: sums side by side, because one sum waits for itself.
    """
    n = out_counts.size
    for start in range(0, values.size, n):
        part = values[start : start + n]
        for i in range(part.size):
            difference = np.float64(part[i]) - center
            within = abs(difference) <= limit
            kept = difference if within else 0.0
            out_counts[i] += 1.0 if within else 0.0
            out_totals[i] += kept
            out_squares[i] += kept * kept
