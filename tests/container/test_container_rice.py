"""The RICE decoder and the dither agree with slow ones, and find damage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rice_oracle import (
    PARAMETERS,
    decode_rice_slowly,
    dequantize_slowly,
    encode_rice_slowly,
)

from lsst.dax.image.container.array_layout import Dither, Quantization
from lsst.dax.image.container.rice import decode_rice_tile, dequantize_tile, dither_numbers
from lsst.dax.image.errors import InputDataError


@st.composite
def rice_tiles(draw: st.DrawFn) -> tuple[list[int], int, int, list[int]]:
    """Integers, and a way to compress them: any split holds any integers."""
    n_bytes = draw(st.sampled_from([1, 2, 4]))
    n_block = draw(st.sampled_from([1, 7, 16, 32]))
    low, high = (0, 255) if n_bytes == 1 else (-(2 ** (8 * n_bytes - 1)), 2 ** (8 * n_bytes - 1) - 1)
    raw = PARAMETERS[8 * n_bytes][1]
    values: list[int] = []
    splits: list[int] = []
    for _ in range(draw(st.integers(1, 5))):
        split = draw(st.integers(-1, raw))
        size = draw(st.integers(1, n_block)) if len(splits) == 4 else n_block
        start = values[-1] if values else draw(st.integers(low, high))
        if split == -1:
            values += [start] * size
        elif split == raw:
            values += draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        else:
            step = 3 << split
            for _ in range(size):
                start = min(max(start + draw(st.integers(-step, step)), low), high)
                values.append(start)
        splits.append(split)
        if size < n_block:
            break
    return values, n_block, n_bytes, splits


@settings(deadline=None)
@given(rice_tiles())
def test_the_decoder_agrees_with_the_slow_one(tile: tuple[list[int], int, int, list[int]]) -> None:
    values, n_block, n_bytes, splits = tile
    data = encode_rice_slowly(values, n_block=n_block, n_bytes=n_bytes, splits=splits)
    assert decode_rice_slowly(data, len(values), n_block=n_block, n_bytes=n_bytes) == values
    fast = decode_rice_tile(memoryview(data), len(values), n_block=n_block, n_bytes=n_bytes)
    assert fast.tolist() == values


NOISE = np.random.default_rng(9).normal(0, 300, 500).astype(int).tolist()
CODE = encode_rice_slowly(NOISE, n_block=32, n_bytes=4, splits=[8] * 16)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (CODE[:-1], 500),
        (CODE[: len(CODE) // 2], 500),
        (CODE + b"\0", 500),
        (CODE, 480),
        (CODE, 600),
        (b"\xff" * 400, 500),
        (CODE[:4], 1),
    ],
)
def test_what_is_no_code_of_so_many_pixels_is_refused(data: bytes, count: int) -> None:
    with pytest.raises(InputDataError, match=rf"tile of {len(data)} bytes is no RICE code of {count} pixels"):
        decode_rice_tile(memoryview(data), count, n_block=32, n_bytes=4)


def test_nothing_is_allocated_for_what_cannot_be() -> None:
    with pytest.raises(InputDataError, match=r"of 10 bytes cannot hold 1000000000000 pixels"):
        decode_rice_tile(memoryview(bytes(10)), 10**12, n_block=32, n_bytes=4)


def test_the_generator_ends_as_the_standard_says() -> None:
    """FITS standard 4.0, appendix I: the last state is 1043618065."""
    numbers = dither_numbers()
    assert numbers[-1] == np.float32(1043618065 / 2147483647)
    assert 0.49 < numbers.mean() < 0.51


@pytest.mark.parametrize("dither", list(Dither))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("seed", "tile"), [(1, 0), (9999, 3), (10000, 41)])
def test_the_dither_agrees_with_the_slow_one(
    dither: Dither, dtype: type[np.floating], seed: int, tile: int
) -> None:
    rng = np.random.default_rng(10)
    # Some sequences end within a tile of so many pixels.
    values = rng.integers(-(2**31), 2**31, (110, 250), dtype=np.int32)
    values[::7, ::5] = -2147483646
    values[3, 4:9] = -2147483648
    scale, zero = np.full(50, 0.37), np.full(50, -12.5)
    quantization = Quantization(dither, seed, -2147483648, scale, zero)
    slow = dequantize_slowly(
        values, sequence=tile + seed - 1, dither=int(dither), scale=0.37, zero=-12.5, blank=-2147483648
    ).reshape(values.shape)
    for rows, columns in [((0, 110), (0, 250)), ((17, 99), (31, 200)), ((109, 110), (249, 250))]:
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), dtype)
        dequantize_tile(
            values.ravel(),
            quantization,
            tile=tile,
            width=250,
            corner=(rows[0], columns[0]),
            out_pixels=out,
        )
        expected = slow[slice(*rows), slice(*columns)].astype(dtype)
        assert out.tobytes() == expected.tobytes()


def test_a_tile_without_blanks_has_no_nan() -> None:
    values = np.array([-2147483648, 5], np.int32)
    out = np.empty((1, 2))
    one = np.ones(1)
    quantization = Quantization(Dither.NONE, 1, None, one, one)
    dequantize_tile(values, quantization, tile=0, width=2, corner=(0, 0), out_pixels=out)
    assert out.tolist() == [[-2147483647.0, 6.0]]


def test_the_kernels_run_without_compilation() -> None:
    """A loop of plain Python is slow, so that one tile has to do."""
    code = (
        "import numpy as np\n"
        "from lsst.dax.image._kernels.rice_nb import decode_rice, dequantize\n"
        f"data = np.frombuffer(bytes.fromhex({CODE.hex()!r}), np.uint8)\n"
        "values = np.empty(500, np.int32)\n"
        "assert decode_rice(data, 32, 4, values) == 0\n"
        f"assert values.tolist() == {NOISE}\n"
        "out = np.empty((2, 3), np.float32)\n"
        "dequantize(values, 1, 2, 50, np.zeros(10000, np.float32), 0, 1, 2.0, 1.0, 2**40, out)\n"
        "assert out.tolist() == ((values.reshape(10, 50)[1:3, 2:5] + 0.5) * 2 + 1).tolist()\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr


def test_numba_is_imported_only_for_rice() -> None:
    code = "import sys, lsst.dax.image.container as c; assert 'numba' not in sys.modules, 'numba'"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
