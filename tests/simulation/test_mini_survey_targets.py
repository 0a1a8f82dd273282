"""The survey names its special sources as targets."""

from __future__ import annotations

import astropy.units as u
import pytest

from lsst.dax.image.errors import InputNotFoundError
from lsst.dax.image.geometry import propagate_positions
from lsst.dax.image.simulation import MiniSurvey


def test_a_target_moves_with_the_truth(mini_survey: MiniSurvey) -> None:
    target = mini_survey.find_target("proper_motion")
    (row,) = (i for i, kind in enumerate(mini_survey.truth["kind"]) if kind == "proper_motion")
    for visit in (mini_survey.visits[0], mini_survey.visits[-1]):
        moved = propagate_positions(target, epoch=None, time=visit.mid)
        assert moved.separation(mini_survey.truth_positions(visit.mid)[row]) < 1e-6 * u.arcsec


def test_an_unknown_kind_is_named_with_the_known_ones(mini_survey: MiniSurvey) -> None:
    with pytest.raises(InputNotFoundError, match=r"'comet'.*'galaxy'.*'transient'"):
        mini_survey.find_target("comet")
