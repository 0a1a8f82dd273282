"""The kernels of PSFs and noise give the same with and without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import numpy as np
from lsst.dax.image._kernels.coadd_grow_nb import grow_bits
from lsst.dax.image._kernels.coadd_noise_nb import correlate_stretched_weights, correlate_weights
from lsst.dax.image._kernels.coadd_psf_nb import (
    find_adaptive_moments, resample_stamps, resample_stretched_stamps
)
from lsst.dax.image.resampling import Kernel, make_profile, make_weight_table
from lsst.dax.image.resampling.kernels import PROFILE_PLACES

y, x = np.mgrid[-6:7, -6:7]
stamps = np.stack([np.exp(-(x**2 + 0.2 * x * y + y**2) / 6.0), np.zeros((13, 13))])
centers = np.array([[6.0, 6.0], [6.3, 5.8]])
matrices = np.array([[[0.9, -0.3], [0.3, 0.9]], [[1.3, 0.0], [0.2, 1.4]]])
table, profile = make_weight_table(Kernel.LANCZOS3), make_profile(Kernel.LANCZOS3)
results = []
plain = np.empty((2, 7, 7))
resample_stamps(
    stamps, centers, matrices, table.coefficients, table.taps, table.first_tap, table.shift, plain
)
results.append(plain)
wide = np.empty((2, 7, 7))
inverse, reach = np.linalg.inv(matrices), 3.0 * np.abs(matrices).sum(axis=2)
resample_stretched_stamps(
    stamps, centers, matrices, inverse, reach, profile, float(PROFILE_PLACES), 3.0, wide
)
results.append(wide)
moments = np.empty((2, 5))
find_adaptive_moments(stamps, moments)
results.append(moments)
phases, shares = np.array([[0.0, 0.5], [0.3, 0.9]]), np.array([[0.4, 0.6], [1.1, -0.1]])
products = np.empty((2, 5, 5))
correlate_weights(
    matrices, phases, shares, table.coefficients, table.taps, table.first_tap, table.shift, products
)
results.append(products)
single = np.empty((3, 3))
correlate_stretched_weights(
    matrices[1], inverse[1], reach[1], phases, shares[0], profile, float(PROFILE_PLACES), 3.0, single
)
results.append(single)
mask, grown = np.zeros((9, 8), np.uint32), np.zeros((9, 8), np.uint32)
mask[0, 0], mask[4, 3:6], mask[8, 7] = 1, 6, 8
runs = [np.array(run) for run in ([-1, 0, 0, 2], [0, -1, 2, -2], [0, 0, 3, -1])]
grow_bits(mask, *runs, grown)
results.append(grown)
for result in results:
    print(" ".join(repr(float(value)) for value in result.ravel()))
"""


def run(disabled: str) -> list[np.ndarray]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [np.array(line.split(), float) for line in done.stdout.splitlines()]


def test_kernels_run_without_the_compiler() -> None:
    compiled, plain = run("0"), run("1")
    assert len(compiled) == 6
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    # Nothing is compared with nothing.
    moments = compiled[2].reshape(2, 5)
    assert np.isfinite(moments[0]).all()
    assert np.isnan(moments[1]).all()
    grown = compiled[5].reshape(9, 8)
    assert grown[4, 2:8].tolist() == [6.0, 6.0, 6.0, 6.0, 6.0, 6.0]
    assert grown[8, 7] == 8.0
