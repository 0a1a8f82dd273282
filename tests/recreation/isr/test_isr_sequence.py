"""Running a sequence: what it checks before, and what it refuses."""

from __future__ import annotations

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from tests.support.isr import make_exposure
from tests.support.isr_scene import SEQUENCE, make_scene

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    InconsistentUnitsError,
    InputDataError,
    MissingCalibrationError,
    RequestError,
)
from lsst.dax.image.recreation.isr import (
    IsrCalibrations,
    IsrExposure,
    IsrPlane,
    IsrSequence,
    Step,
    run_isr,
    run_steps,
)


def changed(name: str, **info: object) -> IsrCalibrations:
    """Return the calibrations of the scene, one of them with other information."""
    calibrations = make_scene("E2V").calibrations
    one = getattr(calibrations, name)
    return dataclasses.replace(
        calibrations, **{name: dataclasses.replace(one, info=dataclasses.replace(one.info, **info))}
    )


@pytest.mark.parametrize("name", SEQUENCE.requires)
def test_a_missing_calibration_is_named_before_anything_runs(name: str) -> None:
    scene = make_scene("E2V")
    without = dataclasses.replace(scene.calibrations, **{name: None})
    (step, *_) = [step.name for step in SEQUENCE.steps if name in step.requires]
    with pytest.raises(MissingCalibrationError, match=f"Step '{step}' needs '{name}' for exposure 2025"):
        next(run_steps(scene.raw, without, sequence=SEQUENCE))


@pytest.mark.parametrize(
    ("name", "info", "message"),
    [
        ("bias", {"detector": 7}, "'bias' .* is for 7, but exposure .* needs 94"),
        ("flat", {"physical_filter": "i_39"}, "'flat' .* is for 'i_39', but .* needs 'r_57'"),
        ("ptc", {"instrument": "LATISS"}, "'ptc' .* is for 'LATISS', but .* needs 'MiniCam'"),
        (
            "dark",
            {"valid_end": Time("2020-01-01", scale="tai")},
            "'dark' .* is valid from None to 2020-01-01.* but exposure",
        ),
        (
            "cti",
            {"valid_begin": Time("2099-01-01", scale="tai")},
            "'cti' .* is valid from 2099-01-01.* to None TAI, but exposure",
        ),
    ],
)
def test_a_calibration_for_something_else(name: str, info: dict[str, object], message: str) -> None:
    scene = make_scene("E2V")
    with pytest.raises(CalibrationMismatchError, match=message):
        run_isr(scene.raw, changed(name, **info), sequence=SEQUENCE)


def test_a_calibration_of_another_size() -> None:
    scene = make_scene("E2V")
    bias = scene.calibrations.bias
    assert bias is not None
    part = {plane: getattr(bias, plane)[:-1] for plane in ("image", "mask", "variance")}
    small = dataclasses.replace(scene.calibrations, bias=dataclasses.replace(bias, **part))
    with pytest.raises(CalibrationMismatchError, match=r"599.*512.*600|600.*512.*599"):
        run_isr(scene.raw, small, sequence=SEQUENCE)


def test_a_calibration_in_another_unit() -> None:
    scene = make_scene("E2V")
    dark = scene.calibrations.dark
    assert dark is not None
    in_adu = dataclasses.replace(scene.calibrations, dark=dataclasses.replace(dark, unit=u.adu))
    with pytest.raises(InconsistentUnitsError, match="adu"):
        run_isr(scene.raw, in_adu, sequence=SEQUENCE)
    in_electron = dataclasses.replace(scene.raw, unit=u.electron)
    with pytest.raises(InconsistentUnitsError, match="electron"):
        run_isr(in_electron, scene.calibrations, sequence=SEQUENCE)


def test_gains_that_are_no_numbers() -> None:
    """One such amplifier is bad; if all are, there is nothing to reduce."""
    scene = make_scene("E2V")
    ptc = scene.calibrations.ptc
    assert ptc is not None

    def with_nan(*names: str) -> IsrCalibrations:
        amplifiers = {
            name: dataclasses.replace(item, gain=float("nan")) if name in names else item
            for name, item in ptc.amplifiers.items()
        }
        return dataclasses.replace(scene.calibrations, ptc=dataclasses.replace(ptc, amplifiers=amplifiers))

    image = run_isr(scene.raw, with_nan("C12"), sequence=SEQUENCE)
    (bad,) = [item.bbox for item in scene.raw.detector.amplifiers if item.name == "C12"]
    inside = np.zeros(image.bbox.shape, bool)
    inside[bad.y.start : bad.y.stop, bad.x.start : bad.x.stop] = True
    # The growth of the brighter-fatter step reaches two pixels further.
    assert image.mask.get("BAD")[inside].all()
    assert np.isfinite(image.image.array[~inside]).all()
    with pytest.raises(InputDataError, match=r"all 16 amplifiers of detector .* in exposure .* are bad"):
        run_isr(scene.raw, with_nan(*ptc.amplifiers), sequence=SEQUENCE)


def test_planes_of_an_exposure_must_agree() -> None:
    exposure = make_exposure()
    with pytest.raises(InputDataError, match="Image, mask and variance differ in shape"):
        exposure.with_pixels(image=exposure.image[1:])
    with pytest.raises(InputDataError, match="has 16 amplifiers, the exposure 15"):
        dataclasses.replace(exposure, amplifiers=exposure.amplifiers[1:])


def test_bits_become_planes() -> None:
    mask = np.zeros(make_exposure().image.shape, np.uint16)
    for row, plane in enumerate(IsrPlane):
        mask[row, 2 * row] = plane
    image = make_exposure(mask=mask).to_masked_image()
    for row, plane in enumerate(IsrPlane):
        assert np.argwhere(image.mask.get(plane.name or "")).tolist() == [[row, 2 * row]]


def test_parameters_of_a_detector_replace_others() -> None:
    """The step runs with the common parameters but for the detector that has its own."""
    exposure = make_exposure(unit=u.adu)
    step = Step(
        name="dither_counts", parameters={"mode": "none"}, by_detector={"R22_S11": {"mode": "positive"}}
    )
    sequence = IsrSequence(name="test", steps=(step,))
    ((_, own),) = run_steps(exposure, IsrCalibrations(), sequence=sequence)
    assert own.image.min() >= 0.0
    assert own.image.max() > 0.9
    other = Step(
        name="dither_counts", parameters={"mode": "none"}, by_detector={"R00_S00": {"mode": "positive"}}
    )
    ((_, common),) = run_steps(exposure, IsrCalibrations(), sequence=IsrSequence(name="test", steps=(other,)))
    assert not common.image.any()


def test_no_threads() -> None:
    exposure: IsrExposure = make_exposure(unit=u.adu)
    with pytest.raises(RequestError, match="At least one thread must run, not 0"):
        run_isr(exposure, IsrCalibrations(), sequence=IsrSequence(name="test", steps=()), threads=0)
