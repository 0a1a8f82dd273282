"""PSF images of coadds: resampling of stamps, and adaptive moments."""

from __future__ import annotations

__all__ = (
    "fill_weights",
    "find_adaptive_moments",
    "interpolate_profile",
    "resample_stamps",
    "resample_stretched_stamps",
)

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

type Floats = NDArray[np.float64]

_PASSES = 60
_TOLERANCE = 1e-8  # of the moments, between two passes


@kernel
def fill_weights(
    position: float,
    coefficients: NDArray[np.float32],
    taps: int,
    first_tap: int,
    shift: float,
    out_weights: Floats,
) -> int:
    """Set the weights of one axis, and return the pixel that the first belongs to."""
    base = math.floor(position + shift)
    n_segments = coefficients.shape[0]
    place = (position + shift - base) * n_segments
    segment = min(int(place), n_segments - 1)
    t = place - segment
    total = 0.0
    for k in range(taps):
        weight = coefficients[segment, 0, k] + t * (
            coefficients[segment, 1, k] + t * coefficients[segment, 2, k]
        )
        out_weights[k] = weight
        total += weight
    for k in range(taps):
        out_weights[k] /= total
    return int(base) + first_tap


@kernel
def resample_stamps(
    stamps: Floats,
    centers: Floats,
    matrices: Floats,
    coefficients: NDArray[np.float32],
    taps: int,
    first_tap: int,
    shift: float,
    out_stamps: Floats,
) -> None:
    """Resample stamps, zero beyond their edges, over a linear map.

    Parameters
    ----------
    stamps
        Source stamps, shape ``(n, height, width)``.
    centers
        Place (x, y) of the star on each, from the first pixel, shape ``(n, 2)``.
    matrices
        Derivatives of source (x, y) with respect to target (x, y), shape
        ``(n, 2, 2)``.
    coefficients
        Table of weights: constant, linear and quadratic coefficients, shape
        ``(n_segments, 3, taps or more)``.
    taps, first_tap, shift
        Taps along an axis, and the first one relative to the pixel that the
        position plus ``shift`` falls into.
    out_stamps
        Target stamps of odd sides, centred, shape ``(n, rows, columns)``.
    """
    n, height, width = stamps.shape
    rows, columns = out_stamps.shape[1:]
    weights_x = np.empty(taps)
    weights_y = np.empty(taps)
    for s in range(n):
        for j in range(rows):
            v = j - rows // 2
            for i in range(columns):
                u = i - columns // 2
                x = matrices[s, 0, 0] * u + matrices[s, 0, 1] * v + centers[s, 0]
                y = matrices[s, 1, 0] * u + matrices[s, 1, 1] * v + centers[s, 1]
                value = 0.0
                if -taps < x < width + taps and -taps < y < height + taps:
                    x0 = fill_weights(x, coefficients, taps, first_tap, shift, weights_x)
                    y0 = fill_weights(y, coefficients, taps, first_tap, shift, weights_y)
                    for q in range(max(0, -y0), min(taps, height - y0)):
                        row = 0.0
                        for p in range(max(0, -x0), min(taps, width - x0)):
                            row += weights_x[p] * stamps[s, y0 + q, x0 + p]
                        value += weights_y[q] * row
                out_stamps[s, j, i] = value


@kernel
def interpolate_profile(profile: Floats, places: float, distance: float) -> float:
    """Return the profile at a distance, linear between its places; 0 beyond its end."""
    place = distance * places
    k = int(place)
    if k + 1 >= profile.shape[0]:
        return 0.0
    t = place - k
    value: float = profile[k] * (1.0 - t) + profile[k + 1] * t
    return value


@kernel
def resample_stretched_stamps(
    stamps: Floats,
    centers: Floats,
    matrices: Floats,
    to_kernel: Floats,
    reaches: Floats,
    profile: Floats,
    places: float,
    half_width: float,
    out_stamps: Floats,
) -> None:
    """Average stamps, zero beyond their edges, with a kernel as wide as the target's pixels.

    Parameters
    ----------
    stamps
        Source stamps, shape ``(n, height, width)``.
    centers
        Place (x, y) of the star on each, from the first pixel, shape ``(n, 2)``.
    matrices
        Derivatives of source (x, y) with respect to target (x, y), shape
        ``(n, 2, 2)``.
    to_kernel
        Maps from source offsets to kernel coordinates, shape ``(n, 2, 2)``.
    reaches
        Reach of the kernel in source x and y, in pixels, shape ``(n, 2)``.
    profile, places, half_width
        The kernel's profile, its values per pixel and its half-width.
    out_stamps
        Target stamps of odd sides, centred, shape ``(n, rows, columns)``.
    """
    n, height, width = stamps.shape
    rows, columns = out_stamps.shape[1:]
    for s in range(n):
        a, b, c, d = to_kernel[s, 0, 0], to_kernel[s, 0, 1], to_kernel[s, 1, 0], to_kernel[s, 1, 1]
        for j in range(rows):
            v = j - rows // 2
            for i in range(columns):
                u = i - columns // 2
                x = matrices[s, 0, 0] * u + matrices[s, 0, 1] * v + centers[s, 0]
                y = matrices[s, 1, 0] * u + matrices[s, 1, 1] * v + centers[s, 1]
                value = total = 0.0
                for q in range(math.ceil(y - reaches[s, 1]), math.floor(y + reaches[s, 1]) + 1):
                    for p in range(math.ceil(x - reaches[s, 0]), math.floor(x + reaches[s, 0]) + 1):
                        ku = abs(a * (p - x) + b * (q - y))
                        kv = abs(c * (p - x) + d * (q - y))
                        if ku < half_width and kv < half_width:
                            weight = interpolate_profile(profile, places, ku) * interpolate_profile(
                                profile, places, kv
                            )
                            total += weight
                            if 0 <= p < width and 0 <= q < height:
                                value += weight * stamps[s, q, p]
                out_stamps[s, j, i] = value / total if total > 0.0 else 0.0


@kernel
def find_adaptive_moments(stamps: Floats, out_moments: Floats) -> None:
    """Return the adaptive second moments of images.

    The weight is an elliptical Gaussian with the moments, and with the
    centroid, that it finds itself (Bernstein and Jarvis 2002).

    Parameters
    ----------
    stamps
        Images of odd sides, shape ``(n, height, width)``.
    out_moments
        Centroid x and y relative to the middle, and moments xx, yy and xy, in
        pixels and square pixels, shape ``(n, 5)``; NaN where it does not
        converge.
    """
    n, height, width = stamps.shape
    for s in range(n):
        xx, yy, xy, x0, y0 = 4.0, 4.0, 0.0, 0.0, 0.0
        converged = False
        for _ in range(_PASSES):
            det = xx * yy - xy * xy
            if not (det > 0.0 and xx > 0.0):
                break
            total = s_x = s_y = s_xx = s_yy = s_xy = 0.0
            for j in range(height):
                dy = j - height // 2 - y0
                for i in range(width):
                    dx = i - width // 2 - x0
                    r2 = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det
                    if r2 < 60.0:
                        value = stamps[s, j, i] * math.exp(-0.5 * r2)
                        total += value
                        s_x += value * dx
                        s_y += value * dy
                        s_xx += value * dx * dx
                        s_yy += value * dy * dy
                        s_xy += value * dx * dy
            if not total > 0.0:
                break
            # A Gaussian times its own weight has half of the weight's distance
            # from its centroid, and half of its moments.
            step_x, step_y = 2.0 * s_x / total, 2.0 * s_y / total
            new_xx, new_yy, new_xy = s_xx / total, s_yy / total, s_xy / total
            # Inverse covariances add where Gaussians multiply: taking off that
            # of the weight has the same fixed point as doubling the moments,
            # and is there at once for a Gaussian.
            own = new_xx * new_yy - new_xy * new_xy
            i_xx, i_yy, i_xy = new_yy / own - yy / det, new_xx / own - xx / det, -new_xy / own + xy / det
            inverse = i_xx * i_yy - i_xy * i_xy
            if inverse > 0.0 and i_xx > 0.0:
                new_xx, new_yy, new_xy = i_yy / inverse, i_xx / inverse, -i_xy / inverse
            else:
                new_xx, new_yy, new_xy = 2.0 * new_xx, 2.0 * new_yy, 2.0 * new_xy
            change = abs(new_xx - xx) + abs(new_yy - yy) + abs(new_xy - xy)
            xx, yy, xy = new_xx, new_yy, new_xy
            x0 += step_x
            y0 += step_y
            if change < _TOLERANCE * (xx + yy) and abs(step_x) + abs(step_y) < _TOLERANCE:
                converged = True
                break
        if converged and abs(x0) < width / 2 and abs(y0) < height / 2:
            out_moments[s, 0] = x0
            out_moments[s, 1] = y0
            out_moments[s, 2] = xx
            out_moments[s, 3] = yy
            out_moments[s, 4] = xy
        else:
            out_moments[s] = math.nan
