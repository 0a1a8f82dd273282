"""What the pictures need to know of a sky projection."""

from __future__ import annotations

__all__ = ("LocalFrame", "SkyView", "measure_local_frame", "pixels_to_sky", "pixels_to_vectors")

from dataclasses import dataclass
from typing import Any, override

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs.wcsapi import HighLevelWCSMixin
from astropy.wcs.wcsapi.wrappers import BaseWCSWrapper
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

# AST marks a point that it cannot transform with -1.8e308, or, beyond the edge
# of some all-sky projections, with a latitude that there is not.
_UNUSABLE = 1e100
_MAX_LATITUDE_RAD = 0.5 * np.pi + 1e-9


class SkyView(BaseWCSWrapper, HighLevelWCSMixin):  # type: ignore[misc]  # astropy has no types
    """A projection as astropy's axes want it: 0-based parent pixels to degrees.

    It evaluates the projection itself, not a FITS approximation.  Points that
    cannot be transformed are NaN; the axes overflow on AST's mark of them.

    Parameters
    ----------
    sky_projection
        Projection of the pixels.
    """

    def __init__(self, sky_projection: SkyProjection[Any]) -> None:
        # The view without a box counts pixels as the projection does; with
        # one it would count from the box's first pixel.
        super().__init__(sky_projection.as_astropy())
        self._sky_projection = sky_projection

    @property
    @override
    def low_level_wcs(self) -> SkyView:
        return self

    @property
    @override
    def world_axis_units(self) -> tuple[str, str]:
        return "deg", "deg"

    @property
    @override
    def world_axis_object_components(self) -> list[tuple[str, int, str]]:
        return [("celestial", 0, "spherical.lon.degree"), ("celestial", 1, "spherical.lat.degree")]

    @property
    @override
    def world_axis_object_classes(self) -> dict[str, Any]:
        return {"celestial": (SkyCoord, (), {"frame": "icrs", "unit": (u.deg, u.deg)})}

    @override
    def pixel_to_world_values(self, *pixel_arrays: Any) -> tuple[Any, Any]:
        x, y = np.broadcast_arrays(*pixel_arrays)
        lon, lat = pixels_to_sky(self._sky_projection, x=x, y=y)
        return np.degrees(lon), np.degrees(lat)

    @override
    def world_to_pixel_values(self, *world_arrays: Any) -> tuple[Any, Any]:
        lon, lat = (np.radians(angle) for angle in np.broadcast_arrays(*world_arrays))
        pixel = self._sky_projection.pixel_to_sky_transform.apply_inverse(x=lon, y=lat)
        x, y = np.asarray(pixel.x, dtype=np.float64), np.asarray(pixel.y, dtype=np.float64)
        bad = ~((np.abs(x) < _UNUSABLE) & (np.abs(y) < _UNUSABLE))
        return np.where(bad, np.nan, x), np.where(bad, np.nan, y)


@dataclass(frozen=True)
class LocalFrame:
    """Scale and orientation of the sky at one pixel."""

    north: NDArray[np.float64]
    """Unit vector (x, y) on the pixels that points north, shape ``(2,)``."""

    east: NDArray[np.float64]
    """Unit vector (x, y) on the pixels that points east, shape ``(2,)``."""

    arcsec_per_pixel: float
    """Angle that one pixel step along x covers."""


def pixels_to_sky(
    sky_projection: SkyProjection[Any], *, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ICRS longitude and latitude (rad), NaN where a pixel has none."""
    sky = sky_projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    lon, lat = np.asarray(sky.x, dtype=np.float64), np.asarray(sky.y, dtype=np.float64)
    bad = ~((np.abs(lon) < _UNUSABLE) & (np.abs(lat) < _MAX_LATITUDE_RAD))
    half_turn = 0.5 * np.pi
    return np.where(bad, np.nan, lon), np.where(bad, np.nan, lat.clip(-half_turn, half_turn))


def pixels_to_vectors(
    sky_projection: SkyProjection[Any], *, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return unit vectors, shape ``x.shape + (3,)``, NaN where a pixel has none."""
    lon, lat = pixels_to_sky(sky_projection, x=x, y=y)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def measure_local_frame(sky_projection: SkyProjection[Any], bbox: Box) -> LocalFrame | None:
    """Measure scale and orientation in the middle of a box.

    Parameters
    ----------
    sky_projection
        Projection of the pixels.
    bbox
        Box in 0-based parent pixels.

    Returns
    -------
    frame
        `None` where the middle of the box is not on the sky or at a pole.
    """
    x = bbox.x.center + np.array([0.5, -0.5, 0.0, 0.0, 0.0])
    y = bbox.y.center + np.array([0.0, 0.0, 0.5, -0.5, 0.0])
    lon, lat = (angle[-1] for angle in pixels_to_sky(sky_projection, x=x, y=y))
    vectors = pixels_to_vectors(sky_projection, x=x, y=y)
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    # Rows: east and north in radians; columns: one step along x and along y.
    steps = np.stack([vectors[0] - vectors[1], vectors[2] - vectors[3]], axis=-1)
    jacobian = np.stack([east, north]) @ steps
    if not np.all(np.isfinite(jacobian)) or np.linalg.det(jacobian) == 0.0:
        return None
    to_pixels = np.linalg.inv(jacobian)
    return LocalFrame(
        north=to_pixels[:, 1] / np.linalg.norm(to_pixels[:, 1]),
        east=to_pixels[:, 0] / np.linalg.norm(to_pixels[:, 0]),
        arcsec_per_pixel=float(np.degrees(np.linalg.norm(jacobian[:, 0]))) * 3600.0,
    )
