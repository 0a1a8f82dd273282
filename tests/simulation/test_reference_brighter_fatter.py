"""Brighter-fatter corrections of the reference: charge conserved, direct sums, the effect undone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lsst.dax.image.simulation import _reference_brighter_fatter
from lsst.dax.image.simulation._calibration_truth import make_simulated_calibrations
from lsst.dax.image.simulation._pixel_area import ShiftMatrices, accumulate_charge
from lsst.dax.image.simulation._reference_brighter_fatter import (
    FILLED_PLANES,
    BrighterFatterMethod,
    boundary_kernels,
    correct_brighter_fatter,
    electrostatic_correction,
    flux_conserving_correction,
    kernel_correction,
)
from lsst.dax.image.simulation._reference_planes import Planes
from lsst.dax.image.simulation._sensor import make_sensor

METHODS = list(BrighterFatterMethod)
# Part of the effect that each method leaves: the second works on the contrast
# with the mean, not on the charge, and takes all from one side.
LEFT = dict(zip(METHODS, (0.14, 0.22, 0.1), strict=True))
SHAPE = (72, 80)


@pytest.fixture(scope="module", params=["E2V", "ITL"])
def calibrations(request):
    sensor = make_sensor(request.param, data_shape=(36, 40), overscan=(12, 10), columns=2)
    return make_simulated_calibrations(sensor)


def make_star(peak=8e4, *, sky=800.0, width=2.0, center=(34.0, 41.0)):
    y, x = np.indices(SHAPE)
    return sky + peak * np.exp(-0.5 * ((x - center[1]) ** 2 + (y - center[0]) ** 2) / width**2)


def second_moment(image, sky):
    """Return the moments (yy, xx) within 12 pixels of the middle of the star."""
    y, x = np.indices(SHAPE)
    near = np.hypot(y - 34.0, x - 41.0) < 12
    weight = (image - sky)[near]
    return np.array([np.sum(weight * (z[near] - c) ** 2) for z, c in ((y, 34.0), (x, 41.0))]) / weight.sum()


def collect(light, calibrations, steps=8):
    shifts = ShiftMatrices(
        north=calibrations.shift_north,
        south=calibrations.shift_south,
        east=calibrations.shift_east,
        west=calibrations.shift_west,
    )
    return accumulate_charge(light, shifts, steps=steps)


def change_by(method, image, calibrations):
    match method:
        case BrighterFatterMethod.COULTON18:
            return kernel_correction(image, calibrations.kernel)
        case BrighterFatterMethod.COULTON18_FLUX_CONSERVING:
            return flux_conserving_correction(image, calibrations.kernel)
        case BrighterFatterMethod.ASTIER23:
            return electrostatic_correction(image, *boundary_kernels(calibrations))


@pytest.mark.parametrize("method", METHODS)
def test_simulated_effect_is_undone(method, calibrations) -> None:
    light = make_star()
    charge = collect(light, calibrations)
    corrected = charge + change_by(method, charge, calibrations)
    grown = second_moment(charge, 800.0) - second_moment(light, 800.0)
    left = second_moment(corrected, 800.0) - second_moment(light, 800.0)
    assert np.all(grown > 0.02)
    assert np.all(np.abs(left) < LEFT[method] * grown)
    assert np.abs(corrected - light).max() < LEFT[method] * np.abs(charge - light).max()


@pytest.mark.parametrize("method", METHODS)
def test_flat_light_stays_flat(method, calibrations) -> None:
    change = change_by(method, np.full(SHAPE, 5e4), calibrations)
    reach = 2 * (calibrations.kernel.shape[0] // 2) + 1
    assert np.abs(change[reach:-reach, reach:-reach]).max() < 1e-5


@pytest.mark.parametrize("method", METHODS[1:])
def test_charge_is_conserved_wherever_it_is(method, calibrations) -> None:
    for center in ((34.0, 41.0), (12.0, 10.0), (70.5, 79.0)):
        image = make_star(center=center)
        change = change_by(method, image, calibrations)
        assert np.abs(change).max() > 10.0
        assert abs(np.sum(change)) < 1e-6 * np.abs(change).sum()


def test_boundary_kernels_are_those_of_the_forward_model(calibrations) -> None:
    upper, right = boundary_kernels(calibrations)
    north, south = calibrations.shift_north, calibrations.shift_south
    east, west = calibrations.shift_east, calibrations.shift_west
    size = north.shape[0]
    assert upper.shape == right.shape == (2 * size - 1, 2 * size - 1)
    for i, j in ((2, 1), (1, 3), (0, 4)):
        assert upper[size - 1 + j, size - 1 + i] == 0.25 * north[i, j]
        assert upper[size - 1 + j, size - 1 - i] == 0.25 * north[i, j]
        assert upper[size - 1 - j, size - 1 + i] == 0.25 * south[i, j]
        assert right[size - 1 + i, size - 1 + j] == 0.25 * east[j, i]
        assert right[size - 1 + i, size - 1 - j] == 0.25 * west[j, i]
    # What a pixel's upper boundary sees from above, the next one's lower boundary sees from below.
    np.testing.assert_array_equal(upper[0], -upper[-1])
    np.testing.assert_array_equal(right[:, 0], -right[:, -1])


def test_electrostatic_correction_is_a_direct_sum(calibrations) -> None:
    image = make_star(3e4, center=(20.0, 30.0))
    upper, right = boundary_kernels(calibrations)
    change = electrostatic_correction(image, upper, right)
    reach = upper.shape[0] // 2
    padded = np.pad(image, reach)

    def shift(kernel, y, x):
        window = padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        return float(np.sum(window * kernel[::-1, ::-1]))

    for y, x in ((20, 30), (21, 33), (0, 5), (71, 79), (40, 0)):
        expected = 0.0
        if y < SHAPE[0] - 1:
            expected += (image[y + 1, x] + image[y, x]) * shift(upper, y, x)
        if y > 0:
            expected -= (image[y, x] + image[y - 1, x]) * shift(upper, y - 1, x)
        if x < SHAPE[1] - 1:
            expected += (image[y, x + 1] + image[y, x]) * shift(right, y, x)
        if x > 0:
            expected -= (image[y, x] + image[y, x - 1]) * shift(right, y, x - 1)
        assert change[y, x] == pytest.approx(-expected, rel=1e-9, abs=1e-9)


def test_kernel_correction_of_a_ramp_by_a_point_kernel() -> None:
    # With K = k delta and T = a + b x the correction is k b^2 / 2 and changes no slope.
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1e-4
    image = np.tile(1000.0 + 50.0 * np.arange(SHAPE[1]), (SHAPE[0], 1))
    change = kernel_correction(image, kernel)
    np.testing.assert_allclose(change[8:-8, 8:-8], 0.5e-4 * 2500.0, rtol=1e-6)
    assert not np.any(change[:3])
    assert not np.any(change[-4:])
    assert not np.any(change[:, :3])
    assert not np.any(change[:, -4:])
    assert np.all(change[3:-4, 3:-4] != 0.0)


def test_kernel_correction_iterates_to_a_fixed_point() -> None:
    # A point kernel: corr = k / 4 times the Laplacian of T^2, up to the grid's own error.
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 2e-5
    image = make_star(4e4, width=6.0)
    change = kernel_correction(image, kernel)
    square = (image + change) ** 2
    laplacian = np.zeros(SHAPE)
    laplacian[1:-1, 1:-1] = np.diff(square, 2, axis=0)[:, 1:-1] + np.diff(square, 2, axis=1)[1:-1]
    expected = 0.25 * 2e-5 * laplacian
    assert np.abs(change - expected)[8:-8, 8:-8].max() < 0.02 * np.abs(change).max()
    first = 0.25 * 2e-5 * (np.diff(image**2, 2, axis=0)[:, 1:-1] + np.diff(image**2, 2, axis=1)[1:-1])
    assert np.abs(change[1:-1, 1:-1] - first)[8:-8, 8:-8].max() > 0.04 * np.abs(change).max()


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_weak_effect_takes_three_iterations(method, calibrations, monkeypatch) -> None:
    # The second estimate is compared with zero, the third with the second.
    image = make_star(5e3)
    found = change_by(method, image, calibrations)
    changes = {}
    for count in (2, 3, 4):
        monkeypatch.setattr(_reference_brighter_fatter, "MAX_ITERATIONS", count)
        changes[count] = change_by(method, image, calibrations)
    assert np.array_equal(found, changes[3])
    assert np.array_equal(found, changes[4])
    assert not np.array_equal(found, changes[2])


def test_flux_conserving_potential_is_unknown_at_the_low_edges(calibrations) -> None:
    image = np.random.default_rng(1).uniform(1e3, 1e5, SHAPE)
    change = flux_conserving_correction(image, calibrations.kernel)
    half = calibrations.kernel.shape[0] // 2
    assert not np.any(change[:half, :half])
    assert np.all(np.any(change[half:, half:] != 0.0, axis=0))


def test_flux_conserving_kernel_is_correlated_not_convolved() -> None:
    # A kernel whose weight is on the right looks at the pixel to the right.
    kernel = np.zeros((5, 5))
    kernel[2, 3] = 1e-6
    image = np.zeros(SHAPE)
    image[40, 50] = 1e4
    change = flux_conserving_correction(image, kernel)
    assert abs(change[40, 49]) > 1.0
    assert abs(change[40, 51]) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_masks_and_science_pixels_after_a_correction(method, calibrations) -> None:
    image = make_star().astype(np.float32)
    bad = np.zeros(SHAPE, dtype=bool)
    bad[50, 60] = True
    image[50, 60] = 2e5
    planes = Planes(image, {"BAD": bad, "SAT": np.roll(bad, (-20, -20), (0, 1))}, np.ones_like(image))
    result = correct_brighter_fatter(planes, calibrations, method=method)
    distance = np.abs(np.indices(SHAPE) - np.array([50, 60])[:, None, None]).sum(axis=0)
    assert np.array_equal(result.plane("BAD"), distance <= 2)
    electrostatic = method is BrighterFatterMethod.ASTIER23
    # The filled copy has its saturation grown before.
    grown = np.roll(distance, (-20, -20), (0, 1)) <= (3 if electrostatic else 2)
    assert np.array_equal(result.plane("SAT")[10:60, 20:70], grown[10:60, 20:70])
    assert result.plane("INTRP")[50, 60] == electrostatic
    assert (result.image[50, 60] < 2000.0) == electrostatic
    edge = calibrations.kernel.shape[0] // 2 if not electrostatic else calibrations.shift_north.shape[0] // 2
    inner = ~result.plane("EDGE")
    assert np.array_equal(np.argwhere(inner).min(axis=0), [edge, edge])
    assert np.array_equal(np.argwhere(inner).max(axis=0), [SHAPE[0] - 1 - edge, SHAPE[1] - 1 - edge])


@pytest.mark.parametrize("plane", FILLED_PLANES)
def test_a_bad_pixel_has_no_part_in_the_correction(plane, calibrations) -> None:
    light = make_star().astype(np.float32)
    where = np.zeros(SHAPE, dtype=bool)
    where[38, 47] = True
    dirty = light.copy()
    dirty[38, 47] = np.nan if plane == "UNMASKEDNAN" else 5e5
    for method in METHODS:
        clean = correct_brighter_fatter(Planes(light, {plane: where}, light), calibrations, method=method)
        found = correct_brighter_fatter(Planes(dirty, {plane: where}, light), calibrations, method=method)
        near = np.ones(SHAPE, dtype=bool)
        near[38, 47] = False
        np.testing.assert_array_equal(found.image[near], clean.image[near])


def test_calibrations_may_be_without_the_other_method(calibrations) -> None:
    none = np.zeros_like(calibrations.shift_north)
    still = dataclasses.replace(
        calibrations, shift_north=none, shift_south=none, shift_east=none, shift_west=none
    )
    image = make_star().astype(np.float32)
    result = correct_brighter_fatter(Planes(image, {}, image), still, method=BrighterFatterMethod.ASTIER23)
    assert np.array_equal(result.image, image)
