"""Stamps in FITS files: one per stamp, in a ZIP, and all in one."""

from __future__ import annotations

import dataclasses
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import fitsio
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from lsst.images import Box, Image, Mask, MaskedImage, MaskSchema
from lsst.images.tests import assert_masked_images_equal
from tests.support.projections import bent_projection
from tests.support.scenes import BOX, make_image, make_masked_image, make_sky_projection
from tests.support.stamps import CREATED, make_stamp_mix

from lsst.dax.image.cutouts import Detail, Stamp, make_stamps
from lsst.dax.image.cutouts.sinks import FitsDirectory, MultiExtensionFits, StampZip, save_stamps
from lsst.dax.image.errors import OutputError, RequestError, UnsupportedProductError


def make_point_stamp(size: int = 9) -> Stamp:
    """Return a stamp whose brightest pixel is at (1111, 55) of the parent."""
    image = make_image()
    image.array[:] = 0.0
    image.array[55 - BOX.y.start, 1111 - BOX.x.start] = 1.0
    position = make_sky_projection().pixel_to_sky(x=1112.3, y=53.6)
    (stamp,) = make_stamps(image, position, size=size)
    return stamp


def test_a_file_is_the_stamp_itself(tmp_path: Path) -> None:
    stamps = make_stamp_mix(12, visits=2)
    with FitsDirectory(tmp_path, created=CREATED) as sink:
        save_stamps(stamps, sink)
    rows = Table.read(tmp_path / "targets.ecsv", format="ascii.ecsv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(str(row["file"]) for row in rows if row["status"] in {"OK", "EDGE"}), "targets.ecsv"]
    )
    for stamp, row in zip(stamps, rows, strict=True):
        if stamp.image is not None:
            found = MaskedImage.read(str(tmp_path / row["file"]))
            assert_masked_images_equal(found, stamp.image)


def test_a_file_tells_its_target_and_its_dataset(tmp_path: Path) -> None:
    stamp = make_stamp_mix(2, visits=2)[3]
    with FitsDirectory(tmp_path, created=CREATED) as sink:
        sink.add(stamp)
    header = astropy.io.fits.getheader(tmp_path / f"000001_{1:032x}.fits")
    assert header["BTLRUUID"] == f"{1:032x}"
    assert header["BTLRNAME"] == "visit_image"
    assert header["DATE-CUT"] == "2026-01-02T03:04:05.000"
    assert (header["TARGIDX"], header["STATTARG"]) == (1, "OK")
    assert (header["RA_TARG"], header["DEC_TARG"]) == (stamp.position.ra.deg, stamp.position.dec.deg)
    assert (header["X_TARG"], header["Y_TARG"], header["MJD_TARG"]) == (stamp.x, stamp.y, 61001.0)


def test_the_user_names_the_files(tmp_path: Path) -> None:
    stamps = [dataclasses.replace(stamp, ref=None) for stamp in make_stamp_mix(3)]
    with FitsDirectory(tmp_path / "plain", names=["SN 2026a", "b", "c"]) as sink:
        save_stamps(stamps, sink)
    assert {path.name for path in (tmp_path / "plain").glob("*.fits")} == {
        "SN 2026a.fits",
        "b.fits",
        "c.fits",
    }
    with FitsDirectory(tmp_path / "with", names=["a", "b", "c"]) as sink:
        save_stamps(make_stamp_mix(1), sink)
    assert (tmp_path / "with" / f"a_{0:032x}.fits").exists()


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a", "../b"], "'../b' cannot be the name of a file"),
        (["a", ""], "'' cannot be the name of a file"),
        ([".a"], "'.a' cannot be the name of a file"),
        (["a\nb"], r"'a\\nb' cannot be the name of a file"),
        (["Vega", "vega"], "'vega' occurs twice among 2 names"),
    ],
)
def test_names_must_make_distinct_files(names: list[str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=complaint):
        FitsDirectory(tmp_path, names=names)


def test_each_target_needs_a_name(tmp_path: Path) -> None:
    with (
        pytest.raises(RequestError, match="Stamp 1 has no name: there are 1 names"),
        FitsDirectory(tmp_path, names=["a"]) as sink,
    ):
        save_stamps(make_stamp_mix(2), sink)


def test_a_file_of_the_user_stays(tmp_path: Path) -> None:
    mine = tmp_path / f"000000_{0:032x}.fits"
    mine.write_text("mine")
    with pytest.raises(OutputError, match="FileExistsError"), FitsDirectory(tmp_path) as sink:
        save_stamps(make_stamp_mix(1), sink)
    assert mine.read_text() == "mine"


def test_a_removed_file_is_made_again_and_leftovers_go(tmp_path: Path) -> None:
    stamps = make_stamp_mix(3)
    with FitsDirectory(tmp_path) as sink:
        save_stamps(stamps, sink)
    (tmp_path / f"000001_{0:032x}.fits").unlink()
    (tmp_path / ".000002.fits.part").write_text("half a file")
    (tmp_path / ".mef.fits.part").mkdir()  # of another sink
    with FitsDirectory(tmp_path) as sink:
        assert save_stamps(stamps, sink).added == 1
    assert len(list(tmp_path.glob("*.fits"))) == 3
    assert [path.name for path in tmp_path.glob(".*.part")] == [".mef.fits.part"]
    assert len(Table.read(tmp_path / "targets.ecsv", format="ascii.ecsv")) == 3


def test_a_file_without_a_row_is_made_again(tmp_path: Path) -> None:
    stamps = make_stamp_mix(2)
    with FitsDirectory(tmp_path) as sink:
        sink.add(stamps[0])
    orphan = tmp_path / f"000001_{0:032x}.fits"
    orphan.write_text("written, but not recorded")
    with FitsDirectory(tmp_path) as sink:
        save_stamps(stamps, sink)
    assert_masked_images_equal(MaskedImage.read(str(orphan)), stamps[1].image)


def test_a_zip_holds_the_same_files_stored(tmp_path: Path) -> None:
    stamps = make_stamp_mix(6)
    with StampZip(tmp_path / "stamps.zip", created=CREATED) as sink:
        save_stamps(stamps, sink)
    with zipfile.ZipFile(tmp_path / "stamps.zip") as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        names = archive.namelist()
        assert names == ["targets.ecsv", *(f"{index:06d}_{0:032x}.fits" for index in (0, 1, 2))]
        archive.extractall(tmp_path)
    assert_masked_images_equal(MaskedImage.read(str(tmp_path / names[3])), stamps[2].image)


def test_the_wcs_of_an_hdu_is_right_at_a_pixel(tmp_path: Path) -> None:
    stamp = make_point_stamp()
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        sink.add(dataclasses.replace(stamp, index=7))
    with astropy.io.fits.open(tmp_path / "mef.fits") as hdus:
        hdu = hdus["IMAGE", 1]
        row, column = np.argwhere(hdu.data == 1.0)[0]
        sky = WCS(hdu.header).pixel_to_world(column, row)
        parent = WCS(hdu.header, key="A").wcs_pix2world([[column + 1, row + 1]], 1)
    expected = make_sky_projection().pixel_to_sky(x=1111, y=55)
    assert sky.separation(expected) < 1e-6 * u.arcsec  # 1 pixel is 0.2 arcsec
    assert parent.tolist() == [[1111.0, 55.0]]


def test_a_projection_without_a_fits_form_is_written_to_first_order(tmp_path: Path) -> None:
    projection = bent_projection(1e-7)
    image = make_image(sky_projection=projection)
    (stamp,) = make_stamps(image, projection.pixel_to_sky(x=1112.3, y=53.6), size=9)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        sink.add(stamp)
    header = astropy.io.fits.getheader(tmp_path / "mef.fits", "IMAGE")
    assert header["WCSLOCAL"] is True
    x, y = np.array([0.0, 8.0, 3.0]), np.array([8.0, 1.0, 4.0])
    expected = projection.pixel_to_sky(x=x + stamp.bbox.x.start, y=y + stamp.bbox.y.start)
    apart = WCS(header).pixel_to_world(x, y).separation(expected)
    # The scale changes by 2e-4 per pixel; 1 pixel is 0.2 arcsec.
    assert np.all(apart < 0.02 * 0.2 * u.arcsec)
    sky = WCS(header).pixel_to_world(stamp.x - stamp.bbox.x.start, stamp.y - stamp.bbox.y.start)
    assert sky.separation(stamp.position) < 1e-6 * u.arcsec


def test_one_file_holds_the_planes_of_all_stamps(tmp_path: Path) -> None:
    stamps = make_stamp_mix(12, visits=2)
    with MultiExtensionFits(tmp_path / "mef.fits", created=CREATED) as sink:
        save_stamps(stamps, sink)
    with astropy.io.fits.open(tmp_path / "mef.fits", checksum=True) as hdus:
        hdus.verify("exception")
        targets = hdus["TARGETS"].data
        assert "end" not in targets.names
        assert len(hdus) == 2 + 3 * np.count_nonzero(targets["extver"])
        for stamp, row in zip(stamps, targets, strict=True):
            assert (row["extver"] > 0) == stamp.is_good
            if stamp.image is None:
                continue
            image, mask, variance = (hdus[name, row["extver"]] for name in ("IMAGE", "MASK", "VARIANCE"))
            assert np.array_equal(image.data, stamp.image.image.array, equal_nan=True)
            assert np.array_equal(variance.data, stamp.image.variance.array, equal_nan=True)
            assert (image.header["BUNIT"], variance.header["BUNIT"]) == ("nJy", "nJy2")
            assert (image.header["TARGIDX"], image.header["BTLRUUID"]) == (row["index"], row["dataset"])
            schema = MaskSchema.from_fits_header(mask.header, dtype=np.int32)
            found = Mask(mask.data[..., np.newaxis].astype(np.int32), schema=schema, bbox=stamp.bbox)
            assert list(schema.names) == list(stamp.image.mask.schema.names)
            for name in schema.names:
                assert np.array_equal(found.get(name), stamp.image.mask.get(name))


def test_fitsio_reads_the_one_file(tmp_path: Path) -> None:
    stamps = make_stamp_mix(4)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        save_stamps(stamps, sink)
    with fitsio.FITS(str(tmp_path / "mef.fits")) as hdus:
        targets = hdus["TARGETS"].read()
        assert targets["extver"].tolist() == [1, 2, 3, 0]
        assert targets["status"].tolist() == ["OK", "OK", "EDGE", "NO_COVERAGE"]
        assert np.array_equal(hdus["VARIANCE", 2].read(), stamps[1].image.variance.array)
        assert hdus["VARIANCE", 2].read_header()["RA_TARG"] == stamps[1].position.ra.deg


@pytest.mark.parametrize(
    ("dtype", "bitpix"),
    [("u1", 8), ("i2", 16), ("u2", 32), ("i4", 32), ("u4", 64), ("i8", 64), ("f4", -32), ("f8", -64)],
)
def test_pixels_of_any_type_keep_their_values(dtype: str, bitpix: int, tmp_path: Path) -> None:
    bbox = Box.factory[0:20, 0:30]
    image = make_image(bbox, dtype=np.dtype(dtype).type)
    position = make_sky_projection(bbox=bbox).pixel_to_sky(x=10.0, y=11.0)
    (stamp,) = make_stamps(image, position, size=4)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        sink.add(stamp)
    with astropy.io.fits.open(tmp_path / "mef.fits") as hdus:
        assert hdus["IMAGE"].header["BITPIX"] == bitpix
        assert np.array_equal(hdus["IMAGE"].data, stamp.image.array)


def test_pixels_that_fits_lacks_are_refused(tmp_path: Path) -> None:
    image = make_image(dtype=np.uint64)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        (stamp,) = make_stamps(image, make_sky_projection().pixel_to_sky(x=1080.0, y=80.0), size=4)
        with pytest.raises(UnsupportedProductError, match="FITS has no uint64 pixels"):
            sink.add(stamp)
        sink.add(make_point_stamp())  # the sink is as it was
    assert astropy.io.fits.getdata(tmp_path / "mef.fits", "IMAGE").sum() == 1.0


def test_planes_alone_are_written_as_what_they_are(tmp_path: Path) -> None:
    image = make_masked_image()
    position = SkyCoord([make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)])
    mask = image.mask.view(sky_projection=image.sky_projection)
    stamps = [
        *make_stamps(image, position, size=5, detail=Detail.IMAGE),
        dataclasses.replace(make_stamps(mask, position, size=5)[0], index=1),
    ]
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        save_stamps(stamps, sink)
    with astropy.io.fits.open(tmp_path / "mef.fits") as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:-1]] == [("IMAGE", 1), ("MASK", 2)]
        assert np.array_equal(hdus["MASK"].data, (stamps[0].image.array % 3 == 0).astype(int))


def test_the_psf_of_a_stamp_is_an_hdu(tmp_path: Path) -> None:
    psf = Image(np.arange(15, dtype=np.float64).reshape(3, 5), bbox=Box.factory[-1:2, -2:3])
    stamp = dataclasses.replace(make_stamp_mix(1)[0], psf=psf)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        sink.add(stamp)
    with FitsDirectory(tmp_path / "folder") as sink:
        sink.add(stamp)
    (file,) = (tmp_path / "folder").glob("*.fits")
    for path in (tmp_path / "mef.fits", file):
        with astropy.io.fits.open(path) as hdus:
            hdus.verify("exception")
            assert np.array_equal(hdus["PSF"].data, psf.array)
            assert "CTYPE1" not in hdus["PSF"].header
    assert_masked_images_equal(MaskedImage.read(str(file)), stamp.image)


def peak_of_saving(count: int, path: Path) -> int:
    """Return how much memory it takes to save stamps that are made on the way."""
    (stamp,) = make_stamp_mix(1, size=31)

    def make() -> Iterator[Stamp]:
        for index in range(count):
            yield dataclasses.replace(stamp, index=index, image=stamp.image.copy())

    with MultiExtensionFits(path) as sink:
        tracemalloc.start()
        try:
            save_stamps(make(), sink)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_memory_does_not_grow_with_the_stamps(tmp_path: Path) -> None:
    peak_of_saving(3, tmp_path / "first.fits")  # fills the caches of the libraries
    few = peak_of_saving(10, tmp_path / "few.fits")
    many = peak_of_saving(150, tmp_path / "many.fits")
    pixels = 140 * 31 * 31 * 12
    assert many - few < pixels / 10
