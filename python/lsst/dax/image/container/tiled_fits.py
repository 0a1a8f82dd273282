"""Write FITS files of images that do not fit into memory, from tiles that are compressed one by one.

The file is one of `lsst.images`: its readers, those of this room and every
FITS reader that knows tile compression read it, in part as well.
"""

from __future__ import annotations

__all__ = ("FITS_TILE", "TileChunk", "compress_tiles", "write_tiled_fits")

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

import astropy.io.fits
import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, Image, MaskedImage

from ..errors import InternalError
from ._gzip_tiles import compress_tile
from ._hdus import Hdu, _table_cards, _version_cards, index_hdu, json_hdu, primary_header
from ._json_tree import make_tree, schema_url
from ._planes import Plane, image_plane, mask_planes
from ._wcs_cards import find_forms
from .cards import BLOCK_SIZE, find_header_end, make_card, make_header

FITS_TILE = 256
"""Rows and columns of a compressed tile, counted from the corner of the image."""

_BITPIX = {"float32": -32, "float64": -64, "int16": 16, "int32": 32}


class TileChunk(Protocol):
    """Compressed tiles of part of an image."""

    @property
    def box(self) -> Box:
        """Pixels; its corner is that of a tile."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of the tiles of each plane, row by row, shape ``(n_planes, n_tiles)``."""

    def read(self, plane: int) -> bytes:
        """Return the tiles of a plane, one after the other."""


def compress_tiles(image: MaskedImage, extras: Mapping[str, Image]) -> list[list[bytes]]:
    """Compress part of an image.

    Parameters
    ----------
    image
        Part of the image whose corner is that of a tile.
    extras
        Further planes of the same pixels by name; their pixels are float32,
        float64, int16 or int32.

    Returns
    -------
    tiles
        For each stored plane its tiles, row by row.
    """
    return [
        [b"".join(compress_tile(_to_big(plane.pixels[tile]))) for tile in _tile_slices(plane.pixels.shape)]
        for plane in _list_planes(image, extras)
    ]


def write_tiled_fits(
    stream: IO[bytes],
    template: MaskedImage,
    bbox: Box,
    chunks: Sequence[TileChunk],
    *,
    header: astropy.io.fits.Header,
    created: Time,
    extras: Mapping[str, Image],
    tables: Sequence[astropy.io.fits.BinTableHDU] = (),
) -> None:
    """Write a file of compressed tiles.

    Parameters
    ----------
    stream
        File to write to, from where it stands.
    template
        First pixel of the image: with its unit, mask planes and projection.
    bbox
        Pixels of the image.
    chunks
        Parts that together make the image.
    header
        Cards for the primary header.
    created
        Time that the file says it was written at.
    extras
        First pixel of further planes, by name.
    tables
        Further tables, with names.

    Raises
    ------
    InternalError
        Raised if the chunks do not make the image.
    OSError
        Raised if the file cannot be written.
    """
    date = make_card("DATE", created.utc.fits, "UTC date this HDU was written.")
    planes = [_stretch(plane, bbox) for plane in _list_planes(template, extras)]
    grid_shape = tuple(-(-size // FITS_TILE) for size in bbox.shape)
    numbers = [_number_tiles(chunk.box, bbox) for chunk in chunks]
    if sorted(np.concatenate(numbers).tolist()) != list(range(grid_shape[0] * grid_shape[1])):
        raise InternalError(f"{len(chunks)} chunks do not make an image of {grid_shape} tiles.")
    projection = template.sky_projection
    forms = None if projection is None else find_forms(projection)
    cards = (b"" if forms is None else forms.wcs_cards(bbox)) + _corner_cards(bbox) + date
    heaps = [_place_tiles(chunks, numbers, plane) for plane in range(len(planes))]
    hdus = [_tiled_hdu(plane, heap, cards) for plane, heap in zip(planes, heaps, strict=True)]
    others = [_table_hdu(table) for table in tables]
    stored = planes[: len(planes) - len(extras)]
    tree = json_hdu(make_tree(template, stored, None if forms is None else forms.json), date)
    every = [*hdus, *others, tree]
    own = header.tostring(endcard=False, padding=False).encode("ascii")
    primary_cards = own + date + make_card("DATAMODL", schema_url(template), "Schema URL.")
    start = len(primary_header(primary_cards, index=(0, 0), json=(0, 0)))
    index = index_hdu(every, date, start=start)
    end = start + sum(hdu.size for hdu in every)
    stream.write(primary_header(primary_cards, index=(end, index.size), json=(end - tree.size, tree.size)))
    for number, (hdu, heap) in enumerate(zip(hdus, heaps, strict=True)):
        stream.write(hdu.header)
        stream.write(heap.tobytes())
        for chunk in chunks:
            stream.write(chunk.read(number))
        stream.write(bytes(-(heap.nbytes + int(heap[:, 0].sum())) % BLOCK_SIZE))
    for hdu in (*others, tree, index):
        stream.writelines((hdu.header, *hdu.data))


def _corner_cards(bbox: Box) -> bytes:
    """Return the cards of the parent's pixel coordinates, the alternate WCS ``A``."""
    values: dict[str, tuple[str | float, str | float]]
    values = {"CTYPE": ("LINEAR", "LINEAR"), "CRPIX": (1.0, 1.0), "CUNIT": ("PIXEL", "PIXEL")}
    values["CRVAL"] = (float(bbox.x.start), float(bbox.y.start))
    return b"".join(
        make_card(f"{name}{axis + 1}A", pair[axis]) for name, pair in values.items() for axis in range(2)
    )


def _list_planes(image: MaskedImage, extras: Mapping[str, Image]) -> list[Plane]:
    """Return the planes in the order in which they are stored."""
    variance = image_plane("VARIANCE", image.variance)
    further = [image_plane(name, plane) for name, plane in extras.items()]
    return [image_plane("IMAGE", image.image), *mask_planes(image.mask), variance, *further]


def _stretch(plane: Plane, bbox: Box) -> Plane:
    """Return a plane of the whole image that takes no memory, from its first pixel."""
    return dataclasses.replace(plane, pixels=np.broadcast_to(plane.pixels[:1, :1], tuple(bbox.shape)))


def _to_big(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">"))


def _tile_slices(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of an array, row by row."""
    for y in range(0, shape[0], FITS_TILE):
        for x in range(0, shape[1], FITS_TILE):
            yield slice(y, y + FITS_TILE), slice(x, x + FITS_TILE)


def _number_tiles(box: Box, bbox: Box) -> NDArray[np.int64]:
    """Return the numbers that the tiles of a part have in the image."""
    y, x = box.y.start - bbox.y.start, box.x.start - bbox.x.start
    if y % FITS_TILE or x % FITS_TILE:
        raise InternalError(f"The corner of {box} is none of a tile of {bbox}.")
    rows = y // FITS_TILE + np.arange(-(-box.y.size // FITS_TILE))
    columns = x // FITS_TILE + np.arange(-(-box.x.size // FITS_TILE))
    numbers: NDArray[np.int64] = (rows[:, None] * -(-bbox.x.size // FITS_TILE) + columns).ravel()
    return numbers


def _place_tiles(
    chunks: Sequence[TileChunk], numbers: Sequence[NDArray[np.int64]], plane: int
) -> NDArray[np.int64]:
    """Return size and place in the heap of each tile, shape ``(n_tiles, 2)``, as FITS wants them."""
    sizes = np.concatenate([chunk.sizes[plane] for chunk in chunks])
    descriptors = np.empty((sizes.size, 2), ">i8")
    descriptors[np.concatenate(numbers)] = np.column_stack((sizes, np.cumsum(sizes) - sizes))
    return descriptors


def _tiled_hdu(plane: Plane, heap: NDArray[np.int64], cards: bytes) -> Hdu:
    """Return the HDU of a plane, without the data."""
    ny, nx = plane.pixels.shape
    size = int(heap[:, 0].sum())
    kind = plane.pixels.dtype
    unquantised = (make_card("ZNAME1", "NOISEBIT"), make_card("ZVAL1", 0.0))
    structure = (
        *_table_cards(width=16, n_rows=len(heap), heap=size, n_fields=1),
        make_card("TTYPE1", "COMPRESSED_DATA"),
        # Descriptors of 64 bits: the heap may be larger than 2 GiB.
        make_card("TFORM1", f"1QB({heap[:, 0].max()})"),
        make_card("ZIMAGE", value=True, comment="extension contains compressed image"),
        make_card("ZTENSION", "IMAGE", "Image extension"),
        make_card("ZBITPIX", _BITPIX[kind.name], "array data type"),
        make_card("ZNAXIS", 2, "number of array dimensions"),
        make_card("ZNAXIS1", nx),
        make_card("ZNAXIS2", ny),
        make_card("ZPCOUNT", 0, "number of parameters"),
        make_card("ZGCOUNT", 1, "number of groups"),
        make_card("ZTILE1", min(nx, FITS_TILE), "size of tiles to be compressed"),
        make_card("ZTILE2", min(ny, FITS_TILE), "size of tiles to be compressed"),
        make_card("ZCMPTYPE", "GZIP_2", "compression algorithm"),
        *(unquantised if kind.kind == "f" else ()),
        make_card("EXTNAME", plane.name, "name of this binary table extension"),
        *_version_cards(plane),
    )
    whole = heap.nbytes + size
    return Hdu(
        plane.name,
        plane.version,
        "BINTABLE",
        is_compressed_image=True,
        header=make_header((*structure, plane.cards + cards)),
        data=(),
        data_size=whole + -whole % BLOCK_SIZE,
    )


def _table_hdu(table: astropy.io.fits.BinTableHDU) -> Hdu:
    """Return a table of astropy as bytes."""
    stream = io.BytesIO()
    hdus = astropy.io.fits.HDUList([astropy.io.fits.PrimaryHDU(), table])
    hdus.writeto(stream)
    content = stream.getvalue()
    begin = find_header_end(content)
    end = None if begin is None else find_header_end(content, begin)
    if begin is None or end is None:
        raise InternalError(f"The header of table {table.name} has no end.")
    header, data = content[begin:end], content[end:]
    return Hdu(table.name, 1, "BINTABLE", False, header, (data,), len(data))  # noqa: FBT003
