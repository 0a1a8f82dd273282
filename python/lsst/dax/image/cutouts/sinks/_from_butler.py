"""What sinks take from the Butler's world: progress bars and provenance."""

from __future__ import annotations

__all__ = ("save_stamps",)

from collections import Counter
from collections.abc import Iterable
from types import MappingProxyType

import astropy.io.fits
from astropy.time import Time

from lsst.daf.butler.progress import Progress

from ...repository import make_provenance_header
from .._stamps import Stamp
from .._stamps_from_butler import StampBatch
from ._sink import StampSink, StampSummary, stamp_key


def save_stamps(stamps: Iterable[Stamp], sink: StampSink) -> StampSummary:
    """Send stamps to a sink, which is not closed.

    Parameters
    ----------
    stamps
        Stamps in any order, such as `fetch_stamps` yields them.  They are
        taken one at a time.
    sink
        Where they go.  Those that it has already are skipped: a run that was
        interrupted goes on where it ended, provided that the request is the
        same, since a target is known by its dataset and index alone.

    Returns
    -------
    summary
        How many stamps there were of each status.

    Raises
    ------
    RequestError
        Raised if two stamps have the same dataset and index, or if the sink
        cannot hold a stamp of this kind.
    InconsistentUnitsError
        Raised if the stamps have several units and the sink has one.
    OutputError
        Raised if a stamp cannot be written.
    """
    finished = sink.finished()
    if isinstance(stamps, StampBatch):
        stamps = stamps.skipping(finished)  # what is there is not read again
    counts: Counter[str] = Counter()
    skipped = 0
    for stamp in Progress("lsst.dax.image.cutouts").wrap(stamps, desc="Saving stamps"):
        if stamp_key(stamp) in finished:
            skipped += 1
            continue
        sink.add(stamp)
        counts[stamp.status] += 1
    return StampSummary(MappingProxyType(dict(counts)), skipped)


def make_stamp_header(stamp: Stamp, *, created: Time, time_scale: str) -> astropy.io.fits.Header:
    """Describe the target of a stamp, and where its pixels came from.

    Parameters
    ----------
    stamp
        Stamp with pixels.
    created
        Time of the cut, in any scale.
    time_scale
        ``TIMESYS`` of the header that the cards will stand in.

    Returns
    -------
    header
        The provenance cards of a cutout, and of the target its index,
        position (degrees, ICRS), 0-based parent pixel, time (MJD, TAI) and
        status.
    """
    header = astropy.io.fits.Header()
    if stamp.ref is not None:
        source = astropy.io.fits.Header([("TIMESYS", time_scale)])
        header.extend(make_provenance_header(stamp.ref, created=created, source=source))
    header["TARGIDX"] = (stamp.index, "Index of the target, from 0")
    header["RA_TARG"] = (stamp.ra, "[deg] ICRS RA of the target")
    header["DEC_TARG"] = (stamp.dec, "[deg] ICRS Dec of the target")
    header["X_TARG"] = (stamp.x, "[pix] 0-based column in the parent image")
    header["Y_TARG"] = (stamp.y, "[pix] 0-based row in the parent image")
    if stamp.time is not None:
        header["MJD_TARG"] = (float(stamp.time.tai.mjd), "[d] TAI MJD of mid-exposure")
    header["STATTARG"] = (stamp.status, "What became of the target")
    return header
