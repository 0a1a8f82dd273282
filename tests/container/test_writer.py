"""Files that are rendered directly are those of lsst.images, for every reader."""

from __future__ import annotations

import io
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import fitsio
import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from lsst.images import Box, Image, Mask, MaskedImage
from lsst.images.cells import CellCoadd
from lsst.images.fits import FitsOpaqueMetadata, PrecompressedImage
from tests.support.projections import PROJECTIONS
from tests.support.rendering import (
    CREATED,
    TYPES,
    check_same_structure,
    make_noise,
    make_noisy_image,
    open_stored,
    read_rendered,
    render,
)
from tests.support.scenes import make_image, make_masked_image
from tests.support.testdata import testdata

from lsst.dax.image.container import Compression, can_render, open_container
from lsst.dax.image.errors import OutputError, UnsupportedProductError

UNCOMPRESSED = dict.fromkeys(("image", "mask", "variance"))


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (37, 13)])
def test_pixels_of_each_type_come_back(
    dtype: str, shape: tuple[int, int], compression: Compression, tmp_path: Path
) -> None:
    image = Image(make_noise(dtype, shape), yx0=(-3, 20000))
    back = read_rendered(image, tmp_path, compression=compression)
    assert back == image
    assert back.array.dtype == image.array.dtype
    assert back.unit is None
    assert back.sky_projection is None
    if dtype != "u8":  # fitsio has no unsigned 64-bit images
        assert np.array_equal(fitsio.read(str(tmp_path / "rendered.fits"), ext="IMAGE"), image.array)
    assert np.array_equal(astropy.io.fits.getdata(tmp_path / "rendered.fits", "IMAGE"), image.array)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("dtype", [">f4", ">i2"])
def test_pixels_in_the_other_byte_order_and_not_contiguous(
    dtype: str, compression: Compression, tmp_path: Path
) -> None:
    pixels = make_noise(dtype[1:], (40, 30)).astype(dtype)[::2, ::3]
    assert np.array_equal(read_rendered(Image(pixels), tmp_path, compression=compression).array, pixels)


@pytest.mark.parametrize("compression", Compression)
def test_every_bit_of_a_nan_is_kept(compression: Compression, tmp_path: Path) -> None:
    bits = np.array([[0x7FC00000, 0x7FC12345, 0xFFC00001, 0x7F800000, 0x80000000, 1]], dtype=np.uint32)
    image = Image(bits.view(np.float32))
    back = read_rendered(image, tmp_path, compression=compression)
    assert np.array_equal(back.array.view(np.uint32), bits)


@pytest.mark.parametrize("dtype", TYPES)
def test_what_cfitsio_cannot_decompress_is_not_compressed(dtype: str) -> None:
    with open_stored(render(Image(make_noise(dtype, (5, 6))), compression=Compression.GZIP)) as hdus:
        assert hdus["IMAGE"].header.get("ZCMPTYPE") == (None if dtype in {"i8", "u8"} else "GZIP_2")


@settings(max_examples=40, deadline=None)
@given(
    pixels=npst.arrays(
        dtype=st.sampled_from(TYPES),
        shape=npst.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=None,
    ),
    compression=st.sampled_from(Compression),
)
def test_any_array_comes_back(pixels: np.ndarray, compression: Compression) -> None:
    content = render(Image(pixels), compression=compression)
    with astropy.io.fits.open(io.BytesIO(content)) as hdus:
        hdus.verify("exception")
        assert np.array_equal(hdus["IMAGE"].data, pixels, equal_nan=pixels.dtype.kind == "f")


@pytest.mark.parametrize("compression", Compression)
def test_many_tiles(compression: Compression, tmp_path: Path) -> None:
    # 640 kB are three tiles, the last of them smaller.
    image = Image(make_noise("f4", (400, 400)))
    assert read_rendered(image, tmp_path, compression=compression) == image
    assert np.array_equal(
        fitsio.FITS(str(tmp_path / "rendered.fits"))["IMAGE"][150:350, 390:400], image.array[150:350, 390:400]
    )


@pytest.mark.parametrize("compression", Compression)
def test_our_own_reader_cuts_the_same_parts(compression: Compression, tmp_path: Path) -> None:
    image = make_noisy_image(n_planes=40, bbox=Box.factory[-5:395, 7:407])
    (tmp_path / "rendered.fits").write_bytes(render(image, compression=compression))
    with open_container(tmp_path / "rendered.fits") as reader:
        for box in (image.bbox, Box.factory[150:152, 400:407], Box.factory[-5:394, 8:9]):
            part, same = reader.read_masked_image(box), image[box]
            assert (part.image, part.mask, part.variance) == (same.image, same.mask, same.variance)


@pytest.mark.parametrize("compression", Compression)
def test_a_masked_image_comes_back(compression: Compression, tmp_path: Path) -> None:
    image = make_noisy_image()
    back = read_rendered(image, tmp_path, compression=compression)
    assert (back.image, back.mask, back.variance) == (image.image, image.mask, image.variance)
    assert back.variance.unit == u.nJy**2
    assert back.mask.schema.descriptions["P9"] == "Plane number 9."
    assert dict(back.metadata.native) == {"when": 3, "why": "none", "k": 0.1}
    for plane in (back, back.image, back.mask, back.variance):
        assert plane.sky_projection == image.sky_projection


def test_metadata_of_each_plane_come_back(tmp_path: Path) -> None:
    image = make_noisy_image()
    image.image.metadata["x"], image.mask.metadata["y"], image.variance.metadata["z"] = 1, None, float("inf")
    back = read_rendered(image, tmp_path)
    assert dict(back.image.metadata.native) == {"x": 1}
    assert dict(back.mask.metadata.native) == {"y": None}
    assert dict(back.variance.metadata.native) == {"z": float("inf")}


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("compression", Compression)
def test_cards_and_tree_are_those_of_lsst_images(name: str, compression: Compression, tmp_path: Path) -> None:
    image = make_noisy_image(n_planes=40, sky_projection=PROJECTIONS[name]())[Box.factory[40:100, 1010:1130]]
    options = {} if compression is Compression.GZIP else {"compression_options": UNCOMPRESSED}
    image.write(str(tmp_path / "reference.fits"), **options)
    # Of a frame that is turned to ICRS, AST fits the matrix anew in each box.
    turned = name in {"galactic_tan", "ecliptic_plate_carree"}
    inexact = {"PC1_1", "PC1_2", "PC2_1", "PC2_2", "CRPIX1", "CRPIX2"} if turned else set()
    content = render(image, compression=compression)
    check_same_structure(content, tmp_path / "reference.fits", inexact=inexact)


def test_a_real_coadd_is_written_as_lsst_images_writes_it(tmp_path: Path) -> None:
    (path,) = testdata("C_rubin_dp2_butler").rglob("deep_coadd_5428_76_g_*.fits")
    coadd = CellCoadd.read(str(path))
    image = MaskedImage(
        coadd.image, mask=coadd.mask, variance=coadd.variance, sky_projection=coadd.sky_projection
    )
    back = read_rendered(image, tmp_path)
    assert (back.image, back.mask, back.variance) == (image.image, image.mask, image.variance)
    assert back.sky_projection == coadd.sky_projection
    image.write(str(tmp_path / "reference.fits"))
    check_same_structure(render(image), tmp_path / "reference.fits")


@pytest.mark.parametrize("kind", [Image, Mask])
def test_single_planes_are_files_as_lsst_images_has_them(kind: type, tmp_path: Path) -> None:
    whole = make_noisy_image()
    plane = whole.image if kind is Image else whole.mask
    plane.write(str(tmp_path / "reference.fits"))
    check_same_structure(render(plane), tmp_path / "reference.fits")
    assert read_rendered(plane, tmp_path).sky_projection == plane.sky_projection


@pytest.mark.parametrize("compression", Compression)
def test_the_index_tells_where_each_hdu_is(compression: Compression) -> None:
    content = render(make_noisy_image(n_planes=33), compression=compression)
    assert len(content) % 2880 == 0
    with open_stored(content) as hdus:
        primary, index = hdus[0].header, hdus["INDEX"].data
        positions = [(hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"]) for hdu in hdus]
        assert [(row["HDRADDR"], row["DATADDR"]) for row in index] == positions[:-1]
        ends = [row["DATADDR"] + row["DATSIZE"] for row in index]
        assert ends == [start for start, _ in positions[1:]]
        assert content[primary["INDXADDR"] :].startswith(b"XTENSION= 'BINTABLE'")
        assert primary["INDXADDR"] == positions[-1][0]
        assert primary["INDXSIZE"] == len(content) - positions[-1][0]
        assert (primary["JSONADDR"], primary["JSONSIZE"]) == (positions[-2][0], ends[-1] - positions[-2][0])


@pytest.mark.parametrize("compression", Compression)
def test_astropy_and_fitsio_find_nothing_wrong(compression: Compression, tmp_path: Path) -> None:
    image = make_noisy_image()
    path = tmp_path / "rendered.fits"
    path.write_bytes(render(image, compression=compression))
    with astropy.io.fits.open(path) as hdus:
        hdus.verify("exception")
        for name, plane in (("IMAGE", image.image), ("VARIANCE", image.variance)):
            assert np.array_equal(hdus[name].data, plane.array, equal_nan=True)
            assert np.array_equal(fitsio.read(str(path), ext=name), plane.array, equal_nan=True)
            wcs = WCS(hdus[name].header)
            # Array column 3, row 5 is the parent's pixel (x start + 3, y start + 5).
            parent = image.sky_projection.pixel_to_sky(x=image.bbox.x.start + 3, y=image.bbox.y.start + 5)
            assert wcs.pixel_to_world(3, 5).separation(parent) < 1e-6 * u.arcsec
            linear = WCS(hdus[name].header, key="A", fix=False)
            assert list(linear.pixel_to_world_values(3, 5)) == [
                image.bbox.x.start + 3,
                image.bbox.y.start + 5,
            ]
        bits = fitsio.read(str(path), ext="MASK")
        for n in range(15):
            assert hdus["MASK"].header[f"MSKN{n:04d}"] == f"P{n}"
            assert np.array_equal(bits & hdus["MASK"].header[f"MSKM{n:04d}"] != 0, image.mask.get(f"P{n}"))


def test_equal_arguments_give_equal_bytes() -> None:
    image = make_noisy_image()
    content = render(image)
    assert render(image.copy()) == content
    assert render(image, created=CREATED.tai) == content
    other = render(image, created=CREATED + 1 * u.s)
    assert len(other) == len(content)
    assert other.count(b"DATE    = '2026-03-01T01:02:04.456' / UTC date") == 6
    image.image.array[50, 50] += 1
    assert render(image) != content


def test_the_image_is_left_alone() -> None:
    image, same = make_noisy_image(), make_noisy_image()
    image.image.array.flags.writeable = False
    render(image)
    assert (image.image, image.mask, image.variance) == (same.image, same.mask, same.variance)


def test_noise_is_stored_in_no_more_bytes_than_by_lsst_images(tmp_path: Path) -> None:
    image = make_noisy_image()
    image.write(str(tmp_path / "reference.fits"))
    assert len(render(image)) <= (tmp_path / "reference.fits").stat().st_size
    assert len(render(image, compression=Compression.NONE)) > len(render(image))


class Extended(MaskedImage):
    """A masked image that may have more than the three planes."""


def test_what_cannot_be_rendered_is_left_to_lsst_images() -> None:
    plain = make_masked_image()
    extended = Extended(plain.image, mask=plain.mask, variance=plain.variance)
    assert can_render(plain)
    for image, name in (
        (extended, "Extended"),
        (Image(np.zeros((2, 3), bool)), "Image"),
        (Image(np.zeros((2, 3), np.float16)), "Image"),
    ):
        assert not can_render(image)
        with pytest.raises(UnsupportedProductError, match=rf"A {name} .* cannot be written directly; plain"):
            render(image)


def test_pixels_that_are_kept_compressed_are_left_to_lsst_images() -> None:
    image = make_image()
    with open_stored(render(image)) as hdus:
        kept = PrecompressedImage.from_bintable(hdus["IMAGE"])
    image._opaque_metadata = FitsOpaqueMetadata(precompressed={"IMAGE": kept})
    assert not can_render(image)
    assert can_render(image.copy())


def test_metadata_that_json_has_not_are_refused() -> None:
    image = make_image()
    image.metadata["bad"] = np.float32(3)
    with pytest.raises(OutputError, match=r"metadata of the Image cannot be written: .*float32"):
        render(image)
