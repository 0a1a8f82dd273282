"""Which image on one pixel grid has which pixels in its inner region."""

from __future__ import annotations

__all__ = ("clear_lost", "find_inner_boxes")

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

type _Limits = tuple[int, int, int, int]  # y0, y1, x0, x1


def find_inner_boxes(number: int, boxes: Sequence[Box], wholes: Sequence[Box]) -> list[Box] | None:
    """Find the pixels that one of several images keeps, if they are a rectangle.

    This is so for patches of a tract, and takes no look at single pixels.

    Parameters
    ----------
    number
        Number of the image.
    boxes
        Pixels of each image that are wanted.
    wholes
        All pixels of each image.

    Returns
    -------
    inner
        The rectangle, or nothing if nothing is kept; None if it cannot be told
        to be one.
    """
    box = boxes[number]
    kept: _Limits = (box.y.start, box.y.stop, box.x.start, box.x.stop)
    left = [other for other in range(len(boxes)) if other != number]
    while left and kept[0] < kept[1] and kept[2] < kept[3]:
        undecided = []
        for other in left:
            cut = _cut(kept, wholes[number], wholes[other], boxes[other], is_before=other < number)
            if cut is None:
                undecided.append(other)
            else:
                kept = cut
        if len(undecided) == len(left):
            # What one image takes may be decided once others have taken theirs.
            return None
        left = undecided
    y0, y1, x0, x1 = kept
    return [Box.factory[y0:y1, x0:x1]] if y0 < y1 and x0 < x1 else []


def _cut(kept: _Limits, own: Box, other: Box, theirs: Box, *, is_before: bool) -> _Limits | None:
    """Return what is left of a rectangle; None if that is no rectangle."""
    y0, y1 = max(kept[0], theirs.y.start), min(kept[1], theirs.y.stop)
    x0, x1 = max(kept[2], theirs.x.start), min(kept[3], theirs.x.stop)
    if y0 >= y1 or x0 >= x1:
        return kept
    slope_y, at_y = _difference(y0, other.y.start, other.y.stop, own.y.start, own.y.stop)
    slope_x, at_x = _difference(x0, other.x.start, other.x.stop, own.x.start, own.x.stop)
    # The difference of two powers is linear: at row y and column x it is
    # first + slope_y * (y - y0) + slope_x * (x - x0); where it is below the limit, the other image wins.
    first, limit = at_y + at_x, int(is_before)
    last_y, last_x = slope_y * (y1 - 1 - y0), slope_x * (x1 - 1 - x0)
    lowest = first + min(0, last_y) + min(0, last_x)
    highest = first + max(0, last_y) + max(0, last_x)
    if lowest >= limit:
        return kept
    if highest < limit:
        lost: _Limits = (y0, y1, x0, x1)
    elif slope_y == 0:
        lost = (y0, y1, *_find_below(x0, x1, first, slope_x, limit))
    elif slope_x == 0:
        lost = (*_find_below(y0, y1, first, slope_y, limit), x0, x1)
    else:
        return None
    return _subtract(kept, lost)


def _difference(position: int, start: int, stop: int, own_start: int, own_stop: int) -> tuple[int, int]:
    """Return how fast the difference of two powers grows along an axis, and what it is at a position."""
    slope = 4 * ((own_start + own_stop) - (start + stop))
    theirs = (2 * position - (start + stop - 1)) ** 2 - (stop - start) ** 2
    own = (2 * position - (own_start + own_stop - 1)) ** 2 - (own_stop - own_start) ** 2
    return slope, theirs - own


def _find_below(start: int, stop: int, first: int, slope: int, limit: int) -> tuple[int, int]:
    """Return the positions where ``first + slope * (position - start)`` is below the limit."""
    if slope > 0:
        return start, min(stop, start + -((first - limit) // slope))
    return max(start, start + (first - limit) // -slope + 1), stop


def _subtract(kept: _Limits, lost: _Limits) -> _Limits | None:
    """Return a rectangle less another one within it; None if that is no rectangle."""
    y0, y1, x0, x1 = kept
    if lost[2:] == (x0, x1):
        if lost[0] == y0:
            return (lost[1], y1, x0, x1)
        if lost[1] == y1:
            return (y0, lost[0], x0, x1)
    if lost[:2] == (y0, y1):
        if lost[2] == x0:
            return (y0, y1, lost[3], x1)
        if lost[3] == x1:
            return (y0, y1, x0, lost[2])
    return None


def clear_lost(
    keep: NDArray[np.bool_], box: Box, own: Box, theirs: Box, other: Box, *, is_before: bool
) -> None:
    """Clear the pixels of one image that belong to another one.

    They are those where its power, the distance to its centre squared less
    that of its corners, is smaller.  On the edge of an image along one axis
    that axis gives nothing to its power, and less than nothing to that of an
    image around it: so the border between two images, a straight line, lies
    in their overlap, half way between the centres of images of one size.
    Twice the coordinates are integers, so nothing is rounded.

    Parameters
    ----------
    keep
        Pixels that the image keeps, of ``box``; those that it loses are cleared.
    box, own
        Pixels of the image that are wanted, and all of them.
    theirs, other
        The same of the other image.
    is_before
        Whether the other image has what is on the border.
    """
    y0, y1 = max(box.y.start, theirs.y.start), min(box.y.stop, theirs.y.stop)
    x0, x1 = max(box.x.start, theirs.x.start), min(box.x.stop, theirs.x.stop)
    if y0 >= y1 or x0 >= x1:
        return
    y, x = np.arange(y0, y1), np.arange(x0, x1)
    along_y = _power(y, other.y.start, other.y.stop) - _power(y, own.y.start, own.y.stop)
    along_x = _power(x, other.x.start, other.x.stop) - _power(x, own.x.start, own.x.stop)
    limit = -along_y[:, None]
    loses = along_x <= limit if is_before else along_x < limit
    keep[y0 - box.y.start : y1 - box.y.start, x0 - box.x.start : x1 - box.x.start] &= ~loses


def _power(positions: NDArray[Any], start: int, stop: int) -> NDArray[np.int64]:
    """Return the part of the power of an image that one axis gives."""
    twice = 2 * positions.astype(np.int64) - (start + stop - 1)
    power: NDArray[np.int64] = twice * twice - (stop - start) ** 2
    return power
