"""Drawing of sources without noise."""

from __future__ import annotations

__all__ = ("Sources", "draw_sources", "locate_sources")

import dataclasses
import math
from typing import Any

import astropy.units as u
import galsim
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from lsst.images import Box, SkyProjection

from ._psf import MoffatField

LEAST_RADIUS_PX = 40.0
"""Least half-width of the stamp of a star."""

FAINTEST_NJY = 0.1
"""Surface brightness (nJy per pixel) down to which the stamp of a star reaches."""

# Folding and truncation errors of the default parameters reach 0.5 percent of
# a galaxy's flux; these keep them below 0.05 percent (tests/simulation).
_GALAXY_PARAMETERS = galsim.GSParams(folding_threshold=5e-4, maxk_threshold=1e-4)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Sources in the pixel system of one image."""

    x: npt.NDArray[np.float64]
    """Pixel column."""

    y: npt.NDArray[np.float64]
    """Pixel row."""

    flux: npt.NDArray[np.float64]
    """Total flux in nJy."""

    shapes: QTable
    """Rows of the truth table."""

    jacobian: npt.NDArray[np.float64]
    """Pixels (x, y) per arcsec (East, North), shape ``(n, 2, 2)``."""


def locate_sources(
    truth: QTable,
    positions: SkyCoord,
    flux: u.Quantity,
    *,
    sky_projection: SkyProjection[Any],
    bbox: Box,
) -> Sources:
    """Return the sources with flux whose stamps may reach into a box.

    Parameters
    ----------
    truth
        Truth table.
    positions, flux
        Position and total flux of each row at the time of the image.
    sky_projection
        Projection of the image.
    bbox
        Box of the image.
    """
    values = flux.to_value(u.nJy)
    margin = 2.0 * LEAST_RADIUS_PX
    # The library behind the projections takes no empty arrays.
    if not np.any(values > 0):
        return _no_sources(truth)
    point = sky_projection.sky_to_pixel(positions)
    keep = (
        (values > 0)
        & (point.x > bbox.x.min - margin)
        & (point.x < bbox.x.max + margin)
        & (point.y > bbox.y.min - margin)
        & (point.y < bbox.y.max + margin)
    )
    if not np.any(keep):
        return _no_sources(truth)
    here = positions[keep]
    step = 0.5 * u.arcsec
    jacobian = np.empty((int(np.count_nonzero(keep)), 2, 2))
    for column, (east, north) in enumerate(((step, 0 * step), (0 * step, step))):
        plus = sky_projection.sky_to_pixel(here.spherical_offsets_by(east, north))
        minus = sky_projection.sky_to_pixel(here.spherical_offsets_by(-east, -north))
        jacobian[:, 0, column] = plus.x - minus.x
        jacobian[:, 1, column] = plus.y - minus.y
    return Sources(x=point.x[keep], y=point.y[keep], flux=values[keep], shapes=truth[keep], jacobian=jacobian)


def draw_sources(sources: Sources, *, psf: MoffatField, bbox: Box) -> npt.NDArray[np.float64]:
    """Draw sources onto an empty image.

    Parameters
    ----------
    sources
        What to draw.
    psf
        Effective PSF.
    bbox
        Box of the image.

    Returns
    -------
    array
        Expected flux in nJy per pixel, shape ``bbox.shape``.
    """
    canvas = galsim.ImageD(
        np.zeros(bbox.shape, dtype=np.float64), xmin=bbox.x.min, ymin=bbox.y.min, scale=1.0
    )
    radii = sources.shapes["half_light_radius"].to_value(u.arcsec)
    for index in range(len(sources.x)):
        x, y, flux = float(sources.x[index]), float(sources.y[index]), float(sources.flux[index])
        if radii[index] > 0:
            pixels_per_arcsec = math.sqrt(abs(np.linalg.det(sources.jacobian[index])))
            half_width = 8.0 * radii[index] * pixels_per_arcsec + 4.0 * psf.fwhm_px
        else:
            half_width = _star_half_width(psf, x=x, y=y, flux=flux)
        stamp = _stamp_bounds(canvas, x=x, y=y, half_width=half_width)
        if not stamp.isDefined():
            continue
        profile = psf.profile(x=x, y=y)
        if radii[index] > 0:
            galaxy = _galaxy_profile(sources.shapes[index], sources.jacobian[index])
            profile = galsim.Convolve(galaxy, profile, gsparams=_GALAXY_PARAMETERS)
        profile.withFlux(flux).drawImage(
            image=canvas[stamp], center=galsim.PositionD(x, y), method="no_pixel", add_to_image=True
        )
    return np.asarray(canvas.array)


def _no_sources(truth: QTable) -> Sources:
    empty = np.empty(0)
    return Sources(x=empty, y=empty, flux=empty, shapes=truth[:0], jacobian=np.empty((0, 2, 2)))


def _star_half_width(psf: MoffatField, *, x: float, y: float, flux: float) -> float:
    """Return the radius where a star falls below `FAINTEST_NJY`, but at least the least one."""
    radius = psf.scale_radius_px(x=x, y=y)
    peak = 3.0 * flux / (math.pi * radius**2)
    ratio = max(peak / FAINTEST_NJY, 1.0)
    return max(LEAST_RADIUS_PX, radius * math.sqrt(ratio**0.25 - 1.0))


def _stamp_bounds(canvas: galsim.Image, *, x: float, y: float, half_width: float) -> galsim.BoundsI:
    """Return the part of a canvas within a distance of a position, perhaps undefined."""
    left, right = math.floor(x - half_width), math.ceil(x + half_width)
    bottom, top = math.floor(y - half_width), math.ceil(y + half_width)
    return galsim.BoundsI(left, right, bottom, top) & canvas.bounds


def _galaxy_profile(shape: Any, jacobian: npt.NDArray[np.float64]) -> galsim.GSObject:
    """Return a Sersic profile of unit flux in pixels, from its shape on the sky."""
    index = float(shape["sersic_index"])
    radius = float(shape["half_light_radius"].to_value(u.arcsec))
    if index == 1.0:
        profile = galsim.Exponential(half_light_radius=radius)
    else:
        profile = galsim.Sersic(n=index, half_light_radius=radius)
    # In the (East, North) plane the angle from the first axis is 90 degrees
    # minus the position angle.
    beta = (90.0 - float(shape["position_angle"].to_value(u.deg))) * galsim.degrees
    profile = profile.shear(q=float(shape["axis_ratio"]), beta=beta)
    return profile.transform(*jacobian.ravel().tolist()).withFlux(1.0)
