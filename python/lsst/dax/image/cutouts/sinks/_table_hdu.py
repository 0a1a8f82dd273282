"""The ends of FITS files that are written piece by piece."""

from __future__ import annotations

__all__ = ("BLOCK", "render_primary", "render_table")

import io

import astropy.io.fits
from astropy.table import Table

from ...version import __version__

BLOCK = 2880
"""Bytes of a FITS block, of which each header and each data unit has a whole number."""


def render_primary() -> bytes:
    """Return an HDU without pixels, which opens a file.

    Returns
    -------
    content
        Header with the software that wrote the file.
    """
    header = astropy.io.fits.PrimaryHDU().header
    header["CREATOR"] = (f"lsst-dax-image {__version__}", "Software that wrote the file")
    text: str = header.tostring()
    return text.encode("ascii")


def render_table(table: Table, *, name: str) -> bytes:
    """Return a table as an HDU.

    Parameters
    ----------
    table
        Table.
    name
        Value of ``EXTNAME``.

    Returns
    -------
    content
        Header and rows, to be appended to a file.
    """
    hdu = astropy.io.fits.table_to_hdu(table)
    hdu.name = name
    file = io.BytesIO()
    hdu.writeto(file)
    # A file of one table begins with an empty primary HDU.
    return file.getvalue()[BLOCK:]
