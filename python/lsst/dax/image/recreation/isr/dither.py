"""Integer dither: raw counts become real numbers."""

from __future__ import annotations

__all__ = ("DitherMode", "dither_counts")

import enum
from types import MappingProxyType

import astropy.units as u
import numpy as np

from ._amplifier_checks import check_choice, check_unit, check_untrimmed
from .exposure import IsrExposure


class DitherMode(enum.StrEnum):
    """Interval of the dither."""

    SYMMETRIC = "symmetric"
    """From -0.5 to 0.5."""
    POSITIVE = "positive"
    """From 0 to 1."""
    NEGATIVE = "negative"
    """From -1 to 0."""
    NONE = "none"
    """No dither."""


_LOWEST = MappingProxyType({DitherMode.SYMMETRIC: -0.5, DitherMode.POSITIVE: 0.0, DitherMode.NEGATIVE: -1.0})


def dither_counts(exposure: IsrExposure, *, mode: str = DitherMode.SYMMETRIC) -> IsrExposure:
    """Add a uniform random number to every pixel, to undo the rounding of the converter.

    Parameters
    ----------
    exposure
        Untrimmed exposure in adu; its identifier seeds the random numbers.
    mode
        Interval of the random numbers, one of `DitherMode`; each is 1 adu wide.

    Returns
    -------
    exposure
        Exposure with dithered image.

    Raises
    ------
    RequestError
        Raised if there is no such mode.
    InconsistentUnitsError
        Raised if the image is not in adu.
    InputDataError
        Raised if the exposure is trimmed, as the sequence of random numbers is
        that of the untrimmed detector.

    Notes
    -----
    The numbers are those of ``numpy.random.RandomState(seed).uniform`` for the
    whole image in C order, where the seed is the lowest 32 bits of
    `ExposureInfo.detector_exposure_id`.  The sum is made in double precision
    and rounded once.
    """
    from ..._kernels import isr_dither_nb  # noqa: PLC0415

    choice = check_choice(DitherMode, mode)
    check_unit(exposure, u.adu, "Dither")
    check_untrimmed(exposure, "Dither")
    if choice is DitherMode.NONE:
        return exposure
    seed = exposure.info.detector_exposure_id & 0xFFFFFFFF
    state = np.random.RandomState(seed).get_state(legacy=False)["state"]["key"]
    image = np.ascontiguousarray(exposure.image)
    dithered = np.empty_like(image)
    isr_dither_nb.add_uniform(image.reshape(-1), _LOWEST[choice], state, dithered.reshape(-1))
    return exposure.with_pixels(image=dithered)
