"""Write a colour image as a PNG file."""

from __future__ import annotations

__all__ = ("write_color_png",)

import os
import uuid
from pathlib import Path

import astropy.io.fits
import numpy as np

from lsst.images import ColorImage

from ..errors import OutputError, RequestError
from ._require import require_package


def write_color_png(color: ColorImage, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a colour image as a PNG file: complete, or not at all.

    Parameters
    ----------
    color
        Eight-bit colour image, as of `make_color_image`.
    path
        Local file, which ends in ``.png``; missing folders are made.
    overwrite
        Whether a file of that name may be replaced.

    Returns
    -------
    path
        Where the file is now.

    Raises
    ------
    RequestError
        Raised if the name does not end in ``.png``, if the image is not of
        eight bits, or if pillow is not installed.
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.

    Notes
    -----
    A PNG file begins with its top row, an image of the sky with its bottom
    row, so the rows are written in reverse.  If a FITS WCS can describe the
    projection, its cards are in the text chunk ``Comment``, one per line.
    They count rows from the bottom of the picture, as in a FITS file.
    """
    require_package("PIL")
    from PIL import Image  # noqa: PLC0415  # the extra "plot"
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415

    target = Path(path)
    if target.suffix.lower() != ".png":
        raise RequestError(f"Colour images are written as '.png' files, not as {target.name!r}.")
    if color.array.dtype != np.uint8:
        raise RequestError(f"A PNG file holds pixels of type uint8, not {color.array.dtype}.")
    text = PngInfo()
    text.add_text("Software", "lsst.dax.image")
    if cards := _make_cards(color):
        text.add_text("Comment", cards)
    picture = Image.fromarray(np.ascontiguousarray(color.array[::-1]))
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staged.open("xb") as stream:
                picture.save(stream, format="PNG", pnginfo=text)
                stream.flush()
                os.fsync(stream.fileno())
            if overwrite:
                staged.replace(target)
            else:
                # Unlike a check before the move, this fails if another
                # process makes the file in between.
                target.hardlink_to(staged)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {type(error).__name__}: {error}") from error
    return target


def _make_cards(color: ColorImage) -> str:
    """Return FITS cards of the projection, one per line; empty without one."""
    projection = color.sky_projection
    if projection is None:
        return ""
    # A projection has an approximation where its own FITS form is none or false.
    wcs = projection.as_fits_wcs(color.bbox, allow_approximation=True)
    if wcs is None:
        return ""
    height, width = color.bbox.shape
    header = astropy.io.fits.Header({"NAXIS": 2, "NAXIS1": width, "NAXIS2": height})
    header.extend(wcs.to_header(relax=True))
    return str(header.tostring(sep="\n", endcard=False, padding=False))
