"""Saturated and suspect pixels."""

from __future__ import annotations

import dataclasses
import math

import astropy.units as u
import numpy as np
import pytest
from lsst.images.cameras import AmplifierCalibrations, Detector
from tests.support.isr import make_detector, make_exposure

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    InconsistentUnitsError,
    InputDataError,
    RequestError,
)
from lsst.dax.image.recreation.isr import (
    AmplifierPtc,
    CalibrationInfo,
    IsrExposure,
    IsrPlane,
    PhotonTransferCurve,
    box_slices,
    raw_geometry,
)
from lsst.dax.image.recreation.isr.saturation import flag_saturation

BOTH = int(IsrPlane.SATURATED | IsrPlane.SUSPECT)


def make_ptc(detector: Detector, *, turnoff: float = 9e4, step: float = 0.0) -> PhotonTransferCurve:
    curves = {
        amplifier.name: AmplifierPtc(1.5, 6.0, turnoff + step * number)
        for number, amplifier in enumerate(detector.amplifiers)
    }
    return PhotonTransferCurve(CalibrationInfo("ptc", source="ptc.fits"), curves)


def flag_slowly(exposure: IsrExposure, levels: list[tuple[float, float]]) -> np.ndarray:
    """Compare pixel by pixel in double precision."""
    mask = exposure.mask.copy()
    for amplifier, state, (saturation, suspect) in zip(
        exposure.detector.amplifiers, exposure.amplifiers, levels, strict=True
    ):
        if state.is_bad:
            continue
        box = box_slices(raw_geometry(amplifier).bbox)
        pixels = exposure.image[box].astype(np.float64)
        mask[box] |= np.where(pixels >= saturation, np.uint16(IsrPlane.SATURATED), np.uint16(0))
        mask[box] |= np.where(pixels >= suspect, np.uint16(IsrPlane.SUSPECT), np.uint16(0))
    return mask


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize("threads", [1, 4])
def test_every_amplifier_has_its_own_level(vendor: str, threads: int) -> None:
    rng = np.random.default_rng(8)
    detector = make_detector(vendor, data=(67, 30))
    shape = make_exposure(detector).image.shape
    image = rng.uniform(0, 1e5, shape).astype(np.float32)
    image[3:5, 7:9] = np.nan
    exposure = make_exposure(
        detector, image=image, mask=rng.integers(0, 2, shape).astype(np.uint16) * 256, unit=u.adu
    )
    before = exposure.mask.copy()
    ptc = make_ptc(detector, turnoff=8e4, step=1000.1)
    after = flag_saturation(exposure, ptc=ptc, suspect_override_adu=7e4, threads=threads)
    levels = [(8e4 + 1000.1 * number, 7e4) for number in range(16)]
    np.testing.assert_array_equal(after.mask, flag_slowly(exposure, levels))
    np.testing.assert_array_equal(exposure.mask, before)
    assert after.image is exposure.image
    assert after.amplifiers[2].saturation == after.header["LSST ISR SATURATION LEVEL C12"] == levels[2][0]
    assert after.amplifiers[2].suspect == after.header["LSST ISR SUSPECT LEVEL C12"] == 7e4


def test_suspect_is_saturated_by_default_and_nothing_is_grown() -> None:
    exposure = make_exposure(unit=u.adu)
    exposure.image[12, 20] = 9e4
    after = flag_saturation(exposure, ptc=make_ptc(exposure.detector))
    expected = np.zeros_like(exposure.mask)
    expected[12, 20] = BOTH
    np.testing.assert_array_equal(after.mask, expected)


@pytest.mark.parametrize("level", [16777216.7, 0.1, 90000.004])
def test_level_is_not_rounded_to_single_precision(level: float) -> None:
    exposure = make_exposure(unit=u.adu)
    near = np.float32(level)
    pixels = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    exposure.image[0, :3] = pixels
    after = flag_saturation(exposure, ptc=make_ptc(exposure.detector, turnoff=level))
    assert (after.mask[0, :3] > 0).tolist() == [float(pixel) >= level for pixel in pixels]


@pytest.mark.parametrize("level", [math.nan, math.inf, 1e100])
def test_no_level_flags_nothing(level: float) -> None:
    exposure = make_exposure(unit=u.adu, image=1e30)
    after = flag_saturation(exposure, ptc=make_ptc(exposure.detector, turnoff=level))
    assert after.mask is exposure.mask
    assert ("LSST ISR SATURATION LEVEL C10" in after.header) == math.isfinite(level)


def test_override_replaces_saturation_alone() -> None:
    exposure = make_exposure(unit=u.adu)
    exposure.image[0, :3] = 8.9e4, 1.1e5, 1.3e5
    ptc = make_ptc(exposure.detector)
    after = flag_saturation(exposure, ptc=ptc, saturation_override_adu=120000.0)
    suspect = int(IsrPlane.SUSPECT)
    assert after.mask[0, :3].tolist() == [0, suspect, BOTH]


def test_nominal_levels_and_none() -> None:
    detector = make_detector()
    nominal = AmplifierCalibrations(
        gain=1.5, read_noise=6.0, saturation=5e4, suspect_level=4e4, linearity_coefficients=np.zeros(2),
        linearity_type="None",
    )  # fmt: skip
    exposure = make_exposure(unit=u.adu)
    exposure.image[0, :3] = 3.9e4, 4e4, 5e4
    for amplifier in detector.amplifiers:
        amplifier.nominal_calibrations = nominal
    modelled = dataclasses.replace(exposure, detector=detector)
    ptc = make_ptc(detector)
    sources = {"saturation_source": "camera_model", "suspect_source": "camera_model"}
    after = flag_saturation(modelled, ptc=ptc, **sources)
    assert after.mask[0, :3].tolist() == [0, int(IsrPlane.SUSPECT), BOTH]
    after = flag_saturation(modelled, ptc=ptc, saturation_source="camera_model", suspect_source="none")
    assert after.mask[0, :3].tolist() == [0, 0, int(IsrPlane.SATURATED)]
    with pytest.raises(InputDataError, match="amplifier C10 shall come from the camera model"):
        flag_saturation(exposure, ptc=ptc, **sources)


def test_amplifier_of_saturated_data_is_bad() -> None:
    exposure = make_exposure(unit=u.adu)
    data = box_slices(raw_geometry(exposure.detector.amplifiers[4]).data_bbox)
    exposure.image[data] = 1e5
    after = flag_saturation(exposure, ptc=make_ptc(exposure.detector))
    expected = np.zeros_like(exposure.mask)
    expected[data] = BOTH | int(IsrPlane.BAD)
    np.testing.assert_array_equal(after.mask, expected)
    assert [state.name for state in after.amplifiers if state.is_bad] == ["C14"]
    # One pixel that is alive saves it.
    exposure.image[data][-1, -1] = 0.0
    after = flag_saturation(exposure, ptc=make_ptc(exposure.detector))
    assert not any(state.is_bad for state in after.amplifiers)
    assert not (after.mask & np.uint16(IsrPlane.BAD)).any()


def test_bad_amplifiers_are_passed_over() -> None:
    exposure = make_exposure(unit=u.adu, image=0.0)
    box = box_slices(raw_geometry(exposure.detector.amplifiers[0]).bbox)
    exposure.image[box] = 1e6
    states = (dataclasses.replace(exposure.amplifiers[0], is_bad=True), *exposure.amplifiers[1:])
    after = flag_saturation(dataclasses.replace(exposure, amplifiers=states), ptc=make_ptc(exposure.detector))
    assert after.mask is exposure.mask
    assert math.isnan(after.amplifiers[0].saturation)
    assert "LSST ISR SATURATION LEVEL C10" not in after.header


def test_errors() -> None:
    exposure = make_exposure(unit=u.adu)
    ptc = make_ptc(exposure.detector)
    with pytest.raises(InconsistentUnitsError, match="Saturation takes an image in adu; this one is in elec"):
        flag_saturation(make_exposure(unit=u.electron), ptc=ptc)
    with pytest.raises(InputDataError, match="is trimmed"):
        flag_saturation(make_exposure(unit=u.adu, is_assembled=True), ptc=ptc)
    with pytest.raises(RequestError, match="one of ptc_turnoff, camera_model, none, not 'guess'"):
        flag_saturation(exposure, ptc=ptc, saturation_source="guess")
    with pytest.raises(CalibrationMismatchError, match=r"'ptc' p has no amplifier C10; it has none"):
        flag_saturation(exposure, ptc=PhotonTransferCurve(CalibrationInfo("ptc", source="p"), {}))
    with pytest.raises(InputDataError, match="After 'flag_saturation' all 16 amplifiers"):
        flag_saturation(make_exposure(unit=u.adu, image=1e6), ptc=ptc)
