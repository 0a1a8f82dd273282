"""Read a plain FITS image that has a celestial WCS: data from elsewhere."""

from __future__ import annotations

__all__ = ("read_plain_bbox", "read_plain_image", "read_plain_sky_projection")

from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from astropy.wcs import WCS, WcsError

from lsst.images import Box, Image, SkyProjection
from lsst.resources import ResourcePathExpression

from ..errors import InputDataError, NoCoverageError
from .header import opened_fits
from .wcs import make_sky_projection

_MAX_WCS_NUMBER = 1e12
_IMAGES = (astropy.io.fits.PrimaryHDU, astropy.io.fits.ImageHDU, astropy.io.fits.CompImageHDU)


def read_plain_image(uri: ResourcePathExpression, *, bbox: Box | None = None) -> Image:
    """Read a plain FITS image, or part of it.

    Parameters
    ----------
    uri
        FITS file.  The first HDU that holds two-dimensional pixels and a
        celestial WCS is read, tile-compressed or not.
    bbox
        Pixels to read, 0-based; only the rows or tiles that it touches are
        read.  All pixels if `None`.

    Returns
    -------
    image
        Pixels in native byte order, scaled as the header says, with blank
        integers as NaN; the unit of ``BUNIT``, if there is one; and the WCS
        as a sky projection in ICRS.  Pixel (0, 0) is the first of the file,
        whose FITS coordinates are (1, 1).

    Raises
    ------
    InputDataError
        Raised if the file is missing or unusable, or has no such HDU.
    NoCoverageError
        Raised if ``bbox`` does not lie within the image.
    """
    with opened_fits(uri) as hdus:
        plain = _find_image(hdus, uri)
        box = plain.bbox if bbox is None else bbox
        if not plain.bbox.contains(box):
            raise NoCoverageError(f"Pixels {box} are not all within the image {plain.bbox} of {uri}.")
        pixels = plain.hdu.section[box.y.start : box.y.stop, box.x.start : box.x.stop]
        native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        return Image(native, bbox=box, unit=_unit(plain.hdu.header), sky_projection=plain.sky_projection)


def read_plain_bbox(uri: ResourcePathExpression) -> Box:
    """Read the bounding box of a plain FITS image.

    Parameters
    ----------
    uri
        FITS file.

    Returns
    -------
    bbox
        All pixels of the image, 0-based.

    Raises
    ------
    InputDataError
        Raised if the file is missing or unusable.
    """
    with opened_fits(uri) as hdus:
        return _find_image(hdus, uri).bbox


def read_plain_sky_projection(uri: ResourcePathExpression) -> SkyProjection[Any]:
    """Read the WCS of a plain FITS image as a sky projection.

    Parameters
    ----------
    uri
        FITS file.

    Returns
    -------
    sky_projection
        Map between 0-based pixels and ICRS.

    Raises
    ------
    InputDataError
        Raised if the file is missing or unusable.
    """
    with opened_fits(uri) as hdus:
        return _find_image(hdus, uri).sky_projection


@dataclass(frozen=True)
class _PlainImage:
    """The HDU that is read, and where its pixels are."""

    hdu: Any
    bbox: Box
    sky_projection: SkyProjection[Any]


def _find_image(hdus: astropy.io.fits.HDUList, uri: ResourcePathExpression) -> _PlainImage:
    """Return the first HDU with two-dimensional pixels and a celestial WCS."""
    for hdu in hdus:
        # Of a compressed image whose header is damaged, astropy makes a table
        # that calls itself an image.
        if not isinstance(hdu, _IMAGES) or hdu.header.get("NAXIS") != 2 or len(hdu.shape) != 2:
            continue
        wcs = _make_wcs(hdu.header, hdus, uri)
        if wcs.has_celestial:
            bbox = Box.from_shape(hdu.shape)
            return _PlainImage(hdu, bbox, make_sky_projection(wcs, bbox=bbox))
    shapes = [(hdu.name, getattr(hdu, "shape", ())) for hdu in hdus]
    raise InputDataError(f"{uri} has no two-dimensional image with a celestial WCS; its HDUs are {shapes}.")


def _make_wcs(
    header: astropy.io.fits.Header, hdus: astropy.io.fits.HDUList, uri: ResourcePathExpression
) -> WCS:
    """Return the WCS of a header, in modern spelling.

    `WCS` would do so by itself, but warns of every date that it rewrites, and
    warnings cannot be silenced in one thread alone.
    """
    header = header.copy()
    if "RADECSYS" in header and "RADESYS" not in header:
        header.rename_keyword("RADECSYS", "RADESYS")
    try:
        wcs = WCS(header, fobj=hdus, fix=False)
        wcs.wcs.fix()
        wcs.wcs.set()
    except (WcsError, ValueError, KeyError) as error:
        raise InputDataError(f"{uri} has a WCS that cannot be used: {error}") from error
    numbers = np.concatenate([wcs.wcs.crval, wcs.wcs.crpix])
    if not np.all(np.abs(numbers) < _MAX_WCS_NUMBER):  # AST crashes on angles such as 1e308
        raise InputDataError(f"{uri} has a WCS with impossible numbers: {numbers.tolist()}.")
    return wcs


def _unit(header: astropy.io.fits.Header) -> u.UnitBase | None:
    """Return the unit of the pixels; None where the file names none.

    Old files have units that no standard knows ("JY/BEAM"); such a text is
    kept as it is, and cannot be converted.
    """
    text = str(header.get("BUNIT", "")).strip()
    return u.Unit(text, parse_strict="silent") if text else None
