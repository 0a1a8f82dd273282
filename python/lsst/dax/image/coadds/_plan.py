"""Which inputs take part in which cells, before a pixel is read."""

from __future__ import annotations

__all__ = ("CoaddPlan", "PlannedTile", "SourceGeometry", "find_members")

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from lsst.images import Box, SkyProjection
from lsst.images.cells import CellIJ

from ._cells import CellLayout, CellRange, SourceOutline, find_outline
from .record import CoaddRecord
from .rules import CellRules
from .selection import choose_for_cell


class SourceGeometry(Protocol):
    """Where the pixels of an input are."""

    @property
    def sky_projection(self) -> SkyProjection[Any]:
        """From pixels to the sky."""

    @property
    def bbox(self) -> Box:
        """Pixels that the input has."""


@dataclass(frozen=True)
class PlannedTile:
    """A tile of a coadd and the inputs of each of its cells."""

    cells: CellRange
    """Cells."""

    members: tuple[tuple[int, ...], ...]
    """Numbers of the inputs of each cell, ascending."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Numbers of all its inputs, ascending."""
        return tuple(sorted({index for members in self.members for index in members}))


@dataclass(frozen=True)
class CoaddPlan:
    """Inputs of a coadd and where they lie."""

    record: CoaddRecord
    """What the coadd is made from."""

    sources: Sequence[SourceGeometry]
    """Where the inputs of the record are."""

    @cached_property
    def outlines(self) -> list[SourceOutline | None]:
        """Where the inputs lie on the coadd's pixels; `None` for what lies nowhere."""
        target, kernel = self.record.grid.sky_projection, self.record.recipe.kernel
        return [
            find_outline(source.sky_projection, source.bbox, target, kernel=kernel) for source in self.sources
        ]

    @cached_property
    def members(self) -> dict[CellIJ, tuple[int, ...]]:
        """Numbers of the inputs of each cell, ascending.

        Where an input lies decides, and what is known of it, not its pixels.
        """
        layout = self.record.layout
        cells = layout.find_cells(self.record.grid.bbox)
        found = find_members(self.outlines, layout, cells, rules=self.record.recipe.cells)
        return {cell: self._choose(indices) for cell, indices in found.items()}

    def list_tiles(
        self, memory_bytes: float, bytes_per_pixel: float, *, fixed_bytes_per_pixel: float = 0.0
    ) -> Iterator[PlannedTile]:
        """Divide the coadd into tiles.

        Parameters
        ----------
        memory_bytes
            What a tile may take.
        bytes_per_pixel
            What a pixel of each input takes.
        fixed_bytes_per_pixel
            What a pixel takes whatever the number of inputs.

        Yields
        ------
        tile
            Tiles row by row; one of several cells is within the limit.
        """
        layout = self.record.layout
        for coarse in layout.split(layout.find_cells(self.record.grid.bbox), float("inf")):
            n_inputs = max(1, len(self._plan(coarse).indices))
            for cells in layout.split(
                coarse, memory_bytes / (fixed_bytes_per_pixel + n_inputs * bytes_per_pixel)
            ):
                yield self._plan(cells)

    def _plan(self, cells: CellRange) -> PlannedTile:
        """Return the tile of some cells."""
        return PlannedTile(cells, tuple(self.members[cell] for cell in cells))

    def _choose(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Return the inputs that a cell takes of those that cover it."""
        inputs = [self.record.inputs[index] for index in indices]
        choice = choose_for_cell(
            self.record.recipe.selection,
            visits=[item.visit for item in inputs],
            bands=[item.band for item in inputs],
            ranks=[item.rank for item in inputs],
        )
        return tuple(index for index, chosen in zip(indices, choice.chosen.tolist(), strict=True) if chosen)


def find_members(
    outlines: Sequence[SourceOutline | None], layout: CellLayout, cells: CellRange, *, rules: CellRules
) -> dict[CellIJ, list[int]]:
    """Find which inputs lie as they must to take part in a cell.

    Parameters
    ----------
    outlines
        Where the inputs lie; `None` for what lies nowhere.
    layout, cells
        Cells.
    rules
        How much of a cell an input must cover.

    Returns
    -------
    members
        Numbers of the inputs of each cell, ascending.
    """
    found: dict[CellIJ, list[int]] = {cell: [] for cell in cells}
    least = rules.min_overlap_fraction - 1e-9  # an area is right to its rounding
    for index, outline in enumerate(outlines):
        if outline is None:
            continue
        fractions, has_center = outline.find_overlaps(layout, cells)
        takes_part = has_center & (fractions >= least) if rules.is_edge_free else fractions > 0.0
        for cell, part in zip(cells, takes_part.ravel().tolist(), strict=True):
            if part:
                found[cell].append(index)
    return found
