"""Read the primary header of a FITS file."""

from __future__ import annotations

__all__ = ("read_primary_header",)

import re
from collections.abc import Iterator
from contextlib import contextmanager

import astropy.io.fits
from astropy.io.fits import VerifyError

from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InputDataError

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
        header = hdus[0].header
        has_pixels = header.get("NAXIS", 0) > 0
        kept = astropy.io.fits.Header()
        for card in header.cards:
            if _STRUCTURAL.match(card.keyword) or (has_pixels and _PIXEL_GRID.match(card.keyword)):
                continue
            kept.append((card.keyword, card.value, card.comment), bottom=True)
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
    try:
        with path.open("rb") as stream, astropy.io.fits.open(stream) as hdus:
            yield hdus
    except FileNotFoundError as error:
        raise InputDataError(f"There is no file {path}.") from error
    except (OSError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, VerifyError) as error:
        raise InputDataError(f"{path} is not a usable FITS file: {type(error).__name__}: {error}") from error
