"""Visit summaries in the form of the survey's first pipelines, written table by table."""

from __future__ import annotations

__all__ = ("SummaryWriter", "summarize")

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from lsst.images import VisitImage
from lsst.images.fields import ChebyshevField, ProductField

MODULE = "some.module"
# Tables of these classes have columns of fixed size.
FIXED = {"ChebyshevBoundedField", "PhotoCalib"}
FORMATS = {"i": "K", "f": "D"}


class SummaryWriter:
    """Collects the objects of an archive, and the rows that name them."""

    def __init__(self) -> None:
        self.index: list[tuple[int, int, int, int, str]] = []
        self.tables: list[tuple[str, tuple[Any, ...], list[dict[str, Any]]]] = []
        self.rows: list[dict[str, Any]] = []

    def put(self, kind: str, *rows: Mapping[str, Any]) -> int:
        """Add an object of some rows, and return its number; alike objects share a table."""
        layout = tuple((name, np.shape(value)) for name, value in rows[0].items())
        key = (kind, layout if kind in FIXED else ())
        place = next((n for n, table in enumerate(self.tables, start=1) if table[:2] == key), 0)
        if not place:
            self.tables.append((*key, []))
            place = len(self.tables)
        stored = self.tables[place - 1][2]
        number = len(self.index) + 1
        self.index.append((number, place, len(stored), len(rows), kind))
        stored.extend(dict(row) for row in rows)
        return number

    def put_wcs(self, text: str, *, start: str = "1 SkyWcs 0  ") -> int:
        return self.put("SkyWcs", {"wcs": np.frombuffer((start + text).encode(), np.uint8)})

    def put_field(self, field: ChebyshevField | ProductField) -> int:
        if isinstance(field, ProductField):
            numbers = [self.put_field(operand) for operand in field.operands]
            return self.put("ProductBoundedField", *({"id": number} for number in numbers))
        box = field.bounds.bbox
        corners = {"min_x": box.x.min, "min_y": box.y.min, "max_x": box.x.max, "max_y": box.y.max}
        return self.put(
            "ChebyshevBoundedField",
            {
                "order_x": field.x_order,
                **{f"bbox_{name}": value for name, value in corners.items()},
                "coefficients": field.coefficients.ravel(),
            },
        )

    def put_calibration(self, field: ChebyshevField | ProductField, *, constant: bool = False) -> int:
        values = {"calibrationMean": 0.5, "calibrationErr": 0.01, "field": self.put_field(field)}
        return self.put("PhotoCalib", {"flags": constant, **values, "version": 1})

    def put_corrections(self, fields: Mapping[str, ChebyshevField]) -> int:
        rows = [{"name": name, "field": self.put_field(field)} for name, field in fields.items()]
        return self.put("ApCorrMap", *rows)

    def put_polygon(self, vertices: Sequence[tuple[float, float]]) -> int:
        return self.put("Polygon", *({"vertices_x": x, "vertices_y": y} for x, y in vertices))

    def add_row(self, **values: Any) -> None:
        """Add the row of a detector; objects that are not given have the number 0."""
        names = ("wcs", "psf", "photoCalib", "apCorrMap", "validPolygon", "visitInfo")
        self.rows.append({**dict.fromkeys(names, 0), **values})

    def write(self, path: Path) -> Path:
        index = [
            dict(zip(("id", "cat.archive", "row0", "nrows", "name"), entry, strict=True))
            | {"cat.persistable": 0, "module": MODULE}
            for entry in self.index
        ]
        hdus = [fits.PrimaryHDU(), make_table("", self.rows), make_table("ARCHIVE_INDEX", index)]
        hdus += [make_table(kind, rows) for kind, _, rows in self.tables]
        for number, hdu in enumerate(hdus[2:]):
            hdu.header["AR_CATN"] = number
        fits.HDUList(hdus).writeto(path)
        return path


def make_table(name: str, rows: Sequence[Mapping[str, Any]]) -> fits.BinTableHDU:
    columns = [make_column(column, [row[column] for row in rows]) for column in rows[0]]
    return fits.BinTableHDU.from_columns(columns, name=name or None)


def make_column(name: str, values: list[Any]) -> fits.Column:
    if isinstance(values[0], str):
        return fits.Column(name, f"{max(len(value) for value in values)}A", array=values)
    if isinstance(values[0], bool):
        return fits.Column(name, "1X", array=np.array(values)[:, None])
    arrays = [np.asarray(value) for value in values]
    if arrays[0].dtype == np.uint8 or arrays[0].dtype.kind == "U":
        heap: npt.NDArray[Any] = np.empty(len(arrays), dtype=object)
        heap[:] = arrays
        return fits.Column(name, "QB()" if arrays[0].dtype == np.uint8 else "QA()", array=heap)
    size = "" if arrays[0].ndim == 0 else str(arrays[0].size)
    return fits.Column(name, size + FORMATS[arrays[0].dtype.kind], array=np.stack(arrays))


def summarize(image: VisitImage, *, without: Sequence[str] = ()) -> SummaryWriter:
    """Return the summary of a visit image, with its own fields and its map to the sky."""
    writer = SummaryWriter()
    frame = image.sky_projection.pixel_frame
    objects = {
        "wcs": lambda: writer.put_wcs(image.sky_projection.show(comments=True)),
        "psf": lambda: writer.put("PiffPsf", {"bytes": np.frombuffer(b"cos\nabort\n(tR.", np.uint8)}),
        "photoCalib": lambda: writer.put_calibration(image.photometric_scaling),
        "apCorrMap": lambda: writer.put_corrections(image.aperture_corrections),
        "visitInfo": lambda: writer.put("VisitInfo", {"instrumentlabel": np.array(list(frame.instrument))}),
    }
    stats = image.summary_stats.model_dump()
    box = image.detector.bbox
    writer.add_row(
        **{name: put() for name, put in objects.items() if name not in without},
        id=image.detector.id,
        visit=frame.visit,
        physical_filter=image.obs_info.physical_filter,
        band=image.band,
        bbox_min_x=box.x.min,
        bbox_min_y=box.y.min,
        bbox_max_x=box.x.max,
        bbox_max_y=box.y.max,
        **{
            name: value
            for name, value in stats.items()
            if np.size(value) and np.array(value).dtype.kind in "if"
        },
    )
    return writer
