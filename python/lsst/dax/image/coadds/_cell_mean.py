"""The mean of a cell's inputs, which arrive one by one and are not kept."""

from __future__ import annotations

__all__ = ("CellMean",)

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ._cell import CellInput, CombinedCell, find_median, match_input, need_psf, trim
from .cell_psf import combine_psfs, find_effective_weights
from .combination import MeanAccumulator
from .noise import combine_noise_correlations
from .recipe import Recipe


class CellMean:
    """The mean of the inputs of a cell, without their pixels.

    What is kept of an input are its PSF and the correlation of its noise.

    Parameters
    ----------
    inner
        Pixels of the cell without its padding.
    recipe
        How it is made.
    pixel_scale_arcsec
        Side of its pixels.

    Notes
    -----
    `combine_cell` gives the same bits for the same inputs in the same order.
    """

    def __init__(self, inner: Box, recipe: Recipe, *, pixel_scale_arcsec: float) -> None:
        self._inner, self._recipe, self._scale = inner, recipe, pixel_scale_arcsec
        self._pixels: list[MeanAccumulator] = []
        self._weights: list[float] = []
        self._psfs: list[NDArray[np.float64]] = []
        self._correlations: list[NDArray[np.float64]] = []
        self._variances: list[float] = []

    def add(self, item: CellInput) -> None:
        """Add an input.

        Parameters
        ----------
        item
            The input; its pixels are not kept.

        Raises
        ------
        RequestError
            Raised if its PSF is too wide to be matched.
        """
        item = match_input(item, self._recipe.psf_matching, self._scale)
        warp = trim(item.warp, self._inner)
        if not self._pixels:
            self._pixels = [
                MeanAccumulator(self._inner, warp.planes, masks=self._recipe.masks)
                for _ in range(1 + self._recipe.noise_realizations)
            ]
        cut = self._inner.slice_within(item.warp.bbox)
        for values, pixels in zip((None, *item.noise), self._pixels, strict=True):
            pixels.add(warp if values is None else dataclasses.replace(warp, image=values[cut]))
        self._weights.append(warp.weight)
        self._psfs.append(need_psf(warp))
        self._correlations.append(item.noise_correlation)
        self._variances.append(find_median(warp.variance))

    def finish(self) -> CombinedCell:
        """Return the cell.

        Returns
        -------
        cell
            The mean of what was added, one input or more.
        """
        combined, *noise = (pixels.finish() for pixels in self._pixels)
        shares = find_effective_weights(np.array(self._weights), combined.used_fraction)
        used = np.flatnonzero(shares > 0.0)
        return CombinedCell(
            image=combined.image,
            variance=combined.variance,
            mask=combined.mask,
            n_inputs=combined.n_inputs,
            rejected_fraction=combined.rejected_fraction,
            psf=combine_psfs(np.stack(self._psfs), shares),
            shares=shares,
            noise=np.array([layer.image for layer in noise], np.float32).reshape(-1, *combined.image.shape),
            noise_correlation=combine_noise_correlations(
                np.stack([self._correlations[i] for i in used]), shares[used], np.array(self._variances)[used]
            ),
        )
