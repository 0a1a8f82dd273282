"""The linear part of the map between two pixel grids, at many positions."""

from __future__ import annotations

__all__ = ("LocalMaps", "find_local_maps")

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import SkyProjection

from ._pixel_map import PixelMap
from .kernels import Kernel
from .resample import STRETCH_SCALE

_STEPS_X = np.array([0.0, 0.5, -0.5, 0.0, 0.0])
_STEPS_Y = np.array([0.0, 0.0, 0.0, 0.5, -0.5])


@dataclass(frozen=True)
class LocalMaps:
    """Source positions of target positions, and the derivatives there; NaN off the sky."""

    positions: NDArray[np.float64]
    """Source (x, y) in 0-based parent pixels, shape ``(n, 2)``."""

    matrices: NDArray[np.float64]
    """Derivatives of source (x, y), by rows, with respect to target (x, y), shape ``(n, 2, 2)``."""

    def find_stretched(self, kernel: Kernel) -> NDArray[np.bool_]:
        """Tell at which positions a kernel is stretched to the target's pixels.

        Parameters
        ----------
        kernel
            Kernel.

        Returns
        -------
        stretched
            Shape ``(n,)``; the same rule as that of a resampled PSF.
        """
        stretched = np.zeros(len(self.positions), np.bool_)
        good = np.isfinite(self.matrices).all(axis=(1, 2))
        if kernel is not Kernel.NEAREST and good.any():
            coarsest = np.linalg.svd(self.matrices[good], compute_uv=False)[:, 0]
            stretched[good] = coarsest > STRETCH_SCALE
        return stretched


def find_local_maps(
    source: SkyProjection[Any], target: SkyProjection[Any], *, x: NDArray[np.float64], y: NDArray[np.float64]
) -> LocalMaps:
    """Find the linear part of the map from a target grid to a source.

    Parameters
    ----------
    source
        Projection that is mapped to.
    target
        Projection that is mapped from.
    x, y
        Target positions in 0-based parent pixels, shape ``(n,)``.

    Returns
    -------
    maps
        Positions, exact as those of `find_source_coordinates`, and derivatives
        from differences over one target pixel.
    """
    columns = np.asarray(x, np.float64)[:, None] + _STEPS_X
    rows = np.asarray(y, np.float64)[:, None] + _STEPS_Y
    found = PixelMap(target, source).evaluate(columns, rows)
    matrices = np.stack([found[..., 1] - found[..., 2], found[..., 3] - found[..., 4]], axis=-1)
    return LocalMaps(positions=found[..., 0].T.copy(), matrices=np.moveaxis(matrices, 0, 1).copy())
