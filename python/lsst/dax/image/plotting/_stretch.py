"""How pixel values become shades of grey."""

from __future__ import annotations

__all__ = ("Stretch",)

import enum
from typing import TYPE_CHECKING, Any

import astropy.stats
import astropy.units as u
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

# The scale is linear within two standard deviations of the sky: faint sources
# stand out, and the noise takes less than a quarter of the shades.
_LINEAR_SIGMA = 2.0
_PERCENTILES = (0.1, 99.9)


class Stretch(enum.Enum):
    """How pixel values become shades of grey."""

    ASINH = "asinh"
    """Linear near the median and logarithmic far from it on both sides, from
    the 0.1th to the 99.9th percentile.  It suits images that hold faint and
    bright sources, and difference images."""

    ZSCALE = "zscale"
    """Linear between the limits of IRAF's zscale algorithm, which follow the
    sky and its noise.  It suits faint structure."""


def make_norm(values: NDArray[np.float64], stretch: Stretch) -> Normalize:
    """Choose the scale of shades for pixel values.

    Parameters
    ----------
    values
        Pixel values, any shape; those that are not finite are left out.
    stretch
        Kind of scale.

    Returns
    -------
    norm
        Scale with limits.  It runs from 0 to 1 where no value is finite.
    """
    from astropy.visualization import ZScaleInterval  # noqa: PLC0415  # imports matplotlib
    from matplotlib.colors import FuncNorm, Normalize  # noqa: PLC0415  # the extra "plot"

    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Normalize(0.0, 1.0)
    if stretch is Stretch.ZSCALE:
        return Normalize(*_widen(*ZScaleInterval().get_limits(finite)))
    low, high = np.percentile(finite, _PERCENTILES)
    if low == high:
        low, high = finite.min(), finite.max()
    low, high = _widen(low, high)
    sky = float(np.median(finite))
    width = _LINEAR_SIGMA * float(astropy.stats.mad_std(finite))
    if width == 0.0:
        # More than half of the pixels are equal: there is no noise.
        width = (high - low) / 20.0

    def forward(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.arcsinh((np.asarray(value) - sky) / width)

    def inverse(shade: NDArray[np.float64]) -> NDArray[np.float64]:
        return sky + width * np.sinh(np.asarray(shade))

    # matplotlib's AsinhNorm is symmetric about zero and so has no contrast on
    # images with their sky; astropy's AsinhStretch is linear at the lower
    # limit and so has none around the sky of a deep negative source.
    return FuncNorm((forward, inverse), vmin=low, vmax=high)


def choose_ticks(norm: Normalize, count: int = 6) -> list[float]:
    """Return round values at about even distances along a scale of shades.

    Parameters
    ----------
    norm
        Scale with limits.
    count
        Number of ticks to aim at.

    Returns
    -------
    ticks
        Increasing values within the limits, of as few digits as tell them
        apart.
    """
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    values = np.asarray(norm.inverse(np.linspace(0.0, 1.0, count)), dtype=np.float64)
    gaps = np.diff(values)
    # Half of the smaller gap beside each value is what rounding may move it.
    beside = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    steps = 10.0 ** np.floor(np.log10(beside))
    rounded = np.round(values / steps) * steps
    return sorted({float(f"{tick:.10g}") for tick in rounded if low <= tick <= high})


def draw_color_bar(
    figure: Any, drawn: Any, *, ax: Any, unit: u.UnitBase | None, fontsize: float, **shape: float
) -> None:
    """Draw a colour bar with round ticks and the unit.

    Parameters
    ----------
    figure
        Figure of the picture.
    drawn
        Image whose scale is shown.
    ax
        Axes, or an array of them, that give up room for it.
    unit
        Unit of the pixel values.
    fontsize
        Size of the numbers in points; the label is a point larger.
    **shape
        Further options of ``Figure.colorbar``.
    """
    bar = figure.colorbar(drawn, ax=ax, extend="both", extendfrac=0.03, pad=0.02, **shape)
    bar.set_ticks(choose_ticks(drawn.norm), minor=False)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=fontsize)
    bar.set_label("no unit" if unit is None else f"{unit:unicode} per pixel", fontsize=fontsize + 1.0)


def _widen(low: float, high: float) -> tuple[float, float]:
    """Return limits that differ."""
    if high > low:
        return float(low), float(high)
    return float(low), float(low) + max(1.0, abs(float(low)))
