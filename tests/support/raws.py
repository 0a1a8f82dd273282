"""Small raw files, as a camera writes them."""

from __future__ import annotations

__all__ = ("CARDS", "NAMES", "make_counts", "make_raw_hdus", "write_raw")

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

NAMES = (*(f"C1{column}" for column in range(8)), *(f"C0{column}" for column in range(7, -1, -1)))
"""Amplifiers in the order of the files."""

CARDS: Mapping[str, Any] = {
    "INSTRUME": "lsstCam",
    "DAYOBS": "20250523",
    "SEQNUM": 201,
    "CONTRLLR": "O",
    "EXPTIME": 30.0,
    "DARKTIME": 30.9,
    "RAFTBAY": "R22",
    "CCDSLOT": "S11",
    "FILTER": "r_57",
    "BUNIT": "adu",
    "DATE-BEG": "2025-05-24T01:02:03.500",
    "TIMESYS": "TAI",
}
"""Primary header of an exposure of detector R22_S11."""


def make_counts(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, npt.NDArray[np.int32]]:
    """Return counts by amplifier, of sky, noise and a bright source."""
    counts = {}
    for name in NAMES:
        pixels = rng.normal(25000.0, 8.0, shape)
        pixels[shape[0] // 2, shape[1] // 2] = 2**18 - 1
        counts[name] = pixels.astype(np.int32)
    return counts


def make_raw_hdus(
    counts: Mapping[str, npt.NDArray[Any]],
    *,
    cards: Mapping[str, Any] = CARDS,
    compression: str | None = "RICE_1",
) -> fits.HDUList:
    """Return the HDUs of a raw; uncompressed without ``compression``."""
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header(dict(cards)))]
    for channel, (name, pixels) in enumerate(counts.items(), start=1):
        # As an argument the name would become upper case.
        header = fits.Header({"CHANNEL": channel, "DATASEC": "[4:27,1:40]", "EXTNAME": f"Segment{name[1:]}"})
        if compression is None:
            hdus.append(fits.ImageHDU(pixels, header))
        else:
            hdus.append(fits.CompImageHDU(pixels, header, compression_type=compression))
    hdus.append(fits.BinTableHDU(name="REB_COND"))
    return fits.HDUList(hdus)


def write_raw(path: Path, counts: Mapping[str, npt.NDArray[Any]], **options: Any) -> Path:
    """Write a raw; the options are those of `make_raw_hdus`."""
    make_raw_hdus(counts, **options).writeto(path)
    return path
