"""A slow, plain instrument signature removal: the reference that fast code is held against.

Every step is a few lines of NumPy, in the order and with the rounding of the
observatory's pipeline of Data Preview 2: planes are float32, and so is each
product of an image with a number.  It shares no function with the library's
own reduction.

Mask planes go by the observatory's short names (SAT, INTRP, ...); those of
`lsst.images` are longer.
"""

from __future__ import annotations

__all__ = (
    "DP2_STEPS",
    "STEPS",
    "BrighterFatterMethod",
    "FootprintRules",
    "Planes",
    "ReferenceResult",
    "ReferenceSettings",
    "run_reference_isr",
)

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..errors import InputDataError, RequestError
from ._reference_brighter_fatter import BrighterFatterMethod
from ._reference_detector import CalibrationMasks
from ._reference_footprints import FootprintRules
from ._reference_planes import BoolArray, Float32Array, Planes
from ._reference_steps import (
    DP2_STEPS,
    STEP_FUNCTIONS,
    STEPS,
    HeaderValue,
    ReferenceSettings,
    Run,
    by_name,
)
from ._sensor import Sensor, SimulatedCalibrations


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceResult:
    """An image without instrument signature."""

    image: Float32Array
    """Electrons, shape of the trimmed detector."""
    mask: Mapping[str, BoolArray]
    """Pixels of each mask plane that was set anywhere on the way, by short name."""
    variance: Float32Array
    """Variance in electron squared."""
    header: Mapping[str, HeaderValue]
    """Keys that start with ``LSST ISR``."""
    bad_amplifiers: frozenset[str]
    """Amplifiers found bad."""
    intermediate: Mapping[str, Planes]
    """Planes after each step, by its name, where they were asked for."""


def run_reference_isr(
    raw_counts: npt.NDArray[np.integer] | npt.NDArray[np.floating],
    sensor: Sensor,
    calibrations: SimulatedCalibrations,
    *,
    detector_exposure_id: int,
    dark_time: float,
    settings: ReferenceSettings | None = None,
    calibration_masks: Mapping[str, CalibrationMasks] | None = None,
    keep_intermediate: bool = False,
) -> ReferenceResult:
    """Remove the instrument signature from one raw.

    Parameters
    ----------
    raw_counts
        Counts of the assembled untrimmed raw in adu, shape of ``sensor.raw_bbox``.
    sensor
        Detector.
    calibrations
        Its calibrations, taken as measured.
    detector_exposure_id
        Identifier of exposure and detector; it seeds the integer dither.
    dark_time
        Dark time of the exposure in seconds.
    settings
        Which steps run, and how.
    calibration_masks
        Mask planes of the ``bias``, the ``dark`` and the ``flat``, if they have any.
    keep_intermediate
        Whether to return the planes after each step.

    Returns
    -------
    result
        Image, mask, variance and header.

    Raises
    ------
    InputDataError
        Raised if the raw has the wrong size or no amplifier is usable.
    RequestError
        Raised if a step is unknown.
    """
    settings = settings if settings is not None else ReferenceSettings()
    steps = settings.steps or DP2_STEPS
    if unknown := [name for name in steps if name not in STEP_FUNCTIONS]:
        raise RequestError(f"Unknown steps {unknown}; there are {', '.join(STEPS)}.")
    shape = tuple(sensor.raw_bbox.shape)
    if raw_counts.shape != shape:
        raise InputDataError(
            f"The raw of {sensor.name} has shape {raw_counts.shape}, its amplifiers {shape}."
        )
    image = raw_counts.astype(np.float32)
    run = Run(
        planes=Planes(image=image, mask={}, variance=np.zeros_like(image)),
        sensor=sensor,
        calibrations=calibrations,
        settings=settings,
        detector_exposure_id=detector_exposure_id,
        dark_time=dark_time,
        masks=calibration_masks if calibration_masks is not None else {},
        gains=by_name(sensor, calibrations.ptc_gains),
        noises=by_name(sensor, sensor.read_noises),
        saturation=by_name(sensor, calibrations.turnoff_adu, override=settings.saturation_adu),
    )
    intermediate = {}
    for name in steps:
        STEP_FUNCTIONS[name](run)
        if keep_intermediate:
            intermediate[name] = run.planes
    return ReferenceResult(
        image=run.planes.image,
        mask=run.planes.mask,
        variance=run.planes.variance,
        header=run.header,
        bad_amplifiers=frozenset(run.bad),
        intermediate=intermediate,
    )
