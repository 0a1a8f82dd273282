"""Warps, their slow combination in double precision, and the variance of a median."""

from __future__ import annotations

__all__ = ("PLANES", "Expected", "combine_slowly", "integrate_median_variance", "make_warp", "make_warps")

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lsst.images import Box
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr

from lsst.dax.image.coadds import ClipRules, InputKey, MaskRules, Statistic, Warp

PLANES = ("BAD", "SATURATED", "NO_DATA", "DETECTED", "CLIPPED", "DETECTION_EDGE")


def make_warp(
    k: int,
    image: NDArray[np.float32],
    *,
    variance: NDArray[np.float32] | float = 1.0,
    mask: NDArray[np.uint32] | int = 0,
    weight: float = 1.0,
    start: tuple[int, int] = (0, 0),
    planes: tuple[str, ...] = PLANES,
) -> Warp:
    """Return the warp of visit k."""
    y, x = start
    ny, nx = image.shape
    return Warp(
        key=InputKey("Test", k, 0, uuid.UUID(int=k)),
        bbox=Box.factory[y : y + ny, x : x + nx],
        image=np.asarray(image, np.float32),
        variance=np.broadcast_to(np.asarray(variance, np.float32), image.shape).copy(),
        mask=np.broadcast_to(np.asarray(mask, np.uint32), image.shape).copy(),
        planes=planes,
        weight=weight,
    )


def make_warps(n: int, shape: tuple[int, int], *, seed: int, level: float = 100.0) -> list[Warp]:
    """Return noise with outliers, masks, gaps and weights of all kinds."""
    rng = np.random.default_rng(seed)
    warps = []
    for k in range(n):
        variance = rng.uniform(20.0, 60.0)
        image = rng.normal(level, math.sqrt(variance), shape).astype(np.float32)
        image[rng.random(shape) < 0.03] += 300.0
        mask = (np.uint32(1) << rng.integers(0, len(PLANES), shape).astype(np.uint32)).astype(np.uint32)
        mask[rng.random(shape) < 0.8] = 0
        planes = np.full(shape, variance, np.float32) * rng.uniform(0.9, 1.1, shape).astype(np.float32)
        if k % 4 == 1:
            edge = rng.integers(0, shape[1])
            image[:, :edge] = planes[:, :edge] = np.nan
        if k % 7 == 3:
            planes[rng.random(shape) < 0.02] = np.inf
        warps.append(make_warp(k, image, variance=planes, mask=mask, weight=rng.uniform(0.2, 3.0) / variance))
    return warps


@dataclass
class Expected:
    """What the slow combination gives."""

    image: NDArray[np.float64]
    variance: NDArray[np.float64]
    n_inputs: NDArray[np.int64]
    weight_sum: NDArray[np.float64]
    rejected_fraction: NDArray[np.float64]
    used: NDArray[np.bool_]
    """Shape (n, rows, columns)."""

    names: NDArray[np.object_]
    """Set of plane names of each pixel."""

    is_close: NDArray[np.bool_]
    """Whether a value lies so close to a limit of clipping that rounding decides."""


def combine_slowly(
    warps: Sequence[Warp], statistic: Statistic, clip: ClipRules, masks: MaskRules
) -> Expected:
    """Combine pixel by pixel, value by value, with NumPy's quantiles and sets of names."""
    shape = warps[0].image.shape
    out = Expected(
        *(np.full(shape, np.nan) for _ in range(2)),
        np.zeros(shape, np.int64),
        *(np.zeros(shape) for _ in range(2)),
        np.zeros((len(warps), *shape), bool),
        np.empty(shape, object),
        np.zeros(shape, bool),
    )
    for place in np.ndindex(shape):
        _combine_pixel(warps, statistic, clip, masks, place, out)
    return out


def _find_names(warp: Warp, place: tuple[int, ...]) -> set[str]:
    word = int(warp.mask[place])
    return {name for i, name in enumerate(warp.planes) if word >> i & 1}


def _combine_pixel(
    warps: Sequence[Warp],
    statistic: Statistic,
    clip: ClipRules,
    masks: MaskRules,
    place: tuple[int, ...],
    out: Expected,
) -> None:
    values = np.array([warp.image[place] for warp in warps], np.float64)
    variances = np.array([warp.variance[place] for warp in warps], np.float64)
    weights = np.array([warp.weight for warp in warps])
    names = [_find_names(warp, place) for warp in warps]
    bad = {*masks.bad_planes, "CLIPPED"}
    hard = bad - {"NO_DATA", "DETECTION_EDGE", "CLIPPED"}
    has_value = np.isfinite(values) & np.isfinite(variances)
    good = has_value & np.array([not (each & bad) for each in names])
    used = good.copy()
    if statistic is Statistic.CLIPPED_MEAN and good.any():
        used, out.is_close[place] = _clip(values, weights, good, clip)
    result: set[str] = set()
    left = 0.0
    for k in range(len(warps)):
        if used[k]:
            result |= names[k]
        elif names[k] & hard or "CLIPPED" in names[k] or good[k]:
            left += weights[k]
            result |= {"REJECTED", "INEXACT_PSF"}
            if "CLIPPED" in names[k] or good[k]:
                result.add("CLIPPED")
        else:
            result |= {"SENSOR_EDGE", "INEXACT_PSF"}
    total = weights[used].sum()
    for name, threshold in masks.propagate:
        lost = sum(weights[k] for k in range(len(warps)) if not used[k] and name in names[k])
        if lost > threshold * (total + lost):
            result.add(name)
    if not used.any():
        result.add("NO_DATA")
    else:
        out.image[place], out.variance[place] = _reduce(values, variances, weights, used, statistic)
        if statistic in (Statistic.MIN, Statistic.MAX):
            chosen = next(k for k in range(len(warps)) if used[k] and values[k] == out.image[place])
            result -= set().union(*(names[k] for k in range(len(warps)) if used[k])) - names[chosen]
    out.n_inputs[place], out.weight_sum[place], out.names[place] = used.sum(), total, result
    out.rejected_fraction[place] = left / (total + left) if left else 0.0
    out.used[(slice(None), *place)] = used


def _clip(
    values: NDArray[np.float64], weights: NDArray[np.float64], good: NDArray[np.bool_], clip: ClipRules
) -> tuple[NDArray[np.bool_], bool]:
    first, center, third = np.quantile(values[good], [0.25, 0.5, 0.75])
    width = clip.n_sigma * 0.741301109252801 * (third - first)
    is_close = False
    for iteration in range(clip.iterations):
        distance = np.abs(np.where(good, values, np.inf) - center)
        is_close |= bool(np.any((np.abs(distance - width) < 1e-3) & (distance > 0.0)))
        within = distance <= width
        if iteration == clip.iterations - 1:
            break
        w, x = weights[within], values[within]
        rest = 1.0 - (w**2).sum() / w.sum() ** 2
        if rest > 1e-4:
            mean = np.average(x, weights=w)
            width = clip.n_sigma * math.sqrt(np.average((x - mean) ** 2, weights=w) / rest)
            center = mean
    return within, is_close


def _reduce(
    values: NDArray[np.float64],
    variances: NDArray[np.float64],
    weights: NDArray[np.float64],
    used: NDArray[np.bool_],
    statistic: Statistic,
) -> tuple[float, float]:
    x, v, w = values[used], variances[used], weights[used]
    if statistic is Statistic.MEDIAN:
        factor = integrate_median_variance(x.size)
        return float(np.median(x)), float(factor * np.mean(v**-0.5) ** -2)
    if statistic is Statistic.MIN:
        return float(x.min()), float(v[x.argmin()])
    if statistic is Statistic.MAX:
        return float(x.max()), float(v[x.argmax()])
    return float(np.average(x, weights=w)), float((w**2 * v).sum() / w.sum() ** 2)


_FACTORS: dict[int, float] = {}


def integrate_median_variance(n: int) -> float:
    """Return the variance of the median of n normal values, from the density of the middle one or two."""
    if n not in _FACTORS:
        _FACTORS[n] = _integrate(n)
    return _FACTORS[n]


def _integrate(n: int) -> float:
    x = np.linspace(-7.5, 7.5, 24001)
    step = x[1] - x[0]
    density = -0.5 * x**2 - 0.5 * math.log(2.0 * math.pi)
    below, above = log_ndtr(x), log_ndtr(-x)
    if n % 2:
        k = (n - 1) // 2
        log = gammaln(n + 1) - 2.0 * gammaln(k + 1) + k * (below + above) + density
        return float(np.sum(np.exp(log) * x**2) * step)
    k = n // 2
    constant = 0.5 * (gammaln(n + 1) - 2.0 * gammaln(k))
    lower, upper = (np.exp(constant + (k - 1) * part + density) for part in (below, above))
    # The mean square of (x + y) / 2 over x < y, by running sums over x with
    # half of the weight on the diagonal.
    moments = [np.cumsum(lower * x**i) - 0.5 * lower * x**i for i in range(3)]
    inner = moments[2] + 2.0 * moments[1] * x + moments[0] * x**2
    return float(np.sum(inner * upper) * step**2 / 4.0)
