"""The clipped mean of an image plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.support.isr_interpolation_oracle import clipped_mean_oracle

from lsst.dax.image.recreation.isr._clipped_mean import _quantiles, clipped_mean


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_sorting_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal((0.0, 3000.0, -40.0, 1e-3)[seed], 60.0, (97, 103)).astype(np.float32)
    image[rng.random(image.shape) < 0.05] += 5000
    image[3, :7] = np.nan
    image[4, :3] = (np.inf, -np.inf, np.inf)
    assert clipped_mean(image) == pytest.approx(clipped_mean_oracle(image), rel=1e-12)


def test_every_limit_counts() -> None:
    # With few values and heavy tails, other limits keep other values.
    rng = np.random.default_rng(12)
    for n in range(8, 108):
        values = (100 * rng.standard_t(1.5, n)).astype(np.float32)
        assert clipped_mean(values) == pytest.approx(clipped_mean_oracle(values), rel=1e-9, abs=1e-9)


def test_quantiles_are_exact_order_statistics() -> None:
    rng = np.random.default_rng(8)
    values = (rng.normal(size=5000) * 10.0 ** rng.integers(-30, 30, 5000)).astype(np.float32)
    values[:50] = 0.0
    values[50:60] = -0.0
    fractions = (0.0, 0.25, 0.5, 0.75, 1.0)
    expected = np.quantile(values.astype(np.float64), fractions)
    np.testing.assert_allclose(_quantiles(values, fractions), expected, rtol=1e-14)


def test_outliers_do_not_move_it() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(500.0, 10.0, (200, 200)).astype(np.float32)
    without = clipped_mean(image)
    image[:5] = 1e5
    assert clipped_mean(image) == pytest.approx(without, abs=0.1)
    assert without == pytest.approx(500.0, abs=0.2)


def test_equal_pixels_have_exactly_their_value() -> None:
    assert clipped_mean(np.full((7, 300), 0.1, np.float32)) == float(np.float32(0.1))


def test_few_pixels() -> None:
    assert clipped_mean(np.array([4.0, np.nan], np.float32)) == 4.0
    assert clipped_mean(np.array([1.0, 2.0], np.float32)) == 1.5
    assert math.isnan(clipped_mean(np.full((2, 2), np.nan, np.float32)))
