"""How fluxes are measured."""

from __future__ import annotations

__all__ = ("ForcedOptions",)

from dataclasses import dataclass

import astropy.units as u

from ..errors import RequestError
from ..psfs import PsfNormalization
from .aperture_flux import ApertureRule
from .background import INNER_FACTOR, OUTER_FACTOR
from .psf_flux import Background, Weights

_PSF_CORRECTION = "base_PsfFlux_instFlux"


@dataclass(frozen=True, kw_only=True)
class ForcedOptions:
    """Choices of `measure`; the defaults are the observatory's estimator."""

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
        if not self.footprint_scaling > 0.0:
            raise RequestError(f"The scaling of footprints must be positive; got {self.footprint_scaling}.")
        if len(set(self.radii)) != len(self.radii):
            raise RequestError(f"Each radius makes columns of its own; got {self.radii}.")
