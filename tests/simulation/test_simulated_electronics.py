"""From light to counts: each effect alone, and all together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lsst.dax.image.errors import RequestError
from lsst.dax.image.simulation import Effects, make_sensor, make_simulated_calibrations, simulate_raw
from lsst.dax.image.simulation._collection import BRIGHT_ELECTRONS, DEAD_RESPONSE, spill_charge
from lsst.dax.image.simulation._electronics import MAX_COUNT, crop, readout_slices, to_readout

VENDORS = ("E2V", "ITL")
SENSORS = {vendor: make_sensor(vendor, data_shape=(40, 32), overscan=(12, 11)) for vendor in VENDORS}
CALIBRATIONS = {vendor: make_simulated_calibrations(sensor) for vendor, sensor in SENSORS.items()}
SHAPE = SENSORS["E2V"].bbox.shape
SKY = 2000.0


def simulate(effects, *, vendor="E2V", light=SKY, seed=5, calibrations=None):
    calibrations = CALIBRATIONS[vendor] if calibrations is None else calibrations
    light = np.broadcast_to(np.asarray(light, dtype=float), calibrations.sensor.bbox.shape)
    return simulate_raw(light, calibrations, rng=np.random.default_rng(seed), effects=effects)


def electrons(raw):
    """Assemble the trimmed electrons from counts without offset."""
    out = np.empty(raw.sensor.bbox.shape)
    for amplifier in raw.sensor.amplifiers:
        crop(out, amplifier.bbox)[:] = crop(raw.counts, amplifier.raw_data_bbox) * amplifier.gain
    return out


def overscan(raw, number, columns=slice(None)):
    amplifier = raw.sensor.amplifiers[number]
    pixels = to_readout(amplifier, crop(raw.counts, amplifier.raw_serial_overscan_bbox))
    return pixels[:, columns] * amplifier.gain


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_effects_the_counts_are_the_light(vendor):
    light = np.random.default_rng(1).uniform(0, 1e5, SHAPE)
    raw = simulate(Effects.none(), vendor=vendor, light=light)
    np.testing.assert_allclose(electrons(raw), light, rtol=1e-13)
    assert not np.any(overscan(raw, 0))
    assert np.array_equal(raw.truth.expected, light)
    assert not np.any(raw.truth.variance)


@pytest.mark.parametrize("vendor", VENDORS)
def test_gradient_is_continuous_in_the_assembled_raw(vendor):
    y, x = np.indices(SHAPE)
    raw = simulate(Effects.none(), vendor=vendor, light=1000.0 + 3.0 * x + 5.0 * y)
    for amplifier in raw.sensor.amplifiers:
        data = crop(raw.counts, amplifier.raw_data_bbox) * amplifier.gain
        np.testing.assert_allclose(np.diff(data, axis=1), 3.0, atol=1e-8)
        np.testing.assert_allclose(np.diff(data, axis=0), 5.0, atol=1e-8)


@pytest.mark.parametrize("vendor", VENDORS)
def test_first_pixel_read_is_at_the_corner(vendor):
    for amplifier in SENSORS[vendor].amplifiers:
        rows, columns = readout_slices(amplifier, amplifier.raw_data_bbox)
        assert (rows.start, columns.start) == (0, {"E2V": 10, "ITL": 3}[vendor])
        rows, columns = readout_slices(amplifier, amplifier.raw_serial_overscan_bbox)
        assert columns.stop == amplifier.raw_bbox.x.size
        rows, columns = readout_slices(amplifier, amplifier.raw_parallel_overscan_bbox)
        assert rows.stop == amplifier.raw_bbox.y.size


def test_flat_and_dark():
    calibrations = CALIBRATIONS["ITL"]
    raw = simulate(Effects.only("flat", "dark"), vendor="ITL")
    expected = SKY * calibrations.flat + 31.0 * calibrations.dark
    np.testing.assert_allclose(electrons(raw), expected, rtol=1e-12)
    np.testing.assert_array_equal(raw.truth.collected, expected)


def test_poisson_noise_is_whole_and_its_variance_its_mean():
    raw = simulate(Effects.only("poisson"))
    np.testing.assert_array_equal(raw.truth.realized, np.rint(raw.truth.realized))
    assert raw.truth.realized.mean() == pytest.approx(SKY, abs=4 * np.sqrt(SKY / raw.truth.realized.size))
    assert raw.truth.realized.var() == pytest.approx(SKY, rel=4 * np.sqrt(2 / raw.truth.realized.size))
    assert np.all(raw.truth.variance == SKY)


def test_defects():
    raw = simulate(Effects.only("defects"))
    for number, box in enumerate(CALIBRATIONS["E2V"].defects):
        value = SKY + BRIGHT_ELECTRONS if number % 2 else SKY * DEAD_RESPONSE
        np.testing.assert_allclose(crop(electrons(raw), box), value)
    wrong = electrons(raw) != pytest.approx(SKY)
    np.testing.assert_array_equal(np.abs(electrons(raw) - SKY) > 1e-6, raw.truth.defects)
    assert wrong


def test_cosmic_rays_are_where_the_truth_says():
    raw = simulate(dataclasses.replace(Effects.only("cosmic_rays"), cosmic_rays_per_megapixel=500.0))
    np.testing.assert_array_equal(electrons(raw) > SKY + 1.0, raw.truth.cosmic_rays)
    assert np.any(raw.truth.cosmic_rays)


@pytest.mark.parametrize("vendor", VENDORS)
def test_brighter_fatter_lowers_the_photon_transfer_curve(vendor):
    sensor = make_sensor(vendor, data_shape=(150, 60), overscan=(4, 4))
    calibrations = make_simulated_calibrations(sensor)
    level = 80_000.0
    raw = simulate(Effects.only("poisson", "brighter_fatter"), light=level, calibrations=calibrations)
    inner = electrons(raw)[30:-30, 30:-30]
    light = raw.truth.realized
    assert electrons(raw).sum() == pytest.approx(light.sum(), rel=1e-12)
    slope = inner.var() / light[30:-30, 30:-30].var()
    # A fluctuation loses half of the area loss, times the light: var = F (1 + a00 F).
    area_loss = -2.0 * (calibrations.shift_north[0, 0] + calibrations.shift_east[0, 0])
    assert slope == pytest.approx(1.0 - area_loss * level, abs=0.02)


def test_full_well_cuts_off():
    light = np.full(SHAPE, SKY)
    light[10:13, 20] = 3e5
    raw = simulate(Effects.only("saturation"), light=light)
    np.testing.assert_array_equal(raw.truth.saturated, light > 1e5)
    np.testing.assert_array_equal(raw.truth.beyond_turnoff, light > 1e5)
    wells = {round(amplifier.full_well, 3) for amplifier in raw.sensor.amplifiers}
    assert round(electrons(raw).max(), 3) in wells


def test_bleeding_conserves_charge_and_fills_the_column_both_ways():
    charge = np.full((101, 3), 500.0)
    charge[50, 1] = 1e6
    full_well = np.full(charge.shape, 1e5)
    spilled = spill_charge(charge, full_well)
    assert spilled.sum() == pytest.approx(charge.sum(), rel=1e-13)
    assert spilled.max() == 1e5
    np.testing.assert_array_equal(spilled[:, [0, 2]], charge[:, [0, 2]])
    full = np.flatnonzero(spilled[:, 1] >= 1e5)
    assert full.size in (9, 10)
    np.testing.assert_array_equal(full, np.arange(full[0], full[-1] + 1))
    np.testing.assert_allclose(spilled[:, 1], spilled[::-1, 1], rtol=1e-13)


def test_charge_transfer_leaves_charge_in_the_overscan():
    calibrations = CALIBRATIONS["E2V"]
    transfers = tuple(
        dataclasses.replace(transfer, global_cti=1e-4, trap=None) for transfer in calibrations.charge_transfer
    )
    raw = simulate(
        Effects.only("charge_transfer"),
        calibrations=dataclasses.replace(calibrations, charge_transfer=transfers),
    )
    last = 32 + 10
    np.testing.assert_allclose(overscan(raw, 0, 0), last * 1e-4 * SKY, rtol=0.01)
    np.testing.assert_allclose(overscan(raw, 0, 2), 0.0, atol=1e-3)
    row = crop(raw.counts, raw.sensor.amplifiers[0].raw_bbox)[-1] * raw.sensor.amplifiers[0].gain
    assert row.sum() == pytest.approx(32 * SKY, rel=1e-9)


def test_electronics_offset_decays_in_the_overscan():
    raw = simulate(Effects.only("electronics_offset"))
    for number in (0, 15):
        transfer = CALIBRATIONS["E2V"].charge_transfer[number]
        expected = transfer.drift_scale * SKY * np.exp(-np.arange(1.0, 13.0) / transfer.decay_time_px)
        np.testing.assert_allclose(overscan(raw, number)[0], expected, rtol=1e-9)


@pytest.mark.parametrize("vendor", VENDORS)
def test_bias_level_and_structure(vendor):
    raw = simulate(Effects.only("bias", "bias_level"), vendor=vendor, light=0.0)
    for amplifier in raw.sensor.amplifiers:
        level = crop(raw.counts, amplifier.raw_serial_overscan_bbox)
        np.testing.assert_allclose(level, amplifier.bias_level)
        data = (crop(raw.counts, amplifier.raw_data_bbox) - amplifier.bias_level) * amplifier.gain
        np.testing.assert_allclose(data, crop(CALIBRATIONS[vendor].bias, amplifier.bbox), atol=1e-7)


@pytest.mark.parametrize("vendor", VENDORS)
def test_overscans_show_the_ramps_of_the_data(vendor):
    raw = simulate(Effects.only("overscan_ramps"), vendor=vendor)
    for amplifier in raw.sensor.amplifiers:
        data = to_readout(amplifier, crop(raw.counts, amplifier.raw_data_bbox)) * amplifier.gain - SKY
        serial = to_readout(amplifier, crop(raw.counts, amplifier.raw_serial_overscan_bbox))
        by_row = serial * amplifier.gain
        np.testing.assert_allclose(by_row, by_row[:, :1] * np.ones(12), atol=1e-9)
        parallel = to_readout(amplifier, crop(raw.counts, amplifier.raw_parallel_overscan_bbox))
        left = data - by_row[:, :1]
        np.testing.assert_allclose(left, left[:1] * np.ones((40, 1)), atol=1e-9)
        column = parallel * amplifier.gain
        np.testing.assert_allclose(column[0] - column[0, 0], left[0] - left[0, 0], atol=1e-9)
        assert by_row[0, 0] > by_row[-1, 0]


def test_read_noise():
    raw = simulate(Effects.only("read_noise"), light=0.0)
    for amplifier in raw.sensor.amplifiers:
        noise = crop(raw.counts, amplifier.raw_bbox) * amplifier.gain
        assert noise.std() == pytest.approx(amplifier.read_noise, rel=0.06)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("unit", ["electron", "adu"])
def test_crosstalk_ghost(vendor, unit):
    calibrations = dataclasses.replace(CALIBRATIONS[vendor], crosstalk_unit=unit)
    sensor = calibrations.sensor
    source = sensor.amplifiers[2]
    light = np.zeros(SHAPE)
    # Seven pixels from the outer edge and five from the readout side.
    to_readout(source, crop(light, source.bbox))[7, 5] = 8e4
    raw = simulate(Effects.only("crosstalk"), vendor=vendor, light=light, calibrations=calibrations)
    for number, amplifier in enumerate(sensor.amplifiers):
        data = to_readout(amplifier, crop(raw.counts, amplifier.raw_data_bbox)).copy()
        if unit == "electron":
            data *= amplifier.gain
        if number == 2:
            continue
        signal = 8e4 if unit == "electron" else 8e4 / source.gain
        linear, quadratic = (
            calibrations.crosstalk_linear[2, number],
            calibrations.crosstalk_quadratic[2, number],
        )
        assert data[7, 5] == pytest.approx(linear * signal + quadratic * signal**2, rel=1e-9)
        data[7, 5] = 0.0
        assert not np.any(data)


def test_invalid_crosstalk_does_not_count():
    calibrations = CALIBRATIONS["E2V"]
    calibrations = dataclasses.replace(
        calibrations, crosstalk_valid=np.zeros_like(calibrations.crosstalk_valid)
    )
    raw = simulate(Effects.only("crosstalk"), calibrations=calibrations)
    np.testing.assert_allclose(electrons(raw), SKY)


def test_converter_clips_and_rounds():
    raw = simulate(Effects.only("digitization"), light=1e6)
    assert raw.counts.dtype == np.int32
    assert raw.counts.max() == MAX_COUNT
    low = simulate(Effects.only("digitization"), light=0.4)
    assert not np.any(low.counts)


@pytest.mark.parametrize(
    "off", ["crosstalk", "nonlinearity", "brighter_fatter", "charge_transfer", "cosmic_rays", "dark", "bias"]
)
def test_noise_is_paired(off):
    everything = Effects.all().without("digitization", "bias_level")
    both = simulate(everything), simulate(everything.without(off))
    difference = electrons(both[0]) - electrons(both[1])
    # Unpaired noise would differ by sqrt(2 * 2000) = 63 electrons.
    quiet = ~both[0].truth.cosmic_rays & ~both[0].truth.defects
    assert np.abs(difference[quiet]).max() > 0.0
    assert difference[quiet].std() < 12.0
    if off not in ("cosmic_rays", "dark"):
        np.testing.assert_array_equal(both[0].truth.realized, both[1].truth.realized)


def test_same_seed_same_counts():
    first, again, other = (simulate(Effects.all(), seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.counts, again.counts)
    assert np.mean(first.counts == other.counts) < 0.1


@pytest.mark.parametrize("vendor", VENDORS)
def test_variance_of_the_truth_is_that_of_many_exposures(vendor):
    effects = Effects.only("flat", "dark", "poisson", "read_noise", "digitization", "bias_level")
    calibrations = CALIBRATIONS[vendor]
    sensor = calibrations.sensor
    pulls = []
    for seed in range(8):
        raw = simulate(effects, vendor=vendor, seed=seed)
        for amplifier in sensor.amplifiers:
            signal = (crop(raw.counts, amplifier.raw_data_bbox) - amplifier.bias_level) * amplifier.gain
            reduced = signal - 31.0 * crop(calibrations.dark, amplifier.bbox)
            reduced /= crop(calibrations.flat, amplifier.bbox)
            pulls.append((reduced - SKY) / np.sqrt(crop(raw.truth.variance, amplifier.bbox)))
    pull = np.array(pulls)
    assert pull.mean() == pytest.approx(0.0, abs=4.0 / np.sqrt(pull.size))
    assert pull.std() == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * pull.size))


def test_effects_by_name():
    assert Effects.only("crosstalk").crosstalk
    assert not Effects.only("crosstalk").poisson
    assert Effects.only("bleeding").saturation
    assert not Effects.all().without("saturation").bleeding
    assert Effects.all() == Effects()


def test_unknown_effect():
    with pytest.raises(RequestError, match="No effect is called \\['tearing'\\]; there are flat, dark"):
        Effects.only("tearing")


def test_bleeding_needs_saturation():
    with pytest.raises(RequestError, match="bleeding is on and saturation is off"):
        dataclasses.replace(Effects.none(), bleeding=True)


def test_exposure_has_parts():
    with pytest.raises(RequestError, match="at least one part, not 0"):
        Effects(brighter_fatter_steps=0)


def test_light_of_another_shape():
    with pytest.raises(RequestError, match=r"has 80 x 256 pixels, the light \(80, 255\)"):
        simulate_raw(np.zeros((80, 255)), CALIBRATIONS["E2V"], rng=np.random.default_rng(1))
