"""The web server of the benchmarks: what it gives, and how it counts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import urllib3
from benchmarks._range_server import Counts, running_server

DATA = bytes(range(200))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file.fits").write_bytes(DATA)
    return tmp_path


def get(url: str, asked: str | None = None, method: str = "GET") -> urllib3.BaseHTTPResponse:
    headers = {} if asked is None else {"Range": f"bytes={asked}"}
    return urllib3.request(method, f"{url}/below/file.fits", headers=headers, retries=False)


@pytest.mark.parametrize(
    ("asked", "begin", "end"), [("0-9", 0, 10), ("190-500", 190, 200), ("-7", 193, 200), ("150-", 150, 200)]
)
def test_a_range_is_given(root: Path, asked: str, begin: int, end: int) -> None:
    with running_server(root, delay=0.0) as server:
        response = get(server.url, asked)
    assert response.status == 206
    assert response.data == DATA[begin:end]
    assert response.headers["Content-Range"] == f"bytes {begin}-{end - 1}/200"
    assert server.counts == Counts(requests=1, rounds=1, bytes_sent=end - begin)


def test_all_that_comes_is_counted(root: Path) -> None:
    with running_server(root, delay=0.0) as server:
        assert get(server.url).data == DATA
        head = get(server.url, method="HEAD")
        assert (head.status, head.headers["Content-Length"], head.data) == (200, "200", b"")
        assert get(server.url, method="OPTIONS").status == 200
        assert urllib3.request("GET", f"{server.url}/absent", retries=False).status == 404
        assert server.counts == Counts(requests=4, rounds=4, bytes_sent=200)
        server.reset()
        get(server.url, "0-0")
        assert server.counts == Counts(requests=1, rounds=1, bytes_sent=1)


def test_requests_side_by_side_are_one_round(root: Path) -> None:
    with running_server(root, delay=0.5) as server:
        threads = [threading.Thread(target=get, args=(server.url, f"{n}-{n + 9}")) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.counts == Counts(requests=5, rounds=1, bytes_sent=50)
