"""The parameters of a survey."""

from __future__ import annotations

import json

import pytest

from lsst.dax.image.errors import RequestError
from lsst.dax.image.repository.skymap import RingsSkyMap
from lsst.dax.image.simulation import SurveyConfig


def test_json_round_trip():
    config = SurveyConfig(seed=3, center=(10.0, -80.0), detector_grid=(2, 1), sky_map=RingsSkyMap())
    assert SurveyConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_center_chooses_the_tract():
    config = SurveyConfig(center=(295.9, -26.0), sky_map=RingsSkyMap())
    assert config.tract == 5428


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visits_per_band": 0}, "visits_per_band of a survey must be at least 1, not 0"),
        ({"detector_grid": (0, 2)}, "detector_grid of a survey must be at least 1, not 0"),
        ({"time_span_days": 0}, "time_span_days of a survey must be at least 1, not 0"),
        ({"detector_shape": (63, 200)}, r"at least 64 x 64 pixels, not \(63, 200\)"),
        ({"star_density": -1.0}, "must not be negative: stars -1.0"),
    ],
)
def test_impossible_surveys(change, message):
    with pytest.raises(RequestError, match=message):
        SurveyConfig(**change)
