"""Every flavour of storage gives the very bits that `lsst.images` reads."""

from __future__ import annotations

from pathlib import Path

import lsst.images.fits
import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box, Image
from lsst.images.serialization import open_archive, read_archive
from tests.support.containers import (
    BBOX,
    FLAVOURS,
    MASKS,
    assert_same,
    assert_same_plane,
    make_masked_image,
    random_boxes,
    write_flavour,
)
from tests.support.dp2 import COADD_ID, open_dp2

from lsst.dax.image.container import UnsupportedContainerError, open_container
from lsst.dax.image.errors import NoCoverageError, UnsupportedProductError


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_and_box(flavour: str, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    whole = read_archive(path)
    with open_container(path) as reader:
        assert reader.bbox == whole.bbox
        assert reader.kind == "masked_image"
        assert reader.planes == ("image", "mask", "variance")
        assert reader.mask_schema == whole.mask.schema
        assert reader.unit == whole.unit
        assert reader.sky_projection.show() == whole.sky_projection.show()
        for box in random_boxes(200, np.random.default_rng(3)):
            assert_same(reader.read_masked_image(box), whole[box])
        assert_same_plane(reader.read_image(box), whole.image[box])
        assert_same_plane(reader.read_mask(box), whole.mask[box])
        assert_same_plane(reader.read_variance(box), whole.variance[box])


@pytest.mark.parametrize("flavour", ["rows", "gzip_1_tiles", "lossy_tiles"])
def test_double_precision(flavour: str, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(dtype=np.float64), flavour, tmp_path / "image.fits")
    whole = read_archive(path)
    with open_container(path) as reader:
        for box in random_boxes(30, np.random.default_rng(4)):
            assert_same(reader.read_masked_image(box), whole[box])


@pytest.mark.parametrize("schema", MASKS)
def test_every_kind_of_mask(schema: str, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(schema=MASKS[schema]), "gzip_2_tiles", tmp_path / "image.fits")
    whole = read_archive(path)
    with open_container(path) as reader:
        for box in random_boxes(20, np.random.default_rng(5)):
            assert_same_plane(reader.read_mask(box), whole.mask[box])


INTEGERS = [
    *(
        (flavour, dtype)
        for flavour in ("rows", "uncompressed")
        for dtype in ("uint8", "int16", "int32", "int64")
    ),
    *(("rice_mask", dtype) for dtype in ("uint8", "int16", "int32")),
]


@pytest.mark.parametrize(("flavour", "dtype"), INTEGERS)
def test_images_of_integers(flavour: str, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    info = np.iinfo(dtype)
    array = rng.integers(info.min, info.max, BBOX.shape, dtype=dtype, endpoint=True)
    array[:40] = 17  # constant blocks have a code of their own
    array[40:80] = rng.poisson(20, (40, BBOX.shape[1]))
    image = Image(array, bbox=BBOX)
    path = tmp_path / "image.fits"
    options = FLAVOURS[flavour].get("mask") if flavour == "rice_mask" else FLAVOURS[flavour].get("image", ...)
    lsst.images.fits.write(image, str(path), compression_options={} if options is ... else {"image": options})
    with open_container(path) as reader:
        assert reader.planes == ("image",)
        for box in random_boxes(20, rng):
            assert_same_plane(reader.read_image(box), image[box])
        with pytest.raises(UnsupportedProductError, match=r"planes \('image',\); \['mask'\] were asked"):
            reader.read_mask(BBOX)


def test_a_mask_alone(tmp_path: Path) -> None:
    mask = make_masked_image().mask
    path = write_flavour(mask, "rows", tmp_path / "mask.fits")
    with open_container(path) as reader:
        box = Box.factory[0:9, 40:60]
        assert_same_plane(reader.read_mask(box), mask[box])


@pytest.mark.parametrize("dtype", ["uint16", "int8"])
def test_shifted_integers_are_left_to_the_other_reader(dtype: str, tmp_path: Path) -> None:
    path = write_flavour(Image(np.ones((5, 5), dtype)), "rows", tmp_path / "image.fits")
    with pytest.raises(UnsupportedContainerError, match="has BZERO"), open_container(path):
        pass


@pytest.mark.parametrize(
    "box", [Box.factory[-8:0, 40:50], Box.factory[0:5, 170:181], Box.factory[500:510, 40:50]]
)
def test_boxes_off_the_image_are_refused(box: Box, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    with (
        open_container(path) as reader,
        pytest.raises(NoCoverageError, match=r"are not all within the image .*y=-7:113, x=30:180"),
    ):
        reader.read_masked_image(box)


@pytest.mark.parametrize("name", ["visit_image", "difference_image", "deep_coadd"])
def test_products_of_the_pipelines(name: str, mini_butler: Butler) -> None:
    ref = mini_butler.query_datasets(name, find_first=False)[0]
    path = mini_butler.getURI(ref).ospath
    rng = np.random.default_rng(7)
    with open_container(path) as reader, open_archive(path) as archive:
        assert reader.sky_projection.show() == archive.get_component("sky_projection").show()
        for box in random_boxes(12, rng, reader.bbox):
            assert_same(reader.read_masked_image(box), archive.get_component("masked_image", bbox=box))


def test_a_real_coadd(tmp_path: Path) -> None:
    butler = open_dp2(tmp_path)
    ref = butler.find_dataset("deep_coadd", COADD_ID)
    path = butler.getURI(ref).ospath
    with open_container(path) as reader, open_archive(path) as archive:
        assert reader.kind == "cell_coadd"
        assert reader.sky_projection.show() == archive.get_component("sky_projection").show()
        for box in random_boxes(20, np.random.default_rng(9), reader.bbox):
            assert_same(reader.read_masked_image(box), archive.get_component("masked_image", bbox=box))
    butler.close()
