"""The Mersenne twister, fast enough to dither a detector."""

from __future__ import annotations

__all__ = ("add_uniform",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

_N = 624
_M = 397
_UPPER = np.uint32(0x80000000)
_LOWER = np.uint32(0x7FFFFFFF)
_MATRIX = np.uint32(0x9908B0DF)
_TEMPER_B = np.uint32(0x9D2C5680)
_TEMPER_C = np.uint32(0xEFC60000)
_ONE = np.uint32(1)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@kernel
def add_uniform(
    image: NDArray[np.float32],
    low: float,
    out_state: NDArray[np.uint32],
    out_image: NDArray[np.float32],
) -> None:
    """Add uniform deviates of width one to an image.

    Parameters
    ----------
    image
        Pixels, shape ``(n,)``.
    low
        Smallest deviate.
    out_state
        State of the generator, shape ``(624,)``, none of which was used yet;
        advanced in steps of 624 words.
    out_image
        Sum in double precision, rounded to single precision; shape ``(n,)``.

    Notes
    -----
    Two words make a deviate of 53 bits; a state of 624 words makes 312.
    """
    words = np.empty(_N, np.uint32)
    n = image.size
    start = 0
    while start < n:
        # The recurrence is three loops, so that none wraps its indices: the
        # compiler makes vectors of them.
        for i in range(_N - _M):
            mixed = (out_state[i] & _UPPER) | (out_state[i + 1] & _LOWER)
            odd = (mixed & _ONE) * _MATRIX
            out_state[i] = out_state[i + _M] ^ (mixed >> _ONE) ^ odd
        for i in range(_N - _M, _N - 1):
            mixed = (out_state[i] & _UPPER) | (out_state[i + 1] & _LOWER)
            odd = (mixed & _ONE) * _MATRIX
            out_state[i] = out_state[i + _M - _N] ^ (mixed >> _ONE) ^ odd
        mixed = (out_state[_N - 1] & _UPPER) | (out_state[0] & _LOWER)
        odd = (mixed & _ONE) * _MATRIX
        out_state[_N - 1] = out_state[_M - 1] ^ (mixed >> _ONE) ^ odd
        for i in range(_N):
            word = out_state[i]
            word ^= word >> np.uint32(11)
            word ^= (word << np.uint32(7)) & _TEMPER_B
            word ^= (word << np.uint32(15)) & _TEMPER_C
            words[i] = word ^ (word >> np.uint32(18))
        for i in range(min(_N // 2, n - start)):
            high = np.float64(np.int32(words[2 * i] >> np.uint32(5)))
            rest = np.float64(np.int32(words[2 * i + 1] >> np.uint32(6)))
            deviate = low + (high * 67108864.0 + rest) * _TO_UNIT
            out_image[start + i] = np.float32(np.float64(image[start + i]) + deviate)
        start += _N // 2
