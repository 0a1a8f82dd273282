"""The picture of the largest difference that a release test found."""

from __future__ import annotations

__all__ = ("plot_closeup",)

from typing import TYPE_CHECKING

import numpy as np

from ._cutout import NO_PIXEL_COLOR
from ._require import require_package

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..regression import Closeup

_MIN_SPAN = 3.0
"""Standard deviations that the colours span at least."""


def plot_closeup(closeup: Closeup, *, title: str = "") -> Figure:
    """Show the pixels around the largest difference of two images.

    Parameters
    ----------
    closeup
        The pixels.
    title
        Heading of the figure.

    Returns
    -------
    figure
        Figure with candidate, reference, and candidate minus reference in
        standard deviations of the reference, all in 0-based pixels; a ring
        marks the pixel of the largest difference.

    Raises
    ------
    RequestError
        Raised if matplotlib is not installed.
    """
    require_package("matplotlib")
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"
    from matplotlib.figure import Figure  # noqa: PLC0415

    x, y = closeup.origin
    height, width = closeup.reference.shape
    extent = (x - 0.5, x + width - 0.5, y - 0.5, y + height - 0.5)
    with np.errstate(invalid="ignore"):
        sigma = (closeup.candidate.astype(np.float64) - closeup.reference) / closeup.sigma
    span = max(float(np.abs(sigma[np.isfinite(sigma)]).max(initial=0.0)), _MIN_SPAN)
    finite = closeup.reference[np.isfinite(closeup.reference)]
    low, high = np.percentile(finite, (1.0, 99.5)) if finite.size else (0.0, 1.0)
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = (
        ("candidate", closeup.candidate, "gray", (low, high), closeup.unit),
        ("reference", closeup.reference, "gray", (low, high), closeup.unit),
        ("candidate - reference", sigma, "RdBu_r", (-span, span), "standard deviations"),
    )
    for axes, (name, pixels, colors, (vmin, vmax), unit) in zip(figure.subplots(1, 3), panels, strict=True):
        drawn = axes.imshow(
            pixels,
            extent=extent,
            origin="lower",
            vmin=vmin,
            vmax=vmax,
            cmap=colormaps[colors].with_extremes(bad=NO_PIXEL_COLOR),
            interpolation="nearest",
        )
        axes.plot(*closeup.center, "o", mfc="none", mec="#e69f00", ms=14, mew=1.5)
        axes.set_title(name, fontsize="medium")
        figure.colorbar(drawn, ax=axes, shrink=0.85).set_label(unit, fontsize=8.0)
    figure.suptitle(title, fontsize="medium")
    return figure
