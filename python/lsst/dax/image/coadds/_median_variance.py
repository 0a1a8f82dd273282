"""The variance of a median."""

from __future__ import annotations

__all__ = ("find_median_variance_factors",)

import math

import numpy as np
from numpy.typing import NDArray

# For one to 32 values, integrated from the distribution of the middle one or
# two; tests/support/coadds_stack.py does it again.
_FACTORS = (
    1.0000000, 0.5000000, 0.4486711, 0.2981996, 0.2868337, 0.2147427, 0.2104469, 0.1681809,
    0.1661013, 0.1383265, 0.1371624, 0.1175163, 0.1167990, 0.1021679, 0.1016947, 0.0903753,
    0.0900466, 0.0810286, 0.0807910, 0.0734372, 0.0732598, 0.0671483, 0.0670123, 0.0618528,
    0.0617463, 0.0573323, 0.0572473, 0.0534282, 0.0533592, 0.0500223, 0.0499656, 0.0470249,
)  # fmt: skip


def find_median_variance_factors(n: int) -> NDArray[np.float32]:
    """Return the variance of medians over that of the values.

    Parameters
    ----------
    n
        Largest number of values.

    Returns
    -------
    factors
        Variance of the median of k independent Gaussian values over that of a
        value, shape ``(n + 1,)``; NaN for k = 0.

    Notes
    -----
    Up to 32 values it is exact to the precision of float32.  For more it is
    ``pi / (2 k + 4 - pi)`` for odd k and ``pi / (2 k + 6 - pi)`` for even k,
    the first terms of an expansion for large k, which are within 0.1 per cent.
    """
    numbers = np.arange(n + 1)
    factors = math.pi / (2.0 * numbers + np.where(numbers % 2, 4.0, 6.0) - math.pi)
    factors[0] = math.nan
    known = min(n, len(_FACTORS))
    factors[1 : known + 1] = _FACTORS[:known]
    return factors.astype(np.float32)
