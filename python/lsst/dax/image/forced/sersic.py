"""Galaxies of fixed shape, as the PSF shows them."""

from __future__ import annotations

__all__ = ("Picture", "SersicShape", "draw_sersic")

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fht, fhtoffset, irfft2, next_fast_len, rfft2
from scipy.interpolate import CubicSpline
from scipy.special import gamma, gammaincinv

from ..errors import RequestError, RequestTooLargeError

type Floats = NDArray[np.float64]

MIN_INDEX = 0.3
MAX_INDEX = 6.2
MAX_GRID = 8192
"""Largest side in pixels of the grid that a galaxy is convolved on."""

# Sides of the grid in half-light radii.  What lies beyond it comes back on the
# other side: less than 1e-3 of the flux over a picture of ten radii.
_COMPACT_GRID, _WIDE_GRID = 24.0, 64.0
_COMPACT_INDEX = 2.0
_REACH = 6.0  # half-light radii that a picture reaches from the centre

# Radii in half-light radii between which the profile is transformed: the light
# on either side is below 1e-6 for all indices.
_RADII = (1e-9, 1e7)
_N_RADII = 8192


@dataclass(frozen=True)
class SersicShape:
    """Shape of an elliptical Sersic profile on the pixels of an image."""

    half_light_radius_px: float
    """Major half axis of the ellipse with half the light, in pixels."""

    index: float
    """Sersic index: 1 is an exponential disk, 4 a de Vaucouleurs profile."""

    axis_ratio: float = 1.0
    """Minor over major axis."""

    angle: float = 0.0
    """Angle of the major axis from +x towards +y, in radians."""

    def __post_init__(self) -> None:
        if not (self.half_light_radius_px > 0 and math.isfinite(self.half_light_radius_px)):
            raise RequestError(f"A half-light radius must be positive; got {self.half_light_radius_px}.")
        if not MIN_INDEX <= self.index <= MAX_INDEX:
            raise RequestError(f"A Sersic index lies in {MIN_INDEX} to {MAX_INDEX}; got {self.index}.")
        if not 0 < self.axis_ratio <= 1:
            raise RequestError(f"An axis ratio lies above 0, up to 1; got {self.axis_ratio}.")
        if not math.isfinite(self.angle):
            raise RequestError(f"The angle of the major axis must be a number; got {self.angle}.")


@dataclass(frozen=True)
class Picture:
    """Image of one source of unit flux."""

    array: Floats
    """Pixels, shape ``(height, width)``."""

    x0: int
    """Column of the first pixel in parent pixels."""

    y0: int
    """Row of the first pixel in parent pixels."""


def draw_sersic(star: Picture, shape: SersicShape) -> Picture:
    r"""Draw a galaxy as the PSF shows it.

    Parameters
    ----------
    star
        Image of a star of unit flux at the galaxy's position.
    shape
        Shape of the galaxy.

    Returns
    -------
    picture
        Image of the galaxy of unit total flux, out to six half-light radii
        along the major axis, or to the side of the star's image beyond.

    Raises
    ------
    RequestTooLargeError
        Raised if the galaxy needs a grid of more than `MAX_GRID` pixels.

    Notes
    -----
    The star's image, which has the pixel's own response in it, is multiplied
    in Fourier space by the transform of the profile: for a PSF without power
    beyond the Nyquist frequency this is exact, the cusp in the centre
    included.  The profile's transform is a Hankel transform on a logarithmic
    grid (Hamilton, 2000, MNRAS 312, 257), made once per index.
    """
    height, width = star.array.shape
    margin = math.ceil(_REACH * shape.half_light_radius_px)
    rows, columns = height + 2 * margin, width + 2 * margin
    extent = _COMPACT_GRID if shape.index <= _COMPACT_INDEX else _WIDE_GRID
    side = next_fast_len(max(rows, columns, math.ceil(extent * shape.half_light_radius_px)), real=True)
    if side > MAX_GRID:
        raise RequestTooLargeError(
            f"A galaxy of {shape.half_light_radius_px} pixels needs a grid of {side}; at most {MAX_GRID}."
        )
    padded = np.zeros((side, side))
    padded[margin : margin + height, margin : margin + width] = star.array
    ky, kx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    along, across = cos * kx + sin * ky, shape.axis_ratio * (cos * ky - sin * kx)
    transform = _evaluate(shape.index, 2.0 * np.pi * shape.half_light_radius_px * np.hypot(along, across))
    drawn = irfft2(rfft2(padded) * transform, s=(side, side))[:rows, :columns]
    return Picture(np.ascontiguousarray(drawn), star.x0 - margin, star.y0 - margin)


def _evaluate(index: float, k: Floats) -> Floats:
    """Return the transform of a profile of unit flux and half-light radius at angular frequencies."""
    spline = _make_transform(round(index, 6))
    first, last = spline.x[[0, -1]]
    with np.errstate(divide="ignore"):
        log_k = np.log(k)
    result: Floats = np.where(log_k < first, 1.0, spline(np.clip(log_k, first, last)))
    return result


@functools.lru_cache(maxsize=256)
def _make_transform(index: float) -> CubicSpline:
    """Return the transform of a profile as a spline in the logarithm of the frequency."""
    scale = gammaincinv(2.0 * index, 0.5)
    log_radius = np.linspace(math.log(_RADII[0]), math.log(_RADII[1]), _N_RADII)
    step = log_radius[1] - log_radius[0]
    radius = np.exp(log_radius)
    total = 2.0 * np.pi * index * gamma(2.0 * index) / scale ** (2.0 * index)
    profile = np.exp(-scale * radius ** (1.0 / index)) / total
    offset = fhtoffset(step, mu=0.0)
    # The frequencies run backwards through the inverse radii.
    k = np.exp(offset) / radius[::-1]
    transform = 2.0 * np.pi * fht(radius * profile, step, mu=0.0, offset=offset) / k
    inside = (k > 1e-4) & (k < 1e5)
    return CubicSpline(np.log(k[inside]), transform[inside])
