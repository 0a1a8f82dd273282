"""Files that are written from tiles that are compressed one by one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import QTable
from astropy.time import Time
from lsst.images import Box, Image, MaskedImage
from lsst.resources import ResourcePath
from tests.support.mosaics import assert_same_bits, make_grid, make_whole

from lsst.dax.image.container import ContainerReader, open_source, read_layout
from lsst.dax.image.container.tiled_fits import compress_tiles, write_tiled_fits
from lsst.dax.image.errors import InternalError

CREATED = Time("2026-03-01T00:00:00", scale="utc")


@dataclass
class Chunk:
    box: Box
    sizes: np.ndarray
    contents: list[bytes]

    def read(self, plane: int) -> bytes:
        return self.contents[plane]


def make_chunk(image: MaskedImage, count: Image, box: Box) -> Chunk:
    tiles = compress_tiles(image[box], {"COUNT": count[box]})
    sizes = np.array([[len(tile) for tile in plane] for plane in tiles])
    return Chunk(box, sizes, [b"".join(plane) for plane in tiles])


@pytest.mark.parametrize("shape", [(600, 700), (10, 300), (257, 100), (256, 512)])
def test_parts_in_any_order_make_the_image(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(31)
    grid = make_grid(shape)
    image = make_whole(grid, rng)
    count = Image(rng.integers(0, 9, size=shape).astype(np.int16))
    boxes = [
        Box.factory[y : min(y + 512, shape[0]), x : min(x + 256, shape[1])]
        for y in range(0, shape[0], 512)
        for x in range(0, shape[1], 256)
    ]
    corner = Box.factory[0:1, 0:1]
    table = astropy.io.fits.table_to_hdu(QTable({"a": [1, 2, 3]}))
    table.name = "OTHER"
    path = tmp_path / "image.fits"
    with path.open("wb") as stream:
        write_tiled_fits(
            stream,
            image[corner],
            image.bbox,
            [make_chunk(image, count, box) for box in boxes[::-1]],
            header=astropy.io.fits.Header({"OBSERVER": "nobody"}),
            created=CREATED,
            extras={"COUNT": count[corner]},
            tables=[table],
        )
    assert_same_bits(MaskedImage.read(str(path)), image)
    with astropy.io.fits.open(path) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus["IMAGE"].data, image.image.array)
        np.testing.assert_array_equal(hdus["COUNT"].data, count.array)
        assert hdus["OTHER"].data["a"].tolist() == [1, 2, 3]
        assert hdus[0].header["OBSERVER"] == "nobody"
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
    box = Box.factory[shape[0] - 8 : shape[0] - 1, 90:100]
    source = open_source(ResourcePath(path))
    try:
        assert_same_bits(ContainerReader(source, read_layout(source)).read_masked_image(box), image[box])
    finally:
        source.close()


def test_parts_that_do_not_make_the_image_are_found() -> None:
    image = make_whole(make_grid((300, 300)), np.random.default_rng(32))
    count = Image(np.zeros((300, 300), np.int16))
    corner = Box.factory[0:1, 0:1]

    def write(*boxes: Box) -> None:
        write_tiled_fits(
            io.BytesIO(),
            image[corner],
            image.bbox,
            [make_chunk(image, count, box) for box in boxes],
            header=astropy.io.fits.Header(),
            created=CREATED,
            extras={"COUNT": count[corner]},
        )

    with pytest.raises(InternalError, match=r"1 chunks do not make an image of \(2, 2\) tiles"):
        write(Box.factory[0:256, 0:300])
    with pytest.raises(InternalError, match=r"The corner of .* is none of a tile"):
        write(Box.factory[0:300, 0:200], Box.factory[0:300, 200:300])
