"""The pixels and cells of the coadd that a region asks for."""

from __future__ import annotations

__all__ = ("CoaddGrid", "CoaddRegion", "find_coadd_grid")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from lsst.images import YX, Box, TractFrame
from lsst.images.cells import PatchDefinition
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from ..errors import (
    DatasetNotFoundError,
    InputNotFoundError,
    InvalidRegionError,
    RequestError,
)
from ..geometry import EdgePolicy, SkyStencil, StencilLike, TargetGrid, as_stencil
from ..repository import ButlerLike, RingsSkyMap, fetch_sky_map, find_sky_maps
from ._cells import CellLayout
from .rules import CellRules

type CoaddRegion = StencilLike | SkyCoord | TargetGrid | CoaddGrid | Mapping[str, Any]
"""What a coadd is asked for: a shape or a position on the sky, a pixel grid, the data ID of a
patch or a tract, such as ``{"tract": 5063, "patch": 14}``, or what `find_coadd_grid` returned."""

_SIDE_POINTS = 17


@dataclass(frozen=True)
class CoaddGrid:
    """Pixels of a coadd, and the cells that they lie in."""

    target: TargetGrid
    """Pixels that are asked for."""

    layout: CellLayout
    """Cells of the parent pixels."""

    skymap: str | None = None
    """Sky map that the parent pixels are of, where they are of one."""

    tract: int | None = None
    """Tract that the parent pixels are of."""

    patch: PatchDefinition | None = None
    """Patch that all pixels lie in, where they lie in one."""

    @property
    def cells_box(self) -> Box:
        """Pixels of all cells that have a pixel that is asked for."""
        return self.layout.inner_box(self.layout.find_cells(self.target.bbox))

    @property
    def region(self) -> ConvexPolygon:
        """Polygon on the sky around all these cells."""
        return find_polygon(self.target, self.cells_box)


def find_coadd_grid(
    butler: ButlerLike, region: CoaddRegion, *, cells: CellRules, skymap: str | None = None
) -> CoaddGrid:
    """Find the pixels and cells of a coadd.

    Parameters
    ----------
    butler
        Butler to ask for the sky map.
    region
        What is asked for.  A shape on the sky gives the pixels around it of
        the tract that its middle lies in, also where they reach past the
        tract; a position gives the cell that it lies in; a patch gives its
        outer box.
    cells
        Cells of pixels that are of no sky map; those of a sky map have its
        cells.
    skymap
        Sky map; may be left out where the repository has one, or the region
        says it.

    Returns
    -------
    grid
        Pixels and cells.

    Raises
    ------
    InvalidRegionError
        Raised if the region is not usable.
    DatasetNotFoundError
        Raised if there is no such sky map, tract or patch.
    RequestError
        Raised if a sky map is needed, and the repository has none or several.
    """
    if isinstance(region, CoaddGrid):
        return region
    if isinstance(region, TargetGrid):
        return _from_target(butler, region, cells)
    if isinstance(region, Mapping):
        return _from_data_id(butler, region, cells, skymap)
    name, sky_map = _fetch_sky_map(butler, skymap)
    layout = _make_layout(cells, sky_map.cell_size)
    if isinstance(region, SkyCoord):
        tract = sky_map.find_tract(region)
        place = sky_map.tract_sky_projection(tract).sky_to_pixel(region)
        point = Box.factory[
            (row := round(float(place.y))) : row + 1, (column := round(float(place.x))) : column + 1
        ]
        return _in_tract(sky_map, name, tract, layout.inner_box(layout.find_cells(point)), layout)
    stencil = as_stencil(region)
    if not isinstance(stencil, SkyStencil):
        raise InvalidRegionError(
            f"{stencil} is no shape on the sky; give a pixel grid, of which it is a part."
        )
    middle = stencil.region.getBoundingCircle().getCenter()
    position = SkyCoord(middle.x(), middle.y(), middle.z(), representation_type="cartesian", frame="icrs")
    tract = sky_map.find_tract(SkyCoord(position.spherical.lon, position.spherical.lat, frame="icrs"))
    projection = sky_map.tract_sky_projection(tract)
    bbox = stencil.to_pixels(projection, sky_map.tract_bbox(), edge=EdgePolicy.PAD).bbox
    return _in_tract(sky_map, name, tract, bbox, layout)


def find_polygon(target: TargetGrid, box: Box) -> ConvexPolygon:
    """Return the polygon on the sky around a box of pixels.

    Parameters
    ----------
    target
        Pixel grid.
    box
        Pixels of it.

    Returns
    -------
    polygon
        Hull of points along the edges of the pixels.

    Raises
    ------
    InvalidRegionError
        Raised if part of the edge has no position on the sky.
    """
    along = np.linspace(0.0, 1.0, _SIDE_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    x = box.x.start - 0.5 + box.x.size * np.concatenate([along, along, zero, one])
    y = box.y.start - 0.5 + box.y.size * np.concatenate([zero, one, along, along])
    sky = target.sky_projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    longitude, latitude = np.asarray(sky.x), np.asarray(sky.y)
    if not (np.isfinite(longitude) & (np.abs(latitude) <= 0.5 * np.pi + 1e-9)).all():
        raise InvalidRegionError(f"Part of the edge of {box} has no position on the sky.")
    vectors = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
    return ConvexPolygon.convexHull([UnitVector3d(*vector) for vector in vectors.tolist()])


def _make_layout(cells: CellRules, side: int) -> CellLayout:
    return CellLayout(inner_px=side, padding_px=cells.padding_px, anchor=YX(y=0, x=0))


def _fetch_sky_map(butler: ButlerLike, name: str | None) -> tuple[str, RingsSkyMap]:
    """Return the sky map of a name, or the only one that there is."""
    if name is None:
        known = find_sky_maps(butler)
        if len(known) != 1:
            raise RequestError(
                f"The repository has {len(known)} sky maps {known}; name one, or give a pixel grid."
            )
        name = known[0]
    return name, fetch_sky_map(butler, name)


def _from_target(butler: ButlerLike, target: TargetGrid, cells: CellRules) -> CoaddGrid:
    """Return the cells of a pixel grid: those of the sky map whose tract it is a part of."""
    frame = target.sky_projection.pixel_frame
    if not isinstance(frame, TractFrame):
        return CoaddGrid(target, _make_layout(cells, cells.inner_px))
    try:
        sky_map = fetch_sky_map(butler, frame.skymap)
    except DatasetNotFoundError:  # the pixels of a tract that this repository does not know
        return CoaddGrid(target, _make_layout(cells, cells.inner_px))
    layout = _make_layout(cells, sky_map.cell_size)
    patch = _find_patch(sky_map, target.bbox)
    return CoaddGrid(target, layout, frame.skymap, frame.tract, patch)


def _from_data_id(
    butler: ButlerLike, data_id: Mapping[str, Any], cells: CellRules, skymap: str | None
) -> CoaddGrid:
    """Return a patch or a tract."""
    known = {"skymap", "tract", "patch"}
    if "tract" not in data_id or not set(data_id) <= known:
        raise RequestError(
            f"A region needs tract and may have {sorted(known - {'tract'})}; not {dict(data_id)}."
        )
    name, sky_map = _fetch_sky_map(butler, data_id.get("skymap", skymap))
    layout = _make_layout(cells, sky_map.cell_size)
    try:
        tract = int(data_id["tract"])
        sky_map.tract_center(tract)
        bbox = sky_map.patch_bbox(int(data_id["patch"])) if "patch" in data_id else sky_map.tract_bbox()
    except (InputNotFoundError, TypeError, ValueError) as error:
        raise DatasetNotFoundError(f"There is no {dict(data_id)}: {error}") from error
    if "patch" not in data_id:
        return _in_tract(sky_map, name, tract, bbox, layout)
    target = TargetGrid(sky_map.tract_sky_projection(tract), bbox)
    return CoaddGrid(target, layout, name, tract, sky_map.patch_definition(int(data_id["patch"])))


def _in_tract(sky_map: RingsSkyMap, name: str, tract: int, bbox: Box, layout: CellLayout) -> CoaddGrid:
    target = TargetGrid(sky_map.tract_sky_projection(tract), bbox)
    return CoaddGrid(target, layout, name, tract, _find_patch(sky_map, bbox))


def _find_patch(sky_map: RingsSkyMap, bbox: Box) -> PatchDefinition | None:
    """Return the patch whose cells hold a box; that of its middle, if several do."""
    side, size = sky_map.patches_per_side, sky_map.patch_inner_size
    row, column = (int(np.clip(interval.center // size, 0, side - 1)) for interval in (bbox.y, bbox.x))
    patch = row * side + column
    if not sky_map.patch_bbox(patch).contains(bbox):
        return None
    return sky_map.patch_definition(patch)
