"""Artifacts in simulated visits of one field, with stars of known flux and changing seeing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage

from lsst.dax.image.coadds import (
    ArtifactRules,
    Combined,
    InputKey,
    Warp,
    combine_warps,
    find_artifacts,
    mark_artifacts,
)
from lsst.dax.image.errors import InputDataError

from ..support.coadds_stack import PLANES, make_warp

SHAPE = (180, 180)
SKY = 100.0  # variance per pixel
TARGET = 1.25 / 2.3548 / 0.2  # standard deviation of the common PSF in pixels
STARS = [(40.3 + 50.0 * i, 35.7 + 50.0 * j) for i in range(3) for j in range(3)]
FLUXES = np.array([1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 5e4])
Y, X = np.indices(SHAPE)


def draw(position: tuple[float, float], sigma: float) -> NDArray[np.float64]:
    y, x = position
    return np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2.0 * sigma**2)) / (2.0 * math.pi * sigma**2)


def make_visits(
    n: int, *, seed: int, variable: float = 0.0, seeing: tuple[float, float] = (0.6, 1.1)
) -> list[Warp]:
    """Return visits with Gaussian PSFs; the flux of the fifth star changes by a fraction."""
    rng = np.random.default_rng(seed)
    warps = []
    for k in range(n):
        sigma = rng.uniform(*seeing) / 2.3548 / 0.2
        fluxes = FLUXES.copy()
        fluxes[4] *= 1.0 + variable * rng.normal()
        scene = sum(flux * draw(star, sigma) for flux, star in zip(fluxes, STARS, strict=True))
        variance = SKY + scene / 10.0
        image = scene + rng.normal(0.0, 1.0, SHAPE) * np.sqrt(variance)
        warp = make_warp(k, image, variance=variance.astype(np.float32), weight=1.0 / SKY)
        warps.append(dataclasses.replace(warp, psf=np.full((1, 1), sigma)))
    return warps


def match(warps: list[Warp]) -> list[Warp]:
    """Return copies with a common Gaussian PSF; their variance neglects covariance, as it always does."""
    matched = []
    for warp in warps:
        assert warp.psf is not None
        sigma = math.sqrt(TARGET**2 - warp.psf[0, 0] ** 2)
        image = ndimage.gaussian_filter(warp.image, sigma)
        variance = ndimage.gaussian_filter(warp.variance, sigma / math.sqrt(2.0)) / (4.0 * math.pi * sigma**2)
        matched.append(dataclasses.replace(warp, image=image, variance=variance))
    return matched


def add_trail(warp: Warp) -> NDArray[np.bool_]:
    """Add a satellite trail of 8 sigma per pixel across star 0, and return its core."""
    distance = np.abs(0.6 * X - 0.8 * Y + 10.0)
    warp.image[...] += (80.0 * np.exp(-(distance**2) / 8.0)).astype(np.float32)
    return distance < 2.0


def add_cosmic_rays(warp: Warp) -> NDArray[np.bool_]:
    """Add short bright tracks off the stars and the trail, and return their pixels."""
    hit = np.zeros(SHAPE, bool)
    for row, x in ((60, 120), (65, 20), (110, 20), (115, 60)):
        hit[row, x : x + 6] = hit[row + 1, x + 3 : x + 8] = True
    warp.image[hit] += 2000.0
    return hit


def aperture(star: int) -> NDArray[np.bool_]:
    """Return the pixels of an aperture of ten pixels radius."""
    y, x = STARS[star]
    return (Y - y) ** 2 + (X - x) ** 2 <= 100.0


def measure(combined: Combined, star: int) -> float:
    """Return the flux in the aperture."""
    return float(combined.image[aperture(star)].sum())


def is_clipped(combined: Combined) -> NDArray[np.bool_]:
    bit = np.uint32(1 << combined.planes.index("CLIPPED"))
    return (combined.mask & bit) != 0


def near_stars(radius: float) -> NDArray[np.bool_]:
    return np.any([(Y - y) ** 2 + (X - x) ** 2 <= radius**2 for y, x in STARS], axis=0)


@pytest.mark.parametrize("n", [6, 12])
def test_artifacts_go_and_stars_stay(n: int) -> None:
    warps = make_visits(n, seed=n)
    clean = combine_warps(warps)
    trail = add_trail(warps[2])
    hits = add_cosmic_rays(warps[4])
    transient = (90.0, 70.0)
    assert warps[1].psf is not None
    warps[1].image[...] += (2e4 * draw(transient, warps[1].psf[0, 0])).astype(np.float32)
    artifacts = find_artifacts(match(warps))
    assert artifacts[4][hits].all()
    away = ~near_stars(12.0)
    assert (artifacts[2] & trail & away).sum() > 0.97 * (trail & away).sum()
    assert artifacts[1][88:93, 68:73].all()
    for k in (0, 3, 5):
        assert not artifacts[k].any()
    combined = combine_warps(mark_artifacts(warps, artifacts))
    noise = np.sqrt(combined.variance)
    # What is left of artifacts is less than the noise.
    for place in (hits, trail & away, (Y - 90) ** 2 + (X - 70) ** 2 < 9):
        assert np.mean((combined.image - clean.image)[place] / noise[place]) < 0.3
    # The plain mean shows them.
    assert np.mean((combine_warps(warps).image - clean.image)[hits]) > 2000.0 / n / 2.0
    distance = ndimage.distance_transform_edt(~(trail | hits))
    near_artifact = (distance < 9.0) | (np.hypot(Y - 90, X - 70) < 11.0)
    assert not (is_clipped(combined) & ~near_artifact).any()
    untouched = [star for star in range(len(STARS)) if not (is_clipped(combined) & aperture(star)).any()]
    assert len(untouched) >= 5
    for star in untouched:
        # A faint tail of the trail may remain.
        assert_allclose(measure(combined, star), measure(clean, star), rtol=1e-3, atol=30.0)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_seeing_takes_nothing_from_star_cores(n: int) -> None:
    warps = make_visits(n, seed=100 + n)
    artifacts = find_artifacts(match(warps))
    assert not np.any([artifact & near_stars(4.0) for artifact in artifacts])
    combined = combine_warps(mark_artifacts(warps, artifacts))
    for star in np.flatnonzero(FLUXES > 2e5):
        assert_allclose(measure(combined, star), FLUXES[star], rtol=2e-3)


def test_a_variable_star_stays_and_a_flare_goes() -> None:
    warps = make_visits(12, seed=7, variable=0.3, seeing=(0.9, 0.9))
    assert not np.any([artifact[85:95, 80:90] for artifact in find_artifacts(match(warps))])
    quiet = make_visits(12, seed=7, seeing=(0.9, 0.9))
    quiet[3].image[...] += (3e5 * draw((110.0, 110.0), 1.9)).astype(np.float32)
    flared = find_artifacts(match(quiet))
    assert flared[3][108:113, 108:113].all()
    assert not np.any([artifact for k, artifact in enumerate(flared) if k != 3])


@pytest.mark.parametrize(
    ("n", "n_hit", "is_found"),
    [(1, 1, False), (2, 1, False), (3, 1, True), (4, 1, True), (8, 2, True), (12, 5, False)],
)
def test_few_visits(n: int, n_hit: int, is_found: bool) -> None:
    rng = np.random.default_rng(n)
    warps = [make_warp(k, rng.normal(0.0, 1.0, (50, 50))) for k in range(n)]
    for warp in warps[:n_hit]:
        warp.image[20:24, 20:24] += 100.0
    artifacts = find_artifacts(warps)
    assert [bool(artifact[20:24, 20:24].all()) for artifact in artifacts[:n_hit]] == [is_found] * n_hit
    assert not any(artifact.any() for artifact in artifacts[n_hit:])


def test_detectors_of_a_visit_are_one_epoch() -> None:
    rng = np.random.default_rng(5)
    visits = [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    warps = [make_warp(k, rng.normal(0.0, 1.0, (50, 50))) for k in range(len(visits))]
    for warp in warps[:3]:
        warp.image[20:24, 20:24] += 100.0
    # Three epochs of 13 are not few, one of six is.
    assert not any(artifact.any() for artifact in find_artifacts(warps))
    grouped = [
        dataclasses.replace(warp, key=InputKey("Test", visit, k, warp.key.uuid))
        for k, (visit, warp) in enumerate(zip(visits, warps, strict=True))
    ]
    assert [bool(each.any()) for each in find_artifacts(grouped)] == [True] * 3 + [False] * 10


def test_spots_are_of_connected_pixels_of_one_sign() -> None:
    rng = np.random.default_rng(6)
    warps = [make_warp(k, rng.normal(0.0, 1.0, (40, 40))) for k in range(6)]
    warps[0].image[10, 10:13] += 50.0  # too small
    warps[1].image[20, 10:14] += 50.0
    warps[2].image[30, 10:14] -= 50.0
    warps[3].image[10, 30:33] += 50.0
    warps[3].image[10, 33:36] -= 50.0  # six pixels, three of each sign
    artifacts = find_artifacts(warps, rules=ArtifactRules(grow_px=1))
    assert [bool(artifact.any()) for artifact in artifacts] == [False, True, True, False, False, False]
    rows, columns = np.nonzero(artifacts[1])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (19, 21, 9, 14)


def test_noise_is_scaled_to_what_it_is() -> None:
    rng = np.random.default_rng(7)
    warps = [make_warp(k, rng.normal(0.0, 3.0, (60, 60)), variance=1.0) for k in range(6)]
    for warp in warps:
        warp.image[30:32, 30:32] = 0.0
    warps[0].image[30:32, 30:32] = 18.0  # 6 sigma of the true noise, 18 of the variance plane
    assert not any(artifact.any() for artifact in find_artifacts(warps))
    warps[0].image[30:32, 30:32] = 40.0
    assert find_artifacts(warps)[0][30:32, 30:32].all()


def test_bad_pixels_are_not_looked_at() -> None:
    rng = np.random.default_rng(8)
    warps = [make_warp(k, rng.normal(0.0, 1.0, (40, 40))) for k in range(6)]
    warps[0].image[20:24, 20:24] = 500.0
    warps[0].mask[20:24, 20:24] = 1 << PLANES.index("BAD")
    warps[1].image[:, :5] = warps[1].variance[:, :5] = np.nan
    assert not any(artifact.any() for artifact in find_artifacts(warps))


def test_marks() -> None:
    warps = [make_warp(k, np.full((3, 20), float(k)), planes=("BAD",)) for k in range(3)]
    artifacts = [np.zeros((3, 20), bool) for _ in warps]
    artifacts[2][1, 4] = True
    marked = mark_artifacts(warps, artifacts)
    combined = combine_warps(marked)
    assert_array_equal(combined.n_inputs, 3 - artifacts[2])
    assert_allclose(combined.image[1, 4:6], [0.5, 1.0])
    assert not warps[2].mask.any()
    names = {name for i, name in enumerate(combined.planes) if int(combined.mask[1, 4]) >> i & 1}
    assert names == {"CLIPPED", "REJECTED", "INEXACT_PSF"}
    with pytest.raises(InputDataError, match="2 arrays of artifacts do not fit to 3 warps"):
        mark_artifacts(warps, artifacts[:2])
    with pytest.raises(InputDataError, match=r"have the shape \(2, 20\); its box has \(3, 20\)"):
        mark_artifacts(warps, [artifact[:2] for artifact in artifacts])
