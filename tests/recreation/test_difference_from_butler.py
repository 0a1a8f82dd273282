"""Difference images of a repository, made again and compared with those of the simulation's own path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box, DifferenceImage, VisitImage
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import maximum_filter

from lsst.dax.image import recreate_from
from lsst.dax.image.errors import (
    DatasetNotFoundError,
    InputDataError,
    NoCoverageError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.recreation import (
    Decorrelation,
    DifferenceInputs,
    KernelModel,
    SubtractionOptions,
    make_difference_from_recipe,
    read_difference_recipe,
    recreate_difference_image,
    write_visit_image,
)
from lsst.dax.image.repository import fetch_uri, find_datasets
from lsst.dax.image.simulation import MiniSurvey

PART = Box.factory[30:90, 100:180]
CONSTANT = KernelModel(spatial_order=0, widths_px=(0.9, 1.8), degrees=(2, 2), background_order=None)


@pytest.fixture(scope="module")
def remade(mini_survey: MiniSurvey) -> Iterator[list[tuple[DifferenceImage, DifferenceImage, VisitImage]]]:
    """Some difference images made again, the persisted ones and their visit images."""
    with mini_survey.open() as butler:
        found = []
        for ref in find_datasets(butler, "difference_image")[::3]:
            key = dict(ref.dataId.required)
            found.append(
                (recreate_difference_image(butler, key), butler.get(ref), butler.get("visit_image", key))
            )
        yield found


def first_key(butler: Butler) -> dict[str, Any]:
    return dict(find_datasets(butler, "difference_image")[0].dataId.required)


def assert_same_pixels(one: DifferenceImage, other: DifferenceImage) -> None:
    for plane in ("image", "variance", "mask"):
        assert_array_equal(getattr(one, plane).array, getattr(other, plane).array)


def read_row_steps(butler: Butler, ref: Any, plane: str) -> np.ndarray:
    """Return the quantisation step of each row of a plane."""
    with astropy.io.fits.open(fetch_uri(butler, ref).ospath, disable_image_compression=True) as hdus:
        return np.asarray(hdus[plane].data["ZSCALE"], float)[:, None]


def test_pixels_are_those_of_the_independent_path(mini_butler: Butler) -> None:
    rms = []
    for ref in find_datasets(mini_butler, "difference_image")[::4]:
        key = dict(ref.dataId.required)
        ours, theirs = recreate_difference_image(mini_butler, key), mini_butler.get(ref)
        science = mini_butler.get("visit_image", key)
        difference = np.abs(ours.image.array - theirs.image.array)
        step = read_row_steps(mini_butler, ref, "IMAGE")
        # Positions interpolated to a thousandth of a pixel, and weights from
        # tables, change a star of the template by up to 2e-4 of its pixels; the filter
        # spreads that to the next ones, and is itself cut off at 1e-4 of a source.
        template = np.abs(science.image.array - ours.image.array)
        stars = maximum_filter(np.nan_to_num(template + np.abs(ours.image.array)), 7)
        # The other path counts missing pixels as the mean, which saturated stars draw down.
        near = maximum_filter(np.isnan(ours.image.array), 23)
        filled = 0.02 * near * np.abs(np.nanmean(ours.image.array))
        assert np.nanmax(difference - 0.501 * step - 2e-4 * stars - filled) < 0.03
        faint = template < 50.0
        rms.append(np.sqrt(np.nanmean((difference / step)[faint] ** 2)))
        variance = np.abs(ours.variance.array - theirs.variance.array)
        step = read_row_steps(mini_butler, ref, "VARIANCE")
        assert np.nanmax(variance - 0.501 * step - 5e-4 * ours.variance.array) < 1e-3
        assert_array_equal(ours.mask.array, theirs.mask.array)
        assert_array_equal(np.isnan(ours.image.array), np.isnan(theirs.image.array))
    assert_allclose(rms, 12**-0.5, rtol=0.03)


def test_result_has_all_components(remade: Any) -> None:
    for ours, theirs, science in remade:
        assert ours.kernel.compute_kernel_image(x=10, y=20) == theirs.kernel.compute_kernel_image(x=10, y=20)
        assert ours.templates == theirs.templates
        assert ours.unit == u.nJy
        assert (ours.band, ours.detector.id) == (science.band, science.detector.id)
        assert ours.psf.compute_kernel_image(x=50, y=60) == science.psf.compute_kernel_image(x=50, y=60)
        assert ours.obs_info == science.obs_info
        recipe = read_difference_recipe(ours)
        assert {item.id for item in recipe.templates} == {info.dataset_id for info in theirs.templates}
        assert recipe.with_original_mask


def test_empty_sky_has_the_variance_of_the_plane(remade: Any) -> None:
    for ours, _, science in remade:
        bad = [ours.mask.get(name) for name in ("SATURATED", "COSMIC_RAY", "BAD", "NO_DATA", "DETECTED")]
        sky = ~np.any([*bad, science.mask.get("DETECTED")], axis=0)
        pull = ours.image.array[sky] / np.sqrt(ours.variance.array[sky])
        assert np.var(pull) == pytest.approx(1.0, abs=0.03)
        assert np.mean(pull) == pytest.approx(0.0, abs=0.02)


def test_static_stars_leave_no_dipoles(mini_survey: MiniSurvey, remade: Any) -> None:
    static = np.isin(mini_survey.truth["kind"], ("star", "pair"))
    moments = []
    for ours, _, _ in remade:
        positions = mini_survey.truth_positions(mini_survey.template_time)[static]
        point = ours.sky_projection.sky_to_pixel(positions)
        for x, y in zip(np.rint(point.x).astype(int), np.rint(point.y).astype(int), strict=True):
            box = Box.factory[y - 4 : y + 5, x - 4 : x + 5]
            if not ours.bbox.contains(box):
                continue
            stamp = ours[box]
            bad = [stamp.mask.get(name) for name in ("SATURATED", "COSMIC_RAY", "BAD", "NO_DATA", "DETECTED")]
            if np.any(bad):
                continue
            weight = (np.arange(9) - 4.0) * np.exp(-0.5 * (np.hypot(*np.mgrid[-4:5, -4:5]) / 2.5) ** 2)
            for slope in (weight, weight.T):
                noise = np.sqrt(np.sum(slope**2 * stamp.variance.array))
                moments.append(np.sum(slope * stamp.image.array) / noise)
    assert len(moments) > 100
    assert np.std(moments) == pytest.approx(1.0, abs=0.2)
    assert np.mean(moments) == pytest.approx(0.0, abs=4.0 / np.sqrt(len(moments)))


def test_a_part_has_the_bits_of_the_whole(mini_butler: Butler) -> None:
    key = first_key(mini_butler)
    whole = recreate_difference_image(mini_butler, key, threads=2)
    part = recreate_difference_image(mini_butler, key, bbox=PART)
    assert part.bbox == PART
    assert_same_pixels(part, whole[PART])
    assert read_difference_recipe(part).box == PART
    assert read_difference_recipe(whole).box is None
    assert read_difference_recipe(part).with_box(None) == read_difference_recipe(whole)


@pytest.mark.parametrize("kernel", [None, CONSTANT])
def test_a_file_says_how_to_make_it_again(
    mini_butler: Butler, tmp_path: Path, kernel: KernelModel | None
) -> None:
    inputs = DifferenceInputs(kernel=kernel)
    image = recreate_difference_image(mini_butler, first_key(mini_butler), inputs=inputs, bbox=PART)
    uri = write_visit_image(image, tmp_path / "difference.fits")
    again = recreate_from(uri, mini_butler)
    assert isinstance(again, DifferenceImage)
    assert_same_pixels(again, image)
    assert [info.patch for info in again.templates] == [info.patch for info in image.templates]
    recipe = read_difference_recipe(image)
    assert (recipe.original is None) == (kernel is not None)
    if kernel is not None:
        with pytest.raises(InputDataError, match="no kernel was given"):
            make_difference_from_recipe(mini_butler, recipe)
        assert_same_pixels(make_difference_from_recipe(mini_butler, recipe, kernel=image.kernel), image)


def test_a_fitted_kernel_does_as_well_as_the_persisted(mini_butler: Butler, remade: Any) -> None:
    key = first_key(mini_butler)
    fitted = recreate_difference_image(mini_butler, key, inputs=DifferenceInputs(kernel=CONSTANT))
    ours = remade[0][0]
    bad = [ours.mask.get(name) for name in ("SATURATED", "COSMIC_RAY", "BAD", "DETECTED")]
    good = ~np.any(bad, axis=0) & np.isfinite(ours.image.array + fitted.image.array)
    sigma = np.sqrt(ours.variance.array)
    assert np.std((fitted.image.array / sigma)[good]) == pytest.approx(1.0, abs=0.03)
    assert np.std(((fitted.image.array - ours.image.array) / sigma)[good]) < 0.15
    assert not fitted.mask.get("DETECTED").any()


def test_templates_may_be_given_in_any_order(mini_butler: Butler) -> None:
    key = first_key(mini_butler)
    known = recreate_difference_image(mini_butler, key)
    refs = [mini_butler.get_dataset(info.dataset_id) for info in known.templates]
    inputs = DifferenceInputs(kernel=known.kernel, templates=refs[::-1])
    found = recreate_difference_image(mini_butler, key, inputs=inputs)
    assert_allclose(found.image.array, known.image.array, atol=1e-3)
    for info, wanted in zip(found.templates[::-1], known.templates, strict=True):
        assert (info.patch, info.dataset_id) == (wanted.patch, wanted.dataset_id)
        assert info.bounds.area == pytest.approx(wanted.bounds.area, rel=2e-3)
    # A Moffat profile of 2.75 pixels FWHM is narrower in its core than its second moment says.
    fwhm = 2.3548 * (found.templates[0].psf_shape_xx * found.templates[0].psf_shape_yy) ** 0.25
    assert fwhm == pytest.approx(2.75 * 1.09, rel=0.03)


def test_filter_may_be_left_out(mini_butler: Butler) -> None:
    options = SubtractionOptions(decorrelation=Decorrelation.NONE)
    key = first_key(mini_butler)
    found = recreate_difference_image(mini_butler, key, options=options)
    white = recreate_difference_image(mini_butler, key)
    faint = ~found.mask.get("DETECTED") & np.isfinite(found.image.array)
    assert np.nanmedian(found.variance.array) < np.nanmedian(white.variance.array)
    assert np.corrcoef(found.image.array[faint], white.image.array[faint])[0, 1] > 0.99
    assert read_difference_recipe(found).options == options


def test_bad_requests_are_refused(mini_butler: Butler, remade: Any) -> None:
    key = first_key(mini_butler)
    with pytest.raises(RequestTooLargeError, match="4800 pixels, more than 1000"):
        recreate_difference_image(mini_butler, key, bbox=PART, max_pixels=1000)
    with pytest.raises(NoCoverageError, match="is not within the visit image"):
        recreate_difference_image(mini_butler, key, bbox=Box.factory[230:250, 0:9])
    with pytest.raises(DatasetNotFoundError, match="visit_image"):
        recreate_difference_image(mini_butler, key | {"visit": 1})
    with pytest.raises(DatasetNotFoundError, match="no template for the visit image"):
        recreate_difference_image(mini_butler, key, inputs=DifferenceInputs(templates=[]))
    with pytest.raises(UnsupportedProductError, match="DAX_IMAGE RECIPE"):
        recreate_difference_image(mini_butler, key, inputs=DifferenceInputs(science=remade[0][2]))
    with pytest.raises(InputDataError, match="not usable"):
        read_difference_recipe({"DAX_IMAGE RECIPE": "{}"})
    with pytest.raises(UnsupportedProductError, match="not re-created by this library"):
        read_difference_recipe(remade[0][2])
    with pytest.raises(RequestError, match="stars can be used"):
        model = KernelModel(spatial_order=4)
        recreate_difference_image(mini_butler, key, inputs=DifferenceInputs(kernel=model))
