"""Which parts of an image hold all that some targets need."""

from __future__ import annotations

__all__ = ("Part", "plan_boxes", "plan_joint_part", "plan_parts")

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ._joint_columns import NEIGHBOUR_REACH
from ._scene import Setup, find_reach

type Floats = NDArray[np.float64]

_MAX_ROWS = 512
"""Rows of a part: of a large detector, 23 MB of pixels."""


@dataclass(frozen=True)
class Part:
    """A box of an image and the targets that are measured on its pixels alone."""

    box: Box
    rows: NDArray[np.int64]
    """Indices of the targets."""


def plan_boxes(setup: Setup, x: Floats, y: Floats, rows: NDArray[np.int64]) -> list[Part]:
    """Plan one part per target.

    Parameters
    ----------
    setup
        Image and options.
    x, y
        Positions of all targets in parent pixels.
    rows
        Targets that have pixels.

    Returns
    -------
    parts
        Parts in the order of ``rows``.
    """
    limits = _find_limits(setup, x[rows], y[rows])
    return [Part(_make_box(limit), rows[k : k + 1]) for k, limit in enumerate(limits)]


def plan_parts(setup: Setup, x: Floats, y: Floats, rows: NDArray[np.int64]) -> list[Part]:
    """Plan parts that hold neighbouring targets together.

    Parameters
    ----------
    setup
        Image and options.
    x, y
        Positions of all targets in parent pixels.
    rows
        Targets that have pixels.

    Returns
    -------
    parts
        Parts by ascending rows of pixels.  Targets whose boxes have rows in
        common share a part, up to a number of rows, so that memory does not
        grow with the image.
    """
    if rows.size == 0:
        return []
    limits = _find_limits(setup, x[rows], y[rows])
    limits_order = np.lexsort((limits[:, 2], limits[:, 0]))
    ordered = limits[limits_order]
    lowest, highest = ordered[:, 0], np.maximum.accumulate(ordered[:, 1])
    is_new = np.concatenate([[True], lowest[1:] >= highest[:-1]])
    begin = lowest[is_new][np.cumsum(is_new) - 1]
    band = (lowest - begin) // _MAX_ROWS
    is_new[1:] |= band[1:] != band[:-1]
    starts = np.flatnonzero(is_new)
    low = np.minimum.reduceat(ordered, starts)
    high = np.maximum.reduceat(ordered, starts)
    groups = np.split(rows[limits_order], starts[1:])
    return [
        Part(_make_box(np.array([lo[0], hi[1], lo[2], hi[3]])), group)
        for lo, hi, group in zip(low, high, groups, strict=True)
    ]


def plan_joint_part(
    setup: Setup, x: Floats, y: Floats, rows: NDArray[np.int64], *, has_shapes: bool
) -> list[Part]:
    """Plan the one part that targets and neighbours are fitted on together.

    Parameters
    ----------
    setup
        Image and options.
    x, y
        Positions of all targets in parent pixels.
    rows
        Targets that have pixels.
    has_shapes
        Whether there are galaxies, whose pictures may be of any size: the
        part is then the whole image.

    Returns
    -------
    parts
        The part; none without targets.
    """
    if rows.size == 0:
        return []
    if has_shapes:
        return [Part(setup.components.bbox, rows)]
    side = max(setup.stamp_shape)
    limits = _find_limits(setup, x[rows], y[rows], least=int(NEIGHBOUR_REACH * side) + side // 2 + 3)
    low, high = limits.min(axis=0), limits.max(axis=0)
    return [Part(_make_box(np.array([low[0], high[1], low[2], high[3]])), rows)]


def _find_limits(setup: Setup, x: Floats, y: Floats, *, least: int = 0) -> NDArray[np.int64]:
    """Return first and last rows and columns around positions, shape ``(n, 4)``."""
    reach = np.maximum(find_reach(setup, x, y), least)
    bbox = setup.components.bbox
    limits = np.empty((x.size, 4), dtype=np.int64)
    for k, (centers, axis) in enumerate(((y, bbox.y), (x, bbox.x))):
        nearest = np.floor(centers + 0.5).astype(np.int64)
        limits[:, 2 * k] = np.maximum(nearest - reach, axis.start)
        limits[:, 2 * k + 1] = np.minimum(nearest + reach + 1, axis.stop)
    return limits


def _make_box(limits: NDArray[np.int64]) -> Box:
    """Return a box of rows and columns."""
    y0, y1, x0, x1 = limits.tolist()
    return Box.factory[y0:y1, x0:x1]
