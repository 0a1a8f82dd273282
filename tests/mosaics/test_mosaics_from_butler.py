"""Mosaics of the datasets of a repository."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, MaskedImage
from tests.support.mosaics import assert_same_bits, make_grid

from lsst.dax.image.errors import (
    NoCoverageError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, TargetGrid
from lsst.dax.image.mosaics import (
    BackgroundMatch,
    Mosaic,
    MosaicRules,
    fetch_mosaic,
    find_mosaic_grid,
    make_mosaic,
)
from lsst.dax.image.repository import fetch_geometry, find_datasets, opened_dataset
from lsst.dax.image.simulation import MiniSurvey

RULES = MosaicRules(background=BackgroundMatch.PLANE, feather_px=12)


def read_images(butler: Butler, refs: list[DatasetRef]) -> list[MaskedImage]:
    """Read whole images."""
    images = []
    for ref in refs:
        with opened_dataset(butler, ref) as reader:
            image = reader.read_masked_image(reader.geometry.bbox)
        assert isinstance(image, MaskedImage)
        images.append(image)
    return images


def assert_same_mosaic(one: Mosaic, two: Mosaic) -> None:
    assert_same_bits(one.masked_image, two.masked_image)
    np.testing.assert_array_equal(one.coverage.array, two.coverage.array)
    for name in one.inputs.colnames[1:]:
        np.testing.assert_array_equal(one.inputs[name], two.inputs[name], err_msg=name)


@pytest.fixture
def visits(mini_butler: Butler) -> list[DatasetRef]:
    return find_datasets(mini_butler, "visit_image", bands=["r"])


@pytest.fixture
def fine_grid(mini_butler: Butler, visits: list[DatasetRef]) -> TargetGrid:
    """Return a grid of six blocks around all visits."""
    geometries = [fetch_geometry(mini_butler, ref) for ref in visits]
    return find_mosaic_grid(geometries, pixel_scale=0.1 * u.arcsec)


def test_patches_of_a_tract_are_copied_to_the_bit(mini_butler: Butler) -> None:
    refs = find_datasets(mini_butler, "deep_coadd", bands=["r"])
    images = read_images(mini_butler, refs)
    grid = find_mosaic_grid(images)
    mosaic = fetch_mosaic(mini_butler, refs, grid)
    assert mosaic.masked_image.unit == u.nJy
    assert mosaic.inputs["dataset"].tolist() == [ref.id.hex for ref in refs]
    # Inner regions of 200 pixels meet at x = 1200.
    inner_boxes = (Box.factory[950:1250, 950:1200], Box.factory[950:1250, 1200:1450])
    for image, inner in zip(images, inner_boxes, strict=True):
        assert_same_bits(mosaic.masked_image[inner], image[inner])


def test_a_stencil_on_a_tract_reads_its_box(mini_butler: Butler) -> None:
    refs = find_datasets(mini_butler, "deep_coadd", bands=["i"])
    whole = fetch_mosaic(mini_butler, refs, find_mosaic_grid(read_images(mini_butler, refs)))
    circle = CircleStencil(whole.grid.center, 8 * u.arcsec)
    part = fetch_mosaic(mini_butler, refs, circle)
    assert part.grid.bbox == circle.to_pixels(whole.grid.sky_projection, whole.grid.bbox).bbox
    assert_same_bits(part.masked_image, whole.masked_image[part.grid.bbox])


def test_what_is_fetched_is_what_is_made_of_whole_images(
    mini_butler: Butler, visits: list[DatasetRef], fine_grid: TargetGrid
) -> None:
    assert fine_grid.bbox.area > 2 * 512**2
    made = make_mosaic(read_images(mini_butler, visits), fine_grid, rules=RULES)
    assert_same_mosaic(fetch_mosaic(mini_butler, visits, fine_grid, rules=RULES), made)
    with ThreadPoolExecutor(2) as executor:
        threads = fetch_mosaic(mini_butler, visits, fine_grid, rules=RULES, executor=executor)
    assert_same_mosaic(threads, made)


def test_processes_give_the_same(mini_butler: Butler) -> None:
    refs = find_datasets(mini_butler, "visit_image", bands=["g"])[:3]
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs])
    alone = fetch_mosaic(mini_butler, refs, grid, rules=RULES)
    with ProcessPoolExecutor(1) as executor:
        assert_same_mosaic(fetch_mosaic(mini_butler, refs, grid, rules=RULES, executor=executor), alone)


def find_centroid(image: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Return the position of a star under a Gaussian window of its size, found by iteration."""
    rows, columns = np.mgrid[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9]
    part = image[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9]
    for _ in range(30):
        window = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / 2.0**2) * part
        x += 2 * (np.sum(window * (columns - x)) / window.sum())
        y += 2 * (np.sum(window * (rows - y)) / window.sum())
    return x, y


def test_stars_of_a_focal_plane_are_where_they_are(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    visit = find_datasets(mini_butler, "visit_image", bands=["r"])[0].dataId["visit"]
    refs = find_datasets(mini_butler, "visit_image", data_id={"visit": visit})
    assert len(refs) == 2
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs], pixel_scale=0.2 * u.arcsec)
    mosaic = fetch_mosaic(mini_butler, refs, grid)
    timespan = refs[0].dataId.timespan
    time = timespan.begin + (timespan.end - timespan.begin) / 2
    positions, fluxes = mini_survey.truth_positions(time), mini_survey.truth_fluxes("r", time).to_value(u.nJy)
    found = grid.sky_projection.sky_to_pixel(positions)
    kind = mini_survey.truth["kind"]
    image = mosaic.masked_image.image.array
    misses = []
    for index in np.flatnonzero((kind == "star") & (fluxes > 2e4) & (fluxes < 3e5)):
        x, y = float(found.x[index]), float(found.y[index])
        apart = np.hypot(found.x - x, found.y - y)
        apart[index] = np.inf
        if not (12 < x < grid.bbox.x.size - 12 and 12 < y < grid.bbox.y.size - 12):
            continue
        near = image[int(y) - 9 : int(y) + 10, int(x) - 9 : int(x) + 10]
        if np.isfinite(near).all() and not (fluxes[apart < 14] > 0.01 * fluxes[index]).any():
            misses.append(np.subtract(find_centroid(image, x, y), (x, y)))
    assert len(misses) >= 3
    assert np.abs(np.median(misses, axis=0)).max() < 0.05
    assert np.hypot(*np.transpose(misses)).max() < 0.2
    # Both detectors are there, with what each of them has.
    assert (mosaic.inputs["n_pixels"] > 40000).all()


def test_what_cannot_be_done_is_refused(mini_butler: Butler, visits: list[DatasetRef]) -> None:
    far = make_grid((30, 30))
    with pytest.raises(NoCoverageError, match="None of 6 images overlaps the grid of 30 x 30"):
        fetch_mosaic(mini_butler, visits, far)
    with pytest.raises(RequestTooLargeError, match="30 x 30 = 900 pixels; 899"):
        fetch_mosaic(mini_butler, visits, far, max_pixels=899)
    grid = fetch_geometry(mini_butler, visits[0])
    here = TargetGrid(grid.sky_projection, grid.bbox)
    with pytest.raises(UnsupportedProductError, match=r"visit_image.mask .* is a mask"):
        fetch_mosaic(mini_butler, [visits[0].makeComponentRef("mask")], here)
    with pytest.raises(RequestError, match="one of 1 has no variance"):
        fetch_mosaic(mini_butler, [visits[0].makeComponentRef("image")], here)
    with pytest.raises(RequestError, match="one image or more, not for none"):
        fetch_mosaic(mini_butler, [], "CIRCLE 150 2 0.01")
    with pytest.raises(RequestError, match="one image or more, not of none"):
        fetch_mosaic(mini_butler, [], here)
