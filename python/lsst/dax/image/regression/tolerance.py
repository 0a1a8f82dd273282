"""How much two images may differ and still be the same product."""

from __future__ import annotations

__all__ = ("BIT_IDENTICAL", "LOSSY", "SINGLE_PRECISION", "Tolerance")

import pydantic


class Tolerance(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Limits on a `~lsst.dax.image.regression.Comparison`; `None` is no limit."""

    name: str
    """Name for messages."""
    min_identical: float | None = None
    """Least fraction of pixels that are the same to the bit."""
    min_within_4_ulp: float | None = None
    """Least fraction of pixels within 4 ulp."""
    max_steps: float | None = None
    """Largest difference in quantisation steps, where the reference is quantised."""
    max_rms_steps: float | None = None
    """Largest root mean square difference in quantisation steps."""
    max_sigma: float | None = None
    """Largest difference of an image pixel in standard deviations."""
    max_mask_fraction: float = 0.0
    """Largest fraction of pixels in which a mask plane may differ."""
    ignored_mask_planes: tuple[str, ...] = ()
    """Mask planes that may differ."""
    max_wcs_offset_mas: float = 0.001
    """Largest offset of the sky positions, in milliarcsec."""
    max_psf_residual: float = 1e-6
    """Largest difference of the PSF, as a fraction of its peak."""


BIT_IDENTICAL = Tolerance(
    name="identical to the bit", min_identical=1.0, max_wcs_offset_mas=0.0, max_psf_residual=0.0
)
"""The same pixels: the same recipe was followed twice."""

SINGLE_PRECISION = Tolerance(
    name="equal in single precision", min_within_4_ulp=0.999, max_sigma=0.01, max_mask_fraction=1e-5
)
"""Equal to rounding: the same processing by other code."""

LOSSY = Tolerance(
    name="equal within the quantisation", max_steps=0.51, max_rms_steps=0.30, max_mask_fraction=1e-5
)
"""Equal to what was quantised: at most half a step, and the rounding that comes with it."""
