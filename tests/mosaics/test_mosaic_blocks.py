"""Parts and tiles of a mosaic have the bits of the whole, also where kernels begin to be stretched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, MaskedImage
from tests.support.mosaics import assert_same_bits
from tests.support.resampling import make_sip_projection, make_source, make_tan

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    Combine,
    Mosaic,
    MosaicRules,
    Overlap,
    fetch_mosaic,
    make_mosaic,
    write_mosaic,
)
from lsst.dax.image.repository import find_datasets, opened_dataset
from lsst.dax.image.resampling import find_local_maps

# Kernels are stretched where a target pixel is longer than 1.1 source pixels.
LIMIT = 1.1


def draw_box(rng: np.random.Generator, box: Box) -> Box:
    """Return a random part of a box."""
    ends = []
    for axis in (box.y, box.x):
        first, last = np.sort(rng.choice(axis.size + 1, 2, replace=False)) + axis.start
        ends.append(slice(int(first), int(last)))
    return Box.factory[ends[0], ends[1]]


def assert_part(part: Mosaic, whole: Mosaic) -> None:
    """Check that a mosaic is what another one has on its pixels."""
    box = part.grid.bbox
    assert_same_bits(part.masked_image, whole.masked_image[box])
    np.testing.assert_array_equal(part.coverage.array, whole.coverage[box].array)


def find_stretches(image: MaskedImage, grid: TargetGrid) -> np.ndarray:
    """Return the largest scales of the pixels of a grid, in pixels of an image."""
    mesh = grid.bbox.meshgrid()
    x, y = mesh.x[::20, ::20].ravel().astype(float), mesh.y[::20, ::20].ravel().astype(float)
    maps = find_local_maps(image.sky_projection, grid.sky_projection, x=x, y=y)
    here = image.bbox.contains(x=maps.positions[:, 0], y=maps.positions[:, 1])
    return np.linalg.svd(maps.matrices[here], compute_uv=False)[:, 0]


@pytest.mark.parametrize(
    "rules",
    [
        MosaicRules(),
        MosaicRules(combine=Combine.MEDIAN, overlap=Overlap.COMBINE),
        MosaicRules(combine=Combine.MEAN, overlap=Overlap.COMBINE, feather_px=9),
    ],
    ids=["default", "median", "feathered"],
)
def test_parts_in_memory(rules: MosaicRules) -> None:
    rng = np.random.default_rng(6)
    images = []
    for ra in (149.995, 150.005):
        shape = (400, 420)
        image = make_source(
            rng.normal(size=shape),
            make_sip_projection(shape=(500, 500), scale=0.2, ra=ra),
            variance=rng.uniform(1, 2, shape),
        )
        image.mask.set("BAD", rng.random(shape) < 0.01)
        images.append(image)
    # Four blocks of 512 pixels meet within the grid.
    grid = TargetGrid(make_tan(x=512, y=-512, scale=0.216, rotation=10.0), Box.factory[-690:-330, 330:680])
    stretches = find_stretches(images[0], grid)
    assert (stretches < 0.99 * LIMIT).any()
    assert (stretches > 1.01 * LIMIT).any()
    whole = make_mosaic(images, grid, rules=rules)
    assert (whole.coverage.array == 2).sum() > 10_000
    covered = 0
    for _ in range(8):
        box = draw_box(rng, grid.bbox)
        part = TargetGrid(grid.sky_projection, box)
        if not whole.coverage[box].array.any():
            continue
        assert_part(make_mosaic(images, part, rules=rules), whole)
        covered += int((whole.coverage[box].array > 0).sum())
    assert covered > 50_000


@pytest.fixture
def visits(mini_butler: Butler) -> list[DatasetRef]:
    return find_datasets(mini_butler, "visit_image", bands=["r"])


def read_images(butler: Butler, refs: list[DatasetRef]) -> list[MaskedImage]:
    """Read whole images."""
    images = []
    for ref in refs:
        with opened_dataset(butler, ref) as reader:
            image = reader.read_masked_image(reader.geometry.bbox)
        assert isinstance(image, MaskedImage)
        images.append(image)
    return images


@pytest.mark.parametrize("ratio", [0.98, 1.0, 1.02, 2.3])
def test_tiles_of_a_repository(
    mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path, ratio: float
) -> None:
    images = read_images(mini_butler, visits)
    projection = images[0].sky_projection
    assert projection is not None
    center = projection.pixel_to_sky(x=images[0].bbox.x.center, y=images[0].bbox.y.center)

    def make_grid(scale: float) -> TargetGrid:
        # Where tiles of 1024 pixels meet, those of 512 do.
        tan = make_tan(ra=center.ra.deg, dec=center.dec.deg, x=1024, y=1024, scale=scale, rotation=17.0)
        half = int(250 * 0.2 / scale)
        return TargetGrid(tan, Box.factory[1024 - half : 1024 + half, 1030 - half : 1030 + half])

    scale = 0.2 * LIMIT / np.median(find_stretches(images[0], make_grid(0.2)))
    grid = make_grid(ratio * scale)
    stretches = find_stretches(images[0], grid)
    assert ((stretches > LIMIT).any(), (stretches < LIMIT).any()) == (ratio >= 1.0, ratio <= 1.0)
    made = make_mosaic(images, grid)
    assert (made.coverage.array > 0).mean() > 0.3
    assert_part(fetch_mosaic(mini_butler, visits, grid), made)
    for size in (512, 1536):
        path = tmp_path / f"{size}.fits"
        write_mosaic(mini_butler, visits, grid, path, tile_size=size)
        assert_same_bits(MaskedImage.read(str(path)), made.masked_image)
    rng = np.random.default_rng(round(100 * ratio))
    for _ in range(3):
        box = draw_box(rng, grid.bbox)
        if made.coverage[box].array.any():
            assert_part(fetch_mosaic(mini_butler, visits, TargetGrid(grid.sky_projection, box)), made)
