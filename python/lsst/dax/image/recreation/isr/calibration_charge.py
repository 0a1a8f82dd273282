"""Calibrations of how charge moves: serial transfer and the brighter-fatter effect."""

from __future__ import annotations

__all__ = ("read_bfk", "read_cti", "read_electro_bf")

import math

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
    AmplifierChargeTransfer,
    BrighterFatterDistortion,
    BrighterFatterKernel,
    DeferredCharge,
    SerialTrap,
    TrapType,
)

_FIRST_CTI_IN_ELECTRON = 1.1
_SIDES = ("N", "S", "E", "W")

type _Matrix = npt.NDArray[np.float64]


def read_cti(path: ResourcePathExpression) -> DeferredCharge:
    """Read the serial charge transfer of a detector.

    Parameters
    ----------
    path
        Charge transfer: FITS with two tables, of amplifiers and of traps.

    Returns
    -------
    cti
        Drift, transfer inefficiency and trap by amplifier, in electron.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, no charge transfer, or of a version before 1.1, whose
        unit is not recorded.
    """
    tables = read_calibration_tables("cti", path, obs_type="CTI")
    version = _version(tables, "CTI_VERSION")
    if version < _FIRST_CTI_IN_ELECTRON:
        raise InputDataError(
            f"{tables.label} is of version {version}, whose unit is not recorded; versions from "
            f"{_FIRST_CTI_IN_ELECTRON} are in electron."
        )
    names = tables.names("AMPLIFIER")
    columns = [tables.numbers(name).tolist() for name in ("DRIFT_SCALE", "DECAY_TIME", "GLOBAL_CTI")]
    traps = _read_traps(tables)
    if unknown := sorted(set(traps) - set(names)):
        raise InputDataError(f"{tables.label} has traps in amplifiers {unknown}, but amplifiers {names}.")
    return DeferredCharge(
        tables.info(),
        {
            name: AmplifierChargeTransfer(scale, decay, cti, traps.get(name))
            for name, scale, decay, cti in zip(names, *columns, strict=True)
        },
    )


def read_bfk(path: ResourcePathExpression) -> BrighterFatterKernel:
    """Read brighter-fatter kernels.

    Parameters
    ----------
    path
        Kernels: FITS with a table of amplifiers and perhaps one of detectors.

    Returns
    -------
    bfk
        Kernel of the detector, where there is one, and of the amplifiers whose kernel is valid.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, no kernel, or holds none that is usable.
    """
    tables = read_calibration_tables("bfk", path, obs_type="bfk")
    with table_trouble_reported(tables.label):
        shape = (int(tables.meta.get("KERNEL_DX", 0)), int(tables.meta.get("KERNEL_DY", 0)))
        if min(shape) < 1:
            raise InputDataError(f"{tables.label} has KERNEL_DX, KERNEL_DY = {shape}.")
        amplifiers = {}
        if len(tables.tables[0]):
            names, values = tables.names("AMPLIFIER"), tables.numbers("KERNEL")
            valid = tables.numbers("VALID") if tables.has("VALID") else np.ones(len(names))
            for name, row, is_valid in zip(names, values, valid, strict=True):
                if is_valid:
                    amplifiers[name] = _reshape(row, shape, f"Kernel of {name} in {tables.label}")
        detector = _read_detector_kernel(tables, shape)
    if detector is None and not amplifiers:
        raise InputDataError(f"{tables.label} has no valid kernel.")
    return BrighterFatterKernel(tables.info(), detector, amplifiers)


def read_electro_bf(path: ResourcePathExpression) -> BrighterFatterDistortion:
    """Read the shifts of pixel boundaries by charge.

    Parameters
    ----------
    path
        Distortion matrices of a detector: FITS or ECSV.

    Returns
    -------
    electro_bf
        Shifts in pixels per electron, [serial, parallel].

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable or no distortion matrix.
    """
    tables = read_calibration_tables("electro_bf", path, obs_type="BF_DISTORTION_MATRIX")
    with table_trouble_reported(tables.label):
        if tables.has("FIT_RANGE"):
            n = int(tables.numbers("FIT_RANGE").ravel()[0])
        else:
            n = math.isqrt(tables.numbers("A_N").size)
        north, south, east, west = (
            _reshape(tables.numbers(f"A_{side}"), (n, n), f"A_{side} of {tables.label}") for side in _SIDES
        )
        return BrighterFatterDistortion(
            tables.info(), north, south, east, west, by_filter=_read_filters(tables, n)
        )


def _version(tables: CalibrationTables, key: str) -> float:
    """Return the version of the form."""
    with table_trouble_reported(f"{key} of {tables.label}"):
        return float(str(tables.meta.get(key, "nothing")))


def _read_traps(tables: CalibrationTables) -> dict[str, SerialTrap]:
    """Return the traps by amplifier; rows of coefficients are padded with NaN."""
    names, types = tables.names("AMPLIFIER", table=1), tables.texts("TYPE", table=1)
    known = {kind.value: kind for kind in TrapType}
    if unknown := sorted(set(types) - set(known)):
        raise InputDataError(f"{tables.label} has traps of types {unknown}; known are {sorted(known)}.")
    sizes, times, pixels = (
        tables.numbers(name, table=1).tolist() for name in ("SIZE", "EMISSION_TIME", "PIXEL")
    )
    rows = tables.numbers("COEFFS", table=1).reshape(len(names), -1)
    with table_trouble_reported(tables.label):
        return {
            name: SerialTrap(size, time, int(pixel), known[kind], row[~np.isnan(row)])
            for name, size, time, pixel, kind, row in zip(
                names, sizes, times, pixels, types, rows, strict=True
            )
        }


def _read_detector_kernel(tables: CalibrationTables, shape: tuple[int, int]) -> _Matrix | None:
    """Return the kernel of the detector, where there is one."""
    if len(tables.tables) < 2 or not len(tables.tables[1]):
        return None
    names = tables.texts("DETECTOR", table=1)
    wanted = decode_text(tables.meta.get("DET_NAME") or "")
    if len(names) > 1 and wanted not in names:
        raise InputDataError(f"{tables.label} has kernels of {names}, but DET_NAME = {wanted!r}.")
    row = names.index(wanted) if wanted in names else 0
    values = tables.numbers("KERNEL", table=1).reshape(len(names), -1)[row]
    return _reshape(values, shape, f"Kernel of the detector in {tables.label}")


def _read_filters(tables: CalibrationTables, n: int) -> dict[str, tuple[_Matrix, _Matrix, _Matrix, _Matrix]]:
    """Return the matrices of filters that have their own, as newer files hold them."""
    if not tables.has("AVAILABLE_FILTERS"):
        return {}
    filters = tables.texts("AVAILABLE_FILTERS")
    north, south, east, west = (
        tables.numbers(f"A_{side}_BY_FILTER").reshape(len(filters), n, n) for side in _SIDES
    )
    return {name: (north[i], south[i], east[i], west[i]) for i, name in enumerate(filters)}


def _reshape(values: _Matrix, shape: tuple[int, int], what: str) -> _Matrix:
    """Return a matrix that is stored as a row."""
    if values.size != math.prod(shape):
        raise InputDataError(f"{what} has {values.size} values, but shape {shape}.")
    return values.reshape(shape)
