"""Axes in right ascension and declination, with a compass and a scale bar."""

from __future__ import annotations

__all__ = ("decorate_sky", "prepare_sky_axes")

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

from ..errors import RequestError
from ._planes import get_extent
from ._sky import LocalFrame, SkyView, measure_local_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR_ARCSEC = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)
_BAR_FRACTION = 0.3
_ARROW_POINTS = 20.0
_LETTER_POINTS = 28.0
_MARGIN_POINTS = 12.0


def prepare_sky_axes(axes: Axes | None, sky_projection: SkyProjection[Any], bbox: Box) -> Any:
    """Set up axes whose data coordinates are 0-based parent pixels.

    Parameters
    ----------
    axes
        Sky axes to use; `None` makes a figure.
    sky_projection
        Projection of the pixels.
    bbox
        Pixels to show.

    Returns
    -------
    axes
        The ``WCSAxes`` of astropy.  They evaluate the projection itself, not a FITS
        approximation of it.

    Raises
    ------
    RequestError
        Raised if ``axes`` are not sky axes.
    """
    from astropy.visualization.wcsaxes import WCSAxes  # noqa: PLC0415  # imports matplotlib
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    view = SkyView(sky_projection)
    ready: Any = axes
    if axes is None:
        # A figure of pyplot would stay open until it is closed by hand, and
        # would choose a backend.  A notebook shows this one as the value of
        # "axes.figure".
        ready = Figure(figsize=(6.4, 6.0), layout="compressed").add_subplot(axes_class=WCSAxes, wcs=view)
    elif isinstance(axes, WCSAxes):
        ready.reset_wcs(view)
    else:
        raise RequestError(
            f"A picture with sky axes needs astropy's WCSAxes, not {type(axes).__name__}: make them with "
            f"figure.add_subplot(axes_class=WCSAxes)."
        )
    left, right, bottom, top = get_extent(bbox)
    ready.set_xlim(left, right)
    ready.set_ylim(bottom, top)
    ready.set_aspect("equal")
    # Looking at the frame's patch moves it to the new limits.  Otherwise only
    # grid lines would, and without them the layout sees an axes at pixel (0, 0).
    ready.coords.frame.patch  # noqa: B018
    longitude, latitude = ready.coords
    longitude.set_axislabel("Right ascension (ICRS)")
    latitude.set_axislabel("Declination (ICRS)")
    for helper in (longitude, latitude):
        helper.set_ticks(size=3.0)
        helper.set_ticklabel(size="small", exclude_overlapping=True)
        helper.grid(color="white", alpha=0.35, linestyle=":", linewidth=0.8)
    return ready


def decorate_sky(axes: Any, sky_projection: SkyProjection[Any], bbox: Box) -> None:
    """Draw a compass and a scale bar, measured in the middle of the box.

    Parameters
    ----------
    axes
        Sky axes.
    sky_projection
        Projection of the pixels.
    bbox
        Pixels that are shown.  If their middle is not on the sky, nothing is
        drawn.
    """
    frame = measure_local_frame(sky_projection, bbox)
    if frame is None:
        return
    _draw_compass(axes, frame)
    _draw_scale_bar(axes, frame, bbox.x.size)


def _draw_compass(axes: Any, frame: LocalFrame) -> None:
    """Draw arrows to the north and to the east in the lower left corner."""
    from matplotlib.patheffects import withStroke  # noqa: PLC0415  # the extra "plot"

    rim = [withStroke(linewidth=1.8, foreground="black")]
    arms = {"N": frame.north, "E": frame.east}
    reach = np.minimum(np.min(list(arms.values()), axis=0), 0.0) * _LETTER_POINTS
    origin: NDArray[np.float64] = _MARGIN_POINTS - reach
    for letter, direction in arms.items():
        axes.annotate(
            "",
            xy=tuple(origin + direction * _ARROW_POINTS),
            xytext=tuple(origin),
            xycoords="axes points",
            textcoords="axes points",
            arrowprops={
                "arrowstyle": "->",
                "color": "white",
                "shrinkA": 0.0,
                "shrinkB": 0.0,
                "path_effects": rim,
            },
        )
        axes.annotate(
            letter,
            xy=tuple(origin + direction * _LETTER_POINTS),
            xycoords="axes points",
            ha="center",
            va="center",
            color="white",
            fontsize="small",
            path_effects=rim,
        )


def _draw_scale_bar(axes: Any, frame: LocalFrame, width_px: int) -> None:
    """Draw a bar of a round angle in the lower right corner."""
    # astropy's own scale bar needs a FITS WCS.
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415  # the extra "plot"
    from matplotlib.patheffects import withStroke  # noqa: PLC0415
    from mpl_toolkits.axes_grid1.anchored_artists import (  # type: ignore[import-untyped]  # noqa: PLC0415
        AnchoredSizeBar,
    )

    arcsec = choose_bar(width_px * frame.arcsec_per_pixel)
    bar = AnchoredSizeBar(
        axes.transData,
        arcsec / frame.arcsec_per_pixel,
        format_angle(arcsec),
        "lower right",
        pad=0.4,
        borderpad=0.4,
        sep=3,
        frameon=False,
        color="white",
        fontproperties=FontProperties(size="small"),
    )
    for artist in (bar.txt_label.get_children()[0], *bar.size_bar.get_children()):
        artist.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
    axes.add_artist(bar)


def choose_bar(width_arcsec: float) -> float:
    """Return a round angle (arcsec) of at most 0.3 of the picture's width."""
    room = _BAR_FRACTION * width_arcsec
    fitting = [arcsec for arcsec in _BAR_ARCSEC if arcsec <= room]
    return float(fitting[-1]) if fitting else float(10.0 ** math.floor(math.log10(room)))


def format_angle(arcsec: float) -> str:
    """Return an angle in degrees, minutes or seconds of arc, whichever is round."""
    for size, symbol in ((3600.0, "°"), (60.0, "′")):  # noqa: RUF001  # the sign of arc minutes
        if arcsec >= size:
            return f"{arcsec / size:g}{symbol}"
    return f"{arcsec:g}″"
