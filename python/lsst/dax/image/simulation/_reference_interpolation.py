"""Row-wise interpolation over masked pixels, with weights from kriging."""

from __future__ import annotations

__all__ = ("find_runs", "interpolate", "kriging_weights")

import functools

import numpy as np
import numpy.typing as npt

from ._reference_planes import BoolArray, Float32Array, Planes, clipped_mean, grow_diamond

REACH_PX = 6
"""Number of pixels at each end of a wide run that feel the end."""

WIDE_PX = 11
"""Runs of at least this length do not connect their two ends."""

EDGE_PX = 6
"""Longest run at an edge of the image that one side alone fills."""

SATURATION_GROWTH_PX = 1
"""Growth of SAT before an interpolation."""

Run = tuple[int, int]


def interpolate(planes: Planes, *names: str) -> Planes:
    """Fill every pixel that has one of some mask planes, row by row.

    Parameters
    ----------
    planes
        Image to fill.
    names
        Mask planes.  SAT is grown by one pixel first, if it is among them.

    Returns
    -------
    planes
        Image and variance with the pixels filled, and INTRP on them.
    """
    if "SAT" in names:
        planes = planes.flagged("SAT", grow_diamond(planes.plane("SAT"), SATURATION_GROWTH_PX))
    wanted = planes.plane(*names)
    if not wanted.any():
        return planes.flagged("INTRP", wanted)
    # One fallback for both planes: that of the image.
    fallback = clipped_mean(planes.image)
    image, variance = planes.image.copy(), planes.variance.copy()
    for row in np.flatnonzero(wanted.any(axis=1)):
        for plane in (image, variance):
            plane[row] = _fill_row(plane[row], wanted[row], fallback)
    return planes.with_image(image).with_variance(variance).flagged("INTRP", wanted)


def find_runs(bad: BoolArray) -> list[Run]:
    """Return the runs of set pixels in a row as (first, one past the last)."""
    steps = np.diff(np.concatenate([[0], bad.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def _fill_row(values: Float32Array, bad: BoolArray, fallback: float) -> Float32Array:
    """Return a row with its bad pixels filled."""
    filled = values.astype(np.float64)
    usable = ~bad
    size = values.size
    for start, stop in find_runs(bad):
        if stop - start == size:
            filled[:] = fallback
            continue
        first, last = start, stop
        if stop - start > EDGE_PX and start == 0:
            first = stop - EDGE_PX
        elif stop - start > EDGE_PX and stop == size:
            last = start + EDGE_PX
        for far in (slice(start, first), slice(last, stop)):
            filled[far] = np.float32(fallback)
            usable[far] = True
        _fill_run(filled, usable, first, last)
    result: Float32Array = filled.astype(np.float32)
    return result


def _fill_run(filled: npt.NDArray[np.float64], usable: BoolArray, start: int, stop: int) -> None:
    """Fill one run, in place, from up to two good pixels on either side."""
    size = filled.size
    left = _count_neighbours(usable, (start - 1, start - 2), size)
    right = _count_neighbours(usable, (stop, stop + 1), size)
    positions = [start - 1 - k for k in reversed(range(left))] + [stop + k for k in range(right)]
    sources = np.array([filled[position] for position in positions])
    length = stop - start
    for pixel in range(start, stop):
        weights = kriging_weights(length, pixel - start, left, right)
        value = float(np.dot(weights, sources))
        # A pair of bad pixels between single good ones is never made negative.
        if length == 2 and left == 1 and right == 1:
            value = max(value, 0.0)
        filled[pixel] = value


def _count_neighbours(usable: BoolArray, positions: tuple[int, int], size: int) -> int:
    """Return how many good pixels in a row, up to two, follow an end of a run outwards."""
    near, far = positions
    if not 0 <= near < size or not usable[near]:
        return 0
    return 2 if 0 <= far < size and usable[far] else 1


@functools.cache
def kriging_weights(length: int, index: int, left: int, right: int) -> tuple[float, ...]:
    """Return the weights of the good pixels beside a run, from left to right.

    Parameters
    ----------
    length
        Number of pixels in the run.
    index
        Which of them is filled, from 0.
    left, right
        Number of good pixels on either side, 0 to 2.

    Returns
    -------
    weights
        Weights of ordinary kriging: with a covariance of ``exp(-d**2 / 4)`` at
        a distance of d pixels, of unit sum, rounded to 4 decimals.

    Notes
    -----
    The ends of a wide run are taken to be infinitely far apart; a pixel of it
    feels the end that is within `REACH_PX`, the right one where both are: the
    original fills the left end first.
    """
    places = np.array([-k for k in reversed(range(1, left + 1))] + [length + k for k in range(right)], float)
    sides = np.array([0] * left + [1] * right)
    wide = length >= WIDE_PX
    mutual = np.exp(-0.25 * np.subtract.outer(places, places) ** 2)
    target = np.exp(-0.25 * (places - index) ** 2)
    if wide:
        mutual[np.not_equal.outer(sides, sides)] = 0.0
        felt = 1 if index >= length - REACH_PX else 0 if index < REACH_PX else None
        target[sides != felt] = 0.0
    count = left + right
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = mutual
    system[count, count] = 0.0
    solution = np.linalg.solve(system, np.append(target, 1.0))
    return tuple(round(float(weight), 4) for weight in solution[:count])
