"""Raws as the camera writes them: every count, whatever the compression, and nothing of a damaged file."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.raws import CARDS, NAMES, make_counts, write_raw
from tests.support.testdata import testdata

from lsst.dax.image.container import RawFile, read_raw_file
from lsst.dax.image.errors import InputDataError, RequestError

SHAPE = (51, 39)


@pytest.fixture
def counts() -> dict[str, Any]:
    return make_counts(np.random.default_rng(4), SHAPE)


@pytest.fixture(scope="module")
def small_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = make_counts(np.random.default_rng(5), (7, 9))
    return write_raw(tmp_path_factory.mktemp("raw") / "raw.fits", {name: counts[name] for name in NAMES[:2]})


@pytest.mark.parametrize("compression", [None, "RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_count_comes_back(
    tmp_path: Path, counts: dict[str, Any], compression: str | None, threads: int
) -> None:
    raw = read_raw_file(write_raw(tmp_path / "raw.fits", counts, compression=compression), threads=threads)
    assert [amplifier.name for amplifier in raw.amplifiers] == [f"Segment{name[1:]}" for name in NAMES]
    for amplifier, name in zip(raw.amplifiers, NAMES, strict=True):
        assert amplifier.pixels.dtype == np.int32
        assert amplifier.pixels.dtype.isnative
        np.testing.assert_array_equal(amplifier.pixels, counts[name])


@pytest.mark.parametrize("compression", [None, "RICE_1", "GZIP_2"])
def test_unsigned_counts_of_all_values_stay_unsigned(tmp_path: Path, compression: str | None) -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    raw = read_raw_file(write_raw(tmp_path / "raw.fits", {"C10": values}, compression=compression))
    assert raw.amplifiers[0].pixels.dtype == np.uint16
    np.testing.assert_array_equal(raw.amplifiers[0].pixels, values)


@pytest.mark.parametrize("compression", [None, "RICE_1"])
def test_signed_counts_of_16_bits_become_32(tmp_path: Path, compression: str | None) -> None:
    values = np.array([[-32768, -1, 0], [1, 255, 32767]], dtype=np.int16)
    raw = read_raw_file(write_raw(tmp_path / "raw.fits", {"C10": values}, compression=compression))
    assert raw.amplifiers[0].pixels.dtype == np.int32
    np.testing.assert_array_equal(raw.amplifiers[0].pixels, values)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32), rows=st.integers(1, 9), columns=st.integers(1, 70), span=st.integers(1, 31)
)
def test_any_counts_survive_rice(tmp_path: Path, seed: int, rows: int, columns: int, span: int) -> None:
    values = np.random.default_rng(seed).integers(-(2**span), 2**span, (rows, columns)).astype(np.int32)
    path = tmp_path / f"{seed}-{rows}-{columns}-{span}.fits"
    if not path.exists():
        write_raw(path, {"C10": values})
    np.testing.assert_array_equal(read_raw_file(path).amplifiers[0].pixels, values)


def test_a_file_compressed_as_a_whole_is_read(tmp_path: Path, counts: dict[str, Any]) -> None:
    plain = write_raw(tmp_path / "raw.fits", counts).read_bytes()
    for name, content in (("raw.fits.gz", gzip.compress(plain)), ("raw.fits.bz2", bz2.compress(plain))):
        (tmp_path / name).write_bytes(content)
        raw = read_raw_file(tmp_path / name)
        np.testing.assert_array_equal(raw.amplifiers[3].pixels, counts[NAMES[3]])


def test_headers_describe_exposure_and_amplifier_but_not_the_file(
    tmp_path: Path, counts: dict[str, Any]
) -> None:
    raw = read_raw_file(write_raw(tmp_path / "raw.fits", counts))
    assert dict(raw.header.items()) == dict(CARDS)
    assert dict(raw.amplifiers[8].header.items()) == {"CHANNEL": 9, "DATASEC": "[4:27,1:40]"}


@pytest.mark.parametrize(
    "name",
    [
        "B_lsst_raw_headers/30211212000310-R22-S22-det098.fits.gz",
        "B_lsst_raw_headers/CC_S_20240404_000780_R22_S01.fits.gz",
        "B_lsst_raw_headers/3018092000065-det000.fits.gz",
        "B_lsst_amp_assembly/e2v_spot.fits.gz",
    ],
)
def test_real_raws_are_what_astropy_reads(name: str) -> None:
    path = testdata(name)
    raw = read_raw_file(path)
    assert len(raw.amplifiers) == 16
    with fits.open(path) as hdus:
        assert raw.header["OBSID"] == hdus[0].header["OBSID"]
        for amplifier in raw.amplifiers:
            assert amplifier.header["DETSEC"] == hdus[amplifier.name].header["DETSEC"]
            np.testing.assert_array_equal(amplifier.pixels, hdus[amplifier.name].data)


def test_every_truncation_is_noticed(tmp_path: Path, small_raw: Path) -> None:
    """The last HDU has no data, so the file is complete only with its header."""
    path, content = tmp_path / "raw.fits", small_raw.read_bytes()
    for length in range(1, len(content), 907):
        path.write_bytes(content[:length])
        ends_with_hdu = length % 2880 == 0 and content[length : length + 8] == b"XTENSION"
        if not ends_with_hdu:
            with pytest.raises(InputDataError, match=r"raw\.fits"):
                read_raw_file(path)


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")  # of its headers
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_byte_is_the_datas_fault_or_harmless(
    tmp_path: Path, small_raw: Path, place: float, value: int
) -> None:
    damaged = bytearray(small_raw.read_bytes())
    damaged[int(place * len(damaged))] = value
    path = tmp_path / "raw.fits"
    path.write_bytes(damaged)
    try:
        assert isinstance(read_raw_file(path), RawFile)
    except InputDataError as error:
        assert "raw.fits" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ZNAXIS1 =                    9", b"ZNAXIS1 =            900000000", "damaged"),
        (b"PCOUNT  =", b"PCOUNX  =", "PCOUNT has the value None"),
        (b"NAXIS   =                    2", b"NAXIS   =            200000000", "0 to 999 axes"),
        (b"NAXIS2  =                    7", b"NAXIS2  =         700000000000", "more than"),
        (b"XTENSION= 'BINTABLE'", b"XTENSIOX= 'BINTABLE'", "should begin"),
    ],
)
def test_impossible_headers_are_refused(
    tmp_path: Path, small_raw: Path, old: bytes, new: bytes, message: str
) -> None:
    content = small_raw.read_bytes()
    assert old in content
    (tmp_path / "raw.fits").write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputDataError, match=message):
        read_raw_file(tmp_path / "raw.fits")


def test_what_is_no_raw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="There is no file"):
        read_raw_file(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("no FITS file at all")
    with pytest.raises(InputDataError, match="should begin"):
        read_raw_file(tmp_path / "text.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 4)), name="IMAGE")]).writeto(
        tmp_path / "other.fits"
    )
    with pytest.raises(InputDataError, match=r"no image HDU.*'IMAGE'"):
        read_raw_file(tmp_path / "other.fits")
    (tmp_path / "broken.fits.gz").write_bytes(gzip.compress(b"SIMPLE  = " * 500)[:-40])
    with pytest.raises(InputDataError, match="not a usable FITS file"):
        read_raw_file(tmp_path / "broken.fits.gz")


def test_pixels_that_are_no_counts_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "raw.fits", {"C10": np.ones((3, 4), np.float32)}, compression=None)
    with pytest.raises(InputDataError, match="pixels of float32"):
        read_raw_file(path)
    path = write_raw(tmp_path / "long.fits", {"C10": np.ones((3, 4), np.int64)}, compression=None)
    with pytest.raises(InputDataError, match="pixels of int64"):
        read_raw_file(path)


def test_an_amplifier_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    one = np.ones((3, 4), np.int32)
    path = write_raw(tmp_path / "raw.fits", {"C10": one, "D10": one})
    with pytest.raises(InputDataError, match=r"several amplifiers called \['Segment10'\]"):
        read_raw_file(path)


def test_no_threads_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not 0"):
        read_raw_file(tmp_path / "raw.fits", threads=0)
