"""Read the primary header of a FITS file."""

from __future__ import annotations

__all__ = ("read_primary_header",)

import bz2
import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import astropy.io.fits
import starlink.Ast
from astropy.io.fits import VerifyError
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # it has no public name

from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import DaxImageError, InputDataError
from ._counts import check_axis_counts

# Cards that describe the file that they stand in, not the observation.
_STRUCTURAL = re.compile(
    r"(SIMPLE|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|CHECKSUM|DATASUM|DATE"
    r"|FMTVER|INDXADDR|INDXSIZE|JSONADDR|JSONSIZE|DATAMODL|LSST BUTLER .*|)$"
)
# Cards of the pixel grid, which another grid must not inherit.
_PIXEL_GRID = re.compile(
    r"(WCSAXES[A-Z]?|CTYPE\d[A-Z]?|CUNIT\d[A-Z]?|CRVAL\d[A-Z]?|CRPIX\d[A-Z]?|CDELT\d[A-Z]?|CROTA\d|CD\d_\d[A-Z]?"
    r"|PC\d_\d[A-Z]?|PV\d_\d+[A-Z]?|LONPOLE[A-Z]?|LATPOLE[A-Z]?|RADESYS[A-Z]?|EQUINOX[A-Z]?|AP?_\w+|BP?_\w+|BUNIT"
    r"|LTV\d|LTM\d_\d)$"
)

# What astropy and the decompressors raise on damaged content; it asserts what a
# damaged table header may break.  A damaged size may ask for more memory than
# there is.
_UNUSABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RuntimeError,
    UnboundLocalError,  # astropy, of a column whose format is none
    CfitsioException,
    starlink.Ast.AstError,
    VerifyError,
    struct.error,
    zlib.error,
)


def read_primary_header(uri: ResourcePathExpression) -> astropy.io.fits.Header:
    """Read the cards of a FITS file that describe the observation.

    Parameters
    ----------
    uri
        FITS file.

    Returns
    -------
    header
        Primary header without the cards that describe the file itself and,
        where the primary HDU holds the pixels, without their world coordinate
        system and unit.

    Raises
    ------
    InputDataError
        Raised if the file is missing or its primary header is unusable.
    """
    with opened_fits(uri) as hdus:
        return keep_observation(hdus[0].header)


def keep_observation(header: astropy.io.fits.Header) -> astropy.io.fits.Header:
    """Return the cards of a primary header that describe the observation.

    Parameters
    ----------
    header
        Whole primary header.

    Returns
    -------
    kept
        Header without the cards that `read_primary_header` leaves out.

    Raises
    ------
    VerifyError
        Raised by astropy if a card is unusable.
    """
    has_pixels = header.get("NAXIS", 0) > 0
    kept = astropy.io.fits.Header()
    for card in header.cards:
        if _STRUCTURAL.match(card.keyword) or (has_pixels and _PIXEL_GRID.match(card.keyword)):
            continue
        _ = card.value  # astropy parses a card when it is looked at
        kept.append(card, bottom=True)
    return kept


@contextmanager
def opened_fits(uri: ResourcePathExpression) -> Iterator[astropy.io.fits.HDUList]:
    """Open a FITS file anywhere; trouble with its content is the data's fault.

    Parameters
    ----------
    uri
        FITS file.

    Yields
    ------
    hdus
        HDU list, valid within the context only.

    Raises
    ------
    InputDataError
        Raised if the file is missing, or if anything that is done with it
        within the context fails as unusable FITS content makes it fail.
    """
    path = ResourcePath(uri, forceDirectory=False)
    with fits_trouble_reported(str(path)), path.open("rb") as stream:
        content = decompressed_stream(stream)
        check_axis_counts(content)
        with astropy.io.fits.open(content) as hdus:
            yield hdus


@contextmanager
def fits_trouble_reported(what: str) -> Iterator[None]:
    """Turn what unusable FITS content makes other libraries raise into our error.

    Parameters
    ----------
    what
        File or HDU, for the message.

    Raises
    ------
    InputDataError
        Raised if the file is missing, or if anything within the context fails
        as unusable FITS content makes it fail.
    """
    try:
        yield
    except DaxImageError:
        raise
    except FileNotFoundError as error:
        raise InputDataError(f"There is no file {what}.") from error
    except _UNUSABLE as error:
        raise InputDataError(f"{what} is not a usable FITS file: {type(error).__name__}: {error}") from error


def decompressed_stream(stream: Any) -> Any:
    """Return a stream of a FITS file that may be compressed as a whole.

    Parameters
    ----------
    stream
        Opened file, at its beginning.

    Returns
    -------
    content
        Stream of the uncompressed file (gzip and bzip2 are known).
    """
    magic = stream.read(3)
    stream.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    return bz2.BZ2File(stream) if magic == b"BZh" else stream
