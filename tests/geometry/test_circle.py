"""Circles on the sky."""

from __future__ import annotations

import pickle

import astropy.units as u
import lsst.sphgeom
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.dax.image.errors import InvalidRegionError
from lsst.dax.image.geometry import CircleStencil

CENTER = SkyCoord(30.0, 10.0, unit="deg")


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (-10.0 * u.arcsec, r"above 0 and at most 180 deg, not -0\.00277"),
        (0.0 * u.arcsec, r"above 0 and at most 180 deg, not 0\.0 deg"),
        (180.001 * u.deg, r"at most 180 deg, not 180\.001"),
        (np.nan * u.deg, r"at most 180 deg, not nan"),
        (np.inf * u.deg, r"at most 180 deg, not inf"),
        (1.0 * u.m, r"must be an angle, not 1\.0 m"),
        (1.0 * u.dimensionless_unscaled, r"must be an angle, not 1\.0"),
        (1.0, r"an angle with a unit, not 1\.0"),
        ([1.0, 2.0] * u.deg, r"a single angle, not an array of shape \(2,\)"),
    ],
)
def test_bad_radius_is_refused_with_its_value(radius, message):
    with pytest.raises(InvalidRegionError, match=message):
        CircleStencil(CENTER, radius)


@pytest.mark.parametrize(
    ("center", "message"),
    [
        (SkyCoord(np.nan, 10.0, unit="deg"), r"centre of a circle must be finite, not RA nan"),
        (SkyCoord(10.0, np.nan, unit="deg"), r"centre of a circle must be finite.* Dec nan"),
        (SkyCoord([1.0, 2.0], [3.0, 4.0], unit="deg"), r"one position, not an array of shape \(2,\)"),
        ((1.0, 2.0), r"must be a SkyCoord, not tuple"),
    ],
)
def test_bad_centre_is_refused_with_its_value(center, message):
    with pytest.raises(InvalidRegionError, match=message):
        CircleStencil(center, 1.0 * u.arcsec)


def test_centre_may_be_in_any_frame_and_radius_in_any_unit():
    stencil = CircleStencil(CENTER.galactic, Angle("0d30m"))
    assert stencil.center.frame.name == "icrs"
    assert stencil.center.separation(CENTER).arcsec < 1e-9
    assert stencil.radius.to_value(u.arcmin) == pytest.approx(30.0, rel=1e-15)
    wrapped = CircleStencil(SkyCoord(-210.0, 0.0, unit="deg"), 1.0 * u.deg)
    assert wrapped.center.ra.deg == pytest.approx(150.0)


@pytest.mark.parametrize("radius_arcsec", [1e-6, 1e-3, 1.0, 3600.0, 89.0 * 3600.0, 179.99 * 3600.0])
def test_contains_to_a_part_in_a_million_of_any_radius(radius_arcsec):
    # The arc cosine of a dot product cannot tell angles below 2 mas apart.
    stencil = CircleStencil(CENTER, radius_arcsec * u.arcsec)
    step = 1e-4 if radius_arcsec < 1e-3 else 1e-6
    angles = np.linspace(0.0, 360.0, 25) * u.deg
    for factor, expected in ((1.0 - step, True), (1.0 + step, False)):
        sky = CENTER.directional_offset_by(angles, factor * radius_arcsec * u.arcsec)
        assert np.all(stencil.contains(sky) == expected)


def test_contains_keeps_shape_and_takes_no_nan():
    stencil = CircleStencil(CENTER, 1.0 * u.deg)
    sky = SkyCoord(
        [[30.0, 31.5, np.nan], [30.0, 210.0, 30.0]], [[10.0, 10.0, 10.0], [11.5, -10.0, 10.9]], unit="deg"
    )
    assert stencil.contains(sky).tolist() == [[True, False, False], [False, False, True]]
    assert stencil.contains(CENTER).shape == ()
    assert bool(CircleStencil(CENTER, 180.0 * u.deg).contains(SkyCoord(210.0, -10.0, unit="deg")))


@settings(max_examples=50, deadline=None)
@given(
    ra=st.floats(0.0, 360.0),
    dec=st.floats(-90.0, 90.0),
    radius=st.floats(1e-5, 180.0),
    angle=st.floats(0.0, 360.0),
)
def test_region_for_queries_never_misses_part(ra, dec, radius, angle):
    center = SkyCoord(ra, dec, unit="deg")
    edge = center.directional_offset_by(angle * u.deg, radius * u.deg)
    region = CircleStencil(center, radius * u.deg).region
    assert region.contains(lsst.sphgeom.UnitVector3d(*edge.cartesian.xyz.value))
    # The opening angle of sphgeom is a radius; half or twice of it is a mistake.
    assert region.getOpeningAngle().asDegrees() == pytest.approx(radius, abs=1e-6)


def test_equal_circles_are_equal_and_hash_alike():
    one, same = CircleStencil(CENTER, 36.0 * u.arcsec), CircleStencil(CENTER, 0.01 * u.deg)
    other = CircleStencil(CENTER, 0.0100001 * u.deg)
    assert one == same
    assert len({one, same, other}) == 2
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 16
    assert one != "CIRCLE"


def test_pickle_round_trip_leaves_caches_behind():
    stencil = CircleStencil(CENTER, 36.0 * u.arcsec)
    stencil.contains(CENTER)
    assert len(vars(stencil)) > 2
    copy = pickle.loads(pickle.dumps(stencil))  # noqa: S301
    assert set(vars(copy)) == {"center", "radius"}
    assert copy == stencil
    assert copy.fingerprint == stencil.fingerprint


def test_text_is_readable_in_degrees():
    stencil = CircleStencil(SkyCoord(0.25708, -3.03694, unit="deg"), 3.0 * u.arcsec)
    assert str(stencil) == "CIRCLE 0.25708 -3.03694 0.00083333333"
    assert repr(stencil).startswith("CircleStencil(ra=0.25708, dec=-3.03694, radius=0.0008333333")


def test_header_describes_the_circle():
    header = CircleStencil(CENTER, 36.0 * u.arcsec).to_header()
    assert list(header) == ["ST_TYPE", "ST_RA", "ST_DEC", "ST_RAD"]
    assert header["ST_TYPE"] == "CIRCLE"
    assert [header[key] for key in ("ST_RA", "ST_DEC", "ST_RAD")] == pytest.approx([30.0, 10.0, 0.01])
    assert all("deg" in header.comments[key] for key in ("ST_RA", "ST_DEC", "ST_RAD"))
