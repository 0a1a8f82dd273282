"""Backgrounds are matched by least squares: exact without noise, with the gauge as said."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from tests.support.mosaics import SCHEMA, make_grid, make_part

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import BackgroundMatch, Combine, MosaicRules, Overlap, make_mosaic
from lsst.dax.image.mosaics._background import add_moments, solve_backgrounds, sum_block
from lsst.dax.image.mosaics._mosaic import make_plan
from lsst.dax.image.mosaics._plan import split_box
from lsst.dax.image.resampling import FluxConvention

SHAPE = (300, 700)


def make_scene(
    grid: TargetGrid, box: Box, level: float, slopes: tuple[float, float], *, dtype: type = np.float64
) -> object:
    """Return part of one sky with a plane on top, level counted in the middle of the grid."""
    y, x = np.mgrid[box.y.start : box.y.stop, box.x.start : box.x.stop]
    sky = np.sin(x / 7.0) * np.cos(y / 9.0)
    plane = level + slopes[0] * (x - grid.bbox.x.center) + slopes[1] * (y - grid.bbox.y.center)
    return make_part(box, grid.sky_projection, value=sky + plane, variance=2.0 + np.cos(x), dtype=dtype)


def make_boxes(starts: list[tuple[int, int]], *, side: int = 160) -> list[Box]:
    return [Box.factory[y : y + side, x : x + side] for y, x in starts]


# A chain, in which each image overlaps its neighbours only, and a knot of four.
CHAIN = make_boxes([(20 * (i % 2), 130 * i) for i in range(5)])
KNOT = make_boxes([(0, 0), (0, 120), (120, 0), (120, 120)])


@pytest.mark.parametrize("boxes", [CHAIN, KNOT], ids=["chain", "knot"])
@pytest.mark.parametrize("combine", [Combine.MEAN, Combine.INVERSE_VARIANCE])
def test_levels_are_recovered(boxes: list[Box], combine: Combine) -> None:
    rng = np.random.default_rng(21)
    grid = make_grid(SHAPE)
    levels = rng.normal(scale=100, size=len(boxes))
    images = [make_scene(grid, box, level, (0, 0)) for box, level in zip(boxes, levels, strict=True)]
    rules = MosaicRules(overlap=Overlap.COMBINE, combine=combine, background=BackgroundMatch.LEVEL)
    mosaic = make_mosaic(images, grid, rules=rules)
    found = mosaic.inputs["background"].to_value(u.nJy)
    np.testing.assert_allclose(found - found[0], levels - levels[0], rtol=0, atol=1e-9)
    assert (mosaic.inputs["background_x"].value == 0).all()
    # The gauge: the mean, weighted with the pixels in common with others, is zero.
    shared = np.zeros(len(boxes))
    for i, one in enumerate(boxes):
        for j, two in enumerate(boxes):
            wide = min(one.x.stop, two.x.stop) - max(one.x.start, two.x.start)
            high = min(one.y.stop, two.y.stop) - max(one.y.start, two.y.start)
            shared[i] += wide * high if i != j and wide > 0 and high > 0 else 0
    assert np.average(found, weights=shared) == pytest.approx(0.0, abs=1e-9)
    # What is left is one sky with one level.
    covered = mosaic.coverage.array > 0
    y, x = np.indices(SHAPE)
    rest = mosaic.masked_image.image.array - np.sin(x / 7.0) * np.cos(y / 9.0)
    assert np.ptp(rest[covered]) < 1e-9


@pytest.mark.parametrize("boxes", [CHAIN, KNOT], ids=["chain", "knot"])
def test_planes_are_recovered(boxes: list[Box]) -> None:
    rng = np.random.default_rng(22)
    grid = make_grid(SHAPE)
    levels, slopes = rng.normal(size=len(boxes)), rng.normal(scale=1e-2, size=(len(boxes), 2))
    images = [make_scene(grid, *each) for each in zip(boxes, levels, slopes, strict=True)]
    rules = MosaicRules(overlap=Overlap.COMBINE, background=BackgroundMatch.PLANE)
    mosaic = make_mosaic(images, grid, rules=rules)
    found = np.array([mosaic.inputs[name].value for name in ("background", "background_x", "background_y")]).T
    truth = np.column_stack([levels, slopes])
    np.testing.assert_allclose(found - found[0], truth - truth[0], rtol=0, atol=1e-9)


def test_groups_without_a_common_pixel_keep_their_own_mean() -> None:
    grid = make_grid(SHAPE)
    boxes = make_boxes([(0, 0), (0, 100), (0, 400), (0, 500)])
    images = [make_scene(grid, box, level, (0, 0)) for box, level in zip(boxes, (1, 3, 50, 70), strict=True)]
    alone = make_scene(grid, Box.factory[200:300, 0:100], 9.0, (0, 0))
    rules = MosaicRules(overlap=Overlap.COMBINE, background=BackgroundMatch.LEVEL)
    found = make_mosaic([*images, alone], grid, rules=rules).inputs["background"].value
    np.testing.assert_allclose(found, [-1, 1, -10, 10, 0], atol=1e-9)


def test_what_the_overlap_does_not_tell_is_zero() -> None:
    # One row in common says nothing of the slopes along y.
    grid = make_grid((200, 200))
    images = [
        make_scene(grid, Box.factory[0:101, 0:200], 5.0, (0.01, 0.0)),
        make_scene(grid, Box.factory[100:200, 0:200], 0.0, (0.0, 0.0)),
    ]
    rules = MosaicRules(overlap=Overlap.COMBINE, background=BackgroundMatch.PLANE)
    mosaic = make_mosaic(images, grid, rules=rules)
    slope = mosaic.inputs["background_x"].value
    np.testing.assert_allclose(slope[0] - slope[1], 0.01, atol=1e-9)
    corrected = mosaic.masked_image.image.array
    y, x = np.indices((200, 200))
    rest = corrected - np.sin(x / 7.0) * np.cos(y / 9.0)
    np.testing.assert_allclose(rest[100], rest[99], atol=0.05)
    assert np.isfinite(corrected).all()


@pytest.mark.parametrize("flux", FluxConvention)
def test_turned_and_scaled_images_are_matched_in_values_of_the_mosaic(flux: FluxConvention) -> None:
    grid = make_grid((300, 300))
    area = {FluxConvention.FLUX: (0.2 / 0.15) ** 2, FluxConvention.SURFACE_BRIGHTNESS: 1.0}[flux]
    fine = make_grid((320, 320), pixel_scale=0.15 * u.arcsec, rotation=15 * u.deg)
    images = [
        make_part(grid.bbox, grid.sky_projection, value=5.0),
        make_part(fine.bbox, fine.sky_projection, value=2.0),
    ]
    rules = MosaicRules(background=BackgroundMatch.LEVEL, flux_convention=flux)
    mosaic = make_mosaic(images, grid, rules=rules)
    found = mosaic.inputs["background"].value
    assert found[0] - found[1] == pytest.approx(5.0 - 2.0 * area, rel=1e-5)
    assert np.ptp(mosaic.masked_image.image.array) < 1e-4


def test_excluded_pixels_do_not_tell_the_background() -> None:
    grid = make_grid((100, 100))
    images = [make_scene(grid, grid.bbox, level, (0, 0)) for level in (0.0, 4.0)]
    images[1].image.array[:50] += 1e6
    images[1].mask.set("BAD", np.indices((100, 100))[0] < 50)
    rules = MosaicRules(
        overlap=Overlap.COMBINE, background=BackgroundMatch.LEVEL, exclude_planes=(SCHEMA[0].name,)
    )
    found = make_mosaic(images, grid, rules=rules).inputs["background"].value
    np.testing.assert_allclose(found, [-2, 2], atol=1e-9)


def test_planes_of_small_images_in_a_large_mosaic_are_recovered() -> None:
    # 1000 pixels of a grid of 200 000: only the images are computed.
    grid = make_grid((200_000, 200_000))
    boxes = [Box.factory[190_000:190_100, 195_000 + 80 * i : 195_100 + 80 * i] for i in range(12)]
    rng = np.random.default_rng(23)
    levels, slopes = rng.normal(size=12), rng.normal(scale=1e-2, size=(12, 2))
    corner = TargetGrid(grid.sky_projection, Box.factory[190_000:190_100, 195_000:196_000])
    images = [make_scene(corner, *each) for each in zip(boxes, levels, slopes, strict=True)]
    rules = MosaicRules(overlap=Overlap.COMBINE, background=BackgroundMatch.PLANE)
    plan = make_plan(images, grid, rules)
    blocks = list(split_box(corner.bbox, 512))
    moments = add_moments(sum_block(plan, block, dict(enumerate(images))) for block in blocks)
    found = solve_backgrounds(plan, moments)
    truth = np.column_stack([levels, slopes])
    # From the middle of the grid to that of the corner.
    found[:, 0] += found[:, 1:] @ [
        corner.bbox.x.center - grid.bbox.x.center,
        corner.bbox.y.center - grid.bbox.y.center,
    ]
    np.testing.assert_allclose(found - found[0], truth - truth[0], rtol=0, atol=1e-8)
