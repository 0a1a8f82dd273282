"""Light curves from real DECam exposures: fluxes of constant sources repeat."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.stats import chi2
from tests.support.legacy_survey import SurveyExposure, place_stars, read_exposures, read_gaia
from tests.support.testdata import testdata

from lsst.dax.image.forced import ForcedOptions, measure
from lsst.dax.image.psfs import PsfNormalization

OPTIONS = ForcedOptions(
    aperture_correction=None, bad_planes=("NO_DATA",), normalization=PsfNormalization.MODEL
)
NOBODY = SkyCoord([], [], unit=u.deg)

# A galaxy and a star 5 arcsec west of it.  Half-light radius (arcsec), Sersic
# index, axis ratio, position angle (degrees) and offsets (arcsec) of the
# galaxy: the fit to all exposures of a band with the smallest sum of squared
# residuals over variances (1.01 to 1.12 per pixel), by Nelder and Mead.
GALAXY = (244.77973, 12.07234)
STAR = (GALAXY[0] - 5.05 / 3600 / np.cos(np.radians(GALAXY[1])), GALAXY[1] + 0.7 / 3600)
SHAPES = {
    "g": (1.9968, 3.0719, 0.6647, 86.58, -0.013, 0.009),
    "r": (1.9974, 2.9949, 0.6615, 87.57, -0.005, -0.034),
    "z": (2.1414, 3.8549, 0.6490, 87.47, -0.010, -0.031),
}


def make_blend(exposure: SurveyExposure) -> Table:
    """Return the galaxy and the star where the projection of an exposure has them."""
    radius, index, ratio, angle, east, north = SHAPES[exposure.band]
    galaxy = (GALAXY[0] + east / 3600 / np.cos(np.radians(GALAXY[1])), GALAXY[1] + north / 3600)
    return Table(
        {
            "ra": np.array([galaxy[0], STAR[0]]) - exposure.offset[0],
            "dec": np.array([galaxy[1], STAR[1]]) - exposure.offset[1],
            "half_light_radius": [radius, np.nan],
            "sersic_index": [index, np.nan],
            "axis_ratio": [ratio, np.nan],
            "position_angle": [angle, np.nan],
        }
    )


def sum_chi2(flux: np.ndarray, error: np.ndarray) -> float:
    """Return the squared deviations from the weighted mean over the errors."""
    mean = np.average(flux, weights=error**-2)
    return float(np.sum(((flux - mean) / error) ** 2))


@pytest.fixture(scope="module")
def blend() -> dict[str, dict[str, np.ndarray]]:
    """Return joint and single fluxes of the blend by band, shape (epochs, 2)."""
    rows: dict[str, dict[str, list[np.ndarray]]] = {}
    for exposure in read_exposures(testdata("A_decam_ls/testcase3")):
        table = measure(
            exposure.image, make_blend(exposure), psf=exposure.psf, options=OPTIONS, neighbours=NOBODY
        )
        band = rows.setdefault(exposure.band, {})
        for name in ("joint_flux", "joint_flux_err", "flux", "flux_err"):
            band.setdefault(name, []).append(table[name].to_value(u.nJy))
    return {
        band: {name: np.array(values) for name, values in columns.items()} for band, columns in rows.items()
    }


def test_galaxy_and_star_repeat_in_eight_epochs(blend: dict[str, dict[str, np.ndarray]]) -> None:
    for source in range(2):
        total = sum(
            sum_chi2(columns["joint_flux"][:, source], columns["joint_flux_err"][:, source])
            for columns in blend.values()
        )
        freedom = sum(len(columns["joint_flux"]) - 1 for columns in blend.values())
        assert freedom == 5
        # Neither too far from each other, nor closer than their errors allow.
        assert 0.01 < chi2.sf(total, freedom) < 0.99


def test_galaxy_has_the_flux_of_an_independent_fit(blend: dict[str, dict[str, np.ndarray]]) -> None:
    # A weighted fit of the same files with another code, in nJy.
    for band, expected in (("g", 77_970.0), ("r", 247_980.0), ("z", 556_050.0)):
        columns = blend[band]
        flux = np.average(columns["joint_flux"][:, 0], weights=columns["joint_flux_err"][:, 0] ** -2)
        assert abs(flux / expected - 1.0) < 0.015
    for band, expected in (("g", 450.0), ("r", 1940.0), ("z", 6500.0)):
        columns = blend[band]
        weights = columns["joint_flux_err"][:, 1] ** -2
        flux = np.average(columns["joint_flux"][:, 1], weights=weights)
        assert abs(flux - expected) < 3.0 / np.sqrt(weights.sum())


def test_a_galaxy_measured_as_a_point_does_not_repeat(blend: dict[str, dict[str, np.ndarray]]) -> None:
    for columns in blend.values():
        assert sum_chi2(columns["flux"][:, 0], columns["flux_err"][:, 0]) > 30.0


@pytest.fixture(scope="module")
def light_curves() -> dict[str, np.ndarray]:
    """Return flux, error and masked fraction of three Gaia sources by band, shape (epochs, 3, 3)."""
    folder = testdata("A_decam_ls/brick1867p255_9epochs")
    gaia = read_gaia(folder)
    distance = SkyCoord(gaia["ra"], gaia["dec"], unit=u.deg).separation(SkyCoord(186.744, 25.462, unit=u.deg))
    gaia = gaia[distance < 1 * u.arcmin]
    assert len(gaia) == 3
    curves: dict[str, list[np.ndarray]] = {}
    for exposure in read_exposures(folder):
        stars = place_stars(gaia, exposure)
        table = measure(exposure.image, stars, psf=exposure.psf, options=OPTIONS, time=exposure.time)
        row = [table["flux"].value, table["flux_err"].value, np.asarray(table["masked_fraction"])]
        curves.setdefault(exposure.band, []).append(np.array(row))
    return {band: np.array(rows) for band, rows in curves.items()}


def test_stars_are_constant_in_nine_epochs(light_curves: dict[str, np.ndarray]) -> None:
    assert {band: len(rows) for band, rows in light_curves.items()} == {"g": 2, "r": 3, "z": 4}
    for rows in light_curves.values():
        assert rows[:, 2].max() < 0.2
        for star in (0, 2):
            flux = rows[:, 0, star]
            assert np.abs(flux / flux.mean() - 1.0).max() < 0.02


def test_the_variable_source_is_found(light_curves: dict[str, np.ndarray]) -> None:
    # G = 18.69, without proper motion: a quasar by its colours.
    for rows in light_curves.values():
        scatter = rows[:, 0].std(axis=0) / rows[:, 0].mean(axis=0)
        assert scatter[1] > 0.03
        assert scatter[1] > 3.0 * scatter[[0, 2]].max()
        assert sum_chi2(rows[:, 0, 1], rows[:, 1, 1]) > 50.0 * (len(rows) - 1)
