"""The JSON tree of a file, which `lsst.images` reads an image's structure from.

The tree is put together by hand: through the models of `lsst.images` it takes
as long as the rest of a small file.  The tests compare it with theirs.
"""

from __future__ import annotations

__all__ = ("make_tree", "schema_url")

import json
from collections.abc import Sequence
from typing import Any

from lsst.images import (
    GeneralizedImage,
    Image,
    ImageSerializationModel,
    Mask,
    MaskedImage,
    MaskedImageSerializationModel,
    MaskSerializationModel,
)
from lsst.images.serialization import ArchiveTree

from ..errors import OutputError
from ._planes import Plane, unit_text

type _Node = dict[str, Any]


def make_tree(image: Image | Mask | MaskedImage, planes: Sequence[Plane], projection: bytes | None) -> bytes:
    """Return the tree of an image.

    Parameters
    ----------
    image
        Image.
    planes
        Its planes, in the order in which they are stored.
    projection
        Its sky projection as JSON, if it has one.

    Returns
    -------
    tree
        JSON text.

    Raises
    ------
    OutputError
        Raised if the image's metadata have values that JSON has not.
    """
    node: _Node
    if isinstance(image, MaskedImage):
        node = {
            "image": _image_node(image.image, planes[0]),
            "mask": _mask_node(image.mask, planes[1:-1]),
            "variance": _image_node(image.variance, planes[-1]),
        }
        node = _with_schema(MaskedImageSerializationModel, image, node)
    elif isinstance(image, Mask):
        node = _mask_node(image, planes)
    else:
        node = _image_node(image, planes[0])
    try:
        text = json.dumps(node, separators=(",", ":")).encode("ascii")
    except TypeError as error:
        raise OutputError(f"The metadata of the {type(image).__name__} cannot be written: {error}") from error
    return text if projection is None else b'%b,"sky_projection":%b}' % (text[:-1], projection)


def schema_url(image: Image | Mask | MaskedImage) -> str:
    """Return the URL of the schema of an image's tree.

    Parameters
    ----------
    image
        Image.

    Returns
    -------
    url
        Value of the card ``DATAMODL``.
    """
    if isinstance(image, MaskedImage):
        return _url_of(MaskedImageSerializationModel)
    return _url_of(MaskSerializationModel if isinstance(image, Mask) else ImageSerializationModel)


def _image_node(image: Image, plane: Plane) -> _Node:
    """Return the tree of one image plane."""
    data = _reference(plane)
    if image.unit is not None:
        data = {"value": data, "unit": unit_text(image.unit, "vounit")}
    return _with_schema(ImageSerializationModel, image, {"data": data, "yx0": list(image.bbox.start)})


def _mask_node(mask: Mask, planes: Sequence[Plane]) -> _Node:
    """Return the tree of a mask."""
    described = [
        None if plane is None else {"name": plane.name, "description": plane.description}
        for plane in mask.schema
    ]
    node = {
        "data": [_reference(plane) for plane in planes],
        "yx0": list(mask.bbox.start),
        "planes": described,
        "dtype": mask.schema.dtype.name,
    }
    return _with_schema(MaskSerializationModel, mask, node)


def _reference(plane: Plane) -> _Node:
    """Return the reference to the HDU of a plane."""
    pixels = plane.pixels
    return {
        "source": plane.source,
        "shape": list(pixels.shape),
        "datatype": pixels.dtype.name,
        "byteorder": "big",
    }


def _with_schema(model: type[ArchiveTree], image: GeneralizedImage, node: _Node) -> _Node:
    """Return the tree of an object with what every tree has."""
    metadata = dict(image.metadata.native)
    return {
        "schema_version": model.SCHEMA_VERSION,
        "min_read_version": model.MIN_READ_VERSION,
        **({"metadata": metadata} if metadata else {}),
        **node,
        "schema_url": _url_of(model),
    }


def _url_of(model: type[ArchiveTree]) -> str:
    return f"{model.SCHEMA_URL_BASE}/{model.SCHEMA_NAME}-{model.SCHEMA_VERSION}"
