"""Values of bad pixels, before they are interpolated."""

from __future__ import annotations

__all__ = ("fill_bad_regions",)

import math

import numpy as np

from ...errors import InputDataError
from ._median import find_median
from ._pixelwise import as_floats, check_assembled
from .exposure import IsrExposure, IsrPlane


def fill_bad_regions(exposure: IsrExposure) -> IsrExposure:
    """Set the bad pixels to the median of the others.

    Parameters
    ----------
    exposure
        Assembled exposure.

    Returns
    -------
    exposure
        Pixels with BAD and without INTERPOLATED have the median of all finite
        pixels without BAD; mask and variance are the same.

    Raises
    ------
    InputDataError
        Raised if the exposure is not assembled or all its pixels are bad.

    Notes
    -----
    This keeps a pixel next to a bad amplifier from being interpolated with the
    values of that.  The median is found in double precision, of an even number
    of pixels as the mean of the middle two, and then rounded to float32.
    """
    from ..._kernels.isr_pixelwise_nb import replace_flagged  # noqa: PLC0415

    check_assembled(exposure, step="fill_bad_regions")
    planes = IsrPlane.BAD | IsrPlane.INTERPOLATED
    if not ((exposure.mask & np.uint16(planes)) == np.uint16(IsrPlane.BAD)).any():
        return exposure
    median = find_median(exposure.image, mask=exposure.mask, without=IsrPlane.BAD)
    if math.isnan(median):
        raise InputDataError(
            f"Exposure {exposure.info.exposure}, detector {exposure.detector.name}, has no finite pixel "
            f"without BAD among {exposure.image.size}."
        )
    before = as_floats(exposure.image)
    image = np.empty_like(before)
    replace_flagged(
        before.reshape(-1),
        np.ascontiguousarray(exposure.mask).reshape(-1),
        np.uint16(IsrPlane.BAD),
        np.uint16(planes),
        np.float32(median),
        image.reshape(-1),
    )
    return exposure.with_pixels(image=image)
