"""Unit vectors, arcs and the gnomonic plane, on plain arrays in radians."""

from __future__ import annotations

__all__ = (
    "Vectors",
    "angle_between",
    "arc_distance",
    "arc_points",
    "enclosing_direction",
    "lon_lat",
    "perpendicular_pair",
    "sky_lon_lat",
    "unit_vectors",
)

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

type Vectors = NDArray[np.float64]

# Points times arcs that one block of `arc_distance` holds at a time.
_BLOCK = 1 << 18


def sky_lon_lat(sky: SkyCoord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ICRS right ascension and declination in radians."""
    spherical = sky.icrs.spherical
    return (
        np.asarray(spherical.lon.rad, dtype=np.float64),
        np.asarray(spherical.lat.rad, dtype=np.float64),
    )


def unit_vectors(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Vectors:
    """Return unit vectors, shape ``(..., 3)``, of angles in radians."""
    cos_lat = np.cos(lat)
    return np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)], axis=-1)


def lon_lat(vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude in radians of vectors of any length."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


def angle_between(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Return the angle between unit vectors, exact for tiny and for flat ones.

    The arc cosine of the dot product loses half of the digits near 0 and near
    pi; the arc tangent of the two chords does not.
    """
    difference = a - b
    total = a + b
    chord = np.sqrt(np.einsum("...i,...i->...", difference, difference))
    other_chord = np.sqrt(np.einsum("...i,...i->...", total, total))
    return np.asarray(2.0 * np.arctan2(chord, other_chord))


def arc_points(start: Vectors, stop: Vectors, fraction: NDArray[np.float64]) -> Vectors:
    """Return the points at a fraction (0 to 1) of the way along short arcs."""
    angle = angle_between(start, stop)
    safe = np.where(angle > 0.0, angle, 1.0)
    sine = np.sin(safe)
    weight_start = np.where(angle > 0.0, np.sin((1.0 - fraction) * safe) / sine, 1.0 - fraction)
    weight_stop = np.where(angle > 0.0, np.sin(fraction * safe) / sine, fraction)
    points = weight_start[..., None] * start + weight_stop[..., None] * stop
    return np.asarray(points / np.linalg.norm(points, axis=-1, keepdims=True))


def arc_distance(points: Vectors, start: Vectors, stop: Vectors) -> NDArray[np.float64]:
    """Return the angle from each of n points to the nearest of m short arcs.

    Parameters
    ----------
    points
        Unit vectors, shape ``(n, 3)``; NaN gives NaN.
    start, stop
        Ends of the great-circle arcs, each shorter than pi, shape ``(m, 3)``.
    """
    normal = np.cross(start, stop)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0.0)
    # A point is beside its arc where it lies between the two great circles
    # that stand upright on the arc at its ends.
    after_start = np.cross(normal, start)
    before_stop = np.cross(stop, normal)
    ends = np.unique(np.concatenate([start, stop]), axis=0)
    result = np.empty(len(points))
    step = max(1, _BLOCK // max(1, len(start)))
    for first in range(0, len(points), step):
        block = points[first : first + step]
        beside = (block @ after_start.T > 0.0) & (block @ before_stop.T > 0.0)
        sine = np.where(beside, np.abs(block @ normal.T), np.inf).min(axis=1)
        across = np.where(sine <= 1.0, np.arcsin(np.minimum(sine, 1.0)), np.inf)
        to_end = angle_between(block, ends[_nearest(block, ends)])
        result[first : first + step] = np.minimum(across, to_end)
    return result


def _nearest(points: Vectors, candidates: Vectors) -> NDArray[np.intp]:
    """Return the index of the candidate nearest to each point."""
    # Squared distances from products of offsets keep the digits of a tiny
    # shape, which those of unit vectors lose.
    origin = candidates[0]
    offset, to = points - origin, candidates - origin
    return np.asarray(np.argmin((to * to).sum(axis=1) - 2.0 * (offset @ to.T), axis=1))


def perpendicular_pair(center: Vectors) -> tuple[Vectors, Vectors]:
    """Return two unit vectors that complete ``center`` to a right-handed frame."""
    axis = np.zeros(3)
    axis[int(np.argmin(np.abs(center)))] = 1.0
    first = np.cross(axis, center)
    first /= np.linalg.norm(first)
    return first, np.cross(center, first)


def enclosing_direction(points: Vectors) -> Vectors | None:
    """Return the middle of a hemisphere that holds every point, if there is one.

    The mean direction serves nearly always.  Where it does not, steps of
    falling size towards the farthest point approach the middle of the smallest
    enclosing ball (Badoiu & Clarkson 2003), whose direction is the middle of
    the smallest cap.
    """
    mean = points.mean(axis=0)
    norm = np.linalg.norm(mean)
    if norm > 1e-9 and (points @ mean).min() > 0.1 * norm:
        return np.asarray(mean / norm)
    middle = mean
    for step in range(2, 3000):
        farthest = points[int(np.argmax(((points - middle) ** 2).sum(axis=1)))]
        middle = middle + (farthest - middle) / step
    norm = np.linalg.norm(middle)
    if norm > 1e-9 and (points @ middle).min() > 1e-6 * norm:
        return np.asarray(middle / norm)
    return None
