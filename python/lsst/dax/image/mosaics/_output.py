"""Where mosaics are written: FITS files and Zarr groups, in any place."""

from __future__ import annotations

__all__ = ("Storage", "check_target", "encode", "exists", "put_mosaic")

import enum
from collections.abc import Sequence

import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.resources import ResourcePath, ResourcePathExpression

from ..container.tiled_fits import TileChunk
from ..errors import RequestError
from ..geometry import TargetGrid
from ._file import MemoryChunk, compress_planes, put_file
from ._planes import PixelForm, Planes
from ._zarr import encode_planes, put_zarr, require_zarr
from .rules import MosaicRules


class Storage(enum.Enum):
    """What a mosaic is written as."""

    FITS = ".fits"
    """A FITS file of compressed tiles."""

    ZARR = ".zarr"
    """A Zarr group."""


def check_target(uri: ResourcePathExpression) -> tuple[ResourcePath, Storage]:
    """Return the place of a mosaic and what it is written as, or raise.

    Parameters
    ----------
    uri
        Place.

    Returns
    -------
    target
        The same, absolute.
    storage
        Kind of output, by the ending of the name.

    Raises
    ------
    RequestError
        Raised if the name ends in neither ``.fits`` nor ``.zarr``, or a
        package is needed that is not installed.
    """
    text = str(uri).rstrip("/")
    if text.endswith(Storage.ZARR.value):
        require_zarr()
        return ResourcePath(text, forceAbsolute=True, forceDirectory=True), Storage.ZARR
    target = ResourcePath(uri, forceAbsolute=True, forceDirectory=False)
    if target.getExtension() != Storage.FITS.value:
        raise RequestError(
            f"Mosaics are written as '.fits' files or '.zarr' groups, not as {target.basename()!r}."
        )
    return target, Storage.FITS


def exists(target: ResourcePath) -> bool:
    """Tell whether there is something in a place.

    Parameters
    ----------
    target
        Place, as of `check_target`.

    Returns
    -------
    exists
        Whether there is a file, or a folder or group.
    """
    if target.isdir() and not target.isLocal:
        # Stores of objects have no folders.
        return target.join("zarr.json", forceDirectory=False).exists()
    return target.exists()


def encode(planes: Planes, coverage: NDArray[np.uint16], form: PixelForm, *, storage: Storage) -> MemoryChunk:
    """Compress part of a mosaic.

    Parameters
    ----------
    planes
        Pixels; their corner is that of a block.
    coverage
        Number of images behind each pixel.
    form
        What the pixels are.
    storage
        Kind of output.

    Returns
    -------
    chunk
        What is written of the part.
    """
    match storage:
        case Storage.FITS:
            return compress_planes(planes, coverage, form)
        case Storage.ZARR:
            return encode_planes(planes, coverage, form)


def put_mosaic(
    target: ResourcePath,
    storage: Storage,
    chunks: Sequence[TileChunk],
    grid: TargetGrid,
    form: PixelForm,
    rules: MosaicRules,
    inputs: QTable,
    created: Time,
    *,
    overwrite: bool = False,
) -> None:
    """Write a mosaic: complete, or not at all.

    Parameters
    ----------
    target
        Where to write it.
    storage
        Kind of output.
    chunks
        Parts that together make the mosaic.
    grid
        Pixels of the mosaic.
    form
        What the pixels are.
    rules
        How the images became one.
    inputs
        One row per image.
    created
        Time that the output says it was written at.
    overwrite
        Whether an output of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if it cannot be written, or exists and may not be replaced.
    """
    put = put_file if storage is Storage.FITS else put_zarr
    put(target, chunks, grid, form, rules, inputs, created, overwrite=overwrite)
