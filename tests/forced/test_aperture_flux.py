"""Fluxes within apertures, and the background around them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import dblquad
from scipy.special import j1
from tests.support.forced import make_pixels

from lsst.dax.image._kernels.flux_aperture_nb import find_overlap
from lsst.dax.image.errors import RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import (
    MAX_SINC_RADIUS,
    ApertureRule,
    make_sinc_coefficients,
    measure_apertures,
    measure_local_background,
)

RADII = (3.0, 4.5, 6.0, 9.0, 12.0)


def make_scene(n: int = 60):
    rng = np.random.default_rng(2)
    image = rng.normal(20.0, 10.0, (120, 140))
    variance = rng.uniform(50.0, 150.0, image.shape)
    return image, variance, rng.uniform(15.0, 125.0, n), rng.uniform(15.0, 105.0, n)


@settings(max_examples=60, deadline=None)
@given(st.floats(-6.0, 6.0), st.floats(-6.0, 6.0), st.sampled_from([0.2, 0.5, 0.8, 1.0, 3.0, 4.5, 6.0]))
def test_overlaps_of_all_pixels_add_up_to_the_circle(x: float, y: float, radius: float) -> None:
    steps = np.arange(-14, 15)
    areas = np.array([[find_overlap(i - x, j - y, radius) for i in steps] for j in steps])
    assert_allclose(areas.sum(), math.pi * radius**2, rtol=1e-12)
    assert areas.min() >= 0.0
    assert areas.max() <= 1.0 + 1e-12


@pytest.mark.parametrize(("dx", "dy", "radius"), [(2.7, 1.2, 3.0), (0.3, 0.1, 0.4), (-0.2, 3.0, 3.1)])
def test_overlap_is_the_integral(dx: float, dy: float, radius: float) -> None:
    def bound(x: float, sign: float) -> float:
        edge = math.sqrt(max(0.0, radius**2 - x**2))
        return min(max(sign * edge, dy - 0.5), dy + 0.5)

    expected, _ = dblquad(lambda *_: 1.0, dx - 0.5, dx + 0.5, lambda x: bound(x, -1), lambda x: bound(x, 1))
    assert_allclose(find_overlap(dx, dy, radius), expected, rtol=1e-6)


def test_exact_apertures_equal_those_of_photutils() -> None:
    aperture = pytest.importorskip("photutils.aperture")
    image, variance, x, y = make_scene()
    x[:6], y[:6] = [40.0, 40.5, 40.5, 41.0, 60.0 - 1e-13, 60.5], [30.0, 30.5, 31.0, 30.5, 50.0, 50.5 + 1e-13]
    fluxes = measure_apertures(
        make_pixels(image, variance, x0=7, y0=-3), x=x + 7, y=y - 3, radii=RADII, rule=ApertureRule.EXACT
    )
    for k, radius in enumerate(RADII):
        table = aperture.aperture_photometry(
            image, aperture.CircularAperture(np.column_stack([x, y]), radius), error=np.sqrt(variance)
        )
        assert_allclose(fluxes.flux[:, k], table["aperture_sum"], rtol=1e-12)
        assert_allclose(fluxes.flux_err[:, k], table["aperture_sum_err"], rtol=1e-12)
    assert_allclose(fluxes.area, np.broadcast_to(math.pi * np.array(RADII) ** 2, fluxes.area.shape))
    assert not fluxes.flags.any()


def test_masked_pixels_are_dropped_as_photutils_does() -> None:
    aperture = pytest.importorskip("photutils.aperture")
    image, variance, x, y = make_scene()
    bad = np.random.default_rng(3).random(image.shape) < 0.04
    image[bad] = 1e9
    fluxes = measure_apertures(
        make_pixels(image, variance, bad=bad), x=x, y=y, radii=RADII, rule=ApertureRule.EXACT
    )
    for k, radius in enumerate(RADII):
        circle = aperture.CircularAperture(np.column_stack([x, y]), radius)
        table = aperture.aperture_photometry(image, circle, error=np.sqrt(variance), mask=bad)
        assert_allclose(fluxes.flux[:, k], table["aperture_sum"], rtol=1e-12)
        missing = aperture.aperture_photometry(bad.astype(float), circle)["aperture_sum"]
        assert_allclose(fluxes.masked_fraction[:, k], missing / circle.area, atol=1e-12)


def test_order_and_company_of_radii_change_nothing() -> None:
    image, variance, x, y = make_scene(10)
    pixels = make_pixels(image, variance)
    for rule in ApertureRule:
        together = measure_apertures(pixels, x=x, y=y, radii=RADII[::-1], rule=rule)
        for k, radius in enumerate(RADII[::-1]):
            alone = measure_apertures(pixels, x=x, y=y, radii=[radius], rule=rule)
            assert_allclose(together.flux[:, k], alone.flux[:, 0], rtol=1e-13)
            assert_array_equal(together.flags[:, k], alone.flags[:, 0])


@pytest.mark.parametrize("radius", [3.0, 4.5, 6.0, 9.0])
def test_sinc_coefficients_are_the_transform_of_the_circle(radius: float) -> None:
    # The full complex transform, written out as a sum over all frequencies.
    dx, dy = 0.37, -0.21
    half = 2 ** max(3, math.ceil(math.log2(2 * radius)))
    size = 2 * half - 1
    frequency = np.fft.fftfreq(size)
    k = np.hypot(*np.meshgrid(frequency, frequency))
    with np.errstate(invalid="ignore"):
        transform = np.where(k == 0, math.pi * radius**2, radius * j1(2 * math.pi * radius * k) / k)
    places = np.arange(size) - (half - 1)
    in_x = np.exp(2j * math.pi * np.outer(places - dx, frequency)) / size
    in_y = np.exp(2j * math.pi * np.outer(places - dy, frequency)) / size
    expected = (in_y @ transform @ in_x.T).real
    (found,) = make_sinc_coefficients(radius, dx=np.array([dx]), dy=np.array([dy]))
    assert_allclose(found, expected, atol=1e-12)
    assert_allclose(found.sum(), math.pi * radius**2, rtol=1e-12)


@pytest.mark.parametrize("radius", [3.0, 4.5])
def test_sinc_has_all_the_light_of_a_star_where_the_exact_overlap_loses_some(radius: float) -> None:
    rng = np.random.default_rng(4)
    phase = rng.uniform(-0.5, 0.5, (20, 2))
    sigma = 3.5 / 2.3548
    truth = 1.0 - math.exp(-(radius**2) / (2 * sigma**2))
    rows, columns = np.mgrid[:81, :81] - 40.0
    ratios = {}
    for rule in ApertureRule:
        found = []
        for dx, dy in phase:
            image = np.exp(-((columns - dx) ** 2 + (rows - dy) ** 2) / (2 * sigma**2))
            image /= 2 * math.pi * sigma**2
            fluxes = measure_apertures(
                make_pixels(image, np.ones(image.shape)),
                x=np.array([40 + dx]), y=np.array([40 + dy]), radii=[radius], rule=rule,
            )  # fmt: skip
            found.append(fluxes.flux[0, 0] / truth)
        ratios[rule] = np.array(found)
    assert_allclose(ratios[ApertureRule.SINC], 1.0, atol=2e-4)
    # Spread over pixels once more, the star is wider by the variance of a pixel.
    wider = 1.0 - math.exp(-(radius**2) / (2 * (sigma**2 + 1 / 12)))
    assert_allclose(np.mean(ratios[ApertureRule.EXACT]), wider / truth, atol=3e-4)


def test_beyond_the_largest_sinc_radius_the_overlap_is_exact() -> None:
    image, variance, x, y = make_scene(5)
    pixels = make_pixels(image, variance)
    radius = MAX_SINC_RADIUS + 0.5
    sinc = measure_apertures(pixels, x=x, y=y, radii=[radius], rule=ApertureRule.SINC)
    exact = measure_apertures(pixels, x=x, y=y, radii=[radius], rule=ApertureRule.EXACT)
    assert_array_equal(sinc.flux, exact.flux)


@pytest.mark.parametrize("rule", list(ApertureRule))
def test_a_rule_may_be_given_by_its_value(rule: ApertureRule) -> None:
    image, variance, x, y = make_scene(5)
    pixels = make_pixels(image, variance)
    by_text, by_kind = (
        measure_apertures(pixels, x=x, y=y, radii=[3.0], rule=some) for some in (rule.value, rule)
    )
    assert_array_equal(by_text.flux, by_kind.flux)
    with pytest.raises(RequestError, match=r"The option rule is one of .*, not 'round'"):
        measure_apertures(pixels, x=x, y=y, radii=[3.0], rule="round")


@pytest.mark.parametrize("rule", list(ApertureRule))
def test_circle_off_the_image_has_no_flux(rule: ApertureRule) -> None:
    # Pixels reach half a pixel beyond their centres.
    x = np.array([2.5, 2.499, 116.5, 116.501, -50.0, 1e300, np.nan, 60.0])
    y = np.array([50.0] * 7 + [96.6])
    pixels = make_pixels(np.ones((100, 120)), np.ones((100, 120)))
    fluxes = measure_apertures(pixels, x=x, y=y, radii=[3.0], rule=rule)
    lost = FLAGS["APERTURE_TRUNCATED"].value
    word = fluxes.flags[:, 0] & ~FLAGS["SINC_TRUNCATED"].value
    assert word.tolist() == [0, lost, 0, lost, lost, lost, FLAGS["BAD_POSITION"].value, lost]
    assert np.isnan(fluxes.flux[:, 0]).tolist() == [False, True, False, True, True, True, True, True]
    assert_allclose(fluxes.flux[2, 0], math.pi * 9, rtol=1e-12 if rule is ApertureRule.EXACT else 0.02)


def test_sinc_weights_off_the_image_are_flagged() -> None:
    pixels = make_pixels(np.ones((100, 120)), np.ones((100, 120)))
    fluxes = measure_apertures(pixels, x=np.array([5.0, 60.0]), y=np.array([50.0, 50.0]), radii=[3.0])
    assert fluxes.flags[:, 0].tolist() == [FLAGS["SINC_TRUNCATED"].value, 0]


def test_a_nan_counts_only_where_its_pixel_is_in_the_circle() -> None:
    image = np.ones((60, 60))
    image[30, 35] = np.nan
    pixels = make_pixels(image, np.ones(image.shape))
    fluxes = measure_apertures(
        pixels, x=np.array([30.0]), y=np.array([30.0]), radii=[4.5, 4.51, 6.0], rule=ApertureRule.EXACT
    )
    assert fluxes.flags.tolist() == [[0, FLAGS["NOT_FINITE"].value, FLAGS["NOT_FINITE"].value]]
    assert_allclose(fluxes.flux[0, 0], math.pi * 4.5**2, rtol=1e-12)


def test_background_is_taken_off_by_area_with_its_error() -> None:
    image, variance, x, y = make_scene(6)
    pixels = make_pixels(image, variance)
    bare = measure_apertures(pixels, x=x, y=y, radii=[4.0])
    level, error = np.full(6, 20.0), np.full(6, 0.5)
    net = measure_apertures(pixels, x=x, y=y, radii=[4.0], background=level, background_err=error)
    assert_allclose(net.flux, bare.flux - 20.0 * bare.area, rtol=1e-12)
    assert_allclose(net.flux_err, np.hypot(bare.flux_err, 0.5 * bare.area), rtol=1e-12)


@pytest.mark.parametrize("radii", [[0.0], [3.0, -1.0], [math.nan], [math.inf]])
def test_radii_that_are_none_are_refused(radii: list[float]) -> None:
    pixels = make_pixels(np.ones((9, 9)), np.ones((9, 9)))
    with pytest.raises(RequestError, match=r"positive numbers of pixels; got \["):
        measure_apertures(pixels, x=np.zeros(1), y=np.zeros(1), radii=radii)


def clip_slowly(values: np.ndarray) -> tuple[float, float, int]:
    """Return what three passes of clipping leave, with NumPy."""
    center = np.median(values)
    low, high = np.percentile(values, [25, 75])
    sigma = 0.741301109 * (high - low)
    for _ in range(3):
        kept = values[np.abs(values - center) <= 3 * sigma]
        center, sigma = kept.mean(), kept.std(ddof=1)
    return center, sigma, kept.size


def test_local_background_is_the_clipped_mean_of_whole_pixels() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 8.0, (150, 150))
    image[rng.random(image.shape) < 0.02] += 500.0
    bad = rng.random(image.shape) < 0.01
    image[10:14, 70:80] = np.nan
    x, y, sigma = np.array([75.3, 3.0, 75.0]), np.array([74.6, 4.2, 20.0]), np.array([2.0, 3.0, 2.5])
    around = measure_local_background(
        make_pixels(image, np.ones(image.shape), bad=bad), x=x, y=y, sigma=sigma
    )
    rows, columns = np.indices(image.shape)
    for k in range(3):
        distance = np.hypot(columns - x[k], rows - y[k])
        chosen = (distance >= 7 * sigma[k]) & (distance <= 15 * sigma[k]) & ~bad & np.isfinite(image)
        mean, deviation, count = clip_slowly(image[chosen])
        assert_allclose([around.mean[k], around.standard_deviation[k]], [mean, deviation], rtol=1e-10)
        assert around.n_pixels[k] == count
        assert_allclose(around.error[k], deviation / math.sqrt(count), rtol=1e-10)
    assert abs(around.mean[0] - 100.0) < 1.0


def test_background_without_pixels_is_nan() -> None:
    pixels = make_pixels(np.ones((40, 40)), np.ones((40, 40)))
    nowhere = np.array([500.0, 20.0]), np.array([20.0, 20.0]), np.array([2.0, np.nan])
    around = measure_local_background(pixels, x=nowhere[0], y=nowhere[1], sigma=nowhere[2])
    assert around.n_pixels.tolist() == [0, 0]
    assert np.isnan(around.mean).all()
    assert np.isnan(around.error).all()


def test_annulus_inside_out_is_refused() -> None:
    pixels = make_pixels(np.ones((9, 9)), np.ones((9, 9)))
    with pytest.raises(RequestError, match=r"inner < outer; got 5\.0 and 5\.0"):
        measure_local_background(
            pixels, x=np.zeros(1), y=np.zeros(1), sigma=np.ones(1), inner_factor=5.0, outer_factor=5.0
        )
