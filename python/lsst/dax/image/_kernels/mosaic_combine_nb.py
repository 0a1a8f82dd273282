"""Make one pixel of those of several images.

A pixel of an image is a candidate if it is finite and has no excluded mask
bit.  A single candidate is copied to the bit.  Where there is none, the first
image that has the pixel at all says what is there.
"""

from __future__ import annotations

__all__ = (
    "FIRST",
    "LAST",
    "MAX",
    "MIN",
    "Combined",
    "Layers",
    "mark_values",
    "mean_pixels",
    "median_pixels",
    "select_pixels",
)

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Values = NDArray[np.floating]
type Bits = NDArray[np.uint8]
type Counts = NDArray[np.uint16]

FIRST, LAST, MIN, MAX = 0, 1, 2, 3


class Layers(NamedTuple):
    """What is combined."""

    images: Values
    """Values, shape ``(n, ny, nx)``."""

    variances: Values
    """Variances, shape ``(n, ny, nx)``."""

    masks: Bits
    """Mask octets, shape ``(n, ny, nx, n_octets)``."""

    counts: Counts
    """How many inputs stand behind each pixel of each image, shape ``(n, ny, nx)``; 0 for none."""

    excluded: Bits
    """Mask bits that no candidate has, shape ``(n_octets,)``."""

    no_data: Bits
    """Mask of what no image has, shape ``(n_octets,)``."""


class Combined(NamedTuple):
    """What it becomes."""

    image: Values
    """Values, shape ``(ny, nx)``."""

    variance: Values
    """Variances, shape ``(ny, nx)``."""

    mask: Bits
    """Union of what contributes, shape ``(ny, nx, n_octets)``."""

    coverage: Counts
    """Sum of the counts of what contributes, shape ``(ny, nx)``."""

    share: NDArray[np.float32]
    """Part that each image has, shape ``(n, ny, nx)``."""


@kernel
def _is_candidate(layers: Layers, k: int, y: int, x: int) -> bool:
    """Tell whether a pixel of one image may contribute."""
    if layers.counts[k, y, x] == 0 or not math.isfinite(layers.images[k, y, x]):
        return False
    bits = np.uint8(0)
    for b in range(layers.excluded.size):
        bits |= layers.masks[k, y, x, b] & layers.excluded[b]
    return bool(bits == 0)


@kernel
def _copy_pixel(layers: Layers, k: int, y: int, x: int, out: Combined) -> None:
    """Copy a pixel of one image."""
    out.image[y, x] = layers.images[k, y, x]
    out.variance[y, x] = layers.variances[k, y, x]
    for b in range(out.mask.shape[2]):
        out.mask[y, x, b] = layers.masks[k, y, x, b]


@kernel
def _fill_hole(layers: Layers, y: int, x: int, out: Combined) -> None:
    """Fill a pixel for which there is no candidate."""
    n_touching = 0
    for k in range(layers.images.shape[0]):
        if layers.counts[k, y, x]:
            if n_touching == 0:
                _copy_pixel(layers, k, y, x, out)
            else:
                for b in range(out.mask.shape[2]):
                    out.mask[y, x, b] |= layers.masks[k, y, x, b]
            n_touching += 1
    if n_touching == 0:
        for b in range(out.mask.shape[2]):
            out.mask[y, x, b] = layers.no_data[b]
    if n_touching == 0 or math.isfinite(out.image[y, x]):
        # What is finite here is excluded.
        out.image[y, x] = math.nan
        out.variance[y, x] = math.nan


@kernel
def mark_values(image: Values, out_coverage: Counts) -> int:
    """Mark the pixels that have a value.

    Parameters
    ----------
    image
        Values, shape ``(ny, nx)``.
    out_coverage
        1 where the value is finite and 0 elsewhere, shape ``(ny, nx)``, which
        is filled.

    Returns
    -------
    n_pixels
        Number of values.
    """
    total = 0
    for y in range(image.shape[0]):
        # A narrow counter lets the compiler work on many pixels at a time.
        n = np.int32(0)
        for x in range(image.shape[1]):
            mark = np.uint16(abs(image[y, x]) < np.inf)
            out_coverage[y, x] = mark
            n += np.int32(mark)
        total += int(n)
    return total


@kernel
def mean_pixels(
    layers: Layers, weights: NDArray[np.float32], by_variance: int, independent: int, out: Combined
) -> None:
    """Average the candidates.

    Parameters
    ----------
    layers
        What is averaged.
    weights
        Weights, shape ``(n, ny, nx)``.
    by_variance
        1 if weights are divided by variances, 0 if not; a variance that is
        not positive and finite then makes a weight of zero.
    independent
        1 if the variance is that of independent values, 0 if not.
    out
        Average, which is filled.
    """
    n, ny, nx = layers.images.shape
    scaled = np.zeros(n)
    for y in range(ny):
        for x in range(nx):
            n_candidates, last, total = 0, -1, 0.0
            for k in range(n):
                out.share[k, y, x] = 0.0
                scaled[k] = 0.0
                if not _is_candidate(layers, k, y, x):
                    continue
                n_candidates += 1
                last = k
                weight = float(weights[k, y, x])
                if by_variance:
                    v = float(layers.variances[k, y, x])
                    weight = weight / v if v > 0.0 and v < math.inf else 0.0
                scaled[k] = weight
                total += weight
            out.coverage[y, x] = 0
            if n_candidates == 1:
                _copy_pixel(layers, last, y, x, out)
                out.coverage[y, x] = layers.counts[last, y, x]
                out.share[last, y, x] = 1.0
            elif total > 0.0:
                _average(layers, scaled, total, independent, y, x, out)
            else:
                _fill_hole(layers, y, x, out)


@kernel
def _average(
    layers: Layers,
    scaled: NDArray[np.float64],
    total: float,
    independent: int,
    y: int,
    x: int,
    out: Combined,
) -> None:
    """Average the images whose weights are not zero, for one pixel."""
    value, variance = 0.0, 0.0
    for b in range(out.mask.shape[2]):
        out.mask[y, x, b] = 0
    for k in range(layers.images.shape[0]):
        if scaled[k] > 0.0:
            share = scaled[k] / total
            value += share * layers.images[k, y, x]
            variance += (share * share if independent else share) * layers.variances[k, y, x]
            out.share[k, y, x] = share
            out.coverage[y, x] += layers.counts[k, y, x]
            for b in range(out.mask.shape[2]):
                out.mask[y, x, b] |= layers.masks[k, y, x, b]
    out.image[y, x] = value
    out.variance[y, x] = variance


@kernel
def median_pixels(layers: Layers, independent: int, out: Combined) -> None:
    """Take the median of the candidates.

    For n independent Gaussian values of one variance, that of the median is
    this variance times ``pi / (2 n + pi - 2)`` for odd n and
    ``pi / (2 n + 2 pi - 4)`` for even n: exact for n of one and two, within 3
    per cent for all others.  Different variances enter by the harmonic mean
    of the standard deviations, as they do for large n.

    Parameters
    ----------
    layers
        What the median is taken of.
    independent
        1 if the variance is that of independent values, 0 if it is the mean.
    out
        Median, which is filled.
    """
    n, ny, nx = layers.images.shape
    values = np.zeros(n)
    for y in range(ny):
        for x in range(nx):
            m, last, inverse_sigmas, variance = 0, -1, 0.0, 0.0
            out.coverage[y, x] = 0
            for k in range(n):
                out.share[k, y, x] = 0.0
                if not _is_candidate(layers, k, y, x):
                    continue
                last = k
                out.share[k, y, x] = 1.0
                out.coverage[y, x] += layers.counts[k, y, x]
                inverse_sigmas += 1.0 / math.sqrt(layers.variances[k, y, x])
                variance += layers.variances[k, y, x]
                value = float(layers.images[k, y, x])
                i = m
                while i > 0 and values[i - 1] > value:
                    values[i] = values[i - 1]
                    i -= 1
                values[i] = value
                m += 1
            if m == 0:
                _fill_hole(layers, y, x, out)
            elif m == 1:
                _copy_pixel(layers, last, y, x, out)
            else:
                _join_masks(layers, y, x, out)
                for k in range(n):
                    out.share[k, y, x] /= m
                out.image[y, x] = 0.5 * (values[(m - 1) // 2] + values[m // 2])
                out.variance[y, x] = variance / m
                if independent:
                    spread = m / inverse_sigmas
                    extra = math.pi - 2.0 if m % 2 else 2.0 * math.pi - 4.0
                    out.variance[y, x] = spread * spread * math.pi / (2.0 * m + extra)


@kernel
def _join_masks(layers: Layers, y: int, x: int, out: Combined) -> None:
    """Take the union of the masks of what contributes, for one pixel."""
    for b in range(out.mask.shape[2]):
        out.mask[y, x, b] = 0
        for k in range(layers.images.shape[0]):
            if out.share[k, y, x] > 0.0:
                out.mask[y, x, b] |= layers.masks[k, y, x, b]


@kernel
def select_pixels(layers: Layers, rule: int, out: Combined) -> None:
    """Take one of the candidates as it is.

    Parameters
    ----------
    layers
        What is selected from.
    rule
        `FIRST`, `LAST`, `MIN` or `MAX`; of equal values the first one is taken.
    out
        What has been selected, which is filled.
    """
    n, ny, nx = layers.images.shape
    for y in range(ny):
        for x in range(nx):
            chosen = -1
            for k in range(n):
                out.share[k, y, x] = 0.0
                if not _is_candidate(layers, k, y, x):
                    continue
                value = layers.images[k, y, x]
                if (
                    chosen < 0
                    or rule == LAST
                    or (rule == MIN and value < layers.images[chosen, y, x])
                    or (rule == MAX and value > layers.images[chosen, y, x])
                ):
                    chosen = k
            if chosen < 0:
                out.coverage[y, x] = 0
                _fill_hole(layers, y, x, out)
            else:
                _copy_pixel(layers, chosen, y, x, out)
                out.coverage[y, x] = layers.counts[chosen, y, x]
                out.share[chosen, y, x] = 1.0
