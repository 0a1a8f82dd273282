"""Which images have pixels for a block of a mosaic, and which of their pixels.

A mosaic is made in blocks of `BLOCK` by `BLOCK` pixels that are counted from
its corner.  What is computed for a block depends on the block and the images
alone: not on the tiles in which a mosaic is read and written, nor on who works
on them.  So the pixels are the same to the bit.
"""

from __future__ import annotations

__all__ = ("BLOCK", "Frame", "Member", "Plan", "Source", "intersect", "split_box")

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsst.images import YX, Box, SkyProjection

from ..errors import NoCoverageError
from ..geometry import TargetGrid
from ..resampling import Kernel
from ._mapping import area_ratio, find_shift, map_pixels
from ._planes import PixelForm, move_box
from .rules import MosaicRules, Overlap

BLOCK = 512
"""Rows and columns of pixels that are computed together."""

# Rows of a strip of pixels that are copied: its work hides that of finding its images.
_STRIP = 512
_NODE_STEP = 32
# Beyond the reach of the kernel: the resampler's own margin and what the
# mapping may bend between two nodes.
_MARGIN = 4
_LARGEST_CIRCLE = 0.5  # radians; a circle around the edge of a larger image may miss part of it

_COPIES = {Overlap.INNER, Overlap.FIRST, Overlap.LAST}


class Source(Protocol):
    """An image whose pixels need not be at hand."""

    @property
    def sky_projection(self) -> SkyProjection[Any]:
        """From pixels to the sky."""

    @property
    def bbox(self) -> Box:
        """Pixels that the image has."""


@dataclass(frozen=True)
class Member:
    """An image of a frame."""

    index: int
    """Number of the image."""

    shift: YX[int]
    """What is added to its pixels to give those of the frame."""

    bbox: Box
    """Its pixels in the frame."""


@dataclass(frozen=True)
class Frame:
    """A pixel grid, and the images on it."""

    sky_projection: SkyProjection[Any]
    """Projection of the grid."""

    is_target: bool
    """Whether it is the grid of the mosaic."""

    members: tuple[Member, ...]
    """Images in their order."""


@dataclass(frozen=True)
class Plan:
    """What a mosaic is made of, without the pixels."""

    grid: TargetGrid
    """Grid of the mosaic."""

    rules: MosaicRules
    """How images become one."""

    form: PixelForm
    """What the pixels are."""

    sources: Sequence[Source]
    """Images."""

    backgrounds: NDArray[np.float64] | None = None
    """What is subtracted from each image, in the values of the mosaic: level at the
    middle of the grid and slopes along x and y per pixel of the grid, shape ``(n, 3)``."""

    _shifts: dict[tuple[int, int], YX[int] | None] = field(default_factory=dict, repr=False)

    @cached_property
    def _boxes(self) -> NDArray[np.int64]:
        """Rows and columns in the mosaic, shape ``(n, 4)``; zeros for images on other pixels."""
        boxes = np.zeros((len(self.sources), 4), np.int64)
        for index, source in enumerate(self.sources):
            shift = self._shift(index, -1)
            if shift is not None:
                box = move_box(source.bbox, shift)
                boxes[index] = (box.y.start, box.y.stop, box.x.start, box.x.stop)
        return boxes

    @cached_property
    def _circles(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Numbers of the images on other pixels, centres and radii of circles around them."""
        indices = np.flatnonzero((self._boxes == 0).all(axis=1))
        others = [self.sources[index] for index in indices.tolist()]
        circles = [find_circle(source.sky_projection, source.bbox) for source in others]
        return indices, np.array([c for c, _ in circles]).reshape(-1, 3), np.array([r for _, r in circles])

    def split(self, box: Box) -> Iterator[Box]:
        """Divide a box into what is computed together.

        What is copied pixel by pixel does not depend on the blocks: long rows
        are faster.
        """
        is_copied = self.rules.overlap in _COPIES and not self.form.octets(self.rules.exclude_planes).any()
        if is_copied and not np.isin(self._circles[0], self.find_near(box)).any():
            for y in range(box.y.start, box.y.stop, _STRIP):
                yield Box.factory[y : min(y + _STRIP, box.y.stop), box.x.start : box.x.stop]
        else:
            yield from split_box(box, BLOCK)

    def find_near(self, box: Box) -> list[int]:
        """Return the images that may overlap a box of the mosaic."""
        boxes = self._boxes
        overlaps = (boxes[:, 0] < box.y.stop) & (boxes[:, 1] > box.y.start)
        overlaps &= (boxes[:, 2] < box.x.stop) & (boxes[:, 3] > box.x.start)
        indices, centers, radii = self._circles
        if indices.size:
            center, radius = find_circle(self.grid.sky_projection, box)
            apart = np.arctan2(np.linalg.norm(np.cross(centers, center), axis=1), centers @ center)
            overlaps[indices] = apart <= radii + radius
        return np.flatnonzero(overlaps).tolist()

    def find_frames(self, box: Box, *, overlap: Overlap | None = None) -> list[Frame]:
        """Return the images that may overlap a box of the mosaic, by pixel grid.

        Parameters
        ----------
        box
            Pixels of the mosaic: one block.
        overlap
            Rule for images on one grid; that of the mosaic by default.
        """
        is_separate = (overlap or self.rules.overlap) is Overlap.COMBINE
        found: list[tuple[int, list[Member]]] = []
        for index in self.find_near(box):
            shift = self._shift(index, -1)
            if shift is not None:
                key = -1
            else:
                key = index
                for other, _ in found if not is_separate else ():
                    if other >= 0 and (between := self._shift(index, other)) is not None:
                        key, shift = other, between
                        break
            shift = YX(y=0, x=0) if shift is None else shift
            member = Member(index, shift, move_box(self.sources[index].bbox, shift))
            same = None if is_separate else next((members for other, members in found if other == key), None)
            if same is None:
                found.append((key, [member]))
            else:
                same.append(member)
        return [
            Frame(self._projection(key), is_target=key == -1, members=tuple(members))
            for key, members in found
        ]

    def find_region(self, frame: Frame, block: Box) -> Box | None:
        """Return the pixels of a frame that a block of the mosaic needs."""
        members = [member.bbox for member in frame.members]
        low = YX(y=min(box.y.start for box in members), x=min(box.x.start for box in members))
        high = YX(y=max(box.y.stop for box in members), x=max(box.x.stop for box in members))
        if frame.is_target:
            wanted = (block.x.start, block.x.stop, block.y.start, block.y.stop)
        else:
            bounds = _find_bounds(self.grid.sky_projection, frame.sky_projection, block, self.rules.kernel)
            if bounds is None:
                return None
            wanted = bounds
        x = (max(wanted[0], low.x), min(wanted[1], high.x))
        y = (max(wanted[2], low.y), min(wanted[3], high.y))
        return Box.factory[y[0] : y[1], x[0] : x[1]] if x[0] < x[1] and y[0] < y[1] else None

    def find_needs(self, blocks: Sequence[Box], *, overlap: Overlap | None = None) -> dict[int, Box]:
        """Return the pixels of each image that some blocks need, in the image's own pixels.

        Parameters
        ----------
        blocks
            Pixels of the mosaic.
        overlap
            As for `find_frames`.
        """
        needs: dict[int, Box] = {}
        for block in blocks:
            for frame in self.find_frames(block, overlap=overlap):
                region = self.find_region(frame, block)
                for member in frame.members:
                    part = None if region is None else intersect(region, member.bbox)
                    if part is not None:
                        own = move_box(part, YX(y=-member.shift.y, x=-member.shift.x))
                        needs[member.index] = _hull(needs.get(member.index, own), own)
        return dict(sorted(needs.items()))

    def area_ratio(self, index: int) -> float:
        """Return the area of a pixel of the mosaic in pixels of an image, in its middle."""
        source = self.sources[index]
        return area_ratio(self.grid.sky_projection, source.sky_projection, source.bbox)

    def check_overlap(self) -> None:
        """Raise if no image overlaps the grid.

        Raises
        ------
        NoCoverageError
            Raised if so.
        """
        if not self.find_near(self.grid.bbox):
            first = f"; the first one has {self.sources[0].bbox}" if self.sources else ""
            raise NoCoverageError(
                f"None of {len(self.sources)} images overlaps the grid of {self.grid.bbox.x.size} x "
                f"{self.grid.bbox.y.size} pixels around {self.grid.center.to_string('decimal')}{first}."
            )

    def _projection(self, key: int) -> SkyProjection[Any]:
        return self.grid.sky_projection if key == -1 else self.sources[key].sky_projection

    def _shift(self, index: int, key: int) -> YX[int] | None:
        """Return the shift from an image to another one or, for -1, to the mosaic."""
        if (index, key) not in self._shifts:
            source = self.sources[index]
            self._shifts[index, key] = find_shift(source.sky_projection, source.bbox, self._projection(key))
        return self._shifts[index, key]


def split_box(box: Box, size: int) -> Iterator[Box]:
    """Divide a box into squares, row by row.

    Parameters
    ----------
    box
        Box.
    size
        Rows and columns of a part; the last ones may have less.

    Yields
    ------
    part
        Part of the box.
    """
    for y in range(box.y.start, box.y.stop, size):
        for x in range(box.x.start, box.x.stop, size):
            yield Box.factory[y : min(y + size, box.y.stop), x : min(x + size, box.x.stop)]


def find_circle(projection: SkyProjection[Any], box: Box) -> tuple[NDArray[np.float64], float]:
    """Return a circle around an image: a unit vector and a radius in radians."""
    x = np.linspace(box.x.start - 0.5, box.x.stop - 0.5, 5)
    y = np.linspace(box.y.start - 0.5, box.y.stop - 0.5, 5)
    grid_x, grid_y = np.meshgrid(x, y)
    sky = projection.pixel_to_sky_transform.apply_forward(x=grid_x.ravel(), y=grid_y.ravel())
    lon, lat = np.asarray(sky.x), np.asarray(sky.y)
    on_sky = np.abs(lat) <= 0.5 * math.pi + 1e-9
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    center = vectors[on_sky].sum(axis=0)
    length = float(np.linalg.norm(center)) if on_sky.all() else 0.0
    if not length > 0.0:
        return np.array([1.0, 0.0, 0.0]), math.pi
    center /= length
    radius = float(np.arctan2(np.linalg.norm(np.cross(vectors, center), axis=1), vectors @ center).max())
    # A tenth for what the edge may bulge between two points.
    return center, 1.1 * radius if radius < _LARGEST_CIRCLE else math.pi


def _find_bounds(
    target: SkyProjection[Any], source: SkyProjection[Any], block: Box, kernel: Kernel
) -> tuple[int, int, int, int] | None:
    """Return the first and last source pixels along x and y that a block needs."""
    nodes = []
    for interval in (block.x, block.y):
        count = -(-interval.size // _NODE_STEP) + 1
        nodes.append(np.linspace(interval.start - 0.5, interval.stop - 0.5, count))
    x, y = map_pixels(target, source, *np.meshgrid(*nodes))
    good = np.isfinite(x)
    if not good.any():
        return None
    steps = [np.abs(np.diff(positions, axis=axis)) for positions in (x, y) for axis in (0, 1)]
    step = max((float(np.nanmax(s)) for s in steps if np.isfinite(s).any()), default=0.0)
    # Next to the edge of the sky a node says nothing about its neighbours.
    bend = step if not good.all() else step / 8
    reach = (kernel.half_width + 1) * max(1.0, 2.0 * step / _NODE_STEP) + bend + _MARGIN
    return (
        math.floor(x[good].min() - reach),
        math.ceil(x[good].max() + reach) + 1,
        math.floor(y[good].min() - reach),
        math.ceil(y[good].max() + reach) + 1,
    )


def intersect(one: Box, two: Box) -> Box | None:
    """Return what two boxes have in common; None for nothing."""
    x = (max(one.x.start, two.x.start), min(one.x.stop, two.x.stop))
    y = (max(one.y.start, two.y.start), min(one.y.stop, two.y.stop))
    return Box.factory[y[0] : y[1], x[0] : x[1]] if x[0] < x[1] and y[0] < y[1] else None


def _hull(one: Box, two: Box) -> Box:
    """Return the smallest box around two."""
    return Box.factory[
        min(one.y.start, two.y.start) : max(one.y.stop, two.y.stop),
        min(one.x.start, two.x.start) : max(one.x.stop, two.x.stop),
    ]
