"""Positions of targets: in time, and on an image's pixels."""

from __future__ import annotations

__all__ = ("locate_positions", "propagate_positions")

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from lsst.images import XY, Box, SkyProjection

from ..errors import RequestError
from ._pixels import PixelMap
from ._sphere import sky_lon_lat, unit_vectors


def propagate_positions(positions: SkyCoord, *, epoch: Time | None, time: Time | None) -> SkyCoord:
    r"""Move positions by their proper motions.

    Parameters
    ----------
    positions
        Positions in any frame, any shape.  If they carry ``pm_ra_cosdec`` and
        ``pm_dec`` (as ICRS coordinates do), they are moved; else they stay.
    epoch
        Time at which the positions hold; their own ``obstime`` if `None`.
    time
        Time to which they are moved.

    Returns
    -------
    moved
        ICRS positions without proper motions.

    Raises
    ------
    RequestError
        Raised if there are proper motions, but no epoch or no time.

    Notes
    -----
    A target moves uniformly on a straight line in space at constant distance
    and without radial velocity: :math:`u(t) \propto u_0 + \mu t`, with
    :math:`\mu` tangent to the sphere at the epoch (The Hipparcos and Tycho
    Catalogues, ESA SP-1200, vol. 1, section 1.5.5).  Parallax is not applied.
    """
    icrs = positions.transform_to("icrs")
    if "s" not in icrs.data.differentials:
        return SkyCoord(icrs.ra, icrs.dec, frame="icrs")
    epoch = positions.obstime if epoch is None else epoch
    if epoch is None or time is None:
        missing = "epoch of the positions" if epoch is None else "time of the image"
        raise RequestError(f"The positions have proper motions, but the {missing} is not known.")
    elapsed = (time.tdb - epoch.tdb).to_value(u.yr)
    ra, dec = icrs.ra.rad, icrs.dec.rad
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)])
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    start = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    motion = icrs.pm_ra_cosdec.to_value(u.rad / u.yr) * east + icrs.pm_dec.to_value(u.rad / u.yr) * north
    x, y, z = start + motion * elapsed
    return SkyCoord(np.arctan2(y, x), np.arctan2(z, np.hypot(x, y)), unit=u.rad, frame="icrs")


def locate_positions(sky_projection: SkyProjection[Any], positions: SkyCoord, *, bbox: Box) -> XY[Any]:
    """Return where positions are on an image's pixels, in one call.

    Parameters
    ----------
    sky_projection
        Map between pixels and sky.
    positions
        Positions in any frame, shape ``(n,)``.
    bbox
        Pixels of the image.

    Returns
    -------
    xy
        0-based parent pixel positions with centres at integers, shape
        ``(n,)``.  NaN where the projection has no pixel: behind the tangent
        plane, or so far off the image that its distortion polynomial does not
        lead back to the sky position.
    """
    if positions.size == 0:
        return XY(np.empty(0), np.empty(0))  # AST refuses to transform no point
    pixel_map = PixelMap(sky_projection, bbox)
    return XY(*pixel_map.from_vectors(unit_vectors(*sky_lon_lat(positions))))
