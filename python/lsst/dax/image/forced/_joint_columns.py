"""The joint fit of targets and their neighbours, as columns."""

from __future__ import annotations

__all__ = ("NEIGHBOUR_REACH", "measure_jointly")

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import RequestTooLargeError
from ..flags import FLAGS
from ._scene import Scene, Setup
from ._shapes import find_shapes_px
from .joint_fit import MAX_MODEL_PIXELS, fit_jointly, stack_models
from .sersic import Picture, draw_sersic
from .targets import Targets

type Floats = NDArray[np.float64]

_WIDTHS_FOR_ERRORS = 3.0  # neighbours beyond so many widths of the PSF hardly change an error
NEIGHBOUR_REACH = 2.0  # sides of a picture: neighbours, and what overlaps those


def measure_jointly(
    scene: Scene, values: dict[str, NDArray[Any]], targets: Targets, neighbours: Targets
) -> None:
    """Fit the targets of an image together with their neighbours.

    Parameters
    ----------
    scene
        Image, PSF and options.
    values
        Columns, in which those of the joint fit are filled in the units of
        the image, from the targets' positions in them.
    targets
        The targets, one per row.
    neighbours
        Sources around them; those that are a target, or too far off to
        matter, are left out.

    Raises
    ------
    RequestTooLargeError
        Raised if the pictures of all sources do not fit in memory.
    """
    setup = scene.setup
    near = np.flatnonzero(setup.is_near(values["x"], values["y"]))
    if near.size == 0:
        return
    own_x, own_y = values["x"][near], values["y"][near]
    other_x, other_y = setup.locate(neighbours)
    keep = _choose_neighbours(setup, own_x, own_y, other_x, other_y)
    x, y = np.concatenate([own_x, other_x[keep]]), np.concatenate([own_y, other_y[keep]])
    height, width = setup.stamp_shape
    if (total := x.size * height * width) > MAX_MODEL_PIXELS:
        raise RequestTooLargeError(
            f"A joint fit holds {MAX_MODEL_PIXELS} model pixels; {x.size} sources need {total}."
        )
    stamps = setup.draw(x, y)
    components, extended = setup.components, {}
    for sources, rows, first in ((targets, near, 0), (neighbours, keep, near.size)):
        shapes = find_shapes_px(sources, rows, sky_projection=components.sky_projection, bbox=components.bbox)
        for place, shape in shapes.items():
            k = first + place
            if stamps.flags[k] == 0:
                star = Picture(stamps.array[k], int(stamps.x0[k]), int(stamps.y0[k]))
                extended[k] = draw_sersic(star, shape)
    models = stack_models(stamps, x=x, y=y, extended=extended)
    fwhm_px = np.nanmedian(values["psf_fwhm"][near]) / setup.pixel_scale_arcsec
    radius = float(_WIDTHS_FOR_ERRORS * fwhm_px) if fwhm_px > 0 else float(max(height, width))
    fluxes = fit_jointly(scene.pixels, models, wanted=np.arange(near.size), error_radius=radius)
    for name in ("flux", "flux_err", "blend_flux", "blend_flux_err", "blend_correlation", "n_neighbours"):
        values[f"joint_{name}"][near] = getattr(fluxes, name)
    values["flags"][near] |= fluxes.flags & FLAGS["BLEND_DEGENERATE"].value


def _choose_neighbours(setup: Setup, own_x: Floats, own_y: Floats, x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the neighbours that take part."""
    candidates = np.flatnonzero(setup.is_near(x, y))
    if candidates.size == 0:
        return candidates
    match = setup.options.match_radius.to_value("arcsec") / setup.pixel_scale_arcsec
    tree = cKDTree(np.column_stack([own_x, own_y]))
    distance, _ = tree.query(np.column_stack([x[candidates], y[candidates]]))
    chosen: NDArray[np.int64] = candidates[
        (distance > match) & (distance <= NEIGHBOUR_REACH * max(setup.stamp_shape))
    ]
    return chosen
