"""The brighter-fatter corrections with a scalar kernel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.support.isr_brighter_fatter import SHAPE, make_assembled, make_kernel, make_large, make_stars
from tests.support.isr_brighter_fatter_oracle import divergence_oracle, flux_oracle

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.recreation.isr import BrighterFatterKernel, CalibrationInfo
from lsst.dax.image.recreation.isr.brighter_fatter import (
    correct_brighter_fatter_flux_conserving,
    correct_brighter_fatter_kernel,
)


@pytest.mark.parametrize("half", [1, 3, 8])
def test_the_divergence_is_that_of_the_whole_image(half: int) -> None:
    stars = make_stars()
    bfk = make_kernel(half)
    assert bfk.detector_kernel is not None
    kernel = bfk.detector_kernel * np.linspace(0.8, 1.3, 2 * half + 1)  # no symmetry
    bfk = dataclasses.replace(bfk, detector_kernel=kernel)
    for max_iterations in (1, 2, 10):
        result = correct_brighter_fatter_kernel(make_assembled(stars), bfk=bfk, max_iterations=max_iterations)
        expected, n = divergence_oracle(
            stars.astype(np.float64), kernel, max_iterations=max_iterations, threshold=1000.0
        )
        assert result.header["LSST ISR BF ITERS"] == n
        np.testing.assert_array_almost_equal_nulp(result.image, expected.astype(np.float32), nulp=1)
        assert np.abs(expected - stars).max() > 10


@pytest.mark.parametrize("half", [1, 8])
def test_the_flux_is_that_of_the_whole_image(half: int) -> None:
    stars = make_stars()
    bfk = make_kernel(half)
    assert bfk.detector_kernel is not None
    kernel = bfk.detector_kernel * np.linspace(0.8, 1.3, 2 * half + 1)
    bfk = dataclasses.replace(bfk, detector_kernel=kernel)
    for max_iterations in (1, 10):
        result = correct_brighter_fatter_flux_conserving(
            make_assembled(stars), bfk=bfk, max_iterations=max_iterations
        )
        expected, n = flux_oracle(
            stars.astype(np.float64), kernel, max_iterations=max_iterations, threshold=1000.0
        )
        assert result.header["LSST ISR BF ITERS"] == n
        np.testing.assert_array_almost_equal_nulp(result.image, expected.astype(np.float32), nulp=1)
        assert np.abs(expected - stars).max() > 10


def test_blocks_and_stripes_join() -> None:
    large, bfk = make_large(), make_kernel(2)
    kernel, image = bfk.detector_kernel, large.image.astype(np.float64)
    assert kernel is not None
    divergence = correct_brighter_fatter_kernel(large, bfk=bfk, max_iterations=2)
    expected, _ = divergence_oracle(image, kernel, max_iterations=2, threshold=0.0)
    np.testing.assert_array_almost_equal_nulp(divergence.image, expected.astype(np.float32), nulp=1)
    flux = correct_brighter_fatter_flux_conserving(large, bfk=bfk, max_iterations=1)
    expected, _ = flux_oracle(image, kernel, max_iterations=1, threshold=0.0)
    np.testing.assert_array_almost_equal_nulp(flux.image, expected.astype(np.float32), nulp=1)


def test_the_last_row_keeps_a_wider_margin_than_the_first() -> None:
    rng = np.random.default_rng(7)
    noise = rng.uniform(1000, 9000, SHAPE)
    corrected = correct_brighter_fatter_kernel(make_assembled(noise), bfk=make_kernel()).image
    changed = corrected != noise.astype(np.float32)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], rows[-1]) == (9, SHAPE[0] - 11)
    assert (columns[0], columns[-1]) == (9, SHAPE[1] - 11)
    # Nothing flows over the low edge of the other form; the high one is used.
    corrected = correct_brighter_fatter_flux_conserving(make_assembled(noise), bfk=make_kernel()).image
    changed = corrected != noise.astype(np.float32)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, SHAPE[0] - 1, 8, SHAPE[1] - 1)


def test_a_smaller_threshold_takes_more_iterations() -> None:
    exposure = make_assembled(make_stars())
    counts = [
        correct_brighter_fatter_kernel(exposure, bfk=make_kernel(), threshold=t).header["LSST ISR BF ITERS"]
        for t in (1e9, 1000.0, 1e-3)
    ]
    assert counts[0] == 2
    assert 2 < int(counts[1]) < int(counts[2]) <= 10


def test_amplifier_kernels_are_averaged_without_the_odd_one() -> None:
    base = make_kernel().detector_kernel
    assert base is not None
    rng = np.random.default_rng(11)
    kernels = {f"C{i:02d}": base * (1 + 0.01 * rng.normal(size=base.shape)) for i in range(15)}
    mean = np.mean(list(kernels.values()), axis=0)
    kernels["C15"] = base * 100
    averaged = BrighterFatterKernel(CalibrationInfo("bfk"), None, kernels)
    plain = BrighterFatterKernel(CalibrationInfo("bfk"), mean)
    exposure = make_assembled(make_stars())
    one = correct_brighter_fatter_kernel(exposure, bfk=averaged)
    np.testing.assert_allclose(
        one.image, correct_brighter_fatter_kernel(exposure, bfk=plain).image, rtol=2e-6
    )


def test_unusable_kernels_are_refused() -> None:
    exposure, bfk = make_assembled(100.0), make_kernel()
    kernel = bfk.detector_kernel
    assert kernel is not None
    with pytest.raises(InputDataError, match=r"bfk\.fits has a kernel neither of the detector nor"):
        correct_brighter_fatter_kernel(exposure, bfk=dataclasses.replace(bfk, detector_kernel=None))
    with pytest.raises(InputDataError, match=r"has the shape \(16, 17\); two odd sides"):
        correct_brighter_fatter_kernel(exposure, bfk=dataclasses.replace(bfk, detector_kernel=kernel[1:]))
    wrong = dataclasses.replace(bfk, detector_kernel=np.where(kernel < -1e-7, np.inf, kernel))
    with pytest.raises(InputDataError, match=r"has \d+ of 289 elements that are not finite"):
        correct_brighter_fatter_flux_conserving(exposure, bfk=wrong)
    mixed = dataclasses.replace(bfk, detector_kernel=None, amplifier_kernels={"a": kernel, "b": kernel[1:-1]})
    with pytest.raises(InputDataError, match=r"amplifiers with different shapes: \[\(15, 17\), \(17, 17\)\]"):
        correct_brighter_fatter_kernel(exposure, bfk=mixed)
    with pytest.raises(RequestError, match="1 iteration or more, not 0"):
        correct_brighter_fatter_kernel(exposure, bfk=bfk, max_iterations=0)
    with pytest.raises(RequestError, match="1 iteration or more, not -1"):
        correct_brighter_fatter_flux_conserving(exposure, bfk=bfk, max_iterations=-1)
