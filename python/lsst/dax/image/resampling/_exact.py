"""Grids whose pixels coincide: what is copied instead of resampled, and what is coarser."""

from __future__ import annotations

__all__ = ("ExactShift", "find_exact_shift", "find_largest_scale")

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ._pixel_map import PixelMap

EXACT_PX = 1e-7
"""Distance from whole pixels below which positions are whole.

It changes no pixel by more than the rounding of float32.  Two projections are
compared by way of longitudes, whose rounding alone is some 1e-8 of a pixel of
0.03 arcsec.
"""

_PROBES = 9
"""Probes along each axis of the source."""


@dataclass(frozen=True)
class ExactShift:
    """A map from source to target pixels that moves, turns and mirrors by whole pixels."""

    matrix: NDArray[np.int64]
    """A signed permutation of x and y, shape ``(2, 2)``."""

    offset: NDArray[np.int64]
    """Target position of the source position (0, 0)."""

    def find_target_box(self, source_bbox: Box) -> Box:
        """Return the target pixels of a source box.

        Parameters
        ----------
        source_bbox
            Pixels of the source.

        Returns
        -------
        box
            As many target pixels.
        """
        corners = np.array(
            [[source_bbox.x.start, source_bbox.x.stop - 1], [source_bbox.y.start, source_bbox.y.stop - 1]]
        )
        moved = self.matrix @ corners + self.offset[:, None]
        (x0, y0), (x1, y1) = moved.min(axis=1), moved.max(axis=1)
        return Box.factory[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of source pixels into the order of the target.

        Parameters
        ----------
        array
            Array whose first two axes are y and x.

        Returns
        -------
        turned
            View of it.
        """
        if self.matrix[0, 0] == 0:
            array = np.swapaxes(array, 0, 1)
        if self.matrix[1].sum() < 0:
            array = array[::-1]
        if self.matrix[0].sum() < 0:
            array = array[:, ::-1]
        return array


def _probe(source_bbox: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions all over a source, and of nothing else: every part of a target agrees."""
    x = np.linspace(source_bbox.x.start - 0.5, source_bbox.x.stop - 0.5, _PROBES)
    y = np.linspace(source_bbox.y.start - 0.5, source_bbox.y.stop - 0.5, _PROBES)
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x, grid_y


def find_exact_shift(to_target: PixelMap, source_bbox: Box) -> ExactShift | None:
    """Find out whether all source pixels lie exactly on target pixels.

    Parameters
    ----------
    to_target
        Map from source to target.
    source_bbox
        Pixels of the source.

    Returns
    -------
    shift
        The map by whole pixels, or `None` where it is none.
    """
    x, y = _probe(source_bbox)
    moved = to_target.evaluate(x, y)
    if not np.isfinite(moved).all():
        return None
    along_x = (moved[:, 0, -1] - moved[:, 0, 0]) / (x[0, -1] - x[0, 0])
    along_y = (moved[:, -1, 0] - moved[:, 0, 0]) / (y[-1, 0] - y[0, 0])
    slopes = np.stack([along_x, along_y], axis=1)
    if (np.abs(slopes) > 1.5).any():
        return None
    matrix = np.rint(slopes).astype(np.int64)
    if not (np.abs(matrix).sum(axis=0) == 1).all() or not (np.abs(matrix).sum(axis=1) == 1).all():
        return None
    rest = moved - np.einsum("ij,jkl->ikl", matrix, np.stack([x, y]))
    offset = np.rint(rest[:, 0, 0])
    if np.abs(rest - offset[:, None, None]).max() > EXACT_PX:
        return None
    return ExactShift(matrix=matrix, offset=offset.astype(np.int64))


def find_largest_scale(to_target: PixelMap, source_bbox: Box) -> float:
    """Find the largest extent of a target pixel over a source.

    Parameters
    ----------
    to_target
        Map from source to target.
    source_bbox
        Pixels of the source.

    Returns
    -------
    scale
        In source pixels, along the direction in which it is largest; 0 where
        no part of the source maps to the target.
    """
    x, y = _probe(source_bbox)
    half = 0.5
    with np.errstate(invalid="ignore"):
        along_x = to_target.evaluate(x + half, y) - to_target.evaluate(x - half, y)
        along_y = to_target.evaluate(x, y + half) - to_target.evaluate(x, y - half)
    slopes = np.stack([along_x, along_y], axis=-1)
    slopes = np.moveaxis(slopes, 0, -2).reshape(-1, 2, 2)
    slopes = slopes[np.isfinite(slopes).all(axis=(1, 2))]
    if slopes.size == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        return float((1.0 / np.linalg.svd(slopes, compute_uv=False)[:, -1]).max())
