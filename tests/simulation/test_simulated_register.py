"""The serial register against a register that is shifted cycle by cycle."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.simulation import SimulatedTrap
from lsst.dax.image.simulation._serial_register import (
    add_electronics_offset,
    capture_charge,
    pass_trap,
    transfer_charge,
)

LINEAR = SimulatedTrap(1e9, 0.8, 1, "linear", np.array([0.05]))


def shift_register(row, inefficiency, cycles):
    """Clock a register: in each cycle every packet moves one place, but for what stays behind."""
    register = row.astype(float).copy()
    out = []
    for _ in range(cycles):
        moving = register * (1.0 - inefficiency)
        staying = register * inefficiency
        out.append(moving[0])
        register = staying
        register[:-1] += moving[1:]
    return np.array(out)


@pytest.mark.parametrize("inefficiency", [1e-6, 1e-3, 0.05])
def test_transfer_equals_shifting_cycle_by_cycle(inefficiency):
    rows = np.random.default_rng(1).uniform(0, 1e5, (3, 40))
    padded = np.pad(rows, ((0, 0), (0, 80)))
    got = transfer_charge(padded, inefficiency=inefficiency)
    for row, result in zip(padded, got, strict=True):
        np.testing.assert_allclose(result, shift_register(row, inefficiency, 120), rtol=1e-10, atol=1e-7)


def test_deferred_charge_is_transfers_times_inefficiency():
    width, signal, inefficiency = 520, 5e4, 2e-6
    rows = np.zeros((1, 560))
    rows[:, :width] = signal
    got = transfer_charge(rows, inefficiency=inefficiency)
    np.testing.assert_allclose(got[0, width], width * inefficiency * signal, rtol=2e-3)
    np.testing.assert_allclose(got.sum(), rows.sum(), rtol=1e-13)


def test_transfer_conserves_charge_and_keeps_a_perfect_register():
    rows = np.zeros((2, 60))
    rows[:, :20] = 1000.0
    np.testing.assert_allclose(transfer_charge(rows, inefficiency=0.01).sum(axis=1), 20_000.0, rtol=1e-11)
    assert np.array_equal(transfer_charge(rows, inefficiency=0.0), rows)


def test_trap_keeps_charge_and_releases_exponentially():
    rows = np.zeros((1, 40))
    rows[0, 5] = 1000.0
    got = pass_trap(rows, LINEAR)[0]
    decay = np.exp(-1.0 / LINEAR.emission_time_px)
    assert got[5] == pytest.approx(950.0)
    np.testing.assert_allclose(got[6:12], 50.0 * (1.0 - decay) * decay ** np.arange(6), rtol=1e-12)
    assert got.sum() == pytest.approx(1000.0, abs=1e-9)


def test_trap_is_invisible_in_steady_light_after_the_first_packets():
    got = pass_trap(np.full((1, 50), 1000.0), LINEAR)[0]
    # A filled trap takes from each packet what it has just released to it.
    np.testing.assert_allclose(got[1:], 1000.0, atol=1e-10)
    assert got[0] == pytest.approx(950.0)


@pytest.mark.parametrize(
    ("kind", "coefficients", "signal", "taken"),
    [
        ("linear", [0.1], 100.0, 10.0),
        ("linear", [0.1], 1e6, 50.0),
        ("logistic", [1000.0, 0.01], 1000.0, 25.0),
        ("logistic", [1000.0, 0.01], 1e5, 50.0),
        ("spline", [0.0, 100.0, 200.0, 0.0, 10.0, 40.0], 150.0, 25.0),
        ("spline", [0.0, 100.0, 200.0, 0.0, 10.0, 40.0], 1e5, 40.0),
        ("linear", [0.1], -30.0, 0.0),
        ("logistic", [1000.0, 0.0], 3.0, 3.0),
    ],
)
def test_capture(kind, coefficients, signal, taken):
    trap = SimulatedTrap(50.0, 1.0, 1, kind, np.array(coefficients))
    assert capture_charge(trap, np.array([signal]))[0] == pytest.approx(taken)


def test_offset_decays_behind_a_bright_pixel():
    rows = np.zeros((1, 30))
    rows[0, 3] = 1e5
    got = add_electronics_offset(rows, scale=2e-4, decay_time_px=2.0)[0]
    assert got[3] == pytest.approx(1e5 + 20.0)
    np.testing.assert_allclose(got[4:], 20.0 * np.exp(-np.arange(1.0, 27.0) / 2.0), rtol=1e-12)
    assert np.all(got[:3] == 0.0)


def test_offset_follows_the_brightest_not_the_sum():
    steady = add_electronics_offset(np.full((1, 20), 1e4), scale=1e-3, decay_time_px=3.0)
    np.testing.assert_allclose(steady, 1e4 + 10.0)
