"""The PSF of a mosaic is what stars in it look like."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage
from lsst.images.psfs import GaussianPointSpreadFunction
from tests.support.mosaics import make_grid, make_part

from lsst.dax.image.errors import NoCoverageError, RequestError, UnsupportedProductError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    Combine,
    MosaicRules,
    Overlap,
    fetch_mosaic,
    fetch_mosaic_psf,
    find_mosaic_grid,
    make_mosaic,
    make_mosaic_psf,
)
from lsst.dax.image.repository import fetch_geometry, find_datasets, opened_dataset


def draw_star(grid: TargetGrid, target: TargetGrid, place: tuple[float, float], sigma: float) -> MaskedImage:
    """Return an image with a Gaussian star of flux one at a position of another grid."""
    sky = target.sky_projection.pixel_to_sky(x=place[0], y=place[1])
    at = grid.sky_projection.sky_to_pixel(sky)
    y, x = np.mgrid[grid.bbox.y.start : grid.bbox.y.stop, grid.bbox.x.start : grid.bbox.x.stop]
    star = np.exp(-0.5 * ((x - float(at.x)) ** 2 + (y - float(at.y)) ** 2) / sigma**2) / (
        2 * np.pi * sigma**2
    )
    return make_part(grid.bbox, grid.sky_projection, value=star, dtype=np.float64)


def make_psf(grid: TargetGrid, sigma: float) -> GaussianPointSpreadFunction:
    return GaussianPointSpreadFunction(sigma, bounds=grid.bbox, stamp_size=41)


def test_the_psf_is_the_image_of_a_star() -> None:
    target = make_grid((90, 95))
    place = (44.3, 40.8)
    grids = [make_grid((100, 100), rotation=turn * u.deg) for turn in (0, 20, 75)]
    sigmas = (2.0, 2.6, 3.3)
    images = [draw_star(grid, target, place, sigma) for grid, sigma in zip(grids, sigmas, strict=True)]
    for image, variance in zip(images, (1.0, 2.0, 4.0), strict=True):
        image.variance.array[...] = variance
    psfs = [make_psf(g, s) for g, s in zip(grids, sigmas, strict=True)]
    # The pattern of variances, and so of weights, that resampling makes is in the star alone.
    for combine, atol in ((Combine.MEAN, 1e-4), (Combine.INVERSE_VARIANCE, 1e-3)):
        mosaic = make_mosaic(images, target, rules=MosaicRules(combine=combine))
        psf = make_mosaic_psf(mosaic, images, psfs)
        stamp = psf.compute_stellar_image(x=place[0], y=place[1])
        assert stamp.bbox == psf.compute_stellar_bbox(x=place[0], y=place[1])
        assert stamp.array.sum() == pytest.approx(1.0, abs=1e-9)
        star = mosaic.masked_image.image[stamp.bbox].array
        np.testing.assert_allclose(stamp.array, star / star.sum(), atol=atol)
        assert star.max() > 0.02
        second_moment = [
            (p * ((np.indices(p.shape)[0] - 21) ** 2)).sum() for p in (stamp.array, star / star.sum())
        ]
        assert second_moment[0] == pytest.approx(second_moment[1], rel=0.02)
    shares = psf.find_shares(x=place[0], y=place[1])
    assert [shares[index] for index in range(3)] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.1)
    assert shares[0] > shares[1] > shares[2]
    kernel = psf.compute_kernel_image(x=place[0], y=place[1])
    assert kernel.bbox == psf.kernel_bbox
    y, x = (kernel.bbox.y.arange[:, None], kernel.bbox.x.arange)
    assert abs((kernel.array * x).sum()) < 1e-3
    assert abs((kernel.array * y).sum()) < 1e-3


def test_patches_keep_their_own_psf_on_their_side() -> None:
    target = make_grid((60, 160))
    boxes = (Box.factory[0:60, 0:100], Box.factory[0:60, 60:160])
    images = [make_part(box, target.sky_projection) for box in boxes]
    psfs = [
        GaussianPointSpreadFunction(s, bounds=b, stamp_size=21)
        for s, b in zip((1.5, 3.0), boxes, strict=True)
    ]
    for overlap, expected in ((Overlap.INNER, (7 / 11, 4 / 11)), (Overlap.MEAN, (0.5, 0.5))):
        mosaic = make_mosaic(images, target, rules=MosaicRules(overlap=overlap))
        psf = make_mosaic_psf(mosaic, images, psfs)
        assert psf.find_shares(x=20, y=30) == {0: 1.0}
        assert psf.find_shares(x=130, y=30) == {1: 1.0}
        # The border of the inner regions, at 80, is two pixels to the right.
        parts = [p.compute_kernel_image(x=78, y=30).array for p in psfs]
        between = psf.compute_kernel_image(x=78, y=30).array
        np.testing.assert_allclose(
            between, sum(w * p / p.sum() for w, p in zip(expected, parts, strict=True)), rtol=1e-6
        )


def test_who_does_not_count_has_no_part_in_the_psf() -> None:
    target = make_grid((50, 50))
    good, bad = (make_part(target.bbox, target.sky_projection, planes=p) for p in ((), ("BAD",)))
    gap = make_part(target.bbox, target.sky_projection)
    gap.image.array[:16, :18] = np.nan
    rules = MosaicRules(overlap=Overlap.COMBINE, exclude_planes=("BAD",))
    images = [good, bad, gap]
    mosaic = make_mosaic(images, target, rules=rules)
    psf = make_mosaic_psf(mosaic, images, [make_psf(target, s) for s in (1.0, 2.0, 3.0)])
    assert psf.find_shares(x=12.4, y=9.6) == {0: 1.0}
    assert psf.find_shares(x=30, y=30) == {0: 0.5, 2: 0.5}
    # Off the mosaic there is nothing to count.
    assert psf.find_shares(x=49, y=49) == {0: 0.5, 2: 0.5}
    lonely = make_mosaic([gap], target)
    with pytest.raises(NoCoverageError, match=r"No image counts in the pixels .*, around \(12.0, 10.0\)"):
        make_mosaic_psf(lonely, [gap], [make_psf(target, 1.0)]).compute_kernel_image(x=12.0, y=10.0)
    with pytest.raises(NoCoverageError, match=r"position \(60.0, 10.0\) is off the mosaic"):
        psf.compute_kernel_image(x=60.0, y=10.0)


@pytest.mark.parametrize("combine", [Combine.MEDIAN, Combine.MIN, Combine.MAX])
def test_what_is_not_linear_has_no_psf(combine: Combine) -> None:
    target = make_grid((50, 50))
    image = make_part(target.bbox, target.sky_projection)
    mosaic = make_mosaic([image], target, rules=MosaicRules(combine=combine))
    with pytest.raises(UnsupportedProductError, match=rf"A mosaic by {combine} has no PSF"):
        make_mosaic_psf(mosaic, [image], [make_psf(target, 1.0)])


def test_numbers_of_inputs_must_agree() -> None:
    target = make_grid((50, 50))
    image = make_part(target.bbox, target.sky_projection)
    mosaic = make_mosaic([image], target)
    with pytest.raises(RequestError, match="has 1 inputs; 2 images are given"):
        make_mosaic_psf(mosaic, [image, image], [make_psf(target, 1.0)] * 2)
    with pytest.raises(RequestError, match="1 images needs as many PSFs, not 2"):
        make_mosaic_psf(mosaic, [image], [make_psf(target, 1.0)] * 2)


def test_the_psf_of_coadds_is_theirs(mini_butler: Butler) -> None:
    refs = find_datasets(mini_butler, "deep_coadd", bands=["r"])
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs])
    mosaic = fetch_mosaic(mini_butler, refs, grid)
    psf = fetch_mosaic_psf(mini_butler, refs, mosaic)
    for ref, x in zip(refs, (1100.0, 1300.0), strict=True):
        with opened_dataset(mini_butler, ref) as reader:
            own = reader.read_psf().compute_kernel_image(x=x, y=1100.0)
        found = psf.compute_kernel_image(x=x, y=1100.0)
        np.testing.assert_allclose(found[own.bbox].array, own.array / own.array.sum(), rtol=1e-6, atol=1e-12)
    with pytest.raises(RequestError, match="The mosaic was made of the datasets"):
        fetch_mosaic_psf(mini_butler, refs[::-1], mosaic)
    parts = [ref.makeComponentRef("image") for ref in refs]
    planes = fetch_mosaic(mini_butler, parts, grid, rules=MosaicRules(combine=Combine.MEAN))
    found = fetch_mosaic_psf(mini_butler, parts, planes).compute_kernel_image(x=1100.0, y=1100.0)
    np.testing.assert_array_equal(found.array, psf.compute_kernel_image(x=1100.0, y=1100.0).array)
