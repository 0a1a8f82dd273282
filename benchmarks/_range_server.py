"""A web server on this machine that gives byte ranges late, and counts."""

from __future__ import annotations

__all__ = ("Counts", "RangeServer", "running_server")

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass
class Counts:
    """What the server was asked for."""

    requests: int = 0
    """``HEAD`` and the like included."""

    rounds: int = 0
    """Times that a request came while no other was under way: a client that
    asks for many ranges side by side waits once for all of them."""

    bytes_sent: int = 0
    """Bytes of bodies."""


@dataclass
class RangeServer:
    """A running server."""

    delay: float
    """Seconds that every answer waits."""

    url: str = ""
    counts: Counts = field(default_factory=Counts)
    _waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.counts = Counts()

    def begin(self) -> None:
        """Count a request, and wait."""
        with self._lock:
            self.counts.requests += 1
            self.counts.rounds += not self._waiting
            self._waiting += 1
        time.sleep(self.delay)

    def end(self, sent: int) -> None:
        """Count what was sent."""
        with self._lock:
            self.counts.bytes_sent += sent
            self._waiting -= 1


@contextmanager
def running_server(root: Path, *, delay: float) -> Iterator[RangeServer]:
    """Serve the files below a folder.

    Parameters
    ----------
    root
        Folder.
    delay
        Seconds that every answer waits.

    Yields
    ------
    server
        Its address, and its counts.
    """
    state = RangeServer(delay)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Header and body are sent one after the other: the body would wait 40 ms
        # for the client's acknowledgement of the header.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_OPTIONS(self) -> None:
            state.begin()
            state.end(0)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, *, with_body: bool) -> None:
            path = root / self.path.partition("?")[0].lstrip("/")
            state.begin()
            if not path.is_file():
                state.end(0)
                self.send_error(404)
                return
            size = path.stat().st_size
            asked = _RANGE.match(self.headers.get("Range", ""))
            first, last = asked.groups() if asked else ("0", "")
            begin = int(first) if first else max(0, size - int(last))
            end = min(int(last) + 1, size) if first and last else size
            with path.open("rb") as stream:
                stream.seek(begin)
                body = stream.read(end - begin) if with_body else b""
            # Counted before the client has it, and so before it asks again.
            state.end(len(body))
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
