"""Stencils: shapes that are cut out of an image.

The classes of the shapes are in modules of their own; this one has what they
share: the way from a shape on the sky to the pixels of an image.
"""

from __future__ import annotations

__all__ = ("SkyStencil", "Stencil")

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, override

import astropy.io.fits
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection
from lsst.sphgeom import Region

from ..errors import (
    InvalidRegionError,
    RequestTooLargeError,
    StencilNotContainedError,
    UnsupportedProductError,
)
from ._outline import Outline, ProjectedOutline, project_outline
from ._pixels import PixelMap
from ._search import covered_pixels, touched_box
from ._sphere import Vectors, sky_lon_lat
from .pixel_stencil import EdgePolicy, PixelStencil


class Stencil(abc.ABC):
    """A shape that selects pixels of an image.

    Stencils are immutable, picklable, hashable, and equal if their kind and
    numbers are.
    """

    kind: ClassVar[str]
    """Name of the shape: CIRCLE, POLYGON, RANGE or PIXEL_BOX."""

    @abc.abstractmethod
    def to_pixels(
        self,
        sky_projection: SkyProjection[Any] | None,
        bbox: Box,
        *,
        edge: EdgePolicy = EdgePolicy.CLIP,
        max_pixels: int | None = None,
    ) -> PixelStencil:
        """Find the pixels of an image that belong to this stencil.

        Parameters
        ----------
        sky_projection
            Projection of the image; a pixel box needs none.
        bbox
            Box of the image, in 0-based parent pixels.
        edge
            What becomes of a stencil that reaches past the image.
        max_pixels
            Largest area in pixels of the box that is allowed.

        Returns
        -------
        PixelStencil
            The smallest box of pixels whose areas (centre plus and minus one
            half) hold the stencil, and which of its pixel centres are covered.
            A stencil within one pixel gives that pixel, covered or not.

        Raises
        ------
        StencilNotContainedError
            Raised if no pixel of the image is touched; with ``STRICT`` also if
            the stencil reaches past the image.
        InvalidRegionError
            Raised with ``PAD`` if part of the stencil has no pixel position.
        RequestTooLargeError
            Raised if the box has more than ``max_pixels`` pixels.
        UnsupportedProductError
            Raised if the shape is on the sky and the image has no projection.
        """

    @abc.abstractmethod
    def _numbers(self) -> NDArray[np.float64]:
        """Return the numbers that define the shape."""

    @abc.abstractmethod
    def _cards(self) -> Mapping[str, tuple[float | int, str]]:
        """Return value and comment of the header cards of the shape."""

    @abc.abstractmethod
    def cover_box(self, sky_projection: SkyProjection[Any] | None, bbox: Box) -> NDArray[np.bool_]:
        """Return which pixel centres of a box are covered."""

    def to_header(self) -> astropy.io.fits.Header:
        """Return the FITS cards that describe the stencil (angles in degrees, ICRS)."""
        header = astropy.io.fits.Header()
        header["ST_TYPE"] = (self.kind, "Type of stencil used to create this cutout")
        for keyword, (value, comment) in self._cards().items():
            # "ST_DEC001" is one character too many for a plain card.
            header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = (value, comment)
        return header

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """Sixteen bytes that are equal for equal stencils, in any process."""
        digest = hashlib.blake2b(self.kind.encode(), digest_size=16)
        # Adding zero turns -0.0 into 0.0.
        digest.update((np.asarray(self._numbers(), dtype="<f8") + 0.0).tobytes())
        return digest.digest()

    @override
    def __reduce__(self) -> tuple[type[Stencil], tuple[object, ...]]:
        # Without what is cached.
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # each concrete shape is a dataclass
        return type(self), tuple(getattr(self, field.name) for field in fields)

    @override
    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Stencil) else NotImplemented

    @override
    def __hash__(self) -> int:
        return int.from_bytes(self.fingerprint[:8], "little", signed=True)


class SkyStencil(Stencil):
    """A stencil on the sky, in ICRS."""

    @property
    @abc.abstractmethod
    def region(self) -> Region:
        """Region that covers the stencil, for queries to a Butler.

        It may be larger than the stencil, never smaller.
        """

    @abc.abstractmethod
    def covers_lon_lat(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points (rad, any shape) are covered; NaN is not."""

    @abc.abstractmethod
    def edge_distance(self, vectors: Vectors) -> NDArray[np.float64]:
        """Return the angle (rad) from points, shape ``(n, 3)``, to the edge."""

    @abc.abstractmethod
    def outline(self) -> Outline:
        """Return the edge as a curve."""

    def contains(self, sky: SkyCoord) -> NDArray[np.bool_]:
        """Tell which points of the sky lie in the stencil.

        Parameters
        ----------
        sky
            Positions in any frame, of any shape.

        Returns
        -------
        numpy.ndarray
            Boolean array of the shape of ``sky``; edges belong to the stencil,
            NaN positions do not.
        """
        return self.covers_lon_lat(*sky_lon_lat(sky))

    @override
    def cover_box(self, sky_projection: SkyProjection[Any] | None, bbox: Box) -> NDArray[np.bool_]:
        return covered_pixels(self, PixelMap(self._require(sky_projection), bbox), bbox)

    def _require(self, sky_projection: SkyProjection[Any] | None) -> SkyProjection[Any]:
        if sky_projection is None:
            raise UnsupportedProductError(
                f"{self} is a shape on the sky and the image has no sky projection; use a pixel box."
            )
        return sky_projection

    @override
    def to_pixels(
        self,
        sky_projection: SkyProjection[Any] | None,
        bbox: Box,
        *,
        edge: EdgePolicy = EdgePolicy.CLIP,
        max_pixels: int | None = None,
    ) -> PixelStencil:
        sky_projection = self._require(sky_projection)
        pixels = PixelMap(sky_projection, bbox)
        outline = project_outline(self.outline(), pixels)
        spanned = self._spanned_box(outline, pixels, bbox)
        if spanned is not None and bbox.contains(spanned):
            box, is_clipped = spanned, False
        else:
            touched = self._touched_box(outline, spanned, pixels, bbox)
            # An edge that runs close by a pole may jump across a map.  What
            # touches no side of the image does not reach past it all the same.
            if spanned is None and touched is not None and is_within(touched, bbox):
                box, is_clipped = touched, False
            else:
                box, is_clipped = apply_edge_policy(self, spanned, touched, bbox, edge)
        check_size(self, box, max_pixels)
        return PixelStencil(self, box, bbox, is_clipped, sky_projection)

    def _spanned_box(self, outline: ProjectedOutline, pixels: PixelMap, bbox: Box) -> Box | None:
        """Return the box of the outline, unless the stencil is outside of it.

        The outline of a stencil that is larger than a hemisphere may be a
        small hole in the covered image, and that of one around the opposite
        point of an all-sky map lies within it.  Then points of the image that
        are not within the box of the outline are covered.
        """
        spanned = outline.bbox
        if spanned is None:
            return None
        x, y = _probes(spanned, bbox)
        lon, lat = pixels.to_lon_lat(x=x, y=y)
        return None if np.any(self.covers_lon_lat(lon, lat)) else spanned

    def _touched_box(
        self, outline: ProjectedOutline, spanned: Box | None, pixels: PixelMap, bbox: Box
    ) -> Box | None:
        """Return the box of the pixels of the image that the stencil touches."""
        x, y = outline.inside(bbox)
        if spanned is not None:
            if len(x):
                return spanned.intersection(bbox)
            lon, lat = pixels.to_lon_lat(x=np.array([bbox.x.center]), y=np.array([bbox.y.center]))
            if spanned.contains(bbox) and self.covers_lon_lat(lon, lat)[0]:
                return bbox
        touched = touched_box(self, pixels, bbox, x=x, y=y)
        if touched is None or spanned is None or not overlaps(spanned, bbox):
            return touched
        return spanned.intersection(bbox)


def _probes(spanned: Box, bbox: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pixels of an image that are outside of a box: next to it, and anywhere."""
    columns = np.concatenate([np.linspace(bbox.x.min, bbox.x.max, 9), [spanned.x.min - 1, spanned.x.max + 1]])
    rows = np.concatenate([np.linspace(bbox.y.min, bbox.y.max, 9), [spanned.y.min - 1, spanned.y.max + 1]])
    x, y = (grid.ravel() for grid in np.meshgrid(np.round(columns), np.round(rows)))
    beyond = bbox.contains(x=x, y=y) & ~spanned.contains(x=x, y=y)
    return x[beyond], y[beyond]


def overlaps(a: Box, b: Box) -> bool:
    """Tell whether two boxes have a pixel in common."""
    return a.x.start < b.x.stop and b.x.start < a.x.stop and a.y.start < b.y.stop and b.y.start < a.y.stop


def is_within(inner: Box, outer: Box) -> bool:
    """Tell whether a box keeps a pixel away from every side of another."""
    return min(outer.shape) > 2 and outer.padded(-1).contains(inner)


def apply_edge_policy(
    stencil: Stencil, spanned: Box | None, touched: Box | None, bbox: Box, edge: EdgePolicy
) -> tuple[Box, bool]:
    """Return the box to cut for a stencil that is not wholly on the image.

    ``spanned`` is the box of the whole stencil, None if it has none;
    ``touched`` the part of it on the image.  The second value tells whether
    the box is clipped.
    """
    where = "a shape that has no pixel box" if spanned is None else f"pixels {spanned}"
    if touched is None:
        raise StencilNotContainedError(f"{stencil} ({where}) touches no pixel of the image, pixels {bbox}.")
    match edge:
        case EdgePolicy.CLIP:
            return touched, True
        case EdgePolicy.STRICT:
            raise StencilNotContainedError(
                f"{stencil} ({where}) is not contained in the image, pixels {bbox}."
            )
        case EdgePolicy.PAD:
            if spanned is None or not overlaps(spanned, bbox):
                raise InvalidRegionError(
                    f"{stencil} cannot be padded: part of it has no position in the projection of the image,"
                    f" pixels {bbox}."
                )
            return spanned, False


def check_size(stencil: Stencil, box: Box, max_pixels: int | None) -> None:
    """Raise RequestTooLargeError if a box has too many pixels."""
    if max_pixels is not None and box.area > max_pixels:
        raise RequestTooLargeError(
            f"{stencil} spans {box.area} pixels ({box}), more than the {max_pixels} that are allowed."
        )
