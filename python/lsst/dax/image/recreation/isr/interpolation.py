"""Interpolation along rows over bad pixels."""

from __future__ import annotations

__all__ = ("InterpolatedPixels", "interpolate_bad_pixels", "interpolate_planes", "kriging_weights")

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import InputDataError, RequestError
from ._clipped_mean import clipped_mean
from .exposure import IsrExposure, IsrPlane
from .mask_growth import as_words, grow_planes

type FloatImage = npt.NDArray[np.float32]
type FloatArray = npt.NDArray[np.float64]
type MaskBits = npt.NDArray[np.uint16]

# The kernel has the same two numbers.
_REACH = 6
_WIDE = 11


@dataclass(frozen=True, eq=False)
class InterpolatedPixels:
    """Planes without bad pixels; all are new arrays."""

    image: FloatImage
    """Image [y, x]."""
    variance: FloatImage
    """Variance [y, x], in the unit of the image squared."""
    mask: MaskBits
    """Bits of `IsrPlane`, with INTERPOLATED where a value was replaced."""


def interpolate_bad_pixels(
    exposure: IsrExposure,
    *,
    planes: Sequence[str] = ("SATURATED", "BAD", "UNMASKED_NAN"),
    grow_saturated: int = 1,
) -> IsrExposure:
    """Replace bad pixels by values from their neighbours in the row.

    Parameters
    ----------
    exposure
        Exposure, in any unit.
    planes
        Names of `IsrPlane`; a pixel in one of them is bad.
    grow_saturated
        Manhattan distance in pixels by which SATURATED grows first, if it is one of the planes.

    Returns
    -------
    exposure
        Exposure with image and variance replaced in bad pixels, which are in INTERPOLATED.

    Raises
    ------
    RequestError
        Raised if a plane is unknown or the growth negative.

    See Also
    --------
    interpolate_planes : What happens to the pixels.
    """
    marks = planes_of_names(planes)
    mask = exposure.mask
    if IsrPlane.SATURATED in marks:
        mask = grow_planes(mask, IsrPlane.SATURATED, radius=grow_saturated)
    pixels = interpolate_planes(exposure.image, exposure.variance, mask, planes=marks)
    return exposure.with_pixels(image=pixels.image, variance=pixels.variance, mask=pixels.mask)


def planes_of_names(names: Sequence[str]) -> IsrPlane:
    """Return mask planes by their names.

    Raises
    ------
    RequestError
        Raised if one is unknown.
    """
    known = IsrPlane.__members__
    if unknown := [name for name in names if name not in known]:
        raise RequestError(f"There are no mask planes {unknown}; there are {list(known)}.")
    return functools.reduce(lambda planes, name: planes | known[name], names, IsrPlane(0))


def interpolate_planes(
    image: FloatImage, variance: FloatImage, mask: MaskBits, *, planes: IsrPlane
) -> InterpolatedPixels:
    """Replace the pixels of some mask planes by values from their neighbours in the row.

    Parameters
    ----------
    image, variance
        Planes of shape ``(ny, nx)``; not modified.
    mask
        Bits of `IsrPlane`; not modified.
    planes
        A pixel in one of these is bad.

    Returns
    -------
    pixels
        New planes.

    Raises
    ------
    InputDataError
        Raised if the planes differ in shape.

    Notes
    -----
    Each run of bad pixels of a row is replaced by itself, by a weighted sum of
    the two good pixels on its left and the two on its right: ordinary kriging
    with the covariance ``exp(-d**2 / 4)`` at ``d`` pixels, with weights rounded
    to 4 decimals (see `kriging_weights`).  The second pixel of a side does not
    count if it is bad itself or off the image.

    - From 11 pixels on, the 6 at an end take the weights of an infinite run,
      those between the weights of a pixel far from all others.  The middle
      pixel of 11 takes the weights of the right end.
    - A run of up to 6 pixels at the edge of the image is extrapolated from the
      two pixels (or the one) of its other side.  In a longer one the pixels
      further than 6 from the good side get the fallback, and the 6 are
      interpolated between these pixels and the good ones.
    - A row without a good pixel gets the fallback: the clipped mean of all
      finite pixels of the image plane, whatever their mask.
    - Where a run of two has one pixel to use on either side, a negative result
      is set to 0.

    The variance gets the same weights, and the same fallback: that of the
    image.  Sums are in double precision, from left to right.  The rules are
    those of the row-wise interpolation of the observatory's pipelines, so that
    its images can be made again.
    """
    if not image.shape == variance.shape == mask.shape:
        shapes = f"{image.shape}, {variance.shape}, {mask.shape}"
        raise InputDataError(f"Image, variance and mask differ in shape: {shapes}.")
    from ..._kernels.isr_interpolation_nb import interpolate_runs  # noqa: PLC0415 (numba is slow to import)

    pixels = InterpolatedPixels(
        image=np.array(image, dtype=np.float32, order="C"),
        variance=np.array(variance, dtype=np.float32, order="C"),
        mask=np.array(mask, dtype=np.uint16, order="C"),
    )
    flat = np.ascontiguousarray(mask, dtype=np.uint16).ravel()
    fallback = clipped_mean(image) if _is_fallback_needed(mask, planes) else math.nan
    interpolate_runs(
        flat,
        as_words(flat),
        int(planes),
        int(IsrPlane.INTERPOLATED),
        _two_sided_weights(),
        _one_sided_weights(),
        fallback,
        pixels.image,
        pixels.variance,
        pixels.mask,
    )
    return pixels


def _is_fallback_needed(mask: MaskBits, planes: IsrPlane) -> bool:
    """Tell whether a run at the edge is longer than the weights reach, or a whole row is bad."""
    left = mask[:, : _REACH + 1] & np.uint16(planes) != 0
    right = mask[:, -_REACH - 1 :] & np.uint16(planes) != 0
    return bool(left.all(axis=1).any() or right.all(axis=1).any())


def kriging_weights(neighbors: Sequence[float], at: float) -> FloatArray:
    """Return the weights of ordinary kriging on a line.

    Parameters
    ----------
    neighbors
        Positions of the pixels whose values are known.
    at
        Position of the pixel to estimate.

    Returns
    -------
    weights
        Weights of the neighbours, rounded to 4 decimals; before rounding their sum is 1.

    Notes
    -----
    The estimate is the unbiased one of least variance for the covariance
    ``exp(-d**2 / 4)``: that of an image whose point-spread function is a
    Gaussian with a standard deviation of 1 pixel.  See Cressie (1993),
    "Statistics for Spatial Data", section 3.2.
    """
    place = np.asarray(neighbors, dtype=np.float64)
    n = place.size
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = np.exp(-((place[:, None] - place[None, :]) ** 2) / 4)
    system[n, n] = 0.0
    right = np.append(np.exp(-((place - at) ** 2) / 4), 1.0)
    weights: FloatArray = np.round(np.linalg.solve(system, right)[:n], 4)
    return weights


# So far that the covariance is exactly 0.
_FAR = 1e3


@functools.cache
def _two_sided_weights() -> FloatArray:
    """Return the weights of runs with good pixels on both sides, as the kernel takes them."""
    table = np.zeros((4, _WIDE + 1, 2 * _REACH + 1, 4))
    for case in range(4):
        used = np.array([bool(case & 1), True, True, bool(case & 2)])
        for length in range(1, _WIDE):
            place = np.array([-2, -1, length, length + 1])[used]
            for pixel in range(length):
                table[case, length, pixel, used] = kriging_weights(place, pixel)
        # Places of the four neighbours, seen from the first and the last pixel of a wide run.
        from_left = np.array([-2, -1, _FAR, _FAR + 1])[used]
        from_right = np.array([-_FAR - 1, -_FAR, 1, 2])[used]
        for pixel in range(_REACH):
            table[case, _WIDE, pixel, used] = kriging_weights(from_left, pixel)
            table[case, _WIDE, 2 * _REACH - pixel, used] = kriging_weights(from_right, -pixel)
        table[case, _WIDE, _REACH, used] = kriging_weights(from_left, _FAR / 2)
    table.flags.writeable = False
    return table


@functools.cache
def _one_sided_weights() -> FloatArray:
    """Return the weights of the nearest good pixel and the next, by the distance less 1."""
    table = np.array([kriging_weights([0, -1], distance) for distance in range(1, _REACH + 1)])
    table.flags.writeable = False
    return table
