"""Put the tiles of a coadd together."""

from __future__ import annotations

__all__ = ("Canvas",)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from lsst.images import Image, MaskedImage, Polygon, TractFrame
from lsst.images.cells import (
    CellCoadd,
    CellField,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
)

from ._cells import SourceOutline
from ._tile import CellOutcome, Contribution, Layers, TileOutcome
from ._warping import to_mask
from .coadd import Coadd
from .record import RECORD_KEY, CoaddRecord
from .rules import Statistic


@dataclass(frozen=True, eq=False)
class Canvas:
    """A coadd under construction."""

    record: CoaddRecord
    """What it is made from."""

    planes: tuple[str, ...]
    """Names of the mask planes."""

    psf_px: int
    """Side of the PSF's images."""

    layers: Layers
    """Pixels so far."""

    cells: dict[CellIJ, CellOutcome] = field(default_factory=dict)
    """Cells so far, by their places counted from the anchor."""

    @classmethod
    def allocate(cls, record: CoaddRecord, planes: tuple[str, ...], *, psf_px: int) -> Canvas:
        """Return a coadd without data."""
        layers = Layers.allocate(
            record.grid.bbox,
            no_data=1 << planes.index("NO_DATA"),
            n_noise=record.recipe.noise_realizations,
        )
        return cls(record, planes, psf_px, layers)

    def add(self, tile: TileOutcome) -> None:
        """Put a tile in its place."""
        self.layers.copy_from(tile.layers)
        self.cells.update({outcome.cell: outcome for outcome in tile.cells})

    def finish(self, outlines: Sequence[SourceOutline | None]) -> Coadd:
        """Return the coadd.

        Parameters
        ----------
        outlines
            Where each input of the record lies; `None` for what lies nowhere.

        Returns
        -------
        coadd
            The coadd.
        """
        bounds = self._find_bounds()
        shape = bounds.subgrid_size.as_tuple()
        psf_array = np.full((*shape, self.psf_px, self.psf_px), np.nan)
        factors = np.full(shape, np.nan)
        for place, outcome in self._cells_of(bounds):
            psf_array[place] = outcome.psf
            factors[place] = outcome.noise_correlation.sum()
        psf = CellPointSpreadFunction(psf_array, bounds)
        corrections = self._make_corrections(bounds)
        provenance = self._make_provenance(bounds, outlines)
        noise = self._make_noise()
        rejected = self._image(self.layers.rejected)
        return Coadd(
            image=self._make_image(psf, corrections, provenance, rejected, noise),
            psf=psf,
            n_inputs=self._image(self.layers.n_inputs),
            effective_time=self._image(self.layers.effective_time, u.s),
            rejected=rejected,
            noise_correlation=CellField(bounds, factors),
            noise_realizations=noise,
            aperture_corrections=corrections,
            inputs=self._make_inputs(),
            provenance=provenance,
            recipe=self.record.recipe,
            record=self.record,
        )

    def _ordered(self) -> list[CellOutcome]:
        """Return the cells row by row, whatever tiles they came in."""
        return [self.cells[cell] for cell in self.record.layout.find_cells(self.layers.bbox)]

    def _find_bounds(self) -> CellGridBounds:
        """Return the cells as `lsst.images` counts them."""
        bbox, layout = self.layers.bbox, self.record.layout
        patch = self.record.patch
        grid = layout.make_grid(bbox) if patch is None else patch.cells
        cells = layout.find_cells(bbox)
        missing = frozenset(
            grid.index_of(y=box.y.start, x=box.x.start)
            for cell in cells
            if not self.cells[cell].contributions
            for box in [layout.cell_box(cell)]
        )
        return CellGridBounds(grid=grid, bbox=layout.inner_box(cells), missing=missing)

    def _cells_of(self, bounds: CellGridBounds) -> list[tuple[tuple[int, int], CellOutcome]]:
        """Return the cells that have inputs, with their places in arrays."""
        start = bounds.subgrid_start
        found = []
        for cell in self.record.layout.find_cells(self.layers.bbox):
            outcome = self.cells[cell]
            if outcome.contributions:
                found.append(((self._index(bounds, cell) - start).as_tuple(), outcome))
        return found

    def _index(self, bounds: CellGridBounds, cell: CellIJ) -> CellIJ:
        """Return the place of a cell in the grid of cells."""
        box = self.record.layout.cell_box(cell)
        return bounds.grid.index_of(y=box.y.start, x=box.x.start)

    def _make_corrections(self, bounds: CellGridBounds) -> dict[str, CellField]:
        """Return the aperture corrections by algorithm."""
        found = self._cells_of(bounds)
        arrays: dict[str, NDArray[np.float64]] = {}
        for place, outcome in found:
            for name, value in outcome.corrections.items():
                array = arrays.setdefault(name, np.full(bounds.subgrid_size.as_tuple(), np.nan))
                array[place] = value
        return {name: CellField(bounds, arrays[name]) for name in sorted(arrays)}

    def _make_inputs(self) -> QTable:
        """Return one row per input."""
        weights = {item.id: 0.0 for item in self.record.inputs}
        counts = dict.fromkeys(weights, 0)
        for outcome in self._ordered():
            total = sum(item.weight * item.unmasked_fraction for item in outcome.contributions)
            for item in outcome.contributions:
                counts[item.key.uuid] += 1
                weights[item.key.uuid] += item.weight * item.unmasked_fraction / total
        n_cells = max(1, sum(bool(outcome.contributions) for outcome in self._ordered()))
        rows = self.record.inputs
        return QTable(
            {
                "uuid": np.array([str(item.id) for item in rows], dtype="U36"),
                "instrument": np.array([item.instrument for item in rows], dtype=str),
                "visit": np.array([item.visit for item in rows], np.int64),
                "detector": np.array([item.detector for item in rows], np.int32),
                "band": np.array([item.band for item in rows], dtype=str),
                "weight": np.array([item.weight for item in rows], np.float64),
                "effective_time": np.array([item.effective_time_s for item in rows], np.float64)
                * u.s,  # None: NaN
                "n_cells": np.array([counts[item.id] for item in rows], np.int32),
                "share": np.array([weights[item.id] / n_cells for item in rows], np.float64),
            }
        )

    def _make_image(
        self,
        psf: CellPointSpreadFunction,
        corrections: Mapping[str, CellField],
        provenance: CoaddProvenance | None,
        rejected: Image,
        noise: tuple[Image, ...],
    ) -> CellCoadd | MaskedImage:
        """Return the image, a cell coadd where the pixels lie in a patch."""
        grid, bands = self.record.grid, self.record.bands
        is_flux = self.record.recipe.statistic is not Statistic.CHI_SQUARED
        unit = u.nJy if is_flux else u.dimensionless_unscaled
        image = Image(self.layers.image, bbox=self.layers.bbox, unit=unit, sky_projection=grid.sky_projection)
        mask = to_mask(self.layers.mask, self.layers.bbox, self.planes)
        variance = self._image(self.layers.variance, unit**2)
        in_patch = self.record.patch is not None and isinstance(grid.sky_projection.pixel_frame, TractFrame)
        if in_patch and is_flux:
            coadd: CellCoadd | MaskedImage = CellCoadd(
                image,
                mask=mask,
                variance=variance,
                mask_fractions={"rejected": rejected},
                noise_realizations=noise,
                band=bands[0] if len(bands) == 1 else None,
                psf=psf,
                aperture_corrections=corrections,
                patch=self.record.patch,
                provenance=provenance,
            )
        else:
            coadd = MaskedImage(image, mask=mask, variance=variance)
        coadd.metadata[RECORD_KEY] = self.record.model_dump_json()
        return coadd

    def _make_provenance(
        self, bounds: CellGridBounds, outlines: Sequence[SourceOutline | None]
    ) -> CoaddProvenance | None:
        """Return the contributions as persisted coadds have them."""
        if self.record.patch is None:
            return None
        rows = [
            (self._index(bounds, outcome.cell), item)
            for outcome in self._ordered()
            for item in outcome.contributions
        ]
        if not rows:
            return None
        used = {item.key.uuid for _, item in rows}
        members = [
            (item, outline)
            for item, outline in zip(self.record.inputs, outlines, strict=True)
            if item.id in used and outline is not None
        ]
        table = CoaddProvenance.make_empty_input_table(len(members))
        around = Polygon.from_box(self.record.patch.outer_bbox)
        for n, (item, outline) in enumerate(members):
            for name in ("instrument", "visit", "detector", "physical_filter", "day_obs"):
                table[name][n] = getattr(item, name)
            table["polygon"][n] = outline.polygon.intersection(around)
        return CoaddProvenance(table, _make_contributions(rows))

    def _make_noise(self) -> tuple[Image, ...]:
        """Return the realisations of the noise."""
        return tuple(self._image(array, u.nJy) for array in self.layers.noise)

    def _image(self, array: NDArray[np.generic], unit: u.UnitBase | None = None) -> Image:
        """Return a plane."""
        return Image(array, bbox=self.layers.bbox, unit=unit)


def _make_contributions(rows: Sequence[tuple[CellIJ, Contribution]]) -> QTable:
    """Return the table of contributions, one row per cell and input."""
    table = CoaddProvenance.make_empty_contribution_table(len(rows))
    for n, (cell, item) in enumerate(rows):
        table["cell_i"][n], table["cell_j"][n] = cell.i, cell.j
        table["instrument"][n] = item.key.instrument
        table["visit"][n], table["detector"][n] = item.key.visit, item.key.detector
        table["overlaps_center"][n] = item.overlaps_center
        table["overlap_fraction"][n] = item.overlap_fraction
        table["unmasked_fraction"][n] = item.unmasked_fraction
        table["weight"][n] = item.weight
        xx, yy, xy = item.shape
        table["psf_shape_xx"][n], table["psf_shape_yy"][n], table["psf_shape_xy"][n] = xx, yy, xy
        table["psf_shape_flag"][n] = not np.isfinite(item.shape).all()
    return table
