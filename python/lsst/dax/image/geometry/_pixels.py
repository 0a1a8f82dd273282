"""Pixel coordinates to unit vectors and back, without the cost of SkyCoord."""

from __future__ import annotations

__all__ = ("PixelMap",)

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

from ._sphere import Vectors, angle_between, lon_lat, unit_vectors

# AST marks a point that it cannot transform with -1.8e308.
_UNUSABLE = 1e100
_MAX_LATITUDE = 0.5 * np.pi * (1.0 + 1e-12)

# A round trip may be off by so many pixels before it is repaired: the inverse
# polynomials of real SIP headers are only fits and miss by hundredths.
_REPAIRABLE_PX = 0.5
_CONVERGED_PX = 1e-3


class PixelMap:
    """The mapping of one image between its pixels and the sky.

    Parameters
    ----------
    sky_projection
        Projection of the image, to ICRS.
    bbox
        Box of the image; its middle sets what an angle is worth in pixels.
    """

    def __init__(self, sky_projection: SkyProjection[Any], bbox: Box) -> None:
        self._transform = sky_projection.pixel_to_sky_transform
        x = bbox.x.center + np.array([0.0, 1.0, 0.0])
        y = bbox.y.center + np.array([0.0, 0.0, 1.0])
        middle = self.to_vectors(x=x, y=y)
        scale = float(angle_between(middle[1:], middle[:1]).min())
        # Where the middle is off the sky (an all-sky map of odd shape), one
        # second of arc is as good as any scale: it is a tolerance only.
        self.scale_rad = scale if np.isfinite(scale) and scale > 0.0 else np.radians(1.0 / 3600.0)

    def to_lon_lat(
        self, *, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ICRS longitude and latitude in radians, NaN where undefined."""
        if x.size == 0:
            # AST takes no empty list of points.
            return x, y
        sky = self._transform.apply_forward(x=x, y=y)
        # lsst.images reduces AST's mark of a bad point modulo a full turn, to
        # a latitude of 147 degrees; only latitude can tell.
        lon, lat = np.asarray(sky.x), np.asarray(sky.y)
        return _where_good(np.abs(lat) <= _MAX_LATITUDE, lon, lat)

    def to_vectors(self, *, x: NDArray[np.float64], y: NDArray[np.float64]) -> Vectors:
        """Return unit vectors, shape ``x.shape + (3,)``, NaN where undefined."""
        return unit_vectors(*self.to_lon_lat(x=x, y=y))

    def _from_vectors(self, vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lon, lat = lon_lat(vectors)
        pixel = self._transform.apply_inverse(x=lon, y=lat)
        x, y = np.asarray(pixel.x), np.asarray(pixel.y)
        return _where_good((np.abs(x) < _UNUSABLE) & (np.abs(y) < _UNUSABLE), x, y)

    def from_vectors(self, vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixel coordinates of points of the sky, NaN where there are none.

        A point counts only if its pixel leads back to it: polynomials that are
        evaluated far outside the image they were fitted to fold the sky onto
        pixels that belong to other directions.
        """
        x, y = self._from_vectors(vectors)
        target = vectors
        for _ in range(3):
            back = self.to_vectors(x=x, y=y)
            error_px = angle_between(back, vectors) / self.scale_rad
            repair = (error_px > 1e-5) & (error_px < _REPAIRABLE_PX)
            if not np.any(repair & (error_px > 0.1 * _CONVERGED_PX)):
                break
            target = np.where(repair[..., None], target + (vectors - back), target)
            x_new, y_new = self._from_vectors(target)
            x, y = np.where(repair, x_new, x), np.where(repair, y_new, y)
        else:
            error_px = angle_between(self.to_vectors(x=x, y=y), vectors) / self.scale_rad
        valid = error_px < _CONVERGED_PX
        return np.where(valid, x, np.nan), np.where(valid, y, np.nan)


def _where_good(
    good: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.where(good, a, np.nan), np.where(good, b, np.nan)
