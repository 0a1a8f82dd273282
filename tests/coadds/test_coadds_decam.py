"""Nine real exposures of DECam, coadded per band, beside the mean that SWarp makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.decam_brick import BRICK, make_brick_warps, place_gaia_stars, read_swarp_mean
from tests.support.testdata import testdata

from lsst.dax.image.coadds import Coadd, MaskRules, Recipe, Statistic, Warp, make_coadd
from lsst.dax.image.geometry import TargetGrid

# What flags of the data quality do not tell it must find by itself.
BLIND = Recipe(name="blind", masks=MaskRules(bad_planes=("NO_DATA", "SATURATED")))
PADDING = BLIND.cells.padding_px
EMPTY = np.s_[150:230, 100:170]  # in which nothing shines
UNFLAGGED_RAY = np.s_[46:53, 231:240]


def make(warps: list[Warp], recipe: Recipe = BLIND) -> Coadd:
    grid, _ = read_swarp_mean(testdata(BRICK))
    return make_coadd(warps, grid.sky_projection, recipe=recipe, bbox=grid.bbox)


def make_warps(band: str) -> list[Warp]:
    brick = testdata(BRICK)
    grid, _ = read_swarp_mean(brick)
    return make_brick_warps(brick, TargetGrid(grid.sky_projection, grid.bbox.padded(PADDING)), band)


@pytest.fixture(scope="module")
def z_warps() -> list[Warp]:
    return make_warps("z")


@pytest.fixture(scope="module")
def z_coadd(z_warps: list[Warp]) -> Coadd:
    return make(z_warps)


def find_flagged(warps: list[Warp], plane: str) -> np.ndarray:
    """Return the inner pixels that an exposure has flagged."""
    bit = np.uint32(1 << warps[0].planes.index(plane))
    inner = np.s_[PADDING:-PADDING, PADDING:-PADDING]
    return np.any([(warp.mask[inner] & bit) != 0 for warp in warps], axis=0)


def sum_stars(*images: np.ndarray) -> np.ndarray:
    """Return the sums of images around stars that all of them have whole, shape (n stars, n images)."""
    brick = testdata(BRICK)
    grid, _ = read_swarp_mean(brick)
    y, x = np.indices(grid.bbox.shape)
    found = []
    for star_x, star_y in place_gaia_stars(brick, grid):
        aperture = np.hypot(x - star_x, y - star_y) < 8
        if aperture.sum() > 190 and all(np.isfinite(image[aperture]).all() for image in images):
            found.append([image[aperture].sum(dtype=np.float64) for image in images])
    return np.array(found)


def test_stars_have_the_fluxes_of_swarp(z_coadd: Coadd) -> None:
    _, theirs = read_swarp_mean(testdata(BRICK))
    sums = sum_stars(z_coadd.image.image.array, theirs)
    assert len(sums) == 3
    # By the areas of the pixels there: those of the CD matrix would give 1.25 % less.
    np.testing.assert_allclose(sums[:, 0], sums[:, 1], rtol=0.005)


def test_the_noise_is_what_the_variance_says(z_coadd: Coadd) -> None:
    noise = np.std(z_coadd.image.image.array[EMPTY])
    assert noise == pytest.approx(np.sqrt(np.median(z_coadd.image.variance.array[EMPTY])), rel=0.03)
    assert (z_coadd.n_inputs.array[EMPTY] == 4).all()


def test_the_usual_pixel_is_that_of_swarp(z_coadd: Coadd) -> None:
    _, theirs = read_swarp_mean(testdata(BRICK))
    pull = (z_coadd.image.image.array - theirs) / np.sqrt(z_coadd.image.variance.array)
    pull = pull[np.isfinite(pull)]
    assert pull.size > 0.77 * theirs.size
    # Theirs takes the weight of a pixel from the noisiest one under the kernel.
    assert np.percentile(np.abs(pull), [50, 99]) == pytest.approx([0.0, 0.0], abs=0.2)


def test_cosmic_rays_are_found_without_flags(z_warps: list[Warp], z_coadd: Coadd) -> None:
    flagged = make(
        z_warps,
        Recipe(
            name="flags",
            statistic=Statistic.MEAN,
            masks=MaskRules(bad_planes=("COSMIC_RAY", "NO_DATA", "SATURATED")),
        ),
    )
    plain = make(z_warps, BLIND.with_(statistic=Statistic.MEAN))
    rays = find_flagged(z_warps, "COSMIC_RAY") & np.isfinite(flagged.image.image.array)
    assert rays.sum() > 300
    sigma = np.sqrt(flagged.image.variance.array[rays])

    def find_excess(coadd: Coadd) -> float:
        return float(((coadd.image.image.array - flagged.image.image.array)[rays] / sigma).max())

    assert find_excess(plain) > 15
    assert find_excess(z_coadd) < 2
    # One ray has no flag: means have it, also that of SWarp.
    _, theirs = read_swarp_mean(testdata(BRICK))
    error = np.sqrt(np.median(z_coadd.image.variance.array[UNFLAGGED_RAY]))
    for image in (theirs, flagged.image.image.array):
        assert image[UNFLAGGED_RAY].max() > 15 * error
    assert z_coadd.image.image.array[UNFLAGGED_RAY].max() < 5 * error
    assert z_coadd.image.mask.get("CLIPPED")[UNFLAGGED_RAY].any()
    # Little else is left out, and no star.
    assert z_coadd.image.mask.get("CLIPPED").mean() < 0.02
    sums = sum_stars(z_coadd.image.image.array, plain.image.image.array)
    np.testing.assert_allclose(sums[:, 0], sums[:, 1], rtol=1e-6)


@pytest.mark.parametrize(("band", "number"), [("g", 2), ("r", 3)])
def test_the_other_bands_are_means_of_their_exposures(band: str, number: int) -> None:
    warps = make_warps(band)
    coadd = make(
        warps, Recipe(name="flags", masks=MaskRules(bad_planes=("COSMIC_RAY", "NO_DATA", "SATURATED")))
    )
    assert len(warps) == coadd.n_inputs.array.max() == number
    image, variance = coadd.image.image.array[EMPTY], coadd.image.variance.array[EMPTY]
    assert np.std(image) == pytest.approx(np.sqrt(np.median(variance)), rel=0.05)
    inner = np.s_[PADDING:-PADDING, PADDING:-PADDING]
    sums = sum_stars(coadd.image.image.array, *(warp.image[inner] for warp in warps))
    assert len(sums) >= 2
    weights = np.array([warp.weight for warp in warps])
    np.testing.assert_allclose(sums[:, 0], sums[:, 1:] @ weights / weights.sum(), rtol=0.005)


def find_concentration(image: np.ndarray, x: float, y: float) -> float:
    """Return the share of a Gaussian aperture in the sum within 8 pixels: small for a wide PSF."""
    rows, columns = np.indices(image.shape)
    r2 = (columns - x) ** 2 + (rows - y) ** 2
    near = r2 < 64.0
    return float((image * np.exp(-0.5 * r2 / 4.0))[near].sum() / image[near].sum())


def test_stars_have_the_psf_of_the_coadd(z_coadd: Coadd) -> None:
    brick = testdata(BRICK)
    grid, theirs = read_swarp_mean(brick)
    psf = z_coadd.psf.compute_kernel_image(x=140.0, y=140.0).array
    expected = find_concentration(psf, psf.shape[1] // 2, psf.shape[0] // 2)
    found = []
    image = z_coadd.image.image.array
    for x, y in place_gaia_stars(brick, grid).tolist():
        if 10 < x < 270 and 10 < y < 270 and np.isfinite(theirs[round(y), round(x)]):
            found.append(find_concentration(np.nan_to_num(image), x, y))
    # The PSF is that of the middle, and the models of the exposures are good to some per cent.
    assert len(found) >= 3
    assert np.median(found) == pytest.approx(expected, rel=0.04)
