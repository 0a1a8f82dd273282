"""The pixels that fluxes are measured on, as plain arrays."""

from __future__ import annotations

__all__ = ("BAD_PLANES", "Pixels", "extract_pixels")

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import (
    MaskedImage,
    get_legacy_deep_coadd_mask_planes,
    get_legacy_difference_image_mask_planes,
    get_legacy_visit_image_mask_planes,
)

from ..errors import RequestError

BAD_PLANES = ("NO_DATA", "BAD", "SATURATED", "COSMIC_RAY")
"""Mask planes whose pixels say nothing about a source; see `extract_pixels`."""


@dataclass(frozen=True)
class Pixels:
    """Image, variance and mask of one image."""

    image: NDArray[np.float32] | NDArray[np.float64]
    """Pixel values, shape ``(ny, nx)``, C-contiguous."""

    variance: NDArray[np.float32] | NDArray[np.float64]
    """Variance of the pixel values, shape ``(ny, nx)``."""

    mask: NDArray[np.uint8]
    """Mask planes as bits, shape ``(ny, nx, n_bytes)``."""

    drop: NDArray[np.uint8]
    """Bits whose pixels are left out, shape ``(n_bytes,)``."""

    x0: int
    """Column of the first pixel in parent pixels."""

    y0: int
    """Row of the first pixel in parent pixels."""

    drops_not_finite: bool = False
    """Whether pixels that are not finite are left out of sums over a model;
    else a flux with such a pixel is not finite either."""


def extract_pixels(image: MaskedImage, *, bad_planes: Iterable[str] = ()) -> Pixels:
    """Return the planes of an image as the arrays that kernels take.

    Parameters
    ----------
    image
        Image with variance and mask.  Not modified, and not copied where its
        arrays are contiguous.
    bad_planes
        Names of mask planes whose pixels are left out of all sums, and with
        them those that are not finite.  With none (the observatory's practice)
        every pixel is used, whatever its mask and value.  A plane that this
        image does not have is left out of nothing.

    Returns
    -------
    pixels
        The arrays.

    Raises
    ------
    RequestError
        Raised if a plane is neither of this image nor one that the
        observatory's images have.
    """
    schema = image.mask.schema
    wanted = list(bad_planes)
    if unknown := sorted(set(wanted) - _known_planes() - set(schema.names)):
        raise RequestError(f"No mask plane is named {unknown}; this image has {sorted(schema.names)}.")
    return Pixels(
        image=_as_floats(image.image.array),
        variance=_as_floats(image.variance.array),
        mask=np.ascontiguousarray(image.mask.array).view(np.uint8),
        drop=schema.bitmask(*(name for name in wanted if name in schema.names)).view(np.uint8),
        x0=image.bbox.x.start,
        y0=image.bbox.y.start,
        drops_not_finite=bool(wanted),
    )


def _as_floats(array: NDArray[Any]) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return an array that is contiguous and of native floats."""
    if array.dtype.newbyteorder("=") == np.float32:
        return np.ascontiguousarray(array, dtype=np.float32)
    return np.ascontiguousarray(array, dtype=np.float64)


def _known_planes() -> set[str]:
    """Return the names of all planes of the observatory's images."""
    return {
        plane.name
        for planes in (
            get_legacy_visit_image_mask_planes(),
            get_legacy_difference_image_mask_planes(),
            get_legacy_deep_coadd_mask_planes(),
        )
        for plane in planes.values()
    }
