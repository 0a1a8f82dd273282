"""Bad pixels, in both forms of the observatory's files."""

from __future__ import annotations

__all__ = ("read_defects",)

import math
from collections.abc import Iterator

import numpy as np

from lsst.images import Box
from lsst.resources import ResourcePathExpression

from ...errors import InputDataError
from ._calibration_table import CalibrationTables, read_calibration_tables, table_trouble_reported
from .calibrations import Defects

_BOX_COLUMNS = ("x0", "y0", "width", "height")
_REGION_COLUMNS = ("X", "Y", "SHAPE", "R")
_TOLERANCE = 1e-6
_HALF_TURN = 180.0
_MAX_SIZE = 2**20


def read_defects(path: ResourcePathExpression) -> Defects:
    """Read the bad pixels of a detector.

    Parameters
    ----------
    path
        Defects: FITS, ECSV or YAML, with columns ``x0, y0, width, height`` (0-based), or FITS with
        regions (centres, 1-based, of the shapes BOX, ROTBOX and POINT).

    Returns
    -------
    defects
        Boxes in pixels of the trimmed detector.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable, no defects, or has a shape that is no box along the
        axes.
    """
    tables = read_calibration_tables(
        "defects", path, obs_type="defects", yaml_columns={name: name for name in _BOX_COLUMNS}
    )
    with table_trouble_reported(tables.label):
        if all(map(tables.has, _BOX_COLUMNS)):
            boxes = tuple(_read_boxes(tables))
        elif all(map(tables.has, _REGION_COLUMNS)):
            boxes = tuple(_read_regions(tables))
        else:
            raise InputDataError(
                f"{tables.label} has columns {tables.tables[0].colnames}, but defects have {_BOX_COLUMNS} or "
                f"{_REGION_COLUMNS}."
            )
    return Defects(tables.info(), boxes)


def _read_boxes(tables: CalibrationTables) -> Iterator[Box]:
    """Yield the boxes of the form with corners."""
    columns = [tables.numbers(name).tolist() for name in _BOX_COLUMNS]
    for x0, y0, width, height in zip(*columns, strict=True):
        yield _make_box(x0, y0, width, height, tables.label)


def _read_regions(tables: CalibrationTables) -> Iterator[Box]:
    """Yield the boxes of the form with centres, which counts pixels from 1.

    A shape of more than one position or size is stored with arrays; a box needs the first position
    and the first two sizes.
    """
    n = len(tables.column("X"))
    x, y = (tables.numbers(name).reshape(n, -1)[:, 0] - 1.0 for name in ("X", "Y"))
    sizes = tables.numbers("R").reshape(n, -1)
    angles = tables.numbers("ROTANG").reshape(n, -1)[:, 0] if tables.has("ROTANG") else np.zeros(n)
    for row, shape in enumerate(tables.texts("SHAPE")):
        kind = shape.upper()
        if kind == "POINT":
            width = height = 1.0
        elif kind in {"BOX", "ROTBOX"} and sizes.shape[1] >= 2:
            width, height = sizes[row, :2]
        else:
            raise InputDataError(
                f"{tables.label} has a {shape!r} in row {row}; defects are boxes and points."
            )
        if kind == "ROTBOX" and _is_turned(angles[row], f"row {row} of {tables.label}"):
            width, height = height, width
        # The corner nearest to where the centre puts it, as even sizes have
        # their centre between pixels.
        x0, y0 = (math.floor(c - 0.5 * size + 1.0) for c, size in ((x[row], width), (y[row], height)))
        yield _make_box(x0, y0, width, height, tables.label)


def _is_turned(angle: float, what: str) -> bool:
    """Return whether a box is turned by a right angle."""
    quarters = angle / (_HALF_TURN / 2)
    if abs(quarters - round(quarters)) > _TOLERANCE:
        raise InputDataError(f"A box is turned by {angle} degrees in {what}; defects lie along the axes.")
    return round(quarters) % 2 == 1


def _make_box(x0: float, y0: float, width: float, height: float, what: str) -> Box:
    """Return a box of whole pixels."""
    values = (x0, y0, width, height)
    whole = [round(value) for value in values if abs(value) < _MAX_SIZE]
    if len(whole) < len(values) or any(
        abs(value - one) > _TOLERANCE for value, one in zip(values, whole, strict=True)
    ):
        raise InputDataError(f"{what} has a box x0, y0, width, height = {values}, which are no pixels.")
    if min(whole[2:]) < 1:
        raise InputDataError(f"{what} has a box of {whole[2]} columns and {whole[3]} rows.")
    return Box.factory[whole[1] : whole[1] + whole[3], whole[0] : whole[0] + whole[2]]
