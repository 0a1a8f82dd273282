"""Identity and times of exposures, from real headers and the observatory's packing of identifiers."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from tests.support.raws import CARDS
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation.isr.raw_header import (
    make_exposure_info,
    normalize_instrument,
    pack_detector_exposure_id,
)


def detector(name: str = "R22_S11", number: int = 94, instrument: str = "LSSTCam") -> Any:
    """Return what of a detector the header is compared with."""
    return cast("Any", SimpleNamespace(name=name, id=number, instrument=instrument))


def read_header(name: str) -> fits.Header:
    """Return a real header, which is stored as text."""
    path = testdata(f"B_lsst_raw_headers/header_json/{name}")
    values = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    header = fits.Header()
    for keyword in ("INSTRUME", "DAYOBS", "SEQNUM", "CONTRLLR", "OBSID", "EXPTIME", "DARKTIME", "FILTER"):
        header[keyword] = values.get(keyword)
    for keyword in ("FILTER2", "GRATING", "RAFTBAY", "CCDSLOT", "DATE-BEG", "DATE-OBS", "TIMESYS"):
        if keyword in values:
            header[keyword] = values[keyword]
    return header


def test_the_packed_identifier_is_that_of_a_real_visit_image() -> None:
    assert pack_detector_exposure_id(exposure=2025052300201, detector=118) == 47152417142


@given(
    day=st.dates(min_value=datetime.date(2010, 1, 1), max_value=datetime.date(2054, 11, 8)),
    sequence=st.integers(0, 32767),
    controller=st.integers(0, 5),
    number=st.integers(0, 255),
)
def test_the_packed_identifier_holds_its_parts(day: Any, sequence: int, controller: int, number: int) -> None:
    exposure = (int(day.strftime("%Y%m%d")) + controller * 10_000_000) * 100_000 + sequence
    packed = pack_detector_exposure_id(exposure=exposure, detector=number)
    rest, found_detector = divmod(packed, 256)
    rest, found_sequence = divmod(rest, 32768)
    found_controller, days = divmod(rest, 16384)
    assert (found_detector, found_sequence, found_controller) == (number, sequence, controller)
    assert days == day.toordinal() - 733773  # of 2010-01-01


@pytest.mark.parametrize(
    ("exposure", "number", "message"),
    [
        (2025052300201, 256, "detector is 256"),
        (2025052332768, 0, "sequence number is 32768"),
        (2009123100001, 0, "days since 2010-01-01 is -1"),
        (2025053200001, 0, "no observing day"),
        (12, 0, "no observing day"),
    ],
)
def test_parts_out_of_range_are_refused(exposure: int, number: int, message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        pack_detector_exposure_id(exposure=exposure, detector=number)


def test_a_header_gives_identity_and_times() -> None:
    info = make_exposure_info(fits.Header(dict(CARDS)), detector())
    assert (info.instrument, info.exposure, info.detector) == ("LSSTCam", 2025052300201, 94)
    assert info.detector_exposure_id == 47152417142 - 118 + 94
    assert (info.exposure_time_s, info.dark_time_s, info.physical_filter) == (30.0, 30.9, "r_57")
    assert info.begin is not None
    assert info.begin.scale == "tai"
    assert info.begin.isot == "2025-05-24T01:02:03.500"


@pytest.mark.parametrize(
    ("name", "of", "exposure", "times", "physical_filter"),
    [
        (
            "lsstCam-MC_O_20250609_000578_R01_S01.yaml",
            ("R01_S01", 1, "LSSTCam"),
            2025060900578,
            (30.0, 30.9487),
            "y_10",
        ),
        (
            "lsstCam-MC_O_20251121_000156_R44_SW0.json",
            ("R44_SW0", 203, "LSSTCam"),
            2025112100156,
            (30.0, 30.9318),
            "i_39",
        ),
        (
            "lsstCam-MC_C_20190322_000002_R10_S22.yaml",
            ("R10_S22", 35, "LSSTCam"),
            3019032200002,
            (1.0, 1.0),
            "SDSSi~ND_OD0.5",
        ),
        (
            "lsstCam-MC_C_20190406_000643_R10_S00.yaml",
            ("R10_S00", 27, "LSSTCam"),
            3019040600643,
            (999.99, 1007.422),
            "950nm",
        ),
        (
            "lsstCam_MC_C_20231125_000600_R12_S10.yaml",
            ("R12_S10", 48, "LSSTCam"),
            3023112500600,
            (15.0, 18.1514),
            "none",
        ),
        (
            "lsstCamSim-MC_S_20240321_000720_R22_S11.yaml",
            ("R22_S11", 94, "LSSTCam"),
            7024032100720,
            (30.0, 30.0),
            "r_57",
        ),
        (
            "comCam-CC_O_20241108_000266_R22_S00.yaml",
            ("R22_S00", 0, "LSSTComCam"),
            2024110800266,
            (30.0, 30.4306),
            "g_01",
        ),
        (
            "comCam-CC_C_20190530_000001_R22_S00.yaml",
            ("R22_S00", 0, "LSSTComCam"),
            3019053000001,
            (0.0, 0.398),
            "unknown",
        ),
        (
            "latiss-AT_O_20230705_000379_R00_S00.json",
            ("RXX_S00", 0, "LATISS"),
            2023070500379,
            (30.0, 30.2418),
            "empty~holo4_003",
        ),
        (
            "latiss-AT_O_20200128_000335.yaml",
            ("RXX_S00", 0, "LATISS"),
            2020012800335,
            (7.5, 7.5),
            "blank_bk7_wg05~ronchi90lpmm",
        ),
        (
            "latiss-2018-09-20-05700065-det000.yaml",
            ("RXX_S00", 0, "LATISS"),
            3018092000065,
            (27.0, 27.0),
            "unknown~unknown",
        ),
    ],
)
def test_real_headers_are_understood(
    name: str, of: tuple[str, int, str], exposure: int, times: tuple[float, float], physical_filter: str
) -> None:
    info = make_exposure_info(read_header(name), detector(*of))
    assert (info.exposure, info.detector) == (exposure, of[1])
    assert (info.exposure_time_s, info.dark_time_s) == times
    assert info.physical_filter == physical_filter


def test_times_without_a_scale_are_in_utc() -> None:
    header = read_header("lsstCam-MC_C_20190322_000002_R10_S22.yaml")
    begin = make_exposure_info(header, detector("R10_S22")).begin
    assert begin is not None
    assert begin.isot == "2019-03-22T15:31:38.904"  # 37 s after the header's 15:31:01.904


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latiss-AT_C_20220426_000004_R00_S00.yaml", "no EXPTIME"),
        ("latiss-AT_O_20190306_000014.yaml", "identify no exposure"),
        ("latiss-future-bad.yaml", r"identify no exposure; a controller is one of O, C, H"),
    ],
)
def test_real_headers_that_lack_something_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        make_exposure_info(read_header(name), detector("RXX_S00", 0, "LATISS"))


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"INSTRUME": "ComCam"}, "instrument 'LSSTComCam'.*'LSSTCam'"),
        ({"INSTRUME": None}, "instrument ''"),
        ({"CCDSLOT": "S12"}, r"R22_S12, but was asked for as R22_S11 \(94\)"),
        ({"EXPTIME": "long"}, "EXPTIME = 'long'"),
        ({"EXPTIME": -1.0}, "EXPTIME = -1.0"),
        ({"SEQNUM": 100000}, "identify no exposure"),
        ({"DAYOBS": "2025-05-23"}, "identify no exposure"),
        ({"CONTRLLR": "X"}, "identify no exposure"),
        ({"DAYOBS": "20250532"}, "no observing day"),
        ({"TIMESYS": "LOCAL"}, "TIMESYS 'local'"),
        ({"DATE-BEG": "yesterday"}, "DATE-BEG = 'yesterday'"),
    ],
)
def test_unusable_cards_are_refused(cards: dict[str, Any], message: str) -> None:
    header = fits.Header({**CARDS, **cards})
    with pytest.raises(InputDataError, match=message):
        make_exposure_info(header, detector())


def test_early_headers_have_the_observation_id_alone() -> None:
    cards = {key: value for key, value in CARDS.items() if key not in {"DAYOBS", "SEQNUM", "CONTRLLR"}}
    header = fits.Header({**cards, "OBSID": "MC_C_20191031_001985"})
    assert make_exposure_info(header, detector()).exposure == 3019103101985


def test_a_dark_time_below_the_exposure_time_counts_as_missing() -> None:
    for dark_time in (None, 0.0, 29.9):
        info = make_exposure_info(fits.Header({**CARDS, "DARKTIME": dark_time}), detector())
        assert info.dark_time_s == 30.0


def test_instruments_have_one_name() -> None:
    assert normalize_instrument("lsstCam") == normalize_instrument(" LSSTCam ") == "LSSTCam"
    assert normalize_instrument("DECam") == "DECam"
