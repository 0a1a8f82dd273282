"""Sensors of both vendors of the camera, and the plain truth about one."""

from __future__ import annotations

__all__ = (
    "PHYSICAL_TYPES",
    "Sensor",
    "SensorAmplifier",
    "SimulatedCalibrations",
    "SimulatedChargeTransfer",
    "SimulatedLinearity",
    "SimulatedTrap",
    "make_sensor",
)

import dataclasses

import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierCalibrations,
    AmplifierRawGeometry,
    CameraFrameSet,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)

from ..errors import RequestError
from ._camera import PIXEL_SIZE_MM, detector_name, make_single_frames

type FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Pixels of one amplifier of a vendor, and the corners that its two halves are read at."""

    data: tuple[int, int]
    prescan: int
    serial_overscan: int
    parallel_overscan: int
    bottom: ReadoutCorner
    top: ReadoutCorner


PHYSICAL_TYPES = ("E2V", "ITL")
"""The vendors."""

_LAYOUTS = {
    "E2V": _Layout((2002, 512), 10, 54, 46, bottom=ReadoutCorner.LL, top=ReadoutCorner.UR),
    "ITL": _Layout((2000, 509), 3, 64, 48, bottom=ReadoutCorner.LR, top=ReadoutCorner.UR),
}


@dataclasses.dataclass(frozen=True)
class SensorAmplifier:
    """One amplifier: where its pixels are, and its electronics.

    The boxes named ``raw`` are in the assembled untrimmed raw of the detector,
    that is with the flips of the readout undone; 0-based.
    """

    name: str
    """Name, such as ``C10``."""
    bbox: Box
    """Data pixels in the trimmed detector."""
    raw_bbox: Box
    """All pixels."""
    raw_data_bbox: Box
    """Data pixels."""
    raw_serial_overscan_bbox: Box
    """Serial overscan, beside the data."""
    raw_parallel_overscan_bbox: Box
    """Parallel overscan, beyond the data."""
    raw_prescan_bbox: Box
    """Serial prescan, beside the data."""
    readout_corner: ReadoutCorner
    """Corner of the first pixel that is read; in its own file extension that is the lower left."""
    gain: float
    """True gain in electron per adu."""
    read_noise: float
    """True read noise in electron."""
    bias_level: float
    """Level of the electronics without charge, in adu."""
    full_well: float
    """Most charge that a pixel holds, in electron."""

    @property
    def flips(self) -> tuple[bool, bool]:
        """Whether (x, y) of the file extension are flipped in the assembled raw."""
        flips = self.readout_corner.as_flips()
        return bool(flips.x), bool(flips.y)


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One detector; its amplifiers are in the order of the raw file (C10 to C17, C07 to C00)."""

    physical_type: str
    """Vendor: ``E2V`` or ``ITL``."""
    detector: int
    """Identifier."""
    name: str
    """Full name, such as ``R22_S11``."""
    serial: str
    """Serial number."""
    amplifiers: tuple[SensorAmplifier, ...]
    """Amplifiers."""

    @property
    def bbox(self) -> Box:
        """Trimmed detector."""
        return _union([amplifier.bbox for amplifier in self.amplifiers])

    @property
    def raw_bbox(self) -> Box:
        """Assembled untrimmed raw."""
        return _union([amplifier.raw_bbox for amplifier in self.amplifiers])

    @property
    def gains(self) -> FloatArray:
        """True gains in electron per adu."""
        return np.array([amplifier.gain for amplifier in self.amplifiers])

    @property
    def read_noises(self) -> FloatArray:
        """True read noises in electron."""
        return np.array([amplifier.read_noise for amplifier in self.amplifiers])

    def to_detector(
        self,
        *,
        frames: CameraFrameSet | None = None,
        focal_plane_px: tuple[float, float] = (0.0, 0.0),
        visit: int | None = None,
    ) -> Detector:
        """Return the detector of `lsst.images`, with the geometry of its raw.

        Parameters
        ----------
        frames
            Frames of the camera; the default is a camera of this detector alone.
        focal_plane_px
            Centre (x, y) in the focal plane, in pixels.
        visit
            Visit of the detector's frame.
        """
        bbox = self.bbox
        attributes = DetectorAttributes(
            name=self.name,
            id=self.detector,
            type=DetectorType.SCIENCE,
            serial=self.serial,
            bbox=bbox,
            orientation=Orientation(
                focal_plane_x=focal_plane_px[0] * PIXEL_SIZE_MM,
                focal_plane_y=focal_plane_px[1] * PIXEL_SIZE_MM,
                focal_plane_z=0.0,
                pixel_reference_x=0.5 * (bbox.x.size - 1),
                pixel_reference_y=0.5 * (bbox.y.size - 1),
            ),
            pixel_size=PIXEL_SIZE_MM,
            physical_type=self.physical_type,
        )
        if frames is None:
            frames = make_single_frames(self.detector, shape=(bbox.y.size, bbox.x.size))
        return Detector(attributes, [_to_amplifier(a) for a in self.amplifiers], frames, visit=visit)


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedLinearity:
    """Linearity correction of one amplifier; zero correction for ``Proportional``."""

    form: str
    """``DoubleSpline``, ``Spline``, ``Squared``, ``Polynomial`` or ``Proportional``."""
    coefficients: FloatArray
    """Coefficients in adu, in the layout of the observatory's files."""


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedTrap:
    """A trap at the output end of the serial register."""

    size: float
    """Capacity in electron."""
    emission_time_px: float
    """Emission time in transfers."""
    pixel: int
    """Register position, counted from the output."""
    form: str
    """``linear``, ``logistic`` or ``spline``."""
    coefficients: FloatArray
    """``linear``: captured fraction; ``logistic``: midpoint in electron and slope per electron;
    ``spline``: signals, then captured charges, both in electron."""


@dataclasses.dataclass(frozen=True)
class SimulatedChargeTransfer:
    """Serial charge transfer of one amplifier."""

    drift_scale: float
    """Fraction of the signal that goes into the offset of the electronics."""
    decay_time_px: float
    """Decay time of that offset in transfers."""
    global_cti: float
    """Fraction of the charge that each transfer leaves behind."""
    trap: SimulatedTrap | None
    """The trap, if any."""


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedCalibrations:
    """The truth of a detector that calibrations would measure.

    Images are float64 in pixels [y, x] of the trimmed detector; sequences are in
    the order of `Sensor.amplifiers`.
    """

    sensor: Sensor
    """The detector."""
    bias: FloatArray
    """Structure of the bias, in electron."""
    bias_variance: FloatArray
    """Variance of the master bias, in electron squared."""
    dark: FloatArray
    """Dark current, in electron per second."""
    dark_variance: FloatArray
    """Variance of the master dark (of 1 second)."""
    flat: FloatArray
    """Relative response, about 1."""
    flat_variance: FloatArray
    """Variance of the master flat."""
    gain_adjustments: FloatArray
    """Factors of the gain correction: `ptc_gains` times these are the true gains."""
    turnoff_adu: FloatArray
    """Saturation level above the overscan, in adu."""
    overscan_median_adu: FloatArray
    """Expected median of the serial overscan."""
    overscan_median_sigma_adu: FloatArray
    """1-sigma scatter of that."""
    crosstalk_linear: FloatArray
    """Coefficients [source, target] of the source pixel."""
    crosstalk_quadratic: FloatArray
    """Coefficients [source, target] of the source pixel squared, in 1 / `crosstalk_unit`."""
    crosstalk_valid: npt.NDArray[np.bool_]
    """Which coefficients count."""
    crosstalk_unit: str
    """``adu`` or ``electron``."""
    linearity: tuple[SimulatedLinearity, ...]
    """Linearity by amplifier; abscissa and ordinate in adu above the overscan."""
    charge_transfer: tuple[SimulatedChargeTransfer, ...]
    """Serial charge transfer by amplifier."""
    kernel: FloatArray
    """Scalar brighter-fatter kernel (odd square, [y, x]), per electron."""
    shift_north: FloatArray
    """Outward shift (pixels) of the upper boundary of pixel [serial, parallel] by an electron in [0, 0]."""
    shift_south: FloatArray
    """The same of the lower boundary."""
    shift_east: FloatArray
    """The same of the right boundary."""
    shift_west: FloatArray
    """The same of the left boundary."""
    defects: tuple[Box, ...]
    """Bad pixels, in the trimmed detector."""

    @property
    def ptc_gains(self) -> FloatArray:
        """Gains that the photon transfer curve says, in electron per adu."""
        return self.sensor.gains / self.gain_adjustments


def make_sensor(
    physical_type: str,
    *,
    detector: int = 0,
    name: str | None = None,
    data_shape: tuple[int, int] | None = None,
    overscan: tuple[int, int] | None = None,
    columns: int = 8,
    seed: int = 20251101,
) -> Sensor:
    """Return a detector laid out as those of the camera: two rows of amplifiers, read at the outer corners.

    Parameters
    ----------
    physical_type
        Vendor: ``E2V`` or ``ITL``.
    detector
        Identifier.
    name
        Full name; the default is that of the mini survey.
    data_shape
        Rows and columns of data of one amplifier; the default is the true size.
    overscan
        Columns of serial and rows of parallel overscan; the default is the true size.
    columns
        Number of amplifiers in a row.
    seed
        Seed of the properties of the amplifiers, with the detector.

    Returns
    -------
    sensor
        The detector.

    Raises
    ------
    RequestError
        Raised if the vendor is unknown or a size is not positive.
    """
    if physical_type not in _LAYOUTS:
        raise RequestError(f"A sensor is one of {', '.join(PHYSICAL_TYPES)}, not {physical_type!r}.")
    layout = _LAYOUTS[physical_type]
    serial, parallel = (
        overscan if overscan is not None else (layout.serial_overscan, layout.parallel_overscan)
    )
    data = data_shape if data_shape is not None else layout.data
    if min(*data, serial, parallel, columns) < 1:
        raise RequestError(
            f"Data {data}, overscans {(serial, parallel)} and columns {columns} of a sensor must be positive."
        )
    layout = dataclasses.replace(layout, data=data, serial_overscan=serial, parallel_overscan=parallel)
    rng = np.random.default_rng([seed, 20, detector])
    places = [(1, k) for k in range(columns)] + [(0, k) for k in reversed(range(columns))]
    return Sensor(
        physical_type=physical_type,
        detector=detector,
        name=name if name is not None else detector_name(detector),
        serial=f"{physical_type}-{detector:03d}",
        amplifiers=tuple(_make_amplifier(layout, half=half, column=k, rng=rng) for half, k in places),
    )


def _make_amplifier(layout: _Layout, *, half: int, column: int, rng: np.random.Generator) -> SensorAmplifier:
    """Return an amplifier of the lower (0) or upper (1) half."""
    rows, width = layout.data
    height, tile = rows + layout.parallel_overscan, layout.prescan + width + layout.serial_overscan
    corner = layout.top if half else layout.bottom
    flips = corner.as_flips()

    def place(x: int, y: int, w: int, h: int) -> Box:
        """Return a box that is given from the readout corner."""
        left = column * tile + (tile - x - w if flips.x else x)
        bottom = half * height + (height - y - h if flips.y else y)
        return Box.factory[bottom : bottom + h, left : left + w]

    start = layout.prescan
    return SensorAmplifier(
        name=f"C{half}{column}",
        bbox=Box.factory[half * rows : (half + 1) * rows, column * width : (column + 1) * width],
        raw_bbox=place(0, 0, tile, height),
        raw_data_bbox=place(start, 0, width, rows),
        raw_serial_overscan_bbox=place(start + width, 0, layout.serial_overscan, rows),
        raw_parallel_overscan_bbox=place(start, rows, width, layout.parallel_overscan),
        raw_prescan_bbox=place(0, 0, start, rows),
        readout_corner=corner,
        gain=float(rng.uniform(1.45, 1.75)),
        read_noise=float(rng.uniform(5.0, 7.5)),
        bias_level=float(rng.uniform(20_000.0, 28_000.0)),
        full_well=float(rng.uniform(130_000.0, 150_000.0)),
    )


def _to_amplifier(amplifier: SensorAmplifier) -> Amplifier:
    """Return the amplifier of `lsst.images`."""
    return Amplifier(
        name=amplifier.name,
        bbox=amplifier.bbox,
        readout_corner=amplifier.readout_corner,
        assembled_raw_geometry=AmplifierRawGeometry(
            bbox=amplifier.raw_bbox,
            data_bbox=amplifier.raw_data_bbox,
            serial_overscan_bbox=amplifier.raw_serial_overscan_bbox,
            parallel_overscan_bbox=amplifier.raw_parallel_overscan_bbox,
            prescan_bbox=amplifier.raw_prescan_bbox,
            readout_corner=amplifier.readout_corner,
        ),
        nominal_calibrations=AmplifierCalibrations(
            gain=amplifier.gain,
            read_noise=amplifier.read_noise,
            saturation=amplifier.full_well,
            suspect_level=float("nan"),
            linearity_coefficients=np.array([0.0, amplifier.full_well]),
            linearity_type="PROPORTIONAL",
        ),
    )


def _union(boxes: list[Box]) -> Box:
    """Return the box around others."""
    return Box.factory[
        min(box.y.start for box in boxes) : max(box.y.stop for box in boxes),
        min(box.x.start for box in boxes) : max(box.x.stop for box in boxes),
    ]
