"""Shapes of galaxies on the pixels of an image."""

from __future__ import annotations

__all__ = ("find_shapes_px",)

import math
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

from ..geometry import locate_positions
from .sersic import SersicShape
from .targets import Targets

_STEP = 0.5 * u.arcsec


def find_shapes_px(
    targets: Targets, rows: NDArray[np.int64], *, sky_projection: SkyProjection[Any], bbox: Box
) -> dict[int, SersicShape]:
    """Return the shapes of those targets that are extended, in pixels.

    Parameters
    ----------
    targets
        Targets, with shapes on the sky if any is extended.
    rows
        Targets that are asked for, which have positions.
    sky_projection
        Map between pixels and sky.
    bbox
        Pixels of the image.

    Returns
    -------
    shapes
        Shapes by their places in ``rows``.  The axis ratio is that on the
        sky: pixels are taken as square.

    Raises
    ------
    RequestError
        Raised if a shape is out of range.
    """
    sky = targets.shapes
    if sky is None:
        return {}
    places = np.flatnonzero(np.isfinite(sky.half_light_radius_arcsec[rows]))
    chosen = rows[places]
    centers = SkyCoord(targets.ra[chosen], targets.dec[chosen], unit=u.deg, frame="icrs")
    tips = centers.directional_offset_by(sky.position_angle_deg[chosen] * u.deg, _STEP)
    start = locate_positions(sky_projection, centers, bbox=bbox)
    end = locate_positions(sky_projection, tips, bbox=bbox)
    shapes = {}
    for k, (place, row) in enumerate(zip(places.tolist(), chosen.tolist(), strict=True)):
        dx, dy = float(end.x[k] - start.x[k]), float(end.y[k] - start.y[k])
        shapes[place] = SersicShape(
            half_light_radius_px=float(sky.half_light_radius_arcsec[row])
            * math.hypot(dx, dy)
            / _STEP.to_value(u.arcsec),
            index=float(sky.index[row]),
            axis_ratio=float(sky.axis_ratio[row]),
            angle=math.atan2(dy, dx),
        )
    return shapes
