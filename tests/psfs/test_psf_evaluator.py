"""What all evaluators have in common: positions, sizes, flags, threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lsst.images import Box, Polygon
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.testing import assert_allclose
from tests.support.psf_models import make_piff

from lsst.dax.image.errors import MissingPsfError, RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.psfs import GaussianPsfTables, PsfNormalization, make_psf_evaluator

BOX = Box.factory[0:100, 0:200]
BAD_POSITION, NO_PSF = FLAGS["BAD_POSITION"].value, FLAGS["NO_PSF"].value


@pytest.fixture(params=["gaussian", "piff"])
def evaluator(request):
    if request.param == "gaussian":
        return make_psf_evaluator(GaussianPointSpreadFunction(2.0, BOX, 25))
    return make_psf_evaluator(make_piff(order=1, side=100))


def test_bad_positions_have_flags_and_spoil_no_others(evaluator):
    x = np.array([50.2, np.nan, np.inf, 50.2, -0.6, -0.5, 1e300, 50.2, -np.inf])
    y = np.array([40.7, 40.7, 40.7, np.nan, 40.7, 40.7, 40.7, 99.5, np.nan])
    stamps = evaluator.stellar_images(x, y)
    want = [0, BAD_POSITION, BAD_POSITION, BAD_POSITION, NO_PSF, 0, NO_PSF, NO_PSF, BAD_POSITION]
    assert stamps.flags.tolist() == want
    assert len(stamps) == 9
    bad = stamps.flags != 0
    for values in (stamps.array, stamps.sums, stamps.effective_areas_px):
        assert np.all(np.isnan(values[bad]))
        assert np.all(np.isfinite(values[~bad]))
    assert np.all(stamps.x0[bad] == 0)
    assert np.all(stamps.y0[bad] == 0)
    alone = evaluator.stellar_images(x[:1], y[:1])
    np.testing.assert_array_equal(stamps.array[0], alone.array[0])


def test_no_position_gives_no_picture(evaluator):
    stamps = evaluator.stellar_images([], [])
    assert stamps.array.shape == (0, *evaluator.stamp_shape)
    assert len(stamps) == 0
    all_bad = evaluator.kernel_images([np.nan], [1.0], size=5, normalization=PsfNormalization.MODEL)
    assert all_bad.array.shape == (1, 5, 5)


def test_numbers_of_other_types_are_positions_too(evaluator):
    want = evaluator.stellar_images(50.0, 40.0)
    for x, y in ((50, 40), ([50], [40]), (np.array([50], np.int16), np.array([40], ">f4"))):
        np.testing.assert_array_equal(evaluator.stellar_images(x, y).array, want.array)


def test_a_picture_depends_on_its_own_position_alone(evaluator):
    """Neither on the others of the call, nor on the thread."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 99, (2, 9000))
    whole = evaluator.stellar_images(x, y, size=5)
    order = rng.permutation(9000)
    shuffled = evaluator.stellar_images(x[order], y[order], size=5)
    np.testing.assert_array_equal(shuffled.array, whole.array[order])
    parts = np.array_split(np.arange(9000), 12)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: evaluator.stellar_images(x[part], y[part], size=5), parts))
    np.testing.assert_array_equal(np.concatenate([stamps.array for stamps in found]), whole.array)
    np.testing.assert_array_equal(np.concatenate([stamps.x0 for stamps in found]), whole.x0)


def test_a_larger_picture_continues_the_smaller(evaluator):
    x, y = [50.3, 20.0], [40.2, 77.5]
    raw = PsfNormalization.MODEL
    small = evaluator.stellar_images(x, y, size=11, normalization=raw)
    large = evaluator.stellar_images(x, y, size=61, normalization=raw)
    assert_allclose(large.array[:, 25:-25, 25:-25], small.array, rtol=1e-13, atol=1e-18)
    assert ((small.x0 - large.x0).tolist(), (small.y0 - large.y0).tolist()) == ([25, 25], [25, 25])


def test_the_area_is_that_of_the_picture(evaluator):
    for normalization in PsfNormalization:
        stamps = evaluator.stellar_images([50.3, 20.0], [40.2, 77.5], size=13, normalization=normalization)
        sums = stamps.array.sum(axis=(1, 2))
        assert_allclose(stamps.sums, sums, rtol=1e-12)
        assert_allclose(stamps.effective_areas_px, sums**2 / (stamps.array**2).sum(axis=(1, 2)), rtol=1e-12)


def test_inputs_are_not_changed(evaluator):
    x, y = np.array([50.3, np.nan]), np.array([40.2, 1.0])
    before = x.copy(), y.copy()
    evaluator.stellar_images(x, y)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("size", [0, -3, 4, 4097])
def test_sizes_without_a_central_pixel_are_refused(evaluator, size):
    with pytest.raises(RequestError, match=f"pictures of {size} pixels a side; odd sizes from 1 to 4095"):
        evaluator.stellar_images([1.0], [1.0], size=size)


def test_positions_that_are_none_are_refused(evaluator):
    with pytest.raises(RequestError, match=r"shapes \(2,\) and \(3,\)"):
        evaluator.stellar_images([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(RequestError, match=r"shapes \(1, 2\) and \(1, 2\)"):
        evaluator.stellar_images([[1.0, 2.0]], [[1.0, 2.0]])
    with pytest.raises(RequestError, match="must be real numbers"):
        evaluator.kernel_images(["here"], ["there"])


def test_bounds_of_any_shape_decide():
    triangle = Polygon(x_vertices=[0.0, 100.0, 0.0], y_vertices=[0.0, 0.0, 100.0])
    stamps = make_psf_evaluator(GaussianPsfTables(2.0, (5, 5), triangle)).stellar_images(
        [20.0, 70.0, 45.0], [20.0, 70.0, 45.0]
    )
    assert stamps.flags.tolist() == [0, NO_PSF, 0]


def test_what_is_no_model_is_missing():
    with pytest.raises(MissingPsfError, match="has None in place of a point spread function"):
        make_psf_evaluator(None)


def test_importing_the_room_imports_no_compiler():
    code = "import sys, lsst.dax.image.psfs; assert not {'numba', 'galsim', 'piff'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
