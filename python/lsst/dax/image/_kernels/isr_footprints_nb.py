"""Connected groups of flagged pixels, by way of their runs along rows."""

from __future__ import annotations

__all__ = ("count_runs", "find_runs", "label_runs")

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Bits = NDArray[np.uint16]
type Indices = NDArray[np.int64]


@kernel
def count_runs(mask: Bits, bit: np.uint16, out_counts: Indices) -> int:
    """Count the runs of flagged pixels in each row.

    Parameters
    ----------
    mask
        Mask, shape ``(ny, nx)``.
    bit
        One bit.
    out_counts
        Runs by row, shape ``(ny,)``.

    Returns
    -------
    n
        Runs of all rows.
    """
    n = 0
    for y in range(mask.shape[0]):
        row = mask[y]
        n_row = 0
        if row.size:
            n_row += (row[0] & bit) != 0
        # Beginnings of runs, counted without a branch: it runs in vectors.
        for x in range(1, row.size):
            n_row += ((row[x] & bit) != 0) & ((row[x - 1] & bit) == 0)
        out_counts[y] = n_row
        n += n_row
    return n


@kernel
def find_runs(
    mask: Bits, bit: np.uint16, counts: Indices, out_row: Indices, out_start: Indices, out_stop: Indices
) -> None:
    """Find the runs of flagged pixels, row by row and from left to right.

    Parameters
    ----------
    mask
        Mask, shape ``(ny, nx)``.
    bit
        One bit.
    counts
        Runs by row, shape ``(ny,)``, from `count_runs`.
    out_row, out_start, out_stop
        Row, first column and column after the last of each run, shape ``(n,)``.
    """
    run = 0
    for y in range(mask.shape[0]):
        if counts[y] == 0:
            continue
        inside = False
        for x in range(mask.shape[1]):
            flagged = (mask[y, x] & bit) != 0
            if flagged and not inside:
                out_row[run] = y
                out_start[run] = x
            elif inside and not flagged:
                out_stop[run] = x
                run += 1
            inside = flagged
        if inside:
            out_stop[run] = mask.shape[1]
            run += 1


@kernel
def label_runs(row: Indices, start: Indices, stop: Indices, out_label: Indices) -> int:
    """Label the runs that touch, also corner to corner, with one number per group.

    Parameters
    ----------
    row, start, stop
        Runs as `find_runs` gives them, shape ``(n,)``.
    out_label
        Group of each run from 0 on, in the order of the groups' first runs, shape ``(n,)``.

    Returns
    -------
    n_groups
        Number of groups.
    """
    n = row.size
    for run in range(n):
        out_label[run] = run
    above = 0  # first run of the row before that may touch the current one
    for run in range(n):
        while above < run and (row[above] < row[run] - 1 or _ends_before(row, start, stop, above, run)):
            above += 1
        other = above
        while other < run and row[other] == row[run] - 1 and start[other] <= stop[run]:
            first, second = _root(out_label, other), _root(out_label, run)
            # The smaller number becomes the root: roots are first runs.
            out_label[max(first, second)] = min(first, second)
            other += 1
    n_groups = 0
    for run in range(n):
        # A root comes before the runs that point to it, so theirs is final.
        if out_label[run] == run:
            out_label[run] = -n_groups - 1
            n_groups += 1
        else:
            parent = out_label[run]
            while parent >= 0:
                parent = out_label[parent]
            out_label[run] = parent
    for run in range(n):
        out_label[run] = -out_label[run] - 1
    return n_groups


@kernel
def _ends_before(row: Indices, start: Indices, stop: Indices, above: int, run: int) -> bool:
    """Return whether a run of the row before ends too far to the left to touch another."""
    return bool(row[above] == row[run] - 1 and stop[above] < start[run])


@kernel
def _root(labels: Indices, run: int) -> int:
    """Return the first run of a group, and shorten the way to it."""
    while labels[run] != run:
        labels[run] = labels[labels[run]]
        run = labels[run]
    return run
