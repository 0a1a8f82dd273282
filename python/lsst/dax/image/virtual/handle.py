"""A dataset that is read, or made, later."""

from __future__ import annotations

__all__ = ("VirtualHandle",)

from collections.abc import Mapping
from typing import Any

from lsst.daf.butler import DataCoordinate, DatasetRef, StorageClass

from ..repository import ReadsDatasets


class VirtualHandle:
    """A dataset that is read, or made, when it is asked for.

    Parameters
    ----------
    butler
        Butler that reads or makes it.
    ref
        The dataset.
    parameters, storage_class
        As for `VirtualButler.get`.
    """

    def __init__(
        self,
        butler: ReadsDatasets,
        ref: DatasetRef,
        parameters: Mapping[str, Any] | None,
        storage_class: StorageClass | str | None,
    ) -> None:
        self.butler = butler
        self.ref = ref
        self.parameters = dict(parameters or {})
        self.storage_class = storage_class

    @property
    def dataId(self) -> DataCoordinate:  # noqa: N802  # as Butler has it
        """Data ID of the dataset."""
        return self.ref.dataId

    def get(
        self,
        *,
        component: str | None = None,
        parameters: dict[str, Any] | None = None,
        storageClass: str | StorageClass | None = None,  # noqa: N803  # as Butler has it
    ) -> Any:
        """Return the dataset or a component of it, as `VirtualButler.get` does."""
        ref = self.ref if component is None else self.ref.makeComponentRef(component)
        chosen = self.storage_class if storageClass is None and component is None else storageClass
        return self.butler.get(
            ref, parameters={**self.parameters, **(parameters or {})} or None, storageClass=chosen
        )
