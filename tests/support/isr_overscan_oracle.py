"""The overscan corrections, slowly: row by row, with NumPy's own percentiles and masked arrays."""

from __future__ import annotations

__all__ = ("correct_overscan_slowly", "find_levels_slowly", "measure_slowly")

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane, box_slices, raw_geometry

BAD = int(IsrPlane.BAD)
SATURATED = int(IsrPlane.SATURATED)


def measure_slowly(values: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return mean, median and clipped standard deviation of the finite values."""
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[np.isfinite(x)]
    if x.size == 0:
        return np.nan, np.nan, np.nan
    q25, q50, q75 = np.percentile(x, [25, 50, 75])
    center, width = q50, 3 * 0.741301109252802 * (q75 - q25)
    spread = np.nan
    for _ in range(3):
        kept = x[np.abs(x - center) <= width]
        if kept.size < 2:
            return float(x.mean()), float(q50), np.nan
        center, spread = kept.mean(), kept.std(ddof=1)
        width = 3 * spread
    return float(x.mean()), float(q50), float(spread)


def find_levels_slowly(
    values: npt.NDArray[np.float32], excluded: npt.NDArray[np.bool_], *, statistic: str
) -> npt.NDArray[np.float64]:
    """Return the median or mean of each row without outliers, gaps filled."""
    with np.errstate(invalid="ignore"):
        q25, q50, q75 = np.percentile(values, [25.0, 50.0, 75.0], axis=1)
        spread = 0.74 * (q75 - q25)
        usual = np.median(spread)
        spread = np.where(spread > 2.0 * usual, usual, spread)
    levels = []
    for row, out, middle, sigma in zip(values, excluded, q50, spread, strict=True):
        good = [
            float(x)
            for x, is_out in zip(row, out, strict=True)
            if not is_out and np.isfinite(x) and not abs(float(x) - middle) > 3.0 * sigma
        ]
        if not good:
            levels.append(np.nan)
        else:
            levels.append(float(np.median(good)) if statistic == "median" else float(np.mean(good)))
    return _fill(np.array(levels))


def _fill(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    masked = np.ma.masked_invalid(levels)
    if not np.ma.is_masked(masked) or masked.count() == 0:
        return levels
    usual = np.median(levels[np.isfinite(levels)])
    filled = levels.copy()
    for gap in np.ma.clump_masked(masked):
        near: list[float] = []
        if gap.start > 5:
            near.extend(filled[gap.start - 5 : gap.start])
        if gap.stop < filled.size - 5:
            near.extend(filled[gap.stop : gap.stop + 5])
        filled[gap] = np.nanmedian(near) if near else usual
    return filled


def correct_overscan_slowly(
    exposure: IsrExposure,
    *,
    kind: str,
    skip: int,
    limit_adu: float,
    is_absolute: bool,
    excess_adu: float | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16], dict[str, tuple[float, ...]]]:
    """Return image, mask and statistics after the correction of one kind of overscan."""
    image, mask = exposure.image.copy(), exposure.mask.copy()
    statistics = {}
    for amplifier, state in zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True):
        if state.is_bad:
            continue
        geometry = raw_geometry(amplifier)
        rows, columns = box_slices(geometry.data_bbox)
        parallel = box_slices(geometry.parallel_overscan_bbox)
        if kind == "serial":
            rows = slice(min(rows.start, parallel[0].start), max(rows.stop, parallel[0].stop))
            over = (rows, box_slices(geometry.serial_overscan_bbox)[1])
            region, flags, data = image[over], mask[over], image[rows, columns]
        else:
            over = parallel
            region, flags, data = image[over].T, mask[over].T, image[rows, columns].T
            _saturate(region, flags, level=0.75 * state.saturation)
        scale = state.gain if str(exposure.unit) == "electron" else 1.0
        used = slice(skip, region.shape[1] - skip)
        levels = _levels(
            region[:, used], flags, used, data, kind=kind, limit=limit_adu * scale,
            is_absolute=is_absolute, excess=None if excess_adu is None else excess_adu * scale,
        )  # fmt: skip
        of_fit = (0.0, 0.0, 0.0)
        if levels is not None:
            data -= levels.astype(np.float32)[:, np.newaxis]
            region -= levels.astype(np.float32)[:, np.newaxis]
            of_fit = measure_slowly(levels)
        statistics[amplifier.name] = (*of_fit, *measure_slowly(region[(flags & (BAD | SATURATED)) == 0]))
    return image, mask, statistics


def _saturate(region: npt.NDArray[np.float32], flags: npt.NDArray[np.uint16], *, level: float) -> None:
    for y, x in np.argwhere(region.astype(np.float64) >= level):
        for row in range(region.shape[0]):
            for column in range(region.shape[1]):
                if abs(row - y) + abs(column - x) <= 7:
                    flags[row, column] |= SATURATED


def _levels(
    values: npt.NDArray[np.float32],
    flags: npt.NDArray[np.uint16],
    used: slice,
    data: npt.NDArray[np.float32],
    *,
    kind: str,
    limit: float,
    is_absolute: bool,
    excess: float | None,
) -> npt.NDArray[np.float64] | None:
    good = values[(flags[:, used] & (BAD | SATURATED)) == 0].astype(np.float64)
    if not good.size:
        return None
    median = np.median(good)
    if kind == "parallel" and np.median(data) > 1e4 and median / np.median(data) > 0.5:
        return None
    delta = values.astype(np.float64) - median
    deviant = (np.abs(delta) if is_absolute else delta) > limit
    whole = set(np.flatnonzero(deviant.all(axis=1)).tolist())
    if excess is not None:
        medians = np.median(values.astype(np.float64), axis=1)
        above = medians - signal.medfilt(medians, 5)
        whole |= {row for row in range(5, len(above) - 5) if above[row] >= excess}
    flags[:, used][deviant] |= BAD
    grow = 2 if kind == "parallel" else 0
    for row in range(len(values)):
        if any(abs(row - other) <= grow for other in whole):
            flags[row] |= BAD
    excluded = (flags[:, used] & (BAD | SATURATED)) != 0
    return None if excluded.all() else find_levels_slowly(values, excluded, statistic="median")
