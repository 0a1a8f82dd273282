"""Mosaics of real images against what other software makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from tests.support.testdata import testdata

from lsst.dax.image.container import read_plain_image
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    BackgroundMatch,
    Combine,
    Mosaic,
    MosaicRules,
    Overlap,
    VarianceRule,
    find_mosaic_grid,
    make_mosaic,
)
from lsst.dax.image.resampling import FluxConvention, resample

BRICK = "A_decam_ls/brick1867p255_9epochs"
SCHEMA = MaskSchema([MaskPlane("NO_DATA", "No usable value.")])
# By this the pixels are larger where the brick lies than the CD matrix says.
PIXEL_AREA = 1.0125


def read_epoch(brick: Path, epoch: dict[str, Any]) -> MaskedImage:
    """Return an epoch in nanomaggies, as SWarp was given it."""
    path = brick / "images" / epoch["image"]
    counts = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace("_ooi_", "_oow_"))).array
    code = read_plain_image(path.with_name(path.name.replace("_ooi_", "_ood_"))).array
    good = (code == 0) & (weight > 0)
    scale = epoch["flxscale_nmgy_per_adu"]
    image = np.where(good, (counts.array.astype(float) - epoch["median_sky_subtracted_adu"]) * scale, np.nan)
    variance = np.where(good, scale**2 / np.where(good, weight, 1.0), np.nan)
    mask = Mask(schema=SCHEMA, bbox=counts.bbox)
    mask.set("NO_DATA", ~good)
    return MaskedImage(
        Image(image, bbox=counts.bbox, sky_projection=counts.sky_projection),
        mask=mask,
        variance=Image(variance, bbox=counts.bbox),
    )


def read_swarp(path: Path) -> tuple[TargetGrid, np.ndarray]:
    """Return the grid and the pixels of a product of SWarp, NaN where its weight is zero."""
    image = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace(".fits", ".weight.fits"))).array
    assert image.sky_projection is not None
    return TargetGrid(image.sky_projection, image.bbox), np.where(weight > 0, image.array, np.nan)


@pytest.fixture(scope="module")
def epochs() -> dict[str, MaskedImage]:
    brick = testdata(BRICK)
    listed = json.loads((brick / "reference_independent/swarp/meta.json").read_text())
    return {e["name"]: read_epoch(brick, e) for e in listed if e["filter"] == "z"}


def test_a_resampled_epoch_is_that_of_swarp(epochs: dict[str, MaskedImage]) -> None:
    grid, theirs = read_swarp(
        testdata(BRICK) / "reference_independent/swarp/resamp_z_431608_N3_swarp.fits.gz"
    )
    image = epochs["z_431608_N3"]
    kept = resample(image, grid, flux_convention=FluxConvention.SURFACE_BRIGHTNESS).masked_image.image.array
    # The very pixels have a value, ...
    np.testing.assert_array_equal(np.isfinite(kept), np.isfinite(theirs))
    # ... and it is the same: SWarp multiplies by a ratio of nominal areas, one number per image.
    ratio = np.nansum(kept * theirs) / np.nansum(theirs**2)
    assert ratio == pytest.approx(PIXEL_AREA, abs=1e-4)
    np.testing.assert_allclose(kept, ratio * theirs, rtol=1e-5, atol=1e-5)
    # The sum is kept with the area of the pixels there, which varies by some 1e-5.
    flux = resample(image, grid, flux_convention=FluxConvention.FLUX).masked_image.image.array
    good = np.isfinite(theirs)
    np.testing.assert_allclose(flux[good], theirs[good], rtol=3e-4, atol=1e-5)


def make_coadd(epochs: dict[str, MaskedImage]) -> tuple[Mosaic, np.ndarray]:
    """Return the weighted mean of all epochs by us and by SWarp."""
    grid, theirs = read_swarp(testdata(BRICK) / "reference_independent/swarp/coadd_z_swarp.fits.gz")
    rules = MosaicRules(overlap=Overlap.COMBINE, variance=VarianceRule.INDEPENDENT)
    return make_mosaic(list(epochs.values()), grid, rules=rules), theirs


def test_a_mean_of_epochs_is_that_of_swarp(epochs: dict[str, MaskedImage]) -> None:
    mosaic, theirs = make_coadd(epochs)
    ours, variance = mosaic.masked_image.image.array, mosaic.masked_image.variance.array
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
    good = np.isfinite(ours)
    # SWarp takes the weight of a pixel from the noisiest one under the kernel,
    # so the weights of the epochs differ, and the means by parts of their noise.
    pull = (ours - theirs)[good] / np.sqrt(variance[good])
    assert np.abs(np.median(pull)) < 0.01
    assert np.percentile(np.abs(pull), 99) < 0.5
    assert mosaic.coverage.array.max() == 4
    assert (mosaic.inputs["n_pixels"] > 40_000).all()
    # White noise, in the middle of which nothing shines.
    empty = np.s_[150:230, 100:170]
    assert np.std(ours[empty]) == pytest.approx(np.sqrt(np.median(variance[empty])), rel=0.06)


def test_stars_of_the_mean_have_the_fluxes_of_swarp(epochs: dict[str, MaskedImage]) -> None:
    mosaic, theirs = make_coadd(epochs)
    gaia = vstack(
        [Table.read(path) for path in sorted((testdata(BRICK) / "gaia").glob("chunk-*.fits"))],
        metadata_conflicts="silent",
    )
    stars = mosaic.grid.sky_projection.sky_to_pixel(SkyCoord(gaia["ra"], gaia["dec"], unit=u.deg))
    y, x = np.indices(theirs.shape)
    n_stars = 0
    for star_x, star_y in zip(np.asarray(stars.x), np.asarray(stars.y), strict=True):
        aperture = np.hypot(x - star_x, y - star_y) < 8
        if aperture.sum() > 190 and np.isfinite(theirs[aperture]).all():
            flux = mosaic.masked_image.image.array[aperture].sum()
            assert flux == pytest.approx(theirs[aperture].sum(), rel=0.01)
            n_stars += 1
    assert n_stars == 3


CENTRE = "D_galactic_center"
CUTS = tuple(
    Box.factory[y0:y1, x0:x1] for y0, y1 in ((0, 400), (330, 720)) for x0, x1 in ((0, 390), (320, 721))
)
LEVELS = (0.0, 150.0, -80.0, 240.0)


def open_first(name: str) -> tuple[np.ndarray, WCS]:
    with fits.open(testdata(CENTRE) / name) as hdus:
        return hdus[0].data.astype(float), WCS(hdus[0].header)


@pytest.fixture(scope="module")
def tiles() -> list[Image]:
    """Return four overlapping cuts of the K image, each with a level of its own."""
    whole = read_plain_image(testdata(CENTRE) / "gc_2mass_k.fits.gz")
    return [
        Image(whole[cut].array + level, bbox=cut, sky_projection=whole.sky_projection)
        for cut, level in zip(CUTS, LEVELS, strict=True)
    ]


def test_tiles_of_the_galactic_centre_are_one_image_again(tiles: list[Image]) -> None:
    whole = read_plain_image(testdata(CENTRE) / "gc_2mass_k.fits.gz")
    rules = MosaicRules(overlap=Overlap.INNER, background=BackgroundMatch.LEVEL, combine=Combine.MEAN)
    grid = find_mosaic_grid(tiles)
    assert grid.bbox == whole.bbox
    mosaic = make_mosaic(tiles, grid, rules=rules)
    backgrounds = mosaic.inputs["background"]
    np.testing.assert_allclose(backgrounds - backgrounds[0], LEVELS, atol=1e-3)
    constant = -backgrounds[0]
    np.testing.assert_allclose(mosaic.masked_image.image.array, whole.array + constant, atol=1e-3)


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_the_galactic_centre_on_a_galactic_grid_is_that_of_reproject(tiles: list[Image]) -> None:
    reproject = pytest.importorskip("reproject")
    mosaicking = pytest.importorskip("reproject.mosaicking")
    msx = read_plain_image(testdata(CENTRE) / "gc_msx_e.fits.gz")
    assert msx.sky_projection is not None
    rules = MosaicRules(
        overlap=Overlap.COMBINE,
        combine=Combine.MEAN,
        background=BackgroundMatch.LEVEL,
        flux_convention=FluxConvention.SURFACE_BRIGHTNESS,
    )
    mosaic = make_mosaic(tiles, TargetGrid(msx.sky_projection, msx.bbox), rules=rules)
    backgrounds = mosaic.inputs["background"]
    np.testing.assert_allclose(backgrounds - backgrounds[0], LEVELS, atol=1e-3)
    _, wcs = open_first("gc_2mass_k.fits.gz")
    _, target = open_first("gc_msx_e.fits.gz")
    theirs, _ = mosaicking.reproject_and_coadd(
        [
            (tile.array, wcs[cut.y.start : cut.y.stop, cut.x.start : cut.x.stop])
            for tile, cut in zip(tiles, CUTS, strict=True)
        ],
        target,
        shape_out=msx.array.shape,
        reproject_function=reproject.reproject_exact,
        match_background=True,
    )
    ours = mosaic.masked_image.image.array
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 17_500
    difference = (ours - theirs)[both]
    # A pixel holds 23 of the tiles': a box (theirs) and a Lanczos kernel agree in the mean.
    assert np.median(np.abs(difference - np.median(difference)) / theirs[both]) < 0.02
    assert np.corrcoef(ours[both], theirs[both])[0, 1] > 0.96
    level = np.median(difference)
    assert (ours[both] - level).sum() == pytest.approx(theirs[both].sum(), rel=2e-3)
    # Seen through a pixel five times as large again, they are the same.
    coarse = [
        np.where(both, image, 0.0)[25:125, 25:125].reshape(20, 5, 20, 5).sum((1, 3))
        for image in (ours - level, theirs)
    ]
    full = both[25:125, 25:125].reshape(20, 5, 20, 5).all((1, 3))
    np.testing.assert_allclose(coarse[0][full], coarse[1][full], rtol=0.015)
