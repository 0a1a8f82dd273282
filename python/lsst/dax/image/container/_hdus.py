"""HDUs as bytes."""

from __future__ import annotations

__all__ = ("Compression", "Hdu", "index_hdu", "json_hdu", "plane_hdu", "primary_header", "storable")

import enum
import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from ._gzip_tiles import compress_tile
from ._planes import Plane
from .cards import BLOCK_SIZE, make_card, make_header

# BITPIX by kind and size of a pixel; FITS has no other types.
_BITPIX = {
    dtype: (-1 if dtype[0] == "f" else 1) * 8 * int(dtype[1])
    for dtype in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
}
# Plane descriptors have 32 bits; an image of this size is no small one.
_MAX_PLANE_BYTES = 2**31 - 1
# Larger tiles compress no better; smaller ones cost a call and a header each.
_TILE_BYTES = 2**18

# Numbers and texts of cards are few and recur in every file.
_card = functools.lru_cache(maxsize=1024, typed=True)(make_card)


class Compression(enum.Enum):
    """How pixels are stored; both ways keep every bit."""

    NONE = "none"
    """As they are; fastest to write, and to read in part."""

    GZIP = "gzip"
    """In gzip-compressed tiles of some rows (``GZIP_2`` of the FITS
    standard), as `lsst.images` stores them; but 64-bit integers as they are,
    because CFITSIO cannot decompress those."""


@dataclass(frozen=True)
class Hdu:
    """An extension HDU, ready to be written."""

    name: str
    """Value of ``EXTNAME``."""

    version: int
    """Value of ``EXTVER``."""

    xtension: str
    """Value of ``XTENSION``."""

    is_compressed_image: bool
    """Value of ``ZIMAGE``."""

    header: bytes
    """Complete header, a multiple of 2880 bytes."""

    data: tuple[bytes | memoryview, ...]
    """Parts of the data, together with what fills them up to whole blocks."""

    data_size: int
    """Bytes of the data, a multiple of 2880."""

    @property
    def size(self) -> int:
        """Bytes of header and data."""
        return len(self.header) + self.data_size


def storable(pixels: NDArray[Any]) -> bool:
    """Return whether an array can be stored.

    Parameters
    ----------
    pixels
        Array.

    Returns
    -------
    storable
        False for a type of pixel that FITS has not, and for more than 2 GiB.
    """
    return pixels.dtype.str[1:] in _BITPIX and pixels.nbytes <= _MAX_PLANE_BYTES


def plane_hdu(plane: Plane, cards: bytes, *, compression: Compression) -> Hdu:
    """Return the HDU of a plane.

    Parameters
    ----------
    plane
        Storable pixels.
    cards
        Cards after those of the structure.
    compression
        How to store the pixels.

    Returns
    -------
    hdu
        The HDU.
    """
    kind = plane.pixels.dtype.str[1:]
    stored, zero = _to_fits_integers(plane.pixels, kind)
    match compression:
        case Compression.GZIP if kind not in {"i8", "u8"}:
            return _compressed_hdu(plane, cards, stored, zero)
        case Compression.GZIP | Compression.NONE:
            return _plain_hdu(plane, cards, stored, zero)
        case _:
            assert_never(compression)


def json_hdu(tree: bytes, cards: bytes) -> Hdu:
    """Return the HDU of a JSON tree.

    Parameters
    ----------
    tree
        JSON text.
    cards
        Cards after those of the structure.

    Returns
    -------
    hdu
        A table of one row, with the text as an array of bytes.
    """
    structure = (
        *_table_cards(width=8, n_rows=1, heap=len(tree), n_fields=1),
        _card("TTYPE1", "JSON"),
        make_card("TFORM1", f"PB({len(tree)})"),
        _card("EXTNAME", "JSON", "extension name"),
    )
    data = (struct.pack(">ii", len(tree), 0), tree)
    return _make_hdu("JSON", (*structure, cards), data)


def index_hdu(hdus: Sequence[Hdu], cards: bytes, *, start: int) -> Hdu:
    """Return the HDU that tells where the others are.

    Parameters
    ----------
    hdus
        Extension HDUs in their order in the file.
    cards
        Cards after those of the structure.
    start
        Position of the first of them, where the primary header ends.

    Returns
    -------
    hdu
        A table with one row per HDU, the primary one included.
    """
    width = max(len(hdu.name) for hdu in hdus)
    row = struct.Struct(f">{width}si8scqqq")
    rows = [row.pack(b"", 1, b"IMAGE", b"F", 0, start, 0)]
    for hdu in hdus:
        data = start + len(hdu.header)
        flag = b"T" if hdu.is_compressed_image else b"F"
        name, xtension = hdu.name.encode("ascii"), hdu.xtension.encode("ascii")
        rows.append(row.pack(name, hdu.version, xtension, flag, start, data, hdu.data_size))
        start += hdu.size
    columns = {
        "EXTNAME": f"{width}A",
        "EXTVER": "J",
        "XTENSION": "8A",
        "ZIMAGE": "L",
        "HDRADDR": "K",
        "DATADDR": "K",
        "DATSIZE": "K",
    }
    fields = [
        card
        for number, (name, form) in enumerate(columns.items(), start=1)
        for card in (_card(f"TTYPE{number}", name), _card(f"TFORM{number}", form))
    ]
    structure = (
        *_table_cards(width=row.size, n_rows=len(rows), heap=0, n_fields=len(columns)),
        *fields,
        _card("EXTNAME", "INDEX", "extension name"),
    )
    return _make_hdu("INDEX", (*structure, cards), rows)


def primary_header(cards: bytes, *, index: tuple[int, int], json: tuple[int, int]) -> bytes:
    """Return the header of the primary HDU, which has no data.

    Parameters
    ----------
    cards
        Cards after those of the structure.
    index, json
        Position and size of the HDUs in bytes.

    Returns
    -------
    header
        Complete header; its length depends on ``cards`` alone.
    """
    return make_header(
        (
            _card("SIMPLE", value=True, comment="conforms to FITS standard"),
            _card("BITPIX", 8, "array data type"),
            _card("NAXIS", 0, "number of array dimensions"),
            _card("EXTEND", value=True),
            _card("FMTVER", 1, "FITS container layout version."),
            make_card("INDXADDR", index[0], "Offset in bytes to the HDU index."),
            make_card("INDXSIZE", index[1], "Size of the HDU index."),
            make_card("JSONADDR", json[0], "Offset in bytes to the JSON tree HDU."),
            make_card("JSONSIZE", json[1], "Size of the JSON tree HDU."),
            cards,
        )
    )


def _to_fits_integers(pixels: NDArray[Any], kind: str) -> tuple[NDArray[Any], int | None]:
    """Return big-endian pixels of a type that FITS has, and their zero point.

    FITS has no unsigned integers of more than eight bits and no signed ones of
    eight; they are stored with the sign bit turned around.
    """
    big = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">"))
    if kind[0] == "f" or kind in {"u1", "i2", "i4", "i8"}:
        return big, None
    half = 1 << (8 * big.itemsize - 1)
    unsigned = f">u{big.itemsize}"
    turned = (big.view(unsigned) ^ np.array(half, dtype=unsigned)).astype(unsigned, copy=False)
    return turned, -half if kind == "i1" else half


def _plain_hdu(plane: Plane, cards: bytes, stored: NDArray[Any], zero: int | None) -> Hdu:
    """Return the HDU of pixels as they are."""
    ny, nx = stored.shape
    scaling = () if zero is None else (_card("BSCALE", 1), _card("BZERO", zero))
    structure = (
        _card("XTENSION", "IMAGE", "Image extension"),
        _card("BITPIX", _BITPIX[plane.pixels.dtype.str[1:]], "array data type"),
        _card("NAXIS", 2, "number of array dimensions"),
        _card("NAXIS1", nx),
        _card("NAXIS2", ny),
        _card("PCOUNT", 0, "number of parameters"),
        _card("GCOUNT", 1, "number of groups"),
        *scaling,
        _card("EXTNAME", plane.name, "extension name"),
        *_version_cards(plane),
    )
    data = (stored.reshape(-1).view(np.uint8).data,)
    return _make_hdu(plane.name, (*structure, cards), data, version=plane.version, xtension="IMAGE")


def _compressed_hdu(plane: Plane, cards: bytes, stored: NDArray[Any], zero: int | None) -> Hdu:
    """Return the HDU of pixels in compressed tiles."""
    ny, nx = stored.shape
    n_rows = min(ny, max(1, _TILE_BYTES // (nx * stored.itemsize)))
    tiles = [compress_tile(stored[start : start + n_rows]) for start in range(0, ny, n_rows)]
    sizes = np.array([sum(len(part) for part in tile) for tile in tiles])
    descriptors = np.column_stack((sizes, np.cumsum(sizes) - sizes)).astype(">i4")
    # What astropy says of floating point pixels that are not quantised.
    unquantised = (
        _card("ZNAME1", "NOISEBIT", "floating point quantization level"),
        _card("ZVAL1", 0.0, "floating point quantization level"),
    )
    structure = (
        _card("XTENSION", "BINTABLE", "binary table extension"),
        _card("BITPIX", 8, "array data type"),
        _card("NAXIS", 2, "number of array dimensions"),
        _card("NAXIS1", 8, "width of table in bytes"),
        _card("NAXIS2", len(tiles), "number of rows in table"),
        make_card("PCOUNT", int(sizes.sum()), "number of group parameters"),
        _card("GCOUNT", 1, "number of groups"),
        _card("TFIELDS", 1, "number of fields in each row"),
        _card("TTYPE1", "COMPRESSED_DATA"),
        make_card("TFORM1", f"1PB({sizes.max()})"),
        _card("ZIMAGE", value=True, comment="extension contains compressed image"),
        _card("ZTENSION", "IMAGE", "Image extension"),
        _card("ZBITPIX", _BITPIX[plane.pixels.dtype.str[1:]], "array data type"),
        _card("ZNAXIS", 2, "number of array dimensions"),
        _card("ZNAXIS1", nx),
        _card("ZNAXIS2", ny),
        _card("ZPCOUNT", 0, "number of parameters"),
        _card("ZGCOUNT", 1, "number of groups"),
        _card("ZTILE1", nx, "size of tiles to be compressed"),
        _card("ZTILE2", n_rows, "size of tiles to be compressed"),
        _card("ZCMPTYPE", "GZIP_2", "compression algorithm"),
        *(unquantised if stored.dtype.kind == "f" else ()),
        _card("EXTNAME", plane.name, "name of this binary table extension"),
        *(() if zero is None else (_card("BZERO", zero), _card("BSCALE", 1))),
        *_version_cards(plane),
    )
    data = (descriptors.tobytes(), *(part for tile in tiles for part in tile))
    return _make_hdu(plane.name, (*structure, cards), data, version=plane.version, is_compressed_image=True)


def _table_cards(*, width: int, n_rows: int, heap: int, n_fields: int) -> tuple[bytes, ...]:
    """Return the first cards of a table."""
    return (
        _card("XTENSION", "BINTABLE", "binary table extension"),
        _card("BITPIX", 8, "array data type"),
        _card("NAXIS", 2, "number of array dimensions"),
        _card("NAXIS1", width, "length of dimension 1"),
        _card("NAXIS2", n_rows, "length of dimension 2"),
        make_card("PCOUNT", heap, "number of group parameters"),
        _card("GCOUNT", 1, "number of groups"),
        _card("TFIELDS", n_fields, "number of table fields"),
    )


def _version_cards(plane: Plane) -> tuple[bytes, ...]:
    """Return the card that tells HDUs of one name apart."""
    return () if plane.version == 1 else (_card("EXTVER", plane.version),)


def _make_hdu(
    name: str,
    cards: Sequence[bytes],
    data: Sequence[bytes | memoryview],
    *,
    version: int = 1,
    xtension: str = "BINTABLE",
    is_compressed_image: bool = False,
) -> Hdu:
    """Return an HDU of whole FITS blocks."""
    size = sum(len(part) for part in data)
    gap = bytes(-size % BLOCK_SIZE)
    return Hdu(
        name, version, xtension, is_compressed_image, make_header(cards), (*data, gap), size + len(gap)
    )
