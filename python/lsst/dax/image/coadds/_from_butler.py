"""Coadds of datasets in a repository."""

from __future__ import annotations

__all__ = ("MAX_PIXELS", "fetch_coadd", "make_from_record", "make_record", "recreate_from", "subtract_coadds")

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from uuid import UUID

import astropy.units as u
from astropy.table import Row

from lsst.daf.butler import DatasetRef
from lsst.daf.butler.progress import Progress
from lsst.images import Box
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import NoCoverageError, RequestTooLargeError, internal_errors_reported
from ..repository import (
    ButlerLike,
    ImageGeometry,
    SharedButler,
    find_by_uuid,
    map_in_order,
    opened_dataset,
    read_metadata,
)
from ..version import __version__
from ._assembly import Canvas
from ._cell import find_padding
from ._grid_from_butler import CoaddGrid, CoaddRegion, find_coadd_grid
from ._inputs_from_butler import CoaddInputs, find_inputs
from ._plan import CoaddPlan, PlannedTile
from ._tile import TileOutcome
from ._tiles_from_butler import PSF_PX, TileRequest, make_tile_from_butler
from ._warping import find_planes, name_planes
from .coadd import Coadd, CoaddDifference, subtract_images
from .noise import CORRELATION_PX
from .recipe import Recipe, parse_recipe
from .record import CoaddRecord, RecordedInput, read_coadd_record, write_projection
from .rules import Statistic

MAX_PIXELS = 2**26
"""Most pixels of a coadd that are made at once: its planes take some 30 bytes each."""

TILE_BYTES = 2**28
"""Memory for a tile, whatever the number of inputs: tiles get smaller with it, down to one cell.

A single cell of a mean does not grow with the number of inputs but for their
PSFs, of 13 kB each; of other statistics it has all of its inputs side by side,
16 bytes per pixel of each.
"""

_BYTES_PER_PIXEL = 16  # image, variance, mask and what is cut out of them
_SUM_BYTES_PER_PIXEL = 60  # of a `MeanAccumulator`, and of the counts beside it
_TITLE = "Making a coadd"


def fetch_coadd(
    butler: ButlerLike,
    recipe: Recipe | str | bytes,
    region: CoaddRegion,
    *,
    skymap: str | None = None,
    executor: Executor | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Coadd:
    """Make the coadd of a region; only the pixels that it needs are read.

    Parameters
    ----------
    butler
        Butler to read through.
    recipe
        Which images become one, and how; or the recipe as JSON text.
    region
        A shape or a position on the sky, the data ID of a patch or a tract
        (``{"tract": 5063, "patch": 14}``), or a pixel grid.
    skymap
        Sky map whose pixels and cells are taken; may be left out where there
        is one.
    executor
        Where to work on tiles side by side: threads or processes of
        `concurrent.futures`, dask's ``Client.get_executor()``, ...  In the
        calling thread if `None`.  The result does not depend on it.
    max_pixels
        Largest number of pixels that is allowed.

    Returns
    -------
    coadd
        The coadd.  The same region twice, or a larger one around it, gives
        the same bits.

    Raises
    ------
    RequestTooLargeError
        Raised, before anything is read or allocated, if there are more than
        ``max_pixels`` pixels.
    NoCoverageError
        Raised if no image that the recipe selects covers a cell of the region.
    RequestError
        Raised if the recipe or the region makes no sense.
    DatasetNotFoundError
        Raised if the repository has no such dataset type, sky map or patch.
    MissingPsfError
        Raised if an image has no PSF.
    InconsistentUnitsError
        Raised if an image has no values in nJy, and no photometric scaling.
    InputDataError
        Raised if a stored file is missing or unusable.

    Notes
    -----
    The coadd is made cell by cell, of the images that the recipe takes for
    each cell, in the order of visit and detector.  Whole cells are read also
    where the region has a part of one, and with them the padding that PSF
    matching and the search for artifacts need.
    """
    with internal_errors_reported("Making a coadd"):
        recipe = parse_recipe(recipe)
        grid = find_coadd_grid(butler, region, cells=recipe.cells, skymap=skymap)
        _check_size(grid.target.bbox, max_pixels)
        inputs = find_inputs(butler, recipe, grid, executor=executor)
        geometries = [inputs.geometries[row] for row in _find_rows(inputs)]
        known = [geometry for geometry in geometries if geometry is not None]
        return _make(butler, CoaddPlan(make_record(inputs, grid), known), executor)


def make_from_record(
    butler: ButlerLike,
    record: CoaddRecord,
    *,
    executor: Executor | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Coadd:
    """Make the coadd of a record.

    Parameters
    ----------
    butler
        Butler to read through; the datasets are found by their UUIDs.
    record
        Recipe, pixels and inputs.
    executor, max_pixels
        As for `fetch_coadd`.

    Returns
    -------
    coadd
        The same pixels whenever and wherever the record is followed.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository lacks an input.
    RequestTooLargeError, NoCoverageError, InputDataError
        Raised as by `fetch_coadd`.
    """
    with internal_errors_reported("Making a coadd"):
        _check_size(record.grid.bbox, max_pixels)
        refs = tuple(find_by_uuid(butler, item.id) for item in record.inputs)
        return _make(butler, CoaddPlan(record, _fetch_geometries(butler, refs)), executor)


def _make(butler: ButlerLike, plan: CoaddPlan, executor: Executor | None) -> Coadd:
    """Make a coadd that is planned."""
    record = plan.record
    fixed, per_input = find_tile_bytes(record)
    tiles = list(plan.list_tiles(TILE_BYTES, per_input, fixed_bytes_per_pixel=fixed))
    if not any(tile.indices for tile in tiles):
        raise NoCoverageError(
            f"None of the {len(record.inputs)} images of the recipe {record.recipe.name!r} covers a cell of "
            f"{record.grid.bbox} around {record.grid.center.to_string('decimal')} deg."
        )
    canvas = Canvas.allocate(record, find_planes(name_planes(record.recipe.masks)), psf_px=PSF_PX)
    request = TileRequest(record.model_dump_json())
    for outcome in _run(butler, request, tiles, executor):
        canvas.add(outcome)
    return canvas.finish(plan.outlines)


def recreate_from(
    file: ResourcePathExpression,
    butler: ButlerLike,
    *,
    executor: Executor | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Coadd:
    """Make a coadd again from what its file says that it was made from.

    Parameters
    ----------
    file
        File that `Coadd.write` wrote; its pixels are not read.
    butler
        Butler of the repository that has the inputs.
    executor, max_pixels
        As for `fetch_coadd`.

    Returns
    -------
    coadd
        The same pixels.

    Raises
    ------
    UnsupportedProductError
        Raised if the file is no coadd of this library.
    InputDataError
        Raised if the file is not readable, or what it says is damaged.
    DatasetNotFoundError
        Raised if the repository lacks an input.
    """
    uri = ResourcePath(file, forceDirectory=False)
    with internal_errors_reported(f"Re-creation of {uri}"):
        record = read_coadd_record(read_metadata(uri))
        return make_from_record(butler, record, executor=executor, max_pixels=max_pixels)


def subtract_coadds(
    butler: ButlerLike,
    first: Recipe | str | bytes,
    second: Recipe | str | bytes,
    region: CoaddRegion,
    *,
    skymap: str | None = None,
    executor: Executor | None = None,
    max_pixels: int = MAX_PIXELS,
) -> CoaddDifference:
    """Make two coadds of a region, such as two seasons, and subtract one from the other.

    Parameters
    ----------
    butler
        Butler to read through.
    first, second
        Recipes: the difference is the first coadd minus the second.
    region, skymap, executor, max_pixels
        As for `fetch_coadd`.

    Returns
    -------
    difference
        The difference and both coadds.  PSFs are those of the recipes: with
        `PsfMatching.target` in both they are one.

    Raises
    ------
    RequestError
        Raised if a recipe or the region makes no sense.
    NoCoverageError
        Raised as by `fetch_coadd`, by either recipe.
    """
    coadds = [
        fetch_coadd(butler, recipe, region, skymap=skymap, executor=executor, max_pixels=max_pixels)
        for recipe in (first, second)
    ]
    return subtract_images(*coadds)


def make_record(inputs: CoaddInputs, grid: CoaddGrid) -> CoaddRecord:
    """Write down what a coadd is made from.

    Parameters
    ----------
    inputs
        What `find_inputs` returned for the grid.
    grid
        Pixels and cells, of `find_coadd_grid`.

    Returns
    -------
    record
        What `make_from_record` follows.

    Notes
    -----
    Images that go into no cell are among it where they may go into one: how
    many visits the best are chosen from is part of the choice.
    """
    box, layout, recipe = grid.target.bbox, grid.layout, inputs.recipe
    return CoaddRecord(
        software=f"lsst-dax-image {__version__}",
        recipe=recipe,
        projection=write_projection(grid.target.sky_projection),
        bbox=(box.x.start, box.y.start, box.x.size, box.y.size),
        cell_px=layout.inner_px,
        padding_px=find_padding(recipe),
        anchor=(layout.anchor.x, layout.anchor.y),
        patch=grid.patch,
        inputs=tuple(_record_input(inputs.table[row], recipe.dataset_type) for row in _find_rows(inputs)),
    )


def _find_rows(inputs: CoaddInputs) -> list[int]:
    """Return the rows of the images that may go into a cell."""
    return [row for row, count in enumerate(inputs.table["n_cells"].tolist()) if count > 0]


def _record_input(row: Row, dataset_type: str) -> RecordedInput:
    """Write down one input."""
    time = float(row["effective_time"].to_value(u.s))
    return RecordedInput(
        id=UUID(str(row["uuid"])),
        dataset_type=dataset_type,
        instrument=str(row["instrument"]),
        visit=int(row["visit"]),
        detector=int(row["detector"]),
        band=str(row["band"]),
        physical_filter=str(row["physical_filter"]),
        day_obs=int(row["day_obs"]),
        weight=float(row["weight"].value),
        effective_time_s=time if math.isfinite(time) else None,
        rank=float(row["rank"]),
    )


def _check_size(bbox: Box, max_pixels: int) -> None:
    """Refuse too many pixels."""
    if bbox.area > max_pixels:
        raise RequestTooLargeError(
            f"The coadd has {bbox.x.size} x {bbox.y.size} = {bbox.area} pixels; {max_pixels} are allowed."
        )


def find_tile_bytes(record: CoaddRecord) -> tuple[float, float]:
    """Return what a pixel of a tile takes: whatever the number of inputs, and for each of them."""
    recipe = record.recipe
    reach = 0 if recipe.psf_matching.target is None else 2 * (recipe.psf_matching.kernel_px - 1)
    stamps = 8.0 * (PSF_PX**2 + (CORRELATION_PX + reach) ** 2) / record.cell_px**2
    one = _BYTES_PER_PIXEL + 4.0 * recipe.noise_realizations
    if recipe.statistic is not Statistic.MEAN:
        return 0.0, one + stamps
    # The pixels of one input, and the sums.
    return 2.0 * one + _SUM_BYTES_PER_PIXEL * (1 + recipe.noise_realizations), stamps


def _fetch_geometries(butler: ButlerLike, refs: Sequence[DatasetRef]) -> list[ImageGeometry]:
    """Read where the inputs are."""
    geometries = []
    for ref in Progress("lsst.dax.image.coadds").wrap(refs, desc="Opening images", total=len(refs)):
        with opened_dataset(butler, ref) as reader:
            geometries.append(reader.geometry)
    return geometries


def _run(
    butler: ButlerLike, request: TileRequest, tiles: Sequence[PlannedTile], executor: Executor | None
) -> Iterator[TileOutcome]:
    """Work on tiles, and yield the results in their order."""
    if executor is None:
        results: Iterator[TileOutcome] = (make_tile_from_butler(butler, request, tile) for tile in tiles)
    else:
        results = map_in_order(executor, partial(_work, SharedButler(butler), request), tiles)
    yield from Progress("lsst.dax.image.coadds").wrap(results, desc=_TITLE, total=len(tiles))


def _work(shared: SharedButler, request: TileRequest, tile: PlannedTile) -> TileOutcome:
    """Work on one tile in another thread or process."""
    return make_tile_from_butler(shared.get(), request, tile)
