"""Groups of flagged pixels, and medians, against SciPy and NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from tests.support.isr import make_exposure
from tests.support.isr_images import assert_unchanged, freeze

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation.isr import IsrPlane
from lsst.dax.image.recreation.isr._footprints import find_footprints, find_runs
from lsst.dax.image.recreation.isr._median import find_median
from lsst.dax.image.recreation.isr.saturation_trails import widen_saturation_trails

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 12))
# Other bits must not count, and 130 is SATURATED with SUSPECT.
MASKS = SHAPES.flatmap(lambda shape: arrays(np.uint16, shape, elements=st.sampled_from([0, 0, 129, 2, 130])))


def find_all(mask: np.ndarray) -> list:
    return find_footprints(mask, plane=IsrPlane.SATURATED, wanted=lambda area, _: area > 0)


@settings(max_examples=120, deadline=None)
@given(MASKS)
def test_groups_are_those_of_scipy_with_eight_neighbours(mask: np.ndarray) -> None:
    labels, n = ndimage.label((mask & 2) != 0, structure=np.ones((3, 3)))
    footprints = find_all(mask)
    assert len(footprints) == n
    for number, (footprint, box) in enumerate(zip(footprints, ndimage.find_objects(labels), strict=True), 1):
        expected = labels[box] == number
        y, x = ndimage.center_of_mass(labels == number)
        assert (footprint.y_min, footprint.x_min) == (box[0].start, box[1].start)
        assert footprint.height == expected.shape[0]
        assert footprint.area == expected.sum()
        np.testing.assert_array_equal(footprint.to_array(), expected)
        np.testing.assert_allclose(footprint.centroid, (x, y), rtol=1e-12)


def test_groups_of_a_large_random_mask_are_those_of_scipy() -> None:
    rng = np.random.default_rng(4)
    # Near the percolation threshold groups wind through each other.
    for fraction in (0.2, 0.37, 0.41, 0.6):
        mask = np.where(rng.random((300, 400)) < fraction, 2, 0).astype(np.uint16)
        labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
        areas = [footprint.area for footprint in find_all(mask)]
        np.testing.assert_array_equal(areas, np.bincount(labels.ravel(), minlength=n + 1)[1:])


def test_only_wanted_groups_come_back() -> None:
    mask = np.zeros((6, 20), np.uint16)
    mask[1, 1:5] = 2
    mask[0:6, 10:12] = 2
    mask[4:6, 17] = 2
    wanted = find_footprints(mask, plane=IsrPlane.SATURATED, wanted=lambda _, height: height == 2)
    assert [footprint.area for footprint in wanted] == [2]
    wanted = find_footprints(mask, plane=IsrPlane.SATURATED, wanted=lambda area, _: area >= 4)
    assert [(footprint.area, footprint.height) for footprint in wanted] == [(12, 6), (4, 1)]


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_runs_are_those_of_each_row(mask: np.ndarray) -> None:
    runs = find_runs(mask, plane=IsrPlane.SATURATED)
    expected = []
    for y, row in enumerate((mask & 2) != 0):
        x = 0
        for flagged, group in itertools.groupby(row):
            length = len(list(group))
            if flagged:
                expected.append((y, x, x + length))
            x += length
    assert list(zip(runs.row, runs.start, runs.stop, strict=True)) == expected


@pytest.mark.parametrize(
    ("length", "growth"), [(1, 0), (5, 0), (6, 1), (7, 1), (8, 3), (9, 3), (10, 4), (11, 4), (60, 4)]
)
def test_trails_grow_by_their_length(length: int, growth: int) -> None:
    before = make_exposure(is_assembled=True)
    mask = before.mask.copy()
    mask[7, 50 : 50 + length] = IsrPlane.SATURATED
    before = freeze(before.with_pixels(mask=mask))
    after = widen_saturation_trails(before)
    expected = np.zeros_like(mask)
    expected[7, 50 - growth : 50 + length + growth] = IsrPlane.SATURATED
    np.testing.assert_array_equal(after.mask, expected)
    assert_unchanged(after, before, "image", "variance")


def test_trails_stop_at_the_edges_and_do_not_grow_from_what_has_grown() -> None:
    mask = np.zeros((80, 192), np.uint16)
    mask[0, :6] = IsrPlane.SATURATED | IsrPlane.BAD
    mask[1, -12:] = IsrPlane.SATURATED
    # Seven pixels and six, two apart: together they would be fifteen.
    mask[2, 20:27] = mask[2, 29:35] = IsrPlane.SATURATED
    after = widen_saturation_trails(make_exposure(mask=mask, is_assembled=True)).mask
    assert np.flatnonzero(after[0]).tolist() == list(range(7))
    assert (after[0, :6] == IsrPlane.SATURATED | IsrPlane.BAD).all()
    assert np.flatnonzero(after[1]).tolist() == list(range(192 - 16, 192))
    assert np.flatnonzero(after[2]).tolist() == list(range(19, 36))


def test_without_wide_trails_nothing_is_copied() -> None:
    mask = np.zeros((80, 192), np.uint16)
    mask[:, 30:35] = IsrPlane.SATURATED
    before = make_exposure(mask=mask, is_assembled=True)
    assert widen_saturation_trails(before) is before


def test_trails_need_an_assembled_exposure() -> None:
    with pytest.raises(InputDataError, match="widen_saturation_trails needs an assembled exposure"):
        widen_saturation_trails(make_exposure())


VALUES = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=120, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=VALUES)), st.data())
def test_median_is_that_of_numpy(image: np.ndarray, data: st.DataObject) -> None:
    mask = data.draw(arrays(np.uint16, image.shape, elements=st.sampled_from([0, 1, 2, 4, 5])))
    kept = image[np.isfinite(image) & ((mask & 5) == 0)].astype(np.float64)
    median = find_median(image, mask=mask, without=IsrPlane.BAD | IsrPlane.INTERPOLATED)
    if not kept.size:
        assert np.isnan(median)
    else:
        assert median == np.median(kept)


def test_median_of_an_even_number_lies_between_two_far_values() -> None:
    # The middle two differ in the upper half of their bits, and in sign.
    image = np.array([[-4.0, -3.0, 5.0, 6.0]], np.float32)
    assert find_median(image, mask=np.zeros((1, 4), np.uint16), without=IsrPlane.BAD) == 1.0
