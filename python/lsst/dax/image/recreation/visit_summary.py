"""The table that says of each detector of a visit how it was calibrated in the end."""

from __future__ import annotations

__all__ = ("VisitSummaryRow", "read_visit_summary")

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import astropy.units as u
import numpy as np
import pydantic
import starlink.Ast
from astropy.table import Row

from lsst.images import (
    Box,
    DetectorFrame,
    ObservationSummaryStats,
    Polygon,
    SkyFrame,
    SkyProjection,
    SkyProjectionSerializationModel,
)
from lsst.images.aperture_corrections import ApertureCorrectionMap
from lsst.images.fields import ChebyshevField, Field, ProductField
from lsst.images.serialization import DetachedArchive
from lsst.resources import ResourcePath, ResourcePathExpression

from ..container import check_ast_text
from ..container.fits_hdus import FitsHdu, read_fits_hdus
from ..container.header import fits_trouble_reported
from ..errors import InputDataError
from ._afw_archive import BOX_COLUMNS, Archive, ArchiveObject, make_box, open_archive_of

_IDENTITY = ("id", "visit", "physical_filter", "band", *BOX_COLUMNS)
_OBJECTS = ("wcs", "psf", "photoCalib", "apCorrMap", "validPolygon", "visitInfo")
# What a column was called before the statistics had its name.
_OLD_NAMES = MappingProxyType({"dec": "decl"})
_SKY_WCS = re.compile(r"1 SkyWcs [01] (.*)\Z", re.DOTALL)
_PHOTO_CALIB_VERSION = 1
_MAX_FACTORS = 100


@dataclass(frozen=True, eq=False)
class VisitSummaryRow:
    """What the final calibration of a visit says of one detector; what it lacks is `None`."""

    instrument: str
    """Name of the instrument."""
    visit: int
    """Visit."""
    detector: int
    """Detector."""
    physical_filter: str
    """Physical filter."""
    band: str
    """Band."""
    bbox: Box
    """Pixels of the detector."""
    sky_projection: SkyProjection[DetectorFrame] | None
    """Map between pixels (0-based) and ICRS."""
    photometric_scaling: Field | None
    """Calibration in nJy per electron."""
    aperture_corrections: ApertureCorrectionMap | None
    """Aperture corrections by algorithm."""
    valid_polygon: Polygon | None
    """Outline of the lit part, in pixels."""
    summary_stats: ObservationSummaryStats
    """Summary statistics."""
    psf_kind: str | None
    """Class of the PSF model that the file holds.

    The model itself is not read: the Piff models of the survey are pickles,
    which may run any code, and PSFEx models are of a class of a stack that need
    not be installed.
    """


def read_visit_summary(
    path: ResourcePathExpression, *, detectors: Collection[int] | None = None
) -> Mapping[int, VisitSummaryRow]:
    """Read the summary of a visit in the form that the survey's first pipelines write.

    Parameters
    ----------
    path
        FITS file, possibly compressed as a whole: a table with a row for each
        detector, and an archive with the objects that its rows name.
    detectors
        Detectors to read; all if `None`.

    Returns
    -------
    rows
        Rows by detector, in the order of the file; a detector that is not
        there is left out.

    Raises
    ------
    InputDataError
        Raised if the file is missing or damaged, or holds an object of a class
        that is not known here.  Nothing is ever unpickled.

    Notes
    -----
    The scaling is taken as nJy per electron; where pixels were in another
    unit when the visit was calibrated, as in the survey's precursors, it is per
    that unit.  A constant scaling is that of ``calibrationMean``; another one
    is the persisted field, which holds the mean.
    """
    source = str(ResourcePath(path, forceDirectory=False))
    hdus = read_fits_hdus(path)
    with fits_trouble_reported(source):
        return MappingProxyType(_read_rows(hdus, source, detectors))


def _read_rows(
    hdus: Sequence[FitsHdu], source: str, detectors: Collection[int] | None
) -> dict[int, VisitSummaryRow]:
    archive = open_archive_of(hdus, source)
    table = next(hdu for hdu in hdus if hdu.is_table).table()
    if missing := [name for name in (*_IDENTITY, *_OBJECTS) if name not in table.colnames]:
        raise InputDataError(f"{source} is no visit summary: its first table has no columns {missing}.")
    rows: dict[int, VisitSummaryRow] = {}
    for row in table:
        detector = int(row["id"])
        if detectors is None or detector in detectors:
            if detector in rows:
                raise InputDataError(f"{source} has detector {detector} twice.")
            rows[detector] = _read_row(row, archive)
    return rows


def _read_row(row: Row, archive: Archive) -> VisitSummaryRow:
    detector, visit = int(row["id"]), int(row["visit"])
    label = f"Detector {detector} in {archive.source}"
    bbox = make_box(label, {name: int(row[name]) for name in BOX_COLUMNS})
    numbers = {name: int(row[name]) for name in _OBJECTS}
    found = {name: archive.find(n) for name, n in numbers.items() if n and name != "psf"}
    if "visitInfo" not in found:
        raise InputDataError(f"{label} has no VisitInfo, which names the instrument.")
    instrument = "".join(_decode(text) for text in np.atleast_1d(found["visitInfo"].value("instrumentlabel")))
    frame = DetectorFrame(instrument=instrument.strip(), visit=visit, detector=detector, bbox=bbox)
    wcs, scaling, corrections, polygon = (
        found.get(name) for name in ("wcs", "photoCalib", "apCorrMap", "validPolygon")
    )
    return VisitSummaryRow(
        instrument=frame.instrument,
        visit=visit,
        detector=detector,
        physical_filter=_decode(row["physical_filter"]),
        band=_decode(row["band"]),
        bbox=bbox,
        sky_projection=None if wcs is None else _read_projection(wcs, frame),
        photometric_scaling=None if scaling is None else _read_scaling(scaling, archive, bbox),
        aperture_corrections=None if corrections is None else _read_corrections(corrections, archive),
        valid_polygon=None if polygon is None else _read_polygon(polygon),
        summary_stats=_read_statistics(row, label),
        psf_kind=archive.kind(numbers["psf"]) if numbers["psf"] else None,
    )


def _read_projection(wcs: ArchiveObject, frame: DetectorFrame) -> SkyProjection[DetectorFrame]:
    """Return the map to the sky of an AST text."""
    _require(wcs, "SkyWcs")
    stored = np.asarray(wcs.value("wcs"), np.uint8).tobytes()
    match = _SKY_WCS.match(stored.decode("latin-1"))
    if match is None or not stored.isascii():
        raise InputDataError(f"{wcs.label} does not begin as a SkyWcs of version 1.")
    # AST writes what is not set, and the meaning of what is, as comments.
    lines = [line.split("\t")[0].rstrip() for line in match[1].splitlines()]
    text = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    try:
        check_ast_text(text)
        frame_set = starlink.Ast.Channel(text.splitlines()).read()
    except (InputDataError, starlink.Ast.AstError) as error:
        raise InputDataError(f"{wcs.label} is not usable: {error}") from error
    sky = frame_set.getframe(frame_set.Current) if isinstance(frame_set, starlink.Ast.FrameSet) else None
    if not isinstance(sky, starlink.Ast.SkyFrame) or sky.System != "ICRS" or frame_set.Nin != 2:
        raise InputDataError(f"{wcs.label} is no map from two axes to ICRS.")
    transform = {
        "frames": [frame.model_dump(mode="json"), SkyFrame.ICRS.value],
        "bounds": [frame.bbox.serialize(), None],
        "mappings": [{"ast": text}],
    }
    model: SkyProjectionSerializationModel[Any] = SkyProjectionSerializationModel.model_validate(
        {"pixel_to_sky": transform}
    )
    projection: SkyProjection[DetectorFrame] = model.deserialize(DetachedArchive())
    return projection


def _read_scaling(calibration: ArchiveObject, archive: Archive, bbox: Box) -> Field:
    """Return the field of a photometric calibration."""
    _require(calibration, "PhotoCalib")
    version = int(calibration.value("version"))
    if version != _PHOTO_CALIB_VERSION:
        raise InputDataError(
            f"{calibration.label} is of version {version}, {_PHOTO_CALIB_VERSION} is known; older ones are "
            f"not in nJy."
        )
    unit = u.nJy / u.electron
    # The only flag of the table is ``isConstant``.
    if np.atleast_1d(calibration.value("flags"))[0]:
        mean = float(calibration.value("calibrationMean"))
        return ChebyshevField(bbox, np.array([[mean]]), unit=unit)
    return _read_field(archive.find(int(calibration.value("field"))), archive, unit=unit)


def _read_corrections(corrections: ArchiveObject, archive: Archive) -> ApertureCorrectionMap:
    _require(corrections, "ApCorrMap")
    names, numbers = corrections.column("name"), corrections.column("field")
    return {
        _decode(name): _read_field(archive.find(int(number)), archive)
        for name, number in zip(names, numbers, strict=True)
    }


def _read_field(
    persisted: ArchiveObject, archive: Archive, *, unit: u.UnitBase | None = None, nested: bool = False
) -> Field:
    """Return a Chebyshev polynomial, or a product of some; the first factor has the unit."""
    if persisted.kind == "ProductBoundedField" and not nested:
        numbers = [int(number) for number in persisted.column("id")]
        if not 1 <= len(numbers) <= _MAX_FACTORS:
            raise InputDataError(f"{persisted.label} has {len(numbers)} factors.")
        return ProductField(
            [
                _read_field(archive.find(number), archive, unit=unit if place == 0 else None, nested=True)
                for place, number in enumerate(numbers)
            ]
        )
    _require(persisted, "ChebyshevBoundedField")
    coefficients = np.atleast_1d(np.asarray(persisted.value("coefficients"), dtype=np.float64))
    columns = int(persisted.value("order_x")) + 1
    if columns < 1 or len(coefficients) % columns:
        raise InputDataError(
            f"{persisted.label} has {len(coefficients)} coefficients, in rows of {columns} by its order."
        )
    return ChebyshevField(persisted.box(), coefficients.reshape(-1, columns), unit=unit)


def _read_polygon(outline: ArchiveObject) -> Polygon:
    _require(outline, "Polygon")
    x, y = (np.asarray(outline.column(f"vertices_{axis}"), np.float64) for axis in "xy")
    if len(x) > 1 and x[0] == x[-1] and y[0] == y[-1]:
        x, y = x[:-1], y[:-1]  # the first vertex closes the outline
    if len(x) < 3:
        raise InputDataError(f"{outline.label} has {len(x)} vertices.")
    return Polygon(x_vertices=x, y_vertices=y)


def _read_statistics(row: Row, label: str) -> ObservationSummaryStats:
    """Return the statistics that the row has and this version of lsst.images knows."""
    columns = row.table.colnames
    values = {}
    for name in ObservationSummaryStats.model_fields:
        column = name if name in columns else _OLD_NAMES.get(name, name)
        if column in columns:
            values[name] = np.asarray(row[column]).tolist()
    try:
        return ObservationSummaryStats.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputDataError(f"{label} has statistics that are not usable: {error}") from error


def _require(persisted: ArchiveObject, kind: str) -> None:
    if persisted.kind != kind:
        raise InputDataError(f"{persisted.label} is of a class that is not known here; {kind} is needed.")


def _decode(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 ")
