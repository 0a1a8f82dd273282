"""A Butler that makes what is missing."""

from __future__ import annotations

__all__ = ("MAX_BYTES", "VIRTUAL_RUN", "VirtualButler")

import logging
from collections.abc import Iterable
from typing import Any, Self, override

from lsst.daf.butler import (
    DatasetProvenance,
    DatasetRef,
    StorageClass,
    StorageClassFactory,
)
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.resources import ResourcePath

from ..errors import UnsupportedProductError
from ..repository import ButlerLike, DatasetHandle, name_dataset
from ._finding import VIRTUAL_RUN, FindingButler
from ._workshop import Workshop
from .handle import VirtualHandle
from .product import Product, make_uuid

MAX_BYTES = 2**30
"""Bytes of made pixels that are kept by default."""

_LOG = logging.getLogger(__name__)


class VirtualButler(FindingButler):
    """A Butler that returns what is stored, and makes what is not.

    It satisfies `~lsst.dax.image.repository.ButlerLike`, so that cutouts,
    mosaics, coadds and light curves of datasets that were never stored are the
    same calls as those of stored ones.  Several threads may use one; it pickles
    where its Butler does.

    Parameters
    ----------
    butler
        Butler of what is stored.  Inputs are looked for in its default
        collections.
    products
        Dataset types that can be made.
    write_to
        Collection (of type RUN; made if it is not there) to which datasets are
        written that were asked for as a whole; nothing is written if `None`.
    max_bytes
        Most bytes of made pixels to keep in memory, and as many of calibrations.

    Raises
    ------
    RequestError
        Raised if two products have one name, if a dataset type of that name is
        registered with other dimensions, or if the Butler cannot be cloned or,
        where that is asked for, written to.
    VirtualCycleError
        Raised if products are made from each other.

    Notes
    -----
    The UUID of a virtual dataset follows from its dataset type, data ID and
    the product's fingerprint.  So `get_dataset` finds a dataset by the UUID
    that another process handed out, by going through what can be made.

    A dataset that is registered, but whose file was removed, keeps its UUID.
    """

    def __init__(
        self,
        butler: ButlerLike,
        products: Iterable[Product],
        *,
        write_to: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(butler, products, write_to)
        self._max_bytes = max_bytes
        self._workshop = Workshop(max_bytes)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        products = tuple(self._products.values())
        return _make_again, (self._butler, products, self._write_to, self._max_bytes)

    def clone(self, **options: Any) -> Self:
        """Return a Butler of the same products.

        Parameters
        ----------
        **options
            What the clone has different, such as ``collections``.

        Returns
        -------
        clone
            Without options it shares what has been made.
        """
        if options:
            butler = self._butler.clone(**options)
            products = self._products.values()
            return type(self)(butler, products, write_to=self._write_to, max_bytes=self._max_bytes)
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        return clone

    def close(self) -> None:
        """Close the Butler of what is stored, and forget what was made."""
        self._workshop = Workshop(0)
        if hasattr(self._butler, "close"):
            self._butler.close()

    @property
    def n_pixels_made(self) -> dict[str, int]:
        """Pixels that were made so far, by dataset type.

        A visit image counts by the pixels that were stitched; its instrument
        signature was removed from the whole detector.
        """
        return self._workshop.n_pixels

    def is_made(self, ref: DatasetRef, /) -> bool:
        """Tell whether a dataset is made when it is asked for, because there is no file of it.

        Parameters
        ----------
        ref
            Dataset or component.

        Returns
        -------
        is_made
            False for what is stored, and for what cannot be made either.
        """
        parent = ref.makeCompositeRef() if ref.isComponent() else ref
        product = self._products.get(parent.datasetType.name)
        if product is None:
            return False
        if self._has_file(parent):
            return False
        # Anything else with this name was made by another recipe.
        return parent.id == make_uuid(product, parent.dataId) or self._is_registered(parent)

    def _is_registered(self, ref: DatasetRef) -> bool:
        """Tell whether the registry knows a dataset."""
        return self._stored.get_dataset(ref.id) is not None

    def get(
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: StorageClass | str | None = None,  # noqa: N803  # as Butler has it
    ) -> Any:
        """Return a dataset or a component, stored or made.

        Parameters
        ----------
        ref
            Dataset or component.
        parameters
            ``bbox`` for the pixels that are wanted: no more are made than
            these need.  A made component named ``components`` takes
            ``components``, a list of names.
        storageClass
            Storage class to convert to.

        Returns
        -------
        value
            What is stored, or would have been.

        Raises
        ------
        NoCoverageError
            Raised if a box reaches off a made dataset.
        DaxImageError
            Raised if an input is missing or not usable.
        """
        if not self.is_made(ref):
            return self._stored.get(ref, parameters=parameters, storageClass=storageClass)
        component = ref.datasetType.component()
        parent = ref.makeCompositeRef() if ref.isComponent() else ref
        product = self._products[parent.datasetType.name]
        value = self._workshop.make(
            product,
            parent,
            component,
            parameters or {},
            butler=self._without(product),
            stored=self._stored,
        )
        if component is None and not parameters:
            self._write(parent, value)
        if storageClass is None:
            return value
        chosen = (
            StorageClassFactory().getStorageClass(storageClass)
            if isinstance(storageClass, str)
            else storageClass
        )
        return chosen.coerce_type(value)

    def getDeferred(  # noqa: N802  # as Butler has it
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: str | StorageClass | None = None,  # noqa: N803  # as Butler has it
    ) -> DatasetHandle:
        """Return a handle that reads or makes the dataset later."""
        return VirtualHandle(self, ref, parameters, storageClass)

    def getURI(self, ref: DatasetRef, /, *, predict: bool = False) -> ResourcePath:  # noqa: N802
        """Return the URI of a dataset's file.

        Raises
        ------
        UnsupportedProductError
            Raised if there is no file, and none is written.
        """
        if not predict and self.is_made(ref):
            if self._write_to is None:
                raise UnsupportedProductError(
                    f"{name_dataset(ref)} has no file: it is made when it is asked for, and no collection "
                    f"to write it to was given."
                )
            self.get(ref.makeCompositeRef() if ref.isComponent() else ref)
        return self._stored.getURI(ref, predict=predict)

    def _without(self, product: Product) -> Self:
        """Return the Butler that a dataset of a product is made with: it must not find what is being made."""
        other = self.clone()
        others = {name: item for name, item in self._products.items() if item is not product}
        other.__dict__.update(_products=others, _hidden=self._hidden | {product.name})
        return other

    def _write(self, ref: DatasetRef, value: Any) -> None:
        """Store what was made, where that is wanted."""
        if self._write_to is None or ref.run != self._write_to:
            return
        try:
            self._stored.put(value, ref, provenance=DatasetProvenance())  # type: ignore[attr-defined]
        except ConflictingDefinitionError:
            # Someone else has made the same dataset meanwhile.
            _LOG.info("%s has been written already.", name_dataset(ref))


def _make_again(
    butler: ButlerLike, products: tuple[Product, ...], write_to: str | None, max_bytes: int
) -> VirtualButler:
    """Make a Butler in another process."""
    return VirtualButler(butler, products, write_to=write_to, max_bytes=max_bytes)
