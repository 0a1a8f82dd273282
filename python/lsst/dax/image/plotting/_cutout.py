"""The picture of a cutout."""

from __future__ import annotations

__all__ = ("plot_cutout",)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lsst.images import Image

from ..errors import RequestError
from ._mask import choose_planes, draw_mask
from ._outline import trace_outline
from ._planes import find_image_plane, get_extent, to_drawable
from ._require import require_package
from ._sky_axes import decorate_sky, prepare_sky_axes
from ._stretch import Stretch, draw_color_bar, make_norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lsst.daf.butler import DatasetRef

    from ..cutouts import Cutout

NO_PIXEL_COLOR = "#33203f"
"""Colour of pixels that are not finite: neither grey nor that of a mask."""

_OUTLINE_COLOR = "#ffd700"


def plot_cutout(
    cutout: Cutout,
    *,
    mask_planes: Sequence[str] | None = None,
    axes: Axes | None = None,
    title: str | None = None,
    stretch: Stretch = Stretch.ASINH,
) -> Axes:
    """Show a cutout with sky axes, mask planes and the outline of its stencil.

    Parameters
    ----------
    cutout
        Cutout whose image is an image, a mask or a masked image of any kind.
    mask_planes
        Names of the mask planes to show, the last one on top; an empty
        sequence shows none.  `None` takes those of `DEFAULT_MASK_PLANES` that
        any pixel has.  The legend gives the number of pixels of each.
    axes
        Axes of astropy's class ``WCSAxes`` to draw into, whose projection is
        replaced; `None` makes a new figure.
    title
        Text above the picture; `None` takes dataset type and data ID.
    stretch
        How pixel values become shades of grey.

    Returns
    -------
    axes
        The sky axes.  Their data coordinates are 0-based parent pixels, so
        ``axes.plot(x, y)`` marks positions as all of this library counts them.

    Raises
    ------
    RequestError
        Raised for a mask plane that does not exist, for axes that are not sky
        axes, for an image without projection, or if matplotlib is not
        installed.

    Notes
    -----
    Right ascension and declination are those of the projection itself.  The
    compass and the scale bar hold in the middle of the picture.  Pixels that
    are not finite are dark violet.
    """
    require_package("matplotlib")
    image, sky_projection = cutout.image, cutout.image.sky_projection
    if sky_projection is None:
        raise RequestError(f"Sky axes need a sky projection; the {type(image).__name__} has none.")
    mask, planes = choose_planes(image, mask_planes)
    axes = prepare_sky_axes(axes, sky_projection, image.bbox)
    plane = find_image_plane(image)
    if plane is None:
        axes.set_facecolor("black")
    else:
        _draw_pixels(axes, plane, stretch)
    if mask is not None:
        draw_mask(axes, mask, planes, opacity=0.8 if plane is None else 0.4)
    for line in trace_outline(cutout.pixels, sky_projection):
        axes.plot(*line.T, color=_OUTLINE_COLOR, linewidth=1.2, scalex=False, scaley=False)
    decorate_sky(axes, sky_projection, image.bbox)
    if title is None and cutout.ref is not None:
        title = _describe_ref(cutout.ref)
    axes.set_title(title or "", fontsize="medium")
    return axes


def _draw_pixels(axes: Any, plane: Image, stretch: Stretch) -> None:
    """Draw an image plane and its colour bar."""
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"

    values = to_drawable(plane)
    norm = make_norm(values, stretch)
    drawn = axes.imshow(
        values,
        extent=get_extent(plane.bbox),
        norm=norm,
        cmap=colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR),
        interpolation="nearest",
    )
    draw_color_bar(axes.figure, drawn, ax=axes, unit=plane.unit, fontsize=9.0)


def _describe_ref(ref: DatasetRef) -> str:
    """Return dataset type and data ID on two lines."""
    return f"{ref.datasetType.name}\n" + ", ".join(
        f"{key} {value}" for key, value in ref.dataId.required.items()
    )
