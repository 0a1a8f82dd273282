"""Mosaics as FITS files of compressed tiles."""

from __future__ import annotations

__all__ = ("MemoryChunk", "compress_planes", "make_header", "put_file")

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import astropy.io.fits
import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, Image
from lsst.resources import ResourcePath

from ..container import placed_whole
from ..container.tiled_fits import TileChunk, compress_tiles, write_tiled_fits
from ..geometry import TargetGrid
from ..version import __version__
from ._planes import PixelForm, Planes, to_masked
from .rules import MosaicRules, has_psf

_COVERAGE = "COVERAGE"


@dataclass(frozen=True)
class MemoryChunk:
    """Compressed tiles of part of a mosaic, in memory."""

    box: Box
    """Pixels of the part."""

    sizes: NDArray[np.int64]
    """Bytes of the tiles of each plane, shape ``(n_planes, n_tiles)``."""

    contents: Sequence[bytes]
    """Tiles of each plane, one after the other."""

    def read(self, plane: int) -> bytes:
        """Return the tiles of a plane, one after the other."""
        return self.contents[plane]


def compress_planes(planes: Planes, coverage: NDArray[np.uint16], form: PixelForm) -> MemoryChunk:
    """Compress part of a mosaic.

    Parameters
    ----------
    planes
        Pixels; their corner is that of a tile of the file.
    coverage
        Number of images behind each pixel.
    form
        What the pixels are.

    Returns
    -------
    chunk
        The tiles.
    """
    start = planes.box.start
    tiles = compress_tiles(to_masked(planes, form, None), {_COVERAGE: _to_image(coverage, start)})
    sizes = np.array([[len(tile) for tile in plane] for plane in tiles], np.int64)
    return MemoryChunk(planes.box, sizes, [b"".join(plane) for plane in tiles])


def make_header(rules: MosaicRules, n_inputs: int) -> astropy.io.fits.Header:
    """Return the cards that say how a mosaic was made.

    Parameters
    ----------
    rules
        How the images became one.
    n_inputs
        Number of images.

    Returns
    -------
    header
        Cards.
    """
    header = astropy.io.fits.Header()
    header["MOSINPUT"] = (n_inputs, "Number of images, listed in extension INPUTS")
    header["MOSOVER"] = (rules.overlap.value, "Rule where images share their pixels")
    header["MOSCOMB"] = (rules.combine.value, "Rule where other images overlap")
    header["MOSVAR"] = (rules.variance.value, "How their variances are combined")
    header["MOSFEATH"] = (rules.feather_px, "[pix] Width of feathered seams")
    header["MOSBACK"] = (rules.background.value, "Backgrounds that were matched")
    excluded = ",".join(rules.exclude_planes)
    # Of a long value and a comment, FITS would cut the comment off.
    header["MOSEXCL"] = (excluded, "Mask planes that were left out" if len(excluded) < 30 else "")
    header["MOSBEXCL"] = ",".join(rules.background_exclude)
    header["MOSKERN"] = (rules.kernel.value, "Kernel of images on other pixels")
    header["MOSMASK"] = (rules.mask_rule.value, "Rule of their masks")
    header["MOSMISS"] = (rules.missing_rule.value, "Rule of their missing pixels")
    header["MOSFLUX"] = (rules.flux_convention.value, "What of them is kept")
    header["MOSPSF"] = (
        "inputs" if has_psf(rules) else "none",
        "PSF: of the inputs, by their shares; or none",
    )
    header["MOSVERS"] = (f"lsst-dax-image {__version__}", "Software that made the mosaic")
    return header


def put_file(
    target: ResourcePath,
    chunks: Sequence[TileChunk],
    grid: TargetGrid,
    form: PixelForm,
    rules: MosaicRules,
    inputs: QTable,
    created: Time,
    *,
    overwrite: bool,
) -> None:
    """Write the file of a mosaic: complete, or not at all.

    Parameters
    ----------
    target
        Where to write it.
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
        Time that the file says it was written at.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.
    """
    corner = Box.factory[grid.bbox.y.start : grid.bbox.y.start + 1, grid.bbox.x.start : grid.bbox.x.start + 1]
    first = form.allocate(corner)
    first.fill_blank(form)
    table = astropy.io.fits.table_to_hdu(inputs)
    table.name = "INPUTS"

    def write(stream: IO[bytes]) -> None:
        write_tiled_fits(
            stream,
            to_masked(first, form, grid.sky_projection),
            grid.bbox,
            chunks,
            header=make_header(rules, len(inputs)),
            created=created,
            extras={_COVERAGE: _to_image(np.zeros((1, 1), np.uint16), corner.start)},
            tables=[table],
        )

    with placed_whole(target, overwrite=overwrite) as path, path.open("xb") as stream:
        write(stream)


def _to_image(coverage: NDArray[np.uint16], start: Sequence[int]) -> Image:
    """Return a coverage as FITS has integers: signed."""
    stored: NDArray[Any] = np.minimum(coverage, np.iinfo(np.int16).max).astype(np.int16)
    return Image(stored, yx0=start)
