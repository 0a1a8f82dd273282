"""A web server on this machine that gives byte ranges, and fails on demand."""

from __future__ import annotations

__all__ = ("RangeServer", "running_range_server")

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass
class RangeServer:
    """What the server gives, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path, with a leading slash."""

    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers, before the server is sound again; -1 cuts
    a body short, -2 tells a wrong range."""

    requests: list[tuple[int, int]] = field(default_factory=list)
    """Begin and end of every range that was given."""

    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running_range_server(**files: bytes) -> Iterator[RangeServer]:
    """Serve some files; their names are paths below the root."""
    state = RangeServer(files={f"/{name}": data for name, data in files.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with state.lock:
                status = state.answers.pop(0) if state.answers else 0
            data = state.files.get(self.path.partition("?")[0])
            if status > 0 or data is None:
                return self.answer(status if status > 0 else 404)
            first, last = _RANGE.match(self.headers["Range"]).groups()  # type: ignore[union-attr]
            begin = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            if begin >= len(data):
                return self.answer(416)
            with state.lock:
                state.requests.append((begin, end))
            told = begin + 1 if status == -2 else begin
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {told}-{end - 1}/{len(data)}")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            self.wfile.write(data[begin : (begin + end) // 2 if status == -1 else end])
            self.close_connection = status == -1
            return None

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
