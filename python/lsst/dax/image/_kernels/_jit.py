"""The one way to compile a kernel."""

from __future__ import annotations

__all__ = ("kernel",)

import numba


def kernel[F](function: F) -> F:
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
    compiled: F
    try:
        compiled = numba.njit(function, nogil=True, error_model="numpy", cache=True)  # type: ignore[assignment]
    except RuntimeError:
        # A read-only installation of a user without a home has no place for
        # the cache, which numba finds out here.
        compiled = numba.njit(function, nogil=True, error_model="numpy")  # type: ignore[assignment]
    return compiled
