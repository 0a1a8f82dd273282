"""The quality flags of this library: one registry of bits.

A bit has the same meaning wherever it occurs.  Trouble with one target sets a
bit and, where there is a number, NaN; it never raises.
"""

from __future__ import annotations

__all__ = ("FLAGS", "FlagDefinition", "describe_flags", "flag_names")

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FlagDefinition:
    """One bit of a flag word."""

    bit: int
    """Position of the bit, 0 for the least significant one."""

    name: str
    """Upper-case name, unique in the registry."""

    meaning: str
    """One sentence for a user."""

    @property
    def value(self) -> int:
        """Value of a word in which this bit alone is set."""
        return 1 << self.bit


_DEFINITIONS = (
    FlagDefinition(0, "BAD_POSITION", "The position is not finite or not on the sky."),
    FlagDefinition(1, "NO_COVERAGE", "The image has no pixel of the target's box."),
    FlagDefinition(2, "EDGE", "Part of the target's box lies off the image."),
    FlagDefinition(3, "READ_FAILED", "The pixels could not be read; the table's meta['failures'] says why."),
    FlagDefinition(4, "NO_PSF", "The image has no point spread function at the target."),
    FlagDefinition(5, "NO_PIXELS", "All pixels of the target are left out for their mask planes or values."),
    FlagDefinition(6, "NOT_FINITE", "A pixel of the target, or the noise around it, is not finite."),
    FlagDefinition(7, "NO_BACKGROUND", "The annulus around the target has no usable pixel."),
    FlagDefinition(8, "APERTURE_TRUNCATED", "The aperture reaches off the image."),
    FlagDefinition(9, "SINC_TRUNCATED", "Weights of the aperture beyond its rim lie off the image."),
    FlagDefinition(10, "NO_APERTURE_CORRECTION", "The image has no aperture correction; none is applied."),
    FlagDefinition(11, "BAD_APERTURE_CORRECTION", "The aperture correction at the target is not usable."),
    FlagDefinition(12, "CENTER_OFF_IMAGE", "The target lies outside of the image's valid region."),
    FlagDefinition(13, "BLEND_DEGENERATE", "Too close to another source to tell their fluxes apart."),
    FlagDefinition(14, "NO_CALIBRATION", "The photometric scaling at the target is not usable."),
    FlagDefinition(15, "NO_BASELINE", "Too few epochs without the event to tell their level."),
)

FLAGS: Mapping[str, FlagDefinition] = MappingProxyType({flag.name: flag for flag in _DEFINITIONS})
"""All flags by name."""


def flag_names(word: int) -> tuple[str, ...]:
    """Return the names of the bits that are set in a flag word.

    Parameters
    ----------
    word
        Flag word, as an integer.

    Returns
    -------
    names
        Names in the order of their bits.

    Raises
    ------
    ValueError
        Raised if a bit is set that the registry does not define.
    """
    known = sum(flag.value for flag in _DEFINITIONS)
    if word & ~known:
        raise ValueError(f"Flag word {word:#x} has bits outside of the registry's {known:#x}.")
    return tuple(flag.name for flag in _DEFINITIONS if word & flag.value)


def describe_flags(word: int) -> str:
    """Return the meanings of the bits that are set, one sentence each.

    Parameters
    ----------
    word
        Flag word, as an integer.

    Returns
    -------
    text
        The sentences, joined by spaces; empty where no bit is set.
    """
    return " ".join(FLAGS[name].meaning for name in flag_names(word))
