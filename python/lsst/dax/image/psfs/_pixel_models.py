"""Evaluators of models that are sampled on a grid of pixels."""

from __future__ import annotations

__all__ = ("CellPsfEvaluator", "GaussianPsfEvaluator", "PolynomialPsfEvaluator", "draw_from_components")

import math
from typing import override

import numpy as np
from numpy.typing import NDArray

from .evaluator import DrawingTask, PsfEvaluator
from .lanczos import Lanczos, TapRule
from .tables import CellPsfTables, GaussianPsfTables, PolynomialPsfTables

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

_CHUNK = 4096
"""Stars per call of the kernel: the terms of all polynomials of a million stars would fill memory."""


class PolynomialPsfEvaluator(PsfEvaluator):
    """Draws a pixel model whose samples are polynomials of the position.

    Parameters
    ----------
    tables
        The model.
    """

    def __init__(self, tables: PolynomialPsfTables) -> None:
        super().__init__(
            bounds=tables.bounds,
            stamp_shape=tables.stamp_shape,
            draws_unit_sum=tables.draws_unit_sum,
            is_exact=True,
        )
        self._tables = tables
        self._components = np.ascontiguousarray(tables.components, np.float64)
        self._indices = np.arange(len(tables.components), dtype=np.int64)[np.newaxis]
        self._component_sums = self._components.sum(axis=(1, 2)) * tables.step_px**2

    @override
    def _draw(self, task: DrawingTask, out_stamps: FloatArray, out_sums: FloatArray) -> None:
        for start in range(0, len(task.targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            draw_from_components(
                self._components,
                self._indices,
                self._evaluate_terms(task.x[part], task.y[part]),
                task.part(part),
                step_px=self._tables.step_px,
                lanczos=self._tables.lanczos,
                out=(out_stamps, out_sums),
            )

    @override
    def _model_sums(self, x: FloatArray, y: FloatArray) -> FloatArray:
        sums = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            part = slice(start, start + _CHUNK)
            sums[part] = self._evaluate_terms(x[part], y[part]) @ self._component_sums
        return sums

    def _evaluate_terms(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the terms of the polynomial at some positions, shape (n, k)."""
        tables = self._tables
        powers_u = _make_powers((x - tables.origin[0]) / tables.scale[0], int(tables.powers_x.max()))
        powers_v = _make_powers((y - tables.origin[1]) / tables.scale[1], int(tables.powers_y.max()))
        return np.asarray(powers_u[:, tables.powers_x] * powers_v[:, tables.powers_y], np.float64)


class CellPsfEvaluator(PsfEvaluator):
    """Draws the image of the cell that a position lies in.

    Parameters
    ----------
    tables
        The model.
    """

    def __init__(self, tables: CellPsfTables) -> None:
        rows, columns = tables.components.shape[2:]
        super().__init__(
            bounds=tables.bounds, stamp_shape=(rows, columns), draws_unit_sum=False, is_exact=True
        )
        self._cell_bounds = tables.bounds
        self._lanczos = tables.lanczos
        self._n_columns = tables.components.shape[1]
        self._components = np.ascontiguousarray(tables.components.reshape(-1, rows, columns), np.float64)
        self._component_sums = self._components.sum(axis=(1, 2))
        self._is_usable = np.isfinite(self._component_sums)

    @override
    def _is_defined(self, x: FloatArray, y: FloatArray) -> BoolArray:
        inside = super()._is_defined(x, y)
        inside[inside] = self._is_usable[self._find_cells(x[inside], y[inside])]
        return inside

    @override
    def _draw(self, task: DrawingTask, out_stamps: FloatArray, out_sums: FloatArray) -> None:
        draw_from_components(
            self._components,
            self._find_cells(task.x, task.y)[:, np.newaxis],
            np.ones((len(task.targets), 1)),
            task,
            step_px=1.0,
            lanczos=self._lanczos,
            out=(out_stamps, out_sums),
        )

    @override
    def _model_sums(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return np.asarray(self._component_sums[self._find_cells(x, y)], np.float64)

    def _find_cells(self, x: FloatArray, y: FloatArray) -> IntArray:
        """Return the index of the cell of each position, which must be in bounds."""
        grid, start = self._cell_bounds.grid, self._cell_bounds.subgrid_start
        column = np.floor(x + 0.5).astype(np.int64) - grid.bbox.x.start
        row = np.floor(y + 0.5).astype(np.int64) - grid.bbox.y.start
        i = row // grid.cell_shape.y - start.i
        j = column // grid.cell_shape.x - start.j
        return np.asarray(i * self._n_columns + j, np.int64)


class GaussianPsfEvaluator(PsfEvaluator):
    """Draws a circular Gaussian, sampled at pixel centres.

    Parameters
    ----------
    tables
        The model.
    """

    def __init__(self, tables: GaussianPsfTables) -> None:
        super().__init__(
            bounds=tables.bounds, stamp_shape=tables.stamp_shape, draws_unit_sum=True, is_exact=True
        )
        self._sigma_px = tables.sigma_px

    @override
    def _draw(self, task: DrawingTask, out_stamps: FloatArray, out_sums: FloatArray) -> None:
        rows, columns = out_stamps.shape[1:]
        along_x = self._make_profiles(task.phases[:, 0], columns)
        along_y = self._make_profiles(task.phases[:, 1], rows)
        sums = along_y.sum(axis=1) * along_x.sum(axis=1)
        # The rows carry the division, which is then done once per row.
        along_y /= np.where(task.divisors == 0.0, sums, task.divisors)[:, np.newaxis]
        out_stamps[task.targets] = along_y[:, :, np.newaxis] * along_x[:, np.newaxis, :]
        out_sums[task.targets, 0] = along_y.sum(axis=1) * along_x.sum(axis=1)
        out_sums[task.targets, 1] = (along_y**2).sum(axis=1) * (along_x**2).sum(axis=1)

    @override
    def _model_sums(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return np.full(len(x), 2.0 * math.pi * self._sigma_px**2)

    def _make_profiles(self, phase: FloatArray, side: int) -> FloatArray:
        """Return the profile along one axis for each star, shape (n, side)."""
        offset = np.arange(side) - side // 2 - phase[:, np.newaxis]
        return np.asarray(np.exp(-0.5 * np.square(offset / self._sigma_px)), np.float64)


def draw_from_components(
    components: FloatArray,
    indices: IntArray,
    weights: FloatArray,
    task: DrawingTask,
    *,
    step_px: float,
    lanczos: Lanczos,
    out: tuple[FloatArray, FloatArray],
) -> None:
    """Draw stars whose models are weighted sums of images.

    Parameters
    ----------
    components
        Images, shape ``(k, my, mx)``.
    indices
        Images of each star, shape ``(m, t)``, or ``(1, t)`` for all.
    weights
        Their weights, shape ``(m, t)``.
    task
        The stars.
    step_px
        Pixels per sample of the images.
    lanczos
        Interpolant between samples.
    out
        Pictures, shape ``(n, h, w)``, and the sums over them of values and
        squares, shape ``(n, 2)``; those of the task are set.
    """
    from .._kernels.psf_stamps_nb import draw_stamps  # noqa: PLC0415 (numba is slow to import)

    if not len(task.targets):
        return
    out_stamps, out_sums = out
    model_shape = components.shape[1:]
    draw_stamps(
        components.reshape(-1),
        (int(model_shape[0]), int(model_shape[1])),
        indices,
        weights,
        np.ascontiguousarray(task.phases),
        float(step_px),
        lanczos.order,
        int(lanczos.rule is TapRule.UNIT_SUM),
        lanczos.corrections,
        _find_padding(model_shape, out_stamps.shape[1:], step_px, lanczos.order),
        task.divisors,
        task.targets,
        out_stamps,
        out_sums,
    )


def _find_padding(
    model_shape: tuple[int, ...], stamp_shape: tuple[int, ...], step_px: float, order: int
) -> int:
    """Return how many samples of zero all taps need around the model."""
    needs = [0]
    for model_side, stamp_side in zip(model_shape, stamp_shape, strict=True):
        reach = (stamp_side // 2 + 0.5) / step_px
        center = model_side // 2
        needs.append(math.ceil(reach) - center + order)
        needs.append(math.floor(reach) + center + order + 1 - model_side)
    return max(needs) + 1


def _make_powers(values: FloatArray, highest: int) -> FloatArray:
    """Return powers 0 to ``highest`` of each value, shape (n, highest + 1)."""
    powers = np.ones((len(values), highest + 1))
    for power in range(1, highest + 1):
        powers[:, power] = powers[:, power - 1] * values
    return powers
