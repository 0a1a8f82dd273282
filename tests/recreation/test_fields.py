"""Backgrounds and scalings on pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box
from lsst.images.fields import ChebyshevField, ProductField, SplineField, SumField

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation import render_background, render_scaling

BBOX = Box.factory[10:210, 20:320]


def make_spline(values: np.ndarray) -> SplineField:
    """Return a spline whose bins divide the box evenly."""
    rows, columns = values.shape
    y = BBOX.y.start - 0.5 + (np.arange(rows) + 0.5) * BBOX.y.size / rows
    x = BBOX.x.start - 0.5 + (np.arange(columns) + 0.5) * BBOX.x.size / columns
    return SplineField(BBOX, values, y=y, x=x)


def test_chebyshev_spans_the_pixel_edges_of_its_box() -> None:
    """T1 is -1 and +1 half a pixel outside of the outermost pixel centres."""
    field = ChebyshevField(BBOX, np.array([[0.0, 1.0], [100.0, 0.0]]))
    values = render_scaling(field, BBOX)
    x = 2.0 * (np.arange(300) + 0.5) / 300 - 1.0
    y = 2.0 * (np.arange(200) + 0.5) / 200 - 1.0
    np.testing.assert_allclose(values, 100.0 * y[:, None] + x, rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_product_of_chebyshevs_equals_that_of_lsst_images(x_order: int, y_order: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = [ChebyshevField(BBOX, rng.normal(size=(y_order + 1, x_order + 1))) for _ in range(3)]
    part = Box.factory[100:120, 30:60]
    expected = ProductField(factors).render(part, dtype=np.float64).array
    np.testing.assert_allclose(render_scaling(ProductField(factors), part), expected, rtol=1e-11, atol=1e-12)


def test_sum_is_added_in_single_precision() -> None:
    fields = [ChebyshevField(BBOX, np.array([[value]])) for value in (3e7, 1.0, 1.0)]
    background = render_background(SumField(fields), BBOX)
    # Each 1 is lost against 3e7, whose spacing is 2; their sum would not be.
    assert background.dtype == np.float32
    assert set(background.ravel()) == {np.float32(3e7)}


def test_spline_equals_that_of_lsst_images_within_the_bin_centres() -> None:
    field = make_spline(np.random.default_rng(3).normal(500.0, 20.0, (8, 9)))
    inner = Box.factory[24:196, 38:302]
    mine, theirs = render_background(field, inner), field.render(inner, dtype=np.float64).array
    np.testing.assert_allclose(mine, theirs, rtol=2e-7)


def test_spline_continues_as_a_parabola() -> None:
    """A cubic along x is continued by the parabola that touches it at the last bin centre."""
    # Akima splines reproduce straight lines and parabolas near their middle
    # only, so the curve is taken from its own inner values.
    field = make_spline(np.tile(np.linspace(0.0, 3.0, 9) ** 3, (5, 1)))
    line = render_background(field, BBOX)[100].astype(np.float64)
    last = int(np.floor(field.x[-1])) - BBOX.x.start
    outside = line[last + 1 :]
    third = np.diff(outside, 3)
    assert np.max(np.abs(third)) < 1e-4 * np.ptp(outside)
    theirs = field.render(BBOX, dtype=np.float64).array[100]
    assert np.max(np.abs(line - theirs)[last + 1 :]) > 1e-3, "the cubic of lsst.images differs there"
    slope_in, slope_out = line[last] - line[last - 1], line[last + 2] - line[last + 1]
    assert slope_out == pytest.approx(slope_in, rel=0.1)


@pytest.mark.parametrize("bins", [1, 2, 3, 4, 5, 8])
def test_few_bins_make_a_simpler_curve(bins: int) -> None:
    """A plane is reproduced whatever the number of bins, a constant with one."""
    slope = 0.0 if bins == 1 else 2.0
    plain = make_spline(np.zeros((bins, bins)))
    field = make_spline(7.0 + slope * plain.x + 3.0 * slope * plain.y[:, None])
    y, x = np.mgrid[BBOX.y.start : BBOX.y.stop, BBOX.x.start : BBOX.x.stop]
    np.testing.assert_allclose(render_background(field, BBOX), 7.0 + slope * (x + 3.0 * y), rtol=3e-6)


def test_missing_bins_are_passed_over() -> None:
    plain = make_spline(np.zeros((8, 9)))
    values = 7.0 + plain.x + 3.0 * plain.y[:, None]
    values[2, 3] = values[0, 0] = np.nan
    values[:, 5] = np.nan
    y, x = np.mgrid[BBOX.y.start : BBOX.y.stop, BBOX.x.start : BBOX.x.stop]
    np.testing.assert_allclose(render_background(make_spline(values), BBOX), 7.0 + x + 3.0 * y, rtol=3e-6)


def test_part_has_the_pixels_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    spline = make_spline(rng.normal(500.0, 20.0, (8, 9)))
    field = SumField([spline, ChebyshevField(BBOX, rng.normal(size=(3, 3)))])
    part = Box.factory[50:75, 100:119]
    whole = render_background(field, BBOX)
    np.testing.assert_array_equal(render_background(field, part), whole[part.slice_within(BBOX)])


def test_background_without_valid_bins() -> None:
    with pytest.raises(InputDataError, match="No bin of the background"):
        render_background(make_spline(np.full((6, 6), np.nan)), BBOX)
