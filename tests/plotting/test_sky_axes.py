"""Compass, scale bar and sky coordinates of pictures."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import Box, GeneralFrame, SkyProjection
from numpy.testing import assert_allclose
from tests.support.scenes import BOX, CENTER, make_sky_projection, make_wcs

from lsst.dax.image.plotting._sky import SkyView, measure_local_frame
from lsst.dax.image.plotting._sky_axes import choose_bar, format_angle

MINUTE = "\N{PRIME}"


@pytest.mark.parametrize("dec", [-89.0, 0.0, 60.0])
@pytest.mark.parametrize("rotation", [0.0, 37.0, 200.0])
def test_compass_points_where_astropy_says(dec: float, rotation: float) -> None:
    center = SkyCoord(0.0, dec, unit=u.deg)
    wcs = make_wcs(center, rotation=rotation * u.deg)
    frame = measure_local_frame(make_sky_projection(center, rotation=rotation * u.deg), BOX)
    assert frame is not None
    origin = np.array([BOX.x.center, BOX.y.center])
    for direction, angle in ((frame.north, 0.0), (frame.east, 90.0)):
        there = center.directional_offset_by(angle * u.deg, 1 * u.arcsec)
        step = np.array(wcs.world_to_pixel(there)) - origin
        assert_allclose(direction, step / np.linalg.norm(step), atol=1e-4)
    assert frame.arcsec_per_pixel == pytest.approx(0.2, rel=1e-6)


def test_compass_of_a_mirrored_image_is_mirrored() -> None:
    wcs = make_wcs(rotation=0 * u.deg)
    wcs.wcs.cd = wcs.wcs.cd * [[-1.0], [1.0]]
    frame = measure_local_frame(SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix)), BOX)
    assert frame is not None
    assert_allclose(frame.east, [1.0, 0.0], atol=1e-6)
    assert_allclose(frame.north, [0.0, 1.0], atol=1e-6)


def test_scale_of_oblong_pixels_is_that_of_a_step_along_x() -> None:
    wcs = make_wcs()
    wcs.wcs.cd = wcs.wcs.cd @ np.diag([1.0, 3.0])
    frame = measure_local_frame(SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix)), BOX)
    assert frame is not None
    assert frame.arcsec_per_pixel == pytest.approx(0.2, rel=1e-6)


def make_all_sky() -> SkyProjection:
    wcs = WCS(
        {"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT", "CUNIT1": "deg", "CUNIT2": "deg"}
        | {"CRVAL1": 0, "CRVAL2": 0, "CRPIX1": 180.5, "CRPIX2": 90.5, "CDELT1": -1, "CDELT2": 1}
    )
    return SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))


def test_box_off_the_sky_has_no_compass() -> None:
    assert measure_local_frame(make_all_sky(), Box.factory[0:6, 0:6]) is None


def test_view_counts_parent_pixels_and_degrees() -> None:
    view = SkyView(make_sky_projection())
    x, y = np.array([1003.0, 1150.25]), np.array([31.0, 99.5])
    truth = make_wcs().pixel_to_world(x, y)
    lon, lat = view.pixel_to_world_values(x, y)
    assert_allclose(lon, truth.ra.deg, rtol=1e-12)
    assert_allclose(lat, truth.dec.deg, rtol=1e-12)
    assert_allclose(view.world_to_pixel_values(lon, lat), [x, y], atol=1e-6)


def test_view_is_nan_off_the_sky() -> None:
    lon, lat = SkyView(make_all_sky()).pixel_to_world_values(np.array([0.0, 179.5]), np.array([0.0, 89.5]))
    assert np.isnan([lon[0], lat[0]]).all()
    assert_allclose([lon[1] % 360.0, lat[1]], 0.0, atol=1e-9)
    tangent = SkyView(make_sky_projection())
    x, y = tangent.world_to_pixel_values(CENTER.ra.deg + 180.0, -CENTER.dec.deg)
    assert np.isnan([x, y]).all()


@given(st.floats(1e-3, 1e6))
def test_scale_bar_is_round_and_fits(width: float) -> None:
    bar = choose_bar(width)
    assert bar <= 0.3 * width * (1 + 1e-12)
    if width < 1e5:
        assert bar > 0.03 * width * 0.999
    label = format_angle(bar)
    size = {"″": 1.0, MINUTE: 60.0, "°": 3600.0}[label[-1]]
    assert float(label[:-1]) * size == pytest.approx(bar, rel=1e-5)
    assert len(label) <= 7


@pytest.mark.parametrize(
    ("arcsec", "label"),
    [(0.1, "0.1″"), (30.0, "30″"), (60.0, f"1{MINUTE}"), (1200.0, f"20{MINUTE}"), (7200.0, "2°")],
)
def test_angles_are_in_their_round_unit(arcsec: float, label: str) -> None:
    assert format_angle(arcsec) == label
