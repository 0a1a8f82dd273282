"""Fluxes of sources that overlap."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.forced import add_stars, make_gaussian_stamps, make_pixels

from lsst.dax.image.errors import RequestError, RequestTooLargeError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import Picture, fit_jointly, fit_psf_flux, stack_models

SIGMA = 1.7
FWHM = 2.3548 * SIGMA


def make_crowd(n: int, side: int, *, seed: int, bad_fraction: float = 0.0):
    """Return noisy pixels of a crowded field, with the truth."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, side, (2, n))
    truth = np.minimum(200.0 * rng.random(n) ** (-1 / 0.7), 1e6)
    truth[rng.random(n) < 0.1] = 0.0
    stamps = make_gaussian_stamps(x, y)
    model = add_stars(np.zeros((side, side)), stamps, truth)
    variance = model + 400.0
    image = rng.normal(model, np.sqrt(variance))
    bad = rng.random(image.shape) < bad_fraction
    image[bad] = 1e7
    return make_pixels(image, variance, bad=bad), stamps, x, y, truth


def make_design(pixels, stamps):
    """Return the dense design matrix over the pixels that count."""
    columns = [
        add_stars(np.zeros(pixels.image.shape), stamps, np.eye(len(stamps))[k]).ravel()
        for k in range(len(stamps))
    ]
    keep = ~(pixels.mask & pixels.drop).any(axis=2).ravel()
    return np.array(columns).T[keep], keep


def test_fluxes_and_errors_are_those_of_dense_least_squares() -> None:
    pixels, stamps, x, y, _ = make_crowd(40, 70, seed=1, bad_fraction=0.02)
    fluxes = fit_jointly(pixels, stack_models(stamps, x=x, y=y), error_radius=200.0)
    design, keep = make_design(pixels, stamps)
    solution, *_ = np.linalg.lstsq(design, pixels.image.ravel()[keep])
    inverse = np.linalg.inv(design.T @ design)
    covariance = inverse @ (design.T * pixels.variance.ravel()[keep]) @ design @ inverse
    errors = np.sqrt(np.diag(covariance))
    assert_allclose(fluxes.flux, solution, atol=1e-5 * errors.min())
    assert_allclose(fluxes.flux_err, errors, rtol=1e-6)
    correlation = np.abs(covariance) / np.outer(errors, errors) - np.eye(40)
    assert_allclose(fluxes.blend_correlation, correlation.max(axis=1), rtol=1e-5)
    # The usual radius holds what is farther off.
    local = fit_jointly(pixels, stack_models(stamps, x=x, y=y))
    assert_allclose(local.flux_err, errors, rtol=1e-3)


def test_pulls_in_a_crowded_field_are_standard_normal() -> None:
    pixels, stamps, x, y, truth = make_crowd(11_500, 1060, seed=2)  # 0.16 stars per square FWHM
    fluxes = fit_jointly(pixels, stack_models(stamps, x=x, y=y))
    inside = (np.minimum(x, y) > 20) & (np.maximum(x, y) < 1040)
    pull = ((fluxes.flux - truth) / fluxes.flux_err)[inside]
    assert pull.size > 10_000
    assert abs(pull.mean()) < 0.03
    assert 0.97 < pull.std() < 1.05
    # One at a time the same stars are off by several sigma each.
    single = fit_psf_flux(pixels, stamps)
    assert ((single.flux - truth) / single.flux_err)[inside].mean() > 3.0


def test_an_isolated_source_is_that_of_the_single_fit() -> None:
    stamps = make_gaussian_stamps(np.array([30.3, 80.0]), np.array([30.1, 31.0]))
    rng = np.random.default_rng(3)
    image = rng.normal(add_stars(np.zeros((60, 110)), stamps, np.array([500.0, 900.0])), 2.0)
    pixels = make_pixels(image, np.full(image.shape, 4.0))
    models = stack_models(stamps, x=np.array([30.3, 80.0]), y=np.array([30.1, 31.0]))
    joint, single = fit_jointly(pixels, models), fit_psf_flux(pixels, stamps)
    assert_allclose(joint.flux, single.flux, rtol=1e-8)
    assert_allclose(joint.flux_err, single.flux_err, rtol=1e-8)
    assert_array_equal(joint.blend_flux, joint.flux)
    assert_array_equal(joint.n_neighbours, 0)
    assert_array_equal(joint.blend_correlation, 0.0)


@pytest.mark.parametrize(
    ("separation", "is_degenerate"), [(0.0, True), (0.2, True), (0.28, True), (0.4, False)]
)
def test_sources_too_close_are_flagged_and_their_sum_is_right(separation: float, is_degenerate: bool) -> None:
    x, y = np.array([30.0, 30.0 + separation * FWHM, 60.0]), np.array([30.2, 30.2, 30.0])
    stamps = make_gaussian_stamps(x, y)
    rng = np.random.default_rng(4)
    image = rng.normal(add_stars(np.zeros((60, 90)), stamps, np.array([4000.0, 6000.0, 100.0])), 10.0)
    fluxes = fit_jointly(make_pixels(image, np.full(image.shape, 100.0)), stack_models(stamps, x=x, y=y))
    word = FLAGS["BLEND_DEGENERATE"].value if is_degenerate else 0
    assert fluxes.flags.tolist() == [word, word, 0]
    # Of two sources in one place the data know the sum alone.
    assert np.isfinite(fluxes.flux).tolist() == [separation > 0.0] * 2 + [True]
    assert np.isfinite(fluxes.flux_err).tolist() == [separation > 0.0] * 2 + [True]
    if is_degenerate:
        alone = 10.0 * math.sqrt(4 * math.pi) * SIGMA
        assert_allclose(fluxes.blend_flux_err[:2], alone, rtol=0.15)
        assert abs(fluxes.blend_flux[0] - 10_000.0) < 4 * fluxes.blend_flux_err[0]
        assert_allclose(fluxes.blend_flux[0], fluxes.blend_flux[1], rtol=1e-12)
        assert not fluxes.flux_err[0] < 2 * fluxes.blend_flux_err[0]
        assert fluxes.blend_correlation[0] > 0.85
    else:
        assert_allclose(fluxes.blend_flux, fluxes.flux, rtol=1e-12)


def test_only_the_sources_that_are_asked_for_come_back() -> None:
    pixels, stamps, x, y, _ = make_crowd(60, 90, seed=5)
    models = stack_models(stamps, x=x, y=y)
    everything = fit_jointly(pixels, models)
    some = fit_jointly(pixels, models, wanted=np.array([7, 3]))
    for field in dataclasses.fields(everything):
        assert_array_equal(getattr(some, field.name), getattr(everything, field.name)[[7, 3]])


def test_extended_sources_take_part_with_pictures_of_their_own_size() -> None:
    x, y = np.array([40.0]), np.array([36.0])
    stamps = make_gaussian_stamps(x, y)
    galaxy = make_gaussian_stamps(np.array([45.0]), np.array([40.0]), sigma=5.0, half=30)
    image = add_stars(np.zeros((90, 90)), stamps, np.array([700.0]))
    image += add_stars(np.zeros((90, 90)), galaxy, np.array([9000.0]))
    variance = np.random.default_rng(7).uniform(1.0, 2.0, image.shape)
    both = make_gaussian_stamps(np.array([40.0, 45.0]), np.array([36.0, 40.0]))
    picture = Picture(galaxy.array[0], int(galaxy.x0[0]), int(galaxy.y0[0]))
    models = stack_models(both, x=np.array([40.0, 45.0]), y=np.array([36.0, 40.0]), extended={1: picture})
    # The error has the galaxy in it, which is farther off than the radius.
    fluxes = fit_jointly(make_pixels(image, variance), models, error_radius=2.0)
    assert_allclose(fluxes.flux, [700.0, 9000.0], rtol=1e-7)
    pictures = (
        add_stars(np.zeros((90, 90)), stamps, np.ones(1)),
        add_stars(np.zeros((90, 90)), galaxy, np.ones(1)),
    )
    design = np.column_stack([picture.ravel() for picture in pictures])
    inverse = np.linalg.inv(design.T @ design)
    covariance = inverse @ (design.T * variance.ravel()) @ design @ inverse
    assert_allclose(fluxes.flux_err, np.sqrt(np.diag(covariance)), rtol=1e-7)
    assert fluxes.n_neighbours.tolist() == [1, 1]


def test_sources_without_pixels_are_flagged_and_disturb_no_other() -> None:
    x, y = np.array([30.0, 33.0, 500.0, 36.0]), np.array([30.0, 30.0, 30.0, 30.0])
    stamps = make_gaussian_stamps(x, y)
    array, flags = stamps.array.copy(), stamps.flags.copy()
    array[3], flags[3] = np.nan, FLAGS["NO_PSF"].value
    image = add_stars(np.zeros((60, 60)), stamps, np.array([100.0, 200.0, 300.0, 0.0]))
    stamps = dataclasses.replace(stamps, array=array, flags=flags)
    fluxes = fit_jointly(make_pixels(image, np.ones(image.shape)), stack_models(stamps, x=x, y=y))
    assert_allclose(fluxes.flux, [100.0, 200.0, np.nan, np.nan], rtol=1e-8)
    assert np.isnan(fluxes.flux_err).tolist() == [False, False, True, True]
    assert fluxes.flags.tolist() == [0, 0, FLAGS["NO_PIXELS"].value, FLAGS["NO_PSF"].value]


def test_nan_pixels_are_left_out() -> None:
    x, y = np.array([30.0, 34.0]), np.array([30.0, 31.0])
    stamps = make_gaussian_stamps(x, y)
    image = add_stars(np.zeros((60, 60)), stamps, np.array([100.0, 200.0]))
    image[30, 31] = np.nan
    variance = np.ones(image.shape)
    variance[31, 33] = np.inf
    fluxes = fit_jointly(make_pixels(image, variance), stack_models(stamps, x=x, y=y))
    assert_allclose(fluxes.flux, [100.0, 200.0], rtol=1e-8)


def test_no_sources_no_fluxes() -> None:
    stamps = make_gaussian_stamps(np.empty(0), np.empty(0))
    models = stack_models(stamps, x=np.empty(0), y=np.empty(0))
    assert fit_jointly(make_pixels(np.ones((9, 9)), np.ones((9, 9))), models).flux.shape == (0,)


def test_requests_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, stamps, x, y, _ = make_crowd(5, 40, seed=6)
    with pytest.raises(RequestError, match=r"must be positive; got 0\.0"):
        fit_jointly(pixels, stack_models(stamps, x=x, y=y), error_radius=0.0)
    monkeypatch.setattr("lsst.dax.image.forced.joint_fit.MAX_MODEL_PIXELS", 3000)
    with pytest.raises(RequestTooLargeError, match="holds 3000 model pixels; this one needs 3125"):
        stack_models(stamps, x=x, y=y)
