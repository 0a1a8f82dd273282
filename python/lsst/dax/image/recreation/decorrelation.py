"""The filter that makes the noise of a difference image white again."""

from __future__ import annotations

__all__ = ("DecorrelationKernel", "NoiseLevels", "find_mean_variance", "make_decorrelation_kernel")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydantic
import scipy.fft
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import InputDataError, UnsupportedProductError

type Floats = NDArray[np.float64]

_GRID = 512
"""Side of the grid of frequencies; what the filter has left at half of it is far below the cut."""

_LOST_POWER = 1e-10
"""Share of the filter's power that may be cut off: a saturated star of 3e4 nJy leaves 0.3 nJy beyond."""

_LARGEST_SIDE = 215

# Three clips, the first by the quartiles, as in the observatory's statistics.
_CLIPS = 3
_SIGMAS = 3.0
_SIGMA_OF_QUARTILES = 0.741301109252802


class NoiseLevels(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Mean variances of science image and template before they are matched, in nJy squared."""

    science: float
    """Of the science image."""
    template: float
    """Of the template on the pixels of the science image."""


@dataclass(frozen=True, eq=False)
class DecorrelationKernel:
    """The filter as a picture, and what it does to variances."""

    picture: Floats
    """Kernel with odd sides and a sum of one."""

    plain_factor: float
    """Variance after the filter of white noise of unit variance."""

    blurred_factor: float
    """Variance, after the matching kernel and the filter, of white noise of unit variance."""

    @property
    def reach(self) -> Box:
        """Pixels of the kernel relative to its centre."""
        half = self.picture.shape[0] // 2
        return Box.factory[-half : half + 1, -half : half + 1]


def make_decorrelation_kernel(matching: Floats, *, plain: float, blurred: float) -> DecorrelationKernel:
    r"""Make the filter that whitens the difference of an image and a blurred one.

    Parameters
    ----------
    matching
        Matching kernel with odd sides, centred on its middle.
    plain
        Variance of the image that is not blurred.
    blurred
        Variance of the other image before it is blurred.

    Returns
    -------
    kernel
        The filter.

    Raises
    ------
    InputDataError
        Raised if a variance is not finite and positive, or the matching kernel
        has no sum.
    UnsupportedProductError
        Raised if the filter is too wide: the blurred image is so much noisier
        that its noise cannot be made white.

    Notes
    -----
    With the transform :math:`\hat\kappa` of the matching kernel the noise
    power of the difference is :math:`v_p + v_b |\hat\kappa(k)|^2`.  The filter

    .. math:: \psi(k) = \sqrt{\frac{v_p + v_b \hat\kappa(0)^2}{v_p + v_b |\hat\kappa(k)|^2}}

    [1]_ makes it flat and keeps the flux of a source.  The observatory applies
    it to the transform of the whole image; here it is a kernel in real space,
    cut where next to nothing of its power is left, so that a part of an image can
    be made alone.

    References
    ----------
    .. [1] Reiss & Lupton, DMTN-021; Kovacs, DMTN-179.
    """
    total = float(np.sum(matching))
    if not (np.isfinite(total) and total != 0.0 and 0.0 < plain < np.inf and 0.0 < blurred < np.inf):
        raise InputDataError(
            f"The noise cannot be made white for variances of {plain} and {blurred} and a matching kernel "
            f"with the sum {total}."
        )
    power = np.abs(scipy.fft.rfft2(matching, s=(_GRID, _GRID))) ** 2
    ratio = np.sqrt((plain + blurred * total**2) / (plain + blurred * power))
    filter_picture = scipy.fft.fftshift(scipy.fft.irfft2(ratio, s=(_GRID, _GRID)))
    picture = _cut(filter_picture, plain=plain, blurred=blurred)
    picture = picture / np.sum(picture)
    filtered = np.abs(scipy.fft.rfft2(picture, s=(_GRID, _GRID))) ** 2
    return DecorrelationKernel(
        picture, plain_factor=_mean_power(filtered), blurred_factor=_mean_power(filtered * power)
    )


def find_mean_variance(variances: Sequence[Floats], usable: Sequence[NDArray[np.bool_]]) -> float:
    """Return the clipped mean of the variances of some pixels.

    Parameters
    ----------
    variances
        Variances of several boxes.
    usable
        Whether a pixel counts, shapes as ``variances``.

    Returns
    -------
    mean
        Mean without pixels beyond three standard deviations.

    Raises
    ------
    InputDataError
        Raised if no pixel counts.
    """
    values = np.concatenate(
        [array[good & np.isfinite(array)] for array, good in zip(variances, usable, strict=True)]
    ).astype(np.float64)
    if not values.size:
        count = sum(array.size for array in variances)
        raise InputDataError(f"None of {count} pixels has a variance and no mask, so the noise is not known.")
    lower, center, upper = np.percentile(values, (25.0, 50.0, 75.0))
    sigma = _SIGMA_OF_QUARTILES * (upper - lower)
    for _ in range(_CLIPS):
        kept = values[np.abs(values - center) <= _SIGMAS * sigma]
        center, sigma = np.mean(kept), np.std(kept)
    return float(center)


def _cut(picture: Floats, *, plain: float, blurred: float) -> Floats:
    """Return the middle of a picture that holds all but a given share of its power."""
    middle = _GRID // 2
    offset = np.maximum(np.abs(np.arange(_GRID) - middle)[:, None], np.abs(np.arange(_GRID) - middle))
    rings = np.bincount(offset.ravel(), weights=(picture**2).ravel())
    outside = 1.0 - np.cumsum(rings) / np.sum(rings)
    half = int(np.argmax(outside < _LOST_POWER))
    side = 2 * half + 1
    if side > _LARGEST_SIDE:
        raise UnsupportedProductError(
            f"A filter of {side} pixels is needed to make the noise white for variances of {plain:.3g} and "
            f"(blurred) {blurred:.3g}; at most {_LARGEST_SIDE} are done."
        )
    found: Floats = picture[middle - half : middle + half + 1, middle - half : middle + half + 1]
    return found


def _mean_power(power: Floats) -> float:
    """Return the mean over all frequencies of a real picture's power, given for half of them."""
    weights = np.full(power.shape[1], 2.0)
    weights[[0, -1]] = 1.0
    return float(np.mean(np.sum(power * weights, axis=1)) / _GRID)
