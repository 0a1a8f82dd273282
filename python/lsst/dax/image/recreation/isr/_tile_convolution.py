"""Convolution of a detector with small kernels, in tiles that fit the cache."""

from __future__ import annotations

__all__ = ("Block", "TileConvolution")

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from ._threads import map_threads

type FloatArray = npt.NDArray[np.float64]
type ComplexArray = npt.NDArray[np.complex128]

_TILE = 256
"""Side of a tile in pixels."""


@dataclass(frozen=True)
class Block:
    """A box of an image, and where it is in its tile."""

    box: tuple[int, int, int, int]
    """First row, end row, first column and end column."""
    origin: tuple[int, int]
    """Row and column of the image that are the first of the tile; may be negative."""


class TileConvolution:
    """Convolution of images of one shape with kernels, block by block.

    Parameters
    ----------
    shape
        Rows and columns of the images.
    kernels
        Kernels of one shape with odd sides, indexed [y, x], the origin in the middle.
    margin
        Pixels around a block in which its tile is valid too.

    Notes
    -----
    Overlap-save: a tile is the block, the margin and half a kernel around, so
    that what its Fourier transform wraps around is not used.  Beyond the image
    are zeros.  The tiles follow from the shapes alone, and every block goes
    through the same operations in any number of threads.  Two tiles travel as
    the real and the imaginary part of one complex transform, which the real
    kernels keep apart, to the rounding of the sum of both.
    """

    def __init__(
        self, shape: tuple[int, int], kernels: Sequence[FloatArray], *, margin: int, tile: int = _TILE
    ) -> None:
        halves = [side // 2 for side in kernels[0].shape]
        frames = [half + margin for half in halves]
        # A tile that is mostly frame would be a waste, one beyond the image too.
        self._tile = tuple(
            scipy.fft.next_fast_len(min(max(tile, 8 * frame), size + 2 * frame))
            for size, frame in zip(shape, frames, strict=True)
        )
        steps = [side - 2 * frame for side, frame in zip(self._tile, frames, strict=True)]
        self._blocks = [
            Block(
                box=(y, min(y + steps[0], shape[0]), x, min(x + steps[1], shape[1])),
                origin=(y - frames[0], x - frames[1]),
            )
            for y in range(0, shape[0], steps[0])
            for x in range(0, shape[1], steps[1])
        ]
        self._spectra = [self._spectrum(kernel) for kernel in kernels]

    def _spectrum(self, kernel: FloatArray) -> ComplexArray:
        """Return the transform of a kernel, with the factor that the inverse transform leaves out."""
        padded = np.zeros(self._tile, dtype=np.complex128)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel
        rolled = np.roll(padded, [-(side // 2) for side in kernel.shape], axis=(0, 1))
        spectrum: ComplexArray = scipy.fft.fft2(rolled, norm="forward")
        return spectrum

    def run[R](
        self,
        image: npt.NDArray[np.floating],
        use: Callable[[Block, Sequence[FloatArray], int], R],
        *,
        threads: int,
    ) -> list[R]:
        """Convolve an image and hand over the results block by block.

        Parameters
        ----------
        image
            Finite pixels, float32 or float64.
        use
            Function that gets a block, an array per kernel of shape ``(rows, columns, 2)`` and the last
            index of its tile in these arrays.  They are valid only during the call.
        threads
            Threads to use.

        Returns
        -------
        results
            What ``use`` returned, in the order of the blocks.
        """
        pairs = [self._blocks[i : i + 2] for i in range(0, len(self._blocks), 2)]
        shares = np.array_split(np.arange(len(pairs)), min(threads, len(pairs)))

        def work(share: npt.NDArray[np.intp]) -> list[R]:
            """Convolve some of the pairs, in memory of their own."""
            # Fresh memory for every pair would cost as much as a transform.
            buffers = [np.empty(self._tile, np.complex128) for _ in self._spectra]
            return [result for i in share for result in self._convolve(image, pairs[i], buffers, use)]

        return [result for results in map_threads(work, shares, threads=threads) for result in results]

    def _convolve[R](
        self,
        image: npt.NDArray[np.floating],
        pair: Sequence[Block],
        buffers: Sequence[ComplexArray],
        use: Callable[[Block, Sequence[FloatArray], int], R],
    ) -> list[R]:
        """Convolve one or two blocks."""
        from ..._kernels.isr_brighter_fatter_nb import fill_tiles  # noqa: PLC0415 (numba is slow to import)

        tiles = buffers[-1]
        parts = _as_parts(tiles)
        for part, block in enumerate(pair):
            fill_tiles(image, part, *block.origin, parts)
        if len(pair) == 1:
            parts[..., 1] = 0.0
        transform = scipy.fft.fft2(tiles, overwrite_x=True)
        convolved = []
        # The last product overwrites the transform.
        for spectrum, buffer in zip(self._spectra, [*buffers[:-1], transform], strict=True):
            product = np.multiply(transform, spectrum, out=buffer)
            result = scipy.fft.ifft2(product, norm="forward", overwrite_x=True)
            convolved.append(_as_parts(result))
        return [use(block, convolved, part) for part, block in enumerate(pair)]


def _as_parts(tiles: ComplexArray) -> FloatArray:
    """Return real and imaginary parts as the last axis of the same memory."""
    return tiles.view(np.float64).reshape(*tiles.shape, 2)
