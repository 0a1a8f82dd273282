"""Assembly of raws: real ones, and every pixel where the camera says that it is."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box
from lsst.images.cameras import Amplifier, AmplifierRawGeometry, ReadoutCorner
from tests.support.isr import make_amplifiers, make_detector
from tests.support.raws import CARDS, NAMES, make_counts, write_raw
from tests.support.testdata import testdata

from lsst.dax.image.container import RawAmplifier, RawFile, read_raw_file
from lsst.dax.image.errors import InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr.assembly import assemble
from lsst.dax.image.recreation.isr.camera_files import read_camera_detector
from lsst.dax.image.recreation.isr.exposure import ExposureInfo, box_slices, raw_geometry
from lsst.dax.image.recreation.isr.raw import assemble_raw, read_raw
from lsst.dax.image.recreation.isr.raw_geometry import find_readout_corner, place_amplifier

CAMERA = "C_rubin_camera_wcs/camera/camera_{0}_{0}_calib_unbounded.fits"


def make_raw(counts: dict[str, npt.NDArray[Any]], **cards: Any) -> RawFile:
    """Return a raw in memory."""
    amplifiers = tuple(
        RawAmplifier(f"Segment{name[1:]}", fits.Header(), pixels) for name, pixels in counts.items()
    )
    return RawFile("raw.fits", fits.Header({**CARDS, **cards}), amplifiers)


def positions(section: str) -> list[int]:
    """Return the numbers of ``[x1:x2,y1:y2]``."""
    match = re.fullmatch(r"\[(\d+):(\d+),(\d+):(\d+)\]", section)
    assert match is not None
    return [int(number) for number in match.groups()]


@pytest.mark.parametrize("geometry", ["B_lsst_amp_assembly/e2v_detector.fits", CAMERA.format("LSSTCam")])
def test_a_real_e2v_raw_becomes_the_expected_image(geometry: str) -> None:
    """The geometry of the assembled raw, and that of single amplifiers with flips, give the same."""
    detector = read_camera_detector(testdata(geometry), detector=94, instrument="LSSTCam")
    raw = read_raw(testdata("B_lsst_amp_assembly/e2v_spot.fits.gz"), detector)
    assert raw.image.shape == (4096, 4608)
    with fits.open(testdata("B_lsst_amp_assembly/e2v_expected_assembled.fits.gz")) as hdus:
        np.testing.assert_array_equal(assemble(raw).image, hdus[0].data)
    assert (raw.info.exposure, raw.info.exposure_time_s, raw.info.dark_time_s) == (
        3019103101985,
        16.0,
        18.859,
    )


@pytest.mark.parametrize(
    ("name", "instrument", "number"),
    [
        ("3018092000065-det000.fits.gz", "LATISS", 0),
        ("CC_S_20240404_000780_R22_S01.fits.gz", "LSSTComCam", 1),
        ("3019032200002-R10-S22-det035.fits.gz", "LSSTCam", 35),
        ("30211212000310-R22-S22-det098.fits.gz", "LSSTCam", 98),
    ],
)
def test_each_pixel_goes_where_the_raws_own_header_says(name: str, instrument: str, number: int) -> None:
    """ITL (three times) and E2V; DETSEC counts rows from the top of the assembled image.

    The headers are the camera's, the geometry is the pipelines': neither knows of the other.
    """
    raw = read_raw_file(testdata(f"B_lsst_raw_headers/{name}"))
    detector = read_camera_detector(testdata(CAMERA.format(instrument)), detector=number)
    amplifiers = []
    for amplifier in raw.amplifiers:
        x1, x2, y1, y2 = positions(amplifier.header["DATASEC"])
        left, right, first, last = positions(amplifier.header["DETSEC"])
        n_rows = positions(amplifier.header["DETSIZE"])[3]
        x = np.linspace(left, right, x2 - x1 + 1) - 1
        y = n_rows - np.linspace(first, last, y2 - y1 + 1)
        pixels = np.full(amplifier.pixels.shape, -1, np.int32)
        pixels[y1 - 1 : y2, x1 - 1 : x2] = 4096 * np.rint(y)[:, None] + np.rint(x)
        amplifiers.append(dataclasses.replace(amplifier, pixels=pixels))
    exposure = assemble_raw(dataclasses.replace(raw, amplifiers=tuple(amplifiers)), detector)
    assembled = assemble(exposure)
    rows, columns = np.indices(assembled.image.shape)
    np.testing.assert_array_equal(assembled.image, 4096 * rows + columns)
    # These raws have more overscan than the geometry of their camera says.
    assert exposure.image.shape == (4096, 4608)
    for one in exposure.detector.amplifiers:
        data = np.zeros(exposure.image.shape, bool)
        for box in (raw_geometry(one).serial_overscan_bbox, raw_geometry(one).parallel_overscan_bbox):
            data[box_slices(box)] = True
        assert np.all(exposure.image[data] == -1)


def test_stretched_geometry_is_that_of_a_real_visit_image() -> None:
    """The geometry of the pipelines' camera, placed for 576 columns, is what they persisted with an image."""
    persisted = json.loads(testdata("C_rubin_dp_fixtures/detector.json").read_text())
    detector = read_camera_detector(testdata(CAMERA.format("LSSTCam")), detector=85)
    assert len(detector.amplifiers) == len(persisted["amplifiers"]) == 16
    for amplifier, expected in zip(detector.amplifiers, persisted["amplifiers"], strict=True):
        placed = place_amplifier(amplifier, shape=(2048, 576)).geometry
        assert json.loads(placed.model_dump_json()) == expected["assembled_raw_geometry"]


@settings(max_examples=40, deadline=None)
@given(
    vendor=st.sampled_from(["E2V", "ITL"]),
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    serial=st.integers(1, 9),
    parallel=st.integers(1, 9),
    more=st.tuples(st.integers(-3, 4), st.integers(-3, 4)),
)
def test_overscans_are_stretched_to_the_file(
    vendor: str, rows: int, columns: int, serial: int, parallel: int, more: tuple[int, int]
) -> None:
    """Geometry of other overscans than the file's gives what geometry of the file's gives."""
    if parallel + more[0] < 1 or serial + more[1] < 1:
        return
    layout: dict[str, Any] = {"data": (rows, columns), "prescan": 2}
    told = make_amplifiers(vendor, serial=serial, parallel=parallel, **layout)
    true = make_amplifiers(vendor, serial=serial + more[1], parallel=parallel + more[0], **layout)
    shape = (rows + parallel + more[0], 2 + columns + serial + more[1])
    for one, other in zip(told, true, strict=True):
        placed = place_amplifier(one, shape=shape)
        assert placed.geometry == other.assembled_raw_geometry
        assert placed.amplifier.bbox == one.bbox


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_what_is_read_first_is_in_the_corner_of_readout(vendor: str) -> None:
    detector = make_detector(vendor)
    counts = make_counts(np.random.default_rng(2), (51, 39))
    for number, pixels in enumerate(counts.values()):
        pixels[0, 0], pixels[0, -1], pixels[-1, 0] = 100 + number, 200 + number, 300 + number
    raw = assemble_raw(make_raw(counts), detector)
    assert raw.detector is detector
    for number, amplifier in enumerate(detector.amplifiers):
        geometry = raw_geometry(amplifier)
        tile = raw.image[box_slices(geometry.bbox)]
        flips = geometry.readout_corner.as_flips()
        y, x = -1 if flips.y else 0, -1 if flips.x else 0
        other_y, other_x = -1 - y, -1 - x
        assert (tile[y, x], tile[y, other_x], tile[other_y, x]) == (100 + number, 200 + number, 300 + number)
        assert find_readout_corner(geometry) is geometry.readout_corner


def test_the_exposure_is_in_adu_with_nothing_known_yet(tmp_path: Path) -> None:
    detector = make_detector()
    counts = make_counts(np.random.default_rng(3), (51, 39))
    exposure = read_raw(write_raw(tmp_path / "raw.fits", counts), detector, threads=2)
    assert exposure.unit == u.adu
    assert not exposure.is_assembled
    assert exposure.image.dtype == exposure.variance.dtype == np.float32
    assert exposure.mask.dtype == np.uint16
    assert not exposure.mask.any()
    assert not exposure.variance.any()
    assert exposure.image.sum(dtype=np.float64) == sum(int(pixels.sum()) for pixels in counts.values())
    assert [state.name for state in exposure.amplifiers] == list(NAMES)
    assert exposure.info.detector_exposure_id == 47152417142 - 118 + 94


def test_the_order_of_the_file_does_not_matter() -> None:
    counts = make_counts(np.random.default_rng(3), (51, 39))
    detector = make_detector("ITL")
    shuffled = {name: counts[name] for name in sorted(counts)}
    np.testing.assert_array_equal(
        assemble_raw(make_raw(counts), detector).image, assemble_raw(make_raw(shuffled), detector).image
    )


def test_a_callers_identity_replaces_the_headers() -> None:
    info = ExposureInfo("DECam", 12, 94, 7, 1.0, 2.0)
    counts = make_counts(np.random.default_rng(3), (51, 39))
    raw = make_raw(counts, INSTRUME="DECam", DAYOBS=None)
    assert assemble_raw(raw, make_detector(), info=info).info is info


def test_wrong_amplifiers_are_named_on_both_sides() -> None:
    counts = make_counts(np.random.default_rng(3), (51, 39))
    few = {name: pixels for name, pixels in counts.items() if name != "C07"}
    with pytest.raises(InputDataError, match=r"15 amplifiers \['Segment10'.*R22_S11 has 16: \['C10'"):
        assemble_raw(make_raw(few), make_detector())
    other = {**few, "C18": counts["C07"]}
    with pytest.raises(InputDataError, match=r"'Segment18'\].*'C07'"):
        assemble_raw(make_raw(other), make_detector())


def test_amplifiers_of_different_sizes_are_refused() -> None:
    counts = make_counts(np.random.default_rng(3), (51, 39))
    counts["C03"] = counts["C03"][:, :-1]
    with pytest.raises(InputDataError, match=r"different sizes.*'Segment03': \(51, 38\)"):
        assemble_raw(make_raw(counts), make_detector())


def test_amplifiers_without_room_for_overscan_are_refused() -> None:
    counts = make_counts(np.random.default_rng(3), (51, 27))
    with pytest.raises(InputDataError, match="51 rows and 27 columns in the file"):
        assemble_raw(make_raw(counts), make_detector())


def test_another_unit_is_refused() -> None:
    counts = make_counts(np.random.default_rng(3), (51, 39))
    with pytest.raises(InconsistentUnitsError, match=r"'electron'.*'adu'"):
        assemble_raw(make_raw(counts, BUNIT="electron"), make_detector())


def test_geometry_that_is_none_is_refused() -> None:
    box = Box.factory[0:4, 0:4]
    bare = Amplifier(name="C00", bbox=box, readout_corner=ReadoutCorner.LL)
    with pytest.raises(InputDataError, match="C00 has no raw geometry"):
        place_amplifier(bare, shape=(4, 4))
    geometry = AmplifierRawGeometry(
        bbox=box,
        data_bbox=Box.factory[0:3, 0:3],
        serial_overscan_bbox=Box.factory[0:3, 3:4],
        parallel_overscan_bbox=Box.factory[3:4, 0:3],
        x_offset=5,
        readout_corner=ReadoutCorner.LL,
    )
    odd = bare.model_copy(update={"unassembled_raw_geometry": geometry})
    assert place_amplifier(odd, shape=(4, 4)).geometry.bbox == Box.factory[0:4, 5:9]
    with pytest.raises(InputDataError, match=r"begins at pixel 5.*no tile of 4 pixels"):
        place_amplifier(odd, shape=(4, 6))


def test_amplifiers_on_each_other_are_refused() -> None:
    detector = make_detector()
    geometry = detector.amplifiers[0].assembled_raw_geometry
    clash = detector.copy()
    clash.amplifiers[1] = clash.amplifiers[1].model_copy(update={"assembled_raw_geometry": geometry})
    with pytest.raises(InputDataError, match="lie on each other"):
        assemble_raw(make_raw(make_counts(np.random.default_rng(3), (51, 39))), clash)
