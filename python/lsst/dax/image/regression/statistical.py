"""Compare two images that need only agree within their noise."""

from __future__ import annotations

__all__ = (
    "WITHIN_NOISE",
    "StatisticalComparison",
    "StatisticalTolerance",
    "compare_statistically",
)

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pydantic
from scipy import ndimage

from lsst.images import MaskedImage

from ..errors import InconsistentUnitsError, RequestError

type FloatArray = npt.NDArray[np.float64]
type BoolArray = npt.NDArray[np.bool_]

UNRELIABLE_PLANES = ("NO_DATA", "SATURATED", "COSMIC_RAY", "CLIPPED", "REJECTED", "INEXACT_PSF")
"""Pixels where two coadds of the same images have good reasons to differ."""

_WINDOW = 5
"""Pixels across which a source counts as one: two slightly different PSFs move its flux about within them."""

_NOISE_SIGMA = 3.0
"""Standard deviations below which a pixel is no source."""


class StatisticalTolerance(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Limits on a `StatisticalComparison`."""

    name: str
    """Name for messages."""
    max_sigma: float = 6.0
    """Largest difference of a pixel in standard deviations: of 1e7 independent
    Gaussian ones, one in 50 sets has a larger one."""
    max_width: float = 1.2
    """Largest width of the core of the differences, in standard deviations."""
    max_offset: float = 0.1
    """Largest median difference, in standard deviations."""
    min_compared: float = 0.1
    """Least fraction of all pixels that is compared."""


WITHIN_NOISE = StatisticalTolerance(name="equal within the noise")
"""Another realization of the same image, or one that was made of the same exposures by other rules."""


class StatisticalComparison(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How two images differ in units of their noise: candidate minus reference."""

    name: str
    """What was compared."""
    n_pixels: int
    """All pixels."""
    n_compared: int
    """Pixels that were compared."""
    n_missing: int
    """Pixels that the reference has, and the candidate lacks."""
    n_added: int
    """Pixels that the candidate has, and the reference lacks."""
    max_sigma: float
    """Largest absolute difference, in standard deviations."""
    max_at: tuple[int, int]
    """Pixel (x, y) of the largest difference."""
    width: float
    """1.4826 times the median absolute difference, in standard deviations; 1
    for independent noise, less for shared noise."""
    offset: float
    """Median difference, in standard deviations."""
    variance_ratio: float
    """Median of the candidate's variance over the reference's."""

    def find_failures(self, tolerance: StatisticalTolerance) -> list[str]:
        """Return what is beyond a tolerance, in words; empty if nothing is."""
        least = tolerance.min_compared * self.n_pixels
        if not self.n_compared >= max(least, 1):
            return [f"{self.n_compared} of {self.n_pixels} pixels can be compared, fewer than {least:.0f}"]
        limits = [
            ("largest difference", self.max_sigma, tolerance.max_sigma, f" (at pixel {self.max_at})"),
            ("width of the differences", self.width, tolerance.max_width, ""),
            ("median difference", abs(self.offset), tolerance.max_offset, ""),
        ]
        return [
            f"image: {what} is {value:.4g} standard deviations, more than {limit:.4g}{where}"
            for what, value, limit, where in limits
            if not value <= limit
        ]


def compare_statistically(
    candidate: MaskedImage,
    reference: MaskedImage,
    *,
    excluded_planes: Sequence[str] = UNRELIABLE_PLANES,
    grow_px: int = 3,
    source_error: float = 0.2,
    name: str = "candidate",
) -> StatisticalComparison:
    """Compare two images of the same sky that need only agree within their noise.

    Parameters
    ----------
    candidate
        Image to judge.
    reference
        Image to judge it by, on the same pixels and in the same unit.
    excluded_planes
        Mask planes whose pixels, on either side, are left out.
    grow_px
        Pixels around those that are left out too: what resampling has carried
        there.
    source_error
        How well the brightness of a source's pixels must agree, as a fraction
        of the brightest of 5 x 5 pixels, less three standard deviations.
    name
        Name for messages.

    Returns
    -------
    comparison
        Statistics of the difference over the square root of the sum of both
        variances and the square of the error of the source.

    Raises
    ------
    RequestError
        Raised if the images do not have the same pixels.
    InconsistentUnitsError
        Raised if they do not have the same unit.

    Notes
    -----
    The brightness of a source is the smaller one of both images, so that a
    pixel that is wrong in one of them does not excuse itself.
    """
    if candidate.bbox != reference.bbox:
        raise RequestError(f"{name} has {candidate.bbox}, its reference {reference.bbox}.")
    if candidate.unit != reference.unit:
        raise InconsistentUnitsError(f"{name} is in {candidate.unit}, its reference in {reference.unit}.")
    ours, theirs = (_read_planes(image) for image in (candidate, reference))
    good = [np.isfinite(image) & np.isfinite(variance) & (variance > 0) for image, variance in (ours, theirs)]
    used = good[0] & good[1] & ~_grow(_find_masked((candidate, reference), excluded_planes), grow_px)
    brightness = np.minimum(_find_brightness(*ours), _find_brightness(*theirs))[used]
    variances = ours[1][used] + theirs[1][used]
    sigma = (ours[0][used] - theirs[0][used]) / np.sqrt(variances + (source_error * brightness) ** 2)
    x, y = reference.bbox.x.start, reference.bbox.y.start
    if sigma.size:
        row, column = np.divmod(np.flatnonzero(used)[np.argmax(np.abs(sigma))], used.shape[1])
        x, y = x + int(column), y + int(row)
    return StatisticalComparison(
        name=name,
        n_pixels=used.size,
        n_compared=sigma.size,
        n_missing=int(np.count_nonzero(good[1] & ~good[0])),
        n_added=int(np.count_nonzero(good[0] & ~good[1])),
        max_sigma=float(np.max(np.abs(sigma), initial=0.0)),
        max_at=(x, y),
        width=1.4826 * float(np.median(np.abs(sigma))) if sigma.size else 0.0,
        offset=float(np.median(sigma)) if sigma.size else 0.0,
        variance_ratio=float(np.median(ours[1][used] / theirs[1][used])) if sigma.size else 1.0,
    )


def _read_planes(image: MaskedImage) -> tuple[FloatArray, FloatArray]:
    return image.image.array.astype(np.float64), image.variance.array.astype(np.float64)


def _find_masked(images: Sequence[MaskedImage], planes: Sequence[str]) -> BoolArray:
    """Return where an image has one of some mask planes set."""
    where = np.zeros(images[0].bbox.shape, dtype=bool)
    for image in images:
        for plane in planes:
            if plane in image.mask.schema.names:
                where |= image.mask.get(plane)
    return where


def _grow(where: BoolArray, radius: int) -> BoolArray:
    side = 2 * radius + 1
    return np.asarray(ndimage.binary_dilation(where, np.ones((side, side), dtype=bool)))


def _find_brightness(image: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the largest absolute value around each pixel, beyond what is noise."""
    noise = _NOISE_SIGMA * np.sqrt(np.maximum(np.nan_to_num(variance), 0.0))
    return np.asarray(ndimage.maximum_filter(np.maximum(np.abs(np.nan_to_num(image)) - noise, 0.0), _WINDOW))
