"""Compute one block of a mosaic."""

from __future__ import annotations

__all__ = ("Contribution", "Tally", "compute_block", "contribute")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import YX, Box, Image, MaskedImage

from .._kernels import mosaic_combine_nb as kernels
from ..errors import InternalError, NoCoverageError
from ..geometry import TargetGrid
from ..resampling import FluxConvention, resample
from ._mapping import map_lattice
from ._paste import Part, Pasted, Share, find_ramp, paste
from ._plan import Frame, Plan, intersect
from ._planes import NO_DATA, Planes, move_box, to_masked, to_planes
from .rules import Combine, MosaicRules, VarianceRule

_SELECTIONS = {
    Combine.FIRST: kernels.FIRST,
    Combine.LAST: kernels.LAST,
    Combine.MIN: kernels.MIN,
    Combine.MAX: kernels.MAX,
}

type Pixels = Mapping[int, Image | MaskedImage]
"""At least those pixels of each image that are needed, by the number of the image."""


@dataclass(frozen=True)
class Tally:
    """What one image gives to a block."""

    index: int
    """Number of the image."""

    n_pixels: int
    """Pixels of the mosaic with values from the image."""

    weight: float
    """Sum of its shares in these pixels."""


@dataclass(frozen=True)
class Contribution:
    """The images of one pixel grid, on the pixels of a block."""

    pasted: Pasted
    """Pixels of the block, and which images they are from."""

    weight: NDArray[np.float32] | None
    """Weight for feathered seams, shape ``(ny, nx)``; None for one everywhere."""


def compute_block(
    plan: Plan, block: Box, pixels: Pixels, out: Planes, out_coverage: NDArray[np.uint16]
) -> list[Tally]:
    """Compute one block of a mosaic.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    block
        Pixels of the mosaic.
    pixels
        Images.
    out
        Planes of the block, which are filled.
    out_coverage
        Number of images that contribute to each pixel, shape ``(ny, nx)``,
        which is filled.

    Returns
    -------
    tallies
        What each image gives; nothing for images that give nothing.
    """
    excluded = plan.form.octets(plan.rules.exclude_planes)
    frames = plan.find_frames(block)
    regions = [plan.find_region(frame, block) for frame in frames]
    touching = [(frame, region) for frame, region in zip(frames, regions, strict=True) if region is not None]
    is_copy = len(touching) == 1 and not excluded.any()
    target = out if is_copy and touching[0][0].is_target and touching[0][1] == block else None
    found = [
        contribution
        for frame, region in touching
        if (contribution := contribute(plan, frame, region, block, pixels, target)) is not None
    ]
    if not found:
        out.fill_blank(plan.form)
        out_coverage[...] = 0
        return []
    if is_copy:
        only = found[0]
        if only.pasted.planes is not out:
            out.copy_from(only.pasted.planes)
        if only.pasted.touching is None and all(isinstance(share, Box) for _, share in only.pasted.shares):
            return _cover(only.pasted, out, out_coverage)
        finite = np.isfinite(out.image)
        # Where there is a value, there is an image.
        if only.pasted.touching is None:
            out_coverage[...] = finite
        else:
            np.multiply(only.pasted.touching, finite, out=out_coverage)
        return _tally([only], [finite])
    shares = _combine(plan, found, excluded, out, out_coverage)
    return _tally(found, list(shares))


def _cover(pasted: Pasted, planes: Planes, out_coverage: NDArray[np.uint16]) -> list[Tally]:
    """Mark the values of images that have a rectangle each."""
    tallies = []
    boxes = [(index, share) for index, share in pasted.shares if isinstance(share, Box)]
    if sum(box.area for _, box in boxes) < out_coverage.size:
        out_coverage[...] = 0
    for index, box in boxes:
        rows, columns = box.y.slice_within(planes.box.y), box.x.slice_within(planes.box.x)
        n_pixels = kernels.mark_values(planes.image[rows, columns], out_coverage[rows, columns])
        if n_pixels:
            tallies.append(Tally(index, n_pixels, float(n_pixels)))
    return tallies


def contribute(
    plan: Plan,
    frame: Frame,
    region: Box,
    block: Box,
    pixels: Pixels,
    target: Planes | None = None,
    *,
    keep_values: bool = False,
) -> Contribution | None:
    """Bring the images of one pixel grid to a block.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    frame
        Pixel grid and its images.
    region
        Pixels of the grid that the block needs.
    block
        Pixels of the mosaic.
    pixels
        Images.
    target
        Planes of the block to write to, where nothing is resampled.
    keep_values
        Whether values stay per pixel of their image, whatever the rule.

    Returns
    -------
    contribution
        The images on the block; None where they have none of its pixels.
    """
    parts = []
    for member in frame.members:
        box = intersect(region, member.bbox)
        if box is not None:
            own = move_box(box, YX(y=-member.shift.y, x=-member.shift.x))
            planes = to_planes(pixels[member.index], own, plan.form).shifted(member.shift)
            if plan.backgrounds is not None:
                planes = _subtract_background(plan, frame, member.index, planes)
            parts.append(Part(member.index, member.bbox, planes))
    if not parts:
        return None
    pasted = paste(region, parts, plan.rules, plan.form, lambda: target or plan.form.allocate(region))
    members = [member.bbox for member in frame.members]
    if frame.is_target:
        weight = _find_weight(plan.rules, members, *_axes(block))
        return _place(plan, pasted, region, block, weight)
    flux = FluxConvention.SURFACE_BRIGHTNESS if keep_values else plan.rules.flux_convention
    resampled = _resample(plan, frame, pasted.planes, block, flux)
    if resampled is None:
        return None
    x, y = map_lattice(plan.grid.sky_projection, frame.sky_projection, block)
    moved = _move_nearest(pasted, resampled, x, y)
    return Contribution(moved, _find_weight(plan.rules, members, x, y))


def _place(
    plan: Plan, pasted: Pasted, region: Box, block: Box, weight: NDArray[np.float32] | None
) -> Contribution:
    """Put what is on the mosaic's own pixels into a block."""
    if region == block:
        return Contribution(pasted, weight)
    planes = plan.form.allocate(block)
    planes.fill_blank(plan.form)
    planes.copy_from(pasted.planes)
    rows, columns = region.y.slice_within(block.y), region.x.slice_within(block.x)

    def place(part: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros(planes.image.shape, part.dtype)
        whole[rows, columns] = part
        return whole

    touching = None if pasted.touching is None else place(pasted.touching)
    shares: list[tuple[int, Share]] = [
        (index, share if isinstance(share, Box) else place(share)) for index, share in pasted.shares
    ]
    return Contribution(Pasted(planes, touching, tuple(shares)), weight)


def _resample(plan: Plan, frame: Frame, planes: Planes, block: Box, flux: FluxConvention) -> Planes | None:
    """Resample pixels to a block; return None where they give no pixel of it a value."""
    rules = plan.rules
    if not plan.form.has_variance:
        # A variance that is not known must not spoil the values.
        planes = Planes(planes.box, planes.image, np.zeros_like(planes.image), planes.mask)
    try:
        resampled = resample(
            to_masked(planes, plan.form, frame.sky_projection),
            TargetGrid(plan.grid.sky_projection, block),
            kernel=rules.kernel,
            mask_rule=rules.mask_rule,
            missing_rule=rules.missing_rule,
            flux_convention=flux,
        )
    except NoCoverageError:
        # The pixels next to a block need not reach into it.
        return None
    found = to_planes(resampled.masked_image, block, plan.form)
    if plan.form.has_variance:
        return found
    return Planes(block, found.image, np.full_like(found.variance, np.nan), found.mask)


def _move_nearest(pasted: Pasted, planes: Planes, x: NDArray[np.float64], y: NDArray[np.float64]) -> Pasted:
    """Return resampled pixels with counts and shares of the nearest source pixels."""
    region = pasted.planes.box
    on_region = (x >= region.x.start - 0.5) & (x < region.x.stop - 0.5)
    on_region &= (y >= region.y.start - 0.5) & (y < region.y.stop - 0.5)
    columns = np.where(on_region, np.rint(x) - region.x.start, 0).astype(np.intp)
    rows = np.where(on_region, np.rint(y) - region.y.start, 0).astype(np.intp)
    # Rounding takes halves to even numbers: next to the last pixel, off it.
    columns = np.clip(columns, 0, region.x.size - 1)
    rows = np.clip(rows, 0, region.y.size - 1)
    touching = np.where(on_region, pasted.count()[rows, columns], np.uint16(0))
    shares: list[tuple[int, Share]] = []
    for index, share in pasted.shares:
        if isinstance(share, Box) and share == region:
            shares.append((index, on_region))
        else:
            whole = pasted.expand(share)
            shares.append((index, np.where(on_region, whole[rows, columns], 0).astype(np.float32)))
    return Pasted(planes, touching, tuple(shares))


def _find_weight(
    rules: MosaicRules, members: Sequence[Box], x: NDArray[Any], y: NDArray[Any]
) -> NDArray[np.float32] | None:
    """Return the weight of a pixel grid at positions on it."""
    if not rules.feather_px or not rules.combine.is_mean:
        return None
    ramps = [find_ramp(bbox, rules.feather_px, x, y) for bbox in members]
    weight: NDArray[np.float32] = np.maximum.reduce(ramps)
    return weight


def _subtract_background(plan: Plan, frame: Frame, index: int, planes: Planes) -> Planes:
    """Subtract the matched background of an image from part of it."""
    if plan.backgrounds is None:
        raise InternalError(f"No background of image {index} has been matched.")
    level, along_x, along_y = plan.backgrounds[index].tolist()
    if plan.rules.flux_convention is FluxConvention.FLUX and not frame.is_target:
        scale = 1.0 / plan.area_ratio(index)
    else:
        scale = 1.0
    if along_x == 0.0 and along_y == 0.0:
        background: float | NDArray[np.float64] = level
    else:
        if frame.is_target:
            x, y = _axes(planes.box)
        else:
            x, y = map_lattice(frame.sky_projection, plan.grid.sky_projection, planes.box)
        center = plan.grid.bbox
        background = level + along_x * (x - center.x.center) + along_y * (y - center.y.center)
    image = (planes.image - scale * background).astype(plan.form.dtype)
    return Planes(planes.box, image, planes.variance, planes.mask)


def _combine(
    plan: Plan,
    found: Sequence[Contribution],
    excluded: NDArray[np.uint8],
    out: Planes,
    out_coverage: NDArray[np.uint16],
) -> NDArray[np.float32]:
    """Combine pixel grids; return the share of each, shape ``(n, ny, nx)``."""
    rules = plan.rules
    layers = kernels.Layers(
        np.stack([contribution.pasted.planes.image for contribution in found]),
        np.stack([contribution.pasted.planes.variance for contribution in found]),
        np.stack([contribution.pasted.planes.mask for contribution in found]),
        np.stack([contribution.pasted.count() for contribution in found]),
        excluded,
        plan.form.octets([NO_DATA]),
    )
    share = np.empty(layers.images.shape, np.float32)
    combined = kernels.Combined(out.image, out.variance, out.mask, out_coverage, share)
    independent = int(rules.variance is VarianceRule.INDEPENDENT)
    if rules.combine.is_mean:
        weights = np.ones(share.shape, np.float32)
        for k, contribution in enumerate(found):
            if contribution.weight is not None:
                weights[k] = contribution.weight
        by_variance = int(rules.combine is Combine.INVERSE_VARIANCE)
        kernels.mean_pixels(layers, weights, by_variance, independent, combined)
    elif rules.combine is Combine.MEDIAN:
        kernels.median_pixels(layers, independent, combined)
    else:
        kernels.select_pixels(layers, _SELECTIONS[rules.combine], combined)
    return share


def _tally(found: Sequence[Contribution], shares: Sequence[NDArray[Any]]) -> list[Tally]:
    """Sum up what each image gives."""
    tallies = []
    for contribution, share in zip(found, shares, strict=True):
        pasted = contribution.pasted
        for index, part in pasted.shares:
            if isinstance(part, Box):
                rows = part.y.slice_within(pasted.planes.box.y)
                mine = share[rows, part.x.slice_within(pasted.planes.box.x)]
            else:
                mine = share * part
            n_pixels = int(np.count_nonzero(mine))
            if n_pixels:
                weight = n_pixels if mine.dtype == np.bool_ else mine.sum(dtype=np.float64)
                tallies.append(Tally(index, n_pixels, float(weight)))
    return tallies


def _axes(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.arange(box.x.start, box.x.stop, dtype=np.float64)
    y = np.arange(box.y.start, box.y.stop, dtype=np.float64)
    return x, y[:, None]
