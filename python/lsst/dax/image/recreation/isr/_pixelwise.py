"""What the pixel-by-pixel steps share: checks, and stripes for threads."""

from __future__ import annotations

__all__ = ("as_floats", "check_assembled", "check_calibration", "flat_rows", "stripes")

import itertools

import astropy.units as u
import numpy as np
import numpy.typing as npt

from ...errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from .calibrations import CalibrationImage
from .exposure import FloatImage, IsrExposure


def check_assembled(exposure: IsrExposure, *, step: str) -> None:
    """Check that prescans and overscans are gone.

    Raises
    ------
    InputDataError
        Raised if they are not.
    """
    if not exposure.is_assembled:
        raise InputDataError(
            f"{step} needs an assembled exposure; exposure {exposure.info.exposure}, detector "
            f"{exposure.detector.name}, of {exposure.image.shape} pixels still has its overscans."
        )


def check_calibration(exposure: IsrExposure, calibration: CalibrationImage, *, unit: u.UnitBase) -> None:
    """Check that an image calibration has the size of the exposure, and a unit.

    Raises
    ------
    CalibrationMismatchError
        Raised if a plane has another size.
    InconsistentUnitsError
        Raised if it has another unit.
    """
    info = calibration.info
    what = f"{info.kind} {info.source}".strip()
    where = f"exposure {exposure.info.exposure}, detector {exposure.detector.name},"
    for plane in ("image", "mask", "variance"):
        shape = getattr(calibration, plane).shape
        if shape != exposure.image.shape:
            raise CalibrationMismatchError(
                f"The {plane} of {what} has {shape} pixels [y, x], {where} {exposure.image.shape}."
            )
    if calibration.unit != unit:
        raise InconsistentUnitsError(
            f"{what} is in {calibration.unit.to_string() or 'no unit'}; {where} in {exposure.unit}, needs "
            f"{unit.to_string() or 'no unit'}."
        )


def as_floats(image: npt.NDArray[np.floating]) -> FloatImage:
    """Return the pixels as the kernels take them: float32 in native order, rows without gaps."""
    return np.ascontiguousarray(image, dtype=np.float32)


def stripes(height: int, *, threads: int) -> list[slice]:
    """Return slices of rows, one per thread, that together are all rows."""
    edges = [height * number // threads for number in range(threads + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def flat_rows[T: np.generic](plane: npt.NDArray[T], rows: slice) -> npt.NDArray[T]:
    """Return rows of a plane as one line of pixels, without a copy."""
    return plane[rows].reshape(-1)
