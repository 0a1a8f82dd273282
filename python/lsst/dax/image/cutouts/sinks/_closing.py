"""How files are closed that another run will mend."""

from __future__ import annotations

__all__ = ("close_unflushed",)

from contextlib import suppress
from typing import IO, Any


def close_unflushed(file: IO[Any]) -> None:
    """Close a file without a care for what is still in its buffer.

    Whatever counts was flushed when it was written.  What a full disk leaves
    in the buffer belongs to a stamp that was not recorded.

    Parameters
    ----------
    file
        File to close.
    """
    with suppress(OSError):
        file.close()
