"""Grids that are found for images."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.images import Box, Image
from tests.support.mosaics import make_grid

from lsst.dax.image.errors import (
    InputDataError,
    InvalidRegionError,
    RequestError,
    StencilNotContainedError,
)
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil, TargetGrid
from lsst.dax.image.mosaics import find_mosaic_grid


def assert_holds(grid: TargetGrid, images: list[TargetGrid]) -> None:
    """Check that all images lie on a grid, and touch all four sides of it."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for image in images:
        x = np.linspace(image.bbox.x.start - 0.5, image.bbox.x.stop - 0.5, 9)
        y = np.linspace(image.bbox.y.start - 0.5, image.bbox.y.stop - 0.5, 9)
        gx, gy = np.meshgrid(x, y)
        sky = image.sky_projection.pixel_to_sky(x=gx.ravel(), y=gy.ravel())
        found = grid.sky_projection.sky_to_pixel(sky)
        low = np.minimum(low, [found.x.min(), found.y.min()])
        high = np.maximum(high, [found.x.max(), found.y.max()])
    start = np.array([grid.bbox.x.start, grid.bbox.y.start]) - 0.5
    stop = np.array([grid.bbox.x.stop, grid.bbox.y.stop]) - 0.5
    assert (low >= start - 0.01).all()
    assert (low <= start + 1.01).all()
    assert (high <= stop + 0.01).all()
    assert (high >= stop - 1.01).all()


def test_images_that_share_pixels_keep_them() -> None:
    tract = make_grid((500, 500), rotation=12 * u.deg).sky_projection
    images = [TargetGrid(tract, Box.factory[y : y + 50, x : x + 60]) for y, x in ((10, 300), (-20, 100))]
    grid = find_mosaic_grid(images)
    assert grid.sky_projection is tract
    assert grid.bbox == Box.factory[-20:60, 100:360]


@pytest.mark.parametrize(
    "center",
    [(0.0, 3.0), (359.99, -60.0), (10.0, 90.0), (80.0, -90.0)],
    ids=["ra0", "ra360", "north", "south"],
)
def test_turned_images_fit_tightly(center: tuple[float, float]) -> None:
    middle = SkyCoord(*center, unit=u.deg)
    images = [
        make_grid(
            (200, 300), center=middle.directional_offset_by(a * u.deg, 1 * u.arcmin), rotation=a * u.deg
        )
        for a in (10, 130, 250)
    ]
    grid = find_mosaic_grid(images)
    assert grid.bbox.start == (0, 0)
    assert grid.pixel_scale.to_value(u.arcsec) == pytest.approx(0.2, rel=1e-6)
    assert_holds(grid, images)


def test_scale_and_rotation_are_obeyed() -> None:
    images = [make_grid((200, 300)), make_grid((200, 300), rotation=40 * u.deg)]
    grid = find_mosaic_grid(images, pixel_scale=0.5 * u.arcsec, rotation=20 * u.deg)
    assert grid.pixel_scale.to_value(u.arcsec) == pytest.approx(0.5, rel=1e-6)
    center = grid.center
    above = grid.sky_projection.pixel_to_sky(x=grid.bbox.x.center, y=grid.bbox.y.center + 10)
    assert center.position_angle(above).to_value(u.deg) == pytest.approx(20, abs=1e-3)
    assert_holds(grid, images)
    # One scale only is asked for: images that share pixels do not keep theirs.
    coarse = find_mosaic_grid(images[:1], pixel_scale=0.4 * u.arcsec)
    assert tuple(coarse.shape) == (100, 150)


def test_grid_is_no_larger_than_that_of_reproject() -> None:
    mosaicking = pytest.importorskip("reproject.mosaicking")
    images = [make_grid((200, 300), rotation=r * u.deg) for r in (10, 70, 100)]
    inputs = [(tuple(i.shape), i.sky_projection.as_fits_wcs(i.bbox)) for i in images]
    wcs, shape = mosaicking.find_optimal_celestial_wcs(inputs)
    grid = find_mosaic_grid(images)
    assert np.abs(np.subtract(grid.shape, shape)).max() <= 2
    there = wcs.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    assert grid.center.separation(there) < 0.3 * u.arcsec


def test_a_stencil_bounds_the_grid() -> None:
    tract = make_grid((500, 500))
    circle = CircleStencil(tract.center, 10 * u.arcsec)
    shared = find_mosaic_grid([tract], stencil=circle)
    assert shared.sky_projection is tract.sky_projection
    assert shared.bbox == circle.to_pixels(tract.sky_projection, tract.bbox).bbox
    turned = find_mosaic_grid([tract], stencil=circle, rotation=45 * u.deg, pixel_scale=0.1 * u.arcsec)
    assert turned.center.separation(tract.center) < 0.1 * u.arcsec
    assert all(200 <= side <= 202 for side in turned.shape)


def test_what_has_no_grid_is_refused() -> None:
    tract = make_grid((50, 50))
    with pytest.raises(RequestError, match="one image or more, not for none"):
        find_mosaic_grid([])
    with pytest.raises(InputDataError, match=r"Image 1, of pixels .*, has no sky projection"):
        find_mosaic_grid([tract, Image(0.0, bbox=tract.bbox)])
    around = [make_grid((50, 50), center=SkyCoord(ra, 0, unit=u.deg)) for ra in (0, 90, 180, 270)]
    with pytest.raises(InvalidRegionError, match="4 images all around the sky"):
        find_mosaic_grid(around)
    with pytest.raises(InvalidRegionError, match=r"Image 0, .* reaches 80\.0 deg from the middle"):
        find_mosaic_grid([make_grid((50, 50), center=SkyCoord(ra, 0, unit=u.deg)) for ra in (0, 160)])
    far = CircleStencil(SkyCoord(10, 10, unit=u.deg), 5 * u.arcsec)
    with pytest.raises(StencilNotContainedError, match="touches no pixel of the image"):
        find_mosaic_grid([tract], stencil=far)
    turned = make_grid((50, 50), rotation=10 * u.deg)
    with pytest.raises(InvalidRegionError, match="no shape on the sky"):
        find_mosaic_grid([tract, turned], stencil=PixelBoxStencil(Box.factory[0:5, 0:5]))
