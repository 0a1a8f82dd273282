"""Fluxes within circular apertures."""

from __future__ import annotations

__all__ = (
    "MAX_SINC_RADIUS",
    "ApertureFluxes",
    "ApertureRule",
    "make_sinc_coefficients",
    "measure_apertures",
    "sinc_reach",
)

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from .._kernels import flux_aperture_nb as nb
from ..choices import as_choice
from ..errors import RequestError
from ..flags import FLAGS
from .pixels import Pixels

type Floats = NDArray[np.float64]

MAX_SINC_RADIUS = 10.0
"""Largest radius in pixels for sinc coefficients; beyond it the exact overlap
is right to better than 0.04 % for stars of 3.5 to 5 pixels."""

_BLOCK = 512  # positions whose coefficients are in memory at once: 16 MB for the largest radius


_FAR = 2.0**30


class ApertureRule(enum.Enum):
    """How a pixel that a circle cuts is shared."""

    SINC = "sinc"
    """The band-limited image behind the pixels is integrated over the circle
    (up to `MAX_SINC_RADIUS`, the exact overlap beyond): no loss at small radii."""

    EXACT = "exact"
    """A pixel counts by its area within the circle, as if its light were
    spread evenly over it: 0.3 to 1.2 % too little at 3 to 4.5 pixels for
    stars of 3.5 to 5 pixels."""


@dataclass(frozen=True)
class ApertureFluxes:
    """Aperture fluxes in the units of the image, all of shape ``(n, n_radii)``."""

    flux: Floats
    """Flux; NaN where a flag says why there is none."""

    flux_err: Floats
    """Standard deviation of the flux."""

    area: Floats
    """Sum of the weights of the pixels that were used, in pixels."""

    masked_fraction: Floats
    """Fraction of the circle's area that was left out.  The flux is not
    scaled up for it."""

    flags: NDArray[np.int64]
    """Flag words; see `lsst.dax.image.flags`."""


def measure_apertures(
    pixels: Pixels,
    *,
    x: Floats,
    y: Floats,
    radii: Sequence[float],
    rule: ApertureRule = ApertureRule.SINC,
    background: Floats | None = None,
    background_err: Floats | None = None,
) -> ApertureFluxes:
    """Sum the light within circles around positions.

    Parameters
    ----------
    pixels
        Pixels of the image.
    x, y
        Positions in parent pixels, shape ``(n,)``; NaN where there is none.
    radii
        Radii in pixels.
    rule
        How pixels that a circle cuts are shared.
    background, background_err
        Background per pixel to take off and its standard deviation, shape
        ``(n,)``; none if `None`.

    Returns
    -------
    fluxes
        One row per position, one column per radius in the order given.  A
        circle that reaches off the image has no flux.

    Raises
    ------
    RequestError
        Raised if a radius is not positive and finite, or the rule is no choice.

    Notes
    -----
    The error is the root of the sum of the squared weights times the
    variances.  Sinc coefficients: Bickerton and Lupton, 2013, MNRAS 431, 1275.
    """
    rule = as_choice(rule, ApertureRule, "rule")
    asked = np.asarray(radii, dtype=np.float64)
    if asked.ndim != 1 or not (np.isfinite(asked) & (asked > 0)).all():
        raise RequestError(f"Radii must be a list of positive numbers of pixels; got {radii}.")
    shape = (x.size, asked.size)
    sums = np.full((*shape, 3), np.nan)
    flags = np.zeros(shape, dtype=np.int64)
    is_known = np.isfinite(x) & np.isfinite(y)
    flags[~is_known] |= FLAGS["BAD_POSITION"].value
    # Kernels round to integers: what is farther off than any image stays off.
    local_x = np.clip(x[is_known] - pixels.x0, -_FAR, _FAR)
    local_y = np.clip(y[is_known] - pixels.y0, -_FAR, _FAR)
    by_sinc = (asked <= MAX_SINC_RADIUS) & (rule is ApertureRule.SINC)
    sums[np.ix_(is_known, ~by_sinc)] = _sum_exact(pixels, local_x, local_y, asked[~by_sinc])
    for k in np.flatnonzero(by_sinc):
        coefficients, is_cut = _sum_sinc(pixels, local_x, local_y, asked[k])
        sums[is_known, k] = coefficients
        flags[is_known, k] |= np.where(is_cut, FLAGS["SINC_TRUNCATED"].value, 0)
    flags[is_known] |= _find_cut(pixels, local_x, local_y, asked)
    area = sums[..., 2]
    flux = sums[..., 0] - (0.0 if background is None else background[:, None] * area)
    spread = sums[..., 1] + (0.0 if background_err is None else (background_err[:, None] * area) ** 2)
    with np.errstate(invalid="ignore"):
        flux_err = np.sqrt(spread)
    no_flux = FLAGS["APERTURE_TRUNCATED"].value | FLAGS["BAD_POSITION"].value
    is_lost = ~(np.isfinite(flux) & np.isfinite(flux_err))
    flags[is_lost & ((flags & no_flux) == 0)] |= FLAGS["NOT_FINITE"].value
    is_lost |= (flags & no_flux) != 0
    return ApertureFluxes(
        flux=np.where(is_lost, np.nan, flux),
        flux_err=np.where(is_lost, np.nan, flux_err),
        area=area,
        masked_fraction=np.maximum(0.0, 1.0 - area / (math.pi * asked**2)),
        flags=flags,
    )


def sinc_reach(radius: float) -> int:
    """Return how far from its centre the weights of an aperture reach.

    Parameters
    ----------
    radius
        Radius in pixels, positive.

    Returns
    -------
    half_size
        Pixels on each side, the central one included.
    """
    return int(2 ** max(3, math.ceil(math.log2(2.0 * radius))))


def make_sinc_coefficients(radius: float, *, dx: Floats, dy: Floats) -> Floats:
    r"""Return the pixel weights that integrate a band-limited image over a circle.

    Parameters
    ----------
    radius
        Radius in pixels.
    dx, dy
        Centre of the circle, from that of the middle pixel, in pixels, shape
        ``(n,)``.

    Returns
    -------
    coefficients
        Weights, shape ``(n, size, size)`` with an odd ``size``.

    Notes
    -----
    The weights are the Fourier transform of the circle,
    :math:`R J_1(2 \pi R k) / k`, sampled at the frequencies of the grid.  It
    is even in both axes, so the sum over frequencies is one over cosines, and
    the phase of the centre is exact.
    """
    half = sinc_reach(radius)
    size = 2 * half - 1
    frequency = np.arange(half) / size
    k = np.hypot(frequency[:, None], frequency)
    k[0, 0] = 1.0
    transform = radius * j1(2.0 * np.pi * radius * k) / k
    transform[0, 0] = np.pi * radius**2
    fold = np.where(np.arange(half) == 0, 1.0, 2.0) / size
    places = np.arange(size) - (half - 1)
    in_y = fold * np.cos(2.0 * np.pi * frequency * (places - dy[:, None])[..., None])
    in_x = fold * np.cos(2.0 * np.pi * frequency * (places - dx[:, None])[..., None])
    result: Floats = in_y @ transform @ in_x.transpose(0, 2, 1)
    return result


def _sum_exact(pixels: Pixels, x: Floats, y: Floats, radii: Floats) -> Floats:
    """Return sums of w d, w² v and w for exact overlaps, shape ``(n, n_radii, 3)``."""
    sums = np.empty((3, x.size, radii.size))
    if radii.size:
        order = np.argsort(radii, kind="stable")
        sorted_sums = np.empty_like(sums)
        planes = pixels.image, pixels.variance, pixels.mask, pixels.drop
        nb.sum_apertures(*planes, x, y, radii[order], *sorted_sums)
        sums[..., order] = sorted_sums
    return np.moveaxis(sums, 0, -1)


def _sum_sinc(pixels: Pixels, x: Floats, y: Floats, radius: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return sums of w d, w² v and w, shape ``(n, 3)``, and whether weights are off the image."""
    sums = np.empty((x.size, 3))
    is_cut = np.zeros(x.size, dtype=np.bool_)
    rows, columns = pixels.image.shape
    for first in range(0, x.size, _BLOCK):
        part = slice(first, first + _BLOCK)
        nearest_x, nearest_y = np.floor(x[part] + 0.5), np.floor(y[part] + 0.5)
        weights = make_sinc_coefficients(radius, dx=x[part] - nearest_x, dy=y[part] - nearest_y)
        size = weights.shape[1]
        start_x = nearest_x.astype(np.int64) - size // 2
        start_y = nearest_y.astype(np.int64) - size // 2
        nb.sum_weight_stamps(
            pixels.image, pixels.variance, pixels.mask, pixels.drop, weights, start_x, start_y, sums[part]
        )
        is_cut[part] = (start_x < 0) | (start_y < 0) | (start_x + size > columns) | (start_y + size > rows)
    return sums, is_cut


def _find_cut(pixels: Pixels, x: Floats, y: Floats, radii: Floats) -> NDArray[np.int64]:
    """Return the flag of circles that reach off the image, shape ``(n, n_radii)``."""
    rows, columns = pixels.image.shape
    reach_x = np.minimum(x + 0.5, columns - 0.5 - x)[:, None]
    reach_y = np.minimum(y + 0.5, rows - 0.5 - y)[:, None]
    return np.where(np.minimum(reach_x, reach_y) < radii, FLAGS["APERTURE_TRUNCATED"].value, 0)
