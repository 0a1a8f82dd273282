"""Fluxes on real pixels against those that others published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose
from tests.support.forced import make_pixels, place_kernel
from tests.support.testdata import testdata

from lsst.dax.image.forced import ApertureRule, fit_psf_flux, measure_apertures


def read_plane(path: Path) -> np.ndarray:
    """Return the first image of a file, and leave no file open."""
    with fits.open(path, memmap=False) as hdus:
        return hdus[0].data.astype(np.float64)


def measure_alert(folder: Path, row, kind: str) -> tuple[float, float]:
    """Return the PSF flux and its error at an alert's position on one of its stamps."""
    with fits.open(folder / "stamps" / f"{row['diaSourceId']}_{kind}.fits") as hdus:
        image, variance, kernel = (hdus[k].data.astype(np.float64) for k in (0, "UNCERT", "PSFIMAGE"))
    # The models of the observatory are grids of 25 pixels with Lanczos(11).
    stamp = place_kernel(kernel, row["stamp_x"], row["stamp_y"], order=11, half=12)
    fluxes = fit_psf_flux(make_pixels(image, variance), stamp)
    return fluxes.flux[0], fluxes.flux_err[0]


def compare_alerts(kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return differences in published sigma and ratios of errors of the sources that do not move."""
    folder = testdata("A_rubin_alerts")
    alerts = Table.read(folder / "alerts.csv")
    alerts = alerts[np.char.find(np.asarray(alerts["source_file"], dtype=str), "trails") < 0]
    assert len(alerts) == 27
    found = np.array([measure_alert(folder, row, kind) for row in alerts]).T
    published = np.asarray(alerts[name], dtype=float), np.asarray(alerts[f"{name}Err"], dtype=float)
    return np.abs(found[0] - published[0]) / published[1], found[1] / published[1]


def test_rubin_difference_fluxes_are_those_of_the_alert_pipeline() -> None:
    sigmas, errors = compare_alerts("difference", "psfFlux")
    assert np.median(sigmas) < 0.06
    assert np.mean(sigmas < 0.3) >= 0.85
    assert sigmas.max() < 1.0
    assert_allclose(errors, 1.0, atol=0.05)


def test_rubin_science_fluxes_are_those_of_the_alert_pipeline() -> None:
    sigmas, errors = compare_alerts("science", "scienceFlux")
    assert np.median(sigmas) < 0.1
    assert np.mean(sigmas < 0.3) >= 0.75
    assert_allclose(errors, 1.0, atol=0.05)


@pytest.mark.filterwarnings("ignore:The following header keyword is invalid")  # a log entry of 1992
def test_sextractor_aperture_fluxes() -> None:
    folder = testdata("A_sep_sextractor")
    image = read_plane(folder / "image.fits") - read_plane(folder / "back.fits")
    catalogue = Table.read(folder / "image.cat", format="ascii.sextractor")
    x, y = catalogue["X_IMAGE"].value - 1.0, catalogue["Y_IMAGE"].value - 1.0
    variance = read_plane(folder / "rms.fits") ** 2
    # A diameter of ten pixels, whose rim SExtractor divides into 5 x 5 parts.
    fluxes = measure_apertures(make_pixels(image, variance), x=x, y=y, radii=[5.0], rule=ApertureRule.EXACT)
    is_whole = np.isfinite(fluxes.flux[:, 0])
    assert is_whole.sum() >= 55
    ratio = (fluxes.flux[:, 0] / catalogue["FLUX_APER"])[is_whole]
    assert_allclose(np.median(ratio), 1.0, atol=5e-4)
    assert np.median(np.abs(ratio - np.median(ratio))) < 0.003
    error_ratio = (fluxes.flux_err[:, 0] / catalogue["FLUXERR_APER"])[is_whole]
    # SExtractor weights the variance of rim pixels as their flux, not squared.
    assert_allclose(np.median(error_ratio), 0.97, atol=0.02)


def make_sdss_psf(path: Path, *, row: float, column: float) -> np.ndarray:
    """Return the r-band PSF of an SDSS field: a sum of eigenimages times polynomials."""
    with fits.open(path, memmap=False) as hdus:
        parts = hdus[3].data
        kernel = np.zeros((51, 51))
        for part in parts:
            powers = np.arange(3)
            terms = np.outer((1e-3 * row) ** powers, (1e-3 * column) ** powers)
            # The file has the power of the row as its fast axis.
            coefficients = part["c"][:3, :3].T
            kernel += np.sum(terms * coefficients) * part["RROWS"].reshape(51, 51)
    return kernel / kernel.sum()


def test_sdss_star_has_its_catalogued_flux() -> None:
    folder = testdata("A_sdss_frame")
    with fits.open(folder / "frame-r-001000-1-0100.fits.bz2") as hdus:
        image = hdus[0].data.astype(np.float64)
        unit, sky = float(hdus[0].header["NMGY"]), float(np.median(hdus[2].data["ALLSKY"]))
    with fits.open(folder / "psField-001000-1-0100.fit") as hdus:
        gain, dark = hdus[6].data["gain"][0][2], hdus[6].data["dark_variance"][0][2]
    with fits.open(folder / "photoObj-001000-1-0100.fits", memmap=False) as hdus:
        star = hdus[1].data[12]
    row, column = float(star["ROWC"][2]), float(star["COLC"][2])
    variance = (np.clip(image / unit + sky, 1.0, None) / gain + dark) * unit**2
    stamp = place_kernel(
        make_sdss_psf(folder / "psField-001000-1-0100.fit", row=row, column=column), column - 0.5, row - 0.5
    )  # SDSS counts from the pixel's corner
    fluxes = fit_psf_flux(make_pixels(image, variance), stamp)
    # The published flux is aperture-corrected, and this frame has another sky
    # (its own aperture fluxes are 13 % below the catalogue's): a coarse check.
    assert_allclose(fluxes.flux[0], star["PSFFLUX"][2], rtol=0.15)
    assert_allclose(fluxes.flux_err[0], star["PSFFLUX_IVAR"][2] ** -0.5, rtol=0.12)
