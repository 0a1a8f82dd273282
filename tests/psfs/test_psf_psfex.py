"""PSFEx models: real files, archived arrays, arrays in memory."""

from __future__ import annotations

import json
from types import SimpleNamespace

import galsim
import galsim.des
import galsim.hsm
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.psfs import PSFExSerializationModel, PSFExWrapper
from numpy.testing import assert_allclose
from tests.support.psf_models import centroid, draw_slowly, read_psfex
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputDataError, UnsupportedProductError
from lsst.dax.image.psfs import (
    Lanczos,
    PsfNormalization,
    TapRule,
    make_psf_evaluator,
    make_psfex_tables,
    read_psf_tables,
    take_psf_tables,
)

CHIP = Box.factory[0:4096, 0:2048]
GALSIM = Lanczos(3, TapRule.SERIES)
DES = ("DECam_00154912_12_psfcat.psf", "psfex-decam-00392360-S31.fits")


def bases(degree, u, v):
    """Return the terms as PSFEx orders them: 1, u, u**2, v, u v, v**2."""
    return np.array([u**i * v**j for j in range(degree + 1) for i in range(degree + 1 - j)])


@pytest.mark.parametrize("name", DES)
def test_the_des_models_are_drawn_as_by_their_reader_in_galsim(name):
    """That reader rounds the model to single precision: the tolerance."""
    path = testdata(f"E_psfex_reference/{name}")
    evaluator = make_psf_evaluator(read_psfex(path, CHIP, GALSIM))
    reader = galsim.des.DES_PSFEx(str(path))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 2047, 15), rng.uniform(0, 4095, 15)
    stamps = evaluator.stellar_images(x, y, normalization=PsfNormalization.MODEL)
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        picture = galsim.ImageD(stamps.array.shape[2], stamps.array.shape[1], scale=1.0)
        picture.setOrigin(int(stamps.x0[i]), int(stamps.y0[i]))
        profile = reader.getPSF(galsim.PositionD(px + 1, py + 1))
        profile.drawImage(picture, method="no_pixel", center=galsim.PositionD(px, py))
        assert_allclose(stamps.array[i], picture.array, rtol=0, atol=1e-5 * picture.array.max())


@pytest.mark.parametrize("name", DES)
def test_the_des_models_are_drawn_to_double_precision(name):
    tables = read_psfex(testdata(f"E_psfex_reference/{name}"), CHIP, GALSIM)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 2047, 10), rng.uniform(0, 4095, 10)
    stamps = make_psf_evaluator(tables).stellar_images(x, y, normalization=PsfNormalization.MODEL)
    degree = int(tables.powers_x.max())
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        terms = bases(
            degree, (px - tables.origin[0]) / tables.scale[0], (py - tables.origin[1]) / tables.scale[1]
        )
        model = galsim.Image(np.tensordot(terms, tables.components, 1))
        profile = galsim.InterpolatedImage(
            model, scale=tables.step_px, flux=1, x_interpolant=galsim.Lanczos(3), use_true_center=False
        )
        picture = galsim.ImageD(stamps.array.shape[2], stamps.array.shape[1], scale=1.0)
        picture.setOrigin(int(stamps.x0[i]), int(stamps.y0[i]))
        profile.drawImage(picture, method="no_pixel", center=galsim.PositionD(px, py))
        assert_allclose(stamps.array[i], picture.array, rtol=0, atol=1e-12 * picture.array.max())


def test_the_des_model_has_the_moments_of_a_real_star():
    """The reference counts pixels from 1; the model lies within its published tolerance of the star."""
    path = testdata("E_psfex_reference/star_reference.json")
    star = json.loads(path.read_text())
    evaluator = make_psf_evaluator(read_psfex(path.parent / DES[0], CHIP))
    stamps = evaluator.kernel_images([star["x"] - 1], [star["y"] - 1])
    moments = galsim.hsm.FindAdaptiveMom(galsim.Image(stamps.array[0], scale=1.0))
    assert moments.moments_sigma / 2 == pytest.approx(star["ref_moments_sigma_pix"] / 2, abs=0.01)
    assert moments.observed_shape.g1 / 2 == pytest.approx(star["ref_g1"] / 2, abs=0.01)
    assert moments.observed_shape.g2 / 2 == pytest.approx(star["ref_g2"] / 2, abs=0.01)


def decam_files():
    root = testdata("A_decam_ls")
    return sorted([*root.rglob("*-psfex.fits"), *root.rglob("psfex/**/*.psf")])


def test_the_survey_models_have_sums_that_only_normalization_makes_one():
    """Their own sums differ from 1 by percents, and over one detector."""
    files = decam_files()
    assert len(files) >= 20
    box = Box.factory[0:200, 0:200]
    rng = np.random.default_rng(3)
    x, y = rng.uniform(20, 180, (2, 30))
    raw_sums = []
    for path in files:
        evaluator = make_psf_evaluator(read_psfex(path, box))
        raw_sums.append(evaluator.stellar_images(x, y).sums.mean())
        whole = evaluator.stellar_images(x, y, normalization=PsfNormalization.MODEL)
        assert_allclose(whole.sums, 1.0, atol=0.01)
        unit = evaluator.stellar_images(x, y, size=21, normalization=PsfNormalization.STAMP)
        assert_allclose(unit.sums, 1.0, rtol=1e-13)
        assert_allclose(unit.array.sum(axis=(1, 2)), 1.0, rtol=1e-12)
        found_x, found_y = centroid(evaluator.stellar_images(x, y, size=25))
        assert np.abs(found_x - x).max() < 0.3
        assert np.abs(found_y - y).max() < 0.3
    assert np.max(np.abs(np.array(raw_sums) - 1.0)) > 0.01


def made_tables(**changes):
    """Make a model of degree 1 with an asymmetric image in every term."""
    rng = np.random.default_rng(4)
    y, x = np.indices((11, 13)) - np.array([5, 6])[:, None, None]
    image = np.exp(-0.5 * ((x - 0.4) ** 2 / 2.0 + y**2 / 3.0))
    options = {
        "degree": 1,
        "origin": (100.0, 200.0),
        "scale": (150.0, 250.0),
        "step_px": 1.3,
        "bounds": Box.factory[0:400, 0:300],
    }
    return make_psfex_tables(
        image * (1 + 0.1 * rng.normal(size=(3, 11, 13))) * np.array([1, 0.2, 0.1])[:, None, None],
        **{**options, **changes},
    )


def test_the_first_powers_are_those_of_x():
    tables = made_tables()
    at_origin, right, above = (
        make_psf_evaluator(tables).kernel_images([x], [y]).array[0]
        for x, y in ((100.0, 200.0), (250.0, 200.0), (100.0, 399.0))
    )
    for (x, y), found in {(100.0, 200.0): at_origin, (250.0, 200.0): right, (100.0, 399.0): above}.items():
        u, v = (x - 100.0) / 150.0, (y - 200.0) / 250.0
        model = tables.components[0] + u * tables.components[1] + v * tables.components[2]
        want = draw_slowly(
            model, x=0.0, y=0.0, shape=found.shape, step_px=1.3, lanczos=Lanczos(4, TapRule.UNIT_SUM)
        )
        assert_allclose(found, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("step_px", "shape"), [(1.0, (11, 13)), (0.9, (9, 11)), (1.3, (15, 17))])
def test_pictures_span_the_samples_with_odd_sides(step_px, shape):
    assert make_psf_evaluator(made_tables(step_px=step_px)).stamp_shape == shape


def archived(tables):
    """Return the tree of an archived model and the archive."""
    tree = PSFExSerializationModel.model_validate(
        {
            "average_x": 0.0,
            "average_y": 0.0,
            "pixel_step": tables.step_px,
            "degree": [1],
            "basis": [1.0],
            "coeff": [1.0],
            "parameters": {"data": tables.components.tolist(), "datatype": "float32"},
            "context": np.array([[100.0, 150.0], [200.0, 250.0]]),
            "bounds": tables.bounds.serialize(),
        }
    )
    return tree, SimpleNamespace(get_array=lambda model: np.asarray(model.data, np.float32))


def test_an_archived_model_is_read_without_psfex():
    tables = made_tables()
    read = read_psf_tables(*archived(tables))
    assert_allclose(read.components, tables.components, rtol=1e-6)
    assert (read.origin, read.scale, read.step_px) == (tables.origin, tables.scale, tables.step_px)
    assert read.bounds == tables.bounds
    assert not read.draws_unit_sum


def test_a_model_in_memory_gives_its_arrays():
    tables = made_tables()
    data = SimpleNamespace(
        size=[13, 11, 3],
        comp=tables.components.ravel(),
        degree=[1],
        group=[0, 0],
        context=np.array([[100.0, 150.0], [200.0, 250.0]]),
        pixel_step=1.3,
    )
    # Its constructor wants the observatory's packages.
    psf = PSFExWrapper.__new__(PSFExWrapper)
    psf._impl, psf._bounds = SimpleNamespace(getSerializationData=lambda: data), tables.bounds
    taken = take_psf_tables(psf)
    np.testing.assert_array_equal(taken.components, tables.components)
    assert (taken.origin, taken.scale) == (tables.origin, tables.scale)
    data.context = np.zeros((3, 2))
    with pytest.raises(UnsupportedProductError, match=r"context of shape \(3, 2\).*one group of x and y"):
        take_psf_tables(psf)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"degree": 2}, r"degree 2 has components of shape \(3, 11, 13\), not 6 images"),
        ({"step_px": 0.0}, "samples 0.0 pixels wide"),
        ({"scale": (0.0, 1.0)}, r"units of \(0.0, 1.0\) pixels"),
        ({"origin": (np.nan, 1.0)}, r"about \(nan, 1.0\)"),
        ({"step_px": 1e4}, "odd sides from 1 to 2048"),
    ],
)
def test_numbers_that_make_no_model_are_refused(changes, match):
    with pytest.raises(InputDataError, match=match):
        made_tables(**changes)


def test_components_that_are_not_finite_are_refused():
    with pytest.raises(InputDataError, match="values that are not finite"):
        make_psfex_tables(
            np.full((1, 5, 5), np.nan), degree=0, origin=(0, 0), scale=(1, 1), step_px=1.0, bounds=CHIP
        )
    with pytest.raises(InputDataError, match=r"components of shape \(1, 5\); 3 axes"):
        make_psfex_tables(np.ones((1, 5)), degree=0, origin=(0, 0), scale=(1, 1), step_px=1.0, bounds=CHIP)
