"""Corrections of the brighter-fatter effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from tests.support.isr_brighter_fatter import (
    SHAPE,
    make_assembled,
    make_kernel,
    make_large,
    make_shifts,
    make_stars,
)
from tests.support.isr_brighter_fatter_oracle import boundary_shifts, exchange_oracle
from tests.support.isr_interpolation_oracle import interpolate_oracle

from lsst.dax.image.errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import BrighterFatterDistortion, CalibrationInfo, IsrExposure, IsrPlane
from lsst.dax.image.recreation.isr.brighter_fatter import (
    correct_brighter_fatter_electrostatic,
    correct_brighter_fatter_flux_conserving,
    correct_brighter_fatter_kernel,
)
from lsst.dax.image.recreation.isr.mask_growth import grow_planes

BAD = IsrPlane.SATURATED | IsrPlane.BAD | IsrPlane.NO_DATA | IsrPlane.UNMASKED_NAN


def electrostatic(exposure: IsrExposure, threads: int = 1) -> IsrExposure:
    """Correct with the usual shifts."""
    return correct_brighter_fatter_electrostatic(exposure, electro_bf=make_shifts(), threads=threads)


def kernel(exposure: IsrExposure, threads: int = 1) -> IsrExposure:
    """Correct with the usual kernel."""
    return correct_brighter_fatter_kernel(exposure, bfk=make_kernel(), threads=threads)


def flux_conserving(exposure: IsrExposure, threads: int = 1) -> IsrExposure:
    """Correct with the usual kernel, moving flux."""
    return correct_brighter_fatter_flux_conserving(exposure, bfk=make_kernel(), threads=threads)


each_method = pytest.mark.parametrize("correct", [electrostatic, kernel, flux_conserving])
type Correct = Callable[..., IsrExposure]


@each_method
def test_a_constant_image_stays_in_the_interior(correct: Correct) -> None:
    image = correct(make_assembled(3000.0)).image
    np.testing.assert_allclose(image[12:-12, 12:-12], 3000.0, rtol=1e-7)


@pytest.mark.parametrize("correct", [electrostatic, flux_conserving])
def test_charge_is_conserved_up_to_the_edges(correct: Correct) -> None:
    before = make_assembled(make_stars())
    after = correct(before)
    effect = after.image.astype(np.float64) - before.image
    assert np.abs(effect).sum() > 1000
    # What is left is the rounding of each pixel to float32.
    assert abs(effect.sum()) < 5 * np.sqrt(np.square(np.spacing(after.image) * 0.3).sum())


@each_method
def test_a_star_becomes_sharper_and_keeps_its_flux(correct: Correct) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 5e4 * np.exp(-((y - 40) ** 2 + (x - 48) ** 2) / (2 * 2.0**2))
    corrected = correct(make_assembled(star + 100)).image - 100.0
    radius2 = (y - 40) ** 2 + (x - 48) ** 2
    near = radius2 < 15**2
    assert corrected[near].sum() == pytest.approx(star[near].sum(), rel=1e-3)
    assert corrected[40, 48] > star[40, 48] * 1.002
    assert (corrected * radius2)[near].sum() < (star * radius2)[near].sum() * 0.999


@each_method
def test_doubled_flux_doubles_the_relative_effect(correct: Correct) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    # Small enough that iterations do not show, and exact in float32.
    star = np.round(2000 * np.exp(-((y - 40) ** 2 + (x - 48) ** 2) / (2 * 2.5**2)))
    effects = [
        correct(make_assembled(scale * star)).image[38:43, 46:51] / (scale * star)[38:43, 46:51] - 1
        for scale in (1.0, 2.0)
    ]
    peak = np.abs(effects[1]).max()
    np.testing.assert_allclose(effects[1], 2 * effects[0], atol=0.01 * peak)


@each_method
def test_threads_do_not_change_a_bit(correct: Correct) -> None:
    exposure = make_large()
    one, four = correct(exposure), correct(exposure, threads=4)
    np.testing.assert_array_equal(one.image, four.image)
    assert one.header == four.header


@each_method
def test_inputs_are_left_alone(correct: Correct) -> None:
    mask = np.zeros(SHAPE, np.uint16)
    mask[20:22, 30:40] = IsrPlane.SATURATED
    exposure = make_assembled(make_stars(), mask)
    copies = [plane.copy() for plane in (exposure.image, exposure.mask, exposure.variance)]
    correct(exposure)
    for plane, copy in zip((exposure.image, exposure.mask, exposure.variance), copies, strict=True):
        np.testing.assert_array_equal(plane, copy)


@each_method
def test_bad_planes_grow_and_the_frame_is_marked(correct: Correct) -> None:
    mask = np.zeros(SHAPE, np.uint16)
    pixels = {(20, 20): IsrPlane.BAD, (30, 40): IsrPlane.SATURATED, (40, 60): IsrPlane.NO_DATA}
    pixels |= {(50, 70): IsrPlane.UNMASKED_NAN, (60, 30): IsrPlane.SUSPECT}
    for pixel, plane in pixels.items():
        mask[pixel] = plane
    result = correct(make_assembled(500.0, mask)).mask
    is_electrostatic = correct is electrostatic
    for plane in pixels.values():
        grown = grow_planes(mask, plane, radius=0 if plane is IsrPlane.SUSPECT else 2)
        if plane is IsrPlane.SATURATED and is_electrostatic:
            grown = grow_planes(mask, plane, radius=3)
        np.testing.assert_array_equal(result & plane, grown & plane)
    # Half of a kernel of 17, or of a matrix of 6.
    frame = np.ones(SHAPE, dtype=bool)
    width = 3 if is_electrostatic else 8
    frame[width:-width, width:-width] = False
    np.testing.assert_array_equal(result & IsrPlane.DETECTION_EDGE != 0, frame)
    interpolated = grow_planes(mask, IsrPlane.SATURATED, radius=1) & BAD != 0
    np.testing.assert_array_equal(result & IsrPlane.INTERPOLATED != 0, interpolated & is_electrostatic)


@each_method
def test_bad_pixels_do_not_act_on_others(correct: Correct) -> None:
    stars = make_stars()
    mask = np.zeros(SHAPE, np.uint16)
    mask[20, 30], mask[40, 50], mask[60, 20] = IsrPlane.BAD, IsrPlane.SATURATED, IsrPlane.UNMASKED_NAN
    spoiled = stars.copy()
    spoiled[20, 30], spoiled[40, 50], spoiled[60, 20] = 1e6, 2e5, np.nan
    bad = grow_planes(mask, IsrPlane.SATURATED, radius=1) & BAD != 0
    variance = stars + np.float32(30)
    one = correct(make_assembled(stars, mask).with_pixels(variance=variance))
    other = correct(make_assembled(spoiled, mask).with_pixels(variance=variance))
    np.testing.assert_array_equal(one.image[~bad], other.image[~bad])
    if correct is electrostatic:
        np.testing.assert_array_equal(one.image, other.image)
        expected, expected_variance = interpolate_oracle(stars, variance, bad)
        np.testing.assert_allclose(one.image[bad], expected[bad], rtol=0.05)
        np.testing.assert_array_equal(one.variance, expected_variance)
    else:
        assert np.isnan(other.image[60, 20])
        assert other.image[20, 30] == pytest.approx(1e6, abs=200)
        np.testing.assert_array_equal(one.variance, variance)


@each_method
def test_wrong_exposures_are_refused(correct: Correct) -> None:
    exposure = make_assembled(100.0)
    with pytest.raises(InconsistentUnitsError, match=r"in electron; Exposure 2025052300201.* is in adu"):
        correct(dataclasses.replace(exposure, unit=u.adu))
    with pytest.raises(InputDataError, match=r"needs assembled pixels; Exposure .* is untrimmed"):
        correct(dataclasses.replace(exposure, is_assembled=False))
    image = exposure.image.copy()
    image[7, 9] = image[30, 30] = np.nan
    with pytest.raises(InputDataError, match=r"has 2 of 7680 pixels that are not finite.* x=9, y=7"):
        correct(exposure.with_pixels(image=image))


# The electrostatic form


def test_a_single_pixel_gets_its_charge_back_from_four_neighbours() -> None:
    flux, at = 1e5, (40, 48)
    image = np.zeros(SHAPE)
    image[at] = flux
    shifts = make_shifts(seed=3)
    corrected = correct_brighter_fatter_electrostatic(make_assembled(image), electro_bf=shifts).image
    # Each boundary of the pixel moves by the charge inside: the upper and
    # right ones as south and west say, of a pixel that is not behind them; the
    # lower and left ones are those of the pixels below and to the left.
    taken = {
        (41, 48): 0.25 * shifts.south[0, 0] * flux**2,
        (39, 48): -0.25 * shifts.south[0, 1] * flux**2,
        (40, 49): 0.25 * shifts.west[0, 0] * flux**2,
        (40, 47): -0.25 * shifts.west[1, 0] * flux**2,
    }
    for pixel, value in taken.items():
        assert corrected[pixel] == pytest.approx(value, rel=1e-6)
    assert corrected[at] == pytest.approx(flux - sum(taken.values()), rel=1e-7)
    rest = corrected.copy()
    rest[at] = 0
    for pixel in taken:
        rest[pixel] = 0
    np.testing.assert_allclose(rest, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "index", "offset", "boundary"),
    [
        ("north", (2, 3), (3, 2), "upper"),
        ("south", (2, 3), (-3, 2), "upper"),
        ("east", (2, 3), (3, 2), "right"),
        ("west", (2, 3), (3, -2), "right"),
    ],
)
def test_matrices_are_serial_and_parallel(
    matrix: str, index: tuple[int, int], offset: tuple[int, int], boundary: str
) -> None:
    one = np.zeros((6, 6))
    one[index] = 1e-7
    zero = np.zeros((6, 6))
    none = BrighterFatterDistortion(CalibrationInfo("electro_bf"), zero, zero, zero, zero)
    change: dict[str, Any] = {matrix: one}
    shifts = dataclasses.replace(none, **change)
    image = np.full(SHAPE, 10.0)
    image[40, 48] = 1e5
    delta = image - correct_brighter_fatter_electrostatic(make_assembled(image), electro_bf=shifts).image
    # Charge 1e5 moves that boundary of the pixels at the offset and its mirror
    # image by 0.01 pixels: a quarter of the sum of both pixels, 20 electrons.
    y, x = 40 + offset[0], 48 + offset[1]
    assert delta[y, x] == pytest.approx(0.25 * 1e-2 * 20, rel=0.01)
    gainer = (y + 1, x) if boundary == "upper" else (y, x + 1)
    assert delta[gainer] == pytest.approx(-0.25 * 1e-2 * 20, rel=0.01)
    mirror = (y, 96 - x) if boundary == "upper" else (80 - y, x)
    assert delta[mirror] == pytest.approx(0.25 * 1e-2 * 20, rel=0.01)
    across = (80 - y, x) if boundary == "upper" else (y, 96 - x)
    assert abs(delta[across]) < 1e-3


@pytest.mark.parametrize("n", [2, 3, 8, 10])
def test_the_exchange_is_that_of_the_whole_image(n: int) -> None:
    stars = make_stars(sky=3000.0)
    shifts = make_shifts(n, seed=n)
    corrected = correct_brighter_fatter_electrostatic(make_assembled(stars), electro_bf=shifts).image
    kernels = boundary_shifts(shifts.north, shifts.south, shifts.east, shifts.west)
    expected = stars - exchange_oracle(stars.astype(np.float64), *kernels)
    # One rounding to float32, and hardly ever a different one.
    np.testing.assert_array_almost_equal_nulp(corrected, expected.astype(np.float32), nulp=1)
    assert np.mean(corrected != expected.astype(np.float32)) < 1e-3
    assert np.abs(expected - stars).max() > 1


def test_blocks_exchange_charge_with_each_other() -> None:
    large = make_large()
    shifts = make_shifts(4, seed=1)
    corrected = correct_brighter_fatter_electrostatic(large, electro_bf=shifts).image
    image = large.image.astype(np.float64)
    kernels = boundary_shifts(shifts.north, shifts.south, shifts.east, shifts.west)
    expected = (image - exchange_oracle(image, *kernels)).astype(np.float32)
    np.testing.assert_array_almost_equal_nulp(corrected, expected, nulp=1)
    assert np.mean(corrected != expected) < 1e-3


def test_filters_have_shifts_of_their_own() -> None:
    shifts = make_shifts()
    own = (2 * shifts.north, 2 * shifts.south, 2 * shifts.east, 2 * shifts.west)
    both = dataclasses.replace(shifts, by_filter={"r_57": own})
    exposure = make_assembled(make_stars())
    usual = correct_brighter_fatter_electrostatic(exposure, electro_bf=both)
    filtered = correct_brighter_fatter_electrostatic(exposure, electro_bf=both, use_filter=True)
    effect, doubled = usual.image - exposure.image, filtered.image - exposure.image
    np.testing.assert_allclose(doubled, 2 * effect, atol=0.01)
    assert usual.header["LSST ISR BF CORR METHOD"] == "ASTIER23"
    assert filtered.header["LSST ISR BF CORR METHOD"] == "ASTIER23+FILTERCORRECTION"
    with pytest.raises(CalibrationMismatchError, match=r"are of the filters \[\], not 'r_57'"):
        correct_brighter_fatter_electrostatic(exposure, electro_bf=shifts, use_filter=True)


def test_unusable_shifts_are_refused() -> None:
    exposure = make_assembled(100.0)
    shifts = make_shifts()
    with pytest.raises(InputDataError, match=r"bf.fits have the shapes \[\(5, 6\), .*they must be square"):
        wrong = dataclasses.replace(shifts, north=shifts.north[:5])
        correct_brighter_fatter_electrostatic(exposure, electro_bf=wrong)
    with pytest.raises(InputDataError, match=r"bf.fits are not all finite"):
        wrong = dataclasses.replace(shifts, west=np.full((6, 6), np.nan))
        correct_brighter_fatter_electrostatic(exposure, electro_bf=wrong)
