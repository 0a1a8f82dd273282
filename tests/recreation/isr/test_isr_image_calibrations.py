"""Bias, dark and flat, and the variance that comes of all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Polygon
from tests.support.isr import make_exposure
from tests.support.isr_images import assert_unchanged, freeze, make_calibration_image

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    InconsistentUnitsError,
    InputDataError,
    RequestError,
)
from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane
from lsst.dax.image.recreation.isr.bias import subtract_bias
from lsst.dax.image.recreation.isr.dark import subtract_dark
from lsst.dax.image.recreation.isr.flat import apply_flat
from lsst.dax.image.recreation.isr.variance import make_variance

STEPS: dict[str, Callable[..., IsrExposure]] = {
    "bias": subtract_bias,
    "dark": subtract_dark,
    "flat": apply_flat,
}
f32 = np.float32


def unit_of(kind: str) -> u.UnitBase:
    return u.dimensionless_unscaled if kind == "flat" else u.electron


def make_random(seed: int = 1, **fields: Any) -> tuple[IsrExposure, dict[str, Any]]:
    """Return an exposure and three calibrations with noise in all planes."""
    rng = np.random.default_rng(seed)
    shape = (80, 192)
    exposure = make_exposure(
        image=rng.normal(1000, 300, shape), variance=rng.uniform(0, 2, shape), is_assembled=True, **fields
    )
    exposure = exposure.with_pixels(mask=rng.integers(0, 4096, shape).astype(np.uint16))
    levels = {"bias": (0.0, 3.0), "dark": (0.1, 0.05), "flat": (1.0, 0.1)}
    calibrations = {
        kind: make_calibration_image(
            exposure,
            kind,
            image=rng.normal(mean, sigma, shape),
            variance=rng.uniform(0, 0.01, shape),
            mask=rng.integers(0, 4096, shape) & rng.integers(0, 4096, shape),
            unit=u.dimensionless_unscaled if kind == "flat" else exposure.unit,
        )
        for kind, (mean, sigma) in levels.items()
    }
    return freeze(exposure), calibrations


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("threads", [1, 3, 4])
def test_pixels_are_those_of_numpy_to_the_bit(kind: str, threads: int) -> None:
    before, calibrations = make_random()
    other = calibrations[kind]
    after = STEPS[kind](before, **{kind: other}, threads=threads)
    image, variance = before.image, before.variance
    if kind == "bias":
        expected, expected_variance = image - other.image, variance + other.variance
    elif kind == "dark":
        expected = image - f32(31.0) * other.image
        expected_variance = variance + f32(961.0) * other.variance
    else:
        square = other.image * other.image
        numerator = image * image * other.variance + square * variance
        denominator = square.astype(np.float64) * square.astype(np.float64)
        expected, expected_variance = image / other.image, (numerator / denominator).astype(f32)
    for found, wanted in ((after.image, expected), (after.variance, expected_variance)):
        assert found.dtype == wanted.dtype == f32
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(after.mask, before.mask | other.mask)
    assert after.mask.dtype == np.uint16
    assert after.header[f"LSST ISR {kind.upper()} APPLIED"] is True
    assert after.unit == before.unit


@pytest.mark.parametrize("kind", STEPS)
def test_a_mask_without_flags_is_not_copied(kind: str) -> None:
    before, calibrations = make_random()
    clean = dataclasses.replace(calibrations[kind], mask=np.zeros((80, 192), np.uint16))
    assert_unchanged(STEPS[kind](before, **{kind: clean}), before, "mask")


@pytest.mark.parametrize(
    ("dark_time_s", "own_time_s", "scale"), [(30.0, math.nan, 30.0), (30.0, 15.0, 2.0), (0.0, 1.0, 0.0)]
)
def test_the_dark_scales_with_time_and_its_variance_with_the_square(
    dark_time_s: float, own_time_s: float, scale: float
) -> None:
    before = make_exposure(image=100.0, variance=1.0, is_assembled=True)
    before = dataclasses.replace(before, info=dataclasses.replace(before.info, dark_time_s=dark_time_s))
    dark = make_calibration_image(before, "dark", image=0.25, variance=0.5, dark_time_s=own_time_s)
    after = subtract_dark(before, dark=dark)
    np.testing.assert_array_equal(after.image, 100.0 - 0.25 * scale)
    np.testing.assert_array_equal(after.variance, 1.0 + 0.5 * scale**2)


def test_the_scale_of_the_dark_is_rounded_once() -> None:
    before = make_exposure(image=1.0, is_assembled=True)
    info = dataclasses.replace(before.info, dark_time_s=31.3)
    dark = make_calibration_image(before, "dark", image=0.1, variance=0.1, dark_time_s=0.7)
    after = subtract_dark(dataclasses.replace(before, info=info), dark=dark)
    scale = 31.3 / 0.7
    assert after.image[0, 0] == f32(1.0) - f32(scale) * f32(0.1)
    # The square is taken before it is rounded; the square of the rounded scale differs.
    assert after.variance[0, 0] == f32(scale * scale) * f32(0.1)


def test_a_flat_makes_a_constant_scene_constant_again() -> None:
    x = np.linspace(0.7, 1.3, 192)
    before = make_exposure(image=500.0 * x.astype(f32), is_assembled=True)
    after = apply_flat(before, flat=make_calibration_image(before, "flat", image=x, unit=u.one))
    np.testing.assert_allclose(after.image, 500.0, rtol=1.2e-7)


def test_variance_of_all_steps_is_the_propagated_one() -> None:
    before, calibrations = make_random(read_noise=7.3)
    before = before.with_pixels(variance=np.zeros_like(before.variance))
    bias, dark, flat = (calibrations[kind] for kind in STEPS)
    after = subtract_dark(subtract_bias(before, bias=bias), dark=dark)
    after = apply_flat(make_variance(after), flat=flat)
    wide = np.float64
    electrons = before.image.astype(wide) - bias.image - 31.0 * dark.image.astype(wide)
    variance = electrons + 7.3**2 + bias.variance + 31.0**2 * dark.variance.astype(wide)
    f = flat.image.astype(wide)
    expected = variance / f**2 + electrons**2 * flat.variance / f**4
    np.testing.assert_allclose(after.image, electrons / f, rtol=3e-6, atol=1e-4)
    # Rounding in float32, step by step, is of the largest term and not of the sum.
    np.testing.assert_allclose(after.variance, expected, rtol=1e-6, atol=1e-3)


def test_the_pull_of_a_simulated_sky_is_one() -> None:
    rng = np.random.default_rng(11)
    shape = (80, 192)
    flat_image = rng.uniform(0.8, 1.2, shape)
    dark_image, bias_image = rng.uniform(0, 2, shape), rng.normal(0, 10, shape)
    sky = 400.0
    counts = rng.poisson(sky * flat_image + 31.0 * dark_image) + rng.normal(0, 9.0, shape) + bias_image
    before = make_exposure(image=counts, is_assembled=True, read_noise=9.0)
    bias, dark, flat = (
        make_calibration_image(before, kind, image=pixels, unit=unit_of(kind))
        for kind, pixels in (("bias", bias_image), ("dark", dark_image), ("flat", flat_image))
    )
    after = subtract_dark(subtract_bias(before, bias=bias), dark=dark)
    # The dark current's own photons count: its electrons were subtracted, their noise stays.
    noisy = make_variance(after.with_pixels(image=after.image + f32(31.0) * dark.image))
    after = apply_flat(after.with_pixels(variance=noisy.variance), flat=flat)
    pull = (after.image - sky) / np.sqrt(after.variance)
    n = pull.size
    assert abs(pull.std() - 1.0) < 4.0 / math.sqrt(2 * n) + 1e-3
    assert abs((after.image - sky).mean()) < 4.0 * np.sqrt(after.variance.mean() / n)


@pytest.mark.parametrize("value", [1e10, 0.0])
def test_pixels_without_light_get_a_variance_of_their_own(value: float) -> None:
    before, calibrations = make_random()
    polygon = Polygon.from_box(Box.factory[0:80, 0:100])
    flat = dataclasses.replace(calibrations["flat"], valid_polygon=polygon)
    plain = apply_flat(before, flat=calibrations["flat"])
    after = apply_flat(before, flat=flat, no_data_variance=value, threads=4)
    # Both the exposure's own NO_DATA and the flat's count.
    dark = ((before.mask | flat.mask) & IsrPlane.NO_DATA) != 0
    assert 0 < dark.sum() < dark.size
    np.testing.assert_array_equal(after.image, np.where(dark, f32(0.0), plain.image))
    np.testing.assert_array_equal(after.variance, np.where(dark, f32(value), plain.variance))
    np.testing.assert_array_equal(after.mask, plain.mask)


def test_the_variance_without_light_is_that_of_today_unless_told() -> None:
    before, calibrations = make_random()
    flat = dataclasses.replace(calibrations["flat"], valid_polygon=Polygon.from_box(Box.factory[0:80, 0:100]))
    after = apply_flat(before, flat=flat)
    assert (after.variance[(after.mask & IsrPlane.NO_DATA) != 0] == f32(1e10)).all()
    with pytest.raises(RequestError, match=r"must be 0 or more, not -1\.0"):
        apply_flat(before, flat=flat, no_data_variance=-1.0)


def test_big_endian_and_strided_calibrations_give_the_same() -> None:
    before, calibrations = make_random()
    for kind, step in STEPS.items():
        native = calibrations[kind]
        from_file = dataclasses.replace(
            native,
            image=native.image.astype(">f4"),
            variance=np.asfortranarray(native.variance),
            mask=native.mask.astype(">u2"),
        )
        expected, found = step(before, **{kind: native}), step(before, **{kind: from_file})
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.variance, expected.variance)
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found.mask.dtype == np.uint16


@pytest.mark.parametrize("kind", STEPS)
def test_a_calibration_of_another_size_is_refused(kind: str) -> None:
    before, calibrations = make_random()
    for plane in ("image", "mask", "variance"):
        other = dataclasses.replace(
            calibrations[kind], **{plane: getattr(calibrations[kind], plane)[:, :191]}
        )
        message = rf"The {plane} of {kind} {kind}.fits has \(80, 191\) pixels .* R22_S11, \(80, 192\)"
        with pytest.raises(CalibrationMismatchError, match=message):
            STEPS[kind](before, **{kind: other})


@pytest.mark.parametrize("kind", ["bias", "dark"])
def test_electron_against_adu_is_refused(kind: str) -> None:
    _, calibrations = make_random()
    exposure = make_exposure(unit=u.adu, is_assembled=True)
    message = rf"{kind} {kind}.fits is in electron; exposure 2025052300201, .* in adu, needs adu"
    with pytest.raises(InconsistentUnitsError, match=message):
        STEPS[kind](exposure, **{kind: calibrations[kind]})


def test_a_flat_with_a_unit_is_refused() -> None:
    before, calibrations = make_random()
    flat = dataclasses.replace(calibrations["flat"], unit=u.electron)
    with pytest.raises(InconsistentUnitsError, match=r"flat flat.fits is in electron; .* needs no unit"):
        apply_flat(before, flat=flat)


@pytest.mark.parametrize("kind", STEPS)
def test_overscans_are_refused(kind: str) -> None:
    _, calibrations = make_random()
    with pytest.raises(InputDataError, match="needs an assembled exposure"):
        STEPS[kind](make_exposure(), **{kind: calibrations[kind]})


def test_dark_times_must_be_times() -> None:
    before, calibrations = make_random()
    endless = dataclasses.replace(before, info=dataclasses.replace(before.info, dark_time_s=math.nan))
    with pytest.raises(InputDataError, match=r"Exposure 2025052300201.* a dark time of nan s; the dark dark"):
        subtract_dark(endless, dark=calibrations["dark"])
    dark = dataclasses.replace(calibrations["dark"], dark_time_s=0.0)
    with pytest.raises(CalibrationMismatchError, match=r"dark.fits has a dark time of 0.0 s .* 31.0 s"):
        subtract_dark(before, dark=dark)
