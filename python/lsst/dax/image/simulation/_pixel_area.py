"""The brighter-fatter effect: pixels change their area while charge accumulates.

The charge that a pixel holds bends the drift lines of what comes later, which
moves the boundaries of the pixels around it.  This model follows the exposure
in time, and moves at each boundary the light that falls between its old and
its new place.
"""

from __future__ import annotations

__all__ = ("ShiftMatrices", "accumulate_charge", "make_screened_kernel", "make_shift_matrices")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.fft

type FloatArray = npt.NDArray[np.float64]

_STRIP_ROWS = 496
"""Rows that are transformed at a time: 512 with the reach of the shifts of 8 pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShiftMatrices:
    """Outward shifts (pixels) of the boundaries of pixel [serial, parallel] by one electron in [0, 0]."""

    north: FloatArray
    """Upper boundary."""
    south: FloatArray
    """Lower boundary."""
    east: FloatArray
    """Right boundary."""
    west: FloatArray
    """Left boundary."""


def make_screened_kernel(
    *,
    area_loss: float = 2.0e-6,
    half_width: int = 8,
    screening_px: float = 1.6,
    softening_px: float = 0.7,
    anisotropy: float = 1.1,
) -> FloatArray:
    """Return a potential of which the boundary shifts are the differences.

    Parameters
    ----------
    area_loss
        Relative area that a pixel loses by an electron of its own.
    half_width
        Reach in pixels.
    screening_px, softening_px
        The potential of a charge between conducting planes falls like
        ``exp(-r / screening) / sqrt(r**2 + softening**2)``.
    anisotropy
        Factor by which the reach along columns exceeds that along rows.

    Returns
    -------
    kernel
        Potential [y, x], per electron; negative, and 2 * half_width + 1 wide.
    """
    offset = np.arange(-half_width, half_width + 1.0)
    radius = np.hypot(offset[:, None] / anisotropy, offset[None, :])
    kernel = -np.exp(-radius / screening_px) / np.hypot(radius, softening_px)
    center = half_width
    # A boundary goes against the gradient, and a pixel has two of each kind.
    rises = kernel[center + 1, center] + kernel[center, center + 1] - 2.0 * kernel[center, center]
    return np.asarray(kernel * (area_loss / (2.0 * rises)))


def make_shift_matrices(kernel: FloatArray) -> ShiftMatrices:
    """Return the boundary shifts that belong to a potential.

    Parameters
    ----------
    kernel
        Potential [y, x]; odd, square, symmetric.

    Returns
    -------
    shifts
        Matrices of side ``kernel.shape[0] // 2``.
    """
    size = kernel.shape[0] // 2
    quadrant = kernel[size:, size:].T
    north = quadrant[:size, :size] - quadrant[:size, 1:]
    east = quadrant[:size, :size] - quadrant[1:, :size]
    # The lower boundary of a pixel is the upper one of the pixel below; the
    # two of the pixel with the charge mirror each other.
    south = np.concatenate([north[:, :1], -north[:, :-1]], axis=1)
    west = np.concatenate([east[:1], -east[:-1]], axis=0)
    return ShiftMatrices(north=north, south=south, east=east, west=west)


def accumulate_charge(
    light: FloatArray, shifts: ShiftMatrices, *, steps: int, full_well: FloatArray | None = None
) -> FloatArray:
    """Return the charge in each pixel after an exposure whose boundaries move.

    Parameters
    ----------
    light
        Electrons that each pixel would hold without the effect.
    shifts
        Boundary shifts.
    steps
        Parts of the exposure.
    full_well
        Charge from which a pixel repels no more.

    Returns
    -------
    charge
        Electrons per pixel; their sum is that of ``light``.

    Notes
    -----
    In each part of the exposure the boundaries are where the charge of its
    middle puts them.  The light between a boundary's place without charge and
    its place with charge changes sides; its surface brightness is the mean of
    the two pixels.  The outer edges of the detector do not move.
    """
    fields = _full_fields(shifts)
    charge = np.zeros_like(light)
    for _ in range(steps):
        driver = charge + (0.5 / steps) * light
        if full_well is not None:
            np.minimum(driver, full_well, out=driver)
        charge += light / steps
        for start in range(0, light.shape[0], _STRIP_ROWS):
            rows = slice(start, min(start + _STRIP_ROWS, light.shape[0]))
            _move_light(charge, light, 1.0 / steps, rows, *_move_boundaries(driver, rows, *fields))
    return charge


def _move_light(
    charge: FloatArray, light: FloatArray, part: float, rows: slice, up: FloatArray, right: FloatArray
) -> None:
    """Let a part of the light of some rows change sides at their upper and right boundaries, in place."""
    start, stop = rows.start, min(rows.stop, light.shape[0] - 1)
    moved = (0.5 * part) * (light[start + 1 : stop + 1] + light[start:stop]) * up[: stop - start]
    charge[start:stop] += moved
    charge[start + 1 : stop + 1] -= moved
    moved = (0.5 * part) * (light[rows, 1:] + light[rows, :-1]) * right[:, :-1]
    charge[rows, :-1] += moved
    charge[rows, 1:] -= moved


def _full_fields(shifts: ShiftMatrices) -> tuple[FloatArray, FloatArray]:
    """Return the upward and the rightward shift of the upper and right boundary at every offset.

    The fields are indexed [y + size, x + size] by the offset from the charge.
    """
    size = shifts.north.shape[0]
    span = 2 * size + 1
    north, east = np.zeros((span, span)), np.zeros((span, span))
    for j in range(-size, size):
        for i in range(-size, size):
            # Below the charge an upper boundary is the mirror image of the
            # lower boundary of the pixel as far above.
            if abs(i) < size:
                value = shifts.north[abs(i), j] if j >= 0 else -shifts.north[abs(i), -1 - j]
                north[j + size, i + size] = value
            if abs(j) < size:
                value = shifts.east[i, abs(j)] if i >= 0 else -shifts.east[-1 - i, abs(j)]
                east[j + size, i + size] = value
    return north, east


def _move_boundaries(
    charge: FloatArray, rows: slice, north: FloatArray, east: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return how far the upper and the right boundary of each pixel of some rows move, in pixels."""
    reach = north.shape[0] // 2
    height, width = charge.shape
    low, high = max(rows.start - reach, 0), min(rows.stop + reach, height)
    size = (
        scipy.fft.next_fast_len(high - low + 2 * reach, real=True),
        scipy.fft.next_fast_len(width + 2 * reach, real=True),
    )
    spectrum = scipy.fft.rfft2(charge[low:high], size)
    top = rows.start - low + reach
    window = (slice(top, top + rows.stop - rows.start), slice(reach, reach + width))
    up = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(north, size), size)[window]
    right = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(east, size), size)[window]
    return up, right
