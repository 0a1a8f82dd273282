"""What a chapter of the demo is: the parts that its page shows."""

from __future__ import annotations

__all__ = ("Chapter", "Picture", "Step", "show_code")

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page."""

    file: str
    """Path of the PNG file, relative to the page."""

    caption: str
    """Text below the picture."""

    alt: str
    """What the picture shows, for a reader who does not see it."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that is shown, with the code that did it."""

    title: str
    """Heading."""

    text: str
    """What is done."""

    code: str
    """Source of the functions that did it."""

    pictures: tuple[Picture, ...] = ()
    """Pictures, in order."""

    files: tuple[str, ...] = ()
    """Paths of the FITS files, relative to the page."""


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A part of the demo that works on one kind of data."""

    title: str
    """Heading."""

    text: str
    """What the data are."""

    steps: tuple[Step, ...] = ()
    """What was done, in order; empty where the data are absent."""

    absent: str = ""
    """Why there are no steps."""


def show_code(*functions: Callable[..., Any]) -> str:
    """Return the source of functions, so that the page shows what has run.

    Parameters
    ----------
    *functions
        Functions that are defined in a file.

    Returns
    -------
    code
        Their definitions, with an empty line in between.
    """
    return "\n\n".join(inspect.getsource(function).rstrip() for function in functions)
