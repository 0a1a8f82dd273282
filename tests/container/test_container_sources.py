"""Byte ranges come whole or not at all, from disk, web server and object store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.serialization import read_archive
from moto.server import ThreadedMotoServer
from tests.support.containers import BBOX, assert_same, make_masked_image, write_flavour
from tests.support.range_server import RangeServer, running_range_server

from lsst.dax.image.container import (
    LayoutCache,
    LocalSource,
    MemorySource,
    UnsupportedContainerError,
    open_container,
    open_source,
)
from lsst.dax.image.container.http_source import HttpSource
from lsst.dax.image.container.sources import ByteSource, read_coalesced
from lsst.dax.image.errors import InputDataError, StoreError

DATA = np.random.default_rng(1).bytes(200_000)


def make_http_source(server: RangeServer, path: str = "/file") -> tuple[HttpSource, list[float]]:
    """Return a source that does not wait, and how long it would have waited."""
    waits: list[float] = []
    return HttpSource(server.url + path + "?signature=secret", sleep=waits.append), waits


@pytest.fixture(params=["local", "memory", "http"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    if request.param == "http":
        with running_range_server(file=DATA) as server, make_http_source(server)[0] as opened:
            yield opened
        return
    path = tmp_path / "file"
    path.write_bytes(DATA)
    opened = LocalSource(path) if request.param == "local" else MemorySource(DATA)
    yield opened
    opened.close()


def test_ranges_are_those_of_the_file(source: ByteSource) -> None:
    assert source.read_ends(1000, 77) == (DATA[:1000], DATA[-77:])
    assert source.size == len(DATA)
    ranges = [(5, 9), (100_000, 150_000), (0, 0), (0, 1), (199_999, 200_000), (0, 200_000)]
    assert source.read_ranges(ranges) == [DATA[begin:end] for begin, end in ranges]
    assert source.read_ranges([]) == []
    assert source.read_ends(10**6, 10**6) == (DATA, DATA)


def test_many_threads_may_read(source: ByteSource) -> None:
    ranges = [(number * 997, number * 997 + 501) for number in range(190)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda one: source.read_ranges([one])[0], ranges))
    assert answers == [DATA[begin:end] for begin, end in ranges]


@pytest.mark.parametrize("wrong", [(0, 200_001), (-1, 5), (9, 5), (10**12, 10**12 + 1)])
def test_ranges_off_the_file_are_refused(source: ByteSource, wrong: tuple[int, int]) -> None:
    assert source.size == len(DATA)
    with pytest.raises(InputDataError, match=rf"has 200000 bytes, but .* bytes {wrong[0]} to {wrong[1]} "):
        source.read_ranges([(0, 1), wrong])


@pytest.mark.parametrize("max_gap", [0, 10, 10**6])
def test_neighbours_are_read_together(max_gap: int) -> None:
    source = MemorySource(DATA)
    source.max_gap = max_gap
    ranges = [(500, 600), (100, 200), (205, 300), (150, 260), (600, 700), (90_000, 90_001)]
    assert [bytes(part) for part in read_coalesced(source, ranges)] == [
        DATA[begin:end] for begin, end in ranges
    ]
    assert source.usage.requests == {0: 3, 10: 3, 10**6: 1}[max_gap]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"There is no file .*nothing\.fits"):
        open_source(str(tmp_path / "nothing.fits"))
    with (
        running_range_server() as server,
        make_http_source(server)[0] as source,
        pytest.raises(InputDataError, match=r"There is no file http://127[^?]*/file: .* 404"),
    ):
        source.read_ends(5, 5)


def test_a_local_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with LocalSource(path) as source:
        os.truncate(path, 1000)
        with pytest.raises(InputDataError, match="ends at byte 1000, before byte 2000"):
            source.read_ranges([(0, 2000)])


@pytest.mark.parametrize("failure", [500, 503, 429, -1, -2])
def test_failures_that_pass_are_waited_for(failure: int) -> None:
    with running_range_server(file=DATA) as server:
        source, waits = make_http_source(server)
        server.answers = [failure] * 3
        with source:
            assert source.read_ranges([(7, 9000)]) == [DATA[7:9000]]
        assert waits == [0.2, 0.4, 0.8]
        assert source.usage.requests == 4
        assert source.usage.rounds == 1
        assert source.usage.bytes_read == 8993


@pytest.mark.parametrize("failure", [500, -1])
def test_failures_that_do_not_pass_are_reported(failure: int) -> None:
    with running_range_server(file=DATA) as server:
        source, waits = make_http_source(server)
        server.answers = [failure] * 9
        with (
            source,
            pytest.raises(StoreError, match=r"bytes=7-8999\), tried 4 times") as caught,
        ):
            source.read_ranges([(7, 9000)])
        assert "secret" not in str(caught.value)
        assert len(waits) == 3
        assert len(server.answers) == 5


@pytest.mark.parametrize("status", [200, 301, 401, 403])
def test_what_another_reader_may_know_is_left_to_it(status: int) -> None:
    with running_range_server(file=DATA) as server, make_http_source(server)[0] as source:
        server.answers = [status]
        with pytest.raises(UnsupportedContainerError, match=f"no byte ranges: the server answers {status}"):
            source.read_ends(5, 5)


def test_a_refusal_is_not_repeated() -> None:
    with running_range_server(file=DATA) as server, make_http_source(server)[0] as source:
        server.answers = [418]
        with pytest.raises(StoreError, match="the server answers 418"):
            source.read_ranges([(0, 5)])
        assert source.usage.requests == 1


def test_a_remote_file_that_changes_while_it_is_read() -> None:
    with running_range_server(file=DATA) as server, make_http_source(server)[0] as source:
        source.read_ends(5, 5)
        server.files["/file"] = DATA[:100_000]
        with pytest.raises(StoreError, match="200000 bytes, now 100000 bytes"):
            source.read_ranges([(0, 5)])


def test_a_remote_file_that_is_shorter_than_a_cached_index_says() -> None:
    with running_range_server(file=DATA) as server:
        for wanted, message in [
            ((199_000, 201_000), "has 200000 bytes; of bytes 199000 to 201000 came 1000"),
            ((300_000, 300_001), "has not the bytes"),
        ]:
            source, _ = make_http_source(server)
            with source, pytest.raises(InputDataError, match=message):
                source.read_ranges([wanted])


def test_other_stores_are_left_to_the_other_reader() -> None:
    with pytest.raises(UnsupportedContainerError, match="Byte ranges of resource://"):
        open_source("resource://lsst.images/version.py")


@pytest.mark.parametrize("flavour", ["rows", "uncompressed", "gzip_2_tiles", "lossy_tiles"])
def test_an_image_comes_in_four_rounds_and_then_in_one(flavour: str, tmp_path: Path) -> None:
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    whole = read_archive(path)
    box = Box.factory[20:60, 50:111]
    cache = LayoutCache()
    with running_range_server(image=path.read_bytes()) as server:
        for rounds in (4, 1):
            with open_container(f"{server.url}/image", cache=cache, key="uuid") as reader:
                masked_image = reader.read_masked_image(box)
                usage = reader.source.usage
            assert_same(masked_image, whole[box])
            assert usage.rounds <= rounds
            assert usage.bytes_read == sum(end - begin for begin, end in server.requests)
            server.requests.clear()


def test_objects_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("S3_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="a/image.fits", Body=path.read_bytes())
        client.close()
        with open_container("s3://bucket/a/image.fits") as reader:
            assert reader.source.name == "s3://bucket/a/image.fits"
            assert_same(reader.read_masked_image(BBOX), read_archive(path))
        missing = open_container("s3://bucket/none")
        with pytest.raises(InputDataError, match="There is no file s3://bucket/none"), missing:
            pass
    finally:
        server.stop()
