"""The positions of a request under the names that all of this room uses."""

from __future__ import annotations

__all__ = ("as_positions", "find_lost", "read_column", "read_epochs", "read_ids", "read_mjd", "read_motions")

import re
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import RadialDifferential, SkyCoord
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time
from numpy.typing import NDArray

from ..errors import RequestError

type Floats = NDArray[np.float64]
type Bools = NDArray[np.bool_]

_OTHER_NAMES = {"pm_ra_cosdec": "pmra", "pm_dec": "pmdec", "epoch": "ref_epoch"}
_MOTION = {"pmra": u.mas / u.yr, "pmdec": u.mas / u.yr, "parallax": u.mas}
# Names that other catalogues give to motions, with or without the factor cos dec.
_UNCLEAR = re.compile(r"pm_?(ra|dec?)(_?cos_?dec?)?|proper_?motion.*", re.IGNORECASE)
_YEARS = (1500.0, 2500.0)  # beyond are days rather than years


def as_positions(positions: Any) -> SkyCoord | Table:
    """Return the positions of a request in the form that the others take.

    Parameters
    ----------
    positions
        Positions or a table; see `find_targets`.

    Returns
    -------
    positions
        The same without motions that are all zero, which need no times.  A
        table has the names ``pmra``, ``pmdec`` and ``ref_epoch``.  What is
        given is not modified.

    Raises
    ------
    RequestError
        Raised if they are of another kind, not one-dimensional, or a table
        has motions under names that are not known, or twice.
    """
    if isinstance(positions, SkyCoord):
        if positions.ndim > 1:
            raise RequestError(f"Positions must be one-dimensional; got shape {positions.shape}.")
        return _drop_rest(positions)
    if not isinstance(positions, Table):
        raise RequestError(
            f"Positions are a SkyCoord or a table with ra and dec; got a {type(positions).__name__}."
        )
    return _drop_still(_rename(positions))


def _drop_rest(positions: SkyCoord) -> SkyCoord:
    """Return coordinates without the motions of stars that do not move across the sky."""
    motion = positions.data.differentials.get("s")
    if motion is None:
        return positions
    icrs = positions.transform_to("icrs")
    if not isinstance(motion, RadialDifferential):
        speeds = (icrs.pm_ra_cosdec, icrs.pm_dec)
        if any(np.any(speed.to_value(u.mas / u.yr) != 0.0) for speed in speeds):
            return positions
    return SkyCoord(icrs.ra, icrs.dec, frame="icrs")


def _rename(table: Table) -> Table:
    """Return a table with our names of motions."""
    names = set(table.colnames)
    for other, ours in _OTHER_NAMES.items():
        if {other, ours} <= names:
            raise RequestError(f"The columns {other} and {ours} mean the same; give one of them.")
    renamed = [name for name in _OTHER_NAMES if name in names]
    if renamed:
        table = table.copy(copy_data=False)
        table.rename_columns(renamed, [_OTHER_NAMES[name] for name in renamed])
    unclear = [name for name in table.colnames if name not in _MOTION and _UNCLEAR.fullmatch(name)]
    if unclear and not {"pmra", "pmdec"} & set(table.colnames):
        raise RequestError(
            f"The columns {unclear} are not known; "
            "proper motions are pmra, with the factor cos dec, and pmdec."
        )
    return table


def _drop_still(table: Table) -> Table:
    """Return a table without columns of motions that are all zero or missing."""
    still = [
        name
        for name, unit in _MOTION.items()
        if name in table.colnames and len(table) and not read_column(table, name, unit, default=0.0).any()
    ]
    if not still:
        return table
    table = table.copy(copy_data=False)
    table.remove_columns(still)
    return table


def find_lost(positions: SkyCoord | Table) -> Bools:
    """Tell which targets are nowhere on the sky at any time.

    Parameters
    ----------
    positions
        What `as_positions` returned.

    Returns
    -------
    is_lost
        One per target, in the order of `find_targets`.
    """
    if isinstance(positions, SkyCoord):
        icrs = positions.reshape(-1).transform_to("icrs")
        is_finite: Bools = np.isfinite(icrs.ra.deg) & np.isfinite(icrs.dec.deg)
        return ~is_finite
    is_known: Bools = np.isfinite(read_column(positions, "ra", u.deg))
    is_known &= np.abs(read_column(positions, "dec", u.deg)) <= 90.0
    if "time" not in positions.colnames:
        return ~is_known
    is_known &= np.isfinite(read_mjd(positions))
    ids = read_ids(positions) if "id" in positions.colnames else np.zeros(len(positions), dtype=np.int64)
    names, place = np.unique(ids, return_inverse=True)
    is_lost: Bools = np.bincount(place.reshape(-1), is_known, len(names)) == 0
    return is_lost


def read_ids(table: Table) -> NDArray[np.int64]:
    """Return the numbers of a table's rows."""
    if "id" not in table.colnames:
        return np.arange(len(table))
    ids = np.asarray(table["id"])
    if len(table) and ids.dtype.kind not in "iu":
        raise RequestError(f"Column id must hold integers; got {ids.dtype}.")
    return ids.astype(np.int64)


def read_mjd(table: Table) -> Floats:
    """Return the times of an ephemeris as MJD in TAI."""
    time = table["time"]
    return _fill(time.tai.mjd) if isinstance(time, Time) else read_column(table, "time", u.day)


def read_motions(table: Table) -> tuple[Floats, Floats] | None:
    """Return proper motions in mas/yr, 0 where one is missing; `None` without any."""
    if not {"pmra", "pmdec"} & set(table.colnames):
        return None
    pmra, pmdec = (
        read_column(table, name, _MOTION[name], default=0.0)
        if name in table.colnames
        else np.zeros(len(table))
        for name in ("pmra", "pmdec")
    )
    return pmra, pmdec


def read_epochs(table: Table) -> Floats | None:
    """Return the epochs of positions in Julian years (TDB), NaN where one is missing; `None` without any."""
    if "ref_epoch" not in table.colnames:
        return None
    column = table["ref_epoch"]
    years = _fill(column.tdb.jyear) if isinstance(column, Time) else read_column(table, "ref_epoch", u.yr)
    is_odd = (years < _YEARS[0]) | (years > _YEARS[1])
    if is_odd.any():
        raise RequestError(
            f"Column ref_epoch holds Julian years or times; {years[is_odd][0]:g} is no year of a catalogue."
        )
    return years


def read_column(table: Table, name: str, unit: u.UnitBase, *, default: float = np.nan) -> Floats:
    """Return a column as floats of a unit, with a value for missing entries."""
    column: Any = table[name]
    try:
        values = u.Quantity(
            np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
            if isinstance(column, Column | MaskedColumn)
            else column,
            getattr(column, "unit", None) or unit,
        ).to_value(unit)
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise RequestError(f"Column {name} must be numbers in {unit}: {error}") from error
    floats = np.array(np.ma.filled(np.ma.asarray(values), np.nan), dtype=np.float64)
    floats[~np.isfinite(floats)] = default
    return floats


def _fill(values: Any) -> Floats:
    """Return numbers of times, NaN where they are masked."""
    if hasattr(values, "filled"):
        values = values.filled(np.nan)
    return np.array(np.ma.filled(np.ma.asarray(values), np.nan), dtype=np.float64)
