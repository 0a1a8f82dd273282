"""Plain FITS images keep their pixels, units and sky positions."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from lsst.images import Box
from tests.support.scenes import make_wcs
from tests.support.testdata import testdata

from lsst.dax.image.container import (
    make_sky_projection,
    read_plain_bbox,
    read_plain_image,
    read_plain_sky_projection,
    read_primary_header,
)
from lsst.dax.image.errors import InputDataError, NoCoverageError


def write_plain(path: Path, pixels: np.ndarray, *, hdu: str = "image", **cards: object) -> Path:
    """Write pixels with the WCS of the scene, in an HDU of some kind."""
    header = make_wcs(bbox=Box.from_shape(pixels.shape)).to_header()
    header.update(cards)
    if hdu == "primary":
        hdus = [astropy.io.fits.PrimaryHDU(pixels, header=header)]
    elif hdu == "compressed":
        hdus = [astropy.io.fits.PrimaryHDU(), astropy.io.fits.CompImageHDU(pixels, header=header)]
    else:
        hdus = [astropy.io.fits.PrimaryHDU(), astropy.io.fits.ImageHDU(pixels, header=header)]
    astropy.io.fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("hdu", ["primary", "image", "compressed"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", ">i4", ">f4", ">f8"])
def test_any_part_equals_what_astropy_reads(tmp_path: Path, hdu: str, dtype: str) -> None:
    pixels = np.random.default_rng(5).normal(100, 20, (40, 60)).astype(dtype)
    path = write_plain(tmp_path / "plain.fits", pixels, hdu=hdu, BUNIT="electron")
    box = Box.factory[7:23, 11:45]
    image = read_plain_image(path, bbox=box)
    with astropy.io.fits.open(path) as hdus:
        whole = hdus[0 if hdu == "primary" else 1].data
        assert np.array_equal(image.array, whole[7:23, 11:45])
    assert image.array.dtype.isnative
    assert image.bbox == box
    assert image.unit == u.electron
    assert read_plain_bbox(path) == Box.factory[0:40, 0:60]


def test_scaled_and_blank_pixels_are_what_the_header_says(tmp_path: Path) -> None:
    stored = np.array([[1, 2, -99], [4, 5, 6]], dtype=np.int16)
    path = write_plain(tmp_path / "plain.fits", stored, hdu="primary")
    with astropy.io.fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update({"BLANK": -99, "BSCALE": 0.5, "BZERO": 10.0})
    image = read_plain_image(path)
    assert np.array_equal(image.array, [[10.5, 11, np.nan], [12, 12.5, 13]], equal_nan=True)


def test_the_first_pixel_is_zero_zero(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "plain.fits", np.zeros((40, 60), dtype=np.float32))
    wcs = WCS(astropy.io.fits.getheader(path, 1))
    ours = read_plain_sky_projection(path).pixel_to_sky(x=3.0, y=9.0)
    assert ours.separation(wcs.pixel_to_world(3.0, 9.0)) < 1e-6 * u.arcsec


@pytest.mark.parametrize("flavour", ["TAN", "TPV", "SIP", "ZPN", "ARC"])
def test_published_positions_of_real_wcs_flavours(flavour: str) -> None:
    """Positions and pixel values were read with DS9 by others."""
    references = json.loads(testdata("E_wcs_references/wcs_references.json").read_text())["wcs"]
    reference = references[flavour]
    path = testdata(f"E_wcs_references/{reference['file']}")
    image = read_plain_image(path)
    header = astropy.io.fits.getheader(path, reference["hdu"])
    for point in reference["points"]:
        x, y = point["x_fits1"] - 1, point["y_fits1"] - 1
        # Without RADESYS, equinox 2000 means FK5, which is up to 25 mas from ICRS.
        frame = "icrs" if "RADESYS" in header or "RADECSYS" in header else "fk5"
        sky = SkyCoord(point["ra_deg"], point["dec_deg"], unit=u.deg, frame=frame).icrs
        assert image.sky_projection is not None
        assert image.sky_projection.pixel_to_sky(x=x, y=y).separation(sky) < 1e-3 * u.arcsec
        assert image.array[y, x] == pytest.approx(point["pixel_value"], rel=1e-4)


def test_galactic_images_are_taken_to_icrs() -> None:
    path = testdata("D_galactic_center/gc_msx_e.fits.gz")
    image = read_plain_image(path)
    with astropy.io.fits.open(path) as hdus:
        expected = WCS(hdus[0].header).pixel_to_world(20, 130)
    assert expected.frame.name == "galactic"
    assert image.sky_projection is not None
    # Starlink AST and astropy rotate from galactic to ICRS along different
    # chains of catalogues, which differ by 1.5 mas.
    assert image.sky_projection.pixel_to_sky(x=20.0, y=130.0).separation(expected.icrs) < 0.003 * u.arcsec


@pytest.mark.parametrize("system", ["ICRS", "FK5", "FK4"])
@pytest.mark.parametrize("swapped", [False, True])
def test_any_equatorial_system_and_axis_order_is_taken_to_icrs(system: str, swapped: bool) -> None:
    header = make_wcs(bbox=Box.factory[0:40, 0:60]).to_header()
    header["RADESYS"] = system
    header["EQUINOX"] = 1950.0 if system == "FK4" else 2000.0
    if swapped:
        pairs = [("CTYPE1", "CTYPE2"), ("CRVAL1", "CRVAL2"), ("PC1_1", "PC2_1"), ("PC1_2", "PC2_2")]
        for first, second in pairs:
            header[first], header[second] = header[second], header[first]
    wcs = WCS(header)
    expected = wcs.pixel_to_world(7.0, 31.0).icrs
    ours = make_sky_projection(wcs, bbox=Box.factory[0:40, 0:60]).pixel_to_sky(x=7.0, y=31.0)
    # FK4 to FK5 depends on the epoch assumed; all others agree to a microarcsecond.
    tolerance = 0.5 if system == "FK4" else 1e-4
    assert ours.separation(expected) < tolerance * u.arcsec


def test_a_box_off_the_image_is_refused(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "plain.fits", np.zeros((4, 6), dtype=np.float32))
    message = r"y=2:8, x=0:3\] are not all within the image \[y=0:4, x=0:6\]"
    with pytest.raises(NoCoverageError, match=message):
        read_plain_image(path, bbox=Box.factory[2:8, 0:3])


def test_files_without_a_celestial_image_say_what_they_have(tmp_path: Path) -> None:
    cube = astropy.io.fits.ImageHDU(np.zeros((2, 3, 4)), name="CUBE")
    flat = astropy.io.fits.ImageHDU(np.zeros((3, 4)), name="FLAT")
    astropy.io.fits.HDUList([astropy.io.fits.PrimaryHDU(), cube, flat]).writeto(tmp_path / "none.fits")
    with pytest.raises(InputDataError, match=r"no two-dimensional image .*'CUBE', \(2, 3, 4\)"):
        read_plain_image(tmp_path / "none.fits")


def test_a_wcs_with_impossible_numbers_is_refused(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "plain.fits", np.zeros((4, 6), dtype=np.float32), CRVAL1=1e308)
    with pytest.raises(InputDataError, match=r"impossible numbers: \[1e\+308"):
        read_plain_image(path)


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize(
    "content", [b"", b"not a FITS file", b"SIMPLE  =                    T", b"\x1f\x8b zip"]
)
def test_what_is_no_fits_file_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.fits"
    path.write_bytes(content)
    for read in (read_plain_image, read_plain_bbox, read_primary_header):
        with pytest.raises(InputDataError, match=r"broken\.fits"):
            read(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    for read in (read_plain_image, read_plain_bbox, read_plain_sky_projection, read_primary_header):
        with pytest.raises(InputDataError, match="There is no file"):
            read(tmp_path / "nowhere.fits")


def test_the_primary_header_keeps_the_observation_and_drops_the_file(tmp_path: Path) -> None:
    path = write_plain(
        tmp_path / "plain.fits",
        np.zeros((4, 6), dtype=np.float32),
        hdu="primary",
        BUNIT="adu",
        AIRMASS=1.25,
        OBSERVER="nobody",
    )
    with astropy.io.fits.open(path, mode="update") as hdus:
        hdus[0].header["HIERARCH LSST BUTLER ID"] = "0"
        hdus[0].header["HIERARCH ESO TEL AMBI"] = 3.5
        hdus[0].header["COMMENT"] = "a remark"
        hdus[0].add_checksum()
    header = read_primary_header(path)
    assert (header["AIRMASS"], header["OBSERVER"], header["ESO TEL AMBI"]) == (1.25, "nobody", 3.5)
    assert str(header["COMMENT"]) == "a remark"
    dropped = {"SIMPLE", "NAXIS", "NAXIS1", "BUNIT", "CTYPE1", "CRVAL1", "CD1_1", "PC1_1", "CHECKSUM"}
    assert not dropped & set(header)
    assert not [keyword for keyword in header if keyword.startswith("LSST BUTLER")]


def test_a_primary_header_without_pixels_keeps_its_pointing(tmp_path: Path) -> None:
    primary = astropy.io.fits.PrimaryHDU()
    primary.header["RADESYS"] = "ICRS"
    primary.header["RA"] = 10.0
    primary.writeto(tmp_path / "pointing.fits")
    header = read_primary_header(tmp_path / "pointing.fits")
    assert (header["RADESYS"], header["RA"]) == ("ICRS", 10.0)
