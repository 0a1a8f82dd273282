"""The one switch between vector instructions and plain loops."""

from __future__ import annotations

__all__ = ("PLAIN_VARIABLE", "vectors_are_on")

import os

PLAIN_VARIABLE = "DAX_IMAGE_PLAIN_KERNELS"
"""Environment variable that, if it is not empty, turns the vector instructions off.

Results then differ by the rounding of float32.
"""


def vectors_are_on() -> bool:
    """Tell whether kernels may use vector instructions.

    Returns
    -------
    on
        False where kernels are not compiled, and where the user says so.
    """
    return not (os.environ.get(PLAIN_VARIABLE) or os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"})
