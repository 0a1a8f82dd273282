"""Images that share their pixels: copied, and never changed where one image counts."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from tests.support.mosaics import assert_same_bits, make_grid, make_part, make_whole, split_patches

from lsst.dax.image.errors import (
    InconsistentUnitsError,
    InputDataError,
    NoCoverageError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import Combine, MosaicRules, Overlap, find_mosaic_grid, make_mosaic

COPIES = [Overlap.INNER, Overlap.FIRST, Overlap.LAST]


@pytest.mark.parametrize("overlap", COPIES)
def test_split_patches_reassemble_to_the_bit(overlap: Overlap) -> None:
    grid = make_grid((670, 580))
    whole = make_whole(grid, np.random.default_rng(1))
    mosaic = make_mosaic(split_patches(whole, inner=90, border=20), grid, rules=MosaicRules(overlap=overlap))
    covered = mosaic.coverage.array > 0
    assert covered.sum() == np.isfinite(whole.image.array).sum()
    assert_same_bits(mosaic.masked_image, whole)


def test_mean_of_equal_patches_is_the_image() -> None:
    grid = make_grid((200, 240))
    whole = make_whole(grid, np.random.default_rng(2))
    rules = MosaicRules(overlap=Overlap.MEAN, feather_px=15)
    mosaic = make_mosaic(split_patches(whole, inner=40, border=20), grid, rules=rules)
    np.testing.assert_allclose(mosaic.masked_image.image.array, whole.image.array, rtol=3e-7)
    np.testing.assert_allclose(mosaic.masked_image.variance.array, whole.variance.array, rtol=3e-7)
    np.testing.assert_array_equal(mosaic.masked_image.mask.get("BAD"), whole.mask.get("BAD"))
    assert mosaic.coverage.array.max() == 4


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_inner_rule_gives_every_pixel_one_owner_that_has_it(data: st.DataObject) -> None:
    side = 40
    grid = make_grid((side, side))
    edges = st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)).map(sorted)
    boxes = data.draw(st.lists(st.tuples(edges, edges), min_size=1, max_size=5))
    images = [
        make_part(Box.factory[y0 : y1 + 1, x0 : x1 + 1], grid.sky_projection, value=float(number))
        for number, ((y0, y1), (x0, x1)) in enumerate(boxes)
    ]
    mosaic = make_mosaic(images, grid)
    owner = mosaic.masked_image.image.array
    has = np.zeros((len(boxes), side, side), bool)
    for number, ((y0, y1), (x0, x1)) in enumerate(boxes):
        has[number, y0 : y1 + 1, x0 : x1 + 1] = True
    np.testing.assert_array_equal(np.isfinite(owner), has.any(axis=0))
    y, x = np.nonzero(np.isfinite(owner))
    assert has[owner[y, x].astype(int), y, x].all()
    assert mosaic.inputs["n_pixels"].sum() == has.any(axis=0).sum()


def test_the_inner_rule_divides_equal_patches_half_way() -> None:
    grid = make_grid((50, 150))
    left = make_part(Box.factory[0:50, 0:100], grid.sky_projection, value=1)
    right = make_part(Box.factory[0:50, 60:160], grid.sky_projection, value=2)
    values = make_mosaic([left, right], grid).masked_image.image.array
    np.testing.assert_array_equal(values, np.broadcast_to(np.where(np.arange(150) < 80, 1, 2), (50, 150)))


@pytest.mark.parametrize(("overlap", "expected"), [(Overlap.FIRST, 1.0), (Overlap.LAST, 3.0)])
def test_first_and_last_pass_over_what_has_no_value(overlap: Overlap, expected: float) -> None:
    grid = make_grid((10, 10))
    images = [make_part(grid.bbox, grid.sky_projection, value=v, planes=p) for v, p in
              [(np.nan, ("EDGE",)), (1.0, ("BAD",)), (3.0, ("BAD",)), (np.nan, ("EDGE",))]]  # fmt: skip
    mosaic = make_mosaic(images, grid, rules=MosaicRules(overlap=overlap))
    assert (mosaic.masked_image.image.array == expected).all()
    assert mosaic.masked_image.mask.get("BAD").all()
    assert not mosaic.masked_image.mask.get("EDGE").any()


def test_variance_of_overlapping_patches_is_no_smaller() -> None:
    grid = make_grid((30, 30))
    images = [make_part(grid.bbox, grid.sky_projection, value=v, variance=v) for v in (2.0, 4.0)]
    mosaic = make_mosaic(images, grid, rules=MosaicRules(overlap=Overlap.MEAN))
    np.testing.assert_allclose(mosaic.masked_image.image.array, 3.0)
    np.testing.assert_allclose(mosaic.masked_image.variance.array, 3.0)  # not 1.5
    assert mosaic.inputs["weight"].tolist() == [450.0, 450.0]


def test_feathered_seam_is_a_straight_ramp() -> None:
    grid = make_grid((60, 160))
    left = make_part(Box.factory[-50:110, 0:100], grid.sky_projection, value=0)
    right = make_part(Box.factory[-50:110, 80:160], grid.sky_projection, value=1)
    rules = MosaicRules(overlap=Overlap.MEAN, feather_px=20)
    row = make_mosaic([left, right], grid, rules=rules).masked_image.image.array[30]
    # In the overlap of 20 pixels the weights are k/21 and (21 - k)/21.
    expected = np.concatenate([np.zeros(80), np.arange(1, 21) / 21, np.ones(60)])
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_whole_pixel_shifts_of_a_fits_wcs_are_copies() -> None:
    grid = make_grid((90, 120))
    whole = make_whole(grid, np.random.default_rng(3))
    parts = []
    for box in (Box.factory[0:90, 0:70], Box.factory[0:90, 70:120]):
        wcs = grid.sky_projection.as_fits_wcs(box)
        start = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
        part = whole[box]
        parts.append(
            MaskedImage(
                Image(part.image.array, unit=u.nJy),
                mask=Mask(part.mask.array, schema=part.mask.schema),
                variance=Image(part.variance.array, unit=u.nJy**2),
                sky_projection=start,
            )
        )
    assert parts[1].bbox.x.start == 0
    assert_same_bits(make_mosaic(parts, grid).masked_image, whole)
    found = find_mosaic_grid(parts)
    assert found.bbox == grid.bbox
    assert_same_bits(make_mosaic(parts, found).masked_image, whole)


def test_pixels_of_no_image_have_no_data() -> None:
    grid = make_grid((40, 40))
    image = make_part(Box.factory[10:20, 10:20], grid.sky_projection)
    mosaic = make_mosaic([image], grid)
    outside = np.ones((40, 40), bool)
    outside[10:20, 10:20] = False
    np.testing.assert_array_equal(np.isnan(mosaic.masked_image.image.array), outside)
    np.testing.assert_array_equal(np.isnan(mosaic.masked_image.variance.array), outside)
    np.testing.assert_array_equal(mosaic.masked_image.mask.get("NO_DATA"), outside)
    np.testing.assert_array_equal(mosaic.coverage.array == 0, outside)


def test_inputs_are_not_modified_and_types_are_kept() -> None:
    grid = make_grid((40, 40))
    image = make_part(grid.bbox, grid.sky_projection, value=1 + 1e-12, dtype=np.float64)
    before = image.copy()
    mosaic = make_mosaic([image, image], grid, rules=MosaicRules(overlap=Overlap.MEAN))
    assert_same_bits(image, before)
    assert mosaic.masked_image.image.array.dtype == np.float64
    assert (mosaic.masked_image.image.array == 1 + 1e-12).all()
    assert not np.shares_memory(mosaic.masked_image.image.array, image.image.array)


def test_mask_planes_are_joined_by_name() -> None:
    grid = make_grid((10, 20))
    one = make_part(Box.factory[0:10, 0:10], grid.sky_projection, planes=("EDGE",))
    schema = MaskSchema([MaskPlane("SAT", "Saturated."), MaskPlane("BAD", "Bad.")])
    box = Box.factory[0:10, 10:20]
    mask = Mask(schema=schema, bbox=box)
    mask.set("BAD")
    two = MaskedImage(
        Image(np.float32(2), bbox=box, unit=u.nJy), mask=mask, sky_projection=grid.sky_projection
    )
    mosaic = make_mosaic([one, two], grid).masked_image
    assert set(mosaic.mask.schema.names) == {"BAD", "NO_DATA", "EDGE", "SAT"}
    assert mosaic.mask.get("EDGE")[:, :10].all()
    assert mosaic.mask.get("BAD")[:, 10:].all()
    assert not mosaic.mask.get("BAD")[:, :10].any()
    assert not mosaic.mask.get("SAT").any()


def test_excluded_planes_do_not_contribute() -> None:
    grid = make_grid((10, 10))
    bad = make_part(grid.bbox, grid.sky_projection, value=9, planes=("BAD",))
    good = make_part(grid.bbox, grid.sky_projection, value=1)
    for overlap in (Overlap.MEAN, Overlap.FIRST, Overlap.COMBINE):
        rules = MosaicRules(overlap=overlap, combine=Combine.MEAN, exclude_planes=("BAD",))
        assert (make_mosaic([bad, good], grid, rules=rules).masked_image.image.array == 1).all()
        # A mosaic of half of the pixels: the others have what they are left out for.
        half = make_part(grid.bbox, grid.sky_projection, value=9)
        half.mask.set("BAD", np.indices((10, 10))[0] < 5)
        alone = make_mosaic([half], grid, rules=rules)
        assert np.isnan(alone.masked_image.image.array[:5]).all()
        assert alone.masked_image.mask.get("BAD")[:5].all()
        assert alone.inputs["n_pixels"].tolist() == [50]
        with pytest.raises(NoCoverageError, match="None of 1 images gives a value to any of the 10 x 10"):
            make_mosaic([bad], grid, rules=rules)


def test_threads_do_not_change_a_bit() -> None:
    grid = make_grid((700, 600))
    turned = make_grid((500, 500), rotation=30 * u.deg)
    images = [make_whole(turned, np.random.default_rng(4)), make_whole(grid, np.random.default_rng(5))]
    one, two = (make_mosaic(images, grid, threads=n) for n in (1, 3))
    assert_same_bits(one.masked_image, two.masked_image)
    np.testing.assert_array_equal(one.coverage.array, two.coverage.array)
    assert (one.inputs["weight"] == two.inputs["weight"]).all()


def test_what_cannot_be_done_is_refused() -> None:
    grid = make_grid((20, 20))
    image = make_part(grid.bbox, grid.sky_projection)
    with pytest.raises(RequestTooLargeError, match="20 x 20 = 400 pixels; 399 are allowed"):
        make_mosaic([image], grid, max_pixels=399)
    huge = TargetGrid(grid.sky_projection, Box.factory[0 : 10**6, 0 : 10**6])
    with pytest.raises(RequestTooLargeError, match="1000000 x 1000000"):
        make_mosaic([image], huge)
    with pytest.raises(RequestError, match="threads must be positive, not 0"):
        make_mosaic([image], grid, threads=0)
    with pytest.raises(InconsistentUnitsError, match="Input 1 is in Jy, input 0 in nJy"):
        make_mosaic([image, Image(0.0, bbox=grid.bbox, unit=u.Jy)], grid)
    with pytest.raises(InputDataError, match=r"Image 1, of pixels .* has no sky projection"):
        make_mosaic([image, Image(np.float32(0), bbox=grid.bbox, unit=u.nJy)], grid)
    with pytest.raises(UnsupportedProductError, match="Input 0 is a Mask"):
        make_mosaic([image.mask], grid)  # type: ignore[list-item]
    with pytest.raises(RequestError, match="one of 1 has no variance"):
        make_mosaic([image.image], grid)
    strange = Image(np.float32(1), bbox=grid.bbox, unit=u.Unit("Jy/Beam", parse_strict="silent"))
    with pytest.raises(UnsupportedProductError, match="in 'Jy/Beam', a unit that astropy does not know"):
        make_mosaic([strange], grid, rules=MosaicRules(combine=Combine.MEAN))
    far = make_grid((20, 20), center=grid.center.directional_offset_by(0 * u.deg, 1 * u.deg))
    with pytest.raises(NoCoverageError, match="None of 1 images overlaps the grid of 20 x 20"):
        make_mosaic([image], far)
    with pytest.raises(RequestError, match=r"Feathered seams \(5 pixels\) need averages"):
        MosaicRules(combine=Combine.MEDIAN, feather_px=5)
    with pytest.raises(RequestError, match="not -1"):
        MosaicRules(feather_px=-1)


def test_images_without_variance_and_mask_are_averaged() -> None:
    grid = make_grid((20, 20))
    images = [make_part(grid.bbox, grid.sky_projection, value=v).image for v in (1.0, 4.0)]
    rules = MosaicRules(overlap=Overlap.COMBINE, combine=Combine.MEAN)
    mosaic = make_mosaic(images, grid, rules=rules).masked_image
    assert (mosaic.image.array == 2.5).all()
    assert np.isnan(mosaic.variance.array).all()


def test_mean_of_patches_is_that_of_reproject() -> None:
    mosaicking = pytest.importorskip("reproject.mosaicking")
    reproject = pytest.importorskip("reproject")
    grid = make_grid((114, 144))
    whole = make_whole(grid, np.random.default_rng(6))
    whole.image.array[np.isnan(whole.image.array)] = 0.0
    patches = split_patches(whole, inner=30, border=12)
    for number, patch in enumerate(patches):
        patch.image.array[...] += number
    wcs = grid.sky_projection.as_fits_wcs(grid.bbox)
    inputs = [(p.image.array.astype(float), grid.sky_projection.as_fits_wcs(p.bbox)) for p in patches]
    theirs, _ = mosaicking.reproject_and_coadd(
        inputs,
        wcs,
        shape_out=tuple(grid.shape),
        reproject_function=reproject.reproject_interp,
        order="nearest-neighbor",
        combine_function="mean",
    )
    ours = make_mosaic(patches, grid, rules=MosaicRules(overlap=Overlap.MEAN)).masked_image.image.array
    covered = np.isfinite(ours)
    np.testing.assert_allclose(ours[covered], theirs[covered], rtol=1e-6, atol=1e-6)
