"""PSFs of cells: those of resampled images, their averages and their shapes."""

from __future__ import annotations

from typing import Any

import galsim
import numpy as np
import pytest
from lsst.images import Box, SkyProjection
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.typing import NDArray
from tests.support.resampling import make_source, make_tan

from lsst.dax.image.coadds import (
    combine_aperture_corrections,
    combine_psfs,
    draw_cell_psfs,
    find_effective_weights,
    measure_psf_shapes,
)
from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.psfs import make_psf_evaluator
from lsst.dax.image.resampling import Kernel, find_local_maps, resample

SIZE = 201
SOURCE = make_tan(x=100.0, y=100.0)


def make_gaussian(xx: float, yy: float, xy: float, *, half: int = 17) -> NDArray[np.float64]:
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    det = xx * yy - xy * xy
    image = np.exp(-0.5 * (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det)
    return np.asarray(image / image.sum())


def make_moffat(fwhm: float, beta: float, e1: float, *, side: int = 35) -> NDArray[np.float64]:
    profile = galsim.Moffat(beta=beta, fwhm=fwhm).shear(e1=e1, e2=0.03)
    image = profile.drawImage(nx=side, ny=side, scale=1.0, method="no_pixel").array.astype(np.float64)
    return np.asarray(image / image.sum())


def draw_star(
    psf: GaussianPointSpreadFunction, target: SkyProjection[Any], x: int, y: int, size: int, kernel: Kernel
) -> NDArray[np.float64]:
    """Return the image of a star at a target pixel, resampled as an image is."""
    box = Box.from_shape((SIZE, SIZE))
    maps = find_local_maps(SOURCE, target, x=np.array([float(x)]), y=np.array([float(y)]))
    star = psf.compute_stellar_image(x=maps.positions[0, 0], y=maps.positions[0, 1])
    pixels = np.zeros((SIZE, SIZE))
    pixels[star.bbox.slice_within(box)] = star.array
    half = size // 2
    grid = TargetGrid(target, Box.factory[y - half : y + half + 1, x - half : x + half + 1])
    image = resample(make_source(pixels, SOURCE), grid, kernel=kernel).masked_image.image.array
    return np.asarray(image / image.sum(dtype=float), np.float64)


KERNELS = [Kernel.LANCZOS3, Kernel.LANCZOS3_MOMENTS, Kernel.LANCZOS5, Kernel.BILINEAR, Kernel.NEAREST]
MAPS = [(0.0, 0.2, 0.0), (0.0, 0.2, 0.4), (33.0, 0.2, 0.3), (10.0, 0.13, 0.0), (20.0, 0.3, 0.2)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("rotation", "scale", "shift"), MAPS)
def test_psf_is_the_image_of_a_star(kernel: Kernel, rotation: float, scale: float, shift: float) -> None:
    psf = GaussianPointSpreadFunction(2.0, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=41)
    target = make_tan(rotation=rotation, scale=scale, x=shift, y=-0.7 * shift)
    x, y = np.array([0.0, 12.0, -20.0]), np.array([0.0, -10.0, 7.0])
    drawn = draw_cell_psfs(
        make_psf_evaluator(psf),
        source_projection=SOURCE,
        target_projection=target,
        x=x,
        y=y,
        size_px=31,
        kernel=kernel,
    )
    assert drawn.is_good.all()
    for i in range(3):
        expected = draw_star(psf, target, int(x[i]), int(y[i]), 31, kernel)
        np.testing.assert_allclose(drawn.images[i], expected, atol=3e-5 * expected.max())


@pytest.mark.parametrize(
    ("kernel", "tolerance"),
    [
        (Kernel.LANCZOS3, 5e-4),
        (Kernel.LANCZOS3_MOMENTS, 5e-4),
        (Kernel.LANCZOS5, 5e-4),
        (Kernel.BILINEAR, 2e-3),
    ],
)
@pytest.mark.parametrize("rotation", [0.0, 0.3, 33.0])
@pytest.mark.parametrize("side", [40, 41])
def test_psf_of_a_cell_is_the_mean_of_its_stars(
    kernel: Kernel, tolerance: float, rotation: float, side: int
) -> None:
    psf = GaussianPointSpreadFunction(1.5, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=31)
    # At each pixel of the cell, and once for all of it.
    x, y = (place.ravel() for place in np.meshgrid(*2 * [np.arange(float(side)) - side // 2]))
    middle = np.array([x.mean()])
    stars, drawn = (
        draw_cell_psfs(
            make_psf_evaluator(psf),
            source_projection=SOURCE,
            target_projection=make_tan(rotation=rotation, x=0.37, y=-0.29),
            x=columns,
            y=rows,
            size_px=21,
            kernel=kernel,
            cell_px=cell_px,
        )
        for columns, rows, cell_px in ((x, y, 1), (middle, middle, side))
    )
    mean = stars.images.mean(axis=0)
    found, expected = measure_psf_shapes(drawn.images), measure_psf_shapes(mean[None])
    assert found.xx[0] == pytest.approx(expected.xx[0], rel=tolerance)
    assert found.yy[0] == pytest.approx(expected.yy[0], rel=tolerance)
    np.testing.assert_allclose(drawn.images[0], mean, atol=5.0 * tolerance * mean.max())


def test_a_smaller_stamp_is_the_middle_of_a_larger_one() -> None:
    psf = GaussianPointSpreadFunction(2.0, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=31)
    large, small = (
        draw_cell_psfs(
            make_psf_evaluator(psf),
            source_projection=SOURCE,
            target_projection=make_tan(rotation=20.0),
            x=np.zeros(1),
            y=np.zeros(1),
            size_px=size,
            cell_px=150,
        ).images[0]
        for size in (31, 11)
    )
    middle = large[10:21, 10:21]
    np.testing.assert_allclose(small, middle / middle.sum(), rtol=1e-12, atol=1e-15)


def test_whole_pixels_between_grids_change_nothing() -> None:
    psf = GaussianPointSpreadFunction(1.5, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=31)
    drawn = draw_cell_psfs(
        make_psf_evaluator(psf),
        source_projection=SOURCE,
        target_projection=make_tan(x=3.0, y=-5.0),
        x=np.array([-0.5]),
        y=np.array([10.5]),
        size_px=31,
        cell_px=150,
    )
    expected = psf.compute_kernel_image(x=100.0, y=100.0).array
    np.testing.assert_allclose(drawn.images[0], expected, atol=1e-6 * expected.max())


def test_cells_off_an_input_have_no_psf() -> None:
    psf = GaussianPointSpreadFunction(2.0, bounds=Box.from_shape((SIZE, SIZE)), stamp_size=31)
    drawn = draw_cell_psfs(
        make_psf_evaluator(psf),
        source_projection=make_tan(x=100.0, y=100.0),
        target_projection=make_tan(),
        x=np.array([0.0, 500.0]),
        y=np.array([0.0, 0.0]),
        size_px=31,
    )
    assert drawn.is_good.tolist() == [True, False]
    assert np.isnan(drawn.images[1]).all()
    np.testing.assert_allclose(drawn.maps.positions[1], [600.0, 100.0], atol=1e-2)
    with pytest.raises(RequestError, match="PSF images of 30 pixels a side for cells of 1"):
        draw_cell_psfs(
            make_psf_evaluator(psf),
            source_projection=make_tan(),
            target_projection=make_tan(),
            x=np.zeros(1),
            y=np.zeros(1),
            size_px=30,
        )


def test_shapes_of_gaussians_are_their_moments() -> None:
    moments = [(4.0, 4.0, 0.0), (3.0, 6.0, 1.5), (1.2, 2.0, -0.4)]
    shapes = measure_psf_shapes(np.array([make_gaussian(*m) for m in moments]))
    assert not shapes.is_bad.any()
    np.testing.assert_allclose(
        np.stack([shapes.xx, shapes.yy, shapes.xy], axis=1), moments, rtol=1e-3, atol=1e-4
    )
    assert shapes.fwhm_px[0] == pytest.approx(2.0 * 2.3548, rel=1e-4)


def test_shapes_are_those_of_another_implementation() -> None:
    images = np.array([make_moffat(3.5, 3.0, 0.1), make_moffat(4.5, 2.5, -0.2), make_moffat(6.0, 4.0, 0.0)])
    shapes = measure_psf_shapes(images)
    for i, image in enumerate(images):
        found = galsim.hsm.FindAdaptiveMom(galsim.Image(image, scale=1.0), precision=1e-8)
        determinant = shapes.xx[i] * shapes.yy[i] - shapes.xy[i] ** 2
        assert determinant**0.25 == pytest.approx(found.moments_sigma, rel=1e-4)
        trace = shapes.xx[i] + shapes.yy[i]
        assert (shapes.xx[i] - shapes.yy[i]) / trace == pytest.approx(found.observed_e1, abs=1e-4)
        assert 2.0 * shapes.xy[i] / trace == pytest.approx(found.observed_e2, abs=1e-4)


def test_an_image_without_a_peak_has_no_shape() -> None:
    flat = np.stack([np.zeros((21, 21)), np.full((21, 21), np.nan), make_gaussian(2.0, 2.0, 0.0, half=10)])
    shapes = measure_psf_shapes(flat)
    assert shapes.is_bad.tolist() == [True, True, False]
    assert np.isnan(shapes.xx[:2]).all()


def test_psf_of_a_mean_is_what_a_star_of_the_mean_looks_like() -> None:
    images = np.array(
        [make_gaussian(2.0, 2.0, 0.0), make_gaussian(5.0, 5.0, 0.0), make_gaussian(9.0, 4.0, 1.0)]
    )
    weights = find_effective_weights(np.array([2.0, 1.0, 5.0]), np.array([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(weights, [0.8, 0.2, 0.0])
    psf = combine_psfs(images, weights)
    assert psf.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(psf, 0.8 * images[0] + 0.2 * images[1], atol=1e-15)
    # What does not count may have no PSF, and what counts may not.
    images[2] = np.nan
    np.testing.assert_array_equal(combine_psfs(images, weights), psf)
    with pytest.raises(InputDataError, match="1 of 3 inputs that count have no PSF, as number 2"):
        combine_psfs(images, np.ones(3))
    with pytest.raises(InputDataError, match="None of 3 inputs has a weight above 0"):
        combine_psfs(images, np.zeros(3))


def test_shares_of_what_was_left_out() -> None:
    assert find_effective_weights(np.ones(2), np.zeros(2)).tolist() == [0.0, 0.0]
    with pytest.raises(RequestError, match=r"weights of shape \(2,\) and fractions of shape \(3,\)"):
        find_effective_weights(np.ones(2), np.ones(3))
    with pytest.raises(RequestError, match="lie between 0 and 1"):
        find_effective_weights(np.ones(2), np.array([0.5, 1.5]))


def test_a_pixel_by_pixel_mean_has_the_shares_to_first_order() -> None:
    rng = np.random.default_rng(5)
    weights, fractions = np.array([1.0, 2.0, 3.0, 1.5]), np.array([1.0, 0.95, 0.98, 0.9])
    used = rng.random((4, 200_000)) < fractions[:, None]
    counted = weights[:, None] * used
    mean_shares = (counted / counted.sum(axis=0)).mean(axis=1)
    np.testing.assert_allclose(find_effective_weights(weights, fractions), mean_shares, atol=3e-3)


def test_aperture_corrections_are_those_of_fluxes_of_the_mean() -> None:
    corrections = [{"a": 0.90, "aErr": 0.02, "b": 1.0}, {"a": 0.96, "aErr": 0.01}, {"a": np.nan, "c": np.nan}]
    combined = combine_aperture_corrections(corrections, np.array([1.0, 3.0, 7.0]))
    assert combined["a"] == pytest.approx((0.90 + 3.0 * 0.96) / 4.0)
    assert combined["aErr"] == pytest.approx(np.hypot(0.02, 0.03) / 4.0)
    assert combined["b"] == 1.0
    assert np.isnan(combined["c"])
    with pytest.raises(RequestError, match=r"3 inputs and weights of shape \(2,\)"):
        combine_aperture_corrections(corrections, np.ones(2))
