"""Give a finished file its name, in a folder or in a store: whole, or not at all."""

from __future__ import annotations

__all__ = ("placed_whole", "upload_errors_reported")

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsst.resources import ResourcePath

from ..errors import OutputError


@contextmanager
def placed_whole(target: ResourcePath, *, overwrite: bool) -> Iterator[Path]:
    """Yield a new local file to write, which becomes the target when all went well.

    Parameters
    ----------
    target
        Absolute URI of a file.
    overwrite
        Whether a file of that name may be replaced.

    Yields
    ------
    path
        Name with the extension of the target; nothing is there yet.

    Raises
    ------
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.  There is no partial file then.
    """
    try:
        if target.isLocal:
            with _staged(Path(target.ospath), overwrite=overwrite) as staged:
                yield staged
        else:
            with tempfile.TemporaryDirectory(prefix="dax-image-") as folder:
                made = Path(folder) / f"made{target.getExtension()}"
                yield made
                with upload_errors_reported():
                    target.transfer_from(ResourcePath(made), transfer="copy", overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {type(error).__name__}: {error}") from error


@contextmanager
def _staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary name beside a file, which gets its own in one step that cannot half-happen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists")
    # Writers of tables and images look at the extension.
    staged = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.part{target.suffix}")
    try:
        yield staged
        if overwrite:
            staged.replace(target)
        else:
            # Unlike the check before, this fails if another process made the file meanwhile.
            target.hardlink_to(staged)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def upload_errors_reported() -> Iterator[None]:
    """Turn what the clients of stores raise into an `OSError`.

    They have exceptions of their own, and `lsst.resources` reports a refusal
    by a web server as a `ValueError`.
    """
    failures: tuple[type[Exception], ...] = (ValueError, RuntimeError, *_store_failures())
    try:
        yield
    except failures as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _store_failures() -> tuple[type[Exception], ...]:
    """Return the base exceptions of object store clients that are no OSError."""
    try:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415  # an optional store
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        return ()
    return (Boto3Error, BotoCoreError, ClientError)
