"""Layouts of the files that were read last."""

from __future__ import annotations

__all__ = ("LayoutCache",)

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from .layout import ContainerLayout


class LayoutCache:
    """The layouts of the files that were read last.

    It may be used by several threads.

    Parameters
    ----------
    max_bytes
        Memory that the layouts may take together.
    """

    def __init__(self, *, max_bytes: int = 2**27) -> None:
        self._max_bytes = max_bytes
        self._nbytes = 0
        self._layouts: OrderedDict[Hashable, ContainerLayout] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._layouts)

    @property
    def nbytes(self) -> int:
        """Memory that the layouts take, in bytes."""
        return self._nbytes

    def get(self, key: Hashable, read: Callable[[], ContainerLayout]) -> ContainerLayout:
        """Return the layout of a file, and read it where it is not known.

        Parameters
        ----------
        key
            What stands for the content of the file: the UUID of a dataset, or
            name, size and time of a file that may change.
        read
            How to read it.  Two threads that want the same file at the same
            time may both read it.

        Returns
        -------
        layout
            The layout.
        """
        with self._lock:
            layout = self._layouts.get(key)
            if layout is not None:
                self._layouts.move_to_end(key)
                return layout
        layout = read()
        with self._lock:
            if key not in self._layouts:
                self._layouts[key] = layout
                self._nbytes += layout.nbytes
            while self._nbytes > self._max_bytes and self._layouts:
                _, oldest = self._layouts.popitem(last=False)
                self._nbytes -= oldest.nbytes
        return layout

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._layouts.clear()
            self._nbytes = 0
