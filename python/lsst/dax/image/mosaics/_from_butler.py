"""Mosaics of datasets in a repository."""

from __future__ import annotations

__all__ = ("fetch_mosaic", "fetch_mosaic_psf")

import dataclasses
from collections.abc import Iterable
from concurrent.futures import Executor

import numpy as np

from lsst.daf.butler import DatasetRef
from lsst.images import Box, Image, Mask, MaskedImage

from ..errors import InternalError, RequestError, internal_errors_reported
from ..geometry import StencilLike, TargetGrid
from ..repository import ButlerLike, opened_dataset
from ._background import solve_backgrounds
from ._compute import Tally
from ._mosaic import MAX_PIXELS, Mosaic, assemble_mosaic, check_size, make_table, with_table_backgrounds
from ._plan import BLOCK
from ._refs_from_butler import find_refs, list_refs
from ._tiles_from_butler import (
    MosaicRequest,
    compute_tile,
    list_jobs,
    match_backgrounds,
    plan_datasets,
    run_jobs,
)
from .psf import MosaicPsf, check_has_psf
from .rules import BackgroundMatch, MosaicRules, as_rules

_TILE = 2 * BLOCK


def fetch_mosaic(
    butler: ButlerLike,
    refs: DatasetRef | Iterable[DatasetRef] | str,
    grid: TargetGrid | StencilLike,
    *,
    bands: Iterable[str] | None = None,
    rules: MosaicRules | None = None,
    executor: Executor | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Mosaic:
    """Put datasets together on one pixel grid; only the pixels that it needs are read.

    Parameters
    ----------
    butler
        Butler to read through.
    refs
        Datasets with pixels and a sky projection, as the ``find_`` functions
        return them: patches of tracts, detectors of a visit, or any others; one
        dataset; or the name of a dataset type, all of whose datasets that overlap
        the grid are taken.
    grid
        Pixels of the mosaic; or a shape on the sky, for which
        `find_mosaic_grid` finds them.
    bands
        Bands to search for; only with the name of a dataset type.
    rules
        How the images become one; the defaults of `MosaicRules` if `None`.
    executor
        Where to work on tiles side by side: threads or processes of
        `concurrent.futures`, dask's ``Client.get_executor()``, ...  In the
        calling thread if `None`.  The result does not depend on it.
    max_pixels
        Largest number of pixels that is allowed.

    Returns
    -------
    mosaic
        To the bit what `make_mosaic` returns for the whole images.

    Raises
    ------
    RequestTooLargeError
        Raised, before pixels of the mosaic are read, if the grid has more than
        ``max_pixels`` pixels.
    NoCoverageError
        Raised if no dataset overlaps the grid, or none gives it a value.
    InvalidRegionError
        Raised if a shape is not usable.
    InconsistentUnitsError
        Raised if the units of the datasets differ.
    UnsupportedProductError
        Raised if a dataset is not an image with a sky projection.
    InputDataError
        Raised if a stored file is missing or unusable.
    RequestError
        Raised if the rules need variances, or exclude mask planes, that the
        datasets do not have, if they are of several bands, or if there is none.
    DatasetNotFoundError
        Raised if the repository has no dataset type of that name.
    """
    refs = find_refs(butler, refs, grid, bands)
    if isinstance(grid, TargetGrid):
        check_size(grid, max_pixels)
    plan = plan_datasets(butler, refs, grid, as_rules(rules))
    check_size(plan.grid, max_pixels)
    if plan.rules.background is not BackgroundMatch.NONE:
        moments = match_backgrounds(butler, plan, refs, _TILE, executor)
        plan = dataclasses.replace(plan, backgrounds=solve_backgrounds(plan, moments))
    out = plan.form.allocate(plan.grid.bbox)
    coverage = np.empty(tuple(plan.grid.bbox.shape), np.uint16)
    tallies: list[Tally] = []
    jobs = list(list_jobs(plan, refs, _TILE))
    request = MosaicRequest.from_plan(plan)
    for job, tile in run_jobs(butler, request, jobs, compute_tile, executor, "Making a mosaic"):
        out.copy_from(tile.planes)
        rows, columns = job.tile.y.slice_within(out.box.y), job.tile.x.slice_within(out.box.x)
        coverage[rows, columns] = tile.coverage
        tallies += tile.tallies
    return assemble_mosaic(plan, out, coverage, make_table(plan, [ref.id.hex for ref in refs], tallies))


def fetch_mosaic_psf(
    butler: ButlerLike, refs: DatasetRef | Iterable[DatasetRef], mosaic: Mosaic
) -> MosaicPsf:
    """Return the PSF of a mosaic of datasets.

    Parameters
    ----------
    butler
        Butler to read through, now and whenever the PSF is evaluated.
    refs
        Datasets that the mosaic was made of, in their order.
    mosaic
        What `fetch_mosaic` returned for them.

    Returns
    -------
    psf
        PSF in the pixels of the mosaic.

    Raises
    ------
    UnsupportedProductError
        Raised if the mosaic has none, as by `make_mosaic_psf`.
    RequestError
        Raised if the datasets are not those of the mosaic.
    MissingPsfError
        Raised if a dataset has no PSF.
    InputDataError
        Raised if a stored file is missing or unusable.

    Notes
    -----
    The PSFs of all datasets are read at once, and the few pixels that decide
    whose PSF counts at a position when it is asked for.
    """
    refs = list_refs(refs)
    check_has_psf(mosaic.rules)
    asked, made_of = [ref.id.hex for ref in refs], mosaic.inputs["dataset"].tolist()
    if asked != made_of:
        raise RequestError(f"The mosaic was made of the datasets {made_of}, not of {asked}.")
    plan = with_table_backgrounds(plan_datasets(butler, refs, mosaic.grid, mosaic.rules), mosaic.inputs)
    psfs = []
    for ref in refs:
        with opened_dataset(butler, ref) as reader:
            psfs.append(reader.read_psf())

    def read(index: int, box: Box) -> Image | MaskedImage:
        with opened_dataset(butler, refs[index]) as reader:
            image = reader.read_masked_image(box)
        if isinstance(image, Mask):
            raise InternalError(f"{refs[index].datasetType.name} {refs[index].id} has become a mask.")
        return image

    with internal_errors_reported("Making the PSF of a mosaic"):
        return MosaicPsf(plan, psfs, read)
