"""Steps of the reference instrument signature removal on raw amplifiers."""

from __future__ import annotations

__all__ = (
    "CROSSTALK_MASK_LIMIT",
    "apply_gains",
    "assemble",
    "dither_counts",
    "find_bad_amplifiers",
    "flag_saturation",
    "is_noisy",
    "subtract_crosstalk",
)

from collections.abc import Mapping, Sequence

import numpy as np

from lsst.images import Box

from ..errors import InputDataError, RequestError
from ._reference_planes import Float32Array, FloatArray, Planes, Region, median_of, region_of
from ._sensor import Sensor, SensorAmplifier, SimulatedCalibrations

CROSSTALK_MASK_LIMIT = 1.0
"""Least change by crosstalk that is flagged, in electron."""

_DITHER_RANGES = {"SYMMETRIC": (-0.5, 0.5), "POSITIVE": (0.0, 1.0), "NEGATIVE": (-1.0, 0.0)}


def find_bad_amplifiers(sensor: Sensor, defects: Sequence[Box], gains: Mapping[str, float]) -> set[str]:
    """Return the amplifiers that one defect covers or that have no gain."""
    bad = {name for name, gain in gains.items() if not np.isfinite(gain)}
    for amplifier in sensor.amplifiers:
        if any(box.contains(amplifier.bbox) for box in defects):
            bad.add(amplifier.name)
    return bad


def dither_counts(planes: Planes, *, seed: int, mode: str) -> Planes:
    """Spread whole counts over the unit interval that they stand for.

    Raises
    ------
    RequestError
        Raised if the mode is unknown.
    """
    if mode not in _DITHER_RANGES:
        raise RequestError(f"A dither is one of {', '.join(_DITHER_RANGES)}, not {mode!r}.")
    low, high = _DITHER_RANGES[mode]
    # The observatory's own generator: another would not give its pixels.
    rng = np.random.RandomState(seed & 0xFFFFFFFF)
    dither = rng.uniform(low, high, size=planes.image.shape)
    return planes.with_image(planes.image.astype(np.float64) + dither)


def flag_saturation(
    planes: Planes, amplifier: SensorAmplifier, *, limit: float, suspect_limit: float
) -> tuple[Planes, bool]:
    """Flag SAT and SUSPECT in one amplifier.

    Returns
    -------
    planes
        Planes with both flags, and BAD if no pixel of the data is without them.
    bad
        Whether that is so.
    """
    region = region_of(amplifier.raw_bbox)
    for name, level in (("SAT", limit), ("SUSPECT", suspect_limit)):
        if not np.isnan(level):
            where = np.zeros(planes.image.shape, dtype=bool)
            where[region] = planes.image[region] >= np.float64(level)
            planes = planes.flagged(name, where)
    bad = bool(planes.plane("SAT", "SUSPECT")[region_of(amplifier.raw_data_bbox)].all())
    return (planes.flagged_region("BAD", region) if bad else planes), bad


def apply_gains(planes: Planes, sensor: Sensor, gains: Mapping[str, float]) -> Planes:
    """Turn adu into electron, in single precision."""
    image, variance = planes.image.copy(), planes.variance.copy()
    for amplifier in sensor.amplifiers:
        region = region_of(amplifier.raw_bbox)
        gain = np.float32(gains[amplifier.name])
        image[region] *= gain
        variance[region] *= gain * gain
    return planes.with_image(image).with_variance(variance)


def subtract_crosstalk(
    planes: Planes,
    sensor: Sensor,
    calibrations: SimulatedCalibrations,
    *,
    gains: Mapping[str, float],
    bad: set[str],
    mask_limit: float = CROSSTALK_MASK_LIMIT,
    quadratic: bool = True,
) -> Planes:
    """Subtract what every amplifier leaves in every other, and flag where that is much.

    Parameters
    ----------
    planes
        Planes in electron.
    sensor, calibrations
        Detector and coefficients.
    gains
        Gains in electron per adu, for coefficients in adu.
    bad
        Amplifiers that neither give nor take.
    mask_limit
        Least change that is flagged CROSSTALK, in units of the coefficients.
    quadratic
        Whether the squares of the pixels count too.
    """
    linear, squared = _crosstalk_coefficients(sensor, calibrations, bad)
    if not quadratic:
        squared = np.zeros_like(squared)
    image = planes.image
    in_adu = calibrations.crosstalk_unit == "adu"
    if in_adu:
        image = _scale_amplifiers(image, sensor, gains, bad, invert=True)
    crosstalk = np.zeros_like(image)
    for number, target in enumerate(sensor.amplifiers):
        crosstalk[region_of(target.raw_bbox)] = _sum_crosstalk(
            image, sensor, target, linear[:, number], squared[:, number]
        )
    flagged = np.abs(crosstalk) >= np.float32(mask_limit)
    for amplifier in sensor.amplifiers:
        region = region_of(amplifier.raw_data_bbox)
        change = crosstalk[region] - np.float32(median_of(crosstalk[region]))
        flagged[region] = np.abs(change) >= np.float32(mask_limit)
    image = image - crosstalk
    if in_adu:
        image = _scale_amplifiers(image, sensor, gains, bad, invert=False)
    return planes.with_image(image).flagged("CROSSTALK", flagged)


def is_noisy(*, noise: float, residual_scatter_adu: float | None, gain: float, threshold: float) -> bool:
    """Tell whether an amplifier's read noise, stated or measured, is above a threshold in electron."""
    measured = residual_scatter_adu * gain if residual_scatter_adu is not None else 0.0
    return bool(noise > threshold or measured > threshold)


def assemble(planes: Planes, sensor: Sensor) -> Planes:
    """Put the data of the amplifiers together, without a change of any pixel."""
    shape = sensor.bbox.shape

    def trim[T: np.generic](array: np.ndarray[tuple[int, ...], np.dtype[T]]) -> np.ndarray:
        trimmed = np.zeros(shape, dtype=array.dtype)
        for amplifier in sensor.amplifiers:
            trimmed[region_of(amplifier.bbox)] = array[region_of(amplifier.raw_data_bbox)]
        return trimmed

    return Planes(
        image=trim(planes.image),
        mask={name: trim(where) for name, where in planes.mask.items()},
        variance=trim(planes.variance),
    )


def _crosstalk_coefficients(
    sensor: Sensor, calibrations: SimulatedCalibrations, bad: set[str]
) -> tuple[FloatArray, FloatArray]:
    """Return linear and quadratic coefficients [source, target], zero where they do not count."""
    count = len(sensor.amplifiers)
    linear, squared = calibrations.crosstalk_linear.copy(), calibrations.crosstalk_quadratic.copy()
    for name, array in (("linear", linear), ("quadratic", squared)):
        if array.shape != (count, count):
            raise InputDataError(
                f"The {name} crosstalk of {sensor.name} has shape {array.shape}, not {(count, count)}."
            )
    linear[~np.isfinite(linear) | ~calibrations.crosstalk_valid] = 0.0
    squared[~np.isfinite(squared) | (linear == 0.0)] = 0.0
    for number, amplifier in enumerate(sensor.amplifiers):
        if amplifier.name in bad:
            for array in (linear, squared):
                array[number, :] = 0.0
                array[:, number] = 0.0
    return linear, squared


def _sum_crosstalk(
    image: Float32Array, sensor: Sensor, target: SensorAmplifier, linear: FloatArray, squared: FloatArray
) -> Float32Array:
    """Return the crosstalk of all amplifiers in one, with single precision at every operation."""
    total = np.zeros(target.raw_bbox.shape, dtype=np.float32)
    for source, c, q in zip(sensor.amplifiers, linear, squared, strict=True):
        if c == 0.0:
            continue
        pixels = image[region_of(source.raw_bbox)]
        flip_x = source.flips[0] != target.flips[0]
        flip_y = source.flips[1] != target.flips[1]
        pixels = pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        total += np.float32(c) * pixels
        if q != 0.0:
            total += np.float32(q) * (pixels * pixels)
    return total


def _scale_amplifiers(
    image: Float32Array, sensor: Sensor, gains: Mapping[str, float], bad: set[str], *, invert: bool
) -> Float32Array:
    """Multiply every raw amplifier with its gain or the inverse; a bad gain counts as the median one."""
    good = [gains[a.name] for a in sensor.amplifiers if a.name not in bad and np.isfinite(gains[a.name])]
    scaled = image.copy()
    for amplifier in sensor.amplifiers:
        gain = gains[amplifier.name]
        if not np.isfinite(gain):
            gain = float(np.median(good))
        region: Region = region_of(amplifier.raw_bbox)
        scaled[region] *= np.float32(1.0 / gain if invert else gain)
    return scaled
