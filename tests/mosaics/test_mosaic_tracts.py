"""Patches of several tracts, and images that have no place on the sky."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from lsst.images import Box, MaskedImage
from tests.support.mosaics import CENTER, assert_same_bits, make_grid, make_part, split_patches

from lsst.dax.image.container import read_plain_image
from lsst.dax.image.errors import InputDataError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    Combine,
    MosaicRules,
    Overlap,
    VarianceRule,
    find_mosaic_grid,
    make_mosaic,
)
from lsst.dax.image.resampling import Kernel, resample

# Tangent points of two tracts, and where they meet.
WEST, EAST = (
    make_grid((1, 1), center=CENTER.directional_offset_by(a * u.deg, 0.7 * u.deg)) for a in (270, 90)
)
SIGMA = 1.9 * u.arcsec
KERNEL = Kernel.LANCZOS3_MOMENTS


def draw_sky(grid: TargetGrid) -> np.ndarray:
    """Return stars of one width on a constant sky, the same for all grids."""
    stars = CENTER.spherical_offsets_by([-22, -8, 3, 17, 24] * u.arcsec, [5, -13, 9, -4, 12] * u.arcsec)
    y, x = np.indices(tuple(grid.shape))
    sky = grid.sky_projection.pixel_to_sky(x=x.ravel() + grid.bbox.x.start, y=y.ravel() + grid.bbox.y.start)
    image = np.full(x.size, 10.0)
    for number, star in enumerate(stars):
        image += (number + 1) * 100 * np.exp(-0.5 * (sky.separation(star) / SIGMA).to_value(u.one) ** 2)
    return image.reshape(tuple(grid.shape))


def make_tract(tangent: TargetGrid, columns: tuple[int, int], variance: float) -> MaskedImage:
    """Return part of a tract around where the two meet."""
    middle = tangent.sky_projection.sky_to_pixel(CENTER)
    x, y = round(float(middle.x)), round(float(middle.y))
    grid = TargetGrid(tangent.sky_projection, Box.factory[y - 110 : y + 110, x + columns[0] : x + columns[1]])
    return make_part(grid.bbox, grid.sky_projection, value=draw_sky(grid), variance=variance)


@pytest.fixture(scope="module")
def tracts() -> tuple[MaskedImage, MaskedImage]:
    """Return two tracts that overlap by some hundred columns; the sky's east is at small x."""
    return make_tract(WEST, (-60, 160), 1.0), make_tract(EAST, (-160, 60), 4.0)


@pytest.mark.parametrize("variance", VarianceRule)
def test_patches_of_two_tracts_make_one_sky(
    tracts: tuple[MaskedImage, MaskedImage], variance: VarianceRule
) -> None:
    west, east = tracts
    patches = [*split_patches(west, inner=100, border=10), *split_patches(east, inner=100, border=10)]
    # The tract of the first patch is that of the mosaic: its own patches stay as they are.
    x, y = west.bbox.x, west.bbox.y
    grid = TargetGrid(west.sky_projection, Box.factory[y.start : y.stop, x.start - 100 : x.stop])
    # The plain kernel shifts what is as smooth as this by some hundredths of a pixel.
    mosaic = make_mosaic(patches, grid, rules=MosaicRules(variance=variance, kernel=KERNEL))
    image, coverage = mosaic.masked_image, mosaic.coverage.array
    truth = draw_sky(grid)
    good = coverage > 0
    assert good.mean() > 0.9
    np.testing.assert_allclose(image.image.array[good], truth[good], rtol=2e-3, atol=0.05)
    # Where there are patches of one tract only, they count as they are.
    only_west = Box.factory[y.start + 10 : y.stop - 10, x.start + 135 : x.stop - 5]
    assert_same_bits(image[only_west], west[only_west])
    only_east = Box.factory[y.start + 30 : y.stop - 30, x.start - 90 : x.start - 5]
    joined = make_mosaic(split_patches(east, inner=100, border=10), grid_of(east)).masked_image
    assert_same_bits(
        image[only_east],
        resample(joined, TargetGrid(grid.sky_projection, only_east), kernel=KERNEL).masked_image,
    )
    # Where both count, their variances are not those of independent images unless it is said.
    both = np.s_[60:160, 130:180]
    assert (coverage[both] == 2).all()
    moved = resample(east, grid, kernel=KERNEL).masked_image.variance.array[both]
    weights = np.stack([np.ones_like(moved), 1 / moved])
    power = 2 if variance is VarianceRule.INDEPENDENT else 1
    variances = np.stack([np.ones_like(moved), moved])
    expected = (weights**power * variances).sum(axis=0) / weights.sum(axis=0) ** power
    np.testing.assert_allclose(image.variance.array[both], expected, rtol=1e-5)
    assert mosaic.inputs["weight"].sum() == pytest.approx(good.sum(), rel=1e-5)


def grid_of(image: MaskedImage) -> TargetGrid:
    assert image.sky_projection is not None
    return TargetGrid(image.sky_projection, image.bbox)


def test_feathered_tracts_have_no_step_at_a_seam(tracts: tuple[MaskedImage, MaskedImage]) -> None:
    west, east = tracts
    raised = west.copy()
    raised.image.array[...] += 50.0
    x, y = west.bbox.x, west.bbox.y
    grid = TargetGrid(
        west.sky_projection, Box.factory[y.start + 40 : y.stop - 40, x.start - 60 : x.stop - 60]
    )
    steps = {}
    for feather in (0, 60):
        rules = MosaicRules(combine=Combine.MEAN, feather_px=feather)
        image = make_mosaic([raised, east], grid, rules=rules).masked_image.image.array
        steps[feather] = np.abs(np.diff(image - draw_sky(grid), axis=1)).max()
    assert steps[0] > 20
    # The kernel leaves the outer three pixels out, where the weight is 3/61 or less.
    assert steps[60] < 5


def test_a_grid_for_two_tracts_holds_both(tracts: tuple[MaskedImage, MaskedImage]) -> None:
    grid = find_mosaic_grid(tracts)
    mosaic = make_mosaic(tracts, grid, rules=MosaicRules(overlap=Overlap.INNER))
    assert grid.pixel_scale.to_value(u.arcsec) == pytest.approx(0.2, rel=1e-3)
    covered = float((mosaic.coverage.array > 0).sum())
    together = west_and_east_area(tracts)
    assert covered == pytest.approx(together, rel=0.06)


def west_and_east_area(tracts: tuple[MaskedImage, MaskedImage]) -> float:
    """Return the pixels of both tracts together, each once."""
    return tracts[0].bbox.area + tracts[1].bbox.area - 120 * 220


def test_an_image_of_something_else_than_the_sky_is_refused(tmp_path: Path) -> None:
    header = fits.Header({"CTYPE1": "WAVE", "CTYPE2": "DIST", "CUNIT1": "m", "CDELT1": 1e-10})
    path = tmp_path / "spectrum.fits"
    fits.PrimaryHDU(np.ones((20, 30), np.float32), header).writeto(path)
    with pytest.raises(InputDataError, match="spectrum"):
        make_mosaic([read_plain_image(path)], make_grid((10, 10)))
