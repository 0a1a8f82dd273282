"""Write an image as a FITS file: complete, or not at all."""

from __future__ import annotations

__all__ = ("render_image", "write_fits")

import tempfile
from collections.abc import Sequence
from pathlib import Path

import astropy.io.fits
from astropy.time import Time

import lsst.images.fits
from lsst.images import GeneralizedImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import OutputError, RequestError
from ._ast_lock import AST_TEXT_LOCK
from ._hdus import Compression
from .component_writer import can_render_components, render_components
from .placing import placed_whole, upload_errors_reported
from .writer import can_render, render_parts


def write_fits(
    image: GeneralizedImage,
    uri: ResourcePathExpression,
    *,
    header: astropy.io.fits.Header,
    compression: Compression = Compression.GZIP,
    overwrite: bool = False,
    temporary_root: ResourcePathExpression | None = None,
    written: Time | None = None,
) -> ResourcePath:
    """Write an image as an `lsst.images` FITS file to any place.

    Parameters
    ----------
    image
        Image to write.
    uri
        Where to write it: a local path or a URI that `lsst.resources` can
        write to (``file``, ``s3``, ``https`` with PUT, ...).  The extension
        must be ``.fits``.
    header
        Cards for the primary header.
    compression
        How to store the pixels of images without further components.
    overwrite
        Whether a file of that name may be replaced.
    temporary_root
        Local folder in which files with further components are made; beside
        the target if `None`, or in the system's own for a remote one.
    written
        Time that the file says it was written at; now if `None`.

    Returns
    -------
    uri
        Where the file is now.

    Raises
    ------
    RequestError
        Raised if the name does not end in ``.fits``.
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.  There is no partial file then.
    """
    target = ResourcePath(uri, forceAbsolute=True, forceDirectory=False)
    if target.getExtension() != ".fits":
        raise RequestError(f"Images are written as '.fits' files, not as {target.basename()!r}.")
    arguments = (header, compression, temporary_root, written)
    if target.isLocal:
        with placed_whole(target, overwrite=overwrite) as staged:
            if can_render(image) or can_render_components(image) or temporary_root is not None:
                with staged.open("wb") as stream:
                    stream.writelines(_render_parts(image, *arguments))
            else:
                _write_whole(image, staged, header, compression)
        return target
    try:
        content = b"".join(_render_parts(image, *arguments))
        with upload_errors_reported():
            target.write(content, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {type(error).__name__}: {error}") from error
    return target


def render_image(
    image: GeneralizedImage,
    *,
    header: astropy.io.fits.Header,
    compression: Compression = Compression.GZIP,
    temporary_root: ResourcePathExpression | None = None,
    written: Time | None = None,
) -> bytes:
    """Return the content of the FITS file of an image.

    Parameters
    ----------
    image, header, compression, temporary_root, written
        As for `write_fits`.

    Returns
    -------
    content
        A file that `lsst.images` reads back as what it was.

    Raises
    ------
    OSError
        Raised if the temporary folder cannot be used.
    OutputError
        Raised if FITS cannot say what the image says.
    """
    return b"".join(_render_parts(image, header, compression, temporary_root, written))


def _render_parts(
    image: GeneralizedImage,
    header: astropy.io.fits.Header,
    compression: Compression,
    temporary_root: ResourcePathExpression | None,
    written: Time | None,
) -> Sequence[bytes | memoryview]:
    """Return the content of the FITS file of an image in parts."""
    created = Time.now() if written is None else written
    if can_render(image):
        return render_parts(image, header=header, created=created, compression=compression)  # type: ignore[arg-type]
    # PSFs and other components: only lsst.images writes them, and to a path.
    scratch = None if temporary_root is None else ResourcePath(temporary_root, forceDirectory=True).ospath
    with tempfile.TemporaryDirectory(prefix="dax-image-", dir=scratch) as folder:
        made = Path(folder) / "image.fits"
        if can_render_components(image):
            return render_components(
                image,  # type: ignore[arg-type]
                made,
                header=header,
                created=created,
                compression=compression,
            )
        _write_whole(image, made, header, compression)
        return [made.read_bytes()]


def _write_whole(
    image: GeneralizedImage, path: Path, header: astropy.io.fits.Header, compression: Compression
) -> None:
    """Write an image with all its components to a new file, through `lsst.images`."""
    options = dict.fromkeys(("image", "mask", "variance")) if compression is Compression.NONE else None
    with AST_TEXT_LOCK:
        lsst.images.fits.write(
            image,
            str(path),
            compression_options=options,
            update_header=lambda primary: _add_cards(primary, header),
        )


def _add_cards(primary: astropy.io.fits.Header, cards: astropy.io.fits.Header) -> None:
    """Add cards to a primary header; a card of the same name is replaced.

    The Butler's own cards name the dataset that a file is.  A cutout is not
    the dataset that it was cut from, so they are dropped.
    """
    for keyword in {keyword for keyword in primary if keyword.startswith("LSST BUTLER")}:
        del primary[keyword]
    primary.extend(cards, update=True)
