"""How fluxes are measured."""

from __future__ import annotations

__all__ = ("ForcedOptions",)

import math
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np

from ..choices import as_choice
from ..errors import RequestError
from ..psfs import PsfNormalization
from .aperture_flux import ApertureRule
from .background import INNER_FACTOR, OUTER_FACTOR
from .psf_flux import Background, Weights

_PSF_CORRECTION = "base_PsfFlux_instFlux"


@dataclass(frozen=True, kw_only=True)
class ForcedOptions:
    """Choices of `measure`; the defaults are the observatory's estimator.

    A choice may be given by its value, such as ``"annulus"``, and radii as
    quantities of pixels.

    Raises
    ------
    RequestError
        Raised if a choice is none, or a radius or size cannot be used.
    """

    weights: Weights = Weights.NONE
    """Which noise the errors of PSF fluxes are for."""

    background: Background = Background.NONE
    """What is taken off before a flux is measured."""

    annulus: tuple[float, float] = (INNER_FACTOR, OUTER_FACTOR)
    """Radii of the annulus in scales of the PSF."""

    bad_planes: tuple[str, ...] = ()
    """Mask planes whose pixels are left out, with those that are not finite;
    none is the observatory's practice, `BAD_PLANES` a sensible other one."""

    radii: tuple[float, ...] = ()
    """Radii of apertures in pixels."""

    aperture_rule: ApertureRule = ApertureRule.SINC
    """How pixels that an aperture cuts are shared."""

    aperture_correction: str | None = _PSF_CORRECTION
    """Key of the aperture correction of PSF fluxes; none if `None`."""

    normalization: PsfNormalization = PsfNormalization.AS_DRAWN
    """What the sum over a picture of the PSF is."""

    stamp_size: int | None = None
    """Rows and columns of the pictures of the PSF, odd; its own if `None`."""

    footprint_scaling: float = 3.0
    """Size of the ellipse whose mask planes are reported, in scales of the PSF."""

    match_radius: u.Quantity = 0.2 * u.arcsec
    """A neighbour this close to a position is the target itself."""

    def __post_init__(self) -> None:
        for name, kind in (
            ("weights", Weights),
            ("background", Background),
            ("aperture_rule", ApertureRule),
            ("normalization", PsfNormalization),
        ):
            object.__setattr__(self, name, as_choice(getattr(self, name), kind, name))
        planes: object = self.bad_planes
        if isinstance(planes, str):
            raise RequestError(f"Mask planes are named in a list; got {planes!r}.")
        object.__setattr__(self, "bad_planes", tuple(self.bad_planes))
        object.__setattr__(self, "radii", _read_radii(self.radii))
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Refuse numbers that no measurement can use."""
        if not 0.0 < self.footprint_scaling < math.inf:
            raise RequestError(f"The scaling of footprints must be positive; got {self.footprint_scaling}.")
        inner, outer = self.annulus
        if not 0.0 <= inner < outer < math.inf:
            raise RequestError(f"An annulus needs 0 <= inner < outer; got {inner} and {outer}.")
        size: Any = self.stamp_size
        if size is not None and not (isinstance(size, int | np.integer) and size > 0 and size % 2 == 1):
            raise RequestError(f"A picture of the PSF has an odd number of rows and columns; got {size!r}.")
        radius = u.Quantity(self.match_radius)
        if not (radius.isscalar and radius.unit.is_equivalent(u.arcsec) and radius >= 0.0 * u.arcsec):
            raise RequestError(f"The radius of a match is an angle of zero or more; got {self.match_radius}.")


def _read_radii(radii: Any) -> tuple[float, ...]:
    """Return radii of apertures in pixels, which may be given as quantities."""
    try:
        quantity = u.Quantity(radii if len(radii) else [], dtype=np.float64)
        if quantity.unit != u.dimensionless_unscaled:
            quantity = quantity.to(u.pix)
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise RequestError(f"Radii are a list of numbers of pixels; got {radii!r}: {error}") from error
    values = tuple(quantity.value.tolist())
    if quantity.ndim != 1 or not all(0.0 < value < math.inf for value in values):
        raise RequestError(f"Radii must be positive numbers of pixels; got {radii}.")
    if len(set(values)) != len(values):
        raise RequestError(f"Each radius makes columns of its own; got {radii}.")
    return values
