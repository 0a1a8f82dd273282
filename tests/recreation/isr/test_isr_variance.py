"""Variance, defects, pixels that are not finite, bad regions and amplifier offsets."""

from __future__ import annotations

import dataclasses
import math

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_images import assert_unchanged, freeze

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    InconsistentUnitsError,
    InputDataError,
    RequestError,
)
from lsst.dax.image.recreation.isr import CalibrationInfo, Defects, IsrExposure, IsrPlane, box_slices
from lsst.dax.image.recreation.isr.amplifier_offsets import subtract_amplifier_offsets
from lsst.dax.image.recreation.isr.bad_regions import fill_bad_regions
from lsst.dax.image.recreation.isr.defects import flag_defects
from lsst.dax.image.recreation.isr.nan_mask import flag_nan
from lsst.dax.image.recreation.isr.variance import make_variance

SHAPE = (80, 192)
f32 = np.float32


def with_states(exposure: IsrExposure, **values: dict[str, float]) -> IsrExposure:
    """Return an exposure with fields of its amplifiers' states set by name."""
    states = tuple(
        dataclasses.replace(
            state, **{key: by_name[state.name] for key, by_name in values.items() if state.name in by_name}
        )
        for state in exposure.amplifiers
    )
    return dataclasses.replace(exposure, amplifiers=states)


# Variance


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_variance_in_electron_is_that_of_numpy_to_the_bit(vendor: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    before = make_exposure(
        make_detector(vendor),
        image=rng.normal(300, 50, SHAPE),
        variance=rng.uniform(0, 1, SHAPE),
        is_assembled=True,
    )
    noises = {state.name: 5.0 + 0.1 * k for k, state in enumerate(before.amplifiers)}
    before = freeze(with_states(before, read_noise=noises, gain=dict.fromkeys(noises, math.nan)))
    after = make_variance(before, threads=threads)
    expected = np.empty(SHAPE, f32)
    for amplifier in before.detector.amplifiers:
        box = box_slices(amplifier.bbox)
        expected[box] = (before.variance[box] + before.image[box]) + f32(noises[amplifier.name] ** 2)
    np.testing.assert_array_equal(after.variance, expected)
    assert_unchanged(after, before, "image", "mask")


def test_variance_in_adu_divides_by_the_gain() -> None:
    before = make_exposure(image=250.0, variance=2.0, unit=u.adu, is_assembled=True, gain=1.6, read_noise=8.0)
    after = make_variance(before)
    # 1.6 is no float32 but its reciprocal is exact to a rounding: 252 / 1.6 + 5^2.
    np.testing.assert_allclose(after.variance, 252.0 / 1.6 + 25.0, rtol=1.2e-7)
    expected = f32(252.0) * (f32(1.0) / f32(1.6)) + f32((8.0 / 1.6) ** 2)
    np.testing.assert_array_equal(after.variance, expected)


def test_an_impossible_variance_is_bad() -> None:
    image = np.full(SHAPE, -30.0, f32)
    image[3, 4:9] = [-36.0, -36.001, -35.999, np.nan, -1e9]
    mask = np.full(SHAPE, IsrPlane.SUSPECT, np.uint16)
    before = freeze(make_exposure(image=image, mask=mask, is_assembled=True, read_noise=6.0))
    after = make_variance(before)
    # Zero counts, a NaN does not.
    expected = mask.copy()
    expected[3, [4, 5, 8]] |= np.uint16(IsrPlane.BAD)
    np.testing.assert_array_equal(after.mask, expected)


def test_one_pixel_without_variance_is_enough() -> None:
    image = np.zeros(SHAPE, f32)
    image[70, 100] = -36.0
    after = make_variance(make_exposure(image=image, is_assembled=True, read_noise=6.0))
    assert np.argwhere(after.mask).tolist() == [[70, 100]]


def test_noise_that_is_no_number_is_an_error_but_for_bad_amplifiers() -> None:
    before = make_exposure(image=10.0, is_assembled=True)
    nan = with_states(before, read_noise={"C03": math.nan})
    with pytest.raises(InputDataError, match=r"Amplifier C03 of detector R22_S11 has a read noise of nan"):
        make_variance(nan)
    after = make_variance(with_states(nan, is_bad={"C03": True}))
    assert np.isnan(after.variance).sum() == 40 * 24
    in_adu = make_exposure(image=10.0, unit=u.adu, is_assembled=True, gain=0.0)
    with pytest.raises(InputDataError, match=r"a gain of 0.0 electron/adu but is not marked as bad"):
        make_variance(in_adu)


def test_variance_needs_electron_or_adu_and_no_overscans() -> None:
    with pytest.raises(InconsistentUnitsError, match=r"needs an image in electron or adu; .* is in nJy"):
        make_variance(make_exposure(unit=u.nJy, is_assembled=True))
    with pytest.raises(InputDataError, match="make_variance needs an assembled exposure"):
        make_variance(make_exposure())


# Defects


def make_defects(*boxes: Box) -> Defects:
    return Defects(info=CalibrationInfo(kind="defects"), boxes=boxes)


def test_defects_are_flagged_to_the_pixel_and_clipped() -> None:
    mask = np.full(SHAPE, IsrPlane.SATURATED, np.uint16)
    before = freeze(make_exposure(mask=mask, is_assembled=True))
    boxes = (
        Box.factory[10:12, 20:25],
        Box.factory[11:14, 22:23],  # overlaps
        Box.factory[-3:2, -4:5],  # over the lower left corner
        Box.factory[78:99, 190:300],  # over the upper right one
        Box.factory[-9:-2, 50:60],  # beyond
        Box.factory[500:510, 50:60],
    )
    after = flag_defects(before, defects=make_defects(*boxes))
    expected = mask.copy()
    for y0, y1, x0, x1 in ((10, 12, 20, 25), (11, 14, 22, 23), (0, 2, 0, 5), (78, 80, 190, 192)):
        expected[y0:y1, x0:x1] |= np.uint16(IsrPlane.BAD)
    np.testing.assert_array_equal(after.mask, expected)
    assert_unchanged(after, before, "image", "variance")
    assert after.amplifiers == before.amplifiers
    assert after.header["LSST ISR DEFECTS APPLIED"] is True


def test_bad_amplifiers_of_this_detector_are_flagged_whole() -> None:
    before = make_exposure(is_assembled=True)
    after = flag_defects(
        before, defects=make_defects(), bad_amplifiers=["R22_S11_C07", "R42_S21_C06", "R22_S11_C10"]
    )
    expected = np.zeros(SHAPE, np.uint16)
    expected[:40, 7 * 24 :] = expected[40:, :24] = IsrPlane.BAD
    np.testing.assert_array_equal(after.mask, expected)
    assert not any(state.is_bad for state in after.amplifiers)


def test_without_defects_the_mask_is_shared() -> None:
    before = make_exposure(is_assembled=True)
    assert_unchanged(flag_defects(before, defects=make_defects()), before, "image", "mask", "variance")


def test_an_unknown_amplifier_is_an_error() -> None:
    with pytest.raises(RequestError, match=r"'R22_S11_C18': detector R22_S11 has the amplifiers C10, C11"):
        flag_defects(
            make_exposure(is_assembled=True), defects=make_defects(), bad_amplifiers=("R22_S11_C18",)
        )
    with pytest.raises(InputDataError, match="flag_defects needs an assembled exposure"):
        flag_defects(make_exposure(), defects=make_defects())


# Pixels that are not finite


def test_what_is_not_finite_is_flagged_even_where_other_flags_are() -> None:
    image, variance = np.zeros(SHAPE, f32), np.ones(SHAPE, f32)
    image[1, 2], image[3, 4], variance[5, 6] = np.nan, -np.inf, np.nan
    image[7, 8], variance[7, 9] = np.finfo(f32).max, np.finfo(f32).tiny / 4
    mask = np.zeros(SHAPE, np.uint16)
    mask[1, 2] = IsrPlane.BAD
    before = freeze(make_exposure(image=image, variance=variance, mask=mask, is_assembled=True))
    after = flag_nan(before)
    expected = mask.copy()
    expected[[1, 3, 5], [2, 4, 6]] |= np.uint16(IsrPlane.UNMASKED_NAN)
    np.testing.assert_array_equal(after.mask, expected)
    assert_unchanged(after, before, "image", "variance")


def test_a_finite_exposure_comes_back_as_it_is() -> None:
    before = make_exposure(image=1.0, is_assembled=True)
    assert flag_nan(before) is before
    with pytest.raises(InputDataError, match="flag_nan needs an assembled exposure"):
        flag_nan(make_exposure())


# Bad regions


@pytest.mark.parametrize("n_good", [15, 16])
def test_bad_pixels_get_the_median_of_the_good(n_good: int) -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(700, 30, SHAPE).astype(f32)
    mask = np.full(SHAPE, IsrPlane.BAD, np.uint16)
    mask.flat[:n_good] = IsrPlane.SATURATED
    mask.flat[n_good] = 0
    image.flat[n_good] = np.nan  # not bad, and no number
    mask[40, :20] = IsrPlane.BAD | IsrPlane.INTERPOLATED
    before = freeze(make_exposure(image=image, mask=mask, is_assembled=True))
    after = fill_bad_regions(before)
    median = f32(np.median(image.ravel()[:n_good].astype(np.float64)))
    replaced = mask == IsrPlane.BAD
    np.testing.assert_array_equal(after.image, np.where(replaced, median, image))
    assert_unchanged(after, before, "mask", "variance")


def test_nothing_happens_without_bad_pixels_that_are_not_interpolated() -> None:
    mask = np.zeros(SHAPE, np.uint16)
    mask[4, 4] = IsrPlane.BAD | IsrPlane.INTERPOLATED
    before = make_exposure(mask=mask, is_assembled=True)
    assert fill_bad_regions(before) is before


def test_an_exposure_that_is_all_bad_is_refused() -> None:
    mask = np.full(SHAPE, IsrPlane.BAD, np.uint16)
    with pytest.raises(InputDataError, match=r"R22_S11, has no finite pixel without BAD among 15360"):
        fill_bad_regions(make_exposure(mask=mask, is_assembled=True))
    with pytest.raises(InputDataError, match="fill_bad_regions needs an assembled exposure"):
        fill_bad_regions(make_exposure())


# Amplifier offsets


def test_offsets_are_subtracted_and_recorded() -> None:
    before = freeze(make_exposure(image=100.0, is_assembled=True))
    pedestals = {state.name: 0.1 * k - 0.7 for k, state in enumerate(before.amplifiers)}
    after = subtract_amplifier_offsets(before, pedestals=pedestals)
    for amplifier, state in zip(after.detector.amplifiers, after.amplifiers, strict=True):
        pedestal = pedestals[amplifier.name]
        np.testing.assert_array_equal(after.image[box_slices(amplifier.bbox)], f32(100.0) - f32(pedestal))
        assert state.pedestal == pedestal
        assert after.header[f"LSST ISR AMPOFFSET PEDESTAL {amplifier.name}"] == pedestal
    assert after.header["LSST ISR AMPOFFSET PEDESTAL SUBTRACTED"] is True
    assert_unchanged(after, before, "mask", "variance")


def test_a_step_between_amplifiers_vanishes() -> None:
    steps = {f"C{half}{k}": float(3 * k - half) for half in (0, 1) for k in range(8)}
    before = make_exposure(is_assembled=True)
    image = before.image.copy()
    for amplifier in before.detector.amplifiers:
        image[box_slices(amplifier.bbox)] = 50.0 + steps[amplifier.name]
    after = subtract_amplifier_offsets(before.with_pixels(image=image), pedestals=steps)
    np.testing.assert_array_equal(after.image, 50.0)


def test_offsets_must_be_there_for_every_amplifier() -> None:
    before = make_exposure(is_assembled=True)
    pedestals = {state.name: 0.0 for state in before.amplifiers}
    with pytest.raises(CalibrationMismatchError, match=r"pedestal of amplifier C05 .* R22_S11, is None"):
        subtract_amplifier_offsets(before, pedestals={k: v for k, v in pedestals.items() if k != "C05"})
    with pytest.raises(CalibrationMismatchError, match=r"pedestal of amplifier C12 .* is nan"):
        subtract_amplifier_offsets(before, pedestals={**pedestals, "C12": math.nan})
    in_adu = make_exposure(unit=u.adu, is_assembled=True)
    with pytest.raises(InconsistentUnitsError, match=r"in electron, exposure 2025052300201 in adu"):
        subtract_amplifier_offsets(in_adu, pedestals=pedestals)
    with pytest.raises(InputDataError, match="needs an assembled exposure"):
        subtract_amplifier_offsets(make_exposure(), pedestals=pedestals)
