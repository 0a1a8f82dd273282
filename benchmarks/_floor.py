"""The least that a cutout of row tiles costs: decode the tiles, write the bytes.

Where the tiles are is known beforehand, and so is the content of the file.
"""

from __future__ import annotations

__all__ = ("Floor", "decode_floor", "make_floor")

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _peers import PLANES, Task

from lsst.dax.image.container import open_container
from lsst.dax.image.container.inflate import inflate
from lsst.dax.image.container.tiles import plan_array


@dataclass(frozen=True)
class Floor:
    """What the floor knows."""

    path: str
    ranges: dict[str, list[tuple[int, int]]]
    """Begin and end of each tile, by plane; one tile per row."""

    columns: tuple[int, int]
    width: int
    """Pixels in a row of the file."""

    dtypes: dict[str, np.dtype]
    content: bytes
    output: Path


def make_floor(task: Task, content: bytes, output: Path) -> Floor:
    """Look up where the tiles are; not timed."""
    pixels = (task.rows.start, task.rows.stop, task.columns.start, task.columns.stop)
    ranges, dtypes = {}, {}
    with open_container(task.path) as reader:
        for name in PLANES:
            (array,) = reader.layout.arrays[name.lower()]
            assert array.tiles is not None
            assert array.tiles.tile_shape == (1, array.shape[1])
            assert array.dtype.itemsize == 4
            ranges[name] = list(plan_array(array, pixels, max_gap=0).ranges)
            dtypes[name] = array.dtype
        width = array.shape[1]
    return Floor(task.path, ranges, pixels[2:], width, dtypes, content, output)


def decode_floor(floor: Floor) -> dict[str, np.ndarray]:
    """Decode the planes and write a file of the given content; timed."""
    x0, x1 = floor.columns
    planes = {}
    descriptor = os.open(floor.path, os.O_RDONLY)
    try:
        for name, ranges in floor.ranges.items():
            start, end = ranges[0][0], ranges[-1][1]
            data = memoryview(os.pread(descriptor, end - start, start))
            shuffled = np.empty((4, len(ranges), x1 - x0), np.uint8)
            for row, (begin, stop) in enumerate(ranges):
                content = inflate(data[begin - start : stop - start], 4 * floor.width)
                shuffled[:, row] = np.frombuffer(content, np.uint8).reshape(4, floor.width)[:, x0:x1]
            big = np.ascontiguousarray(shuffled.transpose(1, 2, 0)).view(floor.dtypes[name].newbyteorder(">"))
            planes[name] = big[..., 0].astype(floor.dtypes[name])
    finally:
        os.close(descriptor)
    floor.output.write_bytes(floor.content)
    return planes
