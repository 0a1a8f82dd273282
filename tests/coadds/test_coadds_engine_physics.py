"""What a coadd of a survey must be by physics: its PSF, its fluxes, its noise and its depth."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box
from tests.support.coadd_survey import FLUX, PLAIN_CONFIG, SKY_SIGMA, make_star_positions

from lsst.dax.image.coadds import (
    CellRules,
    Coadd,
    Recipe,
    Statistic,
    fetch_coadd,
    measure_psf_shapes,
)
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.simulation import MiniSurvey

# Visits of any seeing; cells of the sky map have 50 pixels, which hold a star or two.
MEAN = Recipe(
    name="mean",
    statistic=Statistic.MEAN,
    selection={"bands": ("r",)},
    noise_realizations=1,
    cells=CellRules(padding_px=50),
)


@pytest.fixture(scope="module")
def coadd(stars: MiniSurvey, stars_butler: Butler) -> Coadd:
    """Return the mean of all visits where all of them are."""
    return fetch_coadd(stars_butler, MEAN, make_grid(stars))


def make_grid(stars: MiniSurvey) -> TargetGrid:
    projection = PLAIN_CONFIG.sky_map.tract_sky_projection(stars.tract)
    middle = projection.sky_to_pixel(PLAIN_CONFIG.center_position)
    y, x = (round(float(value)) // 50 * 50 for value in (middle.y, middle.x))
    return TargetGrid(projection, Box.factory[y - 100 : y + 100, x - 100 : x + 100])


def cut_stars(coadd: Coadd) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pictures of stars and of the PSF in their cells, none of which lies across an edge."""
    places = coadd.sky_projection.sky_to_pixel(make_star_positions(PLAIN_CONFIG))
    found = []
    for x, y in zip(places.x.tolist(), places.y.tolist(), strict=True):
        column, row, half = round(x), round(y), 9
        box = Box.factory[row - half : row + half + 1, column - half : column + half + 1]
        if not coadd.bbox.contains(box):
            continue
        cell = coadd.psf.bounds.grid.bbox_of(coadd.psf.bounds.grid.index_of(y=row, x=column))
        if not cell.contains(box) or not np.isfinite(coadd.image.image[box].array).all():
            continue
        psf = coadd.psf.compute_kernel_image(x=float(column), y=float(row)).array
        middle = psf.shape[0] // 2
        found.append(
            (
                coadd.image.image[box].array,
                psf[middle - half : middle + half + 1, middle - half : middle + half + 1],
            )
        )
    return found


def test_stars_have_the_psf_of_the_coadd(coadd: Coadd) -> None:
    pairs = cut_stars(coadd)
    assert len(pairs) >= 8
    star = measure_psf_shapes(np.array([image for image, _ in pairs], np.float64))
    model = measure_psf_shapes(np.array([psf for _, psf in pairs], np.float64))
    ratios = (star.xx + star.yy) / (model.xx + model.yy)
    assert abs(np.mean(ratios) - 1.0) < 0.005


def test_fluxes_are_those_of_the_truth(coadd: Coadd) -> None:
    sums = np.array([image.sum(dtype=np.float64) for image, _ in cut_stars(coadd)])
    inside = np.array([psf.sum() for _, psf in cut_stars(coadd)])
    n = coadd.inputs["n_cells"].astype(bool).sum()
    error = SKY_SIGMA * 19 / np.sqrt(n) / np.sqrt(sums.size) / FLUX
    assert abs(np.mean(sums / inside) / FLUX - 1.0) < 0.001 + 3 * error


def test_noise_is_what_the_variance_says(coadd: Coadd) -> None:
    (noise,) = coadd.noise_realizations
    pulls = noise.array / np.sqrt(coadd.image.variance.array)
    pulls = pulls[np.isfinite(pulls)]
    assert pulls.size > 20_000
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    # Sums of squares of pixels have more than their variances say, by the stated factor.
    side = 25
    blocks = noise.array.reshape(200 // side, side, 200 // side, side)
    variances = coadd.image.variance.array.reshape(blocks.shape)
    z = blocks.sum(axis=(1, 3)) / np.sqrt(variances.sum(axis=(1, 3)))
    factor = np.nanmedian(coadd.noise_correlation.render().array)
    assert 1.05 < factor < 1.6
    assert np.nanvar(z) == pytest.approx(factor, rel=0.5)


def test_depth_grows_as_the_root_of_the_number(stars: MiniSurvey, stars_butler: Butler, coadd: Coadd) -> None:
    visits = sorted(coadd.inputs["visit"][coadd.inputs["n_cells"] == coadd.inputs["n_cells"].max()].tolist())
    few = fetch_coadd(stars_butler, MEAN.with_selection(visits=tuple(visits[:3])), make_grid(stars))
    many = coadd.n_inputs.array
    ratio = few.image.variance.array * few.n_inputs.array / (coadd.image.variance.array * many)
    assert np.nanmedian(many) > 5
    assert np.nanmedian(ratio) == pytest.approx(1.0, abs=0.03)


def test_the_best_third_is_sharper(stars: MiniSurvey, stars_butler: Butler, coadd: Coadd) -> None:
    best = MEAN.with_selection(best={"criterion": "seeing", "fraction": 1 / 3})
    sharp = fetch_coadd(stars_butler, best, make_grid(stars))
    fwhm = {plan.visit: plan.fwhm for plan in stars.visits}
    for found in (sharp, coadd):
        rows = found.provenance if found.provenance is None else found.provenance.contributions
        cell = next(found.psf.bounds.cell_indices())
        (shape,) = [measure_psf_shapes(found.psf[cell].array[None])]
        names = (
            rows["visit"][(rows["cell_i"] == cell.i) & (rows["cell_j"] == cell.j)] if rows is not None else []
        )
        widths = [fwhm[int(visit)] for visit in names] or list(fwhm.values())
        assert min(widths) * 0.95 < float(shape.fwhm_px[0]) * 0.2 < max(widths) * 1.1
    shapes = [
        measure_psf_shapes(each.psf[next(each.psf.bounds.cell_indices())].array[None])
        for each in (sharp, coadd)
    ]
    assert shapes[0].fwhm_px[0] < 0.98 * shapes[1].fwhm_px[0]
    assert np.nanmedian(sharp.n_inputs.array) < np.nanmedian(coadd.n_inputs.array)
