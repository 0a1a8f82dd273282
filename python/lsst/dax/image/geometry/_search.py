"""Find the pixels of a stencil by halving blocks of an image.

A block of pixels is decided as a whole where the distance from its middle to
the edge of the stencil exceeds the angular radius of the block; only blocks
across the edge are divided, down to single pixels, which are tested exactly.
"""

from __future__ import annotations

__all__ = ("SkyShape", "covered_pixels", "touched_box")

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ._pixels import PixelMap
from ._sphere import Vectors, angle_between, unit_vectors

# The radius of a block is the largest distance from its middle to a corner,
# times this: a distorted block may bulge beyond its corners.
_SAFETY = 1.5

# Below this radius (rad) a part of a block is taken to be smaller than the
# block in the proportion of their pixels; above, its corners are looked at.
_SMALL_RAD = 0.01

# Blocks above this radius (rad) are always divided: their corners may lie on
# the same point of the sky, once around it.
_LARGE_RAD = 0.3

_CORNERS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
_SUBSAMPLES = np.array([-0.5, -0.25, 0.0, 0.25, 0.5 - 1e-9])


class SkyShape(Protocol):
    """What the search asks of a stencil."""

    def covers_lon_lat(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]: ...
    def edge_distance(self, vectors: Vectors) -> NDArray[np.float64]: ...


@dataclass
class _Blocks:
    """Rectangles of pixels; the stops are exclusive."""

    x_start: NDArray[np.int64]
    x_stop: NDArray[np.int64]
    y_start: NDArray[np.int64]
    y_stop: NDArray[np.int64]
    radius: NDArray[np.float64]
    """Angular radius in radians that the parent implies; NaN if unknown."""

    def __len__(self) -> int:
        return len(self.x_start)

    def select(self, keep: NDArray[np.bool_]) -> _Blocks:
        return _Blocks(
            self.x_start[keep], self.x_stop[keep], self.y_start[keep], self.y_stop[keep], self.radius[keep]
        )


def _split(blocks: _Blocks, size: int, *, margin_px: float) -> _Blocks:
    """Divide blocks into squares of ``size`` pixels (smaller at their far edges)."""
    width, height = blocks.x_stop - blocks.x_start, blocks.y_stop - blocks.y_start
    dx, dy = np.meshgrid(np.arange(0, int(width.max()), size), np.arange(0, int(height.max()), size))
    x_start = (blocks.x_start[:, None] + dx.ravel()).ravel()
    y_start = (blocks.y_start[:, None] + dy.ravel()).ravel()
    x_limit = np.repeat(blocks.x_stop, dx.size)
    y_limit = np.repeat(blocks.y_stop, dx.size)
    x_stop, y_stop = np.minimum(x_start + size, x_limit), np.minimum(y_start + size, y_limit)
    # The part shrinks by the larger of its two ratios to the whole, which
    # holds whatever the shape of its pixels on the sky.
    shrink = np.maximum(
        _ratio(x_stop - x_start, np.repeat(width, dx.size), margin_px),
        _ratio(y_stop - y_start, np.repeat(height, dx.size), margin_px),
    )
    parts = _Blocks(x_start, x_stop, y_start, y_stop, np.repeat(blocks.radius, dx.size) * shrink)
    return parts.select((x_start < x_limit) & (y_start < y_limit))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64], margin_px: float) -> NDArray[np.float64]:
    half_part, half_whole = 0.5 * (part - 1) + margin_px, 0.5 * (whole - 1) + margin_px
    return np.asarray(np.divide(half_part, half_whole, out=np.zeros(len(part)), where=half_whole > 0.0))


def _classify(
    shape: SkyShape, pixels: PixelMap, blocks: _Blocks, *, margin_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which blocks lie wholly in the stencil, and which across its edge.

    ``margin_px`` is how far a block reaches beyond the centres of its outer
    pixels.  ``blocks.radius`` is brought up to date.
    """
    x = 0.5 * (blocks.x_start + blocks.x_stop - 1).astype(np.float64)
    y = 0.5 * (blocks.y_start + blocks.y_stop - 1).astype(np.float64)
    lon, lat = pixels.to_lon_lat(x=x, y=y)
    middle = unit_vectors(lon, lat)
    unknown = ~(blocks.radius < _SMALL_RAD)
    if np.any(unknown):
        half_x = 0.5 * (blocks.x_stop - 1 - blocks.x_start)[unknown] + margin_px
        half_y = 0.5 * (blocks.y_stop - 1 - blocks.y_start)[unknown] + margin_px
        corners = pixels.to_vectors(
            x=x[unknown, None] + half_x[:, None] * _CORNERS[:, 0],
            y=y[unknown, None] + half_y[:, None] * _CORNERS[:, 1],
        )
        blocks.radius[unknown] = _SAFETY * angle_between(corners, middle[unknown, None, :]).max(axis=1)
    distance = shape.edge_distance(middle)
    # NaN compares false, so a block off the sky or with a corner there is
    # divided until its pixels can be tested one by one.
    decided = (distance > blocks.radius) & (blocks.radius < _LARGE_RAD)
    covered = shape.covers_lon_lat(lon, lat)
    return decided & covered, ~decided


def _sizes(bbox: Box) -> list[int]:
    """Return the sides of the blocks, level by level, down to 2 pixels."""
    sizes = [2, 8, 32, 128, 512, 2048]
    largest = max(bbox.shape)
    while len(sizes) > 2 and sizes[-1] * 4 > largest:
        sizes.pop()
    return sizes[::-1]


def _whole(bbox: Box) -> _Blocks:
    return _Blocks(
        x_start=np.array([bbox.x.start]),
        x_stop=np.array([bbox.x.stop]),
        y_start=np.array([bbox.y.start]),
        y_stop=np.array([bbox.y.stop]),
        radius=np.array([np.nan]),
    )


def covered_pixels(shape: SkyShape, pixels: PixelMap, bbox: Box) -> NDArray[np.bool_]:
    """Return which pixel centres of a box lie in a stencil.

    The result equals that of a test of every pixel.
    """
    result = np.zeros(bbox.shape, dtype=bool)
    blocks = _whole(bbox)
    for size in _sizes(bbox):
        blocks = _split(blocks, size, margin_px=0.0)
        inside, mixed = _classify(shape, pixels, blocks, margin_px=0.0)
        _fill(result, bbox, blocks.select(inside))
        blocks = blocks.select(mixed)
        if not len(blocks):
            return result
    last = _split(blocks, 1, margin_px=0.0)
    lon, lat = pixels.to_lon_lat(x=last.x_start.astype(np.float64), y=last.y_start.astype(np.float64))
    covered = shape.covers_lon_lat(lon, lat)
    result[last.y_start - bbox.y.start, last.x_start - bbox.x.start] = covered
    return result


def _fill(result: NDArray[np.bool_], bbox: Box, blocks: _Blocks) -> None:
    """Set the pixels of blocks: one by one if large, by index if small."""
    if not len(blocks):
        return
    width = int((blocks.x_stop - blocks.x_start).max())
    height = int((blocks.y_stop - blocks.y_start).max())
    if width * height >= 1024:
        y0, x0 = bbox.y.start, bbox.x.start
        for xa, xb, ya, yb in zip(blocks.x_start, blocks.x_stop, blocks.y_start, blocks.y_stop, strict=True):
            result[ya - y0 : yb - y0, xa - x0 : xb - x0] = True
        return
    dx, dy = np.meshgrid(np.arange(width), np.arange(height))
    x = np.minimum(blocks.x_start[:, None] + dx.ravel(), blocks.x_stop[:, None] - 1)
    y = np.minimum(blocks.y_start[:, None] + dy.ravel(), blocks.y_stop[:, None] - 1)
    result[y - bbox.y.start, x - bbox.x.start] = True


class _Hull:
    """The box around the pixels found so far."""

    def __init__(self) -> None:
        self.bounds: tuple[int, int, int, int] | None = None

    def add(self, blocks: _Blocks) -> None:
        if not len(blocks):
            return
        new = (
            int(blocks.x_start.min()),
            int(blocks.x_stop.max()),
            int(blocks.y_start.min()),
            int(blocks.y_stop.max()),
        )
        old = self.bounds or new
        self.bounds = (min(old[0], new[0]), max(old[1], new[1]), min(old[2], new[2]), max(old[3], new[3]))

    def outside(self, blocks: _Blocks) -> _Blocks:
        if self.bounds is None:
            return blocks
        x_start, x_stop, y_start, y_stop = self.bounds
        return blocks.select(
            (blocks.x_start < x_start)
            | (blocks.x_stop > x_stop)
            | (blocks.y_start < y_start)
            | (blocks.y_stop > y_stop)
        )

    def box(self) -> Box | None:
        if self.bounds is None:
            return None
        x_start, x_stop, y_start, y_stop = self.bounds
        return Box.factory[y_start:y_stop, x_start:x_stop]


def touched_box(
    shape: SkyShape, pixels: PixelMap, bbox: Box, *, x: NDArray[np.float64], y: NDArray[np.float64]
) -> Box | None:
    """Return the box of the pixels of an image whose area a stencil touches.

    Parameters
    ----------
    shape, pixels, bbox
        Stencil, and mapping and box of the image.
    x, y
        Pixel positions of points of the outline that are known to lie on the
        image; their pixels are touched, be the stencil ever so small.

    Notes
    -----
    A pixel that is not named by ``x`` and ``y`` is touched if one of 25 points
    of its area is covered, so a sliver of less than a quarter of a pixel may
    go unseen; it covers no pixel centre.
    """
    hull = _Hull()
    column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    hull.add(_Blocks(column, column + 1, row, row + 1, np.zeros(len(column))))
    blocks = _whole(bbox)
    for size in _sizes(bbox):
        blocks = _split(blocks, size, margin_px=0.5)
        inside, mixed = _classify(shape, pixels, blocks, margin_px=0.5)
        hull.add(blocks.select(inside))
        blocks = hull.outside(blocks.select(mixed))
        if not len(blocks):
            return hull.box()
    last = _split(blocks, 1, margin_px=0.5)
    dx, dy = (offset.ravel() for offset in np.meshgrid(_SUBSAMPLES, _SUBSAMPLES))
    lon, lat = pixels.to_lon_lat(x=last.x_start[:, None] + dx, y=last.y_start[:, None] + dy)
    hull.add(last.select(np.any(shape.covers_lon_lat(lon, lat), axis=1)))
    return hull.box()
