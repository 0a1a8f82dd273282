"""Stencils from text and from the shapes of other libraries."""

from __future__ import annotations

import astropy.units as u
import lsst.sphgeom
import numpy as np
import pytest
import regions
from astropy.coordinates import SkyCoord
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lsst.images import Box

from lsst.dax.image.errors import InvalidRegionError
from lsst.dax.image.geometry import (
    CircleStencil,
    PixelBoxStencil,
    PolygonStencil,
    RangeStencil,
    as_stencil,
    parse_stencil,
)

CIRCLE = CircleStencil(SkyCoord(12.5, -3.0, unit="deg"), 0.25 * u.deg)
TRIANGLE = PolygonStencil(SkyCoord([10.0, 12.0, 11.0], [-1.0, -1.0, 1.0], unit="deg"))
RANGE = RangeStencil(ra=(10.0 * u.deg, 12.0 * u.deg), dec=(-2.0 * u.deg, 2.0 * u.deg))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CIRCLE 12.5 -3 0.25", CIRCLE),
        ("  circle\t12.50\n -3.e0   +.25 ", CIRCLE),
        ("POS=CIRCLE 12.5 -3.0 2.5e-1", CIRCLE),
        ("pos = Circle 372.5 -3 0.25", CIRCLE),
        ("CIRCLE=12.5 -3 0.25", CIRCLE),
        ("CIRCLE = 12.5 -3 0.25", CIRCLE),
        ("POLYGON 10 -1 12 -1 11 1", TRIANGLE),
        ("POLYGON=10 -1 12 -1 11 1 10 -1", TRIANGLE),
        ("RANGE 10 12 -2 2", RANGE),
        ("POS=RANGE 10 12 -2 2", RANGE),
        ("RANGE -Inf +Inf -inf Infinity", RangeStencil()),
        ("RANGE 0 360 89 +Inf", RangeStencil(dec=(89.0 * u.deg, None))),
        ("RANGE 350 10 -2 2", RangeStencil(ra=(-10.0 * u.deg, 10.0 * u.deg), dec=RANGE.dec)),
    ],
)
def test_soda_text(text, expected):
    assert parse_stencil(text) == expected
    assert as_stencil(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is not a stencil; expected 'CIRCLE ra dec radius'"),
        ("BOX 1 2 3 4", r"is not a stencil"),
        ("POS=CIRCLE=1 2 3", r"is not a stencil"),
        ("RANGE=1 2 3 4", r"is not a stencil"),
        ("CIRCLES 1 2 3", r"no space after CIRCLE"),
        ("CIRCLE1 2 3", r"no space after CIRCLE"),
        ("CIRCLE", r"needs 3 numbers, not 0"),
        ("CIRCLE 1 2", r"needs 3 numbers, not 2"),
        ("CIRCLE 1 2 3 4", r"needs 3 numbers, not 4"),
        ("CIRCLE 1,2,3", r"'1,2,3' in .* is not a finite number"),
        ("CIRCLE 1 2 x", r"'x' in .* is not a finite number"),
        ("CIRCLE 1 2 0x10", r"'0x10' in .* is not a finite number"),
        ("CIRCLE 1 2 1_0", r"'1_0' in .* is not a finite number"),
        ("CIRCLE 1 2 1e999", r"'1e999' in .* is not a finite number"),
        ("CIRCLE 1 2 inf", r"'inf' in .* is not a finite number"),
        ("CIRCLE 1 2 nan", r"'nan' in .* is not a finite number"),
        ("CIRCLE 1 2 \u0663", r"is not a finite number"),
        ("CIRCLE 10 95 1", r"Declination must be within -90 and 90 deg, not 95\.0"),
        ("CIRCLE 1e300 0 1", r"Right ascension must be within -360 and 720 deg, not 1e\+300"),
        ("CIRCLE 10 20 -1", r"radius of a circle must be above 0.* not -1\.0 deg"),
        ("CIRCLE 10 20 0", r"radius of a circle must be above 0"),
        ("POLYGON 0 0 1 1", r"needs 3 or more pairs, not 4 numbers"),
        ("POLYGON 0 0 1 1 2", r"needs 3 or more pairs, not 5 numbers"),
        ("POLYGON 0 0 1 1 2 2 3", r"needs 3 or more pairs, not 7 numbers"),
        ("POLYGON 0 0 1 1 1 0 0 1", r"edges 1 and 3 cross or touch"),
        ("RANGE 1 2 3", r"needs 4 numbers, not 3"),
        ("RANGE 1 2 4 3", r"first declination must be below the last: 4\.0 to 3\.0"),
        ("RANGE 1 2 nan 3", r"'nan' in .* is not a finite number"),
    ],
)
def test_malformed_text_is_refused(text, message):
    with pytest.raises(InvalidRegionError, match=message):
        parse_stencil(text)


WORDS = st.sampled_from(
    [
        "POS=",
        "CIRCLE",
        "POLYGON",
        "RANGE",
        "=",
        " ",
        "1",
        "-2.5",
        "90",
        "1e5",
        "1e-300",
        "nan",
        "+Inf",
        "-inf",
        "\t",
        "x",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=14).map(" ".join)))
@example("RANGE 1e-300 0 0 1")
@example("POLYGON 0 0 1e-300 0 0 1e-300")
@example("CIRCLE 0 0 1e-300")
def test_text_is_a_stencil_or_an_invalid_region(text):
    try:
        stencil = parse_stencil(text)
    except InvalidRegionError:
        return
    assert stencil.kind in text.upper()


RA, DEC = st.floats(-360.0, 720.0), st.floats(-90.0, 90.0)
FORMS = [
    "CIRCLE {0!r} {2!r} {3!r}",
    "POLYGON {0!r} {2!r} {1!r} {2!r} {1!r} {3!r}",
    "RANGE {0!r} {1!r} {2!r} {3!r}",
]


@settings(max_examples=100, deadline=None)
@given(RA, RA, DEC, DEC, st.sampled_from(FORMS))
def test_any_numbers_are_a_stencil_or_an_invalid_region(a, b, c, d, form):
    try:
        stencil = parse_stencil(form.format(a, b, c, d))
    except InvalidRegionError:
        return
    assert len(stencil.fingerprint) == 16
    assert stencil.region is not None
    assert str(stencil).startswith(stencil.kind)


def test_shapes_of_regions():
    center = SkyCoord(12.5, -3.0, unit="deg")
    assert as_stencil(regions.CircleSkyRegion(center, 15.0 * u.arcmin)) == CIRCLE
    assert as_stencil(regions.PolygonSkyRegion(TRIANGLE.vertices)) == TRIANGLE
    with pytest.raises(InvalidRegionError, match="A EllipseSkyRegion is not a shape that can be cut out"):
        as_stencil(regions.EllipseSkyRegion(center, 1.0 * u.deg, 2.0 * u.deg))
    with pytest.raises(InvalidRegionError, match="A CirclePixelRegion is not a shape that can be cut out"):
        as_stencil(regions.CirclePixelRegion(regions.PixCoord(1.0, 2.0), 3.0))


@pytest.mark.parametrize("dec", [0.0, 60.0, -89.5])
@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_rectangle_of_regions_has_its_sides_and_its_angle(dec, angle):
    center = SkyCoord(12.5, dec, unit="deg")
    stencil = as_stencil(regions.RectangleSkyRegion(center, 2.0 * u.arcmin, 1.0 * u.arcmin, angle * u.deg))
    # Half of the height lies at the position angle of the rectangle, half of
    # the width across it.
    for turn, half in ((0.0, 30.0), (90.0, 60.0), (180.0, 30.0), (270.0, 60.0)):
        edge = center.directional_offset_by(
            (angle + turn) * u.deg, half * np.array([0.9999, 1.0001]) * u.arcsec
        )
        assert stencil.contains(edge).tolist() == [True, False]


def test_rectangle_without_a_size_is_refused():
    region = regions.RectangleSkyRegion(SkyCoord(12.5, 0.0, unit="deg"), 200.0 * u.deg, 1.0 * u.deg)
    with pytest.raises(InvalidRegionError, match=r"0 to 180 deg wide and high, not 200\.0 deg by 1\.0 deg"):
        as_stencil(region)


def test_shapes_of_sphgeom():
    center = lsst.sphgeom.UnitVector3d(lsst.sphgeom.LonLat.fromDegrees(12.5, -3.0))
    circle = as_stencil(lsst.sphgeom.Circle(center, lsst.sphgeom.Angle.fromDegrees(0.25)))
    assert circle.center.separation(CIRCLE.center).arcsec < 1e-9
    assert circle.radius.deg == pytest.approx(0.25, rel=1e-12)
    polygon = as_stencil(TRIANGLE.region)
    assert np.all(polygon.vertices.separation(TRIANGLE.vertices[:, None]).min(axis=0).arcsec < 1e-9)
    box = as_stencil(lsst.sphgeom.Box.fromDegrees(350.0, -2.0, 10.0, 2.0))
    assert [angle.deg for angle in (*box.ra, *box.dec)] == pytest.approx([350.0, 370.0, -2.0, 2.0])
    assert as_stencil(lsst.sphgeom.Box.full()) == RangeStencil()
    for empty in (lsst.sphgeom.Circle.empty(), lsst.sphgeom.Box.empty()):
        with pytest.raises(InvalidRegionError, match="of sphgeom is not a shape that can be cut out"):
            as_stencil(empty)


@pytest.mark.parametrize("stencil", [CIRCLE, TRIANGLE, RANGE])
def test_region_of_a_stencil_is_the_stencil_again(stencil):
    again = as_stencil(stencil.region)
    assert again.kind == stencil.kind
    sky = SkyCoord(*np.random.default_rng(4).uniform([[8.0], [-5.0]], [[15.0], [5.0]], (2, 500)), unit="deg")
    assert np.array_equal(again.contains(sky), stencil.contains(sky))


def test_stencils_and_pixel_boxes():
    assert as_stencil(CIRCLE) is CIRCLE
    assert as_stencil(Box.factory[1:2, 3:4]) == PixelBoxStencil(Box.factory[1:2, 3:4])
    with pytest.raises(InvalidRegionError, match="A int is not a shape that can be cut out: 7"):
        as_stencil(7)
