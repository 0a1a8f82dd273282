"""The pixel grid of a mosaic."""

from __future__ import annotations

__all__ = ("HasPixels", "find_mosaic_grid")

import math
from collections.abc import Sequence
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord

from lsst.images import Box, SkyProjection

from ..errors import InputDataError, InvalidRegionError, RequestError
from ..geometry import EdgePolicy, SkyStencil, StencilLike, TargetGrid, as_stencil
from ._mapping import find_shift, map_pixels
from ._plan import find_circle
from ._planes import move_box

# Points along each side of an image whose positions bound it.
_POINTS = 17
# Nothing of the sky that is farther from the centre is on a tangent plane of a useful size.
_LARGEST_RADIUS = math.radians(75.0)


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
    rotation: u.Quantity | None = None,
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
        Position angle of the y axis, from north through east; zero if `None`.

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
        Raised if there is no image.
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
    turn = 0.0 * u.deg if rotation is None else rotation
    if shape is None:
        center = _find_center(placed)
    elif isinstance(shape, SkyStencil):
        circle = shape.region.getBoundingCircle().getCenter()
        center = SkyCoord(circle.x(), circle.y(), circle.z(), representation_type="cartesian", frame="icrs")
        center = SkyCoord(center.spherical.lon, center.spherical.lat, frame="icrs")
    else:
        raise InvalidRegionError(f"{shape} is no shape on the sky, and the images do not share their pixels.")
    first = TargetGrid.from_center(center, pixel_scale=pixel_scale, shape=(1, 1), rotation=turn)
    if shape is not None:
        box = shape.to_pixels(first.sky_projection, first.bbox, edge=EdgePolicy.PAD).bbox
    else:
        box = _find_box(placed, first)
    # Counted from the corner, as in any FITS file.
    return _moved_to_corner(center, pixel_scale, turn, box)


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


def _find_box(placed: Sequence[tuple[SkyProjection[Any], Box]], grid: TargetGrid) -> Box:
    """Return the pixels of a tangent plane that the images touch."""
    middle = grid.center
    boxes = []
    for number, (projection, bbox) in enumerate(placed):
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
        # Half a pixel's thousandth off a border between pixels touches nothing.
        low, high = np.floor(found.min(axis=(1, 2)) + 0.501), np.ceil(found.max(axis=(1, 2)) - 0.501)
        boxes.append(Box.factory[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1])
    return _span(boxes)


def _moved_to_corner(center: SkyCoord, pixel_scale: u.Quantity, rotation: u.Quantity, box: Box) -> TargetGrid:
    """Return the same pixels, counted from the first one of a box."""
    # The reference pixel of a grid is the middle of its box: extend the box
    # to one around the pixel (0, 0), which has the position.
    reach_y = max(abs(box.y.start), abs(box.y.stop - 1))
    reach_x = max(abs(box.x.start), abs(box.x.stop - 1))
    shape = (2 * reach_y + 1, 2 * reach_x + 1)
    around = TargetGrid.from_center(center, pixel_scale=pixel_scale, shape=shape, rotation=rotation)
    return TargetGrid(
        around.sky_projection,
        Box.factory[
            box.y.start + reach_y : box.y.stop + reach_y, box.x.start + reach_x : box.x.stop + reach_x
        ],
    )
