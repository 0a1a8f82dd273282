"""Visit images from their raws."""

from __future__ import annotations

__all__ = ("VisitImageProduct",)

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import astropy.units as u

from lsst.daf.butler import DataCoordinate, DatasetRef
from lsst.images import Box, MaskedImage

from ..errors import RequestError
from ..recreation import (
    RECIPE_KEY,
    SEPARATE_INPUTS,
    VisitComponents,
    VisitImageRecipe,
    fetch_components,
    make_isr_image,
    make_visit_image_recipe,
    stitch_visit_image,
)
from ..recreation.isr import IsrSequence
from ..repository import find_by_uuid, find_dataset
from .product import MakingContext, make_fingerprint

_NEEDED = ("background", "visit_summary", "psf", "detector", "obs_info")


@dataclass(frozen=True)
class VisitImageProduct:
    """Visit images that are made from their raws and from what was persisted of them.

    Raises
    ------
    RequestError
        Raised if components are missing, or not known.

    Notes
    -----
    Instrument signatures are removed from whole detectors, as they must be: a
    first box costs that of its detector.  What comes after is done for the box
    alone, and further boxes of the detector start from what is kept.
    """

    sequence: IsrSequence
    """Steps of the instrument signature removal."""

    components: Mapping[str, str] = field(hash=False)
    """Dataset types of what was persisted of the visit images, by the names of
    `~lsst.dax.image.recreation.SEPARATE_INPUTS`: background, visit_summary,
    psf, detector and obs_info at least."""

    name: str = "visit_image"
    """Name of the dataset type."""

    def __post_init__(self) -> None:
        given = set(self.components)
        if missing := [name for name in _NEEDED if name not in given]:
            raise RequestError(
                f"Visit images need the dataset types of {', '.join(_NEEDED)}; {', '.join(missing)} are "
                f"missing among {sorted(given)}."
            )
        if unknown := given - set(SEPARATE_INPUTS):
            raise RequestError(
                f"Visit images have no components {sorted(unknown)}; known are {', '.join(SEPARATE_INPUTS)}."
            )

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions of the dataset type."""
        return ("instrument", "visit", "detector")

    @property
    def storage_class(self) -> str:
        """Name of the storage class."""
        return "VisitImage"

    @property
    def sources(self) -> tuple[str, ...]:
        """Dataset types without which there is no dataset."""
        return ("raw", *sorted(set(self.components.values())))

    @property
    def inputs(self) -> tuple[str, ...]:
        """None: a visit image is made from what is stored."""
        return ()

    @property
    def fingerprint(self) -> str:
        """Text that is equal for products that make equal pixels."""
        return make_fingerprint(
            product="visit_image",
            sequence=self.sequence.model_dump(mode="json"),
            components=dict(self.components),
        )

    def covers(self, data_id: DataCoordinate, /) -> bool:  # noqa: ARG002  # all that have raws
        """Tell whether a data ID, whose sources exist, is one of the product."""
        return True

    def plan(self, context: MakingContext, ref: DatasetRef, /) -> VisitImageMaker:
        """Find the inputs, and read what was persisted besides pixels."""
        stored, data_id = context.stored, dict(ref.dataId.required)
        found = {name: find_dataset(stored, kind, data_id) for name, kind in self.components.items()}
        recipe = make_visit_image_recipe(stored, data_id, sequence=self.sequence, inputs=found)
        components = fetch_components(
            stored,
            {name: find_by_uuid(stored, item.id) for name, item in recipe.components.items()},
            detector=int(data_id["detector"]),
            background=recipe.background,
            with_mask=recipe.with_original_mask,
        )
        return VisitImageMaker(recipe, components)


@dataclass(frozen=True, eq=False)
class VisitImageMaker:
    """Makes parts of one visit image."""

    recipe: VisitImageRecipe
    """Inputs and parameters."""

    components: VisitComponents
    """What was persisted besides pixels."""

    @property
    def bbox(self) -> Box:
        """Pixels of the detector."""
        return self.components.detector.bbox

    def expand(self, bbox: Box, /) -> Box:
        """Return the box: no other pixels are stitched."""
        return bbox

    def make(self, context: MakingContext, bbox: Box, /) -> MaskedImage:
        """Make a box."""
        isr_image = context.keep(
            "isr",
            lambda: make_isr_image(context.stored, self.recipe, self.components, cache=context.calibrations),
        )
        recipe = self.recipe.with_box(None if bbox == self.bbox else bbox)
        return stitch_visit_image(
            isr_image,
            self.components,
            seed=recipe.seed,
            bbox=bbox,
            metadata=dict(isr_image.metadata.native) | {RECIPE_KEY: recipe.model_dump_json()},
        )

    def get_components(self) -> dict[str, Any]:
        """Return the components: all but the pixels are known."""
        known = self.components
        return {
            "aperture_corrections": known.aperture_corrections,
            "backgrounds": known.backgrounds,
            "bbox": self.bbox,
            "bounds": self.bbox,
            "detector": known.detector,
            "obs_info": known.obs_info,
            "photometric_scaling": known.photometric_scaling,
            "psf": known.psf,
            "sky_projection": known.sky_projection,
            "summary_stats": known.summary_stats,
            "unit": u.nJy,
        }
