"""What the primary header of a raw says of its exposure."""

from __future__ import annotations

__all__ = ("make_exposure_info", "normalize_instrument", "pack_detector_exposure_id")

import datetime
import math
import re

import astropy.io.fits
from astropy.io.fits.card import Undefined
from astropy.time import Time

from lsst.images.cameras import Detector

from ...errors import InputDataError
from .exposure import ExposureInfo

# By what the cameras write, in lower case: the names that a repository knows.
_INSTRUMENTS = {
    "lsstcam": "LSSTCam",
    "lsstcamsim": "LSSTCamSim",
    "comcam": "LSSTComCam",
    "lsstcomcam": "LSSTComCam",
    "comcamsim": "LSSTComCamSim",
    "lsstcomcamsim": "LSSTComCamSim",
    "latiss": "LATISS",
    "lsst_atiss": "LATISS",
}
# Instruments whose one detector has no raft and slot in the header, or others
# than the camera geometry says.
_UNNAMED_DETECTORS = frozenset({"LATISS"})
_CONTROLLERS = "OCHPQS"
_SEQUENCE_LIMIT = 10**5
_YEARS_PER_CONTROLLER = 1000
_TIME_SCALES = ("tai", "utc", "tt")
_FIRST_DAY = datetime.date(2010, 1, 1)
_MAX_DETECTORS = 256
_MAX_SEQUENCES = 2**15
_MAX_DAYS = 2**14
_MAX_CONTROLLERS = 8
_OBSERVATION_ID = re.compile(r"[A-Z]{2}_(?P<controller>[A-Z])_(?P<day>\d{8})_(?P<sequence>\d{1,6})$")
_EMPTY_SLOT = re.compile(r"empty_?\d*$", re.IGNORECASE)

type _Header = astropy.io.fits.Header


def make_exposure_info(header: _Header, detector: Detector, *, source: str = "The raw") -> ExposureInfo:
    """Return identity and times of an exposure from the primary header of its raw.

    Parameters
    ----------
    header
        Primary header as LSSTCam, LSSTComCam, LATISS or their simulations write it.
    detector
        Detector that the raw is said to be of.
    source
        File, for messages.

    Returns
    -------
    info
        The exposure's identifier, made of observing day, sequence number and controller; its start,
        exposure and dark time; and the filter, ``unknown`` if the header has none.

    Raises
    ------
    InputDataError
        Raised if a card is missing or unusable, or if the header is of another instrument or
        detector.

    Notes
    -----
    The traps of real headers: ``INSTRUME`` is spelled in many ways; ``DARKTIME`` is missing, has no
    value, or is 0 in early files (anything below the exposure time counts as missing, and the
    exposure time stands for it); early LATISS files have ``OBSID`` alone for day, number and
    controller; LATISS has a disperser, and test stands a second filter, whose names are joined to
    the filter's with ``~``.
    """
    instrument = normalize_instrument(str(_value(header, "INSTRUME") or ""))
    _check_detector(header, detector, instrument, source)
    exposure = _exposure_id(header, source)
    exposure_time = _seconds(header, "EXPTIME", source)
    if exposure_time is None:
        raise InputDataError(f"{source} has no EXPTIME.")
    dark_time = _seconds(header, "DARKTIME", source)
    if dark_time is None or dark_time < exposure_time:
        dark_time = exposure_time
    return ExposureInfo(
        instrument=instrument,
        exposure=exposure,
        detector=detector.id,
        detector_exposure_id=pack_detector_exposure_id(exposure=exposure, detector=detector.id),
        exposure_time_s=exposure_time,
        dark_time_s=dark_time,
        physical_filter=_physical_filter(header, instrument),
        begin=_begin(header, source),
    )


def normalize_instrument(name: str) -> str:
    """Return the name that a repository has for what a header calls an instrument.

    Parameters
    ----------
    name
        Value of ``INSTRUME``.

    Returns
    -------
    instrument
        ``LSSTCam`` for ``lsstCam``, and so on; an unknown name as it is.
    """
    return _INSTRUMENTS.get(name.strip().lower(), name.strip())


def pack_detector_exposure_id(*, exposure: int, detector: int) -> int:
    """Pack the identifiers of an exposure and a detector into one integer.

    Parameters
    ----------
    exposure
        Identifier of the exposure: observing day YYYYMMDD (plus 1000 years for each step of the
        controller in O, C, H, P, Q, S), then five digits of the sequence number.
    detector
        Identifier of the detector, 0 to 255.

    Returns
    -------
    packed
        ``detector + 256 * (sequence + 32768 * (days since 2010-01-01 + 16384 * controller))``, the
        form of the observatory's dimension packer.

    Raises
    ------
    InputDataError
        Raised if a part is out of its range.
    """
    day, sequence = divmod(exposure, _SEQUENCE_LIMIT)
    year, month_and_day = divmod(day, 10000)
    controller = year // _YEARS_PER_CONTROLLER - 2
    try:
        date = datetime.date(
            year - controller * _YEARS_PER_CONTROLLER, month_and_day // 100, month_and_day % 100
        )
    except ValueError as error:
        raise InputDataError(f"Exposure {exposure} has no observing day in it: {error}.") from error
    days = (date - _FIRST_DAY).days
    parts = {
        "detector": (detector, _MAX_DETECTORS),
        "sequence number": (sequence, _MAX_SEQUENCES),
        "days since 2010-01-01": (days, _MAX_DAYS),
        "controller": (controller, _MAX_CONTROLLERS),
    }
    for name, (value, limit) in parts.items():
        if not 0 <= value < limit:
            raise InputDataError(
                f"Exposure {exposure}, detector {detector} cannot be packed: {name} is {value}, which must "
                f"be from 0 to {limit - 1}."
            )
    return detector + _MAX_DETECTORS * (sequence + _MAX_SEQUENCES * (days + _MAX_DAYS * controller))


def _value(header: _Header, keyword: str) -> bool | int | float | str | None:
    """Return the value of a card, None where there is none or it is blank."""
    value = header.get(keyword)
    if value is None or isinstance(value, Undefined) or (isinstance(value, str) and not value.strip()):
        return None
    return value if isinstance(value, bool | int | float) else str(value).strip()


def _seconds(header: _Header, keyword: str, source: str) -> float | None:
    """Return a time in seconds, None where there is none."""
    value = _value(header, keyword)
    if value is None:
        return None
    if isinstance(value, bool | str) or not math.isfinite(value) or value < 0:
        raise InputDataError(f"{source} has {keyword} = {value!r}, which is no time in seconds.")
    return float(value)


def _begin(header: _Header, source: str) -> Time | None:
    """Return when the exposure began (TAI); headers without ``TIMESYS`` are in UTC."""
    scale = str(_value(header, "TIMESYS") or "UTC").lower()
    if scale not in _TIME_SCALES:
        raise InputDataError(f"{source} has TIMESYS {scale!r}; known are {', '.join(_TIME_SCALES)}.")
    for keyword in ("DATE-BEG", "DATE-OBS"):
        value = _value(header, keyword)
        if value is None:
            continue
        try:
            return Time(str(value), format="isot", scale=scale).tai
        except ValueError as error:
            raise InputDataError(f"{source} has {keyword} = {value!r}, which is no time: {error}") from error
    return None


def _exposure_id(header: _Header, source: str) -> int:
    """Return the identifier of the exposure."""
    match = _OBSERVATION_ID.match(str(_value(header, "OBSID") or ""))
    parts = {} if match is None else match.groupdict()
    day = str(_value(header, "DAYOBS") or parts.get("day") or "")
    number = _value(header, "SEQNUM")
    sequence = str(parts.get("sequence", "") if number is None else number)
    controller = str(_value(header, "CONTRLLR") or parts.get("controller") or "O")
    is_usable = re.fullmatch(r"\d{8}", day) and re.fullmatch(r"\d{1,6}", sequence)
    if not is_usable or int(sequence) >= _SEQUENCE_LIMIT or controller not in _CONTROLLERS:
        raise InputDataError(
            f"{source} has DAYOBS, SEQNUM, CONTRLLR, OBSID = "
            f"{[header.get(keyword) for keyword in ('DAYOBS', 'SEQNUM', 'CONTRLLR', 'OBSID')]}, which "
            f"identify no exposure; a controller is one of {', '.join(_CONTROLLERS)}."
        )
    years = _CONTROLLERS.index(controller) * _YEARS_PER_CONTROLLER
    return (int(day) + years * 10000) * _SEQUENCE_LIMIT + int(sequence)


def _check_detector(header: _Header, detector: Detector, instrument: str, source: str) -> None:
    """Refuse the raw of another instrument or detector."""
    if instrument.removesuffix("Sim") != detector.instrument.removesuffix("Sim"):
        raise InputDataError(
            f"{source} is of instrument {instrument!r} (INSTRUME = {header.get('INSTRUME')!r}), but the "
            f"detector is of {detector.instrument!r}."
        )
    raft, slot = _value(header, "RAFTBAY"), _value(header, "CCDSLOT")
    if raft is None or slot is None or instrument in _UNNAMED_DETECTORS:
        return
    if f"{raft}_{slot}" != detector.name:
        raise InputDataError(
            f"{source} is of detector {raft}_{slot}, but was asked for as {detector.name} ({detector.id})."
        )


def _physical_filter(header: _Header, instrument: str) -> str:
    """Return the name of the filter, with that of the disperser where there is one."""
    first = _slot_name(header, "FILTER")
    if instrument == "LATISS":
        return f"{first}~{_slot_name(header, 'GRATING')}"
    second = _value(header, "FILTER2")
    if second is None or _EMPTY_SLOT.match(str(second)):
        return first
    return f"{first}~{second}"


def _slot_name(header: _Header, keyword: str) -> str:
    """Return what is in a slot of a filter wheel."""
    value = _value(header, keyword)
    if value is None:
        return "unknown"
    text = str(value)
    return "empty" if _EMPTY_SLOT.match(text) else "none" if text == "NONE" else text
