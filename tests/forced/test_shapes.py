"""Sizes of stellar images and the mask planes around positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lsst.dax.image._kernels.flux_shape_nb import collect_planes, find_shapes


def find_moments(stamp: np.ndarray, x: float, y: float, *, start: float = 2.0) -> np.ndarray:
    moments = np.empty((1, 3))
    find_shapes(stamp[None], np.array([x]), np.array([y]), np.array([start]), moments)
    return moments[0]


def make_elliptical(
    xx: float, yy: float, xy: float, *, beta: float | None = None, half: int = 20
) -> np.ndarray:
    """Return a Gaussian, or a Moffat profile, of given moments or widths, off its central pixel."""
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    dx, dy = columns - 0.3, rows + 0.2
    det = xx * yy - xy * xy
    square = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / det
    return np.exp(-0.5 * square) if beta is None else (1.0 + square / 4.0) ** -beta


def test_moments_of_a_gaussian_are_its_own() -> None:
    stamp = make_elliptical(4.0, 3.0, 0.7)
    for start in (1.5, 2.0, 4.0):
        assert_allclose(find_moments(stamp, 20.3, 19.8, start=start), [4.0, 3.0, 0.7], rtol=2e-3)


def test_moments_of_a_moffat_profile_are_those_of_galsim() -> None:
    galsim = pytest.importorskip("galsim")
    stamp = make_elliptical(2.2, 2.0, 0.1, beta=3.0, half=30)
    found = find_moments(stamp, 30.3, 29.8)
    shape = galsim.hsm.FindAdaptiveMom(galsim.Image(stamp, xmin=0, ymin=0))
    scale = (found[0] * found[1] - found[2] ** 2) ** 0.25
    assert_allclose(scale, shape.moments_sigma, rtol=3e-3)
    e1 = (found[0] - found[1]) / (found[0] + found[1])
    assert_allclose(e1, shape.observed_shape.e1, atol=5e-3)


def test_images_without_a_shape_have_none() -> None:
    for stamp in (np.zeros((9, 9)), np.full((9, 9), np.nan), np.ones((41, 41))):
        assert np.isnan(find_moments(stamp, 4.0, 4.0)).all() or stamp.shape == (41, 41)
    # A flat image is wider than any weight.
    assert not find_moments(np.ones((41, 41)), 20.0, 20.0)[0] < 100.0


def collect(mask: np.ndarray, x: float, y: float, moments: tuple[float, float, float]) -> tuple[int, int]:
    around, center = np.empty((1, 1), dtype=np.uint8), np.empty((1, 1), dtype=np.uint8)
    collect_planes(mask[..., None], np.array([x]), np.array([y]), np.array([moments]), 3.0, around, center)
    return int(around[0, 0]), int(center[0, 0])


@pytest.mark.parametrize(("x", "y"), [(20.3, 18.8), (1.2, 38.9), (-2.0, 20.0), (43.0, 45.0)])
@pytest.mark.parametrize("moments", [(4.0, 4.0, 0.0), (6.0, 2.0, 1.5), (1.0, 5.0, -1.0)])
def test_planes_are_those_of_the_pixels_in_the_ellipse(
    x: float, y: float, moments: tuple[float, float, float]
) -> None:
    xx, yy, xy = moments
    rows, columns = np.indices((40, 42))
    dx, dy = columns - x, rows - y
    inside = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / (xx * yy - xy * xy) <= 9.0
    near = (np.abs(columns - math.floor(x + 0.5)) <= 1) & (np.abs(rows - math.floor(y + 0.5)) <= 1)
    # One pixel at a time: each counts exactly where it lies.
    for j, i in zip(*np.nonzero((np.abs(dx) < 9) & (np.abs(dy) < 9)), strict=True):
        mask = np.zeros((40, 42), dtype=np.uint8)
        mask[j, i] = 4
        assert_array_equal(collect(mask, x, y, moments), (4 * (inside | near)[j, i], 4 * near[j, i]))


def test_planes_without_a_shape_are_those_of_the_centre() -> None:
    mask = np.zeros((40, 42), dtype=np.uint8)
    mask[20, 20], mask[20, 23] = 1, 2
    assert collect(mask, 20.0, 20.0, (math.nan, math.nan, math.nan)) == (1, 1)
    assert collect(mask, 20.0, 20.0, (4.0, 4.0, 0.0)) == (3, 1)
