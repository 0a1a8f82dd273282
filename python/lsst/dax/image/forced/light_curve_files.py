"""Tables of fluxes as files."""

from __future__ import annotations

__all__ = ("read_light_curves", "write_light_curves")

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, meta

from lsst.resources import ResourcePath, ResourcePathExpression

from ..container import placed_whole
from ..errors import InputDataError, RequestError
from .light_curve_store import import_parquet

_FORMATS = {".parquet": "parquet", ".ecsv": "ascii.ecsv"}
_HEADER = b"table_meta_yaml"  # where astropy puts units and descriptions


def write_light_curves(
    table: QTable, uri: ResourcePathExpression, *, overwrite: bool = False
) -> ResourcePath:
    """Write a table of fluxes to a file.

    Parameters
    ----------
    table
        Fluxes, of `fetch_light_curves`, `measure` or `to_sdm`.
    uri
        Local path or URI (``file``, ``s3``, ...) that ends in ``.parquet`` or
        ``.ecsv``; `read_light_curves` reads both.
    overwrite
        Whether a file of that name may be replaced.

    Returns
    -------
    uri
        Where the file is now.

    Raises
    ------
    RequestError
        Raised if the name ends in something else, or in ``.parquet`` without
        pyarrow.
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.  Nothing half-written is left.
    """
    target = ResourcePath(uri, forceAbsolute=True, forceDirectory=False)
    extension = _check_extension(target)

    with placed_whole(target, overwrite=overwrite) as path:
        table.write(str(path), format=_FORMATS[extension], overwrite=True)
    return target


def read_light_curves(uri: ResourcePathExpression) -> QTable:
    """Read a table of fluxes from a file.

    Parameters
    ----------
    uri
        What `write_light_curves` wrote.

    Returns
    -------
    table
        The table, with units and descriptions.

    Raises
    ------
    RequestError
        Raised if the name ends in neither ``.parquet`` nor ``.ecsv``, or in
        ``.parquet`` without pyarrow.
    InputDataError
        Raised if the file is missing or no table of fluxes.
    """
    source = ResourcePath(uri, forceAbsolute=True, forceDirectory=False)
    extension = _check_extension(source)
    try:
        with source.as_local() as local:
            if extension == ".parquet":
                return _read_parquet(local.ospath)
            return QTable.read(local.ospath, format=_FORMATS[extension])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputDataError(f"{source} is no table of fluxes: {type(error).__name__}: {error}") from error


def _read_parquet(path: str) -> QTable:
    """Read a Parquet file of astropy; its own reader needs pandas."""
    stored = import_parquet().read_table(path)
    header: dict[str, Any] = meta.get_header_from_yaml(stored.schema.metadata[_HEADER].decode().splitlines())
    table = QTable()
    for column in header["datatype"]:
        name, unit = column["name"], column.get("unit")
        is_text = column["datatype"] == "string"
        values = stored.column(name)
        array = np.asarray(values.to_pylist(), dtype=np.str_) if is_text else values.to_numpy()
        table[name] = array if unit is None else u.Quantity(array, unit, copy=False)
        table[name].info.description = column.get("description")
    kept = dict(header.get("meta", {}))
    kept.pop("__serialized_columns__", None)  # quantities, which the units tell
    table.meta.update(kept)
    return table


def _check_extension(uri: ResourcePath) -> str:
    """Return the extension of a table's name."""
    extension: str = uri.getExtension()
    if extension not in _FORMATS:
        raise RequestError(f"The name of a table ends in {' or '.join(_FORMATS)}; got {uri}.")
    if extension == ".parquet":
        import_parquet()
    return extension
