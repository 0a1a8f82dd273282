"""The sequences that instruments and releases are reduced with."""

from __future__ import annotations

__all__ = (
    "DECAM_LIKE",
    "LATISS",
    "LSSTCAM",
    "LSSTCAM_DP2",
    "LSSTCOMCAM_DP1",
    "PRESETS",
    "find_preset",
)

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...errors import RequestError
from .sequence import IsrSequence, Step


def _dips(**detectors: tuple[int, float]) -> dict[str, dict[str, Any]]:
    """Return the parameters of detectors with dips: least width of a trail, and depth per column."""
    return {
        name: {"min_width": width, "background_fraction": fraction}
        for name, (width, fraction) in detectors.items()
    }


# The five settings, and which detectors have them, are those that the observatory
# found in commissioning (obs_lsst, config of isrLSST for lsstCam).
_LSSTCAM_DIPS = (
    _dips(**dict.fromkeys(("R01_S10", "R01_S11", "R01_S20", "R10_S10", "R41_S00"), (10, 0.0015)))
    | _dips(R01_S12=(8, 0.0030))
    | _dips(**dict.fromkeys(("R01_S21", "R03_S20", "R10_S22"), (13, 0.0015)))
    | _dips(
        **dict.fromkeys(
            (
                "R01_S22",
                "R02_S02",
                "R02_S11",
                "R02_S21",
                "R03_S00",
                "R03_S02",
                "R10_S01",
                "R41_S01",
                "R43_S01",
            ),
            (15, 0.0010),
        )
    )
    | _dips(
        **dict.fromkeys(
            ("R02_S10", "R02_S12", "R10_S02", "R41_S21", "R42_S02", "R43_S11", "R43_S20"), (6, 0.0025)
        )
    )
)
_COMCAM_DIPS = _dips(
    R22_S00=(14, 0.0014),
    R22_S01=(18, 0.0015),
    R22_S10=(13, 0.00065),
    R22_S12=(18, 0.0006),
    R22_S21=(14, 0.0006),
    R22_S22=(4, 0.0026),
)
_COMCAM_DIPS["R22_S21"]["min_height"] = 30

_LSSTCAM_BAD_AMPLIFIERS = ["R42_S21_C07", "R03_S01_C10", "R03_S11_C00"]


def _step(name: str, by_detector: dict[str, dict[str, Any]] | None = None, **parameters: Any) -> Step:
    return Step(name=name, parameters=parameters, by_detector=by_detector or {})


def _lsst_steps(
    *,
    brighter_fatter: Step | None,
    dips: dict[str, dict[str, Any]],
    no_data_variance: float,
    bad_amplifiers: list[str],
) -> tuple[Step, ...]:
    """Return the steps that LSSTCam and LSSTComCam share, in order."""
    return (
        _step("set_gains"),
        _step("flag_bad_amplifiers"),
        _step("dither_counts", mode="symmetric"),
        _step("subtract_serial_overscan", max_deviation_adu=1000.0),
        _step("flag_saturation"),
        _step("correct_gains"),
        _step("apply_gains"),
        _step("correct_crosstalk", use_quadratic=True, mask_subtrahend=True, min_pixel_to_mask=1.0),
        _step("check_amplifiers", noise_limit_electron=25.0),
        _step(
            "subtract_parallel_overscan", max_deviation_adu=100.0, deviation="positive", max_excess_adu=5.0
        ),
        _step("correct_linearity"),
        _step("correct_deferred_charge"),
        _step("assemble"),
        _step("flag_edge_bleed"),
        _step("flag_itl_dip", dips),
        _step("flag_itl_saturation"),
        _step("subtract_bias"),
        _step("subtract_dark"),
        _step("flag_defects", bad_amplifiers=bad_amplifiers),
        _step("flag_nan"),
        *(() if brighter_fatter is None else (brighter_fatter,)),
        _step("make_variance"),
        _step("apply_flat", no_data_variance=no_data_variance),
        _step("fill_bad_regions"),
        _step("interpolate_bad_pixels", planes=["SATURATED", "BAD", "UNMASKED_NAN"], grow_saturated=1),
        _step("subtract_amplifier_offsets"),
    )


LSSTCAM_DP2 = IsrSequence(
    name="LSSTCam DP2",
    description="Second data preview (pipelines v30.0.6). Where a flat has no data the variance is 0.",
    steps=_lsst_steps(
        brighter_fatter=_step("correct_brighter_fatter_electrostatic"),
        dips=_LSSTCAM_DIPS,
        no_data_variance=0.0,
        bad_amplifiers=_LSSTCAM_BAD_AMPLIFIERS,
    ),
)
"""LSSTCam, as the second data preview was made."""

LSSTCAM = IsrSequence(
    name="LSSTCam",
    description="The pipelines after v30. Where a flat has no data the variance is 1e10.",
    steps=_lsst_steps(
        brighter_fatter=_step("correct_brighter_fatter_electrostatic"),
        dips=_LSSTCAM_DIPS,
        no_data_variance=1e10,
        bad_amplifiers=_LSSTCAM_BAD_AMPLIFIERS,
    ),
)
"""LSSTCam, as of the pipelines after v30."""

LSSTCOMCAM_DP1 = IsrSequence(
    name="LSSTComCam DP1",
    description="First data preview (pipelines v29): scalar brighter-fatter kernel.",
    steps=_lsst_steps(
        brighter_fatter=_step("correct_brighter_fatter_kernel", max_iterations=10, threshold=1000.0),
        dips=_COMCAM_DIPS,
        no_data_variance=0.0,
        bad_amplifiers=[],
    ),
)
"""LSSTComCam, as the first data preview was made."""

LATISS = IsrSequence(
    name="LATISS",
    description="Linear crosstalk only; no serial CTI, brighter-fatter or offsets of amplifiers.",
    steps=(
        _step("set_gains"),
        _step("flag_bad_amplifiers"),
        _step("dither_counts", mode="symmetric"),
        _step("subtract_serial_overscan", max_deviation_adu=1000.0),
        _step("flag_saturation", saturation_override_adu=120000.0),
        _step("correct_gains"),
        _step("apply_gains"),
        _step("correct_crosstalk", use_quadratic=False, mask_subtrahend=True, min_pixel_to_mask=1.0),
        _step("check_amplifiers", noise_limit_electron=25.0),
        _step(
            "subtract_parallel_overscan", max_deviation_adu=100.0, deviation="absolute", max_excess_adu=None
        ),
        _step("correct_linearity"),
        _step("assemble"),
        _step("flag_itl_saturation"),
        _step("subtract_bias"),
        _step("subtract_dark"),
        _step("flag_defects"),
        _step("flag_nan"),
        _step("make_variance"),
        _step("apply_flat", no_data_variance=1e10),
        _step("fill_bad_regions"),
        _step("interpolate_bad_pixels", planes=["SATURATED", "BAD", "UNMASKED_NAN"], grow_saturated=1),
    ),
)
"""LATISS, the spectrograph and imager of the auxiliary telescope."""

DECAM_LIKE = IsrSequence(
    name="DECam-like",
    description="The steps of a DECam reduction within one CCD, in electron from the gains on: crosstalk, "
    "lookup-table linearity, no dark, wide saturation trails. No fringes, no crosstalk between CCDs.",
    steps=(
        _step("set_gains"),
        _step("flag_bad_amplifiers"),
        _step("subtract_serial_overscan", max_deviation_adu=1000.0),
        _step("flag_saturation"),
        _step("apply_gains"),
        _step("correct_crosstalk", use_quadratic=False, mask_subtrahend=False),
        _step("correct_linearity"),
        _step("assemble"),
        _step("subtract_bias"),
        _step("flag_defects"),
        _step("flag_nan"),
        _step("widen_saturation_trails"),
        _step("make_variance"),
        _step("apply_flat", no_data_variance=1e10),
        _step("fill_bad_regions"),
        _step("interpolate_bad_pixels", planes=["SATURATED", "BAD", "UNMASKED_NAN"], grow_saturated=1),
    ),
)
"""An instrument of single CCDs with two amplifiers, reduced as DECam is."""

PRESETS: Mapping[str, IsrSequence] = MappingProxyType(
    {preset.name: preset for preset in (LSSTCAM_DP2, LSSTCAM, LSSTCOMCAM_DP1, LATISS, DECAM_LIKE)}
)
"""All sequences, by name."""


def find_preset(name: str) -> IsrSequence:
    """Return the sequence of a name.

    Parameters
    ----------
    name
        Name, as in `PRESETS`.

    Returns
    -------
    sequence
        The sequence.

    Raises
    ------
    RequestError
        Raised if there is none of that name.
    """
    if name not in PRESETS:
        raise RequestError(f"No sequence is called {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
