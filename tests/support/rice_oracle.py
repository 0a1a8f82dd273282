"""RICE and dither of FITS tiles, slowly: the oracle of the compiled kernels."""

from __future__ import annotations

__all__ = ("decode_rice_slowly", "dequantize_slowly", "encode_rice_slowly")

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Bits that tell the split of a block, and the split of a block that is stored
# as it is, by the number of bits of a pixel.
PARAMETERS = {8: (3, 6), 16: (4, 14), 32: (5, 25)}


def encode_rice_slowly(values: Sequence[int], *, n_block: int, n_bytes: int, splits: Sequence[int]) -> bytes:
    """Compress integers; ``splits`` says how, block by block (-1: constant)."""
    n_bits = 8 * n_bytes
    split_bits, raw = PARAMETERS[n_bits]
    modulus = 1 << n_bits
    bits = f"{values[0] % modulus:0{n_bits}b}"
    last = values[0]
    for block, split in enumerate(splits):
        pixels = values[block * n_block : (block + 1) * n_block]
        bits += f"{split + 1:0{split_bits}b}"
        for value in pixels:
            difference = (value - last + modulus // 2) % modulus - modulus // 2
            last = value
            code = 2 * difference if difference >= 0 else -2 * difference - 1
            if split == raw:
                bits += f"{code:0{n_bits}b}"
            elif split >= 0:
                bits += "0" * (code >> split) + "1"
                bits += f"{code & ((1 << split) - 1):0{split}b}" if split else ""
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def decode_rice_slowly(data: bytes, count: int, *, n_block: int, n_bytes: int) -> list[int]:
    """Decompress integers, as text of zeros and ones."""
    n_bits = 8 * n_bytes
    split_bits, raw = PARAMETERS[n_bits]
    bits = "".join(f"{byte:08b}" for byte in data)
    position = 0

    def take(length: int) -> int:
        nonlocal position
        text = bits[position : position + length]
        position += length
        return int(text, 2) if text else 0

    last = take(n_bits)
    values: list[int] = []
    while len(values) < count:
        split = take(split_bits) - 1
        for _ in range(min(n_block, count - len(values))):
            if split >= 0:
                if split == raw:
                    code = take(n_bits)
                else:
                    one = bits.index("1", position)
                    high, position = one - position, one + 1
                    code = (high << split) + take(split)
                last = (last + (code // 2 if code % 2 == 0 else -(code + 1) // 2)) % (1 << n_bits)
            signed = last - (1 << n_bits) if n_bytes > 1 and last >= 1 << (n_bits - 1) else last
            values.append(signed)
    return values


def dequantize_slowly(
    values: NDArray[np.int32], *, sequence: int, dither: int, scale: float, zero: float, blank: int | None
) -> NDArray[np.float64]:
    """Return the pixels of a whole tile, in double precision."""
    state, random = 1, []
    for _ in range(10000):
        state = 16807 * state % 2147483647
        random.append(np.float32(state / 2147483647))
    walk: list[np.float32] = []
    while len(walk) < values.size:
        walk += random[int(random[sequence % 10000] * np.float32(500)) :]
        sequence += 1
    pixels = np.empty(values.size)
    for number, value in enumerate(values.ravel().tolist()):
        if value == blank:
            pixels[number] = np.nan
        elif dither == 2 and value == -2147483646:
            pixels[number] = 0.0
        elif dither:
            pixels[number] = (value - float(walk[number]) + 0.5) * scale + zero
        else:
            pixels[number] = value * scale + zero
    return pixels
