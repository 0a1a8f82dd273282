"""Inputs on the pixels of a coadd."""

from __future__ import annotations

__all__ = (
    "RESULT_PLANES",
    "find_planes",
    "find_schema",
    "make_warp",
    "name_planes",
    "to_mask",
    "to_nanojansky",
    "to_words",
)

from collections.abc import Iterable

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import (
    Box,
    Image,
    Mask,
    MaskedImage,
    MaskPlane,
    MaskSchema,
    get_legacy_deep_coadd_mask_planes,
    get_legacy_visit_image_mask_planes,
)

from ..errors import NoCoverageError, RequestError
from ..geometry import TargetGrid
from ..resampling import Kernel, MaskRule, MissingRule, resample
from .rules import MaskRules
from .warp import InputKey, Warp

_EDGE_PLANE = MaskPlane("SENSOR_EDGE", "The edge of an input crosses the pixel's surroundings.")
_MAX_PLANES = 32


def _known_planes() -> dict[str, MaskPlane]:
    """Return the planes of coadds and of visit images, by name; what coadds say of a plane counts."""
    planes = [
        *get_legacy_visit_image_mask_planes().values(),
        _EDGE_PLANE,
        *get_legacy_deep_coadd_mask_planes().values(),
    ]
    return {plane.name: plane for plane in planes}


RESULT_PLANES: tuple[str, ...] = (
    *(plane.name for plane in get_legacy_deep_coadd_mask_planes().values()),
    _EDGE_PLANE.name,
)
"""Planes that every coadd has, in their order."""


def find_planes(names: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the planes of a coadd's mask: the same for all regions and inputs.

    Parameters
    ----------
    names
        Planes that its rules name.

    Returns
    -------
    planes
        Those of `RESULT_PLANES`, those of the observatory's visit images, and
        what is new in ``names``.

    Raises
    ------
    RequestError
        Raised if there are more than 32.
    """
    visit = (plane.name for plane in get_legacy_visit_image_mask_planes().values())
    planes = tuple(dict.fromkeys((*RESULT_PLANES, *visit, *names)))
    if len(planes) > _MAX_PLANES:
        raise RequestError(
            f"A coadd has at most {_MAX_PLANES} mask planes; these are {len(planes)}: {planes}."
        )
    return planes


def name_planes(masks: MaskRules) -> tuple[str, ...]:
    """Return the planes that rules name."""
    return (*masks.bad_planes, *(name for name, _ in masks.propagate))


def find_schema(planes: Iterable[str]) -> MaskSchema:
    """Return the schema of the mask of a coadd.

    Parameters
    ----------
    planes
        Names of the planes, in the order of their bits.

    Returns
    -------
    schema
        With the observatory's descriptions where it has some.
    """
    known = _known_planes()
    return MaskSchema([known.get(name, MaskPlane(name, f"{name} of an input.")) for name in planes])


def to_words(mask: Mask, planes: tuple[str, ...]) -> NDArray[np.uint32]:
    """Return a mask as one word per pixel.

    Parameters
    ----------
    mask
        Mask.
    planes
        Names of the bits of the words; what the mask has beyond them is left
        out.

    Returns
    -------
    words
        Shape (rows, columns).
    """
    bits = {name: index for index, name in enumerate(planes)}
    little = np.dtype(mask.schema.dtype).newbyteorder("<")
    octets = np.ascontiguousarray(mask.array, little).view(np.uint8).reshape(*mask.array.shape[:2], -1)
    n_bits = 8 * little.itemsize
    tables = np.zeros((octets.shape[2], 256), np.uint32)
    values = np.arange(256)
    for place, plane in enumerate(mask.schema):
        if plane is None or plane.name not in bits:
            continue
        octet = (place // n_bits) * little.itemsize + (place % n_bits) // 8
        tables[octet][(values >> (place % n_bits % 8)) & 1 == 1] |= np.uint32(1 << bits[plane.name])
    words = np.zeros(octets.shape[:2], np.uint32)
    for index, table in enumerate(tables):
        if table.any():
            words |= table[octets[..., index]]
    return words


def to_mask(words: NDArray[np.uint32], bbox: Box, planes: tuple[str, ...]) -> Mask:
    """Return words as a mask.

    Parameters
    ----------
    words
        Shape (rows, columns).
    bbox
        Pixels.
    planes
        Names of the bits.

    Returns
    -------
    mask
        The mask.
    """
    schema = find_schema(planes)
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(*words.shape, 4)
    return Mask(np.ascontiguousarray(octets[..., : schema.mask_size]), schema=schema, bbox=bbox)


def make_warp(
    image: MaskedImage,
    grid: TargetGrid,
    *,
    key: InputKey,
    planes: tuple[str, ...],
    weight: float,
    kernel: Kernel = Kernel.LANCZOS3,
) -> Warp | None:
    """Resample an input, or the part of it that is needed, onto pixels of a coadd.

    Parameters
    ----------
    image
        Pixels of the input in nJy, with its sky projection.
    grid
        Pixels of the coadd.
    key
        Which image it is.
    planes
        Names of the mask planes that are kept.
    weight
        Weight of the input.
    kernel
        Kernel.

    Returns
    -------
    warp
        The input; `None` if it gives no pixel a value.

    Raises
    ------
    InputDataError
        Raised if the image has no sky projection.

    Notes
    -----
    Fluxes are kept: nJy per pixel of the input become nJy per pixel of the
    coadd.  The mask is that of the four nearest pixels, and that of the plane
    DETECTION_EDGE of all pixels of the kernel.
    """
    try:
        resampled = resample(
            image, grid, kernel=kernel, mask_rule=MaskRule.ANY, missing_rule=MissingRule.FOOTPRINT
        )
    except NoCoverageError:
        return None
    found = resampled.masked_image
    values, variance = found.image.array, found.variance.array
    # A variance that is infinite or not known says that the pixel is not known.
    unknown = ~np.isfinite(values) | ~np.isfinite(variance)
    words = to_words(found.mask, planes)
    if unknown.any():
        values, variance = values.copy(), variance.copy()
        values[unknown] = variance[unknown] = np.nan
        words[unknown] |= np.uint32(1 << planes.index("NO_DATA"))
    return Warp(key, grid.bbox, values, variance, words, planes, weight)


def to_nanojansky(image: MaskedImage, factor: float | NDArray[np.float64]) -> MaskedImage:
    """Return an image with values in nJy.

    Parameters
    ----------
    image
        Image in any unit.
    factor
        What to multiply its values by, one number or one per pixel.

    Returns
    -------
    image
        New image, without what is no plane of pixels.
    """
    return MaskedImage(
        Image(np.asarray(image.image.array * factor, np.float32), bbox=image.bbox, unit=u.nJy),
        mask=image.mask,
        variance=Image(
            np.asarray(image.variance.array * np.square(factor), np.float32), bbox=image.bbox, unit=u.nJy**2
        ),
        sky_projection=image.sky_projection,
    )
