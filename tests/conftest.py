"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.offline import stay_offline

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from lsst.dax.image.simulation import MiniSurvey

stay_offline()

# The imports of the fixtures cost seconds: tests that use none do not pay.


@pytest.fixture(scope="session")
def mini_survey(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    """Return the default mini survey; all tests share it, so read only."""
    from tests.support.survey import shared_mini_survey

    return shared_mini_survey(tmp_path_factory)


@pytest.fixture(scope="session")
def _session_butler(mini_survey: MiniSurvey) -> Iterator[Butler]:
    """Return the Butler that the tests' Butlers are clones of."""
    butler = mini_survey.open()
    yield butler
    butler.close()


@pytest.fixture
def mini_butler(_session_butler: Butler, mini_survey: MiniSurvey) -> Butler:
    """Return a fresh read-only Butler of the mini survey, its collections set."""
    return _session_butler.clone(collections=mini_survey.collections)
