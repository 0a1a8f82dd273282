"""Surveys that the tests of coadds share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lsst.daf.butler import Butler
from tests.support.coadd_survey import (
    BAND,
    PLAIN_CONFIG,
    make_field,
    make_plain_image,
    make_repository,
    make_star_positions,
)

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
    positions = make_star_positions(PLAIN_CONFIG)
    return make_repository(
        tmp_path_factory.mktemp("coadd_stars"),
        PLAIN_CONFIG,
        lambda plan, detector: make_plain_image(PLAIN_CONFIG, plan, detector, positions),
        bands=(BAND,),
    )


@pytest.fixture(scope="session")
def stars_butler(stars: MiniSurvey) -> Iterator[Butler]:
    """Return a Butler of those."""
    with stars.open() as butler:
        yield butler
