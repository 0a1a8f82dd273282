"""The planes of an image as they are stored: one two-dimensional array per HDU."""

from __future__ import annotations

__all__ = ("Plane", "image_plane", "mask_planes", "unit_text")

import functools
from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import astropy.units
import numpy as np
from numpy.typing import NDArray

from lsst.images import Image, Mask, MaskPlane, MaskSchema

from ..errors import OutputError

_OCTET = 8


@dataclass(frozen=True)
class Plane:
    """What goes into one HDU."""

    name: str
    """Value of ``EXTNAME``."""

    version: int
    """Value of ``EXTVER``; 1 for all but further HDUs of a mask."""

    pixels: NDArray[Any]
    """Values, shape ``(ny, nx)``."""

    cards: bytes
    """Cards that say what the values are: unit or mask planes."""

    @property
    def source(self) -> str:
        """How the JSON tree refers to the HDU."""
        return f"fits:{self.name}" if self.version == 1 else f"fits:{self.name},{self.version}"


def image_plane(name: str, image: Image) -> Plane:
    """Return an image as it is stored.

    Parameters
    ----------
    name
        Value of ``EXTNAME``.
    image
        Image; its pixels are shared.

    Returns
    -------
    plane
        The image.

    Raises
    ------
    OutputError
        Raised if FITS cannot write its unit.
    """
    if image.unit is None:
        return Plane(name, 1, image.array, b"")
    return Plane(name, 1, image.array, _unit_card(unit_text(image.unit, "fits")))


def mask_planes(mask: Mask) -> list[Plane]:
    """Return a mask as it is stored.

    Parameters
    ----------
    mask
        Mask.

    Returns
    -------
    planes
        One per 31 mask planes, 32-bit integers; unused bits are left out.

    Raises
    ------
    OutputError
        Raised if FITS cannot write a name or description.
    """
    dtype = mask.schema.dtype.newbyteorder("<")
    octets = np.ascontiguousarray(mask.array, dtype=dtype).view(np.uint8)
    planes = []
    for version, layout in enumerate(_layouts(tuple(mask.schema), mask.schema.dtype.str), start=1):
        if layout.same_bits is not None and octets.shape[2] in {1, 2, 4}:
            # A look-up for each octet takes thirty times as long.
            words = octets.view(f"<u{octets.shape[2]}")[..., 0]
            pixels = (words & words.dtype.type(layout.same_bits)).astype(np.int32)
        else:
            pixels = np.zeros(octets.shape[:2], dtype=np.int32)
            for octet, table in layout.tables:
                pixels |= table[octets[..., octet]]
        planes.append(Plane("MASK", version, pixels, layout.cards))
    return planes


@dataclass(frozen=True)
class _MaskLayout:
    """Where the bits of one stored array come from."""

    cards: bytes
    tables: tuple[tuple[int, NDArray[np.int32]], ...]
    """Octet of a pixel, and what each of its 256 values becomes."""

    same_bits: int | None
    """Bits of a pixel, taken as one little-endian number, that are those of
    the stored array; None if some bit comes from another place."""


@functools.lru_cache(maxsize=64)
def _layouts(planes: tuple[MaskPlane | None, ...], dtype: str) -> tuple[_MaskLayout, ...]:
    """Return the stored arrays of a mask schema."""
    schema = MaskSchema(planes, dtype=np.dtype(dtype))
    return tuple(_make_layout(schema, part) for part in schema.split(np.int32))


def _make_layout(schema: MaskSchema, part: MaskSchema) -> _MaskLayout:
    """Return where the bits of one part of a split schema come from."""
    header = astropy.io.fits.Header()
    try:
        part.update_header(header)
    except ValueError as error:
        raise OutputError(f"The mask planes {sorted(part.names)} cannot be written: {error}") from error
    values = np.arange(256)
    tables: dict[int, NDArray[np.int32]] = {}
    same_bits: int | None = 0
    for name in part.names:
        bit = schema.bit(name)
        octet, offset = divmod(int(bit.mask).bit_length() - 1, _OCTET)
        octet += bit.index * schema.dtype.itemsize
        is_set = (values >> offset & 1).astype(np.int32)
        stored = int(part.bit(name).mask)
        tables[octet] = tables.get(octet, np.zeros(256, np.int32)) | is_set * stored
        is_same = same_bits is not None and stored == 1 << (_OCTET * octet + offset)
        same_bits = same_bits | stored if is_same and same_bits is not None else None
    return _MaskLayout(_to_bytes(header), tuple(tables.items()), same_bits)


@functools.lru_cache(maxsize=64)
def _unit_card(text: str) -> bytes:
    """Return the card of a unit."""
    try:
        return _to_bytes(astropy.io.fits.Header([("BUNIT", text)]))
    except ValueError as error:
        raise OutputError(f"The unit {text!r} cannot be written: {error}") from error


def _to_bytes(header: astropy.io.fits.Header) -> bytes:
    """Return the cards of a header, without END."""
    text: str = header.tostring(endcard=False, padding=False)
    return text.encode("ascii")


def unit_text(unit: astropy.units.UnitBase, standard: str) -> str:
    """Return a unit in the spelling of a standard.

    Parameters
    ----------
    unit
        Unit.
    standard
        Name of a unit format of astropy.

    Returns
    -------
    text
        The unit in astropy's own spelling, where the standard has it not:
        standards recommend units, they do not oblige.
    """
    try:
        return str(unit.to_string(standard))
    except ValueError:
        return str(unit.to_string())
