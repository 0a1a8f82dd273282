"""The pixel grid of a mosaic."""

from __future__ import annotations

__all__ = ("HasPixels", "Orientation", "find_mosaic_grid")

import enum
import math
from collections.abc import Sequence
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from lsst.images import Box, GeneralFrame, SkyProjection

from ..choices import as_choice
from ..errors import InputDataError, InternalError, InvalidRegionError, RequestError
from ..geometry import EdgePolicy, SkyStencil, StencilLike, TargetGrid, as_stencil
from ._mapping import find_shift, map_pixels
from ._plan import find_circle
from ._planes import move_box

# Points along each side of an image whose positions bound it.
_POINTS = 17
# Nothing of the sky that is farther from the centre is on a tangent plane of a useful size.
_LARGEST_RADIUS = math.radians(75.0)


class Orientation(enum.Enum):
    """How the pixels of a grid are turned."""

    NORTH = "north"
    """North is up and east is left."""

    IMAGES = "images"
    """The sides are those of the smallest rectangle around all images, with the y axis
    within 45 deg of north."""


class HasPixels(Protocol):
    """An image, or what is known of its place: `TargetGrid`, `ImageGeometry`."""

    @property
    def sky_projection(self) -> SkyProjection[Any] | None:
        """From pixels to the sky."""

    @property
    def bbox(self) -> Box:
        """Pixels that the image has."""


def find_mosaic_grid(
    images: Sequence[HasPixels],
    *,
    stencil: StencilLike | None = None,
    pixel_scale: u.Quantity | None = None,
    rotation: u.Quantity | Orientation | None = None,
) -> TargetGrid:
    """Find a pixel grid for a mosaic of some images.

    Parameters
    ----------
    images
        Images, or their geometries.
    stencil
        What the grid spans; all images if `None`.
    pixel_scale
        Side of a pixel; the smallest one of the images if `None`.
    rotation
        Position angle of the y axis, from north through east; or how it is
        found; north if `None`.

    Returns
    -------
    grid
        If the images share their pixels (they are patches of one tract, or
        differ by whole pixels) and neither scale nor rotation is given, these
        pixels: nothing is resampled.  Otherwise a tangent plane around the
        middle of what it spans, as large as needed.

    Raises
    ------
    RequestError
        Raised if there is no image, or the rotation is no such choice.
    InputDataError
        Raised if an image has no sky projection.
    NoCoverageError
        Raised if a stencil overlaps no image that shares its pixels with the others.
    InvalidRegionError
        Raised if the stencil, scale or rotation is not usable, or if what it
        spans is too large for a tangent plane.
    """
    placed = [(_require(image, number), image.bbox) for number, image in enumerate(images)]
    if not placed:
        raise RequestError("A grid is found for one image or more, not for none.")
    shape = None if stencil is None else as_stencil(stencil)
    if pixel_scale is None and rotation is None:
        shared = _find_shared(placed)
        if shared is not None:
            return (
                shared
                if shape is None
                else TargetGrid(
                    shared.sky_projection,
                    shape.to_pixels(shared.sky_projection, shared.bbox, edge=EdgePolicy.CLIP).bbox,
                )
            )
    if pixel_scale is None:
        pixel_scale = min(TargetGrid(*each).pixel_scale for each in placed)
    turn = _find_turn(placed, rotation)
    if shape is None:
        center = _find_center(placed)
    elif isinstance(shape, SkyStencil):
        circle = shape.region.getBoundingCircle().getCenter()
        center = SkyCoord(circle.x(), circle.y(), circle.z(), representation_type="cartesian", frame="icrs")
        center = SkyCoord(center.spherical.lon, center.spherical.lat, frame="icrs")
    else:
        raise InvalidRegionError(f"{shape} is no shape on the sky, and the images do not share their pixels.")
    first = TargetGrid.from_center(center, pixel_scale=pixel_scale, shape=(1, 1), rotation=turn)
    if shape is None:
        return _move_grid(first, *_find_edges(placed, first))
    box = shape.to_pixels(first.sky_projection, first.bbox, edge=EdgePolicy.PAD).bbox
    edges = [[interval.start - 0.5, interval.stop - 0.5] for interval in (box.x, box.y)]
    return _move_grid(first, *np.array(edges).T)


def _find_turn(
    placed: Sequence[tuple[SkyProjection[Any], Box]], rotation: u.Quantity | Orientation | None
) -> u.Quantity:
    """Return the position angle of the y axis.

    The smallest rectangle around points has a side along one of their hull's.
    """
    if isinstance(rotation, u.Quantity):
        return rotation
    asked = Orientation.NORTH if rotation is None else as_choice(rotation, Orientation, "rotation")
    if asked is Orientation.NORTH:
        return 0.0 * u.deg
    scale = min(TargetGrid(*each).pixel_scale for each in placed)
    plane = TargetGrid.from_center(_find_center(placed), pixel_scale=scale, shape=(1, 1))
    points = np.concatenate([_find_outline(*each, number, plane).T for number, each in enumerate(placed)])
    hull = points[ConvexHull(points).vertices]
    sides = np.roll(hull, -1, axis=0) - hull
    quarter = 0.5 * math.pi
    angles = np.arctan2(sides[:, 1], sides[:, 0])
    angles -= quarter * np.round(angles / quarter)
    cosines, sines = np.cos(angles)[:, None], np.sin(angles)[:, None]
    areas = np.ptp(hull[:, 0] * cosines + hull[:, 1] * sines, axis=1)
    areas *= np.ptp(hull[:, 1] * cosines - hull[:, 0] * sines, axis=1)
    return float(angles[np.argmin(areas)]) * u.rad


def _require(image: HasPixels, number: int) -> SkyProjection[Any]:
    """Return the projection of an image, or raise."""
    if image.sky_projection is None:
        raise InputDataError(f"Image {number}, of pixels {image.bbox}, has no sky projection.")
    return image.sky_projection


def _find_shared(placed: Sequence[tuple[SkyProjection[Any], Box]]) -> TargetGrid | None:
    """Return the pixels that all images share; None if they do not."""
    projection = placed[0][0]
    boxes = []
    for each, bbox in placed:
        shift = find_shift(each, bbox, projection)
        if shift is None:
            return None
        boxes.append(move_box(bbox, shift))
    return TargetGrid(projection, _span(boxes))


def _span(boxes: Sequence[Box]) -> Box:
    """Return the smallest box around some."""
    return Box.factory[
        min(box.y.start for box in boxes) : max(box.y.stop for box in boxes),
        min(box.x.start for box in boxes) : max(box.x.stop for box in boxes),
    ]


def _find_center(placed: Sequence[tuple[SkyProjection[Any], Box]]) -> SkyCoord:
    """Return the middle of the images on the sky."""
    circles = [find_circle(projection, bbox) for projection, bbox in placed]
    vector = np.sum([center for center, _ in circles], axis=0)
    if not np.linalg.norm(vector) > 1e-6 * len(circles):
        raise InvalidRegionError(f"{len(placed)} images all around the sky fit on no tangent plane.")
    longitude, latitude = np.arctan2(vector[1], vector[0]), np.arctan2(vector[2], np.hypot(*vector[:2]))
    return SkyCoord(ra=Angle(longitude, u.rad).wrap_at(360 * u.deg), dec=latitude * u.rad)


def _find_edges(
    placed: Sequence[tuple[SkyProjection[Any], Box]], grid: TargetGrid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest x and y of a tangent plane that the images reach."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for number, (projection, bbox) in enumerate(placed):
        found = _find_outline(projection, bbox, number, grid)
        low = np.minimum(low, found.min(axis=1))
        high = np.maximum(high, found.max(axis=1))
    return low, high


def _find_outline(
    projection: SkyProjection[Any], bbox: Box, number: int, grid: TargetGrid
) -> NDArray[np.float64]:
    """Return positions of an image on a tangent plane, its edges among them, shape ``(2, n)``."""
    middle = grid.center
    x = np.linspace(bbox.x.start - 0.5, bbox.x.stop - 0.5, _POINTS)
    y = np.linspace(bbox.y.start - 0.5, bbox.y.stop - 0.5, _POINTS)
    corners = projection.pixel_to_sky(x=np.repeat(x[[0, -1]], 2), y=np.tile(y[[0, -1]], 2))
    found = map_pixels(projection, grid.sky_projection, *np.meshgrid(x, y))
    apart = float(corners.separation(middle).rad.max())
    if not np.isfinite(found).all() or apart > _LARGEST_RADIUS:
        raise InvalidRegionError(
            f"Image {number}, of pixels {bbox}, reaches {math.degrees(apart):.1f} deg from the middle of "
            f"all at {middle.to_string('decimal')}: a tangent plane reaches "
            f"{math.degrees(_LARGEST_RADIUS):.0f} deg; give a grid of another projection."
        )
    outline: NDArray[np.float64] = np.reshape(found, (2, -1))
    return outline


def _move_grid(grid: TargetGrid, low: NDArray[np.float64], high: NDArray[np.float64]) -> TargetGrid:
    """Return the plane of a grid with pixels that are counted from the corner of what it spans."""
    # A thousandth of a pixel more is a matter of rounding.
    size = np.maximum(np.ceil(high - low - 1e-3), 1.0)
    corner = 0.5 * (low + high - size)
    wcs = grid.sky_projection.as_fits_wcs(grid.bbox)
    if wcs is None:
        raise InternalError(f"The tangent plane around {grid.center.to_string('decimal')} has no FITS form.")
    wcs.wcs.crpix = wcs.wcs.crpix - (corner + 0.5)
    return TargetGrid(
        SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix)),
        Box.from_shape((int(size[1]), int(size[0]))),
    )
