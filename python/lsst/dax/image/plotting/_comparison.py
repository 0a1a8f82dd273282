"""The picture of a comparison: an image made again beside its original."""

from __future__ import annotations

__all__ = ("plot_comparison",)

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Image, MaskedImage

from ..errors import RequestError
from ._cutout import NO_PIXEL_COLOR
from ._planes import get_extent, to_drawable
from ._require import require_package
from ._stretch import Stretch, draw_color_bar, make_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..regression import Comparison

_MAX_SIDE = 1200
"""Most pixels of a side that are drawn; of larger images every n-th pixel is."""


def plot_comparison(
    comparison: Comparison,
    candidate: MaskedImage,
    reference: MaskedImage,
    *,
    raw: Image | None = None,
    excluded_planes: tuple[str, ...] = ("COSMIC_RAY",),
) -> Figure:
    """Show two images, their difference, and how the difference is distributed.

    Parameters
    ----------
    comparison
        What `~lsst.dax.image.regression.compare_images` said of them.
    candidate
        Image that was judged.
    reference
        Image that it was judged by.
    raw
        Raw that the candidate was made from, with its prescans and overscans,
        to be shown first.
    excluded_planes
        Mask planes whose pixels are left blank in the difference.

    Returns
    -------
    figure
        Figure with the panels side by side, all in 0-based pixels.  The
        difference is candidate minus reference, in quantisation steps of the
        reference where it was quantised, else in standard deviations.

    Raises
    ------
    RequestError
        Raised if the images do not have the same pixels, or matplotlib is not
        installed.
    """
    require_package("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    if candidate.bbox != reference.bbox:
        raise RequestError(f"The candidate has {candidate.bbox}, the reference {reference.bbox}.")
    difference, unit, limit = _scale_difference(comparison, candidate, reference, excluded_planes)
    count = 4 + (raw is not None)
    # As high as the panels are at their width, so that none stands in a blank page.
    aspect = min(max(reference.bbox.y.size / reference.bbox.x.size, 0.4), 1.2)
    figure = Figure(figsize=(4.3 * count, 1.4 + 3.2 * aspect), layout="constrained")
    panels = list(figure.subplots(1, count))
    if raw is not None:
        _draw_image(figure, panels.pop(0), raw, make_norm(to_drawable(raw), Stretch.ZSCALE), "raw")
    norm = make_norm(to_drawable(reference.image), Stretch.ASINH)
    _draw_image(figure, panels[0], candidate.image, norm, "candidate")
    _draw_image(figure, panels[1], reference.image, norm, "reference")
    _draw_difference(figure, panels[2], difference, reference, unit=unit, limit=limit)
    _draw_histogram(panels[3], difference, unit=unit, limit=limit)
    figure.suptitle(comparison.name, fontsize="medium")
    return figure


def _scale_difference(
    comparison: Comparison,
    candidate: MaskedImage,
    reference: MaskedImage,
    excluded_planes: tuple[str, ...],
) -> tuple[NDArray[np.float64], str, float]:
    """Return the difference, its unit in words, and the limit of its scale."""
    difference = candidate.image.array.astype(np.float64) - reference.image.array
    for mask in (candidate.mask, reference.mask):
        for plane in excluded_planes:
            if plane in mask.schema.names:
                difference[mask.get(plane)] = np.nan
    step = next((plane.step for plane in comparison.planes if plane.plane == "image"), None)
    if step is not None:
        return difference / step, "quantisation steps", 0.6
    with np.errstate(divide="ignore", invalid="ignore"):
        difference /= np.sqrt(reference.variance.array)
    finite = np.abs(difference[np.isfinite(difference)])
    return difference, "standard deviations", float(finite.max(initial=0.0)) or 1.0


def _draw_image(figure: Any, axes: Any, image: Image, norm: Any, title: str) -> None:
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"

    drawn = axes.imshow(
        _thin(to_drawable(image)),
        extent=get_extent(image.bbox),
        origin="lower",
        norm=norm,
        cmap=colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR),
        interpolation="nearest",
    )
    axes.set_title(title)
    draw_color_bar(figure, drawn, ax=axes, unit=image.unit, fontsize=8.0, shrink=0.8)


def _draw_difference(
    figure: Any,
    axes: Any,
    difference: NDArray[np.float64],
    reference: MaskedImage,
    *,
    unit: str,
    limit: float,
) -> None:
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"

    drawn = axes.imshow(
        _thin(difference),
        extent=get_extent(reference.bbox),
        origin="lower",
        vmin=-limit,
        vmax=limit,
        cmap=colormaps["RdBu_r"].with_extremes(bad=NO_PIXEL_COLOR),
        interpolation="nearest",
    )
    axes.set_title("candidate - reference")
    figure.colorbar(drawn, ax=axes, pad=0.02, shrink=0.8).set_label(unit, fontsize=9.0)


def _draw_histogram(axes: Any, difference: NDArray[np.float64], *, unit: str, limit: float) -> None:
    values = difference[np.isfinite(difference)]
    axes.hist(values, bins=np.linspace(-limit, limit, 81), color="#4c72b0")
    rms = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    axes.set_title(f"rms {rms:.3g}, largest {np.abs(values).max(initial=0.0):.3g}")
    axes.set_xlabel(f"difference in {unit}")
    axes.set_ylabel("pixels")
    axes.set_yscale("log")


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every n-th pixel of a large image."""
    stride = -(-max(values.shape) // _MAX_SIDE)
    return values[::stride, ::stride]
