"""Masks as one word per pixel."""

from __future__ import annotations

__all__ = ("MaskWords",)

import sys
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lsst.images import Mask, MaskPlane, MaskSchema

from .._kernels.resample_mask_nb import find_mask_blocks, pack_mask, unpack_mask
from .._kernels.resample_vectors_nb import TILE
from ..errors import UnsupportedProductError

NO_DATA = MaskPlane("NO_DATA", "No data was available for this pixel.")

GROWN_PLANES = ("DETECTION_EDGE",)
"""Planes that a target pixel takes from all pixels of the kernel, as the observatory's warps do."""

_WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)

type Words = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class MaskWords:
    """A mask with all planes of a pixel in one word, and room for NO_DATA."""

    schema: MaskSchema
    """Planes of the target: those of the source, and NO_DATA."""

    words: Words
    """One word per pixel of the source."""

    no_data: np.unsignedinteger[Any]
    """Bit of NO_DATA."""

    grown: np.unsignedinteger[Any]
    """Bits of `GROWN_PLANES`."""

    @classmethod
    def from_mask(cls, mask: Mask) -> Self:
        """Pack a mask.

        Parameters
        ----------
        mask
            Mask of the source.

        Returns
        -------
        words
            The same mask.

        Raises
        ------
        UnsupportedProductError
            Raised if 64 bits cannot hold the planes.
        """
        schema = mask.schema
        if NO_DATA.name not in schema.names:
            schema = MaskSchema([*schema, NO_DATA], dtype=schema.dtype)
        n_bytes = schema.mask_size * schema.dtype.itemsize
        if n_bytes > 8:
            raise UnsupportedProductError(
                f"The mask has {len(schema)} planes in {n_bytes} bytes; at most 8 bytes can be resampled."
            )
        kind = next(kind for kind in _WORDS if np.dtype(kind).itemsize >= n_bytes)
        present = [name for name in GROWN_PLANES if name in schema.names]
        return cls(
            schema=schema,
            words=_pack(mask.array, kind),
            no_data=_pack(schema.bitmask(NO_DATA.name)[None, None], kind)[0, 0],
            grown=_pack(schema.bitmask(*present)[None, None], kind)[0, 0],
        )

    def find_blocks(self, words: Words) -> Words:
        """Find the bits that are set anywhere in each tile of the source.

        Parameters
        ----------
        words
            The source's words, perhaps padded.

        Returns
        -------
        blocks
            One word per tile.
        """
        blocks = np.zeros((-(-words.shape[0] // TILE), -(-words.shape[1] // TILE)), words.dtype)
        find_mask_blocks(words, blocks)
        return blocks

    def to_array(self, words: Words) -> NDArray[np.integer[Any]]:
        """Unpack the words of a target.

        Parameters
        ----------
        words
            One word per pixel.

        Returns
        -------
        array
            Array of a mask with this schema.
        """
        n_bytes = self.schema.mask_size * self.schema.dtype.itemsize
        if n_bytes == words.dtype.itemsize and sys.byteorder == "little":
            out = words.view(np.uint8).reshape(*words.shape, n_bytes)
        else:
            out = np.empty((*words.shape, n_bytes), np.uint8)
            unpack_mask(words, out)
        return out.view(self.schema.dtype)


def _pack(array: NDArray[np.integer[Any]], kind: type[np.unsignedinteger[Any]]) -> Words:
    """Pack the elements of a mask array, shape (ny, nx, n), into words."""
    octets = np.ascontiguousarray(array).view(np.uint8)
    if octets.shape[-1] == np.dtype(kind).itemsize and sys.byteorder == "little":
        return octets.view(kind)[..., 0]
    words = np.zeros(octets.shape[:2], kind)
    pack_mask(octets, words)
    return words
