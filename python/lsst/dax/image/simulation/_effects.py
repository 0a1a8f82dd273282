"""Which effects of a detector are simulated."""

from __future__ import annotations

__all__ = ("Effects",)

import dataclasses
from typing import Self

from ..errors import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effects:
    """Switches and sizes of what happens between the sky and the file.

    The sizes of the other effects are in `SimulatedCalibrations`.  Each effect
    draws from a generator of its own, so that the noise of two exposures with
    the same seed is the same whatever else is on.
    """

    flat: bool = True
    """Relative response of the pixels."""
    dark: bool = True
    """Dark current, with its Poisson noise if `poisson` is on."""
    poisson: bool = True
    """Poisson noise of the light."""
    defects: bool = True
    """The first, third, ... defect has lost most of its response, the others are bright."""
    cosmic_rays: bool = True
    """Tracks of cosmic rays."""
    brighter_fatter: bool = True
    """Pixel boundaries that move while charge accumulates."""
    saturation: bool = True
    """Full well: without `bleeding` the excess is lost."""
    bleeding: bool = True
    """Excess charge spills along the column, half of it in each direction."""
    charge_transfer: bool = True
    """Inefficient transfer along the serial register, with its trap."""
    electronics_offset: bool = True
    """Part of the signal drifts into the offset of the electronics and decays."""
    bias: bool = True
    """Two-dimensional bias."""
    overscan_ramps: bool = True
    """Offsets that vary by row and by column, in all of the amplifier."""
    bias_level: bool = True
    """Constant level of the electronics."""
    nonlinearity: bool = True
    """Response of the electronics to charge."""
    read_noise: bool = True
    """Gaussian read noise."""
    crosstalk: bool = True
    """Linear and quadratic crosstalk."""
    digitization: bool = True
    """Rounding to integers and the range of the converter; without it counts are real numbers."""

    brighter_fatter_steps: int = 4
    """Number of parts that the exposure is divided into for the brighter-fatter effect."""
    row_ramp_electrons: float = 8.0
    """Amplitude of the offset by row, which decays from the first row."""
    column_ramp_electrons: float = 2.0
    """Amplitude of the offset by column."""
    cosmic_rays_per_megapixel: float = 8.0
    """Mean number of cosmic rays."""

    def __post_init__(self) -> None:
        if self.brighter_fatter_steps < 1:
            raise RequestError(f"An exposure has at least one part, not {self.brighter_fatter_steps}.")
        if self.bleeding and not self.saturation:
            raise RequestError("Only saturated columns bleed: bleeding is on and saturation is off.")

    @classmethod
    def all(cls) -> Self:
        """Return everything switched on."""
        return cls()

    @classmethod
    def none(cls) -> Self:
        """Return everything switched off: the counts are the expected electrons divided by the gain."""
        return cls(**dict.fromkeys(cls._switches(), False))

    @classmethod
    def only(cls, *names: str) -> Self:
        """Return some effects alone.

        Parameters
        ----------
        *names
            Names of switches.

        Raises
        ------
        RequestError
            Raised if there is no such switch.
        """
        return cls.none().with_switches(names, on=True)

    def without(self, *names: str) -> Self:
        """Return the same without some effects; see `only`."""
        return self.with_switches(names, on=False)

    def with_switches(self, names: tuple[str, ...], *, on: bool) -> Self:
        """Return the same with some switches changed; see `only`."""
        switches = self._switches()
        if unknown := set(names) - set(switches):
            raise RequestError(f"No effect is called {sorted(unknown)}; there are {', '.join(switches)}.")
        changes = dict.fromkeys(names, on)
        # Bleeding is part of saturation.
        if on and "bleeding" in changes:
            changes["saturation"] = True
        if not on and "saturation" in changes:
            changes["bleeding"] = False
        return dataclasses.replace(self, **changes)

    @classmethod
    def _switches(cls) -> tuple[str, ...]:
        return tuple(field.name for field in dataclasses.fields(cls) if isinstance(field.default, bool))
