"""Grids that images are made on."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.images import Box

from lsst.dax.image.errors import InvalidRegionError
from lsst.dax.image.geometry import TargetGrid

CENTER = SkyCoord(10.0, 60.0, unit="deg")


@pytest.mark.parametrize("rotation", [0.0, 30.0, 200.0])
@pytest.mark.parametrize("shape", [(11, 20), (10, 21)])
def test_grid_is_centred_scaled_and_turned_as_asked(rotation, shape):
    grid = TargetGrid.from_center(
        CENTER.galactic, pixel_scale=0.2 * u.arcsec, shape=shape, rotation=rotation * u.deg
    )
    assert grid.bbox == Box.from_shape(shape)
    assert grid.shape == shape
    assert grid.center.separation(CENTER).arcsec < 1e-8
    assert grid.pixel_scale.arcsec == pytest.approx(0.2, rel=1e-9)
    x, y = (shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0
    up = grid.sky_projection.pixel_to_sky(x=x, y=y + 5.0)
    left = grid.sky_projection.pixel_to_sky(x=x - 5.0, y=y)
    assert grid.center.separation(up).arcsec == pytest.approx(1.0, rel=1e-8)
    assert grid.center.position_angle(up).deg == pytest.approx(rotation, abs=1e-4) or rotation == 0.0
    assert np.cos(grid.center.position_angle(up).rad - np.radians(rotation)) == pytest.approx(1.0, abs=1e-9)
    # East is left of north.
    assert np.cos(grid.center.position_angle(left).rad - np.radians(rotation + 90.0)) == pytest.approx(
        1.0, abs=1e-9
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_scale": -1.0 * u.arcsec}, r"a pixel scale of 0 to 90 deg (?s:.*) -1\.0 arcsec"),
        ({"pixel_scale": 0.2}, r"pixel scale must be an angle with a unit, not 0\.2"),
        ({"shape": (0, 10)}, r"positive number of rows and columns, not \(0, 10\)"),
        ({"rotation": np.nan * u.deg}, r"a rotation; not (?s:.*) nan deg"),
        ({"center": SkyCoord([1.0], [2.0], unit="deg")}, r"A grid needs one centre"),
        ({"center": SkyCoord(np.nan, 2.0, unit="deg")}, r"centre of a grid must be finite"),
    ],
)
def test_bad_grid_is_refused(change, message):
    arguments = {"center": CENTER, "pixel_scale": 0.2 * u.arcsec, "shape": (10, 10)} | change
    with pytest.raises(InvalidRegionError, match=message):
        TargetGrid.from_center(arguments.pop("center"), **arguments)


def test_equal_grids_are_equal():
    grid = TargetGrid.from_center(CENTER, pixel_scale=0.2 * u.arcsec, shape=(10, 10))
    assert grid == TargetGrid(grid.sky_projection, Box.factory[0:10, 0:10])
    assert grid != TargetGrid(grid.sky_projection, Box.factory[0:10, 0:11])


@pytest.mark.parametrize("shape", [(10.5, 10), (10,), "ab", (10, np.nan)])
def test_rows_and_columns_are_whole(shape: object) -> None:
    center = SkyCoord(150.1, 2.2, unit=u.deg)
    with pytest.raises(InvalidRegionError, match="two whole numbers of rows and columns, not"):
        TargetGrid.from_center(center, pixel_scale=0.2 * u.arcsec, shape=shape)
    assert TargetGrid.from_center(center, pixel_scale=0.2 * u.arcsec, shape=(np.int64(3), 2)).shape == (3, 2)
