"""Linearity and serial charge transfer of the reference instrument signature removal."""

from __future__ import annotations

__all__ = (
    "correct_deferred_charge",
    "correct_linearity",
    "invert_local_offset",
    "invert_trap",
    "linearize",
    "linearize_by_table",
)

from collections.abc import Mapping

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from ..errors import InputDataError
from ._reference_planes import Float32Array, FloatArray, Planes, region_of
from ._sensor import (
    Sensor,
    SensorAmplifier,
    SimulatedCalibrations,
    SimulatedChargeTransfer,
    SimulatedLinearity,
    SimulatedTrap,
)

SPLINE_MARGIN = 0.1
DOUBLE_SPLINE_MARGIN = 0.01
"""How far below its last node a spline is evaluated at most, in units of the image."""

OFFSET_PIXELS = 15
"""Number of pixels, the pixel itself included, whose charge the offset of the electronics remembers."""

TRAP_PIXELS = 6
"""Number of earlier pixels that a trap remembers."""


def correct_linearity(
    planes: Planes, sensor: Sensor, calibrations: SimulatedCalibrations, *, gains: Mapping[str, float]
) -> Planes:
    """Undo the non-linearity of every amplifier whose gain is known, bad ones included."""
    for amplifier, linearity in zip(sensor.amplifiers, calibrations.linearity, strict=True):
        gain = gains[amplifier.name]
        if not np.isfinite(gain):
            continue
        region = region_of(amplifier.raw_bbox)
        planes = planes.with_image(linearize(planes.image[region], linearity, gain=gain), region)
    return planes


def linearize(image: Float32Array, linearity: SimulatedLinearity, *, gain: float) -> Float32Array:
    """Return the linear signal.

    Parameters
    ----------
    image
        Measured signal.
    linearity
        Coefficients in adu.
    gain
        Unit of the image per adu; it scales the nodes of splines.  The other
        forms act on the numbers as they are.

    Raises
    ------
    InputDataError
        Raised if the type is unknown.
    """
    c = linearity.coefficients
    match linearity.form:
        case "Spline":
            return _subtract_spline(image, c, gain=gain, margin=SPLINE_MARGIN)
        case "DoubleSpline":
            first, second = int(c[0]), int(c[1])
            for start, count in ((2, first), (2 + 2 * first, second)):
                nodes = c[start : start + 2 * count]
                image = _subtract_spline(image, nodes, gain=gain, margin=DOUBLE_SPLINE_MARGIN)
            return image
        case "Squared":
            signal = image.astype(np.float64)
            return _single(signal * (1.0 + c[0] * signal))
        case "Polynomial":
            signal = image.astype(np.float64)
            change = sum(float(c[i]) * signal ** (2 + i) for i in range(len(c)))
            return _single(signal + change)
        case "Proportional" | "None":
            return image
        case _:
            raise InputDataError(
                f"A linearity is Spline, DoubleSpline, Squared, Polynomial, Proportional or None, "
                f"not {linearity.form!r}."
            )


def linearize_by_table(image: Float32Array, *, table: FloatArray, row: int, offset: int) -> Float32Array:
    """Return the linear signal by a table of additive corrections.

    Parameters
    ----------
    image
        Measured signal, in the unit of the table.
    table
        Corrections, shape ``(rows, signals)``.
    row
        Which row is the amplifier's.
    offset
        Index of signal zero.

    Notes
    -----
    The index is the signal plus the offset, truncated to a whole number and
    kept within the table.
    """
    index = np.clip((image.astype(np.float64) + offset).astype(np.int64), 0, table.shape[1] - 1)
    return _single(image.astype(np.float64) + table[row][index])


def _subtract_spline(image: Float32Array, nodes: FloatArray, *, gain: float, margin: float) -> Float32Array:
    """Subtract an Akima spline whose nodes are given as all centres, then all values."""
    centers, values = (part.astype(np.float64) for part in np.split(np.asarray(nodes), 2))
    if gain != 1.0:
        centers, values = centers * gain, values * gain
    values = values - values[0]
    if centers[0] != 0.0:
        centers, values = np.insert(centers, 0, 0.0), np.insert(values, 0, 0.0)
    if not (np.isfinite(centers).all() and np.isfinite(values).all()):
        return np.full_like(image, np.nan)
    signal = image.astype(np.float64)
    spline = Akima1DInterpolator(centers, values, method="akima")
    change = spline(np.clip(signal, centers[0], centers[-1] - margin))
    return _single(signal - change)


def _single(values: FloatArray) -> Float32Array:
    """Return values in the precision that images have."""
    return np.asarray(values, dtype=np.float32)


def correct_deferred_charge(planes: Planes, sensor: Sensor, calibrations: SimulatedCalibrations) -> Planes:
    """Undo the serial charge transfer of every amplifier; overscan rows and prescan columns become zero."""
    for amplifier, transfer in zip(sensor.amplifiers, calibrations.charge_transfer, strict=True):
        for box in (amplifier.raw_parallel_overscan_bbox, amplifier.raw_prescan_bbox):
            region = region_of(box)
            planes = planes.with_image(np.zeros(box.shape), region)
        region = region_of(amplifier.raw_bbox)
        planes = planes.with_image(_invert_transfer(planes.image[region], amplifier, transfer), region)
    return planes


def _invert_transfer(
    image: Float32Array, amplifier: SensorAmplifier, transfer: SimulatedChargeTransfer
) -> FloatArray:
    """Return the charge before the transfer of an amplifier in the assembled raw."""
    flip_x, flip_y = amplifier.flips
    step = slice(None, None, -1 if flip_y else 1), slice(None, None, -1 if flip_x else 1)
    signal = image[step].astype(np.float64)
    if transfer.drift_scale > 0.0:
        signal = invert_local_offset(signal, scale=transfer.drift_scale, decay_time_px=transfer.decay_time_px)
    if transfer.trap is not None:
        signal = invert_trap(signal, transfer.trap, global_cti=transfer.global_cti)
    return signal[step]


def invert_local_offset(signal: FloatArray, *, scale: float, decay_time_px: float) -> FloatArray:
    """Subtract the offset that earlier charge leaves in the electronics.

    Parameters
    ----------
    signal
        Charge, shape ``(rows, transfers)``, in the order of readout.
    scale
        Part of the charge that goes into the offset.
    decay_time_px
        Decay time of the offset, in transfers.
    """
    offset = np.zeros_like(signal)
    for delay in range(min(OFFSET_PIXELS, signal.shape[1])):
        charge = np.maximum(0.0, signal[:, : signal.shape[1] - delay])
        earlier = scale * charge * np.exp(-delay / decay_time_px)
        offset[:, delay:] = np.maximum(offset[:, delay:], earlier)
    return signal - offset


def invert_trap(signal: FloatArray, trap: SimulatedTrap, *, global_cti: float) -> FloatArray:
    """Give back what a trap at the output took, and take away what it released.

    Parameters
    ----------
    signal
        Charge, shape ``(rows, transfers)``, in the order of readout.
    trap
        The trap.
    global_cti
        Part of the charge that each transfer leaves behind.
    """
    captured = _capture(np.maximum(0.0, signal), trap)
    kept = np.exp(-1.0 / trap.emission_time_px)
    occupancy = np.zeros_like(signal)
    for age in range(min(TRAP_PIXELS, signal.shape[1] - 1)):
        earlier = captured[:, : signal.shape[1] - age - 1] * kept**age
        occupancy[:, age + 1 :] = np.maximum(occupancy[:, age + 1 :], earlier)
    taken = np.maximum(0.0, captured - occupancy * kept)
    released = occupancy * (1.0 - kept)
    corrected: FloatArray = signal - (1.0 - global_cti) * (released - taken)
    return corrected


def _capture(signal: FloatArray, trap: SimulatedTrap) -> FloatArray:
    """Return the charge that an empty trap takes from a signal."""
    c = trap.coefficients
    match trap.form:
        case "linear":
            return np.asarray(np.minimum(trap.size, c[0] * signal))
        case "logistic":
            return np.asarray(trap.size / (1.0 + np.exp(-c[1] * (signal - c[0]))))
        case "spline":
            signals, charges = np.split(c[np.isfinite(c)], 2)
            return np.asarray(np.interp(signal, signals, charges))
        case _:
            raise InputDataError(f"A trap is linear, logistic or spline, not {trap.form!r}.")
