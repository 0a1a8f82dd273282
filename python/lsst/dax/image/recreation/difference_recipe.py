"""What a re-created difference image was made from, as a value that its file carries."""

from __future__ import annotations

__all__ = ("DifferenceImageRecipe", "read_difference_recipe")

from collections.abc import Mapping
from typing import Any, Literal

from lsst.images import GeneralizedImage

from .decorrelation import NoiseLevels
from .difference_image import SubtractionOptions
from .recipe import ImageRecipe, InputDataset, VisitImageRecipe, read_image_recipe


class DifferenceImageRecipe(ImageRecipe):
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
    return read_image_recipe(source, DifferenceImageRecipe, "difference_image")
