"""One tile of a coadd: cell by cell, from inputs that are on its pixels."""

from __future__ import annotations

__all__ = ("CellOutcome", "Contribution", "Layers", "TileBuilder", "TileInput", "TileOutcome")

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection
from lsst.images.cells import CellIJ

from ..geometry import TargetGrid
from ._cell import CellInput, CombinedCell, combine_cell, trim
from ._cell_mean import CellMean
from ._cells import CellLayout, CellRange, SourceOutline, intersect
from .cell_psf import combine_aperture_corrections, measure_psf_shapes
from .recipe import Recipe
from .rules import Statistic
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


class TileBuilder:
    """A tile under construction, whose inputs arrive one by one.

    Parameters
    ----------
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

    Notes
    -----
    For a mean the pixels of inputs are not kept: memory does not grow with
    their number but for PSFs.  Other statistics need the values of a pixel
    side by side.
    """

    def __init__(
        self,
        *,
        cells: CellRange,
        layout: CellLayout,
        projection: SkyProjection[Any],
        recipe: Recipe,
        planes: tuple[str, ...],
        bbox: Box,
        psf_px: int,
    ) -> None:
        self._cells, self._layout, self._recipe, self._psf_px = cells, layout, recipe, psf_px
        self._no_data = 1 << planes.index("NO_DATA")
        self._bbox = bbox
        self._parts = [_CellPart(layout.cell_box(cell), projection, recipe) for cell in cells]

    def add(self, item: TileInput, numbers: Iterable[int]) -> None:
        """Add an input to some of the cells, in the order in which inputs are combined.

        Parameters
        ----------
        item
            The input.
        numbers
            Numbers of the cells.
        """
        for number in numbers:
            self._parts[number].add(item, number, self._layout)

    def finish(self) -> TileOutcome:
        """Return the tile.

        Returns
        -------
        tile
            Each cell as it is in any other tile.
        """
        whole = self._layout.inner_box(self._cells)
        layers = Layers.allocate(
            intersect(whole, self._bbox) or whole,
            no_data=self._no_data,
            n_noise=self._recipe.noise_realizations,
        )
        outcomes = []
        for cell, part in zip(self._cells, self._parts, strict=True):
            if not part.notes:
                outcomes.append(_blank_cell(cell, self._psf_px))
                continue
            combined = part.combine()
            layers.copy_from(_to_layers(combined, part))
            outcomes.append(_describe_cell(cell, combined, part.notes))
        return TileOutcome(layers, tuple(outcomes))


@dataclass(frozen=True, eq=False)
class _Note:
    """What is kept of an input that takes part in a cell."""

    key: InputKey
    weight: float
    overlaps_center: bool
    overlap_fraction: float
    unmasked_fraction: float
    psf: NDArray[np.float64]
    corrections: Mapping[str, float]


class _CellPart:
    """A cell under construction."""

    def __init__(self, inner: Box, projection: SkyProjection[Any], recipe: Recipe) -> None:
        self.inner, self._recipe = inner, recipe
        self.notes: list[_Note] = []
        self.times = np.zeros(tuple(inner.shape), np.float64)
        """Sum of the effective times of the inputs with a value."""
        self.counts = np.zeros(tuple(inner.shape), np.int64)
        """Number of those inputs."""
        self._scale = TargetGrid(projection, inner).pixel_scale.to_value(u.arcsec)
        is_mean = recipe.statistic is Statistic.MEAN
        self._mean = CellMean(inner, recipe, pixel_scale_arcsec=self._scale) if is_mean else None
        self._layers: list[CellInput] = []

    def add(self, item: TileInput, number: int, layout: CellLayout) -> None:
        """Add an input, unless too little of it is usable.

        The pixels of the cell alone decide, not those of its padding.
        """
        rules, masks = self._recipe.cells, self._recipe.masks
        bad = sum(1 << item.warp.planes.index(name) for name in masks.bad_planes)
        there = self.inner.slice_within(item.warp.bbox)
        good = np.isfinite(item.warp.image[there]) & (item.warp.mask[there] & np.uint32(bad) == 0)
        n_good = int(np.count_nonzero(good))
        limit = 1.0 - rules.max_masked_fraction if rules.is_edge_free else 0.0
        if n_good == 0 or n_good < limit * good.size or not np.isfinite(item.psfs[number]).all():
            return
        layer = _cut_layer(item, number, layout.padded_box(self.inner))
        if self._mean is None:
            self._layers.append(layer)
        else:
            self._mean.add(layer)
        self.times += np.where(good, item.effective_time_s, 0.0)
        self.counts += good
        self.notes.append(
            _Note(
                key=item.warp.key,
                weight=item.warp.weight,
                overlaps_center=item.outline.covers_center(self.inner),
                overlap_fraction=item.outline.overlap_fraction(self.inner),
                unmasked_fraction=n_good / good.size,
                psf=item.psfs[number],
                corrections=item.corrections[number],
            )
        )

    def combine(self) -> CombinedCell:
        """Return the cell, which has an input."""
        if self._mean is not None:
            return self._mean.finish()
        return combine_cell(self._layers, self.inner, self._recipe, pixel_scale_arcsec=self._scale)


def _cut_layer(item: TileInput, number: int, padded: Box) -> CellInput:
    """Return the part of an input that a cell needs."""
    rows, columns = padded.slice_within(item.warp.bbox)
    return CellInput(
        warp=trim(dataclasses.replace(item.warp, psf=item.psfs[number]), padded),
        band=item.band,
        noise_correlation=item.noise_correlations[number],
        noise=item.noise[:, rows, columns],
        pixel_area=float(item.pixel_areas[number]),
    )


def _to_layers(combined: CombinedCell, part: _CellPart) -> Layers:
    """Return the planes of a cell."""
    left = np.minimum(combined.n_inputs, part.counts) / np.maximum(part.counts, 1)
    return Layers(
        bbox=part.inner,
        image=combined.image,
        variance=combined.variance,
        mask=combined.mask,
        n_inputs=combined.n_inputs,
        effective_time=(part.times * left).astype(np.float32),
        rejected=combined.rejected_fraction,
        noise=combined.noise,
    )


def _describe_cell(cell: CellIJ, combined: CombinedCell, notes: Sequence[_Note]) -> CellOutcome:
    """Return what a cell has besides its pixels."""
    shapes = measure_psf_shapes(np.stack([note.psf for note in notes]))
    contributions = tuple(
        Contribution(
            key=note.key,
            overlaps_center=note.overlaps_center,
            overlap_fraction=note.overlap_fraction,
            unmasked_fraction=note.unmasked_fraction,
            weight=note.weight,
            shape=(float(shapes.xx[i]), float(shapes.yy[i]), float(shapes.xy[i])),
        )
        for i, note in enumerate(notes)
    )
    corrections = combine_aperture_corrections([note.corrections for note in notes], combined.shares)
    return CellOutcome(cell, combined.psf, corrections, combined.noise_correlation, contributions)


def _blank_cell(cell: CellIJ, psf_px: int) -> CellOutcome:
    """Return a cell without inputs."""
    return CellOutcome(cell, np.full((psf_px, psf_px), np.nan), {}, np.ones((1, 1)), ())
