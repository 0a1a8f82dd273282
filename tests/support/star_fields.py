"""Fields of isolated stars under a point spread function that varies, with the truth."""

from __future__ import annotations

__all__ = ("StarField", "make_star_field", "make_varying_psf")

from dataclasses import dataclass

import numpy as np
from lsst.images import Box
from numpy.typing import NDArray

from lsst.dax.image.forced import Pixels
from lsst.dax.image.psfs import Lanczos, PolynomialPsfTables, TapRule

from .forced import make_pixels

type Floats = NDArray[np.float64]

_SIGMA_PER_FWHM = 1.0 / 2.3548200450309493
_DEGREE = 4
_HALF = 12
_STEP_PX = 0.5
_MODEL_HALF = 27


@dataclass(frozen=True)
class StarField:
    """Pixels and what is in them, in electrons."""

    pixels: Pixels
    """Image, variance made from the image as the observatory's is, and bad pixels."""

    x: Floats
    """Columns of the stars, shape ``(n,)``."""

    y: Floats
    """Rows."""

    flux: Floats
    """True fluxes; a fifth of the stars have none."""


def draw_stars(x: Floats, y: Floats, middles: Floats, steps: Floats, side: int) -> Floats:
    """Return elliptical Gaussians at steps from middles, of shapes that vary, shape ``(n, h, h)``."""
    u, v = 2.0 * x / side - 1.0, 2.0 * y / side - 1.0
    sigma = _SIGMA_PER_FWHM * (3.9 + 0.35 * u + 0.25 * v + 0.25 * u * u + 0.15 * u * v)
    shear_1, shear_2 = 0.05 * u + 0.02 * v, -0.04 * v + 0.02 * u * v
    dx = (middles[:, 0, None] + steps - x[:, None])[:, None, :]
    dy = (middles[:, 1, None] + steps - y[:, None])[:, :, None]
    norm = 1.0 / np.sqrt(1.0 - shear_1**2 - shear_2**2)[:, None, None]
    shear_1, shear_2 = shear_1[:, None, None], shear_2[:, None, None]
    square = norm**2 * (
        ((1.0 - shear_1) * dx - shear_2 * dy) ** 2 + ((1.0 + shear_1) * dy - shear_2 * dx) ** 2
    )
    variance = (sigma**2)[:, None, None]
    stars: Floats = np.exp(-0.5 * square / variance) / (2.0 * np.pi * variance)
    return stars


def make_varying_psf(side: int) -> PolynomialPsfTables:
    """Return a pixel model, fitted to what `make_star_field` draws, of 15 terms and Lanczos(11).

    Two samples per pixel: with one, this interpolant makes fluxes 0.01 % too
    low, which those of models that are fitted through it are not.
    """
    grid = np.linspace(0.0, side - 1.0, 12)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    steps = _STEP_PX * np.arange(-_MODEL_HALF, _MODEL_HALF + 1)
    kernels = draw_stars(x, y, np.stack([x, y], axis=1), steps, side)
    powers = np.array([(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)])
    middle = 0.5 * side
    terms = ((x - middle) / middle)[:, None] ** powers[:, 0] * ((y - middle) / middle)[:, None] ** powers[
        :, 1
    ]
    components, *_ = np.linalg.lstsq(terms, kernels.reshape(len(x), -1))
    width = 2 * _MODEL_HALF + 1
    return PolynomialPsfTables(
        components=components.reshape(-1, width, width),
        powers_x=powers[:, 0],
        powers_y=powers[:, 1],
        origin=(middle, middle),
        scale=(middle, middle),
        step_px=_STEP_PX,
        lanczos=Lanczos(11, TapRule.SERIES),
        stamp_shape=(2 * _HALF + 1, 2 * _HALF + 1),
        draws_unit_sum=True,
        bounds=Box.factory[0:side, 0:side],
    )


def make_star_field(per_side: int, *, seed: int, sky: float = 400.0, bad_fraction: float = 5e-4) -> StarField:
    """Return a field of so many rows and columns of stars, 26 pixels apart.

    Fluxes are from 300 to a million electrons, the gain is 1.  Bad pixels hold
    values that ruin any flux with them in it.
    """
    rng = np.random.default_rng(seed)
    spacing = 26
    side = per_side * spacing
    rows, columns = (axis.ravel() * spacing + 13.0 for axis in np.mgrid[:per_side, :per_side])
    x, y = columns + rng.uniform(-0.5, 0.5, columns.size), rows + rng.uniform(-0.5, 0.5, rows.size)
    flux = 10.0 ** rng.uniform(np.log10(300.0), 6.0, x.size)
    flux[rng.random(x.size) < 0.2] = 0.0
    nearest = np.floor(np.stack([x, y], axis=1) + 0.5).astype(np.int64)
    model = np.zeros((side, side))
    stars = draw_stars(x, y, nearest.astype(np.float64), np.arange(-_HALF, _HALF + 1.0), side)
    for k in np.flatnonzero(flux):
        column, row = nearest[k] - _HALF
        model[row : row + stars.shape[1], column : column + stars.shape[2]] += flux[k] * stars[k]
    image = rng.normal(model, np.sqrt(model + sky)).astype(np.float32)
    variance = np.clip(image + sky, 1.0, None).astype(np.float32)
    bad = rng.random(image.shape) < bad_fraction
    image[bad] = 5e4
    return StarField(make_pixels(image, variance, bad=bad), x, y, flux)
