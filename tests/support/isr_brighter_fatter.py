"""Exposures and calibrations for the tests of the brighter-fatter corrections."""

from __future__ import annotations

__all__ = ("SHAPE", "make_assembled", "make_kernel", "make_large", "make_shifts", "make_stars")

import numpy as np
import numpy.typing as npt

from lsst.dax.image.recreation.isr import (
    BrighterFatterDistortion,
    BrighterFatterKernel,
    CalibrationInfo,
    IsrExposure,
)
from tests.support.isr import make_detector, make_exposure

SHAPE = (80, 96)


def make_assembled(
    image: npt.NDArray[np.floating] | float, mask: npt.NDArray[np.uint16] | None = None
) -> IsrExposure:
    """Return an assembled exposure in electron."""
    detector = make_detector(data=(SHAPE[0] // 2, SHAPE[1] // 4), columns=4)
    return make_exposure(detector, image=image, variance=25.0, mask=mask, is_assembled=True)


def make_large() -> IsrExposure:
    """Return an exposure of several tiles and stripes, every pixel of which acts."""
    rng = np.random.default_rng(9)
    detector = make_detector(data=(260, 150), columns=2)
    return make_exposure(detector, image=rng.uniform(1e3, 3e4, (520, 300)), is_assembled=True)


def make_shifts(n: int = 6, *, seed: int | None = None) -> BrighterFatterDistortion:
    """Return outward boundary shifts as of repelling charge, or random ones."""
    if seed is None:
        # Boundaries move towards the charge, by less the farther they are: that
        # is inward for the far side of a pixel and outward for the near one.
        i, j = np.mgrid[:n, :n]
        far = -1e-6 * np.exp(-np.hypot(i, j + 0.5) / 1.5)
        near = 1e-6 * np.exp(-np.hypot(i, j - 0.5) / 1.5)
        near[:, 0] = far[:, 0]
        matrices = [far, 0.99 * near, 0.8 * far.T, 0.79 * near.T]
    else:
        matrices = list(np.random.default_rng(seed).normal(size=(4, n, n)) * 1e-8)
    return BrighterFatterDistortion(CalibrationInfo("electro_bf", source="bf.fits"), *matrices)


def make_kernel(half: int = 8) -> BrighterFatterKernel:
    """Return a kernel with the symmetry of a square."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = -2e-7 * np.exp(-np.hypot(y, x) / 1.5)
    return BrighterFatterKernel(CalibrationInfo("bfk", source="bfk.fits"), detector_kernel=kernel)


def make_stars(seed: int = 1, *, sky: float = 500.0) -> npt.NDArray[np.float32]:
    """Return sky with noise and a few bright stars."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(sky, np.sqrt(sky), SHAPE)
    for _ in range(8):
        y0, x0 = rng.uniform(5, SHAPE[0] - 5), rng.uniform(5, SHAPE[1] - 5)
        image += 4e4 * rng.random() * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * 1.7**2))
    return image.astype(np.float32)
