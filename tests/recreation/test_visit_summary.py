"""Summaries of visits: real ones of a precursor, and ones that are written by hand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from lsst.images import Box, Polygon
from lsst.images.fields import ChebyshevField, ProductField
from tests.support.mutations import mutate, read_layout
from tests.support.recreation import make_components, make_original
from tests.support.testdata import testdata
from tests.support.visit_summaries import SummaryWriter, summarize

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation import VisitSummaryRow, read_visit_summary, render_scaling

VISITS = (1176, 17900, 17930, 36434, 36446)
SCALING_UNIT = u.nJy / u.electron
ORIGINAL = make_original(make_components())
BBOX = ORIGINAL.detector.bbox


@pytest.mark.parametrize("visit", VISITS)
def test_corners_and_zero_points_of_real_visits(visit: int) -> None:
    """The map to the sky gives the corners in the file, the scaling its zero point."""
    rows = read_visit_summary(testdata(f"C_hsc_visit_summaries/visitSummary_{visit}.fits.gz"))
    assert len(rows) == 103
    for detector, row in rows.items():
        assert (row.detector, row.visit, row.instrument) == (detector, visit, "HSC")
        assert (row.physical_filter, row.band) == ("HSC-Z", "z")
        assert row.bbox.shape == (4176, 2048)
        assert row.sky_projection is not None
        stats, box = row.summary_stats, row.bbox
        left, right, bottom, top = box.x.min - 0.5, box.x.max + 0.5, box.y.min - 0.5, box.y.max + 0.5
        corners = row.sky_projection.pixel_to_sky(
            x=np.array([left, right, right, left]), y=np.array([bottom, bottom, top, top])
        )
        truth = SkyCoord(np.array(stats.raCorners), np.array(stats.decCorners), unit="deg")
        # Measured: 2.1e-7 mas at most.
        assert corners.separation(truth).max() < 1e-6 * u.mas
        centre = row.sky_projection.pixel_to_sky(x=0.5 * (left + right), y=0.5 * (bottom + top))
        assert centre.separation(SkyCoord(stats.ra, stats.dec, unit="deg")) < 1e-6 * u.mas
        assert isinstance(row.photometric_scaling, ChebyshevField)
        assert row.photometric_scaling.unit == SCALING_UNIT
        mean = render_scaling(row.photometric_scaling, Box.factory[2000:2001, 900:901])[0, 0]
        # The zero point is stored in single precision.
        assert -2.5 * np.log10(mean) + 31.4 == pytest.approx(stats.zeroPoint, abs=2e-6)


def test_outlines_of_real_detectors() -> None:
    """Vignetted detectors have a part of their pixels lit, the others all of them."""
    rows = read_visit_summary(testdata("C_hsc_visit_summaries/visitSummary_1176.fits.gz"))
    outlines = {detector: row.valid_polygon for detector, row in rows.items()}
    lit = {n: outline.area / rows[n].bbox.area for n, outline in outlines.items() if outline is not None}
    assert len(lit) == 103
    assert lit[49] == pytest.approx(1.0, abs=1e-6)
    assert outlines[49].n_vertices == 4
    assert 0.8 < lit[0] < 0.95
    assert outlines[0].n_vertices == 7
    assert rows[0].psf_kind is None
    assert rows[0].aperture_corrections is None


def read_one(writer: SummaryWriter, folder: Path, **options: Any) -> VisitSummaryRow:
    (row,) = read_visit_summary(writer.write(folder / "summary.fits"), **options).values()
    return row


def test_everything_of_a_row(tmp_path: Path) -> None:
    row = read_one(summarize(ORIGINAL), tmp_path)
    frame = ORIGINAL.sky_projection.pixel_frame
    assert (row.instrument, row.visit, row.detector) == (frame.instrument, frame.visit, frame.detector)
    assert (row.physical_filter, row.band, row.bbox) == ("r_57", "r", BBOX)
    assert row.photometric_scaling == ORIGINAL.photometric_scaling
    assert row.aperture_corrections == ORIGINAL.aperture_corrections
    assert row.summary_stats.psfSigma == 1.7
    assert np.isnan(row.summary_stats.zeroPoint)
    assert row.sky_projection is not None
    x, y = np.array([0.0, 150.0]), np.array([3.0, 70.0])
    here, there = (p.pixel_to_sky(x=x, y=y) for p in (row.sky_projection, ORIGINAL.sky_projection))
    assert here.separation(there).max() < 1e-9 * u.mas
    assert row.sky_projection.pixel_frame == frame


def test_a_psf_is_named_and_never_unpickled(tmp_path: Path) -> None:
    """The stored bytes would end the process if they were unpickled."""
    assert read_one(summarize(ORIGINAL), tmp_path).psf_kind == "PiffPsf"


def test_objects_that_are_not_there(tmp_path: Path) -> None:
    row = read_one(summarize(ORIGINAL, without=["wcs", "psf", "photoCalib", "apCorrMap"]), tmp_path)
    found = row.sky_projection, row.psf_kind, row.photometric_scaling, row.aperture_corrections
    assert found == (None, None, None, None)
    assert row.valid_polygon is None


def test_a_constant_scaling_is_the_mean(tmp_path: Path) -> None:
    """The field of a constant calibration has an empty box, and is not looked at."""
    writer = summarize(ORIGINAL)
    field = ChebyshevField(BBOX, np.array([[9.0]]))
    writer.rows[0]["photoCalib"] = writer.put_calibration(field, constant=True)
    assert read_one(writer, tmp_path).photometric_scaling == ChebyshevField(
        BBOX, np.array([[0.5]]), unit=SCALING_UNIT
    )


def test_coefficients_are_ordered_by_y_then_x(tmp_path: Path) -> None:
    writer = summarize(ORIGINAL)
    field = ChebyshevField(BBOX, np.array([[1.0, 0.2, 0.03], [0.5, 0.06, 0.007]]))
    writer.rows[0]["photoCalib"] = writer.put_calibration(field)
    scaling = read_one(writer, tmp_path).photometric_scaling
    assert scaling == ChebyshevField(BBOX, field.coefficients.copy(), unit=SCALING_UNIT)


def test_the_closing_vertex_is_dropped(tmp_path: Path) -> None:
    writer = summarize(ORIGINAL)
    square = [(0.0, 0.0), (10.0, 0.0), (10.0, 5.0), (0.0, 5.0)]
    writer.rows[0]["validPolygon"] = writer.put_polygon([*square, square[0]])
    outline = read_one(writer, tmp_path).valid_polygon
    assert outline == Polygon(x_vertices=[0, 10, 10, 0], y_vertices=[0, 0, 5, 5])
    assert outline.n_vertices == 4


def test_only_the_detectors_that_are_asked_for(tmp_path: Path) -> None:
    """The other rows may be unusable."""
    writer = summarize(ORIGINAL)
    writer.add_row(**{**writer.rows[0], "id": 77, "wcs": writer.put_wcs("nonsense")})
    path = writer.write(tmp_path / "summary.fits")
    assert list(read_visit_summary(path, detectors=[NUMBER, 5])) == [NUMBER]
    with pytest.raises(InputDataError, match=r"SkyWcs \d+ of .*summary\.fits is not usable: Line 1"):
        read_visit_summary(path)


def break_wcs(writer: SummaryWriter, text: str, start: str = "1 SkyWcs 0  ") -> None:
    writer.rows[0]["wcs"] = writer.put_wcs(text, start=start)


def galactic() -> str:
    text = ORIGINAL.sky_projection.show()
    assert 'System = "ICRS"' in text
    return text.replace('System = "ICRS"', 'System = "GALACTIC"')


def put_again(name: str, kind: str, *rows: dict[str, Any]) -> Any:
    return lambda writer: writer.rows[0].update({name: writer.put(kind, *rows)})


CALIBRATION = {"flags": False, "calibrationMean": 0.5, "calibrationErr": 0.01, "field": 1}
EMPTY = {"bbox_min_x": 0, "bbox_min_y": 0, "bbox_max_x": -1, "bbox_max_y": -1}
CORNERS = {"bbox_min_x": 0, "bbox_min_y": 0, "bbox_max_x": 9, "bbox_max_y": 9}


def put_field(**values: Any) -> Any:
    def change(writer: SummaryWriter) -> None:
        number = writer.put("ChebyshevBoundedField", values)
        writer.rows[0]["apCorrMap"] = writer.put("ApCorrMap", {"name": "flux", "field": number})

    return change


NUMBER = ORIGINAL.detector.id
BROKEN = {
    "version of the WCS": (
        lambda w: break_wcs(w, "", "2 SkyWcs 0  "),
        "does not begin as a SkyWcs",
    ),
    "text": (
        lambda w: break_wcs(w, "Begin FrameSet\n Nframe = 3\n"),
        "is not usable: An AST text ends after",
    ),
    "no frame set": (
        lambda w: break_wcs(w, "Begin UnitMap\n Nin = 2\n IsA Mapping\nEnd UnitMap\n"),
        "no map from two axes to ICRS",
    ),
    "not ICRS": (lambda w: break_wcs(w, galactic()), "no map from two axes to ICRS"),
    "dangling number": (lambda w: w.rows[0].update(wcs=99), r"summary\.fits has 0 objects of number 99"),
    "dangling PSF": (lambda w: w.rows[0].update(psf=98), "no object of number 98"),
    "wrong class": (
        put_again("photoCalib", "Polygon", {"vertices_x": 1.0, "vertices_y": 1.0}),
        "PhotoCalib is needed",
    ),
    "maggies": (
        put_again("photoCalib", "PhotoCalib", {**CALIBRATION, "version": 0}),
        "is of version 0, 1 is known",
    ),
    "no version": (put_again("photoCalib", "PhotoCalib", CALIBRATION), "has no column 'version'; it has"),
    "unknown field": (
        put_again("apCorrMap", "ApCorrMap", {"name": "flux", "field": 1}),
        "SkyWcs 1 .* ChebyshevBoundedField is needed",
    ),
    "empty box": (put_field(order_x=0, **EMPTY, coefficients=np.array([1.0])), r"empty box from \(0, 0\) to"),
    "order": (put_field(order_x=1, **CORNERS, coefficients=np.arange(3.0)), "3 coefficients, in rows of 2"),
    "two vertices": (
        lambda w: w.rows[0].update(validPolygon=w.put_polygon([(0.0, 0.0), (1.0, 1.0)])),
        "2 vertices",
    ),
    "no instrument": (lambda w: w.rows[0].update(visitInfo=0), f"Detector {NUMBER} in .* has no VisitInfo"),
    "empty detector": (
        lambda w: w.rows[0].update(bbox_max_x=-1),
        f"Detector {NUMBER} in .* has an empty box",
    ),
    "twice": (lambda w: w.add_row(**w.rows[0]), f"has detector {NUMBER} twice"),
    "column": (
        lambda w: w.rows[0].pop("band"),
        r"its first table has no columns \['band'\]",
    ),
    "rows": (lambda w: w.index.__setitem__(0, (*w.index[0][:3], 9, "SkyWcs")), r"has the rows 0 to 9 of 1\."),
    "table": (lambda w: w.index.__setitem__(0, (1, 44, 0, 1, "SkyWcs")), r"is in table 44; there are \[1, 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(tmp_path: Path, name: str) -> None:
    change, message = BROKEN[name]
    writer = summarize(ORIGINAL)
    change(writer)
    with pytest.raises(InputDataError, match=message):
        read_visit_summary(writer.write(tmp_path / "summary.fits"))


def test_a_product_in_a_product_is_refused(tmp_path: Path) -> None:
    """It could be one of itself."""
    writer = summarize(ORIGINAL)
    number = len(writer.index) + 1
    writer.put("ProductBoundedField", {"id": number})
    writer.rows[0]["apCorrMap"] = writer.put("ApCorrMap", {"name": "flux", "field": number})
    with pytest.raises(InputDataError, match=f"ProductBoundedField {number} .* is of a class"):
        read_visit_summary(writer.write(tmp_path / "summary.fits"))
    assert isinstance(ORIGINAL.photometric_scaling, ProductField)


def test_files_that_are_no_summary(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="There is no file"):
        read_visit_summary(tmp_path / "none.fits")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(InputDataError, match=r"empty\.fits has no table 'ARCHIVE_INDEX'"):
        read_visit_summary(tmp_path / "empty.fits")
    whole = summarize(ORIGINAL).write(tmp_path / "whole.fits").read_bytes()
    (tmp_path / "half.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputDataError, match=r"half\.fits"):
        read_visit_summary(tmp_path / "half.fits")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_the_datas_fault(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = summarize(ORIGINAL).write(tmp_path / "summary.fits").read_bytes()
    layout = read_layout(data)
    for _ in range(20):
        (tmp_path / "damaged.fits").write_bytes(mutate(data, layout, rng).data)
        with suppress(InputDataError):
            read_visit_summary(tmp_path / "damaged.fits")
