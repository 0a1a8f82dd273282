"""The simulated difference images against their truth."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from scipy.ndimage import maximum_filter

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._difference import KERNEL_SIZE, make_matching_kernel, template_psf
from lsst.dax.image.simulation._psf import GRID_SIZE, MoffatField, make_psf_picture
from lsst.dax.image.simulation._visit_plan import detector_bbox, make_visit_plans

CONFIG = SurveyConfig()
PLANS = make_visit_plans(CONFIG)
BAD = ("BAD", "SATURATED", "COSMIC_RAY", "NO_DATA")


@pytest.fixture(scope="module")
def images(mini_survey):
    """All differences with their visit images."""
    found = {}
    with mini_survey.open() as butler:
        for plan in mini_survey.visits:
            for detector in (0, 1):
                key = {"instrument": "MiniCam", "visit": plan.visit, "detector": detector}
                found[plan, detector] = (butler.get("difference_image", key), butler.get("visit_image", key))
    return found


def bad_pixels(image):
    return np.any([image.mask.get(plane) for plane in BAD], axis=0)


def psf_flux(image, *, x, y):
    """Return the PSF flux at a position and its error, or None where it has bad pixels."""
    inner = Box.factory[15:225, 15:241]
    if not inner.contains(x=x, y=y):
        return None
    model = image.psf.compute_stellar_image(x=x, y=y)
    here = model.bbox.slice_within(image.bbox)
    if np.any(bad_pixels(image)[here]):
        return None
    weight = model.array / image.variance.array[here]
    norm = np.sum(weight * model.array)
    correction = image.aperture_corrections["base_PsfFlux_instFlux"](x=np.array([x]), y=np.array([y]))[0]
    return correction * np.sum(weight * image.image.array[here]) / norm, correction / np.sqrt(norm)


def measure(survey, images, kinds):
    """Yield plan, row, flux pull against the truth, and flux over error."""
    rows = np.flatnonzero(np.isin(survey.truth["kind"], kinds))
    for (plan, _), (image, _) in images.items():
        point = image.sky_projection.sky_to_pixel(survey.truth_positions(plan.mid))
        now, then = (survey.truth_fluxes(plan.band, time) for time in (plan.mid, survey.template_time))
        for row in rows:
            found = psf_flux(image, x=float(point.x[row]), y=float(point.y[row]))
            if found is not None:
                flux, error = found
                yield plan, row, (flux - (now - then)[row].to_value(u.nJy)) / error, flux / error


def test_constant_stars_vanish(mini_survey, images):
    pulls = np.array([pull for _, _, pull, _ in measure(mini_survey, images, ("star", "pair", "galaxy"))])
    assert len(pulls) > 200
    assert np.mean(pulls) == pytest.approx(0.0, abs=4 / np.sqrt(len(pulls)))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)


def test_transient_is_positive_and_has_its_flux(mini_survey, images):
    found = list(measure(mini_survey, images, ("transient",)))
    late = [item for item in found if item[0].day_obs == 20271101]
    early = [item for item in found if item[0].day_obs != 20271101]
    assert len(late) >= 2
    assert len(early) >= 3
    assert min(significance for *_, significance in late) > 20
    assert max(abs(significance) for *_, significance in early) < 5
    assert max(abs(pull) for _, _, pull, _ in found) < 5


def test_variable_has_the_sign_of_its_change(mini_survey, images):
    found = list(measure(mini_survey, images, ("variable",)))
    assert len(found) >= 5
    assert max(abs(pull) for _, _, pull, _ in found) < 5
    assert any(significance > 10 for *_, significance in found)
    assert any(significance < -10 for *_, significance in found)


def test_moving_star_is_a_dipole(mini_survey, images):
    row = int(np.flatnonzero(mini_survey.truth["kind"] == "proper_motion")[0])
    pairs = 0
    for (plan, _), (image, _) in images.items():
        if plan.day_obs == 20251101:
            continue
        now, then = (
            image.sky_projection.sky_to_pixel(mini_survey.truth_positions(time)[row : row + 1])
            for time in (plan.mid, mini_survey.template_time)
        )
        fluxes = [psf_flux(image, x=float(p.x[0]), y=float(p.y[0])) for p in (now, then)]
        if None in fluxes:
            continue
        pairs += 1
        assert fluxes[0][0] > 20 * fluxes[0][1]
        assert fluxes[1][0] < -20 * fluxes[1][1]
        x, y = round(float(then.x[0])), round(float(then.y[0]))
        assert image.mask.get("DETECTED_NEGATIVE")[y, x]
    assert pairs >= 3


def test_noise_is_that_of_visit_and_template(images):
    for difference, visit_image in images.values():
        good = ~bad_pixels(difference) & ~difference.mask.get("DETECTED")
        pull = difference.image.array[good] / np.sqrt(difference.variance.array[good])
        assert np.mean(pull) == pytest.approx(0.0, abs=0.03)
        assert np.std(pull) == pytest.approx(1.0, abs=0.03)
        # A template as deep as twenty visits adds a few percent.
        ratio = np.median(difference.variance.array[good] / visit_image.variance.array[good])
        assert 1.01 < ratio < 1.08
        # The science pixels are the same realization.
        blank = good & ~visit_image.mask.get("DETECTED")
        together = np.corrcoef(difference.image.array[blank], visit_image.image.array[blank])
        assert together[0, 1] > 0.95


def test_noise_is_white(images):
    products = []
    for difference, visit_image in images.values():
        stars = difference.mask.get("DETECTED") | visit_image.mask.get("DETECTED")
        good = ~bad_pixels(difference) & ~stars
        pull = np.where(good, difference.image.array / np.sqrt(difference.variance.array), 0.0)
        pairs = good[:, 1:] & good[:, :-1]
        products.append(np.sum(pull[:, 1:] * pull[:, :-1]) / np.sum(pairs))
    # Without the filter the blurred template's noise makes 1 to 2 percent.
    assert np.mean(products) == pytest.approx(0.0, abs=0.006)


def test_no_data_where_the_kernel_leaves_the_templates(mini_survey, images):
    reach = KERNEL_SIZE // 2 + 4  # the Lanczos kernel's, too
    for difference, _ in images.values():
        x, y = np.meshgrid(np.arange(256.0), np.arange(240.0))
        outside = np.ones((240, 256), dtype=bool)
        for info in difference.templates:
            assert info.patch in mini_survey.patches
            assert (info.skymap, info.tract) == (mini_survey.skymap, mini_survey.tract)
            outside &= ~np.asarray(info.bounds.contains(x=x, y=y))
        missing = difference.mask.get("NO_DATA")
        assert not np.any(outside & ~missing)
        # The outlines end at the detector, where the templates may do so a bit later.
        edge = np.pad(np.zeros((238, 254), dtype=bool), 1, constant_values=True)
        near = maximum_filter(outside | (edge & missing), 2 * reach + 1)
        assert not np.any(missing & ~near)
        assert np.array_equal(np.isnan(difference.image.array), missing)
        assert np.array_equal(np.isnan(difference.variance.array), missing)


def test_templates_are_datasets_of_the_repository(mini_butler, images):
    for (plan, _), (difference, _) in images.items():
        for info in difference.templates:
            ref = mini_butler.get_dataset(info.dataset_id)
            assert ref.datasetType.name == "template_coadd"
            assert (ref.dataId["patch"], ref.dataId["band"], ref.run) == (
                info.patch,
                plan.band,
                info.dataset_run,
            )


@pytest.mark.parametrize("plan", PLANS[::2], ids=lambda p: str(p.visit))
def test_kernel_turns_the_template_psf_into_the_visits(plan):
    bbox = detector_bbox(CONFIG)
    science = MoffatField.of_visit(CONFIG, plan, 1)
    kernel = make_matching_kernel(CONFIG, science, bbox)
    assert kernel.kernel_bbox.shape == (KERNEL_SIZE, KERNEL_SIZE)
    size = 101
    template = make_psf_picture(template_psf(CONFIG), x=0.0, y=0.0, size=size)
    for x, y in ((0, 0), (255, 10), (130, 120), (37, 239)):
        picture = kernel.compute_kernel_image(x=x, y=y).array
        assert np.sum(picture) == pytest.approx(1.0, abs=1e-3)
        padded = np.zeros((size, size))
        start = size // 2 - KERNEL_SIZE // 2
        padded[start : start + KERNEL_SIZE, start : start + KERNEL_SIZE] = picture
        shifted = np.fft.ifftshift(padded)
        matched = np.real(np.fft.ifft2(np.fft.fft2(template) * np.fft.fft2(shifted)))
        expected = make_psf_picture(science, x=x, y=y, size=size)
        core = slice(size // 2 - GRID_SIZE // 2, size // 2 + GRID_SIZE // 2 + 1)
        assert np.max(np.abs(matched[core, core] - expected[core, core])) < 2e-3 * np.max(expected)


def test_stored_kernel_is_the_made_one(images):
    plan, detector = PLANS[4], 1
    (difference, _) = next(pair for (p, d), pair in images.items() if p.visit == plan.visit and d == detector)
    made = make_matching_kernel(CONFIG, MoffatField.of_visit(CONFIG, plan, detector), detector_bbox(CONFIG))
    for x, y in ((10, 200), (222, 31)):
        stored = difference.kernel.compute_kernel_image(x=x, y=y).array
        np.testing.assert_allclose(stored, made.compute_kernel_image(x=x, y=y).array, atol=1e-12)
