"""Levels of an overscan region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from tests.support.isr_overscan_oracle import find_levels_slowly, measure_slowly

from lsst.dax.image.errors import RequestError
from lsst.dax.image.recreation.isr import overscan_fits
from lsst.dax.image.recreation.isr.overscan_fits import OverscanFit, fit_overscan, measure_statistics

POLYNOMIALS = [OverscanFit.POLY, OverscanFit.CHEB, OverscanFit.LEG]
SPLINES = [OverscanFit.NATURAL_SPLINE, OverscanFit.CUBIC_SPLINE, OverscanFit.AKIMA_SPLINE]
CONSTANTS = {OverscanFit.MEAN: 0, OverscanFit.MEDIAN: 1}


def make_region(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels with outliers, infinite ones and NaN, and a mask with whole rows."""
    rng = np.random.default_rng(seed)
    values = rng.normal(1000.0, 5.0, shape).astype(np.float32)
    values[rng.random(shape) < 0.02] += 300.0
    values[rng.random(shape) < 0.002] = rng.choice([np.nan, np.inf, -np.inf])
    excluded = rng.random(shape) < 0.05
    excluded[rng.random(shape[0]) < 0.1] = True
    return values, excluded


def no_mask(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape, np.bool_)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), m=st.integers(1, 60))
def test_row_percentiles_are_numpys_to_the_bit(seed: int, n: int, m: int) -> None:
    values = np.random.default_rng(seed).normal(3.0, 1e3, (n, m)).astype(np.float32)
    ordered = np.sort(values, axis=1)
    expected = np.percentile(values, [25.0, 50.0, 75.0], axis=1)
    for fraction, row in zip((0.25, 0.5, 0.75), expected, strict=True):
        np.testing.assert_array_equal(overscan_fits._row_percentile(ordered, fraction), row)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 50), m=st.integers(1, 60))
def test_levels_are_those_of_the_slow_way(seed: int, n: int, m: int) -> None:
    values, excluded = make_region(seed, (n, m))
    before = values.copy(), excluded.copy()
    median = fit_overscan(values, excluded, fit=OverscanFit.MEDIAN_PER_ROW, order=1)
    np.testing.assert_array_equal(median, find_levels_slowly(values, excluded, statistic="median"))
    mean = fit_overscan(values, excluded, fit=OverscanFit.MEAN_PER_ROW, order=1)
    np.testing.assert_allclose(mean, find_levels_slowly(values, excluded, statistic="mean"), rtol=1e-12)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(excluded, before[1])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 300))
def test_statistics_are_those_of_the_slow_way(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(10.0, 3.0, n)
    values[rng.random(n) < 0.1] = rng.choice([50.0, np.nan, np.inf, -np.inf])
    found = measure_statistics(values)
    np.testing.assert_allclose(
        (found.mean, found.median, found.stdev_clipped), measure_slowly(values), rtol=1e-12
    )


def test_clipping_recovers_the_spread_under_outliers() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.0, 4.0, 200_000).astype(np.float32)
    values[:2000] = 1e4
    found = measure_statistics(values)
    # A normal distribution cut at 3 sigma again and again is 1.4 % narrower after three times.
    assert found.stdev_clipped == pytest.approx(4.0 * 0.986, rel=0.01)
    assert abs(found.mean_clipped) < 4 * 4.0 / np.sqrt(198_000)
    assert found.mean == pytest.approx(100.0, rel=0.001)


def test_statistics_of_few_values() -> None:
    assert np.isnan(measure_statistics(np.array([np.nan, np.inf])).mean)
    one = measure_statistics(np.array([7.0, np.nan]))
    assert (one.mean, one.median, one.mean_clipped) == (7.0, 7.0, 7.0)
    assert np.isnan(one.stdev_clipped)
    assert measure_statistics(np.full(9, 7.0)).stdev_clipped == 0.0


def test_median_scatters_more_than_mean_by_its_efficiency() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0.0, 5.0, (20_000, 48)).astype(np.float32)
    median = fit_overscan(values, no_mask(values), fit=OverscanFit.MEDIAN_PER_ROW, order=1)
    mean = fit_overscan(values, no_mask(values), fit=OverscanFit.MEAN_PER_ROW, order=1)
    # The clip of outliers by the percentiles of 48 pixels costs the mean 5 % of its weight.
    assert mean.var() == pytest.approx(1.05 * 25.0 / 48, rel=0.03)
    # Large samples: pi / 2; the variance of a median of 48 is 1.5 % below that.
    assert median.var() == pytest.approx(np.pi / 2 * 25.0 / 48, rel=0.05)


@pytest.mark.parametrize("fit", [OverscanFit.MEDIAN_PER_ROW, OverscanFit.MEAN_PER_ROW])
def test_gaps_are_filled_from_up_to_five_rows_on_either_side(fit: OverscanFit) -> None:
    values = np.repeat(np.arange(40, dtype=np.float32)[:, np.newaxis] ** 2, 9, axis=1)
    excluded = no_mask(values)
    for gap in (slice(0, 2), slice(5, 7), slice(20, 23), slice(33, 35)):
        excluded[gap] = True
    levels = fit_overscan(values, excluded, fit=fit, order=1)
    squares = np.arange(40.0) ** 2
    good = ~excluded[:, 0]
    np.testing.assert_array_equal(levels[good], squares[good])
    # At the start no row is far enough below, so those above count alone.
    assert (levels[0:2] == np.median(squares[2:5])).all()
    assert (levels[5:7] == np.median(squares[7:12])).all()
    assert (levels[20:23] == np.median(np.r_[squares[15:20], squares[23:28]])).all()
    # 35 is not below 40 - 5, so those below count alone.
    assert (levels[33:35] == np.median(squares[28:33])).all()


def test_gap_without_neighbours_gets_the_median_of_all() -> None:
    values = np.repeat(np.array([[1], [2], [50], [4], [9], [30]], np.float32), 5, axis=1)
    excluded = no_mask(values)
    excluded[2] = True
    levels = fit_overscan(values, excluded, fit=OverscanFit.MEDIAN_PER_ROW, order=1)
    assert levels.tolist() == [1, 2, 4, 4, 9, 30]


@pytest.mark.parametrize("fit", OverscanFit)
def test_no_usable_pixel_is_no_level(fit: OverscanFit) -> None:
    values = np.ones((30, 8), np.float32)
    assert np.isnan(fit_overscan(values, ~no_mask(values), fit=fit, order=6)).all()
    assert np.isnan(fit_overscan(values * np.float32(np.nan), no_mask(values), fit=fit, order=6)).all()


@pytest.mark.parametrize("fit", CONSTANTS)
def test_constants(fit: OverscanFit) -> None:
    values, excluded = make_region(3, (30, 20))
    levels = fit_overscan(values, excluded, fit=fit, order=1)
    np.testing.assert_allclose(levels, measure_slowly(values[~excluded])[CONSTANTS[fit]], rtol=1e-13)


def test_clipped_mean_ignores_what_the_mean_does_not() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(100.0, 2.0, (50, 40)).astype(np.float32)
    values[7, 7] = 9000.0
    clipped = fit_overscan(values, no_mask(values), fit=OverscanFit.MEANCLIP, order=1)
    assert abs(clipped[0] - 100.0) < 4 * 2.0 / np.sqrt(values.size)
    plain = fit_overscan(values, no_mask(values), fit=OverscanFit.MEAN, order=1)
    assert plain[0] == pytest.approx(100.0 + 8900.0 / values.size, abs=0.2)


@pytest.mark.parametrize("fit", POLYNOMIALS)
def test_polynomial_of_its_order_is_exact(fit: OverscanFit) -> None:
    abscissa = 2.0 * np.arange(60) / 60 - 1.0
    truth = np.polynomial.Polynomial([1000.0, 20.0, -7.0, 3.0])(abscissa)
    values = np.repeat(truth[:, np.newaxis], 8, axis=1).astype(np.float32)
    levels = fit_overscan(values, no_mask(values), fit=fit, order=3)
    np.testing.assert_allclose(levels, truth, atol=1e-4)
    assert np.abs(fit_overscan(values, no_mask(values), fit=fit, order=1) - truth).max() > 1.0
    noisy = values + np.random.default_rng(5).normal(0, 1, values.shape).astype(np.float32)
    means = fit_overscan(noisy, no_mask(noisy), fit=OverscanFit.MEAN_PER_ROW, order=0)
    expected = np.polynomial.Polynomial.fit(abscissa, means, 3)(abscissa)
    np.testing.assert_allclose(fit_overscan(noisy, no_mask(noisy), fit=fit, order=3), expected, rtol=1e-12)


def test_polynomial_needs_more_rows_than_its_order() -> None:
    values = np.ones((4, 8), np.float32)
    with pytest.raises(RequestError, match="order 4 cannot be fitted to an overscan of 4 rows"):
        fit_overscan(values, no_mask(values), fit=OverscanFit.POLY, order=4)
    with pytest.raises(RequestError, match="order -1 cannot"):
        fit_overscan(values, no_mask(values), fit=OverscanFit.LEG, order=-1)


@pytest.mark.parametrize("fit", SPLINES)
@pytest.mark.parametrize(("n", "bins"), [(60, 6), (61, 7), (12, 5), (20, 20)])
def test_spline_goes_through_means_of_bins(fit: OverscanFit, n: int, bins: int) -> None:
    rng = np.random.default_rng(6)
    row_means = rng.normal(100.0, 10.0, n).astype(np.float32)
    values = np.repeat(row_means[:, np.newaxis], 8, axis=1)
    levels = fit_overscan(values, no_mask(values), fit=fit, order=bins)
    rows = np.arange(n)
    # Bin of each row, counted by hand: equal widths from the first to the last row.
    number = np.minimum(rows * bins // (n - 1), bins - 1)
    centers = np.array([rows[number == k].mean() for k in range(bins)])
    means = np.array([row_means[number == k].mean(dtype=np.float64) for k in range(bins)])
    spline = (
        Akima1DInterpolator(centers, means)
        if fit is OverscanFit.AKIMA_SPLINE
        else CubicSpline(centers, means, bc_type="natural")
    )
    inside = (rows >= centers[0]) & (rows <= centers[-1])
    np.testing.assert_allclose(levels[inside], spline(rows[inside]), rtol=1e-10)
    # Beyond the outer bins: value, slope and curvature of the end.
    for end, beyond in ((centers[0], rows < centers[0]), (centers[-1], rows > centers[-1])):
        step = rows[beyond] - end
        expected = spline(end) + spline(end, 1) * step + 0.5 * spline(end, 2) * step**2
        np.testing.assert_allclose(levels[beyond], expected, rtol=1e-10)


@pytest.mark.parametrize("bins", [4, 13])
def test_spline_needs_bins(bins: int) -> None:
    values = np.ones((12, 8), np.float32)
    with pytest.raises(RequestError, match=f"at least 5 bins .* not {bins} bins of 12 rows"):
        fit_overscan(values, no_mask(values), fit=OverscanFit.AKIMA_SPLINE, order=bins)


@pytest.mark.parametrize("factor", [1.9, 2.2])
def test_spread_of_a_row_with_a_bleed_is_replaced_by_the_usual_one(factor: float) -> None:
    # Evenly spaced pixels: quartiles are 24 of 48 steps apart, the clip is at 3 x 0.74 x 24 = 53.
    steps = np.arange(49) - 24.0
    values = np.repeat(steps[np.newaxis], 9, axis=0).astype(np.float32)
    values[4] = factor * steps
    values[4, -3:] = 60.0
    levels = fit_overscan(values, no_mask(values), fit=OverscanFit.MEAN_PER_ROW, order=1)
    # Its own spread would keep the three pixels at 60; the usual one rejects them.
    kept = values[4] if factor < 2 else values[4][np.abs(values[4]) <= 53.28]
    assert levels[4] == pytest.approx(kept.mean(dtype=np.float64), rel=1e-12)
    assert np.abs(levels[[0, 8]]).max() == 0.0
