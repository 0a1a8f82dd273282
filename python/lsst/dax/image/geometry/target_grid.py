"""The pixel grid that an image is made on."""

from __future__ import annotations

__all__ = ("TargetGrid",)

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.coordinates import Angle, SkyCoord

from lsst.images import YX, Box, GeneralFrame, SkyProjection

from ..errors import InvalidRegionError
from ._checks import angle_deg, clean_sky


@dataclass(frozen=True)
class TargetGrid:
    """A projection and the box of pixels on it that an image fills."""

    sky_projection: SkyProjection[Any]
    """From 0-based parent pixels to ICRS."""

    bbox: Box
    """Pixels of the grid."""

    @property
    def shape(self) -> YX[int]:
        """Rows and columns."""
        return self.bbox.shape

    @property
    def center(self) -> SkyCoord:
        """Position of the middle of the box."""
        return self.sky_projection.pixel_to_sky(x=self.bbox.x.center, y=self.bbox.y.center)

    @property
    def pixel_scale(self) -> Angle:
        """Side of a square with the area of the pixel in the middle of the box."""
        x, y = self.bbox.x.center, self.bbox.y.center
        sky = self.sky_projection.pixel_to_sky(
            x=x + np.array([0.5, -0.5, 0.0, 0.0]), y=y + np.array([0.0, 0.0, 0.5, -0.5])
        )
        vectors = sky.cartesian.xyz.value.T
        area = np.linalg.norm(np.cross(vectors[0] - vectors[1], vectors[2] - vectors[3]))
        return Angle(float(np.sqrt(area)), u.rad).to(u.arcsec)

    @classmethod
    def from_center(
        cls,
        center: SkyCoord,
        *,
        pixel_scale: u.Quantity,
        shape: tuple[int, int],
        rotation: u.Quantity = 0.0 * u.deg,
    ) -> Self:
        """Make a tangent-plane (TAN) grid around a position.

        Parameters
        ----------
        center
            Position of the middle of the grid, scalar, in any frame.
        pixel_scale
            Side of a pixel.
        shape
            Rows and columns.
        rotation
            Position angle of the y axis, from north through east.  With 0,
            north is up and east is left.

        Raises
        ------
        InvalidRegionError
            Raised if the position is not one finite point, or if the scale,
            the shape or the rotation is not usable.
        """
        center = clean_sky(center, what="The centre of a grid")
        scale, turn = angle_deg(pixel_scale, what="The pixel scale"), angle_deg(rotation, what="The rotation")
        if not center.isscalar or not 0.0 < scale < 90.0 or not np.isfinite(turn):
            raise InvalidRegionError(
                f"A grid needs one centre, a pixel scale of 0 to 90 deg and a rotation; "
                f"not {center}, {pixel_scale}, {rotation}."
            )
        if not _is_shape(shape):
            raise InvalidRegionError(f"A grid has two whole numbers of rows and columns, not {shape}.")
        if min(shape) < 1:
            raise InvalidRegionError(f"A grid needs a positive number of rows and columns, not {shape}.")
        bbox = Box.from_shape(shape)
        wcs = astropy.wcs.WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [center.ra.deg, center.dec.deg]
        wcs.wcs.crpix = [bbox.x.center + 1.0, bbox.y.center + 1.0]
        cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        wcs.wcs.cd = scale * np.array([[-cosine, sine], [sine, cosine]])
        return cls(SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix)), bbox)


def _is_shape(shape: object) -> bool:
    """Tell whether a shape is two whole numbers."""
    return (
        isinstance(shape, Sequence)
        and len(shape) == 2
        and all(isinstance(size, numbers.Integral) for size in shape)
    )
