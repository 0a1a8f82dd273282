"""Coadds of a repository whose truth is known, to the precision of coadds and not of noise."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, uniform_filter
from scipy.signal import fftconvolve
from tests.support.coadd_survey import (
    FLUX,
    PLAIN_CONFIG,
    SKY_SIGMA,
    make_star_grid,
    make_star_positions,
)

from lsst.dax.image.coadds import Coadd, Recipe, Statistic, fetch_coadd, measure_psf_shapes
from lsst.dax.image.simulation import MiniSurvey

MEAN = Recipe(name="mean", statistic=Statistic.MEAN, selection={"bands": ("r",)})
BEST = MEAN.with_selection(best={"criterion": "seeing", "fraction": 1 / 3}).with_(name="best")
PROPER = MEAN.with_(name="proper", statistic=Statistic.PROPER)
HALF = 10


def cut_pairs(coadd: Coadd) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return stars, and the PSF of their cells where they are; stars near the edge of a cell are left out."""
    places = coadd.sky_projection.sky_to_pixel(make_star_positions(PLAIN_CONFIG))
    stars, psfs = [], []
    for star_x, star_y in zip(places.x.tolist(), places.y.tolist(), strict=True):
        x, y = round(star_x), round(star_y)
        box = Box.factory[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
        if not coadd.bbox.contains(box):
            continue
        grid = coadd.psf.bounds.grid
        if not grid.bbox_of(grid.index_of(y=y, x=x)).contains(box):
            continue
        psf = coadd.psf.compute_kernel_image(x=float(x), y=float(y)).array
        # Exact for a PSF that has no edge; a kernel would change its width.
        psf = np.fft.ifft2(fourier_shift(np.fft.fft2(psf), (star_y - y, star_x - x))).real
        middle = psf.shape[0] // 2
        stars.append(coadd.image.image[box].array)
        psfs.append(psf[middle - HALF : middle + HALF + 1, middle - HALF : middle + HALF + 1])
    return np.array(stars, np.float64), np.array(psfs, np.float64)


def list_sigmas(survey: MiniSurvey) -> NDArray[np.float64]:
    """Return the widths of the Gaussian PSFs of the visits in pixels, ascending."""
    fwhm = [plan.fwhm for plan in survey.visits if plan.band == "r"]
    return np.sort(fwhm) / PLAIN_CONFIG.pixel_scale / 2.3548


def find_psf(coadd: Coadd) -> NDArray[np.float64]:
    """Return the PSF in the middle."""
    box = coadd.bbox
    psf = coadd.psf.compute_kernel_image(x=box.x.start + 100.0, y=box.y.start + 100.0).array
    return np.asarray(psf, np.float64)


def find_scatter(coadd: Coadd) -> float:
    """Return the scatter of fluxes of blank sky by a matched filter."""
    psf = find_psf(coadd)
    fluxes = [
        fftconvolve(noise.array, psf[::-1, ::-1], mode="valid") / (psf**2).sum()
        for noise in coadd.noise_realizations
    ]
    return float(np.std(fluxes))


@pytest.mark.parametrize("recipe", [MEAN, BEST, PROPER], ids=lambda recipe: recipe.name)
def test_stars_have_true_fluxes_and_the_psf_of_the_coadd(recipe: Recipe, quiet_butler: Butler) -> None:
    coadd = fetch_coadd(quiet_butler, recipe, make_star_grid())
    stars, psfs = cut_pairs(coadd)
    assert len(stars) >= 8
    fluxes = (stars * psfs).sum(axis=(1, 2)) / (psfs**2).sum(axis=(1, 2))
    np.testing.assert_allclose(fluxes.mean(), FLUX, rtol=1e-3)
    if recipe.statistic is not Statistic.PROPER:
        sums = stars.sum(axis=(1, 2)) / psfs.sum(axis=(1, 2))
        np.testing.assert_allclose(sums, FLUX, rtol=1e-3)
    star, model = measure_psf_shapes(stars), measure_psf_shapes(psfs)
    for name in ("xx", "yy"):
        ratio = np.mean(getattr(star, name)) / np.mean(getattr(model, name))
        assert ratio == pytest.approx(1.0, abs=0.005), name
    assert np.mean(star.xy - model.xy) == pytest.approx(0.0, abs=0.005 * np.mean(model.xx))


def test_the_best_third_has_the_seeing_of_its_visits(stars, quiet_butler: Butler) -> None:
    sigmas = list_sigmas(stars)
    assert sigmas.size == 12
    r2 = np.sum((np.indices((41, 41)) - 20) ** 2, axis=0)

    def predict(widths: NDArray[np.float64]) -> float:
        """Return the width of the mean of visits of one weight."""
        profiles = [np.exp(-0.5 * r2 / s**2) / (2.0 * np.pi * s**2) for s in widths]
        return float(measure_psf_shapes(np.mean(profiles, axis=0)[None]).fwhm_px[0])

    found = []
    for recipe, widths in ((MEAN, sigmas), (BEST, sigmas[:4])):
        image, _ = cut_pairs(fetch_coadd(quiet_butler, recipe, make_star_grid()))
        found.append(float(np.mean(measure_psf_shapes(image).fwhm_px)))
        assert found[-1] == pytest.approx(predict(widths), rel=0.005)
    assert found[1] < 0.96 * found[0]


def test_the_proper_coadd_has_the_signal_to_noise_that_is_predicted(stars, stars_butler: Butler) -> None:
    coadd = fetch_coadd(stars_butler, PROPER.with_(noise_realizations=3), make_star_grid())
    # The best that can be had of each visit alone, squared and summed.
    predicted = FLUX * np.sqrt(np.sum(1.0 / (4.0 * np.pi * list_sigmas(stars) ** 2))) / SKY_SIGMA
    psf = find_psf(coadd)
    factor = np.median(coadd.noise_correlation.render().array)
    told = FLUX * np.sqrt((psf**2).sum() / np.median(coadd.image.variance.array) / factor)
    assert told == pytest.approx(predicted, rel=0.02)
    # The same by fluxes of blank sky, as the scatter of what a matched filter finds there.
    reached = FLUX / find_scatter(coadd)
    assert reached == pytest.approx(predicted, rel=0.04)
    mean = fetch_coadd(stars_butler, MEAN.with_(noise_realizations=3), make_star_grid())
    assert reached >= 0.99 * FLUX / find_scatter(mean)


def test_noise_of_sums_is_what_the_stated_correction_says(stars_butler: Butler) -> None:
    coadd = fetch_coadd(stars_butler, MEAN.with_(noise_realizations=10), make_star_grid())
    noise = np.array([each.array for each in coadd.noise_realizations])
    variance = coadd.image.variance.array
    assert np.std(noise / np.sqrt(variance)) == pytest.approx(1.0, abs=0.01)
    side, inner = 15, np.s_[..., 8:-8, 8:-8]

    def sum_squares(values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return sums over all squares of a side."""
        means = uniform_filter(values.astype(np.float64), side, axes=(-2, -1))
        return side**2 * means[inner]

    told = np.sqrt(sum_squares(variance) * np.median(coadd.noise_correlation.render().array))
    assert np.std(sum_squares(noise) / told) == pytest.approx(1.0, abs=0.02)


def test_depth_grows_as_the_root_of_the_number_of_visits(stars, stars_butler: Butler) -> None:
    visits = sorted(plan.visit for plan in stars.visits if plan.band == "r")
    scatter = []
    for number in (3, 6, 12):
        chosen = MEAN.with_selection(visits=tuple(visits[:number])).with_(noise_realizations=3)
        coadd = fetch_coadd(stars_butler, chosen, make_star_grid())
        assert (coadd.n_inputs.array == number).all()
        scatter.append(np.std([noise.array for noise in coadd.noise_realizations]) * np.sqrt(number))
    np.testing.assert_allclose(scatter, scatter[-1], rtol=0.02)
