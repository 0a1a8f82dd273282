"""Drawing of stars and galaxies without noise."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._draw import draw_sources, locate_sources
from lsst.dax.image.simulation._psf import MoffatField
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit_plan import detector_sky_projection, make_visit_plans

CONFIG = SurveyConfig()
PLAN = make_visit_plans(CONFIG)[4]
PROJECTION = detector_sky_projection(CONFIG, PLAN, 0)
BBOX = Box.factory[0:240, 0:256]
ROUND = MoffatField(fwhm_px=4.0)


def one_source(*, x, y, flux=1000.0, radius=0.0, axis_ratio=1.0, position_angle=0.0, index=1.0):
    truth = make_truth(CONFIG)[:1]
    truth["half_light_radius"] = [radius] * u.arcsec
    truth["axis_ratio"], truth["sersic_index"] = [axis_ratio], [index]
    truth["position_angle"] = [position_angle] * u.deg
    sky = PROJECTION.pixel_to_sky(x=np.array([x]), y=np.array([y]))
    return locate_sources(truth, sky, [flux] * u.nJy, sky_projection=PROJECTION, bbox=BBOX)


def moments(image):
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(float)
    total = np.sum(image)
    cx, cy = np.sum(image * x) / total, np.sum(image * y) / total
    xx, yy, xy = (
        np.sum(image * (a - ca) * (b - cb)) / total
        for a, ca, b, cb in ((x, cx, x, cx), (y, cy, y, cy), (x, cx, y, cy))
    )
    return total, cx, cy, xx, yy, xy


@pytest.mark.parametrize(("x", "y"), [(100.0, 150.0), (100.5, 149.5), (71.3, 120.8)])
def test_star_has_its_flux_at_its_place(x, y):
    image = draw_sources(one_source(x=x, y=y), psf=ROUND, bbox=BBOX)
    total, cx, cy, *_ = moments(image)
    assert total == pytest.approx(1000.0, rel=2e-5)
    assert (cx, cy) == pytest.approx((x, y), abs=1e-3)


@pytest.mark.parametrize(("index", "tolerance"), [(1.0, 1e-3), (2.0, 5e-3)])
@pytest.mark.parametrize("axis_ratio", [1.0, 0.45])
def test_galaxy_has_its_flux_at_its_place(index, tolerance, axis_ratio):
    source = one_source(x=120.5, y=110.25, radius=0.6, index=index, axis_ratio=axis_ratio)
    total, cx, cy, *_ = moments(draw_sources(source, psf=ROUND, bbox=BBOX))
    assert total == pytest.approx(1000.0, rel=tolerance)
    assert (cx, cy) == pytest.approx((120.5, 110.25), abs=5e-3)


@pytest.mark.parametrize("position_angle", [0.0, 30.0, 75.0, 140.0])
def test_galaxy_has_its_shape_on_the_sky(position_angle):
    radius, axis_ratio = 0.6, 0.5
    source = one_source(x=128.0, y=120.0, radius=radius, axis_ratio=axis_ratio, position_angle=position_angle)
    _, cx, cy, xx, yy, xy = moments(draw_sources(source, psf=ROUND, bbox=BBOX))
    psf_moment = ROUND.moments(x=0.0, y=0.0)[0]
    values, axes = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]) - psf_moment * np.eye(2))
    # An exponential disc of scale length h has second moments 3 h**2 per axis,
    # and its half-light radius is 1.67835 h.
    scale_length = radius / 1.67835 / 0.2
    assert values[1] == pytest.approx(3 * scale_length**2 / axis_ratio, rel=0.03)
    assert values[0] == pytest.approx(3 * scale_length**2 * axis_ratio, rel=0.03)
    end_x, end_y = np.array([cx, cy]) + 10 * axes[:, 1]
    sky = PROJECTION.pixel_to_sky(x=np.array([cx, end_x]), y=np.array([cy, end_y]))
    found = sky[0].position_angle(sky[1]).deg % 180
    assert abs((found - position_angle + 90) % 180 - 90) < 1.0


def test_part_of_an_image_is_the_same_pixels():
    truth = make_truth(CONFIG)
    sources = locate_sources(
        truth,
        PROJECTION.pixel_to_sky(x=np.linspace(-60, 320, len(truth)), y=np.linspace(-50, 290, len(truth))),
        truth["flux_r"],
        sky_projection=PROJECTION,
        bbox=BBOX,
    )
    psf = MoffatField.of_visit(CONFIG, PLAN, 0)
    whole = draw_sources(sources, psf=psf, bbox=BBOX)
    part = Box.factory[50:120, 30:200]
    piece = draw_sources(sources, psf=psf, bbox=part)
    expected = whole[part.slice_within(BBOX)]
    # Only galaxies, whose convolution is made in Fourier space, depend on the
    # stamp, and less than any noise.
    assert np.max(np.abs(piece - expected)) < 0.05


def test_drawing_is_linear_in_flux():
    faint, bright = (
        draw_sources(one_source(x=90.0, y=80.0, flux=f), psf=ROUND, bbox=BBOX) for f in (1.0, 3e6)
    )
    np.testing.assert_allclose(bright[70:91, 80:101], 3e6 * faint[70:91, 80:101], rtol=1e-6)


def test_sources_without_flux_or_far_away_are_left_out():
    assert len(one_source(x=100.0, y=100.0, flux=0.0).x) == 0
    assert len(one_source(x=700.0, y=100.0).x) == 0
    halo = one_source(x=-5.0, y=100.0)
    assert 0 < np.sum(draw_sources(halo, psf=ROUND, bbox=BBOX)) < 100.0
