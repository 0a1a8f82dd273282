"""Finished tiles of an unfinished mosaic, in a folder."""

from __future__ import annotations

__all__ = ("Spool", "SpooledTile", "pack_tile")

import fcntl
import json
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import OutputError
from ._compute import Tally
from ._file import MemoryChunk

_LENGTH = struct.Struct("<q")


@dataclass(frozen=True)
class SpooledTile:
    """A tile in a file; its pixels stay there."""

    path: Path
    """File."""

    box: Box
    """Pixels of the tile."""

    sizes: NDArray[np.int64]
    """Bytes of the compressed tiles of each plane, shape ``(n_planes, n_tiles)``."""

    tallies: tuple[Tally, ...]
    """What each image gave."""

    preview_shape: tuple[int, int]
    """Rows and columns of the preview."""

    start: int
    """Where the preview and, after it, the planes begin."""

    def read(self, plane: int) -> bytes:
        """Return the tiles of a plane, one after the other."""
        begin = self.start + 4 * self.preview_shape[0] * self.preview_shape[1]
        return self._read_range(begin + int(self.sizes[:plane].sum()), int(self.sizes[plane].sum()))

    def read_preview(self) -> NDArray[np.float32]:
        """Return the preview."""
        content = self._read_range(self.start, 4 * self.preview_shape[0] * self.preview_shape[1])
        return np.frombuffer(content, "<f4").astype(np.float32).reshape(self.preview_shape)

    def _read_range(self, begin: int, length: int) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(begin)
            content = stream.read(length)
        if len(content) != length:
            raise OutputError(
                f"{self.path} has {len(content)} bytes at {begin}, where {length} were written."
            )
        return content


def pack_tile(chunk: MemoryChunk, tallies: Sequence[Tally], preview: NDArray[np.float32]) -> bytes:
    """Return the content of the file of a tile.

    Parameters
    ----------
    chunk
        Compressed pixels.
    tallies
        What each image gave.
    preview
        Small version.

    Returns
    -------
    content
        The file.
    """
    box = chunk.box
    meta = {
        "box": [box.y.start, box.y.stop, box.x.start, box.x.stop],
        "sizes": chunk.sizes.tolist(),
        "tallies": [[tally.index, tally.n_pixels, tally.weight] for tally in tallies],
        "preview": list(preview.shape),
    }
    text = json.dumps(meta).encode()
    return b"".join((_LENGTH.pack(len(text)), text, preview.astype("<f4").tobytes(), *chunk.contents))


class Spool:
    """The folder of an unfinished mosaic.

    Files in it are complete, or not there.  While the context lasts, no other
    process works in it.

    Parameters
    ----------
    folder
        Folder, which is made if it is not there.
    digest
        What tells the mosaic from others.

    Raises
    ------
    OutputError
        Raised if the folder is that of another mosaic, if another process
        works in it, or if it cannot be made.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder
        self._digest = digest
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mark = self._folder / "digest"
            if not mark.exists():
                self._write("digest", self._digest.encode())
            found = mark.read_text()
        except BlockingIOError as error:
            self._close()
            raise OutputError(f"Another process is making the mosaic in {self._folder}.") from error
        except OSError as error:
            self._close()
            raise OutputError(f"{self._folder} cannot be used: {type(error).__name__}: {error}") from error
        if found != self._digest:
            self._close()
            raise OutputError(
                f"{self._folder} has tiles of another mosaic ({found}, not {self._digest}); remove it to "
                f"start anew."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def has(self, box: Box) -> bool:
        """Tell whether a tile is finished."""
        return (self._folder / _name_tile(box)).exists()

    def add(self, content: bytes) -> None:
        """Keep a tile.

        Parameters
        ----------
        content
            What `pack_tile` has made.

        Raises
        ------
        OutputError
            Raised if it cannot be written.
        """
        (length,) = _LENGTH.unpack_from(content)
        box = json.loads(content[_LENGTH.size : _LENGTH.size + length])["box"]
        self._keep(_name_tile(_to_box(box)), content)

    def open_tiles(self, boxes: Sequence[Box]) -> list[SpooledTile]:
        """Return tiles.

        Parameters
        ----------
        boxes
            Their pixels.

        Returns
        -------
        tiles
            In the order of the boxes.
        """
        return [open_tile(self._folder / _name_tile(box)) for box in boxes]

    def keep_backgrounds(self, backgrounds: NDArray[np.float64]) -> None:
        """Keep the matched backgrounds.

        Parameters
        ----------
        backgrounds
            Shape ``(n, 3)``.
        """
        self._keep("backgrounds", json.dumps(backgrounds.tolist()).encode())

    def read_backgrounds(self) -> NDArray[np.float64] | None:
        """Return the matched backgrounds; None if they have not been matched yet."""
        path = self._folder / "backgrounds"
        return np.array(json.loads(path.read_text())) if path.exists() else None

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder)

    def _keep(self, name: str, content: bytes) -> None:
        try:
            self._write(name, content)
        except OSError as error:
            raise OutputError(
                f"{self._folder / name} cannot be written: {type(error).__name__}: {error}"
            ) from error

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is complete, or not there."""
        staged = self._folder / f"{name}.part"
        with staged.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(self._folder / name)

    def _close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_tile(path: Path) -> SpooledTile:
    """Return a tile in a file.

    Parameters
    ----------
    path
        File.

    Returns
    -------
    tile
        The tile.
    """
    with path.open("rb") as stream:
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        meta: dict[str, Any] = json.loads(stream.read(length))
    return SpooledTile(
        path,
        _to_box(meta["box"]),
        np.array(meta["sizes"], np.int64),
        tuple(Tally(*tally) for tally in meta["tallies"]),
        (meta["preview"][0], meta["preview"][1]),
        _LENGTH.size + length,
    )


def _to_box(corners: Sequence[int]) -> Box:
    return Box.factory[corners[0] : corners[1], corners[2] : corners[3]]


def _name_tile(box: Box) -> str:
    return f"{box.y.start}_{box.y.stop}_{box.x.start}_{box.x.stop}.tile"
