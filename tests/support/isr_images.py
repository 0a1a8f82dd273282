"""Master bias, dark and flat images for the tests of instrument signature removal."""

from __future__ import annotations

__all__ = ("assert_unchanged", "freeze", "make_calibration_image")

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.dax.image.recreation.isr import CalibrationImage, CalibrationInfo, IsrExposure

PLANES = ("image", "mask", "variance")


def make_calibration_image(
    exposure: IsrExposure,
    kind: str,
    *,
    image: npt.NDArray[Any] | float = 0.0,
    variance: npt.NDArray[Any] | float = 0.0,
    mask: npt.NDArray[Any] | int = 0,
    unit: u.UnitBase | None = None,
    **fields: Any,
) -> CalibrationImage:
    """Return a calibration of the size of an exposure; numbers fill the planes."""
    shape = exposure.image.shape
    return CalibrationImage(
        info=CalibrationInfo(kind=kind, source=f"{kind}.fits"),
        image=np.broadcast_to(np.asarray(image, np.float32), shape),
        mask=np.broadcast_to(np.asarray(mask, np.uint16), shape),
        variance=np.broadcast_to(np.asarray(variance, np.float32), shape),
        unit=exposure.unit if unit is None else unit,
        **fields,
    )


def freeze(exposure: IsrExposure) -> IsrExposure:
    """Make the pixels of an exposure read-only: a step that writes to its input fails."""
    for plane in PLANES:
        getattr(exposure, plane).flags.writeable = False
    return exposure


def assert_unchanged(after: IsrExposure, before: IsrExposure, *planes: str) -> None:
    """Check that planes are shared and not copied."""
    for plane in planes:
        assert getattr(after, plane) is getattr(before, plane), plane
