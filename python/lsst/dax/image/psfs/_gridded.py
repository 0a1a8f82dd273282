"""The evaluator of models that only draw themselves, one position at a time."""

from __future__ import annotations

__all__ = ("GriddedPsfEvaluator",)

import math
import threading
from dataclasses import dataclass
from typing import override

import numpy as np
from numpy.typing import NDArray

from lsst.images import BoundsError, Interval
from lsst.images.psfs import PointSpreadFunction

from ..errors import InputDataError, RequestError
from ._pixel_models import draw_from_components
from .evaluator import DrawingTask, PsfEvaluator
from .lanczos import Lanczos, TapRule

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

_LANCZOS = Lanczos(5, TapRule.UNIT_SUM)


@dataclass(frozen=True)
class _Axis:
    """Nodes along one axis: from the centre of the first pixel to that of the last."""

    start: float
    spacing_px: float
    count: int

    @classmethod
    def of(cls, interval: Interval, spacing_px: float) -> _Axis:
        """Divide an interval into equal parts that are not longer than the spacing."""
        length = float(interval.max - interval.min)
        parts = max(1, math.ceil(length / spacing_px))
        return cls(float(interval.min), length / parts if length else 1.0, parts + 1)

    def position(self, node: int) -> float:
        """Return where a node lies."""
        return self.start + node * self.spacing_px

    def split(self, position: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the node below each position, and the fraction of the way to the next."""
        # The outer half of the first and last pixel has the PSF of its centre.
        steps = np.clip((position - self.start) / self.spacing_px, 0.0, self.count - 1.0)
        below = np.minimum(np.floor(steps), self.count - 2.0)
        return below.astype(np.int64), steps - below


class GriddedPsfEvaluator(PsfEvaluator):
    """Draws a model from its kernels at the nodes of a grid.

    The kernel at a position is interpolated linearly, in x and in y, between
    those of the four nodes around it, and moved to its place in the pixel with
    a Lanczos interpolant of order 5.  Nodes are drawn when a position first
    needs them.

    Parameters
    ----------
    psf
        The model.
    spacing_px
        Distance of the nodes along an axis.

    Raises
    ------
    RequestError
        Raised if the distance is not a positive number.
    InputDataError
        Raised if the model draws kernels of even sides.
    """

    def __init__(self, psf: PointSpreadFunction, *, spacing_px: float) -> None:
        if not 0.0 < spacing_px < np.inf:
            raise RequestError(f"The nodes of a PSF are {spacing_px} pixels apart; more than 0 are possible.")
        rows, columns = psf.kernel_bbox.shape
        if rows % 2 != 1 or columns % 2 != 1:
            raise InputDataError(f"A PSF draws kernels of shape {(rows, columns)}; odd sides are possible.")
        super().__init__(bounds=psf.bounds, stamp_shape=(rows, columns), draws_unit_sum=False, is_exact=False)
        self._psf = psf
        bbox = psf.bounds.bbox
        self._axes = (_Axis.of(bbox.x, spacing_px), _Axis.of(bbox.y, spacing_px))
        self._nodes: dict[tuple[int, int], FloatArray | None] = {}
        self._lock = threading.Lock()

    @override
    def _is_defined(self, x: FloatArray, y: FloatArray) -> BoolArray:
        inside = super()._is_defined(x, y)
        keys, indices, weights = self._find_nodes(x[inside], y[inside])
        drawn = np.array([self._draw_node(key) is not None for key in keys], np.bool_)
        inside[inside] = np.all(drawn[indices] | (weights == 0.0), axis=1)
        return inside

    @override
    def _draw(self, task: DrawingTask, out_stamps: FloatArray, out_sums: FloatArray) -> None:
        if not len(task.targets):
            return
        components, indices, weights = self._find_components(task.x, task.y)
        draw_from_components(
            components, indices, weights, task, step_px=1.0, lanczos=_LANCZOS, out=(out_stamps, out_sums)
        )

    @override
    def _model_sums(self, x: FloatArray, y: FloatArray) -> FloatArray:
        if not len(x):
            return np.empty(0)
        components, indices, weights = self._find_components(x, y)
        return np.asarray((components.sum(axis=(1, 2))[indices] * weights).sum(axis=1), np.float64)

    def _find_components(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, IntArray, FloatArray]:
        """Return the kernels of all nodes, and which ones make each star."""
        keys, indices, weights = self._find_nodes(x, y)
        # A node without a kernel has no weight here.
        blank = np.zeros(self._stamp_shape)
        kernels = [self._draw_node(key) for key in keys]
        components = np.stack([blank if kernel is None else kernel for kernel in kernels])
        return components, indices, weights

    def _find_nodes(self, x: FloatArray, y: FloatArray) -> tuple[list[tuple[int, int]], IntArray, FloatArray]:
        """Return the nodes around positions, which of them four each needs, and their weights."""
        column, along_x = self._axes[0].split(x)
        row, along_y = self._axes[1].split(y)
        corners = [
            (row + j, column + i, (along_y if j else 1.0 - along_y) * (along_x if i else 1.0 - along_x))
            for j in (0, 1)
            for i in (0, 1)
        ]
        places = np.stack([np.stack((r, c), axis=1) for r, c, _ in corners], axis=1)
        unique, indices = np.unique(places.reshape(-1, 2), axis=0, return_inverse=True)
        keys = [(int(r), int(c)) for r, c in unique]
        return keys, indices.reshape(-1, 4), np.stack([weight for *_, weight in corners], axis=1)

    def _draw_node(self, key: tuple[int, int]) -> FloatArray | None:
        """Return the kernel of a node, `None` where the model has none."""
        with self._lock:
            if key not in self._nodes:
                self._nodes[key] = self._draw_kernel(key)
            return self._nodes[key]

    def _draw_kernel(self, key: tuple[int, int]) -> FloatArray | None:
        row, column = key
        x, y = self._axes[0].position(column), self._axes[1].position(row)
        try:
            kernel = np.asarray(self._psf.compute_kernel_image(x=x, y=y).array, np.float64)
        except BoundsError:
            return None
        return kernel if np.all(np.isfinite(kernel)) else None
