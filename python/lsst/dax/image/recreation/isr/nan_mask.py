"""Flags of pixels that are not finite."""

from __future__ import annotations

__all__ = ("flag_nan",)

import numpy as np

from ._pixelwise import as_floats, check_assembled
from .exposure import IsrExposure, IsrPlane


def flag_nan(exposure: IsrExposure) -> IsrExposure:
    """Flag pixels whose value or variance is not finite.

    Parameters
    ----------
    exposure
        Assembled exposure.

    Returns
    -------
    exposure
        The same pixels, with UNMASKED_NAN wherever one is NaN or infinite,
        whether it is in another plane or not.

    Raises
    ------
    InputDataError
        Raised if the exposure is not assembled.
    """
    from ..._kernels.isr_pixelwise_nb import count_not_finite, flag_not_finite  # noqa: PLC0415

    check_assembled(exposure, step="flag_nan")
    image = as_floats(exposure.image).reshape(-1).view(np.uint32)
    variance = as_floats(exposure.variance).reshape(-1).view(np.uint32)
    if count_not_finite(image, variance) == 0:
        return exposure
    mask = np.empty_like(exposure.mask, order="C")
    before = np.ascontiguousarray(exposure.mask).reshape(-1)
    flag_not_finite(image, variance, before, np.uint16(IsrPlane.UNMASKED_NAN), mask.reshape(-1))
    return exposure.with_pixels(mask=mask)
