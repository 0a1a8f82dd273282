"""Mosaics of all datasets that have something in common."""

from __future__ import annotations

__all__ = ("MosaicProduct",)

from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import DataCoordinate, DatasetRef
from lsst.images import Box, MaskedImage

from ..errors import UnsupportedProductError
from ..geometry import TargetGrid
from ..mosaics import BackgroundMatch, MosaicRules, fetch_mosaic, find_mosaic_grid
from ..repository import fetch_geometry, find_datasets, name_dataset
from .product import MakingContext, make_fingerprint


@dataclass(frozen=True)
class MosaicProduct:
    """Mosaics of the datasets that agree in some dimensions.

    For instance of all patches of a tract and band, with the dimensions
    skymap, tract and band; or of all detectors of a visit, with instrument and
    visit.  Datasets that share their pixels are put together without
    resampling; others on a tangent plane (see
    `~lsst.dax.image.mosaics.find_mosaic_grid`).
    """

    name: str
    """Name of the dataset type."""

    dataset_type: str
    """Dataset type of the images that are put together; they have variances."""

    dimensions: tuple[str, ...]
    """Dimensions in which the images of a mosaic agree."""

    rules: MosaicRules = field(default_factory=MosaicRules)
    """How the images become one."""

    @property
    def storage_class(self) -> str:
        """Name of the storage class."""
        return "MaskedImageV2"

    @property
    def sources(self) -> tuple[str, ...]:
        """Dataset type of the images."""
        return (self.dataset_type,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Dataset type of the images."""
        return (self.dataset_type,)

    @property
    def fingerprint(self) -> str:
        """Text that is equal for products that make equal pixels."""
        return make_fingerprint(
            product="mosaic",
            dataset_type=self.dataset_type,
            dimensions=self.dimensions,
            rules=repr(self.rules),
        )

    def covers(self, data_id: DataCoordinate, /) -> bool:  # noqa: ARG002  # all that have images
        """Tell whether a data ID, whose sources exist, is one of the product."""
        return True

    def plan(self, context: MakingContext, ref: DatasetRef, /) -> MosaicMaker:
        """Find the images and the grid."""
        refs = find_datasets(context.butler, self.dataset_type, data_id=dict(ref.dataId.required))
        grid = find_mosaic_grid([fetch_geometry(context.butler, item) for item in refs])
        return MosaicMaker(tuple(refs), grid, self.rules)


@dataclass(frozen=True, eq=False)
class MosaicMaker:
    """Makes parts of one mosaic."""

    refs: tuple[DatasetRef, ...]
    """The images."""

    grid: TargetGrid
    """Pixels of the whole mosaic."""

    rules: MosaicRules
    """How the images become one."""

    @property
    def bbox(self) -> Box:
        """Pixels of the whole mosaic."""
        return self.grid.bbox

    def expand(self, bbox: Box, /) -> Box:
        """Return the box; the whole mosaic where backgrounds are matched, which takes all of it."""
        return bbox if self.rules.background is BackgroundMatch.NONE else self.bbox

    def make(self, context: MakingContext, bbox: Box, /) -> MaskedImage:
        """Make a box."""
        part = TargetGrid(self.grid.sky_projection, bbox)
        image = fetch_mosaic(context.butler, self.refs, part, rules=self.rules).masked_image
        if not isinstance(image, MaskedImage):
            raise UnsupportedProductError(
                f"{name_dataset(self.refs[0])} has no variance; virtual mosaics are made of images that do."
            )
        return image

    def get_components(self) -> dict[str, Any]:
        """Return the components that need no pixels."""
        return {"bbox": self.bbox, "sky_projection": self.grid.sky_projection}
