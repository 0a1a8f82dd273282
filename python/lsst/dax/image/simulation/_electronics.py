"""From the light that falls on a detector to the counts in its raw file."""

from __future__ import annotations

__all__ = (
    "MAX_COUNT",
    "RawTruth",
    "SimulatedRaw",
    "crop",
    "readout_slices",
    "simulate_raw",
    "to_readout",
)

import dataclasses

import numpy as np
import numpy.typing as npt

from lsst.images import Box

from ..errors import RequestError
from ._collection import Collected, collect_charge
from ._effects import Effects
from ._response import apply_response
from ._sensor import Sensor, SensorAmplifier, SimulatedCalibrations
from ._serial_register import add_electronics_offset, pass_trap, transfer_charge

type FloatArray = npt.NDArray[np.float64]
type BoolArray = npt.NDArray[np.bool_]

MAX_COUNT = 2**18 - 1
"""Largest count of the converter."""

CROSSTALK_ROWS = 64
"""Rows of all amplifiers whose crosstalk is computed at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class RawTruth:
    """What is behind a simulated raw; arrays are pixels [y, x] of the trimmed detector."""

    expected: FloatArray
    """Mean electrons of the light for a pixel of response 1: what a perfect reduction gives."""
    collected: FloatArray
    """Mean electrons in the pixel, with response, dark current and bright defects."""
    realized: FloatArray
    """Electrons of this exposure, with cosmic rays, before any effect of the detector."""
    variance: FloatArray
    """Variance of the electrons after a perfect reduction: of light, dark current,
    read noise and rounding, divided by the response squared."""
    saturated: BoolArray
    """Pixels that are full."""
    beyond_turnoff: BoolArray
    """Pixels whose counts above the overscan reach the turn-off."""
    defects: BoolArray
    """Bad pixels."""
    cosmic_rays: BoolArray
    """Pixels with charge from cosmic rays."""


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedRaw:
    """A raw exposure of one detector, and the truth behind it."""

    sensor: Sensor
    """The detector."""
    counts: npt.NDArray[np.int32] | FloatArray
    """Counts in adu of the assembled untrimmed raw [y, x]: whole, unless digitization is off."""
    truth: RawTruth
    """The truth."""
    exposure_time_s: float
    """Exposure time."""
    dark_time_s: float
    """Time in which dark current gathered."""


def simulate_raw(
    expected: FloatArray,
    calibrations: SimulatedCalibrations,
    *,
    rng: np.random.Generator,
    effects: Effects | None = None,
    exposure_time_s: float = 30.0,
    dark_time_s: float = 31.0,
) -> SimulatedRaw:
    """Simulate the raw exposure of one detector.

    Parameters
    ----------
    expected
        Mean electrons of all light, sky included, that a pixel of response 1
        would collect; [y, x] of the trimmed detector.
    calibrations
        The detector, and the sizes of its effects.
    rng
        Source of all noise.  It is only spawned from: equal generators give
        equal noise whatever effects are on.
    effects
        What is simulated; the default is everything.
    exposure_time_s, dark_time_s
        Times.

    Returns
    -------
    raw
        The counts, with the truth.

    Raises
    ------
    RequestError
        Raised if the light does not have the detector's shape.

    Notes
    -----
    In order: response, bright defects, dark current, Poisson noise, cosmic
    rays, brighter-fatter effect, full well and bleeding, serial transfer and
    trap, electronics offset, two-dimensional bias, offsets by row and column,
    non-linearity, read noise, crosstalk, gain, bias level, rounding.
    """
    sensor = calibrations.sensor
    if expected.shape != sensor.bbox.shape:
        raise RequestError(
            f"Detector {sensor.name} has {sensor.bbox.y.size} x {sensor.bbox.x.size} pixels, "
            f"the light {expected.shape}."
        )
    effects = effects if effects is not None else Effects.all()
    light_rng, read_rng, ramp_rng = rng.spawn(3)
    collected = collect_charge(
        np.asarray(expected, dtype=np.float64),
        calibrations,
        rng=light_rng,
        effects=effects,
        dark_time_s=dark_time_s,
    )
    video = _read_out(collected.charge, calibrations, effects)
    ramps = _make_ramps(sensor, ramp_rng, effects)
    # Noise of amplifiers is drawn whether or not they are changed by an effect.
    for number, amplifier in enumerate(sensor.amplifiers):
        signal = video[number]
        signal += ramps[number]
        if effects.nonlinearity:
            response = apply_response(calibrations.linearity[number], signal / amplifier.gain)
            signal[:] = response * amplifier.gain
        if effects.read_noise:
            signal += amplifier.read_noise * read_rng.standard_normal(signal.shape)
    if effects.crosstalk:
        _add_crosstalk(video, calibrations)
    counts, beyond = _digitize(video, ramps, calibrations, effects)
    return SimulatedRaw(
        sensor=sensor,
        counts=counts,
        truth=_make_truth(np.asarray(expected), collected, beyond, calibrations, effects),
        exposure_time_s=exposure_time_s,
        dark_time_s=dark_time_s,
    )


def _read_out(charge: FloatArray, calibrations: SimulatedCalibrations, effects: Effects) -> FloatArray:
    """Return the signals of all amplifiers in electron, [amplifier, row, column] in the order of readout."""
    sensor = calibrations.sensor
    shape = tuple(sensor.amplifiers[0].raw_bbox.shape)
    video = np.zeros((len(sensor.amplifiers), *shape))
    for number, amplifier in enumerate(sensor.amplifiers):
        transfer = calibrations.charge_transfer[number]
        rows, columns = readout_slices(amplifier, amplifier.raw_data_bbox)
        register: FloatArray = np.zeros(shape)
        register[rows, columns] = to_readout(amplifier, crop(charge, amplifier.bbox))
        if effects.charge_transfer:
            register = transfer_charge(register, inefficiency=transfer.global_cti)
            if transfer.trap is not None:
                register = pass_trap(register, transfer.trap)
        if effects.electronics_offset:
            register = add_electronics_offset(
                register, scale=transfer.drift_scale, decay_time_px=transfer.decay_time_px
            )
        if effects.bias:
            register[rows, columns] += to_readout(amplifier, crop(calibrations.bias, amplifier.bbox))
        video[number] = register
    return video


def _make_ramps(sensor: Sensor, rng: np.random.Generator, effects: Effects) -> FloatArray:
    """Return offsets in electron [amplifier, row, column] in the order of readout.

    The one of the rows decays from the first row and jitters; the one of the
    columns is in the data columns alone, in all rows.
    """
    height, width = sensor.amplifiers[0].raw_bbox.shape
    if not effects.overscan_ramps:
        return np.zeros((len(sensor.amplifiers), 1, 1))
    ramps = np.empty((len(sensor.amplifiers), height, width))
    row, column = np.arange(height), np.arange(width)
    for number, amplifier in enumerate(sensor.amplifiers):
        size = effects.row_ramp_electrons * rng.uniform(0.5, 1.5)
        by_row = size * np.exp(-row / (0.2 * height)) + 0.05 * size * rng.standard_normal(height)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        by_column = effects.column_ramp_electrons * (1.0 + np.cos(phase + 2.0 * np.pi * column / width))
        outside = np.ones(width, dtype=bool)
        outside[readout_slices(amplifier, amplifier.raw_data_bbox)[1]] = False
        by_column[outside] = 0.0
        ramps[number] = by_row[:, None] + by_column[None, :]
    return ramps


def _add_crosstalk(video: FloatArray, calibrations: SimulatedCalibrations) -> None:
    """Add, in place, the crosstalk between pixels that are read at the same time."""
    linear = np.where(calibrations.crosstalk_valid, calibrations.crosstalk_linear, 0.0)
    quadratic = np.where(calibrations.crosstalk_valid, calibrations.crosstalk_quadratic, 0.0)
    if calibrations.crosstalk_unit == "adu":
        # A ghost in adu per adu (per adu squared) of its source, in electrons.
        gains = calibrations.sensor.gains
        linear = linear * gains[None, :] / gains[:, None]
        quadratic = quadratic * gains[None, :] / gains[:, None] ** 2
    for start in range(0, video.shape[1], CROSSTALK_ROWS):
        rows = video[:, start : start + CROSSTALK_ROWS]
        ghosts = np.tensordot(linear, rows, axes=(0, 0)) + np.tensordot(quadratic, rows**2, axes=(0, 0))
        rows += ghosts


def _digitize(
    video: FloatArray, ramps: FloatArray, calibrations: SimulatedCalibrations, effects: Effects
) -> tuple[npt.NDArray[np.int32] | FloatArray, BoolArray]:
    """Return the counts of the assembled raw, and which trimmed pixels reach the turn-off."""
    sensor = calibrations.sensor
    kind = np.int32 if effects.digitization else np.float64
    counts = np.empty(sensor.raw_bbox.shape, dtype=kind)
    beyond = np.zeros(sensor.bbox.shape, dtype=bool)
    for number, amplifier in enumerate(sensor.amplifiers):
        level = amplifier.bias_level if effects.bias_level else 0.0
        values = video[number] / amplifier.gain + level
        if effects.digitization:
            np.clip(np.rint(values, out=values), 0, MAX_COUNT, out=values)
        crop(counts, amplifier.raw_bbox)[:] = to_readout(amplifier, values)
        data = readout_slices(amplifier, amplifier.raw_data_bbox)
        above = (values - level - ramps[number] / amplifier.gain)[data]
        crop(beyond, amplifier.bbox)[:] = to_readout(amplifier, above >= calibrations.turnoff_adu[number])
    return counts, beyond


def _make_truth(
    expected: FloatArray,
    collected: Collected,
    beyond: BoolArray,
    calibrations: SimulatedCalibrations,
    effects: Effects,
) -> RawTruth:
    """Return the truth; the variance is that of the mean signal, not of the realization."""
    variance = collected.mean.copy() if effects.poisson else np.zeros(collected.mean.shape)
    for amplifier in calibrations.sensor.amplifiers:
        pixels = crop(variance, amplifier.bbox)
        if effects.read_noise:
            pixels += amplifier.read_noise**2
        if effects.digitization:
            pixels += amplifier.gain**2 / 12.0
    if effects.flat:
        variance /= calibrations.flat**2
    return RawTruth(
        expected=expected,
        collected=collected.mean,
        realized=collected.realized,
        variance=variance,
        saturated=collected.saturated,
        beyond_turnoff=beyond,
        defects=collected.defects,
        cosmic_rays=collected.cosmic_rays,
    )


def crop[T: np.generic](array: npt.NDArray[T], box: Box) -> npt.NDArray[T]:
    """Return a view of a box of an array that starts at pixel (0, 0)."""
    return array[box.y.start : box.y.stop, box.x.start : box.x.stop]


def to_readout[T: np.generic](amplifier: SensorAmplifier, array: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return a view of pixels with the first that is read at [0, 0]; it is its own inverse."""
    flip_x, flip_y = amplifier.flips
    return array[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def readout_slices(amplifier: SensorAmplifier, box: Box) -> tuple[slice, slice]:
    """Return the slices (rows, columns) of a box of the assembled raw in the order of readout."""
    flip_x, flip_y = amplifier.flips
    outer = amplifier.raw_bbox
    x0 = outer.x.stop - box.x.stop if flip_x else box.x.start - outer.x.start
    y0 = outer.y.stop - box.y.stop if flip_y else box.y.start - outer.y.start
    return slice(y0, y0 + box.y.size), slice(x0, x0 + box.x.size)
