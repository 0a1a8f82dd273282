"""Match the backgrounds of images by a weighted least-squares fit over their overlaps.

For every pair of images the differences of the pixels that both have are
described by the difference of two levels or planes.  All pairs together make
one linear system, which is solved directly.
"""

from __future__ import annotations

__all__ = ("Moments", "solve_backgrounds", "sum_block")

from collections.abc import Mapping, Sequence

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
"""For two images, the number of common pixels and sums of ``w, wx, wy, wxx, wxy, wyy, wd,
wxd, wyd``, with x and y from the middle of the grid in units of its longer side."""

# What the pixels tell less well than this, relative to what they tell best,
# they do not tell.
_RANK = 1e-12


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
    excluded = plan.form.octets(plan.rules.exclude_planes)
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
    """Sum up the differences of two images, in units of the grid."""
    sums = np.zeros(10)
    values = [
        (planes.image * scale, planes.variance * scale**2)
        if scale != 1.0
        else (planes.image, planes.variance)
        for planes, scale in ((one.pasted.planes, scales[0]), (two.pasted.planes, scales[1]))
    ]
    grid = plan.grid.bbox
    sum_differences(
        values[0][0],
        values[1][0],
        values[0][1],
        values[1][1],
        usable,
        int(plan.form.has_variance),
        float(block.x.start - grid.x.center),
        float(block.y.start - grid.y.center),
        sums,
    )
    return sums / _units(plan)


def _units(plan: Plan) -> NDArray[np.float64]:
    """Return by what sums over pixels are divided."""
    side = float(max(plan.grid.bbox.shape))
    return np.array([1.0, 1.0, side, side, side**2, side**2, side**2, 1.0, side, side])


def solve_backgrounds(
    plan: Plan, moments: Mapping[tuple[int, int], NDArray[np.float64]]
) -> NDArray[np.float64]:
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
    matrix, right = _make_equations(n, size, moments)
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
            solution[members, :size] = _solve_group(matrix, right, members, weights[members])
    solution[:, 1:] /= float(max(plan.grid.bbox.shape))
    return solution


def _make_equations(
    n: int, size: int, moments: Mapping[tuple[int, int], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normal equations, shapes ``(n, size, n, size)`` and ``(n, size)``."""
    matrix, right = np.zeros((n, size, n, size)), np.zeros((n, size))
    for (one, two), sums in moments.items():
        _, w, wx, wy, wxx, wxy, wyy, wd, wxd, wyd = sums
        normal = np.array([[w, wx, wy], [wx, wxx, wxy], [wy, wxy, wyy]])[:size, :size]
        projected = np.array([wd, wxd, wyd])[:size]
        matrix[one, :, one] += normal
        matrix[two, :, two] += normal
        matrix[one, :, two] -= normal
        matrix[two, :, one] -= normal
        right[one] += projected
        right[two] -= projected
    return matrix, right


def _solve_group(
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
    members: Sequence[int] | NDArray[np.int64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve for the images of one group.

    The equations leave the weighted mean free.  Adding its square to what is
    made small makes it zero and changes nothing else.
    """
    k, size = len(members), right.shape[1]
    normal = matrix[np.ix_(members, range(size), members, range(size))].reshape(k * size, k * size)
    gauge = np.kron((weights / weights.sum())[None], np.eye(size))
    normal = normal + gauge.T @ gauge * np.trace(normal)
    # Slopes and levels, and images of different depth, on one footing.
    unit = 1.0 / np.sqrt(np.diag(normal))
    values, vectors = eigh(normal * unit[:, None] * unit)
    told = values > _RANK * values[-1]
    inverse = np.where(told, 1.0 / np.where(told, values, 1.0), 0.0)
    scaled = vectors @ (inverse * (vectors.T @ (right[members].ravel() * unit)))
    solution: NDArray[np.float64] = (scaled * unit).reshape(k, size)
    return solution
