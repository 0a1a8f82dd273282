"""How much of an image a cutout holds."""

from __future__ import annotations

__all__ = ("Detail",)

import enum

from lsst.images import GeneralizedImage, Image, Mask, MaskedImage

from ..errors import UnsupportedProductError


class Detail(enum.Enum):
    """What to keep of an image, as far as the image has it.

    An image that is a single plane, such as a plain FITS image or the
    component ``visit_image.variance``, is that plane under every detail.
    """

    IMAGE = "image"
    """The image plane."""

    MASKED_IMAGE = "masked_image"
    """Image, mask and variance."""

    FULL = "full"
    """Everything that the persisted type has, such as the PSF."""


def keep_detail(image: GeneralizedImage, detail: Detail) -> Image | Mask | MaskedImage:
    """Return an image reduced to a detail; the pixels are shared.

    Parameters
    ----------
    image
        Image in memory.
    detail
        What to keep.

    Returns
    -------
    reduced
        An `~lsst.images.Image`, a `~lsst.images.MaskedImage`, or ``image``.

    Raises
    ------
    UnsupportedProductError
        Raised if this is no image, mask or masked image.
    """
    if not isinstance(image, Image | Mask | MaskedImage):
        raise UnsupportedProductError(f"A {type(image).__name__} is not an image with pixels to cut.")
    if isinstance(image, Image | Mask) or detail is Detail.FULL:
        return image
    if detail is Detail.IMAGE:
        return image.image
    return MaskedImage(image.image, mask=image.mask, variance=image.variance)
