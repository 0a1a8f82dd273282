"""Images in memory as warps, and warps as a coadd."""

from __future__ import annotations

__all__ = ("make_coadd", "warp_image")

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from lsst.images import Box, Image, MaskedImage, SkyProjection
from lsst.images.cells import CellField, CellGrid, CellGridBounds, CellPointSpreadFunction

from ..errors import InconsistentUnitsError, InputDataError, MissingPsfError, NoCoverageError, RequestError
from ..geometry import TargetGrid
from ..psfs import PsfEvaluator
from ..resampling import Kernel
from ._cell import CellInput, CombinedCell, combine_cell, find_padding
from ._warping import find_planes, make_warp, to_mask, to_nanojansky
from .cell_psf import draw_cell_psfs
from .coadd import Coadd
from .recipe import Recipe
from .rules import Statistic
from .warp import InputKey, Warp

_PSF_PX = 41


def warp_image(
    image: MaskedImage,
    grid: TargetGrid,
    *,
    key: InputKey,
    weight: float,
    psf: PsfEvaluator,
    kernel: Kernel = Kernel.LANCZOS3_MOMENTS,
    planes: Iterable[str] = (),
) -> Warp:
    """Bring an image in memory to the pixels of a coadd.

    Parameters
    ----------
    image
        Image in a unit of flux, with variance, mask and a sky projection.
    grid
        Pixels of the coadd, with the padding that its recipe needs.
    key
        Which image it is.
    weight
        How much it counts.
    psf
        PSF of the image; see `~lsst.dax.image.psfs.make_psf_evaluator`.
    kernel
        Kernel that the pixels are resampled with.
    planes
        Names of mask planes to keep besides those of the observatory's visit
        images.

    Returns
    -------
    warp
        In nJy, with the PSF at the middle of the grid.

    Raises
    ------
    InconsistentUnitsError
        Raised if the unit of the image is not one of flux.
    NoCoverageError
        Raised if the image gives no pixel of the grid a value.
    MissingPsfError
        Raised if the PSF is not defined at the middle of the grid.
    InputDataError
        Raised if the image has no sky projection.
    """
    if image.sky_projection is None:
        raise InputDataError(f"The image {key} has no sky projection.")
    if image.unit is None or not image.unit.is_equivalent(u.nJy):
        raise InconsistentUnitsError(f"The image {key} has the unit {image.unit}; a coadd is made in nJy.")
    masked = image if image.unit == u.nJy else to_nanojansky(image, image.unit.to(u.nJy))
    names = find_planes(planes)
    warp = make_warp(masked, grid, key=key, planes=names, weight=weight, kernel=kernel)
    if warp is None:
        raise NoCoverageError(f"The image {key} of {image.bbox} gives no pixel of {grid.bbox} a value.")
    drawn = draw_cell_psfs(
        psf,
        source_projection=image.sky_projection,
        target_projection=grid.sky_projection,
        x=np.array([grid.bbox.x.center]),
        y=np.array([grid.bbox.y.center]),
        size_px=_PSF_PX,
        kernel=kernel,
        cell_px=min(grid.bbox.shape),
    )
    if not drawn.is_good[0]:
        raise MissingPsfError(f"The PSF of the image {key} is not defined at the middle of {grid.bbox}.")
    return dataclasses.replace(warp, psf=drawn.images[0])


def make_coadd(
    warps: Sequence[Warp],
    sky_projection: SkyProjection[Any],
    *,
    recipe: Recipe,
    bbox: Box | None = None,
    bands: Sequence[str] | None = None,
    effective_times: u.Quantity | None = None,
) -> Coadd:
    """Make the coadd of warps, as one cell.

    Parameters
    ----------
    warps
        Inputs of one box and with the same planes, each with a PSF, in the
        order in which they are combined.
    sky_projection
        Projection of their pixels.
    recipe
        How they become one.  What it says of the selection, the kernel, the
        weighting and the cells has been done to the warps.
    bbox
        Pixels to return; if `None`, those of the warps without the padding
        that the recipe needs.
    bands
        Band of each, for `Statistic.CHI_SQUARED`; all the same if `None`.
    effective_times
        Effective exposure time of each; not known, NaN, if `None`.

    Returns
    -------
    coadd
        The coadd with one PSF.  It has no record, so that its file cannot be
        made again.

    Raises
    ------
    RequestError
        Raised if the lengths differ, or the recipe asks for realisations of
        the noise, which the warps do not have.
    InputDataError
        Raised if there are no warps, or their boxes or planes differ.
    MissingPsfError
        Raised if a warp has no PSF.

    Notes
    -----
    The noise of the pixels of a warp counts as independent.  For
    `Statistic.PROPER` weights are inverse variances of a pixel.
    """
    names = ["" for _ in warps] if bands is None else list(bands)
    times = np.full(len(warps), np.nan) if effective_times is None else effective_times.to_value(u.s)
    if not len(warps) == len(names) == np.size(times):
        raise RequestError(
            f"There are {len(warps)} warps, {len(names)} bands and {np.size(times)} effective times."
        )
    if recipe.noise_realizations:
        raise RequestError(
            f"{recipe.noise_realizations} realisations of the noise are asked for; warps have none."
        )
    if not warps:
        raise InputDataError("A coadd is made of one warp or more, not of none.")
    whole = warps[0].bbox
    for warp in warps:
        if warp.bbox != whole or warp.planes != warps[0].planes:
            raise InputDataError(
                f"{warp.key} has {warp.bbox} and the planes {warp.planes}; {warps[0].key} has {whole} and "
                f"{warps[0].planes}."
            )
    inner = whole.padded(-find_padding(recipe)) if bbox is None else bbox
    if not whole.contains(inner):
        raise RequestError(f"The warps have {whole}, which does not contain {inner}.")
    inputs = [
        CellInput(warp, name, np.ones((1, 1)), np.empty((0, *whole.shape), np.float32), 1.0)
        for warp, name in zip(warps, names, strict=True)
    ]
    scale = TargetGrid(sky_projection, inner).pixel_scale.to_value(u.arcsec)
    cell = combine_cell(inputs, inner, recipe, pixel_scale_arcsec=scale)
    return _wrap(cell, inputs, np.asarray(times, np.float64), sky_projection, inner, recipe)


def _wrap(
    cell: CombinedCell,
    inputs: Sequence[CellInput],
    times: NDArray[np.float64],
    sky_projection: SkyProjection[Any],
    bbox: Box,
    recipe: Recipe,
) -> Coadd:
    """Return one cell as a coadd."""
    unit = u.dimensionless_unscaled if recipe.statistic is Statistic.CHI_SQUARED else u.nJy
    bounds = CellGridBounds(grid=CellGrid(bbox=bbox, cell_shape=bbox.shape), bbox=bbox)
    planes = inputs[0].warp.planes
    total = float(np.sum(times))
    mean = np.where(cell.n_inputs > 0, cell.n_inputs / max(1, len(inputs)) * total, 0.0)
    keys = [item.warp.key for item in inputs]
    return Coadd(
        image=MaskedImage(
            Image(cell.image, bbox=bbox, unit=unit, sky_projection=sky_projection),
            mask=to_mask(cell.mask, bbox, planes),
            variance=Image(cell.variance, bbox=bbox, unit=unit**2),
        ),
        psf=CellPointSpreadFunction(cell.psf[None, None], bounds),
        n_inputs=Image(cell.n_inputs, bbox=bbox),
        effective_time=Image(mean.astype(np.float32), bbox=bbox, unit=u.s),
        rejected=Image(cell.rejected_fraction, bbox=bbox),
        noise_correlation=CellField(bounds, np.array([[cell.noise_correlation.sum()]])),
        noise_realizations=(),
        aperture_corrections={},
        inputs=QTable(
            {
                "uuid": np.array([str(key.uuid) for key in keys], dtype="U36"),
                "instrument": np.array([key.instrument for key in keys], dtype=str),
                "visit": np.array([key.visit for key in keys], np.int64),
                "detector": np.array([key.detector for key in keys], np.int32),
                "band": np.array([item.band for item in inputs], dtype=str),
                "weight": np.array([item.warp.weight for item in inputs], np.float64),
                "effective_time": times * u.s,
                "n_cells": np.ones(len(inputs), np.int32),
                "share": cell.shares,
            }
        ),
        provenance=None,
        recipe=recipe,
        record=None,
    )
