"""Options are given by a member or its value; anything else is refused."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from tests.resampling.test_resampling_planes import assert_same_bits, noisy_source

from lsst.dax.image.errors import RequestError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, MaskRule, MissingRule, resample

CHOICES = {
    "kernel": Kernel.BILINEAR,
    "mask_rule": MaskRule.NEAREST,
    "missing_rule": MissingRule.RENORMALISE,
    "flux_convention": FluxConvention.FLUX,
}


def make_target() -> tuple[object, TargetGrid]:
    source = noisy_source()
    middle = TargetGrid(source.sky_projection, source.bbox).center
    return source, TargetGrid.from_center(middle, pixel_scale=0.15 * u.arcsec, shape=(40, 50))


def test_a_value_is_its_member() -> None:
    source, grid = make_target()
    by_value = {name: choice.value for name, choice in CHOICES.items()}
    one, two = resample(source, grid, **CHOICES), resample(source, grid, **by_value)
    assert_same_bits(one.masked_image, two.masked_image)
    np.testing.assert_array_equal(one.coverage.array, two.coverage.array)


@pytest.mark.parametrize("name", CHOICES)
def test_anything_else_is_refused(name: str) -> None:
    source, grid = make_target()
    with pytest.raises(RequestError, match=rf"The option {name} is one of .*, not 'other'"):
        resample(source, grid, **{name: "other"})
