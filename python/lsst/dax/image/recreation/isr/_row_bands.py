"""Rows of a detector, cut so that one piece fits into a processor's cache."""

from __future__ import annotations

__all__ = ("split_rows",)

import itertools
from collections.abc import Iterable, Iterator

from lsst.images import Box

# Rows of 4608 pixels in single precision, read and written, fit into 1.2 MB.
_N_ROWS = 32


def split_rows(n_rows: int, boxes: Iterable[Box] = ()) -> list[tuple[int, int]]:
    """Return ranges of rows that together are an image.

    Parameters
    ----------
    n_rows
        Rows of the image.
    boxes
        Boxes whose first and last rows no range straddles.

    Returns
    -------
    ranges
        First row and end of each range.
    """
    return list(_generate(n_rows, boxes))


def _generate(n_rows: int, boxes: Iterable[Box]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of `split_rows`."""
    edges = {0, n_rows}
    for box in boxes:
        edges |= {box.y.start, box.y.stop}
    ordered = sorted(edge for edge in edges if 0 <= edge <= n_rows)
    for first, last in itertools.pairwise(ordered):
        for start in range(first, last, _N_ROWS):
            yield start, min(start + _N_ROWS, last)
