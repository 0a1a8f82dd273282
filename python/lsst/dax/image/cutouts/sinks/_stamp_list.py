"""A sink in memory."""

from __future__ import annotations

__all__ = ("StampList",)

from types import TracebackType
from typing import Self

from ...errors import RequestError
from ...flags import FLAGS
from .._stamps import Stamp
from ._sink import StampKey, stamp_key


class StampList:
    """Keeps stamps in memory, as they are.

    It stays open: there is nothing to complete.
    """

    def __init__(self) -> None:
        self._stamps: dict[StampKey, Stamp] = {}

    @property
    def stamps(self) -> list[Stamp]:
        """The stamps, in the order in which they were added."""
        return list(self._stamps.values())

    def finished(self) -> frozenset[StampKey]:
        """Return the keys of the stamps that need not be added again.

        Returns
        -------
        keys
            Stamps in the list, without those that could not be read.
        """
        failed = FLAGS["READ_FAILED"].value
        return frozenset(key for key, stamp in self._stamps.items() if not stamp.flags & failed)

    def add(self, stamp: Stamp) -> None:
        """Take a stamp.

        Parameters
        ----------
        stamp
            Stamp, with pixels or without.

        Raises
        ------
        RequestError
            Raised if the list has the stamp already.
        """
        key = stamp_key(stamp)
        held = self._stamps.get(key)
        if held is not None and not held.flags & FLAGS["READ_FAILED"].value:
            raise RequestError(f"The list has {key} already.")
        self._stamps.pop(key, None)
        self._stamps[key] = stamp

    def close(self) -> None:
        """Do nothing; the list can be used further."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
