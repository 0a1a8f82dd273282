"""Independent resamplers on the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box
from scipy.ndimage import map_coordinates
from tests.support.resampling import make_source, make_tan
from tests.support.resampling_oracle import exact_positions

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample

SHAPE = (150, 160)
KEEP = FluxConvention.SURFACE_BRIGHTNESS


def smooth_field() -> np.ndarray:
    """Return stars of 0.7 arcsec, which every good interpolation holds."""
    rng = np.random.default_rng(3)
    y, x = np.indices(SHAPE)
    pixels = np.full(SHAPE, 10.0)
    for _ in range(40):
        x0, y0 = rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[0])
        pixels += 100 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.5**2)
    return pixels


def test_scipy_at_the_same_positions() -> None:
    source = make_source(smooth_field(), make_tan(x=80.0, y=75.0))
    grid = TargetGrid(make_tan(rotation=30.0), Box.factory[-50:50, -50:50])
    x, y = exact_positions(source, grid)
    found = resample(source, grid, kernel=Kernel.BILINEAR, flux_convention=KEEP).masked_image.image.array
    peer = map_coordinates(source.image.array.astype(float), [y, x], order=1)
    np.testing.assert_allclose(found, peer, rtol=2e-5)
    found = resample(source, grid, kernel=Kernel.LANCZOS5, flux_convention=KEEP).masked_image.image.array
    peer = map_coordinates(source.image.array.astype(float), [y, x], order=5)
    np.testing.assert_allclose(found, peer, atol=0.5)


def test_reproject_on_the_same_files() -> None:
    reproject = pytest.importorskip("reproject")
    source = make_source(smooth_field(), make_tan(x=80.0, y=75.0))
    grid = TargetGrid(make_tan(rotation=30.0), Box.factory[-50:50, -50:50])
    wcs, target = source.sky_projection.as_fits_wcs(source.bbox), grid.sky_projection.as_fits_wcs(grid.bbox)
    assert isinstance(wcs, WCS)
    peer, _ = reproject.reproject_interp(
        (source.image.array.astype(float), wcs), target, shape_out=(100, 100), order="bilinear"
    )
    found = resample(source, grid, kernel=Kernel.BILINEAR, flux_convention=KEEP).masked_image.image.array
    np.testing.assert_allclose(found, peer, rtol=2e-5)
    whole, _ = reproject.reproject_exact(
        (source.image.array.astype(float), wcs), target, shape_out=(100, 100)
    )
    found = resample(source, grid, flux_convention=KEEP).masked_image.image.array
    # Areas of pixels blur by a pixel, also across the edge of the grid.
    assert found.sum(dtype=float) == pytest.approx(whole.sum(), rel=1e-3)


def test_headers_go_through_files(tmp_path: Path) -> None:
    source = make_source(smooth_field(), make_tan(x=80.0, y=75.0))
    grid = TargetGrid(make_tan(rotation=30.0), Box.factory[-50:50, -50:50])
    found = resample(source, grid)
    path = tmp_path / "resampled.fits"
    wcs = found.masked_image.sky_projection.as_fits_wcs(grid.bbox)
    fits.writeto(path, found.masked_image.image.array, wcs.to_header())
    sky = WCS(fits.getheader(path)).pixel_to_world(20.0, 30.0)
    assert sky.separation(grid.sky_projection.pixel_to_sky(x=-30.0, y=-20.0)).arcsec < 1e-6
