"""The simulated visit images against their truth."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._camera import READ_NOISE_ELECTRONS, SATURATION_ELECTRONS
from lsst.dax.image.simulation._scene import make_detector_scene
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit import EDGE_WIDTH_PX, make_visit_image
from lsst.dax.image.simulation._visit_plan import make_visit_plans

CONFIG = SurveyConfig()
TRUTH = make_truth(CONFIG)
PLANS = make_visit_plans(CONFIG)
IMAGES = [(plan, detector) for plan in PLANS for detector in (0, 1)]
WRONG = ("BAD", "SATURATED", "COSMIC_RAY")


def make(plan, detector):
    scene = make_detector_scene(CONFIG, TRUTH, plan, detector)
    return scene, make_visit_image(CONFIG, plan, detector, scene)


def wrong_pixels(image):
    return np.any([image.mask.get(plane) for plane in WRONG], axis=0)


@pytest.fixture(scope="module")
def made():
    """All images of the survey with their scenes, as drawn."""
    return {(plan.visit, detector): make(plan, detector) for plan, detector in IMAGES}


@pytest.fixture(scope="module")
def stars(mini_survey):
    """Measure every clean, isolated star of every stored image."""
    rows = []
    with mini_survey.open() as butler:
        for plan, detector in IMAGES:
            image = butler.get("visit_image", instrument="MiniCam", visit=plan.visit, detector=detector)
            rows += list(measure_stars(mini_survey, plan, image))
    return np.array(rows)


def measure_stars(survey, plan, image):
    """Yield flux pull, x offset, y offset, flux and id of the bright stars of an image."""
    truth = survey.truth
    sky = survey.truth_positions(plan.mid)
    flux = survey.truth_fluxes(plan.band, plan.mid).to_value(u.nJy)
    point = image.sky_projection.sky_to_pixel(sky)
    bad = wrong_pixels(image)
    for row in np.flatnonzero(np.isin(truth["kind"], ("star", "proper_motion", "variable"))):
        x, y = float(point.x[row]), float(point.y[row])
        if not (14 <= x <= 241 and 14 <= y <= 225 and flux[row] > 20e3):
            continue
        model = image.psf.compute_stellar_image(x=x, y=y)
        here = model.bbox.slice_within(image.bbox)
        if np.any(bad[here]):
            continue
        data, variance = image.image.array[here], image.variance.array[here]
        weight = model.array / variance
        norm = np.sum(weight * model.array)
        correction = image.aperture_corrections["base_PsfFlux_instFlux"](x=np.array([x]), y=np.array([y]))[0]
        fitted = np.sum(weight * data) / norm
        error = 1.0 / np.sqrt(norm)
        residual = data - fitted * model.array
        # One step of Newton's method for the position, from the truth.
        gradient_y, gradient_x = np.gradient(model.array)
        dx, dy = (
            -np.sum(residual * g / variance) / np.sum(fitted * g * g / variance)
            for g in (gradient_x, gradient_y)
        )
        yield (fitted * correction - flux[row]) / error, dx, dy, flux[row], row


def test_same_pixels_in_any_order(made):
    for plan, detector in (IMAGES[11], IMAGES[2]):
        _, again = make(plan, detector)
        _, first = made[plan.visit, detector]
        assert np.array_equal(again.image.array, first.image.array)
        assert np.array_equal(again.mask.array, first.mask.array)


def test_seed_and_detector_change_the_noise(made):
    scene, image = made[PLANS[0].visit, 0]
    other = make_visit_image(SurveyConfig(seed=5), PLANS[0], 0, scene)
    correlation = np.corrcoef(
        (image.image.array - scene.model)[50:60, 50:150].ravel(),
        (other.image.array - scene.model)[50:60, 50:150].ravel(),
    )
    assert abs(correlation[0, 1]) < 0.15


def test_stored_image_is_the_drawn_one(made, mini_butler):
    for plan, detector in (IMAGES[0], IMAGES[17]):
        _, drawn = made[plan.visit, detector]
        stored = mini_butler.get("visit_image", instrument="MiniCam", visit=plan.visit, detector=detector)
        assert np.array_equal(stored.mask.array, drawn.mask.array)
        assert stored.sky_projection == drawn.sky_projection
        # Quantized in steps of a sixteenth of the noise that it finds in a row.
        step = np.sqrt(np.median(drawn.variance.array)) / 16
        assert np.max(np.abs(stored.image.array - drawn.image.array)) < step
        np.testing.assert_allclose(stored.variance.array, drawn.variance.array, rtol=0.01)
        kernel = drawn.psf.compute_kernel_image(x=33.0, y=200.0).array
        np.testing.assert_allclose(stored.psf.compute_kernel_image(x=33.0, y=200.0).array, kernel, atol=1e-12)


def test_noise_has_the_variance_of_the_plane(made):
    pulls = []
    for scene, image in made.values():
        pull = (image.image.array - scene.model) / np.sqrt(image.variance.array)
        pulls.append(pull[~wrong_pixels(image)])
    pull = np.concatenate(pulls)
    # A million pixels: the mean is known to 0.001, the scatter to 0.0007.
    assert np.mean(pull) == pytest.approx(0.0, abs=0.004)
    assert np.std(pull) == pytest.approx(1.0, abs=0.003)
    assert np.max(np.abs(pull)) < 6.5


def test_blank_sky_scatters_by_the_variance(made):
    for scene, image in made.values():
        blank = (scene.model < 0.1) & ~wrong_pixels(image)
        pixels, variance = image.image.array[blank], image.variance.array[blank]
        assert np.var(pixels) == pytest.approx(np.mean(variance), rel=0.05)


def test_variance_is_photon_and_read_noise(made):
    for scene, image in made.values():
        scale = image.photometric_scaling.render(image.bbox).array
        sky = image.backgrounds.subtracted.field.render(image.bbox).array
        expected = ((scene.model + sky) / scale + READ_NOISE_ELECTRONS**2) * scale**2
        good = ~image.mask.get("BAD")
        np.testing.assert_allclose(image.variance.array[good], expected[good], rtol=1e-5)


def test_stars_have_their_flux(stars):
    pull = stars[:, 0]
    assert len(pull) > 50
    assert np.mean(pull) == pytest.approx(0.0, abs=4 / np.sqrt(len(pull)))
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)


def test_stars_are_at_their_place(stars):
    dx, dy = stars[:, 1], stars[:, 2]
    assert abs(np.mean(dx)) < 0.01
    assert abs(np.mean(dy)) < 0.01
    assert np.max(np.hypot(dx, dy)) < 0.15


def test_saturated_star_is_clipped_and_flagged(made):
    seen = 0
    for scene, image in made.values():
        saturated = image.mask.get("SATURATED")
        scale = image.photometric_scaling.render(image.bbox).array
        sky = image.backgrounds.subtracted.field.render(image.bbox).array
        electrons = (image.image.array + sky) / scale
        good = ~image.mask.get("BAD")
        assert np.max(electrons[good]) < SATURATION_ELECTRONS * (1 + 1e-4)
        # All of the centre of the star is flagged, and nothing but it.
        assert np.all(saturated[(scene.model + sky) / scale > 1.02 * SATURATION_ELECTRONS])
        assert not np.any(saturated[(scene.model + sky) / scale < 0.95 * SATURATION_ELECTRONS])
        seen += np.count_nonzero(saturated) > 5
    assert seen >= 6


def test_bad_columns_are_the_detectors_and_interpolated(made):
    columns = {0: set(), 1: set()}
    for (_, detector), (_, image) in made.items():
        bad = image.mask.get("BAD")
        assert np.array_equal(bad, np.broadcast_to(bad[0], bad.shape))
        (column,) = np.flatnonzero(bad[0])
        columns[detector].add(int(column))
        assert np.array_equal(image.mask.get("INTERPOLATED"), bad)
        mean = 0.5 * (image.image.array[:, column - 1] + image.image.array[:, column + 1])
        np.testing.assert_allclose(image.image.array[:, column], mean, rtol=1e-4, atol=1e-2)
    assert all(len(found) == 1 for found in columns.values())
    assert columns[0] != columns[1]


def test_cosmic_rays_are_flagged_and_bright(made):
    for scene, image in made.values():
        rays = image.mask.get("COSMIC_RAY") & ~image.mask.get("BAD")
        assert np.any(rays)
        pull = (image.image.array - scene.model) / np.sqrt(image.variance.array)
        assert np.median(pull[rays]) > 10
    assert len({np.count_nonzero(image.mask.get("COSMIC_RAY")) for _, image in made.values()}) > 5


def test_edge_and_detected_planes(made):
    scene, image = made[PLANS[0].visit, 0]
    edge = image.mask.get("DETECTION_EDGE")
    assert np.count_nonzero(~edge) == (240 - 2 * EDGE_WIDTH_PX) * (256 - 2 * EDGE_WIDTH_PX)
    detected = image.mask.get("DETECTED")
    assert np.min(scene.model[detected]) > np.max(scene.model[~detected])


def test_calibration_leads_back_to_electrons(made):
    plan = PLANS[0]
    _, image = made[plan.visit, 1]
    electrons = image.convert_unit(u.electron)
    scale = image.photometric_scaling.render(image.bbox).array
    np.testing.assert_allclose(electrons.image.array, image.image.array / scale, rtol=1e-5)
    assert np.ptp(scale) / np.mean(scale) > 0.01
    assert image.summary_stats.zeroPoint == pytest.approx(31.4 - 2.5 * np.log10(np.mean(scale)), abs=1e-6)


def test_summary_statistics_are_those_of_the_image(made):
    for plan, detector in (IMAGES[3], IMAGES[12]):
        scene, image = made[plan.visit, detector]
        stats = image.summary_stats
        corners = SkyCoord(list(stats.raCorners), list(stats.decCorners), unit="deg")
        point = image.sky_projection.sky_to_pixel(corners)
        assert point.x == pytest.approx([-0.5, 255.5, 255.5, -0.5], abs=1e-4)
        assert point.y == pytest.approx([-0.5, -0.5, 239.5, 239.5], abs=1e-4)
        blank = (scene.model < 0.1) & ~wrong_pixels(image)
        electrons = image.convert_unit(u.electron).image.array[blank]
        assert stats.skyNoise == pytest.approx(np.std(electrons), rel=0.05)
        assert stats.psfSigma == pytest.approx((stats.psfIxx * stats.psfIyy - stats.psfIxy**2) ** 0.25)


def test_observation_is_the_planned_one(made):
    plan, detector = IMAGES[7]
    _, image = made[plan.visit, detector]
    info = image.obs_info
    assert (info.visit_id, info.detector_num, info.physical_filter) == (
        plan.visit,
        detector,
        plan.physical_filter,
    )
    assert abs((info.datetime_begin - plan.begin).to_value(u.s)) < 1e-6
    assert info.tracking_radec.separation(plan.boresight).to_value(u.arcsec) < 1e-6
    assert image.detector.visit == plan.visit
    assert (image.band, image.detector.id) == (plan.band, detector)


def test_moving_star_moves_and_transient_comes_last(made, mini_survey):
    moving, transient = (int(np.flatnonzero(TRUTH["kind"] == k)[0]) for k in ("proper_motion", "transient"))
    sky = {}
    for plan, detector in IMAGES:
        _, image = made[plan.visit, detector]
        point = image.sky_projection.sky_to_pixel(mini_survey.truth_positions(plan.mid))
        x, y = float(point.x[moving]), float(point.y[moving])
        if 10 < x < 245 and 10 < y < 229:
            box = np.s_[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
            pixels = np.clip(image.image.array[box], 0, None) ** 2
            row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
            sky[plan.visit] = image.sky_projection.pixel_to_sky(
                x=float(column + round(x) - 8), y=float(row + round(y) - 8)
            )
        x, y = round(float(point.x[transient])), round(float(point.y[transient]))
        if 5 < x < 250 and 5 < y < 234 and not wrong_pixels(image)[y, x]:
            significance = image.image.array[y, x] / np.sqrt(image.variance.array[y, x])
            assert (significance > 8) == (plan.day_obs == 20271101)
    first, last = sky[min(sky)], sky[max(sky)]
    assert first.separation(last).to_value(u.arcsec) == pytest.approx(np.hypot(1.5, 1.0) * 2.0, abs=0.25)
    assert first.position_angle(last).deg == pytest.approx(303.7, abs=5)


def test_summary_statistics_say_how_good_an_image_is(made):
    """Sources do not count in the variance of the sky, and effective time goes as the inverse variance."""
    plan, detector = IMAGES[1]
    stats = made[plan.visit, detector][1].summary_stats
    # Truth of the plan: electrons of the sky and of the readout.
    nanojansky = 10.0 ** ((31.4 - stats.zeroPoint) / 2.5)
    sky = plan.sky * CONFIG.pixel_scale**2 / nanojansky
    # Wings of the sources add a few percent to the sky.
    assert 1.0 < stats.meanVar / (sky + READ_NOISE_ELECTRONS**2) < 1.05
    assert stats.effTime == pytest.approx(
        stats.expTime * stats.effTimePsfSigmaScale * stats.effTimeSkyBgScale * stats.effTimeZeroPointScale
    )
    # Compared with a clear dark night, transparency counts squared in signal, once more in a darker sky.
    assert stats.effTimeZeroPointScale == pytest.approx(plan.transparency**2, rel=0.02)
