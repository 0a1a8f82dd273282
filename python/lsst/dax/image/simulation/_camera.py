"""The simulated camera: geometry and nominal electronics of its detectors."""

from __future__ import annotations

__all__ = (
    "PIXEL_SIZE_MM",
    "READ_NOISE_ELECTRONS",
    "SATURATION_ELECTRONS",
    "detector_name",
    "make_camera_frames",
    "make_detector",
    "make_single_frames",
)

import functools
import math
from typing import Any, cast

import numpy as np

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierCalibrations,
    CameraFrameSet,
    CameraFrameSetSerializationModel,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)

from ._config import INSTRUMENT, SurveyConfig
from ._visit_plan import detector_bbox, detector_offset

READ_NOISE_ELECTRONS = 6.0
"""Read noise per pixel."""

SATURATION_ELECTRONS = 140_000.0
"""Full well: no pixel holds more."""

PIXEL_SIZE_MM = 0.01
"""Side of a pixel in the focal plane."""


def detector_name(detector: int) -> str:
    """Return the full name of a detector."""
    return f"R00_S{detector:02d}"


@functools.lru_cache(maxsize=8)
def make_camera_frames(config: SurveyConfig) -> CameraFrameSet:
    """Return the frames of all detectors, the focal plane and the field angles.

    The focal plane is flat and undistorted: a field angle is the focal-plane
    position times the nominal plate scale.
    """
    plate_scale = math.radians(config.pixel_scale / 3600.0) / PIXEL_SIZE_MM
    frames = [_frame_text("FOCAL_PLANE", "mm"), _frame_text("FIELD_ANGLE", "rad")]
    maps = [_zoom_text(plate_scale)]
    height, width = config.detector_shape
    for detector in range(config.detector_count):
        frames.append(_frame_text(f"DETECTOR_{detector:03d}", "pix", top=(width - 1, height - 1)))
        x, y = detector_offset(config, detector)
        center = (0.5 * (width - 1), 0.5 * (height - 1))
        # Pixel = focal-plane position / pixel size, relative to the two centres.
        shift = (center[0] - x, center[1] - y)
        maps.append(_window_text(1.0 / PIXEL_SIZE_MM, shift))
    model = CameraFrameSetSerializationModel(instrument=INSTRUMENT, ast=_frame_set_text(frames, maps))
    # All the data are in the text: the archive is not consulted.
    return model.deserialize(cast("Any", None))


@functools.lru_cache(maxsize=8)
def make_single_frames(
    detector: int, *, shape: tuple[int, int], pixel_scale_arcsec: float = 0.2
) -> CameraFrameSet:
    """Return the frames of a camera whose only detector, of a shape (rows, columns), is at the centre."""
    height, width = shape
    plate_scale = math.radians(pixel_scale_arcsec / 3600.0) / PIXEL_SIZE_MM
    frames = [
        _frame_text("FOCAL_PLANE", "mm"),
        _frame_text("FIELD_ANGLE", "rad"),
        _frame_text(f"DETECTOR_{detector:03d}", "pix", top=(width - 1, height - 1)),
    ]
    center = (0.5 * (width - 1), 0.5 * (height - 1))
    maps = [_zoom_text(plate_scale), _window_text(1.0 / PIXEL_SIZE_MM, center)]
    model = CameraFrameSetSerializationModel(instrument=INSTRUMENT, ast=_frame_set_text(frames, maps))
    # All the data are in the text: the archive is not consulted.
    return model.deserialize(cast("Any", None))


def make_detector(config: SurveyConfig, detector: int, *, visit: int | None = None) -> Detector:
    """Return a detector with two amplifiers, left and right."""
    bbox = detector_bbox(config)
    x, y = detector_offset(config, detector)
    attributes = DetectorAttributes(
        name=detector_name(detector),
        id=detector,
        type=DetectorType.SCIENCE,
        serial=f"MINI-{detector:03d}",
        bbox=bbox,
        orientation=Orientation(
            focal_plane_x=x * PIXEL_SIZE_MM,
            focal_plane_y=y * PIXEL_SIZE_MM,
            focal_plane_z=0.0,
            pixel_reference_x=0.5 * (bbox.x.size - 1),
            pixel_reference_y=0.5 * (bbox.y.size - 1),
        ),
        pixel_size=PIXEL_SIZE_MM,
        physical_type="simulated",
    )
    middle = bbox.x.size // 2
    halves = (
        ("C00", Box.factory[0 : bbox.y.stop, 0:middle], ReadoutCorner.LL),
        ("C01", Box.factory[0 : bbox.y.stop, middle : bbox.x.stop], ReadoutCorner.LR),
    )
    amplifiers = [
        Amplifier(
            name=name,
            bbox=box,
            readout_corner=corner,
            nominal_calibrations=AmplifierCalibrations(
                gain=1.5 + 0.02 * detector + 0.01 * number,
                read_noise=READ_NOISE_ELECTRONS,
                saturation=SATURATION_ELECTRONS,
                suspect_level=float("nan"),
                linearity_coefficients=np.array([0.0, SATURATION_ELECTRONS]),
                linearity_type="PROPORTIONAL",
            ),
        )
        for number, (name, box, corner) in enumerate(halves)
    ]
    return Detector(attributes, amplifiers, make_camera_frames(config), visit=visit)


def _frame_text(ident: str, unit: str, *, top: tuple[int, int] | None = None) -> str:
    """Return an AST frame as text, with limits for pixels."""
    axes = []
    for axis, label in enumerate("xy"):
        limits = [f"Top = {top[axis]}", "Bottom = 0"] if top is not None else []
        body = "\n".join([f'Label = "{label}"', f'Unit = "{unit}"', *limits])
        axes.append(f"Ax{axis + 1} =\nBegin Axis\n{body}\nEnd Axis")
    joined = "\n".join(axes)
    return f'Begin Frame\nIdent = "{ident}"\nIsA Object\nNaxes = 2\n{joined}\nEnd Frame'


def _zoom_text(factor: float) -> str:
    return f"Begin ZoomMap\nNin = 2\nIsA Mapping\nZoom = {factor!r}\nEnd ZoomMap"


def _window_text(scale: float, shift: tuple[float, float]) -> str:
    return (
        "Begin WinMap\nNin = 2\nIsA Mapping\n"
        f"Sft1 = {shift[0]!r}\nScl1 = {scale!r}\nSft2 = {shift[1]!r}\nScl2 = {scale!r}\nEnd WinMap"
    )


def _frame_set_text(frames: list[str], maps: list[str]) -> str:
    """Return an AST frame set in which every frame follows from the first."""
    count = len(frames)
    lines = ["Begin FrameSet", f"Nframe = {count}", f"Currnt = {count}"]
    lines += [f"Lnk{number} = 1" for number in range(2, count + 1)]
    lines += [f"Frm{number} =\n{text}" for number, text in enumerate(frames, start=1)]
    lines += [f"Map{number} =\n{text}" for number, text in enumerate(maps, start=2)]
    return "\n".join([*lines, "End FrameSet"])
