"""Small images in memory whose every pixel is known."""

from __future__ import annotations

__all__ = ("make_image", "make_masked_image", "make_sky_projection", "make_wcs")

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection

CENTER = SkyCoord(150.1, 2.2, unit=u.deg)
SCALE = 0.2 * u.arcsec
BOX = Box.factory[30:130, 1000:1160]  # 100 rows, 160 columns, off the origin


def make_wcs(
    center: SkyCoord = CENTER,
    *,
    bbox: Box = BOX,
    scale: u.Quantity = SCALE,
    rotation: u.Quantity = 37 * u.deg,
) -> WCS:
    """Return a TAN WCS of parent pixels whose reference point is a box's centre.

    Its 0-based pixel coordinates are those of the parent image, so the centre
    of ``bbox`` has the sky position ``center`` exactly.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [center.ra.deg, center.dec.deg]
    wcs.wcs.crpix = [bbox.x.center + 1, bbox.y.center + 1]
    cos, sin = np.cos(rotation), np.sin(rotation)
    wcs.wcs.cd = scale.to_value(u.deg) * np.array([[-cos, sin], [sin, cos]])
    return wcs


def make_sky_projection(center: SkyCoord = CENTER, *, bbox: Box = BOX, **kwargs: u.Quantity) -> SkyProjection:
    """Return the sky projection of `make_wcs`."""
    wcs = make_wcs(center, bbox=bbox, **kwargs)
    return SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix), pixel_bounds=bbox)


def make_image(
    bbox: Box = BOX, *, sky_projection: SkyProjection | None = None, dtype: type = np.float32
) -> Image:
    """Return an image whose pixel (x, y) has the value 1000 y + x."""
    xy = bbox.meshgrid()
    pixels = (1000 * xy.y + xy.x).astype(dtype)
    projection = make_sky_projection(bbox=bbox) if sky_projection is None else sky_projection
    return Image(pixels, bbox=bbox, unit=u.nJy, sky_projection=projection)


def make_masked_image(bbox: Box = BOX) -> MaskedImage:
    """Return a masked image of `make_image` pixels.

    The variance is the pixel's value plus 1, and every third pixel has the
    mask plane ``BAD``.
    """
    image = make_image(bbox)
    mask = Mask(
        schema=MaskSchema([MaskPlane("BAD", "A bad pixel."), MaskPlane("EDGE", "An edge.")]), bbox=bbox
    )
    mask.set("BAD", image.array % 3 == 0)
    variance = Image(image.array + 1, bbox=bbox, unit=u.nJy**2)
    return MaskedImage(image, mask=mask, variance=variance)
