"""Sort the values of many images and clip them, for several neighbouring pixels at once.

Each step is spelled out as LLVM's intermediate code, with the values of a pixel
or sums over them in registers.  LLVM finds neither vectors nor registers for
such loops by itself, and took 3.5 times as long.
"""

from __future__ import annotations

__all__ = (
    "clip",
    "find_median",
    "find_window",
    "load",
    "order_pairs",
    "sort_in_memory",
    "sort_in_registers",
)

from typing import Any

from numba import types
from numba.core import cgutils

from .stack_code_nb import (
    BIG,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    LONG,
    Sum,
    call,
    element,
    find_values,
    floats,
    intrinsic,
    ints,
    load_at,
    long,
    spread,
    store_at,
)

ir: Any = cgutils.ir  # type: ignore[attr-defined]  # llvmlite's, as numba uses it

IQR_TO_SIGMA = 0.741301109252801
"""Standard deviation of a normal distribution over its interquartile range."""


def order_pairs(n: int) -> list[tuple[int, int]]:
    """Return the exchanges that sort n values: Batcher's merge exchange (Knuth, TAOCP 5.2.2, algorithm M)."""
    pairs: list[tuple[int, int]] = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top if n > 1 else 0
    while p > 0:
        q, remainder, distance = top, 0, p
        while True:
            pairs += [(i, i + distance) for i in range(n - distance) if i & p == remainder]
            if q == p:
                break
            distance, q, remainder = q - p, q >> 1, p
        p >>= 1
    return pairs


@intrinsic
def load(typing: Any, rows: Any, n: Any, offset: Any, bad: Any, values: Any, count: Any) -> Any:
    """Copy the pixels of all n inputs, `BIG` for what is no value, and count values."""
    del typing, rows, n, offset, bad, values, count  # only their names count here

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        rows, n, offset, bad, values, count = arguments
        bad = spread(builder, bad)
        total = Sum(builder, ints(0))
        with cgutils.for_range(builder, n, intp=LONG) as loop:
            value, _, _, is_good = find_values(builder, rows, n, loop.index, offset, bad)
            value = builder.select(is_good, value, floats(BIG))
            store_at(builder, value, element(builder, values, loop.index, 4 * LANES))
            total.set(builder.add(total.get(), builder.zext(is_good, INTS)))
        store_at(builder, total.get(), count)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(integer, integer, integer, types.int32, integer, integer), generate


def _exchange(builder: Any, one: Any, two: Any) -> tuple[Any, Any]:
    """Return the smaller and the larger values."""
    is_ordered = builder.fcmp_ordered("<", one, two)
    return builder.select(is_ordered, one, two), builder.select(is_ordered, two, one)


@intrinsic
def sort_in_registers(typing: Any, unrolled: Any, values: Any, ordered: Any) -> Any:
    """Sort as many values as the tuple ``unrolled`` has elements; its type alone counts."""
    del typing, values, ordered
    n = len(unrolled)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, values, ordered = arguments
        vectors = [load_at(builder, element(builder, values, k, 4 * LANES), FLOATS) for k in range(n)]
        for i, j in order_pairs(n):
            vectors[i], vectors[j] = _exchange(builder, vectors[i], vectors[j])
        for k, vector in enumerate(vectors):
            store_at(builder, vector, element(builder, ordered, k, 4 * LANES))
        return context.get_dummy_value()

    return types.void(unrolled, types.int64, types.int64), generate


@intrinsic
def sort_in_memory(typing: Any, pairs: Any, n_pairs: Any, ordered: Any) -> Any:
    """Sort in place, by exchanges that are listed as (n_pairs, 2) integers of 64 bits."""
    del typing, pairs, n_pairs, ordered

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pairs, n_pairs, ordered = arguments
        with cgutils.for_range(builder, n_pairs, intp=LONG) as loop:
            pair = element(builder, pairs, loop.index, 16)
            places = [load_at(builder, element(builder, pair, i, 8), LONG) for i in range(2)]
            at = [element(builder, ordered, place, 4 * LANES) for place in places]
            vectors = _exchange(builder, *(load_at(builder, address, FLOATS) for address in at))
            for vector, address in zip(vectors, at, strict=True):
                store_at(builder, vector, address)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _find_quantile(builder: Any, ordered: Any, number: Any, fraction: float) -> Any:
    """Interpolate between sorted values at a fraction of the way from the first to the last."""
    last = builder.sub(number, ints(1))
    last = builder.select(builder.icmp_signed(">", last, ints(0)), last, ints(0))
    place = builder.fmul(floats(fraction), builder.sitofp(last, FLOATS))
    low = builder.fptosi(place, INTS)
    part = builder.fsub(place, builder.sitofp(low, FLOATS))
    high = builder.add(low, ints(1))
    high = builder.select(builder.icmp_signed("<", high, last), high, last)
    ends = []
    for places in (low, high):
        vector = floats(0.0)
        for lane in range(LANES):
            index = ir.Constant(INT, lane)
            row = builder.sext(builder.extract_element(places, index), LONG)
            at = builder.add(element(builder, ordered, row, 4 * LANES), long(4 * lane))
            vector = builder.insert_element(vector, load_at(builder, at, FLOAT), index)
        ends.append(vector)
    return builder.fadd(builder.fmul(ends[0], builder.fsub(floats(1.0), part)), builder.fmul(ends[1], part))


@intrinsic
def find_median(typing: Any, ordered: Any, number: Any, center: Any) -> Any:
    """Take the median of sorted values of which the first ``number`` count; it may be 0."""
    del typing, ordered, number, center

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        ordered, number, center = arguments
        median = _find_quantile(builder, ordered, load_at(builder, number, INTS), 0.5)
        store_at(builder, median, center)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def find_window(typing: Any, ordered: Any, number: Any, n_sigma: Any, center: Any, half_width: Any) -> Any:
    """Take the median and ``n_sigma`` standard deviations, from the interquartile range."""
    del typing, ordered, number, n_sigma, center, half_width

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        ordered, number, n_sigma, center, half_width = arguments
        number = load_at(builder, number, INTS)
        low, median, high = (_find_quantile(builder, ordered, number, q) for q in (0.25, 0.5, 0.75))
        scale = builder.fmul(spread(builder, n_sigma), floats(IQR_TO_SIGMA))
        store_at(builder, median, center)
        store_at(builder, builder.fmul(scale, builder.fsub(high, low)), half_width)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(integer, integer, types.float32, integer, integer), generate


@intrinsic
def clip(
    typing: Any, values: Any, n: Any, weights: Any, center: Any, half_width: Any, n_sigma: Any, least: Any
) -> Any:
    """Replace centre and half width by the weighted mean and ``n_sigma`` deviations of what lies within.

    The variance of the population is that of the sample times 1 / (1 - s), with
    s the sum of squared weights over the squared sum.  Where 1 - s is below
    ``least``, one value has all the weight and nothing changes.
    """
    del typing, values, n, weights, center, half_width, n_sigma, least

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        values, n, weights, at_center, at_width, n_sigma, least = arguments
        center, half_width = load_at(builder, at_center, FLOATS), load_at(builder, at_width, FLOATS)
        zero = floats(0.0)
        sums = [Sum(builder, zero) for _ in range(4)]
        with cgutils.for_range(builder, n, intp=LONG) as loop:
            value = load_at(builder, element(builder, values, loop.index, 4 * LANES), FLOATS)
            weight = spread(builder, load_at(builder, element(builder, weights, loop.index, 4), FLOAT))
            distance = builder.fsub(value, center)
            is_within = builder.fcmp_ordered("<=", call(builder, "fabs", distance), half_width)
            weight, distance = (builder.select(is_within, x, zero) for x in (weight, distance))
            product = builder.fmul(weight, distance)
            total, squares, first, second = sums
            total.set(builder.fadd(total.get(), weight))
            squares.set(call(builder, "fma", weight, weight, squares.get()))
            first.set(builder.fadd(first.get(), product))
            second.set(call(builder, "fma", product, distance, second.get()))
        total, squares, first, second = (each.get() for each in sums)
        mean = builder.fdiv(first, total)
        scatter = builder.fsub(builder.fdiv(second, total), builder.fmul(mean, mean))
        square = builder.fmul(total, total)
        rest = builder.fsub(square, squares)
        scatter = builder.fdiv(builder.fmul(scatter, square), rest)
        scatter = builder.select(builder.fcmp_ordered(">", scatter, zero), scatter, zero)
        deviation = builder.fmul(spread(builder, n_sigma), call(builder, "sqrt", scatter))
        has_spread = builder.fcmp_ordered(">", rest, builder.fmul(spread(builder, least), square))
        store_at(builder, builder.select(has_spread, builder.fadd(center, mean), center), at_center)
        store_at(builder, builder.select(has_spread, deviation, half_width), at_width)
        return context.get_dummy_value()

    integer, single = types.int64, types.float32
    return types.void(*[integer] * 5, single, single), generate
