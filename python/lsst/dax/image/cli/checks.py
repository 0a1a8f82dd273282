"""Look at every file of the demo: that it opens, and that it shows something."""

from __future__ import annotations

__all__ = ("FitsSummary", "check_fits", "check_picture")

import dataclasses
from pathlib import Path

import astropy.io.fits
import numpy as np

from lsst.images import Image, Mask, MaskedImage
from lsst.images.serialization import read_archive

from ..errors import OutputError

_FEWEST_COLORS = 16


@dataclasses.dataclass(frozen=True)
class FitsSummary:
    """What a FITS file holds."""

    kind: str
    """Type of the `lsst.images` object."""

    shape: tuple[int, int]
    """Rows and columns of pixels."""

    planes: tuple[str, ...]
    """Names of the HDUs that hold pixels."""

    source: str
    """Dataset that it was cut from, as its header says; empty for an image in
    memory."""

    size: int
    """Bytes of the file."""


def check_fits(path: Path) -> FitsSummary:
    """Open a FITS file with astropy and with `lsst.images`.

    Parameters
    ----------
    path
        File of a cutout.

    Returns
    -------
    summary
        What is in it.

    Raises
    ------
    OutputError
        Raised if it does not open, if the two differ, or if its pixels are all
        the same.
    """
    try:
        with astropy.io.fits.open(path, mode="readonly") as hdus:
            hdus.verify("exception")
            planes = {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image and hdu.data is not None}
            header = hdus[0].header.copy()
        image = read_archive(str(path))
    except (OSError, ValueError, LookupError, TypeError, astropy.io.fits.VerifyError) as error:
        raise OutputError(f"{path} does not open: {type(error).__name__}: {error}") from error
    plane = image.image if isinstance(image, MaskedImage) else image
    if isinstance(plane, Mask) or not isinstance(plane, Image):
        raise OutputError(f"{path} holds a {type(image).__name__}, and no image.")
    if "IMAGE" not in planes or not np.array_equal(planes["IMAGE"], plane.array, equal_nan=True):
        raise OutputError(
            f"{path} has other pixels in astropy than in lsst.images; its image HDUs are {list(planes)}."
        )
    finite = plane.array[np.isfinite(plane.array)]
    if finite.size == 0 or finite.min() == finite.max():
        raise OutputError(f"{path} shows nothing: {finite.size} finite pixels, all of one value.")
    rows, columns = plane.array.shape
    return FitsSummary(
        type(image).__name__, (rows, columns), tuple(planes), _describe_source(header), path.stat().st_size
    )


def check_picture(path: Path) -> tuple[int, int]:
    """Open a PNG file and count its colours.

    Parameters
    ----------
    path
        Picture.

    Returns
    -------
    size
        Width and height.

    Raises
    ------
    OutputError
        Raised if it does not open, or has too few colours to show anything.
    """
    from PIL import Image as Pillow  # noqa: PLC0415  # the extra "plot"

    try:
        with Pillow.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} does not open: {type(error).__name__}: {error}") from error
    colors = len(np.unique(pixels.reshape(-1, 3), axis=0))
    if colors < _FEWEST_COLORS:
        raise OutputError(f"{path} shows nothing: {colors} colours, fewer than {_FEWEST_COLORS}.")
    height, width = pixels.shape[:2]
    return width, height


def _describe_source(header: astropy.io.fits.Header) -> str:
    """Return dataset type and data ID as the provenance cards have them."""
    if "BTLRNAME" not in header:
        return ""
    keys = sorted(keyword for keyword in header if keyword.startswith("BTLRK"))
    data_id = ", ".join(f"{header[key]} {header[key.replace('BTLRK', 'BTLRV')]}" for key in keys)
    return f"{header['BTLRNAME']}: {data_id}"
