"""One FITS file per stamp: its name and its content."""

from __future__ import annotations

__all__ = ("FILE_COLUMN", "StampFiles")

import io
from collections.abc import Sequence
from pathlib import Path

import astropy.io.fits
from astropy.time import Time

from lsst.images import Image

from ...container import render_image
from ...errors import RequestError
from .._stamps import Stamp
from ._from_butler import make_stamp_header
from ._sink import stamp_key
from ._table_hdu import BLOCK
from ._targets import TargetColumn

FILE_COLUMN = TargetColumn("file", str, "Name of the stamp's file; empty where there are no pixels.")


class StampFiles:
    """Names and writes the files of stamps.

    Parameters
    ----------
    folder
        Local folder of the files.
    names
        Name of each target, by its index in the request; the index itself if
        `None`.
    created
        Time to record as that of the cut; now if `None`.

    Raises
    ------
    RequestError
        Raised if the names are not distinct or cannot be names of files.
    """

    def __init__(self, folder: Path, *, names: Sequence[str] | None, created: Time | None) -> None:
        self._folder = folder
        self._names = None if names is None else _check_names(names)
        self._created = Time.now() if created is None else created

    def write(self, stamp: Stamp, *, overwrite: bool) -> str:
        """Write the file of a stamp that has pixels.

        Parameters
        ----------
        stamp
            Stamp, with pixels or without.
        overwrite
            Whether a file of that name may be replaced.

        Returns
        -------
        name
            Name of the file; empty where there are no pixels.

        Raises
        ------
        RequestError
            Raised if there is no name for the target.
        OutputError
            Raised if the file cannot be written, or exists and may not be
            replaced.
        """
        name = self._name(stamp)
        if stamp.image is None:
            return ""
        time_scale = str(stamp.image.metadata.get("TIMESYS", "UTC"))
        header = make_stamp_header(stamp, created=self._created, time_scale=time_scale)
        content = render_image(stamp.image, header=header, written=self._created)
        if stamp.psf is not None:
            content += _render_psf(stamp.psf)
        self._put_into_place(content, name, overwrite=overwrite)
        return name

    def _put_into_place(self, content: bytes, name: str, *, overwrite: bool) -> None:
        """Give a complete file its name, in one step."""
        staged = self._folder / f".{name}.part"
        staged.write_bytes(content)
        try:
            if overwrite:
                staged.replace(self._folder / name)
            else:
                # This fails if the file exists, unlike a move.
                (self._folder / name).hardlink_to(staged)
        finally:
            staged.unlink(missing_ok=True)

    def _name(self, stamp: Stamp) -> str:
        """Return the name of a stamp's file."""
        if self._names is None:
            target = f"{stamp.index:06d}"
        elif stamp.index < len(self._names):
            target = self._names[stamp.index]
        else:
            raise RequestError(f"Stamp {stamp.index} has no name: there are {len(self._names)} names.")
        return "_".join(part for part in (target, stamp_key(stamp).dataset) if part) + ".fits"


def _render_psf(psf: Image) -> bytes:
    """Return the HDU of a PSF; `lsst.images` takes no notice of it."""
    file = io.BytesIO()
    astropy.io.fits.ImageHDU(psf.array, name="PSF").writeto(file)
    # A file of one image HDU begins with an empty primary HDU.
    return file.getvalue()[BLOCK:]


def _check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that can all be files of one folder, or raise."""
    seen: set[str] = set()
    for name in names:
        if not name or name.startswith(".") or "/" in name or not (name.isascii() and name.isprintable()):
            raise RequestError(f"{name!r} cannot be the name of a file: printable ASCII without '/' can.")
        # Some file systems take names that differ by case alone as one.
        if name.casefold() in seen:
            raise RequestError(f"The name {name!r} occurs twice among {len(names)} names.")
        seen.add(name.casefold())
    return tuple(names)
