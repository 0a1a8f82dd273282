"""Overscan subtraction of the reference instrument signature removal: one robust median per line."""

from __future__ import annotations

__all__ = (
    "PARALLEL_ABSOLUTE_RULE",
    "PARALLEL_RULE",
    "SERIAL_RULE",
    "OverscanRule",
    "OverscanStatistics",
    "correct_parallel_overscan",
    "correct_serial_overscan",
    "measure_overscan",
)

import dataclasses

import numpy as np
import scipy.ndimage
import scipy.signal

from ..errors import InputDataError
from ._reference_planes import (
    BoolArray,
    Float32Array,
    FloatArray,
    Planes,
    clipped_scatter,
    grow_diamond,
    median_of,
    region_of,
)
from ._sensor import SensorAmplifier

SKIPPED_PX = 3
"""Lines of an overscan that are left out at either side."""

CLIP_SIGMAS = 3.0
QUARTILES_TO_SIGMA = 0.74

SMOOTHING_PX = 5
"""Width of the running median over columns, and of the ends that it cannot judge."""

EXCESS_ADU = 5.0
"""Least height of a column over the running median of its neighbours, to be left out."""

FILL_REACH = 5
"""Number of lines on either side that fill a line without a median."""

BRIGHT_SATURATION_FRACTION = 0.75
BRIGHT_GROWTH_PX = 7

CONTAMINATED_RATIO = 0.5
CONTAMINATED_LEVEL = 1e4
"""Parallel overscan above this part of the data, where those are above this level, is no overscan."""


@dataclasses.dataclass(frozen=True)
class OverscanRule:
    """How pixels of an overscan are left out."""

    max_deviation_adu: float
    """Largest deviation of a pixel from the median of the overscan."""

    absolute: bool
    """Whether that counts below the median too."""

    smoothed: bool
    """Whether lines are compared with a running median."""

    growth_px: int
    """Growth of lines that are left out."""


SERIAL_RULE = OverscanRule(max_deviation_adu=1000.0, absolute=True, smoothed=False, growth_px=0)
PARALLEL_RULE = OverscanRule(max_deviation_adu=100.0, absolute=False, smoothed=True, growth_px=2)
PARALLEL_ABSOLUTE_RULE = OverscanRule(max_deviation_adu=100.0, absolute=True, smoothed=False, growth_px=2)


@dataclasses.dataclass(frozen=True)
class OverscanStatistics:
    """Mean, median and clipped standard deviation of an overscan, in units of the image."""

    mean: float
    median: float
    scatter: float

    @classmethod
    def of(cls, values: Float32Array, masked: BoolArray) -> OverscanStatistics:
        """Measure the pixels that are not masked."""
        good = values[~masked]
        finite = good[np.isfinite(good)].astype(np.float64)
        mean = float(np.mean(finite)) if finite.size else float("nan")
        return cls(mean=mean, median=median_of(good), scatter=clipped_scatter(good))


def correct_serial_overscan(
    planes: Planes, amplifier: SensorAmplifier, *, rule: OverscanRule = SERIAL_RULE
) -> tuple[Planes, OverscanStatistics, OverscanStatistics]:
    """Subtract the serial overscan of one amplifier, row by row.

    Returns
    -------
    planes
        Planes with data, parallel overscan and serial overscan corrected; the
        prescan stays as it is.
    level, residual
        Statistics of the overscan before and after.
    """
    overscan = amplifier.raw_serial_overscan_bbox
    data, parallel = amplifier.raw_data_bbox, amplifier.raw_parallel_overscan_bbox
    rows = slice(min(data.y.start, parallel.y.start), max(data.y.stop, parallel.y.stop))
    columns = slice(min(data.x.start, overscan.x.start), max(data.x.stop, overscan.x.stop))
    region = rows, _inner(overscan.x.start, overscan.x.stop, f"serial overscan of {amplifier.name}")
    values, masked = planes.image[region], planes.plane("BAD", "SAT")[region]
    level = OverscanStatistics.of(values, masked)
    if masked.all():
        return planes, level, level
    model = measure_overscan(values, masked, rule=rule, gain=1.0)
    corrected = planes.image[rows, columns] - model.astype(np.float32)[:, np.newaxis]
    planes = planes.with_image(corrected, (rows, columns))
    return planes, level, OverscanStatistics.of(planes.image[region], masked)


def correct_parallel_overscan(
    planes: Planes,
    amplifier: SensorAmplifier,
    *,
    gain: float,
    saturation: float,
    rule: OverscanRule = PARALLEL_RULE,
) -> tuple[Planes, OverscanStatistics, OverscanStatistics]:
    """Subtract the parallel overscan of one amplifier, column by column.

    Parameters
    ----------
    planes
        Planes in electron.
    amplifier
        Which amplifier.
    gain
        Its gain, which turns the limits of the rule into electron.
    saturation
        Its saturation level, in electron.
    rule
        Which pixels are left out.

    Returns
    -------
    planes
        Planes with data and parallel overscan corrected.
    level, residual
        Statistics of the overscan before and after.
    """
    overscan, data = amplifier.raw_parallel_overscan_bbox, region_of(amplifier.raw_data_bbox)
    box = region_of(overscan)
    bright = planes.image[box] >= np.float64(BRIGHT_SATURATION_FRACTION * saturation)
    masked_box = planes.plane("BAD", "SAT")[box] | grow_diamond(
        planes.plane("SAT")[box] | bright, BRIGHT_GROWTH_PX if bright.any() else 0
    )
    inner = _inner(0, overscan.y.size, f"parallel overscan of {amplifier.name}")
    values, masked = planes.image[box][inner], masked_box[inner]
    level = OverscanStatistics.of(values, masked)
    data_level = median_of(planes.image[data])
    contaminated = data_level > CONTAMINATED_LEVEL and level.median > CONTAMINATED_RATIO * data_level
    if masked.all() or contaminated:
        return planes, level, level
    model = measure_overscan(values.T, masked.T, rule=rule, gain=gain).astype(np.float32)
    planes = planes.with_image(planes.image[data] - model, data)
    planes = planes.with_image(planes.image[box] - model, box)
    return planes, level, OverscanStatistics.of(planes.image[box][inner], masked)


def measure_overscan(
    values: Float32Array, masked: BoolArray, *, rule: OverscanRule, gain: float
) -> FloatArray:
    """Return the level of each line of an overscan.

    Parameters
    ----------
    values
        Pixels, shape ``(lines, pixels per line)``.
    masked
        Pixels that do not count.
    rule
        Which others are left out.
    gain
        Units of ``values`` per adu.

    Returns
    -------
    levels
        Median of each line, in double precision.
    """
    data = values.astype(np.float64)
    deviation = data - median_of(values[~masked])
    if rule.absolute:
        deviation = np.abs(deviation)
    far = deviation > rule.max_deviation_adu * gain
    lines = far.all(axis=1)
    if rule.smoothed:
        lines |= _find_high_lines(data, EXCESS_ADU * gain)
    if rule.growth_px and lines.any():
        lines = scipy.ndimage.binary_dilation(lines, iterations=rule.growth_px)
    left_out = masked | far | lines[:, np.newaxis] | _find_outliers(data)
    levels = [median_of(line[~out]) for line, out in zip(values, left_out, strict=True)]
    return _fill_lines(np.array(levels))


def _inner(start: int, stop: int, what: str) -> slice:
    """Return a range without the lines at its sides."""
    if stop - start <= 2 * SKIPPED_PX:
        raise InputDataError(
            f"The {what} has {stop - start} lines, of which {SKIPPED_PX} are skipped at either side."
        )
    return slice(start + SKIPPED_PX, stop - SKIPPED_PX)


def _find_high_lines(data: FloatArray, limit: float) -> BoolArray:
    """Return the lines whose median stands out of the running median."""
    medians = np.median(data, axis=1)
    high = medians - scipy.signal.medfilt(medians, SMOOTHING_PX) >= limit
    # The filter pads with zeros, so the ends are not to be trusted.
    high[:SMOOTHING_PX] = False
    high[-SMOOTHING_PX:] = False
    return np.asarray(high, dtype=bool)


def _find_outliers(data: FloatArray) -> BoolArray:
    """Return the pixels that lie 3 robust standard deviations off the median of their line."""
    lower, center, upper = np.percentile(data, [25.0, 50.0, 75.0], axis=1)
    sigma = QUARTILES_TO_SIGMA * (upper - lower)
    typical = np.median(sigma)
    sigma = np.where(sigma > 2.0 * typical, typical, sigma)
    outliers = np.abs(data - center[:, np.newaxis]) > CLIP_SIGMAS * sigma[:, np.newaxis]
    return np.asarray(outliers, dtype=bool)


def _fill_lines(levels: FloatArray) -> FloatArray:
    """Give a level to the lines without one: the median of those near it, or of all."""
    known = np.isfinite(levels)
    filled = levels.copy()
    for line in np.flatnonzero(~known):
        near = levels[max(line - FILL_REACH, 0) : line + FILL_REACH + 1]
        inside = FILL_REACH < line < levels.size - 1 - FILL_REACH
        use_near = inside and np.isfinite(near).any()
        filled[line] = median_of(near if use_near else levels)
    return filled
