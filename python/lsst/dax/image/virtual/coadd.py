"""Coadds of a recipe, patch by patch."""

from __future__ import annotations

__all__ = ("CoaddProduct",)

from dataclasses import dataclass
from typing import Any

import astropy.units as u

from lsst.daf.butler import DataCoordinate, DatasetRef
from lsst.images import Box, MaskedImage

from ..coadds import (
    RECORD_KEY,
    CoaddGrid,
    CoaddRecord,
    Recipe,
    Statistic,
    find_coadd_grid,
    find_inputs,
    make_from_record,
    make_record,
)
from .product import MakingContext


@dataclass(frozen=True)
class CoaddProduct:
    """Coadds that are made of a recipe, for the patches of a sky map.

    There is one for each patch and band that the recipe takes; chi-squared
    images have all bands in one.
    """

    name: str
    """Name of the dataset type, such as ``good_seeing_coadd``."""

    recipe: Recipe
    """Which images become one, and how."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions of the dataset type."""
        patch = ("skymap", "tract", "patch")
        return patch if self._has_all_bands else (*patch, "band")

    @property
    def storage_class(self) -> str:
        """Name of the storage class."""
        return "MaskedImageV2" if self._has_all_bands else "CellCoadd"

    @property
    def sources(self) -> tuple[str, ...]:
        """Dataset type of the images that go in."""
        return (self.recipe.dataset_type,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Dataset type of the images that go in."""
        return (self.recipe.dataset_type,)

    @property
    def fingerprint(self) -> str:
        """Text that is equal for products that make equal pixels."""
        return self.recipe.fingerprint

    @property
    def _has_all_bands(self) -> bool:
        return self.recipe.statistic is Statistic.CHI_SQUARED

    def covers(self, data_id: DataCoordinate, /) -> bool:
        """Tell whether a data ID has a band that the recipe takes."""
        bands = self.recipe.selection.bands
        return bands is None or self._has_all_bands or data_id["band"] in bands

    def plan(self, context: MakingContext, ref: DatasetRef, /) -> CoaddMaker:
        """Choose the images that go in."""
        data_id, recipe = dict(ref.dataId.required), self.recipe
        if not self._has_all_bands:
            recipe = recipe.with_selection(bands=(str(data_id.pop("band")),))
        grid = find_coadd_grid(context.butler, data_id, cells=recipe.cells)
        record = make_record(find_inputs(context.butler, recipe, grid.target), grid)
        return CoaddMaker(record, grid)


@dataclass(frozen=True, eq=False)
class CoaddMaker:
    """Makes cells of one coadd."""

    record: CoaddRecord
    """Recipe, inputs and pixels of the whole coadd."""

    grid: CoaddGrid
    """Its cells."""

    @property
    def bbox(self) -> Box:
        """Pixels of the patch."""
        return self.grid.target.bbox

    def expand(self, bbox: Box, /) -> Box:
        """Return the cells that a box touches."""
        layout = self.grid.layout
        return layout.inner_box(layout.find_cells(bbox)).intersection(self.bbox)

    def make(self, context: MakingContext, bbox: Box, /) -> MaskedImage:
        """Make the cells of a box, of the images that go into the whole coadd."""
        values = {name: getattr(self.record, name) for name in CoaddRecord.model_fields}
        # No copy of the record, which would have the grid that the record has worked out.
        part = CoaddRecord(**{**values, "bbox": (bbox.x.start, bbox.y.start, bbox.x.size, bbox.y.size)})
        image = make_from_record(context.butler, part).image
        image.metadata[RECORD_KEY] = part.model_dump_json()
        return image

    def get_components(self) -> dict[str, Any]:
        """Return the components that need no pixels."""
        unit = None if self.record.recipe.statistic is Statistic.CHI_SQUARED else u.nJy
        return {"bbox": self.bbox, "sky_projection": self.grid.target.sky_projection, "unit": unit}
