"""Fourier transforms of cells: of fixed sizes and in one thread, so that bits repeat."""

from __future__ import annotations

__all__ = ("crop_center", "find_fft_shape", "transform", "transform_back", "transform_centered")

import numpy as np
import scipy.fft
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Complexes = NDArray[np.complex128]


def find_fft_shape(shape: tuple[int, ...], reach_px: int) -> tuple[int, int]:
    """Return the shape of transforms of an image that a kernel must not wrap around.

    Parameters
    ----------
    shape
        Rows and columns.
    reach_px
        Reach of the kernel.

    Returns
    -------
    padded
        Rows and columns, which depend on the two arguments alone.
    """
    rows, columns = (scipy.fft.next_fast_len(int(size) + reach_px, real=True) for size in shape)
    return rows, columns


def transform(array: NDArray[np.floating], shape: tuple[int, int]) -> Complexes:
    """Transform an image, its first pixel at the origin, with zeros beyond its edge."""
    found: Complexes = scipy.fft.rfft2(np.asarray(array, np.float64), s=shape, workers=1)
    return found


def transform_centered(stamp: NDArray[np.floating], shape: tuple[int, int]) -> Complexes:
    """Transform a stamp of odd sides, not larger than the shape, its middle at the origin."""
    padded = np.zeros(shape)
    rows, columns = stamp.shape
    padded[:rows, :columns] = stamp
    return transform(np.roll(padded, (-(rows // 2), -(columns // 2)), axis=(0, 1)), shape)


def transform_back(spectrum: Complexes, shape: tuple[int, int]) -> Floats:
    """Return the image of a transform."""
    found: Floats = scipy.fft.irfft2(spectrum, s=shape, workers=1)
    return found


def crop_center(image: Floats, side: int) -> Floats:
    """Return a stamp of an odd side around the origin of an image that wraps around."""
    half = side // 2
    rolled = np.roll(image, (half, half), axis=(0, 1))
    return rolled[:side, :side].copy()
