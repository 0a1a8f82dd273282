"""PSF fluxes at fixed positions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.forced import add_stars, fit_psf_slowly, make_gaussian_stamps, make_pixels

from lsst.dax.image.errors import RequestError
from lsst.dax.image.flags import FLAGS, flag_names
from lsst.dax.image.forced import Background, Weights, fit_psf_flux, measure_local_background

SIGMA = 1.7
FIELDS = ("flux", "flux_err", "chi2", "area", "n_pixels", "masked_fraction")


def make_scene(*, n: int = 40, seed: int = 5, dtype: type = np.float64):
    """Return noisy pixels with bad ones, and pictures that reach over the edge."""
    rng = np.random.default_rng(seed)
    image = rng.normal(50.0, 30.0, (70, 90)).astype(dtype)
    variance = rng.uniform(100.0, 900.0, image.shape).astype(dtype)
    x = rng.uniform(990.0, 1105.0, n)
    y = rng.uniform(-15.0, 80.0, n)
    x[:4] = [1020.0, 1020.5, 1021.0 - 1e-12, 1030.5]  # half pixels, and next to one
    y[:4] = [30.0, 30.5, 31.5, 30.0]
    return image, variance, rng.random(image.shape) < 0.05, make_gaussian_stamps(x, y)


def test_choices_may_be_given_by_their_values() -> None:
    image, variance, _, stamps = make_scene()
    pixels = make_pixels(image, variance, x0=1000, y0=3)
    for texts, kinds in (
        ({"weights": "none"}, {"weights": Weights.NONE}),
        ({"weights": "flat", "background": "fit"}, {"weights": Weights.FLAT, "background": Background.FIT}),
    ):
        one, other = (fit_psf_flux(pixels, stamps, **options) for options in (texts, kinds))
        assert_array_equal(one.flux, other.flux)
        assert_array_equal(one.flux_err, other.flux_err)
    with pytest.raises(RequestError, match=r"The option weights is one of .*, not 'sky'"):
        fit_psf_flux(pixels, stamps, weights="sky")
    # It would be taken for none.
    with pytest.raises(RequestError, match="pass its LocalBackground"):
        fit_psf_flux(pixels, stamps, background=Background.ANNULUS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("drops", [False, True])
def test_all_numbers_equal_the_slow_reference(dtype: type, drops: bool) -> None:
    image, variance, bad, stamps = make_scene(dtype=dtype)
    if drops:
        image[20:23, 30] = np.nan
        variance[40, 50:60] = np.inf
    pixels = make_pixels(image, variance, bad=bad if drops else None, x0=1000, y0=3)
    fluxes = fit_psf_flux(pixels, stamps)
    measured = np.flatnonzero(fluxes.n_pixels)
    assert 20 < measured.size < len(stamps)
    for k in measured:
        expected = fit_psf_slowly(pixels, stamps, k)
        for field in FIELDS:
            assert_allclose(getattr(fluxes, field)[k], expected[field], rtol=1e-12, atol=1e-12, err_msg=field)


def test_noiseless_gaussian_star_has_its_flux_and_the_error_of_theory() -> None:
    # Sampled finely, sum m² is the integral 1 / (4 pi sigma²), so the error is
    # sqrt(4 pi) sigma times that of a pixel, and the area 4 pi sigma².
    stamps = make_gaussian_stamps(np.array([40.3]), np.array([39.8]), sigma=SIGMA, half=20)
    image = add_stars(np.zeros((80, 80)), stamps, np.array([1234.5]))
    fluxes = fit_psf_flux(make_pixels(image, np.full(image.shape, 9.0)), stamps)
    assert_allclose(fluxes.flux, 1234.5, rtol=1e-12)
    assert_allclose(fluxes.flux_err, 3.0 * math.sqrt(4.0 * math.pi) * SIGMA, rtol=1e-6)
    assert_allclose(fluxes.area, 4.0 * math.pi * SIGMA**2, rtol=1e-6)
    assert_allclose(fluxes.chi2, 0.0, atol=1e-6)
    assert_allclose(fluxes.masked_fraction, 0.0, atol=1e-12)
    assert fluxes.flags.tolist() == [0]


def test_loss_by_a_wrong_position_is_that_of_theory() -> None:
    # exp(-d² / 4 sigma²) for a Gaussian.
    stamps = make_gaussian_stamps(np.array([40.0]), np.array([40.0]), sigma=2.0, half=20)
    shifted = make_gaussian_stamps(np.array([41.2]), np.array([40.0]), sigma=2.0, half=20)
    image = add_stars(np.zeros((80, 80)), stamps, np.array([1.0]))
    fluxes = fit_psf_flux(make_pixels(image, np.ones(image.shape)), shifted)
    assert_allclose(fluxes.flux, math.exp(-(1.2**2) / 16.0), rtol=1e-5)


def simulate_pulls(seed: int):
    """Return pulls, true fluxes and fitted fluxes of isolated stars with Poisson noise."""
    rng = np.random.default_rng(seed)
    side, step, sky = 70, 30, 400.0
    rows, columns = np.mgrid[:side, :side].reshape(2, -1) * step + 20.0
    x, y = columns + rng.uniform(-2, 2, side**2), rows + rng.uniform(-2, 2, side**2)
    truth = np.where(rng.random(side**2) < 0.2, 0.0, 10 ** rng.uniform(2.5, 6.0, side**2))
    stamps = make_gaussian_stamps(x, y)
    model = add_stars(np.zeros((side * step + 20, side * step + 20)), stamps, truth)
    image = rng.normal(model, np.sqrt(model + sky)).astype(np.float32)
    # As the observatory's planes: the variance has the noise of the data in it.
    variance = np.clip(image + sky, 1.0, None)
    return image, variance, stamps, truth


def test_sky_error_ignores_the_source_and_flat_weights_use_it() -> None:
    image, variance, stamps, truth = simulate_pulls(4)
    pixels = make_pixels(image, variance)
    fluxes = fit_psf_flux(pixels, stamps)
    area = fluxes.area
    assert_allclose(np.median(fluxes.flux_err_sky / np.sqrt(400.0 * area)), 1.0, rtol=0.01)
    assert np.all(fluxes.flux_err[truth > 1e5] > 2.0 * fluxes.flux_err_sky[truth > 1e5])
    flat = fit_psf_flux(pixels, stamps, weights=Weights.FLAT)
    assert_array_equal(flat.flux, fluxes.flux)
    assert_array_equal(flat.flux_err, fluxes.flux_err_sky)


def test_fitted_constant_takes_a_pedestal_off_and_its_errors_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(8)
    stamps = make_gaussian_stamps(np.array([30.2, 12.4]), np.array([28.9, 4.0]))
    clean = add_stars(np.zeros((60, 60)), stamps, np.array([5000.0, 3000.0]))
    variance = rng.uniform(50.0, 150.0, clean.shape)
    image = clean + 777.0 + rng.normal(0.0, np.sqrt(variance))
    fluxes = fit_psf_flux(make_pixels(image, variance), stamps, background=Background.FIT)
    # A dense least-squares fit with the covariance (M^T M)^-1 M^T V M (M^T M)^-1.
    for k in range(2):
        cut = slice(max(0, stamps.y0[k]), stamps.y0[k] + 25), slice(max(0, stamps.x0[k]), stamps.x0[k] + 25)
        m = stamps.array[k, -(cut[0].stop - cut[0].start) :, -(cut[1].stop - cut[1].start) :].ravel()
        design = np.column_stack([m, np.ones(m.size)])
        inverse = np.linalg.inv(design.T @ design)
        solution = inverse @ design.T @ image[cut].ravel()
        covariance = inverse @ (design.T * variance[cut].ravel()) @ design @ inverse
        assert_allclose([fluxes.flux[k], fluxes.background[k]], solution, rtol=1e-9)
        assert_allclose(
            [fluxes.flux_err[k], fluxes.background_err[k]], np.sqrt(np.diag(covariance)), rtol=1e-9
        )
        assert_allclose(
            fluxes.chi2[k], np.sum((image[cut].ravel() - design @ solution) ** 2 / variance[cut].ravel()),
            rtol=1e-9,
        )  # fmt: skip


def test_annulus_is_taken_off_and_its_error_is_added() -> None:
    rng = np.random.default_rng(9)
    x, y = np.array([80.3]), np.array([79.6])
    stamps = make_gaussian_stamps(x, y)
    image = add_stars(np.full((160, 160), 100.0), stamps, np.array([1e4]))
    image += rng.normal(0.0, 5.0, image.shape)
    pixels = make_pixels(image, np.full(image.shape, 25.0))
    around = measure_local_background(pixels, x=x, y=y, sigma=np.array([SIGMA]))
    fluxes = fit_psf_flux(pixels, stamps, background=around)
    expected = fit_psf_slowly(pixels, stamps, 0, level=float(around.mean[0]))
    assert_allclose(fluxes.flux, expected["flux"], rtol=1e-12)
    assert_allclose(fluxes.chi2, expected["chi2"], rtol=1e-9)
    m = stamps.array[0]
    added = m.sum() / (m**2).sum() * around.error[0]
    assert_allclose(fluxes.flux_err, math.hypot(expected["flux_err"], added), rtol=1e-12)
    assert abs(fluxes.flux[0] - 1e4) < 4 * fluxes.flux_err[0]


def test_stamp_over_the_edge_is_fitted_on_the_rest_and_flagged() -> None:
    stamps = make_gaussian_stamps(np.array([0.0, 30.0]), np.array([30.0, 30.0]))
    image = add_stars(np.zeros((60, 60)), stamps, np.array([100.0, 100.0]))
    fluxes = fit_psf_flux(make_pixels(image, np.ones(image.shape)), stamps)
    assert_allclose(fluxes.flux, 100.0, rtol=1e-10)
    assert fluxes.flags.tolist() == [FLAGS["EDGE"].value, 0]
    assert fluxes.n_pixels.tolist() == [13 * 25, 25 * 25]
    # Half of the star, less half of its central column, is off.
    assert_allclose(fluxes.masked_fraction[0], 0.5 * (1.0 - stamps.array[0][:, 12].sum()), rtol=1e-9)


def test_dropped_pixels_lose_no_flux_and_their_share_is_reported() -> None:
    stamps = make_gaussian_stamps(np.array([30.4]), np.array([30.1]))
    image = add_stars(np.zeros((60, 60)), stamps, np.array([100.0]))
    bad = np.zeros(image.shape, dtype=bool)
    bad[29:32, 30] = True
    spoilt = np.where(bad, 1e6, image)
    variance = np.ones(image.shape)
    fluxes = fit_psf_flux(make_pixels(spoilt, variance, bad=bad), stamps)
    assert_allclose(fluxes.flux, 100.0, rtol=1e-10)
    assert_allclose(fluxes.masked_fraction, stamps.array[0][11:14, 12].sum(), rtol=1e-9)
    assert fluxes.flags.tolist() == [0]
    # Used like any others, they ruin it.
    assert fit_psf_flux(make_pixels(spoilt, variance), stamps).flux[0] > 1e5


def test_nan_spoils_a_flux_unless_bad_pixels_are_dropped() -> None:
    stamps = make_gaussian_stamps(np.array([30.4, 80.0]), np.array([30.1, 30.0]))
    image = add_stars(np.zeros((60, 110)), stamps, np.array([100.0, 100.0]))
    image[40, 25] = np.nan
    pixels = make_pixels(image, np.ones(image.shape))
    fluxes = fit_psf_flux(pixels, stamps)
    assert fluxes.flags.tolist() == [FLAGS["NOT_FINITE"].value, 0]
    assert_array_equal(np.isnan([fluxes.flux, fluxes.flux_err, fluxes.chi2]), [[True, False]] * 3)
    dropped = fit_psf_flux(dataclasses.replace(pixels, drops_not_finite=True), stamps)
    assert_allclose(dropped.flux, 100.0, rtol=1e-10)
    assert dropped.n_pixels.tolist() == [624, 625]


def test_each_reason_for_no_flux_has_its_flag() -> None:
    x, y = np.array([30.0, 300.0, 30.0, -12.4]), np.array([30.0, 30.0, 30.0, 30.0])
    stamps = make_gaussian_stamps(x, y)
    array, flags = stamps.array.copy(), stamps.flags.copy()
    array[2], flags[2] = np.nan, FLAGS["NO_PSF"].value
    stamps = dataclasses.replace(stamps, array=array, flags=flags)
    image = np.zeros((60, 60))
    fluxes = fit_psf_flux(
        make_pixels(image, np.ones(image.shape), bad=np.ones(image.shape, dtype=bool)), stamps
    )
    assert [flag_names(word) for word in fluxes.flags] == [
        ("NO_PIXELS",),
        ("NO_COVERAGE",),
        ("NO_PSF",),
        ("EDGE", "NO_PIXELS"),
    ]
    assert np.isnan(fluxes.flux).all()
    assert np.isnan(fluxes.flux_err).all()


def test_flat_weights_need_a_sky_around_the_source() -> None:
    # The rim of the picture lies wholly off this image.
    stamps = make_gaussian_stamps(np.array([10.0]), np.array([10.0]))
    image = np.ones((20, 20))
    pixels = make_pixels(image, image)
    flat = fit_psf_flux(pixels, stamps, weights=Weights.FLAT)
    assert flat.flags.tolist() == [FLAGS["EDGE"].value | FLAGS["NOT_FINITE"].value]
    assert np.isnan([flat.flux[0], flat.flux_err[0]]).all()
    assert np.isfinite(fit_psf_flux(pixels, stamps).flux).all()


def test_no_positions_no_fluxes() -> None:
    stamps = make_gaussian_stamps(np.empty(0), np.empty(0))
    assert fit_psf_flux(make_pixels(np.zeros((5, 5)), np.ones((5, 5))), stamps).flux.shape == (0,)
