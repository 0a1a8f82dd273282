"""Sums of separable terms, such as Chebyshev polynomials, on a grid of pixels."""

from __future__ import annotations

__all__ = ("evaluate_separable",)

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def evaluate_separable(
    row_factors: NDArray[np.float64], column_terms: NDArray[np.float64], out_values: NDArray[np.float64]
) -> None:
    """Set ``out_values[y, x]`` to the sum over q of ``row_factors[y, q] * column_terms[q, x]``.

    Shapes (ny, q), (q, nx) and (ny, nx), all float64.  The sum runs in the
    order of q, whatever the number of threads.
    """
    rows, terms = row_factors.shape
    columns = column_terms.shape[1]
    for y in range(rows):
        factor = row_factors[y, 0]
        for x in range(columns):
            out_values[y, x] = factor * column_terms[0, x]
        for q in range(1, terms):
            factor = row_factors[y, q]
            for x in range(columns):
                out_values[y, x] += factor * column_terms[q, x]
