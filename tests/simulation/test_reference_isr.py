"""The reference as a whole: the simulated effects are undone, one by one and all together."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.simulation._calibration_truth import make_simulated_calibrations
from lsst.dax.image.simulation._effects import Effects
from lsst.dax.image.simulation._electronics import simulate_raw
from lsst.dax.image.simulation._sensor import make_sensor
from lsst.dax.image.simulation.reference_isr import (
    DP2_STEPS,
    STEPS,
    BrighterFatterMethod,
    FootprintRules,
    ReferenceSettings,
    run_reference_isr,
)

EXPOSURE_ID = 47152417142
WRONG = ("SAT", "BAD", "INTRP", "EDGE", "NO_DATA", "UNMASKEDNAN")
# What is not an effect but bookkeeping runs always.
CORE = ("mask_full_amplifiers", "gain_correction", "gains", "assembly", "defects")
VENDORS = ("E2V", "ITL")


@functools.cache
def make_calibrations(vendor, linearity="DoubleSpline"):
    sensor = make_sensor(vendor, data_shape=(120, 60), overscan=(32, 30), columns=4, detector=3)
    return make_simulated_calibrations(sensor, linearity_type=linearity)


@functools.cache
def make_light(shape, brightest=4.9):
    y, x = np.indices(shape)
    rng = np.random.default_rng(1)
    light = np.full(shape, 800.0)
    for _ in range(14):
        cx, cy = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        light += 10 ** rng.uniform(3, brightest) * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 4.0)
    return light


def expose(calibrations, effects, *, seed=5, light=None):
    light = make_light(calibrations.sensor.bbox.shape) if light is None else light
    return simulate_raw(light, calibrations, rng=np.random.default_rng(seed), effects=effects)


def reduce(raw, calibrations, *extra, **changes):
    """Run the bookkeeping and some steps, in their order; without any, those of DP2."""
    steps = tuple(name for name in STEPS if name in CORE + extra) if extra else DP2_STEPS
    return run_reference_isr(
        raw.counts,
        raw.sensor,
        calibrations,
        detector_exposure_id=EXPOSURE_ID,
        dark_time=raw.dark_time_s,
        settings=ReferenceSettings(steps=steps, **changes),
    )


def good_pixels(result):
    wrong = np.zeros(result.image.shape, dtype=bool)
    for name in WRONG:
        wrong |= result.mask.get(name, False)
    return ~wrong


# Effects, the steps that undo them, and bounds: largest error left, in
# electron, and largest fraction of the rms error without those steps.
EFFECTS = [
    ((), (), 0.01, None),
    (("bias_level",), ("serial_overscan",), 0.02, 1e-6),
    (("bias",), ("bias",), 0.01, 1e-3),
    (("dark",), ("dark",), 0.01, 1e-3),
    (("flat",), ("flat",), 0.02, 1e-3),
    (("nonlinearity",), ("linearity",), 0.01, 1e-3),
    # The correction takes the crosstalk of what is crosstalk itself for real.
    (("crosstalk",), ("crosstalk",), 0.04, 2e-3),
    # The correction knows 15 pixels of the past, and one transfer.
    (("charge_transfer", "electronics_offset"), ("deferred_charge",), 0.5, 0.05),
    # The charge that moved the boundaries was smaller when they began to move.
    (("brighter_fatter",), ("brighter_fatter",), 200.0, 0.07),
]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("effects", "steps", "bound", "fraction"), EFFECTS)
def test_an_effect_alone_is_undone(vendor, effects, steps, bound, fraction) -> None:
    calibrations = make_calibrations(vendor)
    raw = expose(calibrations, Effects.only(*effects))
    result = reduce(raw, calibrations, *CORE, *steps)
    good = good_pixels(result)
    assert np.mean(good) > 0.85
    error = (result.image - raw.truth.expected)[good]
    assert np.abs(error).max() < bound
    if fraction is not None:
        without = (reduce(raw, calibrations, *CORE).image - raw.truth.expected)[good]
        assert np.sqrt(np.mean(error**2)) < fraction * np.sqrt(np.mean(without**2))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("linearity", ["Spline", "Squared", "Polynomial", "Proportional"])
def test_every_linearity_is_undone(vendor, linearity) -> None:
    calibrations = make_calibrations(vendor, linearity)
    if linearity in ("Squared", "Polynomial"):
        # Polynomials act on the numbers as they are: those must be adu.
        sensor = calibrations.sensor
        amplifiers = tuple(dataclasses.replace(a, gain=1.0) for a in sensor.amplifiers)
        calibrations = dataclasses.replace(
            calibrations,
            sensor=dataclasses.replace(sensor, amplifiers=amplifiers),
            gain_adjustments=np.ones(len(amplifiers)),
        )
    raw = expose(calibrations, Effects.only("nonlinearity"))
    error = reduce(raw, calibrations, *CORE, "linearity").image - raw.truth.expected
    assert np.abs(error).max() < 0.02
    if linearity != "Proportional":
        uncorrected = reduce(raw, calibrations, *CORE).image - raw.truth.expected
        assert np.abs(uncorrected).max() > 10.0


@pytest.mark.parametrize("vendor", VENDORS)
def test_offsets_of_rows_and_columns_are_undone(vendor) -> None:
    calibrations = make_calibrations(vendor)
    level = Effects.only("bias_level", "read_noise")
    steps = (*CORE, "serial_overscan", "parallel_overscan")
    ramped = reduce(
        expose(calibrations, level.with_switches(("overscan_ramps",), on=True)), calibrations, *steps
    )
    plain = reduce(expose(calibrations, level), calibrations, *steps)
    # The noise is the same, so that only the choice of outliers differs.
    difference = ramped.image - plain.image
    assert np.std(difference) < 0.25
    assert abs(np.mean(difference)) < 0.02


@pytest.mark.parametrize("vendor", VENDORS)
def test_dither_undoes_rounding_on_average(vendor) -> None:
    calibrations = make_calibrations(vendor)
    light = np.full(calibrations.sensor.bbox.shape, 700.3)
    raw = expose(calibrations, Effects.only("digitization"), light=light)
    rounded = reduce(raw, calibrations, *CORE).image
    dithered = reduce(raw, calibrations, *CORE, "dither_counts").image
    assert len(np.unique(rounded)) == len(calibrations.sensor.amplifiers)
    gain = calibrations.sensor.gains
    assert np.std(dithered - rounded) == pytest.approx(np.sqrt(np.mean(gain**2) / 12.0), rel=0.02)


@pytest.mark.parametrize("vendor", VENDORS)
def test_everything_together_leaves_noise_alone(vendor) -> None:
    calibrations = make_calibrations(vendor)
    raw = expose(calibrations, Effects.all())
    result = reduce(raw, calibrations)
    good = good_pixels(result) & ~raw.truth.cosmic_rays
    pull = ((result.image - raw.truth.expected) / np.sqrt(raw.truth.variance))[good]
    # 70 000 pixels: the mean is good to 0.004, the standard deviation to 0.003.
    # The overscans of 26 pixels add 5 percent of the read noise.
    assert abs(np.mean(pull)) < 0.02
    assert np.std(pull) == pytest.approx(1.0, abs=0.012)
    assert np.median(result.variance[good] / raw.truth.variance[good]) == pytest.approx(1.0, abs=0.01)
    defects = raw.truth.defects
    assert result.mask["BAD"][defects].all()
    assert result.mask["INTRP"][defects].all()


@pytest.mark.parametrize("vendor", VENDORS)
def test_saturated_pixels_are_flagged_and_filled(vendor) -> None:
    calibrations = make_calibrations(vendor)
    light = make_light(calibrations.sensor.bbox.shape, brightest=6.5)
    raw = expose(calibrations, Effects.all().without("cosmic_rays"), light=light)
    result = reduce(raw, calibrations)
    assert np.count_nonzero(raw.truth.saturated) > 20
    assert result.mask["SAT"][raw.truth.beyond_turnoff].all()
    assert result.mask["INTRP"][raw.truth.beyond_turnoff].all()
    # The initial saturation is what is suspect; it grows three times, by 4 pixels in all.
    assert np.array_equal(result.mask["SUSPECT"], raw.truth.beyond_turnoff)
    assert np.count_nonzero(result.mask["SAT"]) < 41 * np.count_nonzero(raw.truth.beyond_turnoff)


# What would stay unnoticed without the step: on which vendor's sensor, and with which settings.
ITL_ONLY = {"itl_dip", "itl_edges"}
SETTINGS = {
    "footprint_rules": FootprintRules(min_area=100, max_area=100_000, e2v_edge_rows=20, itl_edge_rows=20),
    "dip_background_fraction": 0.01,
    "dip_min_width": 1,
    "pedestals": {"C10": 1.5},
    "noise_threshold": 6.35,
    "bad_amplifiers": (),
}


@functools.cache
def make_hard_case(vendor):
    """Return a raw and calibrations in which every step has something to do."""
    calibrations = make_calibrations(vendor)
    sensor = calibrations.sensor
    # Columns that bleed to the edge, in a lower amplifier; and one that is all bad.
    full = next(a.bbox for a in sensor.amplifiers if a.name == "C13")
    dark = calibrations.dark.copy()
    dark[40, 40] = np.nan
    calibrations = dataclasses.replace(calibrations, defects=(*calibrations.defects, full), dark=dark)
    light = make_light(sensor.bbox.shape).copy()
    light[0:80, 90:98] = 3e6
    clean = dataclasses.replace(calibrations, dark=np.nan_to_num(dark))
    raw = simulate_raw(light, clean, rng=np.random.default_rng(6), effects=Effects.all())
    return raw, calibrations


@functools.cache
def reduce_hard_case(vendor):
    return run(*make_hard_case(vendor), DP2_STEPS)


@pytest.mark.parametrize("step", [name for name in DP2_STEPS if name != "assembly"])
def test_every_step_makes_a_difference(step) -> None:
    vendor = "ITL" if step in ITL_ONLY else "E2V"
    raw, calibrations = make_hard_case(vendor)
    full = reduce_hard_case(vendor)
    less = run(raw, calibrations, tuple(name for name in DP2_STEPS if name != step))
    changed = not np.array_equal(full.image, less.image, equal_nan=True)
    changed |= not np.array_equal(full.variance, less.variance, equal_nan=True)
    for name in full.mask.keys() | less.mask.keys():
        none = np.zeros(full.image.shape, dtype=bool)
        changed |= not np.array_equal(full.mask.get(name, none), less.mask.get(name, none))
    assert changed


def run(raw, calibrations, steps):
    return run_reference_isr(
        raw.counts,
        raw.sensor,
        calibrations,
        detector_exposure_id=EXPOSURE_ID,
        dark_time=raw.dark_time_s,
        settings=ReferenceSettings(steps=steps, **SETTINGS),
    )


def test_steps_have_the_observatory_s_order() -> None:
    assert STEPS == (
        "mask_full_amplifiers",
        "dither_counts",
        "serial_overscan",
        "saturation",
        "gain_correction",
        "gains",
        "crosstalk",
        "amplifier_checks",
        "parallel_overscan",
        "linearity",
        "deferred_charge",
        "assembly",
        "e2v_edge_bleed",
        "itl_dip",
        "itl_edges",
        "bias",
        "dark",
        "defects",
        "nan_mask",
        "saturation_trails",
        "brighter_fatter",
        "variance",
        "flat",
        "bad_regions",
        "interpolation",
        "amplifier_offsets",
    )
    assert set(STEPS) - set(DP2_STEPS) == {"saturation_trails"}


def test_header_records_what_was_measured() -> None:
    calibrations = make_calibrations("E2V")
    raw = expose(calibrations, Effects.all())
    header = reduce(raw, calibrations, pedestals={"C11": 0.75}).header
    for number, amplifier in enumerate(calibrations.sensor.amplifiers):
        name = amplifier.name
        assert header[f"LSST ISR GAIN {name}"] == pytest.approx(amplifier.gain, rel=1e-12)
        assert header[f"LSST ISR READNOISE {name}"] == amplifier.read_noise
        level = calibrations.turnoff_adu[number] * amplifier.gain
        assert header[f"LSST ISR SATURATION LEVEL {name}"] == pytest.approx(level)
        assert header[f"LSST ISR OVERSCAN SERIAL MEDIAN {name}"] == pytest.approx(amplifier.bias_level, abs=8)
        scatter = header[f"LSST ISR OVERSCAN RESIDUAL SERIAL STDEV {name}"] * amplifier.gain
        assert scatter == pytest.approx(amplifier.read_noise, rel=0.1)
    assert header["LSST ISR UNITS"] == "electron"
    assert header["LSST ISR BF CORR METHOD"] == "ASTIER23"
    assert header["LSST ISR AMPOFFSET PEDESTAL C11"] == 0.75
    assert header["LSST ISR AMPOFFSET PEDESTAL SUBTRACTED"] is True


def test_noisy_and_shifted_amplifiers_are_bad() -> None:
    calibrations = make_calibrations("ITL")
    raw = expose(calibrations, Effects.all())
    noises = calibrations.sensor.read_noises
    threshold = float(np.sort(noises)[-2:].mean())
    noisy = reduce(raw, calibrations, noise_threshold=threshold)
    # The measured noise may add others that are near the threshold.
    assert calibrations.sensor.amplifiers[int(np.argmax(noises))].name in noisy.bad_amplifiers
    shifts = calibrations.overscan_median_adu.copy()
    shifts[2] += 60.0
    shifted = dataclasses.replace(calibrations, overscan_median_adu=shifts)
    assert reduce(raw, shifted).bad_amplifiers == frozenset()
    found = reduce(raw, shifted, overscan_shift_threshold=8.0)
    assert found.bad_amplifiers == {calibrations.sensor.amplifiers[2].name}
    assert found.mask["BAD"][raw.sensor.amplifiers[2].bbox.slice_within(raw.sensor.bbox)].all()


def test_methods_differ_and_planes_are_kept_on_request() -> None:
    calibrations = make_calibrations("E2V")
    raw = expose(calibrations, Effects.all())
    images = [reduce(raw, calibrations, brighter_fatter=method).image for method in BrighterFatterMethod]
    assert all(np.abs(image - images[0]).max() > 1.0 for image in images[1:])
    result = run_reference_isr(
        raw.counts,
        raw.sensor,
        calibrations,
        detector_exposure_id=EXPOSURE_ID,
        dark_time=raw.dark_time_s,
        keep_intermediate=True,
    )
    assert tuple(result.intermediate) == DP2_STEPS
    assert result.intermediate["gains"].image.shape == raw.sensor.raw_bbox.shape
    assert np.array_equal(result.intermediate["amplifier_offsets"].image, result.image)
    assert result.image.dtype == result.variance.dtype == np.float32


def test_the_same_raw_gives_the_same_pixels() -> None:
    calibrations = make_calibrations("E2V")
    raw = expose(calibrations, Effects.all())
    before = raw.counts.copy()
    first, second = (reduce(raw, calibrations) for _ in range(2))
    assert np.array_equal(raw.counts, before)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.variance, second.variance)


def test_bad_requests_are_refused() -> None:
    calibrations = make_calibrations("E2V")
    raw = expose(calibrations, Effects.none())
    with pytest.raises(RequestError, match=r"Unknown steps \['fringe'\]; there are mask_full"):
        run(raw, calibrations, ("gains", "fringe"))
    with pytest.raises(
        InputDataError, match=r"raw of R00_S03 has shape \(10, 10\), its amplifiers \(300, 408\)"
    ):
        run(dataclasses.replace(raw, counts=raw.counts[:10, :10]), calibrations, ())
    few = dataclasses.replace(calibrations, turnoff_adu=np.ones(3))
    with pytest.raises(InputDataError, match="has 8 amplifiers, its calibrations 3"):
        run(raw, few, ())
    everything = dataclasses.replace(calibrations, defects=(Box.factory[0:240, 0:240],))
    with pytest.raises(InputDataError, match="All 8 amplifiers of R00_S03 are bad"):
        run(raw, everything, ())
