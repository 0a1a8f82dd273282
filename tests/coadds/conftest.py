"""Surveys that the tests of coadds share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lsst.daf.butler import Butler
from tests.support.coadd_survey import add_artifacts, make_field, make_stars

from lsst.dax.image.simulation import MiniSurvey


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    """Return nine visits of the mini survey in two bands; read only."""
    return make_field(tmp_path_factory.mktemp("coadd_field"))


@pytest.fixture(scope="session")
def field_butler(field: MiniSurvey) -> Iterator[Butler]:
    """Return a Butler of that survey."""
    with field.open() as butler:
        yield butler


@pytest.fixture(scope="session")
def stars(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    """Return visits of equal stars on a constant background; read only."""
    return make_stars(tmp_path_factory.mktemp("coadd_stars"))


@pytest.fixture(scope="session")
def stars_butler(stars: MiniSurvey) -> Iterator[Butler]:
    """Return a Butler of those."""
    with stars.open() as butler:
        yield butler


@pytest.fixture(scope="session")
def quiet_butler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Butler]:
    """Return a Butler of the same visits without noise, which their variances tell of all the same."""
    with make_stars(tmp_path_factory.mktemp("coadd_quiet"), noise=0.0).open() as butler:
        yield butler


@pytest.fixture(scope="session")
def struck_butler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Butler]:
    """Return a Butler of the visits of equal stars, the same noise and artifacts."""
    with make_stars(tmp_path_factory.mktemp("coadd_struck"), change=add_artifacts).open() as butler:
        yield butler
