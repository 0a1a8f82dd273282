"""Calibrations in the forms in which the observatory stores them."""

from __future__ import annotations

__all__ = ("CALIBRATION_TYPES", "FLAT", "write_calibration_files", "write_calibration_image")

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from ._calibration_tables import make_calibration_tables, set_cards
from ._sensor import SimulatedCalibrations

type FloatArray = npt.NDArray[np.float64]
type Cards = Mapping[str, bool | int | float | str]

CALIBRATION_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "bias": "ExposureF",
        "dark": "ExposureF",
        "flat": "ExposureF",
        "ptc": "PhotonTransferCurveDataset",
        "gain_correction": "IsrCalib",
        "crosstalk": "CrosstalkCalib",
        "linearizer": "Linearizer",
        "cti": "IsrCalib",
        "defects": "Defects",
        "bfk": "BrighterFatterKernel",
        "electroBfDistortionMatrix": "IsrCalib",
    }
)
"""Names of the dataset types, and the observatory's classes of what is in the files."""

FLAT = "flat"
"""The calibration that depends on the filter."""

# The planes that the observatory's masks start with, by bit.
_MASK_PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")


def write_calibration_files(
    calibrations: SimulatedCalibrations,
    directory: Path | str,
    *,
    instrument: str,
    physical_filters: Sequence[str],
    names: Collection[str] = tuple(CALIBRATION_TYPES),
    calibration_date: str = "2025-10-01",
) -> dict[tuple[str, str], Path]:
    """Write the calibrations of a detector.

    Parameters
    ----------
    calibrations
        The truth.
    directory
        Directory of the files; is made.
    instrument
        Name of the instrument.
    physical_filters
        Filters of the flats, which have the same pixels.
    names
        Names of the dataset types to write.
    calibration_date
        Day that the headers give.

    Returns
    -------
    paths
        The files by name of the dataset type and filter; the filter is empty but for flats.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    cards = _common_cards(calibrations, instrument, calibration_date)
    suffix = f"{instrument}_{calibrations.sensor.name}.fits"
    paths: dict[tuple[str, str], Path] = {}
    dark: Cards = {"EXPTIME": 1.0, "DARKTIME": 1.0}
    images: dict[tuple[str, str], tuple[FloatArray, FloatArray, str, Cards]] = {
        ("bias", ""): (calibrations.bias, calibrations.bias_variance, "electron", {"EXPTIME": 0.0}),
        ("dark", ""): (calibrations.dark, calibrations.dark_variance, "electron", dark),
    }
    for name in physical_filters:
        more: Cards = {"FILTER": name, "FLATSRC": "DOME", "EXPTIME": 1.0}
        images[FLAT, name] = (calibrations.flat, calibrations.flat_variance, "", more)
    for key, (image, variance, unit, own) in images.items():
        if key[0] not in names:
            continue
        paths[key] = directory / "_".join(part for part in (*key, suffix) if part)
        header: Cards = {**cards, "OBSTYPE": key[0], **own}
        write_calibration_image(paths[key], image, variance, unit=unit, cards=header)
    for name, hdus in make_calibration_tables(calibrations, cards).items():
        if name not in names:
            continue
        paths[name, ""] = directory / f"{name}_{suffix}"
        hdus.writeto(paths[name, ""])
    return paths


def write_calibration_image(
    path: Path, image: FloatArray, variance: FloatArray, *, unit: str, cards: Cards
) -> None:
    """Write a master image as an exposure of the observatory's earlier library.

    Parameters
    ----------
    path
        The file.
    image, variance
        Pixels, stored as float32; the mask is empty.
    unit
        Unit of the image.
    cards
        Header of the exposure.
    """
    primary = fits.PrimaryHDU()
    set_cards(primary.header, {**cards, "LSST ISR UNITS": unit})
    mask = np.zeros(image.shape, dtype=np.int32)
    planes: tuple[tuple[str, npt.NDArray[Any]], ...] = (
        ("IMAGE", image.astype(np.float32)),
        ("MASK", mask),
        ("VARIANCE", variance.astype(np.float32)),
    )
    hdus: list[Any] = [primary]
    for name, pixels in planes:
        header = fits.Header()
        header["INHERIT"] = True
        header["EXTTYPE"] = name
        header["LTV1"], header["LTV2"] = 0, 0
        if name == "MASK":
            set_cards(header, {f"MP_{plane}": bit for bit, plane in enumerate(_MASK_PLANES)})
        hdu = fits.CompImageHDU(
            pixels,
            header,
            name=name,
            compression_type="GZIP_2",
            tile_shape=(1, image.shape[1]),
            # Zero switches quantization off.
            quantize_level=0.0,
        )
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


def _common_cards(calibrations: SimulatedCalibrations, instrument: str, date: str) -> dict[str, Any]:
    """Return the cards that say which detector a calibration is of."""
    sensor = calibrations.sensor
    raft, _, slot = sensor.name.partition("_")
    return {
        "INSTRUME": instrument,
        "DETECTOR": sensor.detector,
        "DET_NAME": sensor.name,
        "DET_SER": sensor.serial,
        "RAFTNAME": raft,
        "SLOTNAME": slot,
        "CALIBDATE": date,
        "SEQNAME": f"FP_{sensor.physical_type}_2s_l3cp_v30.seq",
        "SEQFILE": f"FP_{sensor.physical_type}_2s_l3cp_v30.seq",
        "SEQCKSUM": "1781310301",
    }
