"""The observatory's columns."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, vstack
from numpy.testing import assert_allclose, assert_array_equal

from lsst.dax.image.errors import RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import FAILED, make_table, measured_columns, to_sdm
from lsst.dax.image.forced.schema import name_aperture

# The schemas of ForcedSource and ForcedSourceOnDiaObject in Data Preview 1.
SDM_COLUMNS = [
    "parentObjectId",
    "coord_ra",
    "coord_dec",
    "visit",
    "detector",
    "band",
    "psfFlux",
    "psfFluxErr",
    "psfFlux_flag",
    "psfDiffFlux",
    "psfDiffFluxErr",
    "psfDiffFlux_flag",
    "diff_PixelFlags_nodataCenter",
    "pixelFlags_bad",
    "pixelFlags_cr",
    "pixelFlags_crCenter",
    "pixelFlags_edge",
    "pixelFlags_interpolated",
    "pixelFlags_interpolatedCenter",
    "pixelFlags_nodata",
    "pixelFlags_saturated",
    "pixelFlags_saturatedCenter",
    "pixelFlags_suspect",
    "pixelFlags_suspectCenter",
    "invalidPsfFlag",
    "tract",
    "patch",
]


def make_fluxes(
    ids: list[int], *, visit: int = 11, detector: int = 4, band: str = "r", scale: float = 1.0
) -> QTable:
    """Return a table as `measure` makes it, of fluxes that are the ids times a scale."""
    columns = measured_columns()
    n = len(ids)
    values = {column.name: np.full(n, column.fill, column.dtype) for column in columns}
    values["id"] = np.array(ids)
    values["flux"] = scale * np.array(ids, dtype=float)
    values["flux_err"] = 0.1 * values["flux"]
    values["ra"], values["dec"] = 10.0 + values["flux"] / scale, -values["flux"] / scale
    table = make_table(columns, values)
    table["visit"], table["detector"] = np.full(n, visit), np.full(n, detector)
    table["band"] = np.full(n, band, dtype="U16")
    return table


def test_columns_are_those_of_the_schemas() -> None:
    table = to_sdm(make_fluxes([1, 2]), tract=5, patch=6)
    assert set(table.colnames) == {"objectId", *SDM_COLUMNS}
    assert len(table.colnames) == 28
    assert set(to_sdm(make_fluxes([1]), id_name="diaObjectId").colnames) == {"diaObjectId", *SDM_COLUMNS}
    for name in ("psfFlux", "psfFluxErr", "psfDiffFlux", "psfDiffFluxErr"):
        assert table[name].unit == u.nJy
        assert table[name].dtype == np.float32
    assert table["coord_ra"].unit == table["coord_dec"].unit == u.deg
    for name in table.colnames:
        if "lags_" in name or name.endswith(("_flag", "Flag")):
            assert table[name].dtype == np.bool_, name
    assert table["objectId"].dtype == np.int64
    assert_array_equal([table["tract"], table["patch"]], [[5, 5], [6, 6]])


def test_direct_and_difference_fluxes_share_a_row() -> None:
    direct = vstack([make_fluxes([1, 2]), make_fluxes([1, 2], visit=12, band="g")])
    difference = vstack([make_fluxes([2, 3], scale=-1.0), make_fluxes([1], visit=12, band="g", scale=-1.0)])
    table = to_sdm(direct, difference=difference)
    assert table["objectId"].tolist() == [1, 2, 1, 2, 3]
    assert table["visit"].tolist() == [11, 11, 12, 12, 11]
    assert table["band"].tolist() == ["r", "r", "g", "g", "r"]
    assert_allclose(table["psfFlux"].value, [1, 2, 1, 2, np.nan])
    assert_allclose(table["psfDiffFlux"].value, [np.nan, -2, -1, np.nan, -3])
    assert_allclose(table["psfDiffFluxErr"].value, [np.nan, -0.2, -0.1, np.nan, -0.3], rtol=1e-6)
    assert table["psfFlux_flag"].tolist() == [False, False, False, False, True]
    assert table["psfDiffFlux_flag"].tolist() == [True, False, False, True, False]
    assert_allclose(table["coord_ra"].value, [11, 12, 11, 12, 13])
    only = to_sdm(difference=difference)
    assert only["objectId"].tolist() == [2, 3, 1]
    assert np.isnan(only["psfFlux"]).all()
    assert only["psfFlux_flag"].all()


def test_flags_go_to_the_columns_of_their_meaning() -> None:
    direct, difference = make_fluxes([1, 2, 3, 4]), make_fluxes([1, 2, 3, 4])
    direct["flags"][:] = [
        FLAGS["EDGE"].value,
        FLAGS["NO_PSF"].value,
        FLAGS["CENTER_OFF_IMAGE"].value,
        FLAGS["NO_APERTURE_CORRECTION"].value | FLAGS["BLEND_DEGENERATE"].value,
    ]
    direct["pixel_saturated_center"][0] = direct["pixel_nodata_center"][1] = direct["pixel_cr"][3] = True
    difference["pixel_nodata_center"][2] = difference["pixel_bad"][3] = True
    table = to_sdm(direct, difference=difference)
    assert table["psfFlux_flag"].tolist() == [True, True, False, False]
    assert table["invalidPsfFlag"].tolist() == [False, True, False, False]
    assert table["pixelFlags_edge"].tolist() == [False, False, True, False]
    assert table["pixelFlags_saturatedCenter"].tolist() == [True, False, False, False]
    assert table["pixelFlags_cr"].tolist() == [False, False, False, True]
    # Planes are those of the direct image, but for one.
    assert table["diff_PixelFlags_nodataCenter"].tolist() == [False, False, True, False]
    assert not table["pixelFlags_bad"].any()


def test_informative_flags_are_no_failures() -> None:
    for name in ("NO_APERTURE_CORRECTION", "BLEND_DEGENERATE", "NO_BACKGROUND", "CENTER_OFF_IMAGE"):
        assert not FAILED & FLAGS[name].value
    for name in ("EDGE", "NO_PSF", "NO_PIXELS", "NOT_FINITE", "BAD_APERTURE_CORRECTION", "NO_CALIBRATION"):
        assert FAILED & FLAGS[name].value


@pytest.mark.parametrize(
    ("radius", "name"), [(3.0, "ap_3_0"), (4.5, "ap_4_5"), (12, "ap_12_0"), (10.25, "ap_10_25")]
)
def test_apertures_are_named_by_their_radius(radius: float, name: str) -> None:
    assert name_aperture(radius) == name


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RequestError, match="neither fluxes on direct nor on difference"):
        to_sdm()
    with pytest.raises(RequestError, match="got 'sourceId'"):
        to_sdm(make_fluxes([1]), id_name="sourceId")
    with pytest.raises(RequestError, match="Of 2 rows some have the same target"):
        to_sdm(make_fluxes([1, 1]))
