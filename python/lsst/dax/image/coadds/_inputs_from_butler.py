"""What would go into a coadd, before a pixel is read."""

from __future__ import annotations

__all__ = ("CoaddInputs", "find_inputs")

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import astropy.units as u
from astropy.table import QTable

from lsst.daf.butler import DatasetRef
from lsst.daf.butler.progress import Progress
from lsst.images import Box, SkyProjection

from ..errors import NoCoverageError, RequestError, UnsupportedProductError, internal_errors_reported
from ..repository import (
    ButlerLike,
    ImageGeometry,
    SharedButler,
    fetch_image_summary,
    fetch_time,
    find_by_uuid,
    find_datasets,
    map_in_order,
)
from ._cells import find_outline
from ._grid_from_butler import CoaddGrid, CoaddRegion, find_coadd_grid, find_polygon
from ._inputs_table import Candidate, make_inputs_table
from ._plan import find_members
from .recipe import Recipe, parse_recipe
from .record import parse_projection, write_projection
from .rules import Statistic
from .selection import (
    Conditions,
    Rejection,
    Verdict,
    choose_for_cell,
    judge_conditions,
    judge_identity,
    measure_conditions,
)
from .warp import InputKey

# The region that a repository has for an image may be off by this much, from
# when only the pointing was known; the image is looked at all the same.
_SEARCH_MARGIN_ARCSEC = 10.0
_TITLE = "Looking at images for a coadd"


@dataclass(frozen=True, eq=False)
class CoaddInputs:
    """What would go into a coadd, what would not, and why.

    Notes
    -----
    The table has the columns

    - ``uuid``, ``instrument``, ``visit``, ``detector``, ``band``,
      ``physical_filter``, ``day_obs`` and ``time`` (middle of the exposure, TAI);
    - ``is_used``: whether the image goes into a cell of the region;
    - ``weight``, and ``rank``: where it stands in what the best visits are
      the best in, smaller for better;
    - ``n_cells``, ``n_cells_used``: cells of the region that the image may go
      into by where it lies and what it is, and that it goes into;
    - ``reason`` and ``detail``: why not; a value of `Rejection` and a text
      with both numbers, empty where it goes in;
    - ``exposure_time``, ``effective_time``, ``fwhm``, ``psf_area``,
      ``pixel_scale``, ``sky_level``, ``sky_variance``, ``depth`` and
      ``airmass``, as `Conditions` has them.  NaN stands for what nobody knows,
      and for images that were ruled out before their file was looked into.
    """

    recipe: Recipe
    """What was asked for."""

    grid: CoaddGrid
    """Pixels and cells."""

    table: QTable
    """One row per image that overlaps the region in the bands and the time range of the recipe,
    ordered by visit and detector."""

    refs: tuple[DatasetRef, ...]
    """Datasets of the rows."""

    geometries: tuple[ImageGeometry | None, ...]
    """Where the images of the rows are; `None` for those that were not looked into."""

    @property
    def rows(self) -> tuple[int, ...]:
        """Numbers of the rows that go into at least one cell."""
        return tuple(row for row, is_used in enumerate(self.table["is_used"].tolist()) if is_used)

    @property
    def chosen(self) -> QTable:
        """The rows that go into at least one cell of the region."""
        return self.table[list(self.rows)]

    @property
    def chosen_refs(self) -> tuple[DatasetRef, ...]:
        """Their datasets."""
        return tuple(self.refs[row] for row in self.rows)

    @property
    def rejected(self) -> QTable:
        """The other rows, with ``reason`` and ``detail``."""
        used = set(self.rows)
        return self.table[[row for row in range(len(self.table)) if row not in used]]

    def plot(self, **kwargs: Any) -> Any:
        """Show what goes in and what does not; see `lsst.dax.image.plotting.plot_inputs`.

        Parameters
        ----------
        **kwargs
            Options of that function.

        Returns
        -------
        figure
            The matplotlib figure.
        """
        from ..plotting import plot_inputs  # noqa: PLC0415  # matplotlib is an extra

        return plot_inputs(self, **kwargs)


def find_inputs(
    butler: ButlerLike,
    recipe: Recipe | str | bytes,
    region: CoaddRegion,
    *,
    skymap: str | None = None,
    executor: Executor | None = None,
) -> CoaddInputs:
    """Find what would go into a coadd, with weights and reasons, before a pixel is read.

    Parameters
    ----------
    butler
        Butler to read through.
    recipe
        Recipe, or its JSON text.
    region
        What the coadd is asked for: a shape or a position on the sky, a pixel
        grid, or the data ID of a patch or a tract; see `find_coadd_grid`.
    skymap
        Sky map of the cells; may be left out where the repository has one.
    executor
        Where to look into files side by side; in the calling thread if `None`.

    Returns
    -------
    inputs
        All images in question, and which of them would go in.

    Raises
    ------
    NoCoverageError
        Raised if no image of the repository overlaps the region, or none of
        those that do goes in; the message counts the reasons.
    RequestError
        Raised if the recipe or the query makes no sense, or if images of
        several bands would be averaged that nobody named.
    InvalidRegionError
        Raised if the region is not usable.
    DatasetNotFoundError
        Raised if there is no such dataset type, collection, sky map or patch.
    UnsupportedProductError
        Raised if the datasets are not images of visits.
    InputDataError
        Raised if a file is missing or damaged.

    Notes
    -----
    Each image is judged on what its file says of it, so neither the region nor
    another image matters; its weight comes from there too.  The best visits
    are then chosen in each cell among those that cover it.  What a cell is made
    from is therefore the same for each region that has the cell.
    """
    with internal_errors_reported("Finding the inputs of a coadd"):
        recipe = parse_recipe(recipe)
        grid = find_coadd_grid(butler, region, cells=recipe.cells, skymap=skymap)
        candidates = _find_candidates(butler, recipe, grid)
        _check_bands(recipe, candidates)
        candidates = list(_look_into(butler, recipe, candidates, executor))
        candidates = _choose_in_cells(recipe, grid, candidates)
        if not any(candidate.n_cells_used for candidate in candidates):
            raise NoCoverageError(_explain_nothing(recipe, grid, candidates))
        return CoaddInputs(
            recipe,
            grid,
            make_inputs_table(candidates, recipe),
            tuple(candidate.ref for candidate in candidates),
            tuple(candidate.geometry for candidate in candidates),
        )


def _find_candidates(butler: ButlerLike, recipe: Recipe, grid: CoaddGrid) -> list[Candidate]:
    """Return all images that overlap the cells, in the bands and the time range that are asked for."""
    selection, target = recipe.selection, grid.target
    margin = math.ceil(_SEARCH_MARGIN_ARCSEC / target.pixel_scale.arcsec)
    region = find_polygon(target, grid.cells_box.padded(margin))
    is_timed = selection.begin is not None or selection.end is not None
    refs = find_datasets(
        butler,
        recipe.dataset_type,
        region=region,
        bands=selection.bands,
        time=(selection.begin, selection.end) if is_timed else None,
        where=selection.where,
    )
    if not refs:
        there = find_datasets(butler, recipe.dataset_type, region=region)
        bands = sorted({str(ref.dataId["band"]) for ref in there if "band" in ref.dataId.dimensions})
        raise NoCoverageError(
            f"No {recipe.dataset_type} for the recipe {recipe.name!r} overlaps {_name_place(grid)}: "
            + (
                f"of the {len(there)} there, in bands {', '.join(bands)}, none satisfies "
                f"{_name_query(recipe)}."
                if there
                else "there is none at all; the region is outside of the survey."
            )
        )
    needed = {"instrument", "visit", "detector", "band"}
    if missing := needed - set(refs[0].datasetType.dimensions.names):
        raise UnsupportedProductError(
            f"{recipe.dataset_type!r} has no {', '.join(sorted(missing))}; a coadd is made of images of "
            f"visits."
        )
    candidates = [_make_candidate(butler, recipe, ref) for ref in refs]
    return sorted(candidates, key=lambda candidate: candidate.key)


def _make_candidate(butler: ButlerLike, recipe: Recipe, ref: DatasetRef) -> Candidate:
    """Return what the repository knows of an image, and whether that rules it out."""
    data_id, time = ref.dataId, fetch_time(butler, ref)
    visit, band, day_obs = int(data_id["visit"]), str(data_id["band"]), int(data_id["day_obs"])
    return Candidate(
        ref=ref,
        key=InputKey(str(data_id["instrument"]), visit, int(data_id["detector"]), ref.id),
        band=band,
        physical_filter=str(data_id["physical_filter"]),
        day_obs=day_obs,
        time=time,
        verdict=judge_identity(recipe.selection, visit=visit, band=band, day_obs=day_obs, time=time),
    )


def _check_bands(recipe: Recipe, candidates: Sequence[Candidate]) -> None:
    """Refuse to average bands that nobody asked for."""
    bands = sorted({candidate.band for candidate in candidates})
    if recipe.selection.bands is None and recipe.statistic is not Statistic.CHI_SQUARED and len(bands) > 1:
        raise RequestError(
            f"The recipe {recipe.name!r} names no bands, and there are images in {', '.join(bands)}; values "
            f"of several bands are averaged only where the selection names them. For one: "
            f"recipe.with_selection(bands={bands[0]!r})."
        )


def _look_into(
    butler: ButlerLike, recipe: Recipe, candidates: Sequence[Candidate], executor: Executor | None
) -> Iterator[Candidate]:
    """Read the metadata of all images that are not ruled out, and judge them."""
    asked = [candidate for candidate in candidates if candidate.verdict is None]
    if executor is None:
        looks: Iterator[_Look] = (_look(butler, recipe, candidate.ref) for candidate in asked)
    else:
        # Not the references: a process can receive one only after it has opened a repository.
        ids = [candidate.key.uuid for candidate in asked]
        looks = map_in_order(executor, partial(_look_elsewhere, SharedButler(butler), recipe), ids)
    looks = Progress("lsst.dax.image.coadds").wrap(looks, desc=_TITLE, total=len(asked))
    found = {candidate.key: look for candidate, look in zip(asked, looks, strict=True)}
    for candidate in candidates:
        yield found[candidate.key].join(candidate) if candidate.key in found else candidate


@dataclass(frozen=True)
class _Look:
    """What the file of an image says."""

    projection: SkyProjection[Any] | str
    """Projection; as JSON if it comes from another process, since objects of AST do not pickle."""

    bbox: Box
    conditions: Conditions | None
    verdict: Verdict | None

    def join(self, candidate: Candidate) -> Candidate:
        """Return a candidate that has been looked into."""
        projection = self.projection
        sky = parse_projection(projection) if isinstance(projection, str) else projection
        geometry = ImageGeometry(sky, self.bbox)
        return dataclasses.replace(
            candidate, geometry=geometry, conditions=self.conditions, verdict=self.verdict
        )


def _look_elsewhere(shared: SharedButler, recipe: Recipe, dataset_id: UUID) -> _Look:
    """Look into one image in another thread or process."""
    butler = shared.get()
    look = _look(butler, recipe, find_by_uuid(butler, dataset_id))
    if not shared.was_sent or isinstance(look.projection, str):
        return look
    return dataclasses.replace(look, projection=write_projection(look.projection))


def _look(butler: ButlerLike, recipe: Recipe, ref: DatasetRef) -> _Look:
    """Read the metadata of an image and judge it by them."""
    summary = fetch_image_summary(butler, ref)
    conditions = None if summary.statistics is None else measure_conditions(summary.statistics)
    is_flux = summary.unit is not None and summary.unit.is_equivalent(u.nJy)
    verdict: Verdict | None
    if not summary.has_psf:
        verdict = Verdict(Rejection.NO_PSF, "the image has no PSF")
    elif not is_flux and not (summary.has_scaling and summary.unit is not None):
        text = f"the unit is {summary.unit}, no flux, and there is no photometric scaling"
        verdict = Verdict(Rejection.NO_SCALING, text)
    elif conditions is None:
        verdict = Verdict(Rejection.UNKNOWN, "the image has no summary statistics")
    else:
        verdict = judge_conditions(recipe.selection, conditions, weighting=recipe.weighting)
    return _Look(summary.geometry.sky_projection, summary.geometry.bbox, conditions, verdict)


def _choose_in_cells(recipe: Recipe, grid: CoaddGrid, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Find which images each cell takes."""
    outlines = [
        None
        if candidate.verdict is not None or candidate.geometry is None
        else find_outline(
            candidate.geometry.sky_projection,
            candidate.geometry.bbox,
            grid.target.sky_projection,
            kernel=recipe.kernel,
        )
        for candidate in candidates
    ]
    cells = grid.layout.find_cells(grid.target.bbox)
    members = find_members(outlines, grid.layout, cells, rules=recipe.cells)
    # Neighbouring cells have the same images.
    repeated = Counter(tuple(numbers) for numbers in members.values())
    n_cells, n_used = Counter[int](), Counter[int]()
    reasons: dict[int, Rejection] = {}
    for numbers, times in repeated.items():
        inside = [candidates[number] for number in numbers]
        choice = choose_for_cell(
            recipe.selection,
            visits=[candidate.key.visit for candidate in inside],
            bands=[candidate.band for candidate in inside],
            ranks=[candidate.rank(recipe) for candidate in inside],
        )
        for number, reason in zip(numbers, choice.reasons, strict=True):
            n_cells[number] += times
            n_used[number] += times * (reason is None)
            if reason is not None and reasons.get(number) is not Rejection.NOT_BEST:
                reasons[number] = reason
    return [
        dataclasses.replace(
            candidate,
            n_cells=n_cells[number],
            n_cells_used=n_used[number],
            verdict=candidate.verdict
            or (None if n_used[number] else _explain_cells(recipe, n_cells[number], reasons.get(number))),
        )
        for number, candidate in enumerate(candidates)
    ]


def _explain_cells(recipe: Recipe, n_cells: int, reason: Rejection | None) -> Verdict:
    """Say why an image that may go in goes into no cell."""
    best = recipe.selection.best
    if reason is Rejection.NOT_BEST and best is not None:
        many = f"{best.number}" if best.number is not None else f"{best.fraction:.3g} of all"
        text = f"the best {many} in {best.criterion.value} are other visits in {_count_cells(n_cells)}"
        return Verdict(Rejection.NOT_BEST, text)
    if reason is Rejection.TOO_FEW:
        least = recipe.selection.min_visits
        return Verdict(Rejection.TOO_FEW, f"fewer visits than {least} in {_count_cells(n_cells)}")
    rules = recipe.cells
    share = f"{100.0 * rules.min_overlap_fraction:g} % of a cell" if rules.is_edge_free else "any cell"
    return Verdict(Rejection.NO_CELL, f"it does not have {share} of the region, with the kernel's reach")


def _count_cells(count: int) -> str:
    return "its only cell" if count == 1 else f"all of its {count} cells"


def _explain_nothing(recipe: Recipe, grid: CoaddGrid, candidates: Sequence[Candidate]) -> str:
    """Say why nothing goes in."""
    counts = Counter(candidate.verdict.reason.value for candidate in candidates if candidate.verdict)
    first = next(candidate for candidate in candidates if candidate.verdict)
    detail = "" if first.verdict is None else f" ({first.verdict.text})"
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return (
        f"None of the {len(candidates)} images at {_name_place(grid)} goes into the recipe {recipe.name!r}: "
        f"{listed}; the first is visit {first.key.visit}, detector {first.key.detector}{detail}."
    )


def _name_place(grid: CoaddGrid) -> str:
    """Name a region in a message."""
    box = grid.target.bbox
    where = "" if grid.tract is None else f" of tract {grid.tract} in {grid.skymap}"
    return f"{box}{where}, around {grid.target.center.to_string('decimal', precision=5)} deg"


def _name_query(recipe: Recipe) -> str:
    """Name what a query asks for in a message."""
    s = recipe.selection
    parts = [] if s.bands is None else [f"bands {', '.join(s.bands)}"]
    if s.begin is not None or s.end is not None:
        begin, end = ("open" if time is None else time.isot for time in (s.begin, s.end))
        parts.append(f"times {begin} to {end} (TAI)")
    return "; ".join([*parts, *([f"where {s.where!r}"] if s.where else [])]) or "the recipe"
