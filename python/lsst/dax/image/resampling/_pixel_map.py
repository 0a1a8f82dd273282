"""The exact map between the pixels of two projections."""

from __future__ import annotations

__all__ = ("PixelMap",)

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import SkyProjection

type Positions = NDArray[np.float64]

# AST marks what it cannot map with the largest negative number; longitudes
# lose the mark when lsst.images wraps them, latitudes and pixels keep it.
_LARGEST_POSITION = 1e30


@dataclass(frozen=True)
class PixelMap:
    """Map from the pixels of one projection to those of another, by way of the sky."""

    target: SkyProjection[Any]
    """Projection that is mapped from."""

    source: SkyProjection[Any]
    """Projection that is mapped to."""

    @property
    def inverted(self) -> PixelMap:
        """The map back."""
        return PixelMap(self.source, self.target)

    @cached_property
    def is_identity(self) -> bool:
        """Whether both projections are one, as those of the patches of a tract."""
        one, two = self.source.pixel_to_sky_transform, self.target.pixel_to_sky_transform
        return bool(one is two or one == two)

    def evaluate(self, x: Positions, y: Positions) -> Positions:
        """Map positions exactly.

        Parameters
        ----------
        x, y
            Target positions, arrays of one shape.

        Returns
        -------
        positions
            Source x and y, shape ``(2, *x.shape)``; NaN for what lies off the
            sky or beyond the horizon of the source's projection.
        """
        if self.is_identity:
            return np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
        if np.size(x) == 0:  # AST refuses
            return np.empty((2, *np.shape(x)))
        with np.errstate(invalid="ignore", over="ignore"):
            sky = self.target.pixel_to_sky_transform.apply_forward(x=x, y=y)
            longitude, latitude = np.asarray(sky.x), np.asarray(sky.y)
            on_sky = np.abs(latitude) <= np.pi
            pixels = self.source.pixel_to_sky_transform.apply_inverse(
                x=np.where(on_sky, longitude, 0.0), y=np.where(on_sky, latitude, 0.0)
            )
            positions = np.stack([np.asarray(pixels.x), np.asarray(pixels.y)])
            good = on_sky & (np.abs(positions) < _LARGEST_POSITION).all(axis=0)
        return np.where(good, positions, np.nan)
