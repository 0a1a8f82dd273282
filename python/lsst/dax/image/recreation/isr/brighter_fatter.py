"""Corrections of the brighter-fatter effect.

Charge in a pixel repels what comes later: bright sources are wider than faint
ones, and flats are smoother than their Poisson noise.  Three corrections give
the charge back: by the divergence of the deflected flux
(`correct_brighter_fatter_kernel`), by flux over pixel boundaries
(`correct_brighter_fatter_flux_conserving`) and by electrostatic shifts of
the boundaries (`correct_brighter_fatter_electrostatic`).
"""

from __future__ import annotations

__all__ = (
    "correct_brighter_fatter_electrostatic",
    "correct_brighter_fatter_flux_conserving",
    "correct_brighter_fatter_kernel",
)

import astropy.units as u
import numpy as np
import numpy.typing as npt

from ...errors import InconsistentUnitsError, InputDataError, RequestError
from ._brighter_fatter_kernels import boundary_kernels, potential_kernel
from ._brighter_fatter_steps import DivergenceStep, FluxStep, exchange_charge, iterate
from .calibrations import BrighterFatterDistortion, BrighterFatterKernel
from .exposure import HeaderValue, IsrExposure, IsrPlane
from .interpolation import InterpolatedPixels, interpolate_planes
from .mask_growth import grow_planes

type FloatImage = npt.NDArray[np.float32]
type FloatArray = npt.NDArray[np.float64]

_BAD = IsrPlane.SATURATED | IsrPlane.BAD | IsrPlane.NO_DATA | IsrPlane.UNMASKED_NAN
"""Planes that are interpolated before the correction, and grow after it."""
_GROWTH = 2
"""Manhattan distance in pixels by which they grow: what they hold reaches their neighbours."""


def correct_brighter_fatter_kernel(
    exposure: IsrExposure,
    *,
    bfk: BrighterFatterKernel,
    max_iterations: int = 10,
    threshold: float = 1000.0,
    threads: int = 1,
) -> IsrExposure:
    """Correct the brighter-fatter effect by the divergence of the deflected flux.

    Parameters
    ----------
    exposure
        Assembled exposure in electron.
    bfk
        Kernel whose convolution with the image is the potential of the deflection.
    max_iterations
        Largest number of iterations.
    threshold
        Sum of absolute changes in electron below which iterations stop.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Exposure with a corrected image.  The frame of half a kernel is in DETECTION_EDGE; SATURATED, BAD,
        NO_DATA and UNMASKED_NAN have grown by 2 pixels.

    Raises
    ------
    InconsistentUnitsError
        Raised if the exposure is not in electron.
    InputDataError
        Raised if it is not assembled, if pixels are neither finite nor marked, or if the kernel is unusable.
    RequestError
        Raised if there is to be no iteration.

    Notes
    -----
    Coulton et al. (2018), AJ 155, 258: with the potential ``P`` of the current
    estimate ``T``, the next one is ``I + div(T grad P) / 2``, which is taken as
    ``(grad T . grad P + T lap P) / 2`` from central differences.  It is applied
    to a copy of the image whose bad pixels are interpolated; its change is
    added to the image as it is.

    - Not corrected are the first ``half + 1`` rows and columns and the last
      ``half + 2``, for a kernel of ``2 * half + 1``: the pipelines round the
      half of a negative odd number down.
    - The change is looked at from the second iteration on, and that one counts
      from zero; so there are 3 iterations or more unless the limit is lower.
    - ``LSST ISR BF ITERS`` is the number of iterations.
    """
    kernel = potential_kernel(bfk)
    measured = _interpolate(exposure).image
    _check_iterations(max_iterations)
    step = DivergenceStep(measured, kernel, threads=threads)
    first: FloatArray = measured.astype(np.float64)
    n_iterations, estimate = iterate(step, first, max_iterations=max_iterations, threshold=threshold)
    corrected = estimate.astype(np.float32)
    return _finish_kernel_correction(
        exposure, measured, corrected, method="COULTON18", kernel=kernel, n_iterations=n_iterations
    )


def correct_brighter_fatter_flux_conserving(
    exposure: IsrExposure,
    *,
    bfk: BrighterFatterKernel,
    max_iterations: int = 10,
    threshold: float = 1000.0,
    threads: int = 1,
) -> IsrExposure:
    """Correct the brighter-fatter effect by flux that flows over pixel boundaries.

    Parameters
    ----------
    exposure
        Assembled exposure in electron.
    bfk
        Kernel whose correlation with the image is the potential of the deflection.
    max_iterations
        Largest number of iterations.
    threshold
        Sum of absolute changes in electron below which iterations stop.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Exposure with a corrected image, whose sum is that of the image before.  The mask changes as in
        `correct_brighter_fatter_kernel`.

    Raises
    ------
    InconsistentUnitsError
        Raised if the exposure is not in electron.
    InputDataError
        Raised if it is not assembled, if pixels are neither finite nor marked, or if the kernel is unusable.
    RequestError
        Raised if there is to be no iteration.

    Notes
    -----
    The flux over a boundary is half the difference of the potential across it
    times the flux of the pixel that it leaves.  The potential is that of the
    measured image less its mean (zero beyond the image), in every iteration:
    only the donors' flux, also less that mean, is improved.  The pipelines do
    so, and their images are to be made again.

    Nothing flows between pixels of which one is in the first ``half`` rows or
    columns.  Iterations stop as in `correct_brighter_fatter_kernel`.
    """
    kernel = potential_kernel(bfk)
    measured = _interpolate(exposure).image
    _check_iterations(max_iterations)
    step = FluxStep(measured, kernel, threads=threads)
    n_iterations, _ = iterate(step, step.flux, max_iterations=max_iterations, threshold=threshold)
    return _finish_kernel_correction(
        exposure,
        measured,
        step.corrected,
        method="COULTON18_FLUX_CONSERVING",
        kernel=kernel,
        n_iterations=n_iterations,
    )


def correct_brighter_fatter_electrostatic(
    exposure: IsrExposure,
    *,
    electro_bf: BrighterFatterDistortion,
    use_filter: bool = False,
    threads: int = 1,
) -> IsrExposure:
    """Correct the brighter-fatter effect by electrostatic shifts of pixel boundaries.

    Parameters
    ----------
    exposure
        Assembled exposure in electron.
    electro_bf
        Shifts of the boundaries of a pixel by charge near it.
    use_filter
        Whether to take the shifts of the exposure's filter.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Corrected exposure.  Image and variance of bad pixels (SATURATED, grown by 1, BAD, NO_DATA and
        UNMASKED_NAN) are interpolated and in INTERPOLATED, unlike with the other corrections.  The frame
        of half a matrix of shifts is in DETECTION_EDGE; the four planes have grown by 2 more.

    Raises
    ------
    InconsistentUnitsError
        Raised if the exposure is not in electron.
    InputDataError
        Raised if it is not assembled, if pixels are neither finite nor marked, or if the shifts are unusable.
    CalibrationMismatchError
        Raised if there are no shifts of the filter.

    Notes
    -----
    Astier and Regnault (2023), A&A 670, A118.  Two neighbours exchange the
    charge between the old and the new place of their boundary: its shift, the
    convolution of the image with a kernel, times the mean of both pixels.
    Nothing passes the edge of the image, so the sum over the image is kept.
    One pass in double precision; the difference from the image is rounded
    once, to float32.
    """
    north, east = boundary_kernels(
        electro_bf, physical_filter=exposure.info.physical_filter if use_filter else None
    )
    pixels = _interpolate(exposure)
    image = exchange_charge(pixels.image, north, east, threads=threads)
    corrected = exposure.with_pixels(image=image, variance=pixels.variance, mask=pixels.mask)
    cards: dict[str, HeaderValue] = {
        "LSST ISR BF APPLIED": True,
        "LSST ISR BF CORR METHOD": "ASTIER23+FILTERCORRECTION" if use_filter else "ASTIER23",
    }
    return _mark(corrected, half=(north.shape[0] // 2 + 1) // 2).with_header(cards)


def _interpolate(exposure: IsrExposure) -> InterpolatedPixels:
    """Return a copy of the pixels without bad ones."""
    name = f"Exposure {exposure.info.exposure}, detector {exposure.info.detector}"
    if exposure.unit != u.electron:
        raise InconsistentUnitsError(
            f"The brighter-fatter correction works in {u.electron}; {name} is in {exposure.unit}."
        )
    if not exposure.is_assembled:
        raise InputDataError(f"The brighter-fatter correction needs assembled pixels; {name} is untrimmed.")
    mask = grow_planes(exposure.mask, IsrPlane.SATURATED, radius=1)
    pixels = interpolate_planes(exposure.image, exposure.variance, mask, planes=_BAD)
    # One number that is not finite would spoil its whole surroundings.
    if not (finite := np.isfinite(pixels.image)).all():
        y, x = np.argwhere(~finite)[0]
        raise InputDataError(
            f"{name} has {finite.size - np.count_nonzero(finite)} of {finite.size} pixels that are not "
            f"finite, though in none of {_BAD.name}; the first is at x={x}, y={y}."
        )
    return pixels


def _check_iterations(max_iterations: int) -> None:
    """Raise if there is to be no iteration."""
    if max_iterations < 1:
        raise RequestError(f"The brighter-fatter correction takes 1 iteration or more, not {max_iterations}.")


def _mark(exposure: IsrExposure, *, half: int) -> IsrExposure:
    """Return the exposure with its frame marked and its bad planes grown."""
    mask = grow_planes(exposure.mask, _BAD, radius=_GROWTH)
    if half > 0:
        edge = np.uint16(IsrPlane.DETECTION_EDGE)
        for frame in (np.s_[:half], np.s_[-half:], np.s_[:, :half], np.s_[:, -half:]):
            mask[frame] |= edge
    return exposure.with_pixels(mask=mask)


def _finish_kernel_correction(
    exposure: IsrExposure,
    before: FloatImage,
    after: FloatImage,
    *,
    method: str,
    kernel: FloatArray,
    n_iterations: int,
) -> IsrExposure:
    """Return the exposure with the change of its interpolated copy added, and what was done recorded."""
    corrected = exposure.with_pixels(image=exposure.image + (after - before))
    cards: dict[str, HeaderValue] = {
        "LSST ISR BF APPLIED": True,
        "LSST ISR BF CORR METHOD": method,
        "LSST ISR BF ITERS": n_iterations,
    }
    return _mark(corrected, half=max(kernel.shape) // 2).with_header(cards)
