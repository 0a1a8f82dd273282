"""Warps and rules, as the kernels that combine them read them."""

from __future__ import annotations

__all__ = (
    "KINDS",
    "MARKS",
    "Arrays",
    "find_arrays",
    "find_exponent",
    "make_inputs",
    "make_outputs",
    "make_settings",
    "stack",
)

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from .._kernels.stack_code_nb import LANES
from .._kernels.stack_order_nb import order_pairs
from .._kernels.stack_rows_nb import stack_rows
from .._kernels.stack_types_nb import CLIPPED_MEAN, MAX, MEAN, MEDIAN, MIN, Inputs, Outputs, Settings
from ..errors import InputDataError
from ._median_variance import find_median_variance_factors
from .rules import ClipRules, MaskRules, Statistic
from .warp import Warp

type Arrays = tuple[NDArray[Any], ...]
"""Image, variance and mask: rows of adjacent values of four bytes."""

KINDS = {
    Statistic.MEAN: MEAN,
    Statistic.CLIPPED_MEAN: CLIPPED_MEAN,
    Statistic.MEDIAN: MEDIAN,
    Statistic.MIN: MIN,
    Statistic.MAX: MAX,
}
"""Statistics of single pixels."""

MARKS = ("NO_DATA", "REJECTED", "CLIPPED", "SENSOR_EDGE", "INEXACT_PSF")
"""Planes that a combination sets."""

_EDGE_PLANES = {"NO_DATA", "DETECTION_EDGE"}
_MAX_IN_REGISTERS = 64  # longer networks are sorted in memory: 65 take 1.4 times as long as 64
_MIN_ROWS = 16  # per thread


def find_arrays(warp: Warp) -> Arrays:
    """Return the planes of a warp, copied only if they lie otherwise in memory or are very narrow."""
    planes = []
    for array, dtype in ((warp.image, np.float32), (warp.variance, np.float32), (warp.mask, np.uint32)):
        plain = np.asarray(array, dtype=dtype)
        missing = LANES - plain.shape[1]
        if missing > 0:
            plain = np.pad(plain, ((0, 0), (0, missing)))
        elif plain.strides[1] != 4 or not plain.flags.aligned:
            plain = np.ascontiguousarray(plain)
        planes.append(plain)
    return tuple(planes)


def find_exponent(weight: float) -> int:
    """Return the power of two of a weight: weights are scaled by it, which rounds nothing."""
    return int(np.frexp(weight)[1])


def make_inputs(arrays: Sequence[Arrays], weights: Sequence[float], exponent: int) -> Inputs:
    """Return the addresses of planes, and scaled weights."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(np.array(weights, np.float64), -exponent).astype(np.float32)
    if not np.all((scaled > 1e-15) & (scaled < 1e15)):  # their squares and sums fit, too
        raise InputDataError(
            f"Weights from {min(weights)} to {max(weights)} differ too much from the first, "
            f"which is about {2.0**exponent}."
        )
    return Inputs(
        np.array([[item[i].ctypes.data for item in arrays] for i in range(3)], np.int64),
        np.array([[item[i].strides[0] for item in arrays] for i in range(3)], np.int64),
        scaled,
    )


def make_settings(
    planes: tuple[str, ...], masks: MaskRules, statistic: Statistic, clip: ClipRules, n: int, bbox: Box
) -> Settings:
    """Return rules as kernels read them."""

    def join(names: set[str]) -> int:
        return sum(1 << planes.index(name) for name in names if name in planes)

    bad = {*masks.bad_planes, "CLIPPED"}
    known = [(name, threshold) for name, threshold in masks.propagate if name in planes]
    return Settings(
        kind=KINDS[statistic],
        bits=_to_words([join(bad), join(bad - _EDGE_PLANES - {"CLIPPED"}), join({"CLIPPED"})]),
        planes=_to_words([join({name}) for name, _ in known]),
        thresholds=np.array([threshold for _, threshold in known], np.float32),
        marks=_to_words([join({name}) for name in MARKS]),
        n_sigma=np.float32(clip.n_sigma),  # type: ignore[arg-type]  # one type, one compilation
        iterations=clip.iterations,
        factors=find_median_variance_factors(n if statistic is Statistic.MEDIAN else 1),
        columns=np.array([0, bbox.shape[1]], np.int64),
    )


def _to_words(values: list[int]) -> NDArray[np.int32]:
    """Return words of bits."""
    return np.array(values, np.uint32).view(np.int32)


def make_outputs(bbox: Box) -> Outputs:
    """Return arrays for the result, as wide as kernels need them."""
    shape = (bbox.shape[0], max(bbox.shape[1], LANES))
    dtypes = (np.float32, np.float32, np.int32, np.uint16, np.float32, np.float32)
    return Outputs(*(np.empty(shape, dtype) for dtype in dtypes))


def stack(inputs: Inputs, settings: Settings, out: Outputs, threads: int) -> NDArray[np.int64]:
    """Combine all rows; return in how many pixels each input is used."""
    n, rows = inputs.weights.size, out.image.shape[0]
    unrolled: tuple[int, ...] = (0,)
    pairs = np.zeros((0, 2), np.int64)
    if settings.kind in (CLIPPED_MEAN, MEDIAN):
        if n > _MAX_IN_REGISTERS:
            pairs = np.array(order_pairs(n), np.int64)
        else:
            step = 4 if n <= _MAX_IN_REGISTERS // 2 else 8
            unrolled = (0,) * (-(-n // step) * step)

    def work(begin: int) -> NDArray[np.int64]:
        used = np.zeros(n, np.int64)
        stack_rows(inputs, settings, unrolled, pairs, begin, min(begin + step_rows, rows), used, out)
        return used

    step_rows = max(-(-rows // threads), _MIN_ROWS)
    begins = range(0, rows, step_rows)
    if len(begins) < 2:
        return work(0)
    with ThreadPoolExecutor(threads) as pool:
        return np.sum(list(pool.map(work, begins)), axis=0)
