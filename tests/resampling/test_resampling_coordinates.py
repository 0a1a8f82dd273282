"""Where target pixels lie in a source: interpolated within a bound, or exact."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from lsst.images import Box, SkyProjection
from tests.support.projections import PROJECTIONS
from tests.support.resampling import FRAME, evaluate_positions, make_sip_projection, make_source, make_tan
from tests.support.resampling_oracle import exact_positions

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import (
    FluxConvention,
    Kernel,
    MissingRule,
    SourceCoordinates,
    find_local_maps,
    find_source_coordinates,
    resample,
)


def check(projection: SkyProjection[Any], bbox: Box, grid: TargetGrid, tolerance: float) -> SourceCoordinates:
    """Check all positions against exact ones."""
    found = find_source_coordinates(projection, bbox, grid, tolerance_px=tolerance)
    positions, _ = evaluate_positions(found, tuple(grid.shape))
    positions -= np.array([bbox.x.start, bbox.y.start])[:, None, None]
    x, y = exact_positions(
        make_source(np.zeros(tuple(bbox.shape)), projection, x0=bbox.x.start, y0=bbox.y.start), grid
    )
    near = (x > -0.5) & (y > -0.5) & (x < bbox.x.size - 0.5) & (y < bbox.y.size - 0.5)
    assert near.sum() > 1000
    error = np.hypot(positions[0] - x, positions[1] - y)[near]
    # Cell middles are where cubics are worst: elsewhere little more is lost.
    assert error.max() <= 1.3 * tolerance
    assert found.max_error_px <= tolerance
    return found


@pytest.mark.parametrize("name", PROJECTIONS)
def test_positions_through_every_projection(name: str) -> None:
    projection = PROJECTIONS[name]()
    bbox = Box.factory[30:130, 1000:1160]
    center = projection.pixel_to_sky(x=bbox.x.center, y=bbox.y.center)
    grid = TargetGrid.from_center(center, pixel_scale=0.2 * u.arcsec, shape=(140, 150), rotation=20 * u.deg)
    if "ecliptic" in name or "galactic" in name:
        grid = TargetGrid.from_center(
            center, pixel_scale=0.21 * u.arcsec, shape=(140, 150), rotation=20 * u.deg
        )
    check(projection, bbox, grid, 1e-3)


def make_loose_projection(
    off: float, *, ra: float = 150.0, dec: float = 2.0, x: float = 150.0, y: float = 150.0
) -> SkyProjection[Any]:
    """Return a TAN-SIP projection around (x, y) whose inverse polynomials are off by up to a pixel."""
    header = WCS(naxis=2).to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"], header["CRPIX2"] = x + 1.0, y + 1.0
    header["CDELT1"], header["CDELT2"] = -0.2 / 3600.0, 0.2 / 3600.0
    for name in ("A", "B", "AP", "BP"):
        header[f"{name}_ORDER"] = 2
    for name, bend in (("A_2_0", 2.0), ("B_1_1", -1.5)):
        header[name] = bend / 150.0**2
        header[name.replace("_", "P_", 1)] = (off - bend) / 150.0**2
    return SkyProjection.from_fits_wcs(WCS(header), FRAME)


@pytest.mark.parametrize(("off", "miss"), [(0.0, 0.03), (0.01, 0.03), (0.5, 0.4)])
def test_pixel_to_sky_is_what_counts(off: float, miss: float) -> None:
    projection = make_loose_projection(off)
    grid = TargetGrid(make_tan(rotation=25.0), Box.factory[-100:100, -100:100])
    found = find_source_coordinates(projection, Box.factory[0:301, 0:301], grid, tolerance_px=1e-7)
    positions, _ = evaluate_positions(found, tuple(grid.shape))
    mesh = grid.bbox.meshgrid()
    sky = grid.sky_projection.pixel_to_sky(x=mesh.x.astype(float), y=mesh.y.astype(float))
    own = projection.sky_to_pixel(sky)
    assert np.hypot(own.x - positions[0], own.y - positions[1]).max() > miss
    there = projection.pixel_to_sky(x=positions[0], y=positions[1])
    assert there.separation(sky).arcsec.max() < 1e-7 * 0.2 * 1.5
    # The same pixel of the sky for one position, and for many.
    maps = find_local_maps(projection, grid.sky_projection, x=mesh.x.ravel(), y=mesh.y.ravel())
    np.testing.assert_allclose(maps.positions.T.reshape(positions.shape), positions, atol=2e-7)
    one = find_local_maps(projection, grid.sky_projection, x=np.array([7.0]), y=np.array([-31.0]))
    assert one.positions.tobytes() == maps.positions[69 * 200 + 107].tobytes()


@pytest.mark.parametrize("ra", [0.0, 150.0])
@pytest.mark.parametrize("dec", [2.0, 90.0])
def test_inverse_of_a_part_has_the_bits_of_the_whole(ra: float, dec: float) -> None:
    projection = make_loose_projection(0.3, ra=ra, dec=dec)
    tan = make_tan(ra=ra, dec=dec, rotation=25.0)
    x, y = np.meshgrid(np.arange(-150.0, 150.0, 7.3), np.arange(-150.0, 150.0, 7.3))
    whole = find_local_maps(projection, tan, x=x.ravel(), y=y.ravel())
    assert np.isfinite(whole.matrices).all()
    rng = np.random.default_rng(3)
    for size in (1, 2, 3, 5, 8, 13, 700):
        part = rng.choice(x.size, size, replace=False)
        found = find_local_maps(projection, tan, x=x.ravel()[part], y=y.ravel()[part])
        assert found.positions.tobytes() == whole.positions[part].tobytes()
        assert found.matrices.tobytes() == whole.matrices[part].tobytes()


def test_cutout_of_a_file_with_a_loose_inverse_is_a_copy() -> None:
    source = make_source(np.random.default_rng(2).normal(size=(301, 301)), make_loose_projection(0.3))
    cutout = make_loose_projection(0.3, x=150.0 - 40, y=150.0 - 70)
    grid = TargetGrid(cutout, Box.factory[0:100, 0:130])
    found = resample(source, grid)
    assert found.is_exact_copy
    np.testing.assert_array_equal(found.masked_image.image.array, source.image.array[70:170, 40:170])


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_spacing_adapts_to_the_tolerance(tolerance: float) -> None:
    shape = (300, 300)
    projection = make_sip_projection(shape=shape)
    grid = TargetGrid(make_tan(rotation=15.0), Box.factory[-200:190, -180:170])
    found = check(projection, Box.from_shape(shape), grid, tolerance)
    used = set(np.unique(found.spacings).tolist()) - {0}
    assert {1e-2: {64}, 1e-4: {64, 32}}.get(tolerance, used) >= used or max(used) <= 64
    if tolerance == 1e-6:
        assert min(used) < 64


def test_impossible_tolerance_evaluates_every_pixel() -> None:
    shape = (60, 60)
    projection = make_sip_projection(shape=shape)
    grid = TargetGrid(make_tan(), Box.factory[-40:40, -40:40])
    found = find_source_coordinates(projection, Box.from_shape(shape), grid, tolerance_px=1e-15)
    assert set(np.unique(found.spacings)) == {1}
    x, y = exact_positions(make_source(np.zeros(shape), projection), grid)
    positions, _ = evaluate_positions(found, (80, 80))
    np.testing.assert_allclose(positions, [x, y], atol=1e-9)
    smooth = find_source_coordinates(projection, Box.from_shape(shape), grid, tolerance_px=1e-4)
    image = make_source(np.random.default_rng(1).normal(100, 1, shape), projection)
    exact = resample(image, grid, tolerance_px=1e-15).masked_image.image.array
    close = resample(image, grid, tolerance_px=1e-6).masked_image.image.array
    np.testing.assert_allclose(exact, close, rtol=1e-4)
    assert smooth.max_error_px <= 1e-4


def all_sky(scale_deg: float = 0.5) -> tuple[SkyProjection[Any], tuple[int, int]]:
    """Return a plate carree projection of the whole sky whose seam is at RA 180."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    shape = (int(180 / scale_deg), int(360 / scale_deg))
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-scale_deg, scale_deg]
    return SkyProjection.from_fits_wcs(wcs, FRAME), shape


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (180.0, 20.0), (77.0, 90.0), (10.0, -90.0)])
def test_poles_seams_and_horizons(ra: float, dec: float) -> None:
    projection, shape = all_sky()
    sky = projection.pixel_to_sky_transform.apply_forward(
        x=np.arange(shape[1]) + 0.0 * np.arange(shape[0])[:, None],
        y=np.arange(shape[0])[:, None] + 0.0 * np.arange(shape[1]),
    )
    # A function that is smooth on the sphere.
    values = 5.0 + np.sin(sky.y) + np.cos(sky.y) * np.cos(sky.x - 1.0)
    source = make_source(values, projection)
    grid = TargetGrid(make_tan(ra=ra, dec=dec, scale=1500.0), Box.factory[-400:401, -400:401])
    found = resample(
        source,
        grid,
        kernel=Kernel.BILINEAR,
        flux_convention=FluxConvention.SURFACE_BRIGHTNESS,
        missing_rule=MissingRule.RENORMALISE,
    )
    mesh = grid.bbox.meshgrid()
    there = grid.sky_projection.pixel_to_sky_transform.apply_forward(
        x=mesh.x.astype(float), y=mesh.y.astype(float)
    )
    expected = 5.0 + np.sin(there.y) + np.cos(there.y) * np.cos(there.x - 1.0)
    pixels = found.masked_image.image.array
    # Seam and poles are edges of the source, where half a kernel is enough.
    assert np.isfinite(pixels).mean() > 0.99
    good = np.isfinite(pixels)
    np.testing.assert_allclose(pixels[good], expected[good], atol=0.02)


@pytest.mark.parametrize("dec", [90.0, -90.0, 89.999])
def test_stars_at_the_pole(dec: float) -> None:
    y, x = np.indices((101, 101))
    star = np.exp(-0.5 * ((x - 50.0) ** 2 + (y - 50.0) ** 2) / 2.0**2)
    source = make_source(star, make_tan(ra=20.0, dec=dec, x=50.0, y=50.0))
    grid = TargetGrid(make_tan(ra=200.0, dec=np.sign(dec) * 90.0, rotation=33.0), Box.factory[-60:60, -60:60])
    if abs(dec) < 90.0:
        grid = TargetGrid(make_tan(ra=20.0, dec=dec, rotation=33.0), Box.factory[-60:60, -60:60])
    found = np.nan_to_num(resample(source, grid).masked_image.image.array.astype(float))
    assert (found * grid.bbox.meshgrid().x).sum() / found.sum() == pytest.approx(0.0, abs=0.002)
    assert (found * grid.bbox.meshgrid().y).sum() / found.sum() == pytest.approx(0.0, abs=0.002)


def test_what_is_behind_the_projection_is_no_ghost() -> None:
    # Distortion of a small image, seen from a target of the whole sky.
    shape = (100, 100)
    source = make_source(np.ones(shape), make_sip_projection(shape=shape, scale=100.0))
    projection, sky_shape = all_sky()
    found = resample(
        source,
        TargetGrid(projection, Box.from_shape(sky_shape)),
        flux_convention=FluxConvention.SURFACE_BRIGHTNESS,
        kernel=Kernel.BILINEAR,
    )
    rows, columns = np.nonzero(found.coverage.array)
    where = projection.pixel_to_sky(x=columns.astype(float), y=rows.astype(float))
    assert rows.size > 10
    assert np.abs(where.ra.deg - 150.0).max() < 3.0
    assert np.abs(where.dec.deg - 2.0).max() < 3.0
