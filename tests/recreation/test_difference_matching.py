"""The fit of a matching kernel against kernels that are known."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from lsst.dax.image.errors import RequestError
from lsst.dax.image.recreation import KernelModel, convolve, find_stamp_positions, fit_matching_kernel

BOX = Box.factory[100:500, -50:350]
WIDE = BOX.dilated_by(20)
SCHEMA = MaskSchema([MaskPlane("SATURATED", "")])
NOISE = 1.0


def gauss(width: float, *, half: int = 10) -> np.ndarray:
    line = np.arange(-half, half + 1)
    picture = np.exp(-0.5 * (line / width) ** 2) * np.exp(-0.5 * (line / width) ** 2)[:, None]
    return picture / picture.sum()


def make_image(bbox: Box, pixels: np.ndarray, variance: float) -> MaskedImage:
    return MaskedImage(
        Image(pixels.astype(np.float32), bbox=bbox, unit=u.nJy),
        mask=Mask(0, schema=SCHEMA, bbox=bbox),
        variance=Image(np.full(tuple(bbox.shape), variance, np.float32), bbox=bbox, unit=u.nJy**2),
    )


def make_sky(*, seed: int = 1) -> tuple[MaskedImage, np.ndarray, np.ndarray]:
    """Return a template of sharp stars on a jittered grid, and where they are."""
    rng = np.random.default_rng(seed)
    x, y = (grid.ravel() + rng.uniform(-6, 6, 64) for grid in np.meshgrid(*(np.arange(8) * 48 + 32.0,) * 2))
    x, y = x + BOX.x.start, y + BOX.y.start
    flux = rng.uniform(5e3, 2e4, 64)
    grid = WIDE.meshgrid()
    pixels = np.zeros(tuple(WIDE.shape))
    for px, py, f in zip(x, y, flux, strict=True):
        pixels += f / (2 * np.pi * 1.44) * np.exp(-((grid.x - px) ** 2 + (grid.y - py) ** 2) / 2.88)
    return make_image(WIDE, pixels + rng.normal(0, 0.1, pixels.shape), 0.01), x, y


def make_kernel(*, total: float = 1.0) -> ImageBasisConvolutionKernel:
    """Return a kernel that becomes wider along x and moves along y."""
    shift = np.roll(gauss(1.8), 1, axis=1) - gauss(1.8)
    basis = np.stack([total * gauss(1.4), gauss(1.9) - gauss(1.4), shift])
    one, slope_x, slope_y = np.ones((1, 1)), np.array([[0.5, 0.4]]), np.array([[0.0], [0.3]])
    return ImageBasisConvolutionKernel(basis, [ChebyshevField(BOX, c) for c in (one, slope_x, slope_y)])


def make_science(template: MaskedImage, kernel: ImageBasisConvolutionKernel, *, seed: int = 2) -> MaskedImage:
    noise = np.random.default_rng(seed).normal(0, NOISE, tuple(BOX.shape))
    return make_image(BOX, convolve(template, kernel, bbox=BOX).image.array + noise, NOISE**2)


def test_known_kernel_is_found_again() -> None:
    template, x, y = make_sky()
    truth = make_kernel()
    science = make_science(template, truth)
    science.image.array[...] += 3.0
    fit = fit_matching_kernel(science, template, x=x, y=y)
    assert fit.used.sum() >= 45
    assert fit.background is not None
    assert fit.background.coefficients[0, 0] == pytest.approx(3.0, abs=0.05)
    assert np.median(fit.chi_squared[fit.used]) == pytest.approx(1.0, abs=0.1)
    without = make_image(BOX, science.image.array - 3.0, NOISE**2)
    residual = without.image.array - convolve(template, fit.kernel, bbox=BOX).image.array
    assert np.std(residual) == pytest.approx(NOISE, rel=0.02)
    # Nothing of the stars is left: their brightest pixels are above a thousand.
    assert np.max(np.abs(residual)) < 7.0
    for px, py in ((-20, 130), (150, 300), (320, 470)):
        found = fit.kernel.compute_kernel_image(x=px, y=py).array
        assert found.sum() == pytest.approx(1.0, abs=2e-3)
        # What is finer than the template's stars changes no pixel, and is not determined.
        wanted = truth.compute_kernel_image(x=px, y=py).array
        one, two = (gaussian_filter(picture, 1.2, mode="constant") for picture in (found, wanted))
        assert_allclose(one, two, atol=1e-3)


def test_sum_is_the_ratio_of_the_scales_and_constant() -> None:
    template, x, y = make_sky()
    science = make_science(template, make_kernel(total=0.8))
    kernel = fit_matching_kernel(science, template, x=x, y=y, bounds=BOX).kernel
    sums = [kernel.compute_kernel_image(x=px, y=py).array.sum() for px, py in ((-50, 100), (349, 499))]
    assert sums[0] == pytest.approx(0.8, abs=2e-3)
    assert sums[1] == pytest.approx(sums[0], abs=1e-9)


def test_stars_that_vary_are_left_out() -> None:
    template, x, y = make_sky()
    science = make_science(template, make_kernel())
    grid = BOX.meshgrid()
    for index in (3, 30):
        star = np.exp(-((grid.x - x[index]) ** 2 + (grid.y - y[index]) ** 2) / 8.0)
        science.image.array[...] += 2000.0 * star
    fit = fit_matching_kernel(science, template, x=x, y=y)
    assert not fit.used[[3, 30]].any()
    assert fit.chi_squared[3] > 100
    assert fit.kernel.compute_kernel_image(x=150, y=300).array.sum() == pytest.approx(1.0, abs=2e-3)


def test_bad_pixels_do_not_count() -> None:
    template, x, y = make_sky()
    science = make_science(template, make_kernel())
    before = fit_matching_kernel(science, template, x=x, y=y)
    place = round(y[12]) - BOX.y.start + 8, round(x[12]) - BOX.x.start
    science.image.array[place] = 1e7
    where = np.zeros(tuple(BOX.shape), bool)
    where[place] = True
    science.mask.set("SATURATED", where)
    template.image.array[round(y[5]) - WIDE.y.start, round(x[5]) - WIDE.x.start] = np.nan
    after = fit_matching_kernel(science, template, x=x, y=y)
    assert after.used[12] == before.used[12]
    assert not after.used[5]
    assert np.isnan(after.chi_squared[5])
    for px, py in ((0, 150), (300, 450)):
        one, two = (fit.kernel.compute_kernel_image(x=px, y=py).array for fit in (before, after))
        assert_allclose(one, two, atol=1e-3)


def test_peaks_are_found_and_isolated() -> None:
    template, x, y = make_sky()
    where = np.zeros(tuple(WIDE.shape), bool)
    where[round(y[7]) - WIDE.y.start + 3, round(x[7]) - WIDE.x.start] = True
    template.mask.set("SATURATED", where)
    px, py = find_stamp_positions(template)
    # Within a pixel of the truth, except for the one beside a saturated pixel.
    distance = np.hypot(px[:, None] - x, py[:, None] - y)
    assert len(px) == 63
    assert distance.min(axis=1).max() < 0.75
    assert 7 not in distance.argmin(axis=1)
    values = template.image.array[py - WIDE.y.start, px - WIDE.x.start]
    assert (np.diff(values) <= 0).all()
    assert len(find_stamp_positions(template, max_count=5)[0]) == 5
    assert len(find_stamp_positions(template, isolation_px=60)[0]) < 30


def test_model_follows_the_widths() -> None:
    narrow = KernelModel.for_psfs(science_fwhm_px=3.1, template_fwhm_px=3.0)
    assert narrow.size == 21
    assert_allclose(narrow.widths_px, (0.7, 1.5, 3.0))
    wide = KernelModel.for_psfs(science_fwhm_px=9.0, template_fwhm_px=3.0)
    # sqrt(81 - 9) / 2.3548 = 3.603
    assert wide.widths_px[1] == pytest.approx(3.603, abs=1e-3)
    assert wide.size == 51
    with pytest.raises(RequestError, match="5 pixels FWHM cannot be matched to a science image of 4"):
        KernelModel.for_psfs(science_fwhm_px=4.0, template_fwhm_px=5.0)
    with pytest.raises(ValueError, match="need as many degrees"):
        KernelModel(widths_px=(1.0,))
    with pytest.raises(ValueError, match="must be odd, not 20 and 31"):
        KernelModel(size=20)


def test_fits_that_are_not_determined_are_refused() -> None:
    template, x, y = make_sky()
    science = make_science(template, make_kernel())
    with pytest.raises(RequestError, match=r"2 of 2 stars can be used \(0 have bad pixels"):
        fit_matching_kernel(science, template, x=x[:2], y=y[:2])
    # All stars in one place say nothing of the changes over the image.
    same = np.full(20, 27)
    with pytest.raises(RequestError, match=r"20 stars do not determine a kernel of .* condition number"):
        fit_matching_kernel(science, template, x=x[same], y=y[same])
    with pytest.raises(RequestError, match="must be positive, not 0 and 5"):
        find_stamp_positions(template, isolation_px=0, max_count=5)
