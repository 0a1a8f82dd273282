"""Byte ranges of a file behind a web server or an object store."""

from __future__ import annotations

__all__ = ("HttpSource",)

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import urllib3

from ..errors import DaxImageError, InputDataError, StoreError
from .sources import ByteRange, SourceUsage, UnsupportedContainerError, check_ranges

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)$")
_PARALLEL = 16
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
# Too many requests, and what servers answer when they are overloaded.
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_GONE = frozenset((404, 410))
_NO_ENTRY = frozenset((401, 403, 407))


@dataclass(frozen=True)
class _Part:
    """Answer to one range request."""

    data: bytes
    size: int
    """Of the whole file."""


class HttpSource:
    """A file that is read with HTTP range requests.

    Parameters
    ----------
    url
        Address of the file; may carry a signature.
    name
        What messages call the file; by default the address without its query,
        which may hold a signature.
    attempts
        Times that a request is made before its failure is believed.
    pause
        Seconds to wait after the first failure; doubled after each further.
    sleep
        How to wait.

    Notes
    -----
    The ranges of a round are requested in parallel, at most 16 at a time.
    """

    # 64 kB take as long as a request at 50 ms and 10 Mbit/s.
    max_gap = 65536
    is_remote = True
    batch_bytes = 2**62

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        attempts: int = 4,
        pause: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        self.name = name if name is not None else parts._replace(query="", fragment="").geturl()
        self.usage = SourceUsage()
        self._url = url
        self._attempts = attempts
        self._pause = pause
        self._sleep = sleep
        self._size: int | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="byte-ranges")
        self._pool = _make_pool(parts.scheme, parts.hostname or "")

    @property
    def size(self) -> int:
        """Size of the file in bytes.

        Raises
        ------
        InputDataError
            Raised if there is no such file.
        StoreError
            Raised if the store fails.
        """
        if self._size is None:
            self.read_ends(1, 0)
        assert self._size is not None  # noqa: S101  # every answer tells the size
        return self._size

    @property
    def identity(self) -> Hashable:
        """Address and size of the file."""
        return self.name, self.size

    def read_ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Read the first and the last bytes in one round.

        Parameters
        ----------
        head, tail
            Numbers of bytes.  A shorter file gives fewer.

        Returns
        -------
        ends
            First and last bytes.

        Raises
        ------
        InputDataError
            Raised if there is no such file.
        StoreError
            Raised if the store fails.
        """
        headers = [f"bytes=0-{head - 1}", *([f"bytes=-{tail}"] if tail else [])]
        parts = self._read_round(headers)
        sizes = {part.size for part in parts}
        if len(sizes) > 1:
            raise StoreError(f"{self.name} changes while it is read: its sizes are {sorted(sizes)} bytes.")
        self._size = parts[0].size
        lengths = [min(length, self._size) for length in (head, tail)]
        data = [part.data for part in parts] if tail else [parts[0].data, b""]
        if [len(part) for part in data] != lengths:
            raise StoreError(f"{self.name} was answered with {[len(p) for p in data]} bytes, not {lengths}.")
        return data[0], data[1]

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Read byte ranges in one round.

        Parameters
        ----------
        ranges
            Begin and end of each range.

        Returns
        -------
        data
            Bytes of each range.

        Raises
        ------
        InputDataError
            Raised if the file ends before a range does.
        StoreError
            Raised if the store fails, or answers with other bytes.
        """
        if self._size is not None:
            check_ranges(self.name, self._size, ranges)
        filled = [(begin, end) for begin, end in ranges if end > begin]
        parts = self._read_round([f"bytes={begin}-{end - 1}" for begin, end in filled])
        for (begin, end), part in zip(filled, parts, strict=True):
            self._size = part.size if self._size is None else self._size
            if part.size != self._size:
                raise StoreError(
                    f"{self.name} changes while it is read: {self._size} bytes, now {part.size} bytes."
                )
            if len(part.data) != end - begin:
                raise InputDataError(
                    f"{self.name} has {part.size} bytes; of bytes {begin} to {end} came {len(part.data)}."
                )
        answers = iter(parts)
        return [next(answers).data if end > begin else b"" for begin, end in ranges]

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False)
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_round(self, headers: Sequence[str]) -> list[_Part]:
        """Make range requests in parallel."""
        if not headers:
            return []
        self.usage.rounds += 1
        if len(headers) == 1:
            return [self._read(headers[0])]
        return list(self._threads.map(self._read, headers))

    def _read(self, header: str) -> _Part:
        """Make one range request, as often as it takes within the bound."""
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(self._pause * 2 ** (attempt - 1))
            with self._lock:
                self.usage.requests += 1
            try:
                part = self._request(header)
            except DaxImageError:
                raise  # one of them is an OSError too
            except (urllib3.exceptions.HTTPError, OSError, _PassingError) as error:
                failure: Exception = error
                continue
            with self._lock:
                self.usage.bytes_read += len(part.data)
            return part
        raise StoreError(
            f"{self.name} cannot be read ({header}), tried {self._attempts} times: {failure}"
        ) from failure

    def _request(self, header: str) -> _Part:
        """Make one range request."""
        response = self._pool.request(
            "GET",
            self._url,
            headers={"Range": header, "Accept-Encoding": "identity"},
            retries=False,
            redirect=False,
            timeout=_TIMEOUT,
            preload_content=False,
        )
        try:
            part = self._take(response, header)
        except BaseException:
            # What is left of the body must not be taken for the next answer;
            # nor should it be read, for it may be the whole file.
            response.close()
            raise
        response.release_conn()
        return part

    def _take(self, response: urllib3.BaseHTTPResponse, header: str) -> _Part:
        """Read an answer, and check that it is the one to the question."""
        self._check_status(response.status, header)
        content_range = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if content_range is None:
            raise StoreError(f"{self.name} was answered without telling which bytes: {header}.")
        begin, last, size = (int(text) for text in content_range.groups())
        data = response.read()
        if not _is_answer(header, begin, last, size) or len(data) != last - begin + 1:
            raise _PassingError(f"asked for {header}, came {begin}-{last} in {len(data)} bytes")
        return _Part(data, size)

    def _check_status(self, status: int, header: str) -> None:
        """Tell answers from failures, and those that pass from the others."""
        if status == 206:
            return
        if status in _PASSING:
            raise _PassingError(f"the server answers {status}")
        if status in _GONE:
            raise InputDataError(f"There is no file {self.name}: the server answers {status}.")
        if status == 416:
            raise InputDataError(f"{self.name} has not the bytes that were asked for ({header}).")
        # Full answers, redirections and locked doors: other readers know how.
        if status == 200 or 300 <= status < 400 or status in _NO_ENTRY:
            raise UnsupportedContainerError(f"{self.name} gives no byte ranges: the server answers {status}.")
        raise StoreError(f"{self.name} cannot be read ({header}): the server answers {status}.")


class _PassingError(Exception):
    """A failure that may pass."""


def _is_answer(header: str, begin: int, last: int, size: int) -> bool:
    """Tell whether the range that came is the one that was asked for."""
    first, _, second = header.removeprefix("bytes=").partition("-")
    if not first:
        return (begin, last) == (max(0, size - int(second)), size - 1)
    return (begin, last) == (int(first), min(int(second), size - 1))


def _make_pool(scheme: str, host: str) -> urllib3.PoolManager:
    """Return connections to a host, through the proxy of the environment."""
    proxy = urllib.request.getproxies().get(scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        return urllib3.ProxyManager(proxy, maxsize=_PARALLEL, block=True)
    return urllib3.PoolManager(maxsize=_PARALLEL, block=True)
