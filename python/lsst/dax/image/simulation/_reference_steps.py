"""The steps of the reference instrument signature removal, by name and in order."""

from __future__ import annotations

__all__ = ("DP2_STEPS", "STEPS", "STEP_FUNCTIONS", "HeaderValue", "ReferenceSettings", "Run", "by_name")

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ..errors import InputDataError
from . import _reference_amplifiers as on_amplifiers
from . import _reference_detector as on_detector
from . import _reference_footprints as on_footprints
from ._reference_brighter_fatter import BrighterFatterMethod, correct_brighter_fatter
from ._reference_detector import CalibrationMasks
from ._reference_footprints import FULL_SIZE_RULES, FootprintRules
from ._reference_interpolation import interpolate
from ._reference_linearity import correct_deferred_charge, correct_linearity
from ._reference_overscan import (
    PARALLEL_RULE,
    SERIAL_RULE,
    OverscanRule,
    OverscanStatistics,
    correct_parallel_overscan,
    correct_serial_overscan,
)
from ._reference_planes import Planes, region_of
from ._sensor import Sensor, SimulatedCalibrations

type HeaderValue = float | int | str | bool


@dataclasses.dataclass(frozen=True)
class ReferenceSettings:
    """What the reference does; the defaults are those of LSSTCam in Data Preview 2."""

    steps: tuple[str, ...] = ()
    """Names of steps (see `STEPS`) in the order in which they run; empty for `DP2_STEPS`."""
    dither: str = "SYMMETRIC"
    """Range of the integer dither: SYMMETRIC, POSITIVE or NEGATIVE."""
    serial_rule: OverscanRule = SERIAL_RULE
    """Pixels of the serial overscan that are left out."""
    parallel_rule: OverscanRule = PARALLEL_RULE
    """The same of the parallel overscan."""
    saturation_adu: float | None = None
    """Saturation and suspect level of all amplifiers, instead of the photon transfer curve's."""
    noise_threshold: float = 25.0
    """Read noise above which an amplifier is bad, in electron."""
    overscan_shift_threshold: float = math.inf
    """Shift of the overscan's median, in sigma, above which an amplifier is bad."""
    crosstalk_quadratic: bool = True
    """Whether crosstalk has a quadratic part."""
    crosstalk_mask_limit: float = on_amplifiers.CROSSTALK_MASK_LIMIT
    """Least crosstalk that is flagged."""
    brighter_fatter: BrighterFatterMethod = BrighterFatterMethod.ASTIER23
    """Brighter-fatter correction."""
    bad_amplifiers: tuple[str, ...] = ("R42_S21_C07", "R03_S01_C10", "R03_S11_C00")
    """Amplifiers that are bad in every exposure."""
    dip_min_width: int = 6
    """Least width of a source with an ITL dip, in columns."""
    dip_background_fraction: float = 0.0
    """Depth of the ITL dip relative to the background; zero for a detector without."""
    footprint_rules: FootprintRules = FULL_SIZE_RULES
    """Sizes of saturated footprints that bleed."""
    flat_has_polygon: bool = False
    """Whether the flat says which region of the detector is valid."""
    no_data_variance: float = 0.0
    """Variance outside of that region; later releases have 1e10."""
    pedestals: Mapping[str, float] = MappingProxyType({})
    """Offset of each amplifier that is subtracted at the end, in electron."""


@dataclasses.dataclass(eq=False)
class Run:
    """What changes while the steps run."""

    planes: Planes
    sensor: Sensor
    calibrations: SimulatedCalibrations
    settings: ReferenceSettings
    detector_exposure_id: int
    dark_time: float
    masks: Mapping[str, CalibrationMasks]
    gains: dict[str, float]
    noises: dict[str, float]
    saturation: dict[str, float]
    bad: set[str] = dataclasses.field(default_factory=set)
    residual_scatter: dict[str, float] = dataclasses.field(default_factory=dict)
    overscan_median: dict[str, float] = dataclasses.field(default_factory=dict)
    header: dict[str, HeaderValue] = dataclasses.field(default_factory=dict)

    def set_bad(self, names: set[str]) -> None:
        """Note bad amplifiers and flag all their raw pixels."""
        self.bad |= names
        for amplifier in self.sensor.amplifiers:
            if amplifier.name in names:
                self.planes = self.planes.flagged_region("BAD", region_of(amplifier.raw_bbox))
        if len(self.bad) == len(self.sensor.amplifiers):
            raise InputDataError(
                f"All {len(self.bad)} amplifiers of {self.sensor.name} are bad; nothing is left to reduce."
            )

    def note_overscan(
        self, kind: str, name: str, level: OverscanStatistics, residual: OverscanStatistics
    ) -> None:
        """Put the statistics of an overscan into the header."""
        for prefix, found in ((kind, level), (f"RESIDUAL {kind}", residual)):
            for key, value in (("MEAN", found.mean), ("MEDIAN", found.median), ("STDEV", found.scatter)):
                self.header[f"LSST ISR OVERSCAN {prefix} {key} {name}"] = value


def by_name(
    sensor: Sensor, values: npt.NDArray[np.float64], *, override: float | None = None
) -> dict[str, float]:
    """Return values of amplifiers by their names."""
    if len(values) != len(sensor.amplifiers):
        raise InputDataError(
            f"{sensor.name} has {len(sensor.amplifiers)} amplifiers, its calibrations {len(values)}."
        )
    if override is not None:
        return {amplifier.name: override for amplifier in sensor.amplifiers}
    return {amplifier.name: float(v) for amplifier, v in zip(sensor.amplifiers, values, strict=True)}


def _mask_full_amplifiers(run: Run) -> None:
    run.set_bad(on_amplifiers.find_bad_amplifiers(run.sensor, run.calibrations.defects, run.gains))


def _dither_counts(run: Run) -> None:
    run.planes = on_amplifiers.dither_counts(
        run.planes, seed=run.detector_exposure_id, mode=run.settings.dither
    )


def _serial_overscan(run: Run) -> None:
    for amplifier in run.sensor.amplifiers:
        if amplifier.name in run.bad:
            continue
        run.planes, level, residual = correct_serial_overscan(
            run.planes, amplifier, rule=run.settings.serial_rule
        )
        run.note_overscan("SERIAL", amplifier.name, level, residual)
        run.overscan_median[amplifier.name] = level.median
        run.residual_scatter[amplifier.name] = residual.scatter


def _saturation(run: Run) -> None:
    found = set()
    for amplifier in run.sensor.amplifiers:
        if amplifier.name in run.bad:
            continue
        limit = run.saturation[amplifier.name]
        run.planes, bad = on_amplifiers.flag_saturation(
            run.planes, amplifier, limit=limit, suspect_limit=limit
        )
        if bad:
            found.add(amplifier.name)
    run.set_bad(found)


def _gain_correction(run: Run) -> None:
    adjustments = by_name(run.sensor, run.calibrations.gain_adjustments)
    run.gains = {name: gain * adjustments[name] for name, gain in run.gains.items()}


def _gains(run: Run) -> None:
    run.planes = on_amplifiers.apply_gains(run.planes, run.sensor, run.gains)
    run.saturation = {name: level * run.gains[name] for name, level in run.saturation.items()}
    run.header["LSST ISR UNITS"] = "electron"
    for amplifier in run.sensor.amplifiers:
        name = amplifier.name
        run.header[f"LSST ISR GAIN {name}"] = run.gains[name]
        run.header[f"LSST ISR READNOISE {name}"] = run.noises[name]
        run.header[f"LSST ISR SATURATION LEVEL {name}"] = run.saturation[name]
        run.header[f"LSST ISR SUSPECT LEVEL {name}"] = run.saturation[name]


def _crosstalk(run: Run) -> None:
    run.planes = on_amplifiers.subtract_crosstalk(
        run.planes,
        run.sensor,
        run.calibrations,
        gains=run.gains,
        bad=run.bad,
        mask_limit=run.settings.crosstalk_mask_limit,
        quadratic=run.settings.crosstalk_quadratic,
    )
    run.header["LSST ISR CROSSTALK APPLIED"] = True


def _amplifier_checks(run: Run) -> None:
    expected = by_name(run.sensor, run.calibrations.overscan_median_adu)
    sigmas = by_name(run.sensor, run.calibrations.overscan_median_sigma_adu)
    found = set()
    for name in expected.keys() - run.bad:
        noisy = math.isfinite(run.settings.noise_threshold) and on_amplifiers.is_noisy(
            noise=run.noises[name],
            residual_scatter_adu=run.residual_scatter.get(name),
            gain=run.gains[name],
            threshold=run.settings.noise_threshold,
        )
        shift = abs(run.overscan_median.get(name, expected[name]) - expected[name])
        if noisy or shift > run.settings.overscan_shift_threshold * sigmas[name]:
            found.add(name)
    run.set_bad(found)


def _parallel_overscan(run: Run) -> None:
    for amplifier in run.sensor.amplifiers:
        name = amplifier.name
        if name in run.bad:
            continue
        run.planes, level, residual = correct_parallel_overscan(
            run.planes,
            amplifier,
            gain=run.gains[name],
            saturation=run.saturation[name],
            rule=run.settings.parallel_rule,
        )
        run.note_overscan("PARALLEL", name, level, residual)


def _linearity(run: Run) -> None:
    run.planes = correct_linearity(run.planes, run.sensor, run.calibrations, gains=run.gains)
    run.header["LSST ISR LINEARIZER APPLIED"] = True


def _deferred_charge(run: Run) -> None:
    run.planes = correct_deferred_charge(run.planes, run.sensor, run.calibrations)
    run.header["LSST ISR CTI APPLIED"] = True


def _assembly(run: Run) -> None:
    run.planes = on_amplifiers.assemble(run.planes, run.sensor)


def _e2v_edge_bleed(run: Run) -> None:
    run.planes = on_footprints.flag_e2v_edge_bleeds(
        run.planes, run.sensor, rules=run.settings.footprint_rules
    )


def _itl_dip(run: Run) -> None:
    run.planes = on_footprints.flag_itl_dips(
        run.planes,
        min_width=run.settings.dip_min_width,
        background_fraction=run.settings.dip_background_fraction,
    )


def _itl_edges(run: Run) -> None:
    run.planes = on_footprints.flag_itl_edges(
        run.planes, run.sensor, saturation=run.saturation, bad=run.bad, rules=run.settings.footprint_rules
    )


def _bias(run: Run) -> None:
    c = run.calibrations
    run.planes = on_detector.subtract_bias(run.planes, c.bias, c.bias_variance, run.masks.get("bias", {}))
    run.header["LSST ISR BIAS APPLIED"] = True


def _dark(run: Run) -> None:
    c = run.calibrations
    run.planes = on_detector.subtract_dark(
        run.planes,
        c.dark,
        c.dark_variance,
        run.masks.get("dark", {}),
        dark_time=run.dark_time,
        # The master dark is that of one second.
        master_dark_time=1.0,
    )
    run.header["LSST ISR DARK APPLIED"] = True


def _defects(run: Run) -> None:
    run.planes = on_detector.flag_defects(run.planes, run.calibrations.defects)
    run.planes = on_detector.flag_amplifiers(run.planes, run.sensor, run.settings.bad_amplifiers)
    run.header["LSST ISR DEFECTS APPLIED"] = True


def _nan_mask(run: Run) -> None:
    run.planes = on_detector.flag_not_finite(run.planes)


def _saturation_trails(run: Run) -> None:
    run.planes = on_footprints.widen_trails(run.planes)


def _brighter_fatter(run: Run) -> None:
    method = run.settings.brighter_fatter
    run.planes = correct_brighter_fatter(run.planes, run.calibrations, method=method)
    run.header["LSST ISR BF CORR METHOD"] = method.value


def _variance(run: Run) -> None:
    run.planes = on_detector.make_variance(run.planes, run.sensor, run.noises)


def _flat(run: Run) -> None:
    c = run.calibrations
    run.planes = on_detector.apply_flat(
        run.planes,
        c.flat,
        c.flat_variance,
        run.masks.get("flat", {}),
        has_polygon=run.settings.flat_has_polygon,
        no_data_variance=run.settings.no_data_variance,
    )
    run.header["LSST ISR FLAT APPLIED"] = True


def _bad_regions(run: Run) -> None:
    run.planes = on_detector.set_bad_regions(run.planes)


def _interpolation(run: Run) -> None:
    run.planes = interpolate(run.planes, "SAT", "BAD", "UNMASKEDNAN")


def _amplifier_offsets(run: Run) -> None:
    pedestals = run.settings.pedestals
    run.planes = on_detector.subtract_amplifier_offsets(run.planes, run.sensor, pedestals)
    for name, pedestal in pedestals.items():
        run.header[f"LSST ISR AMPOFFSET PEDESTAL {name}"] = pedestal
    run.header["LSST ISR AMPOFFSET PEDESTAL SUBTRACTED"] = True


STEP_FUNCTIONS: Mapping[str, Callable[[Run], None]] = MappingProxyType(
    {
        "mask_full_amplifiers": _mask_full_amplifiers,
        "dither_counts": _dither_counts,
        "serial_overscan": _serial_overscan,
        "saturation": _saturation,
        "gain_correction": _gain_correction,
        "gains": _gains,
        "crosstalk": _crosstalk,
        "amplifier_checks": _amplifier_checks,
        "parallel_overscan": _parallel_overscan,
        "linearity": _linearity,
        "deferred_charge": _deferred_charge,
        "assembly": _assembly,
        "e2v_edge_bleed": _e2v_edge_bleed,
        "itl_dip": _itl_dip,
        "itl_edges": _itl_edges,
        "bias": _bias,
        "dark": _dark,
        "defects": _defects,
        "nan_mask": _nan_mask,
        "saturation_trails": _saturation_trails,
        "brighter_fatter": _brighter_fatter,
        "variance": _variance,
        "flat": _flat,
        "bad_regions": _bad_regions,
        "interpolation": _interpolation,
        "amplifier_offsets": _amplifier_offsets,
    }
)

STEPS: tuple[str, ...] = tuple(STEP_FUNCTIONS)
"""Names of all steps, in the observatory's order."""

DP2_STEPS: tuple[str, ...] = tuple(name for name in STEPS if name != "saturation_trails")
"""The steps that LSSTCam data of Data Preview 2 went through."""
