"""The planes of an image that can be drawn."""

from __future__ import annotations

__all__ = ("find_image_plane", "find_mask_plane", "get_extent", "to_drawable")

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage


def find_image_plane(image: GeneralizedImage) -> Image | None:
    """Return the image plane of an image; `None` for a mask."""
    if isinstance(image, MaskedImage):
        return image.image
    return image if isinstance(image, Image) else None


def find_mask_plane(image: GeneralizedImage) -> Mask | None:
    """Return the mask of an image; `None` where it has none."""
    if isinstance(image, MaskedImage):
        return image.mask
    return image if isinstance(image, Mask) else None


def get_extent(bbox: Box) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the area of a box.

    Pictures use 0-based parent pixels with centres at integers as their data
    coordinates, so a pixel's area ends one half past its centre.
    """
    return bbox.x.min - 0.5, bbox.x.max + 0.5, bbox.y.min - 0.5, bbox.y.max + 0.5


def to_drawable(image: Image) -> NDArray[np.float64]:
    """Return pixel values as floating point, NaN where they are not finite."""
    values = image.array.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values
