"""Serial and parallel overscan."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.cameras import Amplifier, AmplifierRawGeometry, Detector, ReadoutCorner
from tests.support.isr import make_detector, make_exposure
from tests.support.isr_overscan_oracle import correct_overscan_slowly

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError, RequestError
from lsst.dax.image.recreation.isr import IsrExposure, IsrPlane, OverscanStatistics, box_slices, raw_geometry
from lsst.dax.image.recreation.isr.overscan import subtract_parallel_overscan, subtract_serial_overscan
from lsst.dax.image.recreation.isr.overscan_fits import OverscanFit

BAD, SATURATED = int(IsrPlane.BAD), int(IsrPlane.SATURATED)
STEPS = {"serial": subtract_serial_overscan, "parallel": subtract_parallel_overscan}
NO_SKIP = {"skip": (0, 0)}


def with_states(exposure: IsrExposure, *names: str, **changes: Any) -> IsrExposure:
    states = tuple(
        dataclasses.replace(state, **changes) if not names or state.name in names else state
        for state in exposure.amplifiers
    )
    return dataclasses.replace(exposure, amplifiers=states)


def find_box(exposure: IsrExposure, name: str, region: str) -> tuple[slice, slice]:
    """Return the slices of a region (a field of the raw geometry without ``_bbox``) of an amplifier."""
    (amplifier,) = [amplifier for amplifier in exposure.detector.amplifiers if amplifier.name == name]
    return box_slices(getattr(raw_geometry(amplifier), f"{region}_bbox"))


def make_noisy(vendor: str, seed: int, *, unit: u.UnitBase) -> IsrExposure:
    """Return an exposure with sky, noise, ramps, bleeds, cosmic rays, hot columns and masked pixels."""
    rng = np.random.default_rng(seed)
    detector = make_detector(vendor, data=(50, 31), serial=13, parallel=12)
    shape = make_exposure(detector).image.shape
    image = rng.normal(1000.0, 5.0, shape) + 0.2 * np.arange(shape[0])[:, np.newaxis]
    image[rng.random(shape) < 0.003] += 3000.0
    image[rng.random(shape) < 0.01] += 60.0
    image[rng.random(shape) < 0.002] -= 1500.0
    mask = np.where(rng.random(shape) < 0.02, rng.choice([1, 2, 4, 8, 256], shape), 0).astype(np.uint16)
    exposure = make_exposure(detector, image=image, mask=mask, unit=unit, gain=1.5)
    exposure = with_states(exposure, saturation=9e4, suspect=9e4)
    # Rows that are bad throughout, and one whose charge is spread over the serial overscan.
    serial = find_box(exposure, "C12", "serial_overscan")
    exposure.image[serial][10] += 2000.0
    exposure.mask[serial][20:22] = BAD
    exposure.image[serial][30] += rng.uniform(0, 400, serial[1].stop - serial[1].start)
    # Columns: a bleed, a warm one, one that is bad already, two that are saturated.
    parallel = find_box(exposure, "C03", "parallel_overscan")
    exposure.image[parallel][:, 9] += 500.0
    exposure.image[parallel][:, 16] += 40.0
    exposure.mask[parallel][:, 25] = BAD
    exposure.image[find_box(exposure, "C15", "parallel_overscan")][:4, 11:13] = 7e4
    exposure.mask[find_box(exposure, "C07", "serial_overscan")] = SATURATED
    exposure.mask[find_box(exposure, "C07", "parallel_overscan")] = BAD
    flooded = find_box(exposure, "C16", "data"), find_box(exposure, "C16", "parallel_overscan")
    exposure.image[flooded[0]] = 5e4
    exposure.image[flooded[1]] = 2.6e4
    return with_states(exposure, "C05", is_bad=True)


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("variant", ["default", "latiss"])
def test_steps_are_those_of_the_slow_way(vendor: str, kind: str, variant: str) -> None:
    unit = u.adu if kind == "serial" else u.electron
    exposure = make_noisy(vendor, 7, unit=unit)
    before = exposure.image.copy(), exposure.mask.copy()
    parameters: dict[str, Any] = {}
    expected_with: dict[str, Any] = {"limit_adu": 1000.0, "is_absolute": True, "excess_adu": None}
    if kind == "parallel":
        expected_with = {"limit_adu": 100.0, "is_absolute": False, "excess_adu": 5.0}
        if variant == "latiss":
            parameters = {"deviation": "absolute", "max_excess_adu": None}
            expected_with |= {"is_absolute": True, "excess_adu": None}
    after = STEPS[kind](exposure, **parameters)
    image, mask, statistics = correct_overscan_slowly(exposure, kind=kind, skip=3, **expected_with)
    np.testing.assert_array_equal(after.image, image)
    np.testing.assert_array_equal(after.mask, mask)
    assert (mask != before[1]).any()
    for state in after.amplifiers:
        found = getattr(state, f"{kind}_overscan")
        if state.is_bad:
            assert found is None
            assert f"LSST ISR OVERSCAN {kind.upper()} MEAN {state.name}" not in after.header
            continue
        np.testing.assert_allclose(dataclasses.astuple(found), statistics[state.name], rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(exposure.image, before[0])
    np.testing.assert_array_equal(exposure.mask, before[1])
    assert after.variance is exposure.variance
    threaded = STEPS[kind](exposure, threads=4, **parameters)
    np.testing.assert_array_equal(threaded.image, after.image)
    np.testing.assert_array_equal(threaded.mask, after.mask)
    # A NaN is not equal to itself, its text is.
    assert repr(threaded.amplifiers) == repr(after.amplifiers)


def make_single() -> IsrExposure:
    """Return the example of the observatory's test: 10 x 10 pixels of 10, overscans of 3 pixels at 2,
    and a ramp from 0 to 9 along the columns of data and parallel overscan.
    """
    geometry = AmplifierRawGeometry(
        bbox=Box.factory[0:13, 0:13],
        data_bbox=Box.factory[0:10, 0:10],
        serial_overscan_bbox=Box.factory[0:10, 10:13],
        parallel_overscan_bbox=Box.factory[10:13, 0:10],
        readout_corner=ReadoutCorner.LL,
    )
    amplifier = Amplifier(
        name="C00",
        bbox=Box.factory[0:10, 0:10],
        readout_corner=ReadoutCorner.LL,
        assembled_raw_geometry=geometry,
    )
    image = np.full((13, 13), 2.0)
    image[:10, :10] = 10.0
    image[:, :10] += np.arange(10)
    return make_exposure(cast("Detector", OneAmplifier([amplifier])), image=image, unit=u.adu)


@dataclasses.dataclass(frozen=True)
class OneAmplifier:
    """A detector of one amplifier, as far as the steps look."""

    amplifiers: list[Amplifier]
    name: str = "one"


@pytest.mark.parametrize("fit_type", [OverscanFit.MEDIAN, OverscanFit.MEDIAN_PER_ROW, OverscanFit.POLY])
@pytest.mark.parametrize("has_bleed", [False, True])
def test_published_means(fit_type: str, has_bleed: bool) -> None:
    exposure = make_single()
    if has_bleed:
        exposure.image[10:13, 4:6] = 110000.0
    serial = subtract_serial_overscan(exposure, fit_type=fit_type, **NO_SKIP)
    after = subtract_parallel_overscan(serial, fit_type=fit_type, order=1, **NO_SKIP)
    (state,) = after.amplifiers
    assert state.serial_overscan is not None
    assert state.parallel_overscan is not None
    assert state.serial_overscan.mean == pytest.approx(2.0, abs=1e-3)
    assert state.parallel_overscan.mean == pytest.approx(4.5, abs=1e-3)
    assert state.parallel_overscan.residual_mean == pytest.approx(0.0, abs=1e-3)
    if fit_type != OverscanFit.MEDIAN and not has_bleed:
        np.testing.assert_allclose(after.image[:10, :10], 8.0, atol=1e-5)


def test_published_failure_without_rejection() -> None:
    # A bleed that is not masked spoils the constant: 6.5 instead of 4.5.
    exposure = make_single()
    exposure.image[10:13, 4:6] = 10000.0
    loose = {"max_deviation_adu": 1e6, **NO_SKIP}
    serial = subtract_serial_overscan(exposure, fit_type="median", **loose)
    after = subtract_parallel_overscan(serial, fit_type="median", **loose)
    assert after.amplifiers[0].parallel_overscan.median == pytest.approx(6.5, abs=1e-3)  # type: ignore[union-attr]
    by_column = subtract_parallel_overscan(serial, **loose).amplifiers[0].parallel_overscan
    assert by_column.median == pytest.approx(6.5, abs=1e-3)  # type: ignore[union-attr]
    assert by_column.mean > 1000.0  # type: ignore[union-attr]


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
def test_ramp_and_noise_leave_a_mean_of_zero(vendor: str) -> None:
    rng = np.random.default_rng(9)
    sigma, n_columns, n_skip = 5.0, 54, 6
    detector = make_detector(vendor, data=(400, 64), serial=n_columns, parallel=20)
    shape = make_exposure(detector).image.shape
    rows = np.arange(shape[0])
    ramp = 25000.0 + 40.0 * np.exp(-rows / 100.0) + 0.05 * rows + 3.0 * np.sin(rows / 7.0)
    exposure = make_exposure(detector, image=ramp[:, np.newaxis] + rng.normal(0.0, sigma, shape), unit=u.adu)
    after = subtract_serial_overscan(exposure)
    for state in after.amplifiers:
        data = after.image[find_box(exposure, state.name, "data")].astype(np.float64)
        level_variance = np.pi / 2 * sigma**2 / (n_columns - n_skip) / data.shape[0]
        standard_error = math.sqrt(sigma**2 / data.size + level_variance)
        assert abs(data.mean()) < 4 * standard_error
        # The ramp is gone: the means of rows scatter as noise and levels do.
        expected = sigma**2 * (1 / data.shape[1] + np.pi / 2 / (n_columns - n_skip))
        assert data.mean(axis=1).var() == pytest.approx(expected, rel=0.35)
        # The residual is the read noise, less one degree of freedom in 48 and a bit of clipping.
        assert state.serial_overscan.residual_stdev == pytest.approx(sigma, rel=0.05)  # type: ignore[union-attr]
        prescan = find_box(exposure, state.name, "prescan")
        np.testing.assert_array_equal(after.image[prescan], exposure.image[prescan])


@pytest.mark.parametrize("charge", [60.0, 700.0, 5000.0])
def test_cosmic_ray_in_the_overscan_does_not_shift_its_row(charge: float) -> None:
    rng = np.random.default_rng(10)
    detector = make_detector(data=(100, 30), serial=54)
    shape = make_exposure(detector).image.shape
    exposure = make_exposure(detector, image=rng.normal(1000.0, 5.0, shape), unit=u.adu)
    clean = subtract_serial_overscan(exposure)
    box = find_box(exposure, "C13", "serial_overscan")
    hit = exposure.image.copy()
    hit[box][50, 20:23] += charge
    after = subtract_serial_overscan(exposure.with_pixels(image=hit))
    shift = (after.image - clean.image)[find_box(exposure, "C13", "data")]
    # Three of 48 pixels move the median of a row by a fraction of its error of 0.9.
    assert np.abs(shift).max() < 0.9
    others = np.delete(np.arange(100), 50)
    assert (shift[others] == 0).all()


def test_saturated_parallel_overscan_is_grown_by_seven_steps() -> None:
    detector = make_detector(data=(60, 40), parallel=24)
    exposure = with_states(make_exposure(detector, image=10.0, unit=u.electron), saturation=1e5)
    box = find_box(exposure, "C01", "parallel_overscan")
    exposure.image[box][12, 20] = 75000.0
    exposure.image[box][0, 0] = 74999.9
    after = subtract_parallel_overscan(exposure, max_deviation_adu=1e9)
    rows, columns = np.indices((24, 40))
    expected = np.where(np.abs(rows - 12) + np.abs(columns - 20) <= 7, SATURATED, 0)
    np.testing.assert_array_equal(after.mask[box], expected)
    # Nothing outside of the box changes.
    assert np.count_nonzero(after.mask) == np.count_nonzero(expected) == 113


def test_flooded_overscan_is_left_alone() -> None:
    exposure = make_exposure(unit=u.electron)
    data, box = (find_box(exposure, "C11", region) for region in ("data", "parallel_overscan"))
    for level, full, is_left in ((2e4, 1.1e4, True), (2e4, 0.9e4, False), (0.9e4, 0.8e4, False)):
        exposure.image[data], exposure.image[box] = level, full
        after = subtract_parallel_overscan(exposure)
        assert (after.image[data] == (level if is_left else level - full)).all()
        found = [state.parallel_overscan for state in after.amplifiers if state.name == "C11"]
        assert found[0] == OverscanStatistics(
            0.0 if is_left else full, 0.0 if is_left else full, 0.0, full if is_left else 0.0,
            full if is_left else 0.0, 0.0,
        )  # fmt: skip


def test_fully_masked_overscan_is_left_alone() -> None:
    exposure = make_exposure(unit=u.adu, image=1000.0)
    exposure.mask[find_box(exposure, "C11", "serial_overscan")] = SATURATED
    exposure.mask[find_box(exposure, "C11", "parallel_overscan")] = SATURATED
    # Its rows beyond the data, next to the parallel overscan, belong to the region too.
    rows = find_box(exposure, "C11", "parallel_overscan")[0]
    exposure.mask[rows, find_box(exposure, "C11", "serial_overscan")[1]] = BAD
    after = subtract_serial_overscan(exposure)
    assert (after.image[find_box(exposure, "C11", "data")] == 1000.0).all()
    assert (after.image[find_box(exposure, "C12", "data")] == 0.0).all()
    (found,) = [state.serial_overscan for state in after.amplifiers if state.name == "C11"]
    assert found is not None
    assert (found.mean, found.median, found.stdev) == (0.0, 0.0, 0.0)
    assert math.isnan(found.residual_mean)
    assert after.header["LSST ISR OVERSCAN SERIAL MEAN C11"] == 0.0
    assert "LSST ISR OVERSCAN RESIDUAL SERIAL MEAN C11" not in after.header


def test_header_names_statistics_and_unit() -> None:
    rng = np.random.default_rng(12)
    image = rng.normal(1000.0, 5.0, make_exposure().image.shape)
    serial = subtract_serial_overscan(make_exposure(image=image, unit=u.adu))
    electrons = dataclasses.replace(serial, unit=u.electron)
    after = subtract_parallel_overscan(electrons)
    for kind, unit in (("SERIAL", "adu"), ("PARALLEL", "electron")):
        found = getattr(after.amplifiers[3], f"{kind.lower()}_overscan")
        assert after.header[f"LSST ISR OVERSCAN {kind} APPLIED"] is True
        assert after.header[f"LSST ISR OVERSCAN {kind} UNITS"] == unit
        for name in ("MEAN", "MEDIAN", "STDEV"):
            assert after.header[f"LSST ISR OVERSCAN {kind} {name} C13"] == getattr(found, name.lower())
            residual = getattr(found, f"residual_{name.lower()}")
            assert after.header[f"LSST ISR OVERSCAN RESIDUAL {kind} {name} C13"] == residual


def test_gain_scales_the_limits_of_the_parallel_overscan() -> None:
    rng = np.random.default_rng(13)
    detector = make_detector(data=(60, 40), parallel=20)
    counts = rng.normal(0.0, 1.0, make_exposure(detector).image.shape)
    adu = make_exposure(detector, image=counts, unit=u.adu)
    box = find_box(adu, "C14", "parallel_overscan")
    # In adu: one pixel is above the limit of 100, one column above that of 5; others are below.
    adu.image[box][10, 10], adu.image[box][10, 15] = 104.0, 96.0
    adu.image[box][:, 22] += 7.0
    adu.image[box][:, 30] += 3.0
    electron = dataclasses.replace(adu.with_pixels(image=adu.image * np.float32(1.5)), unit=u.electron)
    masks = [subtract_parallel_overscan(exposure).mask for exposure in (adu, electron)]
    np.testing.assert_array_equal(*masks)
    expected = np.zeros((20, 40), np.uint16)
    expected[10, 10] = BAD
    expected[:, 20:25] = BAD
    np.testing.assert_array_equal(masks[0][box], expected)


@pytest.mark.parametrize("fit_type", OverscanFit)
@pytest.mark.parametrize("kind", STEPS)
def test_every_fit_removes_a_constant(kind: str, fit_type: str) -> None:
    exposure = make_exposure(unit=u.adu, image=1000.0)
    after = STEPS[kind](exposure, fit_type=fit_type, order=5)
    data = find_box(exposure, "C04", "data")
    np.testing.assert_allclose(after.image[data], 0.0, atol=1e-3)
    assert after.image[find_box(exposure, "C04", "prescan")].min() == 1000.0


def test_errors() -> None:
    exposure = make_exposure(unit=u.adu)
    for kind, step in STEPS.items():
        with pytest.raises(InputDataError, match="is trimmed"):
            step(make_exposure(unit=u.adu, is_assembled=True))
        with pytest.raises(RequestError, match=r"OverscanFit is one of median_per_row, .*, not 'magic'"):
            step(exposure, fit_type="magic")
        with pytest.raises(RequestError, match="not be negative; they are -1 and 3"):
            step(exposure, skip=(-1, 3))
        with pytest.raises(InputDataError, match=rf"{kind} overscan of amplifier C10 is 1\d pixels wide"):
            step(exposure, skip=(8, 8))
    with pytest.raises(InconsistentUnitsError, match="Serial overscan takes an image in adu; this one is in"):
        subtract_serial_overscan(make_exposure(unit=u.electron))
    with pytest.raises(InconsistentUnitsError, match="an image in electron; this one is in nJy"):
        subtract_parallel_overscan(make_exposure(unit=u.nJy))
    with pytest.raises(RequestError, match="DeviationSign is one of positive, absolute, not 'negative'"):
        subtract_parallel_overscan(exposure, deviation="negative")


def test_parallel_overscan_must_cover_the_columns_of_the_data() -> None:
    exposure = make_single()
    geometry = exposure.detector.amplifiers[0].assembled_raw_geometry
    assert geometry is not None
    geometry.parallel_overscan_bbox = Box.factory[10:13, 0:9]
    with pytest.raises(InputDataError, match=r"data of amplifier C00 are columns .*10.*, its parallel .*9"):
        subtract_parallel_overscan(exposure)


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize(("kind", "axis"), [("serial", 1), ("parallel", 0)])
def test_deferred_charge_next_to_the_data_is_skipped(vendor: str, kind: str, axis: int) -> None:
    exposure = make_exposure(make_detector(vendor), image=100.0, unit=u.adu)
    for amplifier in exposure.detector.amplifiers:
        geometry = raw_geometry(amplifier)
        data, over = geometry.data_bbox, getattr(geometry, f"{kind}_overscan_bbox")
        lines = exposure.image[box_slices(over)]
        lines = lines if axis == 1 else lines.T
        # The five lines read right after the data hold charge of them.
        is_beyond = (data.x.start < over.x.start) if axis == 1 else (data.y.start < over.y.start)
        lines[:, slice(0, 5) if is_beyond else slice(-5, None)] += 30.0
    skipped = STEPS[kind](exposure, skip=(5, 1), fit_type="mean_per_row")
    kept = STEPS[kind](exposure, skip=(1, 5), fit_type="mean_per_row")
    for amplifier in exposure.detector.amplifiers:
        box = find_box(exposure, amplifier.name, "data")
        assert (skipped.image[box] == 0.0).all()
        assert (kept.image[box] < -10.0).all()
