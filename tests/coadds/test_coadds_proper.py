"""The proper coadd: white noise, unbiased fluxes, the signal-to-noise that theory allows."""

from __future__ import annotations

import dataclasses
import itertools
import uuid

import numpy as np
import pytest
from lsst.images import Box
from numpy.typing import NDArray
from tests.support.resampling import make_source, make_tan

from lsst.dax.image.coadds import InputKey, MaskRules, ProperCoadd, Warp, combine_psfs, make_proper_coadd
from lsst.dax.image.errors import InputDataError, MissingPsfError, RequestError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import resample

PLANES = ("NO_DATA", "BAD", "SATURATED", "CLIPPED", "REJECTED", "INEXACT_PSF", "DETECTED")
SIDE, PADDING, HALF = 150, 40, 17
PADDED = Box.factory[-PADDING : SIDE + PADDING, 1000 - PADDING : 1000 + SIDE + PADDING]
INNER = Box.factory[0:SIDE, 1000 : 1000 + SIDE]
FWHMS, SIGMAS = (3.0, 3.6, 4.4, 5.5, 7.0), (6.0, 5.0, 4.0, 5.0, 3.0)


def bit(name: str) -> int:
    return 1 << PLANES.index(name)


def make_moffat(fwhm: float, *, e1: float = 0.0, x: float = 0.0, y: float = 0.0) -> NDArray[np.float64]:
    rows, columns = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    alpha2 = (fwhm / 2.0) ** 2 / (2.0 ** (1.0 / 3.5) - 1.0)
    r2 = (1.0 - e1) * (columns - x) ** 2 + (1.0 + e1) * (rows - y) ** 2
    image = (1.0 + r2 / alpha2) ** -3.5
    return np.asarray(image / image.sum())


PSFS = [make_moffat(fwhm, e1=0.05 * i - 0.1) for i, fwhm in enumerate(FWHMS)]
VARIANCES = np.square(SIGMAS)


def make_warps(
    seed: int | None,
    stars: list[tuple[int, int, float]] | None = None,
    psfs: list[NDArray[np.float64]] | None = None,
) -> list[Warp]:
    """Return inputs with noise and stars at (row, column) of the inner box."""
    rng = np.random.default_rng(seed)
    shape = tuple(PADDED.shape)
    warps = []
    for i, sigma in enumerate(SIGMAS):
        psf = (psfs or PSFS)[i]
        image = rng.normal(0.0, sigma, shape) if seed is not None else np.zeros(shape)
        for row, column, flux in stars or []:
            y, x = row + PADDING, column + PADDING
            image[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1] += flux * psf
        warps.append(
            Warp(
                key=InputKey("Cam", i, 0, uuid.UUID(int=i)),
                bbox=PADDED,
                image=image.astype(np.float32),
                variance=np.full(shape, sigma**2, np.float32),
                mask=np.zeros(shape, np.uint32),
                planes=PLANES,
                weight=1.0 / sigma**2,
                psf=psf,
            )
        )
    return warps


def make(warps: list[Warp], variances: NDArray[np.float64] = VARIANCES) -> ProperCoadd:
    return make_proper_coadd(warps, noise_variances=variances, inner=INNER, masks=MaskRules())


def test_a_star_is_the_psf_times_its_flux() -> None:
    coadd = make(make_warps(None, [(75, 80, 1000.0)]))
    stamp = coadd.image[75 - HALF : 75 + HALF + 1, 80 - HALF : 80 + HALF + 1].astype(float)
    assert coadd.psf.sum() == pytest.approx(1.0)
    assert stamp.sum() == pytest.approx(1000.0, rel=2e-3)
    np.testing.assert_allclose(stamp, 1000.0 * coadd.psf, atol=3e-3 * 1000.0 * coadd.psf.max())
    flux = np.sum(coadd.psf * stamp) / np.sum(coadd.psf**2)
    assert flux == pytest.approx(1000.0, rel=2e-3)
    assert float(coadd.image.sum()) == pytest.approx(1000.0, rel=1e-3)


def test_noise_is_white_and_of_the_variance_that_is_told() -> None:
    power = np.zeros((SIDE, SIDE))
    n_seeds = 40
    for seed in range(n_seeds):
        coadd = make(make_warps(seed))
        power += np.abs(np.fft.fft2(coadd.image.astype(float))) ** 2 / SIDE**2
    power /= n_seeds * coadd.noise_variance
    assert coadd.noise_variance == pytest.approx(1.0 / np.sum(1.0 / VARIANCES))
    assert power.mean() == pytest.approx(1.0, rel=0.01)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    edges = np.linspace(0.01, 0.7, 9)
    for low, high in itertools.pairwise(edges):
        ring = power[(frequency >= low) & (frequency < high)]
        assert ring.mean() == pytest.approx(1.0, abs=max(0.02, 4.0 / np.sqrt(ring.size / 2 * n_seeds)))
    np.testing.assert_allclose(coadd.variance, coadd.noise_variance, rtol=1e-3)


def test_signal_to_noise_is_what_theory_allows() -> None:
    best = np.sqrt(sum(np.sum(psf**2) / v for psf, v in zip(PSFS, VARIANCES, strict=True)))
    coadd = make(make_warps(None, [(75, 75, 100.0)]))
    assert 1.0 / np.sqrt(coadd.point_source_variance) == pytest.approx(best, rel=1e-3)
    assert coadd.significance[75, 75] == pytest.approx(100.0 * best, rel=1e-3)
    # Measured: fluxes at empty places, and the star's.
    values = []
    for seed in range(100, 110):
        noise = make(make_warps(seed)).significance
        values.append(noise[::12, ::12].ravel())
    assert np.std(values) == pytest.approx(1.0, rel=0.04)
    assert np.mean(values) == pytest.approx(0.0, abs=0.08)


def test_it_beats_the_weighted_mean_where_seeing_differs() -> None:
    # For the mean, the best weights of a point source: inverse variance of its flux.
    weights = np.array([np.sum(psf**2) / v for psf, v in zip(PSFS, VARIANCES, strict=True)])
    coadd = make(make_warps(None))
    for shares in (1.0 / VARIANCES, weights):
        psf = combine_psfs(np.array(PSFS), shares)
        noise = np.sum(shares**2 * VARIANCES) / np.sum(shares) ** 2
        mean_variance = noise / np.sum(psf**2)
        assert coadd.point_source_variance < 0.97 * mean_variance
    # Where all inputs are alike there is nothing to gain, and nothing lost.
    same = make(make_warps(None, psfs=[PSFS[1]] * 5))
    assert same.point_source_variance == pytest.approx(same.noise_variance / np.sum(PSFS[1] ** 2), rel=1e-4)
    np.testing.assert_allclose(same.psf, 0.5 * (PSFS[1] + PSFS[1][::-1, ::-1]), atol=2e-3 * PSFS[1].max())


def test_fluxes_are_unbiased_with_noise() -> None:
    places = [(r, c, 2000.0) for r in range(20, 150, 37) for c in range(20, 150, 37)]
    ratios = []
    for seed in range(6):
        coadd = make(make_warps(seed, places))
        psf = coadd.psf
        for row, column, flux in places:
            y, x = slice(row - HALF, row + HALF + 1), slice(column - HALF, column + HALF + 1)
            stamp = coadd.image[y, x].astype(float)
            ratios.append(np.sum(stamp * psf) / np.sum(psf**2) / flux)
    error = np.sqrt(coadd.point_source_variance) / 2000.0
    assert np.mean(ratios) == pytest.approx(1.0, abs=4.0 * error / np.sqrt(len(ratios)) + 1e-3)
    assert np.std(ratios) == pytest.approx(error, rel=0.25)


def test_variance_follows_that_of_the_inputs() -> None:
    warps = make_warps(None)
    bright = []
    for warp in warps:
        variance = warp.variance.copy()
        variance[:, PADDING + 75 :] *= 4.0
        bright.append(dataclasses.replace(warp, variance=variance))
    coadd = make(bright)
    np.testing.assert_allclose(coadd.variance[:, :50], coadd.noise_variance, rtol=2e-3)
    np.testing.assert_allclose(coadd.variance[:, 100:], 4.0 * coadd.noise_variance, rtol=2e-3)


def test_filled_pixels_are_told_and_do_little_harm() -> None:
    stars = [(75, 80, 1000.0)]
    warps = make_warps(None, stars)
    clean = make(warps)
    image, mask = warps[1].image.copy(), warps[1].mask.copy()
    image[PADDING + 20, PADDING + 30] = np.nan
    image[PADDING + 110, PADDING + 40] = 1e6
    mask[PADDING + 110, PADDING + 40] = bit("SATURATED") | bit("DETECTED")
    mask[PADDING + 5, PADDING + 6] = bit("DETECTED")
    warps[1] = dataclasses.replace(warps[1], image=image, mask=mask)
    coadd = make(warps)
    # Away from stars the others know as well.
    np.testing.assert_allclose(coadd.image, clean.image, atol=1e-3)
    assert np.argwhere(coadd.n_inputs == 4).tolist() == [[20, 30], [110, 40]]
    assert np.argwhere((coadd.mask & bit("REJECTED")) != 0).tolist() == [[20, 30], [110, 40]]
    share = (1.0 / VARIANCES[1]) / np.sum(1.0 / VARIANCES)
    assert coadd.rejected_fraction[20, 30] == pytest.approx(share)
    assert coadd.used_fraction.tolist() == pytest.approx([1.0, 1.0 - 2.0 / SIDE**2, 1.0, 1.0, 1.0])
    near = (coadd.mask & bit("INEXACT_PSF")) != 0
    assert near[20:24, 30:34].all()
    assert not near[70:80, 75:85].any()
    # More than a tenth of the weight was left out as saturated.
    assert np.argwhere((coadd.mask & bit("SATURATED")) != 0).tolist() == [[110, 40]]
    assert np.argwhere((coadd.mask & bit("DETECTED")) != 0).tolist() == [[5, 6]]
    assert not (clean.mask).any()


def test_pixels_that_no_input_has_are_no_data() -> None:
    warps = []
    for warp in make_warps(3):
        image = warp.image.copy()
        image[PADDING + 60, PADDING + 70] = np.nan
        warps.append(dataclasses.replace(warp, image=image))
    coadd = make(warps)
    for plane in (coadd.image, coadd.variance, coadd.significance):
        assert np.argwhere(np.isnan(plane)).tolist() == [[60, 70]]
    assert np.argwhere((coadd.mask & bit("NO_DATA")) != 0).tolist() == [[60, 70]]
    assert coadd.n_inputs[60, 70] == 0
    assert coadd.rejected_fraction[60, 70] == pytest.approx(1.0)


def test_bits_repeat() -> None:
    one, two = make(make_warps(3)), make(make_warps(3))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.variance.tobytes() == two.variance.tobytes()


def test_what_cannot_be_combined() -> None:
    warps = make_warps(None)
    with pytest.raises(RequestError, match=r"coadd of 5 inputs, with variances of shape \(2,\)"):
        make(warps, np.ones(2))
    with pytest.raises(RequestError, match="coadd of 0 inputs"):
        make([], np.ones(0))
    with pytest.raises(InputDataError, match="positive numbers, not"):
        make(warps, np.array([1.0, 1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(MissingPsfError, match=r"visit=0.*has no PSF"):
        make([dataclasses.replace(warps[0], psf=None), *warps[1:]])
    with pytest.raises(InputDataError, match=r"a PSF of \(33, 33\) pixels"):
        make([*warps[:4], dataclasses.replace(warps[4], psf=np.ones((33, 33)) / 33**2)])
    with pytest.raises(
        RequestError, match=r"padding of 0 pixels; a proper coadd of PSFs of 35 pixels needs 17"
    ):
        make_proper_coadd(warps, noise_variances=VARIANCES, inner=PADDED, masks=MaskRules())


def test_significance_holds_for_the_noise_of_resampled_inputs() -> None:
    source = make_tan(x=200.0, y=200.0)
    values, deviations = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        warps = []
        for i, sigma in enumerate(SIGMAS):
            noise = rng.normal(0.0, sigma, (400, 400))
            grid = TargetGrid(make_tan(x=1075.0, y=75.0, rotation=10.0 + 17.0 * i), PADDED)
            done = resample(make_source(noise, source), grid).masked_image
            variance = np.full(noise.shape, 0.798 * sigma**2, np.float32)[
                : PADDED.shape[0], : PADDED.shape[1]
            ]
            warps.append(
                Warp(
                    key=InputKey("Cam", i, 0, uuid.UUID(int=i)),
                    bbox=PADDED,
                    image=done.image.array,
                    variance=variance,
                    mask=np.zeros(PADDED.shape, np.uint32),
                    planes=PLANES,
                    weight=1.0 / sigma**2,
                    psf=PSFS[i],
                )
            )
        # What counts is the noise on scales of the PSF, which resampling keeps.
        coadd = make(warps)
        values.append(coadd.significance[::10, ::10].ravel())
        deviations.append(coadd.image.var() / coadd.variance.mean())
    assert np.std(values) == pytest.approx(1.0, rel=0.04)
    # Pixels have less noise than white noise of that power has, and the plane knows.
    assert np.mean(deviations) == pytest.approx(1.0, rel=0.06)
