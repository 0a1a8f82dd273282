"""Pictures of many point sources, and what can be said about them."""

from __future__ import annotations

__all__ = ("PsfNormalization", "PsfStamps")

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]


class PsfNormalization(enum.Enum):
    """What the sum over a picture means."""

    AS_DRAWN = "as_drawn"
    """As the model draws itself, which differs between kinds of model."""

    STAMP = "stamp"
    """Every picture has unit sum, whatever its size."""

    MODEL = "model"
    """The whole model has unit sum at each position, so that a picture holds
    the fraction of the flux within it."""


@dataclass(frozen=True)
class PsfStamps:
    """Pictures of point sources of unit flux, one per position."""

    array: FloatArray
    """Pictures, shape ``(n, h, w)`` with odd sides; NaN where ``flags`` is set."""

    x0: IntArray
    """Column of the first pixel of each picture, shape ``(n,)``; 0 where ``flags`` is set."""

    y0: IntArray
    """Row of the first pixel of each picture, shape ``(n,)``; 0 where ``flags`` is set."""

    sums: FloatArray
    """Sum over each picture, shape ``(n,)``; NaN where ``flags`` is set."""

    effective_areas_px: FloatArray
    """Number of pixels of noise in a least-squares flux, ``sum(P)**2 / sum(P**2)``,
    shape ``(n,)``; NaN where ``flags`` is set."""

    flags: IntArray
    """Bits of the registry per position, shape ``(n,)``: BAD_POSITION where the
    position is not finite, NO_PSF where the model is not defined."""

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.flags)
