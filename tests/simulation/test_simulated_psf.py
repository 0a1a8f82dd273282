"""The analytic PSF and its persisted form."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._psf import (
    GRID_SIZE,
    STAMP_SIZE,
    MoffatField,
    make_aperture_correction,
    make_piff_psf,
    make_psf_picture,
)
from lsst.dax.image.simulation._visit_plan import detector_bbox, make_visit_plans

CONFIG = SurveyConfig()
PLANS = make_visit_plans(CONFIG)
BBOX = detector_bbox(CONFIG)


def make_psf(field: MoffatField):
    return make_piff_psf(field, bbox=BBOX, pixel_scale=0.2, stars=[(10.0, 20.0)])


def draw_star(field: MoffatField, *, x: float, y: float, bbox: Box) -> np.ndarray:
    image = galsim.ImageD(np.zeros(bbox.shape), xmin=bbox.x.min, ymin=bbox.y.min, scale=1.0)
    field.profile(x=x, y=y).drawImage(image=image, center=galsim.PositionD(x, y), method="no_pixel")
    return image.array


@pytest.mark.parametrize("detector", [0, 1])
@pytest.mark.parametrize("plan", PLANS, ids=lambda p: str(p.visit))
def test_persisted_psf_is_the_analytic_one_to_a_thousandth(plan, detector):
    field = MoffatField.of_visit(CONFIG, plan, detector)
    psf = make_psf(field)
    # No position at a half pixel: there PiffWrapper rounds its box up and
    # Piff its stamp down.
    for x, y in ((3.2, 5.9), (250.7, 12.3), (127.9, 119.6), (40.25, 230.75), (251.0, 236.0)):
        enclosed = np.sum(make_psf_picture(field, x=x, y=y, size=GRID_SIZE))
        stellar = psf.compute_stellar_image(x=x, y=y)
        expected = draw_star(field, x=x, y=y, bbox=stellar.bbox) / enclosed
        assert np.max(np.abs(stellar.array - expected)) < 1e-3 * np.max(expected)
        kernel = psf.compute_kernel_image(x=x, y=y)
        assert kernel.bbox == Box.factory[-13:14, -13:14]
        expected = make_psf_picture(field, x=x, y=y, size=STAMP_SIZE) / enclosed
        assert np.max(np.abs(kernel.array - expected)) < 1e-3 * np.max(expected)


def test_psf_changes_over_the_detector_by_more_than_that():
    field = MoffatField.of_visit(CONFIG, PLANS[0], 0)
    psf = make_psf(field)
    left, right = (psf.compute_kernel_image(x=x, y=120.0).array for x in (0.0, 255.0))
    low, high = (psf.compute_kernel_image(x=128.0, y=y).array for y in (0.0, 239.0))
    assert np.max(np.abs(left - right)) > 5e-3 * np.max(left)
    assert np.max(np.abs(low - high)) > 5e-3 * np.max(low)


def test_psf_is_continuous_across_detectors():
    fields = [MoffatField.of_visit(CONFIG, PLANS[0], d) for d in (0, 1)]
    # Detector 1 begins 12 pixels right of where detector 0 ends.
    assert fields[0].parameters(x=268.0, y=50.0) == pytest.approx(fields[1].parameters(x=0.0, y=50.0))


def test_star_has_unit_flux_and_its_centre():
    field = MoffatField.of_visit(CONFIG, PLANS[3], 1)
    bbox = Box.factory[0:301, 0:401]
    image = draw_star(field, x=200.5, y=150.25, bbox=bbox)
    y, x = np.mgrid[0:301, 0:401]
    # GalSim ends a Moffat profile where 1e-5 of the flux is left.
    assert np.sum(image) == pytest.approx(1.0, abs=1.1e-5)
    total = np.sum(image)
    assert np.sum(image * x) / total == pytest.approx(200.5, abs=1e-3)
    assert np.sum(image * y) / total == pytest.approx(150.25, abs=1e-3)


def test_moments_are_those_of_the_picture():
    field = MoffatField.of_visit(CONFIG, PLANS[5], 0)
    image = make_psf_picture(field, x=30.0, y=200.0, size=501)
    y, x = np.mgrid[-250:251, -250:251]
    measured = [np.sum(image * a * b) for a, b in ((x, x), (y, y), (x, y))]
    # The tail beyond the picture holds a part in a thousand of the moments.
    assert field.moments(x=30.0, y=200.0) == pytest.approx(measured, rel=2e-3, abs=2e-3)


def test_full_width_at_half_maximum():
    field = MoffatField(fwhm_px=4.0)
    picture = make_psf_picture(field, x=0.0, y=0.0, size=9)
    assert picture[4, 6] / picture[4, 4] == pytest.approx(0.5, rel=1e-6)


def test_aperture_correction_turns_psf_flux_into_total_flux():
    field = MoffatField.of_visit(CONFIG, PLANS[2], 0)
    psf, correction = make_psf(field), make_aperture_correction(field, bbox=BBOX)
    assert psf.piff_psf.stars[0].image_pos.x == 10.0
    for x, y in ((60.3, 50.1), (200.8, 180.4)):
        model = psf.compute_stellar_image(x=x, y=y)
        star = 1000.0 * draw_star(field, x=x, y=y, bbox=model.bbox)
        flux = np.sum(star * model.array) / np.sum(model.array**2)
        assert flux < 1000.0
        total = flux * correction(x=np.array([x]), y=np.array([y]))[0]
        assert total == pytest.approx(1000.0, rel=2e-4)
