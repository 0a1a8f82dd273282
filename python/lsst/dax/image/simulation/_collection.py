"""The charge that a detector collects during an exposure."""

from __future__ import annotations

__all__ = ("Collected", "collect_charge", "spill_charge")

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lsst.images import Box

from ._effects import Effects
from ._pixel_area import ShiftMatrices, accumulate_charge
from ._sensor import Sensor, SimulatedCalibrations

type FloatArray = npt.NDArray[np.float64]
type BoolArray = npt.NDArray[np.bool_]

DEAD_RESPONSE = 0.2
"""Response of a dead defect."""

BRIGHT_ELECTRONS = 25_000.0
"""Charge of each pixel of a bright defect."""


@dataclasses.dataclass(frozen=True, eq=False)
class Collected:
    """Charge in the pixels of a detector before readout, in electron."""

    mean: FloatArray
    """Its mean before any effect of the detector, without cosmic rays."""
    realized: FloatArray
    """Its value in this exposure before any effect of the detector."""
    charge: FloatArray
    """What is read out."""
    saturated: BoolArray
    """Pixels that are full."""
    defects: BoolArray
    """Bad pixels."""
    cosmic_rays: BoolArray
    """Pixels with charge from cosmic rays."""


def collect_charge(
    expected: FloatArray,
    calibrations: SimulatedCalibrations,
    *,
    rng: np.random.Generator,
    effects: Effects,
    dark_time_s: float,
) -> Collected:
    """Expose a detector; see `simulate_raw`."""
    sensor = calibrations.sensor
    light_rng, dark_rng, ray_rng = rng.spawn(3)
    light = expected * calibrations.flat if effects.flat else expected.copy()
    other = calibrations.dark * dark_time_s if effects.dark else np.zeros(light.shape)
    defects = np.zeros(light.shape, dtype=bool)
    if effects.defects:
        for number, box in enumerate(calibrations.defects):
            place = (slice(box.y.start, box.y.stop), slice(box.x.start, box.x.stop))
            defects[place] = True
            if number % 2:
                other[place] += BRIGHT_ELECTRONS
            else:
                light[place] *= DEAD_RESPONSE
    realized = light + other
    if effects.poisson:
        realized = light_rng.poisson(light).astype(np.float64)
        realized += dark_rng.poisson(other)
    rays = np.zeros(light.shape, dtype=bool)
    if effects.cosmic_rays:
        rays = _add_cosmic_rays(realized, sensor.bbox, effects.cosmic_rays_per_megapixel, ray_rng)
    full_well = _full_wells(sensor) if effects.saturation else None
    charge = realized
    if effects.brighter_fatter:
        shifts = ShiftMatrices(
            north=calibrations.shift_north,
            south=calibrations.shift_south,
            east=calibrations.shift_east,
            west=calibrations.shift_west,
        )
        charge = accumulate_charge(realized, shifts, steps=effects.brighter_fatter_steps, full_well=full_well)
    saturated = np.zeros(light.shape, dtype=bool)
    if full_well is not None:
        charge = spill_charge(charge, full_well) if effects.bleeding else np.minimum(charge, full_well)
        saturated = charge >= full_well
    return Collected(
        mean=light + other,
        realized=realized,
        charge=charge,
        saturated=saturated,
        defects=defects,
        cosmic_rays=rays,
    )


def spill_charge(charge: FloatArray, full_well: FloatArray) -> FloatArray:
    """Return charge whose excess over full well has run along the columns.

    Parameters
    ----------
    charge
        Electrons per pixel.
    full_well
        Most that each pixel holds.

    Returns
    -------
    spilled
        Electrons per pixel, nowhere more than the full well.  The sum is that of
        ``charge``, but for what runs out at the ends of the columns.

    Notes
    -----
    Half of each pixel's excess runs up and half down, filling what room there is.
    """
    excess = np.maximum(charge - full_well, 0.0)
    columns = np.flatnonzero(excess.any(axis=0))
    spilled = charge.copy()
    if not columns.size:
        return spilled
    held = np.minimum(charge[:, columns], full_well[:, columns])
    half = 0.5 * excess[:, columns]
    room = full_well[:, columns] - held
    for rows in (range(len(held)), range(len(held) - 1, -1, -1)):
        flow = np.zeros(columns.size)
        for row in rows:
            stays = np.minimum(flow, room[row])
            held[row] += stays
            room[row] -= stays
            flow += half[row] - stays
    # A pixel that is filled in parts must be full to the bit.
    held = np.where(room <= 0.0, full_well[:, columns], held)
    spilled[:, columns] = held
    return spilled


def _full_wells(sensor: Sensor) -> FloatArray:
    """Return the full well of every pixel."""
    full_well = np.empty(sensor.bbox.shape)
    for amplifier in sensor.amplifiers:
        box = amplifier.bbox
        full_well[box.y.start : box.y.stop, box.x.start : box.x.stop] = amplifier.full_well
    return full_well


def _add_cosmic_rays(
    electrons: FloatArray, bbox: Box, per_megapixel: float, rng: np.random.Generator
) -> BoolArray:
    """Add straight tracks to an image, in place, and return where they are; at least one."""
    rays = np.zeros(electrons.shape, dtype=bool)
    for _ in range(1 + int(rng.poisson(1e-6 * per_megapixel * bbox.area))):
        length = int(rng.integers(3, 20))
        angle = rng.uniform(0.0, math.pi)
        along = np.arange(length)
        x = np.rint(rng.uniform(0, bbox.x.size) + along * math.cos(angle)).astype(int)
        y = np.rint(rng.uniform(0, bbox.y.size) + along * math.sin(angle)).astype(int)
        inside = (x >= 0) & (x < bbox.x.size) & (y >= 0) & (y < bbox.y.size)
        # Steps of one pixel along a slanted line do not meet a pixel twice.
        electrons[y[inside], x[inside]] += np.rint(rng.uniform(1500.0, 6000.0, length))[inside]
        rays[y[inside], x[inside]] = True
    return rays
