"""Gains and bad amplifiers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from tests.support.isr import make_detector, make_exposure

from lsst.dax.image.errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.isr import (
    AmplifierPtc,
    CalibrationInfo,
    Defects,
    GainCorrection,
    IsrExposure,
    IsrPlane,
    OverscanStatistics,
    PhotonTransferCurve,
    box_slices,
    raw_geometry,
)
from lsst.dax.image.recreation.isr.amplifiers import (
    apply_gains,
    check_amplifiers,
    correct_gains,
    flag_bad_amplifiers,
    set_gains,
)

NAMES = [amplifier.name for amplifier in make_detector().amplifiers]


def make_ptc(**changes: AmplifierPtc) -> PhotonTransferCurve:
    curves = {
        name: AmplifierPtc(
            gain=1.5 + 0.01 * number,
            read_noise=6.0 + 0.1 * number,
            turnoff_adu=9e4,
            overscan_median_adu=1000.0,
            overscan_median_sigma_adu=2.0,
        )
        for number, name in enumerate(NAMES)
    }
    return PhotonTransferCurve(CalibrationInfo("ptc", source="ptc.fits"), {**curves, **changes})


def with_states(exposure: IsrExposure, name: str, **changes: Any) -> IsrExposure:
    states = tuple(
        dataclasses.replace(state, **changes) if name in ("all", state.name) else state
        for state in exposure.amplifiers
    )
    return dataclasses.replace(exposure, amplifiers=states)


def find_flagged(exposure: IsrExposure) -> set[str]:
    """Return amplifiers that are BAD in all raw pixels; no other pixel may be."""
    expected = np.zeros(exposure.mask.shape, np.uint16)
    flagged = set()
    for amplifier in exposure.detector.amplifiers:
        slices = box_slices(raw_geometry(amplifier).bbox)
        if (exposure.mask[slices] & np.uint16(IsrPlane.BAD)).all():
            flagged.add(amplifier.name)
            expected[slices] = IsrPlane.BAD
    np.testing.assert_array_equal(exposure.mask, expected)
    assert flagged == {state.name for state in exposure.amplifiers if state.is_bad}
    return flagged


def test_gains_come_from_the_curve() -> None:
    nan = AmplifierPtc(gain=math.nan, read_noise=math.nan, turnoff_adu=math.nan)
    exposure = set_gains(make_exposure(unit=u.adu), ptc=make_ptc(C03=nan))
    by_name = {state.name: state for state in exposure.amplifiers}
    assert by_name["C12"].gain == 1.52
    assert by_name["C12"].read_noise == pytest.approx(6.2)
    assert exposure.header["LSST ISR GAIN C12"] == 1.52
    assert exposure.header["LSST ISR READNOISE C12"] == pytest.approx(6.2)
    assert math.isnan(by_name["C03"].gain)
    # FITS holds no NaN.
    assert "LSST ISR GAIN C03" not in exposure.header
    with pytest.raises(CalibrationMismatchError, match=r"'ptc' ptc.fits has no amplifier C10; it has C01"):
        set_gains(exposure, ptc=PhotonTransferCurve(make_ptc().info, {"C01": nan}))


def test_amplifier_is_bad_if_one_defect_covers_its_data() -> None:
    exposure = make_exposure(unit=u.adu)
    # C01 is at columns 24 to 47 of rows 0 to 39 (trimmed), C02 right of it.
    one = Box.factory[0:40, 24:48]
    larger = Box.factory[0:41, 20:50]
    halves = Box.factory[0:40, 48:60], Box.factory[0:40, 60:72]
    one_row_short = Box.factory[1:40, 96:120]
    for boxes, bad in (((one,), {"C01"}), ((larger,), {"C01"}), (halves, set()), ((one_row_short,), set())):
        defects = Defects(CalibrationInfo("defects"), boxes)
        assert find_flagged(flag_bad_amplifiers(exposure, defects=defects)) == bad
    assert not exposure.mask.any()


@pytest.mark.parametrize("gain", [math.nan, math.inf])
def test_amplifier_is_bad_without_a_gain(gain: float) -> None:
    exposure = with_states(make_exposure(unit=u.adu), "C15", gain=gain)
    assert find_flagged(flag_bad_amplifiers(exposure)) == {"C15"}
    with pytest.raises(InputDataError, match="After 'flag_bad_amplifiers' all 16 amplifiers"):
        flag_bad_amplifiers(with_states(exposure, "all", gain=gain))


def test_exposure_of_good_amplifiers_stays_the_same() -> None:
    exposure = make_exposure(unit=u.adu)
    assert flag_bad_amplifiers(exposure) is exposure


def test_gain_correction_multiplies_gains_alone() -> None:
    exposure = set_gains(make_exposure(unit=u.adu), ptc=make_ptc())
    correction = GainCorrection(
        CalibrationInfo("gain_correction", source="g.yaml"), dict.fromkeys(NAMES, 1.01)
    )
    corrected = correct_gains(exposure, gain_correction=correction)
    for before, after in zip(exposure.amplifiers, corrected.amplifiers, strict=True):
        assert after.gain == before.gain * 1.01
        assert after.read_noise == before.read_noise
        assert corrected.header[f"LSST ISR GAIN {after.name}"] == after.gain
    assert corrected.header["LSST ISR GAINCORRECTION APPLIED"] is True
    assert correct_gains(exposure) is exposure
    with pytest.raises(CalibrationMismatchError, match=r"'gain_correction' g.yaml has no amplifier C11"):
        correct_gains(exposure, gain_correction=GainCorrection(correction.info, {"C10": 1.0}))
    with pytest.raises(InconsistentUnitsError, match="an image in adu; this one is in electron"):
        correct_gains(apply_gains(exposure), gain_correction=correction)


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize("is_assembled", [False, True])
def test_gains_turn_counts_into_electrons(vendor: str, is_assembled: bool) -> None:
    rng = np.random.default_rng(4)
    detector = make_detector(vendor, data=(71, 33))
    shape = make_exposure(detector, is_assembled=is_assembled).image.shape
    exposure = make_exposure(
        detector,
        image=rng.normal(1e4, 100, shape),
        variance=rng.uniform(0, 9, shape),
        unit=u.adu,
        is_assembled=is_assembled,
    )
    exposure = set_gains(exposure, ptc=make_ptc())
    exposure = with_states(exposure, "all", saturation=9e4, suspect=8e4)
    exposure = exposure.with_header({"LSST ISR SATURATION LEVEL C12": 9e4})
    before = exposure.image.copy(), exposure.variance.copy()
    after = apply_gains(exposure)
    for amplifier, state in zip(detector.amplifiers, exposure.amplifiers, strict=True):
        box = box_slices(exposure.amplifier_bbox(amplifier))
        gain = np.float32(state.gain)
        np.testing.assert_array_equal(after.image[box], before[0][box] * gain)
        np.testing.assert_array_equal(after.variance[box], before[1][box] * (gain * gain))
    assert after.unit == u.electron
    assert after.image.dtype == after.variance.dtype == np.float32
    (state,) = [state for state in after.amplifiers if state.name == "C12"]
    assert state.saturation == 9e4 * 1.52
    assert state.suspect == 8e4 * 1.52
    assert after.header["LSST ISR SATURATION LEVEL C12"] == state.saturation
    assert "LSST ISR SUSPECT LEVEL C12" not in after.header
    assert after.header["LSST ISR UNITS"] == "electron"
    np.testing.assert_array_equal(exposure.image, before[0])
    np.testing.assert_array_equal(exposure.variance, before[1])
    threaded = apply_gains(exposure, threads=4)
    np.testing.assert_array_equal(threaded.image, after.image)
    np.testing.assert_array_equal(threaded.variance, after.variance)


def test_poisson_noise_in_electron_has_its_mean_as_variance() -> None:
    rng = np.random.default_rng(5)
    detector = make_detector(data=(200, 64))
    electrons = rng.poisson(4000.0, make_exposure(detector).image.shape)
    counts = electrons / 1.7
    after = apply_gains(make_exposure(detector, image=counts, unit=u.adu, gain=1.7))
    assert after.image.var(dtype=np.float64) == pytest.approx(after.image.mean(dtype=np.float64), rel=0.02)


def test_zero_variance_is_shared_unless_a_gain_is_missing() -> None:
    exposure = make_exposure(unit=u.adu, image=3.0)
    assert apply_gains(exposure).variance is exposure.variance
    broken = apply_gains(with_states(exposure, "C02", gain=math.nan, is_bad=True))
    box = box_slices(raw_geometry(exposure.detector.amplifiers[13]).bbox)
    assert exposure.detector.amplifiers[13].name == "C02"
    for plane in (broken.image, broken.variance):
        assert np.isnan(plane[box]).all()
        assert np.isnan(plane).sum() == plane[box].size


def test_pixels_of_no_amplifier_keep_their_bits() -> None:
    exposure = make_exposure(make_detector(data=(20, 8)), unit=u.adu)
    wide = np.full((exposure.image.shape[0] + 3, exposure.image.shape[1] + 5), 7.25, np.float32)
    exposure = dataclasses.replace(exposure, image=wide, variance=wide, mask=np.zeros(wide.shape, np.uint16))
    after = apply_gains(exposure)
    assert (after.image[-3:] == 7.25).all()
    assert (after.variance[:, -5:] == 7.25).all()
    assert (after.image[:-3, :-5] == 7.25 * 1.5).all()


def test_gains_are_applied_once() -> None:
    electrons = apply_gains(make_exposure(unit=u.adu))
    with pytest.raises(InconsistentUnitsError, match=r"Applying gains takes an image in adu; .* in electron"):
        apply_gains(electrons)


def make_measured(median: float = 1003.0, noise: float = 4.0) -> IsrExposure:
    statistics = OverscanStatistics(median, median, 1.0, 0.0, 0.0, noise)
    return with_states(make_exposure(unit=u.electron, gain=1.5), "all", serial_overscan=statistics)


def test_check_of_noise() -> None:
    exposure = make_measured(noise=16.0)
    # 16 adu at 1.5 electron per adu are 24 electron, at 1.6 they are 25.6.
    assert find_flagged(check_amplifiers(exposure, ptc=make_ptc())) == set()
    louder = with_states(exposure, "C04", gain=1.6)
    assert find_flagged(check_amplifiers(louder, ptc=make_ptc())) == {"C04"}
    assert check_amplifiers(louder, ptc=make_ptc(), noise_limit_electron=None) is louder
    assert check_amplifiers(louder, ptc=make_ptc(), noise_limit_electron=math.inf) is louder
    noisy = make_ptc(C16=AmplifierPtc(gain=1.5, read_noise=25.1, turnoff_adu=9e4))
    assert find_flagged(check_amplifiers(exposure, ptc=noisy)) == {"C16"}
    with pytest.raises(InputDataError, match="After 'check_amplifiers' all 16 amplifiers"):
        check_amplifiers(exposure, ptc=make_ptc(), noise_limit_electron=23.9)


def test_check_of_the_overscan_level() -> None:
    exposure = make_measured(median=1003.0)
    # 3 adu off at a scatter of 2 adu are 1.5 sigma, whichever the sign.
    curves = make_ptc(
        C14=AmplifierPtc(1.5, 6.0, 9e4, 1006.4, 2.0), C05=AmplifierPtc(1.5, 6.0, 9e4, 999.6, 2.0)
    )
    assert find_flagged(check_amplifiers(exposure, ptc=curves, median_shift_sigma=1.6)) == {"C14", "C05"}
    assert find_flagged(check_amplifiers(exposure, ptc=curves)) == set()
    unknown = make_ptc(C14=AmplifierPtc(1.5, 6.0, 9e4))
    assert find_flagged(check_amplifiers(exposure, ptc=unknown, median_shift_sigma=1.6)) == set()


def test_check_passes_over_bad_amplifiers_and_needs_statistics_of_good_ones() -> None:
    exposure = with_states(make_measured(), "C00", serial_overscan=None)
    with pytest.raises(InputDataError, match=r"amplifier C00 needs statistics .* 'subtract_serial_overscan'"):
        check_amplifiers(exposure, ptc=make_ptc())
    bad = with_states(exposure, "C00", is_bad=True)
    assert check_amplifiers(bad, ptc=make_ptc()) is bad
