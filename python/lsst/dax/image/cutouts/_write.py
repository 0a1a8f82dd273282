"""Write an image as a FITS file: complete, or not at all."""

from __future__ import annotations

__all__ = ("write_fits",)

import os
import tempfile
import uuid
from pathlib import Path

import astropy.io.fits

from lsst.images import GeneralizedImage
from lsst.images.serialization import write_archive
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import OutputError, RequestError


def write_fits(
    image: GeneralizedImage,
    uri: ResourcePathExpression,
    *,
    header: astropy.io.fits.Header,
    overwrite: bool,
    temporary_root: ResourcePathExpression | None = None,
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
    overwrite
        Whether a file of that name may be replaced.
    temporary_root
        Local folder in which the file is made; the system's own if `None`.

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
        raise RequestError(f"Cutouts are written as '.fits' files, not as {target.basename()!r}.")
    scratch = None if temporary_root is None else ResourcePath(temporary_root, forceDirectory=True).ospath
    try:
        with tempfile.TemporaryDirectory(prefix="dax-image-", dir=scratch) as folder:
            made = Path(folder) / "image.fits"
            write_archive(image, str(made), update_header=lambda primary: _add_cards(primary, header))
            if target.isLocal:
                _move_into_place(made, Path(target.ospath), overwrite=overwrite)
            else:
                _upload(made, target, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {type(error).__name__}: {error}") from error
    return target


def _upload(made: Path, target: ResourcePath, *, overwrite: bool) -> None:
    """Put a finished file into a store, which takes it whole or not at all.

    The clients of the stores have exceptions of their own, and
    `lsst.resources` reports a refusal by a web server as a `ValueError`.
    """
    failures: tuple[type[Exception], ...] = (ValueError, RuntimeError, *_store_failures())
    try:
        target.transfer_from(ResourcePath(made), transfer="copy", overwrite=overwrite)
    except failures as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _move_into_place(made: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its name, in one step that cannot half-happen.

    The file is copied into the target's folder first, because a move is
    atomic within one file system only.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with made.open("rb") as source, staged.open("xb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if overwrite:
            staged.replace(target)
        else:
            # Unlike a check before the move, this fails if another process
            # makes the file in between.
            target.hardlink_to(staged)
    finally:
        staged.unlink(missing_ok=True)


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
