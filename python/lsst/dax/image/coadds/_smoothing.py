"""Inputs of about one PSF, fast: what is needed to compare them."""

from __future__ import annotations

__all__ = ("smooth_to_one_psf",)

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import MissingPsfError
from .cell_psf import measure_psf_shapes
from .rules import MaskRules
from .warp import Warp

MARGIN_PX = 0.5
"""What is added to the width of the widest PSF: Gaussians a tenth of a pixel wide smooth nothing."""

_LEAST_WEIGHT = 0.5  # share of a smoothing kernel that lies on values
_FWHM = math.sqrt(8.0 * math.log(2.0))


def smooth_to_one_psf(warps: Sequence[Warp], *, masks: MaskRules) -> list[Warp]:
    """Smooth inputs with Gaussians, so that their PSFs have one width.

    Parameters
    ----------
    warps
        Inputs with PSFs.  Not modified.
    masks
        Planes whose pixels are not spread.

    Returns
    -------
    smoothed
        Image and variance; the mask is that of the pixel itself.  A pixel
        has a value if most of the kernel lies on values.

    Raises
    ------
    MissingPsfError
        Raised if an input has no PSF.

    Notes
    -----
    The width of each becomes that of the widest one and half a pixel, in
    standard deviations.  Profiles keep their own wings: this serves to
    compare images, not to measure on them, and takes a tenth of the time of
    a match of profiles.
    """
    psfs = []
    for warp in warps:
        if warp.psf is None:
            raise MissingPsfError(f"{warp.key} has no PSF, which the search for artifacts needs.")
        psfs.append(warp.psf)
    sigmas = measure_psf_shapes(np.stack(psfs)).fwhm_px / _FWHM
    # What could not be measured counts as the widest one, and is hardly smoothed.
    target = (float(np.nanmax(sigmas)) if np.isfinite(sigmas).any() else 1.0) + MARGIN_PX
    return [
        _smooth(
            warp, math.sqrt(target**2 - (sigma if np.isfinite(sigma) else target - MARGIN_PX) ** 2), masks
        )
        for warp, sigma in zip(warps, sigmas.tolist(), strict=True)
    ]


def _smooth(warp: Warp, sigma: float, masks: MaskRules) -> Warp:
    """Smooth one input."""
    bad = np.uint32(sum(1 << i for i, name in enumerate(warp.planes) if name in masks.bad_planes))
    good = np.isfinite(warp.image) & np.isfinite(warp.variance) & ((warp.mask & bad) == 0)
    weight = _filter(good.astype(np.float32), sigma)
    known = good & (weight > _LEAST_WEIGHT)
    divisor = np.where(known, weight, np.float32(1.0))
    image = _filter(np.where(good, warp.image, np.float32(0.0)), sigma) / divisor
    # The square of a Gaussian is a narrower one, times its own integral.
    variance = _filter(np.where(good, warp.variance, np.float32(0.0)), sigma / math.sqrt(2.0))
    variance = variance / np.float32(4.0 * math.pi * sigma**2) / divisor**2
    image[~known] = variance[~known] = np.nan
    return dataclasses.replace(warp, image=image.astype(np.float32), variance=variance.astype(np.float32))


def _filter(array: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Convolve with a Gaussian, with zeros beyond the edge."""
    found: NDArray[np.float32] = ndimage.gaussian_filter(array, sigma, mode="constant", truncate=4.0)
    return found
