"""Small detectors and exposures for the tests of instrument signature removal."""

from __future__ import annotations

__all__ = ("make_amplifiers", "make_detector", "make_exposure")

import functools
from typing import Any, cast

import astropy.units as u
import numpy as np
import numpy.typing as npt
from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierRawGeometry,
    CameraFrameSet,
    CameraFrameSetSerializationModel,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)

from lsst.dax.image.recreation.isr import AmplifierState, ExposureInfo, IsrExposure

CORNERS = {
    "E2V": {1: ReadoutCorner.UR, 0: ReadoutCorner.LL},
    "ITL": {1: ReadoutCorner.UR, 0: ReadoutCorner.LR},
}


def make_amplifiers(
    physical_type: str = "E2V",
    *,
    data: tuple[int, int] = (40, 24),
    prescan: int = 3,
    serial: int = 12,
    parallel: int = 11,
    columns: int = 8,
) -> list[Amplifier]:
    """Return the amplifiers of a small detector, laid out as LSSTCam's: C10 to C17 on top, C07 to C00 below.

    ``data`` are rows and columns of one amplifier's data.
    """
    rows, width = data
    tile_y, tile_x = rows + parallel, prescan + width + serial
    names = [(1, k) for k in range(columns)] + [(0, k) for k in reversed(range(columns))]
    amplifiers = []
    for half, k in names:
        corner = CORNERS[physical_type][half]
        flips = corner.as_flips()
        x0, y0 = k * tile_x, half * tile_y

        def place(x: int, y: int, w: int, h: int, *, x0: int = x0, y0: int = y0, flips: Any = flips) -> Box:
            """Return a box given from the readout corner, in the assembled raw."""
            left = x0 + (tile_x - x - w if flips.x else x)
            bottom = y0 + (tile_y - y - h if flips.y else y)
            return Box.factory[bottom : bottom + h, left : left + w]

        geometry = AmplifierRawGeometry(
            bbox=place(0, 0, tile_x, tile_y),
            data_bbox=place(prescan, 0, width, rows),
            serial_overscan_bbox=place(prescan + width, 0, serial, rows),
            parallel_overscan_bbox=place(prescan, rows, width, parallel),
            prescan_bbox=place(0, 0, prescan, rows),
            readout_corner=corner,
        )
        bbox = Box.factory[half * rows : (half + 1) * rows, k * width : (k + 1) * width]
        amplifiers.append(
            Amplifier(name=f"C{half}{k}", bbox=bbox, readout_corner=corner, assembled_raw_geometry=geometry)
        )
    return amplifiers


def make_detector(physical_type: str = "E2V", **layout: Any) -> Detector:
    """Return a small detector; the arguments are those of `make_amplifiers`."""
    amplifiers = make_amplifiers(physical_type, **layout)
    height = max(amplifier.bbox.y.stop for amplifier in amplifiers)
    width = max(amplifier.bbox.x.stop for amplifier in amplifiers)
    attributes = DetectorAttributes(
        name="R22_S11",
        id=94,
        type=DetectorType.SCIENCE,
        serial="TEST-094",
        bbox=Box.factory[0:height, 0:width],
        orientation=Orientation(
            focal_plane_x=0.0,
            focal_plane_y=0.0,
            focal_plane_z=0.0,
            pixel_reference_x=0.5 * (width - 1),
            pixel_reference_y=0.5 * (height - 1),
        ),
        pixel_size=0.01,
        physical_type=physical_type,
    )
    return Detector(attributes, amplifiers, _make_frames(94, width=width, height=height))


@functools.cache
def _make_frames(detector: int, *, width: int, height: int) -> CameraFrameSet:
    """Return the frames of a camera of one detector, whose pixels are 0.01 mm."""
    limits = "".join(
        f"Ax{axis} =\nBegin Axis\nTop = {size - 1}\nBottom = 0\nEnd Axis\n"
        for axis, size in ((1, width), (2, height))
    )
    frames = [
        f'Frm{number} =\nBegin Frame\nIdent = "{ident}"\nIsA Object\nNaxes = 2\n{axes}End Frame'
        for number, (ident, axes) in enumerate(
            (("FOCAL_PLANE", ""), ("FIELD_ANGLE", ""), (f"DETECTOR_{detector:03d}", limits)), start=1
        )
    ]
    maps = [
        f"Map{number} =\nBegin ZoomMap\nNin = 2\nIsA Mapping\nZoom = {zoom}\nEnd ZoomMap"
        for number, zoom in ((2, 1e-4), (3, 100.0))
    ]
    text = "\n".join(
        ["Begin FrameSet", "Nframe = 3", "Currnt = 3", "Lnk2 = 1", "Lnk3 = 1", *frames, *maps, "End FrameSet"]
    )
    # All the data are in the text: the archive is not consulted.
    return CameraFrameSetSerializationModel(instrument="LSSTCam", ast=text).deserialize(cast("Any", None))


def make_exposure(
    detector: Detector | None = None,
    *,
    image: npt.NDArray[Any] | float = 0.0,
    variance: npt.NDArray[Any] | float = 0.0,
    mask: npt.NDArray[np.uint16] | None = None,
    unit: u.UnitBase = u.electron,
    is_assembled: bool = False,
    gain: float = 1.5,
    read_noise: float = 6.0,
) -> IsrExposure:
    """Return an exposure of given pixels; numbers fill the planes."""
    detector = make_detector() if detector is None else detector
    boxes = [
        amplifier.bbox if is_assembled else cast("Any", amplifier.assembled_raw_geometry).bbox
        for amplifier in detector.amplifiers
    ]
    shape = (max(box.y.stop for box in boxes), max(box.x.stop for box in boxes))
    return IsrExposure(
        image=np.broadcast_to(np.asarray(image, dtype=np.float32), shape).copy(),
        mask=np.zeros(shape, np.uint16) if mask is None else mask,
        variance=np.broadcast_to(np.asarray(variance, dtype=np.float32), shape).copy(),
        unit=unit,
        info=ExposureInfo(
            instrument="LSSTCam",
            exposure=2025052300201,
            detector=94,
            detector_exposure_id=47152417142,
            exposure_time_s=30.0,
            dark_time_s=31.0,
            physical_filter="r_57",
        ),
        detector=detector,
        amplifiers=tuple(
            AmplifierState(name=amplifier.name, gain=gain, read_noise=read_noise)
            for amplifier in detector.amplifiers
        ),
        is_assembled=is_assembled,
    )
