"""Detectors from the camera geometry files of earlier pipelines."""

from __future__ import annotations

__all__ = ("read_camera_detector",)

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import astropy.units as u
import numpy as np
import starlink.Ast
from numpy.typing import NDArray

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierCalibrations,
    AmplifierRawGeometry,
    CameraFrameSet,
    CameraFrameSetSerializationModel,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)
from lsst.resources import ResourcePathExpression

from ...container.fits_hdus import FitsHdu, read_fits_hdus
from ...container.header import fits_trouble_reported
from ...errors import InputDataError, RequestError
from .raw_geometry import find_readout_corner

_TYPES = (DetectorType.SCIENCE, DetectorType.FOCUS, DetectorType.GUIDER, DetectorType.WAVEFRONT)
_AST_COMMENT = re.compile(r"(^|\t)\s*#.*$", re.MULTILINE)
_AST_OBJECT = "Begin "

type _Columns = Mapping[str, NDArray[Any]]


def read_camera_detector(
    path: ResourcePathExpression, *, detector: int | str | None = None, instrument: str | None = None
) -> Detector:
    """Read one detector from a camera or detector file.

    Parameters
    ----------
    path
        FITS file in which the pipelines of the survey's first releases persisted a camera, or one
        detector.
    detector
        Identifier or name of the detector; not needed where there is only one.
    instrument
        Name of the instrument; by default that of the camera in the file.

    Returns
    -------
    detector
        Detector with its amplifiers' raw geometry and nominal calibrations, and the maps from its
        pixels to focal plane (mm) and field angle (radian).

    Raises
    ------
    InputDataError
        Raised if the file is missing, damaged, or of an older form.
    RequestError
        Raised if the file has no such detector, or no name of the instrument.

    Notes
    -----
    Boxes are stored as first pixel and size, the detector's as first and last pixel.  Where every
    amplifier has boxes of its own the geometry is that of the assembled raw; where all have the
    same, it is that of single amplifiers.  The readout corner is found from the overscans: the
    stored one is that of another frame.
    """
    hdus = read_fits_hdus(path)
    source = hdus[0].source
    index = _columns(_find(hdus, "ARCHIVE_INDEX", _is_index), _INDEX_COLUMNS)
    detectors = _columns(_find(hdus, "Detector", lambda hdu: _has(hdu, "Detector", 0)), _DETECTOR_COLUMNS)
    amplifiers = _columns(_find(hdus, "amplifier", lambda hdu: _has(hdu, "Detector", 1)), _AMPLIFIER_COLUMNS)
    row = _find_row(detectors, detector, source)
    rows = _amplifier_rows(index, row, source)
    with fits_trouble_reported(source):
        attributes = _make_attributes(detectors, row)
        made = _make_amplifiers(amplifiers, rows)
    name = instrument if instrument is not None else _camera_name(hdus, source)
    frames = _make_frames(hdus, index, attributes, name)
    return Detector(attributes, made, frames)


_INDEX_COLUMNS = ("id", "cat.archive", "cat.persistable", "row0", "nrows", "name")
_DETECTOR_COLUMNS = (
    *("name", "id", "type", "serial", "physicalType", "bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y"),
    *("pixelSize_x", "fpPosition_x", "fpPosition_y", "refPoint_x", "refPoint_y", "yaw", "pitch", "roll"),
)
_BOXES = ("", "data", "horizontaloverscan", "verticaloverscan", "prescan")
_EDGES = ("min_x", "min_y", "extent_x", "extent_y")
_AMPLIFIER_COLUMNS = (
    *("flags", "name", "gain", "saturation", "suspectlevel", "readnoise", "linearity_coeffs"),
    *("linearity_type", "raw_xyoffset_x", "raw_xyoffset_y"),
    *(f"bbox_{edge}" for edge in _EDGES),
    *(f"raw_{box}bbox_{edge}" for box in _BOXES for edge in _EDGES),
)
_MAP_COLUMNS = ("fromSysName", "fromSysDetectorName", "toSysName", "toSysDetectorName", "transform")


def _find(hdus: Sequence[FitsHdu], what: str, is_wanted: Callable[[FitsHdu], bool]) -> FitsHdu:
    """Return the first HDU of a kind."""
    for hdu in hdus:
        if hdu.is_table and is_wanted(hdu):
            return hdu
    raise InputDataError(
        f"{hdus[0].source} has no {what} table, as a camera or detector file has; its HDUs are "
        f"{[hdu.name for hdu in hdus]}."
    )


def _is_index(hdu: FitsHdu) -> bool:
    """Return whether a table is the index of the archive."""
    return bool(hdu.header().get("EXTTYPE") == "ARCHIVE_INDEX")


def _has(hdu: FitsHdu, name: str, kind: int) -> bool:
    """Return whether a table holds the detectors (0) or the amplifiers (1), which have the same name."""
    header = hdu.header()
    columns = {header.get(f"TTYPE{number}") for number in range(1, 999)}
    return bool(header.get("AR_NAME") == name and ("raw_bbox_min_x" in columns) == bool(kind))


def _columns(hdu: FitsHdu, names: Sequence[str]) -> _Columns:
    """Return columns of a table; texts are stored as arrays of characters."""
    table = hdu.table()
    if missing := [name for name in names if name not in table.colnames]:
        raise InputDataError(f"{hdu.label} has no columns {missing}; it has {table.colnames}.")
    return {name: np.asarray(table[name]) for name in names}


def _text(value: Any) -> str:
    """Return a text that is stored as text, bytes or characters."""
    if isinstance(value, bytes):
        return value.decode("ascii").strip()
    if isinstance(value, str):
        return value.strip()
    return "".join(_text(character) for character in value).strip()


def _find_row(detectors: _Columns, wanted: int | str | None, source: str) -> int:
    """Return the row of the detector."""
    names = [_text(name) for name in detectors["name"]]
    numbers = detectors["id"].tolist()
    if wanted is None and len(names) == 1:
        return 0
    for row, known in enumerate(zip(numbers, names, strict=True)):
        if wanted is not None and wanted in known:
            return row
    raise RequestError(
        f"{source} has no detector {wanted!r}; it has {len(names)}: {names[0]} ({numbers[0]}) to "
        f"{names[-1]} ({numbers[-1]})."
    )


def _amplifier_rows(index: _Columns, row: int, source: str) -> range:
    """Return the rows of a detector's amplifiers.

    The archive's index has two entries for each detector, with one identifier: its row in the
    first table of the class, and its rows in the second.
    """
    is_detector = np.array([_text(name) == "Detector" for name in index["name"]], dtype=bool)
    first = is_detector & (index["cat.persistable"] == 0) & (index["row0"] == row)
    for identifier in index["id"][first]:
        second = is_detector & (index["cat.persistable"] == 1) & (index["id"] == identifier)
        for start, count in zip(index["row0"][second], index["nrows"][second], strict=True):
            return range(int(start), int(start + count))
    raise InputDataError(f"{source} does not say which amplifiers its detector in row {row} has.")


def _make_attributes(table: _Columns, row: int) -> DetectorAttributes:
    """Return what is known of the detector as a whole."""
    number = {name: float(table[name][row]) for name in _DETECTOR_COLUMNS if table[name].dtype.kind == "f"}
    x0, y0, x1, y1 = (int(table[f"bbox_{edge}"][row]) for edge in ("min_x", "min_y", "max_x", "max_y"))
    return DetectorAttributes(
        name=_text(table["name"][row]),
        id=int(table["id"][row]),
        type=_TYPES[int(table["type"][row])],
        serial=_text(table["serial"][row]),
        bbox=Box.factory[y0 : y1 + 1, x0 : x1 + 1],
        orientation=Orientation(
            focal_plane_x=number["fpPosition_x"],
            focal_plane_y=number["fpPosition_y"],
            focal_plane_z=0.0,
            pixel_reference_x=number["refPoint_x"],
            pixel_reference_y=number["refPoint_y"],
            yaw=number["yaw"] * u.radian,
            pitch=number["pitch"] * u.radian,
            roll=number["roll"] * u.radian,
        ),
        pixel_size=number["pixelSize_x"],
        physical_type=_text(table["physicalType"][row]),
    )


def _make_amplifiers(table: _Columns, rows: range) -> list[Amplifier]:
    """Return the amplifiers of a detector."""
    starts = {(int(table["raw_bbox_min_x"][row]), int(table["raw_bbox_min_y"][row])) for row in rows}
    is_assembled = len(starts) == len(rows) > 1
    amplifiers = []
    for row in rows:
        geometry = _make_raw_geometry(table, row)
        turned = geometry.readout_corner.apply_flips(y=geometry.flip_y, x=geometry.flip_x)
        amplifiers.append(
            Amplifier(
                name=_text(table["name"][row]),
                bbox=_box(table, "bbox", row),
                readout_corner=turned,
                assembled_raw_geometry=geometry if is_assembled else None,
                unassembled_raw_geometry=None if is_assembled else geometry,
                nominal_calibrations=AmplifierCalibrations(
                    gain=float(table["gain"][row]),
                    read_noise=float(table["readnoise"][row]),
                    saturation=float(table["saturation"][row]),
                    suspect_level=float(table["suspectlevel"][row]),
                    linearity_coefficients=np.array(table["linearity_coeffs"][row], dtype=np.float64),
                    linearity_type=_text(table["linearity_type"][row]),
                ),
            )
        )
    return amplifiers


def _make_raw_geometry(table: _Columns, row: int) -> AmplifierRawGeometry:
    """Return the raw geometry of an amplifier, in whichever frame it is."""
    n_prescan = int(table["raw_prescanbbox_extent_x"][row]) * int(table["raw_prescanbbox_extent_y"][row])
    _, flip_x, flip_y = table["flags"][row]  # the first flag is no longer written
    geometry = AmplifierRawGeometry(
        bbox=_box(table, "raw_bbox", row),
        data_bbox=_box(table, "raw_databbox", row),
        flip_x=bool(flip_x),
        flip_y=bool(flip_y),
        x_offset=int(table["raw_xyoffset_x"][row]),
        y_offset=int(table["raw_xyoffset_y"][row]),
        serial_overscan_bbox=_box(table, "raw_horizontaloverscanbbox", row),
        parallel_overscan_bbox=_box(table, "raw_verticaloverscanbbox", row),
        prescan_bbox=_box(table, "raw_prescanbbox", row) if n_prescan else None,
        readout_corner=ReadoutCorner.LL,
    )
    return geometry.model_copy(update={"readout_corner": find_readout_corner(geometry)})


def _box(table: _Columns, name: str, row: int) -> Box:
    """Return a box of an amplifier."""
    x0, y0, width, height = (int(table[f"{name}_{edge}"][row]) for edge in _EDGES)
    if min(width, height) < 1:
        raise InputDataError(
            f"Amplifier {_text(table['name'][row])} has a {name} of {width} columns and {height} rows."
        )
    return Box.factory[y0 : y0 + height, x0 : x0 + width]


def _camera_name(hdus: Sequence[FitsHdu], source: str) -> str:
    """Return the name of the camera."""
    for hdu in hdus:
        if hdu.is_table and hdu.header().get("AR_NAME") == "Camera":
            table = hdu.table()
            if "name" in table.colnames and len(table) == 1:
                return _text(table["name"][0])
    raise RequestError(f"{source} holds no camera's name: say which instrument it is of.")


def _make_frames(
    hdus: Sequence[FitsHdu], index: _Columns, attributes: DetectorAttributes, instrument: str
) -> CameraFrameSet:
    """Return the frames of focal plane, field angle, and the pixels of one detector."""
    source = hdus[0].source
    links = _columns(
        _find(hdus, "TransformMap", lambda hdu: hdu.header().get("AR_NAME") == "TransformMap"), _MAP_COLUMNS
    )
    is_map = [_text(name) == "TransformPoint2ToPoint2" for name in index["name"]]
    rows = dict(zip(index["id"][is_map].tolist(), index["row0"][is_map].tolist(), strict=True))
    texts = _columns(
        _find(hdus, "transform", lambda hdu: hdu.header().get("AR_NAME") == "TransformPoint2ToPoint2"),
        ("bytes",),
    )["bytes"]
    found: dict[str, Any] = {}
    for number in range(len(links["transform"])):
        start, name, end, other, _ = (
            _text(links[column][number]) if column != "transform" else "" for column in _MAP_COLUMNS
        )
        if start == "FocalPlane" and ((end, other) in {("FieldAngle", ""), ("Pixels", attributes.name)}):
            row = rows.get(int(links["transform"][number]))
            if row is not None:
                with fits_trouble_reported(f"The map from {start} to {end} {other}{name} in {source}"):
                    found[end] = _read_mapping(bytes(np.asarray(texts[row], dtype=np.uint8)))
    if len(found) < 2:
        raise InputDataError(
            f"{source} has maps from the focal plane to {sorted(found)}; needed are FieldAngle and Pixels of "
            f"{attributes.name}."
        )
    return _make_frame_set(found, attributes, instrument)


def _read_mapping(persisted: bytes) -> Any:
    """Return the AST mapping in a persisted transform, whose first words are version and class."""
    text = persisted.decode("latin-1")
    lines = [
        line for line in _AST_COMMENT.sub("", text[text.index(_AST_OBJECT) :]).splitlines() if line.strip()
    ]
    return starlink.Ast.Channel(lines).read()


def _make_frame_set(
    mappings: Mapping[str, Any], attributes: DetectorAttributes, instrument: str
) -> CameraFrameSet:
    """Return the frames that `lsst.images` knows, from AST mappings."""
    y, x = attributes.bbox.y, attributes.bbox.x
    limits = f"Bottom(1)={x.start},Top(1)={x.stop - 1},Bottom(2)={y.start},Top(2)={y.stop - 1}"
    frame_set = starlink.Ast.FrameSet(
        starlink.Ast.Frame(2, "Ident=FOCAL_PLANE,Title=Focal plane coordinates,Unit(1)=mm,Unit(2)=mm")
    )
    frame_set.addframe(
        1,
        mappings["FieldAngle"],
        starlink.Ast.Frame(2, "Ident=FIELD_ANGLE,Title=Field angle coordinates,Unit(1)=rad,Unit(2)=rad"),
    )
    frame_set.addframe(
        1,
        mappings["Pixels"],
        starlink.Ast.Frame(
            2, f"Ident=DETECTOR_{attributes.id:03d},Title=Pixel coordinates,Unit(1)=pix,Unit(2)=pix,{limits}"
        ),
    )
    lines: list[str] = []
    starlink.Ast.Channel(None, _Sink(lines), "Comment=0").write(frame_set)
    # All the data are in the text: the archive is not consulted.
    model = CameraFrameSetSerializationModel(instrument=instrument, ast="\n".join(lines) + "\n")
    return model.deserialize(cast("Any", None))


class _Sink:
    """Collects the lines that AST writes."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def astsink(self, line: str) -> None:
        """Take one line."""
        self._lines.append(line)
