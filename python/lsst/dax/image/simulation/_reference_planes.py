"""Planes, statistics and growth that the reference instrument signature removal is made of."""

from __future__ import annotations

__all__ = (
    "BoolArray",
    "Float32Array",
    "FloatArray",
    "Planes",
    "Region",
    "clipped_mean",
    "clipped_scatter",
    "grow_diamond",
    "median_of",
    "region_of",
    "subtract_float32",
)

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from lsst.images import Box

type BoolArray = npt.NDArray[np.bool_]
type FloatArray = npt.NDArray[np.float64]
type Float32Array = npt.NDArray[np.float32]
type Region = tuple[slice, slice]

IQR_TO_SIGMA = 0.741301109252802
"""Standard deviation of a Gaussian per interquartile range."""

CLIP_SIGMAS = 3.0
CLIP_ITERATIONS = 3

_CROSS = scipy.ndimage.generate_binary_structure(2, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Planes:
    """Image, mask and variance of one detector; never modified once made."""

    image: Float32Array
    """Pixels [y, x] in adu, and in electron once the gains are applied."""

    mask: Mapping[str, BoolArray]
    """Pixels that carry a plane, by the observatory's short names; absent planes are empty."""

    variance: Float32Array
    """Variance in squared units of the image."""

    def plane(self, *names: str) -> BoolArray:
        """Return which pixels have any of some planes."""
        found = np.zeros(self.image.shape, dtype=bool)
        for name in names:
            if name in self.mask:
                found |= self.mask[name]
        return found

    def flagged(self, name: str, where: BoolArray) -> Planes:
        """Return planes with more pixels in a mask plane."""
        return dataclasses.replace(self, mask={**self.mask, name: self.plane(name) | where})

    def flagged_region(self, name: str, region: Region) -> Planes:
        """Return planes with a whole region in a mask plane."""
        where = np.zeros(self.image.shape, dtype=bool)
        where[region] = True
        return self.flagged(name, where)

    def with_image(self, image: npt.NDArray[np.floating], region: Region | None = None) -> Planes:
        """Return planes with another image, or with other pixels in a region of it."""
        if region is None:
            return dataclasses.replace(self, image=np.asarray(image, dtype=np.float32))
        changed = self.image.copy()
        changed[region] = image
        return dataclasses.replace(self, image=changed)

    def with_variance(self, variance: npt.NDArray[np.floating], region: Region | None = None) -> Planes:
        """Return planes with another variance, or with other values in a region of it."""
        if region is None:
            return dataclasses.replace(self, variance=np.asarray(variance, dtype=np.float32))
        changed = self.variance.copy()
        changed[region] = variance
        return dataclasses.replace(self, variance=changed)


def region_of(box: Box) -> Region:
    """Return the slices of a box in an array that starts at pixel (0, 0)."""
    return slice(box.y.start, box.y.stop), slice(box.x.start, box.x.stop)


def subtract_float32(values: Float32Array, scalar: float) -> Float32Array:
    """Return an image less a number, both in single precision."""
    return values - np.float32(scalar)


def median_of(values: npt.NDArray[np.floating]) -> float:
    """Return the median of the finite values, in double precision; NaN where there are none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.median(finite)) if finite.size else float("nan")


def clipped_mean(values: npt.NDArray[np.floating]) -> float:
    """Return the clipped mean of the finite values; see `_clip`."""
    return _clip(values)[0]


def clipped_scatter(values: npt.NDArray[np.floating]) -> float:
    """Return the clipped standard deviation of the finite values; see `_clip`."""
    return float(np.sqrt(_clip(values)[1]))


def _clip(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return mean and unbiased variance after three rounds of clipping at 3 sigma.

    The first round clips about the median, with sigma from the quartiles; each
    round chooses from all values anew.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return float("nan"), float("nan")
    lower, center, upper = np.percentile(finite, [25.0, 50.0, 75.0])
    limit = CLIP_SIGMAS * IQR_TO_SIGMA * (upper - lower)
    variance = float("nan")
    for _ in range(CLIP_ITERATIONS):
        kept = finite[np.abs(finite - center) <= limit]
        center = np.mean(kept)
        variance = float(np.var(kept, ddof=1)) if kept.size > 1 else float("nan")
        limit = CLIP_SIGMAS * np.sqrt(variance)
    return float(center), variance


def grow_diamond(where: BoolArray, radius: int) -> BoolArray:
    """Return the pixels within a Manhattan distance of any that are set."""
    if radius < 1 or not where.any():
        return where.copy()
    return np.asarray(scipy.ndimage.binary_dilation(where, _CROSS, iterations=radius), dtype=bool)
