"""The reference interpolation against published weights and symmetries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.dax.image.simulation._reference_interpolation import find_runs, interpolate, kriging_weights
from lsst.dax.image.simulation._reference_planes import Planes, clipped_mean

SIZE = 40


def make_planes(image, bad, *, name="BAD", variance=None):
    image = np.asarray(image, dtype=np.float32)
    variance = np.ones_like(image) if variance is None else np.asarray(variance, dtype=np.float32)
    return Planes(image, {name: np.asarray(bad, dtype=bool)}, variance)


def fill(row, bad):
    """Fill the middle of three rows, of which the others are good."""
    image = np.tile(np.asarray(row, dtype=np.float32), (3, 1))
    where = np.zeros(image.shape, dtype=bool)
    where[1] = bad
    return interpolate(make_planes(image, where), "BAD").image[1]


def mark(*pixels, size=SIZE):
    bad = np.zeros(size, dtype=bool)
    bad[list(pixels)] = True
    return bad


# The coefficients that the observatory's code has as tables.
@pytest.mark.parametrize(
    ("case", "weights"),
    [
        ((1, 0, 2, 2), (-0.2737, 0.7737, 0.7737, -0.2737)),
        ((1, 0, 0, 2), (1.4288, -0.4288)),
        ((1, 0, 2, 0), (-0.4288, 1.4288)),
        ((20, 10, 2, 2), (0.25, 0.25, 0.25, 0.25)),
        ((1, 0, 1, 1), (0.5, 0.5)),
    ],
)
def test_weights_are_the_published_ones(case, weights) -> None:
    assert kriging_weights(*case) == weights


@given(st.integers(1, 14), st.data(), st.integers(1, 2), st.integers(1, 2))
def test_weights_have_unit_sum_and_mirror(length, data, left, right) -> None:
    index = data.draw(st.integers(0, length - 1))
    weights = kriging_weights(length, index, left, right)
    assert sum(weights) == pytest.approx(1.0, abs=2.1e-4)
    # The middle of the shortest wide run sees its left end only.
    if not (length == 11 and index == 5):
        assert kriging_weights(length, length - 1 - index, right, left) == weights[::-1]


def test_weights_of_a_bridged_run_solve_the_kriging_equations() -> None:
    # Stationarity: covariance with the estimate differs from that with the target by a constant.
    places = np.array([-2.0, -1.0, 3.0, 4.0])
    weights = np.array(kriging_weights(3, 1, 2, 2))
    covariance = np.exp(-0.25 * np.subtract.outer(places, places) ** 2) @ weights
    difference = covariance - np.exp(-0.25 * (places - 1.0) ** 2)
    assert np.ptp(difference) < 2e-4


@given(st.lists(st.booleans(), min_size=SIZE, max_size=SIZE))
def test_a_constant_stays_and_good_pixels_are_untouched(bad) -> None:
    bad = np.array(bad)
    row = np.full(SIZE, 1000.0)
    row[bad] = 1e6
    image = np.full((60, SIZE), 1000.0)
    image[30] = row
    where = np.zeros(image.shape, dtype=bool)
    where[30] = bad
    filled = interpolate(make_planes(image, where), "BAD")
    np.testing.assert_allclose(filled.image, 1000.0, atol=0.25)
    assert np.array_equal(filled.image[~where], image[~where].astype(np.float32))
    assert np.array_equal(filled.plane("INTRP"), where)


@given(st.sets(st.integers(2, SIZE - 3), min_size=1, max_size=8), st.integers(0, 1000))
def test_a_row_and_its_mirror_are_filled_alike(pixels, seed) -> None:
    row = np.random.default_rng(seed).normal(100.0, 5.0, SIZE)
    bad = mark(*pixels)
    np.testing.assert_allclose(fill(row, bad), fill(row[::-1], bad[::-1])[::-1], rtol=1e-6)


def test_single_pixel_is_the_weighted_sum() -> None:
    row = np.arange(SIZE, dtype=float) ** 2
    expected = -0.2737 * 64 + 0.7737 * 81 + 0.7737 * 121 - 0.2737 * 144
    assert fill(row, mark(10))[10] == np.float32(expected)


def test_a_second_neighbour_in_another_run_is_dropped() -> None:
    row = np.random.default_rng(1).normal(100.0, 10.0, SIZE)
    bad = mark(10, 12)
    filled = fill(row, bad)
    weights = kriging_weights(1, 0, 2, 1)
    assert filled[10] == pytest.approx(np.dot(weights, row[[8, 9, 11]]), rel=1e-6)
    changed = row.copy()
    changed[13] += 50.0
    assert fill(changed, bad)[10] == filled[10]
    assert fill(changed, bad)[12] != filled[12]


def test_a_second_neighbour_off_the_image_is_dropped() -> None:
    row = np.random.default_rng(2).normal(100.0, 10.0, SIZE)
    weights = kriging_weights(1, 0, 1, 2)
    assert fill(row, mark(1))[1] == pytest.approx(np.dot(weights, row[[0, 2, 3]]), rel=1e-6)


def test_short_run_at_the_edge_uses_one_side() -> None:
    row = np.random.default_rng(3).normal(100.0, 10.0, SIZE)
    filled = fill(row, mark(0, 1, 2))
    for pixel in range(3):
        weights = kriging_weights(3, pixel, 0, 2)
        assert filled[pixel] == pytest.approx(np.dot(weights, row[3:5]), rel=1e-6)
    assert fill(row, mark(0, 2))[0] == np.float32(row[1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_far_pixels_of_a_long_run_at_the_edge_get_the_fallback(mirrored) -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(100.0, 10.0, (3, SIZE)).astype(np.float32)
    bad = np.zeros(image.shape, dtype=bool)
    bad[1, :9] = True
    if mirrored:
        image, bad = image[:, ::-1], bad[:, ::-1]
    filled = interpolate(make_planes(image, bad), "BAD").image[1]
    row = image[1]
    if mirrored:
        filled, row = filled[::-1], row[::-1]
    fallback = np.float32(clipped_mean(image))
    assert np.array_equal(filled[:3], [fallback] * 3)
    weights = kriging_weights(6, 0, 2, 2)
    assert filled[3] == pytest.approx(np.dot(weights, [fallback, fallback, row[9], row[10]]), rel=1e-6)


def test_whole_row_gets_the_clipped_mean_of_the_image_in_both_planes() -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(50.0, 3.0, (20, SIZE))
    image[3, 5] = 1e5
    bad = np.zeros(image.shape, dtype=bool)
    bad[8] = True
    filled = interpolate(make_planes(image, bad, variance=np.full(image.shape, 7.0)), "BAD")
    fallback = np.float32(clipped_mean(image.astype(np.float32)))
    assert abs(fallback - 50.0) < 0.5
    assert np.all(filled.image[8] == fallback)
    assert np.all(filled.variance[8] == fallback)


def test_wide_run_is_flat_in_the_middle_and_local_at_its_ends() -> None:
    row = np.full(SIZE, 10.0)
    row[8:10], row[30:32] = [20.0, 40.0], [60.0, 80.0]
    filled = fill(row, mark(*range(10, 30)))
    assert np.array_equal(filled[16:24], np.full(8, 50.0))
    moved = row.copy()
    moved[30:32] = [80.0, 60.0]
    # The right pair keeps its sum, so its order is felt on the right only.
    np.testing.assert_array_equal(fill(moved, mark(*range(10, 30)))[10:24], filled[10:24])
    assert filled[10] > filled[16] - 40.0
    assert filled[29] != filled[24]


def test_lonely_pair_is_not_made_negative() -> None:
    row = np.full(SIZE, 100.0)
    row[9], row[12] = -80.0, -40.0
    assert np.all(fill(row, mark(8, 10, 11, 13))[10:12] == 0.0)
    # With a second neighbour it may be.
    assert np.any(fill(row - 500.0, mark(10, 11))[10:12] < 0.0)


def test_saturation_grows_by_a_diamond_first() -> None:
    image = np.full((9, 9), 5.0)
    bad = np.zeros((9, 9), dtype=bool)
    bad[4, 4] = True
    filled = interpolate(make_planes(image, bad, name="SAT"), "SAT", "BAD")
    distance = np.abs(np.indices((9, 9)) - 4).sum(axis=0)
    assert np.array_equal(filled.plane("SAT"), distance <= 1)
    assert np.array_equal(filled.plane("INTRP"), distance <= 1)


def test_variance_has_the_weights_of_the_image() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 5.0, (3, SIZE))
    bad = np.zeros(image.shape, dtype=bool)
    bad[1, 20:23] = True
    filled = interpolate(make_planes(image, bad, variance=image), "BAD")
    assert np.array_equal(filled.variance, filled.image)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_cover_what_is_bad(bad) -> None:
    covered = np.zeros(len(bad), dtype=bool)
    runs = find_runs(np.array(bad))
    for start, stop in runs:
        covered[start:stop] = True
    assert covered.tolist() == bad
    assert all(a[1] < b[0] for a, b in itertools.pairwise(runs))
