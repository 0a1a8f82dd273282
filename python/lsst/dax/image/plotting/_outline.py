"""The outline of a stencil on the pixels of a picture."""

from __future__ import annotations

__all__ = ("trace_outline",)

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lsst.images import SkyProjection

from ..geometry import PixelStencil, SkyStencil
from ._sky import pixels_to_sky

# Points per side of the grid that finds the pieces of the outline, and how
# often each piece is then bisected: to 2**-20 of the grid's spacing.
_GRID_SIZE = 200
_BISECTIONS = 20


def trace_outline(
    pixels: PixelStencil, sky_projection: SkyProjection[Any] | None
) -> list[NDArray[np.float64]]:
    """Trace the outline of a stencil around its box of pixels.

    Parameters
    ----------
    pixels
        The stencil on the image's pixels.
    sky_projection
        Projection of the image.

    Returns
    -------
    lines
        Curves of x and y in 0-based parent pixels, shape ``(n, 2)`` each;
        closed, or ending at the edge of the box plus one pixel.  For a shape
        on the sky each point is exact; what is smaller than 1/200 of the box,
        such as the tip of a corner, may be cut off.  For other shapes the
        lines follow the edges of the covered pixels.
    """
    from contourpy import contour_generator  # noqa: PLC0415  # comes with matplotlib

    x = np.linspace(pixels.bbox.x.min - 1.0, pixels.bbox.x.max + 1.0, _GRID_SIZE)
    y = np.linspace(pixels.bbox.y.min - 1.0, pixels.bbox.y.max + 1.0, _GRID_SIZE)
    inside = _covers(pixels, sky_projection, *np.meshgrid(x, y))
    # In grid steps, each vertex lies halfway between a covered point and its
    # uncovered neighbour.
    lines = contour_generator(z=inside.astype(np.float64)).lines(0.5)
    step = np.array([x[1] - x[0], y[1] - y[0]])
    origin = np.array([x[0], y[0]])
    return [
        _bisect(pixels, sky_projection, origin + np.floor(line) * step, origin + np.ceil(line) * step)
        for line in lines
        if isinstance(line, np.ndarray)
    ]


def _bisect(
    pixels: PixelStencil,
    sky_projection: SkyProjection[Any] | None,
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return where the outline crosses each of the steps from start to stop."""
    from_inside = _covers(pixels, sky_projection, *start.T)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (start + stop)
        beyond = _covers(pixels, sky_projection, *middle.T) == from_inside
        start = np.where(beyond[:, None], middle, start)
        stop = np.where(beyond[:, None], stop, middle)
    return 0.5 * (start + stop)


def _covers(
    pixels: PixelStencil,
    sky_projection: SkyProjection[Any] | None,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell which points lie in the stencil, or else in a covered pixel."""
    if isinstance(pixels.stencil, SkyStencil) and sky_projection is not None:
        lon, lat = pixels_to_sky(sky_projection, x=x, y=y)
        return pixels.stencil.contains(SkyCoord(lon * u.rad, lat * u.rad, frame="icrs"))
    column = np.floor(x + 0.5).astype(int) - pixels.bbox.x.min
    row = np.floor(y + 0.5).astype(int) - pixels.bbox.y.min
    height, width = pixels.bbox.shape
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    covered = pixels.covered[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.asarray(within & covered)
