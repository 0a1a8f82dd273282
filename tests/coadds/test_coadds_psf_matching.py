"""PSF matching: kernels with analytic answers, fluxes, noise, holes."""

from __future__ import annotations

import dataclasses
import uuid

import numpy as np
import pytest
from lsst.images import Box
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.signal import convolve2d

from lsst.dax.image.coadds import (
    InputKey,
    PsfMatching,
    PsfTarget,
    Warp,
    convolve_noise_correlation,
    convolve_warp,
    find_matching_problem,
    find_sum_variance_factor,
    make_matching_kernel,
    make_target_psf,
    match_psf,
    measure_psf_shapes,
)
from lsst.dax.image.errors import MissingPsfError, RequestError

PLANES = ("BAD", "NO_DATA", "SATURATED")
RULES = PsfMatching(target=PsfTarget(fwhm_arcsec=1.2), kernel_px=31)
SIDE = 150


def make_gaussian(
    xx: float, yy: float | None = None, xy: float = 0.0, *, half: int = 20
) -> NDArray[np.float64]:
    yy = xx if yy is None else yy
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    image = np.exp(-0.5 * (yy * x * x - 2.0 * xy * x * y + xx * y * y) / (xx * yy - xy * xy))
    return np.asarray(image / image.sum())


def make_moffat(fwhm: float, beta: float = 3.0, e1: float = 0.0) -> NDArray[np.float64]:
    y, x = np.mgrid[-20:21, -20:21]
    alpha2 = (fwhm / 2.0) ** 2 / (2.0 ** (1.0 / beta) - 1.0)
    image = (1.0 + ((1.0 - e1) * x * x + (1.0 + e1) * y * y) / alpha2) ** -beta
    return np.asarray(image / image.sum())


def make_warp(
    image: NDArray[np.floating],
    psf: NDArray[np.float64] | None,
    *,
    variance: NDArray[np.floating] | float = 1.0,
    mask: NDArray[np.uint32] | None = None,
) -> Warp:
    shape = image.shape
    return Warp(
        key=InputKey("Cam", 1, 2, uuid.UUID(int=3)),
        bbox=Box.factory[100 : 100 + shape[0], -20 : -20 + shape[1]],
        image=image.astype(np.float32),
        variance=np.broadcast_to(np.asarray(variance, np.float32), shape).copy(),
        mask=np.zeros(shape, np.uint32) if mask is None else mask,
        planes=PLANES,
        weight=1.0,
        psf=psf,
    )


@pytest.mark.parametrize(
    ("own", "wanted"), [((2.5, 2.5, 0.0), (6.0, 6.0, 0.0)), ((2.0, 3.0, 0.5), (5.0, 5.0, 0.0))]
)
def test_kernel_between_gaussians_is_the_difference_of_moments(
    own: tuple[float, float, float], wanted: tuple[float, float, float]
) -> None:
    psf, target = make_gaussian(*own), make_gaussian(*wanted)
    found = make_matching_kernel(psf, target, rules=PsfMatching(kernel_px=31, regularisation=1e-8))
    expected = make_gaussian(*(w - o for w, o in zip(wanted, own, strict=True)), half=15)
    np.testing.assert_allclose(found.kernel, expected, atol=3e-3 * expected.max())
    assert found.kernel.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.residual < 1e-3
    assert found.amplification == pytest.approx(1.0, abs=1e-3)
    assert found.noise_factor == pytest.approx((expected**2).sum(), rel=1e-2)
    # With more care for frequencies without power the kernel rings a little.
    careful = make_matching_kernel(psf, target, rules=RULES)
    np.testing.assert_allclose(careful.kernel, expected, atol=3e-2 * expected.max())
    assert careful.residual < 1e-3


@pytest.mark.parametrize("kind", ["gaussian", "moffat"])
@pytest.mark.parametrize(
    "psf", [make_gaussian(2.5), make_gaussian(3.0, 2.2, 0.4), make_moffat(3.4), make_moffat(3.8, 2.8, 0.1)]
)
def test_moments_become_those_of_the_target(kind: str, psf: NDArray[np.float64]) -> None:
    target = make_target_psf(PsfTarget(kind=kind, fwhm_arcsec=1.1), pixel_scale_arcsec=0.2, size_px=41)
    rules = PsfMatching(kernel_px=41)
    found = make_matching_kernel(psf, target, rules=rules)
    after, wanted = measure_psf_shapes(found.psf[None]), measure_psf_shapes(target[None])
    assert after.xx[0] == pytest.approx(wanted.xx[0], rel=1e-3)
    assert after.yy[0] == pytest.approx(wanted.yy[0], rel=1e-3)
    assert after.xy[0] == pytest.approx(0.0, abs=1e-3 * wanted.xx[0])
    # What is said to come out is what a convolution gives.
    direct = convolve2d(psf, found.kernel)[20:-20, 20:-20]
    np.testing.assert_allclose(found.psf, direct / direct.sum(), atol=1e-12)


def test_targets_have_their_width() -> None:
    for kind in ("gaussian", "moffat"):
        target = PsfTarget(kind=kind, fwhm_arcsec=1.2, beta=2.5)
        image = make_target_psf(target, pixel_scale_arcsec=0.2, size_px=61)
        assert image.sum() == pytest.approx(1.0)
        # Three pixels from the middle is half of the full width.
        assert image[30, 33] / image[30, 30] == pytest.approx(0.5, rel=1e-12)
    with pytest.raises(RequestError, match="positive number, not 0"):
        make_target_psf(target, pixel_scale_arcsec=0.0, size_px=61)
    with pytest.raises(RequestError, match="60 pixels a side"):
        make_target_psf(target, pixel_scale_arcsec=0.2, size_px=60)


def test_a_sharper_target_is_refused() -> None:
    wide, sharp = make_moffat(5.0), make_moffat(3.5)
    with pytest.raises(RequestError, match=r"of 5\.\d\d pixels cannot be brought to one of 3\.\d\d pixels"):
        make_matching_kernel(wide, sharp, rules=RULES)
    reason = find_matching_problem(wide, sharp, rules=RULES)
    assert reason is not None
    assert "at most 1.5 is accepted" in reason
    assert find_matching_problem(sharp, wide, rules=RULES) is None
    # Wide along one axis alone is too wide.
    assert find_matching_problem(make_gaussian(6.0, 2.0), make_gaussian(4.0), rules=RULES) is not None
    with pytest.raises(RequestError, match="cannot be brought"):
        match_psf(make_warp(np.zeros((60, 60)), wide), sharp, rules=RULES)


def test_fluxes_of_stars_are_kept_and_their_images_are_the_target() -> None:
    psf, target = make_moffat(3.5, 3.5), make_gaussian(7.0)
    image = np.zeros((SIDE, SIDE))
    image[30:71, 40:81] += 5e4 * psf
    warp = make_warp(image, psf)
    matched = match_psf(warp, target, rules=PsfMatching(kernel_px=41))
    stamp = matched.image[30:71, 40:81].astype(float)
    assert stamp.sum() == pytest.approx(5e4, rel=1e-4)
    assert matched.psf is not None
    np.testing.assert_allclose(stamp, 5e4 * matched.psf, atol=5.0)
    shape, wanted = measure_psf_shapes(stamp[None]), measure_psf_shapes(target[None])
    assert shape.xx[0] == pytest.approx(wanted.xx[0], rel=1e-3)
    # Nothing else changed, and neither did the input.
    assert (matched.key, matched.bbox, matched.weight) == (warp.key, warp.bbox, warp.weight)
    np.testing.assert_array_equal(warp.image, image.astype(np.float32))


def test_variance_of_white_noise_is_predicted() -> None:
    rng = np.random.default_rng(8)
    sigma = np.where(np.arange(800) < 400, 2.0, 5.0)
    warp = make_warp(rng.normal(size=(800, 800)) * sigma, make_gaussian(2.5), variance=sigma**2)
    matched = match_psf(warp, make_gaussian(5.0), rules=RULES)
    for columns in (slice(40, 360), slice(440, 760)):
        part = np.s_[40:760, columns]
        assert matched.image[part].var() == pytest.approx(matched.variance[part].mean(), rel=0.03)


def test_variance_of_correlated_noise_is_predicted() -> None:
    rng = np.random.default_rng(9)
    smooth = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    white = np.zeros((3, 3))
    white[1, 1] = 1.0
    correlation = convolve_noise_correlation(white, smooth)
    noise = convolve2d(rng.normal(size=(802, 802)), smooth, mode="valid")
    warp = make_warp(noise, make_gaussian(2.5), variance=np.sum(smooth**2))
    matched = match_psf(warp, make_gaussian(5.0), rules=RULES, noise_correlation=correlation)
    inner = np.s_[40:-40, 40:-40]
    assert matched.image[inner].var() == pytest.approx(matched.variance[inner].mean(), rel=0.03)
    naive = match_psf(warp, make_gaussian(5.0), rules=RULES)
    assert matched.image[inner].var() > 2.0 * naive.variance[inner].mean()
    # And so is that of sums of the result.
    kernel = make_matching_kernel(make_gaussian(2.5), make_gaussian(5.0), rules=RULES).kernel
    after = convolve_noise_correlation(correlation, kernel)
    sums = matched.image[40:760, 40:760].reshape(144, 5, 144, 5).sum(axis=(1, 3))
    expected = 25 * matched.variance[inner].mean() * find_sum_variance_factor(after, np.ones((5, 5)))
    assert sums.var() == pytest.approx(expected, rel=0.04)


def test_holes_and_masks_grow_by_the_kernel() -> None:
    image, mask = np.ones((SIDE, SIDE)), np.zeros((SIDE, SIDE), np.uint32)
    image[70, 80] = np.nan
    mask[70, 80] = 0b010
    mask[50:53, 60:64] |= 0b001
    mask[100, 30] |= 0b101
    variance = np.ones((SIDE, SIDE))
    variance[110, 110] = np.nan
    warp = make_warp(image, make_gaussian(2.5, 2.0, 0.3), variance=variance, mask=mask)
    target = make_gaussian(6.0)
    matched = match_psf(warp, target, rules=RULES)
    kernel = make_matching_kernel(make_gaussian(2.5, 2.0, 0.3), target, rules=RULES).kernel
    support = np.abs(kernel) > 5e-3 * kernel.max()
    hole = np.zeros((SIDE, SIDE), np.bool_)
    hole[70, 80] = hole[110, 110] = True
    expected = np.pad(hole, 15, constant_values=True)
    expected = binary_dilation(expected, support)[15:-15, 15:-15]
    np.testing.assert_array_equal(np.isnan(matched.image), expected)
    np.testing.assert_array_equal(np.isnan(matched.variance), expected)
    np.testing.assert_array_equal((matched.mask & 0b010) != 0, expected)
    for bit in (0b001, 0b100):
        np.testing.assert_array_equal((matched.mask & bit) != 0, binary_dilation((mask & bit) != 0, support))
    # What is left out beyond the support is next to nothing.
    assert np.nanmax(np.abs(matched.image - 1.0)) < 1e-3


def test_values_are_those_of_a_direct_convolution() -> None:
    rng = np.random.default_rng(4)
    psf, target = make_moffat(3.5, 3.0, 0.1), make_moffat(5.0)
    warp = make_warp(rng.normal(size=(90, 70)) * 100.0, psf, variance=rng.uniform(1.0, 2.0, (90, 70)))
    matched = match_psf(warp, target, rules=RULES)
    kernel = make_matching_kernel(psf, target, rules=RULES).kernel
    good = np.isfinite(matched.image)
    assert good.any()
    for name, weights in (("image", kernel), ("variance", kernel**2)):
        direct = convolve2d(getattr(warp, name).astype(float), weights, mode="same")
        np.testing.assert_allclose(getattr(matched, name)[good], direct[good], rtol=1e-5, atol=1e-4)
    again = match_psf(dataclasses.replace(warp), target, rules=RULES)
    assert matched.image.tobytes() == again.image.tobytes()


def test_an_input_without_a_psf_is_refused() -> None:
    with pytest.raises(MissingPsfError, match=r"visit=1, detector=2.*has no PSF"):
        match_psf(make_warp(np.zeros((50, 50)), None), make_gaussian(4.0), rules=RULES)


def test_a_given_kernel_is_applied_as_it_is() -> None:
    kernel = 0.9 * make_gaussian(3.0, 2.0, 0.4, half=8)
    image = np.zeros((60, 80))
    image[30, 40] = 1000.0
    psf = make_gaussian(2.5)
    convolved = convolve_warp(make_warp(image, psf), kernel)
    np.testing.assert_allclose(convolved.image[22:39, 32:49], 1000.0 * kernel, atol=1e-4)
    assert convolved.psf is not None
    assert convolved.psf.sum() == pytest.approx(1.0)
    shapes = measure_psf_shapes(convolved.psf[None])
    assert (shapes.xx[0], shapes.yy[0], shapes.xy[0]) == pytest.approx((5.5, 4.5, 0.4), rel=1e-3)
    assert convolve_warp(make_warp(image, None), kernel).psf is None
    for wrong in (np.ones((3, 5)), np.ones((4, 4)), np.ones((61, 61))):
        with pytest.raises(RequestError, match=r"A kernel of .* for an input of \(60, 80\)"):
            convolve_warp(make_warp(image, None), wrong)
    with pytest.raises(RequestError, match="1 values of a kernel are not finite"):
        convolve_warp(make_warp(image, None), np.where(kernel == kernel.max(), np.nan, kernel))
