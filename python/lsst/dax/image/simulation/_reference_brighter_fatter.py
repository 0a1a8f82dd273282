"""Brighter-fatter corrections of the reference instrument signature removal."""

from __future__ import annotations

__all__ = (
    "FILLED_PLANES",
    "BrighterFatterMethod",
    "boundary_kernels",
    "correct_brighter_fatter",
    "electrostatic_correction",
    "flux_conserving_correction",
    "kernel_correction",
)

import enum

import numpy as np
import scipy.signal

from ._reference_interpolation import interpolate
from ._reference_planes import FloatArray, Planes, grow_diamond
from ._sensor import SimulatedCalibrations

FILLED_PLANES = ("SAT", "BAD", "NO_DATA", "UNMASKEDNAN")
"""Planes that are filled before a correction and grown after it."""

GROWTH_PX = 2
MAX_ITERATIONS = 10
TOLERANCE = 1000.0
"""Sum of all changes, in electron, below which the iteration stops."""


class BrighterFatterMethod(enum.Enum):
    """A brighter-fatter correction."""

    COULTON18 = "COULTON18"
    """Scalar kernel (Coulton et al. 2018, AJ 155, 258)."""

    COULTON18_FLUX_CONSERVING = "COULTON18_FLUX_CONSERVING"
    """Scalar kernel, with charge that moves between neighbours."""

    ASTIER23 = "ASTIER23"
    """Electrostatic shifts of pixel boundaries (Astier and Regnault 2023, A&A 670, A118)."""


def correct_brighter_fatter(
    planes: Planes, calibrations: SimulatedCalibrations, *, method: BrighterFatterMethod
) -> Planes:
    """Move the charge back that the charge collected so far has pushed away.

    Notes
    -----
    The correction is made on a copy whose bad pixels are filled.  The kernel
    methods add the change to the image as it was; the electrostatic method
    returns the filled copy.
    """
    filled = interpolate(planes, *FILLED_PLANES)
    work = filled.image.astype(np.float64)
    match method:
        case BrighterFatterMethod.COULTON18:
            size = max(calibrations.kernel.shape)
            change = kernel_correction(work, calibrations.kernel)
        case BrighterFatterMethod.COULTON18_FLUX_CONSERVING:
            size = max(calibrations.kernel.shape)
            change = flux_conserving_correction(work, calibrations.kernel)
        case BrighterFatterMethod.ASTIER23:
            size = max(calibrations.shift_north.shape)
            change = electrostatic_correction(work, *boundary_kernels(calibrations))
    corrected = (work + change).astype(np.float32)
    if method is BrighterFatterMethod.ASTIER23:
        result = filled.with_image(corrected)
    else:
        result = planes.with_image(planes.image + (corrected - filled.image))
    result = result.flagged("EDGE", _frame(result.image.shape, size // 2))
    for name in FILLED_PLANES:
        result = result.flagged(name, grow_diamond(result.plane(name), GROWTH_PX))
    return result


def kernel_correction(image: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return the change of an image by the divergence of charge times the potential's gradient.

    Parameters
    ----------
    image
        Charge in electron.
    kernel
        Kernel of the potential, odd square.

    Returns
    -------
    change
        Electrons to add; zero within half the kernel and one pixel of the low
        edges, and one pixel more of the high edges: the original halves a
        negative odd size, which rounds away from zero.
    """
    half = kernel.shape[0] // 2
    inside = slice(half + 1, -half - 2), slice(half + 1, -half - 2)
    start = np.where(np.isnan(image), 0.0, image)
    estimate, previous = start, np.zeros_like(start)
    change = np.zeros_like(start)
    for iteration in range(MAX_ITERATIONS):
        potential = scipy.signal.fftconvolve(estimate, kernel, mode="same")
        slopes = zip(np.gradient(estimate), np.gradient(potential), strict=True)
        curvature = np.zeros_like(start)
        curvature[1:-1] += np.diff(potential, 2, axis=0)
        curvature[:, 1:-1] += np.diff(potential, 2, axis=1)
        total = 0.5 * (sum(a * b for a, b in slopes) + estimate * curvature)
        change = np.zeros_like(start)
        change[inside] = total[inside]
        estimate = start + change
        # The first estimate is not remembered: the second is compared with zero.
        if iteration > 0:
            if np.sum(np.abs(previous - estimate)) < TOLERANCE:
                break
            previous = estimate
    return change


def flux_conserving_correction(image: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return the change of an image by charge that crosses the boundaries of its pixels.

    Parameters
    ----------
    image
        Charge in electron.
    kernel
        Kernel of the potential, odd square.

    Returns
    -------
    change
        Electrons to add; their sum is zero.

    Notes
    -----
    The potential is that of the image as it came, less its mean, in every
    iteration; it is unknown within half a kernel of the first rows and
    columns, and nothing crosses there.
    """
    start = np.where(np.isnan(image), 0.0, image)
    mean = float(np.mean(image[~np.isnan(image)]))
    contrast = np.where(np.isnan(image), 0.0, start - mean)
    # A correlation: the kernel is not reflected.
    potential = scipy.signal.fftconvolve(contrast, kernel[::-1, ::-1], mode="same")
    potential[: kernel.shape[0] // 2] = np.nan
    potential[:, : kernel.shape[1] // 2] = np.nan
    estimate, previous = contrast, np.zeros_like(start)
    change = np.zeros_like(start)
    for iteration in range(MAX_ITERATIONS):
        change = _exchange(estimate, potential, axis=0) + _exchange(estimate, potential, axis=1)
        estimate = np.where(np.isnan(image), 0.0, start + change - mean)
        if iteration > 0:
            if np.sum(np.abs(previous - estimate)) < TOLERANCE:
                break
            previous = estimate
    return change


def _exchange(charge: FloatArray, potential: FloatArray, *, axis: int) -> FloatArray:
    """Return what neighbours along an axis give to each other."""
    slope = np.diff(potential, axis=axis)
    first = np.take(charge, range(charge.shape[axis] - 1), axis=axis)
    second = np.take(charge, range(1, charge.shape[axis]), axis=axis)
    moved = np.nan_to_num(-0.5 * np.where(slope > 0.0, first, second) * slope, nan=0.0)
    before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    before[axis], after[axis] = (0, 1), (1, 0)
    result: FloatArray = np.pad(moved, after) - np.pad(moved, before)
    return result


def boundary_kernels(calibrations: SimulatedCalibrations) -> tuple[FloatArray, FloatArray]:
    """Return the convolution kernels [y, x] of the shifts of the upper and right boundary of a pixel."""
    north, south = calibrations.shift_north, calibrations.shift_south
    east, west = calibrations.shift_east, calibrations.shift_west
    size = north.shape[0]
    upper = np.zeros((2 * size - 1, 2 * size - 1))
    right = np.zeros_like(upper)
    plus, minus = slice(size - 1, None), slice(None, size)
    # First index serial, second parallel; the axes belong to the quadrant
    # that is filled last.
    upper[plus, plus] = north
    upper[minus, plus] = np.flipud(north)
    upper[plus, minus] = np.fliplr(south)
    upper[minus, minus] = np.flip(south)
    right[plus, plus] = east
    right[minus, plus] = np.flipud(west)
    right[plus, minus] = np.fliplr(east)
    right[minus, minus] = np.flip(west)
    upper[:, 0] = -upper[:, -1]
    right[0, :] = -right[-1, :]
    return (0.25 * upper).T, (0.25 * right).T


def electrostatic_correction(image: FloatArray, upper: FloatArray, right: FloatArray) -> FloatArray:
    """Return the change of an image by the shifts of its pixel boundaries.

    Parameters
    ----------
    image
        Charge in electron.
    upper, right
        Kernels of `boundary_kernels`.

    Returns
    -------
    change
        Electrons to add; their sum is zero.
    """
    given = np.zeros_like(image)
    for axis, kernel in ((0, upper), (1, right)):
        shift = scipy.signal.fftconvolve(image, kernel, mode="same")
        inner = [slice(None), slice(None)]
        inner[axis] = slice(None, -1)
        outer = [slice(None), slice(None)]
        outer[axis] = slice(1, None)
        here, there = (inner[0], inner[1]), (outer[0], outer[1])
        charge = (image[there] + image[here]) * shift[here]
        given[here] += charge
        given[there] -= charge
    return -given


def _frame(shape: tuple[int, ...], width: int) -> np.ndarray:
    """Return the pixels within a width of the edges."""
    frame = np.ones(shape, dtype=bool)
    frame[width : shape[0] - width, width : shape[1] - width] = False
    return frame
