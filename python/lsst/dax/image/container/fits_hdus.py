"""HDUs of any FITS file: read as they are, decoded one by one.

Unlike the container reader this knows nothing of `lsst.images`: it reads what
cameras and older pipelines write.
"""

from __future__ import annotations

__all__ = ("FitsHdu", "read_fits_hdus")

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import astropy.io.fits
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InputDataError
from .array_layout import ArrayLayout, Compression, TileTable, parse_array_header, with_tile_table
from .cards import BLOCK_SIZE, CardValue, find_header_end, make_card, make_header, read_cards, split_cards
from .header import decompressed_stream, fits_trouble_reported
from .sources import UnsupportedContainerError
from .tiles import decode_array, plan_array
from .tree import ArrayReference

_MAX_HEADER_BLOCKS = 10_000
_MAX_HDUS = 10_000
_MAX_AXES = 999  # by the FITS standard 4.0
_MAX_COLUMNS = 999  # by the FITS standard 4.0
_MAX_BYTES = 2**32
_MAX_PIXELS = 2**28
_NAMES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
_SCALING = (b"BZERO", b"BSCALE")
_UNSIGNED_ZERO = 32768
# Keeps astropy from taking an extension for the primary HDU.
_EMPTY_PRIMARY = make_header(
    [
        make_card("SIMPLE", value=True),
        make_card("BITPIX", 8),
        make_card("NAXIS", 0),
        make_card("EXTEND", value=True),
    ]
)


@dataclass(frozen=True, eq=False)
class FitsHdu:
    """One HDU: its header, and its bytes before anything is decoded."""

    source: str
    """File, for messages."""
    number: int
    """Place in the file; the primary HDU is 0."""
    header_bytes: bytes
    """Header, a multiple of 2880 bytes."""
    data: bytes
    """What follows the header, without padding."""

    @cached_property
    def cards(self) -> Mapping[str, CardValue]:
        """Values of the cards that say what the HDU is."""
        return _read_structure(self.header_bytes)

    @property
    def name(self) -> str:
        """``EXTNAME``, or an empty string."""
        return str(self.cards.get("EXTNAME") or "")

    @property
    def is_image(self) -> bool:
        """Whether it is an extension with two-dimensional pixels, tile-compressed or not."""
        if self.cards.get("ZIMAGE") is True:
            return self.cards.get("ZNAXIS") == 2
        return self.cards.get("XTENSION") == "IMAGE" and self.cards.get("NAXIS") == 2

    @property
    def is_table(self) -> bool:
        """Whether it is a binary table that is no compressed image."""
        return self.cards.get("XTENSION") == "BINTABLE" and self.cards.get("ZIMAGE") is not True

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"HDU {self.number} ({self.name!r}) of {self.source}"

    def header(self) -> astropy.io.fits.Header:
        """Return all cards, as they stand in the file.

        Raises
        ------
        InputDataError
            Raised if a card is unusable.
        """
        with fits_trouble_reported(self.label):
            header = astropy.io.fits.Header.fromstring(self.header_bytes)
            for card in header.cards:
                _ = card.value  # astropy parses a card when it is looked at
            return header

    def pixels(self) -> NDArray[Any]:
        """Decode the pixels.

        Returns
        -------
        pixels
            New array of shape (rows, columns) in native byte order; integers of 16 bits with the
            offset 32768 as uint16.

        Raises
        ------
        InputDataError
            Raised if this is no image or it is damaged.
        """
        if not self.is_image:
            raise InputDataError(f"{self.label} is no two-dimensional image.")
        try:
            return _decode(self)
        except UnsupportedContainerError:
            return self._pixels_through_astropy()
        except InputDataError as error:
            raise InputDataError(f"{self.label} is damaged: {error}") from error

    def table(self) -> Table:
        """Decode the table.

        Returns
        -------
        table
            Columns as they are stored (NaN is not masked); `meta` has the header's own cards.

        Raises
        ------
        InputDataError
            Raised if this is no table or it is damaged.
        """
        if not self.is_table:
            raise InputDataError(f"{self.label} is no binary table.")
        count = self.header().get("TFIELDS")
        # Without a limit astropy spends hours on a damaged count of columns.
        if not isinstance(count, int) or not 1 <= count <= _MAX_COLUMNS:
            raise InputDataError(
                f"{self.label} has TFIELDS={count!r}; 1 to {_MAX_COLUMNS} columns are possible."
            )
        with fits_trouble_reported(self.label), astropy.io.fits.open(self._stream()) as hdus:
            return Table.read(hdus[1], mask_invalid=False, unit_parse_strict="silent")

    def _pixels_through_astropy(self) -> NDArray[Any]:
        """Decode rare compressions and scalings."""
        with fits_trouble_reported(self.label), astropy.io.fits.open(self._stream()) as hdus:
            pixels = hdus[1].data
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2:
            raise InputDataError(f"{self.label} has no two-dimensional pixels.")
        return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))

    def _stream(self) -> io.BytesIO:
        """Return a file of this HDU alone."""
        padding = b"\0" * (-len(self.data) % BLOCK_SIZE)
        return io.BytesIO(b"".join((_EMPTY_PRIMARY, self.header_bytes, self.data, padding)))


def read_fits_hdus(uri: ResourcePathExpression) -> tuple[FitsHdu, ...]:
    """Read all HDUs of a FITS file.

    Parameters
    ----------
    uri
        FITS file, possibly compressed as a whole with gzip or bzip2.

    Returns
    -------
    hdus
        The HDUs; their data are read, not decoded.

    Raises
    ------
    InputDataError
        Raised if the file is missing, truncated or no FITS file.  Never more is read than the
        headers' counts ask for, up to 4 GiB.
    """
    path = ResourcePath(uri, forceDirectory=False)
    with fits_trouble_reported(str(path)), path.open("rb") as stream:
        return tuple(_read_hdus(decompressed_stream(stream), str(path)))


def _read_hdus(stream: Any, source: str) -> Iterator[FitsHdu]:
    """Yield the HDUs of a stream."""
    total = 0
    for number in range(_MAX_HDUS):
        header = _read_header(stream, number, source)
        if header is None:
            return
        try:
            size = _data_size(_read_structure(header))
        except InputDataError as error:
            raise InputDataError(f"HDU {number} of {source}: {error}") from error
        total += len(header) + size
        if total > _MAX_BYTES:
            raise InputDataError(f"{source} has more than {_MAX_BYTES} bytes by its headers.")
        data = stream.read(size)
        padding = -size % BLOCK_SIZE
        # What ends before its padding may have lost the HDUs that follow.
        length = len(data) + (len(stream.read(padding)) if len(data) == size else 0)
        if length < size + padding:
            raise InputDataError(
                f"{source} is truncated: HDU {number} has {length} of {size + padding} bytes of data."
            )
        yield FitsHdu(source, number, header, data)
    raise InputDataError(f"{source} has more than {_MAX_HDUS} HDUs.")


def _read_header(stream: Any, number: int, source: str) -> bytes | None:
    """Return the next header, or None at the end of the file."""
    blocks: list[bytes] = []
    start = b"XTENSION" if number else b"SIMPLE  ="
    for _ in range(_MAX_HEADER_BLOCKS):
        block = stream.read(BLOCK_SIZE)
        if not blocks and number and not block.strip(b"\0 "):
            return None
        if not blocks and not block.startswith(start):
            raise InputDataError(f"{source} has {block[:16]!r} where HDU {number} should begin.")
        if len(block) < BLOCK_SIZE:
            raise InputDataError(f"{source} is truncated in the header of HDU {number}.")
        blocks.append(block)
        if find_header_end(block) is not None:
            return b"".join(blocks)
    raise InputDataError(f"{source} has no end of the header of HDU {number}.")


def _read_structure(header: bytes) -> Mapping[str, CardValue]:
    """Return the values that say what an HDU is."""
    cards = split_cards(header)
    names = ["XTENSION", "EXTNAME", "BITPIX", "NAXIS", "PCOUNT", "GCOUNT", "ZIMAGE", "ZBITPIX", "ZNAXIS"]
    names += ["ZNAXIS1", "ZNAXIS2", "BZERO", "BSCALE"]
    n_axes = read_cards(cards, ["NAXIS"]).get("NAXIS")
    if isinstance(n_axes, bool) or not isinstance(n_axes, int) or not 0 <= n_axes <= _MAX_AXES:
        raise InputDataError(f"NAXIS = {n_axes!r}, but FITS has 0 to {_MAX_AXES} axes.")
    names += [f"NAXIS{axis}" for axis in range(1, n_axes + 1)]
    return read_cards(cards, names)


def _data_size(values: Mapping[str, CardValue]) -> int:
    """Return the bytes after a header (FITS standard 4.0, section 4.4.1)."""
    axes = [values.get(f"NAXIS{axis}") for axis in range(1, int(str(values["NAXIS"])) + 1)]
    counts = [values.get("BITPIX"), values.get("PCOUNT", 0), values.get("GCOUNT", 1), *axes]
    numbers = [count for count in counts if isinstance(count, int) and not isinstance(count, bool)]
    if len(numbers) < len(counts) or numbers[0] not in _NAMES or min(numbers[1:]) < 0:
        raise InputDataError(f"BITPIX, PCOUNT, GCOUNT and NAXISn = {counts} cannot be.")
    n_bits, n_heap, n_groups = numbers[:3]
    n_pixels = math.prod(numbers[3:]) if axes else 0
    size = abs(n_bits) // 8 * n_groups * (n_heap + n_pixels)
    if size > _MAX_BYTES:
        raise InputDataError(f"{size} bytes are more than {_MAX_BYTES}.")
    return size


def _decode(hdu: FitsHdu) -> NDArray[Any]:
    """Decode the pixels of an image."""
    layout = _make_layout(hdu)
    tiles = layout.tiles
    ny, nx = layout.shape
    if ny * nx > _MAX_PIXELS:
        raise InputDataError(f"{ny} x {nx} pixels are more than {_MAX_PIXELS}.")
    plan = plan_array(layout, (0, ny, 0, nx), max_gap=0)
    if tiles is not None and _is_rice_by_row(layout, tiles):
        pixels: NDArray[Any] = _decode_rice_rows(hdu.data, plan.ranges, tiles, layout)
    else:
        pixels = np.empty(layout.shape, layout.dtype)
        view = memoryview(hdu.data)
        decode_array(plan, [view[begin:end] for begin, end in plan.ranges], out_pixels=pixels)
    if hdu.cards.get("BZERO", 0) == _UNSIGNED_ZERO:
        # The addition of 32768 without overflow: the highest bit turns.
        return pixels.astype(np.int16).view(np.uint16) ^ np.uint16(_UNSIGNED_ZERO)
    return pixels


def _is_rice_by_row(layout: ArrayLayout, tiles: TileTable) -> bool:
    """Return whether the tiles are rows of integers, the usual form of a raw."""
    return (
        tiles.compression is Compression.RICE_1
        and tiles.quantization is None
        and tiles.tile_shape == (1, layout.shape[1])
    )


def _make_layout(hdu: FitsHdu) -> ArrayLayout:
    """Return how the pixels lie in the data of an HDU."""
    values = hdu.cards
    prefix = "Z" if values.get("ZIMAGE") is True else ""
    bits, *shape = (values.get(f"{prefix}{name}") for name in ("BITPIX", "NAXIS2", "NAXIS1"))
    datatype = _NAMES.get(bits) if isinstance(bits, int) else None
    ny, nx = (size if isinstance(size, int) and size > 0 else 0 for size in shape)
    if datatype is None or not ny or not nx:
        raise InputDataError(f"An image has BITPIX = {bits!r} and NAXIS2, NAXIS1 = {shape}.")
    scale, zero = values.get("BSCALE", 1), values.get("BZERO", 0)
    header = hdu.header_bytes
    if scale == 1 and (zero == 0 or (zero == _UNSIGNED_ZERO and datatype == "int16")):
        cards = split_cards(header)
        header = make_header(card for card in cards if card[:8].rstrip() not in _SCALING)
    layout, table = parse_array_header(
        ArrayReference(hdu.name, 1, (ny, nx), datatype), header, data=0, data_size=len(hdu.data)
    )
    return layout if table is None else with_tile_table(layout, hdu.data[table[0] : table[1]])


def _decode_rice_rows(
    data: bytes, ranges: Any, tiles: TileTable, layout: ArrayLayout
) -> NDArray[np.integer[Any]]:
    """Decode tiles of one row each.

    Tile by tile the calls alone took twice the time of the decompression.
    """
    # numba takes long to import, and files without RICE do not need it.
    from .._kernels.rice_rows_nb import decode_rice_rows  # noqa: PLC0415

    begins, ends = np.asarray(ranges, dtype=np.int64).T
    values = np.empty(layout.shape, np.int32)
    failed = decode_rice_rows(
        np.frombuffer(data, np.uint8),
        np.ascontiguousarray(begins),
        np.ascontiguousarray(ends),
        tiles.rice_block,
        tiles.rice_bytes,
        values,
    )
    if failed >= 0:
        raise InputDataError(f"Row {failed} is no RICE code of {layout.shape[1]} pixels.")
    return values.astype(layout.dtype, copy=False)
