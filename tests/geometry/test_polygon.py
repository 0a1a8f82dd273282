"""Polygons on the sky."""

from __future__ import annotations

import pickle

import astropy.units as u
import lsst.sphgeom
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lsst.images import Box

from lsst.dax.image.errors import InvalidRegionError, StencilNotContainedError
from lsst.dax.image.geometry import PolygonStencil

from ..support.oracles import make_projection, polygon_edge, sees_around, sky_of_pixels, within_polygon

IMAGE = Box.factory[0:100, 0:100]
ANGLES = np.arange(10) * 36.0

SHAPES = {
    "square": [(20, 20), (80, 20), (80, 80), (20, 80)],
    "L": [(10, 10), (90, 10), (90, 30), (30, 30), (30, 90), (10, 90)],
    "chevron": [(10, 10), (50, 80), (90, 10), (50, 95)],
    "notch": [(10, 10), (90, 10), (90, 90), (50, 85), (10, 90)],
    "star": [
        (50 + r * np.sin(np.radians(a)), 50 + r * np.cos(np.radians(a)))
        for a, r in zip(ANGLES, [45, 17] * 5, strict=True)
    ],
    "spiral": [
        (10, 10),
        (90, 10),
        (90, 90),
        (30, 90),
        (30, 40),
        (60, 40),
        (60, 60),
        (50, 60),
        (50, 50),
        (40, 50),
        (40, 80),
        (80, 80),
        (80, 20),
        (10, 20),
    ],
    "partly off": [(-30, 50), (50, -30), (130, 50), (50, 130), (50, 70), (70, 50), (50, 30)],
}
PROJECTIONS = {
    "TAN": {"ra": 150.0, "dec": 2.0, "rotation_deg": 33.0},
    "SIP": {"ra": 53.0, "dec": -27.0, "distortion_px": 300.0},
    "CAR across RA 0": {"ra": 0.0, "dec": 0.0, "code": "CAR", "scale_arcsec": 200.0},
    "ZEA at the pole": {"ra": 10.0, "dec": 90.0, "code": "ZEA", "scale_arcsec": 600.0},
}


def on_sky(projection, corners) -> SkyCoord:
    """Corners given a fraction of a pixel off the grid, so that no centre is on an edge."""
    x, y = np.array(corners, dtype=float).T
    return projection.pixel_to_sky(x=x + 0.137, y=y + 0.291)


def agree(stencil, projection, *, bbox=IMAGE) -> int:
    """Compare with a test of every pixel; return the number of covered ones."""
    sky = sky_of_pixels(projection, bbox)
    expected = within_polygon(sky, vertices=stencil.vertices)
    found = np.zeros(bbox.shape, dtype=bool)
    pixels = stencil.to_pixels(projection, bbox)
    found[pixels.bbox.slice_within(bbox)] = pixels.covered
    assert np.array_equal(found, expected)
    assert np.array_equal(stencil.contains(sky), expected)
    return int(np.count_nonzero(expected))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_any_simple_polygon_covers_its_inside(shape, projection):
    sky_projection = make_projection(**PROJECTIONS[projection])
    vertices = on_sky(sky_projection, SHAPES[shape])
    n_covered = agree(PolygonStencil(vertices), sky_projection)
    assert 300 < n_covered < 8000
    assert agree(PolygonStencil(vertices[::-1]), sky_projection) == n_covered


def test_oracle_knows_the_area_of_the_shapes():
    projection = make_projection(ra=150.0, dec=2.0)
    sky = sky_of_pixels(projection, IMAGE)
    for shape, area in (("square", 3600), ("L", 80 * 20 + 60 * 20), ("chevron", 600)):
        vertices = on_sky(projection, SHAPES[shape])
        assert np.count_nonzero(within_polygon(sky, vertices=vertices)) == pytest.approx(area, abs=12)
        turns = sees_around(sky, vertices)
        assert np.abs(turns - np.round(turns)).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 24),
    dec=st.floats(-90.0, 90.0),
    ra=st.floats(0.0, 360.0),
    scale=st.sampled_from([0.2, 20.0, 1000.0]),
    spread=st.floats(0.0, 0.9),
)
def test_random_polygon_covers_its_inside(seed, n, dec, ra, scale, spread):
    # Corners at growing angles around a point make a simple polygon; with
    # spread 0 all are on a circle, and it is convex.
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0.0, 2.0 * np.pi, n))
    gaps = np.diff(np.append(angle, angle[0] + 2.0 * np.pi))
    assume(gaps.min() > 0.02 and gaps.max() < 3.0)
    radius = 45.0 * (1.0 - spread * rng.uniform(size=n))
    projection = make_projection(ra=ra, dec=dec, scale_arcsec=scale)
    corners = np.stack([50.0 + radius * np.cos(angle), 50.0 + radius * np.sin(angle)], axis=-1)
    agree(PolygonStencil(on_sky(projection, corners)), projection)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 12), size=st.sampled_from([1e-3, 1.0, 40.0, 80.0]))
def test_region_for_queries_never_misses_part(seed, n, size):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0.0, 360.0, n))
    gaps = np.diff(np.append(angle, angle[0] + 360.0))
    assume(gaps.min() > 1.0 and gaps.max() < 170.0)
    center = SkyCoord(rng.uniform(0.0, 360.0), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0))), unit="deg")
    vertices = center.directional_offset_by(angle * u.deg, size * rng.uniform(0.2, 1.0, n) * u.deg)
    stencil = PolygonStencil(vertices)
    edge = polygon_edge(stencil.vertices, 9)
    # A shade within, as rounding may put a point of the edge on either side.
    inside = center.directional_offset_by(center.position_angle(edge), 0.999999 * center.separation(edge))
    assert np.all(stencil.contains(inside))
    assert all(
        stencil.region.contains(lsst.sphgeom.UnitVector3d(*xyz)) for xyz in inside.cartesian.xyz.value.T
    )


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_hexagon_around_a_pole(dec):
    projection = make_projection(ra=0.0, dec=dec, rotation_deg=11.0)
    vertices = SkyCoord(np.arange(6) * 60.0, np.full(6, dec * (1.0 - 8.0 / 3600.0 / 90.0)), unit="deg")
    n_covered = agree(PolygonStencil(vertices), projection)
    assert n_covered == pytest.approx(1.5 * np.sqrt(3.0) * 40.0**2, rel=0.01)


def test_polygon_across_ra_zero():
    projection = make_projection(ra=0.0, dec=-30.0)
    vertices = SkyCoord([359.999, 0.001, 0.001, 359.999], [-30.001, -30.001, -29.999, -29.999], unit="deg")
    assert agree(PolygonStencil(vertices), projection) == pytest.approx(
        36.0**2 * np.cos(np.radians(30)), rel=0.05
    )


def test_edges_are_great_circles():
    # The great circle between two points of the parallel 60 runs north of it.
    stencil = PolygonStencil(SkyCoord([0.0, 20.0, 20.0, 0.0], [50.0, 50.0, 60.0, 60.0], unit="deg"))
    top = np.degrees(np.arctan(np.tan(np.radians(60.0)) / np.cos(np.radians(10.0))))
    assert stencil.contains(SkyCoord([10.0, 10.0], [top - 1e-6, top + 1e-6], unit="deg")).tolist() == [
        True,
        False,
    ]


def test_interior_is_the_smaller_side_and_opposite_points_are_out():
    stencil = PolygonStencil(SkyCoord([0.0, 10.0, 5.0], [0.0, 0.0, 8.0], unit="deg"))
    sky = SkyCoord([5.0, 185.0, 100.0, np.nan], [3.0, -3.0, 0.0, 0.0], unit="deg")
    assert stencil.contains(sky).tolist() == [True, False, False, False]


def test_vertices_and_edges_belong_to_the_polygon():
    vertices = SkyCoord([0.0, 10.0, 5.0], [0.0, 0.0, 8.0], unit="deg")
    assert np.all(PolygonStencil(vertices).contains(vertices))
    assert np.all(PolygonStencil(vertices).contains(SkyCoord([1.0, 5.0], [0.0, 0.0], unit="deg")))


def test_polygon_of_a_milliarcsecond_keeps_its_shape():
    center = SkyCoord(123.4, -45.6, unit="deg")
    vertices = center.directional_offset_by([0.0, 120.0, 240.0] * u.deg, 1.0 * u.mas)
    stencil = PolygonStencil(vertices)
    near = center.directional_offset_by([60.0, 60.0] * u.deg, [0.499, 0.501] * u.mas)
    assert stencil.contains(near).tolist() == [True, False]


def test_repeated_vertices_are_dropped():
    ra, dec = [0.0, 1.0, 1.0, 0.5], [0.0, 0.0, 1.0, 2.0]
    plain = PolygonStencil(SkyCoord(ra, dec, unit="deg"))
    closed = PolygonStencil(SkyCoord([*ra, ra[0]], [*dec, dec[0]], unit="deg"))
    doubled = PolygonStencil(SkyCoord(np.repeat(ra, 2), np.repeat(dec, 2), unit="deg"))
    assert plain.fingerprint == closed.fingerprint == doubled.fingerprint
    assert len(closed.vertices) == 4


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        ([], [], r"3 to 999 different vertices, not 0"),
        ([0.0, 1.0], [0.0, 1.0], r"3 to 999 different vertices, not 2"),
        ([0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], r"3 to 999 different vertices, not 2"),
        ([0.0, 1.0, 2.0], [0.0, 0.0, 0.0], r"all vertices lie on one great circle"),
        ([5.0, 5.0, 5.0, 5.0], [0.0, 1.0, 3.0, 2.0], r"all vertices lie on one great circle"),
        ([0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], r"edges 1 and 3 cross or touch"),
        ([0.0, 2.0, 2.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0, 2.0], r"edges 1 and \d cross or touch"),
        ([0.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], r"run back on themselves"),
        ([0.0, 120.0, 240.0], [0.0, 0.0, 0.0], r"does not fit into a hemisphere"),
        ([0.0, 120.0, 240.0, 0.0], [-20.0, -20.0, -20.0, 80.0], r"does not fit into a hemisphere"),
        ([0.0, 1.0, np.nan], [0.0, 0.0, 1.0], r"vertices of a polygon must be finite"),
        ([[0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]], r"not of shape \(1, 3\)"),
    ],
)
def test_bad_polygon_is_refused(ra, dec, message):
    with pytest.raises(InvalidRegionError, match=message):
        PolygonStencil(SkyCoord(ra, dec, unit="deg"))


def test_polygon_almost_as_large_as_a_hemisphere():
    vertices = SkyCoord(np.arange(0.0, 360.0, 30.0), np.full(12, 2.0), unit="deg")
    stencil = PolygonStencil(vertices)
    sky = SkyCoord([0.0, 0.0, 77.0, 0.0], [90.0, 2.1, 1.0, -90.0], unit="deg")
    assert stencil.contains(sky).tolist() == [True, True, False, False]
    edge = polygon_edge(stencil.vertices, 5).cartesian.xyz.value.T
    assert all(stencil.region.contains(lsst.sphgeom.UnitVector3d(*xyz[:2], xyz[2] + 1e-6)) for xyz in edge)


def circle_of_vertices(n: int) -> PolygonStencil:
    center = SkyCoord(10.0, 20.0, unit="deg")
    return PolygonStencil(center.directional_offset_by(np.arange(n) * (360.0 / n) * u.deg, 8.0 * u.arcsec))


@pytest.mark.parametrize(
    ("n", "first", "last"), [(3, "00", "02"), (99, "00", "98"), (101, "000", "100"), (999, "000", "998")]
)
def test_header_has_every_vertex(n, first, last):
    stencil = circle_of_vertices(n)
    header = stencil.to_header()
    assert len(header) == 2 * n + 1
    assert header[f"ST_RA{first}"] == pytest.approx(stencil.vertices.ra.deg[0], abs=1e-12)
    assert header[f"ST_DEC{last}"] == pytest.approx(stencil.vertices.dec.deg[-1], abs=1e-12)
    assert header.fromstring(header.tostring())[f"ST_DEC{last}"] == header[f"ST_DEC{last}"]


def test_too_many_vertices_are_refused_before_any_pixel_is_read():
    with pytest.raises(InvalidRegionError, match="3 to 999 different vertices, not 1000"):
        circle_of_vertices(1000)


def test_many_vertices_make_a_circle():
    projection = make_projection(ra=10.0, dec=20.0)
    assert agree(circle_of_vertices(200), projection) == pytest.approx(np.pi * 40.0**2, rel=0.01)


def test_polygon_far_away_is_refused():
    projection = make_projection(ra=10.0, dec=20.0)
    with pytest.raises(
        StencilNotContainedError, match=r"POLYGON 190 -20 191 -20 191 -19 .* touches no pixel"
    ):
        PolygonStencil(SkyCoord([190.0, 191.0, 191.0], [-20.0, -20.0, -19.0], unit="deg")).to_pixels(
            projection, IMAGE
        )


def test_hemisphere_that_holds_the_image_covers_it():
    projection = make_projection(ra=10.0, dec=20.0)
    center = projection.pixel_to_sky(x=50.0, y=50.0)
    stencil = PolygonStencil(center.directional_offset_by(np.arange(8) * 45.0 * u.deg, 89.0 * u.deg))
    pixels = stencil.to_pixels(projection, IMAGE)
    assert pixels.bbox == IMAGE
    assert np.all(pixels.covered)


def test_pickle_equality_and_text():
    stencil = PolygonStencil(SkyCoord([0.0, 1.0, 0.5], [0.0, 0.0, 1.0], unit="deg"))
    copy = pickle.loads(pickle.dumps(stencil))  # noqa: S301
    assert copy == stencil
    assert hash(copy) == hash(stencil)
    assert copy.fingerprint == stencil.fingerprint
    assert repr(stencil) == "PolygonStencil([(0.0, 0.0), (1.0, 0.0), (0.5, 1.0)] deg)"
    assert str(stencil) == "POLYGON 0 0 1 0 0.5 1"
    assert len(str(circle_of_vertices(999))) < 300
