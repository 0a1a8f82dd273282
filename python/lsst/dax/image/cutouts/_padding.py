"""Pixels for the part of a box that lies off the image."""

from __future__ import annotations

__all__ = ("NO_DATA", "paste_into")

from functools import singledispatch

import numpy as np

from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage, MaskPlane

from ..errors import UnsupportedProductError

NO_DATA = MaskPlane("NO_DATA", "The image has no pixel here.")


@singledispatch
def paste_into(image: GeneralizedImage, bbox: Box) -> GeneralizedImage:
    """Return a larger image around an image.

    Parameters
    ----------
    image
        Image, mask or masked image.  Not modified.
    bbox
        Box of the result; must contain the image's box.

    Returns
    -------
    padded
        Image and variance are NaN off the image; the mask has the plane
        ``NO_DATA`` set there, which is added where it is missing.  Integer
        pixels become floating point: 32 bits for up to 16 bits, else 64.

    Raises
    ------
    UnsupportedProductError
        Raised for images with further components, such as a PSF, whose domain
        ends with the image.
    """
    raise UnsupportedProductError(
        f"A {type(image).__name__} of {image.bbox} cannot be padded to {bbox}: its further components end "
        f"with the image.  Pad an image or a masked image, or clip."
    )


@paste_into.register
def _(image: Image, bbox: Box) -> Image:
    dtype = image.array.dtype
    if dtype.kind not in "fc":
        dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    pixels = np.full(bbox.shape, np.nan, dtype=dtype)
    slices = image.bbox.slice_within(bbox)
    pixels[slices.y, slices.x] = image.array
    return Image(pixels, bbox=bbox, unit=image.unit, sky_projection=image.sky_projection)


@paste_into.register
def _(mask: Mask, bbox: Box) -> Mask:
    if NO_DATA.name not in mask.schema.names:
        mask = mask.add_planes([NO_DATA])
    padded = Mask(schema=mask.schema, bbox=bbox, sky_projection=mask.sky_projection)
    outside = np.ones(bbox.shape, dtype=bool)
    slices = mask.bbox.slice_within(bbox)
    outside[slices.y, slices.x] = False
    padded[mask.bbox] = mask
    padded.set(NO_DATA.name, outside)
    return padded


@paste_into.register
def _(masked_image: MaskedImage, bbox: Box) -> GeneralizedImage:
    if type(masked_image) is not MaskedImage:
        return paste_into.dispatch(GeneralizedImage)(masked_image, bbox)
    return MaskedImage(
        paste_into(masked_image.image, bbox),
        mask=paste_into(masked_image.mask, bbox),
        variance=paste_into(masked_image.variance, bbox),
    )
