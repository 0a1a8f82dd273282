"""The mini survey: a small Butler repository simulated from a known truth.

`make_mini_survey` draws the survey and writes it through the real Butler;
`MiniSurvey` gives the truth behind it at any time.  What is exact in it, and
what is not, is said where it is made:

- Positions, fluxes and shapes are those of the truth table (`MiniSurvey.truth`).
- Point sources are drawn by GalSim from an analytic profile that varies over
  the detector, galaxies from that profile convolved with a Sersic profile.  The
  persisted PSF is a Piff pixel grid made from the same analytic profile.
- Noise is seeded by survey, visit and detector, so that any subset of a survey
  has the same pixels.

The same visits exist as raws too: `simulate_raw` follows the light through a
`Sensor` of one of the camera's vendors to its counts, with every `Effects`
switched on alone or with others, and `SimulatedCalibrations` hold the true
size of each.  `make_raw_survey` writes them with their calibrations and with
the visit images that the observatory would have made of them.  The model is
written forward, from the physics; it shares no function with
`lsst.dax.image.recreation`, which takes it away again.

It needs the extra ``demo`` (GalSim).
"""

from ._calibration_files import write_calibration_files
from ._calibration_truth import make_simulated_calibrations
from ._config import SurveyConfig
from ._effects import Effects
from ._electronics import RawTruth, SimulatedRaw, simulate_raw
from ._raw_file import RawIdentity, write_raw_file
from ._raw_repository import make_raw_survey
from ._raw_survey import RawSurvey
from ._repository import make_mini_survey
from ._sensor import (
    Sensor,
    SensorAmplifier,
    SimulatedCalibrations,
    SimulatedChargeTransfer,
    SimulatedLinearity,
    SimulatedTrap,
    make_sensor,
)
from ._silicon import accumulate_in_silicon
from ._survey import MiniSurvey
from ._visit_plan import VisitPlan

__all__ = (
    "Effects",
    "MiniSurvey",
    "RawIdentity",
    "RawSurvey",
    "RawTruth",
    "Sensor",
    "SensorAmplifier",
    "SimulatedCalibrations",
    "SimulatedChargeTransfer",
    "SimulatedLinearity",
    "SimulatedRaw",
    "SimulatedTrap",
    "SurveyConfig",
    "VisitPlan",
    "accumulate_in_silicon",
    "make_mini_survey",
    "make_raw_survey",
    "make_sensor",
    "make_simulated_calibrations",
    "simulate_raw",
    "write_calibration_files",
    "write_raw_file",
)
