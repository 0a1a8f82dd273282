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
        return _low_bytes(stored[0], schema.bitmask(*schema.names))
    mask = Mask(0, schema=schema, shape=stored[0].shape)
    for array, part in zip(stored, parts, strict=True):
        mask.update(Mask(array[:, :, np.newaxis], schema=part))
    whole: NDArray[Any] = mask.array
    return whole


def _low_bytes(stored: NDArray[Any], bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the lowest bytes of integers, with the bits that are known.

    A pixel is handled at once, not byte by byte, which is eight times faster.
    """
    count = len(bits)
    size = 4 if count == 3 else count
    known = np.frombuffer(bits.tobytes().ljust(size, b"\0"), f"<u{size}")[0]
    words = stored.astype("<i4", copy=False).view(f"<u{size}").reshape(*stored.shape, 4 // size)[..., 0]
    octets = (words & known).view(np.uint8).reshape(*stored.shape, size)
    return octets if count == size else np.ascontiguousarray(octets[..., :count])
