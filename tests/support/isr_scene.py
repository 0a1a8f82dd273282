"""A small simulated raw with every effect, its calibrations, and what a reference reduction makes of it."""

from __future__ import annotations

__all__ = ("IsrScene", "make_scene")

import dataclasses
import functools
import tempfile
from pathlib import Path

import numpy as np

from lsst.dax.image.recreation.isr import (
    LSSTCAM_DP2,
    IsrCalibrations,
    IsrExposure,
    IsrSequence,
    read_calibration,
    read_raw,
)
from lsst.dax.image.simulation import (
    Effects,
    RawIdentity,
    Sensor,
    SimulatedCalibrations,
    SimulatedRaw,
    make_sensor,
    make_simulated_calibrations,
    simulate_raw,
    write_calibration_files,
    write_raw_file,
)

SKY_ELECTRONS = 1000.0
SIGMA_PX = 1.8
INSTRUMENT = "MiniCam"
FIELDS = {"electroBfDistortionMatrix": "electro_bf"}

SEQUENCE: IsrSequence = LSSTCAM_DP2.without("subtract_amplifier_offsets")


@dataclasses.dataclass(frozen=True, eq=False)
class IsrScene:
    """A raw as our readers give it, and as the simulation made it."""

    sensor: Sensor
    truth_calibrations: SimulatedCalibrations
    simulated: SimulatedRaw
    raw: IsrExposure
    calibrations: IsrCalibrations


def make_light(shape: tuple[int, int], *, stars: int = 40, seed: int = 5) -> np.ndarray:
    """Return sky and Gaussian stars of 10^3 to 10^6.8 electrons."""
    rng = np.random.default_rng(seed)
    light = np.full(shape, SKY_ELECTRONS)
    reach = 20
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    picture = np.exp(-(x**2 + y**2) / (2 * SIGMA_PX**2))
    picture /= picture.sum()
    for flux in 10 ** rng.uniform(3, 6.8, stars):
        row, column = (int(rng.integers(reach, size - reach - 1)) for size in shape)
        light[row - reach : row + reach + 1, column - reach : column + reach + 1] += flux * picture
    return light


@functools.cache
def make_scene(
    physical_type: str, *, data_shape: tuple[int, int] = (300, 64), effects: Effects | None = None
) -> IsrScene:
    """Return a scene that went through files, as real data do; do not modify it."""
    sensor = make_sensor(physical_type, detector=94, data_shape=data_shape)
    truth = make_simulated_calibrations(sensor)
    simulated = simulate_raw(
        make_light(sensor.bbox.shape), truth, rng=np.random.default_rng(6), effects=effects
    )
    with tempfile.TemporaryDirectory() as folder:
        write_raw_file(simulated, Path(folder) / "raw.fits", identity=RawIdentity(instrument=INSTRUMENT))
        raw = read_raw(Path(folder) / "raw.fits", sensor.to_detector())
        paths = write_calibration_files(
            truth, Path(folder) / "calib", instrument=INSTRUMENT, physical_filters=["r_57"]
        )
        names = {kind: FIELDS.get(kind, kind) for kind, _ in paths}
        calibrations = IsrCalibrations(
            **{names[kind]: read_calibration(names[kind], path) for (kind, _), path in paths.items()}
        )
    return IsrScene(sensor, truth, simulated, raw, calibrations)
