"""Tables of calibrations, in the forms that the observatory stores."""

from __future__ import annotations

__all__ = ("CalibrationTables", "decode_text", "read_calibration_tables", "table_trouble_reported")

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Table

from lsst.resources import ResourcePath, ResourcePathExpression

from ...container.fits_hdus import read_fits_hdus
from ...errors import DaxImageError, InputDataError
from .calibrations import CalibrationInfo
from .raw_header import normalize_instrument

_YAML = frozenset({".yaml", ".yml"})
_ECSV = ".ecsv"


@dataclass(frozen=True, eq=False)
class CalibrationTables:
    """The tables of one calibration, whatever the form of the file."""

    kind: str
    """Name of the field of `IsrCalibrations`."""
    source: str
    """File, for messages."""
    meta: Mapping[str, Any]
    """Metadata of the first table, keys in upper case."""
    tables: Sequence[Table]
    """Tables in the order of the file."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.kind} {self.source}"

    def has(self, name: str, *, table: int = 0) -> bool:
        """Return whether there is a column."""
        return table < len(self.tables) and name in self.tables[table].colnames

    def column(self, name: str, *, table: int = 0) -> npt.NDArray[Any]:
        """Return a column.

        Raises
        ------
        InputDataError
            Raised if there is none.
        """
        if table >= len(self.tables):
            raise InputDataError(
                f"{self.label} has {len(self.tables)} tables; column {name!r} is in table {table + 1}."
            )
        if not self.has(name, table=table):
            raise InputDataError(
                f"{self.label} has no column {name!r} in table {table + 1}; it has "
                f"{self.tables[table].colnames}."
            )
        return np.asarray(self.tables[table][name])

    def texts(self, name: str, *, table: int = 0) -> list[str]:
        """Return a column of texts, which may be stored as bytes."""
        return [decode_text(value) for value in self.column(name, table=table).ravel().tolist()]

    def numbers(self, name: str, *, table: int = 0) -> npt.NDArray[np.float64]:
        """Return a column as floating-point numbers."""
        with table_trouble_reported(f"Column {name!r} of {self.label}"):
            return self.column(name, table=table).astype(np.float64)

    def names(self, name: str, *, table: int = 0) -> list[str]:
        """Return a column of amplifier names, each of which may occur once.

        Raises
        ------
        InputDataError
            Raised if one occurs twice.
        """
        names = self.texts(name, table=table)
        if len(set(names)) < len(names):
            raise InputDataError(f"{self.label} has an amplifier twice: {names}.")
        return names

    def info(self) -> CalibrationInfo:
        """Return what the file says that it is for."""
        detector = self.meta.get("DETECTOR")
        is_number = isinstance(detector, int | np.integer) and not isinstance(detector, bool)
        return CalibrationInfo(
            kind=self.kind,
            instrument=normalize_instrument(decode_text(self.meta.get("INSTRUME") or "")),
            detector=int(detector) if is_number and detector is not None else None,
            source=self.source,
        )


def decode_text(value: Any) -> str:
    """Return a text that may be stored as bytes."""
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()


def read_calibration_tables(
    kind: str, path: ResourcePathExpression, *, obs_type: str, yaml_columns: Mapping[str, str] | None = None
) -> CalibrationTables:
    """Read the tables of a calibration.

    Parameters
    ----------
    kind
        Name of the field of `IsrCalibrations`.
    path
        File: ``.ecsv`` holds one table, ``.yaml`` a mapping, anything else is FITS.
    obs_type
        What ``OBSTYPE`` must say, in any case.
    yaml_columns
        Key in the mapping for each column of the table; a mapping of the amplifiers becomes a column in
        the order of ``ampNames``, a list a column of its values.

    Returns
    -------
    tables
        Tables and metadata.

    Raises
    ------
    InputDataError
        Raised if the file is missing, unusable or holds something else.
    """
    uri = ResourcePath(path, forceDirectory=False)
    extension = uri.getExtension().lower()
    if extension == _ECSV:
        with table_trouble_reported(f"{kind} {uri}"):
            tables = [Table.read(_read_text(uri).splitlines(), format="ascii.ecsv")]
    elif extension in _YAML:
        if yaml_columns is None:
            raise InputDataError(f"{kind} {uri} is a YAML file, a form that is not read for this kind.")
        tables = [_read_yaml(kind, uri, yaml_columns)]
    else:
        tables = [hdu.table() for hdu in read_fits_hdus(uri) if hdu.is_table]
    if not tables:
        raise InputDataError(f"{kind} {uri} holds no table.")
    meta = {key.upper(): value for key, value in tables[0].meta.items()}
    found = decode_text(meta.get("OBSTYPE", ""))
    if found.lower() != obs_type.lower():
        raise InputDataError(f"{kind} {uri} has OBSTYPE = {found!r}; a {kind} has {obs_type!r}.")
    return CalibrationTables(kind, str(uri), meta, tables)


@contextmanager
def table_trouble_reported(what: str) -> Iterator[None]:
    """Turn what unusable values raise into our error.

    Parameters
    ----------
    what
        What is read, for the message.

    Raises
    ------
    InputDataError
        Raised if the body fails as unusable values make it fail.
    """
    try:
        yield
    except DaxImageError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise InputDataError(f"{what} is unusable: {type(error).__name__}: {error}") from error


def _read_text(uri: ResourcePath) -> str:
    """Return the content of a text file."""
    try:
        return uri.read().decode("utf-8")
    except FileNotFoundError as error:
        raise InputDataError(f"There is no file {uri}.") from error


def _read_yaml(kind: str, uri: ResourcePath, columns: Mapping[str, str]) -> Table:
    """Return the table that a mapping describes."""
    # Only these text files need it.
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types

    try:
        document = yaml.safe_load(_read_text(uri))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputDataError(f"{kind} {uri} is no usable YAML: {error}") from error
    with table_trouble_reported(f"{kind} {uri}"):
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
            raise InputDataError(f"{kind} {uri} holds no mapping with 'metadata'.")
        table = Table()
        for column, key in columns.items():
            value = document.get(key)
            if isinstance(value, dict):
                table[column] = [value[name] for name in document["ampNames"]]
            elif value is not None:
                table[column] = value
        table.meta = {**document, **document["metadata"]}
    return table
