"""Inputs brought to one PSF by convolution, before they are combined."""

from __future__ import annotations

__all__ = (
    "MAX_AMPLIFICATION",
    "MatchingKernel",
    "convolve_warp",
    "find_matching_problem",
    "make_matching_kernel",
    "make_target_psf",
    "match_psf",
)

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from .._kernels.coadd_grow_nb import grow_bits
from ..errors import MissingPsfError, RequestError
from ._fourier import crop_center, find_fft_shape, transform, transform_back, transform_centered
from .cell_psf import measure_psf_shapes
from .noise import find_sum_variance_factor
from .rules import PsfMatching, PsfTarget
from .warp import Warp

type Floats = NDArray[np.float64]

MAX_AMPLIFICATION = 1.5
"""Largest factor by which a matching kernel may raise the amplitude of any frequency.

A kernel that broadens raises none.  Ellipticity and wings that the target
lacks cost some per cent; a target that is sharper by a tenth takes more than
this.
"""

SUPPORT_FLOOR = 5e-3
"""Share of a kernel's peak below which a pixel is not part of its support.

Kernels that are hardly wider than a pixel ring by some thousandths.
"""


@dataclass(frozen=True)
class MatchingKernel:
    """Kernel that brings a PSF to a target."""

    kernel: Floats
    """Kernel with a sum of 1, so that fluxes are kept, of odd sides."""

    psf: Floats
    """What the PSF becomes, with a sum of 1; of the shape of the target."""

    residual: float
    """Largest difference between that and the target, as a share of the target's peak."""

    amplification: float
    """Largest factor by which the amplitude of a frequency grows."""

    noise_factor: float
    """Factor on the variance of white noise: the sum of the squared kernel."""


def make_target_psf(target: PsfTarget, *, pixel_scale_arcsec: float, size_px: int) -> Floats:
    """Return the image of a target PSF.

    Parameters
    ----------
    target
        Profile and width; the pixel's own width is part of it, as of the
        PSFs that are matched.
    pixel_scale_arcsec
        Side of a pixel of the coadd.
    size_px
        Side of the image, odd.

    Returns
    -------
    psf
        Values at the middles of pixels, scaled to a sum of 1.

    Raises
    ------
    RequestError
        Raised if the scale is not positive, or the size is even or not positive.
    """
    if not (np.isfinite(pixel_scale_arcsec) and pixel_scale_arcsec > 0.0):
        raise RequestError(f"The side of a pixel is a positive number, not {pixel_scale_arcsec} arcsec.")
    if size_px < 1 or size_px % 2 == 0:
        raise RequestError(f"A PSF image of {size_px} pixels a side; the side is odd and positive.")
    fwhm_px = target.fwhm_arcsec / pixel_scale_arcsec
    offsets = np.arange(size_px) - size_px // 2
    r2 = offsets**2 + offsets[:, None] ** 2
    if target.kind == "gaussian":
        image = np.exp(-4.0 * np.log(2.0) * r2 / fwhm_px**2)
    else:
        image = (1.0 + 4.0 * (2.0 ** (1.0 / target.beta) - 1.0) * r2 / fwhm_px**2) ** -target.beta
    return np.asarray(image / image.sum())


def make_matching_kernel(psf: Floats, target_psf: Floats, *, rules: PsfMatching) -> MatchingKernel:
    """Find the kernel that brings a PSF to a target.

    Parameters
    ----------
    psf
        PSF with a sum of 1, of odd sides.
    target_psf
        Target with a sum of 1, of odd sides.
    rules
        Side of the kernel, and the least power that is divided by.

    Returns
    -------
    kernel
        The kernel, and how well it does.

    Raises
    ------
    RequestError
        Raised if the target is sharper than the PSF.

    Notes
    -----
    With transforms P of the PSF and T of the target, the transform of the
    kernel is ``T conj(P) / max(|P|**2, r max(|P|**2))``, cut to the kernel's
    side and scaled to a sum of 1.  Frequencies at which the PSF has power are
    matched exactly, so that the moments of the result are those of the
    target; at the others the kernel fades with the target.
    """
    found = _solve(psf, target_psf, rules)
    problem = _describe_problem(found, psf, target_psf)
    if problem is not None:
        raise RequestError(problem)
    return found


def find_matching_problem(psf: Floats, target_psf: Floats, *, rules: PsfMatching) -> str | None:
    """Tell why a PSF cannot be brought to a target.

    Parameters
    ----------
    psf, target_psf, rules
        As for `make_matching_kernel`.

    Returns
    -------
    reason
        What `make_matching_kernel` would say; `None` if it can.
    """
    return _describe_problem(_solve(psf, target_psf, rules), psf, target_psf)


def _solve(psf: Floats, target_psf: Floats, rules: PsfMatching) -> MatchingKernel:
    """Divide transforms, whatever comes out."""
    side = scipy.fft.next_fast_len(
        max(*psf.shape, *target_psf.shape) + max(rules.kernel_px, *target_psf.shape), real=True
    )
    shape = (side, side)
    spectrum, wanted = transform_centered(psf, shape), transform_centered(target_psf, shape)
    power = np.abs(spectrum) ** 2
    floor = np.maximum(power, max(rules.regularisation * power.max(), np.finfo(np.float64).tiny))
    ratio = wanted * np.conj(spectrum) / floor
    kernel = crop_center(transform_back(ratio, shape), rules.kernel_px)
    kernel /= kernel.sum()
    response = transform_centered(kernel, shape)
    matched = crop_center(transform_back(spectrum * response, shape), max(target_psf.shape))
    rows, columns = target_psf.shape
    matched = matched[(len(matched) - rows) // 2 :, (len(matched) - columns) // 2 :][:rows, :columns]
    matched = matched / matched.sum()
    return MatchingKernel(
        kernel=kernel,
        psf=matched,
        residual=float(np.abs(matched - target_psf).max() / target_psf.max()),
        amplification=float(np.abs(response).max()),
        noise_factor=float(np.sum(kernel**2)),
    )


def _describe_problem(found: MatchingKernel, psf: Floats, target_psf: Floats) -> str | None:
    """Tell what speaks against a kernel, if anything does."""
    if found.amplification <= MAX_AMPLIFICATION:
        return None
    (own,) = measure_psf_shapes(psf[None]).fwhm_px
    (wanted,) = measure_psf_shapes(target_psf[None]).fwhm_px
    return (
        f"A PSF of {own:.2f} pixels cannot be brought to one of {wanted:.2f} pixels (full widths at half "
        f"maximum): the kernel would raise noise by a factor {found.amplification:.3g} at some frequency; "
        f"at most {MAX_AMPLIFICATION} is accepted."
    )


def match_psf(
    warp: Warp,
    target_psf: Floats,
    *,
    rules: PsfMatching,
    noise_correlation: Floats | None = None,
) -> Warp:
    """Bring an input to a target PSF.

    Parameters
    ----------
    warp
        Input, with a PSF.  Not modified.
    target_psf
        Target with a sum of 1, of odd sides: see `make_target_psf`.
    rules
        How the kernel is made.
    noise_correlation
        Correlation of the input's noise, with 1 in the middle, of odd sides:
        see `lsst.dax.image.coadds.find_kernel_noise`.  With `None` the noise
        of pixels counts as independent.

    Returns
    -------
    matched
        Image, variance and mask convolved, and the PSF that came out.

    Raises
    ------
    MissingPsfError
        Raised if the input has no PSF.
    RequestError
        Raised if the target is sharper than the input's PSF.

    Notes
    -----
    See `convolve_warp` for what becomes of missing pixels, masks and noise.
    """
    if warp.psf is None:
        raise MissingPsfError(f"{warp.key} has no PSF, so it cannot be brought to another.")
    found = make_matching_kernel(warp.psf, target_psf, rules=rules)
    convolved = convolve_warp(warp, found.kernel, noise_correlation=noise_correlation)
    return dataclasses.replace(convolved, psf=found.psf)


def convolve_warp(warp: Warp, kernel: Floats, *, noise_correlation: Floats | None = None) -> Warp:
    """Convolve an input with a given kernel.

    Parameters
    ----------
    warp
        Input.  Not modified.
    kernel
        Kernel of one odd side, not larger than the input.  Its sum multiplies
        fluxes.
    noise_correlation
        Correlation of the input's noise, with 1 in the middle, of odd sides.
        With `None` the noise of pixels counts as independent.

    Returns
    -------
    convolved
        Image, variance and mask convolved.  The PSF is convolved as well, if
        there is one, on its own pixels and scaled to a sum of 1.

    Raises
    ------
    RequestError
        Raised if the sides of the kernel are even, differ, or are larger than
        the input, or if a value is not finite.

    Notes
    -----
    A kernel has support where it exceeds 5 thousandths of its peak.  A pixel
    has no value where its support holds a missing one, or reaches beyond the
    box: a hole grows by the kernel, and nothing is invented.  Pixels that are
    masked but have values, as interpolated ones, take part; the mask is that
    of all pixels of the support, so that bad planes reach what they touched.

    The variance is the sum of variances with the squared kernel, times the
    factor by which correlated noise of this correlation exceeds white noise
    of the same variance.  The noise of the result is correlated over the
    kernel: see `lsst.dax.image.coadds.convolve_noise_correlation`.
    """
    side = kernel.shape[0]
    if kernel.shape != (side, side) or side % 2 == 0 or side > min(warp.image.shape):
        raise RequestError(
            f"A kernel of {kernel.shape} pixels for an input of {warp.image.shape}; "
            "one odd side, not larger than the input, is needed."
        )
    if not np.isfinite(kernel).all():
        raise RequestError(f"{np.count_nonzero(~np.isfinite(kernel))} values of a kernel are not finite.")
    factor = 1.0 if noise_correlation is None else find_sum_variance_factor(noise_correlation, kernel)
    has_value = np.isfinite(warp.image) & np.isfinite(warp.variance)
    missing = _grow_missing(~has_value, kernel)
    shape = find_fft_shape(warp.image.shape, side)
    image = _convolve(np.where(has_value, warp.image, 0.0), kernel, shape)
    variance = _convolve(np.where(has_value, warp.variance, 0.0), kernel**2, shape) * factor
    image[missing] = variance[missing] = np.nan
    mask = _grow(warp.mask, kernel)
    if "NO_DATA" in warp.planes:
        bit = np.uint32(1 << warp.planes.index("NO_DATA"))
        mask = np.where(missing, mask | bit, mask & ~bit)
    return dataclasses.replace(
        warp,
        image=image.astype(np.float32),
        variance=variance.astype(np.float32),
        mask=mask,
        psf=None if warp.psf is None else _convolve_psf(warp.psf, kernel),
    )


def _convolve_psf(psf: Floats, kernel: Floats) -> Floats:
    """Return the middle of a convolved PSF, with a sum of 1."""
    wide = scipy.signal.convolve(psf, kernel, mode="full", method="fft")
    rows, columns = psf.shape
    half = kernel.shape[0] // 2
    stamp = wide[half : half + rows, half : half + columns]
    return np.asarray(stamp / stamp.sum())


def _convolve(image: Floats, kernel: Floats, shape: tuple[int, int]) -> Floats:
    """Convolve an image that is zero beyond its edge."""
    spectrum = transform(image, shape) * transform_centered(kernel, shape)
    rows, columns = image.shape
    return transform_back(spectrum, shape)[:rows, :columns].copy()


def _grow_missing(missing: NDArray[np.bool_], kernel: Floats) -> NDArray[np.bool_]:
    """Return the pixels whose support holds a missing one, or leaves the box."""
    half = kernel.shape[0] // 2
    padded = np.pad(missing, half, constant_values=True).astype(np.uint32)
    grown = _grow(padded, kernel)
    return np.asarray(grown[half : grown.shape[0] - half, half : grown.shape[1] - half] != 0)


def _grow(mask: NDArray[np.uint32], kernel: Floats) -> NDArray[np.uint32]:
    """Combine by OR the mask words within the support of a kernel."""
    half = kernel.shape[0] // 2
    support = np.abs(kernel) > SUPPORT_FLOOR * np.abs(kernel).max()
    steps = np.diff(np.pad(support, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    grown = np.zeros_like(mask)
    grow_bits(np.ascontiguousarray(mask), rows - half, starts - half, stops - 1 - half, grown)
    return grown
