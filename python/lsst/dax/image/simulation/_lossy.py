"""Writing of images with the observatory's lossy compression."""

from __future__ import annotations

__all__ = ("dither_seed", "quantization_step", "write_lossy")

import hashlib
import json
from pathlib import Path

import astropy.io.fits
import numpy as np

from lsst.images import VisitImage
from lsst.images.fits import (
    ExtensionKey,
    FitsCompressionAlgorithm,
    FitsCompressionOptions,
    FitsDitherAlgorithm,
    FitsOpaqueMetadata,
    FitsOutputArchive,
    FitsQuantizationOptions,
)

from ..errors import InputDataError, OutputError
from ._reference_planes import BoolArray, Float32Array

STEPS_PER_SIGMA = 16.0
"""Quantization steps per robust standard deviation."""

EXCLUDED_PLANES = ("NO_DATA", "INTERPOLATED")
"""Mask planes whose pixels do not count for the standard deviation."""


def dither_seed(*, instrument: str, detector: int, visit: int) -> int:
    """Return the seed of the quantization's dither, 1 to 9999."""
    text = json.dumps([instrument, detector, visit])
    # The observatory's choice; nothing here is secret.
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return 1 + int.from_bytes(digest, "big") % 9999


def quantization_step(values: Float32Array, excluded: BoolArray) -> float:
    """Return the quantization step of a plane: a part of the robust standard deviation.

    Parameters
    ----------
    values
        Pixels.
    excluded
        Pixels that do not count; nor do those that are not finite.

    Returns
    -------
    step
        Step in units of the pixels; zero if half of them are the same.
    """
    good = np.sort(values[np.isfinite(values) & ~excluded])
    if good.size == 0:
        return 0.0
    # Elements of the sorted pixels, not interpolated between them.
    lower, upper = good[good.size // 4], good[good.size // 4 + good.size // 2]
    return float(np.float32(0.741 * (float(upper) - float(lower)))) / STEPS_PER_SIGMA


def write_lossy(image: VisitImage, path: Path | str) -> dict[str, float]:
    """Write a visit image with quantized image and variance, and a lossless mask.

    Parameters
    ----------
    image
        Image to write.
    path
        File to make; it must not exist.

    Returns
    -------
    steps
        Quantization step of ``image`` and ``variance``; zero for a plane that
        is constant, which is stored lossless.

    Raises
    ------
    InputDataError
        Raised if the image does not know its visit.
    OutputError
        Raised if the file exists.

    Notes
    -----
    Rice compression of rows with subtractive dither that keeps zeros; each
    plane has one step, recorded in its header as UZSCALE, and both planes have
    the same dither seed.
    """
    if Path(path).exists():
        raise OutputError(f"{path} exists; a lossy image is written to a new file only.")
    visit = image.obs_info.visit_id
    if visit is None:
        raise InputDataError(
            f"The image of detector {image.detector.id} has no visit, which seeds its dither."
        )
    seed = dither_seed(instrument=image.detector.instrument, detector=image.detector.id, visit=visit)
    excluded = image.mask.get(EXCLUDED_PLANES[0]) | image.mask.get(EXCLUDED_PLANES[1])
    steps: dict[str, float] = {}
    options: dict[str, FitsCompressionOptions | None] = {}
    headers = FitsOpaqueMetadata()
    for name, plane in (("image", image.image.array), ("variance", image.variance.array)):
        steps[name] = quantization_step(plane, excluded)
        if steps[name] > 0.0:
            options[name] = _options(steps[name], seed=seed, width=plane.shape[1])
            header = astropy.io.fits.Header([("UZSCALE", steps[name], "Quantization step of all tiles")])
            headers.headers[ExtensionKey(name.upper())] = header
    with FitsOutputArchive.open(str(path), options, headers) as archive:
        archive.add_tree(archive.serialize_root(image))
    return steps


def _options(step: float, *, seed: int, width: int) -> FitsCompressionOptions:
    """Return the compression of a plane; a negative level is the step itself."""
    return FitsCompressionOptions(
        algorithm=FitsCompressionAlgorithm.RICE_1,
        tile_shape=(1, width),
        quantization=FitsQuantizationOptions(
            dither=FitsDitherAlgorithm.SUBTRACTIVE_DITHER_2, level=-step, seed=seed
        ),
    )
