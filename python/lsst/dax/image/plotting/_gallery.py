"""Many stamps side by side."""

from __future__ import annotations

__all__ = ("plot_gallery",)

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from lsst.images import Image

from ..errors import InconsistentUnitsError, RequestError
from ._cutout import NO_PIXEL_COLOR
from ._planes import find_image_plane, get_extent, to_drawable
from ._require import require_package
from ._stretch import Stretch, draw_color_bar, make_norm

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from ..cutouts import Stamp

_PANEL_INCH = 1.35
_LABEL_INCH = 0.35
_BAR_INCH = (4.0, 0.12)
_MARKER_COLOR = "#ffb000"


def plot_gallery(
    stamps: Iterable[Stamp],
    *,
    columns: int = 6,
    title: str | None = None,
    stretch: Stretch = Stretch.ASINH,
) -> Figure:
    """Show stamps in time order, with one scale of shades for all.

    Parameters
    ----------
    stamps
        Stamps, in any order.  Those of one time are in the order of their
        index; those without a time come last.
    columns
        Number of stamps in a row.
    title
        Text above the gallery.
    stretch
        How pixel values become shades of grey.

    Returns
    -------
    figure
        One panel per stamp, row by row, with its time in the time's own scale,
        its band where it is known, and its status.  If the stamps are of
        several targets, their index comes first.  Dashes point at the target.
        A stamp without pixels is an empty box with its status.

    Raises
    ------
    RequestError
        Raised if there are no stamps, if ``columns`` is not positive, if a
        stamp holds a mask alone, or if matplotlib is not installed.
    InconsistentUnitsError
        Raised if the stamps have different units, since they share a scale.
    """
    require_package("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    shown = sorted(stamps, key=_time_key)
    if columns < 1 or not shown:
        raise RequestError(f"A gallery needs stamps and columns; got {len(shown)} stamps, {columns} columns.")
    planes, unit = _find_planes(shown)
    values = [to_drawable(plane).ravel() for plane in planes if plane is not None]
    norm = make_norm(np.concatenate(values) if values else np.empty(0), stretch)
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    # Not a figure of pyplot, which would stay open until it is closed by hand.
    height = rows * (_PANEL_INCH + _LABEL_INCH) + (0.4 if title else 0.1)
    figure = Figure(figsize=(columns * _PANEL_INCH + 0.9, height), layout="compressed")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    several = len({stamp.index for stamp in shown}) > 1
    drawn = None
    for panel, stamp, plane in zip(panels, shown, planes, strict=False):
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_title(_label(stamp, several=several), fontsize=7.0, linespacing=1.1)
        if plane is None:
            _draw_empty(panel, stamp)
        else:
            drawn = _draw_stamp(panel, stamp, plane, norm)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    if drawn is not None:
        length, width = min(_BAR_INCH[0], 0.9 * height), _BAR_INCH[1]
        draw_color_bar(
            figure, drawn, ax=panels, unit=unit, fontsize=7.0, shrink=length / height, aspect=length / width
        )
    if title:
        figure.suptitle(title)
    return figure


def _time_key(stamp: Stamp) -> tuple[bool, float, int]:
    """Return what stamps are sorted by; stamps without a time come last."""
    return stamp.time is None, 0.0 if stamp.time is None else float(stamp.time.tai.mjd), stamp.index


def _find_planes(stamps: list[Stamp]) -> tuple[list[Image | None], u.UnitBase | None]:
    """Return the image plane of each stamp, `None` without, and their unit."""
    planes: list[Image | None] = []
    units: dict[str, u.UnitBase | None] = {}
    for stamp in stamps:
        plane = None if stamp.image is None else find_image_plane(stamp.image)
        if plane is not None:
            units[str(plane.unit)] = plane.unit
        elif stamp.image is not None:
            raise RequestError(
                f"A gallery shows pixel values; stamp {stamp.index} is a {type(stamp.image).__name__}."
            )
        planes.append(plane)
    if len(units) > 1:
        raise InconsistentUnitsError(f"Stamps with one scale must have one unit; these have {sorted(units)}.")
    return planes, next(iter(units.values()), None)


def _label(stamp: Stamp, *, several: bool) -> str:
    """Return the two lines of text above a panel."""
    # In its own scale: TAI and UTC differ by 37 s, so each says which it is.
    when = (
        "no time"
        if stamp.time is None
        else f"{stamp.time.to_value('iso', 'date_hm')} {stamp.time.scale.upper()}"
    )
    band = "" if stamp.ref is None else str(stamp.ref.dataId.get("band", ""))
    parts = [f"#{stamp.index}" if several else "", band, stamp.status]
    return f"{when}\n" + " · ".join(part for part in parts if part)


def _draw_stamp(panel: Any, stamp: Stamp, plane: Image, norm: Normalize) -> Any:
    """Draw the pixels of a stamp and the mark of its target."""
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"

    drawn = panel.imshow(
        to_drawable(plane),
        origin="lower",
        extent=get_extent(plane.bbox),
        norm=norm,
        cmap=colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR),
        interpolation="nearest",
    )
    # Two dashes beside the target leave its pixels free.
    near, far = (fraction * min(plane.bbox.shape) for fraction in (0.1, 0.25))
    style = {"color": _MARKER_COLOR, "linewidth": 1.2, "scalex": False, "scaley": False}
    panel.plot([stamp.x + near, stamp.x + far], [stamp.y, stamp.y], **style)
    panel.plot([stamp.x, stamp.x], [stamp.y + near, stamp.y + far], **style)
    return drawn


def _draw_empty(panel: Any, stamp: Stamp) -> None:
    """Draw a box with the status of a stamp without pixels."""
    panel.set_xlim(0.0, 1.0)
    panel.set_ylim(0.0, 1.0)
    panel.set_aspect("equal")
    panel.set_facecolor("0.93")
    panel.text(
        0.5, 0.5, stamp.status.replace(",", "\n"), ha="center", va="center", fontsize=7.0, color="0.25"
    )
