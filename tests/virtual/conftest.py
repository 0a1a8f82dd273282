"""Fixtures of the tests of virtual datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from lsst.daf.butler import Butler
from tests.support.raw_survey import shared_raw_survey
from tests.support.virtual_survey import OpenVirtual, VirtualSurvey, make_virtual_survey

from lsst.dax.image.virtual import Product, VirtualButler


@pytest.fixture(scope="session")
def virtual_survey(tmp_path_factory: pytest.TempPathFactory) -> VirtualSurvey:
    """Return a survey in two repositories, one of which has no visit images; read only."""
    return make_virtual_survey(shared_raw_survey(tmp_path_factory), tmp_path_factory.mktemp("virtual"))


@pytest.fixture
def stored_butler(virtual_survey: VirtualSurvey) -> Iterator[Butler]:
    """Return a Butler of the stored visit images."""
    butler = virtual_survey.open_stored()
    yield butler
    butler.close()


@pytest.fixture
def virtual_butler(virtual_survey: VirtualSurvey) -> Iterator[VirtualButler]:
    """Return a Butler that has made nothing yet."""
    butler = virtual_survey.open_virtual()
    yield butler
    butler.close()


@pytest.fixture
def open_virtual(virtual_survey: VirtualSurvey) -> Iterator[OpenVirtual]:
    """Return what opens Butlers of products, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(*products: Product, **options: Any) -> VirtualButler:
            butler = virtual_survey.open_virtual(*products, **options)
            stack.callback(butler.close)
            return butler

        yield open_one
