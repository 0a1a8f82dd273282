"""Compare two images, and say whether they are the same product."""

from __future__ import annotations

__all__ = ("Comparison", "compare_images")

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, override

import astropy.units as u
import numpy as np
import pydantic

from lsst.images import Box, MaskedImage, VisitImage

from ..errors import InconsistentUnitsError, RequestError
from .planes import MaskPlaneComparison, PixelComparison, compare_mask_planes, compare_pixels
from .tolerance import Tolerance

if TYPE_CHECKING:
    import matplotlib.figure

EXCLUDED_PLANES = ("COSMIC_RAY",)
"""Pixels that hold random numbers in every visit image."""

_PIXEL_PLANES = ("image", "variance")
_GRID = 5
_SHOWN_KEYS = 5


class Comparison(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What differs between a candidate and a reference.

    Notes
    -----
    ``comparison.model_dump_json()`` and `Comparison.model_validate_json` go to JSON
    and back.
    """

    name: str
    """What was compared."""
    planes: tuple[PixelComparison, ...]
    """Image and variance."""
    masks: tuple[MaskPlaneComparison, ...]
    """Every mask plane."""
    wcs_offset_mas: float | None
    """Largest offset between the sky positions of a grid of pixels, in milliarcsec; `None` without WCS."""
    psf_residual: float | None
    """Largest difference of the PSFs on a grid, as a fraction of the peak; `None` without PSF."""
    components: tuple[str, ...]
    """Names of other components that are not equal."""
    metadata: dict[str, tuple[Any, Any]]
    """Metadata of the reference that the candidate lacks or has otherwise: (candidate, reference)."""
    n_more_metadata: int = 0
    """Metadata that only the candidate has."""

    def find_failures(self, tolerance: Tolerance) -> list[str]:
        """Return what is beyond a tolerance, in words; empty if nothing is."""
        failures = [text for plane in self.planes for text in _check_plane(plane, tolerance)]
        for mask in self.masks:
            total = mask.both + mask.neither + mask.n_different
            if mask.plane not in tolerance.ignored_mask_planes and mask.n_different > (
                tolerance.max_mask_fraction * total
            ):
                failures.append(
                    f"mask plane {mask.plane} differs in {mask.n_different} of {total} pixels: "
                    f"{mask.only_candidate} set in the candidate only, {mask.only_reference} in the "
                    f"reference only, {mask.both} in both"
                )
        offset, residual = self.wcs_offset_mas, self.psf_residual
        if offset is not None and not offset <= tolerance.max_wcs_offset_mas:
            failures.append(
                f"sky positions differ by {offset:.3g} mas, more than {tolerance.max_wcs_offset_mas:.3g}"
            )
        if residual is not None and not residual <= tolerance.max_psf_residual:
            failures.append(
                f"the PSF differs by {residual:.3g} of its peak, more than {tolerance.max_psf_residual:.3g}"
            )
        failures.extend(f"{component} is not equal" for component in self.components)
        return failures

    def assert_equivalent(self, tolerance: Tolerance) -> None:
        """Raise unless everything is within a tolerance.

        Parameters
        ----------
        tolerance
            Limits.

        Raises
        ------
        AssertionError
            Raised with a list of all that is beyond the limits, each with the
            number and the limit.
        """
        if failures := self.find_failures(tolerance):
            lines = "\n  - ".join(failures)
            raise AssertionError(f"{self.name} is not {tolerance.name}:\n  - {lines}\n{self}")

    def plot(self, candidate: MaskedImage, reference: MaskedImage) -> matplotlib.figure.Figure:
        """Draw both images, their difference and its histogram (see `lsst.dax.image.plotting`)."""
        from ..plotting import plot_comparison  # noqa: PLC0415

        return plot_comparison(self, candidate, reference)

    @override
    def __str__(self) -> str:
        different = [f"{mask.plane} {mask.n_different}" for mask in self.masks if mask.n_different]
        lines = [
            self.name,
            *(f"  {_describe_plane(plane)}" for plane in self.planes),
            f"  mask      {', '.join(different) or 'all planes equal'}",
            f"  WCS {self.wcs_offset_mas} mas, PSF {self.psf_residual} of the peak",
        ]
        if self.components:
            lines.append(f"  not equal {', '.join(self.components)}")
        keys = sorted(self.metadata)
        shown = ", ".join(keys[:_SHOWN_KEYS]) + (", ..." if len(keys) > _SHOWN_KEYS else "")
        text = f": {shown}" if keys else ""
        lines.append(f"  metadata  {len(keys)} differ, {self.n_more_metadata} more{text}")
        return "\n".join(lines)


def compare_images(
    candidate: MaskedImage,
    reference: MaskedImage,
    *,
    steps: Mapping[str, float] = MappingProxyType({}),
    excluded_planes: Sequence[str] = EXCLUDED_PLANES,
    name: str = "candidate",
) -> Comparison:
    """Compare two images plane by plane.

    Parameters
    ----------
    candidate
        Image to judge.
    reference
        Image to judge it by, on the same pixels and in the same unit.
    steps
        Quantisation steps of the reference by plane (``image``, ``variance``),
        as `read_steps` reads them from its file.
    excluded_planes
        Mask planes whose pixels are left out of the statistics of image and
        variance, where either side has them set.
    name
        Name for messages.

    Returns
    -------
    comparison
        What differs.

    Raises
    ------
    RequestError
        Raised if the images do not have the same pixels, or a step is none.
    InconsistentUnitsError
        Raised if they do not have the same unit.
    """
    for plane, step in steps.items():
        if plane not in _PIXEL_PLANES or not 0.0 < step < np.inf:
            raise RequestError(f"A step of {step} for {plane!r} is none; {_PIXEL_PLANES} have positive ones.")
    if candidate.bbox != reference.bbox:
        raise RequestError(f"{name} has {candidate.bbox}, its reference {reference.bbox}.")
    if candidate.unit != reference.unit:
        raise InconsistentUnitsError(f"{name} is in {candidate.unit}, its reference in {reference.unit}.")
    excluded = {plane: _either(candidate, reference, plane) for plane in excluded_planes}
    variance = reference.variance.array
    sigma = np.sqrt(np.where(variance > 0, variance, 0.0))
    bbox = reference.bbox
    planes = [
        compare_pixels(
            plane,
            getattr(candidate, plane).array,
            getattr(reference, plane).array,
            excluded=excluded,
            sigma=sigma if plane == "image" else None,
            step=steps.get(plane),
            origin=(bbox.x.start, bbox.y.start),
        )
        for plane in _PIXEL_PLANES
    ]
    psf_residual: float | None = None
    components: tuple[str, ...] = ()
    if isinstance(candidate, VisitImage) and isinstance(reference, VisitImage):
        psf_residual = _compare_psfs(candidate, reference)
        components = _compare_components(candidate, reference)
    return Comparison(
        name=name,
        planes=tuple(planes),
        masks=compare_mask_planes(candidate.mask, reference.mask),
        wcs_offset_mas=_compare_positions(candidate, reference),
        psf_residual=psf_residual,
        components=components,
        metadata=_compare_metadata(candidate.metadata.native, reference.metadata.native),
        n_more_metadata=len(set(candidate.metadata.native) - set(reference.metadata.native)),
    )


def _describe_plane(plane: PixelComparison) -> str:
    """Return one line about a plane."""
    text = (
        f"{plane.plane:9s} {plane.n_compared} pixels: identical {plane.identical:.6f}, within 1 ulp "
        f"{plane.within_1_ulp:.6f}, 4 ulp {plane.within_4_ulp:.6f}; max {plane.max_error:.4g} at "
        f"{plane.max_at}, rms {plane.rms_error:.4g}"
    )
    if plane.max_steps is not None:
        text += f"; max {plane.max_steps:.4f} and rms {plane.rms_steps:.4f} steps"
    if plane.max_sigma is not None:
        text += f"; max {plane.max_sigma:.4g} and rms {plane.rms_sigma:.4g} sigma"
    return text


def _check_plane(plane: PixelComparison, tolerance: Tolerance) -> list[str]:
    """Return what is beyond a tolerance in one plane."""
    limits = [
        ("fraction identical to the bit", plane.identical, tolerance.min_identical, -1),
        ("fraction within 4 ulp", plane.within_4_ulp, tolerance.min_within_4_ulp, -1),
        ("largest difference in steps", plane.max_steps, tolerance.max_steps, 1),
        ("rms difference in steps", plane.rms_steps, tolerance.max_rms_steps, 1),
        ("largest difference in sigma", plane.max_sigma, tolerance.max_sigma, 1),
    ]
    failures = [
        f"{plane.plane}: {what} is {value:.6g}, {'more' if sign > 0 else 'less'} than {limit:.6g} "
        f"(largest at pixel {plane.max_at})"
        for what, value, limit, sign in limits
        if value is not None and limit is not None and not sign * value <= sign * limit
    ]
    if plane.n_nan_differs:
        failures.append(f"{plane.plane}: {plane.n_nan_differs} pixels are finite on one side only")
    return failures


def _either(candidate: MaskedImage, reference: MaskedImage, plane: str) -> Any:
    """Return where either side has a mask plane set."""
    where = np.zeros(reference.bbox.shape, dtype=bool)
    for mask in (candidate.mask, reference.mask):
        if plane in mask.schema.names:
            where |= mask.get(plane)
    return where


def _compare_positions(candidate: MaskedImage, reference: MaskedImage) -> float | None:
    """Return the largest offset on the sky over a grid of pixels, in milliarcsec."""
    if candidate.sky_projection is None or reference.sky_projection is None:
        return None
    x, y = _grid(reference.bbox)
    ours = candidate.sky_projection.pixel_to_sky(x=x, y=y)
    theirs = reference.sky_projection.pixel_to_sky(x=x, y=y)
    return float(np.max(ours.separation(theirs).to_value(u.mas)))


def _compare_psfs(candidate: VisitImage, reference: VisitImage) -> float:
    """Return the largest difference of the PSF images over a grid, as a fraction of the peak."""
    worst = 0.0
    for x, y in zip(*_grid(reference.bbox), strict=True):
        ours = candidate.psf.compute_kernel_image(x=float(x), y=float(y))
        theirs = reference.psf.compute_kernel_image(x=float(x), y=float(y))
        if ours.bbox != theirs.bbox:
            return float("inf")
        worst = max(worst, float(np.max(np.abs(ours.array - theirs.array)) / np.max(theirs.array)))
    return worst


def _compare_components(candidate: VisitImage, reference: VisitImage) -> tuple[str, ...]:
    names = ("aperture_corrections", "photometric_scaling", "summary_stats", "obs_info", "detector", "band")
    return tuple(name for name in names if getattr(candidate, name) != getattr(reference, name))


def _compare_metadata(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (ours.get(key), value) for key, value in theirs.items()}
    # NaN is equal to NaN here.
    return {
        key: pair
        for key, pair in sorted(pairs.items())
        if pair[0] != pair[1] and repr(pair[0]) != repr(pair[1])
    }


def _grid(bbox: Box) -> tuple[Any, Any]:
    x = np.linspace(bbox.x.min, bbox.x.max, _GRID)
    y = np.linspace(bbox.y.min, bbox.y.max, _GRID)
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x.ravel(), grid_y.ravel()
