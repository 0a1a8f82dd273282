"""Look at the counts of a FITS header before a reader believes them.

astropy makes a list of as many axes as ``NAXIS`` says, so that one damaged
card takes all time and memory that there are.
"""

from __future__ import annotations

__all__ = ("check_axis_counts", "check_primary_counts")

import math
import re
from typing import Any

from lsst.resources import ResourcePath

from ..errors import InputDataError

_BLOCK = 2880
_CARD = 80
_MAX_BLOCKS = 100_000
_MAX_COUNT = 999  # of axes and of table fields, by the FITS standard 4.0
_COUNTS = re.compile(rb"(Z?NAXIS|TFIELDS) *= *\+?(\d+)")
_SIZES = re.compile(rb"(BITPIX|NAXIS\d+|PCOUNT|GCOUNT) *= *(-?\d+)")


def check_primary_counts(uri: ResourcePath) -> None:
    """Refuse a file whose primary header has counts that cannot be.

    Parameters
    ----------
    uri
        FITS file, not compressed as a whole.

    Raises
    ------
    FileNotFoundError
        Raised if the file is missing.
    InputDataError
        Raised if it has more axes than FITS allows.
    """
    try:
        with uri.open("rb") as stream:
            _read_sizes(stream)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputDataError(f"{uri} is not a usable FITS file: {error}") from error


def check_axis_counts(stream: Any) -> None:
    """Refuse a file that has counts that cannot be, in any HDU.

    Parameters
    ----------
    stream
        FITS file, not compressed as a whole.  Left at its beginning.

    Raises
    ------
    OSError
        Raised if an HDU has more axes or table fields than FITS allows.
    """
    stream.seek(0)
    position = 0
    # A header whose sizes make no sense ends the walk: no reader gets beyond it.
    while sizes := _read_sizes(stream):
        axes = [size for name, size in sizes.items() if name.startswith(b"NAXIS")]
        pixels = math.prod(axes) if axes else 0
        count = (
            (pixels + sizes.get(b"PCOUNT", 0)) * sizes.get(b"GCOUNT", 1) * abs(sizes.get(b"BITPIX", 0)) // 8
        )
        if not 0 <= count < 2**62:
            break
        position = stream.tell() + -(-count // _BLOCK) * _BLOCK
        stream.seek(position)
    stream.seek(0)


def _read_sizes(stream: Any) -> dict[bytes, int]:
    """Read one header and return its sizes; nothing at the end of the file."""
    sizes: dict[bytes, int] = {}
    for _ in range(_MAX_BLOCKS):
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            return {}
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if (count := _COUNTS.match(card)) and int(count[2]) > _MAX_COUNT:
                raise OSError(f"{count[1].decode()} = {int(count[2])}, but FITS has at most {_MAX_COUNT}.")
            if size := _SIZES.match(card):
                sizes.setdefault(size[1], int(size[2]))
            elif card.startswith(b"END") and not card[3:].strip():
                return sizes
    return {}
