"""The tests stay on this machine, whatever the library would like to fetch."""

from __future__ import annotations

import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from astropy.time import Time
from astropy.utils import iers

from tests.support.offline import OfflineError, stay_offline


@pytest.fixture(autouse=True)
def offline() -> None:
    stay_offline()


def test_names_of_other_machines_are_not_looked_up() -> None:
    with pytest.raises(OfflineError, match=r"asked for the address of 'www\.example\.org'"):
        urllib.request.urlopen("http://www.example.org/", timeout=1)


def test_addresses_of_other_machines_are_not_connected_to() -> None:
    with socket.socket() as link, pytest.raises(OfflineError, match=r"connected to \('192\.0\.2\.1', 80\)"):
        link.connect(("192.0.2.1", 80))


def test_a_server_on_this_machine_can_be_reached() -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with urllib.request.urlopen(f"http://localhost:{server.server_port}/", timeout=10) as answer:
            assert answer.status == 204
        thread.join()


def test_going_offline_twice_guards_once() -> None:
    before = socket.getaddrinfo
    stay_offline()
    assert socket.getaddrinfo is before


def test_earth_rotation_comes_from_the_bundled_table() -> None:
    assert iers.conf.auto_download is False
    # The leap second at the end of 2016 lifted UT1-UTC by one second; a day's
    # drift is a few milliseconds at most.
    before, after = Time(["2016-12-31", "2017-01-01"], scale="utc").delta_ut1_utc
    assert after - before == pytest.approx(1.0, abs=0.005)
    assert -0.9 < before < 0.0 < after < 0.9
