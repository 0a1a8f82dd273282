"""Ranges of right ascension and declination."""

from __future__ import annotations

__all__ = ("RangeStencil",)

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, override

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle
from numpy.typing import NDArray

import lsst.sphgeom

from ..errors import InvalidRegionError
from ._checks import angle_deg
from ._outline import Outline
from ._sphere import Vectors, arc_distance, lon_lat, unit_vectors
from .stencils import SkyStencil

# Rounding (rad, 2e-9 arcsec) within which a point is on the edge, which
# belongs to the range.
_TOLERANCE = 1e-14

_REGION_MARGIN = 1e-9

# Widths in RA below this (4e-7 arcsec) are what rounding leaves of zero.
_NARROWEST_DEG = 1e-10
_N_SAMPLES = 65

type AnglePair = tuple[Any, Any]


@dataclass(frozen=True, eq=False, repr=False)
class RangeStencil(SkyStencil):
    """A range of ICRS right ascension and declination, as SODA defines it.

    Parameters
    ----------
    ra
        First and last right ascension, as a pair of angles between -360 and
        720 degrees.  Eastward from the first: a first one above the last goes
        through 0.  None is all of them; an infinite first is 0, an infinite
        last is 360 degrees.
    dec
        First and last declination.  None is all of them; infinite is the pole.

    Raises
    ------
    InvalidRegionError
        Raised if a range is empty, if declinations are in the wrong order or
        beyond a pole, and if a value is NaN or no angle.

    Notes
    -----
    The edges are parallels and meridians, not great circles.
    """

    kind: ClassVar[str] = "RANGE"

    ra: AnglePair | None = None
    """First and last right ascension (`~astropy.coordinates.Angle`), first
    between 0 and 360 degrees and last above it; (0, 360) degrees is all."""

    dec: AnglePair | None = None
    """First and last declination (`~astropy.coordinates.Angle`)."""

    def __post_init__(self) -> None:
        ra = _ra_range(*_pair(self.ra, what="right ascension"))
        dec = _dec_range(*_pair(self.dec, what="declination"))
        object.__setattr__(self, "ra", (Angle(ra[0], u.deg), Angle(ra[1], u.deg)))
        object.__setattr__(self, "dec", (Angle(dec[0], u.deg), Angle(dec[1], u.deg)))

    @functools.cached_property
    def _limits_deg(self) -> tuple[float, float, float, float]:
        assert self.ra is not None and self.dec is not None  # noqa: S101  # set in __post_init__
        ra_lo, ra_hi, dec_lo, dec_hi = (float(value.to_value(u.deg)) for value in (*self.ra, *self.dec))
        return ra_lo, ra_hi, dec_lo, dec_hi

    @functools.cached_property
    def _limits(self) -> tuple[float, float, float, float]:
        """Limits in radians: first ra, width in ra, first and last dec."""
        ra_lo, ra_hi, dec_lo, dec_hi = self._limits_deg
        return np.radians(ra_lo), np.radians(ra_hi - ra_lo), np.radians(dec_lo), np.radians(dec_hi)

    @property
    def _is_ring(self) -> bool:
        ra_lo, ra_hi, _, _ = self._limits_deg
        return ra_hi - ra_lo >= 360.0

    @override
    def __repr__(self) -> str:
        ra_lo, ra_hi, dec_lo, dec_hi = self._limits_deg
        return f"RangeStencil(ra=({ra_lo!r}, {ra_hi!r}) deg, dec=({dec_lo!r}, {dec_hi!r}) deg)"

    @override
    def __str__(self) -> str:
        return "RANGE {:.8g} {:.8g} {:.8g} {:.8g}".format(*self._limits_deg)

    @property
    @override
    def region(self) -> lsst.sphgeom.Region:
        """Box for queries to a Butler."""
        ra_lo, width, dec_lo, dec_hi = self._limits
        half_pi = 0.5 * np.pi
        latitudes = lsst.sphgeom.AngleInterval(
            lsst.sphgeom.Angle(max(-half_pi, dec_lo - _REGION_MARGIN)),
            lsst.sphgeom.Angle(min(half_pi, dec_hi + _REGION_MARGIN)),
        )
        if width + 2.0 * _REGION_MARGIN >= 2.0 * np.pi:
            return lsst.sphgeom.Box(lsst.sphgeom.Box.allLongitudes(), latitudes)
        # Normalised here: the constructor of the interval wants two values
        # between 0 and 2 pi, the first above the last if it wraps.
        first = (ra_lo - _REGION_MARGIN) % (2.0 * np.pi)
        last = (ra_lo + width + _REGION_MARGIN) % (2.0 * np.pi)
        longitudes = lsst.sphgeom.NormalizedAngleInterval(
            lsst.sphgeom.NormalizedAngle(first), lsst.sphgeom.NormalizedAngle(last)
        )
        return lsst.sphgeom.Box(longitudes, latitudes)

    def _in_ra(self, lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        ra_lo, width, _, _ = self._limits
        if self._is_ring:
            return np.isfinite(lon)
        east = np.mod(lon - ra_lo + _TOLERANCE, 2.0 * np.pi)
        return np.asarray(east <= width + 2.0 * _TOLERANCE)

    @override
    def covers_lon_lat(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        _, _, dec_lo, dec_hi = self._limits
        in_dec = (lat >= dec_lo - _TOLERANCE) & (lat <= dec_hi + _TOLERANCE)
        return np.asarray(self._in_ra(lon) & in_dec)

    @override
    def edge_distance(self, vectors: Vectors) -> NDArray[np.float64]:
        ra_lo, width, dec_lo, dec_hi = self._limits
        lon, lat = lon_lat(vectors)
        in_ra = self._in_ra(lon)
        distance = np.where(np.isfinite(lat), np.inf, np.nan)
        for dec, pole in ((dec_lo, -0.5 * np.pi), (dec_hi, 0.5 * np.pi)):
            # A pole is no edge.  Outside of the range in RA, the nearest point
            # of a parallel is its end, which the meridians have as well.
            if dec != pole:
                distance = np.where(in_ra, np.minimum(distance, np.abs(lat - dec)), distance)
        if self._is_ring:
            return distance
        # In two halves: a meridian from pole to pole has no shortest arc.
        middle = 0.5 * (dec_lo + dec_hi)
        lons = ra_lo + np.array([0.0, 0.0, width, width])
        start = unit_vectors(lons, np.array([dec_lo, middle, dec_lo, middle]))
        stop = unit_vectors(lons, np.array([middle, dec_hi, middle, dec_hi]))
        return np.asarray(np.minimum(distance, arc_distance(vectors, start, stop)))

    @override
    def outline(self) -> Outline:
        ra_lo, width, dec_lo, dec_hi = self._limits
        half_pi = 0.5 * np.pi
        # First and last (lon, lat) of each piece; both run linearly along it.
        parallels = [((ra_lo, dec), (ra_lo + width, dec)) for dec in (dec_lo, dec_hi) if abs(dec) != half_pi]
        meridians = [((ra_lo + east, dec_lo), (ra_lo + east, dec_hi)) for east in (0.0, width)]
        ends = np.array(parallels if self._is_ring else parallels + meridians).reshape(-1, 2, 2)

        def evaluate(piece: NDArray[np.intp], fraction: NDArray[np.float64]) -> Vectors:
            here = ends[piece, 0] + fraction[:, None] * (ends[piece, 1] - ends[piece, 0])
            return unit_vectors(here[:, 0], here[:, 1])

        return Outline(n_pieces=len(ends), n_samples=_N_SAMPLES, evaluate=evaluate)

    @override
    def _numbers(self) -> NDArray[np.float64]:
        return np.array(self._limits_deg)

    @override
    def _cards(self) -> Mapping[str, tuple[float | int, str]]:
        ra_lo, ra_hi, dec_lo, dec_hi = self._limits_deg
        return {
            "ST_RA01": (ra_lo, "[deg] First ICRS right ascension"),
            "ST_RA02": (ra_hi, "[deg] Last ICRS right ascension"),
            "ST_DEC01": (dec_lo, "[deg] First ICRS declination"),
            "ST_DEC02": (dec_hi, "[deg] Last ICRS declination"),
        }


def _pair(limits: AnglePair | u.Quantity | None, *, what: str) -> tuple[float, float]:
    """Return two limits in degrees; an absent one is infinite."""
    if limits is None:
        return -np.inf, np.inf
    try:
        lo, hi = limits
    except (TypeError, ValueError) as error:
        raise InvalidRegionError(f"A range of {what} needs two values, not {limits!r}.") from error
    lo_deg = -np.inf if lo is None else angle_deg(lo, what=f"The first {what}")
    hi_deg = np.inf if hi is None else angle_deg(hi, what=f"The last {what}")
    if np.isnan(lo_deg) or np.isnan(hi_deg):
        raise InvalidRegionError(f"A range of {what} must not be NaN: {lo_deg} to {hi_deg} deg.")
    return lo_deg, hi_deg


def _ra_range(lo: float, hi: float) -> tuple[float, float]:
    given = f"{lo} to {hi} deg"
    if lo == np.inf or hi == -np.inf:
        raise InvalidRegionError(f"The range of right ascension is empty: {given}.")
    lo, hi = (0.0 if lo == -np.inf else lo), (360.0 if hi == np.inf else hi)
    if min(lo, hi) < -360.0 or max(lo, hi) > 720.0:
        raise InvalidRegionError(f"Right ascension must be within -360 and 720 deg: {given}.")
    if hi < lo:
        hi = lo + (hi - lo) % 360.0
    if hi - lo >= 360.0:
        return 0.0, 360.0
    # The remainder of a tiny negative number is 360 itself.
    first = lo if 0.0 <= lo < 360.0 else (lo % 360.0) % 360.0
    last = hi if first == lo else first + (hi - lo)
    if last - first < _NARROWEST_DEG:
        raise InvalidRegionError(f"The range of right ascension is empty: {given}.")
    return (first, last) if last - first < 360.0 else (0.0, 360.0)


def _dec_range(lo: float, hi: float) -> tuple[float, float]:
    given = f"{lo} to {hi} deg"
    if lo >= hi:
        raise InvalidRegionError(f"The first declination must be below the last: {given}.")
    lo, hi = (-90.0 if lo == -np.inf else lo), (90.0 if hi == np.inf else hi)
    if lo < -90.0 or hi > 90.0 or lo >= hi:
        raise InvalidRegionError(f"Declination must be within -90 and 90 deg, and not empty: {given}.")
    return lo, hi
