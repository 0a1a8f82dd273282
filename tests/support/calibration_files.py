"""Calibration files in the observatory's forms."""

from __future__ import annotations

__all__ = ("NAMES", "VERTICES", "write_master", "write_tables")

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.table import Table

NAMES = ("C10", "C11", "C01", "C00")
"""Amplifiers of the tables."""

VERTICES = ((0.5, 0.5), (10.5, 0.5), (10.5, 7.5), (0.5, 7.5))
"""Outline of the lit part of a flat."""


def write_tables(path: Path, tables: Sequence[Table], cards: Mapping[str, Any]) -> Path:
    """Write tables as HDUs after an empty primary one; the first has the cards."""
    hdus: list[Any] = [fits.PrimaryHDU()]
    for table in tables:
        hdu = fits.table_to_hdu(table)
        for key, value in cards.items():
            hdu.header[key if len(key) <= 8 else f"HIERARCH {key}"] = value
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def write_master(
    path: Path,
    *,
    image: npt.NDArray[np.float32],
    mask: npt.NDArray[np.int32] | None = None,
    planes: Mapping[str, int] | None = None,
    cards: Mapping[str, Any] | None = None,
    origin: tuple[int, int] = (0, 0),
    has_outline: bool = False,
    compression: str | None = "GZIP_2",
) -> Path:
    """Write a master image as an exposure of the first pipelines; its variance is image + 1."""
    primary = fits.PrimaryHDU()
    for key, value in (cards or {}).items():
        primary.header[key if len(key) <= 8 else f"HIERARCH {key}"] = value
    primary.header["EXTNAME"] = "IMAGE"  # as in real files, twice
    hdus: list[Any] = [primary]
    bits = np.zeros(image.shape, np.int32) if mask is None else mask
    for name, pixels in (("IMAGE", image), ("MASK", bits), ("VARIANCE", image + 1)):
        header = fits.Header({"EXTTYPE": name, "EXTNAME": name, "LTV1": -origin[0], "LTV2": -origin[1]})
        for plane, bit in (planes or {"BAD": 0}).items():
            if name == "MASK":
                header[f"HIERARCH MP_{plane}"] = bit
        if compression is None:
            hdus.append(fits.ImageHDU(pixels, header))
        else:
            hdus.append(fits.CompImageHDU(pixels, header, compression_type=compression, quantize_level=0.0))
    if has_outline:
        primary.header["HIERARCH ARCHIVE_ID_VALID_POLYGON"] = 7
        hdus += _make_archive()
    fits.HDUList(hdus).writeto(path)
    return path


def _make_archive() -> list[fits.BinTableHDU]:
    """Return an archive of one outline, which is preceded by another."""
    index = fits.table_to_hdu(
        Table({"id": [3, 7], "cat.archive": [1, 1], "row0": [0, 3], "nrows": [3, 4], "name": ["Polygon"] * 2})
    )
    index.header["EXTNAME"] = "ARCHIVE_INDEX"
    index.header["AR_CATN"] = 0
    vertices = [(-1.0, -1.0), (1.0, -1.0), (0.0, 1.0), *VERTICES]
    x, y = np.array(vertices).T
    polygon = fits.table_to_hdu(Table({"vertices_x": x, "vertices_y": y}))
    polygon.header["EXTNAME"] = "Polygon"
    polygon.header["AR_CATN"] = 1
    return [index, polygon]
