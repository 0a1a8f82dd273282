"""Compare the pixels of two planes, and the bits of two masks."""

from __future__ import annotations

__all__ = ("MaskPlaneComparison", "PixelComparison", "compare_mask_planes", "compare_pixels")

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pydantic

from lsst.images import Mask

type FloatArray = npt.NDArray[np.floating]
type BoolArray = npt.NDArray[np.bool_]


class PixelComparison(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How the pixels of one plane differ: candidate minus reference.

    Units of the last place (ulp) are those of float32 at the reference's value.
    Fractions are of the compared pixels.
    """

    plane: str
    """``image`` or ``variance``."""
    n_compared: int
    """Pixels that were compared."""
    n_excluded: dict[str, int]
    """Pixels that were left out, by the reason (the mask plane)."""
    n_nan_differs: int
    """Compared pixels where one side is finite and the other is not."""
    n_zero_differs: int
    """Compared pixels where the reference is exactly zero and the candidate is not."""
    identical: float
    """Fraction that is the same to the bit."""
    within_1_ulp: float
    """Fraction within one ulp."""
    within_4_ulp: float
    """Fraction within four ulp."""
    max_error: float
    """Largest absolute difference, in the unit of the plane."""
    max_at: tuple[int, int]
    """Pixel (x, y) of the largest difference."""
    rms_error: float
    """Root mean square difference, in the unit of the plane."""
    max_sigma: float | None = None
    """Largest difference of image pixels in standard deviations of the reference."""
    rms_sigma: float | None = None
    """Root mean square difference of image pixels in standard deviations of the reference."""
    step: float | None = None
    """Quantisation step of the reference, in the unit of the plane; `None` if stored losslessly."""
    within_half_step: float | None = None
    """Fraction within half a step, to the rounding of float32."""
    max_steps: float | None = None
    """Largest difference in steps."""
    rms_steps: float | None = None
    """Root mean square difference in steps; 0.289 for pure quantisation."""


class MaskPlaneComparison(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How often both, one or neither side set a mask plane."""

    plane: str
    """Name of the mask plane."""
    both: int
    """Pixels that both set."""
    only_candidate: int
    """Pixels that only the candidate set."""
    only_reference: int
    """Pixels that only the reference set."""
    neither: int
    """Pixels that neither set."""

    @property
    def n_different(self) -> int:
        """Pixels that differ."""
        return self.only_candidate + self.only_reference


def compare_pixels(
    plane: str,
    candidate: FloatArray,
    reference: FloatArray,
    *,
    excluded: Mapping[str, BoolArray] = MappingProxyType({}),
    sigma: FloatArray | None = None,
    step: float | None = None,
    origin: tuple[int, int] = (0, 0),
) -> PixelComparison:
    """Compare two planes.

    Parameters
    ----------
    plane
        Name of the plane.
    candidate, reference
        Pixels [y, x] of the same shape and unit.
    excluded
        Pixels to leave out, by the reason; a pixel counts for the first one.
    sigma
        Standard deviation of the reference's pixels.
    step
        Quantisation step of the reference.
    origin
        Pixel (x, y) of the first element.

    Returns
    -------
    comparison
        Statistics of candidate minus reference.
    """
    used = np.ones(reference.shape, dtype=bool)
    counts = {}
    for reason, where in excluded.items():
        counts[reason] = int(np.count_nonzero(where & used))
        used &= ~where
    ours, theirs = candidate[used], reference[used]
    finite = np.isfinite(ours) & np.isfinite(theirs)
    n = ours.size
    # Infinite or NaN on both sides is agreement; on one side it is counted.
    same_bits = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.where(finite, ours.astype(np.float64) - theirs, 0.0)
    magnitude = np.abs(difference)
    spacing = np.spacing(np.abs(np.where(finite, theirs, 1.0)).astype(np.float32)).astype(np.float64)
    values = {
        "identical": np.mean(same_bits) if n else 1.0,
        "within_1_ulp": np.mean(np.where(finite, magnitude <= spacing, same_bits)) if n else 1.0,
        "within_4_ulp": np.mean(np.where(finite, magnitude <= 4.0 * spacing, same_bits)) if n else 1.0,
        "max_error": magnitude.max(initial=0.0),
        "rms_error": np.sqrt(np.mean(difference**2)) if n else 0.0,
    }
    if sigma is not None:
        positive = finite & (sigma[used] > 0)
        scaled = np.zeros_like(magnitude)
        np.divide(magnitude, sigma[used], out=scaled, where=positive)
        values |= {
            "max_sigma": scaled.max(initial=0.0),
            "rms_sigma": np.sqrt(np.mean(scaled**2)) if n else 0.0,
        }
    if step is not None:
        rounding = 4.0 * spacing
        values |= {
            "step": step,
            "within_half_step": np.mean(magnitude <= 0.5 * step + rounding) if n else 1.0,
            "max_steps": values["max_error"] / step,
            "rms_steps": values["rms_error"] / step,
        }
    return PixelComparison(
        plane=plane,
        n_compared=n,
        n_excluded=counts,
        n_nan_differs=int(np.count_nonzero(np.isfinite(ours) != np.isfinite(theirs))),
        n_zero_differs=int(np.count_nonzero((theirs == 0.0) & (ours != 0.0))),
        max_at=_find_maximum(used, magnitude, origin),
        **{name: float(value) for name, value in values.items()},
    )


def compare_mask_planes(candidate: Mask, reference: Mask) -> tuple[MaskPlaneComparison, ...]:
    """Compare two masks plane by plane; a plane that one side lacks counts as not set there.

    Parameters
    ----------
    candidate, reference
        Masks of the same pixels.

    Returns
    -------
    comparisons
        One for each plane, those of the reference first.
    """
    names = dict.fromkeys([*reference.schema.names, *candidate.schema.names])
    empty = np.zeros(reference.bbox.shape, dtype=bool)
    result = []
    for name in names:
        ours = candidate.get(name) if name in candidate.schema.names else empty
        theirs = reference.get(name) if name in reference.schema.names else empty
        both = int(np.count_nonzero(ours & theirs))
        only_ours = int(np.count_nonzero(ours)) - both
        only_theirs = int(np.count_nonzero(theirs)) - both
        result.append(
            MaskPlaneComparison(
                plane=name,
                both=both,
                only_candidate=only_ours,
                only_reference=only_theirs,
                neither=ours.size - both - only_ours - only_theirs,
            )
        )
    return tuple(result)


def _find_maximum(used: BoolArray, magnitude: FloatArray, origin: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel (x, y) of the largest of the compared differences."""
    if not magnitude.size:
        return origin
    y, x = np.divmod(np.flatnonzero(used)[np.argmax(magnitude)], used.shape[1])
    return int(x) + origin[0], int(y) + origin[1]
