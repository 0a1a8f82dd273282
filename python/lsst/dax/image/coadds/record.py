"""What a coadd was made from, as a value that its file carries."""

from __future__ import annotations

__all__ = ("RECORD_KEY", "CoaddRecord", "RecordedInput", "read_coadd_record")

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import pydantic

from lsst.images import YX, Box, SkyProjection, SkyProjectionSerializationModel
from lsst.images.cells import PatchDefinition
from lsst.images.json import JsonInputArchive, JsonOutputArchive

from ..errors import InputDataError, UnsupportedProductError
from ..geometry import TargetGrid
from ._cells import CellLayout
from .recipe import Recipe
from .warp import InputKey

RECORD_KEY = "DAX_IMAGE RECIPE"
"""Key of the metadata of an image that holds, as JSON text, what it was made from."""


class RecordedInput(pydantic.BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """One image that went into a coadd."""

    id: UUID
    """Dataset."""

    dataset_type: str
    """Its type."""

    instrument: str
    """Instrument."""

    visit: int
    """Visit."""

    detector: int
    """Detector."""

    band: str
    """Band."""

    physical_filter: str
    """Filter."""

    day_obs: int
    """Night as a number, YYYYMMDD."""

    weight: float = pydantic.Field(gt=0)
    """Weight of the whole input."""

    effective_time_s: float | None = pydantic.Field(ge=0)
    """Effective exposure time in seconds; `None` where its file does not say it."""

    rank: float = 0.0
    """What the best visits are the best in; smaller is better."""

    @property
    def key(self) -> InputKey:
        """Which image it is."""
        return InputKey(self.instrument, self.visit, self.detector, self.id)


class CoaddRecord(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Recipe, pixels and inputs of a coadd; the same record gives the same pixels.

    Notes
    -----
    ``record.model_dump_json()`` and `CoaddRecord.model_validate_json` go to
    JSON and back.
    """

    product: Literal["coadd"] = "coadd"
    """What is made."""

    software: str
    """Library and version that wrote the record."""

    recipe: Recipe
    """What was asked for."""

    projection: str
    """Projection of the pixels, as `lsst.images` writes it to JSON."""

    bbox: tuple[int, int, int, int]
    """Pixels: x, y, width and height."""

    cell_px: int
    """Side of a cell."""

    padding_px: int
    """Width around a cell that was made as well."""

    anchor: tuple[int, int]
    """Pixel (x, y) of the corner of a cell."""

    patch: PatchDefinition | None
    """Patch that the pixels lie in, if they lie in one."""

    inputs: tuple[RecordedInput, ...]
    """Images in the order in which they were combined."""

    @cached_property
    def grid(self) -> TargetGrid:
        """Pixels and projection."""
        x, y, width, height = self.bbox
        box = Box.factory[y : y + height, x : x + width]
        return TargetGrid(parse_projection(self.projection), box)

    @property
    def layout(self) -> CellLayout:
        """Cells of the pixels."""
        x, y = self.anchor
        return CellLayout(self.cell_px, self.padding_px, YX(y=y, x=x))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the inputs, sorted."""
        return tuple(sorted({item.band for item in self.inputs}))


def write_projection(projection: SkyProjection[Any]) -> str:
    """Return a projection as JSON; equal projections give equal texts."""
    text: str = projection.serialize(JsonOutputArchive()).model_dump_json()
    return text


def parse_projection(text: str) -> SkyProjection[Any]:
    """Return the projection of what `write_projection` returned."""
    model = SkyProjectionSerializationModel.model_validate_json(text)  # type: ignore[var-annotated]
    projection: SkyProjection[Any] = model.deserialize(JsonInputArchive([]))
    return projection


def read_coadd_record(metadata: Mapping[str, Any]) -> CoaddRecord:
    """Return what the metadata of a coadd say that it was made from.

    Parameters
    ----------
    metadata
        Metadata of an image.

    Returns
    -------
    record
        The record.

    Raises
    ------
    UnsupportedProductError
        Raised if there is none: it is no coadd of this library.
    InputDataError
        Raised if the record is damaged, or of a later version of the library.
    """
    text = metadata.get(RECORD_KEY)
    if text is None:
        raise UnsupportedProductError(
            f"The image has no {RECORD_KEY!r} in its metadata, so it is no coadd of this library."
        )
    try:
        return CoaddRecord.model_validate_json(str(text))
    except pydantic.ValidationError as error:
        raise InputDataError(f"What the coadd says it was made from is not usable: {error}") from error
