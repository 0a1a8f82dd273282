"""The part of an `lsst.images` JSON tree that describes pixels."""

from __future__ import annotations

__all__ = ("ArrayReference", "PixelTree", "parse_tree")

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import astropy.units as u
import numpy as np
import pydantic
import starlink.Ast

from lsst.images import (
    Box,
    ImageSerializationModel,
    MaskSchema,
    MaskSerializationModel,
    SkyProjection,
    SkyProjectionSerializationModel,
)
from lsst.images.fits import PointerModel
from lsst.images.serialization import (
    ArchiveAccessRequiredError,
    ArchiveReadError,
    ArrayReferenceModel,
    ArrayReferenceQuantityModel,
    DetachedArchive,
    MetadataValue,
)

from ..errors import InputDataError
from ._ast_rules import check_ast_text
from .sources import UnsupportedContainerError

_SCHEMA_URL = re.compile(r"https://images\.lsst\.io/schemas/(\w+)-(\d+)\.\d+\.\d+$")
_SOURCE = re.compile(r"fits:(?P<name>[\w/\-]+)(,(?P<version>\d{1,9}))?$")
_MAX_AXIS = 10**6
_MAX_PIXELS = 2**32

# What lsst.images and AST raise on a map to the sky that makes no sense.
_NO_MAP = (
    starlink.Ast.AstError,
    ArchiveReadError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)


class _MaskedImageTree(pydantic.BaseModel):
    """What all trees with three planes have in common."""

    min_read_version: int = 1
    image: ImageSerializationModel[PointerModel]
    mask: MaskSerializationModel[PointerModel]
    variance: ImageSerializationModel[PointerModel]
    sky_projection: SkyProjectionSerializationModel[PointerModel] | None = None
    metadata: dict[str, MetadataValue] = {}  # pydantic copies it


_MODELS: Final[Mapping[str, type[pydantic.BaseModel]]] = MappingProxyType(
    {
        "visit_image": _MaskedImageTree,
        "difference_image": _MaskedImageTree,
        "cell_coadd": _MaskedImageTree,
        "masked_image": _MaskedImageTree,
        "image": ImageSerializationModel[PointerModel],
        "mask": MaskSerializationModel[PointerModel],
    }
)


@dataclass(frozen=True)
class ArrayReference:
    """Where the tree says that an array is, and what it is like."""

    name: str
    """EXTNAME of the HDU."""

    version: int
    """EXTVER of the HDU."""

    shape: tuple[int, int]
    """Rows and columns."""

    datatype: str
    """Name of the numpy type."""


@dataclass(frozen=True, eq=False)
class PixelTree:
    """What the JSON tree of a file says about its pixels."""

    kind: str
    """Name of the schema: ``visit_image``, ``cell_coadd``, ``image``, ..."""

    image: ImageSerializationModel[PointerModel] | None
    mask: MaskSerializationModel[PointerModel] | None
    variance: ImageSerializationModel[PointerModel] | None

    metadata: Mapping[str, MetadataValue]
    """Metadata of the whole."""

    projection_model: SkyProjectionSerializationModel[PointerModel] | None
    """Map to the sky in its stored form."""

    arrays: Mapping[str, tuple[ArrayReference, ...]]
    """Arrays of each plane; a mask of many planes has several."""

    bbox: Box
    """Pixels of the image."""

    @cached_property
    def sky_projection(self) -> SkyProjection[Any] | None:
        """Map between pixels and ICRS, where there is one.

        Raises
        ------
        InputDataError
            Raised if what is stored is no map to the sky.
        UnsupportedContainerError
            Raised if part of it lies elsewhere in the file.
        """
        if self.projection_model is None:
            return None
        for text in _ast_texts(self.projection_model):
            check_ast_text(text)
        try:
            projection: SkyProjection[Any] = self.projection_model.deserialize(DetachedArchive())
        except ArchiveAccessRequiredError as error:
            raise UnsupportedContainerError(f"The sky projection is not in one piece: {error}") from error
        except _NO_MAP as error:
            raise InputDataError(
                f"The stored sky projection is no map to the sky: {type(error).__name__}: {error}"
            ) from error
        return projection

    @cached_property
    def mask_schema(self) -> MaskSchema:
        """Planes of the mask.

        Raises
        ------
        UnsupportedContainerError
            Raised if there is no mask.
        InputDataError
            Raised if the type of the mask is no integer.
        """
        if self.mask is None:
            raise UnsupportedContainerError(f"A file of {self.kind} has no mask.")
        try:
            return MaskSchema(self.mask.planes, dtype=self.mask.dtype.to_numpy())
        except (TypeError, ValueError) as error:
            raise InputDataError(f"The stored mask schema makes no sense: {error}") from error

    def unit(self, plane: str) -> u.UnitBase | None:
        """Return the unit of ``image`` or ``variance``.

        Parameters
        ----------
        plane
            Which of them.

        Returns
        -------
        unit
            None where the file names none.
        """
        model = self.image if plane == "image" else self.variance
        return None if model is None else model.unit


def parse_tree(schema_url: str, json: bytes) -> PixelTree:
    """Parse the JSON tree of a file.

    Parameters
    ----------
    schema_url
        What the primary header says the tree is.
    json
        The tree, UTF-8.

    Returns
    -------
    tree
        The part that describes the pixels.

    Raises
    ------
    UnsupportedContainerError
        Raised if this reader does not know the schema, or the pixels are
        stored in an unusual way.
    InputDataError
        Raised if the tree contradicts its schema.
    """
    url = _SCHEMA_URL.match(schema_url)
    model_type = _MODELS.get(url[1]) if url else None
    if url is None or model_type is None or url[2] != "1":
        raise UnsupportedContainerError(f"Files of schema {schema_url!r} are not known.")
    try:
        model = model_type.model_validate_json(json)
    except ArchiveReadError as error:
        raise UnsupportedContainerError(f"The JSON tree is of another time: {error}") from error
    except (pydantic.ValidationError, *_NO_MAP, RecursionError) as error:
        # The first lines name the place; the rest repeats the whole input.
        lines = str(error).splitlines()[:3]
        raise InputDataError(f"The JSON tree contradicts schema {url[1]}: {' '.join(lines)}") from error
    return _make_tree(url[1], model)


def _ast_texts(model: SkyProjectionSerializationModel[PointerModel]) -> Iterator[str]:
    """Yield the texts of the AST objects of a map to the sky."""
    for transform in (model.pixel_to_sky, model.fits_approximation):
        for mapping in [] if transform is None else transform.mappings:
            if not isinstance(mapping, PointerModel):
                yield mapping.ast


def _make_tree(kind: str, model: pydantic.BaseModel) -> PixelTree:
    """Gather what is needed from a validated tree."""
    image = mask = variance = None
    projection = getattr(model, "sky_projection", None)
    if isinstance(model, _MaskedImageTree):
        if model.min_read_version > 1:
            raise UnsupportedContainerError(f"The tree needs a reader of version {model.min_read_version}.")
        image, mask, variance = model.image, model.mask, model.variance
        if any(plane.sky_projection is not None for plane in (image, mask, variance)):
            raise UnsupportedContainerError("A plane has a sky projection of its own.")
    elif isinstance(model, ImageSerializationModel):
        image = model
    elif isinstance(model, MaskSerializationModel):
        mask = model
    arrays: dict[str, tuple[ArrayReference, ...]] = {}
    boxes: dict[str, Box] = {}
    for name, plane in (("image", image), ("variance", variance)):
        if plane is not None:
            arrays[name] = (_reference(plane.data),)
            boxes[name] = _box(plane.yx0, arrays[name][0].shape)
    if mask is not None:
        arrays["mask"] = tuple(_reference(data) for data in mask.data)
        if len({array.shape for array in arrays["mask"]}) != 1:
            raise InputDataError(f"The arrays of the mask have different shapes: {arrays['mask']}.")
        boxes["mask"] = _box(mask.yx0, arrays["mask"][0].shape)
    bbox = next(iter(boxes.values()))
    if any(box != bbox for box in boxes.values()):
        raise InputDataError(f"The planes cover different pixels: {boxes}.")
    metadata: Mapping[str, MetadataValue] = getattr(model, "metadata", {})
    return PixelTree(kind, image, mask, variance, metadata, projection, arrays, bbox)


def _reference(data: Any) -> ArrayReference:
    """Return where an array is."""
    if isinstance(data, ArrayReferenceQuantityModel):
        data = data.value
    if not isinstance(data, ArrayReferenceModel):
        raise UnsupportedContainerError("The pixels stand in the JSON tree itself.")
    source = _SOURCE.match(data.source) if isinstance(data.source, str) else None
    if source is None or len(data.shape) != 2:
        raise UnsupportedContainerError(f"An array at {data.source!r} of shape {data.shape} is unusual.")
    ny, nx = data.shape
    if not (0 < ny <= _MAX_AXIS and 0 < nx <= _MAX_AXIS and ny * nx <= _MAX_PIXELS):
        raise InputDataError(f"The JSON tree says that an image has shape {data.shape}.")
    datatype = np.dtype(data.datatype.to_numpy()).name
    return ArrayReference(source["name"].upper(), int(source["version"] or 1), (ny, nx), datatype)


def _box(yx0: list[int], shape: tuple[int, int]) -> Box:
    """Return the pixels of an array."""
    if len(yx0) != 2 or any(abs(start) > 2**40 for start in yx0):
        raise InputDataError(f"The JSON tree says that an image begins at {yx0}.")
    return Box.from_shape(shape, start=yx0)
