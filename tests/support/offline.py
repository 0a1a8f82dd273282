"""Keep the tests off the network."""

from __future__ import annotations

__all__ = ("stay_offline",)

import ipaddress
import socket
from typing import Any

from astropy.utils import iers


class OfflineError(AssertionError):
    """A test tried to reach another machine."""


def _is_local(host: str | None) -> bool:
    """Tell whether a host name or address is this very machine."""
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def stay_offline() -> None:
    """Refuse every connection to another machine, in this process.

    Servers on the loopback interface and Unix sockets stay open.  The Earth
    rotation tables are the ones that astropy's data package brings along.
    """
    iers.conf.auto_download = False
    if getattr(socket.getaddrinfo, "refuses", False):
        return
    look_up = socket.getaddrinfo
    connect = socket.socket.connect

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not _is_local(name):
            raise OfflineError(f"The tests run offline; this one asked for the address of {name!r}.")
        return look_up(host, *args, **kwargs)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not _is_local(address[0]):
            raise OfflineError(f"The tests run offline; this one connected to {address!r}.")
        connect(self, address)

    getaddrinfo.refuses = True  # type: ignore[attr-defined]  # marks the guard, so that it goes in once
    socket.getaddrinfo = getaddrinfo
    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
