"""Each effect of a detector, switched on and off with the same noise, is removed to within a bound."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from tests.support.isr_scene import SEQUENCE, SIGMA_PX, IsrScene, make_scene

from lsst.dax.image.recreation.isr import IsrCalibrations, IsrExposure, IsrSequence, run_isr
from lsst.dax.image.simulation import Effects, SimulatedRaw, simulate_raw

DATA = (240, 128)
NEVER = ("cosmic_rays", "defects", "saturation", "bleeding")
"""What is flagged, not removed."""

# Effects that one step removes, and that step; the bounds on the difference of the images with and without:
# mean and standard deviation in electrons over blank sky.  Rounding to adu alone gives up to 0.75 electrons;
# the fit of the overscan, which differs with the noise of the row, adds to it.
CASES = [
    (("overscan_ramps",), None, 0.05, 0.90),
    (("crosstalk",), "correct_crosstalk", 0.01, 0.70),
    (("nonlinearity",), "correct_linearity", 0.01, 0.20),
    (("charge_transfer", "electronics_offset"), "correct_deferred_charge", 0.01, 0.60),
    (("bias",), "subtract_bias", 0.01, 0.70),
    (("dark",), "subtract_dark", 0.01, 0.80),
    (("brighter_fatter",), "correct_brighter_fatter_electrostatic", 0.01, 0.60),
]


def make_grid(shape: tuple[int, int], *, peak: float, spacing: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return sky with a grid of stars of one peak, and their positions (y, x)."""
    light = np.full(shape, 1000.0)
    places = np.array(
        [(y, x) for y in range(25, shape[0] - 25, spacing) for x in range(25, shape[1] - 25, spacing)]
    )
    y, x = np.mgrid[-15:16, -15:16]
    picture = peak * np.exp(-(x**2 + y**2) / (2 * SIGMA_PX**2))
    for row, column in places:
        light[row - 15 : row + 16, column - 15 : column + 16] += picture
    return light, places


def reduce(
    scene: IsrScene, raw: SimulatedRaw, *, without: tuple[str, ...] = (), sequence: IsrSequence = SEQUENCE
) -> np.ndarray:
    """Return the recovered electrons of a simulated raw."""
    exposure: IsrExposure = dataclasses.replace(scene.raw, image=raw.counts.astype(np.float32))
    calibrations: IsrCalibrations = scene.calibrations
    steps = sequence.without(*without) if without else sequence
    image: np.ndarray = run_isr(exposure, calibrations, sequence=steps).image.array
    return image


@functools.cache
def simulate_all(
    physical_type: str, peak: float, off: tuple[str, ...] = (), *, poisson: bool = True
) -> SimulatedRaw:
    scene = make_scene(physical_type, data_shape=DATA)
    light, _ = make_grid(scene.sensor.bbox.shape, peak=peak)
    # The noise of the dark current goes with it: it cannot be paired.
    effects = Effects.all().without(*NEVER, *off, *(() if poisson else ("poisson",)))
    return simulate_raw(light, scene.truth_calibrations, rng=np.random.default_rng(11), effects=effects)


@pytest.mark.parametrize("physical_type", ["E2V", "ITL"])
@pytest.mark.parametrize(("effects", "step", "mean", "stdev"), CASES, ids=[case[0][0] for case in CASES])
def test_an_effect_leaves_no_trace(
    physical_type: str, effects: tuple[str, ...], step: str | None, mean: float, stdev: float
) -> None:
    scene = make_scene(physical_type, data_shape=DATA)
    peak = 3e4
    raw_with = simulate_all(physical_type, peak, poisson=False)
    raw_without = simulate_all(physical_type, peak, effects, poisson=False)
    with_it = reduce(scene, raw_with)
    without_it = reduce(scene, raw_without, without=() if step is None else (step,))
    light, _ = make_grid(scene.sensor.bbox.shape, peak=peak)
    sky = light < 1000.5
    difference = (with_it - without_it)[sky]
    assert abs(difference.mean()) < mean
    assert difference.std() < stdev
    if step is not None:
        # Where the effect is strongest, at least nine tenths of it are gone.
        left = reduce(scene, raw_with, without=(step,)) - without_it
        strongest = np.abs(left) >= np.percentile(np.abs(left), 99.5)
        ratio = np.linalg.norm((with_it - without_it)[strongest]) / np.linalg.norm(left[strongest])
        assert ratio < {"subtract_bias": 0.2}.get(step, 0.1)


@pytest.mark.parametrize("physical_type", ["E2V", "ITL"])
@pytest.mark.parametrize("peak", [1e2, 1e3, 1e4, 1e5])
def test_fluxes_of_stars_have_no_systematic_error(physical_type: str, peak: float) -> None:
    """All effects at once change the flux of a star by less than 0.1 %, at peaks of 100 to 100000 electrons.

    The noise is the same in both exposures, so that only rounding is left;
    the mean over the stars of the grid is judged.
    """
    scene = make_scene(physical_type, data_shape=DATA)
    cases = [case for case in CASES if case[0] != ("dark",)]
    effects = tuple(name for names, _, _, _ in cases for name in names)
    with_all = reduce(scene, simulate_all(physical_type, peak))
    steps = tuple(step for _, step, _, _ in cases if step is not None)
    with_none = reduce(scene, simulate_all(physical_type, peak, effects), without=steps)
    _, places = make_grid(scene.sensor.bbox.shape, peak=peak)
    y, x = np.mgrid[-19:20, -19:20]
    aperture, annulus = np.hypot(x, y) <= 10.3, (np.hypot(x, y) > 12) & (np.hypot(x, y) < 19.5)
    difference = with_all - with_none
    stamps = [difference[row - 19 : row + 20, column - 19 : column + 20] for row, column in places]
    # The sky around the star is subtracted, as photometry does it.
    changes = np.array([(stamp[aperture] - stamp[annulus].mean()).sum() for stamp in stamps])
    flux = 2 * np.pi * SIGMA_PX**2 * peak
    error = changes.std() / np.sqrt(len(changes)) / flux
    assert abs(changes.mean() / flux) < 1e-3 + 3 * error
    assert error < 5e-3
