"""Fluxes of real stars in exposures of three cameras: repeatable, and right by Gaia's photometry."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from numpy.polynomial.polynomial import polyval
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2
from tests.support.legacy_survey import place_stars, read_exposures, read_gaia
from tests.support.testdata import testdata

from lsst.dax.image.flags import flag_names
from lsst.dax.image.forced import ForcedOptions, measure
from lsst.dax.image.psfs import PsfNormalization

OPTIONS = ForcedOptions(
    aperture_correction=None, bad_planes=("NO_DATA",), normalization=PsfNormalization.MODEL
)

# Two stars north of the middle, where they were detected in the z exposures.
FAINT_STARS = Table({"ra": [217.460245, 217.459816], "dec": [34.877838, 34.880962]})

# Magnitudes less Gaia's G as polynomials in BP - RP: the transformation to
# DECam of the Legacy Surveys.
COLOR_TERMS = {
    "g": [-0.11368, 0.37504, 0.17344, -0.08107, 0.28088, -0.21250, 0.05773, -0.00525],
    "r": [0.10533, -0.22975, 0.06257, -0.24142, 0.24441, -0.07248, 0.00676],
    "z": [0.46744, -0.95143, 0.19729, -0.08810, 0.01566],
}


def predict_magnitudes(gaia: Table, band: str) -> np.ndarray:
    """Return what Gaia says that stars have in a band; NaN for those without a colour."""
    color = np.ma.filled(gaia["phot_bp_mean_mag"] - gaia["phot_rp_mean_mag"], np.nan)
    return np.ma.filled(gaia["phot_g_mean_mag"], np.nan) + polyval(color, COLOR_TERMS[band])


def find_magnitudes(table: QTable) -> np.ndarray:
    """Return AB magnitudes; NaN where the flux is not positive."""
    flux = table["flux"].to_value(u.nJy)
    return 31.4 - 2.5 * np.log10(np.where(flux > 0.0, flux, np.nan))


@pytest.fixture(scope="module")
def faint_stars() -> dict[str, np.ndarray]:
    """Return flux, error, masked fraction and chi2 per pixel by band, shape (epochs, 4, 2)."""
    rows: dict[str, list[np.ndarray]] = {}
    for exposure in read_exposures(testdata("A_decam_ls/mzlsbass3")):
        table = measure(exposure.image, place_stars(FAINT_STARS, exposure), psf=exposure.psf, options=OPTIONS)
        columns = table["flux"].value, table["flux_err"].value, np.asarray(table["masked_fraction"])
        row = np.array([*columns, table["chi2"] / table["n_pixels"]])
        rows.setdefault(exposure.band, []).append(row)
    return {band: np.array(values) for band, values in rows.items()}


def test_faint_stars_of_two_cameras_repeat_within_their_errors(faint_stars: dict[str, np.ndarray]) -> None:
    total, freedom, pulls = 0.0, 0, []
    for rows in faint_stars.values():
        for star in range(2):
            flux, error = rows[rows[:, 2, star] < 0.3][:, :2, star].T
            pull = (flux - np.average(flux, weights=error**-2)) / error
            total, freedom = total + np.sum(pull**2), freedom + flux.size - 1
            pulls.extend(pull)
    assert freedom == 9
    assert 0.01 < chi2.sf(total, freedom) < 0.99
    assert np.abs(pulls).max() < 3.5


def test_models_of_faint_stars_leave_noise(faint_stars: dict[str, np.ndarray]) -> None:
    for rows in faint_stars.values():
        assert 0.7 < rows[:, 3].min() < rows[:, 3].max() < 1.35


def test_faint_stars_have_the_fluxes_of_an_independent_reduction(faint_stars: dict[str, np.ndarray]) -> None:
    flux, error = np.moveaxis(faint_stars["z"][:, :2], 1, 0)
    mean = np.average(flux, weights=error**-2, axis=0)
    assert_allclose(mean, [19897.0, 17236.0], rtol=0.005)
    assert_allclose(np.sum(error**-2, axis=0) ** -0.5, 339.0, rtol=0.005)
    assert_allclose(-2.5 * np.log10(mean) + 31.4, [20.65, 20.81], atol=0.02)


@pytest.mark.parametrize(
    ("folder", "n_values"), [("brick1867p255_9epochs", 9), ("testcase8", 1)]
)  # fmt: skip
def test_zero_points_are_those_of_gaia(folder: str, n_values: int) -> None:
    path = testdata(f"A_decam_ls/{folder}")
    gaia = read_gaia(path)
    places = SkyCoord(gaia["ra"], gaia["dec"], unit=u.deg)
    # Quasars are as blue as the bluest stars, and do not move.
    is_star = ~((gaia["phot_bp_mean_mag"] - gaia["phot_rp_mean_mag"] < 0.6) & (np.abs(gaia["pmra"]) < 1.0))
    chosen = np.flatnonzero(np.ma.filled((gaia["phot_g_mean_mag"] < 19.0) & is_star, fill_value=False))
    differences = []
    for exposure in read_exposures(path):
        middle = exposure.image.sky_projection.pixel_to_sky(x=120.0, y=120.0)
        near = chosen[places[chosen].separation(middle) < 1.5 * u.arcmin]
        stars = place_stars(gaia[near], exposure)
        table = measure(exposure.image, stars, psf=exposure.psf, options=OPTIONS, time=exposure.time)
        # Neighbours within the picture, galaxies among them, spoil the fit.
        good = (table["masked_fraction"] < 0.2) & (table["chi2"] < 6.0 * table["n_pixels"])
        found = find_magnitudes(table) - predict_magnitudes(gaia[near], exposure.band)
        differences.extend(found[good])
    assert len(differences) == n_values
    assert abs(np.median(differences)) < 0.05
    assert np.abs(differences).max() < 0.1


def test_a_saturated_star_is_told_by_its_flags() -> None:
    folder = testdata("A_decam_ls/testcase6")
    gaia = read_gaia(folder)
    star = gaia[gaia["phot_g_mean_mag"] < 11.0]
    star = star[np.abs(star["dec"] - 23.92) < 1e-3]
    assert len(star) == 1
    exposures = read_exposures(folder)
    assert len(exposures) == 6
    for exposure in exposures:
        stars = place_stars(star, exposure)
        table = measure(exposure.image, stars, psf=exposure.psf, options=OPTIONS, time=exposure.time)
        assert table["masked_fraction"][0] > 0.97
        assert table["pixel_saturated_center"][0]
        assert table["pixel_nodata_center"][0]
        # The wings alone have the flux to a fifth, and no good fit.
        assert abs(find_magnitudes(table) - predict_magnitudes(star, exposure.band))[0] < 0.2
        assert table["chi2"][0] > 100.0 * table["n_pixels"][0]
        # The observatory's practice uses all pixels, and says that they are none.
        options = ForcedOptions(aperture_correction=None)
        every = measure(exposure.image, stars, psf=exposure.psf, options=options, time=exposure.time)
        assert flag_names(every["flags"][0]) == ("NOT_FINITE",)
        assert_array_equal(np.isnan(every["flux"].value), True)
