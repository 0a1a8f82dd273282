"""What is stored of an image besides its pixels, without opening the file again."""

from __future__ import annotations

__all__ = ("ContainerArchive", "parse_components")

import io
import re
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any, Final, override

import astropy.io.fits
import astropy.table
import numpy as np
import pydantic
from numpy.typing import NDArray

from lsst.images import VisitImageSerializationModel
from lsst.images.fits import PointerModel
from lsst.images.serialization import (
    ArchiveReadError,
    ArrayReferenceModel,
    DetachedArchive,
    TableModel,
    no_header_updates,
)

from ..errors import InputDataError
from ._counts import check_axis_counts
from .layout import ContainerLayout
from .sources import ByteSource

type _HeaderUpdate = Callable[[astropy.io.fits.Header], None]

_KINDS = ("visit_image", "difference_image")  # whose components lie in the JSON tree and in tables
_COMPONENTS = ("psf", "obs_info", "aperture_corrections", "bounds", "photometric_scaling")


def _select_fields(*names: str) -> type[pydantic.BaseModel]:
    """Return the model of some components; to validate all takes twice as long."""
    fields = VisitImageSerializationModel[PointerModel].model_fields
    definitions: Any = {name: (fields[name].annotation, fields[name]) for name in names}
    model: type[pydantic.BaseModel] = pydantic.create_model("ComponentsTree", **definitions)
    return model


_MODELS: Final = MappingProxyType({name: _select_fields(name) for name in _COMPONENTS})

_SOURCE = re.compile(r"fits:(?P<name>[\w/\-]+)(?:,(?P<version>\d{1,9}))?(?:\[\w+\])?$")
_UNREADABLE = (ArchiveReadError, OSError, ValueError, LookupError, TypeError, AttributeError)


class ContainerArchive(DetachedArchive):
    """Reads the tables that a file's JSON tree refers to, each in one range.

    Parameters
    ----------
    source
        The file.
    layout
        Where everything is in it.
    """

    def __init__(self, source: ByteSource, layout: ContainerLayout) -> None:
        super().__init__()
        self._source = source
        self._index = {(hdu.name, hdu.version): hdu for hdu in layout.index}

    @override
    def get_table(
        self, model: TableModel, strip_header: _HeaderUpdate = no_header_updates
    ) -> astropy.table.Table:
        table = astropy.table.Table(self.get_structured_array(model, strip_header))
        for column in model.columns:
            column.update_table(table)
        return table

    @override
    def get_structured_array(
        self, model: TableModel, strip_header: _HeaderUpdate = no_header_updates
    ) -> NDArray[Any]:
        data = model.columns[0].data
        found = _SOURCE.match(str(data.source)) if isinstance(data, ArrayReferenceModel) else None
        hdu = None if found is None else self._index.get((found["name"].upper(), int(found["version"] or 1)))
        if hdu is None:
            raise InputDataError(f"{self._source.name} has no table {data}, which its JSON tree names.")
        (content,) = self._source.read_ranges([(hdu.header, hdu.data + hdu.size)])
        try:
            # astropy believes what a damaged header says of its sizes.
            check_axis_counts(io.BytesIO(content))
            records = astropy.io.fits.BinTableHDU.fromstring(bytes(content)).data
            # Fields apply scales and logical values, which the raw rows do not.
            columns = {name: np.asarray(records[name]) for name in records.dtype.names}
        except _UNREADABLE as error:
            raise InputDataError(
                f"{self._source.name} has a damaged table {hdu.name}: {type(error).__name__}: {error}"
            ) from error
        native = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in columns.items()}
        fields = [(name, column.dtype, column.shape[1:]) for name, column in native.items()]
        rows = np.empty(len(records), dtype=fields)
        for name, column in native.items():
            rows[name] = column
        return rows


def parse_components(layout: ContainerLayout, names: Iterable[str]) -> dict[str, Any] | None:
    """Parse components in the JSON tree of a file.

    Parameters
    ----------
    layout
        Layout of the file.
    names
        Components: ``psf``, ``obs_info``, ``aperture_corrections``,
        ``bounds`` or ``photometric_scaling``.

    Returns
    -------
    trees
        What the tree says about each; `None` for a file that is neither a
        visit image nor a difference image.

    Raises
    ------
    InputDataError
        Raised if the tree contradicts its schema.
    """
    if layout.tree.kind not in _KINDS:
        return None
    trees = {}
    for name in names:
        try:
            trees[name] = getattr(_MODELS[name].model_validate_json(layout.json), name)
        except (pydantic.ValidationError, RecursionError, *_UNREADABLE) as error:
            lines = str(error).splitlines()[:3]
            raise InputDataError(
                f"The {name} of a {layout.tree.kind} contradicts its schema: {' '.join(lines)}"
            ) from error
    return trees
