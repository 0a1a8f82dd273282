"""Growth of mask planes by a diamond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lsst.dax.image.errors import RequestError
from lsst.dax.image.recreation.isr import IsrPlane
from lsst.dax.image.recreation.isr.mask_growth import grow_planes


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_a_pixel_becomes_a_diamond(radius: int) -> None:
    mask = np.zeros((31, 35), np.uint16)
    mask[15, 17] = IsrPlane.SATURATED
    grown = grow_planes(mask, IsrPlane.SATURATED, radius=radius)
    y, x = np.nonzero(grown)
    assert y.size == 2 * radius * (radius + 1) + 1
    assert np.max(np.abs(y - 15) + np.abs(x - 17)) == radius
    assert set(grown[y, x]) == {IsrPlane.SATURATED}


def test_each_plane_grows_by_itself_and_others_stay() -> None:
    mask = np.zeros((9, 9), np.uint16)
    mask[4, 3] = IsrPlane.BAD | IsrPlane.SUSPECT
    mask[4, 5] = IsrPlane.SATURATED
    grown = grow_planes(mask, IsrPlane.BAD | IsrPlane.SATURATED, radius=1)
    assert grown[4, 4] == IsrPlane.BAD | IsrPlane.SATURATED
    assert grown[3, 3] == IsrPlane.BAD
    assert grown[3, 5] == IsrPlane.SATURATED
    assert np.count_nonzero(grown & IsrPlane.SUSPECT) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 150),
    st.integers(0, 8),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_growth_is_repeated_dilation_by_the_four_neighbours(
    ny: int, nx: int, radius: int, density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2**12, (ny, nx)).astype(np.uint16) * (rng.random((ny, nx)) < density**4)
    planes = IsrPlane(int(rng.integers(0, 2**12)))
    before = mask.copy()
    grown = grow_planes(mask, planes, radius=radius)
    for plane in IsrPlane:
        expected = mask & plane != 0
        if plane in planes and radius > 0:
            expected = ndimage.binary_dilation(expected, iterations=radius)
        np.testing.assert_array_equal(grown & plane != 0, expected, err_msg=str(plane))
    np.testing.assert_array_equal(mask, before)
    assert not np.shares_memory(grown, mask)


def test_views_of_any_layout_can_grow() -> None:
    rng = np.random.default_rng(5)
    mask = (rng.random((40, 61)) < 0.02).astype(np.uint16)
    view = mask[3:, ::-2]
    np.testing.assert_array_equal(
        grow_planes(view, IsrPlane.BAD, radius=2), grow_planes(view.copy(), IsrPlane.BAD, radius=2)
    )


def test_a_plane_does_not_shrink() -> None:
    with pytest.raises(RequestError, match="grows by 0 pixels or more, not by -1"):
        grow_planes(np.zeros((2, 2), np.uint16), IsrPlane.BAD, radius=-1)
