"""Subtraction of the dark current."""

from __future__ import annotations

__all__ = ("subtract_dark",)

import math

import numpy as np

from ...errors import CalibrationMismatchError, InputDataError
from ._pixelwise import as_floats, check_assembled, check_calibration, flat_rows, stripes
from ._threads import map_threads
from .calibrations import CalibrationImage
from .exposure import IsrExposure


def subtract_dark(exposure: IsrExposure, *, dark: CalibrationImage, threads: int = 1) -> IsrExposure:
    """Subtract the dark current that gathered in the dark time of the exposure.

    Parameters
    ----------
    exposure
        Assembled exposure; `ExposureInfo.dark_time_s` scales the dark.
    dark
        Master dark of the same size, in the unit of the exposure per
        ``dark_time_s`` of its own.  If that is NaN it is 1 s.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Image less the scaled dark, variance with its own, and the mask of both.

    Raises
    ------
    CalibrationMismatchError
        Raised if the dark has another size, or a dark time that is no time.
    InconsistentUnitsError
        Raised if it has another unit, as of electron against adu.
    InputDataError
        Raised if the exposure is not assembled or has no dark time.

    Notes
    -----
    The scale and its square, the scale being taken in double precision, are
    rounded to float32, and so is each product before it is subtracted or added.
    """
    from ..._kernels.isr_pixelwise_nb import subtract_scaled  # noqa: PLC0415

    check_assembled(exposure, step="subtract_dark")
    check_calibration(exposure, dark, unit=exposure.unit)
    scale = find_dark_scale(exposure, dark)
    before, variance_before = as_floats(exposure.image), as_floats(exposure.variance)
    current, noise = as_floats(dark.image), as_floats(dark.variance)
    image, variance = np.empty_like(before), np.empty_like(before)

    def subtract(rows: slice) -> None:
        subtract_scaled(
            flat_rows(before, rows),
            flat_rows(variance_before, rows),
            flat_rows(current, rows),
            flat_rows(noise, rows),
            np.float32(scale),
            np.float32(scale * scale),
            flat_rows(image, rows),
            flat_rows(variance, rows),
        )

    map_threads(subtract, stripes(image.shape[0], threads=threads), threads=threads)
    mask = exposure.mask | dark.mask if dark.mask.any() else exposure.mask
    after = exposure.with_pixels(image=image, mask=mask, variance=variance)
    return after.with_header({"LSST ISR DARK APPLIED": True})


def find_dark_scale(exposure: IsrExposure, dark: CalibrationImage) -> float:
    """Return the dark time of the exposure over that of the dark.

    Parameters
    ----------
    exposure
        Exposure.
    dark
        Master dark.

    Returns
    -------
    scale
        Ratio of the dark times.

    Raises
    ------
    CalibrationMismatchError
        Raised if the dark time of the dark is not positive.
    InputDataError
        Raised if the dark time of the exposure is not a number.
    """
    info = exposure.info
    if not math.isfinite(info.dark_time_s):
        raise InputDataError(
            f"Exposure {info.exposure}, detector {info.detector}, has a dark time of {info.dark_time_s} s; "
            f"the dark {dark.info.source} has to be scaled to it."
        )
    dark_time_s = 1.0 if math.isnan(dark.dark_time_s) else dark.dark_time_s
    if not 0.0 < dark_time_s < math.inf:
        raise CalibrationMismatchError(
            f"The dark {dark.info.source} has a dark time of {dark_time_s} s and cannot be scaled to "
            f"{info.dark_time_s} s of exposure {info.exposure}, detector {info.detector}."
        )
    return info.dark_time_s / dark_time_s
