"""Steps of the reference instrument signature removal on the assembled detector."""

from __future__ import annotations

__all__ = (
    "CalibrationMasks",
    "apply_flat",
    "flag_amplifiers",
    "flag_defects",
    "flag_not_finite",
    "make_variance",
    "set_bad_regions",
    "subtract_amplifier_offsets",
    "subtract_bias",
    "subtract_dark",
)

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lsst.images import Box

from ..errors import CalibrationMismatchError, InputDataError
from ._reference_planes import BoolArray, FloatArray, Planes, median_of, region_of, subtract_float32
from ._sensor import Sensor

type CalibrationMasks = Mapping[str, BoolArray]


def subtract_bias(planes: Planes, bias: FloatArray, variance: FloatArray, mask: CalibrationMasks) -> Planes:
    """Subtract a master bias and add its variance and mask."""
    _check_shape(planes, bias, "bias")
    result = planes.with_image(planes.image - bias.astype(np.float32))
    result = result.with_variance(planes.variance + variance.astype(np.float32))
    return _merge(result, mask)


def subtract_dark(
    planes: Planes,
    dark: FloatArray,
    variance: FloatArray,
    mask: CalibrationMasks,
    *,
    dark_time: float,
    master_dark_time: float,
) -> Planes:
    """Subtract a master dark, scaled by the ratio of dark times.

    Raises
    ------
    InputDataError
        Raised if the dark time of the exposure is not known.
    """
    _check_shape(planes, dark, "dark")
    if not np.isfinite(dark_time):
        raise InputDataError(f"The dark time of the exposure is {dark_time}, not a number of seconds.")
    scale = dark_time / (master_dark_time if np.isfinite(master_dark_time) else 1.0)
    result = planes.with_image(planes.image - np.float32(scale) * dark.astype(np.float32))
    added = np.float32(scale * scale) * variance.astype(np.float32)
    return _merge(result.with_variance(planes.variance + added), mask)


def flag_defects(planes: Planes, defects: Sequence[Box]) -> Planes:
    """Flag BAD in every defect, as far as it is on the detector."""
    where = np.zeros(planes.image.shape, dtype=bool)
    for box in defects:
        rows, columns = region_of(box)
        where[max(rows.start, 0) : max(rows.stop, 0), max(columns.start, 0) : max(columns.stop, 0)] = True
    return planes.flagged("BAD", where)


def flag_amplifiers(planes: Planes, sensor: Sensor, names: Iterable[str]) -> Planes:
    """Flag BAD in whole amplifiers of the assembled detector, given as ``R.._S.._Cxx``."""
    for amplifier in sensor.amplifiers:
        if f"{sensor.name}_{amplifier.name}" in set(names):
            planes = planes.flagged_region("BAD", region_of(amplifier.bbox))
    return planes


def flag_not_finite(planes: Planes) -> Planes:
    """Flag UNMASKEDNAN where the image or the variance is no number."""
    return planes.flagged("UNMASKEDNAN", ~(np.isfinite(planes.image) & np.isfinite(planes.variance)))


def make_variance(planes: Planes, sensor: Sensor, read_noises: Mapping[str, float]) -> Planes:
    """Add Poisson noise and read noise to the variance, and flag BAD where that is not positive."""
    variance = planes.variance + planes.image
    for amplifier in sensor.amplifiers:
        noise = read_noises[amplifier.name]
        variance[region_of(amplifier.bbox)] += np.float32(noise * noise)
    return planes.with_variance(variance).flagged("BAD", variance <= 0.0)


def apply_flat(
    planes: Planes,
    flat: FloatArray,
    variance: FloatArray,
    mask: CalibrationMasks,
    *,
    has_polygon: bool,
    no_data_variance: float,
) -> Planes:
    """Divide by a master flat.

    Parameters
    ----------
    planes
        Image with its variance.
    flat, variance, mask
        Master flat.
    has_polygon
        Whether the flat says which region is valid: then pixels without data
        become zero.
    no_data_variance
        Variance of those pixels.
    """
    _check_shape(planes, flat, "flat")
    f, fv = flat.astype(np.float32), variance.astype(np.float32)
    image, old = planes.image, planes.variance
    # The numerator and the square of the flat are rounded to single precision
    # at each operation; the product of the squares and the quotient are not.
    numerator = (image * image) * fv + (f * f) * old
    square = (f * f).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = planes.with_variance(numerator / (square * square)).with_image(image / f)
    result = _merge(result, mask)
    if has_polygon:
        empty = result.plane("NO_DATA")
        result = result.with_image(np.where(empty, np.float32(0), result.image))
        result = result.with_variance(np.where(empty, np.float32(no_data_variance), result.variance))
    return result


def set_bad_regions(planes: Planes) -> Planes:
    """Set BAD pixels that are not interpolated to the median of the others."""
    bad = planes.plane("BAD")
    value = np.float32(median_of(planes.image[~bad]))
    return planes.with_image(np.where(bad & ~planes.plane("INTRP"), value, planes.image))


def subtract_amplifier_offsets(planes: Planes, sensor: Sensor, pedestals: Mapping[str, float]) -> Planes:
    """Subtract a number from every amplifier that has one."""
    for amplifier in sensor.amplifiers:
        if amplifier.name in pedestals:
            region = region_of(amplifier.bbox)
            offset = pedestals[amplifier.name]
            planes = planes.with_image(subtract_float32(planes.image[region], offset), region)
    return planes


def _merge(planes: Planes, mask: CalibrationMasks) -> Planes:
    for name, where in mask.items():
        planes = planes.flagged(name, where)
    return planes


def _check_shape(planes: Planes, array: FloatArray, name: str) -> None:
    if array.shape != planes.image.shape:
        raise CalibrationMismatchError(
            f"The {name} has shape {array.shape}, the assembled detector {planes.image.shape}."
        )
