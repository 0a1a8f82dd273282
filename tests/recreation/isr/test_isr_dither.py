"""Integer dither."""

from __future__ import annotations

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.isr import make_detector, make_exposure

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError, RequestError
from lsst.dax.image.recreation.isr.dither import DitherMode, dither_counts

LIMITS = {"symmetric": (-0.5, 0.5), "positive": (0.0, 1.0), "negative": (-1.0, 0.0)}


@pytest.mark.parametrize("mode", LIMITS)
@pytest.mark.parametrize("data", [(40, 24), (3, 7), (61, 33)])
def test_numbers_are_those_of_the_legacy_generator(mode: str, data: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    detector = make_detector("ITL", data=data)
    shape = make_exposure(detector).image.shape
    exposure = make_exposure(detector, image=rng.integers(0, 2**18, shape), unit=u.adu)
    before = exposure.image.copy()
    after = dither_counts(exposure, mode=mode)
    deviates = np.random.RandomState(47152417142 & 0xFFFFFFFF).uniform(*LIMITS[mode], size=shape)
    np.testing.assert_array_equal(after.image, (before + deviates).astype(np.float32))
    np.testing.assert_array_equal(exposure.image, before)
    assert after.mask is exposure.mask
    assert after.variance is exposure.variance


@given(st.integers(0, 2**63 - 1))
def test_seed_is_the_low_half_of_the_identifier(identifier: int) -> None:
    exposure = make_exposure(make_detector(data=(2, 2), columns=1), unit=u.adu)
    exposure = dataclasses.replace(
        exposure, info=dataclasses.replace(exposure.info, detector_exposure_id=identifier)
    )
    first = np.random.RandomState(identifier % 2**32).uniform(-0.5, 0.5)
    assert dither_counts(exposure).image[0, 0] == np.float32(first)


def test_first_numbers_of_the_example_exposure() -> None:
    exposure = make_exposure(unit=u.adu)
    # numpy.random.RandomState(4202744182).uniform(-0.5, 0.5, 3), with the low 32 bits of 47152417142.
    first = [0.31696787595580345, 0.20484280553268008, -0.47131394141867755]
    assert dither_counts(exposure).image[0, :3].tolist() == np.float32(first).tolist()


def test_rounded_counts_regain_a_uniform_error() -> None:
    rng = np.random.default_rng(11)
    detector = make_detector(data=(200, 100))
    truth = rng.normal(1000.0, 5.0, make_exposure(detector).image.shape)
    after = dither_counts(make_exposure(detector, image=np.rint(truth), unit=u.adu))
    error = after.image - truth
    standard_error = np.sqrt(1 / 6 / truth.size)
    assert abs(error.mean()) < 4 * standard_error
    # Rounding and dither are two uniform errors of variance 1/12 each.
    assert error.var() == pytest.approx(1 / 6, rel=0.01)


def test_no_dither_changes_nothing() -> None:
    exposure = make_exposure(unit=u.adu)
    assert dither_counts(exposure, mode=DitherMode.NONE) is exposure


def test_errors() -> None:
    exposure = make_exposure(unit=u.adu)
    with pytest.raises(RequestError, match="one of symmetric, positive, negative, none, not 'both'"):
        dither_counts(exposure, mode="both")
    with pytest.raises(InconsistentUnitsError, match="an image in adu; this one is in electron"):
        dither_counts(make_exposure(unit=u.electron))
    with pytest.raises(InputDataError, match=r"untrimmed detector R22_S11; this image .* is trimmed"):
        dither_counts(make_exposure(unit=u.adu, is_assembled=True))
    with pytest.raises(InputDataError, match=r"beyond the image of shape \(5, 5\)"):
        dither_counts(
            dataclasses.replace(
                exposure,
                image=np.zeros((5, 5), np.float32),
                mask=np.zeros((5, 5), np.uint16),
                variance=np.zeros((5, 5), np.float32),
            )
        )
