"""Visit images written with all their components, the pixels by our own writer."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.time import Time
from lsst.daf.butler import Butler
from lsst.images import Box, Polygon, VisitImage
from lsst.images.serialization import open_archive, read_archive
from tests.support.isr import make_detector
from tests.support.recreation import make_components, make_original

from lsst.dax.image.container import Compression, write_fits
from lsst.dax.image.recreation import VisitComponents
from lsst.dax.image.repository import find_datasets

WRITTEN = Time("2025-11-24T10:00:00", scale="tai")


@pytest.fixture(scope="module")
def components() -> VisitComponents:
    return make_components(make_detector())


def write(image: VisitImage, path: Path, compression: Compression = Compression.GZIP) -> VisitImage:
    header = astropy.io.fits.Header({"TESTCARD": 5})
    write_fits(image, path, header=header, compression=compression, written=WRITTEN)
    stored: VisitImage = read_archive(str(path), VisitImage)
    return stored


def assert_same(one: VisitImage, other: VisitImage) -> None:
    assert one.bbox == other.bbox
    assert one.mask.schema == other.mask.schema
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(one, plane).array, getattr(other, plane).array)
    for name in (
        "unit",
        "bounds",
        "band",
        "obs_info",
        "detector",
        "summary_stats",
        "photometric_scaling",
        "aperture_corrections",
        "sky_projection",
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert dict(one.metadata.native) == dict(other.metadata.native)
    assert {name: item.field for name, item in one.backgrounds.items()} == {
        name: item.field for name, item in other.backgrounds.items()
    }


@pytest.mark.parametrize("compression", Compression)
def test_a_visit_image_comes_back(
    components: VisitComponents, tmp_path: Path, compression: Compression
) -> None:
    pixels = np.random.default_rng(1).normal(size=components.detector.bbox.shape)
    image = make_original(components, pixels=pixels)
    stored = write(image, tmp_path / "image.fits", compression)
    assert_same(stored, image)
    assert stored.psf == image.psf


def test_a_part_and_its_bounds_come_back(components: VisitComponents, tmp_path: Path) -> None:
    image = make_original(components)
    part = image[Box.factory[11:47, 20:101]]
    part._bounds = Polygon(x_vertices=[25.0, 90.0, 60.0], y_vertices=[15.0, 20.0, 40.0])
    stored = write(part, tmp_path / "part.fits")
    assert_same(stored, part)
    assert stored.bounds != stored.bbox


def test_a_real_psf_and_the_file_of_lsst_images(mini_butler: Butler, tmp_path: Path) -> None:
    """The file has the same HDUs and the same tree as the one that lsst.images writes."""
    ref = find_datasets(mini_butler, "visit_image")[0]
    image = mini_butler.get(ref)[Box.factory[10:60, 20:90]]
    ours, theirs = tmp_path / "ours.fits", tmp_path / "theirs.fits"
    assert_same(write(image, ours), image)
    image.write(str(theirs))
    with astropy.io.fits.open(ours) as one, astropy.io.fits.open(theirs) as other:
        assert [hdu.name for hdu in one] == [hdu.name for hdu in other]
        assert one[0].header["DATAMODL"] == other[0].header["DATAMODL"]
        assert one[0].header["TESTCARD"] == 5
        np.testing.assert_array_equal(one["MASK"].data, other["MASK"].data)
    with open_archive(str(ours)) as one, open_archive(str(theirs)) as other:
        trees = [json.loads(archive.get_tree().model_dump_json()) for archive in (one, other)]
    for name in trees[0].keys() | trees[1].keys():
        # NaN is equal to NaN in the text.
        assert json.dumps(trees[0].get(name)) == json.dumps(trees[1].get(name)), name
    x, y = 50.0, 30.0
    with open_archive(str(ours)) as archive:
        psf = archive.get_component("psf")
    np.testing.assert_array_equal(
        psf.compute_kernel_image(x=x, y=y).array, image.psf.compute_kernel_image(x=x, y=y).array
    )
