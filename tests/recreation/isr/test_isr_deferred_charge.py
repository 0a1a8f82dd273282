"""Correction of the serial charge transfer."""

from __future__ import annotations

import dataclasses
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_amplifiers_oracle import cut, deferred_charge_oracle

from lsst.dax.image.errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import (
    AmplifierChargeTransfer,
    CalibrationInfo,
    DeferredCharge,
    IsrExposure,
    SerialTrap,
    TrapType,
)
from lsst.dax.image.recreation.isr.deferred_charge import _prepare, correct_deferred_charge

LAYOUT = {"data": (20, 50), "prescan": 4, "serial": 30, "parallel": 5}
SHAPE = (50, 672)  # of a detector of this layout
NAMES = [amplifier.name for amplifier in make_detector().amplifiers]


def make_trap(form: str, coefficients: Any, *, size: float = 10.0, time: float = 3.0) -> SerialTrap:
    return SerialTrap(size, time, 40, TrapType(form), np.array(coefficients, dtype=float))


def make_cti(
    *, drift: float = 0.0, decay: float = 3.1, cti: float = 0.0, trap: SerialTrap | None = None
) -> DeferredCharge:
    """Return the same charge transfer for all amplifiers."""
    transfer = AmplifierChargeTransfer(drift, decay, cti, trap)
    return DeferredCharge(
        info=CalibrationInfo("cti", source="cti.fits"), amplifiers=dict.fromkeys(NAMES, transfer)
    )


TRAPS = {
    "none": None,
    "linear": make_trap("linear", [5e-3], size=20),
    "logistic": make_trap("logistic", [800.0, 2e-3], size=30, time=0.7),
    "spline": make_trap("spline", [0, 100, 1000, 20000, 1, 5, 20, 70, np.nan, np.nan]),
    "low spline": make_trap("spline", [500, 600, 2, 50]),
}


def with_star(vendor: str = "E2V", value: float = 1000.0, column: int = 15) -> IsrExposure:
    """Return an exposure with one bright pixel, on row 7 of every amplifier."""
    detector = make_detector(vendor, **LAYOUT)
    image = np.zeros(SHAPE, np.float32)
    for amplifier in detector.amplifiers:
        cut(image, amplifier)[7, column] = value
    return make_exposure(detector, image=image)


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_a_bright_pixel_takes_back_the_offset_behind_it(vendor: str) -> None:
    exposure = with_star(vendor)
    result = correct_deferred_charge(exposure, cti=make_cti(drift=1e-3, decay=3.0))
    expected = np.zeros(84)
    expected[15 : 15 + 15] = -np.exp(-np.arange(15) / 3.0)
    expected[15] += 1000
    for amplifier in exposure.detector.amplifiers:
        pixels = cut(result.image, amplifier)
        np.testing.assert_allclose(pixels[7], expected, rtol=1e-7, atol=1e-12)
        assert np.count_nonzero(pixels) == 15


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_a_bright_pixel_takes_back_what_its_trap_released(vendor: str) -> None:
    # The pixel lost f = 5 electron; r^n (1 - r) of them followed it n + 1 pixels later.
    exposure = with_star(vendor)
    trap = make_trap("linear", [5e-3], size=20, time=2.0)
    result = correct_deferred_charge(exposure, cti=make_cti(trap=trap, cti=0.01))
    r, caught = np.exp(-0.5), 0.99 * 5.0
    expected = np.zeros(84)
    expected[15] = 1000 + caught
    expected[16:22] = -caught * (1 - r) * r ** np.arange(6)
    for amplifier in exposure.detector.amplifiers:
        pixels = cut(result.image, amplifier)
        np.testing.assert_allclose(pixels[7], expected, rtol=1e-7, atol=1e-12)
        # Charge is conserved but for what is still trapped after 6 transfers.
        np.testing.assert_allclose(pixels.sum(dtype=float), 1000 + caught * r**6, rtol=1e-7)


def test_a_trap_holds_no_more_than_its_size() -> None:
    for value, caught in ((100.0, 0.5), (2000.0, 10.0), (90000.0, 10.0)):
        exposure = with_star(value=value)
        result = correct_deferred_charge(exposure, cti=make_cti(trap=make_trap("linear", [5e-3], size=10)))
        pixel = cut(result.image, exposure.detector.amplifiers[3])[7, 15]
        np.testing.assert_allclose(pixel, value + caught, rtol=1e-7)


def test_the_drift_of_a_simulated_row_is_undone_to_second_order() -> None:
    rng = np.random.default_rng(3)
    detector = make_detector(**LAYOUT)
    truth = np.zeros(SHAPE, np.float32)
    seen = np.zeros(SHAPE, np.float32)
    scale, decay = 1e-3, 2.0
    for amplifier in detector.amplifiers:
        raw = amplifier.assembled_raw_geometry
        assert raw is not None
        box = raw.data_bbox
        data = rng.gamma(0.3, 3000, (box.y.size, box.x.size))
        truth[box.y.start : box.y.stop, box.x.start : box.x.stop] = data
        signal, offset = cut(truth, amplifier), np.zeros(25)
        for x in range(signal.shape[1]):
            offset = np.maximum(scale * signal[:, x], offset * np.exp(-1 / decay))
            cut(seen, amplifier)[:, x] = signal[:, x] + offset
    result = correct_deferred_charge(
        make_exposure(detector, image=seen), cti=make_cti(drift=scale, decay=decay)
    )
    peak = truth.max()
    assert np.abs(seen - truth).max() > 0.5 * scale * peak
    # What is left: the second order, and the tail that 15 pixels do not reach.
    assert np.abs(result.image - truth).max() < 2 * scale * peak * (scale + np.exp(-15 / decay))


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("drift", [0.0, 3e-4])
@pytest.mark.parametrize("noise", [10.0, 5000.0])
def test_pixels_equal_a_slow_form_to_the_bit(vendor: str, trap: str, drift: float, noise: float) -> None:
    detector = make_detector(vendor, **LAYOUT)
    image = np.random.default_rng(2).normal(700, noise, SHAPE).astype(np.float32)
    exposure = make_exposure(detector, image=image)
    cti = make_cti(drift=drift, cti=1e-5, trap=TRAPS[trap])
    result = correct_deferred_charge(exposure, cti=cti)
    expected = image.copy()
    for amplifier in detector.amplifiers:
        raw = amplifier.assembled_raw_geometry
        assert raw is not None
        for box in (raw.parallel_overscan_bbox, raw.prescan_bbox):
            assert box is not None
            expected[box.y.start : box.y.stop, box.x.start : box.x.stop] = 0
        pixels = cut(expected, amplifier)
        pixels[:] = deferred_charge_oracle(pixels, cti.amplifiers[amplifier.name])
    np.testing.assert_array_equal(result.image, expected)
    assert result.mask is exposure.mask
    assert result.variance is exposure.variance
    assert result.header["LSST ISR CTI APPLIED"] is True
    np.testing.assert_array_equal(exposure.image, image)


def test_published_sums() -> None:
    """The sums of the observatory's own test of the two inverse operators."""
    image = np.full((128, 88), 100.0)
    image[:, :8], image[:, -16:] = 0, 1
    for form, expected in (
        (None, 821094.5118501),
        ("linear", 821734.3965605),
        ("logistic", 821733.2317048),
    ):
        trap = None if form is None else make_trap(form, [5.0, 1e-3])
        transfer = _prepare(AmplifierChargeTransfer(1.8e-4, 3.1, 1.4e-7, trap), False, "amp0")
        assert transfer is not None
        # In double precision, to see more figures than the float32 of an image has.
        corrected: Any = image.copy()
        transfer.restore((0, 0, 88, 128), 0, corrected)
        np.testing.assert_allclose(corrected.sum(), expected, rtol=0, atol=1e-6)


def test_prescan_and_parallel_overscan_are_emptied_even_without_a_correction() -> None:
    exposure = make_exposure(make_detector("ITL"), image=5.0)
    result = correct_deferred_charge(exposure, cti=make_cti())
    expected = np.full((102, 312), 5, np.float32)
    for amplifier in exposure.detector.amplifiers:
        pixels = cut(expected, amplifier)
        pixels[:40, :3], pixels[40:, 3:27] = 0, 0
    np.testing.assert_array_equal(result.image, expected)


@pytest.mark.parametrize(
    ("drift", "trap", "reach"), [(1e-4, "none", 14), (0.0, "spline", 6), (1e-4, "linear", 20)]
)
def test_nan_reaches_what_depends_on_it(drift: float, trap: str, reach: int) -> None:
    exposure = with_star()
    image = np.where(exposure.image > 0, np.float32(np.nan), np.float32(10))
    result = correct_deferred_charge(
        exposure.with_pixels(image=image), cti=make_cti(drift=drift, trap=TRAPS[trap])
    )
    expected = np.zeros(SHAPE, bool)
    for amplifier in exposure.detector.amplifiers:
        cut(expected, amplifier)[7, 15 : 16 + reach] = True
    np.testing.assert_array_equal(np.isnan(result.image), expected)


def test_threads_do_not_matter() -> None:
    image = np.random.default_rng(6).normal(1000, 100, (102, 312)).astype(np.float32)
    exposure, cti = make_exposure(image=image), make_cti(drift=1e-4, trap=TRAPS["spline"])
    one = correct_deferred_charge(exposure, cti=cti)
    four = correct_deferred_charge(exposure, cti=cti, threads=4)
    np.testing.assert_array_equal(one.image, four.image)


def test_a_bad_amplifier_may_have_no_parameters() -> None:
    cti = make_cti(drift=1e-3)
    broken = AmplifierChargeTransfer(np.nan, 3.0, 0.0, None)
    cti = dataclasses.replace(cti, amplifiers={**cti.amplifiers, "C10": broken})
    exposure = make_exposure(image=1000.0)
    with pytest.raises(InputDataError, match=r"amplifier C10 of cti\.fits is not finite"):
        correct_deferred_charge(exposure, cti=cti)
    states = [dataclasses.replace(state, is_bad=state.name == "C10") for state in exposure.amplifiers]
    result = correct_deferred_charge(exposure.with_amplifiers(tuple(states), step="test"), cti=cti)
    c10, c11 = (cut(result.image, amplifier) for amplifier in exposure.detector.amplifiers[:2])
    assert c10[5, 20] == 1000
    np.testing.assert_allclose(c11[5, 20], 999, rtol=1e-6)


@pytest.mark.parametrize(
    ("cti", "message"),
    [
        (make_cti(drift=1e-3, decay=0.0), r"times of amplifier C10 .* must be positive"),
        (make_cti(trap=make_trap("linear", [1.0], time=0.0)), r"times of amplifier C10 .* must be positive"),
        (make_cti(trap=make_trap("linear", [np.nan])), r"takes 1 coefficients .* not 0"),
        (make_cti(trap=make_trap("logistic", [1.0])), r"takes 2 coefficients .* not 1"),
        (make_cti(trap=make_trap("spline", [0, 1, 2, 0, 1])), r"takes 4 coefficients .* in pairs.* not 5"),
        (make_cti(trap=make_trap("spline", [0, 0, 1, 2])), r"must increase: \[0\. 0\.\]"),
        (make_cti(trap=make_trap("linear", [1.0], size=np.inf)), r"is not finite"),
    ],
)
def test_unusable_parameters(cti: DeferredCharge, message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        correct_deferred_charge(make_exposure(), cti=cti)


def test_errors_say_both_sides() -> None:
    cti = make_cti(drift=1e-3)
    with pytest.raises(InconsistentUnitsError, match=r"in electron, but the exposure is in adu"):
        correct_deferred_charge(make_exposure(unit=u.adu), cti=cti)
    with pytest.raises(InputDataError, match=r"this one is assembled"):
        correct_deferred_charge(make_exposure(is_assembled=True), cti=cti)
    short = dataclasses.replace(cti, amplifiers={name: cti.amplifiers[name] for name in NAMES[1:]})
    with pytest.raises(CalibrationMismatchError, match=r"lacks amplifiers \['C10'\] .*'C11'"):
        correct_deferred_charge(make_exposure(), cti=short)
    exposure = make_exposure()
    small = dataclasses.replace(
        exposure, image=exposure.image[:-1], mask=exposure.mask[:-1], variance=exposure.variance[:-1]
    )
    with pytest.raises(InputDataError, match=r"C10 .* outside an image of 101 rows"):
        correct_deferred_charge(small, cti=cti)
