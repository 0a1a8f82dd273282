"""The positions of a request, at the time of an image."""

from __future__ import annotations

__all__ = ("SkyShapes", "Targets", "find_targets")

from dataclasses import dataclass, replace

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, make_interp_spline

from ..errors import RequestError
from ..geometry import propagate_positions
from ._positions import as_positions, read_column, read_epochs, read_ids, read_mjd, read_motions

type Floats = NDArray[np.float64]

_DEGREE = 3  # of the spline through an ephemeris


@dataclass(frozen=True)
class SkyShapes:
    """Sersic shapes on the sky, all of shape ``(n,)``."""

    half_light_radius_arcsec: Floats
    """Major half axis of the ellipse with half the light; NaN for a point."""

    index: Floats
    """Sersic index."""

    axis_ratio: Floats
    """Minor over major axis."""

    position_angle_deg: Floats
    """Angle of the major axis from north through east."""


@dataclass(frozen=True)
class Targets:
    """Names and places of what is measured."""

    id: NDArray[np.int64]
    """Unique numbers, shape ``(n,)``."""

    ra: Floats
    """ICRS right ascensions in degrees at the time of the image, shape
    ``(n,)``; NaN where the position is not known."""

    dec: Floats
    """ICRS declinations in degrees, shape ``(n,)``."""

    shapes: SkyShapes | None = None
    """Shapes of extended sources; `None` where all are points."""

    def __len__(self) -> int:
        return self.id.size

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each position is finite, shape ``(n,)``."""
        return np.isfinite(self.ra) & np.isfinite(self.dec)

    @property
    def positions(self) -> SkyCoord:
        """The positions that are known."""
        return SkyCoord(self.ra[self.is_known], self.dec[self.is_known], unit=u.deg, frame="icrs")


def find_targets(
    positions: SkyCoord | Table, *, epoch: Time | None = None, time: Time | None = None
) -> Targets:
    """Return the positions of a request at the time of an image.

    Parameters
    ----------
    positions
        Positions in any frame, one or many, numbered from 0; or a table.  A
        table of fixed or moving stars has the columns ``ra`` and ``dec``
        (ICRS; degrees if they have no unit), and optionally ``id`` (integers,
        unique), ``pmra`` (with the factor cos dec) and ``pmdec`` (mas/yr),
        ``parallax`` (mas) and ``ref_epoch`` (`~astropy.time.Time`, or Julian
        years); ``pm_ra_cosdec``, ``pm_dec`` and ``epoch`` are the same.
        Galaxies have in
        the joint fit the shape of the columns ``half_light_radius`` (arcsec;
        missing for point sources), ``sersic_index`` (1), ``axis_ratio`` (1)
        and ``position_angle`` (0; degrees from north through east), with
        these values where a column or entry is missing.  A table with a
        column ``time`` (`~astropy.time.Time`, or MJD in TAI) is an ephemeris:
        each ``id`` is one moving object (all rows are one without ``id``)
        whose rows are interpolated.
    epoch
        Time at which the positions hold, where the table has no
        ``ref_epoch``; a `SkyCoord`'s own ``obstime`` if `None`.
    time
        Time of the image.

    Returns
    -------
    targets
        One per position or moving object.  A position that is not on the sky,
        and an object whose ephemeris does not reach the time, are not known.

    Raises
    ------
    RequestError
        Raised if the positions are of another kind, columns are missing or
        wrong, numbers are not unique, or there is motion but a time is
        missing.

    Notes
    -----
    Missing motions and parallaxes count as zero, a whole column too; where
    all are zero no time is needed.  The parallax is that seen
    from the Earth's centre.  Positions are moved once, from their epoch
    straight to the time.
    """
    positions = as_positions(positions)
    if isinstance(positions, SkyCoord):
        moved = propagate_positions(positions.reshape(-1), epoch=epoch, time=time)
        return Targets(np.arange(moved.size), moved.ra.deg, moved.dec.deg)
    if missing := {"ra", "dec"} - set(positions.colnames):
        raise RequestError(
            f"Positions need the columns ra and dec; {sorted(missing)} not in {positions.colnames}."
        )
    if "time" in positions.colnames:
        return _interpolate_ephemeris(positions, time)
    ids = read_ids(positions)
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise RequestError(f"Each id may occur once; {unique[counts > 1][:5].tolist()} occur more often.")
    moved = _move_table(positions, ids, epoch=epoch, time=time)
    return replace(moved, shapes=_read_shapes(positions))


def _read_shapes(table: Table) -> SkyShapes | None:
    """Return the shapes of a table's galaxies."""
    if "half_light_radius" not in table.colnames:
        return None

    def read(name: str, unit: u.UnitBase, default: float) -> Floats:
        if name not in table.colnames:
            return np.full(len(table), default)
        return read_column(table, name, unit, default=default)

    radius = read("half_light_radius", u.arcsec, np.nan)
    return SkyShapes(
        half_light_radius_arcsec=np.where(radius > 0.0, radius, np.nan),
        index=read("sersic_index", u.dimensionless_unscaled, 1.0),
        axis_ratio=read("axis_ratio", u.dimensionless_unscaled, 1.0),
        position_angle_deg=read("position_angle", u.deg, 0.0),
    )


def _move_table(table: Table, ids: NDArray[np.int64], *, epoch: Time | None, time: Time | None) -> Targets:
    """Return a table's positions at a time."""
    ra, dec = read_column(table, "ra", u.deg), read_column(table, "dec", u.deg)
    is_known = np.isfinite(ra) & (np.abs(dec) <= 90.0)
    ra[~is_known] = dec[~is_known] = np.nan
    motions = read_motions(table)
    has_parallax = "parallax" in table.colnames
    if motions is None and not has_parallax:
        return Targets(ids, ra % 360.0, dec)
    years = read_epochs(table)
    if years is not None:
        missing = np.isnan(years[is_known]).sum()
        if missing:
            raise RequestError(f"Column ref_epoch has no value for {missing} of the positions.")
        epoch = Time(years[is_known], format="jyear", scale="tdb")
    speeds = {}
    if motions is not None:
        pmra, pmdec = (motion[is_known] * u.mas / u.yr for motion in motions)
        speeds = {"pm_ra_cosdec": pmra, "pm_dec": pmdec}
    start = SkyCoord(ra[is_known], dec[is_known], unit=u.deg, frame="icrs", **speeds)
    moved = propagate_positions(start, epoch=epoch, time=time)
    if has_parallax:
        parallax = read_column(table, "parallax", u.mas, default=0.0)[is_known]
        moved = _apply_parallax(moved, parallax, time)
    ra[is_known], dec[is_known] = moved.ra.deg, moved.dec.deg
    return Targets(ids, ra, dec)


def _apply_parallax(positions: SkyCoord, parallax_mas: Floats, time: Time | None) -> SkyCoord:
    """Return directions from the Earth of stars whose directions from the barycentre are known."""
    if time is None:
        raise RequestError("The positions have parallaxes, but the time of the image is not known.")
    earth = get_body_barycentric("earth", time).xyz.to_value(u.au)
    radians = (parallax_mas * u.mas).to_value(u.rad)
    vectors = positions.cartesian.xyz.value - radians * earth[:, None]
    return _to_sky(vectors)


def _to_sky(vectors: Floats) -> SkyCoord:
    """Return the directions of vectors, shape ``(3, n)``."""
    x, y, z = vectors
    return SkyCoord(np.arctan2(y, x), np.arctan2(z, np.hypot(x, y)), unit=u.rad, frame="icrs")


def _interpolate_ephemeris(table: Table, time: Time | None) -> Targets:
    """Return where moving objects are at a time."""
    if time is None:
        raise RequestError("The positions are an ephemeris, but the time of the image is not known.")
    mjd = read_mjd(table)
    ids = read_ids(table) if "id" in table.colnames else np.zeros(len(table), dtype=np.int64)
    ra, dec = read_column(table, "ra", u.deg), read_column(table, "dec", u.deg)
    names = np.unique(ids)
    found = np.full((2, names.size), np.nan)
    for k, name in enumerate(names):
        rows = (ids == name) & np.isfinite(ra) & (np.abs(dec) <= 90.0) & np.isfinite(mjd)
        found[:, k] = _interpolate_track(mjd[rows], ra[rows], dec[rows], float(time.tai.mjd), int(name))
    return Targets(names, found[0], found[1])


def _interpolate_track(mjd: Floats, ra: Floats, dec: Floats, at: float, name: int) -> Floats:
    """Return the right ascension and declination of one object; NaN beyond its rows."""
    order = np.argsort(mjd)
    mjd, ra, dec = mjd[order], ra[order], dec[order]
    if (np.diff(mjd) == 0).any():
        raise RequestError(f"The ephemeris of object {name} has several positions at one time.")
    if mjd.size == 0 or not mjd[0] <= at <= mjd[-1]:
        return np.full(2, np.nan)
    vectors = SkyCoord(ra, dec, unit=u.deg).cartesian.xyz.value.T
    if mjd.size > _DEGREE:
        vector = CubicSpline(mjd, vectors)(at)
    elif mjd.size > 1:
        vector = make_interp_spline(mjd, vectors, k=mjd.size - 1)(at)
    else:
        vector = vectors[0]
    position = _to_sky(vector[:, None])
    return np.array([position.ra.deg[0], position.dec.deg[0]])
