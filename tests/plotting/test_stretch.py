"""Scales of shades: what is linear, what is logarithmic, and their ticks."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.visualization import ZScaleInterval
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lsst.dax.image.plotting import Stretch
from lsst.dax.image.plotting._stretch import choose_ticks, make_norm


def make_sky(level: float = 0.0, sigma: float = 2.0) -> np.ndarray:
    """Return noise with one source of 1e4 sigma and its negative twin."""
    values = np.random.default_rng(3).normal(level, sigma, size=(100, 100))
    values[:4, :5] = level + 1e4 * sigma
    values[-4:, :5] = level - 1e4 * sigma
    return values


@pytest.mark.parametrize("level", [0.0, 5000.0])
def test_asinh_is_symmetric_about_the_sky(level: float) -> None:
    values = make_sky(level)
    norm = make_norm(values, Stretch.ASINH)
    sky = np.median(values)
    for distance in (0.5, 5.0, 500.0):
        assert norm(sky + distance) - norm(sky) == pytest.approx(norm(sky) - norm(sky - distance), rel=1e-9)
    assert float(norm(sky)) == pytest.approx(0.5, abs=1e-3), "sources of both signs are equally bright"


def test_asinh_is_linear_in_the_noise_and_logarithmic_in_sources() -> None:
    values = make_sky(sigma=2.0)
    norm = make_norm(values, Stretch.ASINH)
    sky = np.median(values)
    shade = lambda distance: float(norm(sky + distance) - norm(sky))  # noqa: E731
    assert shade(1.0) == pytest.approx(2.0 * shade(0.5), rel=0.02)
    decade = shade(1000.0) - shade(100.0)
    assert shade(10000.0) - shade(1000.0) == pytest.approx(decade, rel=0.01)
    assert decade > shade(2.0) > 0.02


def test_asinh_runs_from_percentile_to_percentile() -> None:
    values = np.linspace(0.0, 1000.0, 100_001)
    norm = make_norm(values, Stretch.ASINH)
    assert_allclose([norm.vmin, norm.vmax], [1.0, 999.0])
    assert_allclose(norm([1.0, 999.0]), [0.0, 1.0], atol=1e-12)


def test_zscale_is_linear_between_the_limits_of_astropy() -> None:
    values = make_sky(level=100.0)
    norm = make_norm(values, Stretch.ZSCALE)
    low, high = ZScaleInterval().get_limits(values)
    assert (norm.vmin, norm.vmax) == (low, high)
    assert_allclose(norm(np.linspace(low, high, 5)), np.linspace(0.0, 1.0, 5), atol=1e-12)


@pytest.mark.parametrize("stretch", list(Stretch))
def test_pixels_without_a_value_do_not_count(stretch: Stretch) -> None:
    values = make_sky()
    spoilt = np.concatenate([values.ravel(), np.full(5000, np.nan), np.full(100, np.inf)])
    a, b = make_norm(values.ravel(), stretch), make_norm(spoilt, stretch)
    assert (a.vmin, a.vmax) == (b.vmin, b.vmax)
    assert float(a(3.0)) == float(b(3.0))


@pytest.mark.parametrize("stretch", list(Stretch))
@pytest.mark.parametrize("values", [[], [np.nan], [7.0], [7.0, 7.0], [0.0] * 99 + [5.0], [-1e30, 1e30]])
def test_scale_has_limits_that_differ(values: list[float], stretch: Stretch) -> None:
    norm = make_norm(np.array(values), stretch)
    assert norm.vmin is not None
    assert norm.vmax is not None
    assert norm.vmax > norm.vmin


def test_single_bright_pixel_is_white_on_black() -> None:
    values = np.zeros((51, 51))
    values[3, 4] = 5.0
    norm = make_norm(values, Stretch.ASINH)
    assert float(norm(0.0)) == 0.0
    assert float(norm(5.0)) == 1.0


@given(
    level=st.floats(-1e6, 1e6),
    sigma=st.floats(1e-2, 1e4),
    seed=st.integers(0, 20),
    stretch=st.sampled_from(list(Stretch)),
)
def test_ticks_are_round_and_spread_over_the_scale(
    level: float, sigma: float, seed: int, stretch: Stretch
) -> None:
    rng = np.random.default_rng(seed)
    norm = make_norm(level + sigma * rng.standard_t(2.0, size=500), stretch)
    ticks = choose_ticks(norm)
    assert 3 <= len(ticks) <= 6
    assert norm.vmin <= ticks[0]
    assert ticks[-1] <= norm.vmax
    shades = np.asarray(norm(ticks))
    assert np.all(np.diff(shades) > 0.03)
    assert np.all(np.diff(shades) < 0.45)
    assert all(len(f"{tick:.10g}".strip("-").replace(".", "")) <= 9 for tick in ticks)
