"""The one way to compile a kernel."""

from __future__ import annotations

__all__ = ("kernel",)

from collections.abc import Callable
from typing import Any

import numba


def kernel[F: Callable[..., Any]](function: F) -> F:
    """Compile a kernel at its first call.

    The global interpreter lock is free while it runs, and NaN and infinity
    keep their meaning (no ``fastmath``).  Machine code is kept on disk, if
    there is a directory for it.

    Parameters
    ----------
    function
        Function of arrays and scalars.

    Returns
    -------
    compiled
        The same function, compiled.
    """
    # Division by zero gives infinity or NaN, as in NumPy: kernels never raise.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # A read-only installation of a user without a home has no place for
        # the cache, which numba finds out here.
        compiled = numba.njit(**options)(function)
    return compiled
