"""Keep the calibrations that were used last in memory."""

from __future__ import annotations

__all__ = ("CalibrationCache",)

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np

DEFAULT_MAX_BYTES = 2_000_000_000
"""Enough for the bias, dark and flat of five detectors."""


class CalibrationCache:
    """Calibrations by the UUIDs of their datasets, which never change; safe in threads.

    Parameters
    ----------
    max_bytes
        Most bytes of arrays to keep; what was not used for longest goes first.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[UUID, Any] = OrderedDict()
        self._locks: dict[UUID, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that are kept."""
        with self._lock:
            return sum(count_bytes(value) for value in self._kept.values())

    def get[T](self, dataset_id: UUID, read: Callable[[], T]) -> T:
        """Return a calibration, from memory if it is there.

        Parameters
        ----------
        dataset_id
            UUID of its dataset.
        read
            Reads it; two threads do not read the same one at the same time.
        """
        with self._lock:
            own = self._locks.setdefault(dataset_id, threading.Lock())
        with own:
            with self._lock:
                if dataset_id in self._kept:
                    self._kept.move_to_end(dataset_id)
                    found: T = self._kept[dataset_id]
                    return found
            value = read()
            with self._lock:
                self._kept[dataset_id] = value
                sizes = {key: count_bytes(kept) for key, kept in self._kept.items()}
                while sum(sizes.values()) > self._max_bytes:
                    oldest, _ = self._kept.popitem(last=False)
                    del sizes[oldest]
            return value


def count_bytes(calibration: Any) -> int:
    """Return the bytes of the arrays that a calibration holds directly."""
    values = (getattr(calibration, item.name) for item in dataclasses.fields(calibration))
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
