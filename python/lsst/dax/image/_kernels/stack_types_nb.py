"""What the kernels that combine many images read and write."""

from __future__ import annotations

__all__ = (
    "CLIPPED_MEAN",
    "LEFT_UNION",
    "LEFT_WEIGHT",
    "MAX",
    "MEAN",
    "MEDIAN",
    "MIN",
    "NUMBER",
    "REASONS",
    "SPREAD",
    "UNION",
    "VALUE",
    "WEIGHT",
    "Inputs",
    "Outputs",
    "Settings",
    "Sums",
)

from typing import Any, NamedTuple

MEAN, CLIPPED_MEAN, MEDIAN, MIN, MAX = 0, 1, 2, 3, 4

WEIGHT, VALUE, SPREAD, LEFT_WEIGHT = 0, 1, 2, 3  # planes of `Sums.real`
UNION, NUMBER, REASONS, LEFT_UNION = 0, 1, 2, 3  # planes of `Sums.whole`


class Inputs(NamedTuple):
    """What is combined, n images in the order in which they are summed."""

    addresses: Any
    """Address of the first row of image, variance and mask, int64, shape ``(3, n)``."""

    strides: Any
    """Bytes between rows, int64, shape ``(3, n)``."""

    weights: Any
    """Weights, float32, shape ``(n,)``."""


class Settings(NamedTuple):
    """How it is combined."""

    kind: int
    """One of the statistics."""

    bits: Any
    """Bits without a value, those of them that are rejected, and clipped; int32, shape ``(3,)``."""

    planes: Any
    """Bits of planes that are set where much weight was left out for them, int32, shape ``(p,)``."""

    thresholds: Any
    """Share of the weight for each of them, float32, shape ``(p,)``."""

    marks: Any
    """Bits to set: NO_DATA, REJECTED, CLIPPED, SENSOR_EDGE, INEXACT_PSF; int32, shape ``(5,)``."""

    n_sigma: float
    """Half width of what a clipped mean keeps, in standard deviations, float32."""

    iterations: int
    """How often it is clipped."""

    factors: Any
    """Variance of the median of k values over that of each, float32, shape ``(n + 1,)``."""

    columns: Any
    """First column whose pixels are counted, and the one after the last; int64, shape ``(2,)``."""


class Sums(NamedTuple):
    """Sums over inputs, shape ``(ny, nx)`` each."""

    real: Any
    """Four planes that `accumulate` adds to, float32, shape ``(4, ny, nx)``."""

    whole: Any
    """Four more, int32, shape ``(4, ny, nx)``."""

    left: Any
    """Weight that was left out for each of the planes, float32, shape ``(p, ny, nx)``."""

    windows: Any
    """Middle and half width of what is kept, float32, shape ``(2, ny, nx)``."""


class Outputs(NamedTuple):
    """What it becomes, shape ``(ny, nx)`` each."""

    image: Any
    """Values, float32; NaN where there is no input."""

    variance: Any
    """Variances, float32; NaN where there is no input."""

    mask: Any
    """Masks, int32."""

    count: Any
    """Number of inputs, uint16."""

    weight: Any
    """Sum of their weights, float32."""

    left: Any
    """Share of the weight of inputs with a value that was left out, float32."""
