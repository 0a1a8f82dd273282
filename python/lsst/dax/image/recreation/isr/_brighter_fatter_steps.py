"""The arithmetic of the brighter-fatter corrections."""

from __future__ import annotations

__all__ = ("DivergenceStep", "FluxStep", "exchange_charge", "iterate")

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ._threads import map_threads
from ._tile_convolution import Block, TileConvolution

type FloatImage = npt.NDArray[np.float32]
type FloatArray = npt.NDArray[np.float64]

_STRIPE = 256
"""Rows that one thread works on."""


def iterate(
    step: Callable[[FloatArray, FloatArray], tuple[float, float]],
    first: FloatArray,
    *,
    max_iterations: int,
    threshold: float,
) -> tuple[int, FloatArray]:
    """Improve an estimate until it changes little.

    Parameters
    ----------
    step
        Function that fills its second argument with a better estimate than its first, and returns the sum
        of the absolute values of the new one and of the changes.
    first
        First estimate; overwritten.
    max_iterations, threshold
        When to stop.

    Returns
    -------
    n_iterations, last
        Number of steps, and the last estimate.
    """
    estimate, other = first, np.empty_like(first)
    for iteration in range(max_iterations):
        total, change = step(estimate, other)
        estimate, other = other, estimate
        # The second estimate is compared with zeros, the first with nothing.
        if iteration > 0 and (total if iteration == 1 else change) < threshold:
            return iteration + 1, estimate
    return max_iterations, estimate


class DivergenceStep:
    """A step of the correction by the divergence of the flux.

    Parameters
    ----------
    measured
        Measured image in electron.
    kernel
        Kernel of the potential.
    threads
        Threads to use.
    """

    def __init__(self, measured: FloatImage, kernel: FloatArray, *, threads: int) -> None:
        ny, nx = measured.shape
        half_y, half_x = (side // 2 for side in kernel.shape)
        self._measured = measured
        self._interior = (half_y + 1, ny - half_y - 2, half_x + 1, nx - half_x - 2)
        self._convolution = TileConvolution((ny, nx), [kernel], margin=1)
        self._threads = threads

    def __call__(self, current: FloatArray, following: FloatArray) -> tuple[float, float]:
        """Make the next estimate; see `iterate`."""
        from ..._kernels.isr_brighter_fatter_nb import correct_by_divergence  # noqa: PLC0415

        def use(block: Block, potential: Sequence[FloatArray], part: int) -> tuple[float, float]:
            """Improve a block."""
            where = (part, block.box, block.origin, self._interior)
            work = np.empty((2, block.box[3] - block.box[2]))
            return correct_by_divergence(self._measured, current, potential[0], *where, work, following)

        return _add_up(self._convolution.run(current, use, threads=self._threads))


class FluxStep:
    """A step of the correction by flux over boundaries.

    Parameters
    ----------
    measured
        Measured image in electron.
    kernel
        Kernel of the potential.
    threads
        Threads to use.
    """

    def __init__(self, measured: FloatImage, kernel: FloatArray, *, threads: int) -> None:
        self._measured = measured
        self._first = (kernel.shape[0] // 2, kernel.shape[1] // 2)
        self._mean = float(measured.mean(dtype=np.float64))
        self._threads = threads
        self.flux: FloatArray = measured.astype(np.float64) - self._mean
        self.corrected = np.empty_like(measured)
        self._potential = np.empty_like(self.flux)
        # A correlation, not a convolution.
        ny, nx = measured.shape
        convolution = TileConvolution((ny, nx), [kernel[::-1, ::-1]], margin=0)
        convolution.run(self.flux, self._keep, threads=threads)

    def _keep(self, block: Block, potential: Sequence[FloatArray], part: int) -> None:
        """Keep a block of the potential."""
        y0, y1, x0, x1 = block.box
        y, x = block.origin
        self._potential[y0:y1, x0:x1] = potential[0][y0 - y : y1 - y, x0 - x : x1 - x, part]

    def __call__(self, current: FloatArray, following: FloatArray) -> tuple[float, float]:
        """Make the next estimate; see `iterate`."""
        from ..._kernels.isr_brighter_fatter_nb import transfer_flux  # noqa: PLC0415

        ny, nx = self._measured.shape

        def work(start: int) -> tuple[float, float]:
            """Improve a stripe of rows."""
            rows = (start, min(start + _STRIPE, ny))
            where = (self._first, self._mean, rows)
            memory = np.empty((5, nx + 1))
            return transfer_flux(
                self._measured, current, self._potential, *where, memory, following, self.corrected
            )

        return _add_up(map_threads(work, range(0, ny, _STRIPE), threads=self._threads))


def _add_up(sums: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Add totals and changes of parts of an image, in their order."""
    totals, changes = np.sum(sums, axis=0)
    return float(totals), float(changes)


def exchange_charge(image: FloatImage, north: FloatArray, east: FloatArray, *, threads: int) -> FloatImage:
    """Return an image in which neighbours have exchanged the charge at their boundaries.

    Parameters
    ----------
    image
        Image in electron.
    north, east
        Kernels of a quarter of the shift of the upper and the right boundary.
    threads
        Threads to use.

    Returns
    -------
    corrected
        New image.
    """
    from ..._kernels import isr_brighter_fatter_nb  # noqa: PLC0415 (numba is slow to import)

    corrected = np.empty_like(image)

    def use(block: Block, shifts: Sequence[FloatArray], part: int) -> None:
        """Correct a block."""
        where = (part, block.box, block.origin)
        work = np.empty((3, block.box[3] - block.box[2] + 1))
        isr_brighter_fatter_nb.exchange_charge(image, shifts[0], shifts[1], *where, work, corrected)

    rows, columns = image.shape
    TileConvolution((rows, columns), [north, east], margin=1).run(image, use, threads=threads)
    return corrected
