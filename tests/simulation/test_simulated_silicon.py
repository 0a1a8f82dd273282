"""Stamps from the electrostatic model, beside the pixel-area model."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.errors import RequestError
from lsst.dax.image.simulation import accumulate_in_silicon


def spot(peak):
    y, x = np.indices((21, 21)) - 10.0
    return peak * np.exp(-0.5 * (x**2 + y**2) / 2.25)


def size(image):
    y, x = np.indices(image.shape) - 10.0
    return np.sum(image * (x**2 + y**2)) / image.sum()


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_bright_spot_is_broader_by_its_charge_alone(vendor):
    light = spot(40_000.0)
    made = {
        strength: accumulate_in_silicon(
            light, physical_type=vendor, rng=np.random.default_rng(3), strength=strength
        )
        for strength in (1e-6, 1.0)
    }
    assert size(made[1.0]) > 1.001 * size(made[1e-6])
    assert made[1.0].max() < made[1e-6].max()
    # The same photons: diffusion alone loses some at the edges.
    assert made[1.0].sum() == pytest.approx(made[1e-6].sum(), rel=1e-4)
    assert made[1.0].sum() == pytest.approx(light.sum(), rel=0.005)


def test_stamp_is_upright():
    light = np.zeros((17, 23))
    light[4, 15] = 2e4
    made = accumulate_in_silicon(light, physical_type="ITL", rng=np.random.default_rng(4))
    assert np.unravel_index(np.argmax(made), made.shape) == (4, 15)


def test_too_large():
    with pytest.raises(RequestError, match=r"at most 256 x 256 pixels, not \(10, 257\)"):
        accumulate_in_silicon(np.zeros((10, 257)), physical_type="ITL", rng=np.random.default_rng(1))


def test_unknown_vendor():
    with pytest.raises(RequestError, match="one of E2V, ITL, not 'CCD'"):
        accumulate_in_silicon(np.zeros((10, 10)), physical_type="CCD", rng=np.random.default_rng(1))


def test_no_strength():
    with pytest.raises(RequestError, match=r"must be positive, not 0\.0"):
        accumulate_in_silicon(
            np.zeros((10, 10)), physical_type="ITL", rng=np.random.default_rng(1), strength=0.0
        )
