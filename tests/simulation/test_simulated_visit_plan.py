"""When and where visits look."""

from __future__ import annotations

import itertools

import astropy.units as u
import numpy as np
import pytest
from lsst.sphgeom import UnitVector3d

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._truth import field_radius_px
from lsst.dax.image.simulation._visit_plan import (
    boresight_pixel,
    detector_bbox,
    detector_region,
    detector_sky_projection,
    detector_wcs,
    focal_plane_radius_px,
    make_visit_plans,
    visit_region,
)

CONFIG = SurveyConfig()
PLANS = make_visit_plans(CONFIG)
FIELDS = [(149.994416, 2.165386), (0.0, -30.0), (210.0, 89.99), (45.0, -89.995)]


def vectors(sky) -> list[UnitVector3d]:
    return [UnitVector3d(*v) for v in np.atleast_2d(np.moveaxis(sky.cartesian.xyz.value, 0, -1))]


def test_visits_spread_over_nights_and_bands():
    assert len(PLANS) == 9
    assert len({p.visit for p in PLANS}) == 9
    assert {p.day_obs for p in PLANS} == {20251101, 20261101, 20271101}
    assert all(a.end < b.begin for a, b in itertools.pairwise(PLANS))
    for plan in PLANS:
        assert (plan.begin - 12 * u.h).strftime("%Y%m%d") == str(plan.day_obs) == str(plan.visit)[:8]
    for band in "gri":
        assert sum(p.band == band for p in PLANS) == 3


def test_more_visits_than_nights_stay_distinct():
    plans = make_visit_plans(SurveyConfig(visits_per_band=5, time_span_days=1))
    assert len({p.visit for p in plans}) == 15
    assert len({p.begin.mjd for p in plans}) == 15


def test_conditions_vary():
    for name in ("fwhm", "sky", "transparency", "rotation"):
        assert len({getattr(p, name) for p in PLANS}) == len(PLANS)


@pytest.mark.parametrize("detector", [0, 1])
def test_boresight_is_at_its_pixel(detector):
    for plan in PLANS:
        x, y = boresight_pixel(CONFIG, detector)
        sky = detector_sky_projection(CONFIG, plan, detector).pixel_to_sky(x=x, y=y)
        assert sky.separation(plan.boresight).to_value(u.arcsec) < 1e-6


def test_rotation_is_the_position_angle_of_y_and_east_is_left():
    for plan in PLANS:
        x, y = boresight_pixel(CONFIG, 0)
        projection = detector_sky_projection(CONFIG, plan, 0)
        center, up, right = projection.pixel_to_sky(x=np.array([x, x, x + 1]), y=np.array([y, y + 1, y]))
        assert center.position_angle(up).deg == pytest.approx(plan.rotation % 360, abs=0.2)
        assert center.position_angle(right).deg == pytest.approx((plan.rotation - 90) % 360, abs=0.2)
        assert center.separation(up).to_value(u.arcsec) == pytest.approx(0.2, rel=5e-3)


def test_distortion_is_a_few_pixels():
    plan = PLANS[0]
    wcs = detector_wcs(CONFIG, plan, 0)
    x, y = np.array([0.0, 255.0]), np.array([0.0, 239.0])
    shift = np.hypot(*(wcs.sip_pix2foc(x, y, 0) - (np.array([x, y]) - (wcs.wcs.crpix - 1)[:, np.newaxis])))
    assert 1.0 < np.max(shift) < 3.0
    assert wcs.sip.a_order == 3


def test_projection_agrees_with_astropy_and_inverts():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 255, 50), rng.uniform(0, 239, 50)
    for plan in PLANS[:2]:
        projection = detector_sky_projection(CONFIG, plan, 1)
        sky = projection.pixel_to_sky(x=x, y=y)
        ra, dec = detector_wcs(CONFIG, plan, 1).all_pix2world(x, y, 0)
        assert np.max(np.abs(sky.ra.deg - ra)) * 3600 < 1e-6
        assert np.max(np.abs(sky.dec.deg - dec)) * 3600 < 1e-6
        back = projection.sky_to_pixel(sky)
        assert np.max(np.abs(back.x - x)) < 1e-6
        assert np.max(np.abs(back.y - y)) < 1e-6


@pytest.mark.parametrize("center", FIELDS)
def test_region_is_the_detector(center):
    config = SurveyConfig(center=center)
    bbox = detector_bbox(config)
    edge = np.linspace(-0.5, 0.5, 41)
    for plan in make_visit_plans(config)[:2]:
        for detector in range(2):
            region = detector_region(config, plan, detector)
            projection = detector_sky_projection(config, plan, detector)

            def outline(grow, bbox=bbox):
                half_x, half_y = bbox.x.size + 2 * grow, bbox.y.size + 2 * grow
                dx = np.concatenate([edge, edge, np.full(41, -0.5), np.full(41, 0.5)]) * half_x
                dy = np.concatenate([np.full(41, -0.5), np.full(41, 0.5), edge, edge]) * half_y
                return bbox.x.center + dx, bbox.y.center + dy

            x, y = outline(0.0)
            assert all(region.contains(v) for v in vectors(projection.pixel_to_sky(x=x, y=y)))
            # Two pixels off: one of padding, and what the bowed edges leave.
            x, y = outline(3.0)
            assert not any(region.contains(v) for v in vectors(projection.pixel_to_sky(x=x, y=y)))
            assert all(visit_region(config, plan).contains(v) for v in region.getVertices())


@pytest.mark.parametrize("grid", [(1, 2), (2, 1), (3, 3)])
def test_visits_stay_in_the_field_and_detectors_apart(grid):
    config = SurveyConfig(detector_grid=grid, detector_shape=(100, 140))
    for plan in make_visit_plans(config):
        regions = [detector_region(config, plan, d) for d in range(config.detector_count)]
        for n, region in enumerate(regions):
            assert all(not region.overlaps(other) for other in regions[:n])
            corner = detector_sky_projection(config, plan, n).pixel_to_sky(
                x=np.array([0, 139, 139, 0]), y=np.array([0, 0, 99, 99])
            )
            separation = corner.separation(config.center_position).to_value(u.arcsec) / 0.2
            assert np.max(separation) < field_radius_px(config)
    assert focal_plane_radius_px(config) < field_radius_px(config)
