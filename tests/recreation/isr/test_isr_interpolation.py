"""Interpolation along rows over bad pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_interpolation_oracle import clipped_mean_oracle, interpolate_oracle

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.recreation.isr import IsrPlane
from lsst.dax.image.recreation.isr.interpolation import (
    interpolate_bad_pixels,
    interpolate_planes,
    kriging_weights,
)

PIXELS = 40


def interpolate_row(pattern: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a row in which the dots of a pattern are interpolated."""
    bad = np.array([[mark == "." for mark in pattern]])
    mask = np.where(bad, IsrPlane.BAD, 0).astype(np.uint16)
    pixels = interpolate_planes(values[None], values[None], mask, planes=IsrPlane.BAD)
    np.testing.assert_array_equal(pixels.mask != mask, bad)
    np.testing.assert_array_equal(pixels.image[~bad], values[None][~bad])
    row: npt.NDArray[np.float32] = pixels.image[0]
    return row


def weights_of(pattern: str, pixel: int) -> npt.NDArray[np.float64]:
    """Return the weights of all pixels of a pattern in one: its values for unit impulses."""
    columns = [interpolate_row(pattern, row)[pixel] for row in np.eye(len(pattern), dtype=np.float32)]
    return np.array(columns, dtype=np.float64)


@pytest.mark.parametrize(
    ("pattern", "pixel", "expected"),
    [
        ("##.##", 2, [-0.2737, 0.7737, 0, 0.7737, -0.2737]),
        (".##", 0, [0, 1.4288, -0.4288]),
        ("##.", 2, [-0.4288, 1.4288, 0]),
        ("..####", 0, [0, 0, 1.0933, -0.0933, 0, 0]),
        ("......##", 0, [0] * 6 + [0.5003, 0.4997]),
        (".#.##", 0, [0, 1, 0, 0, 0]),
        (".#", 0, [0, 1]),
        ("#.##", 1, [0.4875, 0, 0.8959, -0.3834]),
        ("#..#", 1, [0.7297, 0, 0, 0.2703]),
        ("##..##", 2, [-0.4793, 1.1904, 0, 0, 0.5212, -0.2323]),
        ("##...........##", 2, [-0.5177, 1.34] + [0] * 11 + [0.0888, 0.0888]),
        ("##...........##", 7, [0.25, 0.25] + [0] * 11 + [0.2503, 0.2497]),
        ("##.............##", 8, [0.25, 0.25] + [0] * 13 + [0.25, 0.25]),
        ("#.............##", 7, [0.4707] + [0] * 13 + [0.2646, 0.2646]),
        ("#.............#", 6, [0.5001] + [0] * 13 + [0.4999]),
    ],
)
def test_published_weights(pattern: str, pixel: int, expected: list[float]) -> None:
    np.testing.assert_allclose(weights_of(pattern, pixel), expected, rtol=0, atol=1e-7)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=4, unique=True), st.floats(-20, 20, width=32))
def test_weights_are_unbiased_and_exact_at_a_known_pixel(places: list[int], at: float) -> None:
    assert kriging_weights(places, at).sum() == pytest.approx(1, abs=2e-4)
    own = np.array(places) == places[0]
    np.testing.assert_array_equal(kriging_weights(places, places[0]), own)


def test_a_second_neighbour_in_another_run_does_not_count() -> None:
    values = np.array([9, 5, 0, 7, 9, 1e6, 3, 4], dtype=np.float32)
    # The pixel two to the left of the second run is bad.
    result = interpolate_row("##.#.###"[: len(values)], values)
    assert result[2] == np.float32(-0.3834 * 9 + 0.8959 * 5 + 0.4875 * 7)
    assert result[4] == np.float32(0.4875 * 7 + 0.8959 * 1e6 - 0.3834 * 3)


def test_a_negative_pair_between_single_pixels_is_set_to_zero() -> None:
    values = np.full(4, -5.0, np.float32)
    np.testing.assert_array_equal(interpolate_row("#..#", values)[1:3], 0.0)
    assert (
        interpolate_row("#.#", values[:3])[1],
        interpolate_row("#..##", np.full(5, -5, np.float32))[1],
    ) == (
        pytest.approx(-5.0, rel=1e-4),
        pytest.approx(-5.0, rel=1e-4),
    )


def make_planes(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a sky with few stars, and its variance."""
    image = rng.normal(100.0, 30.0, shape).astype(np.float32)
    image[rng.random(shape) < 0.02] *= 50
    return image, rng.uniform(50.0, 150.0, shape).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, PIXELS), st.floats(0, 1), st.floats(0.02, 1), st.integers(0, 2**32 - 1)
)
def test_it_is_what_a_loop_over_runs_gives(ny: int, nx: int, start: float, stop: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, variance = make_planes(rng, (ny, nx))
    # A two-state chain makes runs of every length.
    bad = np.zeros((ny, nx), dtype=bool)
    state = rng.random(ny) < start
    for x in range(nx):
        state = np.where(state, rng.random(ny) >= stop, rng.random(ny) < start)
        bad[:, x] = state
    image[bad] = np.where(rng.random(int(bad.sum())) < 0.5, np.nan, 1e6)
    mask = np.where(bad, rng.choice([1, 2, 3, 2049], (ny, nx)), 0).astype(np.uint16) | np.uint16(128)
    inputs = (image.copy(), variance.copy(), mask.copy())
    planes = IsrPlane.BAD | IsrPlane.SATURATED
    bad = mask & planes != 0
    if np.count_nonzero(np.isfinite(image)) < 3:
        return
    pixels = interpolate_planes(image, variance, mask, planes=planes)
    expected_image, expected_variance = interpolate_oracle(image, variance, bad)
    np.testing.assert_array_almost_equal_nulp(pixels.image, expected_image, nulp=1)
    np.testing.assert_array_almost_equal_nulp(pixels.variance, expected_variance, nulp=1)
    np.testing.assert_array_equal(pixels.mask, np.where(bad, mask | IsrPlane.INTERPOLATED, mask))
    for after, before in zip((image, variance, mask), inputs, strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_bad_row_and_a_wide_edge_get_the_clipped_mean_of_the_image() -> None:
    rng = np.random.default_rng(4)
    image, variance = make_planes(rng, (30, 64))
    mask = np.zeros(image.shape, np.uint16)
    mask[3] = mask[5, :20] = mask[7, -20:] = mask[9, :7] = IsrPlane.BAD
    pixels = interpolate_planes(image, variance, mask, planes=IsrPlane.BAD)
    fallback = np.float32(clipped_mean_oracle(image))
    for plane in (pixels.image, pixels.variance):
        np.testing.assert_array_equal(plane[3], fallback)
        np.testing.assert_array_equal(plane[5, :14], fallback)
        np.testing.assert_array_equal(plane[7, -14:], fallback)
        assert plane[9, 0] == fallback
        assert plane[5, 14] != fallback
    # Six pixels between two of the fallback and two good ones.
    row = pixels.image[5].astype(np.float64)
    w = kriging_weights([12, 13, 20, 21], 19)
    assert row[19] == np.float32(w @ row[[12, 13, 20, 21]])
    # Of a run of 7 only one pixel gets the fallback, and there is none beyond it.
    row = pixels.image[9].astype(np.float64)
    w = kriging_weights([0, 7, 8], 1)
    assert row[1] == np.float32(w @ row[[0, 7, 8]])


def test_a_constant_sky_stays_within_the_rounding_of_the_weights() -> None:
    rng = np.random.default_rng(6)
    image = np.full((50, 200), 1000.0, np.float32)
    mask = np.where(rng.random(image.shape) < 0.3, IsrPlane.SATURATED, 0).astype(np.uint16)
    pixels = interpolate_planes(image, image, mask, planes=IsrPlane.SATURATED)
    np.testing.assert_allclose(pixels.image, 1000.0, rtol=2.1e-4)


def test_saturation_grows_before_and_other_planes_do_not() -> None:
    exposure = make_exposure(
        make_detector(data=(20, 16), columns=2), image=50.0, variance=9.0, is_assembled=True
    )
    mask = exposure.mask.copy()
    mask[10, 10] = IsrPlane.SATURATED
    mask[20, 20] = IsrPlane.BAD
    mask[30, 20] = IsrPlane.SUSPECT
    exposure = exposure.with_pixels(mask=mask)
    result = interpolate_bad_pixels(exposure)
    saturated = np.argwhere(result.mask & IsrPlane.SATURATED)
    assert {tuple(pixel) for pixel in saturated} == {(10, 10), (9, 10), (11, 10), (10, 9), (10, 11)}
    marked = {tuple(pixel) for pixel in np.argwhere(result.mask & IsrPlane.INTERPOLATED)}
    assert marked == {tuple(pixel) for pixel in saturated} | {(20, 20)}
    np.testing.assert_array_equal(exposure.mask, mask)
    alone = interpolate_bad_pixels(exposure, planes=["BAD"])
    assert np.count_nonzero(alone.mask & IsrPlane.SATURATED) == 1
    ungrown = interpolate_bad_pixels(exposure, grow_saturated=0)
    assert np.count_nonzero(ungrown.mask & IsrPlane.INTERPOLATED) == 2


def test_nan_of_a_marked_pixel_goes_and_of_another_stays() -> None:
    exposure = make_exposure(
        make_detector(data=(20, 16), columns=2), image=50.0, variance=9.0, is_assembled=True
    )
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image[5, 5] = image[8, 8] = np.nan
    mask[5, 5] = IsrPlane.UNMASKED_NAN
    result = interpolate_bad_pixels(exposure.with_pixels(image=image, mask=mask))
    assert np.argwhere(np.isnan(result.image)).tolist() == [[8, 8]]


def test_unknown_planes_are_refused() -> None:
    exposure = make_exposure(make_detector(data=(20, 16), columns=2), is_assembled=True)
    with pytest.raises(RequestError, match=r"no mask planes \['SAT'\]; there are \['BAD', 'SATURATED'"):
        interpolate_bad_pixels(exposure, planes=["BAD", "SAT"])
    with pytest.raises(RequestError, match="0 pixels or more, not by -2"):
        interpolate_bad_pixels(exposure, grow_saturated=-2)


def test_planes_of_different_shape_are_refused() -> None:
    with pytest.raises(InputDataError, match=r"differ in shape: \(3, 4\), \(3, 4\), \(4, 3\)"):
        interpolate_planes(
            np.zeros((3, 4), np.float32),
            np.zeros((3, 4), np.float32),
            np.zeros((4, 3), np.uint16),
            planes=IsrPlane.BAD,
        )
