"""The sensors' geometry against the numbers that the vendors' drawings give."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box
from lsst.images.cameras import ReadoutCorner
from tests.support.isr import make_detector

from lsst.dax.image.errors import RequestError
from lsst.dax.image.simulation import make_sensor

VENDORS = ("E2V", "ITL")
NAMES = ["C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17"]
NAMES += ["C07", "C06", "C05", "C04", "C03", "C02", "C01", "C00"]


@pytest.mark.parametrize(("vendor", "shape"), [("E2V", (4004, 4096)), ("ITL", (4000, 4072))])
def test_full_size(vendor, shape):
    sensor = make_sensor(vendor)
    assert sensor.bbox == Box.factory[0 : shape[0], 0 : shape[1]]
    assert sensor.raw_bbox == Box.factory[0:4096, 0:4608]
    assert [amplifier.name for amplifier in sensor.amplifiers] == NAMES


@pytest.mark.parametrize("vendor", VENDORS)
def test_data_pixels_tile_the_trimmed_detector_once(vendor):
    sensor = make_sensor(vendor, data_shape=(21, 13), overscan=(7, 5))
    covered = np.zeros(sensor.bbox.shape, dtype=int)
    for amplifier in sensor.amplifiers:
        box = amplifier.bbox
        covered[box.y.start : box.y.stop, box.x.start : box.x.stop] += 1
        assert amplifier.bbox.shape == amplifier.raw_data_bbox.shape
    assert np.all(covered == 1)


@pytest.mark.parametrize(
    ("vendor", "bottom", "top"),
    [("E2V", ReadoutCorner.LL, ReadoutCorner.UR), ("ITL", ReadoutCorner.LR, ReadoutCorner.UR)],
)
def test_charge_leaves_at_the_outer_edge_past_the_prescan(vendor, bottom, top):
    for amplifier in make_sensor(vendor).amplifiers:
        corner = top if amplifier.name.startswith("C1") else bottom
        assert amplifier.readout_corner == corner
        prescan, serial = amplifier.raw_prescan_bbox, amplifier.raw_serial_overscan_bbox
        assert (prescan.x.start > serial.x.start) == (corner in (ReadoutCorner.UR, ReadoutCorner.LR))
        below = amplifier.raw_parallel_overscan_bbox.y.start < amplifier.raw_data_bbox.y.start
        assert below == (corner is ReadoutCorner.UR)


@pytest.mark.parametrize("vendor", VENDORS)
def test_detector_agrees_with_hand_made_one(vendor):
    sensor = make_sensor(vendor, detector=94, data_shape=(40, 24), overscan=(12, 11))
    prescan = {"E2V": 10, "ITL": 3}[vendor]
    expected = make_detector(vendor, data=(40, 24), prescan=prescan, serial=12, parallel=11)
    detector = sensor.to_detector()
    assert detector.bbox == expected.bbox
    for made, wanted in zip(detector.amplifiers, expected.amplifiers, strict=True):
        assert (made.name, made.bbox, made.readout_corner) == (
            wanted.name,
            wanted.bbox,
            wanted.readout_corner,
        )
        assert made.assembled_raw_geometry == wanted.assembled_raw_geometry


def test_detectors_differ_and_repeat():
    first, again, other = (make_sensor("ITL", detector=d) for d in (3, 3, 4))
    assert first == again
    assert not np.any(first.gains == other.gains)


def test_unknown_vendor():
    with pytest.raises(RequestError, match="one of E2V, ITL, not 'CCD'"):
        make_sensor("CCD")


def test_impossible_size():
    with pytest.raises(RequestError, match=r"Data \(0, 24\), overscans \(54, 46\)"):
        make_sensor("E2V", data_shape=(0, 24))
