"""The PSF of a resampled image."""

from __future__ import annotations

__all__ = ("ResampledPsf",)

import math
from typing import Any, override

import numpy as np
from numpy.typing import NDArray

from lsst.images import Bounds, Box, Image, SkyProjection
from lsst.images.psfs import PointSpreadFunction

from ..choices import as_choice
from ..errors import NoCoverageError
from ..geometry import TargetGrid
from .kernels import PROFILE_PLACES, Kernel, find_weights, make_profile
from .local_maps import find_local_maps
from .resample import STRETCH_SCALE

type Stamp = NDArray[np.float64]


class ResampledPsf(PointSpreadFunction):
    """The PSF of an image on the grid that the image was resampled onto.

    Parameters
    ----------
    psf
        PSF of the source.
    source_projection
        Projection of the source.
    grid
        Target.
    kernel
        Kernel that the image was resampled with.

    Notes
    -----
    The source's PSF image is resampled as the pixels of the image are, over
    the linear part of the map between both grids, and scaled to a sum of
    one.  Whether the kernel is stretched is decided at each position, by the
    scale that decides it for an image.
    """

    def __init__(
        self,
        psf: PointSpreadFunction,
        *,
        source_projection: SkyProjection[Any],
        grid: TargetGrid,
        kernel: Kernel = Kernel.LANCZOS3,
    ) -> None:
        self._psf = psf
        self._source_projection = source_projection
        self._grid = grid
        self._kernel = as_choice(kernel, Kernel, "kernel")
        matrix = self._find_local_map(x=grid.bbox.x.center, y=grid.bbox.y.center)[1]
        # The smallest scale decides how many target pixels a source pixel takes.
        scale = float(np.linalg.svd(matrix, compute_uv=False)[-1])
        half = math.ceil(max(-psf.kernel_bbox.x.start, -psf.kernel_bbox.y.start) / scale)
        self._kernel_bbox = Box.factory[-half : half + 1, -half : half + 1]

    @property
    @override
    def bounds(self) -> Bounds:
        return self._grid.bbox

    @property
    @override
    def kernel_bbox(self) -> Box:
        return self._kernel_bbox

    @override
    def compute_kernel_image(self, *, x: float, y: float) -> Image:
        return Image(self._resample(x, y, self._kernel_bbox, 0.0, 0.0), bbox=self._kernel_bbox)

    @override
    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        bbox = self.compute_stellar_bbox(x=x, y=y)
        return Image(self._resample(x, y, bbox, x, y), bbox=bbox)

    @override
    def compute_stellar_bbox(self, *, x: float, y: float) -> Box:
        half = self._kernel_bbox.x.stop - 1
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        return Box.factory[row - half : row + half + 1, column - half : column + half + 1]

    def _find_local_map(self, *, x: float, y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the source position of a target position, and the derivatives there."""
        maps = find_local_maps(
            self._source_projection, self._grid.sky_projection, x=np.array([x]), y=np.array([y])
        )
        if not (np.isfinite(maps.positions).all() and np.isfinite(maps.matrices).all()):
            raise NoCoverageError(
                f"The target position ({x}, {y}) of the grid {self._grid.bbox} has no position in the source."
            )
        return maps.positions[0], maps.matrices[0]

    def _resample(self, x: float, y: float, bbox: Box, x0: float, y0: float) -> Stamp:
        """Return the PSF at a position, on pixels of a box, with its centre at (x0, y0)."""
        place, matrix = self._find_local_map(x=x, y=y)
        if not self._psf.bounds.contains(x=float(place[0]), y=float(place[1])):
            raise NoCoverageError(
                f"The target position ({x}, {y}) is at ({place[0]:.1f}, {place[1]:.1f}) in the source, "
                f"outside of the bounds {self._psf.bounds} of its PSF."
            )
        stamp = self._psf.compute_kernel_image(x=float(place[0]), y=float(place[1]))
        meshgrid = bbox.meshgrid()
        offsets = np.stack([meshgrid.x.ravel() - x0, meshgrid.y.ravel() - y0])
        pixels = np.asarray(stamp.array, np.float64)
        origin = np.array([[stamp.bbox.x.start], [stamp.bbox.y.start]])
        coarsest = float(np.linalg.svd(matrix, compute_uv=False)[0])
        if self._kernel is not Kernel.NEAREST and coarsest > STRETCH_SCALE:
            values = _interpolate_stretched(pixels, origin, offsets, matrix, self._kernel)
        else:
            values = _interpolate(pixels, matrix @ offsets - origin, self._kernel)
        total = values.sum()
        if not total > 0.0:
            raise NoCoverageError(f"The PSF at ({x}, {y}) has the sum {total} on the target's pixels.")
        image: Stamp = (values / total).reshape(tuple(bbox.shape))
        return image


def _interpolate(pixels: Stamp, positions: Stamp, kernel: Kernel) -> Stamp:
    """Interpolate an image that is zero beyond its edge, at positions of shape (2, n)."""
    shift = 0.5 if kernel is Kernel.NEAREST else 0.0
    floors = np.floor(positions + shift)
    weights = [find_weights(kernel, positions[axis] + shift - floors[axis]) for axis in range(2)]
    taps = weights[0].shape[1]
    first_tap = 1 - kernel.half_width if kernel.half_width > 1 else 0
    padded = np.pad(pixels, taps)
    # Positions far beyond the stamp are moved to where all taps are zeros.
    indices = []
    for axis, size in ((0, pixels.shape[1]), (1, pixels.shape[0])):
        first = np.clip(floors[axis].astype(np.int64) + first_tap, -taps, size)
        indices.append((first + taps)[:, None] + np.arange(taps))
    columns, rows = indices
    values: Stamp = np.einsum(
        "nj,ni,nji->n", weights[1], weights[0], padded[rows[:, :, None], columns[:, None, :]]
    )
    return values


def _interpolate_stretched(
    pixels: Stamp, origin: Stamp, offsets: Stamp, matrix: Stamp, kernel: Kernel
) -> Stamp:
    """Average an image with a kernel as wide as the target's pixels."""
    left, scales, right = np.linalg.svd(matrix)
    wide = left @ np.diag(np.maximum(scales, 1.0)) @ right
    to_target = np.linalg.inv(wide)
    # Zeros all around: the weights add up to one over all pixels.
    margin = math.ceil(kernel.half_width * np.abs(wide).sum(axis=1).max())
    padded = np.pad(pixels, margin)
    rows, columns = np.indices(padded.shape)
    places = to_target @ (np.stack([columns.ravel(), rows.ravel()]) - margin + origin)
    centers = to_target @ matrix @ offsets
    profile = make_profile(kernel)
    distances = np.arange(profile.size) / PROFILE_PLACES
    values = np.zeros(offsets.shape[1])
    for i, center in enumerate(centers.T):
        u, v = np.abs(places - center[:, None])
        near = (u < kernel.half_width) & (v < kernel.half_width)
        weights = np.interp(u[near], distances, profile) * np.interp(v[near], distances, profile)
        total = weights.sum()
        if total > 0.0:  # zero far off the stamp
            values[i] = weights @ padded.ravel()[near] / total
    return values
