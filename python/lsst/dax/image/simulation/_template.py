"""The template of a visit, from the stored coadds, in plain double precision."""

from __future__ import annotations

__all__ = ("convolve_plainly", "decorrelate_plainly", "make_warped_template")

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from lsst.images import Box, SkyProjection
from lsst.images.cells import CellCoadd
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel

type FloatArray = npt.NDArray[np.float64]

_LANCZOS_ORDER = 3


def make_warped_template(
    coadds: Sequence[CellCoadd], projection: SkyProjection[Any], bbox: Box
) -> tuple[FloatArray, FloatArray]:
    """Return image and variance of the coadds on the pixels of a visit; NaN where none reaches.

    Notes
    -----
    Each pixel's position is computed exactly.  Weights are the Lanczos
    function of order three, divided by their sum on each axis, and times the
    ratio of the pixel areas.  Where coadds overlap, their mean is weighted by
    the inverse of the standard deviation; they hold the same noise, so that
    is the mean of the variance, too.
    """
    sums = np.zeros((3, *bbox.shape))
    for coadd in coadds:
        image, variance = _warp(coadd, projection, bbox)
        good = np.isfinite(image) & np.isfinite(variance)
        weight = np.where(good, 1.0 / np.sqrt(np.where(good, variance, 1.0)), 0.0)
        sums += weight * np.where(good, (np.ones_like(image), image, variance), 0.0)
    total = np.where(sums[0] > 0.0, sums[0], np.nan)
    return sums[1] / total, sums[2] / total


def convolve_plainly(
    image: FloatArray, kernel: ImageBasisConvolutionKernel, bbox: Box, *, margin: int, power: int = 1
) -> FloatArray:
    """Return the sums ``sum_ij K(x, y)[j, i]**power image[y + j, x + i]`` over a kernel.

    Parameters
    ----------
    image
        Pixels of ``bbox`` and ``margin`` more on each side; NaN spreads.
    kernel
        Kernel, which is not reflected.
    bbox
        Pixels of the result.
    margin
        At least half the kernel's side.
    power
        1, or 2 for variances.
    """
    missing = ~np.isfinite(image)
    clean = np.where(missing, 0.0, image)
    grid = bbox.meshgrid()
    amplitudes = [np.asarray(field(x=grid.x, y=grid.y)) for field in kernel.spatial]
    reach = kernel.basis.shape[1] // 2
    inside = slice(margin - reach, -(margin - reach) or None)
    clean, missing = clean[inside, inside], missing[inside, inside]
    pictures = list(kernel.basis)
    if power == 2:
        amplitudes = [a * b for a in amplitudes for b in amplitudes]
        pictures = [a * b for a in pictures for b in pictures]
    total = np.zeros(bbox.shape)
    for amplitude, picture in zip(amplitudes, pictures, strict=True):
        total += amplitude * fftconvolve(clean, picture[::-1, ::-1], mode="valid")
    touched = fftconvolve(missing.astype(float), np.ones(kernel.basis.shape[1:]), mode="valid")
    total[touched > 0.5] = np.nan
    return total


def decorrelate_plainly(
    difference: FloatArray, picture: FloatArray, *, science: float, template: float
) -> tuple[FloatArray, float, float]:
    """Make the noise of a difference white, through the transform of the whole image.

    Parameters
    ----------
    difference
        Science image minus matched template; missing pixels are NaN.
    picture
        Matching kernel in the middle of the image.
    science, template
        Mean variances before the template was matched.

    Returns
    -------
    difference
        With white noise; the same pixels are missing.
    science_factor, template_factor
        What this makes of the variance of either image.
    """
    missing = ~np.isfinite(difference)
    filled = np.where(missing, np.nanmean(difference), difference)
    # Room for what wraps around; even sides.
    shape = tuple(2 * ((side + 2 * picture.shape[0]) // 2) for side in difference.shape)
    transform = np.fft.fft2(picture, s=shape)
    power = np.abs(transform) ** 2
    white = np.sqrt((science + template * np.sum(picture) ** 2) / (science + template * power))
    filtered = np.real(np.fft.ifft2(np.fft.fft2(filled, s=shape) * white))
    filtered = filtered[: difference.shape[0], : difference.shape[1]]
    filtered[missing] = np.nan
    return filtered, float(np.mean(white**2)), float(np.mean(white**2 * power))


def _warp(coadd: CellCoadd, projection: SkyProjection[Any], bbox: Box) -> tuple[FloatArray, FloatArray]:
    """Return image and variance of one coadd on the pixels of a visit."""
    x, y = np.meshgrid(bbox.x.arange.astype(float), bbox.y.arange.astype(float))
    position = coadd.sky_projection.sky_to_pixel(projection.pixel_to_sky(x=x.ravel(), y=y.ravel()))
    source_x = np.asarray(position.x).reshape(x.shape)
    source_y = np.asarray(position.y).reshape(x.shape)
    area = np.abs(
        np.gradient(source_x, axis=1) * np.gradient(source_y, axis=0)
        - np.gradient(source_x, axis=0) * np.gradient(source_y, axis=1)
    )
    first_x, weights_x = _weights(source_x)
    first_y, weights_y = _weights(source_y)
    margin = 2 * _LANCZOS_ORDER
    planes = [
        np.pad(plane.array.astype(float), margin, constant_values=np.nan)
        for plane in (coadd.image, coadd.variance)
    ]
    box = coadd.bbox
    column = np.clip(first_x - box.x.start + margin, 0, planes[0].shape[1] - margin)
    row = np.clip(first_y - box.y.start + margin, 0, planes[0].shape[0] - margin)
    image, variance = np.zeros(x.shape), np.zeros(x.shape)
    for j in range(2 * _LANCZOS_ORDER):
        for i in range(2 * _LANCZOS_ORDER):
            weight = weights_y[j] * weights_x[i]
            image += weight * planes[0][row + j, column + i]
            variance += weight**2 * planes[1][row + j, column + i]
    return image * area, variance * area**2


def _weights(position: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the first pixel of an interpolation along one axis, and the weights."""
    first = np.floor(position).astype(np.int64) - (_LANCZOS_ORDER - 1)
    offsets = np.arange(2 * _LANCZOS_ORDER).reshape(-1, 1, 1)
    distance = first + offsets - position
    weights = np.sinc(distance) * np.sinc(distance / _LANCZOS_ORDER)
    return first, weights / np.sum(weights, axis=0)
