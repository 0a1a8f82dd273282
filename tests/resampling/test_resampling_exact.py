"""Grids whose pixels coincide with the source's: copied to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box, MaskedImage
from tests.support.projections import PROJECTIONS
from tests.support.resampling import make_source, make_tan

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample


def random_source(
    shape: tuple[int, int] = (70, 90), *, x0: int = 3, y0: int = -4, **tan: float
) -> MaskedImage:
    rng = np.random.default_rng(4)
    source = make_source(
        rng.normal(0, 1, shape), make_tan(**tan), variance=rng.uniform(1, 2, shape), x0=x0, y0=y0
    )
    source.mask.set("BAD", rng.random(shape) < 0.1)
    source.image.array[5, 6] = np.nan
    return source


@pytest.mark.parametrize("kernel", Kernel)
def test_the_same_projection_is_copied(kernel: Kernel) -> None:
    source = random_source()
    grid = TargetGrid(source.sky_projection, Box.factory[-10:40, 20:200])
    found = resample(source, grid, kernel=kernel)
    assert found.is_exact_copy
    assert found.max_position_error_px == 0.0
    shared = Box.factory[-4:40, 20:93]
    for plane in ("image", "variance", "mask"):
        assert (
            getattr(found.masked_image[shared], plane).array.tobytes()
            == getattr(source[shared], plane).array.tobytes()
        )
    outside = np.ones(tuple(grid.shape), bool)
    outside[shared.slice_within(grid.bbox)] = False
    assert np.isnan(found.masked_image.image.array[outside]).all()
    assert np.isnan(found.masked_image.variance.array[outside]).all()
    np.testing.assert_array_equal(found.masked_image.mask.get("NO_DATA"), outside)
    np.testing.assert_array_equal(found.coverage.array, np.isfinite(found.masked_image.image.array))


@pytest.mark.parametrize("ra", [0.0, 150.0, 359.9999])
@pytest.mark.parametrize("dec", [-30.0, 90.0])
@pytest.mark.parametrize("scale", [0.03, 0.2, 60.0])
def test_whole_shifts_are_copied(ra: float, dec: float, scale: float) -> None:
    source = random_source(ra=ra, dec=dec, scale=scale)
    grid = TargetGrid(
        make_tan(ra=ra, dec=dec, scale=scale, x=1000.0, y=-17.0), Box.factory[-21:49, 1003:1093]
    )
    found = resample(source, grid)
    assert found.is_exact_copy
    assert found.masked_image.image.array.tobytes() == source.image.array.tobytes()
    assert found.masked_image.mask.array.tobytes() == source.mask.array.tobytes()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_quarter_turns_and_mirror_images_are_copied(turns: int, mirrored: bool) -> None:
    source = random_source((40, 50), x0=-25, y0=-20)
    projection = make_tan(rotation=90.0 * turns, mirrored=mirrored)
    grid = TargetGrid(projection, Box.factory[-30:30, -30:30])
    found = resample(source, grid)
    assert found.is_exact_copy
    # Pixel by pixel, by way of the sky.
    mesh = grid.bbox.meshgrid()
    there = source.sky_projection.sky_to_pixel(
        projection.pixel_to_sky(x=mesh.x.astype(float), y=mesh.y.astype(float))
    )
    column, row = np.rint(there.x).astype(int) + 25, np.rint(there.y).astype(int) + 20
    inside = (column >= 0) & (row >= 0) & (column < 50) & (row < 40)
    assert inside.sum() == 40 * 50
    np.testing.assert_array_equal(
        found.masked_image.image.array[inside], source.image.array[row[inside], column[inside]]
    )
    np.testing.assert_array_equal(
        found.masked_image.variance.array[inside], source.variance.array[row[inside], column[inside]]
    )
    assert found.masked_image.mask.get("NO_DATA").sum() == 60 * 60 - 2000


@pytest.mark.parametrize(
    "other",
    [{"x": 0.001}, {"rotation": 0.01}, {"scale": 0.2001}, {"scale": 0.4}, {"dec": 2.0001}, {"scale": 0.1}],
)
def test_what_is_slightly_off_is_resampled(other: dict[str, float]) -> None:
    source = random_source()
    found = resample(source, TargetGrid(make_tan(**other), Box.factory[0:60, 0:60]))
    assert not found.is_exact_copy
    assert 0.0 < found.max_position_error_px <= 1e-3 or other == {"scale": 0.2001}


@pytest.mark.parametrize("name", PROJECTIONS)
def test_every_projection_is_itself(name: str) -> None:
    one, two = PROJECTIONS[name](), PROJECTIONS[name]()
    rng = np.random.default_rng(5)
    source = make_source(rng.normal(size=(100, 160)), one, y0=30, x0=1000)
    found = resample(source, TargetGrid(two, source.bbox), flux_convention=FluxConvention.FLUX)
    assert found.is_exact_copy
    assert found.masked_image.image.array.tobytes() == source.image.array.tobytes()
