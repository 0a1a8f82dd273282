"""The PSFs of a coadd's cells, their shapes, and what else is averaged with them."""

from __future__ import annotations

__all__ = (
    "CellPsfs",
    "PsfShapes",
    "combine_aperture_corrections",
    "combine_psfs",
    "draw_cell_psfs",
    "find_effective_weights",
    "measure_psf_shapes",
)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lsst.images import SkyProjection

from .._kernels.coadd_psf_nb import find_adaptive_moments, resample_stamps, resample_stretched_stamps
from ..errors import InputDataError, RequestError
from ..psfs import PsfEvaluator
from ..resampling import Kernel, LocalMaps, find_local_maps, make_profile, make_weight_table
from ..resampling.kernels import PROFILE_PLACES

type Floats = NDArray[np.float64]

_LEAST_SHARE = 0.01
"""Share below which a place between pixels is not drawn: a hundredth of an effect of 1 per cent."""


@dataclass(frozen=True)
class CellPsfs:
    """The PSFs of one input at the middles of cells, on the pixels of the coadd."""

    images: Floats
    """PSFs, centred, each with a sum of 1, shape ``(n, size, size)``; NaN where there is none."""

    is_good: NDArray[np.bool_]
    """Whether the input has a PSF there, shape ``(n,)``."""

    maps: LocalMaps
    """Source positions of the middles of the cells, and the derivatives there."""


@dataclass(frozen=True)
class PsfShapes:
    """Adaptive second moments, as tables of provenance list them."""

    xx: Floats
    """Moments in x in square pixels, shape ``(n,)``; NaN where ``is_bad``."""

    yy: Floats
    """The same in y."""

    xy: Floats
    """The mixed ones."""

    is_bad: NDArray[np.bool_]
    """Whether the measurement did not converge."""

    @property
    def fwhm_px(self) -> Floats:
        """Full width at half maximum of the round Gaussian of the same area, in pixels."""
        determinant = np.maximum(self.xx * self.yy - self.xy**2, 0.0)
        fwhm: Floats = np.sqrt(8.0 * np.log(2.0)) * determinant**0.25
        return fwhm


def draw_cell_psfs(
    psf: PsfEvaluator,
    *,
    source_projection: SkyProjection[Any],
    target_projection: SkyProjection[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    size_px: int,
    kernel: Kernel = Kernel.LANCZOS3,
    cell_px: int = 1,
) -> CellPsfs:
    """Draw the PSFs of one input as they are on the pixels of a coadd.

    Parameters
    ----------
    psf
        PSF of the input.
    source_projection
        Projection of the input.
    target_projection
        Projection of the coadd.
    x, y
        Middles of cells in 0-based parent pixels of the coadd, shape ``(n,)``;
        the middle of an even number of pixels lies between two.
    size_px
        Side of the images in pixels of the coadd, odd.
    kernel
        Kernel that the pixels of the input are resampled with.
    cell_px
        Side of a cell, over which the effect of the kernel is averaged.  With
        1 the PSF is the image of a star at the position itself.

    Returns
    -------
    psfs
        Images.  Each depends on its own position alone.

    Raises
    ------
    RequestError
        Raised if a size is not positive, or that of the images is even.

    Notes
    -----
    Stars of the input are drawn where they lie between its pixels, resampled as
    its pixels are, over the linear part of the map between both grids, and
    scaled to a sum of one.

    A kernel changes the PSF by how target pixels lie between source pixels:
    for Lanczos kernels of six pixels and a PSF of 3.5 pixels, by 1.3 per cent of
    the second moments between the best and the worst place.  Along each axis
    this is a smooth periodic function, whose mean over the cell is found from
    its values at a few places; effects along both axes add.
    """
    if size_px < 1 or size_px % 2 == 0 or cell_px < 1:
        raise RequestError(
            f"PSF images of {size_px} pixels a side for cells of {cell_px}; both are positive, the first odd."
        )
    maps = find_local_maps(source_projection, target_projection, x=x, y=y)
    good = np.isfinite(maps.positions).all(axis=1) & np.isfinite(maps.matrices).all(axis=(1, 2))
    stretched = maps.find_stretched(kernel)
    images = np.zeros((len(good), size_px, size_px))
    # A stretched kernel's weights hardly depend on the place between two pixels.
    nodes = _find_nodes(maps, good & ~stretched, cell_px, 2 if kernel.half_width > 1 else 8)
    for offset, shares in nodes:
        chosen = np.flatnonzero(good & (np.abs(shares) > _LEAST_SHARE))
        positions = _find_pixel_positions(maps, cell_px)[chosen] + offset
        stamps = psf.stellar_images(positions[:, 0], positions[:, 1])
        known = stamps.flags == 0
        good[chosen[~known]] = False
        centers = positions - np.stack([stamps.x0, stamps.y0], axis=1)
        for part, draw in (
            (known & ~stretched[chosen], _resample),
            (known & stretched[chosen], _resample_stretched),
        ):
            if part.any():
                rows = chosen[part]
                drawn = draw(stamps.array[part], centers[part], maps.matrices[rows], size_px, kernel)
                images[rows] += shares[rows, None, None] * drawn
    sums = images.sum(axis=(1, 2))
    good &= sums > 0.0
    images[~good] = np.nan
    return CellPsfs(images / np.where(good, sums, 1.0)[:, None, None], good, maps)


def _find_pixel_positions(maps: LocalMaps, cell_px: int) -> Floats:
    """Return the source positions of the target pixels at the middles of cells, or next to them."""
    step = 0.5 if cell_px % 2 == 0 else 0.0
    return maps.positions + step * maps.matrices.sum(axis=2)


def _find_nodes(
    maps: LocalMaps, chosen: NDArray[np.bool_], cell_px: int, n: int
) -> list[tuple[Floats, Floats]]:
    """Return places between source pixels, relative to a pixel's, and their shares in cells.

    The places lie on two lines, along x and along y, n on each.  The first
    is that of the pixel itself, which those cells have alone that are not
    chosen.
    """
    orders = np.fft.fftfreq(n, 1.0 / n)
    waves = np.cos(2.0 * np.pi * orders[:, None] * np.arange(n) / n) / n
    step = 0.5 if cell_px % 2 == 0 else 0.0
    matrices = np.where(chosen[:, None, None], maps.matrices, 0.0)
    alone = np.where(np.arange(n) == 0, 1.0, 0.0)
    nodes = [(np.zeros(2), np.full(len(chosen), -1.0))]
    for axis in range(2):
        turns = orders[:, None] * matrices[:, None, axis, :]
        # Mean of exp(2 pi i k (place - that of the pixel)) over the cell.
        means = scipy.special.diric(2.0 * np.pi * turns, cell_px).prod(axis=2)
        means = means * np.cos(2.0 * np.pi * step * turns.sum(axis=2))
        # No product of matrices: its bits would depend on the number of cells.
        shares = np.zeros(means.shape)
        for mean, wave in zip(means.T, waves, strict=True):
            shares += mean[:, None] * wave
        shares = np.where(chosen[:, None], shares, alone)
        nodes[0] = (nodes[0][0], nodes[0][1] + shares[:, 0])
        for i in range(1, n):
            offset = np.zeros(2)
            offset[axis] = i / n
            nodes.append((offset, shares[:, i]))
    return nodes


def _resample(stamps: Floats, centers: Floats, matrices: Floats, size_px: int, kernel: Kernel) -> Floats:
    """Interpolate stamps on the pixels of the target."""
    table = make_weight_table(kernel)
    images = np.empty((len(stamps), size_px, size_px))
    resample_stamps(
        np.ascontiguousarray(stamps),
        np.ascontiguousarray(centers),
        np.ascontiguousarray(matrices),
        table.coefficients,
        table.taps,
        table.first_tap,
        table.shift,
        images,
    )
    return images


def _resample_stretched(
    stamps: Floats, centers: Floats, matrices: Floats, size_px: int, kernel: Kernel
) -> Floats:
    """Average stamps over the pixels of a coarser target."""
    left, scales, right = np.linalg.svd(matrices)
    wide = left @ (np.maximum(scales, 1.0)[:, :, None] * right)
    half_width = float(max(kernel.half_width, 1))
    images = np.empty((len(stamps), size_px, size_px))
    resample_stretched_stamps(
        np.ascontiguousarray(stamps),
        np.ascontiguousarray(centers),
        np.ascontiguousarray(matrices),
        np.ascontiguousarray(np.linalg.inv(wide)),
        half_width * np.abs(wide).sum(axis=2),
        make_profile(kernel),
        float(PROFILE_PLACES),
        half_width,
        images,
    )
    return images


def measure_psf_shapes(images: Floats) -> PsfShapes:
    """Measure the second moments of PSFs.

    Parameters
    ----------
    images
        PSFs of odd sides, shape ``(n, height, width)``.

    Returns
    -------
    shapes
        Adaptive moments: those of the elliptical Gaussian weight that has
        the moments which it finds itself (Bernstein and Jarvis 2002).  They
        are those of a Gaussian for a Gaussian, and finite for the wings of a
        Moffat profile, where unweighted ones grow with the stamp.
    """
    stamps = np.ascontiguousarray(images, np.float64)
    moments = np.empty((len(stamps), 5))
    find_adaptive_moments(stamps, moments)
    return PsfShapes(moments[:, 2], moments[:, 3], moments[:, 4], ~np.isfinite(moments[:, 2]))


def find_effective_weights(weights: Floats, used_fractions: Floats) -> Floats:
    """Return the shares that inputs have in a cell, some of whose pixels were left out.

    Parameters
    ----------
    weights
        Weights of whole inputs, not negative, shape ``(n,)``.
    used_fractions
        Share of the cell's pixels at which each input was used, 0 to 1, shape
        ``(n,)``.

    Returns
    -------
    shares
        Shape ``(n,)``, with a sum of 1; all zero where nothing was used.

    Raises
    ------
    RequestError
        Raised if the lengths differ or a value is out of range.

    Notes
    -----
    The mean over the cell of each pixel's own shares, to first order in what
    was left out.  At a pixel that lost an input the PSF is another one; such
    pixels have the plane INEXACT_PSF.
    """
    counts = np.asarray(weights, np.float64)
    used = np.asarray(used_fractions, np.float64)
    if counts.shape != used.shape or counts.ndim != 1:
        raise RequestError(f"There are weights of shape {counts.shape} and fractions of shape {used.shape}.")
    if not (
        (counts >= 0.0).all() and np.isfinite(counts).all() and (used >= 0.0).all() and (used <= 1.0).all()
    ):
        raise RequestError(f"Weights {counts} are not negative, and fractions {used} lie between 0 and 1.")
    shares = counts * used
    total = shares.sum()
    return shares / total if total > 0.0 else np.zeros_like(shares)


def combine_psfs(images: Floats, weights: Floats) -> Floats:
    """Return the PSF of a weighted mean.

    Parameters
    ----------
    images
        PSFs of the inputs, each with a sum of 1, shape ``(n, height, width)``.
    weights
        Weights that counted, not negative, shape ``(n,)``; what has none may
        have no PSF.

    Returns
    -------
    psf
        The weighted mean, shape ``(height, width)``.

    Raises
    ------
    InputDataError
        Raised if no weight is above 0, or an input that counts has no PSF.
    """
    counts = np.asarray(weights, np.float64)
    used = np.flatnonzero(counts > 0.0)
    if not used.size:
        raise InputDataError(f"None of {counts.size} inputs has a weight above 0, so the coadd has no PSF.")
    missing = used[~np.isfinite(images[used]).all(axis=(1, 2))]
    if missing.size:
        raise InputDataError(
            f"{missing.size} of {used.size} inputs that count have no PSF, as number {missing[0]}."
        )
    # One input after the other: the bits do not depend on how a sum is split.
    psf = np.zeros(images.shape[1:])
    for i in used:
        psf += counts[i] * images[i]
    return psf / counts[used].sum()


def combine_aperture_corrections(
    corrections: Sequence[Mapping[str, float]], weights: Floats
) -> dict[str, float]:
    """Return the aperture corrections of a weighted mean.

    Parameters
    ----------
    corrections
        Corrections of each input in a cell, by name; a name that ends with
        "Err" is the standard error of the one without it.
    weights
        Weights that counted, not negative, shape ``(n,)``.

    Returns
    -------
    combined
        Weighted means, and errors added in quadrature, by name.  An input
        without a finite value of a name does not count for it; a name that
        no input has a value of is NaN.

    Raises
    ------
    RequestError
        Raised if there are not as many weights as inputs.

    Notes
    -----
    Fluxes of the mean image are means of fluxes with the same weights, so
    that the mean of factors is right to first order in their differences.
    """
    counts = np.asarray(weights, np.float64)
    if counts.shape != (len(corrections),):
        raise RequestError(f"There are {len(corrections)} inputs and weights of shape {counts.shape}.")
    combined = {}
    for name in sorted({name for inputs in corrections for name in inputs}):
        values = np.array([inputs.get(name, np.nan) for inputs in corrections], np.float64)
        used = np.isfinite(values) & (counts > 0.0)
        shares = counts[used]
        if not used.any():
            combined[name] = float("nan")
        elif name.endswith("Err"):
            combined[name] = float(np.sqrt(np.sum((shares * values[used]) ** 2)) / shares.sum())
        else:
            combined[name] = float(np.sum(shares * values[used]) / shares.sum())
    return combined
