"""Crosstalk between amplifiers."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_amplifiers_oracle import crosstalk_oracle, cut

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    InconsistentUnitsError,
    InputDataError,
    RequestError,
)
from lsst.dax.image.recreation.isr import CalibrationInfo, Crosstalk, IsrExposure, IsrPlane

crosstalk_module = importlib.import_module("lsst.dax.image.recreation.isr.crosstalk")
correct_crosstalk = crosstalk_module.correct_crosstalk
correct_inter_chip_crosstalk = crosstalk_module.correct_inter_chip_crosstalk

N = 16
SHAPE = (102, 312)  # of the small detector
CROSSTALK = int(IsrPlane.CROSSTALK)


def make_crosstalk(
    linear: dict[tuple[int, int], float] | np.ndarray[Any, Any],
    quadratic: dict[tuple[int, int], float] | np.ndarray[Any, Any] | None = None,
    *,
    unit: u.UnitBase = u.electron,
    valid: np.ndarray[Any, Any] | None = None,
) -> Crosstalk:
    matrices = []
    for values in (linear, quadratic):
        matrix = np.zeros((N, N))
        if isinstance(values, dict):
            for (source, target), value in values.items():
                matrix[source, target] = value
        elif values is not None:
            matrix = values
        matrices.append(matrix)
    return Crosstalk(
        info=CalibrationInfo("crosstalk", source="crosstalk.fits"),
        linear=matrices[0],
        quadratic=matrices[1],
        valid=np.ones((N, N), bool) if valid is None else valid,
        unit=unit,
    )


def with_bad(exposure: IsrExposure, index: int) -> IsrExposure:
    states = list(exposure.amplifiers)
    states[index] = dataclasses.replace(states[index], is_bad=True)
    return exposure.with_amplifiers(tuple(states), step="test")


def random_matrices(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    linear, quadratic = rng.normal(1e-3, 1e-3, (N, N)), rng.normal(0, 1e-8, (N, N))
    for matrix in (linear, quadratic):
        np.fill_diagonal(matrix, 0)
        matrix[rng.random((N, N)) < 0.1] = 0
    quadratic[linear == 0] = 0
    return linear, quadratic


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize(("source", "target"), [(0, 3), (0, 12), (12, 1), (9, 15)])
def test_a_star_leaves_no_ghost_where_its_pixels_were_read_at_the_same_time(
    vendor: str, source: int, target: int
) -> None:
    detector = make_detector(vendor)
    image = np.full(SHAPE, 10.0, np.float32)
    star, ghost = cut(image, detector.amplifiers[source]), cut(image, detector.amplifiers[target])
    star[7:9, 5:8] = 50000.0
    clean = image.copy()
    ghost += 2e-4 * star + 1e-9 * star**2
    coefficients = make_crosstalk({(source, target): 2e-4}, {(source, target): 1e-9})
    corrected = correct_crosstalk(make_exposure(detector, image=image), crosstalk=coefficients)
    np.testing.assert_allclose(corrected.image, clean, rtol=1e-6)
    # 12.5 electron of ghost are flagged, on the pixels of the ghost alone.
    expected = np.zeros(SHAPE, bool)
    cut(expected, detector.amplifiers[target])[7:9, 5:8] = True
    np.testing.assert_array_equal(corrected.mask == CROSSTALK, expected)


def test_the_row_of_the_matrix_is_the_source_and_sources_are_uncorrected() -> None:
    detector = make_detector()
    image = np.zeros(SHAPE, np.float32)
    cut(image, detector.amplifiers[2])[:] = 1000.0
    cut(image, detector.amplifiers[5])[:] = 2000.0
    exposure = make_exposure(detector, image=image)
    result = correct_crosstalk(exposure, crosstalk=make_crosstalk({(2, 5): 0.01, (5, 2): 0.1, (2, 3): 0.5}))
    assert np.unique(cut(result.image, detector.amplifiers[2])) == [np.float32(800)]
    assert np.unique(cut(result.image, detector.amplifiers[5])) == [np.float32(1990)]
    assert np.unique(cut(result.image, detector.amplifiers[3])) == [np.float32(-500)]


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_pixels_and_mask_equal_a_slow_form_to_the_bit(vendor: str) -> None:
    detector = make_detector(vendor)
    rng = np.random.default_rng(4)
    image = rng.gamma(0.5, 2000.0, SHAPE).astype(np.float32)
    linear, quadratic = random_matrices(1)
    mask = rng.choice([0, 2, CROSSTALK], SHAPE).astype(np.uint16)
    exposure = make_exposure(detector, image=image, mask=mask)
    expected, flagged = crosstalk_oracle(image, detector, linear, quadratic, min_pixel=5.0)
    result = correct_crosstalk(exposure, crosstalk=make_crosstalk(linear, quadratic), min_pixel_to_mask=5.0)
    np.testing.assert_array_equal(result.image, expected)
    assert 0.01 < flagged.mean() < 0.99
    np.testing.assert_array_equal(result.mask, np.where(flagged, mask | CROSSTALK, mask))
    assert result.variance is exposure.variance
    assert result.header["LSST ISR CROSSTALK APPLIED"] is True


def test_what_does_not_count_is_left_out() -> None:
    detector = make_detector()
    image = np.random.default_rng(5).normal(1000, 100, SHAPE).astype(np.float32)
    linear, quadratic = random_matrices(2)
    counted, squares = linear.copy(), quadratic.copy()
    valid = np.ones((N, N), bool)
    valid[3, 4] = False
    linear[5, 6] = np.nan
    quadratic[7, 8], quadratic[9, 10] = np.inf, 1e-8
    linear[9, 10] = 0.0
    for s, t in ((3, 4), (5, 6), (9, 10)):
        counted[s, t] = squares[s, t] = 0
    squares[7, 8] = 0
    counted[1, :] = counted[:, 1] = squares[1, :] = squares[:, 1] = 0
    exposure = with_bad(make_exposure(detector, image=image), 1)
    expected, _ = crosstalk_oracle(image, detector, counted, squares, min_pixel=1.0)
    result = correct_crosstalk(exposure, crosstalk=make_crosstalk(linear, quadratic, valid=valid))
    np.testing.assert_array_equal(result.image, expected)
    # Not even NaN of a bad amplifier gets anywhere.
    broken = image.copy()
    cut(broken, detector.amplifiers[1])[:] = np.nan
    result = correct_crosstalk(
        exposure.with_pixels(image=broken), crosstalk=make_crosstalk(linear, quadratic, valid=valid)
    )
    np.testing.assert_array_equal(np.isnan(result.image), np.isnan(broken))
    np.testing.assert_array_equal(result.image[~np.isnan(broken)], expected[~np.isnan(broken)])


def test_squares_can_be_left_out() -> None:
    detector = make_detector("ITL")
    image = np.random.default_rng(5).normal(1e4, 100, SHAPE).astype(np.float32)
    linear, quadratic = random_matrices(3)
    expected, _ = crosstalk_oracle(image, detector, linear, np.zeros((N, N)), min_pixel=1.0)
    result = correct_crosstalk(
        make_exposure(detector, image=image),
        crosstalk=make_crosstalk(linear, quadratic),
        use_quadratic=False,
    )
    np.testing.assert_array_equal(result.image, expected)


@pytest.mark.parametrize(("unit", "other"), [(u.electron, u.adu), (u.adu, u.electron)])
def test_coefficients_in_the_other_unit_see_converted_pixels(unit: u.UnitBase, other: u.UnitBase) -> None:
    detector = make_detector()
    image = np.zeros(SHAPE, np.float32)
    cut(image, detector.amplifiers[0])[:] = 3000.0
    exposure = make_exposure(detector, image=image, unit=unit)
    gains = [1.5, 2.0, np.nan, *[1.75] * 13]
    states = [dataclasses.replace(s, gain=g) for s, g in zip(exposure.amplifiers, gains, strict=True)]
    exposure = exposure.with_amplifiers(tuple(states), step="test")
    coefficients = make_crosstalk({(0, 1): 1e-3, (0, 2): 1e-3}, {(0, 1): 1e-6}, unit=other)
    result = correct_crosstalk(exposure, crosstalk=coefficients)
    # 2000 adu induce 2 + 4 adu, which are 12 electron in the target; 4500 electron induce 4.5 + 20.25.
    in_electron, in_adu = (-12.0, -2 * 1.75), (-24.75 / 2.0, -4.5 / 1.75)
    expected = in_electron if unit == u.electron else in_adu
    for index, value in zip((1, 2), expected, strict=True):
        np.testing.assert_allclose(cut(result.image, detector.amplifiers[index]), value, rtol=1e-6)
    np.testing.assert_allclose(cut(result.image, detector.amplifiers[0]), 3000.0, rtol=2e-7)


def test_a_common_level_is_flagged_in_the_overscan_only() -> None:
    detector = make_detector()
    exposure = make_exposure(detector, image=1000.0)
    result = correct_crosstalk(exposure, crosstalk=make_crosstalk({(0, 1): 5e-3}))
    raw = detector.amplifiers[1].assembled_raw_geometry
    assert raw is not None
    expected = np.zeros(SHAPE, bool)
    cut(expected, detector.amplifiers[1])[:] = True
    expected[raw.data_bbox.y.start : raw.data_bbox.y.stop, raw.data_bbox.x.start : raw.data_bbox.x.stop] = (
        False
    )
    np.testing.assert_array_equal(result.mask == CROSSTALK, expected)


def test_negative_crosstalk_is_flagged_too() -> None:
    detector = make_detector()
    image = np.zeros(SHAPE, np.float32)
    cut(image, detector.amplifiers[0])[4, 6] = 10000.0
    result = correct_crosstalk(
        make_exposure(detector, image=image), crosstalk=make_crosstalk({(0, 9): -1e-4})
    )
    assert np.count_nonzero(result.mask) == 1
    assert cut(result.mask, detector.amplifiers[9])[4, 6] == CROSSTALK


def test_bright_sources_flag_their_targets() -> None:
    detector = make_detector("ITL")
    image = np.full(SHAPE, 100.0, np.float32)
    source = cut(image, detector.amplifiers[4])
    source[3, 5], source[6, 7], source[8, 8] = 45100.0, 45099.0, np.nan
    exposure = make_exposure(detector, image=image)
    result = correct_crosstalk(
        exposure,
        crosstalk=make_crosstalk({(4, 2): 1e-9, (4, 11): 1e-9}),
        mask_subtrahend=False,
        min_pixel_to_mask=45000.0,
    )
    # The limit is counted from the median, 100; targets without a coefficient are not flagged.
    expected = np.zeros(SHAPE, bool)
    for index in (2, 11):
        cut(expected, detector.amplifiers[index])[3, 5] = True
    np.testing.assert_array_equal(result.mask == CROSSTALK, expected)


def test_inputs_stay_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crosstalk_module, "_STRIPE", 7)
    image = np.random.default_rng(6).normal(1000, 100, SHAPE).astype(np.float32)
    exposure = make_exposure(image=image)
    coefficients = make_crosstalk(*random_matrices(4))
    one = correct_crosstalk(exposure, crosstalk=coefficients)
    four = correct_crosstalk(exposure, crosstalk=coefficients, threads=4)
    np.testing.assert_array_equal(one.image, four.image)
    np.testing.assert_array_equal(one.mask, four.mask)
    np.testing.assert_array_equal(exposure.image, image)
    assert not exposure.mask.any()


def test_pixels_outside_of_amplifiers_stay() -> None:
    detector = make_detector()
    image = np.full((SHAPE[0] + 3, SHAPE[1] + 5), 7.0, np.float32)
    exposure = dataclasses.replace(
        make_exposure(detector),
        image=image,
        mask=np.zeros(image.shape, np.uint16),
        variance=np.zeros_like(image),
    )
    result = correct_crosstalk(exposure, crosstalk=make_crosstalk({(0, 1): 1.0}))
    assert (result.image[SHAPE[0] :] == 7).all()
    assert (result.image[:, SHAPE[1] :] == 7).all()


@pytest.mark.parametrize("kind", ["normal", "constant", "two levels", "gradient", "half NaN", "all NaN"])
@pytest.mark.parametrize("shape", [(200, 301), (301, 200), (181, 181), (9, 4)])
def test_the_median_of_a_box_is_that_of_numpy(kind: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0.1, 1e-3, shape).astype(np.float32)
    if kind == "constant":
        values[:] = 0.1
    elif kind == "two levels":
        values[:] = rng.choice([1, 2], shape)
    elif kind == "gradient":
        values += np.arange(shape[0], dtype=np.float32)[:, None]
    elif kind == "half NaN":
        values[rng.random(shape) < 0.5] = np.nan
    elif kind == "all NaN":
        values[:] = np.nan
    image = np.full((shape[0] + 4, shape[1] + 6), 9.0, np.float32)
    image[3:-1, 2:-4] = values
    found = crosstalk_module._median(image, Box.factory[3 : 3 + shape[0], 2 : 2 + shape[1]])
    expected = np.median(values[~np.isnan(values)]) if kind != "all NaN" else np.float32(np.nan)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


@pytest.mark.parametrize("level", [-100.0, 100.0])
def test_the_median_does_not_depend_on_its_sample(level: float) -> None:
    values = np.random.default_rng(8).normal(0, 1, (400, 400)).astype(np.float32)
    # Every third row and column is what the sample looks at.
    values[::3, ::3] = level
    found = crosstalk_module._median(values, Box.factory[0:400, 0:400])
    assert found == np.median(values)


def test_errors_say_both_sides() -> None:
    exposure = make_exposure()
    good = make_crosstalk({(0, 1): 1e-3})
    with pytest.raises(InputDataError, match="this one is assembled"):
        correct_crosstalk(make_exposure(is_assembled=True), crosstalk=good)
    with pytest.raises(RequestError, match=r"must be positive, not 0\.0"):
        correct_crosstalk(exposure, crosstalk=good, min_pixel_to_mask=0.0)
    wrong = dataclasses.replace(good, quadratic=np.zeros((4, 4)))
    with pytest.raises(
        CalibrationMismatchError, match=r"quadratic .*fits have shape \(4, 4\), .* 16 amplifiers"
    ):
        correct_crosstalk(exposure, crosstalk=wrong)
    with pytest.raises(InconsistentUnitsError, match="coefficients is nJy, neither"):
        correct_crosstalk(exposure, crosstalk=dataclasses.replace(good, unit=u.nJy))
    with pytest.raises(InconsistentUnitsError, match="exposure is nJy, neither"):
        correct_crosstalk(dataclasses.replace(exposure, unit=u.nJy), crosstalk=good)
    with pytest.raises(InputDataError, match=r"per adu need gains for an image in electron, but no gain"):
        correct_crosstalk(make_exposure(gain=np.nan), crosstalk=dataclasses.replace(good, unit=u.adu))
    small = dataclasses.replace(
        exposure, image=exposure.image[:-1], mask=exposure.mask[:-1], variance=exposure.variance[:-1]
    )
    with pytest.raises(InputDataError, match=r"C10 .* outside an image of 101 rows and 312 columns"):
        correct_crosstalk(small, crosstalk=good)


def test_amplifiers_of_different_size_are_refused() -> None:
    detector = make_detector()
    raw = detector.amplifiers[1].assembled_raw_geometry
    assert raw is not None
    raw.bbox = Box.factory[51:102, 39:77]
    with pytest.raises(InputDataError, match=r"C10 has 51 x 39 pixels and C11 51 x 38"):
        correct_crosstalk(make_exposure(detector), crosstalk=make_crosstalk({(0, 1): 1e-3}))


def test_a_star_on_another_detector_leaves_no_ghost() -> None:
    here, there = make_detector("E2V"), make_detector("ITL")
    rng = np.random.default_rng(9)
    bright = np.zeros(SHAPE, np.float32)
    cut(bright, there.amplifiers[12])[5, 9] = 20000.0
    clean = rng.normal(100, 10, SHAPE).astype(np.float32)
    seen = clean.copy()
    cut(seen, here.amplifiers[3])[5, 9] += 20.0
    cut(seen, here.amplifiers[13])[5, 9] -= 10.0
    matrix = np.zeros((N, N))
    matrix[12, 3], matrix[12, 13], matrix[1, 1] = 1e-3, -5e-4, np.nan
    exposure = make_exposure(here, image=seen)
    sources = {"N1": make_exposure(there, image=bright)}
    result = correct_inter_chip_crosstalk(exposure, sources=sources, coefficients={"N1": matrix})
    np.testing.assert_allclose(result.image, clean, rtol=1e-6)
    assert np.count_nonzero(result.mask == CROSSTALK) == 2
    assert cut(result.mask, here.amplifiers[13])[5, 9] == CROSSTALK
    np.testing.assert_array_equal(exposure.image, seen)
    # Neither a bad source nor a bad target takes part.
    for target, its in ((with_bad(exposure, 3), sources), (exposure, {"N1": with_bad(sources["N1"], 12)})):
        result = correct_inter_chip_crosstalk(target, sources=its, coefficients={"N1": matrix})
        assert cut(result.image, here.amplifiers[3])[5, 9] == cut(seen, here.amplifiers[3])[5, 9]


def test_inter_chip_errors_say_both_sides() -> None:
    exposure, zero = make_exposure(), np.zeros((N, N))

    def correct(source: IsrExposure, matrix: np.ndarray[Any, Any] = zero) -> None:
        correct_inter_chip_crosstalk(exposure, sources={"N1": source}, coefficients={"N1": matrix})

    with pytest.raises(InputDataError, match=r"from detector N2 needs its exposure; there are \['N1'\]"):
        correct_inter_chip_crosstalk(exposure, sources={"N1": exposure}, coefficients={"N2": zero})
    with pytest.raises(InputDataError, match=r"that of N1 is assembled"):
        correct(make_exposure(is_assembled=True))
    with pytest.raises(InconsistentUnitsError, match=r"N1 is in adu, the exposure in electron"):
        correct(make_exposure(unit=u.adu))
    with pytest.raises(
        CalibrationMismatchError, match=r"from N1 to R22_S11 have shape \(2, 2\), .* \(16, 16\)"
    ):
        correct(exposure, np.zeros((2, 2)))
    with pytest.raises(InputDataError, match=r"C10 of N1 has .* \(51, 38\), C10 of R22_S11 \(51, 39\)"):
        correct(make_exposure(make_detector(data=(40, 23))))
