"""Read a raw as the camera writes it: one HDU per amplifier."""

from __future__ import annotations

__all__ = ("RawAmplifier", "RawFile", "read_raw_file")

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import astropy.io.fits
import numpy as np
from numpy.typing import NDArray

from lsst.resources import ResourcePathExpression

from ..errors import InputDataError, RequestError
from .fits_hdus import FitsHdu, read_fits_hdus
from .header import fits_trouble_reported, keep_observation

_AMPLIFIER = re.compile(r"Segment\w+$", re.IGNORECASE)
# Cards that describe the table that holds a compressed image.
_TABLE = re.compile(
    r"(XTENSION|TFIELDS|THEAP|T(TYPE|FORM|DIM|NULL|UNIT)\d+|Z(IMAGE|TENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|CMPTYPE|TILE\d"
    r"|NAME\d|VAL\d|QUANTIZ|DITHER0|BLANK|SIMPLE|EXTEND|DATASUM|HECKSUM))$"
)


@dataclass(frozen=True, eq=False)
class RawAmplifier:
    """One amplifier's pixels, as they were read out."""

    name: str
    """``EXTNAME`` of the HDU, such as ``Segment10``."""
    header: astropy.io.fits.Header
    """Cards of the HDU that describe the amplifier (``DATASEC``, ``DETSEC``, ...)."""
    pixels: NDArray[np.int32] | NDArray[np.uint16]
    """Counts in adu, shape (rows, columns), with prescan and overscans; the first pixel was read first."""


@dataclass(frozen=True, eq=False)
class RawFile:
    """A raw of one detector."""

    source: str
    """File, for messages."""
    header: astropy.io.fits.Header
    """Cards of the primary HDU that describe the observation."""
    amplifiers: tuple[RawAmplifier, ...]
    """Amplifiers in the order of the file."""


def read_raw_file(uri: ResourcePathExpression, *, threads: int = 1) -> RawFile:
    """Read a raw with one HDU per amplifier.

    Parameters
    ----------
    uri
        FITS file.  Every two-dimensional image extension whose ``EXTNAME`` begins with
        ``Segment`` is an amplifier; it may be tile-compressed, and the file as a whole may be
        compressed with gzip or bzip2.
    threads
        Threads that decode amplifiers.

    Returns
    -------
    raw
        Headers and counts; unsigned 16-bit counts stay so, all other integers become int32.

    Raises
    ------
    InputDataError
        Raised if the file is missing, truncated, damaged or has no amplifiers; if two have the same
        name; or if its pixels are no integers.
    RequestError
        Raised if there is no thread to work.
    """
    if threads < 1:
        raise RequestError(f"At least one thread must run, not {threads}.")
    hdus = read_fits_hdus(uri)
    found = [hdu for hdu in hdus if hdu.is_image and _AMPLIFIER.match(hdu.name)]
    source = hdus[0].source
    if not found:
        raise InputDataError(
            f"{source} has no image HDU whose name begins with 'Segment', as the amplifiers of a raw; its "
            f"HDUs are {[hdu.name for hdu in hdus]}."
        )
    names = [hdu.name for hdu in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputDataError(f"{source} has several amplifiers called {repeated}; it has {names}.")
    if threads == 1:
        amplifiers = tuple(_read_amplifier(hdu) for hdu in found)
    else:
        with ThreadPoolExecutor(threads) as pool:
            amplifiers = tuple(pool.map(_read_amplifier, found))
    with fits_trouble_reported(source):
        header = keep_observation(hdus[0].header())
    return RawFile(source, header, amplifiers)


def _read_amplifier(hdu: FitsHdu) -> RawAmplifier:
    """Return one amplifier."""
    pixels = hdu.pixels()
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 4 or pixels.dtype == np.uint32:
        raise InputDataError(f"{hdu.label} has pixels of {pixels.dtype}; a raw has counts of up to 32 bits.")
    if pixels.dtype != np.uint16:
        pixels = pixels.astype(np.int32, copy=False)
    header = astropy.io.fits.Header()
    with fits_trouble_reported(hdu.label):
        for card in keep_observation(hdu.header()).cards:
            if not _TABLE.match(card.keyword):
                header.append(card, bottom=True)
    return RawAmplifier(hdu.name, header, pixels)
