"""Tiles are gzip streams of the bytes of pixels in the order of GZIP_2."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from lsst.dax.image.container._gzip_tiles import compress_tile
from lsst.dax.image.container.inflate import inflate


def shuffled(rows: NDArray[np.generic]) -> bytes:
    """Return all first bytes of the pixels, all second ones, ..., byte by byte."""
    size = rows.itemsize
    return b"".join(rows.tobytes()[place::size] for place in range(size))


def check(rows: NDArray[np.generic]) -> bytes:
    content = b"".join(compress_tile(rows))
    assert gzip.decompress(content) == shuffled(rows)
    assert inflate(memoryview(content), rows.nbytes) == shuffled(rows)
    return content


@settings(max_examples=50)
@given(
    npst.arrays(
        st.sampled_from([">f4", ">f8", ">i2", ">i4", "u1"]),
        npst.array_shapes(min_dims=2, max_dims=2, max_side=90),
    )
)
def test_any_pixels_come_back(rows: NDArray[np.generic]) -> None:
    check(rows)


@pytest.mark.parametrize("count", [1, 4096, 4097, 65535, 65536, 65537, 200_001])
def test_noise_is_stored_with_little_more_than_its_own_bytes(count: int) -> None:
    rows = np.random.default_rng(count).integers(0, 2**32, (1, count), dtype=np.uint32).view(">i4")
    # Ends of the stream, and the begin of a block of at most 65535 bytes.
    assert len(check(rows)) <= 4 * count + 20 + 4 * (5 + count // 16000 * 5) + 40


def test_noise_in_the_last_bytes_does_not_keep_the_first_from_being_compressed() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(100.0, 1.0, (50, 1200)).astype(">f4")
    content = check(rows)
    # Sign, exponent and first bit of 100 +- 1 are one value, and the seven bits after it few.
    assert len(content) < 0.72 * rows.nbytes
    # What a compressor of everything makes of it is no smaller.
    whole = gzip.compress(shuffled(rows), 6)
    assert len(content) < 1.01 * len(whole)


def test_noise_in_a_corner_is_no_reason_to_store_all() -> None:
    rows = np.zeros((60, 1000), ">i4")
    rows[:7] = np.random.default_rng(2).integers(-(2**31), 2**31, (7, 1000))
    assert len(check(rows)) < 1.1 * rows[:7].nbytes


def test_equal_pixels_make_equal_bytes() -> None:
    rows = np.random.default_rng(3).normal(size=(40, 900)).astype(">f4")
    assert b"".join(compress_tile(rows)) == b"".join(compress_tile(rows.copy()))
