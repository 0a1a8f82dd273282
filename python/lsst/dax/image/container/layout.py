"""Where everything is in an `lsst.images` FITS file."""

from __future__ import annotations

__all__ = ("ContainerLayout", "HduEntry", "read_layout")

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, override

import numpy as np

from ..errors import InputDataError
from .array_layout import ArrayLayout, parse_array_header, with_tile_table
from .cards import BLOCK_SIZE, CardValue, find_header_end, read_cards, split_cards
from .sources import ByteRange, ByteSource, UnsupportedContainerError, read_coalesced
from .tree import ArrayReference, PixelTree, parse_tree

# The primary header of a real visit image has 7 blocks, its JSON tree and
# index have 57 kB.
_HEAD = 12 * BLOCK_SIZE
_TAIL = 65536
_MAX_HEADER = 2**24
_MAX_SECTION = 2**28
_MAX_HDUS = 10**5
_FORMAT_VERSION = 1
_PRIMARY_KEYWORDS = ("BITPIX", "NAXIS", "FMTVER", "DATAMODL", "INDXADDR", "INDXSIZE", "JSONADDR", "JSONSIZE")
_TABLE_KEYWORDS = ("XTENSION", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS", "THEAP", "TFORM1", "TTYPE1")
_INDEX_COLUMNS = ("EXTNAME", "EXTVER", "XTENSION", "ZIMAGE", "HDRADDR", "DATADDR", "DATSIZE")
_INDEX_FORMS = {"J": ">i4", "L": "S1", "K": ">i8"}
_TEXT_FORM = re.compile(r"(\d{0,6})A(\d{0,6})$")


@dataclass(frozen=True)
class HduEntry:
    """One row of the index: where an HDU is."""

    name: str
    version: int
    header: int
    """Address of the header."""

    data: int
    """Address of the first byte after the header."""

    size: int
    """Bytes after the header."""


@dataclass(frozen=True, eq=False)
class ContainerLayout:
    """Where everything is in an `lsst.images` FITS file.

    It holds no pixels, pickles, and stays valid as long as the file is the
    same.
    """

    schema_url: str
    """What the JSON tree is."""

    primary: bytes
    """Primary header."""

    json: bytes
    """JSON tree, UTF-8."""

    index: tuple[HduEntry, ...]
    """All HDUs but JSON tree and index themselves."""

    arrays: Mapping[str, tuple[ArrayLayout, ...]]
    """Arrays of the planes ``image``, ``mask`` and ``variance``."""

    @cached_property
    def tree(self) -> PixelTree:
        """What the JSON tree says about the pixels.

        Raises
        ------
        UnsupportedContainerError
            Raised if this reader does not know the schema, or the pixels are
            stored in an unusual way.
        InputDataError
            Raised if the tree contradicts its schema.
        """
        return parse_tree(self.schema_url, self.json)

    @property
    def nbytes(self) -> int:
        """Memory that this takes, in bytes."""
        arrays = sum(array.nbytes for plane in self.arrays.values() for array in plane)
        # A parsed tree takes as much again as its text.
        return len(self.primary) + 2 * len(self.json) + 200 * len(self.index) + arrays

    @override
    def __getstate__(self) -> dict[str, Any]:
        # Neither a mapping proxy nor the classes of the tree pickle.
        state = {name: value for name, value in self.__dict__.items() if name != "tree"}
        return {**state, "arrays": dict(self.arrays)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "arrays": MappingProxyType(state["arrays"])})


def read_layout(source: ByteSource) -> ContainerLayout:
    """Read where everything is in a file.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    layout
        Headers, JSON tree, index and tile tables.

    Raises
    ------
    UnsupportedContainerError
        Raised if this is no FITS file of `lsst.images`, or it is one of an
        unusual kind.
    InputDataError
        Raised if the file contradicts itself.
    StoreError
        Raised if the store fails.

    Notes
    -----
    A usual file takes three rounds: its two ends, the headers of the planes,
    the tables of their tiles.
    """
    window = _Window(source)
    primary = _read_primary(window)
    values = read_cards(split_cards(primary), _PRIMARY_KEYWORDS)
    schema_url = _check_primary(values)
    json_range, index_range = (_section(window, values, name) for name in ("JSON", "INDX"))
    index = _parse_index(window.read([index_range])[0], window.source)
    # Where the JSON tree is so long that it did not come with the end of the
    # file, the headers that it will name come with the rest of it.
    usual = [_check_entry(window, hdu) for hdu in index if hdu.name in {"IMAGE", "MASK", "VARIANCE"}]
    window.fetch([json_range, *usual] if json_range[0] < window.tail_start else [])
    json = _extract_json(window.read([json_range])[0], window.source)
    tree = parse_tree(schema_url, json)
    arrays = _read_arrays(window, tree, {(hdu.name, hdu.version): hdu for hdu in index})
    layout = ContainerLayout(schema_url, primary, json, index, MappingProxyType(arrays))
    layout.__dict__["tree"] = tree
    return layout


class _Window:
    """The parts of a file that came already."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        head, tail = source.read_ends(_HEAD, _TAIL)
        self.size = source.size
        self.tail_start = self.size - len(tail)
        self._blocks = [(0, head), (self.tail_start, tail)]

    def fetch(self, ranges: Sequence[ByteRange]) -> None:
        """Read what did not come yet, in one round."""
        missing = [wanted for wanted in ranges if self._find(wanted) is None]
        if missing:
            blocks = read_coalesced(self.source, missing)
            self._blocks += [(begin, bytes(block)) for (begin, _), block in zip(missing, blocks, strict=True)]

    def read(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Return ranges, read in one round if they did not come yet."""
        self.fetch(ranges)
        found = [self._find(wanted) for wanted in ranges]
        return [data for data in found if data is not None]

    def _find(self, wanted: ByteRange) -> bytes | None:
        """Return a range if it came already."""
        begin, end = wanted
        for start, block in self._blocks:
            if start <= begin and end <= start + len(block):
                return block[begin - start : end - start]
        return None


def _read_primary(window: _Window) -> bytes:
    """Return the primary header."""
    length = min(_HEAD, window.size)
    while True:
        (data,) = window.read([(0, length)])
        if not data.startswith(b"SIMPLE  ="):
            raise UnsupportedContainerError(f"{window.source.name} is no FITS file.")
        end = find_header_end(data)
        if end is not None:
            return data[:end]
        if length >= min(_MAX_HEADER, window.size):
            raise InputDataError(f"{window.source.name} has no end of its primary header in {length} bytes.")
        length = min(4 * length, window.size)


def _check_primary(values: Mapping[str, CardValue]) -> str:
    """Return the schema; refuse what is no file of `lsst.images`."""
    schema_url, version = values.get("DATAMODL"), values.get("FMTVER")
    if not isinstance(schema_url, str) or version != _FORMAT_VERSION:
        raise UnsupportedContainerError(
            f"A file of DATAMODL = {schema_url!r}, FMTVER = {version!r} is not known; FMTVER = "
            f"{_FORMAT_VERSION} is."
        )
    if values.get("NAXIS") != 0:
        # No pixels are here; and other readers make a list of the axes.
        raise InputDataError(f"The primary header has NAXIS = {values.get('NAXIS')!r}, which must be 0.")
    return schema_url


def _section(window: _Window, values: Mapping[str, CardValue], name: str) -> ByteRange:
    """Return begin and end of JSON tree or index."""
    begin, size = values.get(f"{name}ADDR"), values.get(f"{name}SIZE")
    if not (
        isinstance(begin, int)
        and isinstance(size, int)
        and 0 < begin < window.size
        and 0 < size <= min(_MAX_SECTION, window.size - begin)
    ):
        raise InputDataError(
            f"{window.source.name} has {window.size} bytes, but {name}ADDR = {begin!r}, {name}SIZE = "
            f"{size!r}; it is truncated or damaged."
        )
    return begin, begin + size


def _table(data: bytes, source: ByteSource) -> tuple[dict[str, int], Mapping[str, CardValue], int]:
    """Return sizes, cards and first data byte of a binary table."""
    end = find_header_end(data)
    if end is None:
        raise InputDataError(f"{source.name} has a table whose header does not end in {len(data)} bytes.")
    columns = [f"{name}{number}" for name in ("TTYPE", "TFORM") for number in range(1, 8)]
    values = read_cards(split_cards(data[:end]), {*_TABLE_KEYWORDS, *columns})
    sizes = {}
    for keyword in ("NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS", "THEAP"):
        value = values.get(keyword, 0)
        if not isinstance(value, int) or not 0 <= value <= _MAX_SECTION:
            raise InputDataError(f"{source.name} has a table with {keyword} = {value!r}.")
        sizes[keyword] = value
    needed = sizes["NAXIS1"] * sizes["NAXIS2"] + sizes["PCOUNT"]
    kind = (values.get("XTENSION"), values.get("NAXIS"))
    if kind != ("BINTABLE", 2) or needed > len(data) - end:
        raise InputDataError(
            f"{source.name} has an HDU of XTENSION, NAXIS = {kind} that needs {needed} of {len(data) - end} "
            f"bytes, where a table should be."
        )
    return sizes, values, end


def _parse_index(data: bytes, source: ByteSource) -> tuple[HduEntry, ...]:
    """Return the rows of the index."""
    sizes, values, start = _table(data, source)
    count = sizes["NAXIS2"]
    fields = []
    for number in range(1, len(_INDEX_COLUMNS) + 1):
        column, form = values.get(f"TTYPE{number}"), str(values.get(f"TFORM{number}"))
        text = _TEXT_FORM.match(form)
        fields.append(
            (str(column), f"S{text[1] or text[2] or 1}" if text else _INDEX_FORMS.get(form[-1:], "?"))
        )
    try:
        row = np.dtype(fields)
    except (TypeError, ValueError) as error:
        raise InputDataError(f"{source.name} has an index with columns {fields}: {error}") from error
    if row.names != _INDEX_COLUMNS or row.itemsize != sizes["NAXIS1"] or not 0 < count <= _MAX_HDUS:
        raise InputDataError(
            f"{source.name} has an index of {count} rows of {sizes['NAXIS1']} bytes with columns {fields}."
        )
    rows: list[Any] = np.frombuffer(data, row, count=count, offset=start).tolist()
    kinds = {row[2].strip() for row in rows}
    if not kinds <= {b"IMAGE", b"BINTABLE"}:
        raise InputDataError(f"{source.name} has an index with HDUs that are {kinds}.")
    return tuple(
        HduEntry(name.decode("latin-1").strip().upper(), version, header, address, size)
        for name, version, _, _, header, address, size in rows
    )


def _extract_json(data: bytes, source: ByteSource) -> bytes:
    """Return the JSON tree from its table."""
    sizes, values, start = _table(data, source)
    kind = re.match(r"1?([PQ])[BA]", str(values.get("TFORM1")))
    if kind is None or sizes["NAXIS2"] < 1:
        raise InputDataError(f"{source.name} has a JSON table of {values.get('TFORM1')!r}.")
    descriptor = np.frombuffer(data, ">i4" if kind[1] == "P" else ">i8", count=2, offset=start).tolist()
    heap = sizes["THEAP"] or sizes["NAXIS1"] * sizes["NAXIS2"]
    length, offset = descriptor
    begin = start + heap + offset
    if length < 0 or offset < 0 or begin + length > len(data):
        raise InputDataError(
            f"{source.name} has a JSON tree of {length} bytes at {begin} of a table of {len(data)} bytes."
        )
    return data[begin : begin + length]


def _check_entry(window: _Window, hdu: HduEntry) -> ByteRange:
    """Return begin and end of a header that the index names."""
    length = hdu.data - hdu.header
    if not (
        0 < hdu.header < hdu.data
        and length <= _MAX_HEADER
        and length % BLOCK_SIZE == 0
        and 0 <= hdu.size <= window.size - hdu.data
    ):
        raise InputDataError(
            f"{window.source.name} has {window.size} bytes, but its index has {hdu}; it is truncated or "
            f"damaged."
        )
    return hdu.header, hdu.data


def _read_arrays(
    window: _Window, tree: PixelTree, index: Mapping[tuple[str, int], HduEntry]
) -> dict[str, tuple[ArrayLayout, ...]]:
    """Read headers and tile tables of the planes."""
    references = [(plane, array) for plane, arrays in tree.arrays.items() for array in arrays]
    hdus = [_find_hdu(array, index, window.source) for _, array in references]
    headers = window.read([_check_entry(window, hdu) for hdu in hdus])
    for hdu, header in zip(hdus, headers, strict=True):
        if find_header_end(header) != len(header):
            raise InputDataError(
                f"{window.source.name} has a header of {hdu.name} that does not end at {hdu.data}, where the "
                f"index says that it does."
            )
    parsed = [
        parse_array_header(array, header, data=hdu.data, data_size=hdu.size)
        for (_, array), header, hdu in zip(references, headers, hdus, strict=True)
    ]
    tables = iter(window.read([table for _, table in parsed if table is not None]))
    complete: dict[str, list[ArrayLayout]] = {}
    for (plane, _), (layout, table) in zip(references, parsed, strict=True):
        complete.setdefault(plane, []).append(
            layout if table is None else with_tile_table(layout, next(tables))
        )
    return {plane: tuple(arrays) for plane, arrays in complete.items()}


def _find_hdu(
    reference: ArrayReference, index: Mapping[tuple[str, int], HduEntry], source: ByteSource
) -> HduEntry:
    """Return where an array is that the JSON tree names."""
    hdu = index.get((reference.name, reference.version))
    if hdu is None:
        raise InputDataError(
            f"{source.name} has no HDU {reference.name},{reference.version}, which its JSON tree names; its "
            f"index has {sorted(index)}."
        )
    return hdu
