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

It needs the extra ``demo`` (GalSim).
"""

from ._config import SurveyConfig
from ._repository import make_mini_survey
from ._survey import MiniSurvey
from ._visit_plan import VisitPlan

__all__ = ("MiniSurvey", "SurveyConfig", "VisitPlan", "make_mini_survey")
