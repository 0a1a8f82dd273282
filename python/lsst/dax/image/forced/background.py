"""The background around a position."""

from __future__ import annotations

__all__ = ("LocalBackground", "measure_local_background")

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._kernels import flux_aperture_nb as nb
from ..errors import RequestError
from .pixels import Pixels

type Floats = NDArray[np.float64]

INNER_FACTOR = 7.0
OUTER_FACTOR = 15.0
_N_SIGMA = 3.0
_N_PASSES = 3


@dataclass(frozen=True)
class LocalBackground:
    """Clipped means around positions, all of shape ``(n,)``."""

    mean: Floats
    """Background per pixel, in the units of the image; NaN without pixels."""

    standard_deviation: Floats
    """Standard deviation of one pixel."""

    n_pixels: NDArray[np.int64]
    """Number of pixels that were not clipped."""

    @property
    def error(self) -> Floats:
        """Standard deviation of the mean."""
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Floats = self.standard_deviation / np.sqrt(self.n_pixels)
        return result


def measure_local_background(
    pixels: Pixels,
    *,
    x: Floats,
    y: Floats,
    sigma: Floats,
    inner_factor: float = INNER_FACTOR,
    outer_factor: float = OUTER_FACTOR,
) -> LocalBackground:
    """Return the clipped mean of an annulus around each position.

    Parameters
    ----------
    pixels
        Pixels of the image; those of the planes to drop, and those that are
        not finite, are left out.
    x, y
        Positions in parent pixels, shape ``(n,)``.
    sigma
        Scale of the PSF in pixels, shape ``(n,)``.
    inner_factor, outer_factor
        Radii of the annulus in units of ``sigma``; the defaults are the
        observatory's.

    Returns
    -------
    background
        Mean, standard deviation and number of pixels.

    Raises
    ------
    RequestError
        Raised if the radii are not ascending and positive.

    Notes
    -----
    Whole pixels count whose centres lie in the annulus.  Three passes clip at
    three standard deviations; the first starts from the median and the
    interquartile range, as the observatory's ``base_LocalBackground`` does.
    """
    if not 0.0 <= inner_factor < outer_factor:
        raise RequestError(f"An annulus needs 0 <= inner < outer; got {inner_factor} and {outer_factor}.")
    clipped = np.empty((x.size, 3))
    nb.clip_annulus(
        pixels.image,
        pixels.mask,
        pixels.drop,
        np.asarray(x - pixels.x0, dtype=np.float64),
        np.asarray(y - pixels.y0, dtype=np.float64),
        np.asarray(inner_factor * sigma, dtype=np.float64),
        np.asarray(outer_factor * sigma, dtype=np.float64),
        _N_SIGMA,
        _N_PASSES,
        clipped,
    )
    return LocalBackground(clipped[:, 0], clipped[:, 1], clipped[:, 2].astype(np.int64))
