"""From the integers of a stored mask to the bytes of a mask in memory."""

from __future__ import annotations

__all__ = ("unpack_mask",)

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Mask, MaskSchema

from ..errors import InputDataError


def unpack_mask(stored: Sequence[NDArray[Any]], schema: MaskSchema) -> NDArray[Any]:
    """Arrange the bits of a stored mask as its schema has them in memory.

    Parameters
    ----------
    stored
        Arrays of the file, of shape ``(ny, nx)``, each with up to 31 planes.
    schema
        Planes of the mask, and their type in memory.

    Returns
    -------
    mask
        Shape ``(ny, nx, schema.mask_size)``; bits of no plane are 0.

    Raises
    ------
    InputDataError
        Raised if the number of arrays is not that of the schema.
    """
    parts = schema.split(np.int32)
    if len(parts) != len(stored):
        raise InputDataError(
            f"A mask of {len(schema)} planes is stored in {len(parts)} arrays, but there are {len(stored)}."
        )
    # Planes without gaps have the same bits in both orders of bytes.
    if schema.dtype == np.uint8 and len(stored) == 1 and None not in tuple(schema):
        little = stored[0].astype("<i4", copy=False)
        octets = little.view(np.uint8).reshape(*little.shape, 4)[..., : schema.mask_size]
        packed: NDArray[Any] = octets & schema.bitmask(*schema.names)
        return packed
    mask = Mask(0, schema=schema, shape=stored[0].shape)
    for array, part in zip(stored, parts, strict=True):
        mask.update(Mask(array[:, :, np.newaxis], schema=part))
    whole: NDArray[Any] = mask.array
    return whole
