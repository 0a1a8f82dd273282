"""Where the pixels of a target grid lie in a source image."""

from __future__ import annotations

__all__ = ("TILE", "SourceCoordinates", "find_source_coordinates")

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

from .._kernels.resample_vectors_nb import TILE
from ..errors import RequestError
from ..geometry import TargetGrid
from ._exact import find_exact_moves
from ._pixel_map import PixelMap, Positions

_SPACINGS = (TILE, 32, 16, 8)
"""Pixels between nodes that are tried, before every pixel is evaluated."""

_REACH = 8.0
"""Pixels beyond the source up to which a position matters: more than the reach of any fixed kernel."""

_BATCH = 256
"""Tiles that are evaluated together when they are refined, to bound the memory."""

# Weights of four equidistant nodes in the middle of the inner two.
_MIDDLE = np.array([-0.0625, 0.5625, 0.5625, -0.0625])


@dataclass(frozen=True)
class SourceCoordinates:
    """Source positions of all pixels of a target grid, as nodes of cubics.

    The target is covered by tiles of `TILE` by `TILE` pixels that start at
    multiples of `TILE` on its parent grid, so that the positions in a part of
    a grid have the same bits as those in the whole.  Nothing depends on which
    part of a source is given either, but that tiles off it are left out.
    """

    spacings: NDArray[np.int64]
    """Pixels between the nodes of each tile, shape ``(n_rows, n_columns)``.

    With 1 every pixel was evaluated; with 0 the tile lies off the source.
    """

    starts: NDArray[np.int64]
    """Index of the first node of each tile."""

    nodes: NDArray[np.float64]
    """Parent positions in the source.

    For each tile the x of its nodes and then the y, row by row: ``TILE / s +
    3`` nodes along each axis for the spacing s, of which the second one lies
    on the tile's first pixel; for 1 there are ``TILE + 2``.
    """

    skipped: tuple[int, int]
    """Rows and columns of the first tiles that lie before the grid."""

    max_error_px: float
    """Largest distance between interpolated and exact positions that was found, in source pixels."""

    scales: NDArray[np.float64]
    """Largest extent of a pixel of each tile along any direction, in source pixels; 0 off the source."""

    moves: NDArray[np.int64]
    """Map of tiles whose pixels lie exactly on source pixels, shape ``(n_rows, n_columns, 6)``.

    Four elements of a signed permutation, row by row, and the source position
    of the target position (0, 0).  All 0 for other tiles.
    """


@dataclass
class _Builder:
    """Tiles whose positions are being found."""

    pixel_map: PixelMap
    source_bbox: Box
    tolerance_px: float
    first_row: int
    first_column: int
    spacings: NDArray[np.int64]
    starts: NDArray[np.int64]
    scales: NDArray[np.float64]
    moves: NDArray[np.int64]
    nodes: list[NDArray[np.float64]]
    n_nodes: int = 0
    max_error_px: float = 0.0

    def evaluate(self, x: Positions, y: Positions) -> Positions:
        """Map positions exactly; what lies nowhere in the source is NaN."""
        x, y = np.broadcast_arrays(x, y)
        return self.pixel_map.evaluate(x, y)

    def misses(self, nodes: Positions) -> NDArray[np.bool_]:
        """Tell which tiles lie off the source: nodes of shape (2, n, k)."""
        # The nodes surround the tile at least at a distance of one spacing.
        low, high = nodes.min(axis=-1), nodes.max(axis=-1)
        box = self.source_bbox
        first = np.array([[box.x.start], [box.y.start]]) - _REACH
        end = np.array([[box.x.stop], [box.y.stop]]) + _REACH
        off: NDArray[np.bool_] = ((high < first) | (low > end)).any(axis=0)
        return off

    def keep(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], spacing: int, nodes: Positions
    ) -> None:
        """Keep the nodes of tiles, shape (2, n, side, side)."""
        size = 2 * nodes.shape[-1] ** 2
        self.spacings[rows, columns] = spacing
        self.scales[rows, columns] = _find_scales(nodes, spacing)
        self.starts[rows, columns] = self.n_nodes + size * np.arange(rows.size)
        self.nodes.append(np.ascontiguousarray(np.moveaxis(nodes, 0, 1)).ravel())
        self.n_nodes += size * rows.size

    def settle(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        spacing: int,
        nodes: Positions,
        middles: Positions,
    ) -> NDArray[np.bool_]:
        """Keep the tiles that meet the tolerance, and tell which do not."""
        side = nodes.shape[-1]
        flat = nodes.reshape(2, rows.size, side * side)
        off = self.misses(flat)
        between = _interpolate_middles(nodes)
        errors = np.hypot(*(between - middles)).max(axis=(-2, -1))
        good = ~off & (errors <= self.tolerance_px)
        if good.any():
            self.max_error_px = max(self.max_error_px, float(errors[good].max()))
            self.keep(rows[good], columns[good], spacing, nodes[:, good])
            if spacing == TILE:
                x = TILE * (columns[good] + self.first_column)
                y = TILE * (rows[good] + self.first_row)
                self.moves[rows[good], columns[good]] = find_exact_moves(
                    nodes[:, good, 1:3, 1:3], middles[:, good, 0, 0], x, y, TILE
                )
        unsettled: NDArray[np.bool_] = ~off & ~good
        return unsettled

    def settle_widest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keep the tiles that the widest spacing suffices for; return rows and columns of the others."""
        shape = self.spacings.shape
        x, y = np.meshgrid(
            TILE * (self.first_column + np.arange(-1.0, shape[1] + 2)),
            TILE * (self.first_row + np.arange(-1.0, shape[0] + 2)),
        )
        nodes, sky = self.pixel_map.estimate(x, y)
        windows = np.lib.stride_tricks.sliding_window_view(nodes, (4, 4), axis=(-2, -1))
        near = ~self.misses(windows.reshape(2, -1, 16)).reshape(shape)
        rows, columns = np.nonzero(near)
        needed = np.zeros(x.shape, bool)
        for j in range(4):
            for i in range(4):
                needed[j : j + shape[0], i : i + shape[1]] |= near
        nodes[:, needed] = self.pixel_map.refine(nodes[:, needed], sky[:, needed])
        middles = self.evaluate(x[rows + 1, columns + 1] + TILE / 2, y[rows + 1, columns + 1] + TILE / 2)
        left = self.settle(rows, columns, TILE, windows[:, rows, columns], middles[..., None, None])
        return rows[left], columns[left]

    def refine(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        """Find the positions of tiles for which the widest spacing is too wide."""
        for spacing in _SPACINGS[1:]:
            if rows.size == 0:
                return
            steps = spacing * np.arange(-1, TILE // spacing + 2)
            x = (TILE * (columns + self.first_column))[:, None, None] + steps
            y = (TILE * (rows + self.first_row))[:, None, None] + steps[:, None]
            nodes = self.evaluate(x.astype(float), y.astype(float))
            half = float(spacing) / 2.0
            middles = self.evaluate(x[..., 1:-2].astype(float) + half, y[:, 1:-2].astype(float) + half)
            left = self.settle(rows, columns, spacing, nodes, middles)
            if spacing == _SPACINGS[-1]:
                # Nodes that are NaN are off the sky; of those that are not, what
                # lies between them counts.
                flat = nodes.reshape(2, rows.size, -1)
                low = np.fmin.reduce(flat, axis=-1, initial=np.inf)
                high = np.fmax.reduce(flat, axis=-1, initial=-np.inf)
                left &= ~self.misses(np.stack([low, high], axis=-1))
            rows, columns = rows[left], columns[left]
        if rows.size:
            steps = np.arange(-1, TILE + 1)
            x = (TILE * (columns + self.first_column))[:, None, None] + steps
            y = (TILE * (rows + self.first_row))[:, None, None] + steps[:, None]
            self.keep(rows, columns, 1, self.evaluate(x.astype(float), y.astype(float)))


def _interpolate_middles(nodes: Positions) -> Positions:
    """Interpolate the middles of the inner cells of tiles, shape (2, n, side, side)."""
    windows = np.lib.stride_tricks.sliding_window_view(nodes, (4, 4), axis=(-2, -1))
    middles: Positions = np.einsum("...jk,j,k->...", windows, _MIDDLE, _MIDDLE)
    return middles


def _find_scales(nodes: Positions, spacing: int) -> NDArray[np.float64]:
    """Find the largest scale in each tile from its nodes, shape (2, n, side, side)."""
    inner = nodes[..., 1:-1, 1:-1]
    slopes = []
    for before, after in (
        (nodes[..., 1:-1, :-2], nodes[..., 1:-1, 2:]),
        (nodes[..., :-2, 1:-1], nodes[..., 2:, 1:-1]),
    ):
        back, ahead = inner - before, after - inner
        slope = 0.5 * (back + ahead)
        if spacing == 1:
            # Next to the edge of the sky one side is NaN, and at a seam a jump.
            larger = np.fmax(np.abs(back), np.abs(ahead))
            smaller = np.where(~(np.abs(back) <= np.abs(ahead)), ahead, back)
            slope = np.where(np.abs(ahead - back) <= 0.5 * larger, slope, smaller)
        slopes.append(slope / spacing)
    (x_u, y_u), (x_v, y_v) = slopes
    scales = 0.5 * (np.hypot(x_u + y_v, y_u - x_v) + np.hypot(x_u - y_v, y_u + x_v))
    largest: NDArray[np.float64] = np.fmax.reduce(scales, axis=(-2, -1), initial=0.0)
    return largest


def find_source_coordinates(
    source_projection: SkyProjection[Any], source_bbox: Box, grid: TargetGrid, *, tolerance_px: float = 1e-3
) -> SourceCoordinates:
    """Find where the pixels of a grid lie in a source image.

    Parameters
    ----------
    source_projection
        Projection of the source.
    source_bbox
        Pixels of the source.
    grid
        Target.
    tolerance_px
        Largest error of an interpolated position, in source pixels.

    Returns
    -------
    coordinates
        Positions of all pixels of the grid.

    Raises
    ------
    RequestError
        Raised if the tolerance is not positive.

    Notes
    -----
    The projections are evaluated at nodes that lie 64 pixels apart, and
    bicubic polynomials through the nodes give the positions between them
    (for a camera's distortion to some 1e-8 pixel).  The middle of every cell
    is evaluated as well.  Where it is off by more than the tolerance, the
    spacing of that tile is halved, down to 8 pixels; after that, and next to
    the edge of the sky, every pixel is evaluated.

    Where the way from the sky to the pixels of the source is only a fit (SIP
    headers, solutions of pipelines), the positions of the nodes are made
    exact by Newton steps against the way from pixels to the sky, which
    defines the projection.
    """
    if not tolerance_px > 0.0:
        raise RequestError(f"A tolerance must be positive, not {tolerance_px} pixels.")
    first_row, first_column = grid.bbox.y.start // TILE, grid.bbox.x.start // TILE
    shape = (-(-grid.bbox.y.stop // TILE) - first_row, -(-grid.bbox.x.stop // TILE) - first_column)
    builder = _Builder(
        pixel_map=PixelMap(grid.sky_projection, source_projection),
        source_bbox=source_bbox,
        tolerance_px=tolerance_px,
        first_row=first_row,
        first_column=first_column,
        spacings=np.zeros(shape, np.int64),
        starts=np.zeros(shape, np.int64),
        scales=np.zeros(shape),
        moves=np.zeros((*shape, 6), np.int64),
        nodes=[],
    )
    rows, columns = builder.settle_widest()
    for first in range(0, rows.size, _BATCH):
        builder.refine(rows[first : first + _BATCH], columns[first : first + _BATCH])
    return SourceCoordinates(
        spacings=builder.spacings,
        starts=builder.starts,
        nodes=np.concatenate([*builder.nodes, np.zeros(1)]),
        skipped=(grid.bbox.y.start - TILE * first_row, grid.bbox.x.start - TILE * first_column),
        max_error_px=builder.max_error_px,
        scales=builder.scales,
        moves=builder.moves,
    )
