"""Where the time of a re-creation goes, and how near it is to what the memory allows."""

from __future__ import annotations

__all__ = ("Part", "measure_bandwidth", "run_parts")

import dataclasses
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lsst.daf.butler import Butler
from lsst.images import VisitImage
from numba import njit

from lsst.dax.image.container import Compression
from lsst.dax.image.recreation import (
    CalibrationCache,
    VisitImageRecipe,
    fetch_calibrations,
    fetch_components,
    stitch_visit_image,
    write_visit_image,
)
from lsst.dax.image.recreation.isr import (
    CalibrationImage,
    IsrCalibrations,
    IsrExposure,
    Step,
    read_raw,
    run_steps,
)
from lsst.dax.image.repository import fetch_uri, find_by_uuid


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a re-creation."""

    name: str
    cpu: float
    """Processor time in seconds."""
    wall: float
    bytes_moved: int
    """The least that must be read from memory and written to it: planes that
    change, before and after, and the planes of a calibration; 0 if unknown."""


def run_parts(
    butler: Butler, recipe: VisitImageRecipe, cache: CalibrationCache, output: Path
) -> Iterator[tuple[Part, object]]:
    """Re-create a visit image and write it, part by part.

    Yields
    ------
    part, result
        Each part, and what it made.
    """
    clock = _Clock()
    components = fetch_components(
        butler,
        {name: find_by_uuid(butler, dataset.id) for name, dataset in recipe.components.items()},
        detector=int(recipe.raw.data_id["detector"]),
        background=recipe.background,
        with_mask=recipe.with_original_mask,
    )
    yield clock.stop("read_components"), components
    calibrations = fetch_calibrations(butler, recipe.calibrations, cache=cache)
    calibrations = dataclasses.replace(calibrations, pedestals=recipe.pedestals)
    clock.start()
    raw = read_raw(fetch_uri(butler, find_by_uuid(butler, recipe.raw.id)), components.detector)
    yield clock.stop("read_raw"), raw
    before = raw
    steps = run_steps(raw, calibrations, sequence=recipe.sequence)
    del raw
    clock.start()
    for step, exposure in steps:
        yield clock.stop(step.name, _count_bytes(step, before, exposure, calibrations)), exposure
        before = exposure
        clock.start()
    isr_image = before.to_masked_image()
    image = stitch_visit_image(
        isr_image, components, seed=recipe.seed, metadata=dict(isr_image.metadata.native)
    )
    yield clock.stop("stitch", 2 * _plane_bytes(image)), image
    clock.start()
    write_visit_image(image, output, compression=Compression.NONE, overwrite=True)
    yield clock.stop("write"), output


def measure_bandwidth() -> float:
    """Return the bytes per second of ``a = b + s c`` on one core, the best of five runs."""
    b, c = np.ones(16_000_000), np.ones(16_000_000)
    a = np.zeros_like(b)
    _triad(a, b, c, 3.0)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        _triad(a, b, c, 3.0)
        seconds.append(time.perf_counter() - start)
    return 3 * a.nbytes / min(seconds)


@njit
def _triad(a: np.ndarray, b: np.ndarray, c: np.ndarray, scale: float) -> None:
    for i in range(a.size):
        a[i] = b[i] + scale * c[i]


class _Clock:
    """Processor time and wall time since the last start."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self, name: str, bytes_moved: int = 0) -> Part:
        return Part(name, time.process_time() - self._cpu, time.perf_counter() - self._wall, bytes_moved)


def _count_bytes(step: Step, before: IsrExposure, after: IsrExposure, calibrations: IsrCalibrations) -> int:
    """Return the bytes of planes that a step changed, before and after, and of its calibration."""
    total = 0
    for plane in ("image", "mask", "variance"):
        old, new = getattr(before, plane), getattr(after, plane)
        if new is not old:
            total += old.nbytes + new.nbytes
    for name in step.needs:
        calibration = getattr(calibrations, name)
        if isinstance(calibration, CalibrationImage):
            total += calibration.image.nbytes + calibration.variance.nbytes
    return total


def _plane_bytes(image: VisitImage) -> int:
    return image.image.array.nbytes + image.mask.array.nbytes + image.variance.array.nbytes
