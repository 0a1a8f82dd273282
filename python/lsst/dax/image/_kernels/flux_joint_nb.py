"""Normal equations of sources that overlap, and their errors."""

from __future__ import annotations

__all__ = ("find_local_errors", "sum_normal_equations")

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel
from .flux_psf_nb import is_dropped

type Floats = NDArray[np.float64]
type Pixels = NDArray[np.float32] | NDArray[np.float64]
type Bits = NDArray[np.uint8]
type Integers = NDArray[np.int64]

_MAX_RIDGE_SHARE = 1e-3


@kernel
def sum_normal_equations(
    image: Pixels,
    variance: Pixels,
    mask: Bits,
    drop: Bits,
    models: Floats,
    starts: Integers,
    boxes: Integers,
    first: Integers,
    second: Integers,
    out_right: Floats,
    out_products: Floats,
    out_variances: Floats,
) -> None:
    """Sum the products of models with each other and with the data.

    Parameters
    ----------
    image, variance
        Pixels, shape ``(ny, nx)``.
    mask
        Mask planes as bits, shape ``(ny, nx, n_bytes)``.
    drop
        Planes whose pixels are left out, shape ``(n_bytes,)``.
    models
        Pixels of all models of unit flux, one after the other, row by row.
    starts
        Index of each model's first pixel, shape ``(n,)``.
    boxes
        First column, first row, columns and rows of each model in pixels of
        the arrays, shape ``(n, 4)``; models may lie off the image.
    first, second
        Pairs of models, shape ``(n_pairs,)``; a model with itself is a pair.
    out_right
        Sum of m d of each model, shape ``(n,)``.
    out_products, out_variances
        Sums of m m' and of m m' v of each pair, shape ``(n_pairs,)``.
    """
    n_rows, n_columns = image.shape
    for p in range(first.size):
        a, b = first[p], second[p]
        x0 = max(0, boxes[a, 0], boxes[b, 0])
        x1 = min(n_columns, boxes[a, 0] + boxes[a, 2], boxes[b, 0] + boxes[b, 2])
        y0 = max(0, boxes[a, 1], boxes[b, 1])
        y1 = min(n_rows, boxes[a, 1] + boxes[a, 3], boxes[b, 1] + boxes[b, 3])
        right = products = variances = 0.0
        for y in range(y0, y1):
            row_a = starts[a] + (y - boxes[a, 1]) * boxes[a, 2] - boxes[a, 0]
            row_b = starts[b] + (y - boxes[b, 1]) * boxes[b, 2] - boxes[b, 0]
            for x in range(x0, x1):
                if is_dropped(mask[y, x], drop):
                    continue
                d = float(image[y, x])
                v = float(variance[y, x])
                if not (math.isfinite(d) and math.isfinite(v)):
                    continue
                m = models[row_a + x]
                product = m * models[row_b + x]
                right += m * d
                products += product
                variances += product * v
        out_products[p] = products
        out_variances[p] = variances
        if a == b:
            out_right[a] = right


@kernel
def find_local_errors(
    row_starts: Integers,
    columns: Integers,
    products: Floats,
    variances: Floats,
    is_near: NDArray[np.bool_],
    wanted: Integers,
    groups: Integers,
    max_near: int,
    ridge: float,
    out_errors: Floats,
) -> None:
    """Return the errors of sources, with those near them free.

    Parameters
    ----------
    row_starts, columns
        Rows and columns of the symmetric matrices in compressed rows, shapes
        ``(n + 1,)`` and ``(nnz,)``.
    products, variances
        Sums of m m' and of m m' v, shape ``(nnz,)``.
    is_near
        Whether the source of the column is near that of the row, shape
        ``(nnz,)``.
    wanted
        Sources whose errors are asked for, shape ``(n_wanted,)``.
    groups
        Group of each source that the data hardly tell apart, shape ``(n,)``.
    max_near
        Largest number of near sources, itself among them, of any source.
    ridge
        Fraction by which the diagonal is increased.
    out_errors
        Error of the flux (NaN where the data do not tell it from another), of
        the group's summed flux, and the largest absolute correlation with
        another source, shape ``(n_wanted, 3)``.
    """
    n = row_starts.size - 1
    place = np.full(n, -1, dtype=np.int64)
    members = np.empty(max_near, dtype=np.int64)
    for w in range(wanted.size):
        target = wanted[w]
        members[0] = target
        place[target] = 0
        size = 1
        for p in range(row_starts[target], row_starts[target + 1]):
            other = columns[p]
            if other != target and is_near[p]:
                members[size] = other
                place[other] = size
                size += 1
        a = np.zeros((size, size))
        v = np.zeros((size, size))
        for q in range(size):
            for p in range(row_starts[members[q]], row_starts[members[q] + 1]):
                c = place[columns[p]]
                if c >= 0:
                    a[q, c] = products[p] * (1.0 + ridge) if c == q else products[p]
                    v[q, c] = variances[p]
        inverse = np.linalg.inv(a)
        covariance = inverse @ v @ inverse
        group_variance = 0.0
        correlation = 0.0
        for q in range(size):
            if q and covariance[q, q] > 0.0:
                scale = math.sqrt(covariance[0, 0] * covariance[q, q])
                correlation = max(correlation, abs(covariance[0, q]) / scale)
            for c in range(size):
                if groups[members[q]] == groups[target] and groups[members[c]] == groups[target]:
                    group_variance += covariance[q, c]
        # How far the ridge, and not the data, sets the flux: one half for two
        # sources at the same place.
        is_told = ridge * inverse[0, 0] * a[0, 0] < _MAX_RIDGE_SHARE
        out_errors[w, 0] = math.sqrt(covariance[0, 0]) if is_told else math.nan
        out_errors[w, 1] = math.sqrt(group_variance)
        out_errors[w, 2] = correlation
        for q in range(size):
            place[members[q]] = -1
