"""Noise of coadds: correlations predicted from positions, and realisations."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box, Image, Mask, MaskedImage
from numpy.typing import NDArray
from tests.support.resampling import SCHEMA, make_tan

from lsst.dax.image.coadds import (
    CORRELATION_PX,
    combine_noise_correlations,
    convolve_noise_correlation,
    find_kernel_noise,
    find_sum_variance_factor,
    make_noise_realization,
)
from lsst.dax.image.errors import RequestError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import Kernel, find_local_maps, resample
from lsst.dax.image.resampling.kernels import find_weights

SIDE = 1200
SOURCE = make_tan(x=SIDE / 2, y=SIDE / 2)


def draw(seed: int, visit: int, box: Box, *, sigma: float = 1.0) -> NDArray[np.float32]:
    variance = np.full(tuple(box.shape), sigma**2, np.float32)
    return make_noise_realization(variance, bbox=box, seed=seed, visit=visit, detector=3)


def resample_noise(noise: NDArray[np.float32], grid: TargetGrid, kernel: Kernel) -> MaskedImage:
    image = MaskedImage(
        Image(noise, unit=u.nJy, sky_projection=SOURCE),
        mask=Mask(schema=SCHEMA, shape=noise.shape),
        variance=Image(np.ones_like(noise), unit=u.nJy**2),
        sky_projection=SOURCE,
    )
    return resample(image, grid, kernel=kernel).masked_image


def measure_sums(image: NDArray[np.floating], side: int) -> float:
    """Return the variance of sums over all square apertures of a side that do not overlap."""
    rows = image.shape[0] // side * side
    sums = image[:rows, :rows].astype(float).reshape(rows // side, side, rows // side, side).sum(axis=(1, 3))
    return float(sums.var())


@pytest.mark.parametrize(
    ("kernel", "rotation", "scale", "center"),
    [
        (Kernel.LANCZOS3, 33.0, 0.2, 0.0),
        (Kernel.LANCZOS3, 0.0, 0.2, 0.3),
        (Kernel.LANCZOS3_MOMENTS, 12.0, 0.2, 0.0),
        (Kernel.BILINEAR, 50.0, 0.18, 0.0),
        (Kernel.LANCZOS3, 20.0, 0.3, 0.0),
    ],
)
def test_noise_of_sums_is_predicted_from_positions(
    kernel: Kernel, rotation: float, scale: float, center: float
) -> None:
    half = int(360 * 0.2 / scale) // 2 * 2
    grid = TargetGrid(
        make_tan(rotation=rotation, scale=scale, x=center, y=0.4 * center),
        Box.factory[-half:half, -half:half],
    )
    maps = find_local_maps(SOURCE, grid.sky_projection, x=np.array([-0.5]), y=np.array([-0.5]))
    predicted = find_kernel_noise(maps, kernel=kernel, cell_px=2 * half)
    area = (scale / 0.2) ** 2
    ratios, variances, planes = [], [], []
    for visit in range(6):
        done = resample_noise(draw(11, visit, Box.from_shape((SIDE, SIDE))), grid, kernel)
        planes.append(done.variance.array.mean())
        variances.append(done.image.array.var())
        ratios.append(measure_sums(done.image.array, 6) / (36 * done.variance.array.mean()))
    # The plane has the sum of squared weights; 64 places give its mean.
    assert np.mean(planes) == pytest.approx(predicted.variance_factors[0] * area**2, rel=0.005)
    assert np.mean(variances) == pytest.approx(np.mean(planes), rel=0.01)
    factor = find_sum_variance_factor(predicted.correlations[0], np.ones((6, 6)))
    assert np.mean(ratios) == pytest.approx(factor, rel=0.02)


def test_correlation_of_copies_is_none() -> None:
    maps = find_local_maps(SOURCE, SOURCE, x=np.array([100.5]), y=np.array([40.5]))
    noise = find_kernel_noise(maps, cell_px=150)
    assert noise.variance_factors[0] == pytest.approx(1.0, abs=1e-6)
    expected = np.zeros((CORRELATION_PX, CORRELATION_PX))
    expected[5, 5] = 1.0
    np.testing.assert_allclose(noise.correlations[0], expected, atol=1e-6)


def test_mean_factor_is_that_of_the_literature() -> None:
    # Turned by 33 degrees, all phases occur: 0.798 of the variance is kept.
    maps = find_local_maps(SOURCE, make_tan(rotation=33.0), x=np.zeros(1), y=np.zeros(1))
    noise = find_kernel_noise(maps, cell_px=150)
    assert noise.variance_factors[0] == pytest.approx(0.798, abs=2e-3)
    # A constant stays constant, so all of the noise is in a large sum.
    assert noise.correlations[0].sum() * noise.variance_factors[0] == pytest.approx(1.0, abs=2e-3)
    wide = find_sum_variance_factor(noise.correlations[0], np.ones((400, 400)))
    assert wide == pytest.approx(1.0 / 0.798, rel=0.01)
    np.testing.assert_array_equal(noise.correlations[0], noise.correlations[0][::-1, ::-1])


def test_noise_off_the_sky_is_unknown() -> None:
    maps = find_local_maps(SOURCE, make_tan(ra=330.0, dec=-2.0), x=np.zeros(1), y=np.zeros(1))
    noise = find_kernel_noise(maps, cell_px=150)
    assert np.isnan(noise.variance_factors).all()
    assert np.isnan(noise.correlations).all()
    with pytest.raises(RequestError, match="Cells of 0 pixels and correlations of 11"):
        find_kernel_noise(maps, cell_px=0)
    with pytest.raises(RequestError, match="correlations of 4 pixels"):
        find_kernel_noise(maps, cell_px=10, side_px=4)


def test_correlation_of_a_mean_of_inputs() -> None:
    grid_box = Box.factory[-300:300, -300:300]
    total = np.zeros((600, 600))
    weights, sigmas, found = [], [], []
    for visit, (rotation, sigma) in enumerate([(0.0, 1.0), (25.0, 2.0), (61.0, 1.5)]):
        target = make_tan(rotation=rotation, x=0.37, y=-0.21)
        # Noise does not know the sky: the boxes of three projections stand for one.
        done = resample_noise(
            draw(5, visit, Box.from_shape((SIDE, SIDE)), sigma=sigma),
            TargetGrid(target, grid_box),
            Kernel.LANCZOS3,
        )
        maps = find_local_maps(SOURCE, target, x=np.array([-0.5]), y=np.array([-0.5]))
        found.append(find_kernel_noise(maps, cell_px=600))
        weight = 1.0 / sigma**2
        total += weight * done.image.array
        weights.append(weight)
        sigmas.append(sigma)
    variances = np.array([n.variance_factors[0] for n in found]) * np.square(sigmas)
    correlation = combine_noise_correlations(
        np.array([n.correlations[0] for n in found]), np.array(weights), variances
    )
    variance = np.sum(np.square(weights) * variances)
    assert total.var() == pytest.approx(variance, rel=0.02)
    factor = find_sum_variance_factor(correlation, np.ones((5, 5)))
    assert measure_sums(total, 5) == pytest.approx(25 * variance * factor, rel=0.02)
    with pytest.raises(RequestError, match="3 correlations, 2 weights and 3 variances"):
        combine_noise_correlations(np.zeros((3, 5, 5)), np.ones(2), np.ones(3))
    with pytest.raises(RequestError, match="None of 3 inputs has a weight"):
        combine_noise_correlations(np.zeros((3, 5, 5)), np.zeros(3), np.ones(3))


def test_white_noise_of_any_sum_needs_no_factor() -> None:
    white = np.zeros((5, 5))
    white[2, 2] = 1.0
    rng = np.random.default_rng(3)
    assert find_sum_variance_factor(white, rng.normal(size=(9, 7))) == pytest.approx(1.0, abs=1e-12)
    # Twice the same pixel: the variance of a sum of two is doubled.
    pairs = np.zeros((3, 3))
    pairs[1] = 1.0
    assert find_sum_variance_factor(pairs, np.ones((1, 2))) == pytest.approx(2.0)


def test_correlation_after_a_convolution_is_that_of_the_kernel() -> None:
    white = np.zeros((3, 3))
    white[1, 1] = 1.0
    kernel = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0
    after = convolve_noise_correlation(white, kernel)
    line = np.array([0.0, 1.0, 4.0, 6.0, 4.0, 1.0, 0.0]) / 6.0
    np.testing.assert_allclose(after, np.outer(line, line), atol=1e-14)


BOXES = st.tuples(st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 150), st.integers(1, 150))


@given(BOXES)
@settings(max_examples=30, deadline=None)
def test_any_part_has_the_bits_of_the_whole(place: tuple[int, int, int, int]) -> None:
    y0, x0, rows, columns = place
    part = Box.factory[y0 : y0 + rows, x0 : x0 + columns]
    whole = Box.factory[-300:450, -300:450]
    everything = draw(1, 2, whole)
    np.testing.assert_array_equal(draw(1, 2, part), everything[part.slice_within(whole)])


def test_realisations_are_white_and_independent() -> None:
    box = Box.factory[-500:500, 100:1100]
    ones = np.ones((1000, 1000), np.float32)
    images = [
        make_noise_realization(ones, bbox=box, seed=seed, visit=visit, detector=detector, index=index)
        for seed, visit, detector, index in [
            (0, 1, 1, 0),
            (1, 1, 1, 0),
            (0, 2, 1, 0),
            (0, 1, 2, 0),
            (0, 1, 1, 1),
        ]
    ]
    for image in images:
        assert image.dtype == np.float32
        assert image.mean() == pytest.approx(0.0, abs=4e-3)
        assert image.var() == pytest.approx(1.0, abs=6e-3)
        assert (image**4).mean() == pytest.approx(3.0, abs=0.05)
        for shift in ((0, 1), (1, 0), (64, 0), (0, 64), (64, 64)):
            assert (image * np.roll(image, shift, axis=(0, 1))).mean() == pytest.approx(0.0, abs=5e-3)
    covariance = np.cov([image.ravel() for image in images])
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0.0, atol=5e-3)


def test_realisation_follows_the_variance() -> None:
    box = Box.from_shape((4, 200))
    variance = np.repeat([[4.0], [0.0], [np.nan], [-1.0]], 200, axis=1).astype(np.float32)
    noise = make_noise_realization(variance, bbox=box, seed=1, visit=1, detector=1)
    assert np.isnan(noise[2:]).all()
    assert (noise[1] == 0.0).all()
    unit = make_noise_realization(np.ones_like(variance), bbox=box, seed=1, visit=1, detector=1)
    np.testing.assert_array_equal(noise[0], np.float32(2.0) * unit[0])
    with pytest.raises(RequestError, match=r"shape \(4, 200\)"):
        make_noise_realization(variance, bbox=Box.from_shape((4, 4)), seed=1, visit=1, detector=1)
    with pytest.raises(RequestError, match=r"not negative; they are \(-1, 1, 1, 0\)"):
        make_noise_realization(variance, bbox=box, seed=-1, visit=1, detector=1)


@pytest.mark.parametrize(
    ("kernel", "rotation", "scale", "tolerance"),
    [
        (Kernel.LANCZOS3, 0.0, 0.2, 2e-3),
        (Kernel.LANCZOS3, 0.4, 0.2, 2e-3),
        (Kernel.LANCZOS3_MOMENTS, 33.0, 0.2, 2e-3),
        (Kernel.LANCZOS5, 5.0, 0.21, 2e-3),
        (Kernel.BILINEAR, 20.0, 0.15, 5e-3),
    ],
)
def test_correlations_are_those_of_the_weights_at_each_pixel(
    kernel: Kernel, rotation: float, scale: float, tolerance: float
) -> None:
    side = 24
    target = make_tan(rotation=rotation, scale=scale, x=0.31, y=-0.17)
    maps = find_local_maps(SOURCE, target, x=np.array([-0.5]), y=np.array([-0.5]))
    found = find_kernel_noise(maps, kernel=kernel, cell_px=side, side_px=5)
    # Weights over all source pixels of a window, for a cell and a margin of two pixels.
    y, x = np.indices((side + 4, side + 4)) - side // 2 - 2.0
    places = maps.positions[0][:, None] + maps.matrices[0] @ (np.stack([x.ravel(), y.ravel()]) + 0.5)
    places = places - np.floor(places.min(axis=1, keepdims=True)) + 6.0
    window = int(places.max()) + 8
    weights = []
    for axis in range(2):
        floors = np.floor(places[axis]).astype(int)
        taps = find_weights(kernel, places[axis] - floors)
        first = 1 - kernel.half_width if kernel.half_width > 1 else 0
        line = np.zeros((places.shape[1], window))
        rows = np.arange(len(line))[:, None]
        line[rows, floors[:, None] + first + np.arange(taps.shape[1])] = taps
        weights.append(line.reshape(side + 4, side + 4, window))
    inner = np.s_[2:-2, 2:-2]
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            there = np.s_[2 + dy : side + 2 + dy, 2 + dx : side + 2 + dx]
            products = [(line[inner] * line[there]).sum(axis=2) for line in weights]
            expected = (products[0] * products[1]).mean()
            product = found.correlations[0, 2 + dy, 2 + dx] * found.variance_factors[0]
            assert product == pytest.approx(expected, abs=tolerance)
