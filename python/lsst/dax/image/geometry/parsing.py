"""Stencils from SODA text and from the shapes of other libraries."""

from __future__ import annotations

__all__ = ("StencilLike", "as_stencil", "parse_stencil")

import math
import re
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord

import lsst.sphgeom
from lsst.images import Box

from ..errors import InvalidRegionError
from ._sphere import lon_lat, sky_lon_lat, unit_vectors
from .circle import CircleStencil
from .pixel_box import PixelBoxStencil
from .polygon import PolygonStencil
from .range_box import RangeStencil
from .stencils import Stencil

if TYPE_CHECKING:
    from regions import SkyRegion

type StencilLike = Stencil | str | Box | lsst.sphgeom.Region | SkyRegion
"""What `as_stencil` takes."""

_TEXT = re.compile(r"\s*(?:(POS)\s*=\s*)?(CIRCLE|POLYGON|RANGE)(\s*=)?(.*)", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_INFINITY = re.compile(r"([+-]?)inf(?:inity)?", re.IGNORECASE)


def parse_stencil(text: str) -> Stencil:
    """Read a stencil from the value of a SODA parameter.

    Parameters
    ----------
    text
        ``CIRCLE ra dec radius``, ``POLYGON ra1 dec1 ra2 dec2 ra3 dec3 ...`` or
        ``RANGE ra1 ra2 dec1 dec2``, in degrees, ICRS; a range may have
        ``-Inf`` and ``+Inf``.  The name of the parameter may stand in front:
        ``POS=CIRCLE 12.5 -3 0.1``, ``CIRCLE=12.5 -3 0.1``.  Upper and lower
        case and any white space will do.

    Returns
    -------
    stencil
        Circle, polygon or range.

    Raises
    ------
    InvalidRegionError
        Raised if the text is not one of these, or if its numbers do not make
        a valid shape.

    Notes
    -----
    Server-side Operations for Data Access (SODA) 1.0, IVOA 2017, section 3.3.
    """
    match = _TEXT.fullmatch(text)
    if match is None or (match[1] and match[3]) or (match[3] and match[2].upper() == "RANGE"):
        raise InvalidRegionError(
            f"{_short(text)} is not a stencil; expected 'CIRCLE ra dec radius', 'POLYGON ra1 dec1 ...' or "
            "'RANGE ra1 ra2 dec1 dec2'."
        )
    kind, tail = match[2].upper(), match[4]
    if not match[3] and tail and not tail[0].isspace():
        raise InvalidRegionError(f"{_short(text)} is not a stencil; no space after {kind}.")
    numbers = [_number(word, text=text, allow_infinite=kind == "RANGE") for word in tail.split()]
    match kind:
        case "CIRCLE":
            _require_count(text, numbers, "3 numbers", len(numbers) == 3)
            return CircleStencil(_sky(numbers[0:1], numbers[1:2])[0], numbers[2] * u.deg)
        case "POLYGON":
            _require_count(text, numbers, "3 or more pairs", len(numbers) >= 6 and len(numbers) % 2 == 0)
            return PolygonStencil(_sky(numbers[0::2], numbers[1::2]))
        case _:
            _require_count(text, numbers, "4 numbers", len(numbers) == 4)
            ra, dec = numbers[:2] * u.deg, numbers[2:] * u.deg
            return RangeStencil(ra=(ra[0], ra[1]), dec=(dec[0], dec[1]))


def _require_count(text: str, numbers: list[float], wanted: str, fits: bool) -> None:  # noqa: FBT001
    if not fits:
        raise InvalidRegionError(f"{_short(text)} needs {wanted}, not {len(numbers)} numbers.")


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}...")


def _number(word: str, *, text: str, allow_infinite: bool) -> float:
    infinite = _INFINITY.fullmatch(word)
    if infinite and allow_infinite:
        return -math.inf if infinite[1] == "-" else math.inf
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise InvalidRegionError(f"{word!r} in {_short(text)} is not a finite number.")
    return value


def _sky(ra: list[float], dec: list[float]) -> SkyCoord:
    """Return positions in degrees; angles out of their range are an error."""
    for value in dec:
        if not -90.0 <= value <= 90.0:
            raise InvalidRegionError(f"Declination must be within -90 and 90 deg, not {value}.")
    for value in ra:
        if not -360.0 <= value <= 720.0:
            raise InvalidRegionError(f"Right ascension must be within -360 and 720 deg, not {value}.")
    return SkyCoord(ra=ra, dec=dec, unit=u.deg, frame="icrs")


def as_stencil(shape: StencilLike) -> Stencil:
    """Return a shape of any kind that is known as a stencil.

    Parameters
    ----------
    shape
        A stencil, which is returned as it is; SODA text (see `parse_stencil`);
        a circle, polygon or rectangle on the sky of the package ``regions``; a
        ``Circle``, ``ConvexPolygon`` or ``Box`` of `lsst.sphgeom`; or a
        `lsst.images.Box` of pixels.

    Returns
    -------
    stencil
        The same shape.

    Raises
    ------
    InvalidRegionError
        Raised if the shape is of another kind, or not valid.
    """
    match shape:
        case Stencil():
            return shape
        case str():
            return parse_stencil(shape)
        case Box():
            return PixelBoxStencil(shape)
        case lsst.sphgeom.Region():
            return _from_sphgeom(shape)
        case _:
            pass
    if type(shape).__module__.partition(".")[0] == "regions":
        return _from_regions(shape)
    raise InvalidRegionError(f"A {type(shape).__name__} is not a shape that can be cut out: {shape!r}.")


def _from_sphgeom(region: lsst.sphgeom.Region) -> Stencil:
    match region:
        case lsst.sphgeom.Circle() if not region.isEmpty():
            center = np.array(list(region.getCenter()))
            # The "opening angle" of sphgeom is the radius, not the diameter.
            radius = region.getOpeningAngle().asDegrees()
            return CircleStencil(_vector_sky(center), min(radius, 180.0) * u.deg)
        case lsst.sphgeom.ConvexPolygon():
            return PolygonStencil(_vector_sky(np.array([list(v) for v in region.getVertices()])))
        case lsst.sphgeom.Box() if not region.isEmpty():
            ra, dec = region.getLon(), region.getLat()
            ra_pair = None
            if not ra.isFull():
                ra_pair = (ra.getA().asDegrees() * u.deg, ra.getB().asDegrees() * u.deg)
            low, high = (max(-90.0, min(90.0, limit.asDegrees())) for limit in (dec.getA(), dec.getB()))
            return RangeStencil(ra=ra_pair, dec=(low * u.deg, high * u.deg))
    raise InvalidRegionError(
        f"A {type(region).__name__} of sphgeom is not a shape that can be cut out: {region!r}."
    )


def _vector_sky(vectors: Any) -> SkyCoord:
    lon, lat = lon_lat(vectors)
    return SkyCoord(ra=lon, dec=lat, unit=u.rad, frame="icrs")


def _from_regions(region: Any) -> Stencil:
    import regions  # noqa: PLC0415  # a heavy import, and only its own objects come here

    match region:
        case regions.CircleSkyRegion():
            return CircleStencil(region.center, region.radius)
        case regions.PolygonSkyRegion():
            return PolygonStencil(region.vertices)
        case regions.RectangleSkyRegion():
            return _rectangle(region.center, region.width, region.height, region.angle)
        case _:
            pass
    raise InvalidRegionError(
        f"A {type(region).__name__} is not a shape that can be cut out: {region!r}; "
        "circles, polygons and rectangles on the sky are."
    )


def _rectangle(center: SkyCoord, width: u.Quantity, height: u.Quantity, angle: u.Quantity) -> PolygonStencil:
    """Return a rectangle as a polygon.

    The middles of the edges are half a width and half a height from the
    centre; the axis of the height lies at position angle ``angle``, counted
    from north through east in the frame of ``center``.
    """
    half_width, half_height = (0.5 * float(Angle(side).to_value(u.rad)) for side in (width, height))
    if not (0.0 < half_width < 0.5 * np.pi and 0.0 < half_height < 0.5 * np.pi):
        raise InvalidRegionError(f"A rectangle must be 0 to 180 deg wide and high, not {width} by {height}.")
    middle = unit_vectors(*sky_lon_lat(center))
    north = unit_vectors(*sky_lon_lat(center.directional_offset_by(angle, 1.0 * u.deg)))
    up = north - (north @ middle) * middle
    up /= np.linalg.norm(up)
    left = np.cross(up, middle)
    corners = [
        middle + np.tan(half_width) * across * left + np.tan(half_height) * along * up
        for across, along in ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
    ]
    return PolygonStencil(_vector_sky(np.array(corners)))
