"""Stencils with the interface that service wrappers program against.

A thin face over `lsst.dax.image.geometry`: here a stencil is made from
sphgeom or astropy objects, and knows whether it clips.
"""

from __future__ import annotations

__all__ = (
    "PixelStencil",
    "SkyCircle",
    "SkyPolygon",
    "SkyRange",
    "SkyStencil",
    "StencilNotContainedError",
)

from collections.abc import Iterable
from typing import Any, Self, override

import astropy.io.fits
import astropy.units as u
from astropy.coordinates import Angle, SkyCoord

import lsst.sphgeom
from lsst.images import Box, SkyProjection

from ..errors import StencilNotContainedError
from ..geometry import (
    CircleStencil,
    EdgePolicy,
    PixelStencil,
    PolygonStencil,
    RangeStencil,
)
from ..geometry import SkyStencil as SkyShape


class SkyStencil:
    """A shape on the sky, and what to do where it reaches off the image.

    Parameters
    ----------
    shape
        The shape.
    clip
        Whether the stencil is clipped to the image.  If not, a stencil that
        the image does not contain is an error.
    """

    def __init__(self, shape: SkyShape, clip: bool = False) -> None:  # noqa: FBT001, FBT002  # as wrappers call
        self.shape = shape
        self.edge = EdgePolicy.CLIP if clip else EdgePolicy.STRICT

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape}, clip={self.edge is EdgePolicy.CLIP})"

    @property
    def region(self) -> lsst.sphgeom.Region:
        """A region that bounds the stencil on the sky."""
        return self.shape.region

    @property
    def fingerprint(self) -> bytes:
        """Sixteen bytes that are unique to the shape."""
        return self.shape.fingerprint

    def to_fits_metadata(self) -> astropy.io.fits.Header:
        """Return the cards that describe the shape.

        Returns
        -------
        header
            ``ST_TYPE`` and the coordinates in degrees, with comments.
        """
        return self.shape.to_header()

    def to_pixels(self, projection: SkyProjection[Any], bbox: Box) -> PixelStencil:
        """Find the stencil's pixels.

        Parameters
        ----------
        projection
            Map between pixels and sky.
        bbox
            Pixels of the image.

        Returns
        -------
        pixels
            Pixel stencil; its box is contained by ``bbox``.

        Raises
        ------
        StencilNotContainedError
            Raised if the stencil does not overlap ``bbox`` or, if it does not
            clip, is not contained by it.
        """
        return self.shape.to_pixels(projection, bbox, edge=self.edge)


class SkyCircle(SkyStencil):
    """A circle on the sky.

    Parameters
    ----------
    center
        Centre, ICRS.
    radius
        Radius.
    clip
        Whether the stencil is clipped to the image.
    """

    def __init__(
        self,
        center: lsst.sphgeom.LonLat,
        radius: lsst.sphgeom.Angle,
        clip: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__(CircleStencil(_sky([center])[0], radius.asRadians() * u.rad), clip)

    @classmethod
    def from_astropy(cls, center: SkyCoord, radius: Angle, clip: bool = False) -> Self:  # noqa: FBT001, FBT002
        """Make a circle from astropy objects.

        Parameters
        ----------
        center
            Scalar centre in any frame.
        radius
            Scalar radius.
        clip
            Whether the stencil is clipped to the image.

        Returns
        -------
        stencil
            Circle.

        Raises
        ------
        InvalidRegionError
            Raised if the centre or radius is not a usable scalar.
        """
        return _make(cls, CircleStencil(center, radius), clip=clip)

    @classmethod
    def from_sphgeom(cls, circle: lsst.sphgeom.Circle, clip: bool = False) -> Self:  # noqa: FBT001, FBT002
        """Make a circle from a sphgeom circle.

        Parameters
        ----------
        circle
            Circle; its opening angle is its radius.
        clip
            Whether the stencil is clipped to the image.

        Returns
        -------
        stencil
            Circle.

        Raises
        ------
        InvalidRegionError
            Raised if the circle is empty or the full sky.
        """
        center = lsst.sphgeom.LonLat(circle.getCenter())
        return cls(center, circle.getOpeningAngle(), clip)


class SkyPolygon(SkyStencil):
    """A polygon of great-circle edges on the sky.

    Parameters
    ----------
    vertices
        Vertices, ICRS, in either winding.
    clip
        Whether the stencil is clipped to the image.
    """

    def __init__(self, vertices: Iterable[lsst.sphgeom.LonLat], clip: bool = False) -> None:  # noqa: FBT001, FBT002
        super().__init__(PolygonStencil(_sky(vertices)), clip)

    @classmethod
    def from_astropy(cls, vertices: SkyCoord, clip: bool = False) -> Self:  # noqa: FBT001, FBT002
        """Make a polygon from astropy coordinates.

        Parameters
        ----------
        vertices
            Vertices in any frame, one-dimensional, in either winding.
        clip
            Whether the stencil is clipped to the image.

        Returns
        -------
        stencil
            Polygon.

        Raises
        ------
        InvalidRegionError
            Raised if the vertices do not make a simple polygon.
        """
        return _make(cls, PolygonStencil(vertices), clip=clip)

    @classmethod
    def from_sphgeom(cls, polygon: lsst.sphgeom.ConvexPolygon, clip: bool = False) -> Self:  # noqa: FBT001, FBT002
        """Make a polygon from a sphgeom polygon.

        Parameters
        ----------
        polygon
            Polygon.
        clip
            Whether the stencil is clipped to the image.

        Returns
        -------
        stencil
            Polygon.
        """
        return cls((lsst.sphgeom.LonLat(vertex) for vertex in polygon.getVertices()), clip)


class SkyRange(SkyStencil):
    """A range of right ascension and declination.

    Parameters
    ----------
    shape
        The range.
    clip
        Whether the stencil is clipped to the image.
    """

    @classmethod
    def from_astropy(
        cls,
        ra: tuple[Angle, Angle],
        dec: tuple[Angle, Angle],
        clip: bool = False,  # noqa: FBT001, FBT002
    ) -> Self:
        """Make a range from astropy angles.

        Parameters
        ----------
        ra
            First and last right ascension, going east; infinite for an open
            end.
        dec
            Lowest and highest declination; infinite for an open end.
        clip
            Whether the stencil is clipped to the image.

        Returns
        -------
        stencil
            Range.

        Raises
        ------
        InvalidRegionError
            Raised if the angles do not make a range.
        """
        return cls(RangeStencil(ra=ra, dec=dec), clip)


def _make[T: SkyStencil](cls: type[T], shape: SkyShape, *, clip: bool) -> T:
    """Make a stencil of a class whose constructor takes other arguments."""
    stencil = cls.__new__(cls)
    SkyStencil.__init__(stencil, shape, clip)
    return stencil


def _sky(points: Iterable[lsst.sphgeom.LonLat]) -> SkyCoord:
    """Return sphgeom points as coordinates."""
    points = list(points)
    ra = [point.getLon().asRadians() for point in points]
    dec = [point.getLat().asRadians() for point in points]
    return SkyCoord(ra=ra, dec=dec, unit=u.rad, frame="icrs")
