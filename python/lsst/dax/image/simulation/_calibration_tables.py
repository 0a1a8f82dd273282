"""Calibrations that the observatory stores as tables."""

from __future__ import annotations

__all__ = ("make_calibration_tables", "set_cards")

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ._sensor import SimulatedCalibrations

type Cards = Mapping[str, Any]


def make_calibration_tables(calibrations: SimulatedCalibrations, cards: Cards) -> dict[str, fits.HDUList]:
    """Return the HDUs of every calibration that is a table.

    Parameters
    ----------
    calibrations
        The truth.
    cards
        Header cards that say which detector it is.

    Returns
    -------
    hdus
        HDUs by name of the dataset type: an empty primary one, then the tables.
        The header of the first says what it is.
    """
    makers: dict[str, Callable[[SimulatedCalibrations], tuple[list[Table], Cards]]] = {
        "ptc": _make_ptc,
        "gain_correction": _make_gain_correction,
        "crosstalk": _make_crosstalk,
        "linearizer": _make_linearizer,
        "cti": _make_cti,
        "defects": _make_defects,
        "bfk": _make_kernel,
        "electroBfDistortionMatrix": _make_distortion,
    }
    result = {}
    for name, maker in makers.items():
        tables, own = maker(calibrations)
        hdus: list[Any] = [fits.PrimaryHDU()]
        for number, table in enumerate(tables):
            hdu = fits.table_to_hdu(table)
            if number == 0:
                set_cards(hdu.header, {**cards, **own})
            hdus.append(hdu)
        result[name] = fits.HDUList(hdus)
    return result


def set_cards(header: fits.Header, cards: Cards) -> None:
    """Set cards of any length of keyword, in place."""
    for key, value in cards.items():
        header[key if len(key) <= 8 else f"HIERARCH {key}"] = value


def _kind(obs_type: str, version: str, schema: str, python_class: str) -> dict[str, Any]:
    """Return the cards that say what a calibration is."""
    return {
        "OBSTYPE": obs_type,
        f"{obs_type}_SCHEMA": schema,
        f"{obs_type}_VERSION": version,
        "CALIBCLS": f"lsst.ip.isr.{python_class}",
    }


def _names(calibrations: SimulatedCalibrations) -> list[str]:
    return [amplifier.name for amplifier in calibrations.sensor.amplifiers]


def _make_ptc(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    names = _names(calibrations)
    gains = calibrations.ptc_gains
    table = Table(
        {
            "AMPLIFIER_NAME": names,
            "PTC_FIT_TYPE": ["FULLCOVARIANCE"] * len(names),
            "GAIN": gains,
            "GAIN_UNADJUSTED": gains,
            "NOISE": calibrations.sensor.read_noises,
            "PTC_TURNOFF": calibrations.turnoff_adu,
            "OVERSCAN_MEDIAN": calibrations.overscan_median_adu,
            "OVERSCAN_MEDIAN_SIGMA": calibrations.overscan_median_sigma_adu,
        }
    )
    return [table], _kind("PTC", "2.6", "Gen3 Photon Transfer Curve", "ptcDataset.PhotonTransferCurveDataset")


def _make_gain_correction(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    table = Table({"AMP_NAME": _names(calibrations), "GAIN_ADJUSTMENT": calibrations.gain_adjustments.copy()})
    return [table], _kind("gainCorrection", "1.0", "GainCorrection", "gainCorrection.GainCorrection")


def _make_crosstalk(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    linear, quadratic = calibrations.crosstalk_linear, calibrations.crosstalk_quadratic
    table = Table(
        {
            "CT_COEFFS": [linear.ravel()],
            "CT_ERRORS": [np.zeros(linear.size)],
            "CT_COUNTS": [np.ones(linear.size, dtype=np.int64)],
            "CT_VALID": [calibrations.crosstalk_valid.ravel()],
            "CT_COEFFS_SQR": [quadratic.ravel()],
            "CT_ERRORS_SQR": [np.zeros(linear.size)],
            "CT_AMP_GAIN_RATIOS": [np.ones(linear.size)],
            "CT_FIT_GAINS": [calibrations.ptc_gains],
        }
    )
    cards = _kind("CROSSTALK", "1.2", "Gen3 Crosstalk", "crosstalk.CrosstalkCalib")
    cards |= {
        "HAS_CROSSTALK": True,
        "NAMP": len(_names(calibrations)),
        "CROSSTALK_RATIOS_UNITS": calibrations.crosstalk_unit,
    }
    return [table], cards


def _make_linearizer(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    boxes = [amplifier.bbox for amplifier in calibrations.sensor.amplifiers]
    coefficients = [linearity.coefficients for linearity in calibrations.linearity]
    width = max(1, *(array.size for array in coefficients))
    padded = [np.pad(array, (0, width - array.size)) for array in coefficients]
    table = Table(
        {
            "AMPLIFIER_NAME": _names(calibrations),
            "TYPE": [linearity.form for linearity in calibrations.linearity],
            "COEFFS": np.array(padded),
            "BBOX_X0": [box.x.start for box in boxes],
            "BBOX_Y0": [box.y.start for box in boxes],
            "BBOX_DX": [box.x.size for box in boxes],
            "BBOX_DY": [box.y.size for box in boxes],
            "INPUT_GAIN": calibrations.ptc_gains,
            "INPUT_TURNOFF": calibrations.turnoff_adu,
            "LINEARITY_TURNOFF": calibrations.turnoff_adu,
            "LINEARITY_MAX_SIGNAL": calibrations.turnoff_adu,
        }
    )
    cards = _kind("LINEARIZER", "1.8", "Gen3 Linearizer", "linearize.Linearizer")
    return [table], {**cards, "HAS_LINEARITY": True, "LINEARITY_UNITS": "adu"}


def _make_cti(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    names, transfers = _names(calibrations), calibrations.charge_transfer
    values = Table(
        {
            "AMPLIFIER": names,
            "DRIFT_SCALE": [transfer.drift_scale for transfer in transfers],
            "DECAY_TIME": [transfer.decay_time_px for transfer in transfers],
            "GLOBAL_CTI": [transfer.global_cti for transfer in transfers],
        }
    )
    traps = [
        (name, transfer.trap)
        for name, transfer in zip(names, transfers, strict=True)
        if transfer.trap is not None
    ]
    width = max((trap.coefficients.size for _, trap in traps), default=1)
    coefficients = [
        np.pad(trap.coefficients, (0, width - trap.coefficients.size), constant_values=np.nan)
        for _, trap in traps
    ]
    table = Table(
        {
            "AMPLIFIER": np.array([name for name, _ in traps], dtype="U4"),
            "SIZE": np.array([trap.size for _, trap in traps], dtype=float),
            "EMISSION_TIME": np.array([trap.emission_time_px for _, trap in traps], dtype=float),
            "PIXEL": np.array([trap.pixel for _, trap in traps], dtype=float),
            "TYPE": np.array([trap.form for _, trap in traps], dtype="U8"),
            "COEFFS": np.array(coefficients).reshape(len(traps), width),
        }
    )
    return [values, table], _kind("CTI", "1.3", "Deferred Charge", "deferredCharge.DeferredChargeCalib")


def _make_defects(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    boxes = calibrations.defects
    table = Table(
        {
            "x0": [box.x.start for box in boxes],
            "y0": [box.y.start for box in boxes],
            "width": [box.x.size for box in boxes],
            "height": [box.y.size for box in boxes],
        },
        dtype=[np.int64] * 4,
    )
    return [table], _kind("defects", "2.0", "Gen3 Defects", "defects.Defects")


def _make_kernel(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    names, kernel = _names(calibrations), calibrations.kernel.ravel()
    amplifiers = Table(
        {
            "AMPLIFIER": names,
            "GAIN": calibrations.ptc_gains,
            "NOISE": calibrations.sensor.read_noises,
            "KERNEL": np.tile(kernel, (len(names), 1)),
            "VALID": [True] * len(names),
        }
    )
    detector = Table({"DETECTOR": [calibrations.sensor.name], "KERNEL": [kernel]})
    cards = _kind("BFK", "1.1", "Brighter-fatter kernel", "brighterFatterKernel.BrighterFatterKernel")
    height, width = calibrations.kernel.shape
    return [amplifiers, detector], {**cards, "LEVEL": "DETECTOR", "KERNEL_DX": width, "KERNEL_DY": height}


def _make_distortion(calibrations: SimulatedCalibrations) -> tuple[list[Table], Cards]:
    names = _names(calibrations)
    matrices = {
        "N": calibrations.shift_north,
        "S": calibrations.shift_south,
        "E": calibrations.shift_east,
        "W": calibrations.shift_west,
    }
    side = calibrations.shift_north.shape[0]
    columns: dict[str, Any] = {
        "AMPNAMES": [names],
        "INPUT_RANGE": [side],
        "FIT_RANGE": [side],
        "GAIN": [calibrations.ptc_gains],
        **{f"A_{key}": [matrix.ravel()] for key, matrix in matrices.items()},
    }
    cards = _kind(
        "BF_DISTORTION_MATRIX",
        "1.0",
        "Electrostatic brighter-fatter",
        "electrostaticBrighterFatter.ElectrostaticBrighterFatterDistortionMatrix",
    )
    return [Table(columns)], cards
