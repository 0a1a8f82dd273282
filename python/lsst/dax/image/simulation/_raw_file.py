"""The raw file of one detector, as the camera writes it."""

from __future__ import annotations

__all__ = ("RawIdentity", "make_raw_hdus", "write_raw_file")

import dataclasses
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.time import Time

from ..errors import OutputError, RequestError
from ._electronics import SimulatedRaw, crop, readout_slices, to_readout
from ._sensor import Sensor, SensorAmplifier


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RawIdentity:
    """What the primary header of a raw says of the exposure."""

    instrument: str = "lsstCam"
    """Instrument, as the camera writes it."""
    controller: str = "O"
    """Letter of the controller: O, C, H, P, Q or S."""
    day_obs: int = 20251101
    """Observing day as YYYYMMDD."""
    sequence: int = 1
    """Sequence number in the day."""
    begin: Time = dataclasses.field(default_factory=lambda: Time("2025-11-02T01:00:00", scale="tai"))
    """Start of the exposure."""
    physical_filter: str = "r_57"
    """Name of the filter."""
    band: str = "r"
    """Band."""
    boresight: tuple[float, float] = (0.0, 0.0)
    """ICRS right ascension and declination in degrees."""
    rotation: float = 0.0
    """Rotation of the camera on the sky, in degrees."""
    target: str = "MINI"
    """Name of the target."""

    @property
    def observation_id(self) -> str:
        """Name of the observation."""
        return f"MC_{self.controller}_{self.day_obs}_{self.sequence:06d}"


def write_raw_file(
    raw: SimulatedRaw, path: Path | str, *, identity: RawIdentity | None = None, compressed: bool = True
) -> None:
    """Write a raw in the form of the camera's files.

    Parameters
    ----------
    raw
        The raw, with whole counts.
    path
        The file, which must not exist.
    identity
        The exposure.
    compressed
        Whether the pixels are compressed (RICE_1, row by row).

    Raises
    ------
    OutputError
        Raised if the file exists.
    RequestError
        Raised if the counts are not whole.
    """
    if Path(path).exists():
        raise OutputError(f"A raw needs a new file; {path} exists.")
    make_raw_hdus(raw, identity=identity, compressed=compressed).writeto(path)


def make_raw_hdus(
    raw: SimulatedRaw, *, identity: RawIdentity | None = None, compressed: bool = True
) -> fits.HDUList:
    """Return the HDUs of `write_raw_file`: a primary header and one image per amplifier.

    Each image has the pixel that is read first at its lower left.
    """
    if raw.counts.dtype != np.int32:
        raise RequestError(f"A raw file holds whole counts, not {raw.counts.dtype}; switch digitization on.")
    identity = identity if identity is not None else RawIdentity()
    hdus: list[Any] = [fits.PrimaryHDU(header=_make_primary_header(raw, identity))]
    for channel, amplifier in enumerate(raw.sensor.amplifiers, start=1):
        counts = np.ascontiguousarray(to_readout(amplifier, crop(raw.counts, amplifier.raw_bbox)))
        header = _make_amplifier_header(raw.sensor, amplifier, channel)
        if compressed:
            tile = (1, counts.shape[1])
            hdus.append(fits.CompImageHDU(counts, header, compression_type="RICE_1", tile_shape=tile))
        else:
            hdus.append(fits.ImageHDU(counts, header))
    return fits.HDUList(hdus)


def _make_primary_header(raw: SimulatedRaw, identity: RawIdentity) -> fits.Header:
    """Return the header that describes the exposure and the detector."""
    sensor = raw.sensor
    begin = identity.begin.tai
    end = begin + raw.exposure_time_s * u.s
    bbox = sensor.bbox
    raft, _, slot = sensor.name.partition("_")
    cards = {
        "DATE": end.isot,
        "MJD": end.mjd,
        "IMGTYPE": "OBJECT",
        "DATE-OBS": begin.isot,
        "MJD-OBS": begin.mjd,
        "DATE-TRG": end.isot,
        "MJD-TRG": end.mjd,
        "OBSID": identity.observation_id,
        "DATE-BEG": begin.isot,
        "MJD-BEG": begin.mjd,
        "DATE-END": end.isot,
        "MJD-END": end.mjd,
        "BUNIT": "adu",
        "TIMESYS": "TAI",
        "INSTRUME": identity.instrument,
        "TELESCOP": "Simulated Telescope",
        "RA": identity.boresight[0],
        "DEC": identity.boresight[1],
        "ROTPA": identity.rotation,
        "ROTCOORD": "sky",
        "RADESYS": "ICRS",
        "OBJECT": identity.target,
        "TESTTYPE": "OBJECT",
        "CAMCODE": "MC",
        "CONTRLLR": identity.controller,
        "DAYOBS": str(identity.day_obs),
        "SEQNUM": identity.sequence,
        "PROGRAM": "MINI-SURVEY",
        "REASON": "science",
        "CCD_MANU": sensor.physical_type,
        "CCD_TYPE": {"E2V": "CCD250", "ITL": "3800C"}[sensor.physical_type],
        "CCDSLOT": slot,
        "RAFTBAY": raft,
        "SEQNAME": f"FP_{sensor.physical_type}_2s_l3cp_v30.seq",
        "SEQFILE": f"FP_{sensor.physical_type}_2s_l3cp_v30.seq",
        "SEQCKSUM": "1781310301",
        "LSST_NUM": sensor.serial,
        "FILTBAND": identity.band,
        "FILTER": identity.physical_filter,
        "EXPTIME": raw.exposure_time_s,
        "DARKTIME": raw.dark_time_s,
        "SHUTTIME": raw.exposure_time_s,
        "DETSIZE": f"[1:{bbox.x.size},1:{bbox.y.size}]",
        "BINX": 1,
        "BINY": 1,
        "CCDGAIN": 1.0,
        "CCDNOISE": 10.0,
        "HEADVER": 2,
        "FILENAME": f"{identity.observation_id}_{sensor.name}.fits",
    }
    return fits.Header(list(cards.items()))


def _make_amplifier_header(sensor: Sensor, amplifier: SensorAmplifier, channel: int) -> fits.Header:
    """Return the header of one amplifier; sections are 1-based.

    The camera counts detector rows from the top, against `lsst.images`.
    """
    rows, columns = readout_slices(amplifier, amplifier.raw_data_bbox)
    flip_x, flip_y = amplifier.flips
    box, height = amplifier.bbox, sensor.bbox.y.size
    x = [box.x.start + 1, box.x.stop]
    y = [height - box.y.start, height - box.y.stop + 1]
    first_x, last_x = reversed(x) if flip_x else x
    first_y, last_y = reversed(y) if flip_y else y
    step_x, step_y = (-1 if flip_x else 1), (1 if flip_y else -1)
    cards = {
        "CHANNEL": channel,
        "EXTNAME": f"Segment{amplifier.name[1:]}",
        "CCDSUM": "1 1",
        "DATASEC": f"[{columns.start + 1}:{columns.stop},{rows.start + 1}:{rows.stop}]",
        "DETSEC": f"[{first_x}:{last_x},{first_y}:{last_y}]",
        "DETSIZE": f"[1:{sensor.bbox.x.size},1:{height}]",
        "DTV1": first_x - step_x * (columns.start + 1),
        "DTV2": first_y - step_y * (rows.start + 1),
        "DTM1_1": float(step_x),
        "DTM2_2": float(step_y),
        "DTM1_2": 0.0,
        "DTM2_1": 0.0,
    }
    return fits.Header(list(cards.items()))
