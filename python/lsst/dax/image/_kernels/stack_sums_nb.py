"""Sum over many images, for several neighbouring pixels at once; sums stay in registers.

Images are given by the addresses of their rows, so that they may lie anywhere:
``rows`` is the address of (3, n) addresses, of image, variance and mask.
"""

from __future__ import annotations

__all__ = (
    "CLIPPED",
    "EDGE",
    "REJECTED",
    "accumulate",
    "accumulate_deviations",
    "accumulate_left_out",
    "choose_extreme",
)

from typing import Any

from numba import types
from numba.core import cgutils

from .stack_code_nb import (
    BIG,
    BYTE,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LONG,
    Sum,
    call,
    count_bits,
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

REJECTED, CLIPPED, EDGE = 1, 2, 4
"""Reasons why an input is missing from a pixel."""


def _accumulate_weights(builder: Any, sums: list[Sum], weight: Any, distance: Any, variance: Any) -> None:
    """Add to the sums of weights, of weighted values and of variances times squared weights."""
    total, first, variances = sums
    total.set(builder.fadd(total.get(), weight))
    first.set(call(builder, "fma", weight, distance, first.get()))
    variances.set(call(builder, "fma", builder.fmul(weight, weight), variance, variances.get()))


def _accumulate_inverse_deviations(
    builder: Any, sums: list[Sum], weight: Any, _distance: Any, variance: Any
) -> None:
    """Add to the sums of weights and of inverse standard deviations."""
    total, _, inverses = sums
    total.set(builder.fadd(total.get(), weight))
    inverse = builder.fdiv(floats(1.0), call(builder, "sqrt", variance))
    is_used = builder.fcmp_ordered(">", weight, floats(0.0))
    inverses.set(builder.fadd(inverses.get(), builder.select(is_used, inverse, floats(0.0))))


def _accumulate_reasons(builder: Any, whole: list[Sum], mask: Any, is_good: Any, is_used: Any) -> Any:
    """Add to the unions of masks and of reasons; return what is left out though it has a value."""
    bits, count, reasons, left = whole[:4]
    hard, clip_bit = whole[4:]
    zero = ints(0)
    is_rejected = builder.icmp_signed("!=", builder.and_(mask, hard.get()), zero)
    marked = builder.icmp_signed("!=", builder.and_(mask, clip_bit.get()), zero)
    is_clipped = builder.or_(marked, builder.and_(is_good, builder.not_(is_used)))
    is_left = builder.or_(is_rejected, is_clipped)
    is_edge = builder.not_(builder.or_(is_left, is_good))
    for condition, reason in ((is_rejected, REJECTED), (is_clipped, CLIPPED), (is_edge, EDGE)):
        reasons.set(builder.or_(reasons.get(), builder.select(condition, ints(reason), zero)))
    bits.set(builder.or_(bits.get(), builder.select(is_used, mask, zero)))
    left.set(builder.or_(left.get(), builder.select(is_used, zero, mask)))
    count.set(builder.sub(count.get(), builder.sext(is_used, INTS)))
    return is_left


def _count_lanes(builder: Any, is_used: Any, lanes: Any, address: Any) -> None:
    """Add the number of used pixels among the counted lanes to a counter."""
    used = builder.and_(builder.bitcast(is_used, BYTE), builder.trunc(lanes, BYTE))
    number = builder.add(load_at(builder, address, LONG), count_bits(builder, used))
    store_at(builder, number, address)


def _make_accumulate(add: Any) -> Any:
    """Return the instruction that adds inputs to the sums of some pixels."""

    @intrinsic
    def accumulate_inputs(
        typing: Any, rows: Any, n: Any, offset: Any, settings: Any, weights: Any, used: Any, lanes: Any,
        center: Any, half_width: Any, real: Any, whole: Any, stride: Any,
    ) -> Any:  # fmt: skip
        """Add all n inputs to the sums at ``real`` and ``whole``, whose planes are ``stride`` bytes apart."""
        del typing, rows, n, offset, settings, weights, used, lanes, center, half_width, real, whole, stride

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            rows, n, offset, settings, weights, used, lanes, at_center, at_width, real, whole, stride = (
                arguments
            )
            center, half_width = load_at(builder, at_center, FLOATS), load_at(builder, at_width, FLOATS)
            bad, hard, clip_bit = (
                spread(builder, load_at(builder, element(builder, settings, i, 4), INT)) for i in range(3)
            )
            places = [
                builder.add(base, builder.mul(stride, long(i))) for base in (real, whole) for i in range(4)
            ]
            kinds = [FLOATS] * 4 + [INTS] * 4
            sums = [Sum(builder, load_at(builder, at, k)) for at, k in zip(places, kinds, strict=True)]
            constants = [Sum(builder, hard), Sum(builder, clip_bit)]
            zero = floats(0.0)
            with cgutils.for_range(builder, n, intp=LONG) as loop:
                k = loop.index
                value, variance, mask, is_good = find_values(builder, rows, n, k, offset, bad)
                distance = builder.fsub(value, center)
                is_within = builder.fcmp_ordered("<=", call(builder, "fabs", distance), half_width)
                is_used = builder.and_(is_good, is_within)
                weight = spread(builder, load_at(builder, element(builder, weights, k, 4), FLOAT))
                is_left = _accumulate_reasons(builder, [*sums[4:], *constants], mask, is_good, is_used)
                parts = (builder.select(is_used, x, zero) for x in (weight, distance, variance))
                add(builder, sums[:3], *parts)
                sums[3].set(builder.fadd(sums[3].get(), builder.select(is_left, weight, zero)))
                _count_lanes(builder, is_used, lanes, element(builder, used, k, 8))
            for total, at in zip(sums, places, strict=True):
                store_at(builder, total.get(), at)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    return accumulate_inputs


accumulate = _make_accumulate(_accumulate_weights)
"""Weighted sums: planes 0 to 3 of ``real`` are the sum of weights, that of weights times distance from the
centre, that of squared weights times variances, and the weight that was left out for its mask or distance.
Those of ``whole`` are the union of the masks of what is used, its number, the reasons for what is not, and
the union of the masks of that.
"""

accumulate_deviations = _make_accumulate(_accumulate_inverse_deviations)
"""The same with the sum of inverse standard deviations in plane 2, and nothing in plane 1."""


@intrinsic
def accumulate_left_out(
    typing: Any, rows: Any, n: Any, offset: Any, bad: Any, plane: Any, weights: Any, center: Any,
    half_width: Any, total: Any,
) -> Any:  # fmt: skip
    """Add the weights of inputs that are left out and have a bit of ``plane`` to the sum at ``total``."""
    del typing, rows, n, offset, bad, plane, weights, center, half_width, total

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        rows, n, offset, bad, plane, weights, at_center, at_width, at_total = arguments
        center, half_width = load_at(builder, at_center, FLOATS), load_at(builder, at_width, FLOATS)
        bad, plane = spread(builder, bad), spread(builder, plane)
        total = Sum(builder, load_at(builder, at_total, FLOATS))
        with cgutils.for_range(builder, n, intp=LONG) as loop:
            k = loop.index
            value, _, mask, is_good = find_values(builder, rows, n, k, offset, bad)
            distance = call(builder, "fabs", builder.fsub(value, center))
            is_used = builder.and_(is_good, builder.fcmp_ordered("<=", distance, half_width))
            has_bit = builder.icmp_signed("!=", builder.and_(mask, plane), ints(0))
            weight = spread(builder, load_at(builder, element(builder, weights, k, 4), FLOAT))
            counts = builder.and_(has_bit, builder.not_(is_used))
            total.set(builder.fadd(total.get(), builder.select(counts, weight, floats(0.0))))
        store_at(builder, total.get(), at_total)
        return context.get_dummy_value()

    integer, word = types.int64, types.int32
    return types.void(integer, integer, integer, word, word, *[integer] * 4), generate


@intrinsic
def choose_extreme(
    typing: Any, rows: Any, n: Any, offset: Any, bad: Any, sign: Any, value: Any, variance: Any, mask: Any
) -> Any:
    """Copy the first input with the largest value, or with the smallest if ``sign`` is -1."""
    del typing, rows, n, offset, bad, sign, value, variance, mask

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        rows, n, offset, bad, sign, *places = arguments
        bad, sign = spread(builder, bad), spread(builder, sign)
        best = Sum(builder, floats(-BIG))
        chosen = [Sum(builder, start) for start in (floats(0.0), floats(0.0), ints(0))]
        with cgutils.for_range(builder, n, intp=LONG) as loop:
            *planes, is_good = find_values(builder, rows, n, loop.index, offset, bad)
            rank = builder.fmul(sign, planes[0])
            is_better = builder.and_(is_good, builder.fcmp_ordered(">", rank, best.get()))
            best.set(builder.select(is_better, rank, best.get()))
            for kept, plane in zip(chosen, planes, strict=True):
                kept.set(builder.select(is_better, plane, kept.get()))
        for kept, place in zip(chosen, places, strict=True):
            store_at(builder, kept.get(), place)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(integer, integer, integer, types.int32, types.float32, *[integer] * 3), generate
