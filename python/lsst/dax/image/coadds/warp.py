"""One detector of one visit on the pixels of a coadd."""

from __future__ import annotations

__all__ = ("InputKey", "Warp")

import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import InputDataError


@dataclass(frozen=True, order=True)
class InputKey:
    """Which image an input is."""

    instrument: str
    """Instrument."""

    visit: int
    """Visit."""

    detector: int
    """Detector."""

    uuid: uuid.UUID
    """Dataset."""


@dataclass(frozen=True, eq=False)
class Warp:
    """One input on the pixels of a coadd, or of a part of it, in nJy.

    Pixels are 0-based parent pixels of the coadd, with their centres at
    integers.  A pixel without a value is NaN in image and variance.
    """

    key: InputKey
    """Which image it is."""

    bbox: Box
    """Pixels of the arrays."""

    image: NDArray[np.float32]
    """Flux per pixel in nJy, of shape (rows, columns)."""

    variance: NDArray[np.float32]
    """Variance in nJy**2, of shape (rows, columns)."""

    mask: NDArray[np.uint32]
    """Bit ``i`` is the plane ``planes[i]``, of shape (rows, columns)."""

    planes: tuple[str, ...]
    """Names of mask planes; the same for all warps that are combined."""

    weight: float
    """Weight of the whole input, larger than zero; never from pixels of the region."""

    psf: NDArray[np.float64] | None = None
    """PSF at the middle of the cell, centred in an array of odd sides, with a sum of 1."""

    def __post_init__(self) -> None:
        shape = tuple(self.bbox.shape)
        for name in ("image", "variance", "mask"):
            found = getattr(self, name).shape
            if found != shape:
                raise InputDataError(f"The {name} of {self.key} has the shape {found}; its box has {shape}.")
        if not (np.isfinite(self.weight) and self.weight > 0.0):
            raise InputDataError(f"The weight of {self.key} is {self.weight}, not a number above 0.")
        if len(self.planes) > 32:  # bits of the mask
            raise InputDataError(f"{self.key} has {len(self.planes)} mask planes; at most 32 are combined.")
