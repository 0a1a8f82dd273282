"""The pixel-area model against first-order answers."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.simulation._pixel_area import (
    accumulate_charge,
    make_screened_kernel,
    make_shift_matrices,
)

AREA_LOSS = 2e-6
KERNEL = make_screened_kernel(area_loss=AREA_LOSS)
SHIFTS = make_shift_matrices(KERNEL)


def test_pixel_loses_the_stated_area_by_its_own_charge():
    own = SHIFTS.north[0, 0] + SHIFTS.south[0, 0] + SHIFTS.east[0, 0] + SHIFTS.west[0, 0]
    assert own == pytest.approx(-AREA_LOSS)


def test_boundaries_go_to_the_charge_and_are_shared_by_their_pixels():
    assert np.all(SHIFTS.north < 0)
    assert np.all(SHIFTS.east < 0)
    np.testing.assert_array_equal(SHIFTS.south[:, 1:], -SHIFTS.north[:, :-1])
    np.testing.assert_array_equal(SHIFTS.west[1:], -SHIFTS.east[:-1])
    assert abs(SHIFTS.north[0, 0]) > abs(SHIFTS.north[0, 1]) > abs(SHIFTS.north[0, 2])


def test_area_is_only_moved():
    changes = [getattr(SHIFTS, side) for side in ("north", "south", "east", "west")]
    area = sum(changes)
    weights = np.full(area.shape, 4.0)
    weights[0, :], weights[:, 0], weights[0, 0] = 2.0, 2.0, 1.0
    # What leaves through the outer border is the field there.
    assert abs((area * weights).sum()) < 2e-2 * AREA_LOSS


def test_constant_light_stays_constant():
    light = np.full((70, 80), 3e4)
    got = accumulate_charge(light, SHIFTS, steps=3)
    np.testing.assert_allclose(got[28:-28, 28:-28], 3e4, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_charge_is_conserved(steps):
    light = np.random.default_rng(2).uniform(0, 1e5, (700, 40))
    got = accumulate_charge(light, SHIFTS, steps=steps)
    assert got.sum() == pytest.approx(light.sum(), rel=1e-13)
    assert np.abs(got - light).max() > 100.0


def test_bright_pixel_gives_half_its_area_loss_to_the_sky_around():
    sky, star = 1000.0, 50_000.0
    light = np.full((41, 41), sky)
    light[20, 20] += star
    moved = accumulate_charge(light, SHIFTS, steps=8) - light
    # The brightness at the boundary is the mean of both sides; on average in
    # time half of the charge is there.
    lost = 0.5 * AREA_LOSS * star * 0.5 * (2 * sky + star)
    assert moved[20, 20] == pytest.approx(-lost, rel=0.05)
    assert np.all(moved[19:22, [19, 21]] > 0)
    # The effect is as wide as the kernel's anisotropy says.
    upper = SHIFTS.north[0, 0] / SHIFTS.east[0, 0]
    assert moved[21, 20] / moved[20, 21] == pytest.approx(upper, rel=0.05)


def test_strips_leave_no_seam():
    rng = np.random.default_rng(3)
    light = rng.uniform(0, 5e4, (1010, 24))
    whole = accumulate_charge(light, SHIFTS, steps=2)
    shifted = accumulate_charge(light[100:], SHIFTS, steps=2)
    np.testing.assert_allclose(shifted[40:], whole[140:], rtol=1e-12)


def test_first_step_against_direct_sums():
    light = np.random.default_rng(4).uniform(0, 5e4, (24, 22))
    got = accumulate_charge(light, SHIFTS, steps=1)
    size = SHIFTS.north.shape[0]
    padded = np.pad(0.5 * light, size + 1)
    expected = light.copy()
    for y in range(24):
        for x in range(22):
            around = padded[y + 1 : y + 2 * size + 2, x + 1 : x + 2 * size + 2]
            for dy, dx in ((1, 0), (0, 1)):
                if y + dy > 23 or x + dx > 21:
                    continue
                # Potential of both sides of the boundary, from all charges.
                here = np.sum(KERNEL[::-1, ::-1] * around)
                there_window = padded[y + 1 + dy : y + 2 * size + 2 + dy, x + 1 + dx : x + 2 * size + 2 + dx]
                shift = here - np.sum(KERNEL[::-1, ::-1] * there_window)
                moved = 0.5 * (light[y, x] + light[y + dy, x + dx]) * shift
                expected[y, x] += moved
                expected[y + dy, x + dx] -= moved
    # The matrices end one pixel before the potential.
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(got - light).max())


def test_full_pixels_repel_no_more():
    light = np.full((30, 30), 100.0)
    light[15, 15] = 1e6
    full = np.full(light.shape, 1e5)
    with_limit = accumulate_charge(light, SHIFTS, steps=4, full_well=full)
    without = accumulate_charge(light, SHIFTS, steps=4)
    assert without[15, 16] > 2.0 * with_limit[15, 16]
