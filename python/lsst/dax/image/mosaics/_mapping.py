"""Pixels of one projection in the pixels of another."""

from __future__ import annotations

__all__ = ("area_ratio", "find_shift", "map_lattice", "map_pixels")

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import YX, Box, SkyProjection

type Positions = NDArray[np.float64]

# AST marks what it cannot map with the largest negative number; a latitude has
# at most half of pi.
_LARGEST = 1e30
# Pixels by which a shift may be off whole numbers: what AST calls exact.
_WHOLE = 1e-4
# Pixels between exact positions; what lies between is only used for weights,
# planes and nearest pixels.
_STEP = 16


def map_pixels(
    target: SkyProjection[Any], source: SkyProjection[Any], x: Positions, y: Positions
) -> Positions:
    """Map pixels of one projection to pixels of another.

    Parameters
    ----------
    target, source
        Projections that are mapped from and to.
    x, y
        Pixels of the target, arrays of one shape.

    Returns
    -------
    positions
        Source x and y, shape ``(2, *x.shape)``; NaN where there is none.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        sky = target.pixel_to_sky_transform.apply_forward(x=x, y=y)
        longitude, latitude = np.asarray(sky.x), np.asarray(sky.y)
        on_sky = np.abs(latitude) <= np.pi
        pixels = source.pixel_to_sky_transform.apply_inverse(
            x=np.where(on_sky, longitude, 0.0), y=np.where(on_sky, latitude, 0.0)
        )
        positions = np.stack([np.asarray(pixels.x), np.asarray(pixels.y)])
        good = on_sky & (np.abs(positions) < _LARGEST).all(axis=0)
    return np.where(good, positions, np.nan)


def map_lattice(target: SkyProjection[Any], source: SkyProjection[Any], box: Box) -> Positions:
    """Map all pixels of a box, exactly every 16 pixels and linearly between.

    Parameters
    ----------
    target, source
        Projections that are mapped from and to.
    box
        Pixels of the target.

    Returns
    -------
    positions
        Source x and y, shape ``(2, *box.shape)``; NaN where there is none.
    """
    axes = []
    for axis in (box.y, box.x):
        # From multiples of the step, so that parts of a box have the bits of the whole.
        first, last = axis.start // _STEP, (axis.stop - 1) // _STEP + 1
        axes.append(_STEP * np.arange(first, last + 1, dtype=np.float64))
    y, x = axes
    nodes = map_pixels(target, source, *np.meshgrid(x, y))
    fraction = np.arange(_STEP) / _STEP
    top, left = box.y.start % _STEP, box.x.start % _STEP
    rows = nodes[:, :-1, None] * (1.0 - fraction[:, None]) + nodes[:, 1:, None] * fraction[:, None]
    rows = rows.reshape(2, (y.size - 1) * _STEP, x.size)[:, top : top + box.y.size]
    full = rows[..., :-1, None] * (1.0 - fraction) + rows[..., 1:, None] * fraction
    return full.reshape(2, box.y.size, (x.size - 1) * _STEP)[..., left : left + box.x.size]


def find_shift(source: SkyProjection[Any], box: Box, target: SkyProjection[Any]) -> YX[int] | None:
    """Find by how many whole pixels two grids differ.

    Parameters
    ----------
    source
        Projection of an image.
    box
        Pixels of the image.
    target
        Another projection.

    Returns
    -------
    shift
        What is added to a pixel of the image to give the same place in the
        pixels of the target; None if the grids differ otherwise.
    """
    one, two = source.pixel_to_sky_transform, target.pixel_to_sky_transform
    if one is two or one == two:
        return YX(y=0, x=0)
    grid = box.meshgrid(3)
    x, y = np.asarray(grid.x, np.float64), np.asarray(grid.y, np.float64)
    moved = map_pixels(source, target, x, y)
    shifts = moved - np.stack([x, y])
    if not np.isfinite(shifts).all():
        return None
    whole = np.rint(shifts[:, 0, 0])
    if np.abs(shifts - whole[:, None, None]).max() > _WHOLE:
        return None
    return YX(y=int(whole[1]), x=int(whole[0]))


def area_ratio(target: SkyProjection[Any], source: SkyProjection[Any], box: Box) -> float:
    """Return the area of a target pixel in source pixels, in the middle of a source box.

    Parameters
    ----------
    target, source
        Projections.
    box
        Pixels of the source.

    Returns
    -------
    ratio
        Area; NaN where the target has no such position.
    """
    x = box.x.center + np.array([0.5, -0.5, 0.0, 0.0])
    y = box.y.center + np.array([0.0, 0.0, 0.5, -0.5])
    moved = map_pixels(source, target, x, y)
    along_x, along_y = moved[:, 0] - moved[:, 1], moved[:, 2] - moved[:, 3]
    return float(1.0 / abs(along_x[0] * along_y[1] - along_x[1] * along_y[0]))
