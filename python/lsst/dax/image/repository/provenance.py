"""FITS cards that say where pixels came from."""

from __future__ import annotations

__all__ = ("make_provenance_header",)

import astropy.io.fits
from astropy.time import Time

from lsst.daf.butler import DatasetRef

from ..version import __version__


def make_provenance_header(
    ref: DatasetRef, *, created: Time, source: astropy.io.fits.Header
) -> astropy.io.fits.Header:
    """Describe the dataset that a product was cut from, and when.

    Parameters
    ----------
    ref
        Dataset, or component of one, that the pixels came from.
    created
        Time of the cut, in any scale.
    source
        Header that the cards will stand in.  FITS gives one time scale to all
        dates of a header (``TIMESYS``, UTC where absent), so the date of the
        cut is written in that scale.

    Returns
    -------
    header
        ``BTLRUUID`` (hexadecimal), ``BTLRNAME``, one pair ``BTLRKnnn`` and
        ``BTLRVnnn`` per required dimension, ``DATE-CUT`` and ``CUTVERS``.
        The key words are those of earlier Rubin cutout software.
    """
    header = astropy.io.fits.Header()
    header["BTLRUUID"] = (ref.id.hex, "Butler UUID of full image")
    header["BTLRNAME"] = (ref.datasetType.name, "Butler dataset type")
    for n, (dimension, value) in enumerate(ref.dataId.required.items()):
        header[f"BTLRK{n:03d}"] = (dimension, f"Name of dimension {n} in the data ID.")
        header[f"BTLRV{n:03d}"] = (value, f"Value of dimension {n} in the data ID.")
    scale = str(source.get("TIMESYS", "UTC")).lower()
    header["DATE-CUT"] = (getattr(created, scale).isot, "Time of cutout extraction")
    header["CUTVERS"] = (f"lsst-dax-image {__version__}", "Software that made the cutout")
    return header
