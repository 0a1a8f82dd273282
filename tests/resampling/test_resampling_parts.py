"""Parts of sources and of grids: the same bits as the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.images import Box, MaskedImage, SkyProjection
from tests.support.resampling import make_sip_projection, make_source, make_tan
from tests.support.resampling_oracle import exact_positions

from lsst.dax.image.errors import NoCoverageError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import Kernel, MaskRule, MissingRule, Resampled, resample

SHAPE = (420, 450)


def make_whole(projection: SkyProjection[Any], seed: int = 3) -> MaskedImage:
    """Return noise with some bad pixels, some missing ones, and an edge."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(100, 10, SHAPE)
    pixels[rng.random(SHAPE) < 2e-4] = np.nan
    source = make_source(pixels, projection, variance=rng.uniform(1, 2, SHAPE), x0=-37, y0=211)
    source.mask.set("BAD", rng.random(SHAPE) < 0.01)
    source.mask.set("DETECTION_EDGE", rng.random(SHAPE) < 0.001)
    return source


def bent(scale: float) -> SkyProjection[Any]:
    """Return a distorted projection whose scale changes by some hundredths over the source."""
    return make_sip_projection(shape=(500, 500), scale=scale)


def assert_same_bits(one: Resampled, two: Resampled, pixels: np.ndarray) -> None:
    """Compare pixels of two results on one box, NaN included."""
    for plane in ("image", "variance", "mask"):
        arrays = [np.ascontiguousarray(getattr(r.masked_image, plane).array[pixels]) for r in (one, two)]
        assert arrays[0].tobytes() == arrays[1].tobytes(), plane
    assert one.coverage.array[pixels].tobytes() == two.coverage.array[pixels].tobytes()


def random_box(rng: np.random.Generator, box: Box, smallest: int) -> Box:
    ends = []
    for axis in (box.y, box.x):
        size = int(rng.integers(smallest, axis.size + 1))
        start = axis.start + int(rng.integers(0, axis.size - size + 1))
        ends.append(slice(start, start + size))
    return Box.factory[ends[0], ends[1]]


def check_parts(
    source: MaskedImage, grid: TargetGrid, reach: float, seed: int, **options: Any
) -> tuple[Resampled, int]:
    """Resample random parts of a source to random parts of a grid; return the whole and how much agreed."""
    rng = np.random.default_rng(seed)
    whole = resample(source, grid, **options)
    x, y = exact_positions(source, grid)
    x, y = x + source.bbox.x.start, y + source.bbox.y.start
    compared = 0
    for _ in range(12):
        part, box = random_box(rng, source.bbox, 30), random_box(rng, grid.bbox, 20)
        try:
            found = resample(source[part], TargetGrid(grid.sky_projection, box), **options)
        except NoCoverageError:
            continue
        here = box.slice_within(grid.bbox)
        held = (x[here] > part.x.start + reach) & (x[here] < part.x.stop - 1 - reach)
        held &= (y[here] > part.y.start + reach) & (y[here] < part.y.stop - 1 - reach)
        same = Resampled(whole.masked_image[box], 0.0, False, False, whole.coverage[box].array)
        assert_same_bits(found, same, held)
        compared += int(held.sum())
    return whole, compared


@pytest.mark.parametrize("missing", MissingRule)
@pytest.mark.parametrize("kernel", Kernel)
def test_parts_of_a_source(kernel: Kernel, missing: MissingRule) -> None:
    source = make_whole(bent(0.1999))
    grid = TargetGrid(make_tan(rotation=27.0), Box.factory[-190:190, -200:210])
    reach = kernel.half_width + 1.0
    whole, compared = check_parts(source, grid, reach, 5, kernel=kernel, missing_rule=missing)
    assert compared > 30_000
    assert not whole.is_stretched
    assert 0.2 < whole.coverage.array.mean() < 0.95


@pytest.mark.parametrize("rule", MaskRule)
@pytest.mark.parametrize("scale", [0.205, 0.214, 0.216, 0.22, 0.5, 1.3])
def test_parts_around_the_scale_at_which_kernels_are_stretched(scale: float, rule: MaskRule) -> None:
    source = make_whole(bent(0.2))
    half = int(230 * 0.2 / scale)
    grid = TargetGrid(make_tan(rotation=10.0, scale=scale), Box.factory[-half:half, -half:half])
    reach = 3.2 * 1.5 * scale / 0.2
    whole, compared = check_parts(source, grid, reach, 6, mask_rule=rule)
    assert compared > 100
    assert whole.is_stretched == (scale > 0.205)


def test_stretching_begins_within_an_image() -> None:
    source = make_whole(bent(0.2))
    grid = TargetGrid(make_tan(rotation=10.0, scale=0.216), Box.factory[-192:192, -192:192])
    whole = resample(source, grid).masked_image
    assert resample(source, grid).is_stretched
    kept = []
    for y in range(-128, 128, 64):
        for x in range(-128, 128, 64):
            box = Box.factory[y : y + 64, x : x + 64]
            try:
                found = resample(source, TargetGrid(grid.sky_projection, box))
            except NoCoverageError:
                continue
            assert found.masked_image.image.array.tobytes() == whole[box].image.array.tobytes()
            kept.append(found.is_stretched)
    assert {True, False} == set(kept)


def test_nearly_the_same_grid_is_copied_or_not_wherever_it_is_cut() -> None:
    # Off by 1e-7 pixel at some place within the image.
    tan = make_tan(x=100.0, y=300.0, scale=0.2)
    source = make_whole(tan)
    near = make_tan(x=100.0, y=300.0, scale=0.2 * (1.0 + 8e-10))
    grid = TargetGrid(near, source.bbox)
    whole, compared = check_parts(source, grid, 4.0, 7)
    assert compared > 50_000
    assert not whole.is_exact_copy
    middle = Box.factory[256:320, 64:128]
    assert whole.masked_image[middle].image.array.tobytes() == source[middle].image.array.tobytes()
    assert whole.masked_image.image.array.tobytes() != source.image.array.tobytes()


def test_quarter_turns_of_parts() -> None:
    source = make_whole(make_tan(x=150.0, y=400.0))
    grid = TargetGrid(make_tan(rotation=90.0), Box.factory[-230:230, -230:230])
    whole, compared = check_parts(source, grid, 0.0, 8)
    assert compared > 50_000
    assert whole.is_exact_copy
