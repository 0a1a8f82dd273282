"""Inner regions that are rectangles, against the pixels one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box

from lsst.dax.image.mosaics._inner import clear_lost, find_inner_boxes

EDGES = st.tuples(st.integers(0, 30), st.integers(1, 20)).map(lambda pair: (pair[0], sum(pair)))
BOXES = st.tuples(EDGES, EDGES).map(lambda e: Box.factory[e[0][0] : e[0][1], e[1][0] : e[1][1]])


def keep_slowly(number: int, boxes: list[Box], wholes: list[Box]) -> np.ndarray:
    keep = np.ones(tuple(boxes[number].shape), bool)
    for other in range(len(boxes)):
        if other != number:
            clear_lost(
                keep, boxes[number], wholes[number], boxes[other], wholes[other], is_before=other < number
            )
    return keep


def check(number: int, boxes: list[Box], wholes: list[Box]) -> bool:
    """Check what one image keeps; return whether it was told to be a rectangle."""
    found = find_inner_boxes(number, boxes, wholes)
    if found is None:
        return False
    keep = np.zeros(tuple(boxes[number].shape), bool)
    for box in found:
        keep[box.y.slice_within(boxes[number].y), box.x.slice_within(boxes[number].x)] = True
    np.testing.assert_array_equal(keep, keep_slowly(number, boxes, wholes))
    return True


@settings(max_examples=300, deadline=None)
@given(wholes=st.lists(BOXES, min_size=1, max_size=5))
def test_rectangles_are_those_of_the_pixels(wholes: list[Box]) -> None:
    for number in range(len(wholes)):
        check(number, wholes, wholes)


@settings(max_examples=100, deadline=None)
@given(
    inner=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    border=st.integers(0, 3),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    part=BOXES,
)
def test_patches_of_a_tract_keep_rectangles(
    inner: tuple[int, int], border: int, shape: tuple[int, int], part: Box
) -> None:
    wholes, boxes = [], []
    for row in range(shape[0]):
        for column in range(shape[1]):
            y, x = row * inner[0], column * inner[1]
            whole = Box.factory[y - border : y + inner[0] + border, x - border : x + inner[1] + border]
            y0, y1 = max(whole.y.start, part.y.start), min(whole.y.stop, part.y.stop)
            x0, x1 = max(whole.x.start, part.x.start), min(whole.x.stop, part.x.stop)
            if y0 < y1 and x0 < x1:
                wholes.append(whole)
                boxes.append(Box.factory[y0:y1, x0:x1])
    assert all(check(number, boxes, wholes) for number in range(len(boxes)))
