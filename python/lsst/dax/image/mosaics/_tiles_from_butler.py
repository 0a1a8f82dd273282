"""Tiles of a mosaic, read and computed in the threads or processes of any executor."""

from __future__ import annotations

__all__ = ("MosaicRequest", "TileJob", "TileResult", "compute_tile", "run_jobs", "sum_tile")

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from lsst.daf.butler import DatasetRef
from lsst.daf.butler.progress import Progress
from lsst.images import Box, Image, Mask, MaskedImage, SkyProjectionSerializationModel
from lsst.images.json import JsonInputArchive

from ..errors import UnsupportedProductError, internal_errors_reported
from ..geometry import StencilLike, TargetGrid
from ..repository import ButlerLike, ImageGeometry, SharedButler, map_in_order, opened_dataset
from ._background import Moments, add_moments, sum_block
from ._compute import Tally
from ._mosaic import check_plan, fill_block
from ._plan import BLOCK, Plan, split_box
from ._planes import PixelForm, Planes, find_form, write_projection
from .grid import find_mosaic_grid
from .rules import MosaicRules, Overlap


@dataclass(frozen=True)
class MosaicRequest:
    """What is the same for all tiles; it can be sent to other processes, which a projection cannot."""

    projection: str
    """Projection of the mosaic, as `lsst.images` writes it to JSON."""

    bbox: Box
    """Pixels of the mosaic."""

    rules: MosaicRules
    """How the images become one."""

    form: PixelForm
    """What the pixels are."""

    @cached_property
    def grid(self) -> TargetGrid:
        """Grid of the mosaic."""
        model = SkyProjectionSerializationModel.model_validate_json(self.projection)  # type: ignore[var-annotated]
        return TargetGrid(model.deserialize(JsonInputArchive([])), self.bbox)

    @classmethod
    def from_plan(cls, plan: Plan) -> MosaicRequest:
        """Return what is the same for all tiles of a plan."""
        return cls(write_projection(plan.grid.sky_projection), plan.grid.bbox, plan.rules, plan.form)


@dataclass(frozen=True)
class TileJob:
    """One tile, and the datasets that may have its pixels."""

    tile: Box
    """Pixels of the mosaic; whole blocks."""

    indices: tuple[int, ...]
    """Numbers of the datasets."""

    refs: tuple[DatasetRef, ...]
    """The datasets."""

    backgrounds: NDArray[np.float64] | None
    """What is subtracted from each, shape ``(n, 3)``."""


@dataclass(frozen=True)
class TileResult:
    """Pixels of one tile."""

    planes: Planes
    """Image, variance and mask."""

    coverage: NDArray[np.uint16]
    """Number of images behind each pixel."""

    tallies: list[Tally]
    """What each dataset gave, block by block."""


def plan_datasets(
    butler: ButlerLike, refs: Sequence[DatasetRef], grid: TargetGrid | StencilLike, rules: MosaicRules
) -> Plan:
    """Find out what a mosaic of datasets is made of, reading one pixel of each.

    Parameters
    ----------
    butler
        Butler to read through.
    refs
        Datasets.
    grid
        Pixels of the mosaic, or what it spans on the sky.
    rules
        How the images become one.

    Returns
    -------
    plan
        The plan, which has been checked.
    """
    geometries: list[ImageGeometry] = []
    first_pixels: list[Image | MaskedImage] = []
    for ref in Progress("lsst.dax.image.mosaics").wrap(refs, desc="Opening images", total=len(refs)):
        with internal_errors_reported(f"Opening {ref.datasetType.name} {ref.id}"):
            with opened_dataset(butler, ref) as reader:
                geometry = reader.geometry
                y, x = geometry.bbox.start
                pixel = reader.read_masked_image(Box.factory[y : y + 1, x : x + 1])
            if isinstance(pixel, Mask):
                raise UnsupportedProductError(
                    f"{ref.datasetType.name} {ref.id} is a mask; a mosaic is made of images."
                )
            geometries.append(geometry)
            first_pixels.append(pixel)
    with internal_errors_reported("Planning a mosaic"):
        if not isinstance(grid, TargetGrid):
            grid = find_mosaic_grid(geometries, stencil=grid)
        plan = Plan(grid, rules, find_form(first_pixels), geometries)
        check_plan(plan)
    return plan


def list_jobs(plan: Plan, refs: Sequence[DatasetRef], tile_size: int) -> Iterator[TileJob]:
    """Divide a mosaic into tiles.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    refs
        Datasets.
    tile_size
        Rows and columns of a tile; a multiple of those of a block.

    Yields
    ------
    job
        One tile, row by row.
    """
    for tile in split_box(plan.grid.bbox, tile_size):
        near = sorted({index for block in split_box(tile, BLOCK) for index in plan.find_near(block)})
        backgrounds = None if plan.backgrounds is None else plan.backgrounds[near]
        yield TileJob(tile, tuple(near), tuple(refs[index] for index in near), backgrounds)


def compute_tile(butler: ButlerLike, request: MosaicRequest, job: TileJob) -> TileResult:
    """Read and compute one tile.

    Parameters
    ----------
    butler
        Butler to read through.
    request
        What is the same for all tiles.
    job
        The tile.

    Returns
    -------
    result
        Its pixels.
    """
    with internal_errors_reported(f"Making tile {job.tile} of a mosaic"):
        blocks = list(split_box(job.tile, BLOCK))
        plan, pixels = _read(butler, request, job, blocks)
        planes = plan.form.allocate(job.tile)
        coverage = np.empty(tuple(job.tile.shape), np.uint16)
        tallies = [
            dataclasses.replace(tally, index=job.indices[tally.index])
            for block in plan.split(job.tile)
            for tally in fill_block(plan, block, pixels, planes, coverage)
        ]
        return TileResult(planes, coverage, tallies)


def sum_tile(butler: ButlerLike, request: MosaicRequest, job: TileJob) -> list[Moments]:
    """Read a tile where images overlap, and sum up their differences.

    Parameters
    ----------
    butler
        Butler to read through.
    request
        What is the same for all tiles.
    job
        The tile.

    Returns
    -------
    moments
        Sums of each block.
    """
    with internal_errors_reported(f"Matching backgrounds in tile {job.tile} of a mosaic"):
        blocks = list(split_box(job.tile, BLOCK))
        plan, pixels = _read(butler, request, job, blocks, overlap=Overlap.COMBINE)
        return [
            {
                (job.indices[one], job.indices[two]): sums
                for (one, two), sums in sum_block(plan, block, pixels).items()
            }
            for block in blocks
        ]


def match_backgrounds(
    butler: ButlerLike, plan: Plan, refs: Sequence[DatasetRef], tile_size: int, executor: Executor | None
) -> Moments:
    """Sum up the differences of all datasets where they overlap.

    Parameters
    ----------
    butler
        Butler to read through.
    plan
        What the mosaic is made of.
    refs
        Datasets.
    tile_size
        Rows and columns that are read at a time.
    executor
        Where to work.

    Returns
    -------
    moments
        Sums over the mosaic.
    """
    jobs = [job for job in list_jobs(plan, refs, tile_size) if len(job.indices) > 1]
    found = run_jobs(butler, MosaicRequest.from_plan(plan), jobs, sum_tile, executor, "Matching backgrounds")
    # Block by block in any case, so that the sums do not depend on the tiles.
    blocks: dict[tuple[int, int], Moments] = {}
    for job, moments in found:
        for block, sums in zip(split_box(job.tile, BLOCK), moments, strict=True):
            blocks[block.y.start, block.x.start] = sums
    return add_moments(blocks[corner] for corner in sorted(blocks))


def run_jobs[Result](
    butler: ButlerLike,
    request: MosaicRequest,
    jobs: Sequence[TileJob],
    work: Callable[[ButlerLike, MosaicRequest, TileJob], Result],
    executor: Executor | None,
    title: str,
) -> Iterator[tuple[TileJob, Result]]:
    """Work on tiles, and yield the results in their order.

    Parameters
    ----------
    butler
        Butler to read through.
    request
        What is the same for all tiles.
    jobs
        Tiles.
    work
        What is done with a tile.
    executor
        Where; in the calling thread if `None`.
    title
        What the progress says.

    Yields
    ------
    job
        Tile.
    result
        What ``work`` returned for it.
    """
    if executor is None:
        results = (work(butler, request, job) for job in jobs)
    else:
        task = partial(_work_in_worker, SharedButler(butler), request, work)
        results = map_in_order(executor, task, jobs)  # type: ignore[assignment]
    pairs = zip(jobs, results, strict=True)
    yield from Progress("lsst.dax.image.mosaics").wrap(pairs, desc=title, total=len(jobs))


def _work_in_worker[Result](
    shared: SharedButler,
    request: MosaicRequest,
    work: Callable[[ButlerLike, MosaicRequest, TileJob], Result],
    job: TileJob,
) -> Result:
    """Work on one tile in another thread or process."""
    return work(shared.get(), request, job)


def _read(
    butler: ButlerLike,
    request: MosaicRequest,
    job: TileJob,
    blocks: Sequence[Box],
    *,
    overlap: Overlap | None = None,
) -> tuple[Plan, dict[int, Image | MaskedImage]]:
    """Read the pixels that the blocks of a tile need."""
    with ExitStack() as stack:
        readers = [stack.enter_context(opened_dataset(butler, ref)) for ref in job.refs]
        geometries = [reader.geometry for reader in readers]
        plan = Plan(request.grid, request.rules, request.form, geometries, job.backgrounds)
        pixels: dict[int, Image | MaskedImage] = {}
        for index, box in plan.find_needs(blocks, overlap=overlap).items():
            image = readers[index].read_masked_image(box)
            if not isinstance(image, Mask):
                pixels[index] = image
    return plan, pixels
