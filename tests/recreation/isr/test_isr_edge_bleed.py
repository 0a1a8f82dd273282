"""Edge bleed of e2v sensors."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_images import assert_unchanged, freeze

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane
from lsst.dax.image.recreation.isr.edge_bleed import flag_edge_bleed

SATURATED = np.uint16(IsrPlane.SATURATED)
SMALL = {"min_area": 60, "max_area": 400, "rows": 9}


def make_trail(
    vendor: str = "E2V", *, rows: tuple[int, int] = (0, 30), columns: tuple[int, int] = (52, 56)
) -> IsrExposure:
    """Return a small exposure with one saturated box; amplifier C02 has columns 48 to 71."""
    exposure = make_exposure(make_detector(vendor), is_assembled=True)
    mask = exposure.mask.copy()
    mask[slice(*rows), slice(*columns)] = SATURATED
    return freeze(exposure.with_pixels(mask=mask))


def test_the_edge_of_the_amplifier_is_flagged_to_the_pixel() -> None:
    before = make_trail()
    after = flag_edge_bleed(before, **SMALL)
    expected = before.mask.copy()
    expected[:9, 48:72] |= SATURATED
    np.testing.assert_array_equal(after.mask, expected)
    assert_unchanged(after, before, "image", "variance")


def test_the_defaults_are_those_of_the_pipelines() -> None:
    # 10000 pixels are enough, 9999 and 100000 are not; 350 rows of 512 columns.
    detector = make_detector("E2V", data=(2002, 512), columns=2)
    exposure = make_exposure(detector, is_assembled=True)
    for pixels, flagged in ((10_000, True), (9_999, False), (99_999, True), (100_000, False)):
        mask = np.zeros_like(exposure.mask)
        mask[:1000, 600:700].flat[:pixels] = SATURATED
        mask[:1000, 600:700] = mask[:1000, 600:700][:, ::-1]  # the ragged row last
        after = flag_edge_bleed(exposure.with_pixels(mask=mask)).mask
        expected = mask.copy()
        if flagged:
            expected[:350, 512:1024] = SATURATED
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        ((1, 31), (52, 56), "does not reach row 0"),
        ((50, 80), (52, 56), "reaches the upper edge only"),
        ((0, 80), (52, 55), "is centred beyond the lower amplifiers"),
        ((0, 14), (52, 56), "is too small"),
        ((0, 40), (50, 60), "is too large"),
    ],
)
def test_other_groups_are_left(rows: tuple[int, int], columns: tuple[int, int], why: str) -> None:
    before = make_trail(rows=rows, columns=columns)
    if "centred" in why:
        # Row 39.5 is truncated to 39, which is of the lower amplifier; more above moves it to 45.
        assert (flag_edge_bleed(before, **SMALL).mask != before.mask).any()
        mask = before.mask.copy()
        mask[60:80, 55:58] = SATURATED
        before = before.with_pixels(mask=mask)
    np.testing.assert_array_equal(flag_edge_bleed(before, **SMALL).mask, before.mask)


def test_the_centroid_is_truncated() -> None:
    # Columns 44 to 51: centroid 47.5, which is of the amplifier that ends with 47.
    after = flag_edge_bleed(make_trail(columns=(44, 52)), **SMALL)
    assert (after.mask[:9, 24:48] == SATURATED).all()
    assert not after.mask[0, 60:].any()


def test_other_vendors_and_clean_detectors_come_back_as_they_are() -> None:
    itl = make_trail("ITL")
    assert flag_edge_bleed(itl, **SMALL) is itl
    clean = make_exposure(is_assembled=True)
    assert flag_edge_bleed(clean, **SMALL) is clean


def test_an_exposure_with_overscans_is_refused() -> None:
    with pytest.raises(InputDataError, match=r"flag_edge_bleed needs an assembled exposure.*\(102, 312\)"):
        flag_edge_bleed(make_exposure())
