"""Readers of the observatory's calibration files, by kind."""

from __future__ import annotations

__all__ = (
    "Calibration",
    "read_bfk",
    "read_bias",
    "read_calibration",
    "read_crosstalk",
    "read_cti",
    "read_dark",
    "read_defects",
    "read_electro_bf",
    "read_flat",
    "read_gain_correction",
    "read_linearizer",
    "read_ptc",
)

from collections.abc import Callable, Mapping
from types import MappingProxyType

from lsst.resources import ResourcePathExpression

from ...errors import RequestError
from .calibration_charge import read_bfk, read_cti, read_electro_bf
from .calibration_defects import read_defects
from .calibration_images import read_bias, read_dark, read_flat
from .calibration_tables import read_crosstalk, read_gain_correction, read_linearizer, read_ptc
from .calibrations import (
    BrighterFatterDistortion,
    BrighterFatterKernel,
    CalibrationImage,
    Crosstalk,
    Defects,
    DeferredCharge,
    GainCorrection,
    Linearizer,
    PhotonTransferCurve,
)

type Calibration = (
    CalibrationImage
    | PhotonTransferCurve
    | GainCorrection
    | Crosstalk
    | Linearizer
    | DeferredCharge
    | Defects
    | BrighterFatterKernel
    | BrighterFatterDistortion
)
"""Any calibration that is read from a file."""

_READERS: Mapping[str, Callable[[ResourcePathExpression], Calibration]] = MappingProxyType(
    {
        "bias": read_bias,
        "dark": read_dark,
        "flat": read_flat,
        "ptc": read_ptc,
        "gain_correction": read_gain_correction,
        "crosstalk": read_crosstalk,
        "linearizer": read_linearizer,
        "cti": read_cti,
        "defects": read_defects,
        "bfk": read_bfk,
        "electro_bf": read_electro_bf,
    }
)


def read_calibration(kind: str, path: ResourcePathExpression) -> Calibration:
    """Read a calibration of any kind.

    Parameters
    ----------
    kind
        Name of the field of `IsrCalibrations`, such as ``"bias"``.
    path
        File.

    Returns
    -------
    calibration
        The calibration, with what the file says that it is for.

    Raises
    ------
    RequestError
        Raised if there is no such kind.
    InputDataError
        Raised if the file is missing, unusable, or of another kind.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise RequestError(f"No calibration is called {kind!r}; there are {', '.join(_READERS)}.")
    return reader(path)
