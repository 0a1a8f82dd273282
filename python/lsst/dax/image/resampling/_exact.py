"""Grids whose pixels coincide: what is copied instead of resampled."""

from __future__ import annotations

__all__ = ("Copy", "ExactShift", "find_copies", "find_exact_moves")

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

type Moves = NDArray[np.int64]
type Positions = NDArray[np.float64]

EXACT_PX = 1e-7
"""Distance from whole pixels below which positions are whole.

It changes no pixel by more than the rounding of float32.  Two projections are
compared by way of longitudes, whose rounding alone is some 1e-8 of a pixel of
0.03 arcsec.
"""


@dataclass(frozen=True)
class ExactShift:
    """A map from source to target pixels that moves, turns and mirrors by whole pixels."""

    matrix: NDArray[np.int64]
    """A signed permutation of x and y, shape ``(2, 2)``."""

    offset: NDArray[np.int64]
    """Target position of the source position (0, 0)."""

    @classmethod
    def from_move(cls, move: Moves) -> Self:
        """Invert one of the maps of `find_exact_moves`.

        Parameters
        ----------
        move
            Map from target to source pixels, shape ``(6,)``.

        Returns
        -------
        shift
            Map from source to target pixels.
        """
        back = move[:4].reshape(2, 2).T  # the inverse of a permutation
        return cls(matrix=back, offset=-(back @ move[4:]))

    def find_target_box(self, source_bbox: Box) -> Box:
        """Return the target pixels of a source box.

        Parameters
        ----------
        source_bbox
            Pixels of the source.

        Returns
        -------
        box
            As many target pixels.
        """
        corners = np.array(
            [[source_bbox.x.start, source_bbox.x.stop - 1], [source_bbox.y.start, source_bbox.y.stop - 1]]
        )
        moved = self.matrix @ corners + self.offset[:, None]
        (x0, y0), (x1, y1) = moved.min(axis=1), moved.max(axis=1)
        return Box.factory[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of source pixels into the order of the target.

        Parameters
        ----------
        array
            Array whose first two axes are y and x.

        Returns
        -------
        turned
            View of it.
        """
        if self.matrix[0, 0] == 0:
            array = np.swapaxes(array, 0, 1)
        if self.matrix[1].sum() < 0:
            array = array[::-1]
        if self.matrix[0].sum() < 0:
            array = array[:, ::-1]
        return array


@dataclass(frozen=True)
class Copy:
    """Pixels of a target that are copied."""

    shift: ExactShift
    """Map from source to target."""

    box: Box
    """Pixels of the target."""


def find_exact_moves(corners: Positions, middles: Positions, x: Moves, y: Moves, side: int) -> Moves:
    """Find the squares of target pixels that lie exactly on source pixels.

    Parameters
    ----------
    corners
        Source positions of the first pixels of each square and of those
        ``side`` pixels on, shape ``(2, n, 2, 2)``.
    middles
        Source positions of the middles, shape ``(2, n)``.
    x, y
        First column and row of each square.
    side
        Pixels between the corners.

    Returns
    -------
    moves
        For each square the four elements of a signed permutation, and the
        source position of the target position (0, 0); six zeros for squares
        that do not lie on source pixels.  Shape ``(n, 6)``.
    """
    origin = corners[:, :, 0, 0]
    slopes = np.stack([corners[:, :, 0, 1] - origin, corners[:, :, 1, 0] - origin], axis=1) / side
    matrices = np.rint(slopes)
    start = np.stack([x, y])
    offsets = np.rint(origin - np.einsum("ijn,jn->in", matrices, start))
    error = np.zeros(x.size)
    for place, at in (
        (middles, (0.5, 0.5)),
        *((corners[:, :, j, i], (float(i), float(j))) for j in (0, 1) for i in (0, 1)),
    ):
        moved = np.einsum("ijn,jn->in", matrices, start + side * np.array(at)[:, None]) + offsets
        error = np.maximum(error, np.abs(place - moved).max(axis=0))
    sizes = np.abs(matrices)
    permuted = (sizes.sum(axis=0) == 1).all(axis=0) & (sizes.sum(axis=1) == 1).all(axis=0)
    moves = np.concatenate([matrices.reshape(4, -1), offsets]).T
    moves[~(permuted & (error <= EXACT_PX))] = 0.0
    return moves.astype(np.int64)


def find_copies(moves: Moves, spacings: NDArray[np.int64], bbox: Box, side: int) -> list[Copy]:
    """Find what of a grid is copied.

    Parameters
    ----------
    moves
        Maps of the grid's tiles, shape ``(n_rows, n_columns, 6)``; six zeros
        where there is none.
    spacings
        Zero for tiles off the source, shape ``(n_rows, n_columns)``.
    bbox
        Pixels of the grid.
    side
        Pixels along a tile; tiles start at multiples of it.

    Returns
    -------
    copies
        One of the whole box if all tiles are copied in the same way, else one
        per tile that is.
    """
    exact = moves.any(axis=-1)
    if not exact.any():
        return []
    kinds = np.unique(moves[exact], axis=0)
    if len(kinds) == 1 and np.array_equal(exact, spacings != 0):
        return [Copy(ExactShift.from_move(kinds[0]), bbox)]
    first_row, first_column = bbox.y.start // side, bbox.x.start // side
    copies = []
    for row, column in zip(*np.nonzero(exact), strict=True):
        y, x = side * (first_row + int(row)), side * (first_column + int(column))
        y0, y1 = max(y, bbox.y.start), min(y + side, bbox.y.stop)
        x0, x1 = max(x, bbox.x.start), min(x + side, bbox.x.stop)
        copies.append(Copy(ExactShift.from_move(moves[row, column]), Box.factory[y0:y1, x0:x1]))
    return copies
