"""The variance from the image and the read noise."""

from __future__ import annotations

__all__ = ("make_variance",)

import math

import astropy.units as u
import numpy as np

from lsst.images.cameras import Amplifier

from ...errors import InconsistentUnitsError, InputDataError
from ._pixelwise import as_floats, check_assembled
from ._threads import map_threads
from .exposure import AmplifierState, FloatImage, IsrExposure, IsrPlane, box_slices


def make_variance(exposure: IsrExposure, *, threads: int = 1) -> IsrExposure:
    """Add the Poisson variance of the image and the variance of the readout.

    Parameters
    ----------
    exposure
        Assembled exposure without bias and dark; its variance so far is that
        of these.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        The same image with its variance, and BAD where that is zero or less,
        as in pixels far below zero.

    Raises
    ------
    InconsistentUnitsError
        Raised if the image is neither in electron nor in adu.
    InputDataError
        Raised if the exposure is not assembled, or if the read noise (or, of an
        image in adu, the gain) of an amplifier that is not bad is no number.

    Notes
    -----
    With the image I in electron, the variance so far V and the read noise r
    the variance is ``(V + I) + float32(r^2)``.  In adu, with the gain g, it is
    ``(V + I) (1 / g) + float32((r / g)^2)``, where ``1 / g`` is a float32 of a
    float32.  All sums and products are rounded to float32.

    Bad amplifiers are treated as others, so theirs is NaN if their noise is.
    """
    from ..._kernels.isr_pixelwise_nb import flag_not_positive  # noqa: PLC0415

    check_assembled(exposure, step="make_variance")
    constants = [_find_constants(exposure, state) for state in exposure.amplifiers]
    image, before = as_floats(exposure.image), as_floats(exposure.variance)
    amplifiers = exposure.detector.amplifiers
    is_covered = sum(amplifier.bbox.area for amplifier in amplifiers) == image.size
    variance = np.empty_like(before) if is_covered else before.copy()

    def fill(item: tuple[Amplifier, tuple[np.float32, np.float32]]) -> int:
        amplifier, (inverse_gain, noise_variance) = item
        return _fill_amplifier(image, before, amplifier, inverse_gain, noise_variance, variance)

    n_bad = sum(map_threads(fill, zip(amplifiers, constants, strict=True), threads=threads))
    after = exposure.with_pixels(variance=variance)
    if n_bad == 0:
        return after
    mask = np.empty_like(exposure.mask, order="C")
    old = np.ascontiguousarray(exposure.mask).reshape(-1)
    flag_not_positive(variance.reshape(-1), old, np.uint16(IsrPlane.BAD), mask.reshape(-1))
    return after.with_pixels(mask=mask)


def _fill_amplifier(
    image: FloatImage,
    before: FloatImage,
    amplifier: Amplifier,
    inverse_gain: np.float32,
    noise_variance: np.float32,
    out_variance: FloatImage,
) -> int:
    """Write the variance of one amplifier, and return how many pixels' is not positive."""
    from ..._kernels.isr_pixelwise_nb import make_poisson_variance  # noqa: PLC0415

    box = box_slices(amplifier.bbox)
    return int(
        make_poisson_variance(image[box], before[box], inverse_gain, noise_variance, out_variance[box])
    )


def _find_constants(exposure: IsrExposure, state: AmplifierState) -> tuple[np.float32, np.float32]:
    """Return 1 over the gain, and the read noise squared, of an amplifier in the unit of the image."""
    if exposure.unit not in (u.electron, u.adu):
        raise InconsistentUnitsError(
            f"make_variance needs an image in electron or adu; exposure {exposure.info.exposure} is in "
            f"{exposure.unit}."
        )
    gain = 1.0 if exposure.unit == u.electron else state.gain
    if not state.is_bad and not (math.isfinite(state.read_noise) and math.isfinite(gain) and gain > 0.0):
        raise InputDataError(
            f"Amplifier {state.name} of detector {exposure.detector.name} has a read noise of "
            f"{state.read_noise} electron and a gain of {gain} electron/adu but is not marked as bad."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_gain = np.float32(1.0) / np.float32(gain)
        noise = np.float64(state.read_noise) / np.float64(gain)
        return inverse_gain, np.float32(noise * noise)
