"""Checks of the numbers that users give for a shape."""

from __future__ import annotations

__all__ = ("angle_deg", "clean_sky", "position_text")

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord

from ..errors import InvalidRegionError


def clean_sky(sky: SkyCoord, *, what: str) -> SkyCoord:
    """Return positions in plain ICRS, or raise InvalidRegionError."""
    if not isinstance(sky, SkyCoord):
        raise InvalidRegionError(f"{what} must be a SkyCoord, not {type(sky).__name__}: {sky!r}.")
    spherical = sky.icrs.spherical
    lon, lat = np.asarray(spherical.lon.deg), np.asarray(spherical.lat.deg)
    if not (np.all(np.isfinite(lon)) and np.all(np.isfinite(lat))):
        raise InvalidRegionError(f"{what} must be finite, not RA {lon} deg, Dec {lat} deg.")
    return SkyCoord(ra=lon, dec=lat, unit=u.deg, frame="icrs")


def angle_deg(angle: Any, *, what: str) -> float:
    """Return a scalar angle (Quantity, Angle) in degrees; it may be infinite or NaN."""
    if not isinstance(angle, u.Quantity):
        raise InvalidRegionError(f"{what} must be an angle with a unit, not {angle!r}.")
    if not angle.isscalar:
        raise InvalidRegionError(f"{what} must be a single angle, not an array of shape {angle.shape}.")
    try:
        return float(Angle(angle).to_value(u.deg))
    except u.UnitsError as error:
        raise InvalidRegionError(f"{what} must be an angle, not {angle}.") from error


def position_text(sky: SkyCoord) -> str:
    """Return a scalar position as two decimal numbers in degrees."""
    return f"{sky.ra.deg:.8g} {sky.dec.deg:.8g}"
