"""Boxes of amplifiers, checked for kernels that do not check."""

from __future__ import annotations

__all__ = ("KernelBox", "are_disjoint", "check_inside", "fill_image", "kernel_box")

import itertools
from collections.abc import Sequence

from lsst.images import Box
from lsst.images.cameras import Amplifier

from ...errors import InputDataError
from .exposure import IsrExposure

type KernelBox = tuple[int, int, int, int]
"""First column, first row, width and height."""


def kernel_box(box: Box) -> KernelBox:
    """Return a box as kernels take it."""
    return box.x.start, box.y.start, box.x.size, box.y.size


def check_inside(exposure: IsrExposure, amplifier: Amplifier, *boxes: Box) -> None:
    """Check that boxes of an amplifier are inside the image.

    Raises
    ------
    InputDataError
        Raised if one is not.
    """
    ny, nx = exposure.image.shape
    for box in boxes:
        if box.x.start < 0 or box.y.start < 0 or box.x.stop > nx or box.y.stop > ny:
            raise InputDataError(
                f"Amplifier {amplifier.name} of detector {exposure.detector.name} is at {box}, outside "
                f"an image of {ny} rows and {nx} columns."
            )


def are_disjoint(boxes: Sequence[Box]) -> bool:
    """Tell whether no two boxes share a pixel."""
    return not any(
        a.x.start < b.x.stop and b.x.start < a.x.stop and a.y.start < b.y.stop and b.y.start < a.y.stop
        for a, b in itertools.combinations(boxes, 2)
    )


def fill_image(boxes: Sequence[Box], shape: tuple[int, ...]) -> bool:
    """Tell whether boxes inside an image cover each of its pixels once."""
    area = sum(box.x.size * box.y.size for box in boxes)
    return area == shape[0] * shape[1] and are_disjoint(boxes)
