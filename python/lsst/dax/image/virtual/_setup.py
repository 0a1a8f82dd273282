"""What is checked and prepared before a dataset is found or made."""

from __future__ import annotations

__all__ = ("check_registered", "index_products", "make_type", "prepare_writing")

from collections.abc import Iterable
from typing import Any

from lsst.daf.butler import DatasetType, DimensionUniverse, MissingDatasetTypeError

from ..errors import RequestError, VirtualCycleError
from ..repository import ButlerLike
from .product import Product


def index_products(products: Iterable[Product]) -> dict[str, Product]:
    """Return products by name, after a look for two of one name and for cycles."""
    index: dict[str, Product] = {}
    for product in products:
        if product.name in index:
            raise RequestError(f"Two products are named {product.name!r}: {index[product.name]}, {product}.")
        index[product.name] = product

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise VirtualCycleError(f"Products are made from each other: {' from '.join((*path, name))}.")
        for source in index[name].inputs if name in index else ():
            visit(source, (*path, name))

    for name in index:
        visit(name, ())
    return index


def make_type(product: Product, universe: DimensionUniverse) -> DatasetType:
    """Return the dataset type of a product."""
    return DatasetType(product.name, product.dimensions, product.storage_class, universe=universe)


def check_registered(butler: ButlerLike, product: Product) -> None:
    """Raise if a registered dataset type is another one."""
    try:
        registered = butler.get_dataset_type(product.name)
    except MissingDatasetTypeError:
        return
    own = make_type(product, butler.dimensions)
    if registered.dimensions != own.dimensions or not registered.storageClass.can_convert(own.storageClass):
        raise RequestError(
            f"{product.name!r} is registered as {registered.storageClass_name} with the dimensions "
            f"{sorted(registered.dimensions.names)}; the product is {own.storageClass_name} with "
            f"{sorted(own.dimensions.names)}."
        )


def prepare_writing(butler: Any, run: str, products: Iterable[Product]) -> None:
    """Register collection and dataset types."""
    if not (hasattr(butler, "put") and butler.isWriteable()):
        raise RequestError(f"What is made cannot be written to {run!r}: the Butler is read-only.")
    butler.collections.register(run)
    for product in products:
        butler.registry.registerDatasetType(make_type(product, butler.dimensions))
