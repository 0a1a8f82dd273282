"""The half of a virtual Butler that finds datasets."""

from __future__ import annotations

__all__ = ("VIRTUAL_RUN", "FindingButler")

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lsst.daf.butler import (
    DataCoordinate,
    DataId,
    DatasetRef,
    DatasetType,
    DimensionRecord,
    DimensionUniverse,
    EmptyQueryResultError,
    MissingDatasetTypeError,
    StorageClass,
    Timespan,
)

from ..errors import RequestError
from ..repository import ButlerLike, SharedButler
from ._queries import Query, find_data_ids, sort_refs
from ._setup import check_registered, index_products, make_type, prepare_writing
from .product import Product, make_uuid

VIRTUAL_RUN = "virtual"
"""Collection that virtual datasets say that they are in; it is not registered."""

_MAX_HANDED_OUT = 100_000
_LOG = logging.getLogger(__name__)


class FindingButler:
    """Finds what is stored, and what can be made; see `VirtualButler`."""

    def __init__(self, butler: ButlerLike, products: Iterable[Product], write_to: str | None) -> None:
        if not hasattr(butler, "clone"):
            raise RequestError(f"A {type(butler).__name__} has no clones, which threads need.")
        self._butler = butler
        self._products = index_products(products)
        self._write_to = write_to
        self._hidden: frozenset[str] = frozenset()
        self._shared = SharedButler(butler)
        self._handed_out: OrderedDict[uuid.UUID, DatasetRef] = OrderedDict()
        self._lock = threading.Lock()
        for product in self._products.values():
            check_registered(butler, product)
        if write_to is not None:
            prepare_writing(butler, write_to, self._products.values())

    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimension universe of the repository."""
        return self._stored.dimensions

    @property
    def products(self) -> tuple[Product, ...]:
        """Dataset types that can be made."""
        return tuple(self._products.values())

    @property
    def _stored(self) -> ButlerLike:
        """The Butler of what is stored, of the calling thread."""
        return self._shared.get()

    def get_dataset_type(self, name: str) -> DatasetType:
        """Return the dataset type of a name, registered or virtual."""
        try:
            return self._stored.get_dataset_type(name)
        except MissingDatasetTypeError:
            parent, component = DatasetType.splitDatasetTypeName(name)
            if parent not in self._products:
                raise
            dataset_type = make_type(self._products[parent], self.dimensions)
            return dataset_type if component is None else dataset_type.makeComponentDatasetType(component)

    def get_dataset(
        self,
        id: uuid.UUID | str,  # noqa: A002  # as Butler has it
        *,
        storage_class: str | StorageClass | None = None,
        dimension_records: bool = False,
        datastore_records: bool = False,
    ) -> DatasetRef | None:
        """Return the reference of a dataset UUID, also if another process handed it out."""
        found = self._stored.get_dataset(
            id,
            storage_class=storage_class,
            dimension_records=dimension_records,
            datastore_records=datastore_records,
        )
        if found is not None:
            return found
        key = uuid.UUID(str(id))
        ref = self._handed_out.get(key)
        if ref is None and key.version == 5:
            every = (self._find_virtual(product, Query()) for product in self._products.values())
            ref = next((item for refs in every for item in refs if item.id == key), None)
        return ref if ref is None or storage_class is None else ref.overrideStorageClass(storage_class)

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
        """Return the dataset of a data ID: the first that is stored, or else one that can be made.

        Where collections are named, virtual datasets are found if one of them
        is that of virtual datasets (`VIRTUAL_RUN`, or ``write_to``).
        """
        product = self._products.get(_name_type(dataset_type))
        stored, is_virtual = self._split_collections(collections)
        found = None
        if stored is None or stored or product is None:
            try:
                found = self._stored.find_dataset(
                    dataset_type,
                    data_id,
                    collections=stored,
                    timespan=timespan,
                    storage_class=storage_class,
                    dimension_records=dimension_records,
                    datastore_records=datastore_records,
                    **kwargs,
                )
            except MissingDatasetTypeError:
                if product is None:
                    raise
        if found is not None and found.datasetType.nameAndComponent()[0] in self._hidden:
            return found if self._has_file(found) else None
        if found is not None or product is None or not is_virtual:
            return found
        key = DataCoordinate.standardize(
            data_id,
            dimensions=self.dimensions.conform(product.dimensions),
            universe=self.dimensions,
            **kwargs,
        )
        refs = self._find_virtual(product, Query(dict(key.required)))
        ref = refs[0] if refs else None
        return ref if ref is None or storage_class is None else ref.overrideStorageClass(storage_class)

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
        """Return the datasets that satisfy a query, stored ones and those that can be made.

        Collections are as for `find_dataset`.
        """
        product = self._products.get(_name_type(dataset_type))
        if product is None:
            return self._stored.query_datasets(
                dataset_type,
                collections,
                find_first=find_first,
                data_id=data_id,
                where=where,
                bind=bind,
                with_dimension_records=with_dimension_records,
                order_by=order_by,
                limit=limit,
                explain=explain,
                **kwargs,
            )
        searched, is_virtual = self._split_collections(collections)
        values = {
            **(dict(data_id.required) if isinstance(data_id, DataCoordinate) else data_id or {}),
            **kwargs,
        }
        query = Query(values, where, bind)
        refs: list[DatasetRef] = []
        if searched is None or searched:
            with suppress(MissingDatasetTypeError):  # it may be virtual alone
                refs = self._stored.query_datasets(
                    dataset_type,
                    searched,
                    find_first=find_first,
                    with_dimension_records=True,
                    **query.as_options(),
                )
        if is_virtual:
            there = {ref.dataId.required_values for ref in refs}
            made = self._find_virtual(product, query)
            refs = [*refs, *(ref for ref in made if ref.dataId.required_values not in there)]
        if not refs and explain:
            raise EmptyQueryResultError([f"No {product.name!r} is stored or can be made for {query}."])
        return _cut(sort_refs(refs, order_by), limit)

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
        return self._stored.query_dimension_records(
            element,
            data_id=data_id,
            where=where,
            bind=bind,
            order_by=order_by,
            limit=limit,
            explain=explain,
            **kwargs,
        )

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
        return self._stored.query_data_ids(
            dimensions,
            data_id=data_id,
            where=where,
            bind=bind,
            with_dimension_records=with_dimension_records,
            order_by=order_by,
            limit=limit,
            explain=explain,
            **kwargs,
        )

    def _has_file(self, ref: DatasetRef) -> bool:
        """Tell whether a dataset is stored, and not only known."""
        try:
            self._stored.getURI(ref)
        except (FileNotFoundError, MissingDatasetTypeError):
            return False
        return True

    def _find_virtual(self, product: Product, query: Query) -> list[DatasetRef]:
        """Return the references of what can be made."""
        dataset_type = self.get_dataset_type(product.name)
        run = VIRTUAL_RUN if self._write_to is None else self._write_to
        refs = [
            DatasetRef(dataset_type, data_id, run=run, id=make_uuid(product, data_id))
            for data_id in find_data_ids(self, product, query)
        ]
        with self._lock:
            for ref in refs:
                self._handed_out[ref.id] = ref
            while len(self._handed_out) > _MAX_HANDED_OUT:
                self._handed_out.popitem(last=False)
        return refs

    def _split_collections(self, collections: str | Iterable[str] | None) -> tuple[list[str] | None, bool]:
        """Return the collections of what is stored, and whether virtual datasets are among all of them."""
        if collections is None:
            return None, True
        named = [collections] if isinstance(collections, str) else list(collections)
        is_virtual = not {VIRTUAL_RUN, self._write_to, "*"}.isdisjoint(named)
        return [name for name in named if name != VIRTUAL_RUN], is_virtual


def _name_type(dataset_type: DatasetType | str) -> str:
    return dataset_type if isinstance(dataset_type, str) else dataset_type.name


def _cut(refs: list[DatasetRef], limit: int | None) -> list[DatasetRef]:
    """Return as many datasets as are wanted; a negative limit warns, as that of a Butler."""
    if limit is None or len(refs) <= abs(limit):
        return refs
    if limit < 0:
        _LOG.warning("More datasets are available than the %d that are returned.", -limit)
    return refs[: abs(limit)]
