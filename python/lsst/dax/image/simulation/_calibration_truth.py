"""A detector's true calibrations, made from a seed."""

from __future__ import annotations

__all__ = ("FULL_WELL_FRACTION", "make_simulated_calibrations")

import numpy as np
import numpy.typing as npt

from lsst.images import Box

from ._pixel_area import make_screened_kernel, make_shift_matrices
from ._sensor import (
    Sensor,
    SimulatedCalibrations,
    SimulatedChargeTransfer,
    SimulatedLinearity,
    SimulatedTrap,
)

type FloatArray = npt.NDArray[np.float64]

FULL_WELL_FRACTION = 0.97
"""The turn-off of the photon transfer curve, as a fraction of the full well."""

_ANISOTROPY = {"E2V": 1.05, "ITL": 1.2}
_AREA_LOSS = {"E2V": 1.7e-6, "ITL": 2.4e-6}


def make_simulated_calibrations(
    sensor: Sensor, *, seed: int = 20251101, linearity_type: str = "DoubleSpline"
) -> SimulatedCalibrations:
    """Return calibrations of the size that the camera's detectors have.

    Parameters
    ----------
    sensor
        The detector.
    seed
        Seed, with the detector.
    linearity_type
        Form of the linearity: ``DoubleSpline``, ``Spline``, ``Squared``,
        ``Polynomial`` or ``Proportional``.

    Returns
    -------
    calibrations
        The truth.  The variances of the images are small beside the noise of
        an exposure, and the images have no noise: they are the truth.
    """
    rng = np.random.default_rng([seed, 21, sensor.detector])
    shape = sensor.bbox.shape
    count = len(sensor.amplifiers)
    kernel = make_screened_kernel(
        area_loss=_AREA_LOSS[sensor.physical_type], anisotropy=_ANISOTROPY[sensor.physical_type]
    )
    shifts = make_shift_matrices(kernel)
    linear, quadratic = _make_crosstalk(count, rng)
    full_wells = np.array([amplifier.full_well for amplifier in sensor.amplifiers])
    levels = np.array([amplifier.bias_level for amplifier in sensor.amplifiers])
    return SimulatedCalibrations(
        sensor=sensor,
        bias=_make_bias(sensor, rng),
        bias_variance=np.full(shape, 0.04),
        dark=_make_dark(shape, rng),
        dark_variance=np.full(shape, 4e-6),
        flat=_make_flat(shape, rng),
        flat_variance=np.full(shape, 1e-8),
        gain_adjustments=rng.uniform(0.995, 1.005, count),
        turnoff_adu=FULL_WELL_FRACTION * full_wells / sensor.gains,
        overscan_median_adu=levels,
        overscan_median_sigma_adu=np.full(count, 3.0),
        crosstalk_linear=linear,
        crosstalk_quadratic=quadratic,
        crosstalk_valid=~np.eye(count, dtype=np.bool_),
        crosstalk_unit="electron",
        linearity=tuple(
            _make_linearity(linearity_type, 1.1 * a.full_well / a.gain, rng) for a in sensor.amplifiers
        ),
        charge_transfer=tuple(_make_charge_transfer(number, rng) for number in range(count)),
        kernel=kernel,
        shift_north=shifts.north,
        shift_south=shifts.south,
        shift_east=shifts.east,
        shift_west=shifts.west,
        defects=_make_defects(sensor.bbox, rng),
    )


def _make_bias(sensor: Sensor, rng: np.random.Generator) -> FloatArray:
    """Return a bias with column structure and a glow towards the readout corner of each amplifier."""
    bias = np.empty(sensor.bbox.shape)
    for amplifier in sensor.amplifiers:
        rows, columns = amplifier.bbox.shape
        y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
        glow = rng.uniform(2.0, 8.0) * np.exp(-x / 30.0 - y / 60.0)
        readout = glow + rng.normal(0.0, 0.7, columns)
        flip_x, flip_y = amplifier.flips
        readout = readout[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        bias[
            amplifier.bbox.y.start : amplifier.bbox.y.stop, amplifier.bbox.x.start : amplifier.bbox.x.stop
        ] = readout
    return bias


def _make_dark(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return the dark current: a gradient, and hot pixels."""
    dark = 0.02 + 0.02 * np.linspace(0.0, 1.0, shape[0])[:, None] * np.ones(shape[1])
    hot = rng.random(shape) < 2e-4
    dark[hot] += rng.uniform(0.5, 5.0, int(np.count_nonzero(hot)))
    return dark


def _make_flat(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return the response: a bowl of two percent, and half a percent of scatter between pixels."""
    y = np.linspace(-1.0, 1.0, shape[0])[:, None]
    x = np.linspace(-1.0, 1.0, shape[1])[None, :]
    flat = 1.01 - 0.01 * (x**2 + y**2) + rng.normal(0.0, 0.005, shape)
    return np.asarray(flat / flat.mean())


def _make_crosstalk(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return coefficients [source, target] that fall with the distance of the channels."""
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    linear = rng.choice([-1.0, 1.0], (count, count), p=[0.2, 0.8]) * rng.uniform(0.5, 1.5, (count, count))
    linear *= 3e-4 / np.maximum(distance, 1) ** 2
    quadratic = 2e-9 * rng.uniform(-1.0, 1.0, (count, count)) / np.maximum(distance, 1) ** 2
    off_diagonal = distance > 0
    return linear * off_diagonal, quadratic * off_diagonal


def _make_linearity(kind: str, top_adu: float, rng: np.random.Generator) -> SimulatedLinearity:
    """Return a linearity whose correction reaches about half a percent of a signal at the top."""
    match kind:
        case "DoubleSpline":
            parts = [_make_spline(top_adu, 14, 0.001, rng), _make_spline(top_adu, 10, 0.005, rng)]
            counts = [float(centers.size) for centers, _ in parts]
            coefficients = np.concatenate([counts, *(array for part in parts for array in part)])
        case "Spline":
            coefficients = np.concatenate(_make_spline(top_adu, 12, 0.005, rng))
        case "Squared":
            coefficients = np.array([0.005 / top_adu * rng.uniform(0.5, 1.5)])
        case "Polynomial":
            coefficients = np.array([0.004 / top_adu, -0.002 / top_adu**2]) * rng.uniform(0.5, 1.5, 2)
        case _:
            coefficients = np.empty(0)
    return SimulatedLinearity(kind, coefficients)


def _make_spline(
    top_adu: float, count: int, size: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return nodes and corrections of a smooth spline that starts at zero."""
    fraction = np.linspace(0.0, 1.0, count) ** 1.5
    wave = rng.uniform(-1.0, 1.0, 3) @ np.array([fraction, fraction**2, np.sin(2.0 * np.pi * fraction) / 6.0])
    return top_adu * fraction, size * top_adu * wave * fraction


def _make_charge_transfer(number: int, rng: np.random.Generator) -> SimulatedChargeTransfer:
    """Return the charge transfer of an amplifier; the form of the trap goes by its number."""
    size = float(rng.uniform(5.0, 30.0))
    midpoint = float(rng.uniform(4e3, 2e4))
    # The logistic curve starts at 5e-5 of its size, so that no charge is taken from nothing.
    forms = (
        ("linear", np.array([rng.uniform(2e-3, 2e-2)])),
        ("logistic", np.array([midpoint, 10.0 / midpoint])),
        ("spline", np.array([0.0, 2e2, 2e3, 2e4, 2e5, 0.0, 0.1 * size, 0.4 * size, 0.8 * size, size])),
        None,
    )
    form = forms[number % len(forms)]
    trap = None
    if form is not None:
        trap = SimulatedTrap(size, float(rng.uniform(0.4, 1.5)), int(rng.integers(1, 4)), *form)
    return SimulatedChargeTransfer(
        drift_scale=float(rng.uniform(5e-5, 3e-4)),
        decay_time_px=float(rng.uniform(1.5, 3.0)),
        global_cti=float(rng.uniform(0.5e-7, 2e-7)),
        trap=trap,
    )


def _make_defects(bbox: Box, rng: np.random.Generator) -> tuple[Box, ...]:
    """Return bad columns and bad boxes in turn, one pair per two million pixels and at least one."""
    height, width = bbox.shape
    boxes = []
    for _ in range(max(1, round(bbox.area / 2e6))):
        x = int(rng.integers(8, width - 8))
        length = int(rng.integers(height // 4, height // 2))
        start = int(rng.choice([0, height - length]))
        boxes.append(Box.factory[start : start + length, x : x + 1])
        x, y = int(rng.integers(8, width - 12)), int(rng.integers(8, height - 12))
        boxes.append(Box.factory[y : y + int(rng.integers(1, 4)), x : x + int(rng.integers(1, 4))])
    return tuple(boxes)
