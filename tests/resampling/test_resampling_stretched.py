"""Coarser targets: nothing that they cannot hold is left."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box
from tests.support.resampling import make_source, make_tan
from tests.support.resampling_oracle import exact_positions

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, MaskRule, MissingRule, resample

KEEP = FluxConvention.SURFACE_BRIGHTNESS


@pytest.mark.parametrize("rotation", [0.0, 30.0, 45.0])
@pytest.mark.parametrize("factor", [1.3, 2.0, 5.0])
def test_zone_plate_does_not_alias(rotation: float, factor: float) -> None:
    # Rings whose frequency rises with the radius, to half a cycle per pixel.
    size = 500
    y, x = np.indices((size, size)) - size / 2
    radius = np.hypot(x, y)
    source = make_source(np.cos(np.pi * radius**2 / (2 * size)), make_tan(x=size / 2, y=size / 2))
    half = int(size / 2 / factor) + 1
    grid = TargetGrid(make_tan(scale=0.2 * factor, rotation=rotation), Box.factory[-half:half, -half:half])
    found = resample(source, grid, flux_convention=KEEP)
    assert found.is_stretched
    column, row = exact_positions(source, grid)
    there = np.hypot(column - size / 2, row - size / 2)
    # Cycles per target pixel: the local frequency is r / (2 size) per source pixel.
    frequency = there / (2 * size) * factor
    pixels = found.masked_image.image.array
    usable = np.isfinite(pixels) & (there < size / 2 - 4 * factor)
    # Beyond the corner of the target's band nothing is left; well within it, all is.
    beyond, within = usable & (frequency > 0.9), usable & (frequency < 0.25)
    if beyond.any():
        assert np.abs(pixels[beyond]).max() < 0.06
    np.testing.assert_allclose(pixels[within], np.cos(np.pi * there[within] ** 2 / (2 * size)), atol=0.12)
    nearest = resample(source, grid, kernel=Kernel.NEAREST, flux_convention=KEEP).masked_image.image.array
    if beyond.any():
        assert np.nanmax(np.abs(nearest[beyond])) > 0.9


@pytest.mark.parametrize("factor", [1.2, 2.5, 10.0, 40.0])
def test_white_noise_averages_down(factor: float) -> None:
    rng = np.random.default_rng(11)
    size = 1000
    source = make_source(
        rng.normal(0, 2, (size, size)), make_tan(x=500.0, y=500.0), variance=np.full((size, size), 4.0)
    )
    half = int((0.35 * size - 4.3 * factor) / factor)
    grid = TargetGrid(make_tan(scale=0.2 * factor, rotation=37.0), Box.factory[-half:half, -half:half])
    planes = resample(source, grid, flux_convention=KEEP).masked_image
    # The integral of the squared kernel is 0.8 in two dimensions.
    np.testing.assert_allclose(planes.variance.array, 4.0 * 0.8 / factor**2, rtol=0.25)
    assert (planes.image.array / np.sqrt(planes.variance.array)).std() == pytest.approx(1.0, abs=1.5 / half)


@pytest.mark.parametrize("kernel", [Kernel.LANCZOS3, Kernel.LANCZOS5, Kernel.BILINEAR])
def test_stretched_sums_agree_with_the_formula(kernel: Kernel) -> None:
    rng = np.random.default_rng(12)
    shape = (70, 80)
    source = make_source(
        rng.normal(100, 5, shape), make_tan(x=40.0, y=35.0), variance=rng.uniform(1, 2, shape)
    )
    source.mask.set("BAD", rng.random(shape) < 0.01)
    grid = TargetGrid(make_tan(scale=0.5, rotation=25.0), Box.factory[-4:5, -4:5])
    planes = resample(source, grid, kernel=kernel, flux_convention=KEEP, tolerance_px=1e-9).masked_image
    x, y = exact_positions(source, grid)
    step_u = np.array([x[4, 5] - x[4, 3], y[4, 5] - y[4, 3]]) / 2
    step_v = np.array([x[5, 4] - x[3, 4], y[5, 4] - y[3, 4]]) / 2
    to_target = np.linalg.inv(np.stack([step_u, step_v], axis=1))
    rows, columns = np.indices(shape)
    reach = kernel.half_width
    for place in np.ndindex(x.shape):
        u, v = np.einsum("ij,jkl->ikl", to_target, np.stack([columns - x[place], rows - y[place]]))
        if kernel is Kernel.BILINEAR:
            weights = np.maximum(0, 1 - np.abs(u)) * np.maximum(0, 1 - np.abs(v))
        else:
            weights = np.sinc(u) * np.sinc(u / reach) * np.sinc(v) * np.sinc(v / reach)
            weights *= (np.abs(u) < reach) & (np.abs(v) < reach)
        weights /= weights.sum()
        assert planes.image.array[place] == pytest.approx((weights * source.image.array).sum(), rel=1e-5)
        assert planes.variance.array[place] == pytest.approx(
            (weights**2 * source.variance.array).sum(), rel=1e-4
        )
        near = (np.abs(u) < 1) & (np.abs(v) < 1)
        assert planes.mask.get("BAD")[place] == source.mask.get("BAD")[near].any()


def test_missing_pixels_and_masks() -> None:
    pixels = np.full((200, 200), 2.0)
    pixels[100, 100] = np.nan
    source = make_source(pixels, make_tan(x=100.0, y=100.0))
    for plane in ("SATURATED", "DETECTION_EDGE"):
        spot = np.zeros((200, 200), bool)
        spot[100, 100] = True
        source.mask.set(plane, spot)
    grid = TargetGrid(make_tan(scale=1.0, x=0.3, y=0.4), Box.factory[-30:30, -30:30])
    strict = resample(source, grid, flux_convention=KEEP)
    hole = np.isnan(strict.masked_image.image.array[15:45, 15:45])
    assert hole.sum() == 36
    assert strict.masked_image.mask.get("SATURATED").sum() == 4
    assert strict.masked_image.mask.get("DETECTION_EDGE").sum() == 36
    # Three pixels of kernel are missing at the edges of 40 by 40 pixels.
    assert strict.coverage.array.sum() == 34 * 34 - 36
    filled = resample(source, grid, flux_convention=KEEP, missing_rule=MissingRule.RENORMALISE)
    values = filled.masked_image.image.array
    assert 39**2 <= np.isfinite(values).sum() <= 40**2
    np.testing.assert_allclose(values[np.isfinite(values)], 2.0, rtol=1e-6)
    near = filled.coverage.array[30, 30]
    assert 0.9 < near < 1.0
    nearest = resample(source, grid, mask_rule=MaskRule.NEAREST).masked_image.mask
    assert nearest.get("SATURATED").sum() == 0
