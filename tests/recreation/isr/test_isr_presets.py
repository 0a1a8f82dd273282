"""Which steps run for which instrument, in which order, with which constants."""

from __future__ import annotations

from typing import Any

import pytest

from lsst.dax.image.errors import RequestError
from lsst.dax.image.recreation.isr import (
    DECAM_LIKE,
    LATISS,
    LSSTCAM,
    LSSTCAM_DP2,
    LSSTCOMCAM_DP1,
    PRESETS,
    IsrSequence,
    Step,
    find_preset,
)

# The order of IsrTaskLSST, steps 1 to 27 of the specification.
LSST_ORDER = [
    "set_gains",
    "flag_bad_amplifiers",
    "dither_counts",
    "subtract_serial_overscan",
    "flag_saturation",
    "correct_gains",
    "apply_gains",
    "correct_crosstalk",
    "check_amplifiers",
    "subtract_parallel_overscan",
    "correct_linearity",
    "correct_deferred_charge",
    "assemble",
    "flag_edge_bleed",
    "flag_itl_dip",
    "flag_itl_saturation",
    "subtract_bias",
    "subtract_dark",
    "flag_defects",
    "flag_nan",
    "<brighter-fatter>",
    "make_variance",
    "apply_flat",
    "fill_bad_regions",
    "interpolate_bad_pixels",
    "subtract_amplifier_offsets",
]
LATISS_LACKS = {
    "correct_deferred_charge",
    "flag_edge_bleed",
    "flag_itl_dip",
    "<brighter-fatter>",
    "subtract_amplifier_offsets",
}
DECAM_LACKS = {
    "dither_counts",
    "correct_gains",
    "check_amplifiers",
    "subtract_parallel_overscan",
    "correct_deferred_charge",
    "flag_edge_bleed",
    "flag_itl_dip",
    "flag_itl_saturation",
    "subtract_dark",
    "subtract_amplifier_offsets",
}


def expected_names(*, brighter_fatter: str, lacks: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    names = [name for name in LSST_ORDER if name not in lacks]
    return [brighter_fatter if name == "<brighter-fatter>" else name for name in names]


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        (LSSTCAM_DP2, expected_names(brighter_fatter="correct_brighter_fatter_electrostatic")),
        (LSSTCAM, expected_names(brighter_fatter="correct_brighter_fatter_electrostatic")),
        (LSSTCOMCAM_DP1, expected_names(brighter_fatter="correct_brighter_fatter_kernel")),
        (LATISS, expected_names(brighter_fatter="", lacks=LATISS_LACKS)),
        (DECAM_LIKE, expected_names(brighter_fatter="widen_saturation_trails", lacks=DECAM_LACKS)),
    ],
    ids=lambda value: value.name if isinstance(value, IsrSequence) else "",
)
def test_steps_of_a_preset(preset: IsrSequence, names: list[str]) -> None:
    assert [step.name for step in preset.steps] == names


CONSTANTS = [
    (LSSTCAM_DP2, "correct_crosstalk", "use_quadratic", True),
    (LSSTCAM_DP2, "correct_crosstalk", "mask_subtrahend", True),
    (LSSTCAM_DP2, "correct_crosstalk", "min_pixel_to_mask", 1.0),
    (LSSTCAM_DP2, "check_amplifiers", "noise_limit_electron", 25.0),
    (LSSTCAM_DP2, "subtract_serial_overscan", "max_deviation_adu", 1000.0),
    (LSSTCAM_DP2, "subtract_parallel_overscan", "max_deviation_adu", 100.0),
    (LSSTCAM_DP2, "subtract_parallel_overscan", "deviation", "positive"),
    (LSSTCAM_DP2, "subtract_parallel_overscan", "max_excess_adu", 5.0),
    (LSSTCAM_DP2, "flag_defects", "bad_amplifiers", ["R42_S21_C07", "R03_S01_C10", "R03_S11_C00"]),
    (LSSTCAM_DP2, "apply_flat", "no_data_variance", 0.0),
    (LSSTCAM, "apply_flat", "no_data_variance", 1e10),
    (LSSTCAM_DP2, "interpolate_bad_pixels", "planes", ["SATURATED", "BAD", "UNMASKED_NAN"]),
    (LSSTCAM_DP2, "interpolate_bad_pixels", "grow_saturated", 1),
    (LSSTCAM_DP2, "dither_counts", "mode", "symmetric"),
    (LSSTCOMCAM_DP1, "flag_defects", "bad_amplifiers", []),
    (LSSTCOMCAM_DP1, "correct_crosstalk", "use_quadratic", True),
    (LSSTCOMCAM_DP1, "correct_brighter_fatter_kernel", "max_iterations", 10),
    (LSSTCOMCAM_DP1, "correct_brighter_fatter_kernel", "threshold", 1000.0),
    (LATISS, "correct_crosstalk", "use_quadratic", False),
    (LATISS, "correct_crosstalk", "mask_subtrahend", True),
    (LATISS, "subtract_parallel_overscan", "deviation", "absolute"),
    (LATISS, "subtract_parallel_overscan", "max_excess_adu", None),
    (LATISS, "flag_saturation", "saturation_override_adu", 120000.0),
]


@pytest.mark.parametrize(("preset", "step", "parameter", "value"), CONSTANTS)
def test_constants_of_a_preset(preset: IsrSequence, step: str, parameter: str, value: Any) -> None:
    (found,) = [item for item in preset.steps if item.name == step]
    assert found.parameters[parameter] == value


def test_dips_are_looked_for_in_the_detectors_that_have_them() -> None:
    """25 detectors of LSSTCam in five classes, 6 of LSSTComCam."""
    (step,) = [item for item in LSSTCAM_DP2.steps if item.name == "flag_itl_dip"]
    assert len(step.by_detector) == 25
    classes = {(rule["min_width"], rule["background_fraction"]) for rule in step.by_detector.values()}
    assert classes == {(10, 0.0015), (8, 0.0030), (13, 0.0015), (15, 0.0010), (6, 0.0025)}
    assert step.by_detector["R01_S12"] == {"min_width": 8, "background_fraction": 0.0030}
    (step,) = [item for item in LSSTCOMCAM_DP1.steps if item.name == "flag_itl_dip"]
    assert len(step.by_detector) == 6
    assert step.by_detector["R22_S21"]["min_height"] == 30


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_sequence_goes_to_json_and_back(preset: IsrSequence) -> None:
    assert IsrSequence.model_validate_json(preset.model_dump_json()) == preset
    assert find_preset(preset.name) is preset


def test_a_sequence_knows_what_it_needs() -> None:
    assert LSSTCAM_DP2.requires == (
        "ptc",
        "crosstalk",
        "linearizer",
        "cti",
        "bias",
        "dark",
        "defects",
        "electro_bf",
        "flat",
        "pedestals",
    )
    assert "gain_correction" in LSSTCAM_DP2.needs
    assert "gain_correction" not in LSSTCAM_DP2.requires
    assert "cti" not in LATISS.needs


def test_unknown_names() -> None:
    with pytest.raises(RequestError, match="No sequence is called 'HSC'; there are LSSTCam DP2"):
        find_preset("HSC")
    with pytest.raises(ValueError, match="No step is called 'subtract_fringes'"):
        Step(name="subtract_fringes")
    with pytest.raises(ValueError, match=r"dither_counts takes \['mode'\], not \['size'\]"):
        Step(name="dither_counts", parameters={"size": 2})
    with pytest.raises(ValueError, match=r"flag_itl_dip takes .* not \['depth'\]"):
        Step(name="flag_itl_dip", by_detector={"R22_S11": {"depth": 2}})
    with pytest.raises(RequestError, match=r"LATISS has no step \['correct_deferred_charge'\]"):
        LATISS.without("correct_deferred_charge")
