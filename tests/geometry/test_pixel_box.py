"""Boxes of pixels as stencils."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from lsst.images import Box

from lsst.dax.image.errors import InvalidRegionError, RequestTooLargeError, StencilNotContainedError
from lsst.dax.image.geometry import EdgePolicy, PixelBoxStencil

IMAGE = Box.factory[10:110, 200:300]


def test_box_within_an_image_is_itself_and_needs_no_projection():
    box = Box.factory[20:25, 210:217]
    for edge in EdgePolicy:
        pixels = PixelBoxStencil(box).to_pixels(None, IMAGE, edge=edge)
        assert pixels.bbox == box
        assert not pixels.is_clipped
        assert np.all(pixels.covered)
        assert pixels.covered.shape == (5, 7)


def test_edge_policies_on_a_box_across_the_edge():
    stencil = PixelBoxStencil(Box.factory[0:15, 290:310])
    clip = stencil.to_pixels(None, IMAGE)
    assert (clip.bbox, clip.is_clipped) == (Box.factory[10:15, 290:300], True)
    pad = stencil.to_pixels(None, IMAGE, edge=EdgePolicy.PAD)
    assert (pad.bbox, pad.is_clipped) == (stencil.box, False)
    assert np.all(pad.covered)
    with pytest.raises(
        StencilNotContainedError, match=r"y=0:15, x=290:310.* not contained .*y=10:110, x=200:300"
    ):
        stencil.to_pixels(None, IMAGE, edge=EdgePolicy.STRICT)


@pytest.mark.parametrize("edge", EdgePolicy)
@pytest.mark.parametrize("box", [Box.factory[0:10, 200:300], Box.factory[10:20, 300:301]])
def test_box_beside_the_image_is_refused(box, edge):
    with pytest.raises(StencilNotContainedError, match="touches no pixel of the image"):
        PixelBoxStencil(box).to_pixels(None, IMAGE, edge=edge)


def test_too_many_pixels_are_refused():
    with pytest.raises(RequestTooLargeError, match=r"spans 10000 pixels .* more than the 9999"):
        PixelBoxStencil(IMAGE).to_pixels(None, IMAGE, max_pixels=9999)


def test_only_a_box_makes_a_box():
    with pytest.raises(InvalidRegionError, match=r"must be a Box, not tuple: \(1, 2, 3, 4\)"):
        PixelBoxStencil((1, 2, 3, 4))


def test_pickle_equality_text_and_header():
    stencil = PixelBoxStencil(Box.factory[20:25, 210:217])
    copy = pickle.loads(pickle.dumps(stencil))  # noqa: S301
    assert copy == stencil
    assert hash(copy) == hash(stencil)
    assert stencil != PixelBoxStencil(Box.factory[20:25, 210:218])
    assert str(stencil) == "PIXEL_BOX [y=20:25, x=210:217]"
    header = stencil.to_header()
    assert header["ST_TYPE"] == "PIXEL_BOX"
    assert [header[f"ST_{k}"] for k in ("XMIN", "XMAX", "YMIN", "YMAX")] == [210, 216, 20, 24]
