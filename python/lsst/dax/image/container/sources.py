"""Byte ranges of a file, wherever it is."""

from __future__ import annotations

__all__ = (
    "ByteSource",
    "LocalSource",
    "MemorySource",
    "SourceUsage",
    "UnsupportedContainerError",
    "check_ranges",
    "open_source",
    "read_coalesced",
)

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import DaxImageError, InputDataError, StoreError

type ByteRange = tuple[int, int]
"""First byte, and first byte after the range."""

_SIGNED_URL_SECONDS = 6 * 3600


class UnsupportedContainerError(DaxImageError):
    """The file is of a kind that only the reader of `lsst.images` may know.

    A signal between the reader and its callers, who turn to the other reader;
    no user ever sees it.
    """


@dataclass
class SourceUsage:
    """What a source has been asked for so far."""

    rounds: int = 0
    """Times that somebody had to wait for the store."""

    requests: int = 0
    """Ranges that were asked for, repetitions included."""

    bytes_read: int = 0
    """Bytes that came."""


class ByteSource(Protocol):
    """A file that is read by byte ranges.

    Sources may be used by several threads at the same time.
    """

    name: str
    """What messages call the file."""

    usage: SourceUsage

    max_gap: int
    """Bytes between two ranges that are cheaper to read than to leave out."""

    is_remote: bool
    """Whether a round takes so long that all should be read in one."""

    batch_bytes: int
    """Bytes that are best read and decoded at a time."""

    @property
    def size(self) -> int:
        """Size of the file in bytes; known after the first read."""

    @property
    def identity(self) -> Hashable:
        """What changes when the file is overwritten, as far as that is known."""

    def read_ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Read the first and the last bytes in one round.

        Parameters
        ----------
        head, tail
            Numbers of bytes.  A shorter file gives fewer.
        """

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Read byte ranges in one round.

        Parameters
        ----------
        ranges
            Begin and end of each range, within the file.

        Raises
        ------
        InputDataError
            Raised if the file ends before a range does.
        StoreError
            Raised if the store fails.
        """

    def close(self) -> None:
        """Let go of the file."""


class LocalSource:
    """A file on a disk of this machine.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputDataError
        Raised if there is no such file.
    StoreError
        Raised if it cannot be opened.
    """

    # Of a local file even a page is cheap: a system call costs as much as
    # copying 16 kB.
    max_gap = 16384
    is_remote = False
    # What is decoded at once is still in the cache of the processor.
    batch_bytes = 2**20

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self.usage = SourceUsage()
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._status = os.fstat(self._descriptor)
        except FileNotFoundError as error:
            raise InputDataError(f"There is no file {path}.") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error}") from error

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._status.st_size

    @property
    def identity(self) -> Hashable:
        """Path, size and time of the file."""
        return self.name, self._status.st_ino, self._status.st_size, self._status.st_mtime_ns

    def read_ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Read the first and the last bytes.

        Parameters
        ----------
        head, tail
            Numbers of bytes.  A shorter file gives fewer.

        Returns
        -------
        ends
            First and last bytes.
        """
        size = self.size
        first, last = self.read_ranges([(0, min(head, size)), (max(0, size - tail), size)])
        return first, last

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Read byte ranges.

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
            Raised if the disk fails.
        """
        check_ranges(self.name, self.size, ranges)
        self.usage.rounds += 1
        self.usage.requests += len(ranges)
        self.usage.bytes_read += sum(end - begin for begin, end in ranges)
        return [self._read(begin, end) for begin, end in ranges]

    def close(self) -> None:
        """Close the file; a closed source stays closed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _read(self, begin: int, end: int) -> bytes:
        """Read one range; the system may give it in parts."""
        try:
            data = os.pread(self._descriptor, end - begin, begin)
            while len(data) < end - begin:
                more = os.pread(self._descriptor, end - begin - len(data), begin + len(data))
                if not more:
                    raise InputDataError(
                        f"{self.name} ends at byte {begin + len(data)}, before byte {end} that was asked for."
                    )
                data += more
        except OSError as error:
            raise StoreError(f"{self.name} cannot be read: {error}") from error
        return data


class MemorySource:
    """A file that is in memory already.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        What messages call it.
    """

    max_gap = 0
    is_remote = False
    batch_bytes = 2**62

    def __init__(self, data: bytes, *, name: str = "the file in memory") -> None:
        self.name = name
        self.usage = SourceUsage()
        self._data = data

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self._data)

    @property
    def identity(self) -> Hashable:
        """The bytes themselves."""
        return self._data

    def read_ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Return the first and the last bytes.

        Parameters
        ----------
        head, tail
            Numbers of bytes.  A shorter file gives fewer.

        Returns
        -------
        ends
            First and last bytes.
        """
        return self._data[:head], self._data[max(0, len(self._data) - tail) :]

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Return byte ranges.

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
        """
        check_ranges(self.name, len(self._data), ranges)
        self.usage.requests += len(ranges)
        return [self._data[begin:end] for begin, end in ranges]

    def close(self) -> None:
        """Do nothing: memory is not held open."""


def check_ranges(name: str, size: int, ranges: Sequence[ByteRange]) -> None:
    """Refuse ranges that a file does not have.

    Parameters
    ----------
    name
        What the message calls the file.
    size
        Size of the file in bytes.
    ranges
        Begin and end of each range.

    Raises
    ------
    InputDataError
        Raised if a range does not lie within the file.
    """
    for begin, end in ranges:
        if not 0 <= begin <= end <= size:
            raise InputDataError(
                f"{name} has {size} bytes, but its index says that bytes {begin} to {end} belong to it; it "
                f"is truncated or damaged."
            )


def read_coalesced(source: ByteSource, ranges: Sequence[ByteRange]) -> list[memoryview]:
    """Read many ranges of which neighbours are read together.

    Parameters
    ----------
    source
        File to read.
    ranges
        Begin and end of each range, in any order; they may overlap.

    Returns
    -------
    data
        Bytes of each range, in the order of ``ranges``.

    Raises
    ------
    InputDataError
        Raised if the file ends before a range does.
    StoreError
        Raised if the store fails.
    """
    order = sorted(range(len(ranges)), key=ranges.__getitem__)
    runs: list[list[int]] = []
    run_of = [0] * len(ranges)
    for number in order:
        begin, end = ranges[number]
        if runs and begin - runs[-1][1] <= source.max_gap:
            runs[-1][1] = max(runs[-1][1], end)
        else:
            runs.append([begin, end])
        run_of[number] = len(runs) - 1
    blocks = [memoryview(block) for block in source.read_ranges([(begin, end) for begin, end in runs])]
    return [
        blocks[run][begin - runs[run][0] : end - runs[run][0]]
        for (begin, end), run in zip(ranges, run_of, strict=True)
    ]


def open_source(uri: ResourcePathExpression) -> ByteSource:
    """Open a file for reading by byte ranges.

    Parameters
    ----------
    uri
        Local path, or URI with the scheme ``file``, ``http``, ``https``,
        ``s3``, ``dav`` or ``davs``.

    Returns
    -------
    source
        The opened file; the caller closes it.

    Raises
    ------
    InputDataError
        Raised if there is no such local file.
    UnsupportedContainerError
        Raised if the scheme is another one.
    """
    path = ResourcePath(uri, forceDirectory=False)
    if path.isLocal:
        return LocalSource(path.ospath)
    # Loaded where it is needed: urllib3 takes as long to import as a cutout
    # of a local file takes.
    from .http_source import HttpSource  # noqa: PLC0415

    if path.scheme in {"http", "https"}:
        return HttpSource(path.geturl(), name=str(path))
    if path.scheme in {"s3", "dav", "davs"}:
        url = path.generate_presigned_get_url(expiration_time_seconds=_SIGNED_URL_SECONDS)
        return HttpSource(url, name=str(path))
    raise UnsupportedContainerError(f"Byte ranges of {path} cannot be read.")
