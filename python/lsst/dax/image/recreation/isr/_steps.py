"""The table of all steps, by name."""

from __future__ import annotations

__all__ = ("STEPS",)

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .exposure import IsrExposure

type StepFunction = Callable[..., IsrExposure]

STEPS: Mapping[str, StepFunction] = MappingProxyType({})
"""Function of every step, by its name."""
