"""Where the cells of a coadd lie, and in which tiles they are made.

A cell is the unit of evaluation: its pixels follow from its place on the
coadd's parent grid and from its inputs alone.  A tile is a rectangle of cells
that are made together; how large it is changes nothing but the time and the
memory that are needed.
"""

from __future__ import annotations

__all__ = (
    "CellLayout",
    "CellRange",
    "SourceOutline",
    "find_outline",
    "find_source_box",
    "intersect",
    "map_pixels",
)

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import YX, Box, NoOverlapError, Polygon, SkyProjection
from lsst.images.cells import CellGrid, CellIJ

from ..errors import RequestError
from ..resampling import Kernel

TILE_PX = 1500
"""Largest side of a tile with its padding, unless a cell is larger."""

_SIDE_POINTS = 17
_NODE_STEP = 32
# Beyond the reach of the kernel: the resampler's own margin, and what the
# mapping may bend between two nodes.
_MARGIN = 4


@dataclass(frozen=True)
class CellRange:
    """A rectangle of cells."""

    rows: range
    """Rows of cells, counted from the anchor; negative below it."""

    columns: range
    """Columns of cells."""

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[CellIJ]:
        return (CellIJ(i=i, j=j) for i in self.rows for j in self.columns)


@dataclass(frozen=True)
class CellLayout:
    """Cells on the parent pixels of a grid."""

    inner_px: int
    """Side of a cell."""

    padding_px: int
    """Width around a cell that is made as well."""

    anchor: YX[int]
    """Pixel of the corner of cell (0, 0)."""

    def __post_init__(self) -> None:
        if self.inner_px < 1 or self.padding_px < 0:
            raise RequestError(
                f"Cells have a side of at least 1 and a padding of at least 0 pixels, not {self.inner_px} "
                f"and {self.padding_px}."
            )

    def cell_box(self, cell: CellIJ) -> Box:
        """Return the pixels of a cell without its padding."""
        y = self.anchor.y + cell.i * self.inner_px
        x = self.anchor.x + cell.j * self.inner_px
        return Box.factory[y : y + self.inner_px, x : x + self.inner_px]

    def inner_box(self, cells: CellRange) -> Box:
        """Return the pixels of a rectangle of cells."""
        y, x = self.anchor.y, self.anchor.x
        side = self.inner_px
        return Box.factory[
            y + side * cells.rows.start : y + side * cells.rows.stop,
            x + side * cells.columns.start : x + side * cells.columns.stop,
        ]

    def padded_box(self, box: Box) -> Box:
        """Return a box with the padding of cells around it."""
        pad = self.padding_px
        return Box.factory[
            box.y.start - pad : box.y.stop + pad,
            box.x.start - pad : box.x.stop + pad,
        ]

    def find_cells(self, box: Box) -> CellRange:
        """Return the cells that overlap a box."""
        spans = []
        for interval, anchor in ((box.y, self.anchor.y), (box.x, self.anchor.x)):
            first = (interval.start - anchor) // self.inner_px
            spans.append(range(first, -(-(interval.stop - anchor) // self.inner_px)))
        return CellRange(rows=spans[0], columns=spans[1])

    def make_grid(self, box: Box) -> CellGrid:
        """Return the grid of the cells that overlap a box, as `lsst.images` describes it."""
        return CellGrid(
            bbox=self.inner_box(self.find_cells(box)), cell_shape=YX(y=self.inner_px, x=self.inner_px)
        )

    def split(self, cells: CellRange, max_area_px: float) -> Iterator[CellRange]:
        """Divide cells into tiles that have, padded, no more than some pixels.

        Parameters
        ----------
        cells
            Cells.
        max_area_px
            Largest number of pixels of a tile with its padding.

        Yields
        ------
        tile
            At least one cell each, row by row.
        """
        side = min(math.sqrt(max(max_area_px, 0.0)), TILE_PX) - 2 * self.padding_px
        size = max(1, int(side // self.inner_px))
        for rows in _split_range(cells.rows, size):
            for columns in _split_range(cells.columns, size):
                yield CellRange(rows=rows, columns=columns)


def _split_range(span: range, size: int) -> Iterator[range]:
    """Divide a range at the multiples of a size."""
    for first in range(span.start - span.start % size, span.stop, size):
        yield range(max(first, span.start), min(first + size, span.stop))


@dataclass(frozen=True)
class SourceOutline:
    """Where an input has values on the pixels of a coadd."""

    polygon: Polygon
    """Outline of its pixels."""

    inner: Polygon | None
    """Outline of the positions with all of the kernel on pixels of it; `None` if there are none."""

    def overlap_fraction(self, box: Box) -> float:
        """Return the share of a box that has values, 0 to 1."""
        if self.inner is None:
            return 0.0
        around = Polygon.from_box(box)
        if self.inner.contains(around):
            return 1.0
        return _shared_area(self.inner, around) / float(around.area)

    def covers_center(self, box: Box) -> bool:
        """Tell whether the middle of a box has a value."""
        return self.inner is not None and bool(self.inner.contains(x=box.x.center, y=box.y.center))

    def find_overlaps(
        self, layout: CellLayout, cells: CellRange
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Find what an input covers of many cells.

        Parameters
        ----------
        layout, cells
            Cells.

        Returns
        -------
        fractions
            As of `overlap_fraction`, shape (rows, columns).
        has_center
            As of `covers_center`.
        """
        shape = (len(cells.rows), len(cells.columns))
        fractions, has_center = np.zeros(shape), np.zeros(shape, np.bool_)
        if self.inner is None:
            return fractions, has_center
        reached = self.inner.bbox
        for place, cell in zip(np.ndindex(shape), cells, strict=True):
            box = layout.cell_box(cell)
            if intersect(box, reached) is not None:
                fractions[place] = self.overlap_fraction(box)
                has_center[place] = fractions[place] == 1.0 or self.covers_center(box)
        return fractions, has_center

    def touches(self, box: Box) -> bool:
        """Tell whether a box has any pixel of the input."""
        return _shared_area(self.polygon, Polygon.from_box(box)) > 0.0


def find_outline(
    source: SkyProjection[Any], bbox: Box, target: SkyProjection[Any], *, kernel: Kernel
) -> SourceOutline | None:
    """Find where an input lies on the pixels of a coadd.

    Parameters
    ----------
    source
        Projection of the input.
    bbox
        Pixels of the input.
    target
        Projection of the coadd.
    kernel
        Kernel that the input is resampled with.

    Returns
    -------
    outline
        The outline; `None` if part of the input has no position on the
        coadd's plane.

    Notes
    -----
    The sides are 16 straight pieces each; the distortion of a camera bends
    such a piece by less than a hundredth of a pixel.
    """
    outer = _map_outline(source, target, bbox, inset=0.0)
    if outer is None:
        return None
    inset = 0.0 if kernel is Kernel.NEAREST else kernel.half_width - 0.5
    is_left = min(bbox.x.size, bbox.y.size) > 2.0 * inset + 1.0
    return SourceOutline(outer, _map_outline(source, target, bbox, inset=inset) if is_left else None)


def find_source_box(
    target: SkyProjection[Any], box: Box, source: SkyProjection[Any], bbox: Box, *, kernel: Kernel
) -> Box | None:
    """Return the pixels of an input that a box of a coadd needs.

    Parameters
    ----------
    target
        Projection of the coadd.
    box
        Pixels of the coadd.
    source
        Projection of the input.
    bbox
        Pixels of the input.
    kernel
        Kernel that the input is resampled with.

    Returns
    -------
    needed
        Part of ``bbox``, with a margin beyond the reach of the kernel; `None`
        if none of it is needed.
    """
    nodes = []
    for interval in (box.y, box.x):
        count = -(-interval.size // _NODE_STEP) + 1
        nodes.append(np.linspace(interval.start - 0.5, interval.stop - 0.5, count))
    y, x = np.meshgrid(*nodes, indexing="ij")
    found = map_pixels(target, source, x, y)
    good = np.isfinite(found).all(axis=0)
    if not good.any():
        return None
    steps = [np.abs(np.diff(places, axis=axis)) for places in found for axis in (0, 1)]
    step = max((float(np.nanmax(s)) for s in steps if np.isfinite(s).any()), default=0.0)
    # Next to the edge of the sky a node says nothing about its neighbours.
    bend = step if not good.all() else step / 8
    reach = (kernel.half_width + 1) * max(1.0, 2.0 * step / _NODE_STEP) + bend + _MARGIN
    low, high = found[:, good].min(axis=1) - reach, found[:, good].max(axis=1) + reach
    wanted = Box.factory[
        math.floor(low[1]) : math.ceil(high[1]) + 1,
        math.floor(low[0]) : math.ceil(high[0]) + 1,
    ]
    return intersect(wanted, bbox)


def intersect(one: Box, two: Box) -> Box | None:
    """Return what two boxes have in common; `None` for nothing."""
    x = (max(one.x.start, two.x.start), min(one.x.stop, two.x.stop))
    y = (max(one.y.start, two.y.start), min(one.y.stop, two.y.stop))
    return Box.factory[y[0] : y[1], x[0] : x[1]] if x[0] < x[1] and y[0] < y[1] else None


def map_pixels(
    one: SkyProjection[Any], two: SkyProjection[Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Map pixels of one projection to those of another; NaN where there are none."""
    with np.errstate(invalid="ignore", over="ignore"):
        sky = one.pixel_to_sky_transform.apply_forward(x=x.ravel(), y=y.ravel())
        longitude, latitude = np.asarray(sky.x), np.asarray(sky.y)
        # AST marks what it cannot map with the largest negative number.
        on_sky = np.abs(latitude) <= np.pi
        pixels = two.pixel_to_sky_transform.apply_inverse(
            x=np.where(on_sky, longitude, 0.0), y=np.where(on_sky, latitude, 0.0)
        )
        found = np.stack([np.asarray(pixels.x), np.asarray(pixels.y)])
        good = on_sky & (np.abs(found) < 1e30).all(axis=0)
    return np.where(good, found, np.nan).reshape(2, *x.shape)


def _map_outline(
    source: SkyProjection[Any], target: SkyProjection[Any], bbox: Box, *, inset: float
) -> Polygon | None:
    """Return the outline of a box of one projection in the pixels of another."""
    x0, x1 = bbox.x.start - 0.5 + inset, bbox.x.stop - 0.5 - inset
    y0, y1 = bbox.y.start - 0.5 + inset, bbox.y.stop - 0.5 - inset
    along = np.linspace(0.0, 1.0, _SIDE_POINTS)[:-1]
    zero = np.zeros_like(along)
    u = np.concatenate([along, zero + 1.0, 1.0 - along, zero])
    v = np.concatenate([zero, along, zero + 1.0, 1.0 - along])
    found = map_pixels(source, target, x0 + u * (x1 - x0), y0 + v * (y1 - y0))
    return Polygon(x_vertices=found[0], y_vertices=found[1]) if np.isfinite(found).all() else None


def _shared_area(one: Polygon, two: Polygon) -> float:
    """Return the area that two polygons have in common."""
    try:
        return float(one.intersection(two).area)
    except NoOverlapError:
        return 0.0
