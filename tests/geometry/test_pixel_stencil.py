"""Masks of the pixels that a stencil covers."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Mask, MaskPlane, MaskSchema

from lsst.dax.image.errors import RequestError
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil

from ..support.oracles import make_projection

IMAGE = Box.factory[0:100, 0:100]
SCHEMA = MaskSchema([MaskPlane("BAD", "Bad."), MaskPlane("OUTSIDE", "Outside of the stencil.")])


def circle_pixels():
    projection = make_projection(ra=10.0, dec=20.0)
    stencil = CircleStencil(projection.pixel_to_sky(x=40.0, y=60.0), 2.0 * u.arcsec)
    return stencil.to_pixels(projection, IMAGE)


@pytest.mark.parametrize(
    "box",
    [
        IMAGE,
        Box.factory[50:71, 30:51],  # the box of the stencil
        Box.factory[55:60, 35:90],  # across it
        Box.factory[58:61, 38:41],  # within it
        Box.factory[0:10, 0:10],  # beside it
        Box.factory[-5:200, -50:45],  # larger than the image
    ],
)
def test_plane_is_set_inside_or_outside_wherever_the_mask_lies(box):
    y, x = np.mgrid[box.y.start : box.y.stop, box.x.start : box.x.stop]
    inside = np.hypot(x - 40.0, y - 60.0) <= 10.0
    unsure = np.abs(np.hypot(x - 40.0, y - 60.0) - 10.0) < 1e-3
    for covered, expected in ((True, inside), (False, ~inside)):
        mask = Mask(0, schema=SCHEMA, bbox=box)
        mask.set("BAD")
        circle_pixels().set_mask(mask, "OUTSIDE", covered=covered)
        assert np.array_equal(mask.get("OUTSIDE") & ~unsure, expected & ~unsure)
        assert np.all(mask.get("BAD"))


def test_the_two_polarities_share_no_pixel_and_miss_none():
    inside, outside = Mask(0, schema=SCHEMA, bbox=IMAGE), Mask(0, schema=SCHEMA, bbox=IMAGE)
    circle_pixels().set_mask(inside, "OUTSIDE")
    circle_pixels().set_mask(outside, "OUTSIDE", covered=False)
    assert np.all(inside.get("OUTSIDE") ^ outside.get("OUTSIDE"))


def test_bits_that_were_set_stay():
    mask = Mask(0, schema=SCHEMA, bbox=IMAGE)
    mask.set("OUTSIDE")
    circle_pixels().set_mask(mask, "OUTSIDE")
    assert np.all(mask.get("OUTSIDE"))


def test_unknown_plane_is_refused():
    mask = Mask(0, schema=SCHEMA, bbox=IMAGE)
    with pytest.raises(RequestError, match=r"No mask plane 'EDGE'; the mask has \['BAD', 'OUTSIDE'\]"):
        circle_pixels().set_mask(mask, "EDGE")


def test_covered_is_computed_once_and_cannot_be_changed():
    pixels = circle_pixels()
    assert pixels.covered is pixels.covered
    with pytest.raises(ValueError, match="read-only"):
        pixels.covered[0, 0] = True
    assert not PixelBoxStencil(IMAGE).to_pixels(None, IMAGE).covered.flags.writeable
