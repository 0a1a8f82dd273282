"""Make any product again from what its file says of how it was made."""

from __future__ import annotations

__all__ = ("recreate_from",)

import json
from typing import TYPE_CHECKING

from .errors import InputDataError, UnsupportedProductError

if TYPE_CHECKING:
    from lsst.images import VisitImage
    from lsst.resources import ResourcePathExpression

    from .coadds import Coadd
    from .repository import ButlerLike

_KEY = "DAX_IMAGE RECIPE"


def recreate_from(
    file: ResourcePathExpression, butler: ButlerLike, *, max_pixels: int | None = None
) -> VisitImage | Coadd:
    """Make a product again from what its file says of how it was made.

    Parameters
    ----------
    file
        File of a product of this library; its pixels are not read.
    butler
        Butler of the repository that has the inputs.
    max_pixels
        Largest number of pixels that is allowed; if `None`, what the room of
        the product allows.

    Returns
    -------
    product
        The same pixels: a `~lsst.images.VisitImage`, `~lsst.images.DifferenceImage`
        or `~lsst.dax.image.coadds.Coadd`.

    Raises
    ------
    UnsupportedProductError
        Raised if the file says nothing, or names a product that is not known.
    InputDataError
        Raised if the file is not readable, or what it says is damaged.
    DatasetNotFoundError
        Raised if the repository lacks an input.
    RequestTooLargeError
        Raised if there are more pixels than are allowed.

    Notes
    -----
    The functions of the same name in `lsst.dax.image.recreation` and
    `lsst.dax.image.coadds` do the work, and have the options of their rooms.
    """
    # The rooms bring numba, which the import of the package must not.
    from lsst.resources import ResourcePath  # noqa: PLC0415

    from . import coadds, recreation  # noqa: PLC0415
    from .repository import read_metadata  # noqa: PLC0415

    uri = ResourcePath(file, forceDirectory=False)
    text = read_metadata(uri).get(_KEY)
    if text is None:
        raise UnsupportedProductError(
            f"{uri} has no {_KEY!r} in its metadata: it is no product of this library."
        )
    try:
        product = json.loads(str(text))["product"]
    except (ValueError, LookupError, TypeError) as error:
        raise InputDataError(f"What {uri} says of how it was made is damaged: {error!r}") from error
    if product == "coadd":
        limit = coadds.MAX_PIXELS if max_pixels is None else max_pixels
        return coadds.recreate_from(uri, butler, max_pixels=limit)
    if product == "visit_image":
        return recreation.recreate_from(uri, butler, max_pixels=max_pixels)
    if product == "difference_image":
        return recreation.recreate_difference_from(uri, butler, max_pixels=max_pixels)
    raise UnsupportedProductError(
        f"{uri} is a {product!r}; a 'coadd', 'visit_image' and 'difference_image' can be made again."
    )
