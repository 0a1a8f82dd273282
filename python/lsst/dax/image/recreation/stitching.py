"""Put a visit image together again from electrons and what was persisted."""

from __future__ import annotations

__all__ = ("stitch_visit_image",)

from collections.abc import Mapping
from functools import partial
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import Box, Image, Mask, MaskedImage, VisitImage

from ..errors import InconsistentUnitsError, InputDataError, NoCoverageError
from ._masks import bits_to_mask, mask_to_bits, merge_masks, select_planes
from .components import VisitComponents
from .fields import render_background, render_scaling
from .isr import IsrPlane
from .isr._median import find_median
from .isr._threads import map_threads

type FloatImage = npt.NDArray[np.float32]

_BLOCK_ROWS = 128
"""Rows that are calibrated at once, so that their intermediates stay in the cache."""


def stitch_visit_image(
    isr_image: MaskedImage,
    components: VisitComponents,
    *,
    seed: int,
    bbox: Box | None = None,
    metadata: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> VisitImage:
    """Calibrate an image without instrument signature, and attach what was persisted.

    Parameters
    ----------
    isr_image
        What `lsst.dax.image.recreation.isr.run_isr` returned: the whole
        detector in electron, with the planes of `IsrPlane`.
    components
        What the original processing persisted.
    seed
        Seed of the noise that replaces cosmic rays.
    bbox
        Pixels to return (0-based, of the trimmed detector); all if `None`.
        They are the same as those of the whole image.
    metadata
        Further metadata of the result; replaces entries of the original.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    visit_image
        Background-subtracted image in nJy, with variance in nJy**2.

    Raises
    ------
    InconsistentUnitsError
        Raised if the image is not in electron.
    InputDataError
        Raised if image, detector and original mask differ in size.
    NoCoverageError
        Raised if ``bbox`` reaches off the detector.

    Notes
    -----
    With I and V in electron, background B, scaling S and all stored in float32::

        I' = S * (I - B)        V' = S * (S * V)

    S is evaluated in double precision at each pixel, and each product is
    rounded.  Pixels that the original mask says were hit by a cosmic ray hold
    the median of the background-subtracted image plus noise of their
    variance, as the original does, but from another random sequence.  Planes
    that instrument signature removal does not find are taken from the
    original mask.
    """
    _check(isr_image, components)
    whole = isr_image.bbox
    bbox = whole if bbox is None else bbox
    if not whole.contains(bbox):
        raise NoCoverageError(f"{bbox} is not within {whole} of detector {components.detector.name}.")
    electrons = _subtract_background(isr_image, components, bbox, threads=threads)
    if components.mask is not None:
        _fill_cosmic_rays(electrons, isr_image, components, bbox, seed=seed, threads=threads)
    variance = isr_image.variance.array[bbox.slice_within(whole)]
    # In place: the pages of a fresh plane cost as much as the arithmetic.
    image, variance = _calibrate(electrons, variance, components, bbox, out_image=electrons, threads=threads)
    isr_bits = mask_to_bits(isr_image.mask)[bbox.slice_within(whole)]
    original = None if components.mask is None else components.mask[bbox]
    mask = bits_to_mask(*merge_masks(isr_bits.astype(np.uint16, copy=False), original), bbox)
    return _attach(image, variance, mask, components, metadata or {})


def _check(isr_image: MaskedImage, components: VisitComponents) -> None:
    if isr_image.unit != u.electron:
        raise InconsistentUnitsError(f"A visit image is stitched from electron, not from {isr_image.unit}.")
    detector = components.detector
    if isr_image.bbox != detector.bbox:
        raise InputDataError(
            f"The image without instrument signature has {isr_image.bbox}, detector {detector.name} "
            f"{detector.bbox}."
        )
    if components.mask is not None and components.mask.bbox != detector.bbox:
        raise InputDataError(
            f"The original mask has {components.mask.bbox}, detector {detector.name} {detector.bbox}."
        )


def _blocks(bbox: Box) -> list[Box]:
    return [
        Box.factory[start : min(start + _BLOCK_ROWS, bbox.y.stop), bbox.x.start : bbox.x.stop]
        for start in range(bbox.y.start, bbox.y.stop, _BLOCK_ROWS)
    ]


def _subtract_background(
    isr_image: MaskedImage, components: VisitComponents, bbox: Box, *, threads: int
) -> FloatImage:
    """Return the background-subtracted electrons of a box, in a new array."""
    result: FloatImage = np.empty(bbox.shape, np.float32)

    def subtract(block: Box) -> None:
        electrons = isr_image.image.array[block.slice_within(isr_image.bbox)]
        background = render_background(components.background, block)
        np.subtract(electrons, background, out=result[block.slice_within(bbox)])

    map_threads(subtract, _blocks(bbox), threads=threads)
    return result


def _fill_cosmic_rays(
    electrons: FloatImage,
    isr_image: MaskedImage,
    components: VisitComponents,
    bbox: Box,
    *,
    seed: int,
    threads: int,
) -> None:
    """Replace the cosmic rays of a box, in place, by sky and noise."""
    whole = isr_image.bbox
    mask = components.mask
    if mask is None or "COSMIC_RAY" not in mask.schema.names:
        return
    bit = select_planes(mask.schema, {"COSMIC_RAY"})
    rows, columns = np.nonzero(mask_to_bits(mask) & bit != 0)
    # The noise of all rays is drawn, so that a box has that of the whole.
    noise = np.random.default_rng(seed).standard_normal(len(rows))
    y, x = rows + whole.y.start, columns + whole.x.start
    inside = np.asarray(bbox.contains(x=x, y=y))
    if not inside.any():
        return
    sky = electrons if bbox == whole else _subtract_background(isr_image, components, whole, threads=threads)
    isr_bits = mask_to_bits(isr_image.mask).astype(np.uint16, copy=False)
    level = find_median(sky, mask=isr_bits, without=IsrPlane(0))
    sigma = np.sqrt(isr_image.variance.array[rows[inside], columns[inside]].astype(np.float64))
    electrons[y[inside] - bbox.y.start, x[inside] - bbox.x.start] = level + sigma * noise[inside]


def _calibrate(
    electrons: FloatImage,
    variance: FloatImage,
    components: VisitComponents,
    bbox: Box,
    *,
    out_image: FloatImage,
    threads: int,
) -> tuple[FloatImage, FloatImage]:
    """Return image and variance of a box in nJy and nJy**2; ``out_image`` may be the electrons."""
    out_variance = np.empty(bbox.shape, np.float32)

    def scale(block: Box) -> None:
        scaling = render_scaling(components.photometric_scaling, block)
        rows = block.slice_within(bbox)
        multiply = partial(np.multiply, scaling, casting="same_kind", dtype=np.float64)
        multiply(electrons[rows], out=out_image[rows])
        multiply(variance[rows], out=out_variance[rows])
        multiply(out_variance[rows], out=out_variance[rows])

    map_threads(scale, _blocks(bbox), threads=threads)
    return out_image, out_variance


def _attach(
    image: FloatImage,
    variance: FloatImage,
    mask: Mask,
    components: VisitComponents,
    metadata: Mapping[str, Any],
) -> VisitImage:
    """Return the visit image of finished planes."""
    bbox = mask.bbox
    return VisitImage(
        Image(image, bbox=bbox, unit=u.nJy, sky_projection=components.sky_projection),
        mask=mask,
        variance=Image(variance, bbox=bbox, unit=u.nJy**2),
        obs_info=components.obs_info,
        summary_stats=components.summary_stats,
        photometric_scaling=components.photometric_scaling,
        psf=components.psf,
        detector=components.detector,
        aperture_corrections=components.aperture_corrections,
        backgrounds=components.backgrounds,
        band=components.band,
        metadata={**components.metadata, **metadata},
    )
