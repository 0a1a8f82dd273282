"""Overscan and gain of real frames with two amplifiers, of the Kast spectrograph at Lick."""

from __future__ import annotations

import dataclasses
import itertools

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierRawGeometry,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)
from tests.support.isr import _make_frames, make_exposure
from tests.support.testdata import testdata

from lsst.dax.image.recreation.isr import (
    AmplifierPtc,
    CalibrationInfo,
    IsrExposure,
    PhotonTransferCurve,
)
from lsst.dax.image.recreation.isr.amplifiers import apply_gains, check_amplifiers, set_gains
from lsst.dax.image.recreation.isr.overscan import subtract_serial_overscan

N_ROWS, N_COLUMNS, N_DATA, N_OVERSCAN = 350, 2112, 1024, 32
GAINS = {"1": 1.22, "2": 1.26}


def make_amplifier(number: int) -> Amplifier:
    """Return an amplifier; the overscans of both are side by side at the right of the data."""
    data = Box.factory[0:N_ROWS, number * N_DATA : (number + 1) * N_DATA]
    first = 2 * N_DATA + number * N_OVERSCAN
    geometry = AmplifierRawGeometry(
        bbox=data,
        data_bbox=data,
        serial_overscan_bbox=Box.factory[0:N_ROWS, first : first + N_OVERSCAN],
        # There is no parallel overscan; rows of the data stand in, which nothing here reads.
        parallel_overscan_bbox=Box.factory[N_ROWS - 1 : N_ROWS, data.x.start : data.x.stop],
        readout_corner=ReadoutCorner.LL,
    )
    return Amplifier(
        name=str(number + 1), bbox=data, readout_corner=ReadoutCorner.LL, assembled_raw_geometry=geometry
    )


def make_detector() -> Detector:
    attributes = DetectorAttributes(
        name="KAST_BLUE",
        id=94,
        type=DetectorType.SCIENCE,
        serial="FAIRCHILD",
        bbox=Box.factory[0:N_ROWS, 0 : 2 * N_DATA],
        orientation=Orientation(
            focal_plane_x=0.0,
            focal_plane_y=0.0,
            focal_plane_z=0.0,
            pixel_reference_x=0.0,
            pixel_reference_y=0.0,
        ),
        pixel_size=0.015,
        physical_type="Fairchild",
    )
    frames = _make_frames(94, width=2 * N_DATA, height=N_ROWS)
    return Detector(attributes, [make_amplifier(0), make_amplifier(1)], frames)


def read_frame(name: str) -> IsrExposure:
    """Return a frame in adu, with all its columns."""
    image = fits.getdata(testdata("B_kast_2amp_raw/blue") / f"{name}.fits.gz")
    assert image.shape == (N_ROWS, N_COLUMNS)
    exposure = make_exposure(make_detector(), unit=u.adu)
    return dataclasses.replace(
        exposure,
        image=image.astype(np.float32),
        mask=np.zeros(image.shape, np.uint16),
        variance=np.zeros(image.shape, np.float32),
    )


def subtract(exposure: IsrExposure) -> IsrExposure:
    # The columns of the published overscan section: all but the first two.
    return subtract_serial_overscan(exposure, skip=(2, 0))


def measure_step(image: npt.NDArray[np.float32]) -> float:
    """Return how much higher the second amplifier is than the first, at their border."""
    return float(np.median(image[20:330, 1024:1034]) - np.median(image[20:330, 1014:1024]))


def test_overscan_closes_the_step_between_amplifiers() -> None:
    raw = read_frame("b1064")
    after = subtract(raw)
    levels = [state.serial_overscan.mean for state in after.amplifiers if state.serial_overscan]
    assert levels == pytest.approx([990.7, 980.7], abs=0.1)
    overscans = [after.image[:, 2050:2080], after.image[:, 2082:2112]]
    assert [overscan.std() for overscan in overscans] == pytest.approx([3.0, 3.55], abs=0.15)
    # The last column of the second amplifier is 11 adu low: the clipped deviation does without it.
    noises = [state.serial_overscan.residual_stdev for state in after.amplifiers if state.serial_overscan]
    assert noises == pytest.approx([overscans[0].std(), overscans[1][:, :-1].std()], abs=0.15)
    assert measure_step(raw.image) == -9.0
    assert measure_step(after.image) == pytest.approx(1.0, abs=0.5)


def test_flat_pair_in_electrons_has_the_noise_of_its_photons() -> None:
    ptc = PhotonTransferCurve(
        CalibrationInfo("ptc"),
        {name: AmplifierPtc(gain=gain, read_noise=3.7, turnoff_adu=6e4) for name, gain in GAINS.items()},
    )
    flats = []
    for name in ("b1020", "b1021"):
        exposure = apply_gains(set_gains(subtract(read_frame(name)), ptc=ptc))
        assert not any(state.is_bad for state in check_amplifiers(exposure, ptc=ptc).amplifiers)
        flats.append(exposure.image.astype(np.float64))
    for number in range(2):
        columns = slice(number * N_DATA, (number + 1) * N_DATA)
        first, second = (flat[20:330, columns] for flat in flats)
        levels, variances = measure_photon_transfer(first, second * first.sum() / second.sum())
        slope = np.polyfit(levels, variances, 1)[0]
        # Published: 1.22 and 1.26 electron per adu, so one electron of variance per electron.
        assert slope == pytest.approx(1.0, abs=0.02)


def measure_photon_transfer(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Return level and variance of one frame, in bins of level, from the difference of two."""
    mean, difference = 0.5 * (first + second), first - second
    edges = np.quantile(mean[(mean > 600) & (mean < 36_000)], np.linspace(0, 1, 20))
    levels, variances = [], []
    for low, high in itertools.pairwise(edges):
        inside = (mean >= low) & (mean < high)
        spread = difference[inside] - np.median(difference[inside])
        spread = spread[np.abs(spread) < 5 * 1.4826 * np.median(np.abs(spread))]
        levels.append(float(mean[inside].mean()))
        variances.append(float(spread.var() / 2))
    return levels, variances
