"""Run one function on many items, in threads."""

from __future__ import annotations

__all__ = ("map_threads",)

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def map_threads[T, R](function: Callable[[T], R], items: Iterable[T], *, threads: int) -> list[R]:
    """Return what a function returns for each item, in order.

    Kernels and FFTs free the interpreter lock, so amplifiers or stripes of rows
    run side by side.  An item's result must not depend on the others.
    """
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
