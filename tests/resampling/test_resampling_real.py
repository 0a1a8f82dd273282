"""Real projections and real images."""

from __future__ import annotations

import json
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box, SkyProjection
from tests.support.projections import to_icrs
from tests.support.resampling import FRAME, evaluate_positions, make_source
from tests.support.testdata import testdata

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.recreation import read_visit_summary
from lsst.dax.image.resampling import (
    FluxConvention,
    Kernel,
    find_local_maps,
    find_source_coordinates,
    resample,
)

KEEP = FluxConvention.SURFACE_BRIGHTNESS
FLAVOURS = ("TAN", "STG", "ZEA", "ARC", "ZPN", "SIP", "TPV", "REGION")


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_published_positions_of_eight_projections(flavour: str) -> None:
    folder = testdata("E_wcs_references")
    entry = json.loads((folder / "wcs_references.json").read_text())["wcs"][flavour]
    with fits.open(folder / entry["file"]) as hdus:
        wcs = WCS(hdus[entry["hdu"]].header)
        pixels = np.asarray(hdus[entry["hdu"]].data, np.float64)
    source = make_source(pixels, SkyProjection.from_fits_wcs(wcs, FRAME))
    assert len(entry["points"]) == 2
    for point in entry["points"]:
        published = SkyCoord(point["ra_deg"], point["dec_deg"], unit=u.deg)
        x, y = point["x_fits1"] - 1, point["y_fits1"] - 1
        sky = source.sky_projection.pixel_to_sky(x=float(x), y=float(y))
        assert sky.separation(published).arcsec < 1e-4
        # The pixel in the middle of a grid around the published place.
        scale = np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))) * u.deg
        grid = TargetGrid.from_center(published, pixel_scale=0.9 * scale, shape=(21, 21), rotation=33 * u.deg)
        found = find_source_coordinates(source.sky_projection, source.bbox, grid, tolerance_px=1e-8)
        positions = evaluate_positions(found, tuple(grid.shape))[0][:, 10, 10]
        assert np.hypot(*(positions - (x, y))) * scale.to_value(u.arcsec) < 1e-4
        # The file of SIP brings an inverse of its own, a fit that is off by 2e-3 arcsec.
        back = source.sky_projection.pixel_to_sky(x=float(positions[0]), y=float(positions[1]))
        assert back.separation(published).arcsec < 1e-6
        nearest = resample(source, grid, kernel=Kernel.NEAREST, flux_convention=KEEP).masked_image
        assert nearest.image.array[10, 10] == pytest.approx(point["pixel_value"], rel=1e-5)


@pytest.mark.parametrize("visit", [1176, 17930, 36434])
def test_solutions_of_real_visits(visit: int) -> None:
    path = testdata("C_hsc_visit_summaries") / f"visitSummary_{visit}.fits.gz"
    rows = read_visit_summary(path, detectors=[0, 49, 100])
    assert len(rows) == 3
    for row in rows.values():
        projection, bbox = row.sky_projection, row.bbox
        assert projection is not None
        center = projection.pixel_to_sky(x=bbox.x.center, y=bbox.y.center)
        grid = TargetGrid.from_center(
            center, pixel_scale=0.168 * u.arcsec, shape=(600, 700), rotation=20 * u.deg
        )
        # A millionth of an arcsec is 6e-6 of a pixel.
        found = find_source_coordinates(projection, bbox, grid, tolerance_px=4e-6)
        positions = evaluate_positions(found, tuple(grid.shape))[0]
        assert np.isfinite(positions).all()
        mesh = grid.bbox.meshgrid()
        sky = grid.sky_projection.pixel_to_sky(x=mesh.x.astype(float), y=mesh.y.astype(float))
        there = projection.pixel_to_sky(x=positions[0], y=positions[1])
        assert there.separation(sky).arcsec.max() < 1e-6
        # And from pixels of the detector: the inverse that these solutions
        # bring is a fit, which is off by up to 3.5e-4 arcsec.
        rng = np.random.default_rng(visit)
        x = rng.uniform(bbox.x.start, bbox.x.stop - 1, 500)
        y = rng.uniform(bbox.y.start, bbox.y.stop - 1, 500)
        whole = TargetGrid.from_center(center, pixel_scale=0.168 * u.arcsec, shape=(5000, 5000))
        place = whole.sky_projection.sky_to_pixel(projection.pixel_to_sky(x=x, y=y))
        maps = find_local_maps(projection, whole.sky_projection, x=place.x, y=place.y)
        assert np.hypot(*(maps.positions.T - [x, y])).max() * 0.168 < 1e-6


def read_pair(camera: str) -> tuple[np.ndarray, SkyProjection[Any]]:
    path = testdata("A_hsc_scarlet/hsc_hst_resampling") / f"Cut_{camera}.fits"
    with fits.open(path) as hdus:
        pixels = np.asarray(hdus[0].data, np.float64)
        projection = SkyProjection.from_fits_wcs(WCS(hdus[0].header).celestial, FRAME)
    return (pixels[2] if pixels.ndim == 3 else pixels), projection


def sum_weighed(pixels: np.ndarray, grid: TargetGrid, center: SkyCoord, sigma_arcsec: float) -> float:
    """Sum up an image under a smooth aperture on the sky."""
    mesh = grid.bbox.meshgrid()
    sky = grid.sky_projection.pixel_to_sky(x=mesh.x.astype(float), y=mesh.y.astype(float))
    aperture = np.exp(-0.5 * (sky.separation(center).arcsec / sigma_arcsec) ** 2)
    assert aperture[~np.isfinite(pixels)].max(initial=0.0) < 3e-4
    return float(np.nansum(pixels * aperture))


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("kernel", [Kernel.LANCZOS3, Kernel.LANCZOS3_MOMENTS, Kernel.LANCZOS5])
@pytest.mark.parametrize(("camera", "other"), [("HST", "HSC"), ("HSC", "HST")])
def test_space_and_ground_keep_their_flux(camera: str, other: str, kernel: Kernel) -> None:
    pixels, projection = read_pair(camera)
    target_pixels, target = read_pair(other)
    source = make_source(pixels, projection)
    grid = TargetGrid(target, Box.from_shape(target_pixels.shape))
    found = resample(source, grid, kernel=kernel, flux_convention=FluxConvention.FLUX)
    # From 0.03 to 0.168 arcsec the kernel must be stretched.
    assert found.is_stretched == (camera == "HST")
    values = found.masked_image.image.array.astype(float)
    own = TargetGrid(projection, source.bbox)
    middle = own.center
    for sigma in (0.5, 0.7):
        before = sum_weighed(pixels, own, middle, sigma)
        after = sum_weighed(values, grid, middle, sigma)
        assert after == pytest.approx(before, rel=2e-3)
    # All of the light that has come across: the same pixels by their areas.
    covered = np.isfinite(values)
    assert covered.mean() > 0.4
    kept = resample(source, grid, kernel=kernel, flux_convention=KEEP).masked_image.image.array
    ratio = (grid.pixel_scale / own.pixel_scale) ** 2
    np.testing.assert_allclose(values[covered], kept[covered] * ratio, rtol=1e-4)


def test_arrays_of_reproject() -> None:
    folder = testdata("D_reproject_refs")
    with fits.open(folder / "tests/data/galactic_2d.fits") as hdus:
        pixels, wcs = np.asarray(hdus[0].data, np.float64), WCS(hdus[0].header)
    name = "interpolation/tests/reference/test_reproject_celestial_2d_gal2equ.fits"
    with fits.open(folder / name) as hdus:
        expected, target = np.asarray(hdus[0].data), WCS(hdus[0].header)
    box = Box.from_shape(pixels.shape)
    source = make_source(pixels, to_icrs(wcs, bbox=box))
    grid = TargetGrid(to_icrs(target, bbox=box), Box.from_shape(expected.shape))
    found = resample(source, grid, kernel=Kernel.BILINEAR, flux_convention=KEEP).masked_image.image.array
    both = np.isfinite(found) & np.isfinite(expected)
    # They fill half a pixel beyond the last centres, we do not.
    assert both.sum() > 0.9 * np.isfinite(expected).sum()
    np.testing.assert_allclose(found[both], expected[both], rtol=3e-4)
