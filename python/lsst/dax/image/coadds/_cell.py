"""One cell of a coadd, from its inputs."""

from __future__ import annotations

__all__ = (
    "CellInput",
    "CombinedCell",
    "combine_cell",
    "find_median",
    "find_padding",
    "match_input",
    "need_psf",
    "trim",
)

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import MissingPsfError, RequestError
from ._smoothing import smooth_to_one_psf
from ._used_pixels import mark_clipped
from .artifacts import find_artifacts, mark_artifacts
from .cell_psf import combine_psfs, find_effective_weights
from .chi_squared import make_chi_squared
from .combination import combine_warps
from .noise import combine_noise_correlations, convolve_noise_correlation
from .proper import ProperCoadd, make_proper_coadd
from .psf_matching import make_matching_kernel, make_target_psf, match_psf
from .recipe import Recipe
from .rules import PsfMatching, Statistic
from .warp import Warp


@dataclass(frozen=True, eq=False)
class CellInput:
    """An input of a cell."""

    warp: Warp
    """Its pixels, padding included, and its PSF."""

    band: str
    """Band."""

    noise_correlation: NDArray[np.float64]
    """Correlation of the noise of neighbouring pixels, shape ``(side, side)``."""

    noise: NDArray[np.float32]
    """Realisations of its noise, shape ``(n, rows, columns)``."""

    pixel_area: float
    """Area of a pixel of the cell in pixels of the input."""


@dataclass(frozen=True, eq=False)
class CombinedCell:
    """The pixels of a cell, without its padding, and its PSF."""

    image: NDArray[np.float32]
    """Values in nJy."""

    variance: NDArray[np.float32]
    """Variance in nJy**2."""

    mask: NDArray[np.uint32]
    """Mask words."""

    n_inputs: NDArray[np.uint16]
    """Number of inputs."""

    rejected_fraction: NDArray[np.float32]
    """Share of the weight that was left out."""

    psf: NDArray[np.float64]
    """PSF, with a sum of 1."""

    shares: NDArray[np.float64]
    """Share of each input in the cell, with a sum of 1."""

    noise: NDArray[np.float32]
    """Realisations of the noise, shape ``(n, rows, columns)``."""

    noise_correlation: NDArray[np.float64]
    """Correlation of the noise of neighbouring pixels, shape ``(side, side)``."""


def find_padding(recipe: Recipe) -> int:
    """Return the width around a cell that its pixels depend on.

    Parameters
    ----------
    recipe
        How the cell is made.

    Returns
    -------
    padding_px
        That of its rules where something looks beyond a pixel; else 0.
    """
    looks_around = recipe.psf_matching.target is not None or recipe.statistic in (
        Statistic.ARTIFACT_FREE_MEAN,
        Statistic.PROPER,
    )
    return recipe.cells.padding_px if looks_around else 0


def combine_cell(
    inputs: Sequence[CellInput], inner: Box, recipe: Recipe, *, pixel_scale_arcsec: float
) -> CombinedCell:
    """Make one cell.

    Parameters
    ----------
    inputs
        Its inputs, in order.
    inner
        Pixels of the cell without its padding.
    recipe
        How it is made.
    pixel_scale_arcsec
        Side of its pixels.

    Returns
    -------
    cell
        The cell.

    Raises
    ------
    RequestError
        Raised if the PSF of an input is too wide to be matched.
    """
    inputs = [match_input(item, recipe.psf_matching, pixel_scale_arcsec) for item in inputs]
    match recipe.statistic:
        case Statistic.PROPER:
            return _combine_properly(inputs, inner, recipe)
        case Statistic.CHI_SQUARED:
            return _combine_bands(inputs, inner, recipe)
        case Statistic.ARTIFACT_FREE_MEAN:
            inputs = _mark_artifacts(inputs, recipe)
            return _combine_pixels(inputs, inner, recipe, Statistic.MEAN)
        case statistic:
            return _combine_pixels(inputs, inner, recipe, statistic)


def trim(warp: Warp, box: Box) -> Warp:
    """Return part of a warp."""
    if warp.bbox == box:
        return warp
    rows, columns = box.slice_within(warp.bbox)
    return dataclasses.replace(
        warp,
        bbox=box,
        image=warp.image[rows, columns],
        variance=warp.variance[rows, columns],
        mask=warp.mask[rows, columns],
    )


def match_input(item: CellInput, rules: PsfMatching, pixel_scale_arcsec: float) -> CellInput:
    """Bring an input, and the realisations of its noise, to the target PSF."""
    if rules.target is None:
        return item
    psf = need_psf(item.warp)
    target = make_target_psf(rules.target, pixel_scale_arcsec=pixel_scale_arcsec, size_px=psf.shape[0])
    try:
        matched = match_psf(item.warp, target, rules=rules, noise_correlation=item.noise_correlation)
    except RequestError as error:
        raise RequestError(
            f"Visit {item.warp.key.visit}, detector {item.warp.key.detector}, in {item.warp.bbox}: {error}"
        ) from error
    kernel = make_matching_kernel(psf, target, rules=rules).kernel
    noise = [
        match_psf(dataclasses.replace(item.warp, image=layer), target, rules=rules).image
        for layer in item.noise
    ]
    return dataclasses.replace(
        item,
        warp=matched,
        noise_correlation=convolve_noise_correlation(item.noise_correlation, kernel),
        noise=np.stack(noise) if noise else item.noise,
    )


def _mark_artifacts(inputs: Sequence[CellInput], recipe: Recipe) -> list[CellInput]:
    """Set CLIPPED where an input has an artifact."""
    warps = [item.warp for item in inputs]
    # Stars of different PSFs differ in their cores.
    compared = smooth_to_one_psf(warps, masks=recipe.masks)
    found = find_artifacts(compared, rules=recipe.artifacts, masks=recipe.masks)
    marked = mark_artifacts(warps, found)
    return [dataclasses.replace(item, warp=warp) for item, warp in zip(inputs, marked, strict=True)]


def _combine_pixels(
    inputs: Sequence[CellInput], inner: Box, recipe: Recipe, statistic: Statistic
) -> CombinedCell:
    """Combine pixel by pixel."""
    warps = [trim(item.warp, inner) for item in inputs]
    combined = combine_warps(warps, statistic=statistic, clip=recipe.clip, masks=recipe.masks)
    # A median, and what is smallest or largest, knows no weights.
    is_mean = statistic in (Statistic.MEAN, Statistic.CLIPPED_MEAN)
    weights = np.array([warp.weight if is_mean else 1.0 for warp in warps])
    shares = find_effective_weights(weights, combined.used_fraction)
    return CombinedCell(
        image=combined.image,
        variance=combined.variance,
        mask=combined.mask,
        n_inputs=combined.n_inputs,
        rejected_fraction=combined.rejected_fraction,
        psf=combine_psfs(np.stack([need_psf(warp) for warp in warps]), shares),
        shares=shares,
        noise=_combine_noise(inputs, warps, inner, recipe),
        noise_correlation=_correlate(inputs, warps, shares),
    )


def _combine_noise(
    inputs: Sequence[CellInput], warps: Sequence[Warp], inner: Box, recipe: Recipe
) -> NDArray[np.float32]:
    """Return the weighted means of the inputs' noise, of the pixels whose values are in the image."""
    if recipe.noise_realizations and recipe.statistic is Statistic.CLIPPED_MEAN:
        warps = mark_clipped(warps, clip=recipe.clip, masks=recipe.masks)
    cut = inner.slice_within(inputs[0].warp.bbox)
    layers = np.empty((recipe.noise_realizations, *inner.shape), np.float32)
    for index, layer in enumerate(layers):
        noise = [
            dataclasses.replace(warp, image=item.noise[index][cut])
            for item, warp in zip(inputs, warps, strict=True)
        ]
        layer[...] = combine_warps(noise, statistic=Statistic.MEAN, masks=recipe.masks).image
    return layers


def _correlate(
    inputs: Sequence[CellInput], warps: Sequence[Warp], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the correlation of a weighted mean's noise."""
    used = np.flatnonzero(shares > 0.0).tolist()
    return combine_noise_correlations(
        np.stack([inputs[i].noise_correlation for i in used]),
        shares[used],
        np.array([find_median(warps[i].variance) for i in used]),
    )


_MEDIAN_PIXELS = 2**16


def find_median(values: NDArray[np.float32]) -> float:
    """Return the median of what is finite; the caller knows that there is something.

    Of more than `_MEDIAN_PIXELS` pixels every second or further row and column counts.
    """
    step = max(1, math.isqrt(values.size // _MEDIAN_PIXELS))
    picked = values[::step, ::step]
    finite = picked[np.isfinite(picked)]
    return float(np.median(finite if finite.size else values[np.isfinite(values)]))


def _combine_properly(inputs: Sequence[CellInput], inner: Box, recipe: Recipe) -> CombinedCell:
    """Make the optimal coadd for point sources."""
    # The weight is the inverse variance of a pixel of the input: the noise of
    # a piece of sky is the same whatever pixels divide it.
    variances = np.array([item.pixel_area / item.warp.weight for item in inputs])
    warps = [item.warp for item in inputs]

    def make(warps: Sequence[Warp]) -> ProperCoadd:
        return make_proper_coadd(warps, noise_variances=variances, inner=inner, masks=recipe.masks)

    coadd = make(warps)
    noise = [
        make(
            [
                dataclasses.replace(warp, image=item.noise[index])
                for item, warp in zip(inputs, warps, strict=True)
            ]
        ).image
        for index in range(recipe.noise_realizations)
    ]
    shares = find_effective_weights(1.0 / variances, coadd.used_fraction)
    return CombinedCell(
        image=coadd.image,
        variance=coadd.variance,
        mask=coadd.mask,
        n_inputs=coadd.n_inputs,
        rejected_fraction=coadd.rejected_fraction,
        psf=coadd.psf,
        shares=shares,
        noise=np.array(noise, np.float32).reshape(-1, *coadd.image.shape),
        noise_correlation=_correlate(inputs, [trim(warp, inner) for warp in warps], shares),
    )


def _combine_bands(inputs: Sequence[CellInput], inner: Box, recipe: Recipe) -> CombinedCell:
    """Make the chi-squared image of the means of the bands."""
    bands = sorted({item.band for item in inputs})
    groups = [[item for item in inputs if item.band == band] for band in bands]
    means = [_combine_pixels(group, inner, recipe, Statistic.MEAN) for group in groups]
    found = make_chi_squared(
        [mean.image for mean in means], [mean.variance for mean in means], [mean.mask for mean in means]
    )
    no_data = np.uint32(1 << inputs[0].warp.planes.index("NO_DATA"))
    counts = np.sum([mean.n_inputs for mean in means], axis=0, dtype=np.uint16)
    # The PSFs of bands count alike: weights of different bands do not compare.
    shares = np.empty(len(inputs))
    for band, mean in zip(bands, means, strict=True):
        shares[[item.band == band for item in inputs]] = mean.shares / len(bands)
    return CombinedCell(
        image=found.image,
        variance=found.variance,
        mask=np.where(found.n_bands > 0, found.mask & ~no_data, found.mask | no_data),
        n_inputs=counts,
        rejected_fraction=np.maximum.reduce([mean.rejected_fraction for mean in means]),
        psf=combine_psfs(np.stack([mean.psf for mean in means]), np.ones(len(means))),
        shares=shares,
        noise=np.zeros((0, *inner.shape), np.float32),
        noise_correlation=np.mean([mean.noise_correlation for mean in means], axis=0),
    )


def need_psf(warp: Warp) -> NDArray[np.float64]:
    """Return the PSF of a warp, or raise."""
    if warp.psf is None:
        raise MissingPsfError(f"{warp.key} has no PSF.")
    return warp.psf
