"""Write an image as a FITS file: complete, or not at all."""

from __future__ import annotations

__all__ = ("render_image", "write_fits")

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    try:
        if not target.isLocal:
            _upload(b"".join(_render_parts(image, *arguments)), target, overwrite=overwrite)
        elif can_render(image) or can_render_components(image) or temporary_root is not None:
            _put_into_place(_render_parts(image, *arguments), Path(target.ospath), overwrite=overwrite)
        else:
            with _staged(Path(target.ospath), overwrite=overwrite) as staged:
                _write_whole(image, staged, header, compression)
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


def _put_into_place(parts: Sequence[bytes | memoryview], target: Path, *, overwrite: bool) -> None:
    """Write a finished file."""
    with _staged(target, overwrite=overwrite) as staged, staged.open("wb") as stream:
        stream.writelines(parts)


@contextmanager
def _staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary name beside a file, which gets its own in one step that cannot half-happen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists")
    # lsst.images looks at the extension.
    staged = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.part.fits")
    try:
        yield staged
        if overwrite:
            staged.replace(target)
        else:
            # Unlike the check before, this fails if another process made the file meanwhile.
            target.hardlink_to(staged)
    finally:
        staged.unlink(missing_ok=True)


def _upload(content: bytes, target: ResourcePath, *, overwrite: bool) -> None:
    """Put a finished file into a store, which takes it whole or not at all.

    The clients of the stores have exceptions of their own, and
    `lsst.resources` reports a refusal by a web server as a `ValueError`.
    """
    failures: tuple[type[Exception], ...] = (ValueError, RuntimeError, *_store_failures())
    try:
        target.write(content, overwrite=overwrite)
    except failures as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _add_cards(primary: astropy.io.fits.Header, cards: astropy.io.fits.Header) -> None:
    """Add cards to a primary header; a card of the same name is replaced.

    The Butler's own cards name the dataset that a file is.  A cutout is not
    the dataset that it was cut from, so they are dropped.
    """
    for keyword in {keyword for keyword in primary if keyword.startswith("LSST BUTLER")}:
        del primary[keyword]
    primary.extend(cards, update=True)


def _store_failures() -> tuple[type[Exception], ...]:
    """Return the base exceptions of object store clients that are no OSError."""
    try:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415  # an optional store
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        return ()
    return (Boto3Error, BotoCoreError, ClientError)
