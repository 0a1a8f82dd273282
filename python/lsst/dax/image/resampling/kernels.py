"""Interpolation kernels, and the rules for masks, gaps and fluxes."""

from __future__ import annotations

__all__ = (
    "FluxConvention",
    "Kernel",
    "MaskRule",
    "MissingRule",
    "WeightTable",
    "make_profile",
    "make_weight_table",
)

import enum
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .._kernels.resample_strips_nb import SEGMENTS
from .._kernels.resample_vectors_nb import LANES

type Weights = NDArray[np.float64]


class Kernel(enum.Enum):
    """How a value between source pixels is made from those around it."""

    LANCZOS3 = "lanczos3"
    """Sinc function under a window of six pixels, weights scaled to a sum of one.

    The kernel of the observatory's warps and of SWarp.  Where the target is
    neither turned nor scaled it moves stars of 0.7 arcsec by 1 mas.
    """

    LANCZOS3_MOMENTS = "lanczos3m"
    """`LANCZOS3` with the least change that makes its moments 0 to 3 those of a point.

    It costs the same, and moves stars of 0.7 arcsec by 0.3 mas at most.
    """

    LANCZOS5 = "lanczos5"
    """Sinc function under a window of ten pixels: sharper, slower, larger holes around NaN."""

    BILINEAR = "bilinear"
    """Linear in x and in y, over two by two pixels."""

    NEAREST = "nearest"
    """The pixel that the position falls into; never an average, not even when the target is coarser."""

    @property
    def half_width(self) -> int:
        """Reach in pixels; 0 for the nearest pixel."""
        widths = {Kernel.LANCZOS5: 5, Kernel.BILINEAR: 1, Kernel.NEAREST: 0}
        return widths.get(self, 3)


class MaskRule(enum.Enum):
    """Which source pixels a target pixel takes its mask from."""

    ANY = "any"
    """All that contribute to a bilinear interpolation, as in the observatory's warps."""

    NEAREST = "nearest"
    """The pixel that the position falls into."""


class MissingRule(enum.Enum):
    """What becomes of a position some of whose source pixels are missing: NaN, or off the image."""

    FOOTPRINT = "footprint"
    """It has no value: each NaN makes a hole of the kernel's size."""

    RENORMALISE = "renormalise"
    """The others count, with their weights scaled up, if they hold half of the weight."""


class FluxConvention(enum.Enum):
    """What is kept where target and source pixels differ in area."""

    SURFACE_BRIGHTNESS = "surface_brightness"
    """The value of a pixel: a constant image stays constant."""

    FLUX = "flux"
    """The sum over pixels: values are multiplied by the ratio of the areas.

    Right for images in nJy per pixel, as the observatory's are.
    """


@dataclass(frozen=True)
class WeightTable:
    """Weights of the pixels along one axis, as functions of the place between two pixels."""

    coefficients: NDArray[np.float32]
    """Constant, linear and quadratic coefficients, shape ``(n_segments, 3, n)`` with ``n >= taps``."""

    taps: int
    """Pixels that count."""

    first_tap: int
    """First of them, relative to the pixel that the position plus ``shift`` falls into."""

    shift: float
    """Half a pixel for the nearest pixel, else 0."""


def lanczos(distance: Weights, half_width: int) -> Weights:
    """Return the Lanczos function (Duchon 1979).

    Parameters
    ----------
    distance
        Distances in pixels.
    half_width
        Half-width of the window.

    Returns
    -------
    weights
        Weight for each distance.
    """
    values: Weights = np.sinc(distance) * np.sinc(distance / half_width) * (np.abs(distance) < half_width)
    return values


def find_weights(kernel: Kernel, fraction: Weights) -> Weights:
    """Return the exact weights of a kernel.

    Parameters
    ----------
    kernel
        Kernel.
    fraction
        Places between two pixels, 0 to 1, shape ``(n,)``.

    Returns
    -------
    weights
        Shape ``(n, taps)``; each row has the sum 1.
    """
    if kernel is Kernel.NEAREST:
        return np.ones((fraction.size, 1))
    if kernel is Kernel.BILINEAR:
        return np.stack([1.0 - fraction, fraction], axis=1)
    reach = kernel.half_width
    distance = np.arange(1 - reach, reach + 1) - fraction[:, None]
    weights = lanczos(distance, reach)
    if kernel is Kernel.LANCZOS3_MOMENTS:
        return _with_exact_moments(weights, distance, reach)
    return weights / weights.sum(axis=1, keepdims=True)


def _with_exact_moments(weights: Weights, distance: Weights, reach: int) -> Weights:
    """Change weights the least, where the window is widest, so that moments 0 to 3 are 1, 0, 0, 0.

    Moments 0 to 1 or 0 to 2 alone make the astrometry worse than none (2.0
    instead of 1.0 mas for stars of 0.7 arcsec).
    """
    window = np.sinc(distance / reach) ** 2
    powers = distance[:, None, :] ** np.arange(4)[:, None]
    wanted = np.array([1.0, 0.0, 0.0, 0.0]) - (powers * weights[:, None, :]).sum(axis=2)
    normal = np.einsum("nik,njk->nij", powers * window[:, None, :], powers)
    factors = np.linalg.solve(normal, wanted[:, :, None])[:, :, 0]
    corrected: Weights = weights + window * np.einsum("ni,nik->nk", factors, powers)
    return corrected


@cache
def make_weight_table(kernel: Kernel) -> WeightTable:
    """Return the table of weights of a kernel.

    Parameters
    ----------
    kernel
        Kernel.

    Returns
    -------
    table
        Piecewise quadratics that differ from the exact weights by less than
        1e-7, and add up to 1 within the rounding of float32.
    """
    n_nodes = 33
    # Least squares at Chebyshev's points come close to the least maximum.
    place = (np.cos((np.arange(n_nodes) + 0.5) * np.pi / n_nodes) + 1.0) / 2.0
    fraction = (np.arange(SEGMENTS)[:, None] + place) / SEGMENTS
    exact = find_weights(kernel, fraction.ravel())
    taps = exact.shape[1]
    basis = np.linalg.pinv(np.vander(place, 3, increasing=True))
    fitted = np.einsum("cn,snt->sct", basis, exact.reshape(SEGMENTS, n_nodes, taps))
    coefficients = np.zeros((SEGMENTS, 3, max(taps, LANES)), np.float32)
    coefficients[:, :, :taps] = fitted
    coefficients.flags.writeable = False
    half = kernel.half_width
    return WeightTable(
        coefficients=coefficients,
        taps=taps,
        first_tap=1 - half if half > 1 else 0,
        shift=0.5 if kernel is Kernel.NEAREST else 0.0,
    )


PROFILE_PLACES = 1024
"""Places per pixel at which the profile of a kernel is tabulated: linear between them to 1e-6."""


@cache
def make_profile(kernel: Kernel) -> NDArray[np.float64]:
    """Return the profile of a kernel that is stretched to coarser pixels.

    Parameters
    ----------
    kernel
        Kernel.  `Kernel.LANCZOS3_MOMENTS` is `Kernel.LANCZOS3` here: its
        correction is for weights at distances of whole pixels.

    Returns
    -------
    profile
        Values at distances from 0 to the half-width, `PROFILE_PLACES` in a
        pixel, and two zeros.
    """
    distance = np.arange(max(kernel.half_width, 1) * PROFILE_PLACES + 2) / PROFILE_PLACES
    if kernel.half_width <= 1:
        values = np.maximum(1.0 - distance, 0.0)
    else:
        values = lanczos(distance, kernel.half_width)
    values.flags.writeable = False
    return values
