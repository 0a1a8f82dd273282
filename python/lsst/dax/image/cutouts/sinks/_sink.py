"""What a sink of stamps is."""

from __future__ import annotations

__all__ = ("StampKey", "StampSink", "StampSummary", "stamp_key")

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from .._stamps import Stamp, StampKey


def stamp_key(stamp: Stamp) -> StampKey:
    """Return the key of a stamp.

    Parameters
    ----------
    stamp
        Stamp, with pixels or without.

    Returns
    -------
    key
        Its dataset and its index in the request.
    """
    return StampKey("" if stamp.ref is None else stamp.ref.id.hex, stamp.index)


@runtime_checkable
class StampSink(Protocol):
    """Takes stamps one by one; a context manager that closes itself.

    A sink has one writer: it is neither for several threads nor for several
    processes.
    """

    def finished(self) -> frozenset[StampKey]:
        """Return the keys of the stamps that need not be added again.

        Returns
        -------
        keys
            Stamps that this or an interrupted run has added.  Targets whose
            pixels could not be read are left out, so that they get another
            chance.
        """

    def add(self, stamp: Stamp) -> None:
        """Take a stamp.

        Parameters
        ----------
        stamp
            Stamp, with pixels or without.

        Raises
        ------
        RequestError
            Raised if the sink has the stamp already, is closed, or cannot hold
            a stamp of this kind.
        InconsistentUnitsError
            Raised if the stamp has another unit than those before, where all
            share one.
        OutputError
            Raised if the stamp cannot be written.  The sink takes no more
            then; what it has is kept for another run.
        """

    def close(self) -> None:
        """Complete the output and give it its name.

        Raises
        ------
        OutputError
            Raised if the output cannot be completed.  Nothing has its name
            then, and what was added is kept for another run.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class StampSummary:
    """What became of the stamps of a request."""

    counts: Mapping[str, int]
    """Number of stamps that were added, by status; see `Stamp.status`."""

    skipped: int
    """Number of stamps that the sink had already."""

    @property
    def added(self) -> int:
        """Number of stamps that were added, with pixels or without."""
        return sum(self.counts.values())
