"""Stamps are centred on their targets, and each target has its own fate."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import Box
from tests.support.scenes import BOX, CENTER, make_image, make_masked_image, make_sky_projection

from lsst.dax.image.cutouts import make_stamps
from lsst.dax.image.errors import RequestError, UnsupportedProductError


def sky_at(x: float, y: float) -> SkyCoord:
    """Return the sky position of a pixel position in the scene."""
    return make_sky_projection().pixel_to_sky(x=x, y=y)


@pytest.mark.parametrize(
    ("size", "x", "start"),
    [
        (5, 1050.0, 1048),  # on a pixel's centre: two pixels either side
        (5, 1050.49, 1048),
        (5, 1050.51, 1049),  # the next pixel's
        (4, 1050.4, 1049),  # between 1050 and 1051, whose common edge is at 1050.5
        (4, 1050.9, 1049),
        (4, 1051.1, 1050),
        (1, 1050.3, 1050),
    ],
)
def test_the_target_is_nearest_to_the_stamps_centre(size: int, x: float, start: int) -> None:
    (stamp,) = make_stamps(make_image(), sky_at(x, 80.0), size=size)
    assert stamp.bbox is not None
    assert (stamp.bbox.x.start, stamp.bbox.x.size) == (start, size)
    assert stamp.x == pytest.approx(x, abs=1e-5)


@given(x=st.floats(1010, 1149), y=st.floats(40, 119), size=st.integers(1, 12))
def test_the_target_lies_within_half_a_pixel_of_the_centre(x: float, y: float, size: int) -> None:
    (stamp,) = make_stamps(make_image(), sky_at(x, y), size=size)
    assert stamp.bbox is not None
    assert abs(stamp.x - stamp.bbox.x.center) <= 0.5 + 1e-9
    assert abs(stamp.y - stamp.bbox.y.center) <= 0.5 + 1e-9


def test_the_brightest_pixel_of_a_source_is_in_the_middle() -> None:
    image = make_image()
    image.array[:] = 0.0
    image.array[55 - BOX.y.start, 1111 - BOX.x.start] = 1.0
    (stamp,) = make_stamps(image, sky_at(1111.2, 54.8), size=7)
    assert stamp.image is not None
    assert np.argwhere(stamp.image.array == 1.0).tolist() == [[3, 3]]


def test_each_target_has_a_status_and_none_ends_the_batch() -> None:
    far = SkyCoord(CENTER.ra + 180 * u.deg, -CENTER.dec)
    off = sky_at(1300.0, 80.0)
    edge = sky_at(1001.0, 80.0)
    lost = SkyCoord(np.nan * u.deg, 1 * u.deg)
    positions = SkyCoord([sky_at(1080.0, 80.0), far, off, edge, lost])
    stamps = make_stamps(make_masked_image(), positions, size=9)
    assert [stamp.status for stamp in stamps] == ["OK", "BAD_POSITION", "NO_COVERAGE", "EDGE", "BAD_POSITION"]
    assert [stamp.is_good for stamp in stamps] == [True, False, False, True, False]
    assert [stamp.index for stamp in stamps] == [0, 1, 2, 3, 4]
    assert stamps[2].bbox is not None
    assert stamps[2].message


def test_a_stamp_at_the_edge_is_padded_to_size() -> None:
    (stamp,) = make_stamps(make_masked_image(), sky_at(1001.0, 80.0), size=9)
    assert stamp.image is not None
    assert stamp.image.bbox == Box.factory[76:85, 997:1006]
    assert np.array_equal(stamp.image.mask.get("NO_DATA"), np.arange(9)[None, :] < np.full((9, 1), 3))
    assert np.isnan(stamp.image.image.array[:, :3]).all()
    assert stamp.image.image.array[0, 3] == 76 * 1000 + 1000


def test_stamps_follow_proper_motion() -> None:
    start = sky_at(1050.0, 80.0)
    star = SkyCoord(start.ra, start.dec, pm_ra_cosdec=-2 * u.arcsec / u.yr, pm_dec=0 * u.arcsec / u.yr)
    epoch = Time("2025-01-01", scale="tai")
    (stamp,) = make_stamps(make_image(), star, size=5, epoch=epoch, time=epoch + 365.25 * u.day)
    moved = np.hypot(stamp.x - 1050.0, stamp.y - 80.0)
    assert moved == pytest.approx(10.0, rel=1e-3)  # 2 arcsec at 0.2 arcsec per pixel
    assert stamp.position.ra < start.ra


def test_one_position_gives_one_stamp_and_none_gives_none() -> None:
    assert len(make_stamps(make_image(), CENTER)) == 1
    assert make_stamps(make_image(), SkyCoord([], [], unit=u.deg)) == []


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(RequestError, match="at least 1 pixel; got 0"):
        make_stamps(make_image(), CENTER, size=0)
    with pytest.raises(RequestError, match=r"one-dimensional; got shape \(1, 1\)"):
        make_stamps(make_image(), CENTER.reshape(1, 1))
    with pytest.raises(UnsupportedProductError, match="without a sky projection"):
        make_stamps(make_image().view(sky_projection=None), CENTER)
