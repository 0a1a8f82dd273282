"""A cutout of an image in memory is that part of the image, and says so."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import regions
from astropy.coordinates import SkyCoord
from lsst.images import Box, Image, MaskedImage
from tests.support.scenes import BOX, CENTER, make_image, make_masked_image

from lsst.dax.image.cutouts import Detail, EdgePolicy, make_cutout
from lsst.dax.image.errors import (
    InvalidRegionError,
    RequestError,
    RequestTooLargeError,
    StencilNotContainedError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil

INSIDE = PixelBoxStencil(Box.factory[40:60, 1010:1040])
OFF_EDGE = PixelBoxStencil(Box.factory[20:40, 990:1010])


def test_pixels_are_those_of_the_parent_at_the_same_coordinates() -> None:
    cutout = make_cutout(make_image(), INSIDE)
    assert cutout.bbox == INSIDE.box
    assert cutout.image.array[0, 0] == 1000 * 40 + 1010
    assert cutout.image.array[-1, -1] == 1000 * 59 + 1039


def test_circle_keeps_its_centre_and_area() -> None:
    radius_px = 25.0
    cutout = make_cutout(
        make_masked_image(), CircleStencil(CENTER, radius_px * 0.2 * u.arcsec)
    ).mask_outside()
    inside = ~cutout.image.mask.get("OUTSIDE_STENCIL")
    y, x = np.nonzero(inside)
    assert x.mean() + cutout.bbox.x.start == pytest.approx(BOX.x.center, abs=0.02)
    assert y.mean() + cutout.bbox.y.start == pytest.approx(BOX.y.center, abs=0.02)
    assert inside.sum() == pytest.approx(np.pi * radius_px**2, rel=0.01)


def test_world_coordinates_survive() -> None:
    parent = make_image()
    cutout = make_cutout(parent, CircleStencil(CENTER, 3 * u.arcsec))
    assert parent.sky_projection is not None
    sky = cutout.image.sky_projection.pixel_to_sky(x=1070.0, y=75.0)
    assert sky.separation(parent.sky_projection.pixel_to_sky(x=1070.0, y=75.0)) < 1e-9 * u.arcsec


def test_masking_leaves_parent_and_cutout_as_they_were() -> None:
    parent = make_masked_image()
    before = parent.copy()
    cutout = make_cutout(parent, CircleStencil(CENTER, 3 * u.arcsec))
    masked = cutout.mask_outside()
    assert "OUTSIDE_STENCIL" not in cutout.image.mask.schema.names
    assert masked.image.mask.get("BAD").sum() == cutout.image.mask.get("BAD").sum()
    assert parent.mask == before.mask
    assert np.array_equal(parent.image.array, before.image.array)


def test_masking_a_plane_of_the_data_is_refused() -> None:
    cutout = make_cutout(make_masked_image(), INSIDE)
    with pytest.raises(RequestError, match=r"has a plane 'BAD' already, next to .'EDGE'."):
        cutout.mask_outside("BAD")


def test_masking_an_image_without_mask_is_refused() -> None:
    with pytest.raises(UnsupportedProductError, match=r"Image has no mask .* cut with Detail\.MASKED_IMAGE"):
        make_cutout(make_image(), INSIDE).mask_outside()


def test_detail_chooses_the_type() -> None:
    parent = make_masked_image()
    assert type(make_cutout(parent, INSIDE, detail=Detail.IMAGE).image) is Image
    assert type(make_cutout(parent, INSIDE, detail=Detail.MASKED_IMAGE).image) is MaskedImage
    assert type(make_cutout(parent.mask, INSIDE).image) is type(parent.mask)


def test_clip_gives_what_there_is() -> None:
    assert make_cutout(make_image(), OFF_EDGE).bbox == Box.factory[30:40, 1000:1010]


def test_strict_raises_with_both_boxes() -> None:
    with pytest.raises(StencilNotContainedError, match=r"y=20:40, x=990:1010.*y=30:130, x=1000:1160"):
        make_cutout(make_image(), OFF_EDGE, edge=EdgePolicy.STRICT)


def test_pad_gives_the_whole_box_with_the_pixels_in_place() -> None:
    cutout = make_cutout(make_masked_image(), OFF_EDGE, edge=EdgePolicy.PAD)
    assert cutout.bbox == OFF_EDGE.box
    there = np.zeros((20, 20), dtype=bool)
    there[10:, 10:] = True
    assert np.array_equal(np.isfinite(cutout.image.image.array), there)
    assert np.array_equal(np.isfinite(cutout.image.variance.array), there)
    assert np.array_equal(cutout.image.mask.get("NO_DATA"), ~there)
    assert cutout.image.image.array[10, 10] == 1000 * 30 + 1000
    assert np.array_equal(
        cutout.image.mask.get("BAD")[there], make_masked_image().mask.get("BAD")[:10, :10].ravel()
    )


def test_padding_integers_makes_them_floats_that_hold_the_same_values() -> None:
    cutout = make_cutout(make_image(dtype=np.int32), OFF_EDGE, edge=EdgePolicy.PAD)
    assert cutout.image.array.dtype == np.float64
    assert cutout.image.array[10, 10] == 31000


def test_too_large_a_request_names_both_numbers() -> None:
    with pytest.raises(RequestTooLargeError, match=r"600.*599"):
        make_cutout(make_image(), INSIDE, max_pixels=599)
    assert make_cutout(make_image(), INSIDE, max_pixels=600).bbox.area == 600


def test_no_overlap_raises_for_every_policy() -> None:
    elsewhere = CircleStencil(SkyCoord(CENTER.ra + 1 * u.deg, CENTER.dec), 5 * u.arcsec)
    for edge in EdgePolicy:
        with pytest.raises(StencilNotContainedError, match=r"does not overlap|150\.1|151\.1"):
            make_cutout(make_image(), elsewhere, edge=edge)


def test_image_without_projection_takes_pixel_boxes_only() -> None:
    image = make_image().view(sky_projection=None)
    assert make_cutout(image, INSIDE).bbox == INSIDE.box
    with pytest.raises(UnsupportedProductError, match="projection"):
        make_cutout(image, CircleStencil(CENTER, 3 * u.arcsec))


def test_header_describes_the_stencil() -> None:
    header = make_cutout(make_image(), CircleStencil(CENTER, 3.6 * u.arcsec)).header
    assert header["ST_TYPE"] == "CIRCLE"
    assert (header["ST_RA"], header["ST_DEC"]) == (pytest.approx(150.1), pytest.approx(2.2))
    assert header["ST_RAD"] == pytest.approx(0.001)


def test_shapes_of_other_libraries_are_taken() -> None:
    circle = make_cutout(make_image(), CircleStencil(CENTER, 3 * u.arcsec))
    soda = f"CIRCLE {CENTER.ra.deg} {CENTER.dec.deg} {3 / 3600}"
    assert make_cutout(make_image(), soda).bbox == circle.bbox
    assert make_cutout(make_image(), regions.CircleSkyRegion(CENTER, 3 * u.arcsec)).bbox == circle.bbox
    assert make_cutout(make_image(), INSIDE.box).bbox == INSIDE.box
    with pytest.raises(InvalidRegionError, match="A list is not a shape"):
        make_cutout(make_image(), [INSIDE, INSIDE])  # type: ignore[arg-type]
