"""Many boxes at once: the same pixels, each tile read once, bounded memory."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from lsst.images import Box, Image
from lsst.images.serialization import read_archive
from tests.support.containers import (
    BBOX,
    FLAVOURS,
    assert_same,
    make_masked_image,
    random_boxes,
    write_flavour,
)

from lsst.dax.image.container import open_container
from lsst.dax.image.errors import InputDataError, NoCoverageError


@pytest.mark.parametrize("max_bytes", [1, 50_000, 10**9])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_boxes_have_the_pixels_of_the_image(flavour: str, max_bytes: int, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    whole = read_archive(path)
    boxes = random_boxes(40, np.random.default_rng(1))
    with open_container(path) as reader:
        found = dict(reader.read_masked_images(boxes, max_bytes=max_bytes))
        assert sorted(found) == list(range(40))
        for number, masked_image in found.items():
            assert_same(masked_image, whole[boxes[number]])
        assert list(reader.read_boxes([])) == []


@pytest.mark.parametrize("max_bytes", [1, 50_000, 10**9])
@pytest.mark.parametrize("flavour", ["rows", "gzip_2_tiles", "lossy_tiles"])
def test_each_tile_is_read_once(flavour: str, max_bytes: int, tmp_path: Path) -> None:
    """Boxes that cover everything take the bytes that the whole takes."""
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    boxes = [
        Box.factory[y : min(y + 30, 113), x : min(x + 40, 180)]
        for y in range(-7, 113, 13)
        for x in range(30, 180, 17)
    ]
    with open_container(path) as reader:
        reader.source.max_gap = 0
        before = reader.source.usage.bytes_read
        reader.read_arrays(BBOX)
        once = reader.source.usage.bytes_read - before
        for _ in reader.read_boxes(boxes, max_bytes=max_bytes):
            pass
        assert reader.source.usage.bytes_read - before == 2 * once


def test_threads_give_the_same(tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), "lossy_tiles", tmp_path / "image.fits")
    boxes = random_boxes(40, np.random.default_rng(2))
    with open_container(path) as reader, ThreadPoolExecutor(4) as executor:
        threaded = dict(reader.read_masked_images(boxes, executor=executor, max_bytes=50_000))
        for number, box in enumerate(boxes):
            assert_same(threaded[number], reader.read_masked_image(box))


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Stamps of an image of 8 MB never need more than a tenth of it."""
    path = tmp_path / "image.fits"
    Image(np.random.default_rng(3).normal(size=(2000, 1000)).astype(np.float32)).write(str(path))
    boxes = [Box.factory[y : y + 10, x : x + 10] for y in range(0, 1980, 40) for x in range(0, 980, 70)]
    with open_container(path) as reader:
        tracemalloc.start()
        try:
            for _, arrays in reader.read_boxes(boxes, planes=["image"], max_bytes=200_000):
                assert arrays["image"].shape == (10, 10)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 800_000


def test_results_do_not_share_memory(tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    box = Box.factory[0:20, 40:60]
    with open_container(path) as reader:
        pairs = [arrays for _, arrays in reader.read_boxes([box, box])]
    pairs[0]["image"][:] = 1.0
    assert not (pairs[1]["image"] == 1.0).any()


def test_one_box_off_the_image_is_refused_at_once(tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    with open_container(path) as reader, pytest.raises(NoCoverageError, match="y=100:114"):
        next(reader.read_boxes([BBOX, Box.factory[100:114, 40:50]]))


def test_a_damaged_tile_is_reported_with_its_place(tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    with open_container(path) as reader:
        tiles = reader.layout.arrays["variance"][0].tiles
        begin = tiles.heap + int(tiles.table["COMPRESSED_DATA"][50, 1])
    data = bytearray(path.read_bytes())
    data[begin + 30] ^= 0xFF
    path.write_bytes(data)
    with open_container(path) as reader, ThreadPoolExecutor(2) as executor:
        for threads in (None, executor):
            with pytest.raises(InputDataError, match=r"image\.fits is damaged: Tile 50 of VARIANCE: A tile"):
                dict(reader.read_boxes([BBOX], executor=threads))
        with pytest.raises(InputDataError, match=r"image\.fits is damaged: Tile 50 of VARIANCE: A tile"):
            reader.read_variance(Box.factory[40:50, 40:50])
        # What does not need the tile does not suffer.
        reader.read_variance(Box.factory[30:43, 40:50])
