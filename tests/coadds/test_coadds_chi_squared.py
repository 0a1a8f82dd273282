"""Chi-squared images have the distribution of that name."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsst.dax.image.coadds import make_chi_squared
from lsst.dax.image.errors import RequestError

SHAPE = (300, 200)


def make_bands(
    n_bands: int, seed: int = 1
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[NDArray[np.uint32]]]:
    rng = np.random.default_rng(seed)
    sigmas = rng.uniform(0.5, 20.0, (n_bands, 1, 1)) * rng.uniform(0.9, 1.1, (n_bands, *SHAPE))
    images = rng.normal(size=(n_bands, *SHAPE)) * sigmas
    return (
        list(images.astype(np.float32)),
        list((sigmas**2).astype(np.float32)),
        [np.zeros(SHAPE, np.uint32) for _ in range(n_bands)],
    )


@pytest.mark.parametrize("n_bands", [1, 2, 3, 6])
def test_noise_has_the_chi_squared_distribution(n_bands: int) -> None:
    found = make_chi_squared(*make_bands(n_bands))
    values = found.image.ravel().astype(float)
    assert scipy.stats.kstest(values, scipy.stats.chi2(n_bands).cdf).pvalue > 1e-3
    assert values.mean() == pytest.approx(n_bands, abs=5.0 * np.sqrt(2.0 * n_bands / values.size))
    assert values.var() == pytest.approx(found.variance.mean(), rel=0.05)
    assert found.mean_degrees_of_freedom == n_bands
    # As a normal variable, whatever the number of bands.
    assert scipy.stats.kstest(found.find_significance().ravel(), "norm").pvalue > 1e-3


def test_a_source_of_any_colour_adds_its_squared_significances() -> None:
    images, variances, masks = make_bands(3)
    for image in images:
        image[10, 20] = 0.0
    images[0][10, 20] = -3.0 * np.sqrt(variances[0][10, 20])
    images[2][10, 20] = 4.0 * np.sqrt(variances[2][10, 20])
    found = make_chi_squared(images, variances, masks)
    assert found.image[10, 20] == pytest.approx(25.0, rel=1e-5)


def test_bands_without_a_pixel_do_not_count() -> None:
    images, variances, masks = make_bands(3)
    images[0][5, 5] = np.nan
    variances[1][5, 5] = 0.0
    variances[1][6, 6] = np.nan
    for image in images:
        image[7, 7] = np.nan
    for i in range(3):
        masks[i][5:8, 5:8] = 1 << i
    found = make_chi_squared(images, variances, masks)
    assert found.image[5, 5] == pytest.approx(images[2][5, 5] ** 2 / variances[2][5, 5], rel=1e-6)
    assert (found.n_bands[5, 5], found.n_bands[6, 6], found.n_bands[7, 7]) == (1, 2, 0)
    assert (found.mask[5, 5], found.mask[6, 6], found.mask[7, 7]) == (0b100, 0b101, 0)
    for plane in (found.image, found.variance, found.find_significance()):
        assert np.argwhere(np.isnan(plane)).tolist() == [[7, 7]]
    n_pixels = SHAPE[0] * SHAPE[1]
    assert found.mean_degrees_of_freedom == pytest.approx((3 * n_pixels - 6) / (n_pixels - 1))
    assert found.variance[5, 5] == 2.0


def test_significance_of_bright_sources_grows_on() -> None:
    values = np.array([[4.0, 100.0, 1000.0, 1400.0, 1e4, 1e6]])
    found = make_chi_squared([np.sqrt(values)], [np.ones_like(values)], [np.zeros(values.shape, np.uint32)])
    significance = found.find_significance()[0]
    assert np.isfinite(significance).all()
    assert (np.diff(significance) > 0.0).all()
    # Two-sided 2 sigma of one band is one-sided 1.69 sigma.
    assert significance[0] == pytest.approx(scipy.stats.norm.isf(scipy.stats.chi2(1).sf(4.0)), rel=1e-5)
    assert significance[-1] == pytest.approx(1000.0, rel=1e-3)


@given(st.integers(0, 5), st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_bands_does_not_matter(seed: int, order: list[int]) -> None:
    bands = make_bands(4, seed)
    found = make_chi_squared(*bands)
    other = make_chi_squared(*([part[i] for i in order] for part in bands))
    np.testing.assert_allclose(found.image, other.image, rtol=1e-6)


def test_bands_must_fit() -> None:
    images, variances, masks = make_bands(2)
    with pytest.raises(RequestError, match="of 2 images, 1 variances and 2 masks"):
        make_chi_squared(images, variances[:1], masks)
    with pytest.raises(RequestError, match=r"shapes \[\(3, 3\), \(300, 200\)\]"):
        make_chi_squared([images[0], images[1][:3, :3]], variances, masks)
    with pytest.raises(RequestError, match="of 0 images"):
        make_chi_squared([], [], [])
