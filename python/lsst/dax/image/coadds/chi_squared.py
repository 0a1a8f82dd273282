"""The sum over bands of squared signal-to-noise, for the detection of sources of any colour."""

from __future__ import annotations

__all__ = ("ChiSquared", "make_chi_squared")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from ..errors import RequestError


@dataclass(frozen=True, eq=False)
class ChiSquared:
    """A chi-squared image."""

    image: NDArray[np.float32]
    """Sum of squares of value over standard deviation, without a unit; NaN where no band has a value."""

    variance: NDArray[np.float32]
    """Variance of the sum where there is no source: twice the number of bands.  It is
    not the error of the value at a source, which grows with the value."""

    mask: NDArray[np.uint32]
    """Mask words of all bands that have the pixel."""

    n_bands: NDArray[np.uint16]
    """Number of bands that have the pixel: the degrees of freedom."""

    @property
    def mean_degrees_of_freedom(self) -> float:
        """Mean number of bands of the pixels that have a value; NaN if none has."""
        used = self.n_bands[self.n_bands > 0]
        return float(used.mean()) if used.size else float("nan")

    def find_significance(self) -> NDArray[np.float32]:
        """Return standard deviations of a normal variable that is as unlikely.

        Returns
        -------
        significance
            One-sided: the value that a normal variable exceeds with the
            probability that noise alone exceeds the chi-squared, so that one
            threshold serves pixels of any number of bands.  Beyond about 37
            it is the root of the chi-squared, which it tends to.  NaN where
            there is no value.
        """
        half = np.asarray(self.image, np.float64) / 2.0
        degrees = np.maximum(self.n_bands, 1) / 2.0
        upper = scipy.special.gammaincc(degrees, half)
        lower = scipy.special.gammainc(degrees, half)
        # Each tail from its own side: 1 - p loses the digits of small p.
        found = np.where(upper < 0.5, -scipy.special.ndtri(upper), scipy.special.ndtri(lower))
        found = np.where(upper > 1e-300, found, np.sqrt(2.0 * half))
        return np.where(self.n_bands > 0, found, np.nan).astype(np.float32)


def make_chi_squared(
    images: Sequence[NDArray[np.floating]],
    variances: Sequence[NDArray[np.floating]],
    masks: Sequence[NDArray[np.uint32]],
) -> ChiSquared:
    """Make the chi-squared image of coadds of several bands.

    Parameters
    ----------
    images
        Coadd of each band, background-subtracted, of one shape.
    variances
        Variance of each, in the square of its unit.
    masks
        Mask words of each, of the same planes.

    Returns
    -------
    chi_squared
        The sum over the bands that have the pixel.

    Raises
    ------
    RequestError
        Raised if there are no bands, or numbers or shapes differ.

    Notes
    -----
    After Szalay, Connolly and Szokoly (1999).  Where there is no source, a
    pixel of n bands has the chi-squared distribution with n degrees of
    freedom: mean n, variance 2 n.  Bands without a value, or with a variance
    that is not above 0, do not count.  The sum is not linear: a chi-squared
    image has no PSF, and serves to detect alone.
    """
    shapes = {array.shape for group in (images, variances, masks) for array in group}
    if not images or not len(images) == len(variances) == len(masks) or len(shapes) != 1:
        raise RequestError(
            f"A chi-squared image of {len(images)} images, {len(variances)} variances and {len(masks)} masks "
            f"of shapes {sorted(shapes)}; at least one of each, of one shape, is needed."
        )
    (shape,) = shapes
    total = np.zeros(shape)
    mask = np.zeros(shape, np.uint32)
    n_bands = np.zeros(shape, np.uint16)
    for image, variance, words in zip(images, variances, masks, strict=True):
        good = np.isfinite(image) & np.isfinite(variance) & (variance > 0.0)
        total += np.where(good, np.asarray(image, np.float64) ** 2 / np.where(good, variance, 1.0), 0.0)
        mask |= np.where(good, words, np.uint32(0))
        n_bands += good
    has_value = n_bands > 0
    return ChiSquared(
        image=np.where(has_value, total, np.nan).astype(np.float32),
        variance=np.where(has_value, 2.0 * n_bands, np.nan).astype(np.float32),
        mask=mask,
        n_bands=n_bands,
    )
