"""Errors measured on empty sky, and the pixels behind fluxes."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.testing import assert_allclose
from scipy import ndimage
from tests.support.scenes import make_sky_projection

from lsst.dax.image.errors import NoCoverageError, RequestError
from lsst.dax.image.forced import (
    ForcedOptions,
    find_empty_positions,
    make_residual_stamps,
    measure,
    measure_error_scale,
    scale_errors,
)

BOX = Box.factory[100:600, 1000:1600]
PLAIN = ForcedOptions(aperture_correction=None)
PSF = GaussianPointSpreadFunction(1.7, bounds=BOX, stamp_size=25)
SCHEMA = MaskSchema([MaskPlane("DETECTED", ""), MaskPlane("NO_DATA", "")])


def make_sky(noise: np.ndarray, variance: float, detected: np.ndarray | None = None) -> MaskedImage:
    mask = Mask(0, schema=SCHEMA, bbox=BOX)
    if detected is not None:
        mask.set("DETECTED", detected)
    return MaskedImage(
        Image(noise.astype(np.float32), bbox=BOX, unit=u.nJy),
        mask=mask,
        variance=Image(np.full(tuple(BOX.shape), variance, np.float32), bbox=BOX, unit=u.nJy**2),
        sky_projection=make_sky_projection(bbox=BOX),
    )


def test_white_noise_has_the_scale_one() -> None:
    rng = np.random.default_rng(3)
    image = make_sky(rng.normal(0, 4.0, tuple(BOX.shape)), 16.0)
    found = measure_error_scale(image, n=3000, seed=1, psf=PSF, options=PLAIN)
    assert abs(found.scale - 1.0) < 0.06
    assert_allclose(found.scale_err, 1.166 * found.scale / np.sqrt(3000), rtol=1e-12)
    assert abs(found.mean) < 0.08


def test_correlated_noise_is_found_out() -> None:
    # Noise through a kernel k: the variance plane sees sum(k**2), a flux sees the PSF through k.
    rng = np.random.default_rng(4)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1.0, tuple(BOX.shape)), 1.0, mode="wrap")
    image = make_sky(smooth, 1.0 / (4 * np.pi))
    found = measure_error_scale(image, n=3000, seed=1, psf=PSF, options=PLAIN)
    # For Gaussians: (sigma_k**2 + sigma**2 in the filter) against white noise of the same variance.
    expected = np.sqrt(4 * np.pi) * 1.7 / np.sqrt(1.7**2 + 1.0)
    assert_allclose(found.scale, expected, rtol=0.06)


def test_empty_positions_keep_away_from_sources_and_edges() -> None:
    detected = np.zeros(tuple(BOX.shape), bool)
    detected[100:400, 200:500] = True
    image = make_sky(np.zeros(tuple(BOX.shape)), 1.0, detected)
    x, y = find_empty_positions(image, 4000, seed=9, margin_px=15)
    assert x.min() > 1000 + 14.4
    assert y.max() < 600 - 15.4
    inside = (abs(x - 1349.5) < 150 + 14.5) & (abs(y - 349.5) < 150 + 14.5)
    assert not inside.any()
    again, _ = find_empty_positions(image, 4000, seed=9, margin_px=15)
    assert (x == again).all()
    assert len(np.unique(np.round(x) * 10_000 + np.round(y))) == 4000


def test_a_full_image_has_no_empty_position() -> None:
    image = make_sky(np.zeros(tuple(BOX.shape)), 1.0, np.ones(tuple(BOX.shape), bool))
    with pytest.raises(NoCoverageError, match=r"No pixel of .* is 15 pixels away"):
        find_empty_positions(image, 10, seed=1)
    with pytest.raises(RequestError, match="0 positions"):
        find_empty_positions(image, 0, seed=1)


def test_scaled_errors_say_so_and_are_not_scaled_twice() -> None:
    image = make_sky(np.random.default_rng(1).normal(0, 1, tuple(BOX.shape)), 1.0)
    positions = image.sky_projection.pixel_to_sky(x=np.array([1200.0, 1300.0]), y=np.array([300.0, 310.0]))
    table = measure(image, positions, psf=PSF, options=PLAIN)
    scaled = scale_errors(table, 2.0)
    assert_allclose(scaled["flux_err"], 2 * table["flux_err"])
    assert_allclose(scaled["snr"], table["snr"] / 2)
    assert_allclose((table["depth"] - scaled["depth"]).value, 2.5 * np.log10(2.0))
    assert (scaled["flux"] == table["flux"]).all()
    with pytest.raises(RequestError, match="scaled before"):
        scale_errors(scaled, 2.0)
    with pytest.raises(RequestError, match="smallest is -1"):
        scale_errors(table, -1.0)


def test_nothing_but_noise_remains_of_a_star() -> None:
    rng = np.random.default_rng(6)
    pixels = rng.normal(5.0, 2.0, tuple(BOX.shape))
    stamp = PSF.compute_stellar_image(x=1300.3, y=350.4)
    pixels[stamp.bbox.slice_within(BOX)] += 3e4 * stamp.array
    image = make_sky(pixels - 5.0, 4.0)
    positions = image.sky_projection.pixel_to_sky(x=np.array([1300.3, 1001.0]), y=np.array([350.4, 101.0]))
    table = measure(image, positions, psf=PSF, options=PLAIN)
    star, corner = make_residual_stamps(image, table, psf=PSF, size=21)
    assert star.data.shape == star.model.shape == (21, 21)
    assert_allclose(star.model.sum(), 3e4, rtol=0.01)
    assert 0.85 < np.std(star.residual / star.sigma) < 1.15
    assert star.data.max() > 500.0
    assert star.label.endswith("nJy")
    # Off the image there are no data, but there is a model.
    assert np.isnan(corner.data[:9, :]).all()
    assert np.isfinite(corner.model).all()
    with pytest.raises(RequestError, match="odd number of pixels, not 20"):
        list(make_residual_stamps(image, table, psf=PSF, size=20))
    with pytest.raises(RequestError, match=r"no columns .'calibration'"):
        list(make_residual_stamps(image, table["id", "x", "y", "flux", "flux_err", "background"], psf=PSF))
