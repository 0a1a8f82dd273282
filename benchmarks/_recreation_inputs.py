"""Raws of full detectors in a Butler repository, simulated once and kept.

One visit of the simulated survey, on one detector per vendor: raw, calibrations,
and the visit image that the slow reference reduction of the simulation made of
them.  Beside the repository lies the truth, which would take as long again.
"""

from __future__ import annotations

__all__ = ("Truth", "load_truth", "prepare_survey")

import dataclasses
import functools
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lsst.daf.butler import Butler

from lsst.dax.image.simulation import Effects, RawSurvey, SurveyConfig, VisitPlan
from lsst.dax.image.simulation._raw_repository import (
    _ingest_calibrations,
    _ingest_visit,
    _make_repository_config,
    _register,
)
from lsst.dax.image.simulation._repository import insert_dimensions, put_sky_map
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit_plan import make_visit_plans

BAND = "r"


class Truth(NamedTuple):
    """What is behind a raw: see `lsst.dax.image.simulation.RawTruth`."""

    expected: np.ndarray
    variance: np.ndarray
    cosmic_rays: np.ndarray
    saturated: np.ndarray
    defects: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class OneVisitSurvey(RawSurvey):
    """A survey of raws that ends after one visit."""

    @functools.cached_property
    def visits(self) -> tuple[VisitPlan, ...]:
        """The visit."""
        return tuple(plan for plan in make_visit_plans(self.config) if plan.band == BAND)


def prepare_survey(folder: Path, *, quick: bool, detectors: Sequence[int]) -> RawSurvey:
    """Return the survey in a folder, and make what is missing.

    Parameters
    ----------
    folder
        Where it is kept, for the next time.
    quick
        Whether the detectors are of 500 x 1024 pixels, not of 4004 x 4096.
    detectors
        0 for the first vendor, 1 for the second.

    Returns
    -------
    survey
        Survey whose repository and truth are complete for these detectors.
    """
    config = SurveyConfig(
        visits_per_band=1,
        detector_shape=(500, 1024) if quick else (4004, 4096),
        detector_grid=(1, 2),
        star_density=3.0,
        galaxy_density=0.5,
    )
    rows, columns = config.detector_shape
    root = folder.absolute() / f"recreation_{rows}x{columns}"
    survey = OneVisitSurvey(root, config, make_truth(config), Effects.all())
    if not (root / "repository").exists():
        shutil.rmtree(root, ignore_errors=True)
        _make_repository(survey)
        (root / "repository").touch()
    for detector in detectors:
        done = root / f"detector_{detector}"
        if not done.exists():
            print(f"simulating {rows} x {columns} pixels into {root} ...", end=" ", flush=True)
            start = time.monotonic()
            _add_detector(survey, detector)
            done.touch()
            print(f"{time.monotonic() - start:.0f} s", flush=True)
    return survey


def load_truth(survey: RawSurvey, detector: int) -> Truth:
    """Return the truth of a raw of the survey."""
    with np.load(survey.root / f"truth_{detector}.npz") as arrays:
        return Truth(*(arrays[name] for name in Truth._fields))


def _make_repository(survey: RawSurvey) -> None:
    """Make the repository without datasets of detectors."""
    Butler.makeRepo(str(survey.root), config=_make_repository_config())
    with Butler.from_config(str(survey.root), writeable=True) as butler:
        insert_dimensions(butler, survey)
        _register(butler)
        put_sky_map(butler, survey)


def _add_detector(survey: RawSurvey, detector: int) -> None:
    """Simulate a detector: calibrations, raw, original and truth."""
    (plan,) = survey.visits
    truth = survey.simulate(plan, detector).truth
    np.savez(survey.root / f"truth_{detector}.npz", **{name: getattr(truth, name) for name in Truth._fields})
    with (
        Butler.from_config(str(survey.root), writeable=True) as butler,
        tempfile.TemporaryDirectory(dir=survey.root) as directory,
        butler.transaction(),
    ):
        provenance = _ingest_calibrations(butler, survey.calibrations(detector), Path(directory))
        _ingest_visit(butler, survey, plan, detector, Path(directory), provenance)
