"""Tables with which a kernel finds the interval of a number at once."""

from __future__ import annotations

__all__ = ("N_CELLS", "make_interval_table")

import numpy as np
import numpy.typing as npt

# So many cells of equal width that knots rarely share one, and so few that
# the table stays in the innermost cache.
N_CELLS = 4096


def make_interval_table(knots: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], float, float]:
    """Return what the kernel `find_interval` needs for increasing knots.

    Returns
    -------
    table
        By cell, shape ``(N_CELLS + 1,)``: an interval that begins not beyond the cell.
    origin
        Where the first cell begins.
    cells_per_unit
        Cells per unit.
    """
    origin = float(knots[0])
    cells_per_unit = N_CELLS / (float(knots[-1]) - origin)
    # The very expression of the kernel: it never decreases with the knot, so
    # knots of a lower cell are below every point of a cell.
    cells = ((knots - origin) * cells_per_unit).astype(np.int64)
    below = np.searchsorted(cells, np.arange(N_CELLS + 1), side="left")
    return np.clip(below - 1, 0, knots.size - 2).astype(np.int32), origin, cells_per_unit
