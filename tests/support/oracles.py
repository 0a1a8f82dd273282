"""Slow, plain answers to what the geometry of the library finds quickly.

Nothing here shares code or method with the library: every pixel is tested by
its `~astropy.coordinates.SkyCoord`, circles by `separation`, polygons by the
position angles under which a point sees their corners, ranges in degrees.
"""

from __future__ import annotations

__all__ = (
    "circle_edge",
    "make_projection",
    "polygon_edge",
    "sees_around",
    "sky_of_pixels",
    "within_circle",
    "within_polygon",
    "within_range",
)

from typing import Any

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.coordinates import SkyCoord
from lsst.images import Box, GeneralFrame, SkyProjection
from numpy.typing import NDArray


def make_projection(
    *,
    ra: float,
    dec: float,
    scale_arcsec: float = 0.2,
    rotation_deg: float = 0.0,
    code: str = "TAN",
    crpix: tuple[float, float] = (50.0, 50.0),
    distortion_px: float = 0.0,
) -> SkyProjection[Any]:
    """Return a FITS projection; ``distortion_px`` is what SIP shifts at 2000 pixels."""
    wcs = astropy.wcs.WCS(naxis=2)
    suffix = "-SIP" if distortion_px else ""
    wcs.wcs.ctype = [f"RA---{code}{suffix}", f"DEC--{code}{suffix}"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [crpix[0] + 1.0, crpix[1] + 1.0]
    cosine, sine = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = scale_arcsec / 3600.0 * np.array([[-cosine, sine], [sine, cosine]])
    if distortion_px:
        _add_sip(wcs, distortion_px, crpix)
    return SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))


def _add_sip(wcs: astropy.wcs.WCS, distortion_px: float, crpix: tuple[float, float]) -> None:
    """Add quadratic and cubic terms, with an inverse that is only a fit."""
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], a[1, 1], a[3, 0] = (
        distortion_px / 2000.0**2,
        -0.5 * distortion_px / 2000.0**2,
        0.3 * distortion_px / 2000.0**3,
    )
    b[0, 2], b[1, 1], b[2, 1] = (
        -distortion_px / 2000.0**2,
        0.4 * distortion_px / 2000.0**2,
        0.3 * distortion_px / 2000.0**3,
    )
    grid = np.linspace(-2100.0, 2100.0, 25)
    gx, gy = (values.ravel() for values in np.meshgrid(grid, grid))
    powers = [(i, k) for i in range(4) for k in range(4) if 1 <= i + k <= 3]

    def shift(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        return sum(coefficients[i, k] * gx**i * gy**k for i, k in powers)

    tx, ty = gx + shift(a), gy + shift(b)
    design = np.stack([(tx / 2000.0) ** i * (ty / 2000.0) ** k for i, k in powers], axis=-1)
    ap, bp = np.zeros((4, 4)), np.zeros((4, 4))
    for target, delta in ((ap, gx - tx), (bp, gy - ty)):
        fitted = np.linalg.lstsq(design, delta, rcond=None)[0]
        for (i, k), value in zip(powers, fitted, strict=True):
            target[i, k] = value / 2000.0 ** (i + k)
    wcs.sip = astropy.wcs.Sip(a, b, ap, bp, [crpix[0] + 1.0, crpix[1] + 1.0])


def sky_of_pixels(sky_projection: SkyProjection[Any], bbox: Box) -> SkyCoord:
    """Return the position of every pixel centre of a box, NaN off the sky."""
    x, y = np.meshgrid(np.arange(bbox.x.start, bbox.x.stop), np.arange(bbox.y.start, bbox.y.stop))
    sky = sky_projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    # The mark of a point off the sky arrives as a latitude of 147 degrees.
    lat = np.where(np.abs(sky.y) <= 0.5 * np.pi, sky.y, np.nan)
    return SkyCoord(sky.x, lat, unit=u.rad)


def within_circle(sky: SkyCoord, *, center: SkyCoord, radius_deg: float) -> NDArray[np.bool_]:
    """Tell which positions lie in a circle."""
    return np.asarray(sky.separation(center).deg <= radius_deg)


def sees_around(sky: SkyCoord, vertices: SkyCoord) -> NDArray[np.float64]:
    """Return how often the corners of a polygon run around each position.

    From outside, their position angles swing to and fro and sum to zero; from
    inside, to a full turn.  The opposite point of the sky sees the same, so
    positions must be within 90 degrees of a polygon that is smaller than that.
    """
    angles = np.stack([sky.position_angle(vertex).deg for vertex in vertices])
    turns = np.roll(angles, -1, axis=0) - angles
    return np.asarray(((turns + 180.0) % 360.0 - 180.0).sum(axis=0) / 360.0)


def within_polygon(sky: SkyCoord, *, vertices: SkyCoord) -> NDArray[np.bool_]:
    """Tell which positions lie in a polygon of less than a hemisphere."""
    return np.abs(sees_around(sky, vertices)) > 0.5


def within_range(sky: SkyCoord, *, ra: tuple[float, float], dec: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell which positions lie in a range; the last RA must be above the first."""
    lon, lat = sky.ra.deg, sky.dec.deg
    in_ra = np.zeros(lon.shape, dtype=bool)
    for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
        in_ra |= (lon + turn >= ra[0]) & (lon + turn <= ra[1])
    return in_ra & (lat >= dec[0]) & (lat <= dec[1])


def circle_edge(center: SkyCoord, radius_deg: float, n: int) -> SkyCoord:
    """Return points all around a circle."""
    return center.directional_offset_by(np.linspace(0.0, 360.0, n) * u.deg, radius_deg * u.deg)


def polygon_edge(vertices: SkyCoord, n: int) -> SkyCoord:
    """Return points along all edges of a polygon, ``n`` on each."""
    fraction = np.linspace(0.0, 1.0, n)
    pieces = [
        first.directional_offset_by(first.position_angle(second), fraction * first.separation(second))
        for first, second in zip(vertices, np.roll(vertices, -1), strict=True)
    ]
    return SkyCoord(
        [piece.ra.deg for piece in pieces], [piece.dec.deg for piece in pieces], unit="deg"
    ).ravel()
