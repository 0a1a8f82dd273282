"""Raw files against the facts of the camera's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from tests.support.testdata import testdata

from lsst.dax.image.errors import OutputError, RequestError
from lsst.dax.image.simulation import (
    RawIdentity,
    make_sensor,
    make_simulated_calibrations,
    simulate_raw,
    write_raw_file,
)
from lsst.dax.image.simulation._raw_file import make_raw_hdus

VENDORS = ("E2V", "ITL")


def make_raw(vendor):
    sensor = make_sensor(vendor, data_shape=(20, 16), overscan=(8, 6))
    light = np.full(sensor.bbox.shape, 500.0)
    calibrations = make_simulated_calibrations(sensor)
    return simulate_raw(light, calibrations, rng=np.random.default_rng(1))


RAWS = {vendor: make_raw(vendor) for vendor in VENDORS}


def make_full_hdus(vendor):
    """Return the HDUs of a raw of the true size, without counts."""
    sensor = make_sensor(vendor)
    counts = np.zeros(sensor.raw_bbox.shape, dtype=np.int32)
    raw = dataclasses.replace(RAWS[vendor], sensor=sensor, counts=counts)
    return make_raw_hdus(raw, compressed=False)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("vendor", VENDORS)
def test_pixels_are_in_the_order_of_readout(vendor, compressed, tmp_path):
    path = tmp_path / "raw.fits"
    raw = RAWS[vendor]
    write_raw_file(raw, path, compressed=compressed)
    with fits.open(path) as hdus:
        assert len(hdus) == 17
        top, bottom = hdus["Segment13"].data, hdus["Segment03"].data
        assert top.dtype.kind == "i"
        width = top.shape[1]
        tile = (slice(26, 52), slice(3 * width, 4 * width))
        # Both vendors' upper half is turned by half a turn.
        np.testing.assert_array_equal(top, raw.counts[tile][::-1, ::-1])
        step = {"E2V": 1, "ITL": -1}[vendor]
        np.testing.assert_array_equal(bottom, raw.counts[:26, tile[1]][:, ::step])


def test_order_and_kind_of_the_hdus(tmp_path):
    write_raw_file(RAWS["E2V"], tmp_path / "raw.fits")
    with fits.open(tmp_path / "raw.fits", disable_image_compression=True) as hdus:
        names = [hdu.header["EXTNAME"] for hdu in hdus[1:]]
        kinds = {(hdu.header["ZCMPTYPE"], hdu.header["ZBITPIX"], hdu.header["ZTILE2"]) for hdu in hdus[1:]}
    assert names == [f"Segment1{k}" for k in range(8)] + [f"Segment0{k}" for k in reversed(range(8))]
    assert kinds == {("RICE_1", 32, 1)}


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("E2V", "B_lsst_raw_headers/30211212000310-R22-S22-det098.fits.gz"),
        ("ITL", "B_lsst_raw_headers/3019032200002-R10-S22-det035.fits.gz"),
    ],
)
def test_sections_equal_those_of_a_real_raw(vendor, name):
    hdus = make_full_hdus(vendor)
    with fits.open(testdata(name)) as real:
        for made, wanted in zip(hdus[1:], real[1:17], strict=True):
            for key in ("EXTNAME", "CHANNEL", "CCDSUM", "DATASEC", "DETSEC", "DETSIZE", "DTV1", "DTV2"):
                assert made.header[key] == wanted.header[key], (made.name, key)
            for key in ("DTM1_1", "DTM2_2", "DTM1_2", "DTM2_1"):
                assert made.header[key] == wanted.header[key], (made.name, key)
            assert made.data.shape == wanted.shape


@pytest.mark.parametrize("vendor", VENDORS)
def test_sections_map_raw_pixels_into_the_detector(vendor):
    raw = RAWS[vendor]
    for hdu, amplifier in zip(make_raw_hdus(raw)[1:], raw.sensor.amplifiers, strict=True):
        header = hdu.header
        columns, rows = header["DATASEC"].strip("[]").split(",")
        first = [int(part.split(":")[0]) for part in (columns, rows)]
        x = header["DTV1"] + header["DTM1_1"] * first[0]
        y = header["DTV2"] + header["DTM2_2"] * first[1]
        assert header["DETSEC"].startswith(f"[{x:.0f}:")
        assert f",{y:.0f}:" in header["DETSEC"]
        corner = amplifier.readout_corner.name
        assert x - 1 == (amplifier.bbox.x.max if corner[1] == "R" else amplifier.bbox.x.min)
        # The camera counts rows from the top.
        assert raw.sensor.bbox.y.size - y == (
            amplifier.bbox.y.max if corner[0] == "U" else amplifier.bbox.y.min
        )


def test_primary_header():
    identity = RawIdentity(
        controller="S",
        day_obs=20260102,
        sequence=17,
        begin=Time("2026-01-03T02:00:00", scale="utc"),
        physical_filter="i_39",
        band="i",
        boresight=(150.0, -2.0),
    )
    header = make_raw_hdus(RAWS["ITL"], identity=identity)[0].header
    expected = {
        "INSTRUME": "lsstCam",
        "OBSID": "MC_S_20260102_000017",
        "DAYOBS": "20260102",
        "SEQNUM": 17,
        "CONTRLLR": "S",
        "RAFTBAY": "R00",
        "CCDSLOT": "S00",
        "CCD_MANU": "ITL",
        "LSST_NUM": "ITL-000",
        "FILTER": "i_39",
        "EXPTIME": 30.0,
        "DARKTIME": 31.0,
        "TIMESYS": "TAI",
        "DATE-BEG": "2026-01-03T02:00:37.000",
        "DETSIZE": "[1:128,1:40]",
    }
    assert {key: header[key] for key in expected} == expected
    assert header["MJD-END"] - header["MJD-BEG"] == pytest.approx(30.0 / 86400.0)


def test_file_is_never_overwritten(tmp_path):
    write_raw_file(RAWS["E2V"], tmp_path / "raw.fits")
    with pytest.raises(OutputError, match=r"raw\.fits exists"):
        write_raw_file(RAWS["E2V"], tmp_path / "raw.fits")


def test_real_numbers_are_no_counts():
    raw = dataclasses.replace(RAWS["E2V"], counts=RAWS["E2V"].counts.astype(float))
    with pytest.raises(RequestError, match="whole counts, not float64"):
        make_raw_hdus(raw)
