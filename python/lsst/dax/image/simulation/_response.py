"""The response of the electronics to charge."""

from __future__ import annotations

__all__ = ("apply_response", "linearize")

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator

from ..errors import InternalError
from ._sensor import SimulatedLinearity

type FloatArray = npt.NDArray[np.float64]

TABLE_STEP_ADU = 1.0
"""Spacing of the table of the response.  The response bends by less than
1e-6 per adu, so that linear interpolation is good to 1e-7 adu."""

ITERATIONS = 60
"""Most iterations of the inversion; each gains at least one decimal digit of a
response that differs from linear by less than a tenth."""


def linearize(linearity: SimulatedLinearity, signal: FloatArray) -> FloatArray:
    """Return the linear signal that the calibration says of a measured one.

    Parameters
    ----------
    linearity
        Correction of the amplifier.
    signal
        Measured signal above the overscan, in adu.

    Returns
    -------
    linear
        Linear signal in adu.

    Notes
    -----
    This states what the coefficients mean.  A spline is an Akima spline of the
    correction that is subtracted, constant beyond its ends; the second of a
    double spline is a function of what the first leaves.
    """
    coefficients = linearity.coefficients
    match linearity.form:
        case "Proportional":
            return signal.copy()
        case "Squared":
            return np.asarray(signal + coefficients[0] * signal**2)
        case "Polynomial":
            powers = sum(c * signal ** (k + 2) for k, c in enumerate(coefficients.tolist()))
            return np.asarray(signal + powers)
        case "Spline":
            return _subtract_spline(signal, *np.split(coefficients, 2))
        case "DoubleSpline":
            first, second = (int(n) for n in coefficients[:2])
            splines = np.split(coefficients[2:], [first, 2 * first, 2 * first + second])
            return _subtract_spline(_subtract_spline(signal, *splines[:2]), *splines[2:])
        case _:
            raise InternalError(f"No response is simulated of type {linearity.form!r}.")


def apply_response(linearity: SimulatedLinearity, signal: FloatArray) -> FloatArray:
    """Return the signal that the electronics make of a linear one.

    Parameters
    ----------
    linearity
        Correction of the amplifier.
    signal
        Linear signal in adu.

    Returns
    -------
    measured
        Signal of which `linearize` is the linear one, to 1e-6 adu.

    Raises
    ------
    InternalError
        Raised if the response is too far from linear to be inverted.
    """
    if linearity.form == "Proportional":
        return signal.copy()
    low, high = float(np.floor(signal.min())), float(np.ceil(signal.max()))
    count = max(int((high - low) / TABLE_STEP_ADU) + 2, 2)
    linear: FloatArray = low + TABLE_STEP_ADU * np.arange(count, dtype=np.float64)
    measured = linear.copy()
    error = np.array([np.inf])
    for _ in range(ITERATIONS):
        error = linearize(linearity, measured) - linear
        measured -= error
        if np.abs(error).max() < 1e-8 or np.abs(measured - linear).max() > high - low + 1e3:
            break
    if np.abs(error).max() >= 1e-8:
        raise InternalError(f"A response of type {linearity.form} did not invert over {low} to {high} adu.")
    # The departure is interpolated, because it is small.
    return np.asarray(signal + np.interp(signal, linear, measured - linear))


def _subtract_spline(signal: FloatArray, centers: FloatArray, values: FloatArray) -> FloatArray:
    """Return a signal less the spline of its correction."""
    spline = Akima1DInterpolator(centers, values, method="akima")
    return np.asarray(signal - spline(np.clip(signal, centers[0], centers[-1])))
