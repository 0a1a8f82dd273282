"""Polygons on the sky."""

from __future__ import annotations

__all__ = ("PolygonStencil",)

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, override

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lsst.sphgeom import Angle as SphgeomAngle
from lsst.sphgeom import Circle, ConvexPolygon, Region, UnitVector3d

from ..errors import InvalidRegionError
from ._checks import clean_sky
from ._outline import Outline
from ._sphere import (
    Vectors,
    angle_between,
    arc_distance,
    enclosing_direction,
    perpendicular_pair,
    sky_lon_lat,
    unit_vectors,
)
from .stencils import SkyStencil

_MAX_VERTICES = 999
_REGION_MARGIN = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class PolygonStencil(SkyStencil):
    """A simple polygon on the sky, convex or not, with great-circle edges.

    Raises
    ------
    InvalidRegionError
        Raised if there are fewer than 3 or more than 999 different vertices,
        if one is not finite, if all lie on one great circle, if edges cross
        or touch, or if the polygon does not fit into a hemisphere.

    Notes
    -----
    The interior is the smaller side, whatever the order of the vertices.
    Work is done in the gnomonic plane, in which great circles are straight.
    """

    kind: ClassVar[str] = "POLYGON"

    vertices: SkyCoord
    """Corners in order, in any frame; kept in ICRS.  A first one that is
    repeated at the end, and neighbours that are equal, are dropped."""

    def __post_init__(self) -> None:
        vertices = clean_sky(self.vertices, what="The vertices of a polygon")
        if vertices.ndim != 1:
            raise InvalidRegionError(
                f"The vertices of a polygon must be a list of positions, not of shape {vertices.shape}."
            )
        if len(vertices):
            vectors = unit_vectors(*sky_lon_lat(vertices))
            vertices = vertices[np.any(vectors != np.roll(vectors, -1, axis=0), axis=1)]
        if not 3 <= len(vertices) <= _MAX_VERTICES:
            raise InvalidRegionError(
                f"A polygon needs 3 to {_MAX_VERTICES} different vertices, not {len(vertices)}."
            )
        object.__setattr__(self, "vertices", vertices)
        if self._middle is None:
            raise InvalidRegionError(f"{self} does not fit into a hemisphere.")
        problem = _shape_problem(self._plane_vertices)
        if problem is not None:
            raise InvalidRegionError(f"{self} is not a simple polygon: {problem}.")

    @override
    def __repr__(self) -> str:
        corners = ", ".join(
            f"({float(ra)!r}, {float(dec)!r})"
            for ra, dec in zip(self.vertices.ra.deg, self.vertices.dec.deg, strict=True)
        )
        return f"PolygonStencil([{corners}] deg)"

    @override
    def __str__(self) -> str:
        numbers = [f"{value:.8g}" for value in self._numbers()]
        if len(numbers) > 16:
            numbers[8:-8] = [f"... ({len(self.vertices)} vertices) ..."]
        return "POLYGON " + " ".join(numbers)

    @functools.cached_property
    def _vectors(self) -> Vectors:
        return unit_vectors(*sky_lon_lat(self.vertices))

    @functools.cached_property
    def _middle(self) -> Vectors | None:
        return enclosing_direction(self._vectors)

    @functools.cached_property
    def _frame(self) -> tuple[Vectors, Vectors, Vectors]:
        """Middle of the hemisphere, and the two axes of the gnomonic plane."""
        assert self._middle is not None  # noqa: S101  # checked in __post_init__
        return self._middle, *perpendicular_pair(self._middle)

    def _to_plane(self, vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return gnomonic coordinates; NaN in the opposite hemisphere."""
        middle, first, second = self._frame
        depth = vectors @ middle
        depth = np.where(depth > 0.0, depth, np.nan)
        # Differences to the middle keep the digits of a tiny polygon.
        offset = vectors - middle
        return offset @ first / depth, offset @ second / depth

    @functools.cached_property
    def _plane_vertices(self) -> NDArray[np.float64]:
        return np.stack(self._to_plane(self._vectors), axis=-1)

    @property
    @override
    def region(self) -> Region:
        """Convex hull, or else a circle around it, for queries to a Butler."""
        middle, _, _ = self._frame
        try:
            return ConvexPolygon([UnitVector3d(*vector) for vector in self._vectors])
        except ValueError:
            # Hulls that nearly fill a hemisphere, or are nearly a line, are
            # refused by sphgeom.
            radius = float(angle_between(self._vectors, middle).max()) + _REGION_MARGIN
            return Circle(UnitVector3d(*middle), SphgeomAngle(min(np.pi, radius)))

    @override
    def covers_lon_lat(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        x, y = self._to_plane(unit_vectors(lon, lat))
        return _in_plane_polygon(x.ravel(), y.ravel(), self._plane_vertices).reshape(x.shape)

    @override
    def edge_distance(self, vectors: Vectors) -> NDArray[np.float64]:
        return arc_distance(vectors, self._vectors, np.roll(self._vectors, -1, axis=0))

    @override
    def outline(self) -> Outline:
        n_samples = int(np.clip(256 // len(self.vertices), 4, 64)) + 1
        return Outline.from_arcs(self._vectors, np.roll(self._vectors, -1, axis=0), n_samples=n_samples)

    @override
    def _numbers(self) -> NDArray[np.float64]:
        return np.stack([self.vertices.ra.deg, self.vertices.dec.deg], axis=-1).ravel()

    @override
    def _cards(self) -> Mapping[str, tuple[float | int, str]]:
        digits = 2 if len(self.vertices) < 100 else 3
        cards: dict[str, tuple[float | int, str]] = {}
        pairs = zip(self.vertices.ra.deg, self.vertices.dec.deg, strict=True)
        for number, (ra, dec) in enumerate(pairs):
            cards[f"ST_RA{number:0{digits}d}"] = (float(ra), f"[deg] Vertex {number} Right Ascension")
            cards[f"ST_DEC{number:0{digits}d}"] = (float(dec), f"[deg] Vertex {number} Declination")
        return cards


def _in_plane_polygon(
    x: NDArray[np.float64], y: NDArray[np.float64], vertices: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which points lie in a plane polygon, by the number of edges above.

    A point on the line of an edge counts as inside, so the edges of a polygon
    belong to it as those of the other stencils do.  Points are sorted by x, so
    that each edge meets only the points below and above it; NaN comes last and
    meets none.
    """
    order = np.argsort(x)
    x, y = x[order], y[order]
    odd, on_edge = np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool)
    following = np.roll(vertices, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(vertices.tolist(), following.tolist(), strict=True):
        dx, dy = x1 - x0, y1 - y0
        # What rounding of unit vectors is worth: along x, and as a product.
        noise = 4e-16
        product_noise = noise * np.hypot(dx, dy)
        first = int(np.searchsorted(x, min(x0, x1) - noise, side="left"))
        last = int(np.searchsorted(x, max(x0, x1) + noise, side="right"))
        px, py = x[first:last], y[first:last]
        cross = dx * (py - y0) - dy * (px - x0)
        spans = (x0 > px) != (x1 > px)
        odd[first:last] ^= spans & ((cross > 0.0) == (dx < 0.0))
        near = np.flatnonzero(np.abs(cross) <= product_noise)
        along = dx * (px[near] - x0) + dy * (py[near] - y0)
        on_edge[first + near[(along >= 0.0) & (along <= dx * dx + dy * dy)]] = True
    result = np.empty(len(x), dtype=bool)
    result[order] = odd | on_edge
    return result


def _shape_problem(vertices: NDArray[np.float64]) -> str | None:
    """Return what keeps a plane polygon from being simple, None if nothing does."""
    centred = vertices - vertices.mean(axis=0)
    width = np.linalg.svd(centred, compute_uv=False)
    if width[1] <= max(1e-9 * width[0], 1e-15):
        return "all vertices lie on one great circle"
    edges = np.roll(vertices, -1, axis=0) - vertices
    n = len(vertices)
    after = np.roll(edges, -1, axis=0)
    turn = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    along = np.einsum("ni,ni->n", edges, after)
    reverses = np.flatnonzero((np.abs(turn) <= 1e-12 * np.abs(along)) & (along < 0.0))
    if len(reverses):
        return f"its edges run back on themselves at vertex {(reverses[0] + 1) % n + 1}"
    # side[i, k]: on which side of the line of edge i vertex k lies.
    offset = vertices[None, :, :] - vertices[:, None, :]
    cross = edges[:, None, 0] * offset[..., 1] - edges[:, None, 1] * offset[..., 0]
    length = np.hypot(edges[:, 0], edges[:, 1])[:, None]
    reach = np.hypot(offset[..., 0], offset[..., 1])
    side = np.where(np.abs(cross) <= 1e-12 * length * (reach + length), 0.0, np.sign(cross))
    divides = side * np.roll(side, -1, axis=1) <= 0.0
    first, second = np.nonzero(np.triu(divides & divides.T, k=2))
    apart = ~((first == 0) & (second == n - 1))
    for i, k in zip(first[apart], second[apart], strict=True):
        if _boxes_meet(vertices, int(i), int(k)):
            return f"edges {i + 1} and {k + 1} cross or touch"
    return None


def _boxes_meet(vertices: NDArray[np.float64], i: int, k: int) -> bool:
    """Tell whether the extents of two edges meet; edges on one line may not."""
    a, b = vertices[[i, (i + 1) % len(vertices)]], vertices[[k, (k + 1) % len(vertices)]]
    return bool(np.all(a.min(axis=0) <= b.max(axis=0)) and np.all(b.min(axis=0) <= a.max(axis=0)))
