"""Tables of weights against their formulas, and what they do to stars."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from tests.support.resampling import Case, make_benchmark_case, make_tan

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample
from lsst.dax.image.resampling.kernels import find_weights, make_profile, make_weight_table

FRACTIONS = np.linspace(0.0, 1.0, 1001)


@pytest.mark.parametrize("kernel", Kernel)
def test_tables_hold_the_formulas(kernel: Kernel) -> None:
    table = make_weight_table(kernel)
    n = table.coefficients.shape[0]
    place = FRACTIONS * n
    segment = np.minimum(place.astype(int), n - 1)
    t = (place - segment)[:, None]
    c = table.coefficients[segment].astype(float)
    tabulated = (c[:, 0] + t * (c[:, 1] + t * c[:, 2]))[:, : table.taps]
    np.testing.assert_allclose(tabulated, find_weights(kernel, FRACTIONS), atol=1e-7)
    np.testing.assert_allclose(tabulated.sum(axis=1), 1.0, atol=3e-7)
    assert not np.any(table.coefficients[:, :, table.taps :])
    assert not table.coefficients.flags.writeable


def test_weights_are_symmetric_and_interpolate() -> None:
    for kernel in (Kernel.LANCZOS3, Kernel.LANCZOS3_MOMENTS, Kernel.LANCZOS5, Kernel.BILINEAR):
        weights = find_weights(kernel, FRACTIONS)
        np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)
        whole = np.zeros(weights.shape[1])
        whole[max(kernel.half_width - 1, 0)] = 1.0
        np.testing.assert_allclose(weights[0], whole, atol=1e-12)


def test_moments_are_those_of_a_point() -> None:
    distance = np.arange(-2, 4) - FRACTIONS[:, None]
    for kernel, exact in ((Kernel.LANCZOS3_MOMENTS, 4), (Kernel.LANCZOS3, 1)):
        weights = find_weights(kernel, FRACTIONS)
        moments = np.array([(weights * distance**p).sum(axis=1) for p in range(4)])
        off = np.abs(moments - np.array([1.0, 0.0, 0.0, 0.0])[:, None]).max(axis=1)
        assert off[:exact].max() < 1e-12
        if exact == 1:
            assert off[1] > 5e-3


def test_profiles_reach_zero() -> None:
    for kernel in (Kernel.LANCZOS3, Kernel.LANCZOS5, Kernel.BILINEAR):
        profile = make_profile(kernel)
        assert profile[0] == 1.0
        np.testing.assert_allclose(profile[-2:], 0.0, atol=1e-12)


def fit(pixels: np.ndarray, case: Case, pedestal: float) -> np.ndarray:
    """Fit the known profile to each star; return errors of x, y in pixels and of the flux."""
    errors = []
    for x, y in zip(case.x, case.y, strict=True):
        column, row = round(x), round(y)
        stamp = pixels[row - 7 : row + 8, column - 7 : column + 8].astype(float) - pedestal
        rows, columns = np.mgrid[row - 7 : row + 8, column - 7 : column + 8]
        x_fit, y_fit, flux = x, y, 1e5
        for _ in range(4):
            u, v = columns - x_fit, rows - y_fit
            profile = np.exp(-0.5 * (u**2 + v**2) / case.sigma**2) / (2 * np.pi * case.sigma**2)
            design = np.stack(
                [flux * profile * u / case.sigma**2, flux * profile * v / case.sigma**2, profile], axis=-1
            )
            step = np.linalg.lstsq(design.reshape(-1, 3), (stamp - flux * profile).ravel(), rcond=None)[0]
            x_fit, y_fit, flux = x_fit + step[0], y_fit + step[1], flux + step[2]
        errors.append((x_fit - x, y_fit - y, flux / 1e5 - 1.0))
    return np.array(errors)


@pytest.fixture(scope="module")
def fields() -> dict[float, Case]:
    return {
        rotation: make_benchmark_case(
            rotation_deg=rotation, source_shape=(1000, 1018), target_shape=(1000, 1000), n_stars=121
        )
        for rotation in (0.0, 30.0)
    }


# Median and maximum of the position error in milliarcseconds.
@pytest.mark.parametrize(
    ("rotation", "kernel", "median_mas", "most_mas"),
    [
        (30.0, Kernel.LANCZOS3, 0.1, 0.2),
        (30.0, Kernel.LANCZOS3_MOMENTS, 0.1, 0.2),
        (30.0, Kernel.LANCZOS5, 0.02, 0.03),
        (0.0, Kernel.LANCZOS3, 1.6, 2.0),
        (0.0, Kernel.LANCZOS3_MOMENTS, 0.5, 0.6),
        (0.0, Kernel.LANCZOS5, 0.15, 0.2),
    ],
)
def test_stars_stay_where_they_are(
    fields: dict[float, Case], rotation: float, kernel: Kernel, median_mas: float, most_mas: float
) -> None:
    case = fields[rotation]
    found = resample(case.image, case.grid, kernel=kernel, flux_convention=FluxConvention.SURFACE_BRIGHTNESS)
    pixels = found.masked_image.image.array
    errors = fit(pixels, case, 100.0)
    distance = 200.0 * np.hypot(errors[:, 0], errors[:, 1])
    assert np.nanmedian(distance) < median_mas
    assert np.nanmax(distance) < most_mas
    assert np.isfinite(distance).mean() > 0.9
    assert abs(np.nanmedian(errors[:, 2])) < 0.003
    sums = [
        pixels[round(y) - 11 : round(y) + 12, round(x) - 11 : round(x) + 12].sum(dtype=float)
        for x, y in zip(case.x, case.y, strict=True)
    ]
    assert abs(np.nanmedian(sums) - 100.0 * 23**2 - 1e5) < 10.0


SCRIPT = """
import numpy as np
from lsst.images import Box
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample
from tests.support.resampling import make_source, make_tan
from tests.support.resampling_oracle import resample_oracle
rng = np.random.default_rng(2)
noise = rng.uniform(1, 2, (30, 30))
source = make_source(rng.normal(100, 1, (30, 30)), make_tan(x=15.0, y=15.0), variance=noise)
source.mask.set("BAD", rng.random((30, 30)) < 0.1)
for scale in (0.2, 0.6):
    grid = TargetGrid(make_tan(rotation=20.0, scale=scale, x=0.1, y=0.2), Box.factory[-3:4, -4:5])
    found = resample(source, grid, flux_convention=FluxConvention.SURFACE_BRIGHTNESS, tolerance_px=1e-6)
    if scale == 0.2:
        expected = resample_oracle(source, grid, kernel="lanczos3")
        np.testing.assert_allclose(found.masked_image.image.array, expected.image, rtol=1e-5)
        np.testing.assert_array_equal(found.masked_image.mask.get("BAD"), expected.bits.astype(bool))
    print(repr(float(np.nansum(found.masked_image.image.array, dtype=float))))
"""


def test_kernels_run_without_the_compiler() -> None:
    sums = []
    for disabled in ("1", "0"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        sums.append([float(line) for line in done.stdout.split()])
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-6)


def test_nearest_is_never_stretched() -> None:
    case = make_benchmark_case(source_shape=(100, 100), target_shape=(20, 20), n_stars=1)
    grid = TargetGrid(make_tan(scale=2.0), case.grid.bbox)
    assert not resample(case.image, grid, kernel=Kernel.NEAREST).is_stretched
    assert resample(case.image, grid, kernel=Kernel.BILINEAR).is_stretched
