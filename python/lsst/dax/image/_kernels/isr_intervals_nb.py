"""Find the interval of a sorted list that a number lies in, in a fixed number of steps."""

from __future__ import annotations

__all__ = ("find_interval",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def find_interval(
    point: float,
    knots: NDArray[np.float64],
    tables: NDArray[np.int32],
    m: int,
    origin: float,
    cells_per_unit: float,
) -> int:
    """Return the index of the last knot of a list that is not beyond a point.

    Parameters
    ----------
    point
        Number from the first knot to the end of the last interval.
    knots
        Lists of increasing numbers, shape ``(n_lists, n)``; the last of a list ends its last interval and
        is beyond every point.
    tables
        By list and cell of equal width, shape ``(n_lists, n_cells)``: an interval that begins not beyond
        the cell.
    m
        Which list.
    origin, cells_per_unit
        Start of the first cell, and cells per unit.

    Returns
    -------
    index
        Index ``k`` with ``knots[m, k] <= point < knots[m, k + 1]``.
    """
    k = int(tables[m, int((point - origin) * cells_per_unit)])
    while point >= knots[m, k + 1]:
        k += 1
    return k
