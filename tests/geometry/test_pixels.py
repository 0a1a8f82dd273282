"""Pixel coordinates to unit vectors and back."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.errors import StencilNotContainedError
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.geometry._pixels import PixelMap

from ..support.oracles import make_projection

DETECTOR = Box.factory[0:4000, 0:4072]


def distorted(distortion_px: float):
    return make_projection(ra=53.0, dec=-27.5, crpix=(2036.0, 2000.0), distortion_px=distortion_px)


def test_inverse_that_is_only_a_fit_is_repaired():
    projection = distorted(20.0)
    pixels = PixelMap(projection, DETECTOR)
    x, y = np.random.default_rng(8).uniform(0.0, 4000.0, (2, 500))
    plain = projection.sky_to_pixel(projection.pixel_to_sky(x=x, y=y))
    assert np.abs(plain.x - x).max() > 0.05
    found_x, found_y = pixels.from_vectors(pixels.to_vectors(x=x, y=y))
    assert np.abs(found_x - x).max() < 2e-3
    assert np.abs(found_y - y).max() < 2e-3


def test_sky_that_polynomials_fold_onto_the_image_is_not_on_it():
    # Beyond the detector, the inverse polynomials turn back; they put these
    # positions on pixels that look elsewhere.
    projection = distorted(200.0)
    center = projection.pixel_to_sky(x=2036.0, y=2000.0)
    angle, radius = (
        grid.ravel() for grid in np.meshgrid(np.arange(0.0, 360.0, 5.0), np.arange(0.3, 9.0, 0.05))
    )
    sky = center.directional_offset_by(angle * u.deg, radius * u.deg)
    pixel = projection.sky_to_pixel(sky)
    folded = (np.abs(pixel.x - 2036.0) < 1900.0) & (np.abs(pixel.y - 2000.0) < 1900.0)
    assert np.count_nonzero(folded) > 0
    assert np.all(
        projection.pixel_to_sky(x=pixel.x[folded], y=pixel.y[folded]).separation(sky[folded]).deg > 0.1
    )
    x, y = PixelMap(projection, DETECTOR).from_vectors(sky[folded].cartesian.xyz.value.T)
    assert np.all(np.isnan(x) & np.isnan(y))
    with pytest.raises(StencilNotContainedError, match="touches no pixel"):
        CircleStencil(sky[folded][0], 3.0 * u.arcsec).to_pixels(projection, DETECTOR)


@pytest.mark.parametrize(("code", "x", "y"), [("MOL", 0.0, 0.0), ("AIT", 0.0, 0.0), ("CAR", 10.0, 400.0)])
def test_pixels_off_the_sky_are_nan(code, x, y):
    projection = make_projection(ra=0.0, dec=0.0, code=code, scale_arcsec=3600.0, crpix=(162.0, 81.0))
    pixels = PixelMap(projection, Box.factory[0:163, 0:325])
    vectors = pixels.to_vectors(x=np.array([x, 162.0]), y=np.array([y, 81.0]))
    assert np.all(np.isnan(vectors[0]))
    assert vectors[1] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_points_beyond_the_horizon_have_no_pixel():
    projection = make_projection(ra=0.0, dec=0.0)
    x, y = PixelMap(projection, Box.factory[0:100, 0:100]).from_vectors(
        np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    )
    assert [x[0], y[0]] == pytest.approx([50.0, 50.0])
    assert np.isnan(x[1]) and np.isnan(y[1])


def test_no_points_are_no_points():
    pixels = PixelMap(make_projection(ra=0.0, dec=0.0), Box.factory[0:100, 0:100])
    assert pixels.to_vectors(x=np.empty(0), y=np.empty(0)).shape == (0, 3)
