"""Dips of ITL sensors."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_images import assert_unchanged, freeze

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane
from lsst.dax.image.recreation.isr.itl_dip import flag_itl_dip

SATURATED = np.uint16(IsrPlane.SATURATED)
DIP = np.uint16(IsrPlane.SUSPECT | IsrPlane.ITL_DIP)


def make_trails(*boxes: tuple[int, int, int, int], sky: float = 1000.0, **layout: int) -> IsrExposure:
    """Return an exposure 200 rows high with saturated boxes: row, column, height, width."""
    detector = make_detector("ITL", data=(100, 200))
    exposure = make_exposure(detector, image=sky, is_assembled=True)
    mask = exposure.mask.copy()
    for y, x, height, width in boxes:
        mask[y : y + height, x : x + width] = SATURATED
    return freeze(exposure.with_pixels(mask=mask))


def find_columns(exposure: IsrExposure) -> list[int]:
    columns = np.flatnonzero(((exposure.mask & DIP) == DIP).all(axis=0))
    elsewhere = np.delete(exposure.mask & DIP, columns, axis=1)
    assert not elsewhere.any()
    return columns.tolist()


# The cases and columns of the unit test of the LSST pipelines (ip_isr, test_itlDipMasking).
PUBLISHED = [
    (20, 1000, 100, 30),  # well above both limits
    (20, 500, 51, 16),  # just above
    (20, 300, 51, 7),  # too narrow
    (20, 100, 25, 16),  # too low
]


def test_published_columns() -> None:
    before = make_trails(*PUBLISHED)
    after = flag_itl_dip(before, background_fraction=0.0025)
    # Widths 30 and 16: the published 992 to 1037, and 1495 to 1519 for a trail at 1500.
    assert find_columns(after) == [*range(495, 520), *range(992, 1038)]
    assert_unchanged(after, before, "image", "variance")


def test_a_fainter_sky_makes_the_narrow_dip_too_shallow() -> None:
    # 0.0025 * 50 * 16 = 2.0 and 0.0025 * 50 * 30 = 3.75 against 0.5 sqrt(50) = 3.54.
    after = flag_itl_dip(make_trails(*PUBLISHED, sky=50.0), background_fraction=0.0025)
    assert find_columns(after) == list(range(992, 1038))


def test_too_many_columns_flag_none() -> None:
    # Twelve trails of 41 columns flag 42 each with a scale of 1, 504 together; published as well.
    boxes = [(0, (k + 1) * 100, 200, 41) for k in range(12)]
    before = make_trails(*boxes)
    assert flag_itl_dip(before, background_fraction=0.0025, width_scale=1.0) is before
    after = flag_itl_dip(before, background_fraction=0.0025, width_scale=1.0, max_columns=504)
    assert len(find_columns(after)) == 504


def test_a_column_counts_only_above_the_height() -> None:
    # 51 rows in 14 columns, 50 in two more.
    before = make_trails((20, 500, 51, 14), (20, 514, 50, 2))
    assert flag_itl_dip(before, background_fraction=0.0025, min_width=15) is before
    after = flag_itl_dip(before, background_fraction=0.0025, min_width=14)
    # The centre is that of all its pixels: 507.44, and 21 columns are 10.5 to either side.
    assert find_columns(after) == list(range(496, 518))


def test_the_width_is_limited_and_the_edge_of_the_detector_ends_it() -> None:
    after = flag_itl_dip(make_trails((0, 0, 200, 90)), background_fraction=0.0025)
    # 50 columns of the 90 count: 37.5 to either side of 44.5.
    assert find_columns(after) == list(range(7, 83))
    after = flag_itl_dip(make_trails((0, 1570, 200, 30)), background_fraction=0.0025)
    assert find_columns(after) == list(range(1562, 1600))


def test_an_unknown_sky_flags_wide_trails() -> None:
    before = make_trails(*PUBLISHED, sky=50.0)
    image = before.image.copy()
    image[3, 3] = np.nan
    after = flag_itl_dip(before.with_pixels(image=image), background_fraction=0.0025)
    assert find_columns(after) == [*range(495, 520), *range(992, 1038)]


def test_without_a_fraction_or_trails_nothing_happens() -> None:
    before = make_trails(*PUBLISHED)
    assert flag_itl_dip(before) is before
    clean = make_trails()
    assert flag_itl_dip(clean, background_fraction=0.0025) is clean


def test_units_and_overscans_are_checked() -> None:
    exposure = make_exposure(unit=u.adu, is_assembled=True)
    with pytest.raises(InconsistentUnitsError, match=r"needs electron; exposure 2025052300201 is in adu"):
        flag_itl_dip(exposure, background_fraction=0.0025)
    with pytest.raises(InputDataError, match="flag_itl_dip needs an assembled exposure"):
        flag_itl_dip(make_exposure(), background_fraction=0.0025)
