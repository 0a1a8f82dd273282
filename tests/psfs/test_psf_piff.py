"""Piff pixel grids: in memory, archived, and those of other kinds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import galsim
import numpy as np
import piff
import pytest
from lsst.images import Box
from lsst.images.fits import FitsInputArchive
from lsst.images.psfs import PiffSerializationModel, PiffWrapper
from lsst.images.serialization import open_archive
from numpy.testing import assert_allclose
from tests.support.psf_models import centroid, make_piff
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputDataError, UnsupportedProductError
from lsst.dax.image.psfs import (
    Lanczos,
    PolynomialPsfTables,
    PsfNormalization,
    TapRule,
    make_psf_evaluator,
    read_psf_tables,
    take_psf_tables,
)
from lsst.dax.image.repository import opened_dataset

KINDS = {
    "as in DP2": {"order": 4},
    "world coordinates": {"order": 2, "keys": ("u", "v")},
    "fine samples": {"order": 1, "scale": 0.13, "size": 41},
    "coarse samples": {"order": 1, "scale": 0.26, "interp": "Lanczos(3)"},
    "orders and keys differ": {"order": [1, 3], "keys": ("v", "u"), "interp": "Lanczos(5)"},
    "cross terms": {"order": 1, "max_order": 2},
    "one key": {"order": 2, "keys": ("y",)},
    "constant not conserved": {"order": 1, "scale": 0.17, "interp": "Lanczos(4, conserve_dc=False)"},
    "stamp larger than the grid": {"order": 0, "stamp_size": 41},
    "stamp smaller than the grid": {"order": 1, "stamp_size": 15},
    "even grid": {"order": 1, "size": 24},
}


def assert_drawn_alike(psf, x, y, rtol=1e-12):
    """Compare with the model's own drawing, relative to the peak."""
    evaluator = make_psf_evaluator(psf)
    assert evaluator.is_exact
    stars, kernels = evaluator.stellar_images(x, y), evaluator.kernel_images(x, y)
    assert not stars.flags.any()
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        star, kernel = psf.compute_stellar_image(x=px, y=py), psf.compute_kernel_image(x=px, y=py)
        assert (star.bbox.x.start, star.bbox.y.start) == (stars.x0[i], stars.y0[i])
        assert (kernel.bbox.x.start, kernel.bbox.y.start) == (kernels.x0[i], kernels.y0[i])
        assert_allclose(stars.array[i], star.array, rtol=0, atol=rtol * star.array.max())
        assert_allclose(kernels.array[i], kernel.array, rtol=0, atol=rtol * kernel.array.max())
        want = star.array.sum() ** 2 / np.sum(star.array**2)
        assert_allclose(stars.effective_areas_px[i], want, rtol=1e-11)
    assert_allclose(stars.sums, 1.0, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_stars_are_those_that_piff_draws(kind):
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-0.49, 3999.49, (2, 12))
    # Whole pixels, and next to a half and to a whole.
    x[:4] = 100.0, 3999.0, 200.4999999, 300.00000001
    y[:4] = 17.0, 0.25, 12.5000001, 14.9999999
    assert_drawn_alike(make_piff(**KINDS[kind]), x, y)


def read_psf(butler, ref):
    """Return the PSF of a dataset; through the Butler, lsst.images reads each only once."""
    with opened_dataset(butler, ref) as reader:
        return reader.read_psf()


def test_the_visits_of_the_survey_are_drawn_as_by_their_model(mini_butler):
    rng = np.random.default_rng(6)
    for ref in list(mini_butler.query_datasets("visit_image"))[:2]:
        psf = read_psf(mini_butler, ref)
        box = psf.bounds.bbox
        x, y = (
            rng.uniform(box.x.min - 0.49, box.x.max + 0.49, 20),
            rng.uniform(box.y.min - 0.49, box.y.max, 20),
        )
        assert_drawn_alike(psf, x, y)


def test_halfway_between_pixels_the_star_is_where_it_belongs():
    """Piff and its wrapper round a half in opposite ways, so that their picture is one pixel off."""
    psf = make_piff(order=0)
    evaluator = make_psf_evaluator(psf)
    x, y = np.array([1000.5, 1000.5 - 1e-9, 1000.5 + 1e-9]), np.array([2000.0, 2000.0, 2000.0])
    at_half = evaluator.stellar_images(x, y)
    assert at_half.x0.tolist() == [1001 - 13, 1000 - 13, 1001 - 13]
    found_x, _ = centroid(at_half)
    assert_allclose(np.diff(found_x), [0.0, 0.0], atol=2e-3)
    assert_allclose(at_half.array[0], at_half.array[2], atol=1e-9)
    own = psf.compute_stellar_image(x=1000.5, y=2000.0)
    assert own.bbox.x.start == at_half.x0[0]
    assert_allclose(own.array[:, 1:], at_half.array[0][:, :-1], atol=2e-4)
    rows = evaluator.stellar_images([3.0], [1.5])
    assert (rows.y0[0], rows.x0[0]) == (2 - 13, 3 - 13)


def test_the_centroid_follows_the_position():
    """The model has its centroid 0.25 pixels to the right and 0.1 below.

    The interpolant moves it by up to 0.005, as in the model's own drawing.
    """
    evaluator = make_psf_evaluator(make_piff(order=0))
    rng = np.random.default_rng(7)
    x, y = rng.uniform(100, 3900, (2, 200))
    found_x, found_y = centroid(evaluator.stellar_images(x, y))
    assert_allclose(found_x - x, 0.25, atol=6e-3)
    assert_allclose(found_y - y, -0.10, atol=6e-3)


def test_a_visit_file_is_read_without_piff(mini_butler, monkeypatch):
    ref = next(iter(mini_butler.query_datasets("visit_image")))
    psf = read_psf(mini_butler, ref)
    monkeypatch.setitem(__import__("sys").modules, "piff", None)
    with FitsInputArchive.open_tree(mini_butler.getURI(ref)) as (archive, tree, _):
        tables = read_psf_tables(tree.psf, archive)
    monkeypatch.undo()
    x, y = [12.3, 40.5], [7.7, 90.1]
    want = make_psf_evaluator(psf).stellar_images(x, y)
    found = make_psf_evaluator(tables).stellar_images(x, y)
    np.testing.assert_array_equal(found.array, want.array)
    assert tables.bounds == psf.bounds


def test_the_archived_model_of_dp2_has_the_tables_that_piff_reads():
    path = testdata("C_rubin_dp_fixtures/piff_psf/piff_psf-1.0.0.json")
    with open_archive(path) as reader:
        psf = reader.read()
    taken = take_psf_tables(psf)
    tree = PiffSerializationModel.model_validate(json.loads(path.read_text()))
    read = read_psf_tables(tree, _InlineArchive())
    assert (taken.step_px, taken.lanczos) == (1.0, Lanczos(7, TapRule.SERIES))
    np.testing.assert_array_equal(read.components, taken.components)
    assert (read.scale, read.lanczos, read.stamp_shape) == (taken.scale, taken.lanczos, taken.stamp_shape)


class _InlineArchive:
    """An archive all of whose tables are in the tree."""

    def get_structured_array(self, model):
        columns = {column.name: np.asarray(column.data.data) for column in model.columns}
        kinds = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
        table = np.zeros(len(next(iter(columns.values()))), kinds)
        for name, values in columns.items():
            table[name] = values
        return table


@pytest.fixture
def dp2_tree():
    path = testdata("C_rubin_dp_fixtures/piff_psf/piff_psf-1.0.0.json")
    return PiffSerializationModel.model_validate(json.loads(path.read_text()))


def test_an_archived_model_of_another_kind_is_refused(dp2_tree):
    parts = dp2_tree.piff.objects["piff"]
    parts.structs["interp"]["type"] = "GP"
    with pytest.raises(UnsupportedProductError, match="interpolation of type 'GP'; 'BasisPolynomial'"):
        read_psf_tables(dp2_tree, _InlineArchive())
    parts.structs["model"]["type"] = "Moffat"
    with pytest.raises(UnsupportedProductError, match="model of type 'Moffat'; 'PixelGrid'"):
        read_psf_tables(dp2_tree, _InlineArchive())
    dp2_tree.piff.structs["piff"]["type"] = "Sum"
    with pytest.raises(UnsupportedProductError, match="Piff PSF of type 'Sum'"):
        read_psf_tables(dp2_tree, _InlineArchive())


@pytest.mark.parametrize("text", ["__import__('os').abort()", "galsim.Quintic()", "Lanczos(3)+exit()"])
def test_the_interpolant_of_a_file_is_not_evaluated(dp2_tree, text):
    dp2_tree.piff.objects["piff"].structs["model"]["interp"] = text
    with pytest.raises(UnsupportedProductError, match=r"interpolated by .*; 'Lanczos\(n\)' is possible"):
        read_psf_tables(dp2_tree, _InlineArchive())


def test_a_damaged_archive_is_the_fault_of_the_data(dp2_tree):
    parts = dp2_tree.piff.objects["piff"]
    parts.structs["model"]["size"] = 9
    with pytest.raises(
        InputDataError, match=r"9 x 9 samples and 1 terms has coefficients of shape \(49, 1\)"
    ):
        read_psf_tables(dp2_tree, _InlineArchive())
    parts.structs["model"]["size"] = 7
    parts.structs["model"]["scale"] = 0.0
    with pytest.raises(InputDataError, match=r"samples of 0.0 arcsec on pixels of 0.2 arcsec"):
        read_psf_tables(dp2_tree, _InlineArchive())
    del parts.structs["model"]
    with pytest.raises(InputDataError, match="Piff PSF without its 'model'"):
        read_psf_tables(dp2_tree, _InlineArchive())


def test_polynomials_of_other_keys_are_refused(dp2_tree):
    interp = dp2_tree.piff.objects["piff"].structs["interp"]
    interp["keys"] = ["u", "color"]
    with pytest.raises(UnsupportedProductError, match=r"interpolated over \('u', 'color'\)"):
        read_psf_tables(dp2_tree, _InlineArchive())
    interp.update(keys=["u", "v"], order=1000)
    with pytest.raises(UnsupportedProductError, match=r"polynomials of order 1000.* up to 12 are possible"):
        read_psf_tables(dp2_tree, _InlineArchive())


def test_models_without_tables_are_interpolated_between_nodes():
    psf = make_piff(order=1)
    assert take_psf_tables(psf) is not None
    turned = make_piff(order=1)
    turned.piff_psf.wcs = {0: galsim.JacobianWCS(0.2, 0.01, -0.01, 0.2)}
    shifted = make_piff(order=1)
    shifted.piff_psf.wcs = {0: galsim.OffsetWCS(0.2, galsim.PositionD(5.0, 7.0))}
    smooth = make_piff(order=1, interp="galsim.Quintic()")
    mean = make_piff(order=0)
    mean.piff_psf.interp = piff.Mean()
    for other in (turned, shifted, smooth, mean):
        assert take_psf_tables(other) is None
        assert not make_psf_evaluator(other).is_exact


def test_a_model_that_knows_colours_is_refused():
    class _Chromatic:
        interp_property_names = ("u", "v", "colorValue")

    psf = PiffWrapper(_Chromatic(), Box.factory[0:10, 0:10], 27)
    with pytest.raises(UnsupportedProductError, match="depends on the colour of the star"):
        make_psf_evaluator(psf)


def test_an_unknown_tree_is_refused():
    with pytest.raises(UnsupportedProductError, match="SimpleNamespace in place of a PSF"):
        read_psf_tables(SimpleNamespace(), _InlineArchive())


def test_the_whole_model_has_unit_sum_whatever_the_picture():
    psf = make_piff(order=2, scale=0.13, size=41)
    tables = take_psf_tables(psf)
    assert isinstance(tables, PolynomialPsfTables)
    evaluator = make_psf_evaluator(tables)
    x, y = [10.2, 3000.7], [20.9, 100.1]
    wide = evaluator.stellar_images(x, y, size=45, normalization=PsfNormalization.MODEL)
    assert_allclose(wide.sums, 1.0, atol=2e-3)
    narrow = evaluator.stellar_images(x, y, size=9, normalization=PsfNormalization.MODEL)
    np.testing.assert_allclose(narrow.array, wide.array[:, 18:-18, 18:-18], rtol=1e-12)
    assert np.all(narrow.sums < 0.999)
