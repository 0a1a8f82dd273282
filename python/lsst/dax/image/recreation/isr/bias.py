"""Subtraction of the master bias."""

from __future__ import annotations

__all__ = ("subtract_bias",)

import numpy as np

from ._pixelwise import as_floats, check_assembled, check_calibration, stripes
from ._threads import map_threads
from .calibrations import CalibrationImage
from .exposure import IsrExposure


def subtract_bias(exposure: IsrExposure, *, bias: CalibrationImage, threads: int = 1) -> IsrExposure:
    """Subtract the master bias.

    Parameters
    ----------
    exposure
        Assembled exposure.
    bias
        Master bias of the same size, in the unit of the exposure.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Image less the bias, variance with that of the bias, and the mask of both.

    Raises
    ------
    CalibrationMismatchError
        Raised if the bias has another size.
    InconsistentUnitsError
        Raised if it has another unit, as of electron against adu.
    InputDataError
        Raised if the exposure is not assembled.

    Notes
    -----
    In float32 throughout.
    """
    check_assembled(exposure, step="subtract_bias")
    check_calibration(exposure, bias, unit=exposure.unit)
    image, variance = np.empty_like(exposure.image), np.empty_like(exposure.variance)
    level, noise = as_floats(bias.image), as_floats(bias.variance)

    def subtract(rows: slice) -> None:
        np.subtract(exposure.image[rows], level[rows], out=image[rows])
        np.add(exposure.variance[rows], noise[rows], out=variance[rows])

    map_threads(subtract, stripes(image.shape[0], threads=threads), threads=threads)
    mask = exposure.mask | bias.mask if bias.mask.any() else exposure.mask
    after = exposure.with_pixels(image=image, mask=mask, variance=variance)
    return after.with_header({"LSST ISR BIAS APPLIED": True})
