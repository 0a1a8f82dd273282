"""The noise of a coadd: how resampling correlates it, and realisations of it."""

from __future__ import annotations

__all__ = (
    "CORRELATION_PX",
    "KernelNoise",
    "combine_noise_correlations",
    "convolve_noise_correlation",
    "find_kernel_noise",
    "find_sum_variance_factor",
    "make_noise_realization",
)

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from lsst.images import Box

from .._kernels.coadd_noise_nb import correlate_stretched_weights, correlate_weights, share_places
from ..errors import RequestError
from ..resampling import Kernel, LocalMaps, make_profile, make_weight_table
from ..resampling.kernels import PROFILE_PLACES

type Floats = NDArray[np.float64]

CORRELATION_PX = 11
"""Side of correlations: all neighbours of which Lanczos kernels of six pixels share a source pixel.

With 5 the variance of a large sum would be predicted 8 percent too low.
"""

_BLOCK = 64
"""Side of the blocks of absolute source pixels whose noise is drawn together."""


@dataclass(frozen=True)
class KernelNoise:
    """What resampling makes of white noise, per cell."""

    variance_factors: Floats
    """Mean sum of squared weights, shape ``(n,)``: the variance of a resampled pixel
    per variance of a source pixel, before any factor for the areas; NaN off the sky."""

    correlations: Floats
    """Mean correlation with the neighbour at each offset (y, x), 1 in the middle, shape
    ``(n, side, side)``; NaN off the sky."""


def find_kernel_noise(
    maps: LocalMaps, *, kernel: Kernel = Kernel.LANCZOS3, cell_px: int, side_px: int = CORRELATION_PX
) -> KernelNoise:
    """Find how an interpolation correlates the noise of pixels.

    Parameters
    ----------
    maps
        Source positions of the middles of cells, and the derivatives there.
        The middle of an even number of pixels lies between two.
    kernel
        Kernel that pixels are resampled with.
    cell_px
        Side of a cell in target pixels, over which is averaged.
    side_px
        Side of the correlations, odd.

    Returns
    -------
    noise
        Factors and correlations.  They follow from the positions alone, not
        from pixels.

    Raises
    ------
    RequestError
        Raised if a side is not positive, or that of the correlations is even.

    Notes
    -----
    Target pixels p and q with weights w over source pixels s have the
    covariance ``V sum_s w_p(s) w_q(s)``.  It is a smooth periodic function of
    where p lies between source pixels.  Its mean over all pixels of a square
    cell, over which the map is linear, is that of its Fourier series, each
    term of which has a mean in closed form; so a target that is merely
    shifted is as exact as one that is turned.
    """
    if cell_px < 1 or side_px < 1 or side_px % 2 == 0:
        raise RequestError(
            f"Cells of {cell_px} pixels and correlations of {side_px} pixels; "
            "both are positive, the latter odd."
        )
    n = len(maps.positions)
    products = np.full((n, side_px, side_px), np.nan)
    good = np.isfinite(maps.positions).all(axis=1) & np.isfinite(maps.matrices).all(axis=(1, 2))
    stretched = maps.find_stretched(kernel)
    plain = np.flatnonzero(good & ~stretched)
    nodes = 8 if kernel.half_width > 1 else 16  # weights of narrow kernels are less smooth
    phases = _make_phases(nodes)
    if plain.size:
        table = make_weight_table(kernel)
        found = np.empty((plain.size, side_px, side_px))
        correlate_weights(
            np.ascontiguousarray(maps.matrices[plain]),
            phases,
            _share(maps, plain, nodes, cell_px),
            table.coefficients,
            table.taps,
            table.first_tap,
            table.shift,
            found,
        )
        products[plain] = found
    chosen = np.flatnonzero(good & stretched)
    for i, shares in zip(chosen, _share(maps, chosen, 4, cell_px), strict=True):
        _correlate_stretched(maps.matrices[i], kernel, shares, products[i])
    middle = products[:, side_px // 2, side_px // 2].copy()
    return KernelNoise(middle, products / middle[:, None, None])


def _make_phases(nodes: int) -> Floats:
    """Return a square grid of places (x, y) between source pixels."""
    y, x = np.indices((nodes, nodes)) / nodes
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _share(maps: LocalMaps, chosen: NDArray[np.int64], nodes: int, cell_px: int) -> Floats:
    """Return how much each place of a grid counts in the mean over all pixels of a cell."""
    shares = np.empty((chosen.size, nodes**2))
    share_places(
        np.ascontiguousarray(maps.positions[chosen]),
        np.ascontiguousarray(maps.matrices[chosen]),
        nodes,
        cell_px,
        shares,
    )
    return shares


def _correlate_stretched(matrix: Floats, kernel: Kernel, shares: Floats, out_products: Floats) -> None:
    """Set the products of weights of a kernel that is stretched to the target's pixels."""
    left, scales, right = np.linalg.svd(matrix)
    wide = left @ np.diag(np.maximum(scales, 1.0)) @ right
    half_width = float(max(kernel.half_width, 1))
    correlate_stretched_weights(
        np.ascontiguousarray(matrix),
        np.ascontiguousarray(np.linalg.inv(wide)),
        half_width * np.abs(wide).sum(axis=1),
        _make_phases(4),
        shares,
        make_profile(kernel),
        float(PROFILE_PLACES),
        half_width,
        out_products,
    )


def combine_noise_correlations(correlations: Floats, weights: Floats, variances: Floats) -> Floats:
    """Return the correlation of the noise of a weighted mean.

    Parameters
    ----------
    correlations
        Those of the inputs, shape ``(n, side, side)``.
    weights
        Weights that counted, not negative, shape ``(n,)``.
    variances
        Mean variance of a resampled pixel of each input, shape ``(n,)``.

    Returns
    -------
    correlation
        Shape ``(side, side)``: the mean with ``weights**2 variances``.

    Raises
    ------
    RequestError
        Raised if the lengths differ, or nothing counts.
    """
    if not len(correlations) == len(weights) == len(variances):
        raise RequestError(
            f"There are {len(correlations)} correlations, {len(weights)} weights "
            f"and {len(variances)} variances."
        )
    shares = np.asarray(weights, np.float64) ** 2 * np.asarray(variances, np.float64)
    used = np.flatnonzero(shares > 0.0)
    if not used.size:
        raise RequestError(f"None of {shares.size} inputs has a weight and a variance above 0.")
    total = np.zeros(correlations.shape[1:])
    for i in used:
        total += shares[i] * correlations[i]
    return total / shares[used].sum()


def find_sum_variance_factor(correlation: Floats, weights: NDArray[np.floating]) -> float:
    """Return by how much correlated noise exceeds white noise in a weighted sum of pixels.

    Parameters
    ----------
    correlation
        Correlation of the noise with 1 in the middle, of odd sides.
    weights
        Weights of the pixels of the sum: 1 within an aperture, or a PSF,
        shape ``(rows, columns)``.

    Returns
    -------
    factor
        Variance of the sum, divided by the sum of variances with squared
        weights, for pixels of one variance.
    """
    values = np.asarray(weights, np.float64)
    half = correlation.shape[0] // 2
    padded = np.pad(values, half)
    rows, columns = values.shape
    total = 0.0
    for (j, i), share in np.ndenumerate(correlation):
        total += share * np.vdot(values, padded[j : j + rows, i : i + columns])
    return float(total / np.vdot(values, values))


def convolve_noise_correlation(correlation: Floats, kernel: Floats) -> Floats:
    """Return the correlation of noise after a convolution.

    Parameters
    ----------
    correlation
        Correlation before, with 1 in the middle, of odd sides.
    kernel
        Kernel of odd sides.

    Returns
    -------
    correlation
        Correlation after, with 1 in the middle.  It reaches as far as the
        kernel's own does: the side is that of ``correlation`` plus twice that
        of ``kernel`` minus two.
    """
    own = scipy.signal.convolve(kernel, kernel[::-1, ::-1], method="fft")
    after = scipy.signal.convolve(correlation, own, method="fft")
    middle = after.shape[0] // 2
    return np.asarray(after / after[middle, middle])


def make_noise_realization(
    variance: NDArray[np.floating], *, bbox: Box, seed: int, visit: int, detector: int, index: int = 0
) -> NDArray[np.float32]:
    """Draw white noise on the pixels of a source.

    Parameters
    ----------
    variance
        Variance of each pixel, of the box's shape.
    bbox
        Pixels of the source, a part of it or all of it.
    seed
        Seed of the recipe, not negative.
    visit, detector
        Which image the source is.
    index
        Which realisation, from 0.

    Returns
    -------
    noise
        Normal noise of that variance and a mean of 0; NaN where the variance
        is not finite or negative.  A pixel has the same bits in any part of
        the source.

    Raises
    ------
    RequestError
        Raised if the shapes differ or a number is negative.

    Notes
    -----
    Blocks of 64 by 64 absolute pixels each have a counter of their own in
    one stream of Philox (Salmon et al. 2011), so that a part is drawn without
    what lies before it.  Bits hold for one version of NumPy's normal
    distribution.
    """
    if variance.shape != tuple(bbox.shape):
        raise RequestError(f"The variance has the shape {variance.shape}; the box {bbox} has {bbox.shape}.")
    numbers = (seed, visit, detector, index)
    if min(numbers) < 0:
        raise RequestError(f"Seed, visit, detector and index are not negative; they are {numbers}.")
    key = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
    noise = np.empty(variance.shape, np.float32)
    for row in _find_blocks(bbox.y.start, bbox.y.stop):
        for column in _find_blocks(bbox.x.start, bbox.x.stop):
            # The first half of the counter is for the draws of the block.
            counter = np.array([0, 0, row % 2**64, column % 2**64], np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
            block = generator.standard_normal((_BLOCK, _BLOCK), np.float32)
            y0, x0 = row * _BLOCK, column * _BLOCK
            part = Box.factory[
                max(y0, bbox.y.start) : min(y0 + _BLOCK, bbox.y.stop),
                max(x0, bbox.x.start) : min(x0 + _BLOCK, bbox.x.stop),
            ]
            own = Box.factory[y0 : y0 + _BLOCK, x0 : x0 + _BLOCK]
            noise[part.slice_within(bbox)] = block[part.slice_within(own)]
    known = np.isfinite(variance) & (variance >= 0.0)
    sigma = np.sqrt(np.where(known, variance, 0.0), dtype=np.float32, casting="same_kind")
    return np.where(known, noise * sigma, np.float32(np.nan)).astype(np.float32, copy=False)


def _find_blocks(start: int, stop: int) -> Iterator[int]:
    """Yield the numbers of the blocks that some pixels lie in."""
    yield from range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
