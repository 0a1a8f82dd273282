"""Draw point sources at many positions in one call."""

from __future__ import annotations

__all__ = ("PsfEvaluator",)

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from lsst.images import Bounds

from ..errors import RequestError
from ..flags import FLAGS
from .stamps import PsfNormalization, PsfStamps

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

_MAX_SIDE = 4095


@dataclass(frozen=True)
class DrawingTask:
    """Stars to draw: those of the positions that have a model."""

    x: FloatArray
    """Column positions at which the model is taken, shape ``(m,)``."""

    y: FloatArray
    """Row positions at which the model is taken, shape ``(m,)``."""

    phases: FloatArray
    """Offset (x, y) of each star from the central pixel of its picture, shape ``(m, 2)``."""

    divisors: FloatArray
    """What to divide each picture by, shape ``(m,)``; 0 for its own sum."""

    targets: IntArray
    """Index of each star's picture, shape ``(m,)``."""

    def part(self, stars: slice) -> DrawingTask:
        """Return the task of some of the stars."""
        return DrawingTask(
            self.x[stars], self.y[stars], self.phases[stars], self.divisors[stars], self.targets[stars]
        )


class PsfEvaluator(ABC):
    """Draws one point spread function at many positions.

    Made by `make_psf_evaluator`.  An evaluator is read-only: threads may share
    it, and a picture depends on its own position alone.

    Parameters
    ----------
    bounds
        Where the model is valid.
    stamp_shape
        Rows and columns, odd, of the pictures that the model draws.
    draws_unit_sum
        Whether the model divides its pictures by their sum.
    is_exact
        Whether the pictures are those of the model, and not interpolated
        between some of them.
    """

    def __init__(
        self, *, bounds: Bounds, stamp_shape: tuple[int, int], draws_unit_sum: bool, is_exact: bool
    ) -> None:
        self._bounds = bounds
        self._stamp_shape = stamp_shape
        self._draws_unit_sum = draws_unit_sum
        self._is_exact = is_exact

    @property
    def bounds(self) -> Bounds:
        """Where the model is valid."""
        return self._bounds

    @property
    def stamp_shape(self) -> tuple[int, int]:
        """Rows and columns of the pictures, unless a size is asked for."""
        return self._stamp_shape

    @property
    def is_exact(self) -> bool:
        """Whether the pictures are those of the model, not interpolated between some."""
        return self._is_exact

    def stellar_images(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        size: int | None = None,
        normalization: PsfNormalization = PsfNormalization.AS_DRAWN,
    ) -> PsfStamps:
        """Draw the image of a star at each position.

        Parameters
        ----------
        x
            Columns in pixels of the parent image (0-based, centres at
            integers), a scalar or shape ``(n,)``.
        y
            Rows, likewise.
        size
            Rows and columns of the pictures in pixels, odd; the model's own
            if `None`.
        normalization
            What the sum over a picture is.

        Returns
        -------
        stamps
            The pictures.  The central pixel is the one that the position lies
            in; halfway between two it is the upper one, ``floor(x + 0.5)``.
            Positions that are not finite, or whose central pixel is not within
            `bounds`, have a flag and NaN.

        Raises
        ------
        RequestError
            Raised if the positions are no numbers, their numbers differ, or
            the size is even or out of range.

        Notes
        -----
        Takes ``8 n size**2`` bytes: ask for millions of positions in parts.
        """
        return self._make_stamps(x, y, size=size, normalization=normalization, is_star=True)

    def kernel_images(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        size: int | None = None,
        normalization: PsfNormalization = PsfNormalization.AS_DRAWN,
    ) -> PsfStamps:
        """Draw the convolution kernel at each position, centred on a pixel.

        Parameters
        ----------
        x
            Columns in pixels of the parent image (0-based, centres at
            integers), a scalar or shape ``(n,)``.
        y
            Rows, likewise.
        size
            Rows and columns of the pictures in pixels, odd; the model's own
            if `None`.
        normalization
            What the sum over a picture is.

        Returns
        -------
        stamps
            The pictures; pixel (0, 0) is the central one of each.  Flags as
            for `stellar_images`.

        Raises
        ------
        RequestError
            Raised as by `stellar_images`.
        """
        return self._make_stamps(x, y, size=size, normalization=normalization, is_star=False)

    def _make_stamps(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        size: int | None,
        normalization: PsfNormalization,
        is_star: bool,
    ) -> PsfStamps:
        """Draw stars or kernels, and divide them by the sum that is asked for."""
        x_px, y_px = _check_positions(x, y)
        rows, columns = self._check_size(size)
        flags = np.zeros(len(x_px), np.int64)
        finite = np.isfinite(x_px) & np.isfinite(y_px)
        flags[~finite] = FLAGS["BAD_POSITION"].value
        drawable = finite.copy()
        drawable[finite] = self._is_defined(x_px[finite], y_px[finite])
        flags[finite & ~drawable] = FLAGS["NO_PSF"].value
        targets = np.flatnonzero(drawable)
        positions = np.stack((x_px[targets], y_px[targets]), axis=1)
        centers = np.floor(positions + 0.5) if is_star else np.zeros_like(positions)
        phases = positions - centers if is_star else np.zeros_like(positions)
        divisors = self._find_divisors(positions, normalization)
        task = DrawingTask(positions[:, 0], positions[:, 1], phases, divisors, targets)
        array = np.empty((len(x_px), rows, columns))
        array[~drawable] = np.nan
        sums = np.full((len(x_px), 2), np.nan)
        self._draw(task, array, sums)
        empty = _blank_empty(array, sums, targets)
        flags[empty] = FLAGS["NO_PSF"].value
        corners = np.zeros((len(x_px), 2), np.int64)
        corners[targets] = centers.astype(np.int64) - (columns // 2, rows // 2)
        corners[empty] = 0
        total, squares = sums.T
        return PsfStamps(
            array=array,
            x0=corners[:, 0].copy(),
            y0=corners[:, 1].copy(),
            sums=total.copy(),
            effective_areas_px=total * total / squares,
            flags=flags,
        )

    def _find_divisors(self, positions: FloatArray, normalization: PsfNormalization) -> FloatArray:
        """Return what to divide each picture by, 0 for its own sum."""
        match normalization:
            case PsfNormalization.AS_DRAWN:
                return np.full(len(positions), 0.0 if self._draws_unit_sum else 1.0)
            case PsfNormalization.STAMP:
                return np.zeros(len(positions))
            case PsfNormalization.MODEL:
                sums = self._model_sums(positions[:, 0], positions[:, 1])
                return np.where(sums == 0.0, np.nan, sums)

    def _check_size(self, size: int | None) -> tuple[int, int]:
        if size is None:
            return self._stamp_shape
        if not 0 < size <= _MAX_SIDE or size % 2 != 1:
            raise RequestError(
                f"PSF pictures of {size} pixels a side; odd sizes from 1 to {_MAX_SIDE} are possible."
            )
        return size, size

    def _is_defined(self, x: FloatArray, y: FloatArray) -> BoolArray:
        """Tell which of some finite positions have a model."""
        # The pixel decides, not the place in it: bounds of other kinds than
        # boxes disagree about the outer half of the edge pixels.
        inside = self._bounds.contains(x=np.floor(x + 0.5), y=np.floor(y + 0.5))
        return np.asarray(inside, np.bool_)

    @abstractmethod
    def _draw(self, task: DrawingTask, out_stamps: FloatArray, out_sums: FloatArray) -> None:
        """Draw stars, with the sums of values and squares after the division."""

    @abstractmethod
    def _model_sums(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the sum over the whole model at each position."""


def _check_positions(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return positions as two arrays of one length."""
    try:
        columns = np.atleast_1d(np.asarray(x, dtype=np.float64))
        rows = np.atleast_1d(np.asarray(y, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise RequestError(f"PSF positions must be real numbers: {error}.") from error
    if columns.ndim != 1 or columns.shape != rows.shape:
        raise RequestError(
            f"PSF positions x and y have shapes {columns.shape} and {rows.shape}; "
            "two equal lengths are possible."
        )
    return columns, rows


def _blank_empty(array: FloatArray, sums: FloatArray, targets: IntArray) -> IntArray:
    """Set pictures that hold no flux to NaN, and return their indices."""
    # Their sum was nothing to divide by.
    is_empty = ~(np.all(np.isfinite(sums[targets]), axis=1) & (sums[targets, 1] > 0.0))
    empty = targets[is_empty]
    array[empty] = np.nan
    sums[empty] = np.nan
    return np.asarray(empty, np.int64)
