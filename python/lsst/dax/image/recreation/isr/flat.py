"""Division by the master flat."""

from __future__ import annotations

__all__ = ("apply_flat",)

import math

import astropy.units as u
import numpy as np

from ...errors import RequestError
from ._pixelwise import as_floats, check_assembled, check_calibration, flat_rows, stripes
from ._threads import map_threads
from .calibrations import CalibrationImage
from .exposure import IsrExposure, IsrPlane


def apply_flat(
    exposure: IsrExposure, *, flat: CalibrationImage, no_data_variance: float = 1e10, threads: int = 1
) -> IsrExposure:
    """Divide by the master flat.

    Parameters
    ----------
    exposure
        Assembled exposure whose variance has all terms.
    flat
        Master flat of the same size, without unit and with a mean near 1.
    no_data_variance
        Variance, in the unit of the image squared, of pixels that get no light
        in a vignetted flat.  Data Preview 2 (release 30.0.6) had 0 there.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    exposure
        Image over the flat, the variance of the quotient, and the mask of both.

    Raises
    ------
    CalibrationMismatchError
        Raised if the flat has another size.
    InconsistentUnitsError
        Raised if the flat has a unit.
    InputDataError
        Raised if the exposure is not assembled.
    RequestError
        Raised if the variance of pixels without light is negative or no number.

    Notes
    -----
    With the image I, the flat f and their variances V and W, which are taken
    to be independent, the variance is ``(I^2 W + f^2 V) / (f^2 f^2)``: the
    numerator and the square of the flat in float32, product by product, the
    denominator and the division in double precision.

    Where the flat is zero the results are infinite or NaN, as arithmetic has
    it; masters flag such pixels.

    A flat with a ``valid_polygon`` is vignetted: pixels with NO_DATA then become
    zero, with ``no_data_variance``.  Without a polygon they are divided as others.
    """
    from ..._kernels.isr_pixelwise_nb import blank_pixels, divide_flat  # noqa: PLC0415

    check_assembled(exposure, step="apply_flat")
    check_calibration(exposure, flat, unit=u.dimensionless_unscaled)
    if not 0.0 <= no_data_variance < math.inf:
        raise RequestError(f"The variance of pixels without light must be 0 or more, not {no_data_variance}.")
    before, variance_before = as_floats(exposure.image), as_floats(exposure.variance)
    divisor, noise = as_floats(flat.image), as_floats(flat.variance)
    mask = exposure.mask | flat.mask if flat.mask.any() else exposure.mask
    image, variance = np.empty_like(before), np.empty_like(before)

    def divide(rows: slice) -> None:
        out_image, out_variance = flat_rows(image, rows), flat_rows(variance, rows)
        divide_flat(
            flat_rows(before, rows),
            flat_rows(variance_before, rows),
            flat_rows(divisor, rows),
            flat_rows(noise, rows),
            out_image,
            out_variance,
        )
        if flat.valid_polygon is not None:
            bit, value = np.uint16(IsrPlane.NO_DATA), np.float32(no_data_variance)
            blank_pixels(np.ascontiguousarray(flat_rows(mask, rows)), bit, value, out_image, out_variance)

    map_threads(divide, stripes(image.shape[0], threads=threads), threads=threads)
    after = exposure.with_pixels(image=image, mask=mask, variance=variance)
    return after.with_header({"LSST ISR FLAT APPLIED": True})
