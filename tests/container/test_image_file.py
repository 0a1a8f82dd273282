"""A cutout's file is complete or absent, and any FITS reader understands it."""

from __future__ import annotations

import http.server
import io
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import lsst.images.serialization
import numpy as np
import pytest
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage, VisitImage
from lsst.resources import ResourcePath
from tests.support.scenes import CENTER, make_masked_image

from lsst.dax.image.cutouts import Compression, Cutout, Detail, fetch_cutout, make_cutout
from lsst.dax.image.errors import OutputError, RequestError
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil
from lsst.dax.image.repository import find_datasets

STENCIL = CircleStencil(CENTER, 4 * u.arcsec)


@pytest.fixture
def cutout() -> Cutout:
    return make_cutout(make_masked_image(), STENCIL).mask_outside()


def test_lsst_images_reads_back_what_was_written(cutout: Cutout, tmp_path: Path) -> None:
    uri = cutout.write(tmp_path / "new" / "cutout.fits")
    back = MaskedImage.read(uri)
    assert back.bbox == cutout.bbox
    assert np.array_equal(back.image.array, cutout.image.image.array)
    assert np.array_equal(back.variance.array, cutout.image.variance.array)
    assert back.mask == cutout.image.mask
    assert back.sky_projection == cutout.image.sky_projection


@pytest.mark.parametrize("detail", [Detail.IMAGE, Detail.MASKED_IMAGE])
def test_astropy_finds_the_same_sky_position_of_each_pixel(detail: Detail, tmp_path: Path) -> None:
    cutout = make_cutout(make_masked_image(), STENCIL, detail=detail)
    with astropy.io.fits.open(cutout.write(tmp_path / "cutout.fits").ospath) as hdus:
        wcs = WCS(hdus["IMAGE"].header)
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
        # Array column 3, row 5 is FITS pixel (4, 6), and parent pixel
        # (x start + 3, y start + 5).
        sky = wcs.pixel_to_world(3, 5)
        x, y = cutout.bbox.x.start + 3, cutout.bbox.y.start + 5
        parent = cutout.image.sky_projection.pixel_to_sky(x=x, y=y)
        assert sky.separation(parent) < 1e-6 * u.arcsec
        assert hdus["IMAGE"].data[5, 3] == 1000 * y + x


def test_the_parent_origin_is_in_the_alternate_wcs(cutout: Cutout, tmp_path: Path) -> None:
    header = astropy.io.fits.getheader(cutout.write(tmp_path / "cutout.fits").ospath, "IMAGE")
    assert (header["CRVAL1A"], header["CRVAL2A"]) == (cutout.bbox.x.start, cutout.bbox.y.start)
    assert (header["CRPIX1A"], header["CRPIX2A"]) == (1, 1)


def test_an_existing_file_is_kept_unless_it_may_be_replaced(cutout: Cutout, tmp_path: Path) -> None:
    path = tmp_path / "cutout.fits"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"cutout\.fits cannot be written: FileExistsError"):
        cutout.write(path)
    assert path.read_bytes() == b"precious"
    cutout.write(path, overwrite=True)
    assert MaskedImage.read(str(path)).bbox == cutout.bbox
    assert [entry.name for entry in tmp_path.iterdir()] == ["cutout.fits"]


def test_other_extensions_are_refused(cutout: Cutout, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'\.fits' files, not as 'cutout\.png'"):
        cutout.write(tmp_path / "cutout.png")


def test_a_folder_that_cannot_be_made_is_an_output_error(cutout: Cutout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/cutout\.fits cannot be written"):
        cutout.write(tmp_path / "file" / "cutout.fits")


def test_a_full_disk_leaves_nothing(cutout: Cutout, tmp_path: Path) -> None:
    """A limit on the size of files fails a write half-way, as a full disk does."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            cutout.write(tmp_path / "cutout.fits")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", Compression)
def test_equal_cutouts_make_equal_files(cutout: Cutout, tmp_path: Path, compression: Compression) -> None:
    written = Time("2026-03-01T12:00:00", scale="utc")
    paths = [tmp_path / "a.fits", tmp_path / "b.fits"]
    for path in paths:
        cutout.write(path, compression=compression, written=written)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert astropy.io.fits.getheader(paths[0])["DATE"] == "2026-03-01T12:00:00.000"
    assert MaskedImage.read(str(paths[0])).mask == cutout.image.mask


def _write_for_ever(folder: str) -> None:
    """Write the same cutout again and again, until killed."""
    cutout = make_cutout(make_masked_image(), STENCIL)
    while True:
        cutout.write(f"{folder}/cutout.fits", overwrite=True)


def test_a_killed_writer_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_for_ever, args=(str(tmp_path),))
    process.start()
    path = tmp_path / "cutout.fits"
    deadline = time.monotonic() + 60
    while not path.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert MaskedImage.read(str(path)).bbox == make_cutout(make_masked_image(), STENCIL).bbox


def test_writes_to_s3(cutout: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        boto3.resource("s3", region_name="us-east-1").create_bucket(Bucket="cutouts")
        uri = cutout.write("s3://cutouts/some/cutout.fits")
        assert uri.geturl() == "s3://cutouts/some/cutout.fits"
        with uri.open("rb") as stream:
            assert np.array_equal(_image_of(stream), cutout.image.image.array)
        with pytest.raises(OutputError, match="exists"):
            cutout.write(uri)
        with pytest.raises(OutputError, match="no-such-bucket"):
            cutout.write("s3://no-such-bucket/cutout.fits")


class _Store(http.server.BaseHTTPRequestHandler):
    """A store that takes whole files by PUT and has none of its own."""

    received: dict[str, bytes]

    def do_HEAD(self) -> None:
        body = self.received.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()

    def do_OPTIONS(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = self.path.startswith("/full/")
        if not refused:
            self.received[self.path] = body
        self.send_response(507 if refused else 201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def store() -> Iterator[tuple[str, dict[str, bytes]]]:
    handler = type("Store", (_Store,), {"received": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.received
        server.shutdown()
        thread.join()


def test_writes_by_http_put(cutout: Cutout, store: tuple[str, dict[str, bytes]]) -> None:
    url, received = store
    cutout.write(f"{url}/cutout.fits")
    assert list(received) == ["/cutout.fits"]
    assert np.array_equal(_image_of(io.BytesIO(received["/cutout.fits"])), cutout.image.image.array)


def test_a_store_that_refuses_is_an_output_error(cutout: Cutout, store: tuple[str, dict[str, bytes]]) -> None:
    url, received = store
    with pytest.raises(OutputError, match=r"full/cutout\.fits cannot be written"):
        cutout.write(f"{url}/full/cutout.fits")
    assert received == {}


def _image_of(stream: Any) -> Any:
    """Return the image plane of an `lsst.images` FITS file."""
    with lsst.images.serialization.open_archive(stream) as archive:
        return archive.get_component("image").array


def test_temporary_files_go_where_they_are_told(mini_butler: Butler, tmp_path: Path) -> None:
    """Only a cutout with further components, here a PSF, needs a temporary file."""
    ref = find_datasets(mini_butler, "visit_image")[0]
    cutout = fetch_cutout(mini_butler, ref, PixelBoxStencil(Box.factory[9:20, 30:50]), detail=Detail.FULL)
    with pytest.raises(OutputError, match="no-such-folder"):
        cutout.write(tmp_path / "cutout.fits", temporary_root=ResourcePath(f"{tmp_path}/no-such-folder/"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "scratch").mkdir()
    cutout.write(tmp_path / "cutout.fits", temporary_root=ResourcePath(f"{tmp_path}/scratch/"))
    assert VisitImage.read(str(tmp_path / "cutout.fits")).psf is not None
    assert list((tmp_path / "scratch").iterdir()) == []
