"""Linearity and serial charge transfer of the reference against published numbers and algebra."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.simulation._calibration_truth import make_simulated_calibrations
from lsst.dax.image.simulation._reference_linearity import (
    correct_deferred_charge,
    invert_local_offset,
    invert_trap,
    linearize,
    linearize_by_table,
)
from lsst.dax.image.simulation._reference_planes import Planes, region_of
from lsst.dax.image.simulation._sensor import SimulatedLinearity, SimulatedTrap, make_sensor

CENTERS = np.array([0.0, 500.0, 2000.0, 9000.0, 30000.0, 100000.0])
VALUES = np.array([0.0, 2.0, -5.0, 40.0, 120.0, 300.0])


def spline(kind="Spline", centers=CENTERS, values=VALUES):
    return SimulatedLinearity(kind, np.concatenate([centers, values]))


def signal_image():
    return np.array([[-50.0, 0.0, 500.0, 2000.0, 9000.0, 30000.0]], dtype=np.float32)


def serial_scene():
    """Return the scene of the observatory's published sums: prescan, flat light, overscan."""
    image = np.full((128, 88), 100.0)
    image[:, :8] = 0.0
    image[:, -16:] = 1.0
    return image


def make_trap(kind, coefficients, *, size=10.0, emission=3.0):
    return SimulatedTrap(size, emission, 40, kind, np.array(coefficients))


def test_serial_correction_gives_the_published_sums() -> None:
    corrected = invert_local_offset(serial_scene(), scale=1.8e-4, decay_time_px=3.1)
    assert np.sum(corrected) == pytest.approx(821094.5118501, abs=1e-6)
    linear = invert_trap(corrected, make_trap("linear", [5.0, 1e-3]), global_cti=1.4e-7)
    assert np.sum(linear) == pytest.approx(821734.3965605, abs=1e-6)
    logistic = invert_trap(corrected, make_trap("logistic", [5.0, 1e-3]), global_cti=1.4e-7)
    assert np.sum(logistic) == pytest.approx(821733.2317048, abs=1e-6)


def test_offset_of_one_bright_pixel_decays_and_is_forgotten() -> None:
    rows = np.zeros((1, 40))
    rows[0, 10] = 1e5
    change = rows - invert_local_offset(rows, scale=2e-4, decay_time_px=2.5)
    delays = np.arange(30)
    expected = np.where(delays < 15, 20.0 * np.exp(-delays / 2.5), 0.0)
    np.testing.assert_allclose(change[0, 10:], expected, atol=1e-9)
    assert not np.any(change[0, :10])


def test_negative_charge_leaves_no_offset() -> None:
    rows = np.full((2, 30), -40.0)
    np.testing.assert_array_equal(invert_local_offset(rows, scale=1e-3, decay_time_px=2.0), rows)


def test_trap_gives_back_to_the_first_pixel_what_it_took() -> None:
    rows = np.zeros((1, 30))
    rows[0, 5] = 1e4
    trap = make_trap("linear", [0.01], size=20.0, emission=2.0)
    change = invert_trap(rows, trap, global_cti=0.0) - rows
    kept = np.exp(-0.5)
    assert change[0, 5] == pytest.approx(20.0)
    released = -20.0 * (1.0 - kept) * kept ** np.arange(6)
    np.testing.assert_allclose(change[0, 6:12], released, rtol=1e-12)
    assert not np.any(change[0, 12:])
    assert not np.any(change[0, :5])


def test_spline_trap_is_clamped_and_ignores_padding() -> None:
    padded = [0.0, 100.0, 0.0, 8.0, np.nan, np.nan]
    rows = np.array([[50.0, 0.0, 1e6]])
    trap = make_trap("spline", padded, emission=1e-3)
    # The emission is so fast that nothing is left for the next packet.
    change = invert_trap(rows, trap, global_cti=0.0) - rows
    np.testing.assert_allclose(change, [[4.0, -4.0, 8.0]])


def test_unknown_trap_is_refused() -> None:
    with pytest.raises(InputDataError, match="linear, logistic or spline, not 'quantum'"):
        invert_trap(serial_scene(), make_trap("quantum", [1.0]), global_cti=0.0)


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_serial_correction_runs_from_the_readout_corner(vendor) -> None:
    sensor = make_sensor(vendor, data_shape=(12, 40), overscan=(12, 4), columns=2)
    calibrations = make_simulated_calibrations(sensor)
    image = np.zeros(sensor.raw_bbox.shape, dtype=np.float32)
    for amplifier in sensor.amplifiers:
        image[region_of(amplifier.raw_data_bbox)][3, 20] = 5e4
        image[region_of(amplifier.raw_parallel_overscan_bbox)] = 77.0
        image[region_of(amplifier.raw_prescan_bbox)] = 33.0
    corrected = correct_deferred_charge(Planes(image, {}, image * 0), sensor, calibrations).image
    for amplifier in sensor.amplifiers:
        change = (
            corrected[region_of(amplifier.raw_data_bbox)][3] - image[region_of(amplifier.raw_data_bbox)][3]
        )
        later = change[:20] if amplifier.flips[0] else change[21:]
        earlier = change[21:] if amplifier.flips[0] else change[:20]
        assert np.any(later < -1.0)
        # A logistic trap takes a little from nothing.
        np.testing.assert_allclose(earlier, 0.0, atol=0.01)
        assert np.all(np.abs(corrected[region_of(amplifier.raw_prescan_bbox)]) < 0.01)
        assert np.all(np.abs(corrected[region_of(amplifier.raw_parallel_overscan_bbox)]) < 0.01)


def test_spline_subtracts_its_values_at_its_nodes() -> None:
    result = linearize(signal_image(), spline(), gain=1.0)
    np.testing.assert_allclose(result[0, 1:] - signal_image()[0, 1:], -VALUES[:5], atol=0.01)
    # Below the first node its value holds.
    assert result[0, 0] == np.float32(-50.0)


@pytest.mark.parametrize(("kind", "margin"), [("Spline", 0.1), ("DoubleSpline", 0.01)])
def test_spline_is_clipped_short_of_its_last_node(kind, margin) -> None:
    # An Akima spline through points on a line is that line.
    nodes = [np.arange(6.0), 8.0 * np.arange(6.0)]
    flat = [np.arange(6.0), np.zeros(6)]
    parts = nodes if kind == "Spline" else [[6.0, 6.0], *flat, *nodes]
    image = np.full((1, 1), 300.0, dtype=np.float32)
    change = image - linearize(image, SimulatedLinearity(kind, np.concatenate(parts)), gain=1.0)
    assert change[0, 0] == pytest.approx(8.0 * (5.0 - margin), abs=1e-4)


def test_spline_starts_from_zero() -> None:
    shifted = spline(centers=CENTERS + 100.0, values=VALUES + 7.0)
    image = np.array([[0.0, 100.0, 600.0]], dtype=np.float32)
    np.testing.assert_allclose(linearize(image, shifted, gain=1.0), [[0.0, 100.0, 598.0]], atol=0.01)


def test_gain_scales_the_nodes() -> None:
    in_adu = linearize(signal_image(), spline(), gain=1.0)
    in_electrons = linearize(signal_image() * np.float32(1.5), spline(), gain=1.5)
    np.testing.assert_allclose(in_electrons, 1.5 * in_adu, atol=0.02)


def test_second_spline_works_on_the_result_of_the_first() -> None:
    first, second = spline(), spline(values=VALUES * np.array([0, 3, 3, -2, 1, 1.0]))
    both = SimulatedLinearity(
        "DoubleSpline", np.concatenate([[6, 6], first.coefficients, second.coefficients])
    )
    swapped = SimulatedLinearity(
        "DoubleSpline", np.concatenate([[6, 6], second.coefficients, first.coefficients])
    )
    image = np.linspace(10.0, 90000.0, 500, dtype=np.float32)[np.newaxis]
    expected = linearize(linearize(image, first, gain=1.0), second, gain=1.0)
    result = linearize(image, both, gain=1.0)
    np.testing.assert_array_equal(result, expected)
    assert np.abs(result - linearize(image, swapped, gain=1.0)).max() > 0.05


def test_nodes_of_nan_make_the_amplifier_nan() -> None:
    assert np.isnan(linearize(signal_image(), spline(values=VALUES * np.nan), gain=1.0)).all()


def test_polynomials_are_what_their_names_say() -> None:
    image = np.array([[0.0, 100.0, 1000.0]], dtype=np.float32)
    squared = linearize(image, SimulatedLinearity("Squared", np.array([1e-4])), gain=2.0)
    np.testing.assert_allclose(squared, [[0.0, 101.0, 1100.0]], rtol=1e-6)
    cubic = linearize(image, SimulatedLinearity("Polynomial", np.array([1e-4, 1e-7])), gain=2.0)
    np.testing.assert_allclose(cubic, [[0.0, 101.1, 1200.0]], rtol=1e-6)
    for kind in ("Proportional", "None"):
        assert linearize(image, SimulatedLinearity(kind, np.empty(0)), gain=2.0) is image


def test_table_is_looked_up_at_the_truncated_signal() -> None:
    table = np.array([np.zeros(10), np.arange(10.0) * 0.5])
    image = np.array([[-3.0, 0.0, 2.9, 100.0]], dtype=np.float32)
    result = linearize_by_table(image, table=table, row=1, offset=1)
    np.testing.assert_allclose(result - image, [[0.0, 0.5, 1.5, 4.5]], atol=1e-5)


def test_unknown_linearity_is_refused() -> None:
    with pytest.raises(InputDataError, match="not 'Cubic'"):
        linearize(signal_image(), SimulatedLinearity("Cubic", np.empty(0)), gain=1.0)
