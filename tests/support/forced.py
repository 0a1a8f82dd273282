"""Stars whose every pixel is known, and slow references of their photometry."""

from __future__ import annotations

__all__ = (
    "add_stars",
    "fit_psf_slowly",
    "make_gaussian_stamps",
    "make_pixels",
    "make_star_image",
    "place_kernel",
)

import math

import astropy.units as u
import numpy as np
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from numpy.typing import NDArray

from lsst.dax.image.forced import Pixels
from lsst.dax.image.psfs import PsfStamps

from .scenes import make_sky_projection

type Floats = NDArray[np.float64]

BOX = Box.factory[30:190, 1000:1180]  # 160 rows, 180 columns, off the origin
PLANES = ("BAD", "SATURATED", "COSMIC_RAY", "NO_DATA", "INTERPOLATED", "DETECTION_EDGE", "SUSPECT", "STREAK")


def make_gaussian_stamps(x: Floats, y: Floats, *, sigma: float = 1.7, half: int = 12) -> PsfStamps:
    """Return Gaussian stars of unit sum, sampled at the centres of pixels."""
    nearest_x = np.floor(x + 0.5).astype(np.int64)
    nearest_y = np.floor(y + 0.5).astype(np.int64)
    steps = np.arange(-half, half + 1)
    in_x = np.exp(-0.5 * ((nearest_x[:, None] + steps - x[:, None]) / sigma) ** 2)
    in_y = np.exp(-0.5 * ((nearest_y[:, None] + steps - y[:, None]) / sigma) ** 2)
    array = in_y[:, :, None] * in_x[:, None, :]
    array /= array.sum(axis=(1, 2))[:, None, None]
    return PsfStamps(
        array=array,
        x0=nearest_x - half,
        y0=nearest_y - half,
        sums=array.sum(axis=(1, 2)),
        effective_areas_px=array.sum(axis=(1, 2)) ** 2 / (array**2).sum(axis=(1, 2)),
        flags=np.zeros(x.size, dtype=np.int64),
    )


def add_stars(model: Floats, stamps: PsfStamps, flux: Floats, *, x0: int = 0, y0: int = 0) -> Floats:
    """Return an image with stars added, those off its edge in part."""
    result = np.pad(model, (pad := max(stamps.array.shape[1:])))
    height, width = stamps.array.shape[1:]
    for k in range(len(stamps)):
        column, row = stamps.x0[k] - x0 + pad, stamps.y0[k] - y0 + pad
        if row >= 0 and column >= 0:
            part = result[row : row + height, column : column + width]
            part += flux[k] * stamps.array[k, : part.shape[0], : part.shape[1]]
    return result[pad:-pad, pad:-pad]


def make_pixels(
    image: NDArray[np.floating],
    variance: NDArray[np.floating],
    *,
    bad: NDArray[np.bool_] | None = None,
    x0: int = 0,
    y0: int = 0,
) -> Pixels:
    """Return pixels whose bad ones are left out."""
    mask = np.zeros((*image.shape, 2), dtype=np.uint8)
    drop = np.zeros(2, dtype=np.uint8)
    if bad is not None:
        mask[bad, 1] = 4
        drop[1] = 4
    return Pixels(image, variance, mask, drop, x0, y0, drops_not_finite=bad is not None)


def make_star_image(
    model: Floats,
    *,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    bbox: Box = BOX,
    unit: u.UnitBase = u.nJy,
) -> MaskedImage:
    """Return a masked image of a model, with Gaussian noise of one variance."""
    pixels = model if rng is None else rng.normal(model, noise)
    schema = MaskSchema([MaskPlane(name, f"Plane {name}.") for name in PLANES])
    image = Image(
        pixels.astype(np.float64), bbox=bbox, unit=unit, sky_projection=make_sky_projection(bbox=bbox)
    )
    variance = Image(np.full(model.shape, max(noise, 1.0) ** 2), bbox=bbox, unit=unit**2)
    return MaskedImage(image, mask=Mask(schema=schema, bbox=bbox), variance=variance)


def fit_psf_slowly(pixels: Pixels, stamps: PsfStamps, k: int, *, level: float = 0.0) -> dict[str, float]:
    """Fit one flux with plain NumPy, pixel by pixel."""
    rows, columns = pixels.image.shape
    m, d, v = [], [], []
    for j, i in np.ndindex(stamps.array.shape[1:]):
        row, column = stamps.y0[k] - pixels.y0 + j, stamps.x0[k] - pixels.x0 + i
        if not (0 <= row < rows and 0 <= column < columns):
            continue
        if (pixels.mask[row, column] & pixels.drop).any():
            continue
        values = float(pixels.image[row, column]), float(pixels.variance[row, column])
        if pixels.drops_not_finite and not np.isfinite(values).all():
            continue
        m.append(stamps.array[k, j, i])
        d.append(values[0] - level)
        v.append(values[1])
    m, d, v = np.array(m), np.array(d), np.array(v)
    mm = math.fsum(m * m)
    flux = math.fsum(m * d) / mm
    return {
        "flux": flux,
        "flux_err": math.sqrt(math.fsum(m * m * v)) / mm,
        "chi2": math.fsum((d - flux * m) ** 2 / v),
        "area": math.fsum(m) ** 2 / mm,
        "n_pixels": m.size,
        "masked_fraction": 1.0 - math.fsum(m) / stamps.array[k].sum(),
    }


def shift_kernel(kernel: Floats, dx: float, dy: float, *, order: int = 5) -> Floats:
    """Return a kernel moved by a fraction of a pixel with Lanczos weights of unit sum."""

    def matrix(side: int, offset: float) -> Floats:
        distance = np.arange(side)[:, None] - np.arange(side) - offset
        weights = np.where(np.abs(distance) < order, np.sinc(distance) * np.sinc(distance / order), 0.0)
        return weights / weights[side // 2].sum()

    return matrix(kernel.shape[0], dy) @ kernel @ matrix(kernel.shape[1], dx).T


def place_kernel(kernel: Floats, x: float, y: float, *, order: int = 5, half: int | None = None) -> PsfStamps:
    """Return a kernel as the picture of a star of unit sum, cut to so many pixels."""
    nearest_x, nearest_y = math.floor(x + 0.5), math.floor(y + 0.5)
    middle = kernel.shape[0] // 2
    half = middle if half is None else min(half, middle)
    keep = slice(middle - half, middle + half + 1)
    array = shift_kernel(kernel, x - nearest_x, y - nearest_y, order=order)[None, keep, keep]
    array = array / array.sum()
    return PsfStamps(
        array=array,
        x0=np.array([nearest_x - half]),
        y0=np.array([nearest_y - half]),
        sums=np.ones(1),
        effective_areas_px=1.0 / (array**2).sum(axis=(1, 2)),
        flags=np.zeros(1, dtype=np.int64),
    )
