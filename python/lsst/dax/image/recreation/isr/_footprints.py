"""Connected groups of flagged pixels."""

from __future__ import annotations

__all__ = ("Footprint", "Runs", "find_footprints", "find_runs")

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .exposure import IsrPlane, MaskBits

type Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Horizontal runs of flagged pixels, row by row and from left to right."""

    row: Indices
    """Row of each run."""
    start: Indices
    """Its first column."""
    stop: Indices
    """The column after its last."""

    def __len__(self) -> int:
        return self.row.size


@dataclass(frozen=True, eq=False)
class Footprint:
    """Flagged pixels that touch, also corner to corner."""

    runs: Runs
    """Its runs."""

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.runs.stop - self.runs.start).sum())

    @property
    def y_min(self) -> int:
        """First row."""
        return int(self.runs.row[0])

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.runs.row[-1]) - self.y_min + 1

    @cached_property
    def x_min(self) -> int:
        """First column."""
        return int(self.runs.start.min())

    @cached_property
    def centroid(self) -> tuple[float, float]:
        """Mean x and y of its pixels."""
        widths = self.runs.stop - self.runs.start
        x = (0.5 * widths * (self.runs.start + self.runs.stop - 1)).sum() / self.area
        return float(x), float((widths * self.runs.row).sum() / self.area)

    def to_array(self) -> npt.NDArray[np.bool_]:
        """Return which pixels of its bounding box it has, indexed [y, x]."""
        width = int(self.runs.stop.max()) - self.x_min
        pixels = np.zeros((self.height, width), np.bool_)
        for row, start, stop in zip(self.runs.row, self.runs.start, self.runs.stop, strict=True):
            pixels[row - self.y_min, start - self.x_min : stop - self.x_min] = True
        return pixels


def find_runs(mask: MaskBits, *, plane: IsrPlane) -> Runs:
    """Return the runs of pixels that have a plane set.

    Parameters
    ----------
    mask
        Mask, indexed [y, x].
    plane
        One plane.

    Returns
    -------
    runs
        Runs; a mask that has none costs one fast pass.
    """
    from ..._kernels.isr_footprints_nb import count_runs, find_runs  # noqa: PLC0415

    mask = np.ascontiguousarray(mask, dtype=np.uint16)
    bit = np.uint16(plane)
    counts = np.empty(mask.shape[0], np.int64)
    row, start, stop = np.empty((3, count_runs(mask, bit, counts)), np.int64)
    if row.size:
        find_runs(mask, bit, counts, row, start, stop)
    return Runs(row, start, stop)


def find_footprints(
    mask: MaskBits, *, plane: IsrPlane, wanted: Callable[[Indices, Indices], npt.NDArray[np.bool_]]
) -> list[Footprint]:
    """Return the groups of touching pixels that have a plane set.

    Parameters
    ----------
    mask
        Mask, indexed [y, x].
    plane
        One plane.
    wanted
        Which groups to return, from the areas in pixels and heights in rows of all.

    Returns
    -------
    footprints
        Groups, in the order of their first pixels.

    Notes
    -----
    Two pixels belong together if one is among the eight neighbours of the
    other, as in ``scipy.ndimage.label`` with a structure of 3x3 ones; to label
    the runs instead of the pixels costs nothing where there are few.
    """
    from ..._kernels.isr_footprints_nb import label_runs  # noqa: PLC0415

    runs = find_runs(mask, plane=plane)
    if not len(runs):
        return []
    label = np.empty(len(runs), np.int64)
    n_groups = label_runs(runs.row, runs.start, runs.stop, label)
    area = np.bincount(label, weights=runs.stop - runs.start, minlength=n_groups).astype(np.int64)
    bottom, top = np.full(n_groups, mask.shape[0]), np.full(n_groups, -1)
    np.minimum.at(bottom, label, runs.row)
    np.maximum.at(top, label, runs.row)
    footprints = []
    for group in np.flatnonzero(wanted(area, top - bottom + 1)):
        mine = label == group
        footprints.append(Footprint(Runs(runs.row[mine], runs.start[mine], runs.stop[mine])))
    return footprints
