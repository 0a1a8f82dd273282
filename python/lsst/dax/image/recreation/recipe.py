"""What a re-created visit image was made from, as a value that its file carries."""

from __future__ import annotations

__all__ = ("RECIPE_KEY", "InputDataset", "VisitImageRecipe", "read_recipe")

import json
from collections.abc import Mapping
from typing import Any, Literal, Self
from uuid import UUID

import pydantic

from lsst.images import Box, GeneralizedImage

from ..errors import InputDataError, UnsupportedProductError
from .components import SUBTRACTED_BACKGROUND
from .isr import IsrSequence

RECIPE_KEY = "DAX_IMAGE RECIPE"
"""Key of the metadata of an image that holds its recipe as JSON text."""


class InputDataset(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One dataset that went in."""

    dataset_type: str
    """Name of the dataset type."""
    id: UUID
    """UUID in the repository."""
    run: str
    """Collection that it was written to."""
    data_id: dict[str, int | str]
    """Data ID."""


class ImageRecipe(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What recipes of images have in common: the part that was asked for."""

    bbox: tuple[int, int, int, int] | None = None
    """Pixels (x, y, width, height) that were asked for; the whole image if `None`."""

    @property
    def box(self) -> Box | None:
        """Pixels that were asked for."""
        if self.bbox is None:
            return None
        x, y, width, height = self.bbox
        return Box.factory[y : y + height, x : x + width]

    def with_box(self, box: Box | None) -> Self:
        """Return the recipe of another part of the image."""
        corners = None if box is None else (box.x.start, box.y.start, box.x.size, box.y.size)
        return self.model_copy(update={"bbox": corners})


class VisitImageRecipe(ImageRecipe):
    """The inputs and parameters that make a visit image; the same recipe gives the same pixels.

    Notes
    -----
    ``recipe.model_dump_json()`` and `VisitImageRecipe.model_validate_json` go to
    JSON and back.
    """

    product: Literal["visit_image"] = "visit_image"
    """What is made."""
    software: str
    """Library and version that wrote the recipe."""
    raw: InputDataset
    """The raw exposure."""
    calibrations: dict[str, InputDataset]
    """Calibrations, by their names in `~lsst.dax.image.recreation.isr.IsrCalibrations`."""
    components: dict[str, InputDataset]
    """What the original processing persisted: the ``visit_image`` itself, or
    the dataset that took its place by component name."""
    background: str = SUBTRACTED_BACKGROUND
    """Name of the background that is subtracted."""
    with_original_mask: bool = True
    """Whether cosmic rays and detections come from the original's mask."""
    pedestals: dict[str, float] | None = None
    """Offsets of the amplifiers in electron, where the original had them subtracted."""
    sequence: IsrSequence
    """Steps of the instrument signature removal."""
    seed: int
    """Seed of the noise in place of cosmic rays."""


def read_recipe(source: GeneralizedImage | Mapping[str, Any]) -> VisitImageRecipe:
    """Return the recipe that a re-created image carries.

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
        Raised if it carries none, as it was not made by this library, or that
        of another product: `lsst.dax.image.recreate_from` makes any.
    InputDataError
        Raised if the recipe is damaged, or of a later version of the library.
    """
    return read_image_recipe(source, VisitImageRecipe, "visit_image")


def read_image_recipe[Recipe: ImageRecipe](
    source: GeneralizedImage | Mapping[str, Any], kind: type[Recipe], product: str
) -> Recipe:
    """Return the recipe of one kind of product that an image carries.

    Parameters
    ----------
    source
        Image, or its metadata.
    kind
        Class of the recipe.
    product
        Name of the product that is meant.

    Returns
    -------
    recipe
        The recipe.

    Raises
    ------
    UnsupportedProductError
        Raised if there is none, or that of another product.
    InputDataError
        Raised if the recipe is damaged, or of a later version of the library.
    """
    metadata = source.metadata if isinstance(source, GeneralizedImage) else source
    text = metadata.get(RECIPE_KEY)
    if text is None:
        raise UnsupportedProductError(
            f"The image has no {RECIPE_KEY!r} in its metadata, so it was not re-created by this library."
        )
    _check_product(str(text), product)
    try:
        return kind.model_validate_json(str(text))
    except pydantic.ValidationError as error:
        raise InputDataError(f"The recipe of the image is not usable: {error}") from error


def _check_product(text: str, product: str) -> None:
    """Refuse the recipe of another product; damaged text passes."""
    try:
        found = json.loads(text)
    except ValueError:
        return  # the recipe's own reader says what is wrong
    other = found.get("product", product) if isinstance(found, dict) else product
    if other != product:
        raise UnsupportedProductError(
            f"The image was made as a {other!r}, not as a {product!r}; "
            "lsst.dax.image.recreate_from makes any product of this library again."
        )
