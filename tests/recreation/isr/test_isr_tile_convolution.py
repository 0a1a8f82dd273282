"""Convolution in overlapping tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lsst.dax.image.recreation.isr._tile_convolution import Block, TileConvolution

type Array = npt.NDArray[np.float64]


def convolve(
    image: npt.NDArray[Any], kernels: Sequence[Array], *, margin: int, tile: int = 256, threads: int = 1
) -> tuple[list[Array], list[Block]]:
    """Return the convolutions with the blocks and their margins put together, and the blocks."""
    results = [np.full(image.shape, np.nan) for _ in kernels]

    def use(block: Block, tiles: Sequence[Array], part: int) -> Block:
        y0, y1, x0, x1 = block.box
        rows = slice(max(y0 - margin, 0), min(y1 + margin, image.shape[0]))
        columns = slice(max(x0 - margin, 0), min(x1 + margin, image.shape[1]))
        y, x = block.origin
        for result, values in zip(results, tiles, strict=True):
            here = values[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x, part]
            known = np.isfinite(result[rows, columns])
            np.testing.assert_allclose(here[known], result[rows, columns][known], rtol=1e-9, atol=1e-9)
            result[rows, columns] = here
        return block

    blocks = TileConvolution(image.shape, kernels, margin=margin, tile=tile).run(image, use, threads=threads)
    return results, blocks


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([(1, 1), (3, 5), (7, 3), (9, 9)]),
    st.integers(0, 2),
    st.integers(8, 40),
    st.integers(1, 3),
)
def test_tiles_reassemble_to_the_whole(
    ny: int, nx: int, sides: tuple[int, int], margin: int, tile: int, n_kernels: int
) -> None:
    rng = np.random.default_rng(ny * 1000 + nx)
    image = rng.normal(100.0, 10.0, (ny, nx)).astype(np.float32)
    kernels = [rng.normal(size=sides) for _ in range(n_kernels)]
    results, blocks = convolve(image, kernels, margin=margin, tile=tile)
    # Zeros beyond the image; the slow sum has no transform in it.
    wide = np.pad(image.astype(np.float64), [(side // 2,) * 2 for side in sides])
    for result, kernel in zip(results, kernels, strict=True):
        expected = signal.convolve(wide, kernel, mode="valid", method="direct")
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-11 * 100 * np.abs(kernel).sum())
    counts = np.zeros(image.shape, int)
    for y0, y1, x0, x1 in (block.box for block in blocks):
        counts[y0:y1, x0:x1] += 1
    assert np.all(counts == 1)


def test_the_kernel_points_from_the_source() -> None:
    image = np.zeros((20, 30))
    image[8, 12] = 2.0
    kernel = np.arange(15.0).reshape(3, 5)
    (result,), _ = convolve(image, [kernel], margin=0)
    np.testing.assert_allclose(result[7:10, 10:15], 2 * kernel, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_and_precision_do_not_change_a_bit(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(3)
    # An odd number of blocks: the last one travels alone, whatever went before.
    image = rng.normal(1000.0, 30.0, (130, 210)).astype(dtype)
    kernels = [rng.normal(size=(5, 5)), rng.normal(size=(5, 5))]
    one, blocks = convolve(image, kernels, margin=0, tile=48)
    four, _ = convolve(image, kernels, margin=0, tile=48, threads=4)
    assert len(blocks) == 15
    for a, b in zip(one, four, strict=True):
        np.testing.assert_array_equal(a, b)
