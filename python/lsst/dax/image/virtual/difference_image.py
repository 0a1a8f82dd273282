"""Difference images from visit images and templates, either of which may be virtual."""

from __future__ import annotations

__all__ = ("DifferenceImageProduct",)

from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import DataCoordinate, DatasetRef
from lsst.images import Box, DifferenceImage, MaskedImage

from ..recreation import (
    DifferenceImageRecipe,
    DifferenceInputs,
    SubtractionOptions,
    make_difference_from_recipe,
    read_difference_recipe,
    recreate_difference_image,
)
from ..repository import fetch_dataset, fetch_geometry, find_dataset, find_datasets
from .product import MakingContext, make_fingerprint

_COMPONENTS = (
    "aperture_corrections",
    "backgrounds",
    "detector",
    "kernel",
    "obs_info",
    "photometric_scaling",
    "psf",
    "sky_projection",
    "summary_stats",
    "templates",
    "unit",
)


@dataclass(frozen=True)
class DifferenceImageProduct:
    """Differences of visit images and all coadds of some dataset type that they overlap.

    Notes
    -----
    Where no kernel is stored, one is fitted to the stars of the whole visit
    image when the first box of a difference is asked for, and the noise is
    measured then.  After that a box costs its own pixels and the margins of
    the kernels.
    """

    kernel: str | None = None
    """Dataset type of the stored kernels that match the PSFs; they are fitted if `None`."""

    template: str = "template_coadd"
    """Dataset type of the coadds that are subtracted; stored ones, or those of a `CoaddProduct`."""

    options: SubtractionOptions = field(default_factory=SubtractionOptions)
    """How templates are subtracted."""

    name: str = "difference_image"
    """Name of the dataset type."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions of the dataset type."""
        return ("instrument", "visit", "detector")

    @property
    def storage_class(self) -> str:
        """Name of the storage class."""
        return "DifferenceImage"

    @property
    def sources(self) -> tuple[str, ...]:
        """Dataset types without which there is no dataset."""
        return (*self.inputs, *(() if self.kernel is None else (self.kernel,)))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Dataset types that may be virtual."""
        return ("visit_image", self.template)

    @property
    def fingerprint(self) -> str:
        """Text that is equal for products that make equal pixels."""
        return make_fingerprint(
            product="difference_image",
            kernel=self.kernel,
            template=self.template,
            options=self.options.model_dump(mode="json"),
        )

    def covers(self, data_id: DataCoordinate, /) -> bool:  # noqa: ARG002  # all that have sources
        """Tell whether a data ID, whose sources exist, is one of the product."""
        return True

    def plan(self, context: MakingContext, ref: DatasetRef, /) -> DifferenceImageMaker:
        """Find the inputs and the kernel, with which one pixel is made."""
        butler, data_id = context.butler, dict(ref.dataId.required)
        kernel = None
        if self.kernel is not None:
            kernel = fetch_dataset(context.stored, find_dataset(context.stored, self.kernel, data_id))
        bbox = fetch_geometry(butler, find_dataset(butler, "visit_image", data_id)).bbox
        y, x = (interval.start + interval.size // 2 for interval in (bbox.y, bbox.x))
        pixel = recreate_difference_image(
            butler,
            data_id,
            inputs=DifferenceInputs(
                kernel=kernel, templates=find_datasets(butler, self.template, data_id=data_id)
            ),
            options=self.options,
            bbox=Box.factory[y : y + 1, x : x + 1],
        )
        return DifferenceImageMaker(bbox, read_difference_recipe(pixel), pixel)


@dataclass(frozen=True, eq=False)
class DifferenceImageMaker:
    """Makes parts of one difference image."""

    bbox: Box
    """Pixels of the visit image."""

    recipe: DifferenceImageRecipe
    """Inputs and parameters."""

    pixel: DifferenceImage
    """One pixel, with all else that the difference image has."""

    def expand(self, bbox: Box, /) -> Box:
        """Return the box: no other pixels are subtracted."""
        return bbox

    def make(self, context: MakingContext, bbox: Box, /) -> MaskedImage:
        """Make a box."""
        recipe = self.recipe.with_box(None if bbox == self.bbox else bbox)
        return make_difference_from_recipe(context.butler, recipe, kernel=self.pixel.kernel)

    def get_components(self) -> dict[str, Any]:
        """Return the components: all but the pixels are known."""
        known = {name: getattr(self.pixel, name) for name in _COMPONENTS}
        return known | {"bbox": self.bbox, "bounds": self.bbox}
