"""Calibrations that the observatory stores as tables, by amplifier."""

from __future__ import annotations

__all__ = ("read_crosstalk", "read_gain_correction", "read_linearizer", "read_ptc")

import math
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.resources import ResourcePathExpression

from ...errors import InputDataError
from ._calibration_table import (
    CalibrationTables,
    decode_text,
    read_calibration_tables,
    table_trouble_reported,
)
from .calibrations import (
    AmplifierLinearity,
    AmplifierPtc,
    Crosstalk,
    GainCorrection,
    LinearityType,
    Linearizer,
    PhotonTransferCurve,
)

_UNITS = {"adu": u.adu, "electron": u.electron}
_TYPES = {kind.value.lower(): kind for kind in LinearityType}
_FIRST_CROSSTALK_WITH_UNITS = 1.1


def read_ptc(path: ResourcePathExpression) -> PhotonTransferCurve:
    """Read gains, read noises and turn-offs.

    Parameters
    ----------
    path
        Photon transfer curves of a detector: FITS, ECSV or YAML.

    Returns
    -------
    ptc
        Gains (electron per adu), read noises (electron) and turn-offs (adu) of the amplifiers; early
        files have no overscan levels.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, or no photon transfer curve.
    """
    tables = read_calibration_tables(
        "ptc",
        path,
        obs_type="PTC",
        yaml_columns={
            "AMPLIFIER_NAME": "ampNames",
            "GAIN": "gain",
            "NOISE": "noise",
            "PTC_TURNOFF": "ptcTurnoff",
            "OVERSCAN_MEDIAN": "overscanMedian",
            "OVERSCAN_MEDIAN_SIGMA": "overscanMedianSigma",
        },
    )
    names = tables.names("AMPLIFIER_NAME")
    required = [tables.numbers(name) for name in ("GAIN", "NOISE", "PTC_TURNOFF")]
    optional = [
        tables.numbers(name) if tables.has(name) else np.full(len(names), math.nan)
        for name in ("OVERSCAN_MEDIAN", "OVERSCAN_MEDIAN_SIGMA")
    ]
    rows = zip(*(column.tolist() for column in (*required, *optional)), strict=True)
    return PhotonTransferCurve(
        tables.info(), {name: AmplifierPtc(*row) for name, row in zip(names, rows, strict=True)}
    )


def read_gain_correction(path: ResourcePathExpression) -> GainCorrection:
    """Read factors on the gains.

    Parameters
    ----------
    path
        Gain correction of a detector: FITS, ECSV or YAML.

    Returns
    -------
    gain_correction
        Factors by amplifier.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, or no gain correction.
    """
    tables = read_calibration_tables(
        "gain_correction",
        path,
        obs_type="gainCorrection",
        yaml_columns={"AMP_NAME": "ampNames", "GAIN_ADJUSTMENT": "gainAdjustments"},
    )
    names, factors = tables.names("AMP_NAME"), tables.numbers("GAIN_ADJUSTMENT").tolist()
    return GainCorrection(tables.info(), dict(zip(names, factors, strict=True)))


def read_crosstalk(path: ResourcePathExpression) -> Crosstalk:
    """Read crosstalk coefficients within a detector.

    Parameters
    ----------
    path
        Crosstalk of a detector: FITS, ECSV or YAML.

    Returns
    -------
    crosstalk
        Matrices [source, target] in the order of the detector's amplifiers.  Early files have no
        quadratic coefficients (then zero), and are in adu.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, or no crosstalk; if it has no coefficients; or if it
        has coefficients between detectors, which are not supported.
    """
    tables = read_calibration_tables("crosstalk", path, obs_type="CROSSTALK", yaml_columns=_CROSSTALK_KEYS)
    meta = tables.meta
    if not meta.get("HAS_CROSSTALK", meta.get("HASCROSSTALK", False)):
        raise InputDataError(f"{tables.label} has no coefficients (HAS_CROSSTALK).")
    between = [
        name
        for table in range(len(tables.tables))
        for name in ("IC_COEFFS",)
        if tables.has(name, table=table)
    ]
    if between or meta.get("INTERCHIP"):
        raise InputDataError(f"{tables.label} has crosstalk between detectors, which is not supported.")
    linear = _matrix(tables, "CT_COEFFS")
    n = len(linear)
    if (n_amplifiers := meta.get("NAMP", n)) != n:
        raise InputDataError(f"{tables.label} has NAMP = {n_amplifiers}, but {n} x {n} coefficients.")
    gains = tables.numbers("CT_FIT_GAINS").ravel() if tables.has("CT_FIT_GAINS") else np.zeros(0)
    return Crosstalk(
        info=tables.info(),
        linear=linear,
        quadratic=_matrix(tables, "CT_COEFFS_SQR", n) if tables.has("CT_COEFFS_SQR") else np.zeros((n, n)),
        valid=_matrix(tables, "CT_VALID", n) != 0 if tables.has("CT_VALID") else np.ones((n, n), dtype=bool),
        unit=_crosstalk_unit(tables),
        # Unknown gains are stored as zeros, in some files as a single one.
        fit_gains=gains if gains.size == n and gains.any() else None,
    )


def read_linearizer(path: ResourcePathExpression) -> Linearizer:
    """Read linearity corrections.

    Parameters
    ----------
    path
        Linearizer of a detector: FITS.

    Returns
    -------
    linearizer
        Form and coefficients by amplifier, and the lookup table where there is one.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, or no linearizer; or if it has a form that is not
        known.
    """
    tables = read_calibration_tables("linearizer", path, obs_type="LINEARIZER")
    names, types = tables.names("AMPLIFIER_NAME"), tables.texts("TYPE")
    if unknown := sorted({text for text in types if text.lower() not in _TYPES}):
        raise InputDataError(
            f"{tables.label} has forms {unknown}; known are {[kind.value for kind in LinearityType]}."
        )
    coefficients = tables.numbers("COEFFS").reshape(len(names), -1)
    amplifiers = {
        name: AmplifierLinearity(
            _TYPES[text.lower()], _trim(_TYPES[text.lower()], row, f"{name} of {tables.label}")
        )
        for name, text, row in zip(names, types, coefficients, strict=True)
    }
    unit = decode_text(tables.meta.get("LINEARITY_UNITS") or "adu")
    if unit not in _UNITS:
        raise InputDataError(f"{tables.label} has LINEARITY_UNITS = {unit!r}; known are {sorted(_UNITS)}.")
    has_table = tables.has("LOOKUP_VALUES", table=1)
    table = np.atleast_2d(tables.numbers("LOOKUP_VALUES", table=1)) if has_table else None
    return Linearizer(tables.info(), amplifiers, _UNITS[unit], table)


_CROSSTALK_KEYS = {
    "CT_COEFFS": "coeffs",
    "CT_VALID": "coeffValid",
    "CT_COEFFS_SQR": "coeffsSqr",
    "CT_FIT_GAINS": "fitGains",
}


def _matrix(tables: CalibrationTables, name: str, side: int | None = None) -> npt.NDArray[np.float64]:
    """Return a square matrix that is stored as one row, or as one value in each row."""
    values = tables.numbers(name).ravel()
    side = math.isqrt(values.size) if side is None else side
    if side * side != values.size or not side:
        raise InputDataError(
            f"{tables.label} has {values.size} values of {name}, which are no matrix of {side} x {side}."
        )
    return values.reshape(side, side)


def _crosstalk_unit(tables: CalibrationTables) -> u.UnitBase:
    """Return the unit of the pixels that the coefficients are for."""
    version: Any = tables.meta.get("CROSSTALK_VERSION", 0)
    with table_trouble_reported(f"CROSSTALK_VERSION of {tables.label}"):
        is_early = float(str(version)) < _FIRST_CROSSTALK_WITH_UNITS
    text = "adu" if is_early else decode_text(tables.meta.get("CROSSTALK_RATIOS_UNITS") or "")
    if text not in _UNITS:
        raise InputDataError(
            f"{tables.label} of version {version} has CROSSTALK_RATIOS_UNITS = {text!r}; known are "
            f"{sorted(_UNITS)}."
        )
    return _UNITS[text]


def _trim(kind: LinearityType, row: npt.NDArray[np.float64], what: str) -> npt.NDArray[np.float64]:
    """Return the coefficients without the padding of shorter rows.

    Only a double spline tells its length; in the other forms padding is zeros that add nothing.
    """
    if kind is not LinearityType.DOUBLE_SPLINE:
        return row
    n_nodes = row[:2]
    length = 2 + 2 * n_nodes.sum() if n_nodes.size == 2 else math.nan
    if not (np.all(n_nodes >= 2) and length <= row.size and length == int(length)):
        raise InputDataError(
            f"{what} has a double spline of {n_nodes.tolist()} nodes in {row.size} coefficients."
        )
    return row[: int(length)]
