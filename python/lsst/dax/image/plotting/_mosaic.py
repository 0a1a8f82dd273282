"""Pictures of a mosaic in several sizes."""

from __future__ import annotations

__all__ = ("write_preview_pngs",)

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, RequestError
from ._require import require_package
from ._stretch import Stretch, make_norm


def write_preview_pngs(
    preview: NDArray[np.float32],
    path: str | os.PathLike[str],
    *,
    sizes: Sequence[int] = (2048, 1024, 512, 256),
    stretch: Stretch = Stretch.ASINH,
    overwrite: bool = False,
) -> list[Path]:
    """Write pictures of one image in several sizes, in shades of grey.

    Parameters
    ----------
    preview
        Values, shape ``(ny, nx)``, as of `~lsst.dax.image.mosaics.WrittenMosaic`
        or of any image; NaN is shown in black.
    path
        Local file, which ends in ``.png``; the pictures are called after it
        with their longer side, as in ``name-512.png``.
    sizes
        Longest sides in pixels.  A size that the preview does not have is
        replaced by its own, once.
    stretch
        Scale of shades, which is the same for all sizes.
    overwrite
        Whether files of these names may be replaced.

    Returns
    -------
    paths
        Where the pictures are, the largest one first.

    Raises
    ------
    RequestError
        Raised if the name does not end in ``.png``, if the preview has no
        rows and columns, if there is no size or one that is not positive, or
        if pillow or matplotlib is not installed.
    OutputError
        Raised if a picture cannot be written, or exists and may not be
        replaced.

    Notes
    -----
    A smaller picture has the means of squares of pixels of the preview, so
    nothing is aliased.  North is up where the first row of the image is its
    southernmost: rows are written in reverse, as a PNG file begins at its top.
    """
    require_package("PIL")
    require_package("matplotlib")
    from ..mosaics import make_preview  # noqa: PLC0415  # its kernels take a second to import

    target = Path(path)
    if target.suffix.lower() != ".png":
        raise RequestError(f"Pictures are written as '.png' files, not as {target.name!r}.")
    if preview.ndim != 2 or preview.size == 0:
        raise RequestError(f"A preview has rows and columns; this one has the shape {preview.shape}.")
    if not sizes or min(sizes) < 1:
        raise RequestError(f"Sizes of pictures must be positive, not {tuple(sizes)}.")
    norm = make_norm(preview.astype(np.float64), stretch)
    steps = sorted({-(-max(preview.shape) // size) for size in sizes})
    paths = []
    for step in steps:
        small = make_preview(preview, step)
        shades = np.clip(np.nan_to_num(np.asarray(norm(np.nan_to_num(small)))), 0.0, 1.0)
        picture = np.where(np.isfinite(small), np.rint(1.0 + 254.0 * shades), 0.0).astype(np.uint8)
        named = target.with_name(f"{target.stem}-{max(small.shape)}{target.suffix}")
        _write(picture, named, overwrite=overwrite)
        paths.append(named)
    return paths


def _write(picture: NDArray[np.uint8], path: Path, *, overwrite: bool) -> None:
    """Write a picture: complete, or not at all."""
    from PIL import Image  # noqa: PLC0415  # the extra "plot"

    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staged.open("xb") as stream:
                Image.fromarray(np.ascontiguousarray(picture[::-1])).save(stream, format="PNG")
            if overwrite:
                staged.replace(path)
            else:
                path.hardlink_to(staged)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {type(error).__name__}: {error}") from error
