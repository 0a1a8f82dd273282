"""The pixel planes of a stamp as plain arrays."""

from __future__ import annotations

__all__ = ("PSF", "pack_mask", "split_planes")

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Image, Mask, MaskedImage

from ...errors import UnsupportedProductError
from .._stamps import Stamp

PSF = "psf"
"""Name of the plane that a stamp may lack though others have it, and that has
pixels of its own."""


def split_planes(stamp: Stamp) -> dict[str, Image | Mask]:
    """Return the planes of a stamp with pixels by name.

    Parameters
    ----------
    stamp
        Stamp with pixels.

    Returns
    -------
    planes
        ``image``, ``mask`` and ``variance``, or what there is of them, and
        ``psf`` if the stamp has one.  The further components of a
        `VisitImage` and its like are no planes.

    Raises
    ------
    UnsupportedProductError
        Raised if the pixels are neither an image nor a mask, or are not real
        numbers.
    """
    image = stamp.image
    planes: dict[str, Image | Mask]
    if isinstance(image, MaskedImage):
        planes = {"image": image.image, "mask": image.mask, "variance": image.variance}
    elif isinstance(image, Image):
        planes = {"image": image}
    elif isinstance(image, Mask):
        planes = {"mask": image}
    else:
        raise UnsupportedProductError(f"A {type(image).__name__} has no image, mask or variance to store.")
    if stamp.psf is not None:
        planes[PSF] = stamp.psf
    for name, plane in planes.items():
        if plane.array.dtype.kind not in "fiub":
            raise UnsupportedProductError(
                f"The {name} of stamp {stamp.index} has pixels of {plane.array.dtype}; real "
                f"numbers can be stored."
            )
    return planes


def pack_mask(mask: Mask, names: Sequence[str], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a mask as one integer per pixel.

    Parameters
    ----------
    mask
        Mask.
    names
        Names of the planes, for the bits from 0.  Each plane of the mask must
        be among them.
    dtype
        Type of the integers, with a bit for each name.

    Returns
    -------
    packed
        New array, shape ``(ny, nx)``.
    """
    packed = np.zeros(mask.array.shape[:2], dtype)
    for number, name in enumerate(names):
        if name in mask.schema.names:
            bit = mask.schema.bit(name)
            is_set = (mask.array[..., bit.index] & bit.mask) != 0
            packed |= is_set.astype(dtype) << dtype.type(number)
    return packed
