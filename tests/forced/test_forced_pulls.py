"""Fluxes less the truth over their errors are standard normal: of 30,000 stars, and of stacks of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tests.support.forced import make_gaussian_stamps, make_pixels
from tests.support.star_fields import StarField, make_star_field, make_varying_psf

from lsst.dax.image.forced import PsfFluxes, fit_psf_flux
from lsst.dax.image.psfs import make_psf_evaluator

PER_SIDE = 174
N_EPOCHS = 825


@pytest.fixture(scope="module")
def measured() -> tuple[StarField, PsfFluxes]:
    """Return 30,276 stars under a PSF that varies, and their fluxes."""
    field = make_star_field(PER_SIDE, seed=11)
    evaluator = make_psf_evaluator(make_varying_psf(field.pixels.image.shape[0]))
    parts = np.array_split(np.arange(field.x.size), 4)
    fluxes = [fit_psf_flux(field.pixels, evaluator.stellar_images(field.x[k], field.y[k])) for k in parts]
    names = fluxes[0].__dataclass_fields__
    return field, PsfFluxes(
        **{name: np.concatenate([getattr(part, name) for part in fluxes]) for name in names}
    )


def test_pulls_of_thirty_thousand_stars_are_standard_normal(measured: tuple[StarField, PsfFluxes]) -> None:
    field, fluxes = measured
    pull = (fluxes.flux - field.flux) / fluxes.flux_err
    assert pull.size > 30_000
    assert not fluxes.flags.any()
    assert abs(pull.mean()) < 0.03
    assert 0.97 < pull.std() < 1.03
    assert np.abs(pull).max() < 5.5
    # Sources of no flux, and faint ones: a third of them is below five sigma.
    for low, high in ((-1.0, 1.0), (300.0, 3e3), (3e3, 1e5)):
        some = pull[(field.flux >= low) & (field.flux < high)]
        assert abs(some.mean()) < 0.06
        assert 0.95 < some.std() < 1.05


def test_bright_stars_have_no_bias(measured: tuple[StarField, PsfFluxes]) -> None:
    field, fluxes = measured
    bright = field.flux > 1e5
    ratio = fluxes.flux[bright] / field.flux[bright]
    # The mean is known to 1.3e-5: the model of the PSF is what is tested.
    assert abs(np.average(ratio, weights=field.flux[bright]) - 1.0) < 2e-4


def test_residuals_are_the_noise_of_the_pixels(measured: tuple[StarField, PsfFluxes]) -> None:
    field, fluxes = measured
    reduced = fluxes.chi2 / fluxes.n_pixels
    assert_allclose(np.median(reduced[field.flux < 3e4]), 1.0, atol=0.02)
    # Their scatter is that of a mean of 625 squares.
    assert_allclose(np.std(reduced[field.flux == 0.0]), math.sqrt(2.0 / 625.0), rtol=0.1)


def stack(flux: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over its error along the first axis."""
    result: np.ndarray = np.sum(weights * flux, axis=0) / np.sqrt(np.sum(weights, axis=0))
    return result


def fit_with_variances(pixels, stamps) -> np.ndarray:
    """Fit fluxes with the inverse variance of each pixel as its weight."""
    flux = np.empty(len(stamps))
    height, width = stamps.array.shape[1:]
    for k in range(len(stamps)):
        cut = (
            slice(stamps.y0[k], stamps.y0[k] + height),
            slice(stamps.x0[k], stamps.x0[k] + width),
        )
        weighted = stamps.array[k] / pixels.variance[cut]
        flux[k] = np.sum(weighted * pixels.image[cut]) / np.sum(weighted * stamps.array[k])
    return flux


def test_stacks_of_825_epochs_of_no_flux_have_none() -> None:
    rng = np.random.default_rng(12)
    n_sources, width, sky = 12, 25, 1500.0
    n = N_EPOCHS * n_sources
    per_row = 100
    rows, columns = np.divmod(np.arange(n), per_row)
    x, y = (axis * width + 12.0 + rng.uniform(-0.5, 0.5, n) for axis in (columns, rows))
    stamps = make_gaussian_stamps(x, y)
    # Skies differ from epoch to epoch, as seeing and moonlight do.
    levels = np.repeat(sky * rng.uniform(0.6, 1.7, N_EPOCHS), n_sources)
    variance = np.zeros((-(-n // per_row), per_row))
    variance.flat[:n] = levels
    variance = np.repeat(np.repeat(variance, width, axis=0), width, axis=1) + 1e-3
    image = rng.normal(0.0, np.sqrt(variance))
    noisy = np.clip(image + variance, 1.0, None)  # the noise of the data is in the plane
    pixels = make_pixels(image, noisy)
    fluxes = fit_psf_flux(pixels, stamps)
    shape = N_EPOCHS, n_sources
    z = stack(fluxes.flux.reshape(shape), fluxes.flux_err_sky.reshape(shape) ** -2)
    assert np.abs(z).max() < 3.0
    assert abs(z.mean()) < 3.0 / math.sqrt(n_sources)
    assert 0.5 < z.std() < 1.6
    # Weighted by that variance, each flux is off by minus the effective area
    # in electrons, which a stack of so many epochs shows.
    biased = fit_with_variances(pixels, stamps)
    assert_allclose(biased.mean(), -np.mean(fluxes.area), rtol=0.15)
    assert stack(biased.reshape(shape), fluxes.flux_err_sky.reshape(shape) ** -2).mean() < -3.0
