"""The coadd that is optimal for point sources on a constant background."""

from __future__ import annotations

__all__ = ("ProperCoadd", "make_proper_coadd")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from ..errors import InputDataError, MissingPsfError, RequestError
from ._fourier import crop_center, find_fft_shape, transform, transform_back, transform_centered
from .rules import MaskRules
from .warp import Warp

type Floats = NDArray[np.float64]
type Complexes = NDArray[np.complex128]
type Bools = NDArray[np.bool_]

_CORE = 1e-3
"""Amplitude of the unresolved core that each PSF gets where filters are made.

Where PSFs have no power, their transforms are rounding and the ripples of
stamps that end (some 1e-4): divided by its own modulus, that would spread a
single odd pixel over the whole cell.  With the core the filter is a plain
weighted mean there.  It costs a part in 1e6 of the signal.
"""

_SUPPORT_FLOOR = 0.01
"""Share of the peak of the PSF within which a filled pixel makes the PSF inexact."""


@dataclass(frozen=True, eq=False)
class ProperCoadd:
    """A proper coadd, of a cell without its padding."""

    bbox: Box
    """Pixels."""

    image: NDArray[np.float32]
    """Values in nJy: a star of flux f is f times ``psf``; NaN where no input has a value."""

    variance: NDArray[np.float32]
    """Variance in nJy**2 of the inputs' variances, through the filters."""

    significance: NDArray[np.float32]
    """Flux of a point source at each pixel, divided by its error on the sky alone."""

    mask: NDArray[np.uint32]
    """Mask words of the inputs that were used, and what the coadd adds."""

    planes: tuple[str, ...]
    """Names of mask planes."""

    n_inputs: NDArray[np.uint16]
    """Number of inputs that have the pixel."""

    rejected_fraction: NDArray[np.float32]
    """Share of the inverse variance of the inputs that lack the pixel."""

    used_fraction: Floats
    """Share of the pixels that each input has, shape ``(n,)``."""

    psf: Floats
    """PSF with a sum of 1, of the side of the inputs' PSFs."""

    noise_variance: float
    """Variance of a pixel of the sky in nJy**2; its noise is white if that of the inputs is."""

    point_source_variance: float
    """Variance of the flux of a faint point source in nJy**2."""


@dataclass(frozen=True, eq=False)
class _Filters:
    """Transforms of what inputs are convolved with."""

    filters: tuple[Complexes, ...]
    psf: Complexes
    shape: tuple[int, int]
    flux_scale: float
    """Signal-to-noise, per nJy, of the whole amplitude: the root of the sum of inverse variances."""


def make_proper_coadd(
    warps: Sequence[Warp], *, noise_variances: Floats, inner: Box, masks: MaskRules
) -> ProperCoadd:
    """Make the proper coadd of a cell.

    Parameters
    ----------
    warps
        Inputs on the padded pixels of the cell, each with a PSF of the same
        odd sides.
    noise_variances
        Variance of the sky of each input in nJy**2 per pixel, from metadata,
        shape ``(n,)``: that of white noise of the same power on scales of
        the PSF, where resampling leaves it unchanged.
    inner
        Pixels of the cell, farther from the edge of the padded ones than half
        of the side of a PSF.
    masks
        Planes whose pixels are filled.

    Returns
    -------
    coadd
        The coadd.

    Raises
    ------
    RequestError
        Raised if there are no inputs, not as many variances, or too little
        padding.
    MissingPsfError
        Raised if an input has no PSF.
    InputDataError
        Raised if boxes, planes or sides of PSFs differ, or a variance is not
        a positive number.

    Notes
    -----
    With transforms of PSFs P and of images I, and variances v, the coadd of
    Zackay and Ofek (2017) in units of flux is
    ``sum(conj(P) I / v) / sqrt(sum(abs(P)**2 / v)) / F``, where ``F**2 =
    sum(1 / v)``.  Its noise is white, of variance ``1 / F**2``.

    It needs each input everywhere.  A pixel that is missing or of a bad plane
    is filled with the mean of the others, weighted by 1/v, or with 0; their
    PSFs are others, so the plane INEXACT_PSF is set within reach.  The other
    mask planes are those of the pixel itself.
    """
    variances = np.asarray(noise_variances, np.float64)
    psfs = _check(warps, variances, inner)
    found = _make_filters(psfs, variances, tuple(warps[0].bbox.shape))
    good = np.stack([_find_good(warp, masks) for warp in warps])
    fill = _average(warps, variances, good)
    spectrum = np.zeros_like(found.psf)
    variance = np.zeros(found.shape)
    for i, warp in enumerate(warps):
        spectrum += found.filters[i] * transform(np.where(good[i], warp.image, fill), found.shape)
        squared = transform(transform_back(found.filters[i], found.shape) ** 2, found.shape)
        own = np.where(good[i], warp.variance, variances[i])
        variance += transform_back(squared * transform(own, found.shape), found.shape)
    psf = transform_back(found.psf, found.shape)
    point_source = 1.0 / (found.flux_scale**2 * np.sum(psf**2))
    significance = transform_back(spectrum * np.conj(found.psf), found.shape)
    significance *= found.flux_scale**2 * np.sqrt(point_source)
    cut = inner.slice_within(warps[0].bbox)
    has_value = good.any(axis=0)[cut]
    stamp = crop_center(psf, psfs.shape[1])
    return ProperCoadd(
        bbox=inner,
        image=_blank(transform_back(spectrum, found.shape)[cut], has_value),
        variance=_blank(variance[cut], has_value),
        significance=_blank(significance[cut], has_value),
        mask=(_combine_masks(warps, good, stamp) | _propagate(warps, good, variances, masks))[cut],
        planes=warps[0].planes,
        n_inputs=good.sum(axis=0, dtype=np.uint16)[cut],
        rejected_fraction=_find_rejected(good, variances)[cut],
        used_fraction=good[(slice(None), *cut)].mean(axis=(1, 2)),
        psf=stamp / stamp.sum(),
        noise_variance=found.flux_scale**-2,
        point_source_variance=float(point_source),
    )


def _check(warps: Sequence[Warp], variances: Floats, inner: Box) -> Floats:
    """Refuse what cannot be combined, and return the PSFs."""
    if not warps or variances.shape != (len(warps),):
        raise RequestError(
            f"A proper coadd of {len(warps)} inputs, with variances of shape {variances.shape}."
        )
    if not (np.isfinite(variances) & (variances > 0.0)).all():
        raise InputDataError(f"Variances of the sky are positive numbers, not {variances}.")
    psfs = []
    for warp in warps:
        if warp.psf is None:
            raise MissingPsfError(f"{warp.key} has no PSF, which a proper coadd needs.")
        psfs.append(warp.psf)
        first = warps[0]
        if (warp.bbox, warp.planes, warp.psf.shape) != (first.bbox, first.planes, psfs[0].shape):
            raise InputDataError(
                f"{warp.key} has the box {warp.bbox}, the planes {warp.planes} and a PSF of {warp.psf.shape} "
                f"pixels; {first.key} has {first.bbox}, {first.planes} and {psfs[0].shape}."
            )
    padded, half = warps[0].bbox, max(psfs[0].shape) // 2
    margins = (
        inner.x.start - padded.x.start,
        padded.x.stop - inner.x.stop,
        inner.y.start - padded.y.start,
        padded.y.stop - inner.y.stop,
    )
    if min(margins) < half:
        raise RequestError(
            f"The pixels {inner} of {padded} have a padding of {min(margins)} pixels; a proper coadd of PSFs "
            f"of {max(psfs[0].shape)} pixels needs {half}."
        )
    return np.stack(psfs)


def _make_filters(psfs: Floats, variances: Floats, box_shape: tuple[int, ...]) -> _Filters:
    """Return what the inputs are convolved with."""
    shape = find_fft_shape(box_shape, max(psfs.shape[1:]))
    spectra = [transform_centered(psf / psf.sum(), shape) for psf in psfs]
    total = np.zeros(spectra[0].shape)
    for spectrum, variance in zip(spectra, variances, strict=True):
        total += np.abs(spectrum + _CORE) ** 2 / variance
    flux_scale = float(np.sqrt(np.sum(1.0 / variances)))
    scale = flux_scale * np.sqrt(np.maximum(total, np.finfo(np.float64).tiny))
    filters = tuple(
        np.conj(spectrum + _CORE) / (variance * scale)
        for spectrum, variance in zip(spectra, variances, strict=True)
    )
    psf = np.zeros_like(spectra[0])
    for weights, spectrum in zip(filters, spectra, strict=True):
        psf += weights * spectrum
    return _Filters(filters, psf, shape, flux_scale)


def _find_good(warp: Warp, masks: MaskRules) -> Bools:
    """Return which pixels of an input have a value that counts."""
    bad = sum(1 << i for i, name in enumerate(warp.planes) if name in masks.bad_planes)
    return np.asarray(
        np.isfinite(warp.image) & np.isfinite(warp.variance) & ((warp.mask & np.uint32(bad)) == 0)
    )


def _average(warps: Sequence[Warp], variances: Floats, good: NDArray[np.bool_]) -> Floats:
    """Return the weighted mean of the inputs that have each pixel; 0 where none has."""
    total, weight = np.zeros(good.shape[1:]), np.zeros(good.shape[1:])
    for i, warp in enumerate(warps):
        total += np.where(good[i], warp.image, 0.0) / variances[i]
        weight += good[i] / variances[i]
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0.0)


def _find_rejected(good: NDArray[np.bool_], variances: Floats) -> NDArray[np.float32]:
    """Return the share of the inverse variance that each pixel lacks."""
    shares = (1.0 / variances) / np.sum(1.0 / variances)
    missing = np.zeros(good.shape[1:])
    for i, share in enumerate(shares):
        missing += share * ~good[i]
    return missing.astype(np.float32)


def _combine_masks(warps: Sequence[Warp], good: NDArray[np.bool_], psf: Floats) -> NDArray[np.uint32]:
    """Combine the masks of the inputs that were used, and add what the coadd knows."""
    mask = np.zeros(good.shape[1:], np.uint32)
    for i, warp in enumerate(warps):
        mask |= np.where(good[i], warp.mask, np.uint32(0))
    filled = ~good.all(axis=0)
    # Where the PSF of a star at the filled pixel is more than its floor.
    support = np.abs(psf) > _SUPPORT_FLOOR * psf.max()
    rows, columns = np.nonzero(support)
    half = max(*(psf.shape[0] // 2 - rows), *(psf.shape[1] // 2 - columns), 0)
    near = _grow_square(filled, int(half))
    for name, where in (
        ("REJECTED", filled),
        ("INEXACT_PSF", near),
        ("NO_DATA", ~good.any(axis=0)),
    ):
        if name in warps[0].planes:
            mask |= np.where(where, np.uint32(1 << warps[0].planes.index(name)), np.uint32(0))
    return mask


def _propagate(
    warps: Sequence[Warp], good: NDArray[np.bool_], variances: Floats, masks: MaskRules
) -> NDArray[np.uint32]:
    """Return the planes because of which too large a share of the inverse variance is missing."""
    mask = np.zeros(good.shape[1:], np.uint32)
    for name, limit in masks.propagate:
        if name not in warps[0].planes:
            continue
        bit = np.uint32(1 << warps[0].planes.index(name))
        missing = np.stack([~good[i] & ((warp.mask & bit) != 0) for i, warp in enumerate(warps)])
        mask |= np.where(_find_rejected(~missing, variances) > limit, bit, np.uint32(0))
    return mask


def _grow_square(bits: Bools, half: int) -> Bools:
    """Grow pixels to squares of a half-width."""
    counts = np.pad(bits.astype(np.int64), ((half + 1, half), (half + 1, half))).cumsum(axis=0).cumsum(axis=1)
    side = 2 * half + 1
    sums = counts[side:, side:] - counts[:-side, side:] - counts[side:, :-side] + counts[:-side, :-side]
    return np.asarray(sums > 0)


def _blank(values: Floats, has_value: Bools) -> NDArray[np.float32]:
    """Set pixels without a value to NaN."""
    return np.where(has_value, values, np.nan).astype(np.float32)
