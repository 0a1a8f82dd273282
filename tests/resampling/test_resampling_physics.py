"""Four pixels turned, right ascension 0, and SWarp on the same files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.images import Box
from tests.support.resampling import make_source, make_tan

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample

KEEP = FluxConvention.SURFACE_BRIGHTNESS


@pytest.mark.parametrize("kernel", Kernel)
def test_four_pixels_turned_by_90_degrees(kernel: Kernel) -> None:
    # Position angle from north through east: what was up is left.
    pixels = np.array([[1.0, 2.0], [3.0, 4.0]])
    source = make_source(pixels, make_tan(x=0.5, y=0.5), variance=10.0 * pixels)
    grid = TargetGrid(make_tan(x=0.5, y=0.5, rotation=90.0), Box.from_shape((2, 2)))
    found = resample(source, grid, kernel=kernel).masked_image
    turned = [np.rot90(pixels), np.rot90(pixels, 3)]
    assert any(np.array_equal(found.image.array, other) for other in turned)
    np.testing.assert_array_equal(found.variance.array, 10.0 * found.image.array)
    # A corner keeps its place on the sky.
    there = grid.sky_projection.sky_to_pixel(source.sky_projection.pixel_to_sky(x=1.0, y=1.0))
    assert found.image.array[round(float(there.y)), round(float(there.x))] == 4.0
    assert not found.mask.get("NO_DATA").any()


@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_right_ascension_zero_is_like_any_other(scale: float) -> None:
    pixels = np.random.default_rng(6).normal(10, 1, (150, 150))
    planes = []
    for ra in (0.0, 150.0):
        source = make_source(pixels, make_tan(ra=ra, x=75.0, y=75.0))
        grid = TargetGrid(make_tan(ra=ra, rotation=40.0, scale=scale, x=0.3), Box.factory[-60:60, -60:60])
        planes.append(resample(source, grid, tolerance_px=1e-6))
    assert np.isfinite(planes[0].masked_image.image.array).sum() > 2000
    np.testing.assert_array_equal(planes[0].coverage.array, planes[1].coverage.array)
    np.testing.assert_allclose(
        planes[0].masked_image.image.array, planes[1].masked_image.image.array, rtol=1e-5
    )


def test_swarp_on_the_same_files(tmp_path: Path) -> None:
    command = shutil.which("SWarp") or shutil.which("swarp")
    if command is None:
        pytest.skip("SWarp is not installed.")
    rng = np.random.default_rng(7)
    y, x = np.indices((200, 220))
    pixels = np.full(y.shape, 50.0)
    for x0, y0 in rng.uniform(20, 180, (40, 2)):
        pixels += 1000 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.5**2)
    source = make_source(pixels, make_tan(x=110.0, y=100.0))
    grid = TargetGrid(make_tan(x=100.0, y=100.0, rotation=25.0, scale=0.19), Box.from_shape((200, 200)))
    headers = []
    for projection, box in ((source.sky_projection, source.bbox), (grid.sky_projection, grid.bbox)):
        wcs = projection.as_fits_wcs(box)
        # Alone what SWarp knows: it takes repeated poles for distortion.
        header = fits.Header([("NAXIS1", box.x.size), ("NAXIS2", box.y.size), ("EQUINOX", 2000.0)])
        for i in (1, 2):
            header[f"CTYPE{i}"], header[f"CRVAL{i}"] = wcs.wcs.ctype[i - 1], wcs.wcs.crval[i - 1]
            header[f"CRPIX{i}"] = wcs.wcs.crpix[i - 1]
            for j in (1, 2):
                header[f"CD{i}_{j}"] = wcs.pixel_scale_matrix[i - 1, j - 1]
        headers.append(header)
    fits.writeto(tmp_path / "source.fits", source.image.array, headers[0])
    text = headers[1].tostring(sep="\n", endcard=True, padding=False)
    (tmp_path / "coadd.head").write_text(text + "\n")
    options = {
        "IMAGEOUT_NAME": "coadd.fits",
        "RESAMPLING_TYPE": "LANCZOS3",
        "COMBINE_TYPE": "AVERAGE",
        "SUBTRACT_BACK": "N",
        "FSCALASTRO_TYPE": "NONE",
        "PROJECTION_ERR": "0",
        "OVERSAMPLING": "1",
        "VERBOSE_TYPE": "QUIET",
        "WRITE_XML": "N",
        "NTHREADS": "1",
    }
    words = [word for key, value in options.items() for word in (f"-{key}", value)]
    subprocess.run(
        [command, "source.fits", "-c", "/dev/null", *words], cwd=tmp_path, check=True, capture_output=True
    )
    peer = fits.getdata(tmp_path / "coadd.fits")
    found = resample(source, grid, flux_convention=KEEP, tolerance_px=1e-6).masked_image.image.array
    both = np.isfinite(found) & (peer != 0.0)
    assert both.mean() > 0.7
    # SWarp takes weights from a table and rounds positions: parts in ten thousand of the brightest.
    np.testing.assert_allclose(found[both], peer[both], atol=1.0)
    assert np.sqrt(np.mean((found[both] - peer[both]) ** 2)) < 0.1
