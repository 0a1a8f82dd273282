"""Put images that share a pixel grid together."""

from __future__ import annotations

__all__ = ("Pasted", "find_ramp", "paste")

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from .._kernels import mosaic_combine_nb as kernels
from ._inner import clear_lost, find_inner_boxes
from ._planes import NO_DATA, PixelForm, Planes
from .rules import MosaicRules, Overlap

type Share = NDArray[np.float32] | NDArray[np.bool_] | Box
"""Part of each pixel that comes from one image; a box for all of the pixels in it and nothing of others."""


@dataclass(frozen=True)
class Pasted:
    """Several images as one."""

    planes: Planes
    """Pixels."""

    touching: NDArray[np.uint16] | None
    """Images behind each pixel, shape ``(ny, nx)``; None if each pixel has one at most."""

    shares: tuple[tuple[int, Share], ...]
    """Numbers of the images, and their shares."""

    def count(self) -> NDArray[np.uint16]:
        """Return the images behind each pixel, shape ``(ny, nx)``; 0 where there is none."""
        if self.touching is not None:
            return self.touching
        count = np.zeros(self.planes.image.shape, np.uint16)
        for _, share in self.shares:
            if isinstance(share, Box):
                _slice(count, self.planes.box, share)[...] = 1
            else:
                count |= share > 0
        return count

    def expand(self, share: Share) -> NDArray[np.float32] | NDArray[np.bool_]:
        """Return the share of all pixels that an image has."""
        if not isinstance(share, Box):
            return share
        whole = np.zeros(self.planes.image.shape, np.bool_)
        _slice(whole, self.planes.box, share)[...] = True
        return whole


@dataclass(frozen=True)
class Part:
    """Pixels of one image, in the pixels of the grid."""

    index: int
    """Number of the image."""

    bbox: Box
    """All pixels of the image."""

    planes: Planes
    """Those in the region that is wanted."""


def paste(
    region: Box,
    parts: Sequence[Part],
    rules: MosaicRules,
    form: PixelForm,
    allocate: Callable[[], Planes],
) -> Pasted:
    """Put the images of one pixel grid together.

    Parameters
    ----------
    region
        Pixels that are wanted.
    parts
        Images that have some of them, in order; not modified.
    rules
        Which image counts.
    form
        What the pixels are.
    allocate
        Returns planes for the region to write to, where a part is not shared.

    Returns
    -------
    pasted
        The images as one.  Pixels of no image are NaN, and ``NO_DATA``.
    """
    if len(parts) == 1 and parts[0].planes.box == region:
        # The pixels of one image: nobody writes to them.
        return Pasted(parts[0].planes, None, ((parts[0].index, region),))
    out = allocate()
    match rules.overlap:
        case Overlap.INNER | Overlap.COMBINE:
            return _paste_inner(parts, form, out)
        case Overlap.FIRST:
            return _paste_ordered(parts, rules, form, out)
        case Overlap.LAST:
            return _paste_ordered(parts[::-1], rules, form, out)
        case Overlap.MEAN:
            return _paste_mean(region, parts, rules, form, out)


def _paste_inner(parts: Sequence[Part], form: PixelForm, out: Planes) -> Pasted:
    """Copy from the one image whose inner region holds the pixel."""
    boxes, wholes = [part.planes.box for part in parts], [part.bbox for part in parts]
    kept: list[tuple[Part, Share]] = []
    n_kept = 0
    for number, part in enumerate(parts):
        inner = find_inner_boxes(number, boxes, wholes)
        if inner is not None:
            n_kept += sum(box.area for box in inner)
            kept.extend((part, box) for box in inner)
            continue
        keep = np.ones(part.planes.image.shape, np.bool_)
        for other, (theirs, whole) in enumerate(zip(boxes, wholes, strict=True)):
            if other != number:
                clear_lost(keep, boxes[number], part.bbox, theirs, whole, is_before=other < number)
        n_kept += int(np.count_nonzero(keep))
        pixels = np.zeros(out.image.shape, np.bool_)
        _slice(pixels, out.box, boxes[number])[...] = keep
        kept.append((part, pixels))
    if n_kept < out.image.size:
        out.fill_blank(form)
    for part, share in kept:
        # A copy of a rectangle is many times as fast as that of some pixels.
        if isinstance(share, Box):
            out.copy_from(part.planes.part(share))
        else:
            out.copy_from(part.planes, _slice(share, out.box, part.planes.box))
    return Pasted(out, None, tuple((part.index, share) for part, share in kept))


def _paste_ordered(parts: Sequence[Part], rules: MosaicRules, form: PixelForm, out: Planes) -> Pasted:
    """Copy from the first image that has a value; without one, from the first that has the pixel."""
    out.fill_blank(form)
    excluded = form.octets(rules.exclude_planes)
    shape = out.image.shape
    owner = np.full(shape, -1, np.int32)
    has_value = np.zeros(shape, np.bool_)
    for number, part in enumerate(parts):
        box = part.planes.box
        good = np.isfinite(part.planes.image)
        if excluded.any():
            good &= ~(part.planes.mask & excluded).any(axis=-1)
        mine, valued = _slice(owner, out.box, box), _slice(has_value, out.box, box)
        take = (mine < 0) | (good & ~valued)
        out.copy_from(part.planes, take)
        mine[take] = number
        valued |= good
    shares = tuple((part.index, owner == number) for number, part in enumerate(parts))
    return Pasted(out, None, shares)


def _paste_mean(
    region: Box, parts: Sequence[Part], rules: MosaicRules, form: PixelForm, out: Planes
) -> Pasted:
    """Average what the images have."""
    layers = _stack(region, parts, rules, form)
    weights = np.ones(layers.images.shape, np.float32)
    if rules.feather_px:
        for k, part in enumerate(parts):
            weights[k] = find_ramp(part.bbox, rules.feather_px, *_axes(region))
    combined = kernels.Combined(
        out.image,
        out.variance,
        out.mask,
        np.empty(out.image.shape, np.uint16),
        np.empty(layers.images.shape, np.float32),
    )
    kernels.mean_pixels(layers, weights, 0, 0, combined)
    touched = np.maximum(combined.coverage, layers.counts.any(axis=0))
    shares = tuple((part.index, combined.share[k]) for k, part in enumerate(parts))
    return Pasted(out, touched.astype(np.uint16), shares)


def _stack(region: Box, parts: Sequence[Part], rules: MosaicRules, form: PixelForm) -> kernels.Layers:
    """Return all images on the whole region."""
    shape = (len(parts), *region.shape)
    layers = kernels.Layers(
        np.empty(shape, form.dtype),
        np.empty(shape, form.variance_dtype),
        np.empty((*shape, form.schema.mask_size), np.uint8),
        np.zeros(shape, np.uint16),
        form.octets(rules.exclude_planes),
        form.octets([NO_DATA]),
    )
    for k, part in enumerate(parts):
        layer = Planes(region, layers.images[k], layers.variances[k], layers.masks[k])
        layer.fill_blank(form)
        layer.copy_from(part.planes)
        _slice(layers.counts[k], region, part.planes.box)[...] = 1
    return layers


def find_ramp(bbox: Box, width: int, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
    """Return the weight of an image, which falls towards its edge.

    Parameters
    ----------
    bbox
        Pixels of the image.
    width
        Pixels over which the weight falls.
    x, y
        Positions in the image; shapes that broadcast.

    Returns
    -------
    weight
        1 in the middle, and next to nothing one pixel off the image.  It is
        never zero, so that a pixel that only one image has is kept.
    """
    along_x = np.minimum(x - (bbox.x.start - 1), bbox.x.stop - x)
    along_y = np.minimum(y - (bbox.y.start - 1), bbox.y.stop - y)
    ramp = np.minimum(along_x, along_y) / (width + 1)
    weight: NDArray[np.float32] = np.clip(np.nan_to_num(ramp), 1e-6, 1.0).astype(np.float32)
    return weight


def _axes(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.arange(box.x.start, box.x.stop, dtype=np.float64)
    y = np.arange(box.y.start, box.y.stop, dtype=np.float64)
    return x, y[:, None]


def _slice(array: NDArray[Any], region: Box, box: Box) -> NDArray[Any]:
    """Return a view of the part of a region's array that lies in a box."""
    rows = slice(box.y.start - region.y.start, box.y.stop - region.y.start)
    columns = slice(box.x.start - region.x.start, box.x.stop - region.x.start)
    return array[rows, columns]
