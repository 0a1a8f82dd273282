"""From a shape on the sky to the box of its pixels, and which are covered."""

from __future__ import annotations

import itertools
import shutil

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler
from lsst.images import Box

from lsst.dax.image.errors import (
    InvalidRegionError,
    RequestTooLargeError,
    StencilNotContainedError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, EdgePolicy, PolygonStencil, RangeStencil

from ..support.oracles import (
    circle_edge,
    make_projection,
    polygon_edge,
    sky_of_pixels,
    within_circle,
    within_polygon,
    within_range,
)
from ..support.testdata import testdata

IMAGE = Box.factory[0:100, 0:100]
DETECTOR = Box.factory[0:4000, 0:4072]
PLACES = [(150.0, 2.0), (0.00001, -40.0), (359.9999, 0.0), (33.0, 89.999), (201.0, -89.9999), (10.0, 60.0)]
# CAR has its reference point on the equator, and the pole far off.
VIEWS = [
    *itertools.product(("TAN", "ZEA", "SIN"), PLACES),
    *(("CAR", place) for place in PLACES if abs(place[1]) < 80.0),
]


def circle(ra: float, dec: float, radius_arcsec: float) -> CircleStencil:
    return CircleStencil(SkyCoord(ra, dec, unit="deg"), radius_arcsec * u.arcsec)


def detector_projection(*, distortion_px: float = 20.0):
    return make_projection(
        ra=53.0, dec=-27.5, rotation_deg=37.0, crpix=(2036.0, 2000.0), distortion_px=distortion_px
    )


def edge_box(projection, sky: SkyCoord) -> tuple[Box, float]:
    """Return the box of points, and how near its sides are to a pixel border."""
    pixel = projection.sky_to_pixel(sky)
    sides = np.array([pixel.x.min(), pixel.x.max(), pixel.y.min(), pixel.y.max()])
    box = Box.from_float_bounds(x_min=sides[0], x_max=sides[1], y_min=sides[2], y_max=sides[3])
    return box, float(np.abs(sides - 0.5 - np.round(sides - 0.5)).min())


@pytest.mark.parametrize(
    ("dec", "shape", "n_uncovered"), [(-3.03694, (28, 29), 195), (-3.03894, (12, 29), None)]
)
def test_real_coadd_gives_the_pixels_that_the_service_gave(tmp_path, dec, shape, n_uncovered):
    root = tmp_path / "repo"
    shutil.copytree(testdata("C_rubin_dp2_butler"), root)
    run = "LSSTCam/runs/DRP/DP2/v30_0_8/DM-55060/deep_coadd_rewrite/20260612T200929Z"
    with Butler.from_config(str(root), collections=run) as butler:
        ref = butler.find_dataset("deep_coadd", patch=76, tract=5428, band="g", skymap="lsst_cells_v2")
        projection = butler.get(ref.makeComponentRef("sky_projection"))
        bbox = butler.get(ref.makeComponentRef("bbox"))
    pixels = circle(0.25708, dec, 3.0).to_pixels(projection, bbox)
    assert pixels.bbox.shape == shape
    assert pixels.is_clipped == (n_uncovered is None)
    if n_uncovered is not None:
        assert np.count_nonzero(~pixels.covered) == n_uncovered


@pytest.mark.parametrize("radius", [0.05, 10.0, 120.0, 300.0, 390.0])
@pytest.mark.parametrize("distortion_px", [0.0, 20.0])
def test_box_holds_the_whole_circle_whatever_its_radius(radius, distortion_px):
    # Sampling the outline alone loses pixels above some 120 arcsec.
    projection = detector_projection(distortion_px=distortion_px)
    center = projection.pixel_to_sky(x=2003.1, y=1995.9)
    pixels = CircleStencil(center, radius * u.arcsec).to_pixels(projection, DETECTOR)
    expected, margin = edge_box(projection, circle_edge(center, radius / 3600.0, 40001))
    assert margin > 5e-3  # else the expectation is a matter of rounding
    assert pixels.bbox == expected
    assert not pixels.is_clipped


def test_sides_of_a_wide_polygon_bulge_beyond_its_vertices():
    # Great circles are curved in CAR: the northern side of this one runs 14
    # arcsec, three pixels, above its corners.
    projection = make_projection(ra=30.0, dec=0.0, code="CAR", scale_arcsec=5.0, crpix=(1000.0, -42000.0))
    bbox = Box.factory[0:2000, -1000:1000]
    vertices = SkyCoord([29.0, 31.0, 31.0, 29.0], [59.0, 59.0, 60.0, 60.0], unit="deg")
    pixels = PolygonStencil(vertices).to_pixels(projection, bbox)
    expected, margin = edge_box(projection, polygon_edge(vertices, 10001))
    assert margin > 5e-3
    assert pixels.bbox == expected
    corners, _ = edge_box(projection, vertices)
    assert pixels.bbox.y.max - corners.y.max == 3


@pytest.mark.parametrize(("code", "place"), VIEWS)
@pytest.mark.parametrize("radius", [0.05, 3.0, 8.0, 15.0, 60.0])
def test_covered_equals_a_test_of_every_pixel(place, code, radius):
    projection = make_projection(ra=place[0], dec=place[1], code=code, rotation_deg=20.0)
    center = projection.pixel_to_sky(x=45.2, y=61.7)
    pixels = CircleStencil(center, radius * u.arcsec).to_pixels(projection, IMAGE)
    sky = sky_of_pixels(projection, IMAGE)
    expected = within_circle(sky, center=center, radius_deg=radius / 3600.0)
    assert np.count_nonzero(expected) == np.count_nonzero(pixels.covered)
    assert np.array_equal(pixels.covered, expected[pixels.bbox.slice_within(IMAGE)])


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0.0, 360.0),
    dec=st.floats(-89.9, 89.9),
    radius=st.floats(0.01, 40.0),
    x=st.floats(-30.0, 130.0),
    y=st.floats(-30.0, 130.0),
    rotation=st.floats(0.0, 360.0),
    distortion=st.sampled_from([0.0, 200.0]),
    code=st.sampled_from(["TAN", "STG", "ARC"]),
)
def test_any_circle_on_any_image(ra, dec, radius, x, y, rotation, distortion, code):
    projection = make_projection(
        ra=ra, dec=dec, rotation_deg=rotation, distortion_px=distortion if code == "TAN" else 0.0, code=code
    )
    center = projection.pixel_to_sky(x=x, y=y)
    separation = sky_of_pixels(projection, IMAGE).separation(center).arcsec
    expected = separation <= radius
    stencil = CircleStencil(center, radius * u.arcsec)
    try:
        pixels = stencil.to_pixels(projection, IMAGE)
    except StencilNotContainedError:
        assert not np.any(expected)
        # Half of the diagonal of a pixel: then it is touched for certain.
        assert separation.min() > radius
        return
    beyond = expected.copy()
    beyond[pixels.bbox.slice_within(IMAGE)] = False
    assert not np.any(beyond)
    clear = (np.abs(separation - radius) > 1e-7)[pixels.bbox.slice_within(IMAGE)]
    assert np.array_equal(pixels.covered & clear, expected[pixels.bbox.slice_within(IMAGE)] & clear)


@pytest.mark.parametrize("radius", [91.0, 120.0, 179.9, 180.0])
def test_circle_larger_than_a_hemisphere_covers_the_image(radius):
    projection = detector_projection()
    center = projection.pixel_to_sky(x=2000.0, y=2000.0)
    pixels = CircleStencil(center, radius * u.deg).to_pixels(projection, IMAGE)
    assert pixels.bbox == IMAGE
    assert np.all(pixels.covered)


def test_circle_of_a_quarter_of_the_sky():
    # Its edge is the horizon of a tangent plane in its middle.
    projection = detector_projection()
    center = projection.pixel_to_sky(x=2000.0, y=2000.0)
    assert np.all(CircleStencil(center, 90.0 * u.deg).to_pixels(projection, IMAGE).covered)
    far = center.directional_offset_by(90.0 * u.deg, 90.0 * u.deg)
    pixels = CircleStencil(far, 90.0 * u.deg).to_pixels(projection, DETECTOR)
    sky = sky_of_pixels(projection, Box.factory[1990:2010, 1900:2100])
    expected = within_circle(sky, center=far, radius_deg=90.0)
    assert 0 < np.count_nonzero(expected) < expected.size
    part = Box.factory[1990:2010, 1900:2100]
    overlap = Box.factory[1990:2010, max(1900, pixels.bbox.x.start) : min(2100, pixels.bbox.x.stop)]
    found = np.zeros(part.shape, dtype=bool)
    found[overlap.slice_within(part)] = pixels.covered[overlap.slice_within(pixels.bbox)]
    assert np.array_equal(found, expected)


def test_stencil_with_a_hole_in_the_image():
    # The edge is a circle of 3 arcsec on the image, and all else is covered.
    projection = make_projection(ra=10.0, dec=20.0)
    middle = projection.pixel_to_sky(x=50.0, y=50.0)
    opposite = SkyCoord(middle.ra + 180.0 * u.deg, -middle.dec)
    pixels = CircleStencil(opposite, 180.0 * u.deg - 3.0 * u.arcsec).to_pixels(projection, IMAGE)
    assert pixels.bbox == IMAGE
    hole = sky_of_pixels(projection, IMAGE).separation(middle).arcsec < 3.0
    assert np.array_equal(pixels.covered, ~hole)


def test_stencil_holds_the_image():
    projection = make_projection(ra=0.0, dec=-30.0)
    for edge in (EdgePolicy.CLIP, EdgePolicy.PAD):
        pixels = circle(0.0, -30.0, 100.0).to_pixels(projection, IMAGE, edge=edge)
        assert pixels.bbox.contains(IMAGE)
        assert pixels.is_clipped == (edge is EdgePolicy.CLIP)
        assert (pixels.bbox == IMAGE) == (edge is EdgePolicy.CLIP)
        assert np.all(pixels.covered[IMAGE.slice_within(pixels.bbox)])


@pytest.mark.parametrize(
    ("x", "y", "shape"), [(50.0, 50.0, (1, 1)), (50.5, 50.0, (1, 2)), (50.5, 49.5, (2, 2))]
)
def test_stencil_smaller_than_a_pixel_gives_the_pixels_it_lies_in(x, y, shape):
    projection = make_projection(ra=0.0, dec=80.0, rotation_deg=10.0)
    stencil = CircleStencil(projection.pixel_to_sky(x=x, y=y), 0.02 * u.arcsec)
    pixels = stencil.to_pixels(projection, IMAGE)
    assert pixels.bbox.shape == shape
    assert np.count_nonzero(pixels.covered) == (1 if shape == (1, 1) else 0)


@pytest.mark.parametrize("edge", EdgePolicy)
@pytest.mark.parametrize("position", [(10.1, 20.0), (190.0, -20.0), (100.0, 20.0), (10.0, 90.0)])
def test_stencil_off_the_image_is_refused(edge, position):
    # Beside it, at its antipode, beyond its horizon.
    projection = make_projection(ra=10.0, dec=20.0, distortion_px=20.0)
    with pytest.raises(
        StencilNotContainedError,
        match=r"CIRCLE .* touches no pixel of the image, pixels \[y=0:100, x=0:100\]",
    ):
        circle(*position, 5.0).to_pixels(projection, IMAGE, edge=edge)


def test_box_that_meets_the_image_does_not_make_the_circle_do_so():
    # The square around the circle has a corner on the image, the circle has none.
    projection = make_projection(ra=10.0, dec=20.0)
    center = projection.pixel_to_sky(x=-10.0, y=-10.0)
    radius = 0.2 * np.hypot(9.5, 9.5)
    with pytest.raises(StencilNotContainedError, match="touches no pixel"):
        CircleStencil(center, (radius - 0.02) * u.arcsec).to_pixels(projection, IMAGE)
    pixels = CircleStencil(center, (radius + 0.02) * u.arcsec).to_pixels(projection, IMAGE)
    assert pixels.bbox.start == (0, 0)
    assert not np.any(pixels.covered)


def test_edge_policies_on_a_circle_across_the_edge():
    projection = make_projection(ra=10.0, dec=20.0)
    stencil = CircleStencil(projection.pixel_to_sky(x=2.0, y=50.0), 2.0 * u.arcsec)
    clip = stencil.to_pixels(projection, IMAGE)
    assert (clip.bbox, clip.is_clipped) == (Box.factory[40:61, 0:13], True)
    pad = stencil.to_pixels(projection, IMAGE, edge=EdgePolicy.PAD)
    assert (pad.bbox, pad.is_clipped) == (Box.factory[40:61, -8:13], False)
    assert np.array_equal(pad.covered[:, 8:], clip.covered)
    assert np.array_equal(pad.covered, pad.covered[:, ::-1])
    with pytest.raises(StencilNotContainedError, match=r"x=-8:13\]\) is not contained in the image.*x=0:100"):
        stencil.to_pixels(projection, IMAGE, edge=EdgePolicy.STRICT)
    inside = CircleStencil(projection.pixel_to_sky(x=50.0, y=50.0), 2.0 * u.arcsec)
    boxes = {inside.to_pixels(projection, IMAGE, edge=edge).bbox.shape for edge in EdgePolicy}
    assert len(boxes) == 1


def test_padding_needs_a_whole_outline():
    projection = make_projection(ra=10.0, dec=20.0)
    with pytest.raises(InvalidRegionError, match="cannot be padded"):
        circle(10.0, 20.0, 95.0 * 3600.0).to_pixels(projection, IMAGE, edge=EdgePolicy.PAD)
    with pytest.raises(StencilNotContainedError, match=r"no pixel box.* not contained"):
        circle(10.0, 20.0, 95.0 * 3600.0).to_pixels(projection, IMAGE, edge=EdgePolicy.STRICT)


def test_too_many_pixels_are_refused():
    projection = make_projection(ra=10.0, dec=20.0)
    stencil = circle(10.0, 20.0, 2.0)
    n = stencil.to_pixels(projection, IMAGE).bbox.area
    assert stencil.to_pixels(projection, IMAGE, max_pixels=n).bbox.area == n
    with pytest.raises(RequestTooLargeError, match=rf"spans {n} pixels .* more than the {n - 1} "):
        stencil.to_pixels(projection, IMAGE, max_pixels=n - 1)


def test_image_without_projection_is_refused():
    with pytest.raises(UnsupportedProductError, match=r"CIRCLE 10 20 .* no sky projection"):
        circle(10.0, 20.0, 2.0).to_pixels(None, IMAGE)


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_circle_around_a_pole(dec):
    projection = make_projection(ra=123.0, dec=dec, rotation_deg=77.0)
    center = SkyCoord(0.0, dec, unit="deg")
    pixels = CircleStencil(center, 5.0 * u.arcsec).to_pixels(projection, IMAGE)
    assert pixels.bbox == Box.factory[25:76, 25:76]
    sky = sky_of_pixels(projection, pixels.bbox)
    expected = within_circle(sky, center=center, radius_deg=5.0 / 3600.0)
    unsure = np.abs(sky.separation(center).arcsec - 5.0) < 1e-7
    assert np.array_equal(pixels.covered | unsure, expected | unsure)


def test_circle_around_the_pole_of_an_all_sky_map():
    # In CAR the pole is a row, and the circle a band across the map.
    projection = make_projection(ra=0.0, dec=0.0, code="CAR", scale_arcsec=3600.0, crpix=(179.5, 89.5))
    bbox = Box.factory[0:180, 0:360]
    pixels = circle(77.0, 90.0, 10.3 * 3600.0).to_pixels(projection, bbox)
    assert pixels.bbox == Box.factory[169:180, 0:360]
    assert np.all(pixels.covered[1:])
    assert not np.any(pixels.covered[0])


@pytest.mark.parametrize("ra", [179.0, 180.0, -179.5])
def test_circle_across_the_seam_of_an_all_sky_map(ra):
    projection = make_projection(ra=0.0, dec=0.0, code="CAR", scale_arcsec=3600.0, crpix=(179.5, 89.5))
    bbox = Box.factory[0:180, 0:360]
    stencil = circle(ra % 360.0, 10.0, 5.2 * 3600.0)
    pixels = stencil.to_pixels(projection, bbox)
    expected = within_circle(sky_of_pixels(projection, bbox), center=stencil.center, radius_deg=5.2)
    assert np.count_nonzero(expected) == np.count_nonzero(pixels.covered)
    assert np.array_equal(pixels.covered, expected[pixels.bbox.slice_within(bbox)])


def test_map_with_pixels_off_the_sky():
    projection = make_projection(ra=0.0, dec=0.0, code="MOL", scale_arcsec=3600.0, crpix=(162.0, 81.0))
    bbox = Box.factory[0:163, 0:325]
    sky = sky_of_pixels(projection, bbox)
    stencil = circle(100.0, 40.0, 95.3 * 3600.0)
    pixels = stencil.to_pixels(projection, bbox)
    with np.errstate(invalid="ignore"):
        expected = within_circle(sky, center=stencil.center, radius_deg=95.3)
    assert np.count_nonzero(expected) == np.count_nonzero(pixels.covered)
    assert np.array_equal(pixels.covered, expected[pixels.bbox.slice_within(bbox)])


def test_large_range_equals_a_test_of_every_pixel():
    projection = make_projection(ra=0.0, dec=0.0, code="CAR", scale_arcsec=3600.0, crpix=(179.5, 89.5))
    bbox = Box.factory[0:180, 0:360]
    pixels = RangeStencil(ra=(300.2 * u.deg, 40.3 * u.deg), dec=(-20.1 * u.deg, 33.3 * u.deg)).to_pixels(
        projection, bbox
    )
    # Columns 359 - (ra + 180) of a map that has RA growing to the left.
    assert pixels.bbox == Box.factory[69:124, 139:240]
    assert np.count_nonzero(pixels.covered) == 100 * 53


def test_pixels_count_by_their_area_where_the_outline_has_no_samples():
    # The edge of this circle, a quarter of the sky away, cuts a corner off the
    # image between two samples of the outline.
    projection = make_projection(ra=10.0, dec=20.0)
    corner = projection.pixel_to_sky(x=99.5, y=99.5)
    toward = corner.position_angle(projection.pixel_to_sky(x=80.0, y=90.0))
    center = corner.directional_offset_by(toward + 180.0 * u.deg, 89.0 * u.deg + 1.5 * u.arcsec)
    stencil = CircleStencil(center, 89.0 * u.deg + 4.35 * u.arcsec)
    pixels = stencil.to_pixels(projection, IMAGE)
    fine = np.linspace(-0.5, 99.5, 1001)
    sky = projection.pixel_to_sky(x=fine[np.newaxis, :], y=fine[:, np.newaxis])
    y, x = np.nonzero(within_circle(sky, center=center, radius_deg=stencil.radius.deg))
    expected = Box.from_float_bounds(x_min=fine[x.min()], x_max=99.4, y_min=fine[y.min()], y_max=99.4)
    assert pixels.bbox == expected
    covered = np.nonzero(pixels.covered)
    assert covered[0].min() > 0  # the first row is touched, and no centre in it covered


@pytest.mark.parametrize("edge", EdgePolicy)
def test_edge_that_runs_close_by_the_pole_of_a_map(edge):
    # In CAR its right ascension changes by 180 degrees from sample to sample,
    # like that of an edge across the seam; yet all of it is on the map.
    projection = make_projection(ra=0.0, dec=0.0, code="CAR", scale_arcsec=3600.0, crpix=(179.5, 89.5))
    bbox = Box.factory[0:200, -20:380]
    vertices = SkyCoord([300.03, 119.97, 30.0], [60.0, 60.0, 50.0], unit="deg")
    pixels = PolygonStencil(vertices).to_pixels(projection, bbox, edge=edge)
    sky = sky_of_pixels(projection, bbox)
    # The oracle cannot tell a point from the opposite one.
    expected = within_polygon(sky, vertices=vertices) & (sky.dec.deg > 0.0)
    assert not pixels.is_clipped
    assert np.count_nonzero(expected) == np.count_nonzero(pixels.covered) > 1000
    assert np.array_equal(pixels.covered, expected[pixels.bbox.slice_within(bbox)])


@pytest.mark.parametrize(
    ("code", "stencil"),
    [
        ("MOL", CircleStencil(SkyCoord(210.0, -15.0, unit="deg"), 170.0 * u.deg)),
        ("ARC", RangeStencil(ra=(151.3 * u.deg, 248.9 * u.deg), dec=(-23.7 * u.deg, 85.1 * u.deg))),
        ("ZEA", RangeStencil(ra=(70.0 * u.deg, 260.0 * u.deg), dec=(None, 57.0 * u.deg))),
    ],
)
def test_outline_within_what_it_covers(code, stencil):
    # A hole in a map whose corners are off the sky; and shapes that hold the
    # opposite point of the map, which is all of its rim.
    projection = make_projection(ra=20.0, dec=0.0, code=code, scale_arcsec=7200.0, crpix=(95.0, 95.0))
    bbox = Box.factory[0:190, 0:190]
    sky = sky_of_pixels(projection, bbox)
    with np.errstate(invalid="ignore"):
        if isinstance(stencil, CircleStencil):
            expected = within_circle(sky, center=stencil.center, radius_deg=170.0)
        else:
            ra, dec = (tuple(angle.deg for angle in pair) for pair in (stencil.ra, stencil.dec))
            expected = within_range(sky, ra=ra, dec=dec)
    pixels = stencil.to_pixels(projection, bbox)
    assert np.count_nonzero(expected) == np.count_nonzero(pixels.covered) > 1000
    assert np.array_equal(pixels.covered, expected[pixels.bbox.slice_within(bbox)])
