"""What a re-created difference image was made from, as a value that its file carries."""

from __future__ import annotations

__all__ = ("DifferenceImageRecipe", "read_difference_recipe")

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from lsst.images import Box, GeneralizedImage

from ..errors import InputDataError, UnsupportedProductError
from .decorrelation import NoiseLevels
from .difference_image import SubtractionOptions
from .recipe import RECIPE_KEY, InputDataset, VisitImageRecipe, check_product


class DifferenceImageRecipe(pydantic.BaseModel, frozen=True, extra="forbid"):
    """The inputs and parameters that make a difference image; the same recipe gives the same pixels.

    Notes
    -----
    ``recipe.model_dump_json()`` and `DifferenceImageRecipe.model_validate_json`
    go to JSON and back.
    """

    product: Literal["difference_image"] = "difference_image"
    """What is made."""
    software: str
    """Library and version that wrote the recipe."""
    science: InputDataset | VisitImageRecipe
    """The visit image, or how it is made."""
    templates: list[InputDataset]
    """The coadds, in the order in which they are merged."""
    original: InputDataset | None
    """The persisted difference image that has the kernel; if `None`, the file
    that carries the recipe has it."""
    with_original_mask: bool
    """Whether detections and streaks come from the original's mask."""
    background: InputDataset | None = None
    """Background of the difference that is subtracted at the end."""
    noise: NoiseLevels
    """Mean variances that the filter against correlated noise is made for."""
    options: SubtractionOptions
    """How the template is subtracted."""
    bbox: tuple[int, int, int, int] | None = None
    """Pixels (x, y, width, height) that were asked for; the whole image if `None`."""

    @property
    def box(self) -> Box | None:
        """Pixels that were asked for."""
        if self.bbox is None:
            return None
        x, y, width, height = self.bbox
        return Box.factory[y : y + height, x : x + width]

    def with_box(self, box: Box | None) -> DifferenceImageRecipe:
        """Return the recipe of another part of the image."""
        corners = None if box is None else (box.x.start, box.y.start, box.x.size, box.y.size)
        return self.model_copy(update={"bbox": corners})


def read_difference_recipe(source: GeneralizedImage | Mapping[str, Any]) -> DifferenceImageRecipe:
    """Return the recipe that a re-created difference image carries.

    Parameters
    ----------
    source
        Image, or its metadata.

    Returns
    -------
    recipe
        Its recipe.

    Raises
    ------
    UnsupportedProductError
        Raised if it carries none: it was not made by this library.
    InputDataError
        Raised if the recipe is damaged, or of a later version of the library.
    """
    metadata = source.metadata if isinstance(source, GeneralizedImage) else source
    text = metadata.get(RECIPE_KEY)
    if text is None:
        raise UnsupportedProductError(
            f"The image has no {RECIPE_KEY!r} in its metadata, so it was not made by this library."
        )
    check_product(str(text), "difference_image")
    try:
        return DifferenceImageRecipe.model_validate_json(str(text))
    except pydantic.ValidationError as error:
        raise InputDataError(f"The recipe of the image is not usable: {error}") from error
