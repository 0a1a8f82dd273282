"""The response of the electronics is the inverse of what the calibration says."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.errors import InternalError
from lsst.dax.image.simulation import SimulatedLinearity, make_sensor, make_simulated_calibrations
from lsst.dax.image.simulation._response import apply_response, linearize

SENSOR = make_sensor("ITL", data_shape=(40, 24), overscan=(12, 11))
SIGNAL = np.concatenate([np.linspace(-50.0, 105_000.0, 40_001), [0.0, 1.0, 99_999.7]])


@pytest.mark.parametrize("kind", ["DoubleSpline", "Spline", "Squared", "Polynomial", "Proportional"])
def test_linearization_gives_back_what_the_response_took(kind):
    for linearity in make_simulated_calibrations(SENSOR, linearity_type=kind).linearity:
        measured = apply_response(linearity, SIGNAL)
        np.testing.assert_allclose(linearize(linearity, measured), SIGNAL, atol=1e-5)
        departure = np.abs(measured - SIGNAL).max()
        assert (departure == 0.0) == (kind == "Proportional")
        assert departure < 0.02 * SIGNAL.max()


@pytest.mark.parametrize("kind", ["DoubleSpline", "Spline", "Squared", "Polynomial"])
def test_no_signal_stays_none(kind):
    linearity = make_simulated_calibrations(SENSOR, linearity_type=kind).linearity[0]
    assert abs(apply_response(linearity, np.zeros(3))).max() < 1e-9


def test_squared_against_the_quadratic_formula():
    c = 4e-8
    measured = apply_response(SimulatedLinearity("Squared", np.array([c])), SIGNAL)
    exact = (-1.0 + np.sqrt(1.0 + 4.0 * c * SIGNAL)) / (2.0 * c)
    np.testing.assert_allclose(measured, exact, atol=1e-5)


def test_spline_goes_through_its_nodes_and_ends_constant():
    centers, values = np.array([0.0, 1e3, 2e3, 4e3, 8e3]), np.array([0.0, 5.0, -3.0, 10.0, 2.0])
    linearity = SimulatedLinearity("Spline", np.concatenate([centers, values]))
    np.testing.assert_allclose(linearize(linearity, centers), centers - values, atol=1e-9)
    assert linearize(linearity, np.array([2e4]))[0] == pytest.approx(2e4 - 2.0)


def test_response_that_cannot_be_inverted():
    with pytest.raises(InternalError, match=r"type Squared did not invert over 0\.0 to 100000\.0 adu"):
        apply_response(SimulatedLinearity("Squared", np.array([-1e-4])), np.array([0.0, 1e5]))


def test_unknown_response():
    with pytest.raises(InternalError, match="type 'LookupTable'"):
        apply_response(SimulatedLinearity("LookupTable", np.zeros(2)), np.array([0.0, 1e5]))
