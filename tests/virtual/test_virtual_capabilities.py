"""What the rooms do with stored products, they do with products that were never stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage
from tests.support.virtual_survey import OpenVirtual, VirtualSurvey

from lsst.dax.image.coadds import Recipe, Statistic, fetch_coadd
from lsst.dax.image.cutouts import Detail, fetch_cutout, fetch_stamps
from lsst.dax.image.forced import ImageSearch, fetch_light_curves
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import MosaicRules, Overlap, fetch_mosaic, find_mosaic_grid
from lsst.dax.image.regression import SINGLE_PRECISION, compare_images
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.virtual import CoaddProduct, MosaicProduct, VirtualButler

RECIPE = Recipe(name="all r", statistic=Statistic.MEAN)
MARGIN = 8
"""Pixels around a target grid that a resampling kernel may reach."""


def find_middle(butler: Butler) -> SkyCoord:
    """Return the middle of a detector in the r band, around which cells are covered."""
    geometry = fetch_geometry(butler, find_datasets(butler, "visit_image", bands="r")[0])
    position: SkyCoord = geometry.sky_projection.pixel_to_sky(x=256.0, y=120.0)
    return position


def assert_equal(made: Any, stored: Any) -> None:
    compare_images(made, stored).assert_equivalent(SINGLE_PRECISION)


def test_cutouts(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    refs = find_datasets(virtual_butler, "visit_image")
    originals = find_datasets(stored_butler, "visit_image")
    geometry = fetch_geometry(stored_butler, originals[0])
    place = geometry.sky_projection.pixel_to_sky(x=200.0, y=100.0)
    circle = f"CIRCLE {place.ra.deg} {place.dec.deg} 0.0005"
    for detail in (Detail.IMAGE, Detail.MASKED_IMAGE, Detail.FULL):
        made = fetch_cutout(virtual_butler, refs[0], circle, detail=detail)
        stored = fetch_cutout(stored_butler, originals[0], circle, detail=detail)
        assert made.bbox == stored.bbox
        assert made.header["BTLRUUID"] == refs[0].id.hex
        if detail is Detail.IMAGE:
            np.testing.assert_allclose(made.image.array, stored.image.array, rtol=1e-6)
        else:
            assert_equal(made.image, stored.image)
    # Three times the same box, of which only the first was made.
    assert virtual_butler.n_pixels_made == {"visit_image": made.bbox.area}


def test_stamps(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    refs = find_datasets(virtual_butler, "visit_image", bands="r")
    originals = find_datasets(stored_butler, "visit_image", bands="r")
    positions = fetch_geometry(stored_butler, originals[0]).sky_projection.pixel_to_sky(
        x=np.array([60.0, 300.0, 3.0]), y=np.array([80.0, 120.0, 200.0])
    )
    made = list(fetch_stamps(virtual_butler, refs, positions, size=21, with_psf=True))
    stored = list(fetch_stamps(stored_butler, originals, positions, size=21, with_psf=True))
    made.sort(key=lambda stamp: (stamp.ref.id.hex, stamp.index))
    names = {ref.id: other.id for ref, other in zip(originals, refs, strict=True)}
    stored.sort(key=lambda stamp: (names[stamp.ref.id].hex, stamp.index))
    assert [stamp.flags for stamp in made] == [stamp.flags for stamp in stored]
    good = [pair for pair in zip(made, stored, strict=True) if pair[1].image is not None]
    assert len(good) >= 3
    for one, other in good:
        np.testing.assert_allclose(one.image.image.array, other.image.image.array, rtol=1e-6)
        assert np.array_equal(one.psf.array, other.psf.array)
    # The stamp at the edge has 14 of its 21 columns on the image.
    assert virtual_butler.n_pixels_made["visit_image"] == sum(
        np.isfinite(stamp.image.image.array).sum() for stamp, _ in good
    )


def test_mosaics(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    refs = find_datasets(virtual_butler, "visit_image", bands="r")
    originals = find_datasets(stored_butler, "visit_image", bands="r")
    whole = find_mosaic_grid([fetch_geometry(stored_butler, ref) for ref in originals])
    y, x = whole.bbox.y.start + 100, whole.bbox.x.start + 450
    grid = TargetGrid(whole.sky_projection, Box.factory[y : y + 60, x : x + 140])
    made = fetch_mosaic(virtual_butler, refs, grid)
    stored = fetch_mosaic(stored_butler, originals, grid)
    assert (stored.inputs["n_pixels"] > 100).all()
    assert_equal(made.masked_image, stored.masked_image)
    # What is made are the pixels around the grid, and one of each image to see what it is.
    most = len(refs) * (60 + 2 * MARGIN) * (140 + 2 * MARGIN)
    assert 60 * 100 < virtual_butler.n_pixels_made["visit_image"] < most


def test_coadds(virtual_butler: VirtualButler, stored_butler: Butler, virtual_survey: VirtualSurvey) -> None:
    recipe = RECIPE.with_selection(bands=("r",))
    sky_map, tract = virtual_survey.survey.config.sky_map, virtual_survey.survey.tract
    projection = sky_map.tract_sky_projection(tract)
    middle = projection.sky_to_pixel(find_middle(stored_butler))
    y, x = round(float(middle.y)), round(float(middle.x))
    grid = TargetGrid(projection, Box.factory[y - 10 : y + 30, x - 40 : x + 20])
    made = fetch_coadd(virtual_butler, recipe, grid)
    stored = fetch_coadd(stored_butler, recipe, grid)
    assert np.isfinite(stored.image.image.array).mean() > 0.5
    np.testing.assert_allclose(made.image.image.array, stored.image.image.array, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(made.image.variance.array, stored.image.variance.array, rtol=1e-5)
    assert np.array_equal(made.image.mask.array, stored.image.mask.array)
    # Whole cells of 50 pixels and the padding around them, of two detectors.
    side = sky_map.cell_size
    most = 2 * (3 * side + 2 * recipe.cells.padding_px + 2 * MARGIN) ** 2
    assert 0 < virtual_butler.n_pixels_made["visit_image"] < most


def test_light_curves(
    virtual_butler: VirtualButler, stored_butler: Butler, virtual_survey: VirtualSurvey
) -> None:
    center = virtual_survey.survey.config.center_position
    targets = SkyCoord(center.ra + [-12.0, 9.0] * u.arcsec, center.dec + [3.0, -4.0] * u.arcsec)
    search = ImageSearch(dataset_types=("visit_image",))
    made = fetch_light_curves(virtual_butler, targets, images=search)
    stored = fetch_light_curves(stored_butler, targets, images=search)
    assert len(made) == len(stored) >= 3
    assert made["visit"].tolist() == stored["visit"].tolist()
    assert made["flags"].tolist() == stored["flags"].tolist()
    pull = ((made["flux"] - stored["flux"]) / stored["flux_err"]).to_value(u.one)
    assert np.isfinite(pull).any()
    assert np.nanmax(np.abs(pull)) < 0.01
    whole = sum(
        fetch_geometry(stored_butler, ref).bbox.area for ref in find_datasets(stored_butler, "visit_image")
    )
    assert virtual_butler.n_pixels_made["visit_image"] < 0.2 * whole


def test_a_coadd_of_what_was_never_stored_is_cut(open_virtual: OpenVirtual, stored_butler: Butler) -> None:
    recipe = RECIPE.with_selection(bands=("r",))
    butler = open_virtual(CoaddProduct("mean_coadd", recipe))
    center = find_middle(stored_butler)
    refs = find_datasets(butler, "mean_coadd", region=center)
    assert {ref.dataId["band"] for ref in refs} == {"r"}
    circle = f"CIRCLE {center.ra.deg} {center.dec.deg} 0.0008"
    cutout = fetch_cutout(butler, refs[0], circle)
    geometry = fetch_geometry(butler, refs[0])
    assert geometry.bbox.contains(cutout.bbox)
    assert cutout.bbox.area < butler.n_pixels_made["mean_coadd"] < 0.6 * geometry.bbox.area
    original = fetch_coadd(stored_butler, recipe, TargetGrid(geometry.sky_projection, cutout.bbox))
    np.testing.assert_allclose(
        cutout.image.image.array[~cutout.image.mask.get("NO_DATA")],
        original.image.image.array[~cutout.image.mask.get("NO_DATA")],
        rtol=1e-5,
        atol=1e-3,
    )


def test_a_mosaic_of_what_was_never_stored_is_that_of_the_stored(
    open_virtual: OpenVirtual, stored_butler: Butler
) -> None:
    rules = MosaicRules(overlap=Overlap.MEAN)
    product = MosaicProduct("visit_mosaic", "visit_image", ("instrument", "visit"), rules)
    butler = open_virtual(product)
    ref = find_datasets(butler, "visit_mosaic", bands="r")[0]
    visit = dict(ref.dataId.required)
    originals = find_datasets(stored_butler, "visit_image", data_id=visit)
    grid = find_mosaic_grid([fetch_geometry(stored_butler, item) for item in originals])
    stored = fetch_mosaic(stored_butler, originals, grid, rules=rules).masked_image
    box = Box.factory[
        grid.bbox.y.start + 80 : grid.bbox.y.start + 140, grid.bbox.x.start + 470 : grid.bbox.x.start + 570
    ]
    part = butler.get(ref, parameters={"bbox": box})
    assert type(part) is MaskedImage
    assert_equal(part, stored[box])
    assert butler.n_pixels_made["visit_mosaic"] == box.area
    assert butler.n_pixels_made["visit_image"] < 2.0 * box.area


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor])
def test_threads_make_what_one_makes(
    pool: type[ThreadPoolExecutor] | None, virtual_butler: VirtualButler, stored_butler: Butler
) -> None:
    refs = find_datasets(virtual_butler, "visit_image")
    position = fetch_geometry(virtual_butler, refs[0]).sky_projection.pixel_to_sky(x=100.0, y=100.0)
    executor = None if pool is None else pool(3)
    stamps = list(fetch_stamps(virtual_butler, refs, position, size=9, executor=executor))
    if executor is not None:
        executor.shutdown()
    found = [stamp for stamp in stamps if stamp.image is not None]
    assert found
    for stamp in found:
        original = stored_butler.get("visit_image", stamp.ref.dataId)
        overlap = stamp.image.bbox.intersection(original.bbox)
        np.testing.assert_allclose(stamp.image.image[overlap].array, original.image[overlap].array, rtol=1e-6)
