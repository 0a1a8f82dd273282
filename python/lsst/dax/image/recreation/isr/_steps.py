"""The table of all steps, by name."""

from __future__ import annotations

__all__ = ("STEPS",)

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .amplifier_offsets import subtract_amplifier_offsets
from .amplifiers import apply_gains, check_amplifiers, correct_gains, flag_bad_amplifiers, set_gains
from .assembly import assemble
from .bad_regions import fill_bad_regions
from .bias import subtract_bias
from .brighter_fatter import (
    correct_brighter_fatter_electrostatic,
    correct_brighter_fatter_flux_conserving,
    correct_brighter_fatter_kernel,
)
from .crosstalk import correct_crosstalk
from .dark import subtract_dark
from .defects import flag_defects
from .deferred_charge import correct_deferred_charge
from .dither import dither_counts
from .edge_bleed import flag_edge_bleed
from .exposure import IsrExposure
from .flat import apply_flat
from .interpolation import interpolate_bad_pixels
from .itl_dip import flag_itl_dip
from .itl_saturation import flag_itl_saturation
from .linearity import correct_linearity
from .nan_mask import flag_nan
from .overscan import subtract_parallel_overscan, subtract_serial_overscan
from .saturation import flag_saturation
from .saturation_trails import widen_saturation_trails
from .variance import make_variance

type StepFunction = Callable[..., IsrExposure]

_FUNCTIONS: tuple[StepFunction, ...] = (
    set_gains,
    flag_bad_amplifiers,
    dither_counts,
    subtract_serial_overscan,
    flag_saturation,
    correct_gains,
    apply_gains,
    correct_crosstalk,
    check_amplifiers,
    subtract_parallel_overscan,
    correct_linearity,
    correct_deferred_charge,
    assemble,
    flag_edge_bleed,
    flag_itl_dip,
    flag_itl_saturation,
    subtract_bias,
    subtract_dark,
    flag_defects,
    flag_nan,
    widen_saturation_trails,
    correct_brighter_fatter_kernel,
    correct_brighter_fatter_flux_conserving,
    correct_brighter_fatter_electrostatic,
    make_variance,
    apply_flat,
    fill_bad_regions,
    interpolate_bad_pixels,
    subtract_amplifier_offsets,
)

STEPS: Mapping[str, StepFunction] = MappingProxyType({function.__name__: function for function in _FUNCTIONS})
"""Function of every step, by its name, in the order in which the LSST pipelines run them."""
