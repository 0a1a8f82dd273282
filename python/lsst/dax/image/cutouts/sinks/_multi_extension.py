"""A sink that writes one FITS file with the HDUs of all stamps."""

from __future__ import annotations

__all__ = ("MultiExtensionFits",)

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

import astropy.io.fits
import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, Mask, MaskPlane, MaskSchema

from ...container import render_wcs
from ...errors import OutputError, UnsupportedProductError
from .._stamps import Stamp
from ._closing import close_unflushed
from ._files import StagedSink
from ._from_butler import make_stamp_header
from ._planes import PSF, pack_mask, split_planes
from ._table_hdu import BLOCK, render_primary, render_table
from ._targets import TargetColumn, Value, make_row, target_wcs

# Types that FITS lacks, or has by an offset only, and the next one that holds them.
_WIDER = {"b1": np.uint8, "i1": np.int16, "u2": np.int32, "u4": np.int64, "f2": np.float32}
_COLUMNS = (
    TargetColumn("extver", int, "EXTVER of the stamp's HDUs; 0 where there are no pixels."),
    TargetColumn("end", int, "Size of the file with the stamp, in bytes."),
)


class MultiExtensionFits(StagedSink):
    """Writes one FITS file with HDUs ``IMAGE``, ``MASK`` and ``VARIANCE`` per stamp.

    A stamp that has a PSF has an HDU ``PSF`` too.  The HDUs of a stamp share an
    ``EXTVER``, which counts from 1.  Each has its unit, its WCS, the parent's
    pixel coordinates as alternate WCS ``A``, and the cards of the target and
    its provenance.  A mask is one integer per
    pixel; its planes stand in the cards ``MSKNnnnn`` (name), ``MSKMnnnn`` (bit)
    and ``MSKDnnnn`` (meaning), as in files of `lsst.images`.  The last HDU is
    the table ``TARGETS``.  Further components of a stamp are not written.

    The pixels are not held in memory; the table of targets is, at the end.

    Parameters
    ----------
    path
        Local file to make.
    created
        Time to record as that of the cut; now if `None`.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if the file exists and may not be replaced, if its folder cannot
        be made, or if another run writes to it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, created: Time | None = None, overwrite: bool = False
    ) -> None:
        super().__init__(Path(path), _COLUMNS, overwrite=overwrite)
        self._created = Time.now() if created is None else created
        self._made = self._staging / "stamps.fits"
        with self._errors_reported():
            rows = self._log.rows()
            self._count = max((int(row["extver"]) for row in rows), default=0)
            self._end = max((int(row["end"]) for row in rows), default=0)
            self._made.touch()
            self._file = self._made.open("r+b")
            self._write_at_end(b"" if self._end else render_primary())

    @override
    def release(self) -> None:
        super().release()
        close_unflushed(self._file)

    @override
    def _write(self, stamp: Stamp) -> Mapping[str, Value]:
        if stamp.image is None:
            return {"extver": 0, "end": self._end}
        self._write_at_end(_render_hdus(stamp, extver=self._count + 1, created=self._created))
        self._count += 1
        return {"extver": self._count, "end": self._end}

    @override
    def _complete(self) -> None:
        end = self._end
        self._write_at_end(render_table(self._log.table(without=["end"]), name="TARGETS"))
        # If the file cannot be given its name, another run writes the table anew.
        self._end = end
        self._publish(self._made)

    def _write_at_end(self, content: bytes) -> None:
        """Add bytes after the last stamp, over what a failed attempt left."""
        self._file.seek(self._end)
        self._file.truncate()
        self._file.write(content)
        self._file.flush()
        self._end += len(content)


def _render_hdus(stamp: Stamp, *, extver: int, created: Time) -> bytes:
    """Return the HDUs of a stamp, ready to be appended to a file."""
    target = _cards_text(make_stamp_header(stamp, created=created, time_scale="UTC"))
    grid = _grid_cards(stamp)
    parts = []
    for name, plane in split_planes(stamp).items():
        if isinstance(plane, Mask):
            pixels, own = _pack_planes(plane)
        else:
            pixels, own = _storable(plane.array), _unit_card(plane.unit)
        where = grid if name != PSF else _parent_cards(plane.bbox)
        structure = _structure_cards(name.upper(), pixels.dtype.str, pixels.shape)
        header = f"{structure}{f'EXTVER  = {extver:20d}':80}{own}{where}{target}{'END':80}"
        parts.append(_fill(header.encode("ascii"), b" "))
        parts.append(_fill(pixels.astype(pixels.dtype.newbyteorder(">")).tobytes(), b"\0"))
    return b"".join(parts)


def _storable(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels in a type that FITS has without an offset."""
    code = pixels.dtype.str[1:]
    if code in _WIDER:
        return pixels.astype(_WIDER[code])
    if code not in {"u1", "i2", "i4", "i8", "f4", "f8"}:
        raise UnsupportedProductError(f"FITS has no {pixels.dtype} pixels.")
    return pixels


@functools.lru_cache(maxsize=64)
def _structure_cards(name: str, dtype: str, shape: tuple[int, ...]) -> str:
    """Return the cards of an image HDU that say how its pixels are stored."""
    return _cards_text(astropy.io.fits.ImageHDU(np.zeros(shape, dtype), name=name).header)


def _grid_cards(stamp: Stamp) -> str:
    """Return the cards of the WCS, and of the parent's pixel coordinates."""
    image = stamp.image
    if image is None or image.sky_projection is None:
        return "" if image is None else _parent_cards(image.bbox)
    cards = render_wcs(image).decode("ascii")
    if not cards:
        local = f"{'WCSLOCAL=                    T / WCS is linear: no exact FITS form':80}"
        cards = local + _cards_text(target_wcs(make_row(stamp)).to_header(relax=True))
    return cards + _parent_cards(image.bbox)


def _parent_cards(bbox: Box) -> str:
    """Return the cards of the parent's pixel coordinates."""
    return "".join(
        f"{f'{keyword} = {value}':80}"
        for axis, interval in ((1, bbox.x), (2, bbox.y))
        for keyword, value in (
            (f"CTYPE{axis}A", "'LINEAR  '"),
            (f"CUNIT{axis}A", "'pixel   '"),
            (f"CRPIX{axis}A", f"{1.0:20.1f}"),
            (f"CRVAL{axis}A", f"{interval.start:20.1f}"),
        )
    )


def _pack_planes(mask: Mask) -> tuple[NDArray[Any], str]:
    """Return a mask as integers, and the cards of its planes."""
    planes = tuple(plane for plane in mask.schema if plane is not None)
    for dtype in (np.dtype(np.int32), np.dtype(np.int64)):
        if len(planes) <= MaskSchema.bits_per_element(dtype):
            packed = pack_mask(mask, [plane.name for plane in planes], dtype)
            return packed, _mask_cards(planes, dtype.str)
    raise UnsupportedProductError(f"A mask of {len(planes)} planes does not fit into the 63 bits of an HDU.")


@functools.lru_cache(maxsize=64)
def _mask_cards(planes: tuple[MaskPlane, ...], dtype: str) -> str:
    """Return the cards of mask planes."""
    header = astropy.io.fits.Header()
    try:
        MaskSchema(planes, np.dtype(dtype)).update_header(header)
    except ValueError as error:
        names = [plane.name for plane in planes]
        raise OutputError(f"The mask planes {names} cannot be written: {error}") from error
    return _cards_text(header)


def _unit_card(unit: Any) -> str:
    """Return the card of a unit."""
    return "" if unit is None else _cards_text(astropy.io.fits.Header([("BUNIT", unit.to_string("fits"))]))


def _cards_text(header: astropy.io.fits.Header) -> str:
    """Return the cards of a header, without END."""
    text: str = header.tostring(endcard=False, padding=False)
    return text


def _fill(content: bytes, filling: bytes) -> bytes:
    """Return bytes filled up to whole blocks."""
    return content.ljust(-(-len(content) // BLOCK) * BLOCK, filling)
