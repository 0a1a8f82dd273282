"""Point spread functions for tests, and a slow way of drawing pixel models."""

from __future__ import annotations

__all__ = ("centroid", "draw_slowly", "lanczos_weights", "make_piff", "read_psfex")

from pathlib import Path
from typing import Any

import galsim
import numpy as np
import piff
from astropy.io import fits
from lsst.images import Box
from lsst.images.psfs import PiffWrapper
from numpy.typing import NDArray
from scipy.integrate import quad

from lsst.dax.image.psfs import Lanczos, PolynomialPsfTables, PsfStamps, TapRule, make_psfex_tables

type FloatArray = NDArray[np.float64]

PIXEL_SCALE = 0.2


def make_piff(
    *,
    order: int | list[int] = 2,
    keys: tuple[str, ...] = ("x", "y"),
    max_order: int | None = None,
    size: int = 25,
    scale: float = PIXEL_SCALE,
    interp: str = "Lanczos(11)",
    stamp_size: int = 27,
    side: int = 4000,
    seed: int = 1,
) -> PiffWrapper:
    """Make a pixel grid of Piff: a Gaussian with noise in all higher terms."""
    rng = np.random.default_rng(seed)
    model = piff.PixelGrid(scale=scale, size=size, interp=interp, centered=False)
    interpolation = piff.BasisPolynomial(order=order, keys=keys, max_order=max_order)
    far = _basis(interpolation, float(side))
    y, x = (np.indices((size, size)) - size // 2) * scale
    # Off the centre, and of different widths: a swap of the axes shows.
    shape = np.exp(-0.5 * (((x - 0.05) / 0.36) ** 2 + ((y + 0.02) / 0.44) ** 2))
    shape /= shape.sum()
    terms = 0.05 * shape * rng.normal(size=(len(far), size, size)) / np.abs(far)[:, None, None]
    terms[0] = shape
    interpolation.q = terms.reshape(len(far), -1).T.copy()
    whole = piff.SimplePSF(model, interpolation)
    whole.wcs = {0: galsim.PixelScale(PIXEL_SCALE)}
    whole.pointing = None
    whole.stars = []
    return PiffWrapper(whole, Box.factory[0:side, 0:side], stamp_size)


def _basis(interpolation: Any, position: float) -> FloatArray:
    """Return the terms at a far corner, to scale their coefficients by."""
    world = position * PIXEL_SCALE
    star = piff.Star.makeTarget(x=position, y=position, u=world, v=world, scale=PIXEL_SCALE)
    return np.asarray(interpolation.basis(star))


def read_psfex(path: Path, bounds: Box, lanczos: Lanczos | None = None) -> PolynomialPsfTables:
    """Read a PSFEx file: with its numbers as cards, or as columns of one row."""
    with fits.open(path) as hdus:
        table, header = hdus[1].data, hdus[1].header
        images = np.asarray(table["psf_mask"][0], np.float64)

        def number(name: str) -> float:
            return float(header[name] if name in header else table[name.lower()][0])

        options = {} if lanczos is None else {"lanczos": lanczos}
        return make_psfex_tables(
            images,
            degree=int(number("POLDEG1")),
            origin=(number("POLZERO1") - 1.0, number("POLZERO2") - 1.0),
            scale=(number("POLSCAL1"), number("POLSCAL2")),
            step_px=number("PSF_SAMP") or 1.0,
            bounds=bounds,
            **options,
        )


def lanczos_weights(position: float, samples: FloatArray, lanczos: Lanczos) -> FloatArray:
    """Return the weight of each sample at a position, from the definition."""

    def raw(distance: FloatArray) -> FloatArray:
        inside = np.abs(distance) < lanczos.order
        return np.where(inside, np.sinc(distance) * np.sinc(distance / lanczos.order), 0.0)

    weights = raw(position - samples)
    match lanczos.rule:
        case TapRule.PLAIN:
            return weights
        case TapRule.UNIT_SUM:
            everywhere = np.floor(position) + np.arange(-lanczos.order - 1.0, lanczos.order + 2.0)
            return weights / raw(position - everywhere).sum()
        case TapRule.SERIES:
            total = 1.0
            for j in range(1, 6):
                total -= 2.0 * _transform(j, lanczos.order) * (1.0 - np.cos(2.0 * np.pi * j * position))
            return weights / total


def _transform(frequency: int, order: int) -> float:
    """Integrate the interpolant against a cosine."""
    value, _ = quad(
        lambda x: np.sinc(x) * np.sinc(x / order) * np.cos(2.0 * np.pi * frequency * x),
        -order,
        order,
        epsabs=1e-13,
        epsrel=1e-13,
        limit=2000,
    )
    return float(value)


def draw_slowly(
    model: FloatArray,
    *,
    x: float,
    y: float,
    shape: tuple[int, int],
    step_px: float,
    lanczos: Lanczos,
) -> FloatArray:
    """Draw one star from a pixel model, pixel by pixel, with all samples."""
    picture = np.empty(shape)
    first_y, first_x = np.floor(y + 0.5) - shape[0] // 2, np.floor(x + 0.5) - shape[1] // 2
    samples_y, samples_x = (np.arange(side) - side // 2 for side in model.shape)
    for row in range(shape[0]):
        along_y = lanczos_weights((first_y + row - y) / step_px, samples_y, lanczos)
        for column in range(shape[1]):
            along_x = lanczos_weights((first_x + column - x) / step_px, samples_x, lanczos)
            picture[row, column] = along_y @ model @ along_x
    return picture


def centroid(stamps: PsfStamps) -> tuple[FloatArray, FloatArray]:
    """Return the centre of light (x, y) of each picture in parent pixels."""
    _, rows, columns = stamps.array.shape
    total = stamps.array.sum(axis=(1, 2))
    x = (stamps.array.sum(axis=1) @ np.arange(columns)) / total
    y = (stamps.array.sum(axis=2) @ np.arange(rows)) / total
    return stamps.x0 + x, stamps.y0 + y
