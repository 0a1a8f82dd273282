"""Which virtual datasets there are, and in which order datasets are returned."""

from __future__ import annotations

__all__ = ("Query", "find_data_ids", "sort_refs")

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lsst.daf.butler import (
    DataCoordinate,
    DatasetRef,
    DatasetType,
    DimensionGroup,
    DimensionUniverse,
    MissingDatasetTypeError,
)

from ..errors import RequestError
from .product import Product


class AnswersQueries(Protocol):
    """The part of a Butler that answers queries."""

    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimension universe of the repository."""
        ...

    def get_dataset_type(self, name: str) -> DatasetType:
        """Return the dataset type of a name."""
        ...

    def query_datasets(self, *args: Any, **options: Any) -> list[DatasetRef]:
        """Return the datasets that satisfy a query."""
        ...

    def query_data_ids(self, *args: Any, **options: Any) -> list[DataCoordinate]:
        """Return the data IDs that satisfy a query."""
        ...


@dataclass(frozen=True)
class Query:
    """What a data ID must satisfy."""

    data_id: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    bind: Mapping[str, Any] | None = None

    def as_options(self) -> dict[str, Any]:
        """Return the arguments of a Butler's methods; nothing is cut off, and nothing explained."""
        return {
            "data_id": dict(self.data_id),
            "where": self.where,
            "bind": self.bind,
            "limit": None,
            "explain": False,
        }


def find_data_ids(butler: AnswersQueries, product: Product, query: Query) -> list[DataCoordinate]:
    """Return the data IDs whose sources exist.

    Parameters
    ----------
    butler
        Butler to ask, whose datasets may be virtual.
    product
        What the data IDs are for.
    query
        What they must satisfy.

    Returns
    -------
    data_ids
        Data IDs with dimension records, in no particular order.
    """
    own = butler.dimensions.conform(product.dimensions)
    kept: dict[tuple[Any, ...], DataCoordinate] | None = None
    for source in product.sources:
        found = _find_with_source(butler, own, source, query)
        kept = found if kept is None else {key: kept[key] for key in kept if key in found}
        if not kept:
            return []
    return [data_id for data_id in (kept or {}).values() if product.covers(data_id)]


def _find_with_source(
    butler: AnswersQueries, own: DimensionGroup, source: str, query: Query
) -> dict[tuple[Any, ...], DataCoordinate]:
    """Return the data IDs that go with a dataset of some type, by their values."""
    try:
        needed = butler.get_dataset_type(source).dimensions
        refs = butler.query_datasets(source, **query.as_options())
    except MissingDatasetTypeError:
        return {}
    there = {ref.dataId.required_values for ref in refs}
    if not there:
        return {}
    # What goes with what, be it by a visit's exposures or by place, is the registry's business.
    joined = butler.dimensions.conform([*own.names, *needed.names])
    rows = butler.query_data_ids(joined, with_dimension_records=True, **query.as_options())
    found = (row.subset(own) for row in rows if row.subset(needed).required_values in there)
    return {data_id.required_values: data_id for data_id in found}


def sort_refs(refs: Iterable[DatasetRef], order_by: Iterable[str] | str | None) -> list[DatasetRef]:
    """Return datasets in an order.

    Parameters
    ----------
    refs
        Datasets with dimension records.
    order_by
        Terms like those of a Butler: a dimension, ``visit.timespan.begin`` or
        another field of a record, each with a minus sign for the opposite
        direction.

    Returns
    -------
    sorted_refs
        The datasets.

    Raises
    ------
    RequestError
        Raised if a term is not understood.
    """
    terms = [order_by] if isinstance(order_by, str) else list(order_by or ())
    ordered = list(refs)
    # The first term counts most, so it sorts last.
    for term in reversed(terms):
        path = term.removeprefix("-").split(".")
        ordered.sort(key=lambda ref: _find_key(ref, path), reverse=term.startswith("-"))
    return ordered


def _find_key(ref: DatasetRef, path: Sequence[str]) -> Any:
    """Return a value of a data ID, or of one of its records."""
    data_id = ref.dataId
    name, *fields = path
    try:
        if not fields:
            return data_id[name]
        value: Any = data_id.records[name]
        for attribute in fields:
            value = getattr(value, attribute)
    except (LookupError, AttributeError) as error:
        raise RequestError(
            f"{ref.datasetType.name} cannot be ordered by {'.'.join(path)!r}; its dimensions are "
            f"{sorted(data_id.dimensions.names)}."
        ) from error
    return value
