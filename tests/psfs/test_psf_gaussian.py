"""The Gaussian, whose every property is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction, GaussianPSFSerializationModel
from numpy.testing import assert_allclose
from tests.support.psf_models import centroid

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.psfs import (
    GaussianPsfTables,
    PsfNormalization,
    make_psf_evaluator,
    read_psf_tables,
    take_psf_tables,
)

BOX = Box.factory[-50:150, 100:400]


@settings(max_examples=50, deadline=None)
@given(
    sigma=st.floats(0.3, 6.0),
    x=st.floats(99.5, 399.4),
    y=st.floats(-50.5, 149.4),
    size=st.integers(0, 20).map(lambda n: 2 * n + 1),
)
def test_pictures_are_those_of_the_model(sigma, x, y, size):
    psf = GaussianPointSpreadFunction(sigma, BOX, size)
    evaluator = make_psf_evaluator(psf)
    star, kernel = evaluator.stellar_images(x, y), evaluator.kernel_images(x, y)
    own = psf.compute_stellar_image(x=x, y=y)
    assert_allclose(star.array[0], own.array, rtol=1e-12, atol=1e-300)
    assert (star.x0[0], star.y0[0]) == (own.bbox.x.start, own.bbox.y.start)
    own = psf.compute_kernel_image(x=x, y=y)
    assert_allclose(kernel.array[0], own.array, rtol=1e-12, atol=1e-300)
    assert (kernel.x0[0], kernel.y0[0]) == (own.bbox.x.start, own.bbox.y.start)


def test_sum_centre_width_and_area_are_known():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(150, 350, 50), rng.uniform(0, 100, 50)
    evaluator = make_psf_evaluator(GaussianPointSpreadFunction(2.5, BOX, 61))
    stamps = evaluator.stellar_images(x, y)
    assert_allclose(stamps.sums, 1.0, rtol=1e-13)
    assert_allclose(stamps.effective_areas_px, 4.0 * np.pi * 2.5**2, rtol=1e-9)
    found_x, found_y = centroid(stamps)
    assert_allclose(found_x, x, atol=1e-9)
    assert_allclose(found_y, y, atol=1e-9)
    columns = stamps.x0[:, None] + np.arange(61) - x[:, None]
    assert_allclose((stamps.array.sum(axis=1) * columns**2).sum(axis=1), 2.5**2, rtol=1e-9)


@pytest.mark.parametrize("normalization", PsfNormalization)
def test_a_small_picture_holds_the_flux_that_its_normalization_says(normalization):
    evaluator = make_psf_evaluator(GaussianPointSpreadFunction(2.0, BOX, 41))
    wide = evaluator.stellar_images(200.3, 50.1)
    small = evaluator.stellar_images(200.3, 50.1, size=7, normalization=normalization)
    within = wide.array[0][17:24, 17:24].sum()
    want = within if normalization is PsfNormalization.MODEL else 1.0
    assert_allclose(small.sums[0], want, rtol=1e-12)
    assert_allclose(small.array[0].sum(), want, rtol=1e-12)


def test_the_archived_model_has_the_same_tables():
    psf = GaussianPointSpreadFunction(1.7, BOX, 21)
    tree = GaussianPSFSerializationModel(sigma=1.7, stamp_size=21, bounds=BOX.serialize())
    assert read_psf_tables(tree, None) == take_psf_tables(psf) == GaussianPsfTables(1.7, (21, 21), BOX)


def test_a_width_that_is_none_is_refused():
    with pytest.raises(InputDataError, match="sigma of nan pixels; it must be positive"):
        GaussianPsfTables(np.nan, (21, 21), BOX)
    with pytest.raises(InputDataError, match=r"pictures of shape \(20, 21\)"):
        GaussianPsfTables(2.0, (20, 21), BOX)
