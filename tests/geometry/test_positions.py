"""Positions move as proper motions say, and land on the right pixels."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Distance, SkyCoord
from astropy.time import Time
from tests.support.scenes import BOX, CENTER, make_sky_projection

from lsst.dax.image.errors import RequestError
from lsst.dax.image.geometry import locate_positions, propagate_positions

EPOCH = Time("2016-01-01", scale="tdb")
LATER = Time("2026-01-01", scale="tdb")


def test_motion_agrees_with_astropy() -> None:
    star = SkyCoord(
        [12.3, 350.0] * u.deg,
        [-40.0, 70.0] * u.deg,
        pm_ra_cosdec=[4000.0, -800.0] * u.mas / u.yr,
        pm_dec=[-6000.0, 300.0] * u.mas / u.yr,
        distance=Distance([10.0, 20.0] * u.pc),
        radial_velocity=[0.0, 0.0] * u.km / u.s,
        obstime=EPOCH,
        frame="icrs",
    )
    moved = propagate_positions(star, epoch=None, time=LATER)
    assert np.all(moved.separation(star.apply_space_motion(new_obstime=LATER)) < 1e-6 * u.arcsec)
    assert np.all(moved.separation(star) > 5 * u.arcsec)


def test_motion_in_right_ascension_is_an_angle_on_the_sky() -> None:
    star = SkyCoord(10 * u.deg, 60 * u.deg, pm_ra_cosdec=1 * u.arcsec / u.yr, pm_dec=0 * u.arcsec / u.yr)
    moved = propagate_positions(star, epoch=EPOCH, time=LATER)
    years = (LATER - EPOCH).to_value(u.yr)
    assert moved.separation(star).to_value(u.arcsec) == pytest.approx(years, rel=1e-6)
    assert moved.ra > star.ra


def test_motion_crosses_right_ascension_zero() -> None:
    star = SkyCoord(
        359.9999 * u.deg,
        0 * u.deg,
        pm_ra_cosdec=1 * u.arcsec / u.yr,
        pm_dec=0 * u.arcsec / u.yr,
        obstime=EPOCH,
    )
    moved = propagate_positions(star, epoch=None, time=LATER)
    assert moved.ra.wrap_at(180 * u.deg) > 0 * u.deg


def test_positions_without_motion_stay_and_need_no_time() -> None:
    moved = propagate_positions(CENTER, epoch=None, time=None)
    assert moved.separation(CENTER) < 1e-10 * u.arcsec


@pytest.mark.parametrize(
    ("epoch", "time", "message"),
    [(None, LATER, "epoch of the positions is not known"), (EPOCH, None, "time of the image is not known")],
)
def test_motion_without_a_time_is_refused(epoch: Time | None, time: Time | None, message: str) -> None:
    star = SkyCoord(1 * u.deg, 1 * u.deg, pm_ra_cosdec=1 * u.mas / u.yr, pm_dec=0 * u.mas / u.yr)
    with pytest.raises(RequestError, match=message):
        propagate_positions(star, epoch=epoch, time=time)


def test_the_reference_point_lands_on_the_centre_of_the_box() -> None:
    x, y = locate_positions(make_sky_projection(), CENTER.reshape(1), bbox=BOX)
    assert x[0] == pytest.approx(BOX.x.center, abs=1e-6)
    assert y[0] == pytest.approx(BOX.y.center, abs=1e-6)


def test_positions_of_another_frame_are_taken_to_icrs() -> None:
    x, y = locate_positions(make_sky_projection(), CENTER.galactic.reshape(1), bbox=BOX)
    assert (x[0], y[0]) == (pytest.approx(BOX.x.center, abs=1e-5), pytest.approx(BOX.y.center, abs=1e-5))


def test_the_antipode_has_no_pixel() -> None:
    antipode = SkyCoord(CENTER.ra + 180 * u.deg, -CENTER.dec)
    x, y = locate_positions(make_sky_projection(), antipode.reshape(1), bbox=BOX)
    assert np.isnan(x[0])
    assert np.isnan(y[0])
