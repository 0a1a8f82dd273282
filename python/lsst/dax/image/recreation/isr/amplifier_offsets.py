"""Offsets between the amplifiers that the original processing found."""

from __future__ import annotations

__all__ = ("subtract_amplifier_offsets",)

import dataclasses
import math
from collections.abc import Mapping

import astropy.units as u
import numpy as np

from ...errors import CalibrationMismatchError, InconsistentUnitsError
from ._pixelwise import check_assembled
from .exposure import AmplifierState, HeaderValue, IsrExposure, box_slices


def subtract_amplifier_offsets(exposure: IsrExposure, *, pedestals: Mapping[str, float]) -> IsrExposure:
    """Subtract the offset of each amplifier that the header of the original records.

    Parameters
    ----------
    exposure
        Assembled exposure in electron.
    pedestals
        Offset in electron by amplifier name: the values of the original's
        ``LSST ISR AMPOFFSET PEDESTAL C10`` and so on.

    Returns
    -------
    exposure
        Image less the offsets; each is in `AmplifierState.pedestal`, and in the
        header as the original has it.

    Raises
    ------
    CalibrationMismatchError
        Raised if the offset of an amplifier is missing or no number.
    InconsistentUnitsError
        Raised if the exposure is not in electron.
    InputDataError
        Raised if the exposure is not assembled.

    Notes
    -----
    The offsets are read and not measured again, since that would need the
    detection of sources.  They are rounded to float32 and subtracted in float32.
    """
    check_assembled(exposure, step="subtract_amplifier_offsets")
    if exposure.unit != u.electron:
        raise InconsistentUnitsError(
            f"Amplifier offsets are in electron, exposure {exposure.info.exposure} in {exposure.unit}."
        )
    image = exposure.image.copy()
    states, cards = [], dict[str, HeaderValue]({"LSST ISR AMPOFFSET PEDESTAL SUBTRACTED": True})
    for amplifier, state in zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True):
        pedestal = _find_pedestal(exposure, state, pedestals)
        image[box_slices(amplifier.bbox)] -= np.float32(pedestal)
        states.append(dataclasses.replace(state, pedestal=pedestal))
        cards[f"LSST ISR AMPOFFSET PEDESTAL {state.name}"] = pedestal
    after = exposure.with_pixels(image=image).with_header(cards)
    return after.with_amplifiers(tuple(states), step="subtract_amplifier_offsets")


def _find_pedestal(exposure: IsrExposure, state: AmplifierState, pedestals: Mapping[str, float]) -> float:
    """Return the offset of one amplifier."""
    pedestal = pedestals.get(state.name)
    if pedestal is None or not math.isfinite(pedestal):
        raise CalibrationMismatchError(
            f"The pedestal of amplifier {state.name} of exposure {exposure.info.exposure}, detector "
            f"{exposure.detector.name}, is {pedestal}; there are {dict(pedestals)}."
        )
    return float(pedestal)
