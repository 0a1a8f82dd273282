"""Edge bleed and sagging columns of ITL sensors."""

from __future__ import annotations

import dataclasses
import math

import astropy.units as u
import numpy as np
import pytest
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_images import assert_unchanged, freeze

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane, itl_saturation
from lsst.dax.image.recreation.isr.itl_saturation import flag_itl_saturation

SATURATED = np.uint16(IsrPlane.SATURATED)
LEVEL = 12_000.0
BRIGHT = 15_000.0
HEIGHT, WIDTH = 4000, 2545


@pytest.fixture
def no_sag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no column sag: what is left is the bleed."""
    monkeypatch.setattr(itl_saturation, "_SAG_FRACTION", np.inf)


def make_itl(*, saturation: float = LEVEL, bad: str = "C10", vendor: str = "ITL") -> IsrExposure:
    """Return a dark exposure of five columns of amplifiers of full size."""
    exposure = make_exposure(make_detector(vendor, data=(2000, 509), columns=5), is_assembled=True)
    states = tuple(
        dataclasses.replace(state, saturation=saturation, is_bad=state.name == bad)
        for state in exposure.amplifiers
    )
    return dataclasses.replace(exposure, amplifiers=states)


def saturate(exposure: IsrExposure, rows: slice, columns: slice) -> None:
    """Saturate a box; it may reach over the edge of the detector."""
    columns = slice(max(columns.start, 0), columns.stop)
    exposure.image[rows, columns] = BRIGHT
    exposure.mask[rows, columns] = SATURATED


def add_star(exposure: IsrExposure, x: int, y: int) -> None:
    """Draw a star with a trail to near the upper edge, and bleed whose rim is saturated."""
    saturate(exposure, slice(y - 80, y + 80), slice(x - 50, x + 50))
    saturate(exposure, slice(y, HEIGHT - 100), slice(x - 4, x + 4))
    for distance in range(100):
        row = HEIGHT - 1 - distance
        half_width = int((100 * math.exp(-0.04 * distance) + 8) / 2.0)
        left, right = max(x - half_width, 0), min(x + half_width, WIDTH - 1)
        exposure.image[row, left + 1 : right] = 0.85 * LEVEL
        exposure.image[row, [left, right]] = BRIGHT
        exposure.mask[row, [left, right]] = SATURATED


def test_published_number(no_sag: None) -> None:
    # The second star of the unit test of the LSST pipelines (ip_isr,
    # test_ITLEdgeBleedMask) brings its saturated pixels from 56871 to 84649.
    before = make_itl()
    add_star(before, 2100, 3100)
    after = flag_itl_saturation(freeze(before))
    assert int(((after.mask & SATURATED) != 0).sum()) == 84649 - 56871
    assert not (before.mask & ~after.mask).any()
    assert_unchanged(after, before, "image", "variance")


def test_upper_and_lower_edges_mirror_each_other() -> None:
    upper, lower = make_itl(), make_itl()
    add_star(upper, 2100, 3099)
    for name in ("image", "mask"):
        getattr(lower, name)[:] = getattr(upper, name)[::-1]
    above, below = flag_itl_saturation(upper).mask, flag_itl_saturation(lower).mask
    assert (above[-1] != 0).sum() > 100
    np.testing.assert_array_equal(below, above[::-1])


def make_box_with_bleed(width: int = 60) -> IsrExposure:
    """Return a saturated box of 120x100 pixels, 20 columns of it down to the edge, and bleed around them."""
    exposure = make_itl()
    saturate(exposure, slice(1000, 1100), slice(2000, 2120))
    exposure.mask[:1000, 2050:2070] = SATURATED
    exposure.image[:1000, 2050:2070] = BRIGHT
    exposure.image[:30, 2060 - width // 2 : 2060 + width // 2] = 0.5 * LEVEL
    exposure.image[:50, 2050:2070] = BRIGHT
    return exposure


def test_bleed_is_flagged_to_the_pixel(no_sag: None) -> None:
    before = make_box_with_bleed()
    # Centroid: row 678, column 2059; its row has the 20 columns of the trail.
    after = flag_itl_saturation(before, max_area=40_000)
    expected = before.mask.copy()
    for y in range(200):
        half_width = int((60 * math.exp(-0.02 * y) + 20) / 2.0)
        expected[y, 2059 - half_width : 2059 + half_width] |= SATURATED
    np.testing.assert_array_equal(after.mask, expected)


def test_two_cores_bleed_each(no_sag: None) -> None:
    before = make_itl()
    for left, width, trail, bleed in (
        (2000, 100, (2040, 2060), (2030, 2070)),
        (2200, 110, (2250, 2260), (2240, 2270)),
    ):
        saturate(before, slice(1000, 1120), slice(left, left + width))
        saturate(before, slice(0, 1000), slice(*trail))
        before.image[:50, slice(*bleed)] = 0.9 * LEVEL
    saturate(before, slice(1119, 1120), slice(2000, 2310))  # which makes them one group
    expected = before.mask.copy()
    # Both windows of 500 columns see 40 + 30 columns of bleed; each core has its own
    # width and lies in the first of its longest columns.
    for x, width in ((2040, 100), (2250, 110)):
        for y in range(200):
            half_width = int((70 * math.exp(-0.02 * y) + width) / 2.0)
            expected[y, x - half_width : x + half_width] |= SATURATED
    np.testing.assert_array_equal(flag_itl_saturation(before).mask, expected)
    # The second core has 13200 + 10000 + 45 pixels of its own.
    fewer = flag_itl_saturation(before, min_area=23_245).mask
    np.testing.assert_array_equal(fewer[:, 2160:], before.mask[:, 2160:])
    np.testing.assert_array_equal(fewer[:, :2100], expected[:, :2100])


@pytest.mark.parametrize("left", [0, WIDTH - 100])
def test_bleed_ends_at_the_sides_of_the_detector(left: int, no_sag: None) -> None:
    before = make_itl()
    saturate(before, slice(0, 120), slice(left, left + 100))
    after = flag_itl_saturation(before).mask
    expected = before.mask.copy()
    x = left + 49
    for y in range(200):
        half_width = int((100 * math.exp(-0.02 * y) + 100) / 2.0)
        expected[y, max(x - half_width, 0) : x + half_width] |= SATURATED
    np.testing.assert_array_equal(after, expected)


def test_bleed_must_be_bright_at_the_edge(no_sag: None) -> None:
    before = make_box_with_bleed()
    before.image[:50, 2050:2070] = 5000.0
    np.testing.assert_array_equal(flag_itl_saturation(before).mask, before.mask)
    assert (flag_itl_saturation(before, threshold=4999.0).mask != before.mask).any()


def test_the_sky_of_the_lower_edge_is_that_of_the_upper_amplifier(no_sag: None) -> None:
    before = make_box_with_bleed()
    before.image[:50, 2050:2070] = 12_000.0
    upper = before.image[2000:3800, 2036:2545]  # C14 but for the upper edge
    upper[:] = 7000.0
    np.testing.assert_array_equal(flag_itl_saturation(before).mask, before.mask)
    upper[:] = 6999.0
    assert (flag_itl_saturation(before).mask != before.mask).any()


def test_columns_sag_if_a_fifth_of_the_height_is_saturated() -> None:
    before = make_itl()
    # 120 rows of 100 columns; one column 30 rows higher: 150 rows.  Beside it 30 and 31 rows, not 120.
    saturate(before, slice(1000, 1120), slice(2000, 2100))
    saturate(before, slice(1000, 1150), slice(2050, 2051))
    saturate(before, slice(1090, 1120), slice(2100, 2101))
    saturate(before, slice(1089, 1120), slice(1999, 2000))
    after = flag_itl_saturation(before).mask
    expected = before.mask.copy()
    expected[:, 1999:2100] = SATURATED
    np.testing.assert_array_equal(after, expected)


def test_groups_outside_the_limits_are_left() -> None:
    for height, is_flagged in ((99, False), (100, True), (999, True), (1000, False)):
        before = make_itl()
        saturate(before, slice(500, 500 + height), slice(2000, 2100))
        after = flag_itl_saturation(before).mask
        assert (after[0, 2050] == SATURATED) == is_flagged


def test_three_cores_are_too_many(no_sag: None) -> None:
    before = make_itl()
    for x in (2000, 2100, 2200):
        saturate(before, slice(0, 500), slice(x, x + 20))
    saturate(before, slice(0, 2), slice(2000, 2220))
    np.testing.assert_array_equal(flag_itl_saturation(before).mask, before.mask)


def test_the_saturation_is_the_median_of_good_amplifiers(no_sag: None) -> None:
    before = make_box_with_bleed()
    expected = flag_itl_saturation(before).mask
    # At 0.45 of 20 000 the bleed at 6000 is no bleed.
    levels = {"C10": 1e9, "C11": math.nan}
    states = tuple(
        dataclasses.replace(state, saturation=levels.get(state.name, LEVEL)) for state in before.amplifiers
    )
    same = dataclasses.replace(before, amplifiers=states)
    np.testing.assert_array_equal(flag_itl_saturation(same).mask, expected)
    states = tuple(dataclasses.replace(state, saturation=20_000.0) for state in before.amplifiers)
    fewer = flag_itl_saturation(dataclasses.replace(before, amplifiers=states)).mask
    assert (fewer != 0).sum() < (expected != 0).sum()


def test_other_vendors_and_clean_detectors_come_back_as_they_are() -> None:
    e2v = make_itl(vendor="E2V")
    saturate(e2v, slice(500, 700), slice(2000, 2100))
    assert flag_itl_saturation(e2v) is e2v
    clean = make_itl(saturation=math.nan)
    assert flag_itl_saturation(clean) is clean


def test_errors_name_what_is_missing() -> None:
    exposure = make_itl(saturation=math.nan)
    saturate(exposure, slice(500, 700), slice(2000, 2100))
    with pytest.raises(
        InputDataError, match=r"R22_S11.*none of its 9 good amplifiers has a saturation level"
    ):
        flag_itl_saturation(exposure)
    small = make_detector("ITL")
    with pytest.raises(InconsistentUnitsError, match=r"needs electron; exposure 2025052300201 is in adu"):
        flag_itl_saturation(make_exposure(small, unit=u.adu, is_assembled=True))
    with pytest.raises(InputDataError, match="flag_itl_saturation needs an assembled exposure"):
        flag_itl_saturation(make_exposure(small))
