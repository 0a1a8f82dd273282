"""The joint fit of targets and their neighbours, as columns."""

from __future__ import annotations

__all__ = ("measure_jointly",)

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import RequestTooLargeError
from ..flags import FLAGS
from ._scene import Scene
from .joint_fit import MAX_MODEL_PIXELS, fit_jointly, stack_models

type Floats = NDArray[np.float64]

_WIDTHS_FOR_ERRORS = 3.0  # neighbours beyond so many widths of the PSF hardly change an error
_REACH = 2.0  # sides of a picture: neighbours, and what overlaps those


def measure_jointly(scene: Scene, values: dict[str, NDArray[Any]], x: Floats, y: Floats) -> None:
    """Fit the targets of an image together with their neighbours.

    Parameters
    ----------
    scene
        Image, PSF and options.
    values
        Columns, in which those of the joint fit are filled in the units of
        the image, from the targets' positions in them.
    x, y
        Positions of the neighbours in parent pixels, shape ``(m,)``; those
        that are a target, or too far off to matter, are left out.

    Raises
    ------
    RequestTooLargeError
        Raised if the pictures of all sources do not fit in memory.
    """
    is_near = scene.is_near(values["x"], values["y"])
    targets = np.flatnonzero(is_near)
    if targets.size == 0:
        return
    own_x, own_y = values["x"][targets], values["y"][targets]
    keep = _choose_neighbours(scene, own_x, own_y, x, y)
    all_x, all_y = np.concatenate([own_x, x[keep]]), np.concatenate([own_y, y[keep]])
    height, width = scene.stamp_shape
    if (total := all_x.size * height * width) > MAX_MODEL_PIXELS:
        raise RequestTooLargeError(
            f"A joint fit holds {MAX_MODEL_PIXELS} model pixels; {all_x.size} sources need {total}."
        )
    models = stack_models(scene.draw(all_x, all_y), x=all_x, y=all_y)
    fwhm_px = np.nanmedian(values["psf_fwhm"][targets]) / scene.pixel_scale_arcsec
    radius = float(_WIDTHS_FOR_ERRORS * fwhm_px) if fwhm_px > 0 else float(max(height, width))
    fluxes = fit_jointly(scene.pixels, models, wanted=np.arange(targets.size), error_radius=radius)
    for name in ("flux", "flux_err", "blend_flux", "blend_flux_err", "blend_correlation", "n_neighbours"):
        values[f"joint_{name}"][targets] = getattr(fluxes, name)
    values["flags"][targets] |= fluxes.flags & FLAGS["BLEND_DEGENERATE"].value


def _choose_neighbours(scene: Scene, own_x: Floats, own_y: Floats, x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the neighbours that take part."""
    candidates = np.flatnonzero(scene.is_near(x, y))
    if candidates.size == 0:
        return candidates
    match = scene.options.match_radius.to_value("arcsec") / scene.pixel_scale_arcsec
    tree = cKDTree(np.column_stack([own_x, own_y]))
    distance, _ = tree.query(np.column_stack([x[candidates], y[candidates]]))
    chosen: NDArray[np.int64] = candidates[(distance > match) & (distance <= _REACH * max(scene.stamp_shape))]
    return chosen
