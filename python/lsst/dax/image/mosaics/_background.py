"""Match the backgrounds of images by a weighted least-squares fit over their overlaps.

For every pair of images the differences of the pixels that both have are
described by the difference of two levels or planes.  All pairs together make
one linear system, which is solved directly.
"""

from __future__ import annotations

__all__ = ("Moments", "add_moments", "solve_backgrounds", "sum_block")

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components

from lsst.images import Box

from .._kernels.mosaic_background_nb import sum_differences
from ..resampling import FluxConvention
from ._compute import Contribution, Pixels, contribute
from ._plan import Frame, Plan
from .rules import BackgroundMatch, Overlap

type Moments = dict[tuple[int, int], NDArray[np.float64]]
"""For two images the number of common pixels, sums of ``w, wx, wy, wxx, wxy, wyy, wd, wxd, wyd``
in pixels, and where x and y are counted from: a place next to these pixels, itself counted from the
middle of the grid.  In a large mosaic, sums from its middle would have no digits left for the extent
of a small overlap."""

# What the pixels tell less well than this, relative to what they tell best,
# they do not tell.
_RANK = 1e-12
_CLIP = 3.0  # standard deviations
_CLIPPINGS = 20
_MAD_TO_SIGMA = 1.4826
_LEAST_NOISE = 1e-3
_ROUNDING = 1e-6


def sum_block(plan: Plan, block: Box, pixels: Pixels) -> Moments:
    """Sum up the differences of all pairs of images within a block.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    block
        Pixels of the mosaic.
    pixels
        Images.

    Returns
    -------
    moments
        Sums for each pair that has common pixels.
    """
    placed: list[tuple[int, Contribution, float]] = []
    frames = plan.find_frames(block, overlap=Overlap.COMBINE)
    if len(frames) < 2:
        return {}
    for frame in frames:
        region = plan.find_region(frame, block)
        if region is not None:
            found = contribute(plan, frame, region, block, pixels, keep_values=True)
            if found is not None:
                placed.append((frame.members[0].index, found, _scale(plan, frame)))
    excluded = plan.form.octets((*plan.rules.exclude_planes, *plan.rules.background_exclude))
    moments: Moments = {}
    for number, (index, one, scale) in enumerate(placed):
        for other, two, other_scale in placed[number + 1 :]:
            usable = ~((one.pasted.planes.mask | two.pasted.planes.mask) & excluded).any(axis=-1)
            usable &= (one.pasted.count() > 0) & (two.pasted.count() > 0)
            if usable.any():
                sums = _sum_pair(plan, block, one, two, usable, (scale, other_scale))
                if sums[0]:
                    moments[index, other] = sums
    return moments


def _scale(plan: Plan, frame: Frame) -> float:
    """Return by what values of an image are multiplied to be those of the mosaic."""
    if frame.is_target or plan.rules.flux_convention is not FluxConvention.FLUX:
        return 1.0
    return plan.area_ratio(frame.members[0].index)


def _sum_pair(
    plan: Plan,
    block: Box,
    one: Contribution,
    two: Contribution,
    usable: NDArray[np.bool_],
    scales: tuple[float, float],
) -> NDArray[np.float64]:
    """Sum up the differences of two images, with positions from the middle of the block."""
    sums = np.zeros(12)
    first, second = ((share.pasted.planes, scale) for share, scale in zip((one, two), scales, strict=True))
    difference = first[0].image.astype(np.float64) * first[1] - second[0].image.astype(np.float64) * second[1]
    usable = usable & np.isfinite(difference)
    noise = np.ones(1)
    if plan.form.has_variance:
        variance = first[0].variance.astype(np.float64) * first[1] ** 2
        variance += second[0].variance.astype(np.float64) * second[1] ** 2
        usable &= np.isfinite(variance) & (variance > 0.0)
        noise = np.sqrt(variance[usable])
    if usable.any():
        starts = (block.x.start - block.x.center, block.y.start - block.y.center)
        usable = find_typical(difference, usable, noise, starts)
        sum_differences(difference, usable, *starts, sums[:10])
        # One weight for all: that of a pixel knows the noise in its value.
        sums[1:10] /= np.median(noise) ** 2
    grid = plan.grid.bbox
    sums[10:] = block.x.center - grid.x.center, block.y.center - grid.y.center
    return sums


def find_typical(
    difference: NDArray[np.float64],
    usable: NDArray[np.bool_],
    noise: NDArray[np.float64],
    starts: tuple[float, float],
) -> NDArray[np.bool_]:
    """Leave out pixels whose differences stand out from a plane through most of them.

    Sources stand out where seeing, brightness or position differ.  The plane
    is fitted to what is left, beginning with the median, until nothing
    changes.

    Parameters
    ----------
    difference
        Differences of two images, shape ``(ny, nx)``.
    usable
        Pixels that count, shape ``(ny, nx)``.
    noise
        Standard deviation of each difference that counts, or one for all.
    starts
        Position (x, y) of the first pixel.

    Returns
    -------
    typical
        Pixels that count and do not stand out, shape ``(ny, nx)``.
    """
    rows, columns = np.nonzero(usable)
    values = difference[usable]
    terms = np.stack([np.ones(len(values)), columns + starts[0], rows + starts[1]])
    model = np.full(len(values), np.median(values))
    # Below this there is rounding only.
    least = _LEAST_NOISE if noise.size > 1 else _ROUNDING * float(np.abs(values).max())
    keep = np.zeros(len(values), bool)
    for _ in range(_CLIPPINGS):
        apart = np.abs(values - model) / noise
        kept = apart <= _CLIP * max(_MAD_TO_SIGMA * float(np.median(apart)), least)
        if (kept == keep).all():
            break
        keep = kept
        used = terms[:, keep]
        model = np.linalg.lstsq(used @ used.T, used @ values[keep], rcond=_RANK)[0] @ terms
    typical = np.zeros_like(usable)
    typical[rows[keep], columns[keep]] = True
    return typical


def add_moments(sums: Iterable[Moments]) -> Moments:
    """Add the sums of blocks, in their order.

    Parameters
    ----------
    sums
        Sums of each block.

    Returns
    -------
    moments
        Sums of all, with positions from where those of the first block count.
    """
    total: Moments = {}
    for moments in sums:
        for pair, values in moments.items():
            if pair in total:
                dx, dy = values[10:] - total[pair][10:]
                total[pair][:10] += _move_moments(values, dx, dy)
            else:
                total[pair] = values.copy()
    return total


def _move_moments(moments: NDArray[np.float64], dx: float, dy: float) -> NDArray[np.float64]:
    """Return sums with other positions: larger by dx and dy."""
    n, w, wx, wy, wxx, wxy, wyy, wd, wxd, wyd = moments[:10]
    return np.array(
        [
            n,
            w,
            wx + dx * w,
            wy + dy * w,
            wxx + 2 * dx * wx + dx * dx * w,
            wxy + dx * wy + dy * wx + dx * dy * w,
            wyy + 2 * dy * wy + dy * dy * w,
            wd,
            wxd + dx * wd,
            wyd + dy * wd,
        ]
    )


def solve_backgrounds(plan: Plan, moments: Moments) -> NDArray[np.float64]:
    """Find the background of each image.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    moments
        Sums over all blocks.

    Returns
    -------
    backgrounds
        Level at the middle of the grid, and slopes along x and y per pixel of
        the grid, shape ``(n, 3)``.  The mean over each group of images that
        are connected by overlaps, weighted with the pixels that they have in
        common with others, is zero; so it is for an image without overlaps.
        What the overlaps do not tell is zero as well.
    """
    n = len(plan.sources)
    size = 3 if plan.rules.background is BackgroundMatch.PLANE else 1
    places = _find_places(n, moments)
    matrix, right = _make_equations(places, size, moments)
    links = np.zeros((n, n))
    weights = np.zeros(n)
    for (one, two), sums in moments.items():
        links[one, two] = 1.0
        weights[[one, two]] += sums[0]
    n_groups, labels = connected_components(links, directed=False)
    solution = np.zeros((n, 3))
    for group in range(n_groups):
        members = np.flatnonzero(labels == group)
        if members.size > 1:
            found = np.zeros((members.size, 3))
            found[:, :size] = _solve_group(matrix, right, members)
            # From the images' own coordinates to those of the grid.
            found[:, 1:] /= places[members, 2:]
            found[:, 0] -= (found[:, 1:] * places[members, :2]).sum(axis=1)
            solution[members] = found - np.average(found, axis=0, weights=weights[members])
    return solution


def _find_places(n: int, moments: Moments) -> NDArray[np.float64]:
    """Return centre and extent of each image's overlaps, from the middle of the grid, shape (n, 3)."""
    sums = np.zeros((n, 4))
    for pair, values in moments.items():
        _, w, wx, wy = values[:4]
        for index in pair:
            sums[index, :3] += w, wx + w * values[10], wy + w * values[11]
    places = np.ones((n, 3))
    places[:, :2] = sums[:, 1:3] / np.where(sums[:, :1] > 0, sums[:, :1], 1.0)
    for pair, values in moments.items():
        for index in pair:
            moved = _move_moments(values, *(values[10:] - places[index, :2]))
            sums[index, 3] += moved[4] + moved[6]
    has_extent = sums[:, 3] > 0
    places[has_extent, 2] = np.sqrt(sums[has_extent, 3] / sums[has_extent, 0])
    return places


def _make_equations(
    places: NDArray[np.float64], size: int, moments: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normal equations, shapes ``(n, size, n, size)`` and ``(n, size)``.

    Each image's plane is in coordinates of its own, around its overlaps and
    in units of their extent, in which level and slopes can be told apart.
    """
    n = len(places)
    matrix, right = np.zeros((n, size, n, size)), np.zeros((n, size))
    for (one, two), sums in moments.items():
        _, w, wx, wy, wxx, wxy, wyy, wd, wxd, wyd = sums[:10]
        normal = np.array([[w, wx, wy], [wx, wxx, wxy], [wy, wxy, wyy]])[:size, :size]
        projected = np.array([wd, wxd, wyd])[:size]
        a, b = (_to_pair(places[index], sums[10:])[:size, :size] for index in (one, two))
        matrix[one, :, one] += a.T @ normal @ a
        matrix[two, :, two] += b.T @ normal @ b
        matrix[one, :, two] -= a.T @ normal @ b
        matrix[two, :, one] -= b.T @ normal @ a
        right[one] += a.T @ projected
        right[two] -= b.T @ projected
    return matrix, right


def _to_pair(place: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix from a plane in coordinates of an image to that in pixels from an origin."""
    x, y = (origin - place[:2]) / place[2]
    return np.array([[1.0, x, y], [0.0, 1.0 / place[2], 0.0], [0.0, 0.0, 1.0 / place[2]]])


def _solve_group(
    matrix: NDArray[np.float64], right: NDArray[np.float64], members: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Solve for the images of one group.

    The equations leave a common plane free.  Of all solutions the smallest one
    is found, in which what the pixels do not tell is zero.
    """
    k, size = len(members), right.shape[1]
    normal = matrix[np.ix_(members, range(size), members, range(size))].reshape(k * size, k * size)
    # Slopes and levels, and images of different depth, on one footing.
    diagonal = np.diag(normal).reshape(k, size)
    counts = diagonal > _RANK * diagonal.max(axis=1, keepdims=True)
    unit = np.where(counts, 1.0 / np.sqrt(np.where(counts, diagonal, 1.0)), 0.0).ravel()
    values, vectors = eigh(normal * unit[:, None] * unit)
    told = values > _RANK * values[-1]
    inverse = np.where(told, 1.0 / np.where(told, values, 1.0), 0.0)
    scaled = vectors @ (inverse * (vectors.T @ (right[members].ravel() * unit)))
    solution: NDArray[np.float64] = (scaled * unit).reshape(k, size)
    return solution
