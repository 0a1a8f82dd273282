"""Circles on the sky."""

from __future__ import annotations

__all__ = ("CircleStencil",)

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, override

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from numpy.typing import NDArray

from lsst.sphgeom import Angle as SphgeomAngle
from lsst.sphgeom import Circle, Region, UnitVector3d

from ..errors import InvalidRegionError
from ._checks import angle_deg, clean_sky, position_text
from ._outline import Outline
from ._sphere import Vectors, angle_between, perpendicular_pair, sky_lon_lat, unit_vectors
from .stencils import SkyStencil

_N_SAMPLES = 97

# Enlargement of the region for queries (rad, 2e-4 arcsec): rounding must not
# make it smaller than the circle.
_REGION_MARGIN = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class CircleStencil(SkyStencil):
    """A circle on the sky: all points within an angle of a centre.

    Raises
    ------
    InvalidRegionError
        Raised if the centre is not one finite position, or if the radius is
        not one angle above 0 and at most 180 degrees.
    """

    kind: ClassVar[str] = "CIRCLE"

    center: SkyCoord
    """Centre, a scalar in any frame; kept in ICRS."""

    radius: Angle
    """Angle from the centre to the edge; `~astropy.units.Quantity` will do."""

    def __post_init__(self) -> None:
        center = clean_sky(self.center, what="The centre of a circle")
        if not center.isscalar:
            raise InvalidRegionError(
                f"The centre of a circle must be one position, not an array of shape {center.shape}."
            )
        radius = angle_deg(self.radius, what="The radius of a circle")
        if not 0.0 < radius <= 180.0:
            raise InvalidRegionError(
                f"The radius of a circle must be above 0 and at most 180 deg, not {radius!r} deg."
            )
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "radius", Angle(radius, u.deg))

    @override
    def __repr__(self) -> str:
        return (
            f"CircleStencil(ra={float(self.center.ra.deg)!r}, dec={float(self.center.dec.deg)!r}, "
            f"radius={self._radius_deg!r} deg)"
        )

    @override
    def __str__(self) -> str:
        return f"CIRCLE {position_text(self.center)} {self._radius_deg:.8g}"

    @property
    def _radius_deg(self) -> float:
        return float(self.radius.to_value(u.deg))

    @functools.cached_property
    def _vector(self) -> Vectors:
        return unit_vectors(*sky_lon_lat(self.center))

    @property
    @override
    def region(self) -> Region:
        """Circle for queries to a Butler."""
        # The "opening angle" of sphgeom is the radius, not the diameter.
        angle = min(np.pi, np.radians(self._radius_deg) + _REGION_MARGIN)
        return Circle(UnitVector3d(*self._vector), SphgeomAngle(float(angle)))

    @override
    def covers_lon_lat(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        angle = angle_between(unit_vectors(lon, lat), self._vector)
        return np.asarray(angle <= np.radians(self._radius_deg))

    @override
    def edge_distance(self, vectors: Vectors) -> NDArray[np.float64]:
        return np.asarray(np.abs(angle_between(vectors, self._vector) - np.radians(self._radius_deg)))

    @override
    def outline(self) -> Outline:
        center, radius = self._vector, np.radians(self._radius_deg)
        first, second = perpendicular_pair(center)

        def evaluate(_piece: NDArray[np.intp], fraction: NDArray[np.float64]) -> Vectors:
            angle = 2.0 * np.pi * fraction[:, None]
            across = np.cos(angle) * first + np.sin(angle) * second
            return np.asarray(np.cos(radius) * center + np.sin(radius) * across)

        return Outline(n_pieces=1, n_samples=_N_SAMPLES, evaluate=evaluate)

    @override
    def _numbers(self) -> NDArray[np.float64]:
        return np.array([self.center.ra.deg, self.center.dec.deg, self._radius_deg])

    @override
    def _cards(self) -> Mapping[str, tuple[float | int, str]]:
        return {
            "ST_RA": (float(self.center.ra.deg), "[deg] Circle center Right Ascension"),
            "ST_DEC": (float(self.center.dec.deg), "[deg] Circle center Declination"),
            "ST_RAD": (self._radius_deg, "[deg] Circle radius"),
        }
