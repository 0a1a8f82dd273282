"""Images of their own: weights, variances, masks and seams."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from scipy.integrate import quad
from scipy.stats import norm
from tests.support.mosaics import assert_same_bits as assert_same
from tests.support.mosaics import combine_slowly, make_grid, make_part, make_whole

from lsst.dax.image.errors import NoCoverageError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import Combine, MosaicRules, Overlap, VarianceRule, make_mosaic
from lsst.dax.image.resampling import FluxConvention, resample


@pytest.mark.parametrize("variance", VarianceRule)
@pytest.mark.parametrize("combine", Combine)
def test_combinations_are_those_of_numpy(combine: Combine, variance: VarianceRule) -> None:
    rng = np.random.default_rng(11)
    grid = make_grid((37, 41))
    values = rng.normal(size=(5, 37, 41))
    variances = rng.uniform(0.5, 3, size=values.shape)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0, np.isnan(values).all(axis=0)] = 0.0
    images = [
        make_part(grid.bbox, grid.sky_projection, value=v, variance=w, dtype=np.float64)
        for v, w in zip(values, variances, strict=True)
    ]
    rules = MosaicRules(overlap=Overlap.COMBINE, combine=combine, variance=variance)
    mosaic = make_mosaic(images, grid, rules=rules)
    independent = variance is VarianceRule.INDEPENDENT
    image, spread = combine_slowly(values, variances, combine, independent=independent)
    np.testing.assert_allclose(mosaic.masked_image.image.array, image, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mosaic.masked_image.variance.array, spread, rtol=1e-12)
    n = np.isfinite(values).sum(axis=0)
    averaged = combine.is_mean or combine is Combine.MEDIAN
    np.testing.assert_array_equal(mosaic.coverage.array, n if averaged else 1)
    assert mosaic.inputs["weight"].sum() == pytest.approx(37 * 41, rel=1e-6)


def test_variance_of_a_mean_of_n_is_that_of_one_over_n() -> None:
    grid = make_grid((8, 8))
    images = [make_part(grid.bbox, grid.sky_projection, value=v, variance=6.0) for v in range(3)]
    for variance, expected in ((VarianceRule.INDEPENDENT, 2.0), (VarianceRule.CORRELATED, 6.0)):
        rules = MosaicRules(overlap=Overlap.COMBINE, variance=variance)
        mosaic = make_mosaic(images, grid, rules=rules).masked_image
        np.testing.assert_allclose(mosaic.image.array, 1.0)
        np.testing.assert_allclose(mosaic.variance.array, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 12])
def test_variance_of_a_median_is_that_of_its_order_statistics(n: int) -> None:
    grid = make_grid((8, 8))
    images = [make_part(grid.bbox, grid.sky_projection, value=v) for v in range(n)]
    rules = MosaicRules(overlap=Overlap.COMBINE, combine=Combine.MEDIAN, variance=VarianceRule.INDEPENDENT)
    found = make_mosaic(images, grid, rules=rules).masked_image.variance.array
    if n % 2:
        k = (n + 1) // 2
        factor = 1.0
        for i in range(1, n + 1):
            factor *= i
        for i in range(1, k):
            factor /= i * i
        exact, _ = quad(lambda x: x * x * factor * norm.pdf(x) * (norm.cdf(x) * norm.sf(x)) ** (k - 1), -9, 9)
        np.testing.assert_allclose(found, exact, rtol=0.03)
    else:
        # Simulated: to 1 per cent.
        medians = np.median(np.random.default_rng(12).normal(size=(40000, n)), axis=1)
        np.testing.assert_allclose(found, medians.var(), rtol=0.04)


def test_only_usable_variances_weigh() -> None:
    grid = make_grid((5, 5))
    variances = (1.0, 0.0, -1.0, np.nan, np.inf)
    images = [
        make_part(grid.bbox, grid.sky_projection, value=v, variance=w, planes=("BAD",) if v else ())
        for v, w in enumerate(variances)
    ]
    rules = MosaicRules(overlap=Overlap.COMBINE)
    mosaic = make_mosaic(images, grid, rules=rules)
    assert (mosaic.masked_image.image.array == 0).all()
    assert not mosaic.masked_image.mask.get("BAD").any()
    assert mosaic.inputs["n_pixels"].tolist() == [25, 0, 0, 0, 0]
    # The first one has half of the pixels only.
    images[0].image.array[:3] = np.nan
    none = make_mosaic(images, grid, rules=rules)
    assert np.isnan(none.masked_image.image.array[:3]).all()
    assert none.masked_image.mask.get("BAD")[:3].all()
    assert (none.coverage.array[:3] == 0).all()
    with pytest.raises(NoCoverageError, match="None of 4 images gives a value to any of the 5 x 5 pixels"):
        make_mosaic(images[1:], grid, rules=rules)


def test_mask_is_the_union_of_what_contributes() -> None:
    grid = make_grid((5, 5))
    images = [
        make_part(grid.bbox, grid.sky_projection, value=v, planes=p)
        for v, p in ((1.0, ("BAD",)), (2.0, ("EDGE",)), (np.nan, ("NO_DATA",)))
    ]
    for combine, bad, edge in (
        (Combine.MEAN, True, True),
        (Combine.MIN, True, False),
        (Combine.MAX, False, True),
    ):
        mask = make_mosaic(
            images, grid, rules=MosaicRules(overlap=Overlap.COMBINE, combine=combine)
        ).masked_image.mask
        assert mask.get("BAD").all() == bad
        assert mask.get("EDGE").all() == edge
        assert not mask.get("NO_DATA").any()


def test_one_turned_image_is_what_resampling_gives() -> None:
    grid = make_grid((200, 210))
    source = make_whole(make_grid((150, 160), rotation=20 * u.deg), np.random.default_rng(13))
    for flux in FluxConvention:
        mosaic = make_mosaic([source], grid, rules=MosaicRules(flux_convention=flux))
        assert_same(mosaic.masked_image, resample(source, grid, flux_convention=flux).masked_image)


def test_turned_patches_are_resampled_as_one_image() -> None:
    tract = make_grid((300, 300), rotation=25 * u.deg)
    whole = make_whole(tract, np.random.default_rng(14))
    grid = make_grid((280, 280))
    rules = MosaicRules(overlap=Overlap.INNER)
    # Tiles without any overlap: each by itself would leave holes along the seams.
    tiles = [whole[Box.factory[y : y + 100, x : x + 150]] for y in (0, 100, 200) for x in (0, 150)]
    mosaic = make_mosaic(tiles, grid, rules=rules)
    assert_same(mosaic.masked_image, resample(whole, grid).masked_image)
    finite = np.isfinite(mosaic.masked_image.image.array).sum()
    assert mosaic.inputs["n_pixels"].sum() == finite
    assert (mosaic.coverage.array > 0).sum() == finite


def test_constant_sky_stays_constant_over_feathered_seams_of_turned_images() -> None:
    grid = make_grid((300, 560), pixel_scale=0.25 * u.arcsec)
    images = [
        make_part(g.bbox, g.sky_projection, value=7.0)
        for turn, shift in ((10, -100), (-30, -20), (45, 60))
        for g in [
            make_grid(
                (300, 260),
                rotation=turn * u.deg,
                center=grid.center.directional_offset_by(90 * u.deg, shift * 0.2 * u.arcsec),
            )
        ]
    ]
    rules = MosaicRules(feather_px=40, flux_convention=FluxConvention.SURFACE_BRIGHTNESS)
    mosaic = make_mosaic(images, grid, rules=rules)
    covered = mosaic.coverage.array > 0
    assert covered.sum() > 40000
    np.testing.assert_allclose(mosaic.masked_image.image.array[covered], 7.0, rtol=1e-6)


def test_feathered_seams_have_no_steps() -> None:
    grid = make_grid((160, 700))
    shifted = [
        make_grid((200, 400), rotation=turn * u.deg, center=grid.center.directional_offset_by(90 * u.deg, d))
        for turn, d in ((0.5, -30 * u.arcsec), (-0.5, 30 * u.arcsec))
    ]
    images = [make_part(g.bbox, g.sky_projection, value=v) for v, g in enumerate(shifted)]
    options = {"flux_convention": FluxConvention.SURFACE_BRIGHTNESS, "combine": Combine.MEAN}
    step = {}
    for width in (0, 50):
        rows = make_mosaic(
            images, grid, rules=MosaicRules(feather_px=width, **options)
        ).masked_image.image.array
        inner = rows[40:120, 60:640]
        assert np.isfinite(inner).all()
        step[width] = np.abs(np.diff(inner, axis=1)).max()
    assert step[0] > 0.4
    # The kernel leaves the outer three pixels out, where the weight is 3/51 or less.
    assert step[50] < 0.08


def test_tracts_of_different_depth_share_by_inverse_variance() -> None:
    grid = make_grid((100, 100), pixel_scale=0.3 * u.arcsec)
    images = [
        make_part(g.bbox, g.sky_projection, value=value, variance=variance)
        for value, variance, g in (
            (1.0, 1.0, make_grid((400, 400), rotation=5 * u.deg)),
            (4.0, 3.0, make_grid((400, 400), rotation=5 * u.deg)),
        )
    ]
    # Equal shapes and equal noise properties: what the resampling does to both is the same.
    rules = MosaicRules(overlap=Overlap.COMBINE, flux_convention=FluxConvention.SURFACE_BRIGHTNESS)
    mosaic = make_mosaic(images, grid, rules=rules)
    np.testing.assert_allclose(mosaic.masked_image.image.array, (1.0 * 3 + 4.0) / 4, rtol=1e-5)
    alone = make_mosaic(images[:1], grid, rules=rules).masked_image.variance.array
    np.testing.assert_allclose(mosaic.masked_image.variance.array, 1.5 * alone, rtol=1e-5)
    np.testing.assert_allclose(mosaic.inputs["weight"], [7500, 2500], rtol=1e-5)


@pytest.mark.parametrize(
    "center",
    [(0.0, 0.0), (359.9999, 40.0), (12.0, 90.0), (200.0, -89.999)],
    ids=["ra0", "ra360", "north", "south"],
)
def test_poles_and_the_seam_of_right_ascension_are_no_places_of_their_own(
    center: tuple[float, float],
) -> None:
    from astropy.coordinates import SkyCoord

    middle = SkyCoord(*center, unit=u.deg)
    grid = make_grid((240, 240), center=middle)
    images = []
    for number, angle in enumerate((45, 135, 225, 315)):
        near = middle.directional_offset_by(angle * u.deg, 20 * u.arcsec)
        part: TargetGrid = make_grid((220, 220), center=near, rotation=10 * number * u.deg)
        images.append(make_part(part.bbox, part.sky_projection, value=3.0))
    rules = MosaicRules(flux_convention=FluxConvention.SURFACE_BRIGHTNESS)
    mosaic = make_mosaic(images, grid, rules=rules)
    np.testing.assert_allclose(mosaic.masked_image.image.array, 3.0, rtol=1e-6)
    assert (mosaic.inputs["n_pixels"] > 10000).all()
