"""The steps of a reduction that ccdproc has: overscan, trim, gain, bias, dark, flat, with uncertainty.

Both sides start from the counts of the untrimmed detector in memory and end
with electrons and their uncertainty.  ccdproc has no assembly of amplifiers: the
trimmed ones are put in their places by NumPy.  It also does not reject outliers
in the overscan, measure what is left of it, nor flag anything.
"""

from __future__ import annotations

__all__ = ("compare_ccdproc",)

import functools
from collections.abc import Mapping

import astropy.units as u
import ccdproc
import numpy as np
from _harness import Benchmark, Figure, Side
from astropy.nddata import CCDData, StdDevUncertainty
from lsst.images.cameras import Amplifier

from lsst.dax.image.recreation.isr import (
    CalibrationImage,
    IsrCalibrations,
    IsrExposure,
    apply_flat,
    apply_gains,
    assemble,
    box_slices,
    make_variance,
    raw_geometry,
    set_gains,
    subtract_bias,
    subtract_dark,
    subtract_serial_overscan,
)

SKIP = 3
"""Columns at either end of the overscan that do not count."""

ATOL, RTOL = 0.02, 1e-5
"""ccdproc computes in float64, we in float32: an ulp of raw counts is 0.002 adu,
and each step rounds once."""


def compare_ccdproc(
    bench: Benchmark, raw: IsrExposure, calibrations: IsrCalibrations, *, name: str, repeats: int
) -> Figure:
    """Time the steps that both have, and hold the pixels against each other."""
    raw = set_gains(_without_extremes(raw), ptc=calibrations.ptc)
    expected = _planes_of_exposure(_reduce(raw, calibrations))
    ours = Side("ours", functools.partial(_reduce, raw, calibrations), _planes_of_exposure)
    masters = {name: _make_master(getattr(calibrations, name)) for name in ("bias", "dark", "flat")}
    theirs = Side(
        "ccdproc",
        functools.partial(_reduce_with_ccdproc, raw, calibrations, masters),
        functools.partial(_planes_of_ccd, expected=expected),
    )
    (figure,) = bench.compare(name, ours, [theirs], repeats=repeats)
    return figure


def _overscan_columns(amplifier: Amplifier) -> slice:
    columns = box_slices(raw_geometry(amplifier).serial_overscan_bbox)[1]
    return slice(columns.start + SKIP, columns.stop - SKIP)


def _without_extremes(raw: IsrExposure) -> IsrExposure:
    """Return counts of which both sides make the same pixels.

    Outliers in a row of the overscan, which we reject and ccdproc does not, are
    drawn in to two standard deviations, which leaves its median as it is.  Data
    below that median, whose uncertainty ccdproc makes NaN, are raised to it.
    """
    image = raw.image.copy()
    for amplifier in raw.detector.amplifiers:
        geometry = raw_geometry(amplifier)
        rows = box_slices(geometry.bbox)[0]
        columns = _overscan_columns(amplifier)
        low, level, high = np.percentile(image[rows, columns], [25, 50, 75], axis=1, keepdims=True)
        reach = 2 * 0.74 * np.minimum(high - low, np.median(high - low))
        image[rows, columns] = np.clip(image[rows, columns], level - reach, level + reach)
        data = box_slices(geometry.data_bbox)
        inside = slice(data[0].start - rows.start, data[0].stop - rows.start)
        image[data] = np.maximum(image[data], level[inside])
    return raw.with_pixels(image=image)


def _reduce(raw: IsrExposure, calibrations: IsrCalibrations) -> IsrExposure:
    exposure = subtract_serial_overscan(raw, skip=(SKIP, SKIP), max_deviation_adu=np.inf)
    exposure = assemble(apply_gains(exposure))
    # Before bias and dark, as ccdproc can only start an uncertainty, not add to one.
    exposure = make_variance(exposure)
    exposure = subtract_bias(exposure, bias=calibrations.bias)
    exposure = subtract_dark(exposure, dark=calibrations.dark)
    return apply_flat(exposure, flat=calibrations.flat)


def _reduce_with_ccdproc(
    raw: IsrExposure, calibrations: IsrCalibrations, masters: Mapping[str, CCDData]
) -> CCDData:
    shape = raw.detector.bbox.shape
    electrons, deviation = np.empty(shape), np.empty(shape)
    whole = CCDData(raw.image, unit=u.adu)
    for amplifier, state in zip(raw.detector.amplifiers, raw.amplifiers, strict=True):
        geometry = raw_geometry(amplifier)
        rows, columns = box_slices(geometry.data_bbox)
        strip = whole[rows, _overscan_columns(amplifier)]
        ccd = ccdproc.subtract_overscan(whole[rows], overscan=strip, overscan_axis=1, median=True)
        ccd = ccdproc.trim_image(ccd[:, columns])
        ccd = ccdproc.create_deviation(
            ccd,
            gain=state.gain * u.electron / u.adu,
            readnoise=state.read_noise * u.electron,
            disregard_nan=True,
        )
        ccd = ccdproc.gain_correct(ccd, state.gain * u.electron / u.adu)
        box = box_slices(amplifier.bbox)
        electrons[box], deviation[box] = ccd.data, ccd.uncertainty.array
    ccd = CCDData(electrons, unit=u.electron, uncertainty=StdDevUncertainty(deviation))
    ccd = ccdproc.subtract_bias(ccd, masters["bias"])
    ccd = ccdproc.subtract_dark(
        ccd,
        masters["dark"],
        dark_exposure=calibrations.dark.dark_time_s * u.s,
        data_exposure=raw.info.dark_time_s * u.s,
        scale=True,
    )
    return ccdproc.flat_correct(ccd, masters["flat"], norm_value=1.0)


def _make_master(calibration: CalibrationImage) -> CCDData:
    return CCDData(
        calibration.image,
        unit=calibration.unit,
        uncertainty=StdDevUncertainty(np.sqrt(calibration.variance)),
    )


def _planes_of_exposure(exposure: IsrExposure) -> dict[str, np.ndarray]:
    return {"image": exposure.image, "variance": exposure.variance}


def _planes_of_ccd(ccd: CCDData, *, expected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return planes in float32, with what is equal to rounding put equal."""
    planes = {"image": ccd.data, "variance": ccd.uncertainty.array**2}
    return {
        name: np.where(
            np.isclose(plane, expected[name], rtol=RTOL, atol=ATOL),
            expected[name],
            plane.astype(np.float32),
        )
        for name, plane in planes.items()
    }
