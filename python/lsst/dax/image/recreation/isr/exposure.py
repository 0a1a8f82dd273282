"""An exposure on its way through instrument signature removal."""

from __future__ import annotations

__all__ = (
    "AmplifierState",
    "ExposureInfo",
    "IsrExposure",
    "IsrPlane",
    "OverscanStatistics",
    "box_slices",
    "raw_geometry",
)

import dataclasses
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.time import Time

from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.cameras import Amplifier, AmplifierRawGeometry, Detector

from ...errors import InputDataError

type FloatImage = npt.NDArray[np.float32]
type MaskBits = npt.NDArray[np.uint16]
type HeaderValue = bool | int | float | str


class IsrPlane(enum.IntFlag):
    """Mask planes of instrument signature removal; the bits of `IsrExposure.mask`.

    The names are those of `lsst.images`, the bits those of the observatory's
    earlier files.
    """

    BAD = 1 << 0
    """Defect, bad amplifier or impossible variance."""
    SATURATED = 1 << 1
    """Beyond the turn-off of the photon transfer curve, with its growth."""
    INTERPOLATED = 1 << 2
    """The value comes from neighbours in the row."""
    COSMIC_RAY = 1 << 3
    """Hit by a cosmic ray."""
    DETECTION_EDGE = 1 << 4
    """Too near the edge for a kernel."""
    DETECTED = 1 << 5
    """Part of a source."""
    DETECTED_NEGATIVE = 1 << 6
    """Part of a source of negative flux."""
    SUSPECT = 1 << 7
    """Value is doubtful."""
    NO_DATA = 1 << 8
    """No light reaches the pixel, or no value was stored."""
    CROSSTALK = 1 << 9
    """Changed by the crosstalk correction by more than a limit."""
    ITL_DIP = 1 << 10
    """In the dip around a bright trail of an ITL sensor."""
    UNMASKED_NAN = 1 << 11
    """Not finite, in the image or in the variance."""


@dataclass(frozen=True)
class OverscanStatistics:
    """What an overscan region of an amplifier showed, in the unit of the image at that time."""

    mean: float
    """Mean of the fitted levels."""
    median: float
    """Median of the fitted levels."""
    stdev: float
    """Standard deviation of the fitted levels."""
    residual_mean: float
    """Mean of the region after subtraction."""
    residual_median: float
    """Median of the region after subtraction."""
    residual_stdev: float
    """Clipped standard deviation after subtraction: the empirical read noise."""


@dataclass(frozen=True)
class AmplifierState:
    """What is known of one amplifier at a point of the sequence."""

    name: str
    """Name, as in the detector."""
    gain: float = math.nan
    """Gain in electron per adu."""
    read_noise: float = math.nan
    """Read noise in electron."""
    is_bad: bool = False
    """Whether its pixels are unusable."""
    saturation: float = math.nan
    """Level of saturation, in the unit of the image."""
    suspect: float = math.nan
    """Level from which values are doubtful, in the unit of the image."""
    serial_overscan: OverscanStatistics | None = None
    """Serial overscan, in adu."""
    parallel_overscan: OverscanStatistics | None = None
    """Parallel overscan, in electron."""
    pedestal: float = 0.0
    """Offset that was subtracted, in the unit of the image."""


@dataclass(frozen=True)
class ExposureInfo:
    """Identity and times of an exposure of one detector."""

    instrument: str
    """Name of the instrument."""
    exposure: int
    """Identifier of the exposure."""
    detector: int
    """Identifier of the detector."""
    detector_exposure_id: int
    """Identifier of both, packed into one integer; seeds the integer dither."""
    exposure_time_s: float
    """Exposure time in seconds."""
    dark_time_s: float
    """Time in seconds in which dark current gathered."""
    physical_filter: str = ""
    """Name of the filter."""
    begin: Time | None = None
    """Start of the exposure (TAI); `None` if not recorded."""


@dataclass(frozen=True, eq=False)
class IsrExposure:
    """Pixels, and what is known about them, between two steps.

    Steps take one and return a new one; they share the planes that they do not
    change, so an array must never be written to.

    Notes
    -----
    Before `assemble` the arrays are the whole untrimmed detector, as the
    amplifiers' ``assembled_raw_geometry`` describes it; afterwards they are the
    detector's ``bbox``.  Both start at pixel (0, 0).
    """

    image: FloatImage
    """Image, indexed [y, x]."""
    mask: MaskBits
    """Bits of `IsrPlane`."""
    variance: FloatImage
    """Variance in the unit of the image squared; zero until something is known."""
    unit: u.UnitBase
    """Unit of the image: adu or electron."""
    info: ExposureInfo
    """Identity and times."""
    detector: Detector
    """Geometry of the detector and its amplifiers."""
    amplifiers: tuple[AmplifierState, ...]
    """State of every amplifier, in the order of the detector."""
    is_assembled: bool = False
    """Whether prescans and overscans are gone."""
    header: Mapping[str, HeaderValue] = field(default_factory=lambda: MappingProxyType({}))
    """What the steps record of themselves, with keys such as ``LSST ISR GAIN C10``."""

    def __post_init__(self) -> None:
        shapes = {self.image.shape, self.mask.shape, self.variance.shape}
        if len(shapes) > 1:
            raise InputDataError(f"Image, mask and variance differ in shape: {sorted(shapes)}.")
        if len(self.amplifiers) != len(self.detector.amplifiers):
            raise InputDataError(
                f"Detector {self.detector.name} has {len(self.detector.amplifiers)} amplifiers, "
                f"the exposure {len(self.amplifiers)}."
            )

    def with_pixels(
        self,
        *,
        image: FloatImage | None = None,
        mask: MaskBits | None = None,
        variance: FloatImage | None = None,
    ) -> Self:
        """Return the exposure with some planes replaced."""
        return dataclasses.replace(
            self,
            image=self.image if image is None else image,
            mask=self.mask if mask is None else mask,
            variance=self.variance if variance is None else variance,
        )

    def with_amplifiers(self, amplifiers: tuple[AmplifierState, ...], *, step: str) -> Self:
        """Return the exposure with a new state of its amplifiers.

        Raises
        ------
        InputDataError
            Raised if no good amplifier is left.
        """
        if all(amplifier.is_bad for amplifier in amplifiers):
            raise InputDataError(
                f"After {step!r} all {len(amplifiers)} amplifiers of detector {self.detector.name} in "
                f"exposure {self.info.exposure} are bad."
            )
        return dataclasses.replace(self, amplifiers=amplifiers)

    def with_header(self, cards: Mapping[str, HeaderValue]) -> Self:
        """Return the exposure with more recorded."""
        return dataclasses.replace(self, header=MappingProxyType({**self.header, **cards}))

    def amplifier_bbox(self, amplifier: Amplifier) -> Box:
        """Return the pixels of an amplifier: the raw ones with overscans before assembly, the data after."""
        return amplifier.bbox if self.is_assembled else raw_geometry(amplifier).bbox

    def to_masked_image(self) -> MaskedImage:
        """Return an image of `lsst.images` that shares the arrays; the header is its metadata."""
        schema = make_mask_schema()
        bits = np.ascontiguousarray(self.mask).astype("<u2", copy=False)
        planes = bits.view(np.uint8).reshape(*self.mask.shape, 2)
        return MaskedImage(
            Image(self.image, unit=self.unit),
            mask=Mask(planes, schema=schema),
            variance=Image(self.variance, unit=self.unit**2),
            metadata=dict(self.header),
        )


def make_mask_schema() -> MaskSchema:
    """Return the mask schema whose bits are those of `IsrPlane`."""
    return MaskSchema([MaskPlane(plane.name or "", _DESCRIPTIONS[plane]) for plane in IsrPlane])


def raw_geometry(amplifier: Amplifier) -> AmplifierRawGeometry:
    """Return where an amplifier is in the assembled raw.

    Parameters
    ----------
    amplifier
        Amplifier of a detector.

    Returns
    -------
    geometry
        Boxes of its data and overscans, in pixels of the assembled raw.

    Raises
    ------
    InputDataError
        Raised if the detector does not say.
    """
    if amplifier.assembled_raw_geometry is None:
        raise InputDataError(f"Amplifier {amplifier.name} has no assembled raw geometry.")
    return amplifier.assembled_raw_geometry


def box_slices(box: Box) -> tuple[slice, slice]:
    """Return the slices of a box in an array that starts at pixel (0, 0).

    Parameters
    ----------
    box
        Box of pixels.

    Returns
    -------
    rows, columns
        Slices along y and x.
    """
    return slice(box.y.start, box.y.stop), slice(box.x.start, box.x.stop)


_DESCRIPTIONS = {
    IsrPlane.BAD: "Defect, bad amplifier or impossible variance.",
    IsrPlane.SATURATED: "Saturated, with its growth.",
    IsrPlane.INTERPOLATED: "Interpolated from neighbours in the row.",
    IsrPlane.COSMIC_RAY: "Hit by a cosmic ray.",
    IsrPlane.DETECTION_EDGE: "Too near the edge for a kernel.",
    IsrPlane.DETECTED: "Part of a source.",
    IsrPlane.DETECTED_NEGATIVE: "Part of a source of negative flux.",
    IsrPlane.SUSPECT: "Value is doubtful.",
    IsrPlane.NO_DATA: "No data.",
    IsrPlane.CROSSTALK: "Changed much by the crosstalk correction.",
    IsrPlane.ITL_DIP: "In the dip around a bright trail of an ITL sensor.",
    IsrPlane.UNMASKED_NAN: "Not finite.",
}
