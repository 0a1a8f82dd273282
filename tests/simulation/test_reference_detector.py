"""Steps of the reference on the assembled detector: arithmetic by hand and error propagation."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.errors import CalibrationMismatchError, InputDataError
from lsst.dax.image.simulation._reference_detector import (
    apply_flat,
    flag_amplifiers,
    flag_defects,
    flag_not_finite,
    make_variance,
    set_bad_regions,
    subtract_amplifier_offsets,
    subtract_bias,
    subtract_dark,
)
from lsst.dax.image.simulation._reference_planes import (
    Planes,
    clipped_mean,
    clipped_scatter,
    grow_diamond,
    region_of,
)
from lsst.dax.image.simulation._sensor import make_sensor

SENSOR = make_sensor("ITL", data_shape=(20, 16), overscan=(10, 10), columns=2, name="R42_S21")
SHAPE = SENSOR.bbox.shape


def make_planes(value=100.0, variance=4.0):
    image = np.full(SHAPE, value, dtype=np.float32)
    return Planes(image, {}, np.full(SHAPE, variance, dtype=np.float32))


def some(*pixels):
    where = np.zeros(SHAPE, dtype=bool)
    for pixel in pixels:
        where[pixel] = True
    return where


def test_bias_is_subtracted_with_its_variance_and_mask() -> None:
    bias = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    result = subtract_bias(make_planes(), bias, np.full(SHAPE, 0.5), {"NO_DATA": some((3, 4))})
    assert np.array_equal(result.image, np.float32(100.0) - bias.astype(np.float32))
    assert np.all(result.variance == 4.5)
    assert np.array_equal(result.plane("NO_DATA"), some((3, 4)))


def test_dark_is_scaled_by_the_times() -> None:
    dark, variance = np.full(SHAPE, 0.7), np.full(SHAPE, 0.01)
    result = subtract_dark(
        make_planes(), dark, variance, {"BAD": some((1, 1))}, dark_time=31.0, master_dark_time=2.0
    )
    np.testing.assert_allclose(result.image, 100.0 - 15.5 * 0.7, rtol=1e-7)
    np.testing.assert_allclose(result.variance, 4.0 + 15.5**2 * 0.01, rtol=1e-7)
    assert np.array_equal(result.plane("BAD"), some((1, 1)))
    unknown = subtract_dark(make_planes(), dark, variance, {}, dark_time=31.0, master_dark_time=float("nan"))
    np.testing.assert_allclose(unknown.image, 100.0 - 31.0 * 0.7, rtol=1e-6)


def test_dark_of_an_exposure_without_a_time_is_refused() -> None:
    none = np.zeros(SHAPE)
    with pytest.raises(InputDataError, match="dark time of the exposure is nan"):
        subtract_dark(make_planes(), none, none, {}, dark_time=float("nan"), master_dark_time=1.0)


def test_calibration_of_another_size_is_refused() -> None:
    wrong = np.zeros((4, 5))
    with pytest.raises(CalibrationMismatchError, match=r"bias has shape \(4, 5\), .* \(40, 32\)"):
        subtract_bias(make_planes(), wrong, wrong, {})


def test_defects_are_clipped_to_the_detector() -> None:
    boxes = [Box.factory[-3:2, 30:40], Box.factory[10:12, 4:5]]
    bad = flag_defects(make_planes(), boxes).plane("BAD")
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:2, 30:] = True
    expected[10:12, 4] = True
    assert np.array_equal(bad, expected)


def test_amplifiers_that_are_always_bad() -> None:
    bad = flag_amplifiers(make_planes(), SENSOR, ["R42_S21_C01", "R03_S01_C10"]).plane("BAD")
    (amplifier,) = (a for a in SENSOR.amplifiers if a.name == "C01")
    assert np.count_nonzero(bad) == amplifier.bbox.area
    assert bad[region_of(amplifier.bbox)].all()


def test_not_finite_in_either_plane_is_flagged() -> None:
    planes = make_planes()
    planes.image[2, 3], planes.variance[5, 6] = np.nan, np.inf
    assert np.array_equal(flag_not_finite(planes).plane("UNMASKEDNAN"), some((2, 3), (5, 6)))


def test_variance_is_that_of_signal_and_read_noise() -> None:
    noises = {a.name: 5.0 + number for number, a in enumerate(SENSOR.amplifiers)}
    planes = make_planes(1000.0, 0.25)
    planes.image[0, 0] = -5000.0
    result = make_variance(planes, SENSOR, noises)
    for amplifier in SENSOR.amplifiers:
        inside = result.variance[region_of(amplifier.bbox)]
        assert inside[-1, -1] == 1000.25 + noises[amplifier.name] ** 2
    assert np.array_equal(result.plane("BAD"), some((0, 0)))


def test_flat_propagates_errors() -> None:
    rng = np.random.default_rng(1)
    flat = rng.uniform(0.8, 1.2, SHAPE)
    planes, flat_variance = make_planes(2e4, 2.1e4), np.full(SHAPE, 1e-4)
    result = apply_flat(
        planes, flat, flat_variance, {"BAD": some((7, 7))}, has_polygon=False, no_data_variance=0.0
    )
    np.testing.assert_allclose(result.image, 2e4 / flat, rtol=2e-7)
    expected = 2.1e4 / flat**2 + (2e4) ** 2 * 1e-4 / flat**4
    np.testing.assert_allclose(result.variance, expected, rtol=1e-6)
    assert np.array_equal(result.plane("BAD"), some((7, 7)))


@pytest.mark.parametrize("variance", [0.0, 1e10])
def test_region_without_data_is_zero_if_the_flat_has_a_polygon(variance) -> None:
    flat = np.ones(SHAPE)
    flat[4, 4] = 0.0
    mask = {"NO_DATA": some((4, 4))}
    result = apply_flat(make_planes(), flat, flat * 0, mask, has_polygon=True, no_data_variance=variance)
    assert result.image[4, 4] == 0.0
    assert result.variance[4, 4] == np.float32(variance)
    assert np.all(result.image[~some((4, 4))] == 100.0)
    plain = apply_flat(make_planes(), flat, flat * 0, mask, has_polygon=False, no_data_variance=variance)
    assert not np.isfinite(plain.image[4, 4])


def test_bad_regions_get_the_median_of_the_others() -> None:
    planes = make_planes()
    planes.image[:] = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    planes.image[0, :5] = np.nan
    result = set_bad_regions(planes.flagged("BAD", some((9, 9), (9, 10))).flagged("INTRP", some((9, 10))))
    good = ~some((9, 9), (9, 10)) & np.isfinite(planes.image)
    assert result.image[9, 9] == np.float32(np.median(planes.image[good]))
    assert result.image[9, 10] == planes.image[9, 10]
    assert np.array_equal(result.variance, planes.variance)


def test_offsets_of_amplifiers() -> None:
    result = subtract_amplifier_offsets(make_planes(), SENSOR, {"C10": 2.5, "C00": -1.25})
    levels = {a.name: set(result.image[region_of(a.bbox)].ravel().tolist()) for a in SENSOR.amplifiers}
    assert levels == {"C10": {97.5}, "C11": {100.0}, "C01": {100.0}, "C00": {101.25}}


def test_clipped_statistics_ignore_outliers() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(50.0, 3.0, 20000)
    values[:200] = 1e4
    values[200:210] = np.nan
    assert clipped_mean(values) == pytest.approx(50.0, abs=0.1)
    # A Gaussian cut at 3 sigma has 0.987 of its standard deviation; three rounds cut a little more.
    assert clipped_scatter(values) == pytest.approx(0.985 * 3.0, rel=0.02)
    assert np.isnan(clipped_mean(np.array([np.nan])))
    assert np.isnan(clipped_scatter(np.array([np.inf])))


def test_first_clip_is_about_the_median() -> None:
    # The mean of all is drawn to 25 by a fifth of the values; a first clip about it would keep them.
    values = np.concatenate([np.linspace(-1.0, 1.0, 800), np.full(200, 130.0)])
    assert clipped_mean(values) == pytest.approx(0.0, abs=1e-9)


def test_clipping_takes_three_rounds() -> None:
    # A long tail loses some of itself in every round, each time chosen from all values.
    values = np.random.default_rng(3).lognormal(sigma=1.2, size=4000)
    center, limit = np.median(values), 3.0 * 0.741301109252802 * np.subtract(*np.percentile(values, [75, 25]))
    means = []
    for _ in range(4):
        kept = values[np.abs(values - center) <= limit]
        center, limit = np.mean(kept), 3.0 * np.std(kept, ddof=1)
        means.append(center)
    assert len(set(means)) == 4
    assert clipped_mean(values) == pytest.approx(means[2], rel=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 2, 7])
def test_growth_is_by_manhattan_distance(radius) -> None:
    grown = grow_diamond(some((20, 14)), radius)
    distance = np.abs(np.indices(SHAPE) - np.array([20, 14])[:, None, None]).sum(axis=0)
    assert np.array_equal(grown, distance <= radius)
