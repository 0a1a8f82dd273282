"""The detectors of the simulated camera."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._camera import make_detector
from lsst.dax.image.simulation._visit_plan import boresight_pixel

CONFIG = SurveyConfig(detector_grid=(2, 3), detector_shape=(100, 140))


def test_amplifiers_cover_the_detector_once():
    detector = make_detector(CONFIG, 4, visit=7)
    count = np.zeros((100, 140), dtype=int)
    for amplifier in detector.amplifiers:
        count[amplifier.bbox.slice_within(detector.bbox)] += 1
    assert np.all(count == 1)
    assert (detector.id, detector.visit, detector.instrument) == (4, 7, "MiniCam")


def test_boresight_is_the_origin_of_the_focal_plane():
    for number in range(6):
        detector = make_detector(CONFIG, number)
        x, y = boresight_pixel(CONFIG, number)
        point = detector.to_focal_plane.apply_forward(x=x, y=y)
        assert (point.x, point.y) == pytest.approx((0.0, 0.0), abs=1e-9)
        center = detector.to_focal_plane.apply_forward(x=69.5, y=49.5)
        orientation = detector.orientation
        assert (center.x, center.y) == pytest.approx((orientation.focal_plane_x, orientation.focal_plane_y))


def test_scales():
    detector = make_detector(CONFIG, 0)
    x, y = boresight_pixel(CONFIG, 0)
    point = detector.to_focal_plane.apply_forward(x=x + 3, y=y + 5)
    assert (point.x, point.y) == pytest.approx((0.03, 0.05))
    angle = detector.to_field_angle.apply_forward(x=x + 3, y=y + 5)
    arcsec = np.pi / 180 / 3600
    assert (angle.x, angle.y) == pytest.approx((0.6 * arcsec, 1.0 * arcsec))
