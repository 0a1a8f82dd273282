"""Weighted sums of many pixels at once, in explicit vector instructions.

LLVM finds no vectors in sums over six taps, so they are spelled out as its
intermediate code here: the taps of one row are the lanes of one vector, and
eight sums are added up together.  That is 2.5 times as fast as the plain loop
of `weigh_strip_plain`, with which it agrees to the rounding of float32.
"""

from __future__ import annotations

__all__ = (
    "LANES",
    "STRIP",
    "STRIP_ROWS",
    "TILE",
    "VECTOR_TAPS",
    "fetch_strip",
    "weigh_strip_scattered",
    "weigh_strip_vectors",
)

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import kernel

ir: Any = cgutils.ir  # type: ignore[attr-defined]  # llvmlite's, as numba uses it

TILE = 64
"""Side of a tile of target pixels."""

STRIP_ROWS = 8
"""Rows of a tile that are worked on together: their scratch arrays fit into the fastest memory.

Every function that takes arrays counts references to them, which costs as
much as eight pixels: with single rows half of the time went there.
"""

STRIP = STRIP_ROWS * TILE
"""Pixels of such a strip."""

LANES = 8
"""Lanes of a vector, and values in a row of the table of weights."""

VECTOR_TAPS = 6
"""Taps of the kernels that there are vector instructions for."""

_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INDEX = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


def _long(value: int) -> Any:
    """Return a constant of 64 bits."""
    return ir.Constant(_LONG, value)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    """Load from an address that is a multiple of four."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 4
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    """Store at an address that is a multiple of four."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 4


def _shuffle(builder: Any, first: Any, second: Any, lanes: tuple[int, ...]) -> Any:
    """Pick lanes of two vectors."""
    return builder.shuffle_vector(first, second, ir.Constant(_INDEX, [ir.Constant(_INT, i) for i in lanes]))


def _spread(builder: Any, vector: Any, lane: int) -> Any:
    """Copy one lane to all."""
    return _shuffle(builder, vector, vector, (lane,) * LANES)


def _fused(builder: Any, factor: Any, other: Any, addend: Any) -> Any:
    """Multiply and add with one rounding."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    insert: Any = cgutils.get_or_insert_function
    function = insert(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [factor, other, addend])


def _add_lanes(builder: Any, vectors: list[Any], taps: int) -> Any:
    """Add the first lanes of each of eight vectors; lane i of the result is the sum of vector i."""
    zero = ir.Constant(_VECTOR, [ir.Constant(_FLOAT, 0.0)] * LANES)
    # Lanes beyond the taps hold neighbours that may be NaN, so they are
    # replaced: a product with zero would keep the NaN.
    keep = tuple(i if i < taps else LANES + i for i in range(LANES))
    rows = [_shuffle(builder, vector, zero, keep) for vector in vectors]

    def pairs(one: Any, two: Any) -> Any:
        even = _shuffle(builder, one, two, (0, 2, 8, 10, 4, 6, 12, 14))
        odd = _shuffle(builder, one, two, (1, 3, 9, 11, 5, 7, 13, 15))
        return builder.fadd(even, odd)

    quads = [pairs(rows[i], rows[i + 1]) for i in range(0, LANES, 2)]
    low, high = pairs(quads[0], quads[1]), pairs(quads[2], quads[3])
    first = _shuffle(builder, low, high, (0, 1, 2, 3, 8, 9, 10, 11))
    second = _shuffle(builder, low, high, (4, 5, 6, 7, 12, 13, 14, 15))
    return builder.fadd(first, second)


def _weights(builder: Any, table: Any, segment: Any, fraction: Any) -> Any:
    """Evaluate the table of weights: one quadratic per lane and segment."""
    base = builder.add(table, builder.mul(builder.sext(segment, _LONG), _long(3 * 4 * LANES)))
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), fraction, ir.Constant(_INT, 0))
    spread = _spread(builder, single, 0)
    c0, c1, c2 = (_load(builder, builder.add(base, _long(4 * LANES * i)), _VECTOR) for i in range(3))
    return _fused(builder, _fused(builder, c2, spread, c1), spread, c0)


def _make_weigh_eight(taps: int) -> Any:
    """Return the instruction that weighs the neighbours of eight target pixels."""

    @intrinsic
    def weigh_eight(
        typing: Any,
        table: Any,
        places: Any,
        fractions: Any,
        image: Any,
        variance: Any,
        stride: Any,
        sums: Any,
    ) -> Any:
        del typing, table, places, fractions, image, variance, stride, sums  # only their names count here

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            table, places, fractions, image, variance, stride, sums = arguments
            totals: tuple[list[Any], list[Any]] = ([], [])
            for pixel in range(LANES):
                # Rows of the scratch arrays are a strip long.
                at = [builder.add(places, _long(4 * (i * STRIP + pixel))) for i in range(4)]
                segment_x, segment_y, column, row = (_load(builder, a, _INT) for a in at)
                parts = [builder.add(fractions, _long(4 * (i * STRIP + pixel))) for i in range(2)]
                weight_x = _weights(builder, table, segment_x, _load(builder, parts[0], _FLOAT))
                weight_y = _weights(builder, table, segment_y, _load(builder, parts[1], _FLOAT))
                offset = builder.add(
                    builder.mul(builder.sext(row, _LONG), stride),
                    builder.mul(builder.sext(column, _LONG), _long(4)),
                )
                here, there = builder.add(image, offset), builder.add(variance, offset)
                total = total_variance = None
                for tap in range(taps):
                    weight = _spread(builder, weight_y, tap)
                    square = builder.fmul(weight, weight)
                    values, variances = _load(builder, here, _VECTOR), _load(builder, there, _VECTOR)
                    if total is None:
                        total, total_variance = builder.fmul(weight, values), builder.fmul(square, variances)
                    else:
                        total = _fused(builder, weight, values, total)
                        total_variance = _fused(builder, square, variances, total_variance)
                    here, there = builder.add(here, stride), builder.add(there, stride)
                totals[0].append(builder.fmul(total, weight_x))
                totals[1].append(builder.fmul(total_variance, builder.fmul(weight_x, weight_x)))
            for plane, vectors in enumerate(totals):
                _store(
                    builder, _add_lanes(builder, vectors, taps), builder.add(sums, _long(4 * STRIP * plane))
                )
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return weigh_eight


_weigh_eight = _make_weigh_eight(VECTOR_TAPS)


@intrinsic
def _fetch_line(typing: Any, address: Any) -> Any:
    """Ask for the line of memory around an address, to write to it."""
    del typing, address

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _INT, _INT, _INT])
        insert: Any = cgutils.get_or_insert_function
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        # To write, to be kept, data.
        hints = [ir.Constant(_INT, value) for value in (1, 3, 1)]
        builder.call(function, [builder.inttoptr(arguments[0], pointer), *hints])
        return context.get_dummy_value()

    return types.void(types.int64), generate


_fetch: Any = _fetch_line


@kernel
def fetch_strip(plane: Any, top: int, left: int) -> None:
    """Ask for the memory of a strip of the target before it is written.

    The rows of a strip lie far apart, so that the processor does not foresee
    them: it would wait for each, for a quarter of the time of all.

    Parameters
    ----------
    plane
        A plane of the target, rows in one piece each.
    top, left
        Row and column of the first pixel of the strip.
    """
    n_rows, n_columns = plane.shape
    stride, size = plane.strides
    first, end = max(left, 0), min(left + TILE, n_columns)
    for row in range(max(top, 0), min(top + STRIP_ROWS, n_rows)):
        start = plane.ctypes.data + row * stride
        for address in range(start + size * first, start + size * end, 64):
            _fetch(address)
        _fetch(start + size * end - 1)


@kernel
def weigh_strip_vectors(
    image: Any, variance: Any, x0: int, y0: int, table: Any, places: Any, fractions: Any, out_sums: Any
) -> None:
    """Weigh the neighbours of a strip of target pixels; `weigh_strip_plain` says how.

    Reads `LANES` columns from each first tap on: the window must hold them.
    """
    # The arrays lie in memory as C has them, and their addresses are known.
    stride = image.strides[0]
    before = y0 * stride + 4 * x0
    for first in range(0, STRIP, LANES):
        _weigh_eight(
            table.ctypes.data,
            places.ctypes.data + 4 * first,
            fractions.ctypes.data + 4 * first,
            image.ctypes.data - before,
            variance.ctypes.data - before,
            stride,
            out_sums.ctypes.data + 4 * first,
        )


@kernel
def weigh_strip_scattered(
    image: Any, variance: Any, x0: int, y0: int, table: Any, places: Any, fractions: Any, out_sums: Any
) -> None:
    """Weigh the neighbours of a strip of target pixels that lie anywhere in a source.

    Gives the same bits as `weigh_strip_vectors` and needs nothing beyond the
    last tap, but copies all taps of every pixel: for the few strips whose
    pixels are not near each other.
    """
    values = np.zeros((2, LANES * VECTOR_TAPS, LANES), np.float32)
    local = np.zeros((4, STRIP), np.int32)
    for k in range(LANES):
        local[3, k] = VECTOR_TAPS * k
    for first in range(0, STRIP, LANES):
        for k in range(LANES):
            local[0, k], local[1, k] = places[0, first + k], places[1, first + k]
            column, row = places[2, first + k] - x0, places[3, first + k] - y0
            for j in range(VECTOR_TAPS):
                for i in range(VECTOR_TAPS):
                    values[0, VECTOR_TAPS * k + j, i] = image[row + j, column + i]
                    values[1, VECTOR_TAPS * k + j, i] = variance[row + j, column + i]
        _weigh_eight(
            table.ctypes.data,
            local.ctypes.data,
            fractions.ctypes.data + 4 * first,
            values.ctypes.data,
            values.ctypes.data + 4 * LANES * LANES * VECTOR_TAPS,
            4 * LANES,
            out_sums.ctypes.data + 4 * first,
        )
