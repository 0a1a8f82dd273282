"""Words of LLVM's intermediate code that combining images is spelled out in.

A vector holds neighbouring pixels.  Lanes never meet, so that a pixel has the
same bits wherever a vector begins.
"""

from __future__ import annotations

__all__ = (
    "BIG",
    "BYTE",
    "FLOAT",
    "FLOATS",
    "INT",
    "INTS",
    "LANES",
    "LONG",
    "Sum",
    "call",
    "count_bits",
    "element",
    "find_values",
    "floats",
    "intrinsic",
    "ints",
    "load_at",
    "long",
    "pixels_of",
    "spread",
    "store_at",
)

from typing import Any

import numpy as np
from numba import extending
from numba.core import cgutils

ir: Any = cgutils.ir  # type: ignore[attr-defined]  # llvmlite's, as numba uses it

LANES = 16
"""Pixels of a vector: a line of memory.  Processors without such long ones take two halves."""

AHEAD = 512
"""Bytes by which memory is asked for before it is needed.

So many images are read at once that processors do not see how each goes on: a
clipped mean of twenty takes 0.17 s without and 0.12 s with it.
"""

BIG = float(np.float32(3e38))
"""What is as large is no value; it sorts behind all values."""

FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
BYTE = ir.IntType(LANES)
"""One bit per lane."""


def intrinsic(function: Any) -> Any:
    """Make an instruction of a function, which is then called without its first argument."""
    return extending.intrinsic(function)


def long(value: int) -> Any:
    """Return a constant of 64 bits."""
    return ir.Constant(LONG, value)


def floats(value: float) -> Any:
    """Return a constant in all lanes."""
    return ir.Constant(FLOATS, [ir.Constant(FLOAT, float(np.float32(value)))] * LANES)


def ints(value: int) -> Any:
    """Return a constant in all lanes."""
    return ir.Constant(INTS, [ir.Constant(INT, value)] * LANES)


def element(builder: Any, address: Any, index: Any, size: int) -> Any:
    """Return the address of an element."""
    where = long(index) if isinstance(index, int) else index
    return builder.add(address, builder.mul(where, long(size)))


def load_at(builder: Any, address: Any, kind: Any) -> Any:
    """Load from an address that is a multiple of four."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 4
    return value


def store_at(builder: Any, value: Any, address: Any) -> None:
    """Store at an address that is a multiple of four."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 4


def spread(builder: Any, value: Any) -> Any:
    """Copy a scalar to all lanes."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ints(0))


def call(builder: Any, name: str, *arguments: Any) -> Any:
    """Call a function of vectors that LLVM has."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * len(arguments))
    insert: Any = cgutils.get_or_insert_function
    return builder.call(insert(builder.module, kind, f"llvm.{name}.v{LANES}f32"), arguments)


def pixels_of(builder: Any, rows: Any, n: Any, plane: int, k: Any, offset: Any) -> Any:
    """Return the address of pixels of a plane of input k; ``rows`` are (3, n) addresses."""
    at = element(builder, rows, builder.add(k, builder.mul(n, long(plane))), 8)
    return builder.add(load_at(builder, at, LONG), offset)


def prefetch(builder: Any, address: Any) -> None:
    """Begin to load memory that is needed soon; the address may be anywhere."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, INT, INT, INT])
    insert: Any = cgutils.get_or_insert_function
    function = insert(builder.module, kind, "llvm.prefetch.p0")
    # For reading, into the second cache, as data.
    hints = [ir.Constant(INT, value) for value in (0, 2, 1)]
    builder.call(function, [builder.inttoptr(address, pointer), *hints])


def find_values(builder: Any, rows: Any, n: Any, k: Any, offset: Any, bad: Any) -> tuple[Any, ...]:
    """Load pixels of input k and find which of them may be used."""
    places = [pixels_of(builder, rows, n, plane, k, offset) for plane in range(3)]
    for place in places:
        prefetch(builder, builder.add(place, long(AHEAD)))
    value, variance, mask = (
        load_at(builder, place, kind) for place, kind in zip(places, (FLOATS, FLOATS, INTS), strict=True)
    )
    is_good = builder.icmp_signed("==", builder.and_(mask, bad), ints(0))
    # Each comparison is false for NaN.
    checks = [("<", call(builder, "fabs", value), BIG), ("<", variance, BIG), (">=", variance, 0.0)]
    for sign, plane, limit in checks:
        is_good = builder.and_(is_good, builder.fcmp_ordered(sign, plane, floats(limit)))
    return value, variance, mask, is_good


class Sum:
    """A sum over a loop, which LLVM keeps in a register."""

    def __init__(self, builder: Any, start: Any) -> None:
        self._builder = builder
        allocate: Any = cgutils.alloca_once_value
        self._slot = allocate(builder, start)

    def get(self) -> Any:
        """Return the sum so far."""
        return self._builder.load(self._slot)

    def set(self, value: Any) -> None:
        """Replace the sum."""
        self._builder.store(value, self._slot)


def count_bits(builder: Any, lanes: Any) -> Any:
    """Return how many of the lanes, one bit each, are set."""
    insert: Any = cgutils.get_or_insert_function
    function = insert(builder.module, ir.FunctionType(BYTE, [BYTE]), f"llvm.ctpop.i{LANES}")
    return builder.zext(builder.call(function, [lanes]), LONG)
