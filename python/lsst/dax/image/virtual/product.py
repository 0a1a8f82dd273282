"""What a virtual dataset type is, and what makes one dataset of it."""

from __future__ import annotations

__all__ = ("Maker", "MakingContext", "Product", "make_fingerprint", "make_uuid")

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

from lsst.daf.butler import DataCoordinate, DatasetRef
from lsst.images import Box, MaskedImage

from ..recreation import CalibrationCache
from ..repository import ButlerLike

_NAMESPACE = UUID("6d1f6f2e-3c39-5d0c-9b4e-0a7c1f0d8a52")
"""Namespace of the UUIDs of virtual datasets.  A change would change them all."""


@dataclass(frozen=True)
class MakingContext:
    """What a dataset may be made with."""

    butler: ButlerLike
    """Butler whose datasets may be made in turn."""

    stored: ButlerLike
    """Butler of what is stored, for the calling thread."""

    calibrations: CalibrationCache
    """Calibrations that were used last."""

    keep: Callable[[str, Callable[[], MaskedImage]], MaskedImage]
    """Keeps an intermediate image of the dataset, as long as there is room: takes its name, and what
    makes it."""


class Maker(Protocol):
    """Makes parts of one dataset; several threads may use it at a time."""

    @property
    def bbox(self) -> Box:
        """Pixels of the whole dataset."""
        ...

    def expand(self, bbox: Box, /) -> Box:
        """Return the pixels that are made anyway where a box is asked for."""
        ...

    def make(self, context: MakingContext, bbox: Box, /) -> MaskedImage:
        """Make a box, with everything that the dataset has."""
        ...

    def get_components(self) -> dict[str, Any]:
        """Return the components that are known before any pixel is made, by name."""
        ...


class Product(Protocol):
    """A dataset type whose datasets can be made.  It pickles, and equal ones make equal pixels."""

    @property
    def name(self) -> str:
        """Name of the dataset type."""
        ...

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions of the dataset type."""
        ...

    @property
    def storage_class(self) -> str:
        """Name of the storage class."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """Dataset types without which there is no dataset; stored ones or virtual ones."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Dataset types that are taken from `MakingContext.butler`, so that they may be virtual."""
        ...

    @property
    def fingerprint(self) -> str:
        """Text that is equal for products that make equal pixels, in any process."""
        ...

    def covers(self, data_id: DataCoordinate, /) -> bool:
        """Tell whether a data ID, whose sources exist, is one of the product."""
        ...

    def plan(self, context: MakingContext, ref: DatasetRef, /) -> Maker:
        """Find out what a dataset is made from, before any pixel is made."""
        ...


def make_fingerprint(**values: Any) -> str:
    """Return a text that is equal for equal values.

    Parameters
    ----------
    **values
        Values that JSON has.

    Returns
    -------
    fingerprint
        Thirty-two hexadecimal digits.
    """
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def make_uuid(product: Product, data_id: DataCoordinate) -> UUID:
    """Return the UUID of a virtual dataset, which is the same in any process and at any time.

    Parameters
    ----------
    product
        What it is.
    data_id
        Which one.

    Returns
    -------
    uuid
        UUID of version 5, of the dataset type, the required values of the data
        ID and the product's fingerprint.
    """
    key = {name: data_id[name] for name in data_id.dimensions.required}
    name = json.dumps([product.name, key, product.fingerprint], sort_keys=True, separators=(",", ":"))
    return uuid5(_NAMESPACE, name)
