"""Calibrations of a detector, as plain values.

`IsrCalibrations` holds what one exposure needs.  The readers are in
`lsst.dax.image.recreation.isr.calibration_files`.
"""

from __future__ import annotations

__all__ = (
    "AmplifierChargeTransfer",
    "AmplifierLinearity",
    "AmplifierPtc",
    "BrighterFatterDistortion",
    "BrighterFatterKernel",
    "CalibrationImage",
    "CalibrationInfo",
    "Crosstalk",
    "Defects",
    "DeferredCharge",
    "GainCorrection",
    "IsrCalibrations",
    "LinearityType",
    "Linearizer",
    "PhotonTransferCurve",
    "SerialTrap",
    "TrapType",
)

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.time import Time

from lsst.images import Box, Polygon

type FloatImage = npt.NDArray[np.float32]
type FloatArray = npt.NDArray[np.float64]
type MaskBits = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class CalibrationInfo:
    """What a calibration is for, and where it comes from."""

    kind: str
    """Name of the field of `IsrCalibrations`, such as ``"bias"``."""
    instrument: str = ""
    """Instrument; empty if not recorded."""
    detector: int | None = None
    """Detector; `None` if not recorded."""
    physical_filter: str | None = None
    """Filter of a flat."""
    dataset_id: UUID | None = None
    """Dataset in the Butler."""
    run: str = ""
    """Collection of the dataset."""
    valid_begin: Time | None = None
    """Start of the validity range (TAI); `None` if open or not recorded."""
    valid_end: Time | None = None
    """End of the validity range (TAI), exclusive."""
    source: str = ""
    """File, for messages."""


@dataclass(frozen=True, eq=False)
class CalibrationImage:
    """A master bias, dark or flat of a trimmed detector."""

    info: CalibrationInfo
    """What it is for."""
    image: FloatImage
    """Image [y, x]: electron (bias), electron per `dark_time_s` (dark), no unit (flat)."""
    mask: MaskBits
    """Bits of `IsrPlane`."""
    variance: FloatImage
    """Variance, in the unit of the image squared."""
    unit: u.UnitBase
    """Unit of the image."""
    dark_time_s: float = math.nan
    """Dark time of a dark, in seconds; NaN if not recorded, which counts as 1."""
    valid_polygon: Polygon | None = None
    """Outline of the lit part of a vignetted flat."""


@dataclass(frozen=True)
class AmplifierPtc:
    """Photon transfer curve of one amplifier."""

    gain: float
    """Gain in electron per adu."""
    read_noise: float
    """Read noise in electron."""
    turnoff_adu: float
    """Level where the curve turns off, in adu: the saturation."""
    overscan_median_adu: float = math.nan
    """Expected level of the serial overscan."""
    overscan_median_sigma_adu: float = math.nan
    """1-sigma scatter of that level."""


@dataclass(frozen=True)
class PhotonTransferCurve:
    """Gains, read noises and turn-offs of a detector."""

    info: CalibrationInfo
    """What it is for."""
    amplifiers: Mapping[str, AmplifierPtc]
    """By amplifier name."""


@dataclass(frozen=True)
class GainCorrection:
    """Factors on the gains of the photon transfer curve."""

    info: CalibrationInfo
    """What it is for."""
    adjustments: Mapping[str, float]
    """Factor by amplifier name."""


@dataclass(frozen=True, eq=False)
class Crosstalk:
    """Crosstalk between the amplifiers of a detector."""

    info: CalibrationInfo
    """What it is for."""
    linear: FloatArray
    """Coefficient [source, target] of the source pixel, in the order of the detector's amplifiers."""
    quadratic: FloatArray
    """Coefficient [source, target] of the source pixel squared."""
    valid: npt.NDArray[np.bool_]
    """Which coefficients [source, target] count."""
    unit: u.UnitBase
    """Unit (adu or electron) of the pixels that the coefficients are for."""
    fit_gains: FloatArray | None = None
    """Gains of the fit, by amplifier; `None` if not recorded."""


class LinearityType(enum.StrEnum):
    """Form of a linearity correction (the names of the observatory's files)."""

    SPLINE = "Spline"
    """Akima spline of the correction."""
    DOUBLE_SPLINE = "DoubleSpline"
    """One Akima spline after another."""
    SQUARED = "Squared"
    """One coefficient of the square."""
    POLYNOMIAL = "Polynomial"
    """Coefficients of the powers from 2."""
    LOOKUP_TABLE = "LookupTable"
    """Additive table."""
    PROPORTIONAL = "Proportional"
    """Nothing to correct."""
    NONE = "None"
    """Nothing to correct."""


@dataclass(frozen=True, eq=False)
class AmplifierLinearity:
    """Linearity correction of one amplifier."""

    form: LinearityType
    """Form."""
    coefficients: FloatArray
    """Coefficients; their meaning depends on the form."""


@dataclass(frozen=True, eq=False)
class Linearizer:
    """Linearity correction of a detector."""

    info: CalibrationInfo
    """What it is for."""
    amplifiers: Mapping[str, AmplifierLinearity]
    """By amplifier name."""
    unit: u.UnitBase
    """Unit of the coefficients' abscissa and ordinate (adu, or electron)."""
    table: FloatArray | None = None
    """Rows of the lookup tables."""


class TrapType(enum.StrEnum):
    """How a serial trap captures charge (the names of the observatory's files)."""

    LINEAR = "linear"
    """In proportion, up to its size."""
    LOGISTIC = "logistic"
    """Along a logistic curve."""
    SPLINE = "spline"
    """Linear interpolation in a table."""


@dataclass(frozen=True, eq=False)
class SerialTrap:
    """A trap in the serial register."""

    size: float
    """Capacity in electron."""
    emission_time_px: float
    """Emission time in transfers."""
    pixel: int
    """Column of the trap; the correction does not depend on it."""
    form: TrapType
    """How it captures."""
    coefficients: FloatArray
    """Coefficients of the capture function."""


@dataclass(frozen=True)
class AmplifierChargeTransfer:
    """Serial charge transfer of one amplifier."""

    drift_scale: float
    """Fraction of the signal that drifts into the local electronics offset."""
    decay_time_px: float
    """Decay of that offset, in transfers."""
    global_cti: float
    """Charge transfer inefficiency per transfer."""
    trap: SerialTrap | None
    """Its trap."""


@dataclass(frozen=True)
class DeferredCharge:
    """Serial charge transfer of a detector."""

    info: CalibrationInfo
    """What it is for."""
    amplifiers: Mapping[str, AmplifierChargeTransfer]
    """By amplifier name."""


@dataclass(frozen=True)
class Defects:
    """Bad pixels of a detector."""

    info: CalibrationInfo
    """What it is for."""
    boxes: tuple[Box, ...]
    """Boxes in pixels of the trimmed detector, possibly overlapping."""


@dataclass(frozen=True, eq=False)
class BrighterFatterKernel:
    """Scalar kernel of the brighter-fatter effect (Coulton et al. 2018)."""

    info: CalibrationInfo
    """What it is for."""
    detector_kernel: FloatArray | None
    """Kernel of the detector, per electron; `None` if only amplifiers have one."""
    amplifier_kernels: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))
    """Kernels of amplifiers, by name."""


@dataclass(frozen=True, eq=False)
class BrighterFatterDistortion:
    """Shifts of pixel boundaries by charge (Astier and Regnault 2023).

    Each matrix is indexed [serial, parallel] by the distance of the charge and
    gives the shift of one boundary of a pixel, in pixels per electron.
    """

    info: CalibrationInfo
    """What it is for."""
    north: FloatArray
    """Shift of the upper boundary."""
    south: FloatArray
    """Shift of the lower boundary."""
    east: FloatArray
    """Shift of the right boundary."""
    west: FloatArray
    """Shift of the left boundary."""
    by_filter: Mapping[str, tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """North, south, east and west of the filters that have their own."""


@dataclass(frozen=True, eq=False)
class IsrCalibrations:
    """The calibrations of one exposure; steps take those that they name."""

    bias: CalibrationImage | None = None
    """Master bias."""
    dark: CalibrationImage | None = None
    """Master dark."""
    flat: CalibrationImage | None = None
    """Master flat of the exposure's filter."""
    ptc: PhotonTransferCurve | None = None
    """Gains, read noises and turn-offs."""
    gain_correction: GainCorrection | None = None
    """Factors on the gains."""
    crosstalk: Crosstalk | None = None
    """Crosstalk coefficients."""
    linearizer: Linearizer | None = None
    """Linearity correction."""
    cti: DeferredCharge | None = None
    """Serial charge transfer."""
    defects: Defects | None = None
    """Bad pixels."""
    bfk: BrighterFatterKernel | None = None
    """Brighter-fatter kernel."""
    electro_bf: BrighterFatterDistortion | None = None
    """Brighter-fatter boundary shifts."""
    pedestals: Mapping[str, float] | None = None
    """Offsets by amplifier name in electron, as the header of the original says."""
