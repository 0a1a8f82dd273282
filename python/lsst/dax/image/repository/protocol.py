"""What the library needs of a Butler, as small structural types.

Limited butlers serve where they suffice.  `lsst.daf.butler.Butler` satisfies
all of them; a typed test holds it against them.
"""

from __future__ import annotations

__all__ = (
    "ButlerLike",
    "DatasetHandle",
    "FindsDatasets",
    "LocatesDatasets",
    "MakesDatasets",
    "ReadsDatasets",
)

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lsst.daf.butler import (
    DataCoordinate,
    DataId,
    DatasetRef,
    DatasetType,
    DimensionRecord,
    DimensionUniverse,
    StorageClass,
    Timespan,
)
from lsst.resources import ResourcePath


@runtime_checkable
class DatasetHandle(Protocol):
    """A dataset that is read when it is asked for."""

    @property
    def dataId(self) -> Any:  # noqa: N802
        """Data ID of the dataset."""
        ...

    def get(
        self,
        *,
        component: str | None = None,
        parameters: dict[str, Any] | None = None,
        storageClass: str | StorageClass | None = None,  # noqa: N803
    ) -> Any:
        """Read the dataset or one of its components."""
        ...


@runtime_checkable
class ReadsDatasets(Protocol):
    """Reads datasets whose references are resolved."""

    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimension universe of the repository."""
        ...

    def get(
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: StorageClass | str | None = None,  # noqa: N803
    ) -> Any:
        """Read a dataset or a component of it."""
        ...

    def getDeferred(  # noqa: N802
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: str | StorageClass | None = None,  # noqa: N803
    ) -> DatasetHandle:
        """Return a handle that reads the dataset later."""
        ...


@runtime_checkable
class LocatesDatasets(Protocol):
    """Knows where the file of a dataset is."""

    def getURI(self, ref: DatasetRef, /, *, predict: bool = False) -> ResourcePath:  # noqa: N802
        """Return the URI of the dataset's file."""
        ...


@runtime_checkable
class MakesDatasets(Protocol):
    """Makes datasets that have no file; its ``get`` takes ``bbox`` for all that has pixels."""

    def is_made(self, ref: DatasetRef, /) -> bool:
        """Tell whether a dataset is made when it is asked for, because there is no file of it."""
        ...


@runtime_checkable
class FindsDatasets(ReadsDatasets, Protocol):
    """Answers queries, as a full Butler does."""

    def find_dataset(
        self,
        dataset_type: DatasetType | str,
        data_id: DataId | None = None,
        *,
        collections: str | Sequence[str] | None = None,
        timespan: Timespan | None = None,
        storage_class: str | StorageClass | None = None,
        dimension_records: bool = False,
        datastore_records: bool = False,
        **kwargs: Any,
    ) -> DatasetRef | None:
        """Return the first dataset of a data ID in the collections."""
        ...

    def get_dataset(
        self,
        id: uuid.UUID | str,  # noqa: A002
        *,
        storage_class: str | StorageClass | None = None,
        dimension_records: bool = False,
        datastore_records: bool = False,
    ) -> DatasetRef | None:
        """Return the reference of a dataset UUID."""
        ...

    def get_dataset_type(self, name: str) -> DatasetType:
        """Return the dataset type of a name."""
        ...

    def query_datasets(
        self,
        dataset_type: str | DatasetType,
        collections: str | Iterable[str] | None = None,
        *,
        find_first: bool = True,
        data_id: DataId | None = None,
        where: str = "",
        bind: Mapping[str, Any] | None = None,
        with_dimension_records: bool = False,
        order_by: Iterable[str] | str | None = None,
        limit: int | None = -20_000,
        explain: bool = True,
        **kwargs: Any,
    ) -> list[DatasetRef]:
        """Return the datasets that satisfy a query."""
        ...

    def query_dimension_records(
        self,
        element: str,
        *,
        data_id: DataId | None = None,
        where: str = "",
        bind: Mapping[str, Any] | None = None,
        order_by: Iterable[str] | str | None = None,
        limit: int | None = -20_000,
        explain: bool = True,
        **kwargs: Any,
    ) -> list[DimensionRecord]:
        """Return the records of a dimension that satisfy a query."""
        ...

    def query_data_ids(
        self,
        dimensions: Any,
        *,
        data_id: DataId | None = None,
        where: str = "",
        bind: Mapping[str, Any] | None = None,
        with_dimension_records: bool = False,
        order_by: Iterable[str] | str | None = None,
        limit: int | None = -20_000,
        explain: bool = True,
        **kwargs: Any,
    ) -> list[DataCoordinate]:
        """Return the data IDs that satisfy a query."""
        ...


@runtime_checkable
class ButlerLike(FindsDatasets, LocatesDatasets, Protocol):
    """All that the library asks of a Butler."""
