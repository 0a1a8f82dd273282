"""Galaxies of fixed shape, drawn and fitted."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.testing import assert_allclose
from tests.support.forced import BOX, add_stars, make_gaussian_stamps, make_star_image

from lsst.dax.image.errors import RequestError, RequestTooLargeError
from lsst.dax.image.forced import ForcedOptions, Picture, SersicShape, draw_sersic, measure

SIGMA = 1.7
SHAPES = [
    (0.5, 3.0, 1.0, 0.0),
    (1.0, 4.0, 0.6, 0.5),
    (2.5, 5.0, 0.4, -1.0),
    (4.0, 8.0, 0.7, 2.0),
    (6.0, 4.0, 0.8, 0.3),
]


def make_star(dx: float, dy: float, *, half: int = 20) -> Picture:
    stamps = make_gaussian_stamps(np.array([100.0 + dx]), np.array([50.0 + dy]), sigma=SIGMA, half=half)
    return Picture(stamps.array[0], int(stamps.x0[0]), int(stamps.y0[0]))


@pytest.mark.parametrize(("index", "radius", "ratio", "angle"), SHAPES)
def test_pictures_are_those_of_galsim(index: float, radius: float, ratio: float, angle: float) -> None:
    galsim = pytest.importorskip("galsim")
    shape = SersicShape(radius, index, axis_ratio=ratio, angle=angle)
    picture = draw_sersic(make_star(0.3, -0.2), shape)
    profile = galsim.Sersic(n=index, half_light_radius=radius * math.sqrt(ratio), flux=1.0)
    profile = profile.shear(q=ratio, beta=angle * galsim.radians)
    seen = galsim.Convolve(profile, galsim.Gaussian(sigma=SIGMA)).shift(0.3, -0.2)
    side = picture.array.shape[0]
    expected = seen.drawImage(nx=side, ny=side, scale=1.0, method="no_pixel").array
    assert picture.x0 + side // 2 == 100
    assert picture.y0 + side // 2 == 50
    assert_allclose(picture.array, expected, atol=3e-5 * expected.max())


def test_gaussian_galaxy_has_the_variances_added() -> None:
    # A Sersic index of 1/2 is a Gaussian with half its light in 1.1774 sigma.
    picture = draw_sersic(make_star(0.0, 0.0), SersicShape(1.1774100 * 3.0, 0.5))
    expected = make_gaussian_stamps(
        np.array([100.0]), np.array([50.0]), sigma=math.hypot(3.0, SIGMA), half=picture.array.shape[0] // 2
    )
    assert_allclose(picture.array, expected.array[0], atol=1e-6 * expected.array.max())


def test_a_picture_holds_the_light_of_theory() -> None:
    # Of an exponential disk 1 - (1 + b) exp(-b) lies within six half-light
    # radii, with b = 6 * 1.6783.
    picture = draw_sersic(make_star(0.0, 0.0, half=12), SersicShape(6.0, 1.0))
    inside = 1.0 - (1.0 + 6 * 1.6783) * math.exp(-6 * 1.6783)
    assert inside < picture.array.sum() < 1.0


BAD_SHAPES = [
    ({"half_light_radius_px": 0.0, "index": 1.0}, "half-light radius must be positive; got 0.0"),
    ({"half_light_radius_px": math.inf, "index": 1.0}, "half-light radius must be positive; got inf"),
    ({"half_light_radius_px": 1.0, "index": 7.0}, "lies in 0.3 to 6.2; got 7.0"),
    ({"half_light_radius_px": 1.0, "index": 1.0, "axis_ratio": 1.2}, "up to 1; got 1.2"),
    ({"half_light_radius_px": 1.0, "index": 1.0, "angle": math.nan}, "must be a number; got nan"),
]


@pytest.mark.parametrize(("values", "message"), BAD_SHAPES)
def test_shapes_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        SersicShape(**values)


def test_galaxies_beyond_the_largest_grid_are_refused() -> None:
    with pytest.raises(RequestTooLargeError, match=r"200.0 pixels needs a grid of 1\d{4}; at most 8192"):
        draw_sersic(make_star(0.0, 0.0), SersicShape(200.0, 4.0))


def make_galaxy_scene():
    """Return an image of a galaxy and a star on its flank, and both positions."""
    x, y = np.array([1080.3, 1086.0]), np.array([110.2, 112.0])
    sky_image = make_star_image(np.zeros(BOX.shape))
    sky = sky_image.sky_projection.pixel_to_sky(x=x, y=y).icrs
    # The direction in pixels of a position angle of 30 degrees.
    tip = sky[0].directional_offset_by(30 * u.deg, 1 * u.arcsec)
    at = sky_image.sky_projection.sky_to_pixel(SkyCoord([tip]))
    angle = math.atan2(float(at.y[0]) - y[0], float(at.x[0]) - x[0])
    stamps = make_gaussian_stamps(x, y, sigma=SIGMA)
    star = Picture(stamps.array[0], int(stamps.x0[0]), int(stamps.y0[0]))
    galaxy = draw_sersic(star, SersicShape(5.0, 2.0, axis_ratio=0.5, angle=angle))
    model = add_stars(np.zeros(BOX.shape), stamps, np.array([0.0, 900.0]), x0=BOX.x.start, y0=BOX.y.start)
    row, column = galaxy.y0 - BOX.y.start, galaxy.x0 - BOX.x.start
    model[row : row + galaxy.array.shape[0], column : column + galaxy.array.shape[1]] += (
        50_000.0 * galaxy.array
    )
    return make_star_image(model, noise=2.0, rng=np.random.default_rng(3)), sky


@pytest.mark.parametrize("is_target", [False, True])
def test_galaxies_take_part_in_the_joint_fit(is_target: bool) -> None:
    image, sky = make_galaxy_scene()
    psf = GaussianPointSpreadFunction(SIGMA, bounds=BOX, stamp_size=25)
    options = ForcedOptions(aperture_correction=None)
    galaxy = Table(
        {
            "ra": sky.ra.deg,
            "dec": sky.dec.deg,
            "half_light_radius": MaskedColumn([1.0, 0.0], mask=[False, True], unit=u.arcsec),
            "sersic_index": [2.0, np.nan],
            "axis_ratio": [0.5, np.nan],
            "position_angle": [30.0, np.nan],
        }
    )
    if is_target:
        table = measure(image, galaxy, psf=psf, options=options, neighbours=sky[:0])
        expected = np.array([50_000.0, 900.0])
    else:
        table = measure(image, sky[1:], psf=psf, options=options, neighbours=galaxy[:1])
        expected = np.array([900.0])
    pull = (table["joint_flux"].value - expected) / table["joint_flux_err"].value
    assert np.abs(pull).max() < 4.0
    assert np.all(table["joint_flux_err"].value < 150.0)
    # The star alone has the galaxy's light in it.
    assert table["flux"].value[-1] > 1200.0
