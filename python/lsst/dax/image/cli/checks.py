"""Look at every file of the demo: that it opens, and that it shows something."""

from __future__ import annotations

__all__ = ("FitsSummary", "check_fits", "check_picture")

import dataclasses
import warnings
from pathlib import Path

import astropy.io.fits
import numpy as np
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.wcs import WCS

from lsst.images import Image, Mask, MaskedImage
from lsst.images.serialization import read_archive

from ..errors import OutputError

_FEWEST_COLORS = 16
_MAX_DISAGREEMENT_PX = 0.01


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
        Raised if it does not open, if the two see other pixels or another
        place on the sky, or if its pixels are all the same.
    """
    planes, header = _read_with_astropy(path)
    try:
        image = read_archive(str(path))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(f"{path} does not open in lsst.images: {type(error).__name__}: {error}") from error
    plane = image.image if isinstance(image, MaskedImage) else image
    if isinstance(plane, Mask) or not isinstance(plane, Image):
        raise OutputError(f"{path} holds a {type(image).__name__}, and no image.")
    _check_agreement(path, plane, planes["IMAGE"])
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


def _read_with_astropy(path: Path) -> tuple[dict[str, astropy.io.fits.ImageHDU], astropy.io.fits.Header]:
    """Return the HDUs that hold pixels, in memory, and the primary header."""
    try:
        with warnings.catch_warnings():
            # Of a file that ends too early astropy reads what there is.
            warnings.simplefilter("error", VerifyWarning)
            with astropy.io.fits.open(path) as hdus:
                hdus.verify("exception")
                planes = {
                    hdu.name: astropy.io.fits.ImageHDU(np.array(hdu.data), hdu.header)
                    for hdu in hdus[1:]
                    if hdu.is_image
                }
                header = hdus[0].header.copy()
    except (OSError, ValueError, LookupError, TypeError, VerifyError, VerifyWarning) as error:
        raise OutputError(f"{path} does not open in astropy: {type(error).__name__}: {error}") from error
    if "IMAGE" not in planes:
        raise OutputError(f"{path} has no HDU 'IMAGE' with pixels, but {list(planes)}.")
    return planes, header


def _check_agreement(path: Path, image: Image, hdu: astropy.io.fits.ImageHDU) -> None:
    """Raise unless two readers see the same pixels at the same place."""
    if not np.array_equal(hdu.data, image.array, equal_nan=True):
        raise OutputError(f"{path} has other pixels in astropy than in lsst.images.")
    projection, box = image.sky_projection, image.bbox
    if projection is None:
        raise OutputError(f"{path} has no sky projection.")
    x, y = np.meshgrid(np.linspace(box.x.min, box.x.max, 5), np.linspace(box.y.min, box.y.max, 5))
    found_x, found_y = WCS(hdu.header).world_to_pixel(projection.pixel_to_sky(x=x, y=y))
    off = float(np.hypot(found_x + box.x.start - x, found_y + box.y.start - y).max())
    if not off < _MAX_DISAGREEMENT_PX:
        raise OutputError(f"{path} has its sky {off:.3g} pixels off in astropy from that in lsst.images.")


def _describe_source(header: astropy.io.fits.Header) -> str:
    """Return dataset type and data ID as the provenance cards have them."""
    if "BTLRNAME" not in header:
        return ""
    keys = sorted(keyword for keyword in header if keyword.startswith("BTLRK"))
    data_id = ", ".join(f"{header[key]} {header[key.replace('BTLRK', 'BTLRV')]}" for key in keys)
    return f"{header['BTLRNAME']}: {data_id}"
