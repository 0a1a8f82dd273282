"""Cutouts of stored datasets equal the stored pixels, and tell where from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage
from tests.support.dp2 import CENTER as DP2_CENTER
from tests.support.dp2 import COADD_ID, open_dp2
from tests.support.scenes import CENTER as SCENE_CENTER
from tests.support.scenes import make_masked_image

from lsst.dax.image.container import LocalSource
from lsst.dax.image.cutouts import Detail, EdgePolicy, fetch_cutout, fetch_stamps
from lsst.dax.image.errors import (
    InputDataError,
    RequestError,
    RequestTooLargeError,
    StencilNotContainedError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil, PolygonStencil
from lsst.dax.image.repository import FitsImageFormatter, fetch_geometry, find_dataset, find_datasets
from lsst.dax.image.simulation import MiniSurvey

DATASET_TYPES = ("visit_image", "difference_image", "deep_coadd", "template_coadd")
CREATED = Time("2026-03-01T12:00:00", scale="utc")


def one_of(butler: Butler, dataset_type: str) -> DatasetRef:
    """Return one dataset of a type."""
    return find_datasets(butler, dataset_type)[1]


def middle_of(butler: Butler, ref: DatasetRef) -> SkyCoord:
    """Return the sky position of the middle of an image."""
    bbox = butler.get(ref.makeComponentRef("bbox"))
    projection = butler.get(ref.makeComponentRef("sky_projection"))
    return projection.pixel_to_sky(x=bbox.x.center, y=bbox.y.center)


def planes(image: GeneralizedImage) -> list[Any]:
    """Return the pixel arrays of an image."""
    if isinstance(image, MaskedImage):
        return [image.image.array, image.mask.array, image.variance.array]
    assert isinstance(image, Image | Mask)
    return [image.array]


def assert_same_pixels(found: GeneralizedImage, expected: GeneralizedImage) -> None:
    """Compare to the bit; NaN equals NaN."""
    assert found.bbox == expected.bbox
    for a, b in zip(planes(found), planes(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("dataset_type", DATASET_TYPES)
@pytest.mark.parametrize("detail", Detail)
def test_a_cutout_is_the_subset_of_the_whole(mini_butler: Butler, dataset_type: str, detail: Detail) -> None:
    ref = one_of(mini_butler, dataset_type)
    stencil = CircleStencil(middle_of(mini_butler, ref), 5 * u.arcsec)
    cutout = fetch_cutout(mini_butler, ref, stencil, detail=detail)
    whole = mini_butler.get(ref)[cutout.bbox]
    expected = whole.image if detail is Detail.IMAGE else whole
    assert cutout.bbox.area > 2000
    assert_same_pixels(cutout.image, expected)
    assert cutout.image.sky_projection == whole.sky_projection
    assert (
        type(cutout.image)
        is {
            Detail.IMAGE: Image,
            Detail.MASKED_IMAGE: MaskedImage,
            Detail.FULL: type(whole),
        }[detail]
    )


@pytest.mark.parametrize("dataset_type", ["visit_image", "deep_coadd"])
def test_full_detail_keeps_the_psf(mini_butler: Butler, dataset_type: str) -> None:
    ref = one_of(mini_butler, dataset_type)
    stencil = CircleStencil(middle_of(mini_butler, ref), 3 * u.arcsec)
    cutout = fetch_cutout(mini_butler, ref, stencil, detail=Detail.FULL)
    x, y = cutout.bbox.x.center, cutout.bbox.y.center
    whole = mini_butler.get(ref)
    assert np.array_equal(
        cutout.image.psf.compute_kernel_image(x=x, y=y).array, whole.psf.compute_kernel_image(x=x, y=y).array
    )


@pytest.mark.parametrize("component", ["image", "mask", "variance"])
@pytest.mark.parametrize("detail", Detail)
def test_a_component_is_cut_itself(mini_butler: Butler, component: str, detail: Detail) -> None:
    ref = one_of(mini_butler, "visit_image")
    stencil = CircleStencil(middle_of(mini_butler, ref), 3 * u.arcsec)
    cutout = fetch_cutout(mini_butler, ref.makeComponentRef(component), stencil, detail=detail)
    assert_same_pixels(cutout.image, getattr(mini_butler.get(ref)[cutout.bbox], component))
    assert cutout.image.sky_projection is not None
    assert cutout.header["BTLRNAME"] == f"visit_image.{component}"


def test_a_component_without_pixels_is_refused(mini_butler: Butler) -> None:
    ref = one_of(mini_butler, "visit_image").makeComponentRef("psf")
    with pytest.raises(UnsupportedProductError, match=r"visit_image\.psf .* no pixels to cut"):
        fetch_cutout(mini_butler, ref, CircleStencil(DP2_CENTER, 3 * u.arcsec))


def test_padding_gives_the_stencils_own_box(mini_butler: Butler) -> None:
    ref = one_of(mini_butler, "visit_image")
    bbox = mini_butler.get(ref.makeComponentRef("bbox"))
    want = Box.factory[bbox.y.start - 7 : bbox.y.start + 5, bbox.x.stop - 4 : bbox.x.stop + 3]
    cutout = fetch_cutout(mini_butler, ref, PixelBoxStencil(want), edge=EdgePolicy.PAD)
    there = want.intersection(bbox)
    assert cutout.bbox == want
    assert_same_pixels(cutout.image[there].image, mini_butler.get(ref)[there].image)
    assert cutout.image.mask.get("NO_DATA").sum() == want.area - there.area
    with pytest.raises(UnsupportedProductError, match=r"VisitImage .* cannot be padded"):
        fetch_cutout(mini_butler, ref, PixelBoxStencil(want), edge=EdgePolicy.PAD, detail=Detail.FULL)


def test_strict_and_disjoint_stencils_raise(mini_butler: Butler) -> None:
    ref = one_of(mini_butler, "visit_image")
    middle = middle_of(mini_butler, ref)
    with pytest.raises(StencilNotContainedError):
        fetch_cutout(mini_butler, ref, CircleStencil(middle, 2 * u.arcmin), edge=EdgePolicy.STRICT)
    elsewhere = middle.directional_offset_by(0 * u.deg, 1 * u.deg)
    with pytest.raises(StencilNotContainedError, match="CIRCLE"):
        fetch_cutout(mini_butler, ref, CircleStencil(elsewhere, 2 * u.arcsec))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes in bytes of what is read of local files while a test runs."""
    sizes: list[int] = []
    read_ranges = LocalSource.read_ranges

    def counting(source: LocalSource, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found = read_ranges(source, ranges)
        sizes.extend(map(len, found))
        return found

    monkeypatch.setattr(LocalSource, "read_ranges", counting)
    return sizes


def test_an_absurd_request_is_refused_before_pixels_are_read(mini_butler: Butler, reads: list[int]) -> None:
    ref = one_of(mini_butler, "visit_image")
    middle = middle_of(mini_butler, ref)
    fetch_geometry(mini_butler, ref)
    for_geometry = sum(reads)
    with pytest.raises(RequestTooLargeError, match="1000"):
        fetch_cutout(mini_butler, ref, CircleStencil(middle, 10 * u.arcsec), max_pixels=1000)
    assert sum(reads) == for_geometry  # the second time the layout is known


def test_only_the_tiles_of_the_box_are_read(mini_butler: Butler, reads: list[int]) -> None:
    ref = one_of(mini_butler, "visit_image")
    middle = middle_of(mini_butler, ref)
    fetch_geometry(mini_butler, ref)
    before = sum(reads)
    cutout = fetch_cutout(mini_butler, ref, CircleStencil(middle, 3 * u.arcsec))
    # A tile is one row of the image, and a tenth of the file is not pixels.
    rows = cutout.bbox.y.size / mini_butler.get(ref.makeComponentRef("bbox")).y.size
    size = mini_butler.getURI(ref).size()
    assert 0 < sum(reads) - before < 1.5 * rows * size


@pytest.mark.parametrize("detail", Detail)
def test_the_primary_header_tells_the_origin(mini_butler: Butler, detail: Detail, tmp_path: Path) -> None:
    ref = one_of(mini_butler, "visit_image")
    middle = middle_of(mini_butler, ref)
    stencil = CircleStencil(middle, 3 * u.arcsec)
    cutout = fetch_cutout(mini_butler, ref, stencil, detail=detail, created=CREATED)
    header = astropy.io.fits.getheader(cutout.write(tmp_path / "cutout.fits").ospath)
    assert header["BTLRUUID"] == ref.id.hex
    assert header["BTLRNAME"] == "visit_image"
    data_id = {header[f"BTLRK{n:03d}"]: header[f"BTLRV{n:03d}"] for n in range(3)}
    assert data_id == dict(ref.dataId.required)
    assert header["ST_TYPE"] == "CIRCLE"
    assert header["ST_RA"] == pytest.approx(middle.ra.deg)
    assert header["ST_DEC"] == pytest.approx(middle.dec.deg)
    assert header["ST_RAD"] == pytest.approx(3 / 3600)
    assert header["CUTVERS"].startswith("lsst-dax-image ")
    assert header.comments["BTLRUUID"] == "Butler UUID of full image"
    assert header.comments["ST_RA"] == "[deg] Circle center Right Ascension"
    assert header.comments["DATE-CUT"] == "Time of cutout extraction"
    assert not [keyword for keyword in header if keyword.startswith("LSST BUTLER")]
    expected = CREATED.tai if header.get("TIMESYS", "UTC") == "TAI" else CREATED.utc
    assert header["DATE-CUT"] == expected.isot


def test_the_cards_of_the_source_are_kept(external: tuple[Butler, DatasetRef], tmp_path: Path) -> None:
    butler, ref = external
    cutout = fetch_cutout(butler, ref, PixelBoxStencil(Box.factory[10:20, 30:50]), created=CREATED)
    header = astropy.io.fits.getheader(cutout.write(tmp_path / "cutout.fits").ospath)
    assert header["OBSID"] == "X1"
    assert header.comments["OBSID"] == "who"
    # The source counts its dates in TAI, so this one is in TAI too: 37 s on.
    assert header["TIMESYS"] == "TAI"
    assert header["DATE-CUT"] == "2026-03-01T12:00:37.000"


def test_astropy_and_the_projection_agree_on_a_distorted_image(mini_butler: Butler, tmp_path: Path) -> None:
    ref = one_of(mini_butler, "visit_image")
    cutout = fetch_cutout(mini_butler, ref, CircleStencil(middle_of(mini_butler, ref), 8 * u.arcsec))
    header = astropy.io.fits.getheader(cutout.write(tmp_path / "cutout.fits").ospath, "IMAGE")
    assert header["CTYPE1"] == "RA---TAN-SIP"
    wcs = WCS(header)
    x, y = np.meshgrid([0.0, 20.0, cutout.bbox.x.size - 1.0], [0.0, 30.0])
    ours = cutout.image.sky_projection.pixel_to_sky(x=x + cutout.bbox.x.start, y=y + cutout.bbox.y.start)
    assert np.all(wcs.pixel_to_world(x, y).separation(ours) < 1e-4 * u.arcsec)


def test_the_real_coadd_gives_the_published_numbers(tmp_path: Path) -> None:
    """Sizes and pixel values are those that Rubin's own cutout tests assert."""
    with open_dp2(tmp_path) as butler:
        ref = butler.find_dataset("deep_coadd", COADD_ID)
        for detail in Detail:
            cutout = fetch_cutout(butler, ref, CircleStencil(DP2_CENTER, 3 * u.arcsec), detail=detail)
            pixels = cutout.image.array if detail is Detail.IMAGE else cutout.image.image.array
            assert pixels.shape == (28, 29)
            assert pixels[14, 15] == np.float32(2.788926362991333)
            assert pixels[1, 1] == np.float32(7.183607578277588)
            assert pixels[27, 28] == np.float32(-11.042882919311523)
            if detail is not Detail.IMAGE:
                assert cutout.mask_outside().image.mask.get("OUTSIDE_STENCIL").sum() == 195


def test_a_missing_file_is_the_datas_fault(tmp_path: Path) -> None:
    with open_dp2(tmp_path) as butler:
        ref = butler.find_dataset("deep_coadd", COADD_ID)
        Path(butler.getURI(ref).ospath).unlink()
        with pytest.raises(InputDataError, match="registered, but its file is gone"):
            fetch_cutout(butler, ref, CircleStencil(DP2_CENTER, 3 * u.arcsec))


# Plain FITS images from elsewhere


def _plain_file(path: Path, *, dtype: str = "i2") -> Path:
    """Write a compressed FITS image with a TPV-free TAN WCS in FK5."""
    header = astropy.io.fits.Header()
    header["OBSID"] = ("X1", "who")
    header["TIMESYS"] = "TAI"
    primary = astropy.io.fits.PrimaryHDU(header=header)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [187.0, 25.0]
    wcs.wcs.crpix = [50.5, 40.5]
    wcs.wcs.cdelt = [-0.27 / 3600, 0.27 / 3600]
    wcs.wcs.radesys = "FK5"
    pixels = (100 * np.arange(80)[:, None] + np.arange(100)).astype(dtype)
    image = astropy.io.fits.CompImageHDU(pixels, header=wcs.to_header(), compression_type="RICE_1")
    image.header["BUNIT"] = "adu"
    astropy.io.fits.HDUList([primary, image]).writeto(path)
    return path


@pytest.fixture
def external(tmp_path: Path) -> Iterator[tuple[Butler, DatasetRef]]:
    """A plain FITS file, ingested into a new repository as a user does it."""
    path = _plain_file(tmp_path / "plain.fits")
    root = str(tmp_path / "repo")
    Butler.makeRepo(root)
    with Butler.from_config(root, run="external") as butler:
        dataset_type = DatasetType("external_image", (), "ImageV2", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        ref = DatasetRef(dataset_type, butler.registry.expandDataId(), run="external")
        butler.ingest(FileDataset(str(path), ref, formatter=FitsImageFormatter), transfer="direct")
        yield butler, ref


def test_a_plain_fits_image_is_cut_like_any_other(external: tuple[Butler, DatasetRef]) -> None:
    butler, ref = external
    # FITS pixel (50.5, 40.5) is 0-based (49.5, 39.5), between four pixels.
    center = SkyCoord(187.0, 25.0, unit=u.deg, frame="fk5")
    cutout = fetch_cutout(butler, ref, CircleStencil(center, 4.8 * 0.27 * u.arcsec))
    assert cutout.bbox == Box.factory[35:45, 45:55]
    assert cutout.image.array[0, 0] == 100 * 35 + 45
    assert cutout.image.unit == u.adu
    assert butler.get(ref.makeComponentRef("unit")) == u.adu


def test_stamps_of_plain_images_off_the_edge_are_padded(external: tuple[Butler, DatasetRef]) -> None:
    butler, ref = external
    projection = butler.get(ref.makeComponentRef("sky_projection"))
    (stamp,) = fetch_stamps(butler, [ref], projection.pixel_to_sky(x=0.0, y=0.0), size=5)
    assert stamp.status == "EDGE"
    assert stamp.image is not None
    assert np.isnan(stamp.image.array).sum() == 25 - 9
    assert stamp.image.array[2, 2] == 0


# Stamps


def test_stamps_follow_a_fast_star_through_the_visits(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    truth = mini_survey.truth[mini_survey.truth["kind"] == "proper_motion"][0]
    star = SkyCoord(
        truth["ra"], truth["dec"], pm_ra_cosdec=truth["pm_ra_cosdec"], pm_dec=truth["pm_dec"], frame="icrs"
    )
    refs = find_datasets(mini_butler, "visit_image", region=SkyCoord(star.ra, star.dec))
    stamps = list(fetch_stamps(mini_butler, refs, star, size=21, epoch=truth["epoch"]))
    times = [stamp.time.mjd for stamp in stamps if stamp.time is not None]
    assert times == sorted(times)
    assert times[-1] - times[0] > 100
    moved = stamps[0].position.separation(stamps[-1].position).to_value(u.arcsec)
    assert moved > 1
    good = [stamp for stamp in stamps if stamp.status == "OK"]
    assert len(good) >= 3
    for stamp in good:
        assert stamp.image is not None
        flux = np.clip(stamp.image.image.array - np.median(stamp.image.image.array), 0, None)
        flux[flux < 0.2 * flux.max()] = 0
        y, x = np.indices(flux.shape)
        assert (x * flux).sum() / flux.sum() + stamp.bbox.x.start == pytest.approx(stamp.x, abs=0.4)
        assert (y * flux).sum() / flux.sum() + stamp.bbox.y.start == pytest.approx(stamp.y, abs=0.4)


def test_one_bad_file_costs_its_own_stamps_only(external: tuple[Butler, DatasetRef], tmp_path: Path) -> None:
    butler, gone = external
    other = DatasetRef(gone.datasetType, gone.dataId, run="more")
    butler.collections.register("more")
    path = _plain_file(tmp_path / "more.fits")
    butler.ingest(FileDataset(str(path), other, formatter=FitsImageFormatter), transfer="direct")
    (tmp_path / "plain.fits").unlink()
    center = SkyCoord(187.0, 25.0, unit=u.deg)
    stamps = list(fetch_stamps(butler, [gone, other], center, size=5))
    assert [stamp.status for stamp in stamps] == ["READ_FAILED", "OK"]
    assert "file is gone" in stamps[0].message


def test_motion_needs_the_time_of_the_image(mini_butler: Butler) -> None:
    star = SkyCoord(1 * u.deg, 1 * u.deg, pm_ra_cosdec=1 * u.mas / u.yr, pm_dec=0 * u.mas / u.yr)
    with pytest.raises(RequestError, match="time of the image is not known"):
        list(fetch_stamps(mini_butler, [one_of(mini_butler, "deep_coadd")], star, epoch=CREATED))


# Other storage classes


@pytest.fixture
def plain_types(tmp_path: Path) -> Iterator[Butler]:
    """A repository with an image, a mask and a masked image, each by itself."""
    root = str(tmp_path / "repo")
    Butler.makeRepo(root)
    with Butler.from_config(root, run="plain") as butler:
        masked_image = make_masked_image()
        for name, storage_class, value in (
            ("an_image", "ImageV2", masked_image.image),
            ("a_mask", "MaskV2", masked_image.mask),
            ("a_masked_image", "MaskedImageV2", masked_image),
            ("a_number", "StructuredDataDict", {"a": 1}),
        ):
            dataset_type = DatasetType(name, (), storage_class, universe=butler.dimensions)
            butler.registry.registerDatasetType(dataset_type)
            butler.put(value, name)
        yield butler


@pytest.mark.parametrize("detail", Detail)
def test_plain_images_and_masks_are_cut_too(plain_types: Butler, detail: Detail) -> None:
    whole = make_masked_image()
    stencil = CircleStencil(SCENE_CENTER, 3 * u.arcsec)
    for name, expected in (("an_image", whole.image), ("a_masked_image", whole)):
        cutout = fetch_cutout(plain_types, find_dataset(plain_types, name, {}), stencil, detail=detail)
        reduced = whole.image if detail is Detail.IMAGE else expected
        assert_same_pixels(cutout.image, reduced[cutout.bbox])
        assert type(cutout.image) is type(reduced)
        assert cutout.image.sky_projection == whole.sky_projection


def test_a_mask_is_cut_by_itself(plain_types: Butler) -> None:
    ref = find_dataset(plain_types, "a_mask", {})
    cutout = fetch_cutout(plain_types, ref, CircleStencil(SCENE_CENTER, 3 * u.arcsec)).mask_outside()
    assert cutout.image.get("OUTSIDE_STENCIL").any()
    assert np.array_equal(cutout.image.get("BAD"), make_masked_image().mask[cutout.bbox].get("BAD"))


def test_a_dataset_that_is_no_image_is_refused(plain_types: Butler) -> None:
    ref = find_dataset(plain_types, "a_number", {})
    with pytest.raises(UnsupportedProductError, match=r"a_number .* 'StructuredDataDict' objects"):
        fetch_cutout(plain_types, ref, CircleStencil(SCENE_CENTER, 3 * u.arcsec))


def test_a_polygon_of_many_vertices_is_written_whole(mini_butler: Butler, tmp_path: Path) -> None:
    ref = one_of(mini_butler, "visit_image")
    angles = np.arange(150) * 2.4 * u.deg
    vertices = middle_of(mini_butler, ref).directional_offset_by(angles, 4 * u.arcsec)
    uri = fetch_cutout(mini_butler, ref, PolygonStencil(vertices)).write(tmp_path / "cutout.fits")
    header = astropy.io.fits.getheader(uri.ospath)
    assert header["ST_TYPE"] == "POLYGON"
    assert header["ST_RA149"] == pytest.approx(vertices[149].ra.deg)
    assert header["ST_DEC000"] == pytest.approx(vertices[0].dec.deg)
