"""Overscan subtraction of the reference: what it removes, and what does not mislead it."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.simulation._reference_overscan import (
    PARALLEL_ABSOLUTE_RULE,
    PARALLEL_RULE,
    SERIAL_RULE,
    correct_parallel_overscan,
    correct_serial_overscan,
    measure_overscan,
)
from lsst.dax.image.simulation._reference_planes import Planes, region_of
from lsst.dax.image.simulation._sensor import make_sensor

LINES, PIXELS, SCATTER = 60, 40, 4.0


def make_lines(seed=1, *, level=200.0):
    """Return lines of noise, and no mask."""
    values = np.random.default_rng(seed).normal(level, SCATTER, (LINES, PIXELS)).astype(np.float32)
    return values, np.zeros(values.shape, dtype=bool)


def make_raw(sensor, *, seed=2, level=24000.0, signal=1000.0):
    """Return a raw of one signal above a level, with noise."""
    rng = np.random.default_rng(seed)
    image = level + rng.normal(0.0, SCATTER, sensor.raw_bbox.shape)
    for amplifier in sensor.amplifiers:
        image[region_of(amplifier.raw_data_bbox)] += signal
    image = image.astype(np.float32)
    return Planes(image, {}, np.zeros_like(image))


@pytest.fixture(params=["E2V", "ITL"])
def sensor(request):
    return make_sensor(request.param, data_shape=(50, 60), overscan=(32, 24), columns=2)


def test_level_is_the_median_of_each_line() -> None:
    values, masked = make_lines()
    levels = measure_overscan(values, masked, rule=SERIAL_RULE, gain=1.0)
    center, sigma = np.median(values, axis=1), np.std(values, axis=1)
    # Clipping at 3 sigma moves a median by less than the spacing of its neighbours.
    assert np.all(np.abs(levels - center) < 0.3 * sigma)
    assert np.std(levels) < 2.0 * SCATTER * np.sqrt(np.pi / 2 / PIXELS)


def test_outliers_of_a_line_are_clipped() -> None:
    values, masked = make_lines()
    dirty = values.copy()
    # Within the largest deviation, beyond 3 sigma: a third of the line.
    dirty[20, :8] += 60.0
    clean = measure_overscan(values, masked, rule=SERIAL_RULE, gain=1.0)
    found = measure_overscan(dirty, masked, rule=SERIAL_RULE, gain=1.0)
    assert abs(found[20] - np.median(values[20, 8:])) < 1.0
    assert np.array_equal(np.delete(found, 20), np.delete(clean, 20))


def test_masked_pixels_do_not_count() -> None:
    values, masked = make_lines()
    dirty = values.copy()
    dirty[:, :19] += 8.0
    masked[:, :19] = True
    found = measure_overscan(dirty, masked, rule=SERIAL_RULE, gain=1.0)
    assert abs(np.mean(found) - 200.0) < 0.5


@pytest.mark.parametrize("offset", [1100.0, -1100.0])
def test_a_line_that_is_far_off_takes_the_level_of_its_neighbours(offset) -> None:
    values, masked = make_lines()
    values += np.arange(LINES, dtype=np.float32)[:, np.newaxis]
    values[30] += offset
    found = measure_overscan(values, masked, rule=SERIAL_RULE, gain=1.0)
    others = np.concatenate([found[25:30], found[31:36]])
    assert found[30] == np.median(others)
    near = measure_overscan(values, masked, rule=SERIAL_RULE, gain=1.0)
    assert abs(near[30] - 230.0) < 2.0


def test_a_line_near_the_end_takes_the_level_of_all() -> None:
    values, masked = make_lines()
    values += np.arange(LINES, dtype=np.float32)[:, np.newaxis]
    values[2] += 5000.0
    found = measure_overscan(values, masked, rule=SERIAL_RULE, gain=1.0)
    assert found[2] == np.median(np.delete(found, 2))


def test_parallel_rule_leaves_out_high_columns_and_their_neighbours() -> None:
    values, masked = make_lines()
    values[30] += 12.0
    kept = measure_overscan(values, masked, rule=PARALLEL_RULE, gain=3.0)
    left_out = measure_overscan(values, masked, rule=PARALLEL_RULE, gain=1.5)
    assert kept[30] > 208.0
    assert abs(left_out[30] - 200.0) < 2.0
    # Five columns are gone; five on either side of the middle one are at hand, less the grown ones.
    assert left_out[30] == np.median(np.concatenate([kept[25:28], kept[33:36]]))
    assert left_out[28] != kept[28]
    assert left_out[27] == kept[27]
    plain = measure_overscan(values, masked, rule=PARALLEL_ABSOLUTE_RULE, gain=1.5)
    assert plain[30] == kept[30]


def test_parallel_rule_is_one_sided() -> None:
    values, masked = make_lines()
    values[30] -= 150.0
    low = measure_overscan(values, masked, rule=PARALLEL_RULE, gain=1.0)
    assert abs(low[30] - 50.0) < 3.0
    both = measure_overscan(values, masked, rule=PARALLEL_ABSOLUTE_RULE, gain=1.0)
    assert abs(both[30] - 200.0) < 3.0


def test_ends_are_not_judged_by_the_running_median() -> None:
    values, masked = make_lines()
    values[3] += 12.0
    assert measure_overscan(values, masked, rule=PARALLEL_RULE, gain=1.0)[3] > 208.0


def test_serial_overscan_removes_an_offset_of_each_row(sensor) -> None:
    planes = make_raw(sensor)
    ramp = np.linspace(0.0, 30.0, planes.image.shape[0], dtype=np.float32)[:, np.newaxis]
    ramped = planes.with_image(planes.image + ramp)
    for amplifier in sensor.amplifiers:
        ramped, level, residual = correct_serial_overscan(ramped, amplifier)
        data = ramped.image[region_of(amplifier.raw_data_bbox)]
        # A row's level has the error of a median of 26 pixels.
        assert np.mean(data) == pytest.approx(1000.0, abs=0.5)
        assert np.std(np.mean(data, axis=1)) < 3.0 * SCATTER * np.sqrt(np.pi / 2 / 26)
        assert np.std(data) < 1.15 * SCATTER
        parallel = ramped.image[region_of(amplifier.raw_parallel_overscan_bbox)]
        assert abs(np.mean(parallel)) < 1.0
        assert level.median == pytest.approx(24015.0, abs=16.0)
        assert abs(residual.median) < 0.2
        assert residual.scatter == pytest.approx(SCATTER, rel=0.1)


def test_serial_overscan_leaves_the_prescan(sensor) -> None:
    planes = make_raw(sensor)
    amplifier = sensor.amplifiers[0]
    result, _, _ = correct_serial_overscan(planes, amplifier)
    prescan = region_of(amplifier.raw_prescan_bbox)
    assert np.array_equal(result.image[prescan], planes.image[prescan])
    other = region_of(sensor.amplifiers[1].raw_bbox)
    assert np.array_equal(result.image[other], planes.image[other])


def test_columns_next_to_the_data_are_skipped(sensor) -> None:
    planes = make_raw(sensor)
    amplifier = sensor.amplifiers[0]
    overscan = region_of(amplifier.raw_serial_overscan_bbox)
    image = planes.image.copy()
    # Deferred charge: nothing near enough to a median to be clipped.
    for edge in (slice(0, 3), slice(-3, None)):
        image[overscan][:, edge] += 9.0
    clean = correct_serial_overscan(planes, amplifier)[0]
    dirty = correct_serial_overscan(planes.with_image(image), amplifier)[0]
    data = region_of(amplifier.raw_data_bbox)
    assert np.array_equal(clean.image[data], dirty.image[data])


def test_fully_masked_overscan_is_not_subtracted(sensor) -> None:
    amplifier = sensor.amplifiers[1]
    planes = make_raw(sensor).flagged_region("SAT", region_of(amplifier.raw_bbox))
    for correct in (correct_serial_overscan, parallel):
        assert correct(planes, amplifier)[0] is planes


def parallel(planes, amplifier):
    return correct_parallel_overscan(planes, amplifier, gain=1.5, saturation=1e5)


def test_parallel_overscan_removes_an_offset_of_each_column(sensor) -> None:
    planes = make_raw(sensor, level=0.0)
    columns = np.arange(planes.image.shape[1], dtype=np.float32) * 0.05
    ramped = planes.with_image(planes.image + columns)
    for amplifier in sensor.amplifiers:
        ramped, _, residual = parallel(ramped, amplifier)
        data = ramped.image[region_of(amplifier.raw_data_bbox)]
        assert np.mean(data) == pytest.approx(1000.0, abs=0.5)
        assert np.std(np.mean(data, axis=0)) < 3.0 * SCATTER * np.sqrt(np.pi / 2 / 18)
        assert abs(residual.median) < 0.2


def test_parallel_overscan_leaves_the_serial_one(sensor) -> None:
    planes = make_raw(sensor)
    amplifier = sensor.amplifiers[2]
    result, _, _ = parallel(planes, amplifier)
    serial = region_of(amplifier.raw_serial_overscan_bbox)
    assert np.array_equal(result.image[serial], planes.image[serial])


def test_bleed_into_the_parallel_overscan_is_masked_with_its_surroundings(sensor) -> None:
    planes = make_raw(sensor, level=0.0)
    amplifier = sensor.amplifiers[0]
    image = planes.image.copy()
    box = region_of(amplifier.raw_parallel_overscan_bbox)
    image[box][:, 30] = 8e4
    # A halo too faint for the largest deviation and the running median.
    image[box][:, 26:35] += 6.0
    data = region_of(amplifier.raw_data_bbox)
    dirty = parallel(planes.with_image(image), amplifier)[0].image[data]
    assert np.all(np.abs(np.mean(dirty, axis=0) - 1000.0) < 5.0)
    below = correct_parallel_overscan(planes.with_image(image), amplifier, gain=1.5, saturation=2e5)[0]
    assert np.any(np.abs(np.mean(below.image[data], axis=0) - 1000.0) > 5.0)


def test_contaminated_parallel_overscan_is_left_alone(sensor) -> None:
    amplifier = sensor.amplifiers[0]
    for signal, level, corrected in ((2e4, 1.2e4, True), (2e4, 3e4, False), (5e3, 3e3, True)):
        planes = make_raw(sensor, level=0.0, signal=signal)
        image = planes.image.copy()
        image[region_of(amplifier.raw_parallel_overscan_bbox)] += level
        contaminated = planes.with_image(image)
        result = correct_parallel_overscan(contaminated, amplifier, gain=1.5, saturation=1e9)[0]
        ratio_is_high = level / signal > 0.5 and signal > 1e4
        assert (result is contaminated) == ratio_is_high
        assert corrected or ratio_is_high


def test_narrow_overscan_is_refused() -> None:
    sensor = make_sensor("E2V", data_shape=(30, 20), overscan=(6, 6), columns=2)
    planes = make_raw(sensor)
    with pytest.raises(InputDataError, match="serial overscan of C10 has 6 lines, of which 3"):
        correct_serial_overscan(planes, sensor.amplifiers[0])
    with pytest.raises(InputDataError, match="parallel overscan of C10 has 6 lines"):
        parallel(planes, sensor.amplifiers[0])
