"""A satellite trail, cosmic rays and a transient in a repository, which a coadd does not show."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.daf.butler import Butler
from numpy.typing import NDArray
from tests.support.coadd_survey import (
    FLUX,
    PLAIN_CONFIG,
    SKY_SIGMA,
    TRANSIENT_FLUX,
    find_transient,
    make_star_grid,
    make_star_positions,
)

from lsst.dax.image.coadds import Coadd, Recipe, Statistic, fetch_coadd

RECIPE = Recipe(name="rejecting", selection={"bands": ("r",)})
MEAN = RECIPE.with_(name="mean", statistic=Statistic.MEAN)
HALF = 12


@pytest.fixture(scope="module")
def clean(stars_butler: Butler) -> Coadd:
    """Return the mean of the visits before anything was added to them."""
    return fetch_coadd(stars_butler, MEAN, make_star_grid())


@pytest.fixture(scope="module")
def rejecting(struck_butler: Butler) -> Coadd:
    return fetch_coadd(struck_butler, RECIPE, make_star_grid())


def sum_stars(coadd: Coadd) -> NDArray[np.float64]:
    """Return the flux in a square around each star of the grid."""
    places = coadd.sky_projection.sky_to_pixel(make_star_positions(PLAIN_CONFIG))
    rows = np.rint(places.y).astype(int) - coadd.bbox.y.start
    columns = np.rint(places.x).astype(int) - coadd.bbox.x.start
    inside = (rows >= HALF) & (rows < 200 - HALF) & (columns >= HALF) & (columns < 200 - HALF)
    return np.array(
        [
            coadd.image.image.array[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1].sum(
                dtype=np.float64
            )
            for row, column in zip(rows[inside], columns[inside], strict=True)
        ]
    )


def find_pulls(coadd: Coadd, clean: Coadd) -> NDArray[np.float32]:
    """Return differences from the clean mean in units of its noise."""
    pulls: NDArray[np.float32] = coadd.image.image.array - clean.image.image.array
    return pulls / np.sqrt(clean.image.variance.array)


def find_transient_pixels(coadd: Coadd) -> tuple[slice, slice]:
    x, y = (round(value) for value in find_transient())
    return (
        slice(y - coadd.bbox.y.start - 4, y - coadd.bbox.y.start + 5),
        slice(x - coadd.bbox.x.start - 4, x - coadd.bbox.x.start + 5),
    )


def test_the_mean_shows_them_all(struck_butler: Butler, clean: Coadd) -> None:
    struck = fetch_coadd(struck_butler, MEAN, make_star_grid())
    pulls = find_pulls(struck, clean)
    assert pulls.max() > 50
    # Trails are twelve pixels wide and two hundred long.
    assert (pulls > 3).sum() > 2000
    share = pulls[find_transient_pixels(struck)].sum() * SKY_SIGMA / np.sqrt(12) / (TRANSIENT_FLUX / 12)
    assert share == pytest.approx(1.0, abs=0.1)


def test_the_rejecting_mean_shows_none(rejecting: Coadd, clean: Coadd) -> None:
    pulls = find_pulls(rejecting, clean)
    places = clean.sky_projection.sky_to_pixel(make_star_positions(PLAIN_CONFIG))
    rows, columns = np.indices(pulls.shape)
    is_sky = np.ones(pulls.shape, bool)
    for x, y in zip(places.x.tolist(), places.y.tolist(), strict=True):
        near = np.hypot(rows + clean.bbox.y.start - y, columns + clean.bbox.x.start - x) < 8
        is_sky[near] = False
    # What is left out takes its noise with it.
    assert np.abs(pulls[is_sky]).max() < 3.0
    assert np.abs(pulls[find_transient_pixels(clean)]).max() < 2.0
    assert abs(float(pulls[is_sky].mean())) < 0.01
    clipped = rejecting.image.mask.get("CLIPPED")
    assert clipped[find_transient_pixels(clean)][2:-2, 2:-2].all()
    assert (rejecting.image.mask.get("INEXACT_PSF") >= clipped).all()
    np.testing.assert_array_equal(rejecting.rejected.array > 0, clipped)


def test_star_cores_are_left_alone(stars_butler: Butler, rejecting: Coadd, clean: Coadd) -> None:
    # Without artifacts nothing is taken for one, to the bit.
    same = fetch_coadd(stars_butler, RECIPE, make_star_grid())
    np.testing.assert_array_equal(same.image.image.array, clean.image.image.array)
    # Stars that are crossed lose a visit and keep their fluxes.
    ratios = sum_stars(rejecting) / sum_stars(clean)
    assert ratios.size >= 16
    noise = (2 * HALF + 1) * SKY_SIGMA * np.sqrt(2 / (12 * 10)) / FLUX
    assert abs(ratios.mean() - 1.0) < 0.001
    assert np.abs(ratios - 1.0).max() < 0.002 + 2 * noise


def test_the_noise_is_that_of_what_is_left(rejecting: Coadd) -> None:
    # Weights are equal, so that the variance is that of the number of inputs.
    expected = SKY_SIGMA**2 / rejecting.n_inputs.array
    assert set(np.unique(rejecting.n_inputs.array)) >= {10, 11, 12}
    ratio = rejecting.image.variance.array / expected
    sizes = [np.median(ratio[rejecting.n_inputs.array == n]) for n in (10, 11, 12)]
    np.testing.assert_allclose(sizes, sizes[-1], rtol=0.02)
