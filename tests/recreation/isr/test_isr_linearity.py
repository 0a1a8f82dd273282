"""Correction of non-linearity."""

from __future__ import annotations

import dataclasses
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_amplifiers_oracle import linearity_oracle

from lsst.dax.image._kernels import isr_intervals_nb, isr_linearity_nb
from lsst.dax.image.errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import (
    AmplifierLinearity,
    CalibrationInfo,
    IsrExposure,
    LinearityType,
    Linearizer,
)
from lsst.dax.image.recreation.isr._intervals import make_interval_table
from lsst.dax.image.recreation.isr.linearity import correct_linearity

SHAPE = (102, 312)  # of the small detector
NAMES = [amplifier.name for amplifier in make_detector().amplifiers]
TABLE = np.random.default_rng(11).normal(0, 3, (3, 4000))


def make_linearizer(
    form: str, coefficients: Any, *, unit: u.UnitBase = u.electron, **others: tuple[str, Any]
) -> Linearizer:
    """Return a linearizer of the same form for all amplifiers, but those named."""
    amplifiers = dict.fromkeys(NAMES, (form, coefficients)) | others
    return Linearizer(
        info=CalibrationInfo("linearizer", source="linearizer.fits"),
        amplifiers={
            name: AmplifierLinearity(LinearityType(kind), np.array(values, dtype=float))
            for name, (kind, values) in amplifiers.items()
        },
        unit=unit,
        table=TABLE,
    )


def correct_pixels(values: Any, form: str, coefficients: Any) -> np.ndarray[Any, Any]:
    """Return what the first pixels of an image become."""
    image = np.zeros(SHAPE, np.float32)
    image[0, : len(values)] = values
    result = correct_linearity(
        make_exposure(image=image, unit=u.adu), linearizer=make_linearizer(form, coefficients, unit=u.adu)
    )
    return result.image[0, : len(values)]


def with_gain(exposure: IsrExposure, name: str, gain: float) -> IsrExposure:
    states = [dataclasses.replace(s, gain=gain) if s.name == name else s for s in exposure.amplifiers]
    return exposure.with_amplifiers(tuple(states), step="test")


def spline(rng: np.random.Generator, n: int, *, first: float = 0.0) -> np.ndarray[Any, Any]:
    centers = np.append(first, first + np.sort(rng.uniform(1, 60000, n - 1)))
    return np.concatenate([centers, rng.normal(0, 20, n)])


def test_a_spline_on_a_line_is_that_line() -> None:
    # Lost signal of 1 % in the file becomes a signal 1 % smaller; constant beyond the last knot less 0.1.
    values = np.array([0, 1, 17.5, 99, 1000, 5e4, -20], np.float32)
    knots = np.array([0, 10, 100, 1000, 20000])
    found = correct_pixels(values, "Spline", [*knots, *(0.01 * knots)])
    lost = [0, 0.01, 0.175, 0.99, 10, 0.01 * 19999.9, 0]
    np.testing.assert_allclose(found, values - np.array(lost), rtol=1e-7)


@pytest.mark.parametrize(("form", "numbers", "margin"), [("Spline", [], 0.1), ("DoubleSpline", [5, 0], 0.01)])
def test_a_spline_ends_a_little_below_its_last_knot(form: str, numbers: list[int], margin: float) -> None:
    knots = np.array([0, 10, 100, 1000, 20000])
    found = correct_pixels([20000, 20010], form, [*numbers, *knots, *(0.9 * knots)])
    end = 20000 - margin
    np.testing.assert_allclose(found, [20000 - 0.9 * end, 20010 - 0.9 * end], rtol=1e-7)


def test_the_second_spline_acts_on_what_the_first_left() -> None:
    knots = np.array([0, 10, 100, 1000, 20000])
    first, second = [*knots, *(0.5 * knots)], [*knots, *(0.1 * knots)]
    np.testing.assert_allclose(
        correct_pixels([1000], "DoubleSpline", [5, 5, *first, *second]), 450, rtol=1e-6
    )


def test_a_spline_is_anchored_at_zero() -> None:
    # The first value is an offset without meaning; the knot (0, 0) comes in front of the shifted ones.
    centers, values = np.array([10.0, 100, 1000, 2000]), np.array([7.0, 8, 9, 5])
    expected = Akima1DInterpolator([0, *centers], [0, *(values - 7)], method="akima")
    points = np.array([0.0, 5, 10, 50, 500, 1500], np.float32)
    found = correct_pixels(points, "Spline", [*centers, *values])
    np.testing.assert_array_equal(found, (points - expected(points)).astype(np.float32))


def test_analytic_forms() -> None:
    assert correct_pixels([100, -50], "Squared", [1e-3, 99]).tolist() == [110, -47.5]
    np.testing.assert_allclose(
        correct_pixels([10, -10], "Polynomial", [1e-2, 1e-3, 1e-4]), [13, -9], rtol=1e-7
    )
    found = correct_pixels([0, 1.2, 2.9, -0.6, -99, 1e6], "LookupTable", [1, 2])
    expected = np.array([0, 1.2, 2.9, -0.6, -99, 1e6]) + TABLE[1, [2, 3, 4, 1, 0, 3999]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for form in ("Proportional", "None"):
        assert correct_pixels([1.5, np.nan], form, [0, 1e-3])[0] == 1.5


FORMS = {
    "Spline": spline(np.random.default_rng(1), 12),
    "Squared": np.array([1e-6]),
    "Polynomial": np.array([1e-6, 1e-11, -1e-16]),
    "LookupTable": np.array([2.0, 50.0]),
    "DoubleSpline": np.concatenate(
        [[9, 14], spline(np.random.default_rng(2), 9, first=0.5), spline(np.random.default_rng(3), 14)]
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gain", [1.0, 1.37])
@pytest.mark.parametrize("noise", [20.0, 30000.0])
def test_pixels_equal_a_slow_form_to_the_bit(form: str, gain: float, noise: float) -> None:
    rng = np.random.default_rng(7)
    image = rng.normal(3000, noise, SHAPE).astype(np.float32)
    exposure = make_exposure(image=image, gain=gain)
    linearizer = make_linearizer(form, FORMS[form], unit=u.electron if gain == 1 else u.adu)
    result = correct_linearity(exposure, linearizer=linearizer)
    expected = linearity_oracle(image, form, FORMS[form], gain=gain, table=TABLE)
    np.testing.assert_array_equal(result.image, expected)
    assert np.abs(expected - image).max() > 0.1
    assert result.mask is exposure.mask
    assert result.variance is exposure.variance
    assert result.header["LSST ISR LINEARIZER APPLIED"] is True


def test_a_correction_in_adu_is_the_same_after_the_gain() -> None:
    image = np.random.default_rng(8).uniform(0, 50000, SHAPE).astype(np.float32)
    for form, coefficients in FORMS.items():
        linearizer = make_linearizer(form, coefficients, unit=u.adu)
        adu = correct_linearity(make_exposure(image=image, unit=u.adu, gain=2.0), linearizer=linearizer)
        electron = correct_linearity(make_exposure(image=2 * image, gain=2.0), linearizer=linearizer)
        # Splines end 0.1 of a unit below their last knot, in either unit.
        np.testing.assert_allclose(electron.image, 2 * adu.image, rtol=1e-6, atol=0.05)


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.floats(1e-3, 1e5), min_size=2, max_size=30),
    fraction=st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
def test_intervals_and_cubics_are_those_of_scipy_to_the_bit(gaps: list[float], fraction: list[float]) -> None:
    knots = np.concatenate([[0.0], np.cumsum(gaps)])
    expected = Akima1DInterpolator(knots, np.sin(np.arange(knots.size)), method="akima")
    table, origin, cells_per_unit = make_interval_table(knots)
    points = np.concatenate([np.array(fraction) * knots[-1], knots, np.nextafter(knots, 0)])
    for point in points[(points >= 0) & (points < knots[-1])]:
        k = isr_intervals_nb.find_interval(point, knots[None], table[None], 0, origin, cells_per_unit)
        assert knots[k] <= point < knots[k + 1]
        value = isr_linearity_nb.evaluate_piece(point - knots[k], *expected.c[::-1, k])
        assert value == expected(point)


def test_pixels_without_a_number_stay_so() -> None:
    image = np.full(SHAPE, 100.0, np.float32)
    image[0, :4] = np.nan, np.inf, -np.inf, 100
    for form, coefficients in FORMS.items():
        exposure, linearizer = make_exposure(image=image), make_linearizer(form, coefficients)
        # Infinity minus infinity warns where the kernels run as plain Python.
        with np.errstate(invalid="ignore"):
            found = correct_linearity(exposure, linearizer=linearizer).image
        assert np.isnan(found[0, 0])
        assert np.isnan(found).sum() <= 3
        assert not np.isnan(found[0, 3:]).any()


def test_amplifiers_have_their_own_correction() -> None:
    exposure = make_exposure(image=100.0, unit=u.adu)
    bad = [
        dataclasses.replace(state, is_bad=True) if state.name == "C11" else state
        for state in exposure.amplifiers
    ]
    exposure = exposure.with_amplifiers(tuple(bad), step="test")
    linearizer = make_linearizer(
        "Proportional",
        [],
        unit=u.adu,
        C10=("Squared", [1e-3]),
        C11=("Squared", [2e-3]),
        C12=("Spline", [0, 10, 20, np.nan, 0, 1]),
        C13=("DoubleSpline", [2, 0, 0, 1000, 0, 10]),
        C14=("DoubleSpline", [2, np.nan, 0, 1000, 0, 10]),
    )
    result = correct_linearity(exposure, linearizer=linearizer)
    medians = [
        float(np.median(result.image[box.y.start : box.y.stop, box.x.start : box.x.stop]))
        for box in (result.amplifier_bbox(amplifier) for amplifier in exposure.detector.amplifiers[:6])
    ]
    np.testing.assert_allclose(medians, [110, 120, np.nan, 99, np.nan, 100])


def test_an_amplifier_of_unknown_gain_is_left_if_the_gain_matters() -> None:
    exposure = with_gain(make_exposure(image=100.0), "C10", np.nan)
    corner = (slice(60, 62), slice(0, 2))  # of C10
    result = correct_linearity(exposure, linearizer=make_linearizer("Squared", [1e-3], unit=u.adu))
    assert (result.image[corner] == 100).all()
    assert np.count_nonzero(result.image == 100) == 51 * 39
    result = correct_linearity(exposure, linearizer=make_linearizer("Squared", [1e-3]))
    assert (result.image == np.float32(110)).all()


def test_an_assembled_exposure_is_corrected_by_its_data_boxes() -> None:
    exposure = make_exposure(image=100.0, is_assembled=True)
    result = correct_linearity(exposure, linearizer=make_linearizer("None", [], C10=("Squared", [1e-3])))
    expected = np.full((80, 192), 100, np.float32)
    expected[40:, :24] = 110
    np.testing.assert_array_equal(result.image, expected)


def test_inputs_stay_and_threads_do_not_matter() -> None:
    image = np.random.default_rng(6).normal(1000, 100, SHAPE).astype(np.float32)
    exposure, linearizer = make_exposure(image=image), make_linearizer("DoubleSpline", FORMS["DoubleSpline"])
    one = correct_linearity(exposure, linearizer=linearizer)
    four = correct_linearity(exposure, linearizer=linearizer, threads=4)
    np.testing.assert_array_equal(one.image, four.image)
    np.testing.assert_array_equal(exposure.image, image)


@pytest.mark.parametrize(
    ("form", "coefficients", "error", "message"),
    [
        ("Spline", [0, 1, 2], InputDataError, r"C10 .*fits has \[0\. 1\. 2\.\]"),
        (
            "Spline",
            [0, 5, 5, 0, 1, 2],
            InputDataError,
            r"must increase, and by .*: \[0\. 5\. 5\.\]",
        ),
        ("Spline", [0, 0.05, 0, 1], InputDataError, r"by more than 0\.1"),
        ("DoubleSpline", [2, 2, 0, 1, 0, 1], InputDataError, r"have 10 coefficients, but .* has 6"),
        ("DoubleSpline", [2], InputDataError, r"takes 2 coefficients, not 1"),
        ("Squared", [], InputDataError, r"takes 1 coefficients, not 0"),
        ("LookupTable", [3, 0], CalibrationMismatchError, r"Row 3 .* is wanted; there are 3"),
    ],
)
def test_unusable_coefficients(
    form: str, coefficients: list[float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        correct_linearity(make_exposure(), linearizer=make_linearizer(form, coefficients))


def test_errors_say_both_sides() -> None:
    linearizer = make_linearizer("Squared", [1e-6])
    short = dataclasses.replace(
        linearizer, amplifiers={name: linearizer.amplifiers[name] for name in NAMES if name != "C05"}
    )
    with pytest.raises(CalibrationMismatchError, match=r"lacks amplifiers \['C05'\] .*'C10'"):
        correct_linearity(make_exposure(), linearizer=short)
    with pytest.raises(InconsistentUnitsError, match=r"is in electron, the exposure in adu"):
        correct_linearity(make_exposure(unit=u.adu), linearizer=linearizer)
    with pytest.raises(InconsistentUnitsError, match=r"linearizer is nJy, neither"):
        correct_linearity(make_exposure(), linearizer=dataclasses.replace(linearizer, unit=u.nJy))
    none = dataclasses.replace(make_linearizer("LookupTable", [0, 0]), table=None)
    with pytest.raises(CalibrationMismatchError, match=r"Row 0 .* there are 0"):
        correct_linearity(make_exposure(), linearizer=none)
