"""Steps of instrument signature removal that treat each pixel by itself.

Sums and products are rounded to float32 one by one, as the observatory's
arrays do it: none is contracted with the next.
"""

from __future__ import annotations

__all__ = (
    "blank_pixels",
    "count_not_finite",
    "divide_flat",
    "flag_not_finite",
    "flag_not_positive",
    "make_poisson_variance",
    "replace_flagged",
    "subtract_scaled",
)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type FloatImage = NDArray[np.float32]
type Bits = NDArray[np.uint16]

_EXPONENT = np.uint32(0x7F800000)  # all of it is set in infinities and NaNs, and in nothing else


@kernel
def subtract_scaled(
    image: FloatImage,
    variance: FloatImage,
    calibration: FloatImage,
    calibration_variance: FloatImage,
    scale: np.float32,
    scale_squared: np.float32,
    out_image: FloatImage,
    out_variance: FloatImage,
) -> None:
    """Subtract a scaled image, and add its scaled variance.

    Parameters
    ----------
    image, variance
        Minuend and its variance, shape ``(n,)``.
    calibration, calibration_variance
        Subtrahend before scaling and its variance, shape ``(n,)``.
    scale, scale_squared
        Factors of the subtrahend and of its variance.
    out_image, out_variance
        Difference and its variance, shape ``(n,)``.
    """
    for i in range(image.size):
        out_image[i] = image[i] - scale * calibration[i]
        out_variance[i] = variance[i] + scale_squared * calibration_variance[i]


@kernel
def divide_flat(
    image: FloatImage,
    variance: FloatImage,
    flat: FloatImage,
    flat_variance: FloatImage,
    out_image: FloatImage,
    out_variance: FloatImage,
) -> None:
    """Divide by a flat, and propagate the variance.

    Parameters
    ----------
    image, variance
        Dividend and its variance, shape ``(n,)``.
    flat, flat_variance
        Divisor and its variance, shape ``(n,)``.
    out_image, out_variance
        Quotient and its variance, shape ``(n,)``.
    """
    for i in range(image.size):
        value, divisor = image[i], flat[i]
        square = divisor * divisor
        numerator = value * value * flat_variance[i] + square * variance[i]
        wide = np.float64(square)
        out_variance[i] = np.float32(np.float64(numerator) / (wide * wide))
        out_image[i] = value / divisor


@kernel
def blank_pixels(
    mask: Bits, bits: np.uint16, variance_value: np.float32, out_image: FloatImage, out_variance: FloatImage
) -> None:
    """Set flagged pixels to zero and their variance to a value.

    Parameters
    ----------
    mask
        Mask, shape ``(n,)``.
    bits
        Bits of which one suffices.
    variance_value
        Variance of these pixels.
    out_image, out_variance
        Image and variance, shape ``(n,)``; other pixels stay.
    """
    for i in range(mask.size):
        if mask[i] & bits:
            out_image[i] = np.float32(0.0)
            out_variance[i] = variance_value


@kernel
def make_poisson_variance(
    image: FloatImage,
    variance: FloatImage,
    inverse_gain: np.float32,
    noise_variance: np.float32,
    out_variance: FloatImage,
) -> int:
    """Add the variance of the photons and of the readout.

    Parameters
    ----------
    image, variance
        Image of one amplifier and its variance so far, shape ``(ny, nx)``; rows need not touch.
    inverse_gain
        1 over the gain: 1 for an image in electron.
    noise_variance
        Read noise squared, in the unit of the image squared.
    out_variance
        Variance, shape ``(ny, nx)``.

    Returns
    -------
    n_not_positive
        Pixels whose variance is zero or less.
    """
    n_not_positive = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            total = (variance[y, x] + image[y, x]) * inverse_gain + noise_variance
            out_variance[y, x] = total
            n_not_positive += total <= 0
    return n_not_positive


@kernel
def flag_not_positive(variance: FloatImage, mask: Bits, bit: np.uint16, out_mask: Bits) -> None:
    """Flag pixels whose variance is zero or less.

    Parameters
    ----------
    variance
        Variance, shape ``(n,)``; a NaN is neither.
    mask
        Mask so far, shape ``(n,)``.
    bit
        Bit to set.
    out_mask
        Mask, shape ``(n,)``.
    """
    for i in range(mask.size):
        flag = bit if variance[i] <= 0 else np.uint16(0)
        out_mask[i] = mask[i] | flag


@kernel
def count_not_finite(image: NDArray[np.uint32], variance: NDArray[np.uint32]) -> int:
    """Count the pixels whose value or variance is not finite.

    Parameters
    ----------
    image, variance
        Bit patterns of float32, shape ``(n,)``: tests of integers run in vectors.

    Returns
    -------
    n
        Number of pixels.
    """
    n = 0
    for i in range(image.size):
        n += ((image[i] & _EXPONENT) == _EXPONENT) | ((variance[i] & _EXPONENT) == _EXPONENT)
    return n


@kernel
def flag_not_finite(
    image: NDArray[np.uint32], variance: NDArray[np.uint32], mask: Bits, bit: np.uint16, out_mask: Bits
) -> None:
    """Flag the pixels whose value or variance is not finite.

    Parameters
    ----------
    image, variance
        Bit patterns of float32, shape ``(n,)``.
    mask
        Mask so far, shape ``(n,)``.
    bit
        Bit to set.
    out_mask
        Mask, shape ``(n,)``.
    """
    for i in range(mask.size):
        is_bad = ((image[i] & _EXPONENT) == _EXPONENT) | ((variance[i] & _EXPONENT) == _EXPONENT)
        out_mask[i] = mask[i] | (bit if is_bad else np.uint16(0))


@kernel
def replace_flagged(
    image: FloatImage,
    mask: Bits,
    bits: np.uint16,
    bits_of_interest: np.uint16,
    value: np.float32,
    out_image: FloatImage,
) -> None:
    """Replace the pixels whose mask has certain bits.

    Parameters
    ----------
    image
        Image, shape ``(n,)``.
    mask
        Mask, shape ``(n,)``.
    bits, bits_of_interest
        A pixel is replaced if, of the bits of interest, it has exactly ``bits``.
    value
        New value.
    out_image
        Image, shape ``(n,)``.
    """
    for i in range(image.size):
        out_image[i] = value if (mask[i] & bits_of_interest) == bits else image[i]
