"""From an image's units to nJy and magnitudes."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.fields import ChebyshevField
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.forced import BOX, make_star_image

from lsst.dax.image.errors import InconsistentUnitsError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import correct_aperture, find_calibration, limiting_magnitude, to_ab_magnitudes

X = np.array([1010.0, 1100.5, np.nan])
Y = np.array([40.0, 180.0, 50.0])


def make_field(*, slope: float, unit: u.UnitBase | None, bounds: Box = BOX) -> ChebyshevField:
    """Return a field of 2 in the middle that rises with the column."""
    return ChebyshevField(bounds, np.array([[2.0, slope]]), unit=unit)


def expect_field(slope: float) -> np.ndarray:
    middle, half = BOX.x.center, (BOX.x.stop - BOX.x.start) / 2
    return 2.0 + slope * (X - middle) / half


def make_image(unit: u.UnitBase):
    return make_star_image(np.zeros(BOX.shape), unit=unit)


@pytest.mark.parametrize(("unit", "factor"), [(u.nJy, 1.0), (u.uJy, 1e3), (u.Jy, 1e9)])
def test_images_in_flux_units_need_no_scaling(unit: u.UnitBase, factor: float) -> None:
    calibration = find_calibration(make_image(unit), x=X, y=Y)
    assert_allclose(calibration.factor, factor, rtol=1e-15)
    assert not calibration.flags.any()


def test_scaling_field_is_evaluated_at_the_positions_in_its_units() -> None:
    field = make_field(slope=0.5, unit=u.uJy / u.electron)
    calibration = find_calibration(make_image(u.electron), x=X, y=Y, photometric_scaling=field)
    assert_allclose(calibration.factor, 1e3 * expect_field(0.5), rtol=1e-12)
    assert not calibration.flags.any()


def test_constant_scaling() -> None:
    calibration = find_calibration(make_image(u.adu), x=X, y=Y, photometric_scaling=3.0 * u.nJy / u.adu)
    assert_array_equal(calibration.factor, 3.0)


def test_scaling_that_is_not_positive_is_flagged() -> None:
    field = make_field(slope=-20.0, unit=u.nJy / u.electron)
    calibration = find_calibration(make_image(u.electron), x=X, y=Y, photometric_scaling=field)
    bad = expect_field(-20.0) <= 0
    assert bad.tolist() == [False, True, False]
    assert calibration.flags.tolist() == [0, FLAGS["NO_CALIBRATION"].value, 0]
    assert np.isnan(calibration.factor).tolist() == [False, True, True]


def test_units_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(InconsistentUnitsError, match="image in electron without a photometric scaling"):
        find_calibration(make_image(u.electron), x=X, y=Y)
    with pytest.raises(InconsistentUnitsError, match=r"in nJy / electron takes adu to adu nJy / electron"):
        find_calibration(make_image(u.adu), x=X, y=Y, photometric_scaling=3.0 * u.nJy / u.electron)


class Corrected:
    """Stands in for an image with aperture corrections."""

    def __init__(self, **fields: ChebyshevField) -> None:
        self.aperture_corrections = fields


def test_aperture_corrections_are_evaluated_at_the_positions() -> None:
    image = Corrected(base_PsfFlux_instFlux=make_field(slope=0.1, unit=None))
    found = correct_aperture(image, "base_PsfFlux_instFlux", x=X, y=Y)
    assert_allclose(found.factor, expect_field(0.1), rtol=1e-12)
    assert not found.flags.any()


def test_missing_correction_is_one_and_flagged() -> None:
    for image in (Corrected(), make_image(u.nJy)):
        found = correct_aperture(image, "base_PsfFlux_instFlux", x=X, y=Y)
        assert_array_equal(found.factor, 1.0)
        assert (found.flags == FLAGS["NO_APERTURE_CORRECTION"].value).all()
    none = correct_aperture(make_image(u.nJy), None, x=X, y=Y)
    assert_array_equal(none.factor, 1.0)
    assert not none.flags.any()


def test_correction_that_is_not_positive_is_flagged() -> None:
    image = Corrected(base_PsfFlux_instFlux=make_field(slope=-20.0, unit=None))
    found = correct_aperture(image, "base_PsfFlux_instFlux", x=X, y=Y)
    assert found.flags.tolist() == [0, FLAGS["BAD_APERTURE_CORRECTION"].value, 0]
    assert np.isnan(found.factor[1])


def test_magnitudes_are_those_of_the_ab_system() -> None:
    flux = np.array([3631.0e9, 1000.0, 29.0, -50.0]) * u.nJy
    found = to_ab_magnitudes(flux, np.array([1e9, 10.0, 10.0, 10.0]) * u.nJy)
    assert_allclose(found.magnitude[0], 0.0, atol=1e-4)  # 3631 Jy, by definition
    assert_allclose(found.magnitude[1], 31.4 - 7.5, rtol=1e-12)
    assert np.isnan(found.magnitude[2:]).all()  # below three sigma
    assert_allclose(found.magnitude_err[1], 2.5 / math.log(10) * 0.01, rtol=1e-12)
    assert_allclose(found.limit[1:], 31.4 - 2.5 * math.log10(50.0), rtol=1e-12)
    # In another unit it is the same source.
    assert_allclose(to_ab_magnitudes(flux.to(u.uJy), flux.to(u.uJy) / 100).magnitude[1], 23.9, rtol=1e-12)


def test_thresholds_can_be_chosen() -> None:
    found = to_ab_magnitudes([29.0, 51.0] * u.nJy, [10.0, 10.0] * u.nJy, min_snr=5.0, limit_snr=3.0)
    assert np.isnan(found.magnitude).tolist() == [True, False]
    assert_allclose(found.limit, 31.4 - 2.5 * math.log10(30.0), rtol=1e-12)


def test_depth_is_the_magnitude_of_five_sigma() -> None:
    assert_allclose(limiting_magnitude([10.0, 20.0] * u.nJy), 31.4 - 2.5 * np.log10([50.0, 100.0]))
    assert np.isnan(limiting_magnitude([0.0, np.nan] * u.nJy)).all()


def test_magnitudes_of_something_else_are_refused() -> None:
    with pytest.raises(InconsistentUnitsError, match="such as nJy; got electron"):
        to_ab_magnitudes([1.0] * u.electron, [1.0] * u.nJy)
    with pytest.raises(InconsistentUnitsError, match="such as nJy; got mag"):
        limiting_magnitude([1.0] * u.mag)
