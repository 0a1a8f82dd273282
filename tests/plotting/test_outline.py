"""Outlines of stencils on the pixels of a picture."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, SkyProjection
from numpy.testing import assert_allclose
from tests.support.scenes import BOX, CENTER, make_sky_projection, make_wcs

from lsst.dax.image.geometry import CircleStencil, EdgePolicy, PixelBoxStencil, PolygonStencil, Stencil
from lsst.dax.image.plotting._outline import trace_outline

PROJECTION = make_sky_projection()


def trace(stencil: Stencil, edge: EdgePolicy = EdgePolicy.CLIP) -> list[np.ndarray]:
    return trace_outline(stencil.to_pixels(PROJECTION, BOX, edge=edge), PROJECTION)


def test_circle_has_its_radius_in_every_direction() -> None:
    radius = 7.3 * u.arcsec
    (line,) = trace(CircleStencil(CENTER, radius))
    sky = make_wcs().pixel_to_world(*line.T)
    assert_allclose(CENTER.separation(sky).arcsec, radius.value, rtol=2e-6)
    angles = np.sort(CENTER.position_angle(sky).deg)
    assert np.diff(angles, append=angles[0] + 360.0).max() < 2.0
    assert_allclose(line[0], line[-1], atol=1e-6)


def test_polygon_follows_great_circles() -> None:
    vertices = CENTER.directional_offset_by([10, 120, 250] * u.deg, [8, 6, 7] * u.arcsec)
    (line,) = trace(PolygonStencil(vertices))
    points = make_wcs().pixel_to_world(*line.T).cartesian.xyz.value.T
    corners = vertices.cartesian.xyz.value.T
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    off_arcsec = np.degrees(np.abs(points @ normals.T).min(axis=1)) * 3600.0
    assert off_arcsec.max() < 1e-5
    # Each corner is reached to within a step of the tracing grid.
    nearest = vertices[:, None].separation(make_wcs().pixel_to_world(*line.T)).arcsec.min(axis=1)
    assert nearest.max() < 0.2


def test_pixel_box_has_the_edges_of_its_pixels() -> None:
    box = Box.factory[40:52, 1010:1031]
    (line,) = trace(PixelBoxStencil(box))
    assert_allclose(line.min(axis=0), [1009.5, 39.5], atol=1e-4)
    assert_allclose(line.max(axis=0), [1030.5, 51.5], atol=1e-4)
    on_edge = np.isclose(line, [1009.5, 39.5], atol=1e-4) | np.isclose(line, [1030.5, 51.5], atol=1e-4)
    assert on_edge.any(axis=1).all()


def test_clipped_circle_is_open_where_the_image_ends() -> None:
    center = PROJECTION.pixel_to_sky(x=float(BOX.x.min), y=BOX.y.center)
    pixels = CircleStencil(center, 4 * u.arcsec).to_pixels(PROJECTION, BOX)
    assert pixels.is_clipped
    (line,) = trace_outline(pixels, PROJECTION)
    assert line[:, 0].min() == pytest.approx(BOX.x.min - 1.0, abs=0.2)
    assert np.linalg.norm(line[0] - line[-1]) > 30.0


def test_stencil_around_the_whole_image_has_no_outline_on_it() -> None:
    assert trace(CircleStencil(CENTER, 5 * u.arcmin)) == []


def test_outline_of_half_the_sky_keeps_off_the_pixels_without_a_sky() -> None:
    wcs = WCS(
        {"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT", "CUNIT1": "deg", "CUNIT2": "deg"}
        | {"CRVAL1": 0, "CRVAL2": 0, "CRPIX1": 180.5, "CRPIX2": 90.5, "CDELT1": -1, "CDELT2": 1}
    )
    projection = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
    center = SkyCoord(30, 20, unit=u.deg)
    pixels = CircleStencil(center, 60 * u.deg).to_pixels(projection, Box.factory[0:180, 0:360])
    (line,) = trace_outline(pixels, projection)
    assert_allclose(center.separation(wcs.pixel_to_world(*line.T)).deg, 60.0, rtol=1e-6)
