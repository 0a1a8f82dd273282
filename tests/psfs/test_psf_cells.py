"""The PSFs of coadds in cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lsst.images import YX, Box
from lsst.images.cells import CellGrid, CellGridBounds, CellIJ, CellPointSpreadFunction
from lsst.images.fits import FitsInputArchive
from numpy.testing import assert_allclose
from tests.support.psf_models import centroid, draw_slowly

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.psfs import (
    CellPsfTables,
    Lanczos,
    PsfNormalization,
    TapRule,
    make_psf_evaluator,
    read_psf_tables,
    take_psf_tables,
)

LANCZOS = Lanczos(5, TapRule.UNIT_SUM)


def make_cells(*, missing=(), start=(30, 60), seed=1):
    """Make a PSF of 3 x 4 cells of 10 x 20 pixels in a grid of 5 x 7, each a noisy Gaussian."""
    rng = np.random.default_rng(seed)
    grid = CellGrid(bbox=Box.factory[20:70, 40:180], cell_shape=YX(y=10, x=20))
    bbox = Box.factory[start[0] : start[0] + 30, start[1] : start[1] + 80]
    bounds = CellGridBounds(grid=grid, bbox=bbox, missing=frozenset(CellIJ(*cell) for cell in missing))
    y, x = np.indices((15, 17)) - np.array([7, 8])[:, None, None]
    images = np.exp(-0.5 * ((x - 0.1) ** 2 / 4.0 + y**2 / 5.0)) * (1 + 0.1 * rng.normal(size=(3, 4, 15, 17)))
    images /= images.sum(axis=(2, 3), keepdims=True)
    for i, j in missing:
        images[i - bounds.subgrid_start.i, j - bounds.subgrid_start.j] = np.nan
    return CellPointSpreadFunction(images, bounds)


def test_a_star_is_the_kernel_of_its_cell_moved():
    psf = make_cells()
    rng = np.random.default_rng(2)
    x, y = rng.uniform(60, 139, 10), rng.uniform(30, 59, 10)
    stamps = make_psf_evaluator(psf).stellar_images(x, y)
    assert not stamps.flags.any()
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        kernel = psf.compute_kernel_image(x=px, y=py).array
        want = draw_slowly(kernel, x=px, y=py, shape=(15, 17), step_px=1.0, lanczos=LANCZOS)
        assert_allclose(stamps.array[i], want, rtol=0, atol=1e-14)
        corner = (np.floor(px + 0.5) - 8, np.floor(py + 0.5) - 7)
        assert (stamps.x0[i], stamps.y0[i]) == corner


def test_the_kernels_of_the_surveys_coadds_are_those_that_are_stored(mini_butler):
    rng = np.random.default_rng(3)
    for ref in list(mini_butler.query_datasets("deep_coadd"))[:2]:
        psf = mini_butler.get(ref.makeComponentRef("psf"))
        box = psf.bounds.bbox
        x, y = rng.uniform(box.x.min, box.x.max, 40), rng.uniform(box.y.min, box.y.max, 40)
        evaluator = make_psf_evaluator(psf)
        kernels, stars = evaluator.kernel_images(x, y), evaluator.stellar_images(x, y)
        defined = psf.bounds.contains(x=x, y=y)
        np.testing.assert_array_equal(kernels.flags == 0, defined)
        for i in np.flatnonzero(defined):
            own = psf.compute_kernel_image(x=x[i], y=y[i])
            np.testing.assert_array_equal(kernels.array[i], own.array)
            assert (kernels.x0[i], kernels.y0[i]) == (own.bbox.x.start, own.bbox.y.start)
        found_x, found_y = centroid(stars)
        kernel_x, kernel_y = centroid(kernels)
        # An interpolant of order 5 moves the centroid by up to 0.013 pixels.
        assert_allclose((found_x - x)[defined], kernel_x[defined], atol=0.015)
        assert_allclose((found_y - y)[defined], kernel_y[defined], atol=0.015)
        # Of the light near the edge of a picture a little moves out of it.
        assert_allclose(stars.sums[defined], kernels.sums[defined], atol=2e-3)


def test_a_coadd_file_is_read_without_its_own_reader(mini_butler):
    ref = next(iter(mini_butler.query_datasets("deep_coadd")))
    psf = mini_butler.get(ref.makeComponentRef("psf"))
    with FitsInputArchive.open_tree(mini_butler.getURI(ref)) as (archive, tree, _):
        tables = read_psf_tables(tree.psf, archive)
    np.testing.assert_array_equal(tables.components, take_psf_tables(psf).components)
    assert json.loads(tables.bounds.model_dump_json()) == json.loads(psf.bounds.model_dump_json())


def test_the_pixel_decides_which_cell_a_star_is_of():
    """Cells begin at pixels 60, 80 and 30, 40; a half belongs to the upper pixel."""
    psf = make_cells()
    x = np.array([79.49, 79.5, 80.0, 79.0, 79.0])
    y = np.array([35.0, 35.0, 35.0, 39.49, 39.5])
    kernels = make_psf_evaluator(psf).kernel_images(x, y).array
    cells = [(1, 1), (1, 2), (1, 2), (1, 1), (2, 1)]
    for kernel, (i, j) in zip(kernels, cells, strict=True):
        np.testing.assert_array_equal(kernel, psf[CellIJ(i, j)].array)


def test_a_missing_cell_has_a_flag():
    psf = make_cells(missing=[(2, 3)])
    x, y = [105.0, 95.0, 105.0, 59.4, 59.6, 140.0, 139.4], [45.0, 45.0, 35.0, 45.0, 45.0, 45.0, 45.0]
    stamps = make_psf_evaluator(psf).stellar_images(x, y)
    no_psf = FLAGS["NO_PSF"].value
    assert stamps.flags.tolist() == [no_psf, 0, 0, no_psf, 0, no_psf, 0]
    assert np.all(np.isnan(stamps.array[0]))
    assert np.isnan(stamps.effective_areas_px[0])
    assert np.all(np.isfinite(stamps.array[[1, 2, 4, 6]]))


def test_a_cell_of_nan_or_zero_that_is_not_called_missing_has_a_flag():
    psf = make_cells()
    images = take_psf_tables(psf).components.copy()
    images[0, 0, 3, 3] = np.nan
    images[1, 0] = 0.0
    tables = CellPsfTables(images, LANCZOS, psf.bounds)
    for normalization in PsfNormalization:
        stamps = make_psf_evaluator(tables).stellar_images(
            [65.0, 65.0, 65.0], [35.0, 45.0, 55.0], normalization=normalization
        )
        assert stamps.flags.tolist() == [FLAGS["NO_PSF"].value] * 2 + [0]
        assert np.all(np.isnan(stamps.array[:2]))
        assert np.isnan(stamps.sums[:2]).all()
        assert stamps.x0.tolist() == [0, 0, 57]


def test_a_whole_pixel_needs_no_interpolation():
    psf = make_cells()
    stamps = make_psf_evaluator(psf).stellar_images([100.0], [45.0])
    np.testing.assert_array_equal(stamps.array[0], psf.compute_kernel_image(x=100, y=45).array)


def test_tables_that_contradict_the_grid_are_refused():
    bounds = make_cells().bounds
    with pytest.raises(InputDataError, match=r"images of \(2, 4\) cells on a grid of \(3, 4\)"):
        CellPsfTables(np.ones((2, 4, 5, 5)), LANCZOS, bounds)
    with pytest.raises(InputDataError, match=r"pictures of shape \(5, 6\); odd sides"):
        CellPsfTables(np.ones((3, 4, 5, 6)), LANCZOS, bounds)
