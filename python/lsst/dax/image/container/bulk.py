"""Many boxes of the same arrays, each tile read and decoded once."""

from __future__ import annotations

__all__ = ("read_box_arrays",)

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .array_layout import ArrayLayout
from .sources import ByteSource, read_coalesced
from .tiles import ArrayPlan, PixelSlices, decode_array, plan_rows, plan_tiles

# A batch is split in so many jobs that threads end at about the same time.
_JOBS = 8


def read_box_arrays(
    source: ByteSource,
    layouts: Sequence[ArrayLayout],
    boxes: Sequence[PixelSlices],
    *,
    executor: Executor | None,
    max_bytes: int,
) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Read boxes by ascending rows.

    Parameters
    ----------
    source
        The file.
    layouts
        Arrays to read, all of the same shape.
    boxes
        Rows and columns of each box.
    executor
        Threads that decode; None for the calling thread.
    max_bytes
        Decoded pixels that are kept at a time, in bytes.

    Yields
    ------
    number
        Index of a box.
    arrays
        New arrays, one per layout.

    Raises
    ------
    InputDataError
        Raised if the file is damaged.
    StoreError
        Raised if the store fails.

    Notes
    -----
    A band of rows moves over the image.  It holds whole rows of tiles, so that
    what two bands share is copied, and no tile is decoded twice.
    """
    order = sorted(range(len(boxes)), key=boxes.__getitem__)
    if not order:
        return
    columns = (min(box[2] for box in boxes), max(box[3] for box in boxes))
    bands = [_Band.empty(layout, columns) for layout in layouts]
    start = bottom = 0
    while start < len(order):
        # The band never loses rows at its end, which may be decoded already.
        stop = start
        top = boxes[order[start]][0]
        while stop < len(order):
            new_bottom = max(bottom, boxes[order[stop]][1])
            size = sum(band.nbytes(top, new_bottom) for band in bands)
            if stop > start and size > max_bytes:
                break
            stop, bottom = stop + 1, new_bottom
        batch = order[start:stop]
        bands = [band.moved(top, bottom) for band in bands]
        _fill(source, bands, [boxes[number] for number in batch], executor)
        for number in batch:
            yield number, [band.cut(boxes[number]) for band in bands]
        start = stop


@dataclass(frozen=True, eq=False)
class _Band:
    """Some rows of an array, of which some tiles are decoded."""

    layout: ArrayLayout
    columns: tuple[int, int]
    """First column, and column after the last."""

    top: int
    """First row."""

    pixels: NDArray[Any]
    done: NDArray[np.bool_]
    """Which tiles are decoded, over the whole array; of an uncompressed array,
    which rows."""

    @classmethod
    def empty(cls, layout: ArrayLayout, columns: tuple[int, int]) -> _Band:
        """Return a band without rows."""
        ty, tx = _tile_shape(layout)
        ny, nx = layout.shape
        first, last = columns[0] // tx * tx, min(-(-columns[1] // tx) * tx, nx)
        done = np.zeros((-(-ny // ty), -(-nx // tx)), bool)
        return cls(layout, (first, last), 0, np.empty((0, last - first), layout.dtype), done)

    def nbytes(self, top: int, bottom: int) -> int:
        """Return the bytes of the band that has some rows."""
        first, last = self._rows(top, bottom)
        return (last - first) * (self.columns[1] - self.columns[0]) * self.layout.dtype.itemsize

    def moved(self, top: int, bottom: int) -> _Band:
        """Return the band that has some rows, with what is decoded of them."""
        first, last = self._rows(top, bottom)
        pixels = np.empty((last - first, self.pixels.shape[1]), self.layout.dtype)
        shared = slice(max(first, self.top), min(last, self.top + len(self.pixels)))
        if shared.start < shared.stop:
            pixels[shared.start - first : shared.stop - first] = self.pixels[
                shared.start - self.top : shared.stop - self.top
            ]
        return _Band(self.layout, self.columns, first, pixels, self.done)

    def plan(self, boxes: Sequence[PixelSlices], max_gap: int) -> ArrayPlan:
        """Find the tiles of some boxes that are not decoded, and mark them."""
        ty, tx = _tile_shape(self.layout)
        wanted = np.zeros_like(self.done)
        for y0, y1, x0, x1 in boxes:
            wanted[y0 // ty : (y1 - 1) // ty + 1, x0 // tx : (x1 - 1) // tx + 1] = True
        wanted &= ~self.done
        self.done[wanted] = True
        numbers: list[int] = np.flatnonzero(wanted).tolist()
        slices = (self.top, self.top + len(self.pixels), *self.columns)
        if self.layout.tiles is not None:
            return plan_tiles(self.layout, slices, numbers)
        return plan_rows(self.layout, slices, numbers, max_gap=max_gap)

    def cut(self, box: PixelSlices) -> NDArray[Any]:
        """Return a copy of the pixels of a box."""
        left = self.columns[0]
        return self.pixels[box[0] - self.top : box[1] - self.top, box[2] - left : box[3] - left].copy()

    def _rows(self, top: int, bottom: int) -> tuple[int, int]:
        """Return the rows of whole tiles that hold some rows."""
        ty = _tile_shape(self.layout)[0]
        return top // ty * ty, min(-(-bottom // ty) * ty, self.layout.shape[0])


def _tile_shape(layout: ArrayLayout) -> tuple[int, int]:
    """Return the shape of a tile; a row where there are none."""
    return (1, layout.shape[1]) if layout.tiles is None else layout.tiles.tile_shape


def _fill(
    source: ByteSource, bands: Sequence[_Band], boxes: Sequence[PixelSlices], executor: Executor | None
) -> None:
    """Read and decode what is missing of some boxes, in one round."""
    plans = [band.plan(boxes, source.max_gap) for band in bands]
    data = read_coalesced(source, [one_range for plan in plans for one_range in plan.ranges])
    jobs: list[tuple[ArrayPlan, list[memoryview], NDArray[Any]]] = []
    begin = 0
    for band, plan in zip(bands, plans, strict=True):
        count = len(plan.tiles)
        step = max(1, -(-count // _JOBS))
        for first in range(0, count, step):
            part = replace(plan, tiles=plan.tiles[first : first + step], ranges=())
            jobs.append((part, data[begin + first : begin + min(first + step, count)], band.pixels))
        begin += count
    try:
        # An executor's map hands on what a job raises when it is consumed.
        for _ in map(_decode, jobs) if executor is None else executor.map(_decode, jobs):
            pass
    except InputDataError as error:
        raise InputDataError(f"{source.name} is damaged: {error}") from error


def _decode(job: tuple[ArrayPlan, list[memoryview], NDArray[Any]]) -> None:
    """Decode some tiles of a band."""
    plan, data, pixels = job
    decode_array(plan, data, out_pixels=pixels)
