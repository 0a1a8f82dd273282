"""Compare two tables of measurements row by row."""

from __future__ import annotations

__all__ = (
    "SAME_MEASUREMENTS",
    "ColumnComparison",
    "TableComparison",
    "TableTolerance",
    "compare_tables",
)

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
from astropy.table import Table

from ..errors import RequestError

type Array = npt.NDArray[Any]


class TableTolerance(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Limits on a `TableComparison`."""

    name: str
    """Name for messages."""
    max_sigma: float = 0.01
    """Largest difference of a value that has an error, in its standard deviations."""
    max_relative: float = 1e-3
    """Largest difference of any other number, as a fraction of it."""
    max_flag_fraction: float = 0.0
    """Largest fraction of rows in which a flag, a text or an integer may differ."""


SAME_MEASUREMENTS = TableTolerance(name="the same measurements")
"""Measured again on the same pixels."""


class ColumnComparison(pydantic.BaseModel, frozen=True, extra="forbid", ser_json_inf_nan="strings"):
    """How the values of one column differ: candidate minus reference."""

    column: str
    """Name of the column."""
    n_compared: int
    """Rows."""
    n_different: int
    """Rows in which they are not equal to the bit."""
    n_nan_differs: int
    """Rows in which one side is finite and the other is not."""
    max_sigma: float | None = None
    """Largest difference in the reference's standard deviations, where it has some."""
    max_relative: float | None = None
    """Largest difference as a fraction of the reference, for numbers without standard deviations."""
    max_at: str = ""
    """Row of the largest difference."""


class TableComparison(pydantic.BaseModel, frozen=True, extra="forbid", ser_json_inf_nan="strings"):
    """How the rows of two tables differ."""

    name: str
    """What was compared."""
    n_rows: int
    """Rows of the reference."""
    n_missing: int
    """Rows of the reference that the candidate lacks."""
    columns: tuple[ColumnComparison, ...]
    """Columns that both have, without the keys."""
    missing_columns: tuple[str, ...]
    """Columns of the reference that the candidate lacks."""

    @property
    def max_sigma(self) -> float | None:
        """Largest difference of a value in standard deviations."""
        return max((item.max_sigma for item in self.columns if item.max_sigma is not None), default=None)

    def find_failures(self, tolerance: TableTolerance) -> list[str]:
        """Return what is beyond a tolerance, in words; empty if nothing is."""
        failures = []
        if not self.n_rows:
            failures.append("there are no rows to compare")
        if self.n_missing:
            failures.append(f"{self.n_missing} of {self.n_rows} rows are missing")
        if self.missing_columns:
            failures.append(f"columns are missing: {', '.join(self.missing_columns)}")
        for column in self.columns:
            failures += _check_column(column, tolerance)
        return failures


def compare_tables(
    candidate: Table,
    reference: Table,
    *,
    keys: Sequence[str],
    ignored: Sequence[str] = (),
    name: str = "candidate",
) -> TableComparison:
    """Compare two tables whose rows have names.

    Parameters
    ----------
    candidate
        Table to judge; may have more rows and columns.
    reference
        Table to judge it by.
    keys
        Columns that together name a row.
    ignored
        Columns that are not compared.
    name
        Name for messages.

    Returns
    -------
    comparison
        What differs.  A number in a column ``x`` is judged by its standard
        deviation where the reference has a column ``xErr``.

    Raises
    ------
    RequestError
        Raised if a table lacks a key, or has two rows of one name.
    """
    ours, theirs = (_index_rows(table, keys, name) for table in (candidate, reference))
    common = [key for key in theirs if key in ours]
    at, rows = [ours[key] for key in common], [theirs[key] for key in common]
    names = [column for column in reference.colnames if column not in (*keys, *ignored)]
    columns = []
    for column in names:
        if column in candidate.colnames:
            error = f"{column}Err"
            sigma = _to_array(reference[error])[rows] if error in names else None
            values = [_to_array(candidate[column])[at], _to_array(reference[column])[rows]]
            columns.append(_compare_column(column, *values, sigma=sigma, rows=common))
    return TableComparison(
        name=name,
        n_rows=len(theirs),
        n_missing=len(theirs) - len(common),
        columns=tuple(columns),
        missing_columns=tuple(column for column in names if column not in candidate.colnames),
    )


def _index_rows(table: Table, keys: Sequence[str], name: str) -> dict[tuple[Any, ...], int]:
    """Return the places of the rows by their names."""
    if missing := [key for key in keys if key not in table.colnames]:
        raise RequestError(f"{name}: the rows have no {missing}, only {table.colnames}.")
    found = {
        key: row
        for row, key in enumerate(zip(*(_to_array(table[key]).tolist() for key in keys), strict=True))
    }
    if len(found) != len(table):
        raise RequestError(f"{name}: of {len(table)} rows only {len(found)} differ in {list(keys)}.")
    return found


def _to_array(column: Any) -> Array:
    """Return a column without its unit; what is masked is NaN, or zero in a column of integers."""
    array = np.ma.asarray(getattr(column, "value", column))
    return np.asarray(np.ma.filled(array, np.nan if array.dtype.kind == "f" else array.dtype.type()))


def _compare_column(
    column: str, ours: Array, theirs: Array, *, sigma: Array | None, rows: Sequence[tuple[Any, ...]]
) -> ColumnComparison:
    if theirs.dtype.kind != "f" or ours.dtype.kind != "f":
        different = np.flatnonzero(ours != theirs)
        at = _name_row(rows, different[0]) if different.size else ""
        return ColumnComparison(
            column=column, n_compared=len(rows), n_different=different.size, n_nan_differs=0, max_at=at
        )
    finite = np.isfinite(ours), np.isfinite(theirs)
    both = finite[0] & finite[1]
    error = np.where(both, np.abs(ours.astype(np.float64) - theirs), 0.0)
    scale = np.abs(theirs) if sigma is None else sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error > 0, error / scale, 0.0)
    relative = np.where(np.isnan(relative), np.inf, relative)
    largest = float(relative.max(initial=0.0))
    return ColumnComparison(
        column=column,
        n_compared=len(rows),
        n_different=int(np.count_nonzero(error)),
        n_nan_differs=int(np.count_nonzero(finite[0] != finite[1])),
        max_sigma=None if sigma is None else largest,
        max_relative=largest if sigma is None else None,
        max_at=_name_row(rows, int(np.argmax(relative))) if largest else "",
    )


def _name_row(rows: Sequence[tuple[Any, ...]], row: int) -> str:
    return ", ".join(map(str, rows[row]))


def _check_column(column: ColumnComparison, tolerance: TableTolerance) -> list[str]:
    """Return what is beyond a tolerance in one column."""
    failures = []
    if column.n_nan_differs:
        failures.append(f"{column.column}: {column.n_nan_differs} rows have a value on one side only")
    if column.max_sigma is None and column.max_relative is None:
        if column.n_different > tolerance.max_flag_fraction * column.n_compared:
            failures.append(
                f"{column.column}: {column.n_different} of {column.n_compared} rows differ, the first is "
                f"({column.max_at})"
            )
        return failures
    limits = [
        ("standard deviations", column.max_sigma, tolerance.max_sigma),
        ("of the value", column.max_relative, tolerance.max_relative),
    ]
    failures += [
        f"{column.column}: largest difference is {value:.4g} {what}, more than {limit:.4g} "
        f"(row {column.max_at})"
        for what, value, limit in limits
        if value is not None and not value <= limit
    ]
    return failures
