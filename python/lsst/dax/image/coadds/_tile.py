"""One tile of a coadd: cell by cell, from inputs that are on its pixels."""

from __future__ import annotations

__all__ = ("CellOutcome", "Contribution", "Layers", "TileInput", "TileOutcome", "make_tile")

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection
from lsst.images.cells import CellIJ

from ..geometry import TargetGrid
from ._cell import CellInput, CombinedCell, combine_cell, trim
from ._cells import CellLayout, CellRange, SourceOutline, intersect
from .cell_psf import combine_aperture_corrections, measure_psf_shapes
from .recipe import Recipe
from .rules import CellRules, MaskRules
from .warp import InputKey, Warp


@dataclass(frozen=True, eq=False)
class TileInput:
    """One input on the pixels of a tile."""

    warp: Warp
    """Its pixels, padding included."""

    outline: SourceOutline
    """Where it has values."""

    psfs: NDArray[np.float64]
    """PSF in the middle of each cell of the tile, shape ``(n_cells, size, size)``; NaN where it has none."""

    corrections: Sequence[Mapping[str, float]]
    """Aperture corrections in the middle of each cell."""

    noise_correlations: NDArray[np.float64]
    """Correlation of the noise of neighbouring pixels, in the middle of each cell, shape
    ``(n_cells, side, side)``."""

    noise: NDArray[np.float32]
    """Realisations of its noise, shape ``(n, rows, columns)`` with the pixels of ``warp``."""

    pixel_areas: NDArray[np.float64]
    """Area of a pixel of the coadd in pixels of the input, in the middle of each cell."""

    effective_time_s: float
    """Effective exposure time."""

    band: str
    """Band."""


@dataclass(frozen=True)
class Contribution:
    """What an input is in a cell."""

    key: InputKey
    """Which image it is."""

    overlaps_center: bool
    """Whether it has the middle of the cell."""

    overlap_fraction: float
    """Share of the cell that it covers."""

    unmasked_fraction: float
    """Share of the cell that it gives values to."""

    weight: float
    """Weight."""

    shape: tuple[float, float, float]
    """Second moments xx, yy and xy of its PSF in square pixels."""


@dataclass(frozen=True, eq=False)
class CellOutcome:
    """What a cell has besides its pixels."""

    cell: CellIJ
    """Which one it is, counted from the anchor."""

    psf: NDArray[np.float64]
    """PSF, shape ``(size, size)``; NaN if there is no input."""

    corrections: Mapping[str, float]
    """Aperture corrections."""

    noise_correlation: NDArray[np.float64]
    """Correlation of the noise of neighbours, shape ``(side, side)``; 1 alone if there is no input."""

    contributions: tuple[Contribution, ...]
    """Inputs in their order."""


@dataclass(frozen=True, eq=False)
class Layers:
    """Planes of a coadd or of a part of it, each of the shape of the box."""

    bbox: Box
    """Pixels."""

    image: NDArray[np.float32]
    """Values in nJy."""

    variance: NDArray[np.float32]
    """Variance in nJy**2."""

    mask: NDArray[np.uint32]
    """Mask words."""

    n_inputs: NDArray[np.uint16]
    """Number of inputs."""

    effective_time: NDArray[np.float32]
    """Effective exposure time in seconds."""

    rejected: NDArray[np.float32]
    """Share of the weight that was left out."""

    noise: NDArray[np.float32]
    """Realisations of the noise, shape ``(n, rows, columns)``."""

    @classmethod
    def allocate(cls, bbox: Box, *, no_data: int, n_noise: int) -> Layers:
        """Return planes without data."""
        shape = tuple(bbox.shape)
        return cls(
            bbox=bbox,
            image=np.full(shape, np.nan, np.float32),
            variance=np.full(shape, np.nan, np.float32),
            mask=np.full(shape, no_data, np.uint32),
            n_inputs=np.zeros(shape, np.uint16),
            effective_time=np.zeros(shape, np.float32),
            rejected=np.zeros(shape, np.float32),
            noise=np.full((n_noise, *shape), np.nan, np.float32),
        )

    def copy_from(self, part: Layers) -> None:
        """Copy what a part has of these pixels."""
        shared = intersect(self.bbox, part.bbox)
        if shared is None:
            return
        here, there = shared.slice_within(self.bbox), shared.slice_within(part.bbox)
        for name in ("image", "variance", "mask", "n_inputs", "effective_time", "rejected"):
            getattr(self, name)[here] = getattr(part, name)[there]
        self.noise[:, here[0], here[1]] = part.noise[:, there[0], there[1]]


@dataclass(frozen=True, eq=False)
class TileOutcome:
    """A tile of a coadd."""

    layers: Layers
    """Pixels that were asked for."""

    cells: tuple[CellOutcome, ...]
    """Cells in their order."""


def make_tile(
    inputs: Sequence[Sequence[TileInput]],
    *,
    cells: CellRange,
    layout: CellLayout,
    projection: SkyProjection[Any],
    recipe: Recipe,
    planes: tuple[str, ...],
    bbox: Box,
    psf_px: int,
) -> TileOutcome:
    """Make a tile.

    Parameters
    ----------
    inputs
        Inputs of each cell, in the order in which they are combined.
    cells, layout
        Which cells it has.
    projection
        Projection of the coadd.
    recipe
        How they are made.
    planes
        Names of the mask planes.
    bbox
        Pixels of the coadd; those of the tile beyond it are left out.
    psf_px
        Side of the PSF's images.

    Returns
    -------
    tile
        Each cell as it is in any other tile.
    """
    wanted = intersect(layout.inner_box(cells), bbox)
    no_data = 1 << planes.index("NO_DATA")
    layers = Layers.allocate(
        layout.inner_box(cells) if wanted is None else wanted,
        no_data=no_data,
        n_noise=recipe.noise_realizations,
    )
    outcomes = []
    for number, cell in enumerate(cells):
        inner = layout.cell_box(cell)
        members = [
            member
            for item in inputs[number]
            if (member := _find_member(item, number, inner, layout, recipe.cells, recipe.masks)) is not None
        ]
        if not members:
            outcomes.append(_blank_cell(cell, psf_px))
            continue
        scale = TargetGrid(projection, inner).pixel_scale.to_value(u.arcsec)
        parts = [member.layer for member in members]
        combined = combine_cell(parts, inner, recipe, pixel_scale_arcsec=scale)
        layers.copy_from(_to_layers(combined, members, inner))
        outcomes.append(_describe_cell(cell, number, combined, members))
    return TileOutcome(layers, tuple(outcomes))


@dataclass(frozen=True, eq=False)
class _Member:
    """An input that takes part in a cell."""

    source: TileInput
    layer: CellInput
    good: NDArray[np.bool_]
    overlap_fraction: float
    overlaps_center: bool

    @property
    def unmasked_fraction(self) -> float:
        return float(np.count_nonzero(self.good)) / self.good.size


def _find_member(
    item: TileInput, number: int, inner: Box, layout: CellLayout, rules: CellRules, masks: MaskRules
) -> _Member | None:
    """Return what an input is in a cell; `None` if it takes no part.

    The pixels of the cell alone decide, not those of its padding.
    """
    bad = sum(1 << item.warp.planes.index(name) for name in masks.bad_planes)
    there = inner.slice_within(item.warp.bbox)
    good = np.isfinite(item.warp.image[there]) & (item.warp.mask[there] & np.uint32(bad) == 0)
    n_good = int(np.count_nonzero(good))
    limit = 1.0 - rules.max_masked_fraction if rules.is_edge_free else 0.0
    if n_good == 0 or n_good < limit * good.size:
        return None
    if not np.isfinite(item.psfs[number]).all():
        return None
    padded = layout.padded_box(inner)
    rows, columns = padded.slice_within(item.warp.bbox)
    layer = CellInput(
        warp=trim(dataclasses.replace(item.warp, psf=item.psfs[number]), padded),
        band=item.band,
        noise_correlation=item.noise_correlations[number],
        noise=item.noise[:, rows, columns],
        pixel_area=float(item.pixel_areas[number]),
    )
    overlap = item.outline.overlap_fraction(inner)
    return _Member(item, layer, good, overlap, item.outline.covers_center(inner))


def _to_layers(combined: CombinedCell, members: Sequence[_Member], inner: Box) -> Layers:
    """Return the planes of a cell."""
    return Layers(
        bbox=inner,
        image=combined.image,
        variance=combined.variance,
        mask=combined.mask,
        n_inputs=combined.n_inputs,
        effective_time=_sum_times(combined.n_inputs, members),
        rejected=combined.rejected_fraction,
        noise=combined.noise,
    )


def _sum_times(n_inputs: NDArray[np.uint16], members: Sequence[_Member]) -> NDArray[np.float32]:
    """Return the effective time behind each pixel."""
    times = np.zeros(n_inputs.shape, np.float64)
    counts = np.zeros(n_inputs.shape, np.int64)
    for member in members:
        times += member.good * member.source.effective_time_s
        counts += member.good
    clipped = np.minimum(n_inputs, counts) / np.maximum(counts, 1)
    return (times * clipped).astype(np.float32)


def _describe_cell(
    cell: CellIJ, number: int, combined: CombinedCell, members: Sequence[_Member]
) -> CellOutcome:
    """Return what a cell has besides its pixels."""
    shapes = measure_psf_shapes(np.stack([member.source.psfs[number] for member in members]))
    contributions = tuple(
        Contribution(
            key=member.layer.warp.key,
            overlaps_center=member.overlaps_center,
            overlap_fraction=member.overlap_fraction,
            unmasked_fraction=member.unmasked_fraction,
            weight=member.layer.warp.weight,
            shape=(float(shapes.xx[i]), float(shapes.yy[i]), float(shapes.xy[i])),
        )
        for i, member in enumerate(members)
    )
    corrections = combine_aperture_corrections(
        [member.source.corrections[number] for member in members], combined.shares
    )
    return CellOutcome(cell, combined.psf, corrections, combined.noise_correlation, contributions)


def _blank_cell(cell: CellIJ, psf_px: int) -> CellOutcome:
    """Return a cell without inputs."""
    return CellOutcome(cell, np.full((psf_px, psf_px), np.nan), {}, np.ones((1, 1)), ())
