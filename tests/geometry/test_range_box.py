"""Ranges of right ascension and declination."""

from __future__ import annotations

import pickle

import astropy.units as u
import lsst.sphgeom
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lsst.images import Box

from lsst.dax.image.errors import InvalidRegionError, StencilNotContainedError
from lsst.dax.image.geometry import EdgePolicy, RangeStencil

from ..support.oracles import make_projection, sky_of_pixels, within_range

IMAGE = Box.factory[0:100, 0:100]
INF = np.inf


def range_of(ra1: float, ra2: float, dec1: float, dec2: float) -> RangeStencil:
    return RangeStencil(ra=(ra1 * u.deg, ra2 * u.deg), dec=(dec1 * u.deg, dec2 * u.deg))


def agree(stencil: RangeStencil, projection, ra, dec) -> int:
    sky = sky_of_pixels(projection, IMAGE)
    expected = within_range(sky, ra=ra, dec=dec)
    found = np.zeros(IMAGE.shape, dtype=bool)
    pixels = stencil.to_pixels(projection, IMAGE)
    found[pixels.bbox.slice_within(IMAGE)] = pixels.covered
    assert np.array_equal(found, expected)
    assert np.array_equal(stencil.contains(sky), expected)
    return int(np.count_nonzero(expected))


@pytest.mark.parametrize("code", ["TAN", "CAR", "ZEA"])
@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ((9.9971, 10.0013), (-0.0011, 0.0017)),  # inside
        ((9.9, 10.0013), (-0.5, 0.0017)),  # across two edges
        ((0.0, 360.0), (-0.0011, 0.0017)),  # a ring
        ((9.0, 11.0), (-1.0, 1.0)),  # holds the image
        ((9.9971, 10.0013), (-90.0, 90.0)),  # from pole to pole
        ((10.0013, 369.9971), (-0.0011, 0.0017)),  # nearly around, without the middle
    ],
)
def test_range_covers_its_inside(code, ra, dec):
    projection = make_projection(ra=10.0, dec=0.0, code=code, rotation_deg=0.0 if code == "CAR" else 40.0)
    assert agree(range_of(*ra, *dec), projection, ra, dec) > 100


@settings(max_examples=60, deadline=None)
@given(
    ra0=st.floats(0.0, 360.0),
    dec0=st.sampled_from([0.0, 60.0, 89.9, -90.0, 90.0]),
    corners=st.tuples(*[st.floats(-20.0, 120.0)] * 4),
    scale=st.sampled_from([0.2, 60.0, 1500.0]),
)
def test_any_range_on_any_image(ra0, dec0, corners, scale):
    projection = make_projection(ra=ra0, dec=dec0, scale_arcsec=scale)
    sky = projection.pixel_to_sky(x=np.array(corners[:2]), y=np.array(corners[2:]))
    ra = (float(sky.ra.deg[0]), float(sky.ra.deg[1]))
    dec = (float(sky.dec.deg.min()), float(sky.dec.deg.max()))
    assume(ra[0] != ra[1] and dec[1] - dec[0] > 1e-9)
    width = (ra[1] - ra[0]) % 360.0
    assume(width > 1e-9)
    pixel_sky = sky_of_pixels(projection, IMAGE)
    expected = within_range(pixel_sky, ra=(ra[0], ra[0] + width), dec=dec)
    try:
        pixels = range_of(*ra, *dec).to_pixels(projection, IMAGE)
    except StencilNotContainedError:
        assert not np.any(expected)
        return
    found = np.zeros(IMAGE.shape, dtype=bool)
    found[pixels.bbox.slice_within(IMAGE)] = pixels.covered
    # Corners may fall on pixel centres, where rounding decides.
    wide = within_range(
        pixel_sky, ra=(ra[0] - 1e-9, ra[0] + width + 1e-9), dec=(dec[0] - 1e-9, dec[1] + 1e-9)
    )
    narrow = within_range(
        pixel_sky, ra=(ra[0] + 1e-9, ra[0] + width - 1e-9), dec=(dec[0] + 1e-9, dec[1] - 1e-9)
    )
    assert np.array_equal(found & (wide == narrow), expected & (wide == narrow))


def test_range_across_ra_zero_is_the_same_however_it_is_written():
    projection = make_projection(ra=0.0, dec=-30.0)
    ranges = [
        range_of(ra1, ra2, -30.001, -29.999)
        for ra1, ra2 in ((359.999, 0.001), (-0.001, 0.001), (359.999, 360.001))
    ]
    counts = {agree(stencil, projection, (-0.001, 0.001), (-30.001, -29.999)) for stencil in ranges}
    assert len(counts) == 1
    assert not bool(ranges[0].contains(SkyCoord(180.0, -30.0, unit="deg")))
    # The rest of the ring is what the other order of values gives.
    assert bool(range_of(0.001, 359.999, -31.0, -29.0).contains(SkyCoord(180.0, -30.0, unit="deg")))


def test_edges_are_parallels_and_belong_to_the_range():
    stencil = range_of(10.0, 50.0, 60.0, 70.0)
    ra = np.linspace(10.0, 50.0, 9)
    for dec in (60.0, 70.0):
        assert np.all(stencil.contains(SkyCoord(ra, np.full(9, dec), unit="deg")))
    assert not np.any(stencil.contains(SkyCoord(ra, np.full(9, 70.0 + 1e-9), unit="deg")))
    assert not np.any(stencil.contains(SkyCoord(ra, np.full(9, 60.0 - 1e-9), unit="deg")))


def test_ends_in_ra_belong_to_the_range_in_spite_of_rounding():
    rng = np.random.default_rng(12)
    for lo, width in zip(rng.uniform(-360.0, 360.0, 100), rng.uniform(0.01, 359.0, 100), strict=True):
        stencil = range_of(lo, lo + width, -1.0, 1.0)
        assert np.all(stencil.contains(SkyCoord([lo, lo + width], [0.0, 0.0], unit="deg")))
        beyond = SkyCoord([lo - 1e-9, lo + width + 1e-9], [0.0, 0.0], unit="deg")
        assert not np.any(stencil.contains(beyond))


@pytest.mark.parametrize(
    ("ra", "dec", "inside", "outside"),
    [
        (None, None, (123.0, -90.0), None),
        ((-INF * u.deg, INF * u.deg), (-INF * u.deg, INF * u.deg), (0.0, 90.0), None),
        (None, (89.0 * u.deg, INF * u.deg), (200.0, 90.0), (200.0, 88.9)),
        (None, (None, -89.0 * u.deg), (200.0, -90.0), (200.0, -88.9)),
        ((-INF * u.deg, 10.0 * u.deg), None, (5.0, 0.0), (355.0, 0.0)),
        ((350.0 * u.deg, None), None, (355.0, 0.0), (5.0, 0.0)),
        ((0.0 * u.deg, 360.0 * u.deg), (-2.0 * u.deg, 2.0 * u.deg), (359.9999, 1.9), (0.0, 2.1)),
        ((Angle("1h"), Angle("2h")), None, (20.0, 80.0), (31.0, 80.0)),
        ([1.0, 2.0] * u.rad, None, (60.0, 0.0), (50.0, 0.0)),
    ],
)
def test_open_ranges(ra, dec, inside, outside):
    stencil = RangeStencil(ra=ra, dec=dec)
    assert bool(stencil.contains(SkyCoord(*inside, unit="deg")))
    assert outside is None or not bool(stencil.contains(SkyCoord(*outside, unit="deg")))
    assert not bool(stencil.contains(SkyCoord(np.nan, 0.0, unit="deg")))


def test_whole_sky_covers_any_image():
    projection = make_projection(ra=10.0, dec=90.0)
    pixels = RangeStencil().to_pixels(projection, IMAGE)
    assert pixels.bbox == IMAGE
    assert np.all(pixels.covered)


def test_cap_around_the_pole():
    projection = make_projection(ra=10.0, dec=90.0)
    stencil = RangeStencil(dec=((90.0 - 8.0 / 3600.0) * u.deg, None))
    pixels = stencil.to_pixels(projection, IMAGE, edge=EdgePolicy.STRICT)
    assert pixels.bbox.shape == (81, 81)
    assert np.count_nonzero(pixels.covered) == pytest.approx(np.pi * 40.0**2, rel=0.01)


@pytest.mark.parametrize("edge", EdgePolicy)
def test_range_off_the_image_is_refused(edge):
    projection = make_projection(ra=10.0, dec=20.0)
    with pytest.raises(
        StencilNotContainedError, match=r"RANGE 10.1 10.2 19 21 .* touches no pixel of the image"
    ):
        range_of(10.1, 10.2, 19.0, 21.0).to_pixels(projection, IMAGE, edge=edge)


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        (None, (10.0 * u.deg, -10.0 * u.deg), r"first declination must be below the last: 10\.0 to -10\.0"),
        (None, (5.0 * u.deg, 5.0 * u.deg), r"first declination must be below the last: 5\.0 to 5\.0"),
        (None, (0.0 * u.deg, 90.1 * u.deg), r"within -90 and 90 deg.*0\.0 to 90\.1"),
        (None, (-95.0 * u.deg, 0.0 * u.deg), r"within -90 and 90 deg.*-95\.0 to 0\.0"),
        (None, (INF * u.deg, None), r"first declination must be below the last: inf"),
        ((10.0 * u.deg, 10.0 * u.deg), None, r"right ascension is empty: 10\.0 to 10\.0"),
        ((360.0 * u.deg, 0.0 * u.deg), None, r"right ascension is empty: 360\.0 to 0\.0"),
        ((INF * u.deg, None), None, r"right ascension is empty: inf"),
        ((0.0 * u.deg, 1000.0 * u.deg), None, r"within -360 and 720 deg: 0\.0 to 1000\.0"),
        ((np.nan * u.deg, 10.0 * u.deg), None, r"must not be NaN: nan to 10\.0"),
        ((1.0 * u.m, 10.0 * u.deg), None, r"first right ascension must be an angle, not 1\.0 m"),
        ((1.0 * u.deg,), None, r"right ascension needs two values"),
        (5.0 * u.deg, None, r"right ascension needs two values"),
    ],
)
def test_bad_range_is_refused_with_its_values(ra, dec, message):
    with pytest.raises(InvalidRegionError, match=message):
        RangeStencil(ra=ra, dec=dec)


@settings(max_examples=60, deadline=None)
@given(
    ra=st.tuples(st.floats(-360.0, 720.0), st.floats(-360.0, 720.0)),
    dec=st.tuples(st.floats(-90.0, 90.0), st.floats(-90.0, 90.0)),
    at=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_region_for_queries_never_misses_part(ra, dec, at):
    lo, hi = min(dec), max(dec)
    assume(hi > lo and 1e-9 < (ra[1] - ra[0]) % 360.0 < 360.0 - 1e-9)
    stencil = range_of(*ra, lo, hi)
    ra1, ra2 = (angle.deg for angle in stencil.ra)
    sky = SkyCoord(ra1 + at[0] * (ra2 - ra1), lo + at[1] * (hi - lo), unit="deg")
    assert bool(stencil.contains(sky))
    assert stencil.region.contains(lsst.sphgeom.UnitVector3d(*sky.cartesian.xyz.value))
    assert pickle.loads(pickle.dumps(stencil)) == stencil  # noqa: S301


def test_region_is_no_larger_than_needed():
    box = range_of(350.0, 10.0, -5.0, 5.0).region
    assert box.getWidth().asDegrees() == pytest.approx(20.0, abs=1e-6)
    assert box.getHeight().asDegrees() == pytest.approx(10.0, abs=1e-6)
    wide = range_of(10.0, 350.0, -5.0, 5.0).region
    assert wide.getWidth().asDegrees() == pytest.approx(340.0, abs=1e-6)


def test_text_and_header():
    stencil = range_of(350.0, 10.0, -5.0, 90.0)
    assert repr(stencil) == "RangeStencil(ra=(350.0, 370.0) deg, dec=(-5.0, 90.0) deg)"
    assert str(stencil) == "RANGE 350 370 -5 90"
    header = stencil.to_header()
    assert header["ST_TYPE"] == "RANGE"
    assert [v for k, v in header.items() if k != "ST_TYPE"] == [350.0, 370.0, -5.0, 90.0]
    assert len({stencil, range_of(-10.0, 10.0, -5.0, 90.0), range_of(0.0, 10.0, -5.0, 90.0)}) == 2
