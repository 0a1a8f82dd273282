"""Mosaics of any size, tile by tile into a file."""

from __future__ import annotations

__all__ = ("WrittenMosaic", "write_mosaic")

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.daf.butler import DatasetRef
from lsst.images import Box
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import OutputError, RequestError
from ..geometry import StencilLike, TargetGrid
from ..repository import ButlerLike
from ..version import __version__
from ._background import solve_backgrounds
from ._mosaic import check_result, check_size, make_table
from ._output import Storage, check_target, encode, exists, put_mosaic
from ._plan import BLOCK, Plan
from ._preview import find_preview_factor, make_preview
from ._refs_from_butler import find_refs
from ._spool import Spool, SpooledTile, pack_tile
from ._tiles_from_butler import (
    MosaicRequest,
    TileJob,
    compute_tile,
    list_jobs,
    match_backgrounds,
    plan_datasets,
    run_jobs,
)
from .rules import BackgroundMatch, MosaicRules, as_rules

_TILE = 4 * BLOCK
_MAX_PIXELS = 2**36


@dataclass(frozen=True)
class WrittenMosaic:
    """A mosaic in a file."""

    uri: ResourcePath
    """Where the file is."""

    grid: TargetGrid
    """Pixels of the mosaic."""

    inputs: QTable
    """One row per dataset, as of `Mosaic`."""

    preview: NDArray[np.float32]
    """Means of ``preview_factor`` by ``preview_factor`` pixels, counted from the corner; NaN
    where there are none.  The longer side has 2048 pixels at most, but for mosaics of more
    than a million."""

    preview_factor: int
    """Pixels of the mosaic along each side of a pixel of the preview."""


def write_mosaic(
    butler: ButlerLike,
    refs: DatasetRef | Iterable[DatasetRef] | str,
    grid: TargetGrid | StencilLike,
    uri: ResourcePathExpression,
    *,
    bands: Iterable[str] | None = None,
    rules: MosaicRules | None = None,
    tile_size: int = _TILE,
    executor: Executor | None = None,
    created: Time | None = None,
) -> WrittenMosaic:
    """Put datasets together on one pixel grid, tile by tile into a file.

    What has been done is kept in a hidden folder beside the file,
    ``.<name>.part``: the same call goes on from there after an interruption.

    Parameters
    ----------
    butler
        Butler to read through.
    refs
        Datasets, as for `fetch_mosaic`.
    grid
        Pixels of the mosaic; or a shape on the sky, for which
        `find_mosaic_grid` finds them.
    uri
        Where to write it: a local path or a URI that `lsst.resources` can
        write to, ending in ``.fits`` or ``.zarr``.  For a remote one the
        hidden folder is in the system's temporary one.  There must be nothing
        of that name yet.
    bands
        Bands to search for; only with the name of a dataset type.
    rules
        How the images become one; the defaults of `MosaicRules` if `None`.
    tile_size
        Rows and columns that are worked on at a time, a multiple of 512.  The
        memory that is needed depends on it, and on how many images overlap;
        the result does not.
    executor
        As for `fetch_mosaic`.
    created
        Time that the file says it was written at; now if `None`.

    Returns
    -------
    written
        The file, and a preview.

    Raises
    ------
    OutputError
        Raised if the file exists or cannot be written, or if the hidden
        folder is that of another mosaic.
    RequestError
        Raised if the name ends in neither, ``tile_size`` is not a multiple of
        512, or the package ``zarr`` is needed and not installed; and as by
        `fetch_mosaic`.
    NoCoverageError
        Raised if no dataset overlaps the grid, or none gives it a value.
    RequestTooLargeError
        Raised if the grid has more than 2**36 pixels.
    InconsistentUnitsError
        Raised if the units of the datasets differ.
    UnsupportedProductError
        Raised if a dataset is not an image with a sky projection.
    InputDataError
        Raised if a stored file is missing or unusable.

    Notes
    -----
    A FITS file has the planes ``IMAGE``, ``MASK``, ``VARIANCE`` and
    ``COVERAGE`` in losslessly compressed tiles of 256 by 256 pixels, and the
    table ``INPUTS``.  `lsst.images`, the readers of this library and astropy
    read it whole or in part.

    A Zarr group (format 3) has arrays of the same names in small letters, in
    chunks of 512 by 512 pixels; a mask is one integer per pixel.  The group
    ``inputs`` has one array per column.  Units, mask planes, the first pixel
    ``yx0``, the WCS as FITS cards and the rules are attributes.
    """
    refs = find_refs(butler, refs, grid, bands)
    target, storage = check_target(uri)
    if tile_size < BLOCK or tile_size % BLOCK:
        raise RequestError(f"Tiles have a multiple of {BLOCK} rows and columns, not {tile_size}.")
    if isinstance(grid, TargetGrid):
        check_size(grid, _MAX_PIXELS)
    if exists(target):
        raise OutputError(f"{target} exists; it is not replaced by a mosaic.")
    plan = plan_datasets(butler, refs, grid, as_rules(rules))
    check_size(plan.grid, _MAX_PIXELS)
    request = MosaicRequest.from_plan(plan)
    digest = _find_digest(request, refs, storage)
    with Spool(_find_folder(target, digest), digest) as spool:
        plan = _with_backgrounds(butler, plan, refs, tile_size, executor, spool)
        jobs = list(list_jobs(plan, refs, tile_size))
        left = [job for job in jobs if not spool.has(job.tile)]
        work = partial(_make_tile, storage=storage)
        for _, content in run_jobs(butler, request, left, work, executor, "Writing a mosaic"):
            spool.add(content)
        tiles = spool.open_tiles([job.tile for job in jobs])
        inputs = make_table(
            plan, [ref.id.hex for ref in refs], (tally for tile in tiles for tally in tile.tallies)
        )
        if not (inputs["n_pixels"] > 0).any():
            spool.remove()
        check_result(plan, inputs)
        time = Time.now() if created is None else created
        put_mosaic(target, storage, tiles, plan.grid, plan.form, plan.rules, inputs, time)
        preview = _join_previews(plan.grid.bbox, tiles)
        spool.remove()
    factor = find_preview_factor(plan.grid.bbox.shape)
    return WrittenMosaic(target, plan.grid, inputs, preview, factor)


def _make_tile(butler: ButlerLike, request: MosaicRequest, job: TileJob, *, storage: Storage) -> bytes:
    """Read, compute and compress one tile."""
    tile = compute_tile(butler, request, job)
    chunk = encode(tile.planes, tile.coverage, request.form, storage=storage)
    preview = make_preview(tile.planes.image, find_preview_factor(request.bbox.shape))
    return pack_tile(chunk, tile.tallies, preview)


def _with_backgrounds(
    butler: ButlerLike,
    plan: Plan,
    refs: Sequence[DatasetRef],
    tile_size: int,
    executor: Executor | None,
    spool: Spool,
) -> Plan:
    """Match backgrounds, if they are wanted, or take those that an earlier run has matched."""
    if plan.rules.background is BackgroundMatch.NONE:
        return plan
    backgrounds = spool.read_backgrounds()
    if backgrounds is None:
        moments = match_backgrounds(butler, plan, refs, tile_size, executor)
        backgrounds = solve_backgrounds(plan, moments)
        spool.keep_backgrounds(backgrounds)
    return dataclasses.replace(plan, backgrounds=backgrounds)


def _find_digest(request: MosaicRequest, refs: Sequence[DatasetRef], storage: Storage) -> str:
    """Return what is the same for the same pixels only."""
    digest = hashlib.blake2b(digest_size=16)
    datasets = [f"{ref.datasetType.name} {ref.id.hex}" for ref in refs]
    numbers = (repr(request.bbox), repr(request.rules))
    for part in (__version__, storage.value, request.projection, *numbers, *datasets):
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def _find_folder(target: ResourcePath, digest: str) -> Path:
    """Return the folder of an unfinished file."""
    if target.isLocal:
        path = Path(target.ospath)
        return path.with_name(f".{path.name}.part")
    return Path(tempfile.gettempdir()) / f"dax-image-{digest}.part"


def _join_previews(bbox: Box, tiles: Sequence[SpooledTile]) -> NDArray[np.float32]:
    """Put the previews of tiles together."""
    factor = find_preview_factor(bbox.shape)
    preview = np.full((-(-bbox.y.size // factor), -(-bbox.x.size // factor)), np.nan, np.float32)
    for tile in tiles:
        part = tile.read_preview()
        y = (tile.box.y.start - bbox.y.start) // factor
        x = (tile.box.x.start - bbox.x.start) // factor
        preview[y : y + part.shape[0], x : x + part.shape[1]] = part
    return preview
