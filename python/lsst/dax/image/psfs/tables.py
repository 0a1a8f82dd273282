"""What the drawing of a point spread function needs, without the package that fitted it."""

from __future__ import annotations

__all__ = ("CellPsfTables", "GaussianPsfTables", "PolynomialPsfTables", "PsfTables")

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Bounds
from lsst.images.cells import CellGridBounds

from ..errors import InputDataError
from .lanczos import Lanczos

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]

_MAX_SIDE = 2048


@dataclass(frozen=True)
class PolynomialPsfTables:
    """A pixel model whose samples are polynomials of the position.

    The model at ``(x, y)`` is the sum over k of ``components[k] * u**powers_x[k]
    * v**powers_y[k]`` with ``u = (x - x_origin) / x_scale`` and ``v`` alike.
    Its values are fluxes per image pixel; its centre is sample
    ``(shape[0] // 2, shape[1] // 2)``.
    """

    components: FloatArray
    """Images of the terms, shape ``(k, my, mx)``."""

    powers_x: IntArray
    """Power of ``u`` in each term, shape ``(k,)``."""

    powers_y: IntArray
    """Power of ``v`` in each term, shape ``(k,)``."""

    origin: tuple[float, float]
    """Position (x, y) in pixels that the polynomials are about."""

    scale: tuple[float, float]
    """Length in pixels of one unit of (u, v)."""

    step_px: float
    """Pixels of the image per sample of the model."""

    lanczos: Lanczos
    """Interpolant between samples."""

    stamp_shape: tuple[int, int]
    """Rows and columns, odd, of the picture that the model draws of itself."""

    draws_unit_sum: bool
    """Whether the model divides its pictures by their sum."""

    bounds: Bounds
    """Where the model is valid."""

    def __post_init__(self) -> None:
        """Check shapes and values against each other.

        Raises
        ------
        InputDataError
            Raised if they make no model.
        """
        _check_components(self.components, 3)
        count = len(self.components)
        if not count == len(self.powers_x) == len(self.powers_y) > 0:
            raise InputDataError(
                f"A PSF of {count} components has {len(self.powers_x)} powers of x "
                f"and {len(self.powers_y)} of y."
            )
        if min(self.powers_x.min(), self.powers_y.min()) < 0:
            raise InputDataError("A polynomial of a PSF has negative powers.")
        numbers = (*self.origin, *self.scale, self.step_px)
        if not np.all(np.isfinite(numbers)) or 0.0 in self.scale or not self.step_px > 0.0:
            raise InputDataError(
                f"The polynomials of a PSF are about {self.origin} in units of {self.scale} pixels, its "
                f"samples {self.step_px} pixels wide: they must be finite, the last three not 0."
            )
        _check_sides(self.stamp_shape)


@dataclass(frozen=True)
class CellPsfTables:
    """A model that is one image in each cell of a grid."""

    components: FloatArray
    """Images of the cells, shape ``(ny, nx, my, mx)``; NaN in a missing cell."""

    lanczos: Lanczos
    """Interpolant between samples, which are image pixels."""

    bounds: CellGridBounds
    """The grid, the cells of the images, and those that are missing."""

    def __post_init__(self) -> None:
        """Check the shape against the grid.

        Raises
        ------
        InputDataError
            Raised if they disagree.
        """
        _check_components(self.components, 4, may_be_nan=True)
        want = (self.bounds.subgrid_size.i, self.bounds.subgrid_size.j)
        if self.components.shape[:2] != want:
            raise InputDataError(
                f"A cell PSF has images of {self.components.shape[:2]} cells on a grid of {want}."
            )
        _check_sides(self.components.shape[2:])


@dataclass(frozen=True)
class GaussianPsfTables:
    """A circular Gaussian that is the same everywhere."""

    sigma_px: float
    """Standard deviation along an axis in pixels."""

    stamp_shape: tuple[int, int]
    """Rows and columns, odd, of the picture that the model draws of itself."""

    bounds: Bounds
    """Where the model is valid."""

    def __post_init__(self) -> None:
        """Check the width.

        Raises
        ------
        InputDataError
            Raised if it is not a positive number.
        """
        if not 0.0 < self.sigma_px < np.inf:
            raise InputDataError(
                f"A Gaussian PSF has a sigma of {self.sigma_px} pixels; it must be positive."
            )
        _check_sides(self.stamp_shape)


type PsfTables = PolynomialPsfTables | CellPsfTables | GaussianPsfTables
"""Any model that is drawn from arrays alone."""


def _check_components(components: FloatArray, n_axes: int, *, may_be_nan: bool = False) -> None:
    if components.ndim != n_axes or 0 in components.shape or max(components.shape[-2:]) > _MAX_SIDE:
        raise InputDataError(
            f"A PSF has components of shape {components.shape}; {n_axes} axes and images of 1 to {_MAX_SIDE} "
            "samples a side are possible."
        )
    if not may_be_nan and not np.all(np.isfinite(components)):
        raise InputDataError("The components of a PSF have values that are not finite.")


def _check_sides(shape: tuple[int, ...]) -> None:
    if any(side % 2 != 1 or not 0 < side <= _MAX_SIDE for side in shape):
        raise InputDataError(
            f"A PSF draws pictures of shape {shape}; odd sides from 1 to {_MAX_SIDE} are possible."
        )
