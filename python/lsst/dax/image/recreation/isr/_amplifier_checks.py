"""What steps on amplifiers check before they start."""

from __future__ import annotations

__all__ = ("check_choice", "check_unit", "check_untrimmed", "find_amplifier", "keep_finite")

import enum
import math
from collections.abc import Mapping

import astropy.units as u

from ...errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError, RequestError
from .exposure import HeaderValue, IsrExposure, raw_geometry


def check_choice[E: enum.StrEnum](kind: type[E], value: str) -> E:
    """Return the member of an enumeration that a parameter names.

    Raises
    ------
    RequestError
        Raised if there is none.
    """
    for member in kind:
        if member == value:
            return member
    raise RequestError(f"{kind.__name__} is one of {', '.join(kind)}, not {value!r}.")


def check_unit(exposure: IsrExposure, unit: u.UnitBase, what: str) -> None:
    """Check the unit of an image.

    Raises
    ------
    InconsistentUnitsError
        Raised if it is another.
    """
    if exposure.unit != unit:
        raise InconsistentUnitsError(f"{what} takes an image in {unit}; this one is in {exposure.unit}.")


def check_untrimmed(exposure: IsrExposure, what: str) -> None:
    """Check that an exposure has its overscans.

    Raises
    ------
    InputDataError
        Raised if it was assembled, or is smaller than its amplifiers.
    """
    if exposure.is_assembled:
        raise InputDataError(
            f"{what} takes the untrimmed detector {exposure.detector.name}; "
            f"this image of {exposure.image.shape} pixels is trimmed."
        )
    height, width = exposure.image.shape
    for amplifier in exposure.detector.amplifiers:
        geometry = raw_geometry(amplifier)
        boxes = (
            geometry.bbox,
            geometry.data_bbox,
            geometry.serial_overscan_bbox,
            geometry.parallel_overscan_bbox,
        )
        for box in boxes:
            if box.y.start < 0 or box.x.start < 0 or box.y.stop > height or box.x.stop > width:
                raise InputDataError(
                    f"Amplifier {amplifier.name} has pixels {box}, beyond the image of shape {height, width}."
                )


def keep_finite(cards: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    """Return the cards without numbers that are not finite, which FITS cannot hold."""
    return {
        key: value for key, value in cards.items() if not isinstance(value, float) or math.isfinite(value)
    }


def find_amplifier[T](values: Mapping[str, T], name: str, *, kind: str, source: str) -> T:
    """Return what a calibration says about an amplifier.

    Raises
    ------
    CalibrationMismatchError
        Raised if it says nothing.
    """
    if name not in values:
        raise CalibrationMismatchError(
            f"{kind!r} {source} has no amplifier {name}; it has {', '.join(values) or 'none'}."
        )
    return values[name]
