"""One cell of a coadd, from its inputs."""

from __future__ import annotations

__all__ = ("CellInput", "CombinedCell", "combine_cell", "find_padding", "trim")

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import InputDataError
from .artifacts import find_artifacts
from .cell_psf import combine_psfs, find_effective_weights
from .combination import Combined, combine_warps
from .noise import combine_noise_correlations
from .recipe import Recipe
from .rules import Statistic
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


def combine_cell(inputs: Sequence[CellInput], inner: Box, recipe: Recipe) -> CombinedCell:
    """Make one cell.

    Parameters
    ----------
    inputs
        Its inputs, in order.
    inner
        Pixels of the cell without its padding.
    recipe
        How it is made.

    Returns
    -------
    cell
        The cell.
    """
    combined = combine_warps(
        [trim(item.warp, inner) for item in inputs],
        statistic=Statistic.MEAN,
        clip=recipe.clip,
        masks=recipe.masks,
    )
    return _with_psf(combined, inputs)


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


def _with_psf(combined: Combined, inputs: Sequence[CellInput]) -> CombinedCell:
    """Return a weighted mean with its PSF."""
    warps = [item.warp for item in inputs]
    weights = np.array([warp.weight for warp in warps])
    shares = find_effective_weights(weights, combined.used_fraction)
    return CombinedCell(
        image=combined.image,
        variance=combined.variance,
        mask=combined.mask,
        n_inputs=combined.n_inputs,
        rejected_fraction=combined.rejected_fraction,
        psf=combine_psfs(np.stack([_need_psf(warp) for warp in warps]), shares),
        shares=shares,
        noise=np.zeros((0, *combined.image.shape), np.float32),
        noise_correlation=combine_noise_correlations(
            np.stack([item.noise_correlation for item in inputs]), shares, np.ones(len(inputs))
        ),
    )


def _need_psf(warp: Warp) -> NDArray[np.float64]:
    """Return the PSF of a warp, or raise."""
    if warp.psf is None:
        raise InputDataError(f"{warp.key} has no PSF.")
    return warp.psf
