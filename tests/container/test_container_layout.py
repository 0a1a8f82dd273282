"""Layouts are complete, pickle, and are kept within a bound."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import astropy.io.fits
import lsst.images.fits
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.serialization import read_archive, write_archive
from tests.support.containers import (
    BBOX,
    FLAVOURS,
    assert_same,
    assert_same_plane,
    make_masked_image,
    write_flavour,
)
from tests.support.testdata import testdata

from lsst.dax.image.container import (
    ContainerLayout,
    ContainerReader,
    LayoutCache,
    LocalSource,
    MemorySource,
    UnsupportedContainerError,
    open_container,
    read_layout,
    read_primary_header,
)
from lsst.dax.image.errors import InputDataError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flavour(make_masked_image(), "lossy_tiles", tmp_path_factory.mktemp("layout") / "image.fits")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_layout_that_went_through_pickle_reads_the_same(flavour: str, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    with LocalSource(path) as source:
        layout = read_layout(source)
        copy = pickle.loads(pickle.dumps(layout))  # noqa: S301
        assert_same(ContainerReader(source, copy).read_masked_image(BBOX), read_archive(path))
    assert copy.json == layout.json
    assert copy.index == layout.index
    assert len(pickle.dumps(layout)) < 2 * layout.nbytes


def test_the_index_is_that_of_astropy(path: Path) -> None:
    with LocalSource(path) as source, astropy.io.fits.open(path, disable_image_compression=True) as hdus:
        index = {hdu.name: hdu for hdu in read_layout(source).index}
        for hdu in hdus[1:-2]:
            info = hdu.fileinfo()
            entry = index[hdu.name]
            assert (entry.header, entry.data, entry.size) == (
                info["hdrLoc"],
                info["datLoc"],
                info["datSpan"],
            )


def test_the_primary_header_is_that_of_the_header_reader(path: Path) -> None:
    with open_container(path) as reader:
        assert reader.primary_header().tostring() == read_primary_header(str(path)).tostring()


def test_a_long_primary_header_and_a_long_tree(tmp_path: Path) -> None:
    """Parts that do not come with the ends of the file are fetched."""
    image = make_masked_image()
    image.metadata["notes"] = "x" * 100_000
    path = tmp_path / "image.fits"

    def add_cards(header: astropy.io.fits.Header) -> None:
        for number in range(600):
            header[f"KEY{number}"] = number

    lsst.images.fits.write(image, str(path), update_header=add_cards)
    with open_container(path) as reader:
        masked_image = reader.read_masked_image(BBOX)
        assert_same_plane(masked_image.image, read_archive(path).image)
        assert masked_image.metadata["notes"] == "x" * 100_000
        assert reader.primary_header()["KEY599"] == 599


def test_other_formats_are_left_to_the_other_reader(tmp_path: Path) -> None:
    write_archive(make_masked_image(), str(tmp_path / "image.json"))
    for path in (tmp_path / "image.json", testdata("C_rubin_dp_fixtures/example-ndf.sdf")):
        with pytest.raises(UnsupportedContainerError, match="is no FITS file"), open_container(path):
            pass


def test_plain_fits_files_are_left_to_the_other_reader(tmp_path: Path) -> None:
    astropy.io.fits.PrimaryHDU(np.ones((4, 4))).writeto(tmp_path / "plain.fits")
    with (
        pytest.raises(UnsupportedContainerError, match="DATAMODL = None, FMTVER = None is not known"),
        open_container(tmp_path / "plain.fits"),
    ):
        pass


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"visit_image-1", b"visit_image-2", "schema .*masked_image-2"),
        (b"FMTVER  =                    1", b"FMTVER  =                    2", "FMTVER = 2 is not known"),
        (b'"fits:IMAGE"', b'"ndf: IMAGE"', "ndf: IMAGE"),
        (b"'GZIP_2  '", b"'PLIO_1  '", "MASK is compressed with 'PLIO_1'"),
        (b"GCOUNT  =                    1", b"GCOUNT  =                    2", "GCOUNT = 2"),
    ],
)
def test_unusual_files_are_left_to_the_other_reader(old: bytes, new: bytes, message: str, path: Path) -> None:
    old, new = old.replace(b"visit", b"masked"), new.replace(b"visit", b"masked")
    data = path.read_bytes()
    assert old in data
    with pytest.raises(UnsupportedContainerError, match=message):
        read_layout(MemorySource(data.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"shape":[120,150]', b'"shape":[120,151]', r"shape \(120, 150\) .*151"),
        (b'fits:IMAGE","shape":[120,150]', b'fits:IMAGE","shape":[120,151]', "cover different pixels"),
        (b"ZTILE1  =                   47", b"ZTILE1  =                    0", r"tiles of shape \(32, 0\)"),
        (b"ZDITHER0=                 9990", b"ZDITHER0=                    0", "ZDITHER0 = 0, which must"),
        (b"NAXIS   =                    0", b"NAXIS   =           4294967296", "NAXIS = 4294967296"),
        (b"ZDITHER0", b"ZDITHERX", "ZDITHER0 = 0, which must"),
        (b"'1PB(", b"'1PB\xff", "characters that none may have"),
        (b'"fits:VARIANCE"', b'"fits:VARIANCX"', "no HDU VARIANCX,1"),
        (b'{"schema_version"', b"{'schema_version'", "contradicts schema masked_image"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    old: bytes, new: bytes, message: str, path: Path
) -> None:
    data = path.read_bytes()
    assert old in data
    with pytest.raises(InputDataError, match=message):
        read_layout(MemorySource(data.replace(old, new)))


def test_truncated_files_are_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in [1, 80, 2880, len(data) // 2, len(data) - 2880, len(data) - 1]:
        with pytest.raises((InputDataError, UnsupportedContainerError)):
            read_layout(MemorySource(data[:length]))
    with pytest.raises(InputDataError, match=r"has \d+ bytes, but JSONADDR = \d+"):
        read_layout(MemorySource(data[: len(data) // 2]))


def make_layout(size: int) -> ContainerLayout:
    return ContainerLayout("", bytes(size), b"", (), {})


def test_the_cache_forgets_what_was_not_used_longest() -> None:
    cache = LayoutCache(max_bytes=2500)
    read: list[str] = []

    def get(key: str, size: int = 1000) -> ContainerLayout:
        return cache.get(key, lambda: read.append(key) or make_layout(size))

    first = get("a")
    get("b")
    assert get("a") is first
    get("c")
    get("b")
    assert read == ["a", "b", "c", "b"]
    assert cache.nbytes == 2000
    # What is larger than everything is not kept, nor anything else.
    assert get("huge", 9999).nbytes == 9999
    assert len(cache) == cache.nbytes == 0
    get("a")
    cache.clear()
    assert len(cache) == cache.nbytes == 0


def test_a_failed_read_is_not_remembered(path: Path) -> None:
    cache = LayoutCache()

    def fail() -> ContainerLayout:
        raise InputDataError("Damaged.")

    with pytest.raises(InputDataError, match="Damaged"):
        cache.get("key", fail)
    assert cache.get("key", lambda: make_layout(5)).nbytes == 5


def test_threads_share_the_cache() -> None:
    cache = LayoutCache(max_bytes=20_000)
    barrier = threading.Barrier(8)

    def work(seed: int) -> None:
        barrier.wait()
        for key in np.random.default_rng(seed).integers(0, 40, 500).tolist():
            assert cache.get(key, lambda size=key: make_layout(1000 + size)).nbytes == 1000 + key

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert 0 < cache.nbytes <= 20_000
    assert cache.nbytes == sum(layout.nbytes for layout in cache._layouts.values())


def test_an_overwritten_file_is_read_anew(tmp_path: Path) -> None:
    cache = LayoutCache()
    path = tmp_path / "image.fits"
    for flavour in ("rows", "lossy_tiles"):
        path.unlink(missing_ok=True)
        write_flavour(make_masked_image(), flavour, path)
        with open_container(path, cache=cache) as reader:
            assert_same(reader.read_masked_image(BBOX), read_archive(path))
    with open_container(path, cache=cache) as reader:
        reader.read_image(Box.factory[0:5, 40:45])
    assert len(cache) == 2
