"""Outlines and the boxes that they span."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.geometry._outline import Outline, project_outline
from lsst.dax.image.geometry._pixels import PixelMap

from ..support.oracles import make_projection

IMAGE = Box.factory[0:4000, 0:4000]


@pytest.mark.parametrize("quarter", range(4))
def test_box_does_not_depend_on_where_the_outline_begins(quarter):
    # A circle in the pixel plane that reaches 0.01 px into its outer pixels;
    # the first and last sample, which are the same point, wander past an
    # extreme of it.
    pixels = PixelMap(make_projection(ra=30.0, dec=40.0, crpix=(2000.0, 2000.0)), IMAGE)
    for phase in np.linspace(-0.07, 0.07, 29) + quarter * np.pi / 2.0:

        def evaluate(_piece, fraction, phase=phase):
            angle = 2.0 * np.pi * fraction + phase
            return pixels.to_vectors(x=2000.0 + 1500.51 * np.cos(angle), y=2000.0 + 1500.51 * np.sin(angle))

        outline = project_outline(Outline(n_pieces=1, n_samples=97, evaluate=evaluate), pixels)
        assert outline.bbox == Box.factory[499:3502, 499:3502]


def test_one_point_has_a_box_of_one_pixel():
    pixels = PixelMap(make_projection(ra=30.0, dec=40.0, crpix=(2000.0, 2000.0)), IMAGE)

    def evaluate(_piece, fraction):
        return pixels.to_vectors(x=np.full(fraction.shape, 7.2), y=np.full(fraction.shape, 9.4))

    outline = project_outline(Outline(n_pieces=1, n_samples=5, evaluate=evaluate), pixels)
    assert outline.bbox == Box.factory[9:10, 7:8]
    assert len(outline.inside(IMAGE)[0]) == 5
    assert len(outline.inside(Box.factory[0:9, 0:9])[0]) == 0
