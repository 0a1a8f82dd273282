"""The real Butler satisfies what the library asks of one."""

from __future__ import annotations

from unittest.mock import MagicMock, create_autospec

import pytest
from lsst.daf.butler import Butler, LimitedButler

from lsst.dax.image.repository import (
    ButlerLike,
    DatasetHandle,
    FindsDatasets,
    LocatesDatasets,
    ReadsDatasets,
    find_datasets,
)


def _accepts(
    finds: FindsDatasets, locates: LocatesDatasets, reads: ReadsDatasets, all_of_it: ButlerLike
) -> None:
    """Take one of each; mypy checks the calls below."""


def test_the_signatures_fit(mini_butler: Butler) -> None:
    _accepts(mini_butler, mini_butler, mini_butler, mini_butler)
    limited: LimitedButler = mini_butler
    reads: ReadsDatasets = limited
    locates: LocatesDatasets = limited
    assert isinstance(reads, ReadsDatasets)
    assert isinstance(locates, LocatesDatasets)


def test_the_names_are_there_at_run_time(mini_butler: Butler) -> None:
    for protocol in (ButlerLike, FindsDatasets, LocatesDatasets, ReadsDatasets):
        assert isinstance(mini_butler, protocol)
        assert isinstance(create_autospec(Butler, instance=True), protocol)
        assert not isinstance(object(), protocol)
    handle = mini_butler.getDeferred(find_datasets(mini_butler, "visit_image")[0])
    assert isinstance(handle, DatasetHandle)


def test_a_limited_butler_does_not_find() -> None:
    limited = MagicMock(spec=LimitedButler)
    assert isinstance(limited, ReadsDatasets)
    assert not isinstance(limited, FindsDatasets)


@pytest.mark.parametrize("method", ["find_dataset", "query_datasets", "getURI", "get"])
def test_each_method_is_needed(method: str) -> None:
    names = [name for name in dir(ButlerLike) if not name.startswith("_") and name != method]
    assert not isinstance(MagicMock(spec=names), ButlerLike)
