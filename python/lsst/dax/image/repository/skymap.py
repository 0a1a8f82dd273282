"""The rings sky map: where tracts and patches lie, without `lsst.skymap`.

A `RingsSkyMap` is a set of parameters; every bounding box, projection and
region follows from them.  The SHA-1 that the observatory stores in the
``skymap`` dimension record identifies the parameters, so a repository's tracts
and patches need no dataset at all: see `find_known_sky_map`.
"""

from __future__ import annotations

__all__ = ("KNOWN_SKY_MAPS", "RingsSkyMap", "find_known_sky_map")

import dataclasses
import functools
import hashlib
import math
import struct
from collections.abc import Mapping
from types import MappingProxyType

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from lsst.images import YX, Box, SkyProjection, TractFrame
from lsst.images.cells import CellGrid, PatchDefinition
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from ..errors import InputNotFoundError, InvalidRegionError, RequestError


@dataclasses.dataclass(frozen=True)
class RingsSkyMap:
    """A sky map of tracts in rings of declination, divided into cells.

    The defaults are those of ``lsst_cells_v2``, the sky map of Data Preview 2.

    Notes
    -----
    The geometry is that of ``lsst.skymap.RingsSkyMap`` with the ``cells``
    tract builder: two polar tracts and ``num_rings`` rings of equal height,
    each tract a TAN projection about its own centre, all tracts of one size
    in pixels, the number of patches rounded up and the surplus split between
    both sides.  Patch outer boxes are not clipped at the tract edge.
    """

    name: str = "lsst_cells_v2"
    """Name of the ``skymap`` dimension record; not part of the hash."""

    num_rings: int = 120
    """Number of rings between the polar tracts."""

    pixel_scale: float = 0.2
    """Pixel scale at the tract centre, in arcsec."""

    tract_overlap: float = 1.0 / 60.0
    """Least overlap of neighbouring tracts, in degrees."""

    ra_start: float = 0.0
    """Right ascension of the first tract of every ring, in degrees."""

    cell_size: int = 150
    """Side of the inner region of a cell, in pixels."""

    cell_border: int = 0
    """Width of the border around each cell, in pixels."""

    cells_per_patch: int = 20
    """Number of cells along a side of the inner region of a patch."""

    border_cells: int = 1
    """Number of cells that a patch has beyond its inner region, on each side."""

    def __post_init__(self) -> None:
        for field in ("num_rings", "cell_size", "cells_per_patch", "pixel_scale"):
            if getattr(self, field) <= 0:
                raise RequestError(f"{field} of a sky map must be positive, not {getattr(self, field)}.")

    def sha1(self) -> bytes:
        """Return the 20 bytes that the registry keeps as ``skymap.hash``."""
        digest = hashlib.sha1(b"RingsSkyMap", usedforsecurity=False)
        packed = struct.pack(
            "<iiiiidd3sd",
            self.cell_size,
            self.cell_size,
            self.cell_border,
            self.cells_per_patch,
            self.border_cells,
            self.tract_overlap,
            self.pixel_scale,
            b"TAN",
            0.0,
        )
        digest.update(packed)
        digest.update(struct.pack("<id", self.num_rings, self.ra_start))
        return digest.digest()

    def to_config(self) -> dict[str, str | int | float]:
        """Return the parameters as plain values (see `from_config`)."""
        return {"kind": "rings", **dataclasses.asdict(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, str | int | float]) -> RingsSkyMap:
        """Make a sky map from what `to_config` returned.

        Raises
        ------
        RequestError
            Raised if ``config`` describes another kind of sky map or has
            unknown parameters.
        """
        parameters = dict(config)
        kind = parameters.pop("kind", None)
        unknown = set(parameters) - {field.name for field in dataclasses.fields(cls)}
        if kind != "rings" or unknown:
            raise RequestError(f"Not a rings sky map: kind {kind!r}, unknown parameters {sorted(unknown)}.")
        return cls(**parameters)  # type: ignore[arg-type]

    @functools.cached_property
    def _ring_sizes(self) -> tuple[int, ...]:
        """Number of tracts in each ring, from south to north."""
        sizes = []
        for ring in range(self.num_rings):
            edge = self._ring_height * (ring + 0.5) - math.pi / 2
            nearest = min(abs(edge), abs(edge + self._ring_height))
            sizes.append(int(2 * math.pi * math.cos(nearest) / self._ring_height) + 1)
        return tuple(sizes)

    @functools.cached_property
    def _ring_starts(self) -> tuple[int, ...]:
        """Identifier of the first tract of each ring, and of the north cap."""
        return tuple(np.concatenate([[1], 1 + np.cumsum(self._ring_sizes)]).tolist())

    @property
    def _ring_height(self) -> float:
        return math.pi / (self.num_rings + 1)

    @property
    def tract_count(self) -> int:
        """Number of tracts (``skymap.tract_max``)."""
        return self._ring_starts[-1] + 1

    @property
    def patch_inner_size(self) -> int:
        """Side of the inner region of a patch, in pixels."""
        return self.cell_size * self.cells_per_patch

    @property
    def patch_border(self) -> int:
        """Width by which a patch's outer box exceeds its inner box, in pixels."""
        return self.border_cells * self.cell_size + self.cell_border

    @property
    def patches_per_side(self) -> int:
        """Number of patches along each side of a tract."""
        low, high = self._tract_pixel_range
        return -(-(high - low + 1) // self.patch_inner_size)

    @property
    def _tract_pixel_range(self) -> tuple[int, int]:
        """First and last pixel of a tract relative to its centre, unrounded to patches."""
        radius = math.tan(self._ring_height / 2 + math.radians(self.tract_overlap))
        half = radius / math.radians(self.pixel_scale / 3600)
        return math.floor(0.5 - half), math.ceil(half - 0.5)

    @property
    def _reference_pixel(self) -> int:
        """0-based tract pixel of the tract centre, the same on both axes."""
        low, high = self._tract_pixel_range
        surplus = self.patches_per_side * self.patch_inner_size - (high - low + 1)
        return surplus // 2 - low

    def tract_center(self, tract: int) -> SkyCoord:
        """Return the ICRS position of a tract's reference pixel.

        Raises
        ------
        InputNotFoundError
            Raised if there is no such tract.
        """
        if not 0 <= tract < self.tract_count:
            raise InputNotFoundError(
                f"Sky map {self.name!r} has tracts 0 to {self.tract_count - 1}, not {tract}."
            )
        if tract == 0 or tract == self.tract_count - 1:
            return SkyCoord(ra=0.0, dec=-90.0 if tract == 0 else 90.0, unit=u.deg)
        ring = int(np.searchsorted(self._ring_starts, tract, side="right")) - 1
        ra = 360.0 * (tract - self._ring_starts[ring]) / self._ring_sizes[ring] + self.ra_start
        dec = math.degrees(self._ring_height * (ring + 1) - math.pi / 2)
        return SkyCoord(ra=ra % 360.0, dec=dec, unit=u.deg)

    def tract_wcs(self, tract: int) -> WCS:
        """Return the TAN projection of a tract as a FITS WCS.

        In astropy's 0-based convention its pixels are the tract's.
        """
        center = self.tract_center(tract)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [center.ra.deg, center.dec.deg]
        wcs.wcs.crpix = [self._reference_pixel + 1.0, self._reference_pixel + 1.0]
        wcs.wcs.cdelt = [-self.pixel_scale / 3600.0, self.pixel_scale / 3600.0]
        wcs.wcs.set()
        return wcs

    def tract_sky_projection(self, tract: int) -> SkyProjection[TractFrame]:
        """Return the projection from tract pixels to the sky."""
        bbox = self.tract_bbox()
        frame = TractFrame(skymap=self.name, tract=tract, bbox=bbox)
        return SkyProjection.from_fits_wcs(self.tract_wcs(tract), frame, pixel_bounds=bbox)

    def tract_bbox(self) -> Box:
        """Return the box of any tract, in tract pixels."""
        side = self.patches_per_side * self.patch_inner_size
        return Box.factory[0:side, 0:side]

    def patch_index(self, patch: int) -> YX[int]:
        """Return the row and column of a patch in its tract.

        Raises
        ------
        InputNotFoundError
            Raised if there is no such patch.
        """
        side = self.patches_per_side
        if not 0 <= patch < side * side:
            raise InputNotFoundError(
                f"Tracts of sky map {self.name!r} have patches 0 to {side * side - 1}, not {patch}."
            )
        return YX(y=patch // side, x=patch % side)

    def patch_bbox(self, patch: int, *, outer: bool = True) -> Box:
        """Return the box of a patch, in tract pixels.

        Parameters
        ----------
        patch
            Identifier of the patch: row times `patches_per_side` plus column.
        outer
            Whether to include the border that overlaps the neighbours.
        """
        index = self.patch_index(patch)
        size = self.patch_inner_size
        border = self.patch_border if outer else 0
        return Box.factory[
            index.y * size - border : (index.y + 1) * size + border,
            index.x * size - border : (index.x + 1) * size + border,
        ]

    def patch_definition(self, patch: int) -> PatchDefinition:
        """Return a patch with its grid of cells, as a `CellCoadd` carries it."""
        grid = CellGrid(bbox=self.patch_bbox(patch), cell_shape=YX(y=self.cell_size, x=self.cell_size))
        return PatchDefinition(
            id=patch,
            index=self.patch_index(patch),
            inner_bbox=self.patch_bbox(patch, outer=False),
            cells=grid,
        )

    def find_tract(self, position: SkyCoord) -> int:
        """Return the tract whose inner region holds a position.

        Parameters
        ----------
        position
            One position, in any frame.

        Raises
        ------
        InvalidRegionError
            Raised if the position is not a single finite one.
        """
        ra, dec = _radec_degrees(position)
        first_edge = self._ring_height / 2 - math.pi / 2
        ring = math.floor((math.radians(dec) - first_edge) / self._ring_height)
        if ring < 0:
            return 0
        if ring >= self.num_rings:
            return self.tract_count - 1
        step = 360.0 / self._ring_sizes[ring]
        column = math.floor(((ra - self.ra_start) % 360.0) / step + 0.5)
        return self._ring_starts[ring] + column % self._ring_sizes[ring]

    def find_patch(self, position: SkyCoord, *, tract: int) -> int:
        """Return the patch of a tract whose inner box holds a position.

        Raises
        ------
        InvalidRegionError
            Raised if the position is not a single finite one, or not in the
            tract's box.
        """
        _radec_degrees(position)
        point = self.tract_sky_projection(tract).sky_to_pixel(position)
        # A position behind the tangent plane has no pixel: NaN compares false.
        x, y = float(point.x), float(point.y)
        side = self.patches_per_side * self.patch_inner_size
        if not (-0.5 <= x < side - 0.5 and -0.5 <= y < side - 0.5):
            raise InvalidRegionError(f"Position at pixel x={x}, y={y} is not in {self.tract_bbox()}.")
        row, column = (math.floor((v + 0.5) / self.patch_inner_size) for v in (y, x))
        return row * self.patches_per_side + column

    def find_patches(self, bbox: Box) -> tuple[int, ...]:
        """Return the patches whose outer boxes overlap a box of tract pixels."""
        return tuple(
            patch for patch in range(self.patches_per_side**2) if _overlap(self.patch_bbox(patch), bbox)
        )

    def tract_region(self, tract: int) -> ConvexPolygon:
        """Return the polygon of a tract on the sky, from its pixel edges."""
        return self._region(tract, self.tract_bbox())

    def patch_region(self, tract: int, patch: int) -> ConvexPolygon:
        """Return the polygon of a patch's outer box on the sky, from its pixel edges."""
        return self._region(tract, self.patch_bbox(patch))

    def _region(self, tract: int, bbox: Box) -> ConvexPolygon:
        left, right = bbox.x.start - 0.5, bbox.x.stop - 0.5
        bottom, top = bbox.y.start - 0.5, bbox.y.stop - 0.5
        x, y = np.array([[left, right, right, left], [bottom, bottom, top, top]])
        ra, dec = np.radians(self.tract_wcs(tract).wcs_pix2world(x, y, 0))
        vertices = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
        return ConvexPolygon([UnitVector3d(*vertex) for vertex in vertices.tolist()])


KNOWN_SKY_MAPS: Mapping[str, RingsSkyMap] = MappingProxyType({"lsst_cells_v2": RingsSkyMap()})
"""Sky maps of public data releases, by name."""


def find_known_sky_map(sha1: bytes) -> RingsSkyMap:
    """Return the sky map of a public release that has a given hash.

    Parameters
    ----------
    sha1
        The ``hash`` of a ``skymap`` dimension record.

    Returns
    -------
    sky_map
        The sky map.

    Raises
    ------
    InputNotFoundError
        Raised if no known sky map has this hash.
    """
    for sky_map in KNOWN_SKY_MAPS.values():
        if sky_map.sha1() == sha1:
            return sky_map
    raise InputNotFoundError(f"No sky map of {sorted(KNOWN_SKY_MAPS)} has the hash {sha1.hex()}.")


def _radec_degrees(position: SkyCoord) -> tuple[float, float]:
    """Return one finite ICRS position in degrees."""
    icrs = position.icrs
    if not (icrs.isscalar and math.isfinite(icrs.ra.deg) and math.isfinite(icrs.dec.deg)):
        raise InvalidRegionError(f"Need one finite position, got {position!r}.")
    return float(icrs.ra.deg), float(icrs.dec.deg)


def _overlap(a: Box, b: Box) -> bool:
    """Whether two boxes have a pixel in common."""
    return a.x.start < b.x.stop and b.x.start < a.x.stop and a.y.start < b.y.stop and b.y.start < a.y.stop
