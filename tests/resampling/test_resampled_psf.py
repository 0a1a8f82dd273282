"""The PSF of a resampled image is what its stars look like."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction
from tests.support.resampling import make_source, make_tan

from lsst.dax.image.errors import NoCoverageError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import Kernel, ResampledPsf, resample

SIZE = 121
CENTER = SIZE // 2


def make_psf(sigma: float = 2.0) -> GaussianPointSpreadFunction:
    return GaussianPointSpreadFunction(sigma, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=41)


@pytest.mark.parametrize(
    "kernel", [Kernel.LANCZOS3, Kernel.LANCZOS3_MOMENTS, Kernel.LANCZOS5, Kernel.BILINEAR]
)
@pytest.mark.parametrize(("rotation", "scale"), [(0.0, 0.2), (33.0, 0.2), (10.0, 0.13), (20.0, 0.4)])
def test_psf_is_the_image_of_a_star(kernel: Kernel, rotation: float, scale: float) -> None:
    projection = make_tan(x=CENTER, y=CENTER)
    psf = make_psf()
    pixels = np.zeros((SIZE, SIZE))
    star = psf.compute_stellar_image(x=CENTER, y=CENTER)
    pixels[star.bbox.slice_within(Box.from_shape((SIZE, SIZE)))] = star.array
    grid = TargetGrid(make_tan(rotation=rotation, scale=scale), Box.factory[-20:21, -20:21])
    moved = ResampledPsf(psf, source_projection=projection, grid=grid, kernel=kernel)
    kernel_image = moved.compute_kernel_image(x=0.0, y=0.0)
    assert kernel_image.bbox == moved.kernel_bbox
    assert kernel_image.array.sum() == pytest.approx(1.0, abs=1e-12)
    image = resample(make_source(pixels, projection), grid, kernel=kernel).masked_image.image
    shared = Box.factory[-8:9, -8:9]
    expected = image[shared].array / image.array[np.isfinite(image.array)].sum()
    np.testing.assert_allclose(kernel_image[shared].array, expected, atol=1e-5 * kernel_image.array.max())


def test_stars_lie_where_they_are_asked_for() -> None:
    grid = TargetGrid(make_tan(rotation=70.0, scale=0.15), Box.factory[-20:21, -20:21])
    moved = ResampledPsf(make_psf(), source_projection=make_tan(x=CENTER, y=CENTER), grid=grid)
    for x, y in ((0.0, 0.0), (3.5, -2.25), (-7.49, 11.51)):
        star = moved.compute_stellar_image(x=x, y=y)
        assert star.bbox == moved.compute_stellar_bbox(x=x, y=y)
        mesh = star.bbox.meshgrid()
        assert star.array.sum() == pytest.approx(1.0)
        assert (star.array * mesh.x).sum() == pytest.approx(x, abs=5e-3)
        assert (star.array * mesh.y).sum() == pytest.approx(y, abs=5e-3)
    size = moved.compute_kernel_image(x=0.0, y=0.0)
    mesh = size.bbox.meshgrid()
    # The resampling kernel widens the profile by little, the scale by 4/3.
    assert np.sqrt((size.array * mesh.x**2).sum()) == pytest.approx(2.0 * 0.2 / 0.15, rel=0.01)
    assert moved.bounds == grid.bbox


def test_positions_without_a_psf() -> None:
    projection = make_tan(x=CENTER, y=CENTER)
    grid = TargetGrid(make_tan(), Box.factory[-200:200, -200:200])
    moved = ResampledPsf(make_psf(), source_projection=projection, grid=grid)
    with pytest.raises(
        NoCoverageError, match=r"\(150.0, 0.0\) is at \(210\.0, 60\.0\) in the source, outside of the bounds"
    ):
        moved.compute_kernel_image(x=150.0, y=0.0)
    behind = TargetGrid.from_center(
        SkyCoord(330.0, -2.0, unit=u.deg), pixel_scale=0.2 * u.arcsec, shape=(10, 10)
    )
    with pytest.raises(NoCoverageError, match="has no position in the source"):
        ResampledPsf(make_psf(), source_projection=projection, grid=behind)
