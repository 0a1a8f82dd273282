"""How the pixels of one array lie in a FITS file."""

from __future__ import annotations

__all__ = (
    "ArrayLayout",
    "Compression",
    "Dither",
    "Quantization",
    "TileTable",
    "parse_array_header",
    "with_tile_table",
)

import dataclasses
import enum
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .cards import CardValue, read_cards, split_cards
from .sources import UnsupportedContainerError
from .tree import ArrayReference

_MAX_FIELDS = 8
_MAX_TILE_PIXELS = 2**28
_MAX_RICE_BLOCK = 1024
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_FORM = re.compile(r"1?(?P<kind>[PQ]B|D|E|J)(\(\d+\))?$")
_FORMS = {"PB": (">i4", (2,)), "QB": (">i8", (2,)), "D": (">f8", ()), "E": (">f4", ()), "J": (">i4", ())}
_KEYWORDS = frozenset(
    (
        *("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "THEAP"),
        *("ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZCMPTYPE", "ZQUANTIZ"),
        *("ZDITHER0", "ZBLANK", "BLANK", "BSCALE", "BZERO", "ZSCALE", "ZZERO", "ZMASKCMP"),
        *(f"{name}{number}" for name in ("TTYPE", "TFORM", "ZNAME", "ZVAL") for number in range(1, 9)),
    )
)


class Compression(enum.Enum):
    """Tile compressions that are read here."""

    GZIP_1 = "GZIP_1"
    GZIP_2 = "GZIP_2"
    RICE_1 = "RICE_1"


class Dither(enum.IntEnum):
    """How floating-point pixels were made integers."""

    NONE = 0
    SUBTRACTIVE_1 = 1
    SUBTRACTIVE_2 = 2


_DITHERS = {
    "NONE": Dither.NONE,
    "NO_DITHER": Dither.NONE,
    "SUBTRACTIVE_DITHER_1": Dither.SUBTRACTIVE_1,
    "SUBTRACTIVE_DITHER_2": Dither.SUBTRACTIVE_2,
}


@dataclass(frozen=True, eq=False)
class Quantization:
    """How to make floating-point pixels of integers."""

    dither: Dither
    seed: int
    """Number of the dither sequence of the first tile, from 1."""

    blank: int | None
    """Integer that stands for NaN."""

    scale: NDArray[np.float64]
    """Step of each tile."""

    zero: NDArray[np.float64]
    """Zero point of each tile."""


@dataclass(frozen=True, eq=False)
class TileTable:
    """Where the tiles of a compressed array are."""

    compression: Compression
    tile_shape: tuple[int, int]
    """Rows and columns of a tile that is not at the edge."""

    grid_shape: tuple[int, int]
    """Rows and columns of tiles."""

    heap: int
    """Address of the first byte of the heap."""

    heap_size: int
    table: NDArray[np.void]
    """The binary table, a row per tile in row-major order; empty until read."""

    quantization: Quantization | None
    rice_block: int
    """Pixels of a RICE block."""

    rice_bytes: int
    """Bytes of an integer before the RICE compression."""


@dataclass(frozen=True, eq=False)
class ArrayLayout:
    """Where the pixels of one array are."""

    name: str
    """EXTNAME of the HDU."""

    header: bytes
    """Header of the HDU."""

    shape: tuple[int, int]
    """Rows and columns."""

    dtype: np.dtype[np.generic]
    """Type in memory, in native byte order."""

    data: int
    """Address of the first byte after the header."""

    data_size: int
    """Bytes of the HDU after its header."""

    tiles: TileTable | None
    """None for an array that is not compressed."""

    @property
    def nbytes(self) -> int:
        """Memory that this takes, in bytes."""
        return len(self.header) + (0 if self.tiles is None else 2 * self.tiles.table.nbytes)


def parse_array_header(
    reference: ArrayReference, header: bytes, *, data: int, data_size: int
) -> tuple[ArrayLayout, tuple[int, int] | None]:
    """Interpret the header of an HDU with pixels.

    Parameters
    ----------
    reference
        What the JSON tree says of it.
    header
        The header.
    data
        Address of the first byte after the header.
    data_size
        Bytes of the HDU after its header.

    Returns
    -------
    layout
        Where the pixels are; for a compressed array still without its tiles.
    table
        Begin and end of the table of the tiles, for `with_tile_table`; None
        for an array that is not compressed.

    Raises
    ------
    InputDataError
        Raised if the header contradicts itself or the JSON tree.
    UnsupportedContainerError
        Raised if the pixels are stored in a way that is not read here.
    """
    values = read_cards(split_cards(header), _KEYWORDS)
    for keyword, usual in (("BSCALE", 1), ("BZERO", 0), ("BLANK", None), ("ZMASKCMP", None), ("GCOUNT", 1)):
        if values.get(keyword, usual) != usual:
            raise UnsupportedContainerError(f"{reference.name} has {keyword} = {values[keyword]}.")
    compressed = values.get("ZIMAGE") is True
    prefix = "Z" if compressed else ""
    ny, nx = (_integer(values, f"{prefix}NAXIS{axis}") for axis in (2, 1))
    name = _DTYPES.get(_integer(values, f"{prefix}BITPIX"))
    native = None if name is None else np.dtype(name).newbyteorder("=")
    if _integer(values, f"{prefix}NAXIS") != 2 or (ny, nx) != reference.shape or native is None:
        raise InputDataError(
            f"{reference.name} has shape {(ny, nx)} and type {native}, but the JSON tree says {reference}."
        )
    if native.name != reference.datatype:
        raise UnsupportedContainerError(f"{reference.name} holds {native}, not {reference.datatype}.")
    layout = ArrayLayout(reference.name, header, (ny, nx), native, data, data_size, None)
    if not compressed:
        if values.get("XTENSION") != "IMAGE" or ny * nx * native.itemsize > data_size:
            raise InputDataError(
                f"{reference.name} of shape {(ny, nx)} and type {native} is {values.get('XTENSION')!r} and "
                f"has {data_size} bytes."
            )
        return layout, None
    kind = tuple(values.get(keyword) for keyword in ("XTENSION", "BITPIX", "NAXIS"))
    if kind != ("BINTABLE", 8, 2):
        raise InputDataError(f"{reference.name} is compressed, but has XTENSION, BITPIX, NAXIS = {kind}.")
    tiles, table_size = _parse_tiling(layout, values)
    return dataclasses.replace(layout, tiles=tiles), (data, data + table_size)


def _parse_tiling(layout: ArrayLayout, values: Mapping[str, CardValue]) -> tuple[TileTable, int]:
    """Return the tiling of a compressed array, and the size of its table."""
    ny, nx = layout.shape
    ty, tx = _integer(values, "ZTILE2", 1), _integer(values, "ZTILE1", nx)
    if not (min(ty, tx) > 0 and min(ty, ny) * min(tx, nx) <= _MAX_TILE_PIXELS):
        raise InputDataError(f"{layout.name} of shape {layout.shape} has tiles of shape {(ty, tx)}.")
    grid = (math.ceil(ny / ty), math.ceil(nx / tx))
    row = _parse_row_type(layout.name, values)
    rows, row_size = _integer(values, "NAXIS2"), _integer(values, "NAXIS1")
    if (rows, row_size) != (math.prod(grid), row.itemsize):
        raise InputDataError(
            f"{layout.name} has a table of {rows} rows of {row_size} bytes, but {math.prod(grid)} tiles "
            f"described in {row.itemsize} bytes each."
        )
    table_size = rows * row_size
    start = _integer(values, "THEAP", table_size)
    size = _integer(values, "PCOUNT") - (start - table_size)
    if not (table_size <= start <= start + size <= layout.data_size):
        raise InputDataError(
            f"{layout.name} has {layout.data_size} bytes, but a table of {table_size} bytes and a heap of "
            f"{size} bytes at {start}."
        )
    compression = _parse_compression(layout.name, values)
    settings = {
        str(values.get(f"ZNAME{number}")).upper(): values.get(f"ZVAL{number}") for number in range(1, 9)
    }
    block, rice_bytes = settings.get("BLOCKSIZE", 32), settings.get("BYTEPIX", 4)
    if compression is Compression.RICE_1 and not (
        isinstance(block, int) and 0 < block <= _MAX_RICE_BLOCK and rice_bytes in {1, 2, 4}
    ):
        raise InputDataError(f"{layout.name} has RICE blocks of {block} pixels of {rice_bytes} bytes.")
    tiles = TileTable(
        compression,
        (ty, tx),
        grid,
        heap=layout.data + start,
        heap_size=size,
        table=np.empty(0, row),
        quantization=_parse_quantization(layout, row, values),
        rice_block=_whole(block),
        rice_bytes=_whole(rice_bytes),
    )
    return tiles, table_size


def _parse_row_type(name: str, values: Mapping[str, CardValue]) -> np.dtype[np.void]:
    """Return the type of a row of the tile table."""
    count = _integer(values, "TFIELDS")
    if not 0 < count <= _MAX_FIELDS:
        raise InputDataError(f"{name} has a tile table of {count} columns.")
    fields = []
    for number in range(1, count + 1):
        column, form = values.get(f"TTYPE{number}"), values.get(f"TFORM{number}")
        kind = _FORM.match(str(form))
        if kind is None or not isinstance(column, str):
            raise UnsupportedContainerError(f"{name} has a tile table with column {column!r} of {form!r}.")
        fields.append((column, *_FORMS[kind["kind"]]))
    try:
        row = np.dtype(fields)
    except ValueError as error:
        raise InputDataError(f"{name} has a tile table with columns {fields}: {error}") from error
    known = {"COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "ZSCALE", "ZZERO"}
    names = set(row.names or ())
    if not {"COMPRESSED_DATA"} <= names <= known or len({"ZSCALE", "ZZERO"} & names) == 1:
        raise UnsupportedContainerError(f"{name} has a tile table with columns {row.names}.")
    if any((row[column].shape == (2,)) != column.endswith("DATA") for column in names):
        raise InputDataError(f"{name} has a tile table with columns {fields}.")
    return row


def _parse_compression(name: str, values: Mapping[str, CardValue]) -> Compression:
    """Return the algorithm."""
    text = values.get("ZCMPTYPE")
    try:
        return Compression("RICE_1" if text == "RICE_ONE" else text)
    except ValueError:
        raise UnsupportedContainerError(f"{name} is compressed with {text!r}.") from None


def _parse_quantization(
    layout: ArrayLayout, row: np.dtype[np.void], values: Mapping[str, CardValue]
) -> Quantization | None:
    """Return how the pixels were made integers, if they were."""
    if "ZSCALE" in values or "ZZERO" in values:
        raise UnsupportedContainerError(f"{layout.name} has one ZSCALE for all tiles.")
    blank = values.get("ZBLANK")
    quantized = "ZSCALE" in (row.names or ())
    if not quantized:
        # What is compressed without loss has no blanks, and RICE knows
        # integers only.
        is_rice = str(values.get("ZCMPTYPE")).startswith("RICE")
        if blank is not None or (layout.dtype.kind == "f" and is_rice):
            raise UnsupportedContainerError(f"{layout.name} of {layout.dtype} has ZBLANK = {blank}.")
        return None
    if layout.dtype.kind != "f":
        raise UnsupportedContainerError(f"{layout.name} has quantized pixels of {layout.dtype}.")
    dither = _DITHERS.get(str(values.get("ZQUANTIZ", "NO_DITHER")))
    seed = _integer(values, "ZDITHER0", 0)
    if dither is None:
        raise UnsupportedContainerError(f"{layout.name} has ZQUANTIZ = {values['ZQUANTIZ']!r}.")
    if dither is not Dither.NONE and not 1 <= seed <= 10000:
        raise InputDataError(f"{layout.name} has ZDITHER0 = {seed}, which must lie within 1 and 10000.")
    none = np.empty(0)
    return Quantization(dither, seed, None if blank is None else _integer(values, "ZBLANK"), none, none)


def with_tile_table(layout: ArrayLayout, table: bytes) -> ArrayLayout:
    """Return a layout with its tiles.

    Parameters
    ----------
    layout
        Layout of a compressed array.
    table
        Bytes of its table.

    Returns
    -------
    layout
        Complete layout.
    """
    tiles = layout.tiles
    if tiles is None:
        return layout
    rows: NDArray[np.void] = np.frombuffer(table, tiles.table.dtype)
    quantization = tiles.quantization
    if quantization is not None:
        quantization = dataclasses.replace(
            quantization, scale=rows["ZSCALE"].astype(np.float64), zero=rows["ZZERO"].astype(np.float64)
        )
    return dataclasses.replace(
        layout, tiles=dataclasses.replace(tiles, table=rows, quantization=quantization)
    )


def _integer(values: Mapping[str, CardValue], keyword: str, default: int | None = None) -> int:
    """Return the value of a card that has to be an integer."""
    value = values.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputDataError(f"FITS keyword {keyword} has the value {value!r}, but an integer is needed.")
    return value


def _whole(value: object) -> int:
    """Return an integer, or 0 for what is none and is not needed."""
    return value if isinstance(value, int) else 0
