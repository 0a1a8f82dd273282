"""Calibrations and their files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lsst.dax.image.simulation import make_sensor, make_simulated_calibrations, write_calibration_files
from lsst.dax.image.simulation._calibration_files import CALIBRATION_TYPES

SENSOR = make_sensor("ITL", detector=7, data_shape=(20, 16), overscan=(8, 6))
TRUTH = make_simulated_calibrations(SENSOR)
FILTERS = ("r_57", "i_39")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    directory = tmp_path_factory.mktemp("calibrations") / "new"
    return write_calibration_files(TRUTH, directory, instrument="MiniCam", physical_filters=FILTERS)


def read_table(path, hdu=1):
    return Table.read(path, hdu=hdu, unit_parse_strict="silent")


def test_every_type_has_a_file_and_flats_one_per_filter(paths):
    assert {name for name, _ in paths} == set(CALIBRATION_TYPES)
    assert {key[1] for key in paths if key[0] == "flat"} == set(FILTERS)
    assert len(set(paths.values())) == len(CALIBRATION_TYPES) + 1


@pytest.mark.parametrize(
    ("key", "image", "variance", "unit"),
    [
        (("bias", ""), TRUTH.bias, TRUTH.bias_variance, "electron"),
        (("dark", ""), TRUTH.dark, TRUTH.dark_variance, "electron"),
        (("flat", "i_39"), TRUTH.flat, TRUTH.flat_variance, ""),
    ],
)
def test_images(paths, key, image, variance, unit):
    with fits.open(paths[key]) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
        assert [hdu.header["EXTTYPE"] for hdu in hdus[1:]] == ["IMAGE", "MASK", "VARIANCE"]
        np.testing.assert_array_equal(hdus["IMAGE"].data, image.astype(np.float32))
        np.testing.assert_array_equal(hdus["VARIANCE"].data, variance.astype(np.float32))
        assert not hdus["MASK"].data.any()
        assert hdus["MASK"].data.dtype.itemsize == 4
        assert (hdus["MASK"].header["MP_BAD"], hdus["MASK"].header["MP_NO_DATA"]) == (0, 8)
        assert hdus[0].header["LSST ISR UNITS"] == unit
        assert hdus[0].header["DETECTOR"] == 7
        if key[0] == "dark":
            assert hdus[0].header["DARKTIME"] == 1.0
        if key[0] == "flat":
            assert (hdus[0].header["FILTER"], hdus[0].header["FLATSRC"]) == ("i_39", "DOME")


@pytest.mark.parametrize(
    ("name", "obs_type", "python_class"),
    [
        ("ptc", "PTC", "PhotonTransferCurveDataset"),
        ("gain_correction", "gainCorrection", "GainCorrection"),
        ("crosstalk", "CROSSTALK", "CrosstalkCalib"),
        ("linearizer", "LINEARIZER", "Linearizer"),
        ("cti", "CTI", "DeferredChargeCalib"),
        ("defects", "defects", "Defects"),
        ("bfk", "BFK", "BrighterFatterKernel"),
        ("electroBfDistortionMatrix", "BF_DISTORTION_MATRIX", "ElectrostaticBrighterFatterDistortionMatrix"),
    ],
)
def test_tables_say_what_they_are(paths, name, obs_type, python_class):
    with fits.open(paths[name, ""]) as hdus:
        assert hdus[0].data is None
        header = hdus[1].header
        assert header["OBSTYPE"] == obs_type
        assert header["CALIBCLS"].rpartition(".")[2] == python_class
        assert (header["INSTRUME"], header["DETECTOR"], header["DET_NAME"]) == ("MiniCam", 7, SENSOR.name)


def test_gains(paths):
    ptc, correction = read_table(paths["ptc", ""]), read_table(paths["gain_correction", ""])
    assert list(ptc["AMPLIFIER_NAME"]) == [amplifier.name for amplifier in SENSOR.amplifiers]
    np.testing.assert_allclose(ptc["GAIN"] * correction["GAIN_ADJUSTMENT"], SENSOR.gains, rtol=1e-14)
    np.testing.assert_array_equal(ptc["PTC_TURNOFF"], TRUTH.turnoff_adu)
    np.testing.assert_array_equal(ptc["NOISE"], SENSOR.read_noises)


def test_crosstalk_rows_are_sources(paths):
    row = read_table(paths["crosstalk", ""])[0]
    linear = np.asarray(row["CT_COEFFS"]).reshape(16, 16)
    assert linear[2, 5] == TRUTH.crosstalk_linear[2, 5] != linear[5, 2]
    assert np.asarray(row["CT_COEFFS_SQR"]).reshape(16, 16)[2, 5] == TRUTH.crosstalk_quadratic[2, 5]
    assert not np.diag(np.asarray(row["CT_VALID"]).reshape(16, 16)).any()


def test_linearizer_layout(paths):
    row = read_table(paths["linearizer", ""])[3]
    coefficients = np.asarray(row["COEFFS"])
    assert row["TYPE"] == "DoubleSpline"
    first, second = coefficients[:2].astype(int)
    assert coefficients.size == 2 + 2 * (first + second)
    centers = coefficients[2 : 2 + first]
    assert centers[0] == 0.0
    assert np.all(np.diff(centers) > 0)
    # The spline covers all charge that a pixel can hold.
    assert centers[-1] > SENSOR.amplifiers[3].full_well / SENSOR.amplifiers[3].gain


def test_charge_transfer(paths):
    values, traps = read_table(paths["cti", ""]), read_table(paths["cti", ""], hdu=2)
    assert len(values) == 16
    by_name = {row["AMPLIFIER"]: row for row in traps}
    for amplifier, transfer in zip(SENSOR.amplifiers, TRUTH.charge_transfer, strict=True):
        assert (amplifier.name in by_name) == (transfer.trap is not None)
        if transfer.trap is not None:
            stored = np.asarray(by_name[amplifier.name]["COEFFS"])
            np.testing.assert_array_equal(stored[~np.isnan(stored)], transfer.trap.coefficients)
    assert {row["TYPE"] for row in traps} == {"linear", "logistic", "spline"}


def test_brighter_fatter(paths):
    kernel = read_table(paths["bfk", ""], hdu=2)[0]["KERNEL"]
    np.testing.assert_array_equal(np.asarray(kernel).reshape(17, 17), TRUTH.kernel)
    row = read_table(paths["electroBfDistortionMatrix", ""])[0]
    side = int(row["FIT_RANGE"])
    np.testing.assert_array_equal(np.asarray(row["A_E"]).reshape(side, side), TRUTH.shift_east)


def test_defects_are_in_the_detector(paths):
    table = read_table(paths["defects", ""])
    assert len(table) == len(TRUTH.defects) > 0
    for row, box in zip(table, TRUTH.defects, strict=True):
        assert (row["x0"], row["width"]) == (box.x.start, box.x.size)
        assert SENSOR.bbox.contains(box)


def test_truth_repeats_and_differs_by_detector():
    again = make_simulated_calibrations(SENSOR)
    other = make_simulated_calibrations(make_sensor("ITL", detector=8, data_shape=(20, 16)))
    np.testing.assert_array_equal(again.flat, TRUTH.flat)
    assert not np.any(other.flat == TRUTH.flat)
    assert TRUTH.flat.mean() == pytest.approx(1.0)
