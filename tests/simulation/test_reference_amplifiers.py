"""Steps of the reference on raw amplifiers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.simulation._calibration_truth import make_simulated_calibrations
from lsst.dax.image.simulation._reference_amplifiers import (
    apply_gains,
    assemble,
    dither_counts,
    find_bad_amplifiers,
    flag_saturation,
    is_noisy,
    subtract_crosstalk,
)
from lsst.dax.image.simulation._reference_planes import Planes, region_of
from lsst.dax.image.simulation._sensor import make_sensor

EXPOSURE_ID = 47152417142
FIRST_DITHERS = (0.3169679, 0.2048428, -0.4713139)


@pytest.fixture(params=["E2V", "ITL"])
def sensor(request):
    return make_sensor(request.param, data_shape=(24, 30), overscan=(12, 10), columns=2)


def blank(sensor, value=0.0):
    image = np.full(sensor.raw_bbox.shape, value, dtype=np.float32)
    return Planes(image, {}, np.ones_like(image))


def names_to(sensor, values):
    return {amplifier.name: float(v) for amplifier, v in zip(sensor.amplifiers, values, strict=True)}


def readout_view(sensor, array, name):
    """Return the pixels of an amplifier with the first that is read at [0, 0]."""
    (amplifier,) = (a for a in sensor.amplifiers if a.name == name)
    flip_x, flip_y = amplifier.flips
    return array[region_of(amplifier.raw_bbox)][:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def make_coefficients(sensor, *, unit="electron", linear=(), quadratic=()):
    """Return calibrations with a few crosstalk coefficients [source, target] alone."""
    number = {amplifier.name: i for i, amplifier in enumerate(sensor.amplifiers)}
    size = len(number)
    c, q = np.zeros((size, size)), np.zeros((size, size))
    for array, entries in ((c, linear), (q, quadratic)):
        for source, target, value in entries:
            array[number[source], number[target]] = value
    return dataclasses.replace(
        make_simulated_calibrations(sensor),
        crosstalk_linear=c,
        crosstalk_quadratic=q,
        crosstalk_valid=np.ones((size, size), dtype=bool),
        crosstalk_unit=unit,
    )


def correct(sensor, planes, calibrations, *, gains=None, bad=(), **options):
    gains = gains if gains is not None else names_to(sensor, np.ones(len(sensor.amplifiers)))
    return subtract_crosstalk(planes, sensor, calibrations, gains=gains, bad=set(bad), **options)


# The generator's stream is frozen: numpy promises it for RandomState.
def test_dither_is_the_stream_of_the_low_half_of_the_id(sensor) -> None:
    dithered = dither_counts(blank(sensor), seed=EXPOSURE_ID, mode="SYMMETRIC").image
    stream = np.random.RandomState(EXPOSURE_ID % 2**32).random_sample(dithered.size) - 0.5
    np.testing.assert_array_equal(dithered, stream.reshape(dithered.shape).astype(np.float32))
    np.testing.assert_allclose(dithered.ravel()[:3], FIRST_DITHERS, atol=1e-7)


@pytest.mark.parametrize(("mode", "low"), [("SYMMETRIC", -0.5), ("POSITIVE", 0.0), ("NEGATIVE", -1.0)])
def test_dither_fills_one_count(sensor, mode, low) -> None:
    counts = np.arange(blank(sensor).image.size, dtype=np.float32).reshape(blank(sensor).image.shape)
    change = dither_counts(blank(sensor).with_image(counts), seed=5, mode=mode).image - counts
    assert low - 1e-3 <= change.min() < low + 0.01
    assert low + 0.99 < change.max() <= low + 1.0 + 1e-3
    assert np.mean(change) == pytest.approx(low + 0.5, abs=0.02)


def test_unknown_dither_is_refused(sensor) -> None:
    with pytest.raises(RequestError, match="one of SYMMETRIC, POSITIVE, NEGATIVE, not 'ROUND'"):
        dither_counts(blank(sensor), seed=1, mode="ROUND")


def test_saturation_starts_at_its_level(sensor) -> None:
    amplifier = sensor.amplifiers[1]
    planes = blank(sensor)
    planes.image[region_of(amplifier.raw_bbox)][5, 8:11] = [999.0, 1000.0, 1001.0]
    planes.image[region_of(sensor.amplifiers[0].raw_bbox)] = 5000.0
    result, bad = flag_saturation(planes, amplifier, limit=1000.0, suspect_limit=1001.0)
    assert np.count_nonzero(result.plane("SAT")) == 2
    assert np.count_nonzero(result.plane("SUSPECT")) == 1
    assert not bad
    nothing, _ = flag_saturation(planes, amplifier, limit=np.nan, suspect_limit=np.inf)
    assert not nothing.plane("SAT", "SUSPECT").any()


def test_amplifier_without_a_good_pixel_is_bad(sensor) -> None:
    amplifier = sensor.amplifiers[0]
    planes = blank(sensor)
    planes.image[region_of(amplifier.raw_data_bbox)] = 9e4
    result, bad = flag_saturation(planes, amplifier, limit=8e4, suspect_limit=8e4)
    assert bad
    assert result.plane("BAD")[region_of(amplifier.raw_bbox)].all()
    assert np.count_nonzero(result.plane("BAD")) == amplifier.raw_bbox.area


def test_amplifier_in_one_defect_or_without_gain_is_bad(sensor) -> None:
    first, second, third = sensor.amplifiers[:3]
    gains = names_to(sensor, np.ones(len(sensor.amplifiers)))
    box = first.bbox
    halves = [
        Box.factory[second.bbox.y.start : second.bbox.y.stop, second.bbox.x.start : second.bbox.x.stop - 1],
        Box.factory[second.bbox.y.start : second.bbox.y.stop, second.bbox.x.start + 1 : second.bbox.x.stop],
    ]
    assert find_bad_amplifiers(sensor, [box, *halves], gains) == {first.name}
    gains[third.name] = float("nan")
    assert find_bad_amplifiers(sensor, [], gains) == {third.name}


def test_gains_are_applied_in_single_precision(sensor) -> None:
    gains = names_to(sensor, np.linspace(1.4, 1.7, len(sensor.amplifiers)))
    planes = apply_gains(blank(sensor, 1234.5), sensor, gains)
    for amplifier in sensor.amplifiers:
        gain = np.float32(gains[amplifier.name])
        region = region_of(amplifier.raw_bbox)
        assert np.all(planes.image[region] == np.float32(1234.5) * gain)
        assert np.all(planes.variance[region] == gain * gain)


def test_crosstalk_appears_at_the_same_time_of_readout(sensor) -> None:
    calibrations = make_coefficients(
        sensor, linear=[("C10", "C00", 1e-3), ("C10", "C11", 2e-3)], quadratic=[("C10", "C11", 1e-8)]
    )
    planes = blank(sensor)
    readout_view(sensor, planes.image, "C10")[7, 13] = 1e5
    result = correct(sensor, planes, calibrations)
    change = result.image - planes.image
    assert readout_view(sensor, change, "C00")[7, 13] == pytest.approx(-100.0, rel=1e-6)
    assert readout_view(sensor, change, "C11")[7, 13] == pytest.approx(-300.0, rel=1e-6)
    assert np.count_nonzero(change) == 2
    assert np.array_equal(result.plane("CROSSTALK"), change != 0)
    linear = correct(sensor, planes, calibrations, quadratic=False).image - planes.image
    assert readout_view(sensor, linear, "C11")[7, 13] == pytest.approx(-200.0, rel=1e-6)


def test_crosstalk_of_all_sources_comes_from_the_uncorrected_image(sensor) -> None:
    calibrations = make_coefficients(sensor, linear=[("C10", "C11", 0.5), ("C11", "C10", 0.5)])
    planes = blank(sensor, 100.0)
    result = correct(sensor, planes, calibrations).image
    for name in ("C10", "C11"):
        assert np.all(readout_view(sensor, result, name) == 50.0)
    assert np.all(readout_view(sensor, result, "C00") == 100.0)


def test_crosstalk_that_does_not_count(sensor) -> None:
    calibrations = make_coefficients(
        sensor, linear=[("C10", "C11", 1e-2), ("C00", "C01", np.nan)], quadratic=[("C10", "C00", 1e-6)]
    )
    planes = blank(sensor, 1e4)
    for bad in ("C10", "C11"):
        assert np.array_equal(correct(sensor, planes, calibrations, bad={bad}).image, planes.image)
    invalid = dataclasses.replace(calibrations, crosstalk_valid=np.zeros_like(calibrations.crosstalk_valid))
    assert np.array_equal(correct(sensor, planes, invalid).image, planes.image)
    changed = correct(sensor, planes, calibrations).image != planes.image
    # Without a linear part the quadratic one does not count either.
    assert np.count_nonzero(changed) == sensor.amplifiers[0].raw_bbox.area


def test_crosstalk_in_adu_is_that_of_the_counts(sensor) -> None:
    calibrations = make_coefficients(
        sensor, unit="adu", linear=[("C10", "C11", 1e-3)], quadratic=[("C10", "C11", 1e-7)]
    )
    gains = names_to(sensor, np.linspace(1.0, 2.0, len(sensor.amplifiers)))
    planes = blank(sensor)
    readout_view(sensor, planes.image, "C10")[4, 9] = 3e4 * gains["C10"]
    result = correct(sensor, planes, calibrations, gains=gains)
    change = readout_view(sensor, result.image, "C11")[4, 9]
    assert change == pytest.approx(-(30.0 + 90.0) * gains["C11"], rel=1e-5)
    assert readout_view(sensor, result.image, "C10")[4, 9] == pytest.approx(3e4 * gains["C10"], rel=1e-6)


def test_crosstalk_mask_is_about_the_median_of_the_data(sensor) -> None:
    calibrations = make_coefficients(sensor, linear=[("C10", "C11", 1e-3)])
    planes = blank(sensor, 5e4)
    view = readout_view(sensor, planes.image, "C10")
    prescan = sensor.amplifiers[0].raw_prescan_bbox.x.size
    view[3, prescan + 4] += 999.0
    view[3, prescan + 6] -= 1001.0
    flagged = correct(sensor, planes, calibrations).plane("CROSSTALK")
    (target,) = (a for a in sensor.amplifiers if a.name == "C11")
    assert np.count_nonzero(flagged[region_of(target.raw_data_bbox)]) == 1
    assert readout_view(sensor, flagged, "C11")[3, prescan + 6]
    # Elsewhere the level of 50 electrons itself counts.
    assert flagged[region_of(target.raw_serial_overscan_bbox)].all()


def test_crosstalk_of_the_wrong_size_is_refused(sensor) -> None:
    calibrations = dataclasses.replace(make_coefficients(sensor), crosstalk_linear=np.zeros((3, 3)))
    with pytest.raises(InputDataError, match=r"linear crosstalk of .* has shape \(3, 3\), not \(4, 4\)"):
        correct(sensor, blank(sensor), calibrations)


@pytest.mark.parametrize(
    ("noise", "scatter", "noisy"),
    [(7.0, 5.0, False), (26.0, 5.0, True), (7.0, 17.0, True), (7.0, 16.0, False), (7.0, None, False)],
)
def test_noise_is_stated_or_measured(noise, scatter, noisy) -> None:
    assert is_noisy(noise=noise, residual_scatter_adu=scatter, gain=1.5, threshold=25.0) is noisy


def test_assembly_keeps_places(sensor) -> None:
    image = np.random.default_rng(3).normal(size=sensor.raw_bbox.shape).astype(np.float32)
    planes = Planes(image, {"SAT": image > 1.0}, image**2)
    assembled = assemble(planes, sensor)
    assert assembled.image.shape == sensor.bbox.shape
    for amplifier in sensor.amplifiers:
        data, place = region_of(amplifier.raw_data_bbox), region_of(amplifier.bbox)
        assert np.array_equal(assembled.image[place], image[data])
        assert np.array_equal(assembled.variance[place], image[data] ** 2)
        assert np.array_equal(assembled.plane("SAT")[place], image[data] > 1.0)
