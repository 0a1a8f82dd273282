"""The table of targets that every sink keeps: one row per stamp."""

from __future__ import annotations

__all__ = ("target_wcs",)

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column, Row, Table
from astropy.wcs import WCS

from .._stamps import Stamp

type Value = int | float | str


@dataclass(frozen=True)
class TargetColumn:
    """One column of the table."""

    name: str
    kind: type[int | float | str]
    meaning: str
    unit: u.UnitBase | None = None

    def make(self, values: Sequence[Value]) -> Column:
        """Return the column with values.

        Parameters
        ----------
        values
            One per row.

        Returns
        -------
        column
            64-bit integers or floats, or strings.
        """
        dtype = {int: "i8", float: "f8"}.get(self.kind)
        if dtype is None:
            # FITS has no strings without any room.
            dtype = f"U{max((len(str(value)) for value in values), default=1) or 1}"
        return Column(np.array(values, dtype), name=self.name, unit=self.unit, description=self.meaning)


_DEG_PER_PIXEL = u.deg / u.pix

TARGET_COLUMNS = (
    TargetColumn("index", int, "Index of the target in the request, from 0."),
    TargetColumn("dataset", str, "UUID of the dataset in hexadecimal; empty for an image in memory."),
    TargetColumn("dataset_type", str, "Name of the dataset type."),
    TargetColumn("data_id", str, "Required values of the data ID, as JSON."),
    TargetColumn("ra", float, "ICRS right ascension of the target at the time of the image.", u.deg),
    TargetColumn("dec", float, "ICRS declination of the target at the time of the image.", u.deg),
    TargetColumn("x", float, "Column of the target in 0-based pixels of the parent image.", u.pix),
    TargetColumn("y", float, "Row of the target in 0-based pixels of the parent image.", u.pix),
    TargetColumn("time", float, "Middle of the exposure, MJD, TAI.", u.d),
    TargetColumn("flags", int, "Flag word, see lsst.dax.image.flags."),
    TargetColumn("status", str, "Names of the flags, or OK."),
    TargetColumn("message", str, "Why there are no pixels."),
    TargetColumn("crpix1", float, "FITS column of the target in the stamp, 1 for the first pixel.", u.pix),
    TargetColumn("crpix2", float, "FITS row of the target in the stamp, 1 for the first pixel.", u.pix),
    TargetColumn("cd1_1", float, "Linear WCS at the target: east per column.", _DEG_PER_PIXEL),
    TargetColumn("cd1_2", float, "Linear WCS at the target: east per row.", _DEG_PER_PIXEL),
    TargetColumn("cd2_1", float, "Linear WCS at the target: north per column.", _DEG_PER_PIXEL),
    TargetColumn("cd2_2", float, "Linear WCS at the target: north per row.", _DEG_PER_PIXEL),
)


def target_wcs(row: Row | Mapping[str, Any]) -> WCS:
    """Return the WCS of a stamp from its row in a table of targets.

    Parameters
    ----------
    row
        Row of a stamp with pixels.

    Returns
    -------
    wcs
        Tangential projection about the target, for pixels of the stamp.  It is
        the parent's WCS to first order: :math:`d` pixels from the target it is
        off by about :math:`c d^2 / 2` pixels, where :math:`c` is the relative
        change of the parent's pixel scale per pixel.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [float(row["ra"]), float(row["dec"])]
    wcs.wcs.crpix = [float(row["crpix1"]), float(row["crpix2"])]
    wcs.wcs.cd = [[float(row[f"cd{i}_{j}"]) for j in (1, 2)] for i in (1, 2)]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def make_row(stamp: Stamp) -> dict[str, Value]:
    """Return the values of a stamp for the columns that all sinks have.

    Parameters
    ----------
    stamp
        Stamp, with pixels or without.

    Returns
    -------
    row
        Values by column; NaN and empty strings for what the stamp has not.
    """
    ref = stamp.ref
    cd = _linear_wcs(stamp)
    start = (math.nan, math.nan) if stamp.bbox is None else (stamp.bbox.x.start, stamp.bbox.y.start)
    return {
        "index": stamp.index,
        "dataset": "" if ref is None else ref.id.hex,
        "dataset_type": "" if ref is None else ref.datasetType.name,
        "data_id": "" if ref is None else _plain(json.dumps(dict(ref.dataId.required), default=str)),
        "ra": float(stamp.ra),
        "dec": float(stamp.dec),
        "x": float(stamp.x),
        "y": float(stamp.y),
        "time": math.nan if stamp.time is None else float(stamp.time.tai.mjd),
        "flags": stamp.flags,
        "status": stamp.status,
        "message": _plain(stamp.message),
        "crpix1": stamp.x - start[0] + 1,
        "crpix2": stamp.y - start[1] + 1,
        **dict(zip(("cd1_1", "cd1_2", "cd2_1", "cd2_2"), cd, strict=True)),
    }


def _plain(text: str) -> str:
    """Return text in one line of ASCII, which is all that FITS takes."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode("ascii")


def _linear_wcs(stamp: Stamp) -> tuple[float, ...]:
    """Return the derivatives of the tangential coordinates, in degrees per pixel."""
    projection = None if stamp.image is None else stamp.image.sky_projection
    if projection is None:
        return (math.nan,) * 4
    x = stamp.x + np.array([0.0, 1.0, -1.0, 0.0, 0.0])
    y = stamp.y + np.array([0.0, 0.0, 0.0, 1.0, -1.0])
    sky = projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    ra, dec = sky.x[1:] - sky.x[0], sky.y[1:]
    sin0, cos0 = math.sin(sky.y[0]), math.cos(sky.y[0])
    cosine = sin0 * np.sin(dec) + cos0 * np.cos(dec) * np.cos(ra)
    east = np.degrees(np.cos(dec) * np.sin(ra) / cosine)
    north = np.degrees((cos0 * np.sin(dec) - sin0 * np.cos(dec) * np.cos(ra)) / cosine)
    return tuple(
        0.5 * float(plane[plus] - plane[minus]) for plane in (east, north) for plus, minus in ((0, 1), (2, 3))
    )


def make_table(columns: Sequence[TargetColumn], rows: Sequence[Sequence[Value]] = ()) -> Table:
    """Return a table of targets.

    Parameters
    ----------
    columns
        Columns in their order.
    rows
        Values of each row, in the order of the columns.

    Returns
    -------
    table
        The table, with units and descriptions.
    """
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return Table([column.make(part) for column, part in zip(columns, values, strict=True)])


def format_header(columns: Sequence[TargetColumn]) -> str:
    """Return the text of an ECSV table without rows.

    Parameters
    ----------
    columns
        Columns in their order.

    Returns
    -------
    text
        All lines before the first row.
    """
    text = io.StringIO()
    make_table(columns).write(text, format="ascii.ecsv", delimiter=",")
    return text.getvalue().rstrip("\n") + "\n"


def format_row(values: Sequence[Value]) -> str:
    """Return a row of an ECSV table.

    Parameters
    ----------
    values
        Values in the order of the columns.

    Returns
    -------
    line
        Text of one line; floats keep their full precision.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def parse_rows(text: str, columns: Sequence[TargetColumn]) -> list[tuple[Value, ...]]:
    """Read the rows of an ECSV table that `format_row` wrote.

    Parameters
    ----------
    text
        Complete lines, without those of the header.
    columns
        Columns in their order.

    Returns
    -------
    rows
        Values in the order of the columns.

    Raises
    ------
    ValueError
        Raised if a row does not hold the columns.
    """
    kinds = [column.kind for column in columns]
    return [
        tuple(kind(value) for kind, value in zip(kinds, row, strict=True))
        for row in csv.reader(io.StringIO(text))
    ]
