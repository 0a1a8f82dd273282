"""Small versions of a mosaic."""

from __future__ import annotations

__all__ = ("make_preview",)

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RequestError
from ._plan import BLOCK

_LARGEST_SIDE = 2048


def find_preview_factor(shape: tuple[int, int]) -> int:
    """Return by how many pixels along each axis one of a preview is made.

    Parameters
    ----------
    shape
        Rows and columns of the mosaic.

    Returns
    -------
    factor
        The power of two that makes the longer side 2048 at most; no more than
        a block has, so that no pixel of a preview lies in two blocks.
    """
    factor = 1
    while factor < BLOCK and -(-max(shape) // factor) > _LARGEST_SIDE:
        factor *= 2
    return factor


def make_preview(image: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Average an image over squares of pixels.

    Parameters
    ----------
    image
        Values, shape ``(ny, nx)``; what is not finite does not count.
    factor
        Pixels along each side of a square, counted from the corner.

    Returns
    -------
    preview
        Means, shape ``(ceil(ny / factor), ceil(nx / factor))``; NaN where
        there is no value.

    Raises
    ------
    RequestError
        Raised if the image has not two axes, or the factor is below one.
    """
    if factor < 1 or image.ndim != 2:
        raise RequestError(f"An image of shape {image.shape} has no previews by a factor of {factor}.")
    shape = (-(-image.shape[0] // factor), -(-image.shape[1] // factor))
    missing = [(0, n * factor - size) for n, size in zip(shape, image.shape, strict=True)]
    padded = np.pad(image.astype(np.float64), missing, constant_values=np.nan)
    squares = padded.reshape(shape[0], factor, shape[1], factor)
    has_value = np.isfinite(squares)
    count = has_value.sum(axis=(1, 3))
    total = np.where(has_value, squares, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
