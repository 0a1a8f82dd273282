"""Calibrations from the observatory's files: the values that were put there, under their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.images import Box
from tests.support.calibration_files import NAMES, VERTICES, write_master, write_tables
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.recreation.isr.calibration_files import (
    read_bfk,
    read_bias,
    read_calibration,
    read_crosstalk,
    read_cti,
    read_dark,
    read_defects,
    read_electro_bf,
    read_flat,
    read_gain_correction,
    read_linearizer,
    read_ptc,
)
from lsst.dax.image.recreation.isr.calibrations import LinearityType, TrapType
from lsst.dax.image.recreation.isr.exposure import IsrPlane

RNG = np.random.default_rng(11)
IMAGE = RNG.normal(3.0, 1.0, (9, 13)).astype(np.float32)
LSST = {"INSTRUME": "LSSTCam", "DETECTOR": 94, "DET_NAME": "R22_S11"}
N = len(NAMES)


@pytest.mark.parametrize("compression", [None, "GZIP_2", "GZIP_1"])
def test_a_bias_keeps_every_bit(tmp_path: Path, compression: str | None) -> None:
    image = IMAGE.copy()
    image[2, 3] = np.nan
    cards = {**LSST, "LSST ISR UNITS": "electron"}
    path = write_master(tmp_path / "bias.fits", image=image, cards=cards, compression=compression)
    bias = read_bias(path, threads=2)
    np.testing.assert_array_equal(bias.image, image)
    np.testing.assert_array_equal(bias.variance, image + 1)
    assert bias.image.dtype.isnative
    assert not bias.mask.any()
    assert bias.unit == u.electron
    assert (bias.info.kind, bias.info.instrument, bias.info.detector) == ("bias", "LSSTCam", 94)
    assert bias.info.physical_filter is None
    assert bias.info.source.endswith("bias.fits")


def test_mask_planes_are_found_by_name(tmp_path: Path) -> None:
    """Files number the planes as they like; planes that do not exist here are left out."""
    planes = {"UNMASKEDNAN": 0, "SAT": 3, "BAD": 30, "VIGNETTED": 4, "EDGE": 9, "ITL_DIP": 12}
    mask = np.zeros(IMAGE.shape, np.int32)
    mask[0, :6] = [1 << bit for bit in planes.values()]
    mask[1, 0] = (1 << 3) | (1 << 30)
    bias = read_bias(write_master(tmp_path / "bias.fits", image=IMAGE, mask=mask, planes=planes))
    expected = [
        *(IsrPlane.UNMASKED_NAN, IsrPlane.SATURATED, IsrPlane.BAD, 0),
        *(IsrPlane.DETECTION_EDGE, IsrPlane.ITL_DIP),
    ]
    np.testing.assert_array_equal(bias.mask[0, :6], expected)
    assert bias.mask[1, 0] == IsrPlane.SATURATED | IsrPlane.BAD
    assert np.count_nonzero(bias.mask) == 6


def test_a_dark_is_for_its_dark_time_or_for_a_second(tmp_path: Path) -> None:
    timed = read_dark(
        write_master(tmp_path / "a.fits", image=IMAGE, cards={"DARKTIME": 2.5, "EXPTIME": 300.0})
    )
    assert timed.dark_time_s == 2.5
    per_second = read_dark(write_master(tmp_path / "b.fits", image=IMAGE, cards={"EXPTIME": 300.0}))
    assert np.isnan(per_second.dark_time_s)
    assert per_second.unit == u.adu


def test_a_flat_has_filter_and_outline(tmp_path: Path) -> None:
    cards = {"FILTER": "i_39", "LSST ISR UNITS": "adu", "DARKTIME": 1.0}
    flat = read_flat(write_master(tmp_path / "flat.fits", image=IMAGE, cards=cards, has_outline=True))
    assert flat.info.physical_filter == "i_39"
    assert flat.unit == u.dimensionless_unscaled
    assert flat.valid_polygon is not None
    np.testing.assert_array_equal(
        np.transpose([flat.valid_polygon.x_vertices, flat.valid_polygon.y_vertices]), VERTICES
    )
    plain = read_flat(write_master(tmp_path / "plain.fits", image=IMAGE, cards=cards))
    assert plain.valid_polygon is None
    with pytest.raises(InputDataError, match="does not say its filter"):
        read_flat(write_master(tmp_path / "other.fits", image=IMAGE))


def test_what_the_butler_recorded_goes_before_what_raws_said(tmp_path: Path) -> None:
    cards = {
        **LSST,
        "FILTER": "raw",
        "LSST BUTLER DATAID INSTRUMENT": "LSSTComCam",
        "LSST BUTLER DATAID DETECTOR": 3,
        "LSST BUTLER DATAID PHYSICAL_FILTER": "g_01",
    }
    info = read_flat(write_master(tmp_path / "flat.fits", image=IMAGE, cards=cards)).info
    assert (info.instrument, info.detector, info.physical_filter) == ("LSSTComCam", 3, "g_01")


def test_real_masters_are_read() -> None:
    folder = "B_huntsman_raw/calib/2021-01-07"
    flat_path = testdata(f"{folder}/flat/flat_14_Huntsman_g_band_2021-01-07.fits")
    flat = read_flat(flat_path)
    with fits.open(flat_path) as hdus:
        np.testing.assert_array_equal(flat.image, hdus[1].data)
        np.testing.assert_array_equal(flat.variance, hdus[3].data)
        no_data = hdus[2].data >> hdus[2].header["MP_NO_DATA"] & 1
        np.testing.assert_array_equal((flat.mask & IsrPlane.NO_DATA) != 0, no_data)
        assert np.count_nonzero(no_data) == np.count_nonzero(flat.mask) == 268
    assert (flat.info.detector, flat.info.physical_filter) == (14, "g_band")
    dark = read_dark(testdata(f"{folder}/dark/dark_14_Huntsman_2021-01-07.fits"))
    # Per second, although its card EXPTIME says 300.
    assert np.isnan(dark.dark_time_s)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cards": {"LSST ISR UNITS": "furlong"}}, r"bias.*LSST ISR UNITS = 'furlong'; known are 'adu'"),
        ({"cards": {"OBSTYPE": "dark"}}, "OBSTYPE = 'dark'"),
        ({"origin": (3, 5)}, r"begins at pixel \(x, y\) = \(3.0, 5.0\)"),
        ({"mask": np.ones(IMAGE.shape, np.int32), "planes": {"BAD": 33}}, "MP_BAD = 33"),
        ({"mask": np.zeros((9, 12), np.int32)}, r"a mask of \(9, 12\)"),
    ],
)
def test_unusable_masters_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        read_bias(write_master(tmp_path / "bias.fits", image=IMAGE, **options))


def test_incomplete_masters_are_refused(tmp_path: Path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(IMAGE, name="IMAGE")])
    hdus.writeto(tmp_path / "bias.fits")
    with pytest.raises(InputDataError, match=r"bias .* has no image HDU 'MASK'; it has \['IMAGE'\]"):
        read_bias(tmp_path / "bias.fits")
    with pytest.raises(InputDataError, match="There is no file"):
        read_bias(tmp_path / "absent.fits")


def make_ptc() -> Table:
    return Table(
        {
            "AMPLIFIER_NAME": list(NAMES),
            "GAIN": [1.5, 1.6, np.nan, 1.4],
            "NOISE": [6.0, 7.0, 8.0, 9.0],
            "PTC_TURNOFF": [9e4, 8e4, 7e4, np.inf],
            "OVERSCAN_MEDIAN": [24000.0, 25000.0, 26000.0, np.nan],
            "OVERSCAN_MEDIAN_SIGMA": [1.0, 2.0, 3.0, 4.0],
            "COMMENTS": ["", "a", "b", ""],
        }
    )


@pytest.mark.parametrize("form", ["fits", "ecsv", "yaml"])
def test_photon_transfer_curves_in_every_form(tmp_path: Path, form: str) -> None:
    table, cards = make_ptc(), {**LSST, "OBSTYPE": "PTC", "PTC_VERSION": 2.6}
    path = tmp_path / f"ptc.{form}"
    if form == "fits":
        write_tables(path, [table], cards)
    elif form == "ecsv":
        table.meta = cards
        table.write(path, format="ascii.ecsv")
    else:
        keys = {"gain": "GAIN", "noise": "NOISE", "ptcTurnoff": "PTC_TURNOFF"}
        keys |= {"overscanMedian": "OVERSCAN_MEDIAN", "overscanMedianSigma": "OVERSCAN_MEDIAN_SIGMA"}
        document: dict[str, Any] = {"metadata": cards, "ampNames": list(NAMES)}
        for key, column in keys.items():
            document[key] = dict(zip(NAMES, table[column].tolist(), strict=True))
        path.write_text(yaml.safe_dump(document))
    ptc = read_ptc(path)
    assert list(ptc.amplifiers) == list(NAMES)
    assert (ptc.info.kind, ptc.info.instrument, ptc.info.detector) == ("ptc", "LSSTCam", 94)
    second = ptc.amplifiers["C11"]
    assert (second.gain, second.read_noise, second.turnoff_adu) == (1.6, 7.0, 8e4)
    assert (second.overscan_median_adu, second.overscan_median_sigma_adu) == (25000.0, 2.0)
    assert np.isnan(ptc.amplifiers["C01"].gain)
    assert ptc.amplifiers["C00"].turnoff_adu == np.inf


def test_early_curves_have_no_overscan_levels(tmp_path: Path) -> None:
    table = make_ptc()
    table.remove_columns(["OVERSCAN_MEDIAN", "OVERSCAN_MEDIAN_SIGMA"])
    ptc = read_ptc(write_tables(tmp_path / "ptc.fits", [table], {"OBSTYPE": "PTC"}))
    assert np.isnan(ptc.amplifiers["C10"].overscan_median_adu)
    assert ptc.info.detector is None


def test_curves_that_lack_something_are_refused(tmp_path: Path) -> None:
    table = make_ptc()
    table.remove_column("NOISE")
    with pytest.raises(InputDataError, match=r"ptc .*a\.fits has no column 'NOISE' in table 1; it has"):
        read_ptc(write_tables(tmp_path / "a.fits", [table], {"OBSTYPE": "PTC"}))
    with pytest.raises(InputDataError, match="OBSTYPE = 'CROSSTALK'; a ptc has 'PTC'"):
        read_ptc(write_tables(tmp_path / "b.fits", [make_ptc()], {"OBSTYPE": "CROSSTALK"}))
    twice = make_ptc()
    twice["AMPLIFIER_NAME"][1] = "C10"
    with pytest.raises(InputDataError, match="an amplifier twice"):
        read_ptc(write_tables(tmp_path / "c.fits", [twice], {"OBSTYPE": "PTC"}))
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "d.fits")
    with pytest.raises(InputDataError, match="holds no table"):
        read_ptc(tmp_path / "d.fits")


def test_damaged_texts_are_refused(tmp_path: Path) -> None:
    for content, message in (
        ("metadata: [", "no usable YAML"),
        ("just a text", "no mapping with 'metadata'"),
        ("metadata: {OBSTYPE: PTC}\nampNames: [C10]\ngain: {C11: 1.0}\n", "unusable: KeyError"),
        ("!!python/object:os.system {}", "no usable YAML"),
    ):
        (tmp_path / "ptc.yaml").write_text(content)
        with pytest.raises(InputDataError, match=message):
            read_ptc(tmp_path / "ptc.yaml")
    (tmp_path / "ptc.ecsv").write_text("no table")
    with pytest.raises(InputDataError, match=r"ptc .*ptc\.ecsv is unusable"):
        read_ptc(tmp_path / "ptc.ecsv")
    with pytest.raises(InputDataError, match="There is no file"):
        read_ptc(tmp_path / "absent.ecsv")
    (tmp_path / "cti.yaml").write_text("metadata: {}")
    with pytest.raises(InputDataError, match="form that is not read"):
        read_cti(tmp_path / "cti.yaml")


def test_gain_corrections(tmp_path: Path) -> None:
    table = Table({"AMP_NAME": list(NAMES), "GAIN_ADJUSTMENT": [1.0, 1.01, 0.99, 1.02]})
    path = write_tables(tmp_path / "gain.fits", [table], {**LSST, "OBSTYPE": "gainCorrection"})
    assert read_gain_correction(path).adjustments == {"C10": 1.0, "C11": 1.01, "C01": 0.99, "C00": 1.02}


def make_crosstalk(**columns: Any) -> Table:
    values = {
        "CT_COEFFS": [np.arange(N * N) * 1e-6],
        "CT_VALID": [np.arange(N * N) % 3 > 0],
        "CT_COEFFS_SQR": [np.arange(N * N) * 1e-12],
        "CT_FIT_GAINS": [np.array([1.5, 1.6, 1.7, 1.8])],
    }
    return Table({key: value for key, value in {**values, **columns}.items() if value is not None})


CROSSTALK = {**LSST, "OBSTYPE": "CROSSTALK", "HAS_CROSSTALK": True, "NAMP": N, "CROSSTALK_VERSION": 1.2}


@pytest.mark.parametrize("form", ["fits", "yaml"])
def test_crosstalk_is_indexed_by_source_and_target(tmp_path: Path, form: str) -> None:
    cards = {**CROSSTALK, "CROSSTALK_RATIOS_UNITS": "electron"}
    path = tmp_path / f"crosstalk.{form}"
    table = make_crosstalk()
    if form == "fits":
        write_tables(path, [table], cards)
    else:
        keys = {"CT_COEFFS": "coeffs", "CT_VALID": "coeffValid", "CT_COEFFS_SQR": "coeffsSqr"}
        lists = {key: np.asarray(table[column])[0].tolist() for column, key in keys.items()}
        document = {"metadata": cards, "hasCrosstalk": True, "nAmp": N, **lists}
        path.write_text(yaml.safe_dump(document))
    crosstalk = read_crosstalk(path)
    assert crosstalk.linear[2, 1] == 9e-6
    assert crosstalk.quadratic[2, 1] == 9e-12
    assert not crosstalk.valid[2, 1]
    assert crosstalk.valid[2, 2]
    assert crosstalk.unit == u.electron
    if form == "fits":
        np.testing.assert_array_equal(crosstalk.fit_gains, [1.5, 1.6, 1.7, 1.8])


def test_early_crosstalk_is_linear_and_in_adu(tmp_path: Path) -> None:
    table = make_crosstalk(CT_VALID=None, CT_COEFFS_SQR=None, CT_FIT_GAINS=[np.zeros(1)])
    path = write_tables(tmp_path / "crosstalk.fits", [table], {**CROSSTALK, "CROSSTALK_VERSION": 1.0})
    crosstalk = read_crosstalk(path)
    assert crosstalk.valid.all()
    assert not crosstalk.quadratic.any()
    assert crosstalk.unit == u.adu
    assert crosstalk.fit_gains is None


def test_unusable_crosstalk_is_refused(tmp_path: Path) -> None:
    units = {"CROSSTALK_RATIOS_UNITS": "adu"}
    other = Table({"IC_SOURCE_DET": ["R22_S12"], "IC_COEFFS": [np.zeros(N * N)]})
    cases: list[tuple[list[Table], dict[str, Any], str]] = [
        ([make_crosstalk()], {"HAS_CROSSTALK": False}, "has no coefficients"),
        ([make_crosstalk()], {**units, "CROSSTALK_VERSION": "new"}, "CROSSTALK_VERSION of crosstalk"),
        ([make_crosstalk(CT_COEFFS=[np.zeros(15)])], units, "15 values of CT_COEFFS"),
        ([make_crosstalk()], {**units, "NAMP": 16}, "NAMP = 16, but 4 x 4"),
        ([make_crosstalk()], {"CROSSTALK_RATIOS_UNITS": "mag"}, "CROSSTALK_RATIOS_UNITS = 'mag'"),
        ([make_crosstalk(), other], units, "between detectors"),
        ([make_crosstalk(CT_VALID=[np.ones(9)])], units, "9 values of CT_VALID"),
    ]
    for number, (tables, cards, message) in enumerate(cases):
        with pytest.raises(InputDataError, match=message):
            read_crosstalk(write_tables(tmp_path / f"{number}.fits", tables, {**CROSSTALK, **cards}))


def test_linearizers_of_every_form(tmp_path: Path) -> None:
    double = [2, 3, 0.0, 9.0, 1.0, 2.0, 0.0, 5.0, 9.0, 3.0, 4.0, 5.0]
    rows = np.zeros((N, 14))
    rows[0, :12] = double
    rows[1, 0], rows[2, :2], rows[3, :2] = -1e-6, (1.0, 7.0), (1e-6, 1e-12)
    table = Table(
        {
            "AMPLIFIER_NAME": list(NAMES),
            "TYPE": ["DoubleSpline", "Squared", "LookupTable", "Polynomial"],
            "COEFFS": rows,
        }
    )
    values = Table({"LOOKUP_VALUES": np.arange(6.0).reshape(2, 3)})
    path = write_tables(tmp_path / "linearizer.fits", [table, values], {**LSST, "OBSTYPE": "LINEARIZER"})
    linearizer = read_linearizer(path)
    assert [linearizer.amplifiers[name].form for name in NAMES] == [
        *(LinearityType.DOUBLE_SPLINE, LinearityType.SQUARED, LinearityType.LOOKUP_TABLE),
        LinearityType.POLYNOMIAL,
    ]
    np.testing.assert_array_equal(linearizer.amplifiers["C10"].coefficients, double)
    assert linearizer.amplifiers["C11"].coefficients[0] == -1e-6
    np.testing.assert_array_equal(linearizer.table, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert linearizer.unit == u.adu


def test_unusable_linearizers_are_refused(tmp_path: Path) -> None:
    def write(name: str, kind: str, coefficients: list[float], **cards: Any) -> Path:
        table = Table({"AMPLIFIER_NAME": ["C10"], "TYPE": [kind], "COEFFS": [coefficients]})
        return write_tables(tmp_path / name, [table], {"OBSTYPE": "LINEARIZER", **cards})

    with pytest.raises(InputDataError, match=r"forms \['Cubist'\]; known are \['Spline'"):
        read_linearizer(write("a.fits", "Cubist", [1.0]))
    with pytest.raises(InputDataError, match=r"double spline of \[2.0, 9.0\] nodes in 8 coefficients"):
        read_linearizer(write("b.fits", "DoubleSpline", [2.0, 9.0, *[0.0] * 6]))
    with pytest.raises(InputDataError, match="LINEARITY_UNITS = 'V'"):
        read_linearizer(write("c.fits", "Squared", [0.0, 0.0], LINEARITY_UNITS="V"))


def make_cti() -> list[Table]:
    amplifiers = Table(
        {
            "AMPLIFIER": list(NAMES),
            "DRIFT_SCALE": [1e-4, 2e-4, 0.0, 0.0],
            "DECAY_TIME": [2.0, 2.5, 3.0, 3.5],
            "GLOBAL_CTI": [1e-7, 2e-7, 3e-7, 4e-7],
        }
    )
    traps = Table(
        {
            "AMPLIFIER": ["C11", "C10"],
            "SIZE": [200.0, 100.0],
            "EMISSION_TIME": [0.5, 0.6],
            "PIXEL": [1, 2],
            "TYPE": ["logistic", "spline"],
            "COEFFS": [[1.0, 2.0, np.nan, np.nan], [0.0, 5.0, 0.0, 4.0]],
        }
    )
    return [amplifiers, traps]


def test_charge_transfer_with_padded_traps(tmp_path: Path) -> None:
    cti = read_cti(
        write_tables(tmp_path / "cti.fits", make_cti(), {**LSST, "OBSTYPE": "CTI", "CTI_VERSION": 1.3})
    )
    second = cti.amplifiers["C11"]
    assert (second.drift_scale, second.decay_time_px, second.global_cti) == (2e-4, 2.5, 2e-7)
    assert second.trap is not None
    assert (second.trap.size, second.trap.emission_time_px, second.trap.pixel) == (200.0, 0.5, 1)
    assert second.trap.form is TrapType.LOGISTIC
    np.testing.assert_array_equal(second.trap.coefficients, [1.0, 2.0])
    first = cti.amplifiers["C10"].trap
    assert first is not None
    np.testing.assert_array_equal(first.coefficients, [0.0, 5.0, 0.0, 4.0])
    assert cti.amplifiers["C01"].trap is None


def test_unusable_charge_transfer_is_refused(tmp_path: Path) -> None:
    cards = {"OBSTYPE": "CTI", "CTI_VERSION": 1.3}
    with pytest.raises(InputDataError, match=r"version 1.0, whose unit is not recorded"):
        read_cti(write_tables(tmp_path / "a.fits", make_cti(), {**cards, "CTI_VERSION": 1.0}))
    with pytest.raises(InputDataError, match=r"CTI_VERSION of cti .* is unusable"):
        read_cti(write_tables(tmp_path / "b.fits", make_cti(), {"OBSTYPE": "CTI"}))
    with pytest.raises(InputDataError, match="has 1 tables; column 'AMPLIFIER' is in table 2"):
        read_cti(write_tables(tmp_path / "c.fits", make_cti()[:1], cards))
    tables = make_cti()
    tables[1]["TYPE"][0] = "magic"
    with pytest.raises(
        InputDataError, match=r"types \['magic'\]; known are \['linear', 'logistic', 'spline'\]"
    ):
        read_cti(write_tables(tmp_path / "d.fits", tables, cards))
    tables = make_cti()
    tables[1]["AMPLIFIER"][0] = "C77"
    with pytest.raises(InputDataError, match=r"traps in amplifiers \['C77'\]"):
        read_cti(write_tables(tmp_path / "e.fits", tables, cards))


def test_defects_as_corners_and_as_regions_are_the_same(tmp_path: Path) -> None:
    boxes = [
        Box.factory[3:4, 5:6],
        Box.factory[0:2000, 7:8],
        Box.factory[10:14, 20:23],
        Box.factory[1:5, 30:36],
    ]
    corners = Table(
        {
            "x0": [box.x.start for box in boxes],
            "y0": [box.y.start for box in boxes],
            "width": [box.x.size for box in boxes],
            "height": [box.y.size for box in boxes],
        }
    )
    # The last one is turned by a right angle.
    sizes = [[box.x.size, box.y.size] for box in boxes[:3]] + [[boxes[3].y.size, boxes[3].x.size]]
    regions = Table(
        {
            "X": [box.x.start + 0.5 * (box.x.size - 1) + 1 for box in boxes],
            "Y": [box.y.start + 0.5 * (box.y.size - 1) + 1 for box in boxes],
            "SHAPE": ["POINT", "BOX", "box", "ROTBOX"],
            "R": np.array(sizes, dtype=float),
            "ROTANG": [0.0, 0.0, 0.0, 90.0],
        }
    )
    cards = {**LSST, "OBSTYPE": "defects"}
    for name, table in (("corners", corners), ("regions", regions)):
        defects = read_defects(write_tables(tmp_path / f"{name}.fits", [table], cards))
        assert defects.boxes == tuple(boxes)
        assert defects.info.detector == 94
    document = {"metadata": cards, **{name: corners[name].tolist() for name in corners.colnames}}
    (tmp_path / "defects.yaml").write_text(yaml.safe_dump(document))
    assert read_defects(tmp_path / "defects.yaml").boxes == tuple(boxes)
    corners.meta = cards
    corners.write(tmp_path / "defects.ecsv", format="ascii.ecsv")
    assert read_defects(tmp_path / "defects.ecsv").boxes == tuple(boxes)


def test_real_defects_are_read() -> None:
    corners = read_defects(
        testdata("B_huntsman_raw/calib/2021-01-07/defects/defects_14_Huntsman_2021-01-07.fits")
    )
    assert (len(corners.boxes), corners.info.instrument, corners.info.detector) == (245, "Huntsman", 14)
    assert all(0 <= box.x.start < box.x.stop <= 801 for box in corners.boxes)
    path = testdata("B_lsst_sim_raw/defects.fits")
    regions = read_defects(path)
    assert len(regions.boxes) == 504
    with fits.open(path) as hdus:
        for box, row in zip(regions.boxes, hdus[1].data, strict=True):
            # The region's edges, counted from the edge of the first pixel.
            assert box.x.start == round(
                row["X"] - 0.5 * (row["R"][0] if row["SHAPE"].strip() == "BOX" else 1) - 0.5
            )
            assert box.y.start == round(
                row["Y"] - 0.5 * (row["R"][1] if row["SHAPE"].strip() == "BOX" else 1) - 0.5
            )


def test_defects_that_are_no_boxes_are_refused(tmp_path: Path) -> None:
    def write(name: str, **columns: Any) -> Path:
        values = {"X": [4.0], "Y": [5.0], "SHAPE": ["BOX"], "R": [[3.0, 3.0]], "ROTANG": [0.0]}
        return write_tables(tmp_path / name, [Table({**values, **columns})], {"OBSTYPE": "defects"})

    with pytest.raises(InputDataError, match="a 'CIRCLE' in row 0"):
        read_defects(write("a.fits", SHAPE=["CIRCLE"]))
    with pytest.raises(InputDataError, match=r"turned by 30\.0 degrees"):
        read_defects(write("b.fits", SHAPE=["ROTBOX"], ROTANG=[30.0]))
    with pytest.raises(InputDataError, match="which are no pixels"):
        read_defects(write("c.fits", R=[[2.5, 3.0]]))
    with pytest.raises(InputDataError, match=r"unusable|no pixels"):
        read_defects(write("d.fits", X=[np.nan]))
    table = Table({"x0": [1], "y0": [1], "width": [0], "height": [3]})
    with pytest.raises(InputDataError, match="a box of 0 columns and 3 rows"):
        read_defects(write_tables(tmp_path / "e.fits", [table], {"OBSTYPE": "defects"}))
    table.rename_column("x0", "x")
    with pytest.raises(InputDataError, match=r"defects have \('x0', 'y0', 'width', 'height'\)"):
        read_defects(write_tables(tmp_path / "f.fits", [table], {"OBSTYPE": "defects"}))


def make_kernels() -> list[Table]:
    kernels = np.arange(N * 9.0).reshape(N, 9)
    amplifiers = Table({"AMPLIFIER": list(NAMES), "KERNEL": kernels, "VALID": [1, 0, 1, 1]})
    detectors = Table({"DETECTOR": ["R22_S10", "R22_S11"], "KERNEL": [np.zeros(9), np.arange(9.0)]})
    return [amplifiers, detectors]


KERNEL = {**LSST, "OBSTYPE": "bfk", "bfk_VERSION": 1.1, "KERNEL_DX": 3, "KERNEL_DY": 3}


def test_brighter_fatter_kernels(tmp_path: Path) -> None:
    bfk = read_bfk(write_tables(tmp_path / "bfk.fits", make_kernels(), KERNEL))
    assert list(bfk.amplifier_kernels) == ["C10", "C01", "C00"]
    np.testing.assert_array_equal(bfk.amplifier_kernels["C01"], np.arange(18.0, 27.0).reshape(3, 3))
    np.testing.assert_array_equal(bfk.detector_kernel, np.arange(9.0).reshape(3, 3))
    alone = read_bfk(write_tables(tmp_path / "alone.fits", make_kernels()[:1], KERNEL))
    assert alone.detector_kernel is None
    empty = [make_kernels()[0][:0], make_kernels()[1]]
    assert read_bfk(write_tables(tmp_path / "empty.fits", empty, KERNEL)).amplifier_kernels == {}


def test_unusable_kernels_are_refused(tmp_path: Path) -> None:
    for number, (tables, cards, message) in enumerate(
        (
            (make_kernels(), {"KERNEL_DX": 5}, r"9 values, but shape \(5, 3\)"),
            (make_kernels(), {"DET_NAME": "R01_S00"}, r"kernels of \['R22_S10', 'R22_S11'\].*'R01_S00'"),
            (make_kernels()[:1], {"KERNEL_DX": 0}, r"KERNEL_DX, KERNEL_DY = \(0, 3\)"),
            ([make_kernels()[0][:0]], {}, "no valid kernel"),
        )
    ):
        with pytest.raises(InputDataError, match=message):
            read_bfk(write_tables(tmp_path / f"{number}.fits", tables, {**KERNEL, **cards}))


def make_distortion(**columns: Any) -> Table:
    values = {f"A_{side}": [np.arange(4.0) + 10 * number] for number, side in enumerate("NSEW")}
    return Table({"AMPNAMES": [list(NAMES)], "FIT_RANGE": [2], **values, **columns})


def test_distortion_matrices(tmp_path: Path) -> None:
    cards = {**LSST, "OBSTYPE": "BF_DISTORTION_MATRIX", "BF_DISTORTION_MATRIX_VERSION": 1.0}
    electro = read_electro_bf(write_tables(tmp_path / "a.fits", [make_distortion()], cards))
    np.testing.assert_array_equal(electro.north, [[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_array_equal(electro.west, [[30.0, 31.0], [32.0, 33.0]])
    assert electro.by_filter == {}
    by_filter = {f"A_{side}_BY_FILTER": [np.arange(8.0).reshape(2, 4) + ord(side)] for side in "NSEW"}
    newer = make_distortion(AVAILABLE_FILTERS=[["g_6", "r_57"]], **by_filter)
    electro = read_electro_bf(write_tables(tmp_path / "b.fits", [newer], cards))
    np.testing.assert_array_equal(electro.by_filter["r_57"][2], np.arange(4.0, 8.0).reshape(2, 2) + ord("E"))
    with pytest.raises(InputDataError, match=r"A_N of electro_bf .* has 4 values, but shape \(3, 3\)"):
        read_electro_bf(write_tables(tmp_path / "c.fits", [make_distortion(FIT_RANGE=[3])], cards))


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return one file of each form."""
    folder = tmp_path_factory.mktemp("calibrations")
    distortion = {**LSST, "OBSTYPE": "BF_DISTORTION_MATRIX"}
    return {
        "flat": write_master(folder / "a.fits", image=IMAGE, cards={"FILTER": "r_57"}, has_outline=True),
        "electro_bf": write_tables(folder / "b.fits", [make_distortion()], distortion),
        "cti": write_tables(folder / "c.fits", make_cti(), {"OBSTYPE": "CTI", "CTI_VERSION": 1.3}),
    }


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")  # of its headers
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers out of range
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["flat", "electro_bf", "cti"]),
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
)
def test_a_damaged_byte_is_the_datas_fault_or_harmless(
    tmp_path: Path, good_files: dict[str, Path], kind: str, place: float, value: int
) -> None:
    damaged = bytearray(good_files[kind].read_bytes())
    damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged.fits"
    path.write_bytes(damaged)
    try:
        assert read_calibration(kind, path).info.kind == kind
    except InputDataError as error:
        assert "damaged.fits" in str(error)


def test_the_kinds_are_those_of_the_calibrations(tmp_path: Path) -> None:
    path = write_master(tmp_path / "bias.fits", image=IMAGE, cards=LSST)
    assert read_calibration("bias", path).info.kind == "bias"
    table = Table({"AMP_NAME": list(NAMES), "GAIN_ADJUSTMENT": [1.0] * N})
    path = write_tables(tmp_path / "gain.fits", [table], {**LSST, "OBSTYPE": "gainCorrection"})
    assert read_calibration("gain_correction", path).info.kind == "gain_correction"
    with pytest.raises(RequestError, match="No calibration is called 'fringe'; there are bias, dark, flat"):
        read_calibration("fringe", path)
