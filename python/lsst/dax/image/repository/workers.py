"""Work over many datasets in the threads or processes of any executor.

A task carries references and a `SharedButler`, never a Butler: one Butler must
not be used by two threads, and sending one to a process costs tens of
milliseconds each time.
"""

from __future__ import annotations

__all__ = ("SharedButler", "map_in_order")

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, override

from ..errors import RequestError
from .protocol import ButlerLike

_IN_FLIGHT = 16
"""Tasks that are handed to an executor before the oldest result is taken."""

_RECEIVED: dict[str, SharedButler] = {}
_RECEIVING = threading.Lock()


class SharedButler:
    """A Butler that tasks share: each thread that asks gets a clone of its own.

    It may be sent to other processes, where it is made once however many
    tasks carry it.

    Parameters
    ----------
    butler
        Butler to share.  It must have ``clone``, as Rubin's Butlers have; and
        it must pickle, if the tasks run in other processes.
    """

    def __init__(self, butler: ButlerLike) -> None:
        self._butler = butler
        self._key = uuid.uuid4().hex
        self._clones = threading.local()
        self.was_sent = False
        """Whether this process got it from another one."""

    def get(self) -> ButlerLike:
        """Return the Butler of the calling thread.

        Returns
        -------
        butler
            A clone, made at the thread's first call.
        """
        if not hasattr(self._clones, "butler"):
            self._clones.butler = self._butler.clone()  # type: ignore[attr-defined]  # checked when shared
        butler: ButlerLike = self._clones.butler
        return butler

    @override
    def __reduce__(self) -> tuple[Callable[..., SharedButler], tuple[Any, ...]]:
        reduced = self._butler.__reduce__()
        if isinstance(reduced, str) or len(reduced) != 2:
            raise RequestError(
                f"A {type(self._butler).__name__} cannot be sent to other processes; use threads."
            )
        return _receive, (self._key, *reduced)


def map_in_order[Item, Result](
    executor: Executor | None, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Apply a function to items, and yield the results in their order.

    Parameters
    ----------
    executor
        Where to run; in the calling thread, one by one, if `None`.
    function
        Function of one item; it must pickle for other processes.
    items
        Items.  They are taken as results are, so that neither pile up.

    Yields
    ------
    result
        Result of an item.
    """
    if executor is None:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(_Call(function, item)))
            if len(waiting) >= _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # After an error or an early end, what has not begun is not wanted.
        for future in waiting:
            future.cancel()


class _Call[Item, Result]:
    """A function and its item in one piece, the function first.

    A reference cannot be unpickled before its dimension universe is known; a
    Butler that is made for the function brings it along.  Engines such as dask
    send functions and arguments apart, unless they are one object.
    """

    def __init__(self, function: Callable[[Item], Result], item: Item) -> None:
        self._function = function
        self._item = item

    def __call__(self) -> Result:
        return self._function(self._item)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _Call, (self._function, self._item)


def _receive(key: str, make: Callable[..., ButlerLike], arguments: tuple[Any, ...]) -> SharedButler:
    """Make a shared Butler in another process, once."""
    with _RECEIVING:
        if key not in _RECEIVED:
            received = SharedButler(make(*arguments))
            received.was_sent = True
            _RECEIVED[key] = received
        return _RECEIVED[key]
