"""Images that were made last, as many as there is room for."""

from __future__ import annotations

__all__ = ("ImageCache",)

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from lsst.images import Box, MaskedImage

type Key = tuple[UUID, str]
"""Dataset and part; a box does not hash, its text does."""


class ImageCache:
    """Images by dataset and part; safe in threads.

    Parameters
    ----------
    max_bytes
        Most bytes of pixels to keep; what was not used for longest goes first,
        and nothing is kept if this is 0.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, tuple[Box | None, MaskedImage]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()
        self._busy: dict[Key, tuple[threading.Lock, int]] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of the pixels that are kept."""
        return self._n_bytes

    def find(self, dataset: UUID, bbox: Box) -> MaskedImage | None:
        """Return an image of a dataset that has a box, if one is kept; it may be larger."""
        with self._lock:
            for key, (box, image) in reversed(self._kept.items()):
                if key[0] == dataset and box is not None and box.contains(bbox):
                    self._kept.move_to_end(key)
                    return image
        return None

    def get_or_make(self, dataset: UUID, part: Box | str, make: Callable[[], MaskedImage]) -> MaskedImage:
        """Return an image; make it if it is not kept, and not in two threads at a time.

        Parameters
        ----------
        dataset, part
            What it is: a box of the dataset, or the name of an intermediate image.
        make
            Makes it.

        Returns
        -------
        image
            The image, which must not be changed.
        """
        key = (dataset, str(part))
        with self._alone(key):
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key][1]
            image = make()
            with self._lock:
                self._kept[key] = (part if isinstance(part, Box) else None, image)
                self._n_bytes += _count_bytes(image)
                while self._n_bytes > self._max_bytes:
                    _, (_, dropped) = self._kept.popitem(last=False)
                    self._n_bytes -= _count_bytes(dropped)
            return image

    @contextmanager
    def _alone(self, key: Key) -> Iterator[None]:
        """Hold the lock of a key, which is there as long as someone wants it."""
        with self._lock:
            lock, users = self._busy.get(key, (threading.Lock(), 0))
            self._busy[key] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._busy[key]
                if users == 1:
                    del self._busy[key]
                else:
                    self._busy[key] = lock, users - 1


def _count_bytes(image: MaskedImage) -> int:
    """Return the bytes of the planes of an image."""
    return sum(plane.array.nbytes for plane in (image.image, image.mask, image.variance))
