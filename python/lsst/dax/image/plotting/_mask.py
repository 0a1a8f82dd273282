"""Mask planes as translucent colours over a picture."""

from __future__ import annotations

__all__ = ("DEFAULT_MASK_PLANES",)

from collections.abc import Sequence
from typing import Any

import numpy as np

from lsst.images import GeneralizedImage, Mask

from ..errors import RequestError
from ._planes import find_mask_plane, get_extent

# Okabe and Ito's colours, which colour-blind readers can tell apart; a plane
# has the same colour in every picture.  The wide planes come first, so that
# the small ones are drawn on top of them.
_COLORS = {
    "NO_DATA": "#999999",
    "OUTSIDE_STENCIL": "#999999",
    "DETECTED": "#0072b2",
    "DETECTED_NEGATIVE": "#56b4e9",
    "SUSPECT": "#f0e442",
    "SATURATED": "#d55e00",
    "BAD": "#cc79a7",
    "COSMIC_RAY": "#009e73",
    "STREAK": "#e69f00",
}
_OTHER_COLORS = ("#e41a1c", "#4daf4a", "#984ea3", "#ff7f00", "#a65628", "#f781bf", "#66c2a5", "#ffd92f")
_LEGEND_DROP_POINTS = 34.0

DEFAULT_MASK_PLANES = tuple(_COLORS)
"""Mask planes that are shown unless others are asked for; those that an image
does not have, or that none of its pixels has, are left out."""


def choose_planes(image: GeneralizedImage, names: Sequence[str] | None) -> tuple[Mask | None, list[str]]:
    """Choose the mask planes to draw.

    Parameters
    ----------
    image
        Image of the picture.
    names
        Planes that are asked for; `None` for the default ones.

    Returns
    -------
    mask
        The image's mask, if it has one.
    planes
        Names of planes of that mask.

    Raises
    ------
    RequestError
        Raised if a plane that is asked for does not exist.
    """
    mask = find_mask_plane(image)
    known = [] if mask is None else list(mask.schema.names)
    if isinstance(names, str):
        raise RequestError(f"Mask planes are asked for as a sequence of names, not as the string {names!r}.")
    if names is None:
        shown = [plane for plane in DEFAULT_MASK_PLANES if plane in known]
        return mask, [plane for plane in shown if mask is not None and mask.get(plane).any()]
    if missing := [name for name in names if name not in known]:
        has = "has no mask" if mask is None else f"has the planes {sorted(known)}"
        raise RequestError(f"No mask planes {missing}: the {type(image).__name__} {has}.")
    return mask, list(names)


def draw_mask(axes: Any, mask: Mask, planes: Sequence[str], *, opacity: float) -> None:
    """Draw mask planes over a picture, with a legend below it.

    Parameters
    ----------
    axes
        Axes whose data coordinates are 0-based parent pixels.
    mask
        The mask.
    planes
        Planes of the mask; later ones are drawn on top.
    opacity
        From 0 to 1.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415  # the extra "plot"
    from matplotlib.patches import Patch  # noqa: PLC0415
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415

    if not planes:
        return
    others = iter(_OTHER_COLORS * len(planes))
    handles = []
    for plane in planes:
        color = to_rgb(_COLORS.get(plane) or next(others))
        flagged = mask.get(plane)
        layer = np.zeros((*flagged.shape, 4))
        layer[flagged] = (*color, opacity)
        axes.imshow(layer, extent=get_extent(mask.bbox), interpolation="nearest", label=plane)
        handles.append(Patch(color=color, alpha=0.8, label=f"{plane} ({flagged.sum()} px)"))
    # Below tick labels and axis label, whose size does not follow the picture's.
    offset = ScaledTranslation(0.0, -_LEGEND_DROP_POINTS / 72.0, axes.figure.dpi_scale_trans)
    below = axes.transAxes + offset
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=below,
        ncols=2,
        fontsize="small",
        frameon=False,
        title="Mask planes",
        title_fontsize="small",
    )
