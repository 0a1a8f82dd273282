"""Masks of the reference that follow from saturated footprints."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.simulation._reference_footprints import (
    FootprintRules,
    find_saturated_footprints,
    flag_e2v_edge_bleeds,
    flag_itl_dips,
    flag_itl_edges,
    widen_trails,
)
from lsst.dax.image.simulation._reference_planes import Planes
from lsst.dax.image.simulation._sensor import make_sensor

RULES = FootprintRules(min_area=300, max_area=3000, e2v_edge_rows=25, itl_edge_rows=40)
LEVEL = 1e5


def make_sensor_and_planes(vendor, *, level=500.0):
    sensor = make_sensor(vendor, data_shape=(100, 80), overscan=(10, 10), columns=4)
    image = np.full(sensor.bbox.shape, level, dtype=np.float32)
    return sensor, Planes(image, {}, np.ones_like(image))


def saturate(planes, rows, columns):
    image = planes.image.copy()
    image[rows, columns] = 2 * LEVEL
    return planes.with_image(image).flagged_region("SAT", (rows, columns))


def levels(sensor):
    return {amplifier.name: LEVEL for amplifier in sensor.amplifiers}


def itl(planes, sensor, bad=()):
    return flag_itl_edges(planes, sensor, saturation=levels(sensor), bad=set(bad), rules=RULES)


def test_footprints_are_connected_over_corners() -> None:
    _, planes = make_sensor_and_planes("E2V")
    for row, column in ((4, 4), (5, 5), (6, 4), (9, 9)):
        planes = saturate(planes, slice(row, row + 1), slice(column, column + 1))
    found = sorted(find_saturated_footprints(planes), key=lambda footprint: footprint.area)
    assert [(f.area, f.height) for f in found] == [(1, 1), (3, 3)]
    assert found[1].centroid == pytest.approx((13 / 3, 5.0))


def test_e2v_bleed_flags_the_edge_of_its_amplifier() -> None:
    sensor, planes = make_sensor_and_planes("E2V")
    planes = saturate(planes, slice(0, 80), slice(90, 95))
    flagged = flag_e2v_edge_bleeds(planes, sensor, rules=RULES).plane("SAT")
    expected = planes.plane("SAT").copy()
    expected[:25, 80:160] = True
    assert np.array_equal(flagged, expected)


@pytest.mark.parametrize(
    ("vendor", "rows", "columns"),
    [
        ("ITL", slice(0, 80), slice(90, 95)),  # of another vendor
        ("E2V", slice(1, 80), slice(90, 95)),  # not at the edge
        ("E2V", slice(0, 59), slice(90, 95)),  # 295 pixels
        ("E2V", slice(0, 75), slice(90, 130)),  # 3000 pixels
        ("E2V", slice(0, 199), slice(90, 92)),  # 398 pixels with the middle at row 99, still below
    ],
)
def test_e2v_edges_that_do_not_bleed(vendor, rows, columns) -> None:
    sensor, planes = make_sensor_and_planes(vendor)
    planes = saturate(planes, rows, columns)
    flagged = flag_e2v_edge_bleeds(planes, sensor, rules=RULES)
    bleeds = rows == slice(0, 199)
    assert (np.count_nonzero(flagged.plane("SAT")) > np.count_nonzero(planes.plane("SAT"))) == bleeds


def test_dip_covers_columns_of_one_and_a_half_widths() -> None:
    _, planes = make_sensor_and_planes("ITL", level=1e4)
    planes = saturate(planes, slice(20, 90), slice(100, 109))
    flagged = flag_itl_dips(planes, min_width=6, background_fraction=0.003)
    columns = np.zeros(320, dtype=bool)
    # The centre is column 104, the width 9 columns: 97.25 to 110.75.
    columns[97:111] = True
    for name in ("SUSPECT", "ITL_DIP"):
        assert np.array_equal(flagged.plane(name), np.broadcast_to(columns, planes.image.shape))


@pytest.mark.parametrize(
    ("rows", "width", "level", "fraction"),
    [
        (49, 9, 1e4, 0.003),  # too short
        (50, 9, 1e4, 0.003),  # its columns have 50 pixels, not more
        (70, 5, 1e4, 0.003),  # too narrow
        (70, 9, 1e2, 0.003),  # shallower than half the noise
        (70, 9, 1e4, 0.0),  # a detector without dips
    ],
)
def test_footprints_without_a_dip(rows, width, level, fraction) -> None:
    _, planes = make_sensor_and_planes("ITL", level=level)
    planes = saturate(planes, slice(20, 20 + rows), slice(100, 100 + width))
    flagged = flag_itl_dips(planes, min_width=6, background_fraction=fraction)
    assert not flagged.plane("SUSPECT", "ITL_DIP").any()


def test_too_many_dips_are_none() -> None:
    image = np.full((120, 900), 1e4, dtype=np.float32)
    planes = Planes(image, {}, image)
    for start in range(20, 860, 80):
        planes = saturate(planes, slice(10, 110), slice(start, start + 40))
        flagged = flag_itl_dips(planes, min_width=6, background_fraction=0.003)
        columns = np.count_nonzero(flagged.plane("ITL_DIP")[0])
        assert columns <= 500
    assert columns == 0


def test_sagging_columns_are_flagged_over_the_detector() -> None:
    sensor, planes = make_sensor_and_planes("ITL")
    planes = saturate(planes, slice(70, 130), slice(200, 210))
    # A wing of 12 rows is no more than a fifth of the height.
    planes = saturate(planes, slice(95, 107), slice(210, 215))
    flagged = itl(planes, sensor).plane("SAT")
    assert flagged[:, 200:210].all()
    assert np.array_equal(flagged[:, 210:], planes.plane("SAT")[:, 210:])
    assert np.array_equal(itl(planes, make_sensor_and_planes("E2V")[0]).plane("SAT"), planes.plane("SAT"))


@pytest.mark.parametrize("top", [False, True])
def test_bleed_at_the_far_edge_narrows_inwards(top) -> None:
    sensor, planes = make_sensor_and_planes("ITL")
    planes = saturate(planes, slice(70, 130), slice(100, 110))
    image = planes.image.copy()
    edge = image[::-1] if top else image
    edge[:50, 85:125] = 7e4
    flagged = itl(planes.with_image(image), sensor).plane("SAT")
    bleed = flagged[::-1] if top else flagged
    # 40 bright pixels and a core of 10.
    for row in (0, 20, 39):
        half = int((40 * np.exp(-0.02 * row) + 10) / 2)
        assert np.array_equal(np.flatnonzero(bleed[row]), np.arange(104 - half, 104 + half + 1))
    assert np.array_equal(np.flatnonzero(bleed[40]), np.arange(100, 110))
    assert np.array_equal(np.flatnonzero(bleed[-1]), np.arange(100, 110))


def test_faint_edge_is_no_bleed() -> None:
    sensor, planes = make_sensor_and_planes("ITL")
    planes = saturate(planes, slice(70, 130), slice(100, 110))
    image = planes.image.copy()
    image[:50, 85:125] = 5400.0
    flagged = itl(planes.with_image(image), sensor).plane("SAT")
    assert np.array_equal(np.flatnonzero(flagged[0]), np.arange(100, 110))


def test_two_cores_bleed_apart_and_three_do_not() -> None:
    sensor, planes = make_sensor_and_planes("ITL")
    for start in (100, 130):
        planes = saturate(planes, slice(70, 130), slice(start, start + 6))
    planes = saturate(planes, slice(99, 101), slice(100, 136))
    image = planes.image.copy()
    image[:50, 90:112] = 7e4
    two = itl(planes.with_image(image), sensor).plane("SAT")[0]
    # The widest of the first 100 rows is the bridge between the cores, of 36 pixels.
    assert np.array_equal(np.flatnonzero(two), np.r_[102 - 21 : 102 + 22, 130:136])
    planes = saturate(planes, slice(70, 130), slice(115, 121))
    image[70:130, 115:121] = 2 * LEVEL
    three = itl(planes.with_image(image), sensor).plane("SAT")[0]
    assert np.array_equal(np.flatnonzero(three), np.r_[100:106, 115:121, 130:136])


def test_trails_grow_by_the_length_of_their_runs() -> None:
    image = np.zeros((12, 40), dtype=np.float32)
    saturated = np.zeros(image.shape, dtype=bool)
    lengths = [1, 5, 6, 7, 8, 9, 10, 15]
    for row, length in enumerate(lengths):
        saturated[row, 12 : 12 + length] = True
    saturated[10, 0:10] = True
    grown = widen_trails(Planes(image, {"SAT": saturated}, image)).plane("SAT")
    extra = [0, 0, 1, 1, 3, 3, 4, 4]
    for row, (length, more) in enumerate(zip(lengths, extra, strict=True)):
        assert np.array_equal(np.flatnonzero(grown[row]), np.arange(12 - more, 12 + length + more))
    assert np.array_equal(np.flatnonzero(grown[10]), np.arange(14))
