"""Pixels for the part of a box that lies off the image."""

from __future__ import annotations

__all__ = ("NO_DATA", "paste_into")

import numpy as np

from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane

from ..errors import UnsupportedProductError

NO_DATA = MaskPlane("NO_DATA", "The image has no pixel here.")


def paste_into(image: Image | Mask | MaskedImage, bbox: Box) -> Image | Mask | MaskedImage:
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
    if isinstance(image, Image):
        return _paste_image(image, bbox)
    if isinstance(image, Mask):
        return _paste_mask(image, bbox)
    if type(image) is MaskedImage:
        return MaskedImage(
            _paste_image(image.image, bbox),
            mask=_paste_mask(image.mask, bbox),
            variance=_paste_image(image.variance, bbox),
        )
    raise UnsupportedProductError(
        f"A {type(image).__name__} of {image.bbox} cannot be padded to {bbox}: its further components end "
        f"with the image.  Pad an image or a masked image, or clip."
    )


def _paste_image(image: Image, bbox: Box) -> Image:
    """Return a larger image with NaN around the pixels."""
    dtype = image.array.dtype
    if dtype.kind not in "fc":
        dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    pixels = np.full(bbox.shape, np.nan, dtype=dtype)
    slices = image.bbox.slice_within(bbox)
    pixels[slices.y, slices.x] = image.array
    return Image(pixels, bbox=bbox, unit=image.unit, sky_projection=image.sky_projection)


def _paste_mask(mask: Mask, bbox: Box) -> Mask:
    """Return a larger mask with ``NO_DATA`` set around the pixels."""
    if NO_DATA.name not in mask.schema.names:
        mask = mask.add_planes([NO_DATA])
    padded = Mask(schema=mask.schema, bbox=bbox, sky_projection=mask.sky_projection)
    outside = np.ones(bbox.shape, dtype=bool)
    slices = mask.bbox.slice_within(bbox)
    outside[slices.y, slices.x] = False
    padded[mask.bbox] = mask
    padded.set(NO_DATA.name, outside)
    return padded
