"""A mini survey of raws: its repository and the truth behind it."""

from __future__ import annotations

__all__ = (
    "CALIBRATION_COLLECTION",
    "EFFECTS_FILE",
    "LOSSY_COLLECTION",
    "RAW_SURVEY_CONFIG",
    "RawSurvey",
    "make_survey_sensor",
)

import dataclasses
import functools
import json
from pathlib import Path
from typing import Self, override

import numpy as np

from lsst.daf.butler import Butler

from ..errors import DatasetNotFoundError, RequestError
from ._calibration_truth import make_simulated_calibrations
from ._config import INSTRUMENT, SurveyConfig
from ._effects import Effects
from ._electronics import SimulatedRaw, simulate_raw
from ._originals import make_exposure_fields
from ._scene import DetectorScene, make_detector_scene
from ._sensor import PHYSICAL_TYPES, Sensor, SimulatedCalibrations, make_sensor
from ._survey import MiniSurvey
from ._visit_plan import EXPOSURE_SECONDS, VisitPlan

RAW_SURVEY_CONFIG = SurveyConfig(visits_per_band=1, detector_shape=(240, 512))
"""A survey of one visit per band, with detectors of 16 amplifiers of 120 x 64 pixels."""

DARK_SECONDS = EXPOSURE_SECONDS + 1.0
"""Time in which dark current gathers."""

LOSSY_COLLECTION = f"{INSTRUMENT}/defaults_lossy"
"""Chained collection with everything, the visit images with lossy compression."""

CALIBRATION_COLLECTION = f"{INSTRUMENT}/calib"
"""Collection of the certified calibrations."""

EFFECTS_FILE = "effects.json"
"""Name of the file with the simulated effects in the root of the repository."""

AMPLIFIER_ROWS, AMPLIFIER_COLUMNS = 2, 8
"""Amplifiers of a detector along y and x."""


@dataclasses.dataclass(frozen=True, eq=False)
class RawSurvey(MiniSurvey):
    """A mini survey of raws on disk, and its truth.

    The truth of a raw is not on disk: it is made again from the seeds.
    """

    effects: Effects
    """What was simulated."""

    def sensor(self, detector: int) -> Sensor:
        """Return a detector; the even ones are of the first vendor, the odd ones of the second."""
        return make_survey_sensor(self.config, detector)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a handful of surveys live in a process
    def calibrations(self, detector: int) -> SimulatedCalibrations:
        """Return the true calibrations of a detector."""
        return make_simulated_calibrations(self.sensor(detector), seed=self.config.seed)

    def scene(self, plan: VisitPlan, detector: int) -> DetectorScene:
        """Return the noise-free sky of a detector in a visit."""
        return make_detector_scene(self.config, self.truth, plan, detector)

    def simulate(
        self,
        plan: VisitPlan,
        detector: int,
        *,
        effects: Effects | None = None,
        scene: DetectorScene | None = None,
    ) -> SimulatedRaw:
        """Return a raw of the survey with its truth.

        Parameters
        ----------
        plan, detector
            Which raw.
        effects
            Effects to simulate instead of those of the survey; the noise is the same.
        scene
            What `scene` returned, if it is there.
        """
        scene = scene if scene is not None else self.scene(plan, detector)
        fields = make_exposure_fields(self.config, plan, detector, scene.bbox)
        return simulate_raw(
            fields.expected_electrons(scene),
            self.calibrations(detector),
            rng=np.random.default_rng([self.config.seed, 22, plan.visit, detector]),
            effects=effects if effects is not None else self.effects,
            exposure_time_s=EXPOSURE_SECONDS,
            dark_time_s=DARK_SECONDS,
        )

    def open_lossy(self) -> Butler:
        """Return a read-only Butler to which the visit images are those with lossy compression."""
        return Butler.from_config(str(self.root), collections=LOSSY_COLLECTION, writeable=False)

    @classmethod
    @override
    def load(cls, root: Path | str) -> Self:
        """Read a survey that `make_raw_survey` made.

        Raises
        ------
        DatasetNotFoundError
            Raised if there is no survey of raws at ``root``.
        """
        survey = MiniSurvey.load(root)
        path = survey.root / EFFECTS_FILE
        if not path.is_file():
            raise DatasetNotFoundError(f"{root} is a mini survey without raws: it lacks {EFFECTS_FILE}.")
        effects = Effects(**json.loads(path.read_text(encoding="utf-8")))
        return cls(root=survey.root, config=survey.config, truth=survey.truth, effects=effects)


def make_survey_sensor(config: SurveyConfig, detector: int) -> Sensor:
    """Return a detector of a survey.

    Raises
    ------
    RequestError
        Raised if the survey's detectors do not divide into amplifiers.
    """
    height, width = config.detector_shape
    if height % AMPLIFIER_ROWS or width % AMPLIFIER_COLUMNS:
        raise RequestError(
            f"A detector of {height} x {width} pixels does not divide into {AMPLIFIER_ROWS} x "
            f"{AMPLIFIER_COLUMNS} amplifiers."
        )
    return make_sensor(
        PHYSICAL_TYPES[detector % len(PHYSICAL_TYPES)],
        detector=detector,
        data_shape=(height // AMPLIFIER_ROWS, width // AMPLIFIER_COLUMNS),
        columns=AMPLIFIER_COLUMNS,
        seed=config.seed,
    )
