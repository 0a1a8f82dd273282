"""The whole sequence against a slow reduction that was written apart, from the specification."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from lsst.images import Box, get_legacy_visit_image_mask_planes
from tests.support.isr_scene import SEQUENCE, IsrScene, make_scene

from lsst.dax.image.errors import DaxImageError
from lsst.dax.image.recreation.isr import (
    LSSTCAM_DP2,
    IsrCalibrations,
    IsrExposure,
    IsrPlane,
    IsrSequence,
    Step,
    run_isr,
    run_steps,
)
from lsst.dax.image.simulation.reference_isr import (
    BrighterFatterMethod,
    ReferenceResult,
    ReferenceSettings,
    run_reference_isr,
)

# Steps of the reference, and the last of ours that does the same.
PAIRS = {
    "dither_counts": "dither_counts",
    "serial_overscan": "subtract_serial_overscan",
    "saturation": "flag_saturation",
    "gains": "apply_gains",
    "crosstalk": "correct_crosstalk",
    "parallel_overscan": "subtract_parallel_overscan",
    "linearity": "correct_linearity",
    "deferred_charge": "correct_deferred_charge",
    "assembly": "assemble",
    "itl_edges": "flag_itl_saturation",
    "bias": "subtract_bias",
    "dark": "subtract_dark",
    "defects": "flag_defects",
    "nan_mask": "flag_nan",
    "brighter_fatter": "correct_brighter_fatter_electrostatic",
    "variance": "make_variance",
    "flat": "apply_flat",
    "bad_regions": "fill_bad_regions",
    "interpolation": "interpolate_bad_pixels",
}
LONG_NAMES = {short: plane.name for short, plane in get_legacy_visit_image_mask_planes().items()}


def run_reference(scene: IsrScene, settings: ReferenceSettings | None = None) -> ReferenceResult:
    return run_reference_isr(
        scene.simulated.counts,
        scene.sensor,
        scene.truth_calibrations,
        detector_exposure_id=scene.raw.info.detector_exposure_id,
        dark_time=scene.raw.info.dark_time_s,
        settings=settings,
        keep_intermediate=True,
    )


@pytest.mark.parametrize("physical_type", ["E2V", "ITL"])
def test_every_step_equals_the_reference_to_the_bit(physical_type: str) -> None:
    """Image, variance and all mask planes, after each step, with all effects in the raw.

    The brighter-fatter step is held to a few units of the last place instead:
    its convolution runs in tiles here and in one piece there.
    """
    scene = make_scene(physical_type)
    reference = run_reference(scene)
    ours = {step.name: after for step, after in run_steps(scene.raw, scene.calibrations, sequence=SEQUENCE)}
    assert set(PAIRS) <= set(reference.intermediate)
    after_convolution = False
    for theirs, name in PAIRS.items():
        expected, found = reference.intermediate[theirs], ours[name]
        after_convolution |= theirs == "brighter_fatter"
        limit = 4 if after_convolution else 0
        np.testing.assert_array_max_ulp(found.image, expected.image, maxulp=limit)
        np.testing.assert_array_max_ulp(found.variance, expected.variance, maxulp=limit)
        for short, where in expected.mask.items():
            plane = IsrPlane[LONG_NAMES.get(short, short)]
            np.testing.assert_array_equal(found.mask & plane != 0, where, err_msg=f"{theirs}: {short}")


@pytest.mark.parametrize(
    ("method", "step"),
    [
        (BrighterFatterMethod.COULTON18, "correct_brighter_fatter_kernel"),
        (BrighterFatterMethod.COULTON18_FLUX_CONSERVING, "correct_brighter_fatter_flux_conserving"),
    ],
)
def test_scalar_kernels_equal_the_reference(method: BrighterFatterMethod, step: str) -> None:
    """The other two forms of the brighter-fatter correction, within the rounding of the whole image."""
    scene = make_scene("E2V")
    reference = run_reference(scene, ReferenceSettings(brighter_fatter=method))
    steps = tuple(
        Step(name=step) if item.name == "correct_brighter_fatter_electrostatic" else item
        for item in SEQUENCE.steps
    )
    image = run_isr(scene.raw, scene.calibrations, sequence=IsrSequence(name="test", steps=steps))
    np.testing.assert_array_max_ulp(image.image.array, reference.image, maxulp=4)


@pytest.mark.parametrize("physical_type", ["E2V", "ITL"])
def test_the_truth_comes_back(physical_type: str) -> None:
    """The pull of the recovered light has mean 0 and standard deviation 1, as its variance says."""
    scene = make_scene(physical_type)
    image = run_isr(scene.raw, scene.calibrations, sequence=SEQUENCE)
    truth = scene.simulated.truth
    clean = ~image.mask.array.any(axis=2) & ~truth.cosmic_rays
    pull = ((image.image.array - truth.expected) / np.sqrt(truth.variance))[clean]
    error = pull.size**-0.5
    assert abs(pull.mean()) < 0.01 + 4 * error
    assert pull.std() == pytest.approx(1.0, abs=0.01 + 4 * error)
    ratio = image.variance.array[clean] / truth.variance[clean]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("physical_type", ["E2V", "ITL"])
def test_full_and_bad_pixels_are_flagged_to_the_pixel(physical_type: str) -> None:
    scene = make_scene(physical_type)
    steps = {step.name: after for step, after in run_steps(scene.raw, scene.calibrations, sequence=SEQUENCE)}
    truth = scene.simulated.truth
    saturated = steps["assemble"].mask & IsrPlane.SATURATED != 0
    np.testing.assert_array_equal(saturated, truth.beyond_turnoff)
    assert not np.any(truth.saturated & ~saturated)
    bad = steps["flag_defects"].mask & IsrPlane.BAD != 0
    np.testing.assert_array_equal(bad, truth.defects)


def test_pixels_do_not_depend_on_threads_or_on_the_run() -> None:
    scene = make_scene("ITL")
    first, again, threaded = (
        run_isr(scene.raw, scene.calibrations, sequence=SEQUENCE, threads=threads) for threads in (1, 1, 4)
    )
    for other in (again, threaded):
        for plane in ("image", "variance", "mask"):
            np.testing.assert_array_equal(getattr(first, plane).array, getattr(other, plane).array)
        assert dict(other.metadata) == dict(first.metadata)


def make_troubled(physical_type: str) -> tuple[IsrExposure, IsrCalibrations]:
    """Return a raw with something for every step to do."""
    scene = make_scene(physical_type)
    name = {"E2V": "R22_S11", "ITL": "R01_S10"}[physical_type]
    detector = scene.raw.detector.copy()
    detector._attributes = detector._attributes.model_copy(update={"name": name})
    image = scene.raw.image.copy()
    amplifiers = {amplifier.name: amplifier for amplifier in detector.amplifiers}

    def flood(amplifier: str, *, rows: slice, columns: slice) -> None:
        """Fill part of an amplifier's data, counted from where it is read, to 200000 adu."""
        geometry: Any = amplifiers[amplifier].assembled_raw_geometry
        box = geometry.data_bbox
        flips = geometry.readout_corner.as_flips()
        part = image[box.y.start : box.y.stop, box.x.start : box.x.stop]
        part = part[:: -1 if flips.y else 1, :: -1 if flips.x else 1]
        part[rows, columns] = 2e5

    flood("C05", rows=slice(0, 290), columns=slice(12, 52))
    flood("C12", rows=slice(40, 299), columns=slice(10, 54))
    flood("C02", rows=slice(100, 190), columns=slice(30, 44))
    ptc = scene.calibrations.ptc
    assert ptc is not None
    noisy = {
        "C03": dataclasses.replace(ptc.amplifiers["C03"], gain=float("nan")),
        "C16": dataclasses.replace(ptc.amplifiers["C16"], read_noise=30.0),
    }
    bias, defects = scene.calibrations.bias, scene.calibrations.defects
    assert bias is not None
    assert defects is not None
    bias_image = bias.image.copy()
    bias_image[33, 100:103] = np.nan
    row = Box.factory[55:56, 0 : detector.bbox.x.stop]
    calibrations = dataclasses.replace(
        scene.calibrations,
        ptc=dataclasses.replace(ptc, amplifiers={**ptc.amplifiers, **noisy}),
        bias=dataclasses.replace(bias, image=bias_image),
        defects=dataclasses.replace(defects, boxes=(*defects.boxes, row)),
        pedestals={amplifier: 0.5 * number for number, amplifier in enumerate(amplifiers)},
    )
    return dataclasses.replace(scene.raw, image=image, detector=detector), calibrations


def run(physical_type: str, steps: tuple[Step, ...]) -> IsrExposure | None:
    """Return the outcome of some steps; `None` if they cannot run in this order."""
    raw, calibrations = make_troubled(physical_type)
    try:
        *_, (_, exposure) = run_steps(raw, calibrations, sequence=IsrSequence(name="test", steps=steps))
    except DaxImageError:
        return None
    return exposure


def differs(one: IsrExposure | None, other: IsrExposure | None) -> bool:
    if one is None or other is None or one.image.shape != other.image.shape:
        return True
    return not (
        np.array_equal(one.image, other.image, equal_nan=True)
        and np.array_equal(one.variance, other.variance, equal_nan=True)
        and np.array_equal(one.mask, other.mask)
        # NaN is equal to NaN in the text.
        and repr(one.amplifiers) == repr(other.amplifiers)
    )


STEPS = LSSTCAM_DP2.steps
NAMES = [step.name for step in STEPS]
# What has nothing to do for the other vendor.
IDLE = {"E2V": {"flag_itl_dip", "flag_itl_saturation"}, "ITL": {"flag_edge_bleed"}}


@pytest.fixture(scope="module", params=["E2V", "ITL"])
def troubled(request: pytest.FixtureRequest) -> tuple[str, IsrExposure]:
    whole = run(request.param, STEPS)
    assert whole is not None
    return request.param, whole


@pytest.mark.parametrize("number", range(len(STEPS)), ids=NAMES)
def test_no_step_can_be_left_out(troubled: tuple[str, IsrExposure], number: int) -> None:
    physical_type, whole = troubled
    without = run(physical_type, STEPS[:number] + STEPS[number + 1 :])
    idle = NAMES[number] in IDLE[physical_type]
    assert differs(whole, without) != idle


# Neighbours whose order is free: neither looks at what the other changes.
COMMUTE = (
    # Bad amplifiers are known by their gains, and are dithered all the same.
    {"flag_bad_amplifiers", "dither_counts"},
    # Levels are in adu, whatever the gains.
    {"flag_saturation", "correct_gains"},
    # One plane each, by place; the bias is small beside the threshold of 5000 electrons.
    {"flag_itl_saturation", "subtract_bias"},
    {"subtract_dark", "flag_defects"},
    {"flag_defects", "flag_nan"},
)


@pytest.mark.parametrize("number", range(len(STEPS) - 1), ids=NAMES[1:])
def test_neighbours_cannot_be_swapped(troubled: tuple[str, IsrExposure], number: int) -> None:
    physical_type, whole = troubled
    pair = STEPS[number + 1], STEPS[number]
    swapped = run(physical_type, (*STEPS[:number], *pair, *STEPS[number + 2 :]))
    names = {step.name for step in pair}
    if names in COMMUTE:
        assert not differs(whole, swapped), names
    elif not names & IDLE[physical_type]:
        assert differs(whole, swapped), names
