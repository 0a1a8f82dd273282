"""Pictures of a coadd, and of what goes into one."""

from __future__ import annotations

__all__ = ("plot_coadd", "plot_coadds", "plot_inputs")

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from ..errors import RequestError
from ..geometry import TargetGrid
from ._cutout import NO_PIXEL_COLOR
from ._mosaic import _draw_coverage
from ._planes import get_extent, to_drawable
from ._require import require_package
from ._sky_axes import decorate_sky, prepare_sky_axes
from ._stretch import Stretch, draw_color_bar, make_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..coadds import Coadd, CoaddInputs

_MOST_ROWS = 14
# Colours that readers tell apart who do not see red or green.
_REASON_COLORS = ("#d55e00", "#cc79a7", "#0072b2", "#e69f00", "#56b4e9", "#009e73", "#5c4033", "#7f7f7f")
_REASON_MARKERS = "vs^D<>pX"
_USED_COLOR = "#1b1b1b"


def plot_coadd(
    coadd: Coadd, *, max_rows: int = _MOST_ROWS, title: str | None = None, stretch: Stretch = Stretch.ASINH
) -> Figure:
    """Show a coadd, how many inputs each pixel is from, its PSF and its inputs.

    Parameters
    ----------
    coadd
        Coadd in memory.
    max_rows
        Most inputs that are listed: those of the largest shares.
    title
        Text above the picture; the name of the recipe and the number of inputs
        if `None`.
    stretch
        How pixel values become shades of grey.

    Returns
    -------
    figure
        Above, the image and the number of inputs with sky axes, whose data
        coordinates are 0-based parent pixels; pixels of no input are dark
        violet.  Below, the PSF of the cell in the middle, on a scale of
        powers of ten, and a table of the inputs.

    Raises
    ------
    RequestError
        Raised if no row would be listed, or if matplotlib is not installed.
    """
    if max_rows < 1:
        raise RequestError(f"A table of inputs has one row or more, not {max_rows}.")
    require_package("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    rows, columns = coadd.bbox.shape
    height = float(np.clip(5.0 * rows / columns, 2.4, 7.0)) + 0.8
    figure = Figure(figsize=(12.8, height + 3.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(height, 3.4))
    above, below = parts
    _draw_planes(above, coadd, stretch)
    picture, listed = below.subplots(1, 2, width_ratios=(1.0, 2.6))
    _draw_psf(below, picture, coadd)
    _draw_table(listed, coadd.inputs, max_rows)
    used = int(np.count_nonzero(coadd.inputs["n_cells"]))
    figure.suptitle(title or f"{coadd.recipe.name}: {used} input{'' if used == 1 else 's'}")
    return figure


def plot_coadds(
    coadds: Sequence[Coadd],
    *,
    titles: Sequence[str] | None = None,
    title: str | None = None,
    stretch: Stretch = Stretch.ASINH,
) -> Figure:
    """Show coadds of one region side by side on one scale of shades, that of the first.

    Parameters
    ----------
    coadds
        Coadds of the same pixels.
    titles
        Text above each; if `None`, the name of its recipe, the largest number
        of inputs of a pixel, and the FWHM of its PSF.
    title
        Text above all.
    stretch
        How pixel values become shades of grey.

    Returns
    -------
    figure
        One panel per coadd, with sky axes, whose data coordinates are 0-based
        parent pixels.

    Raises
    ------
    RequestError
        Raised if there are no coadds, if their pixels or the number of titles
        differ, or if matplotlib is not installed.
    """
    names = [_name_coadd(coadd) for coadd in coadds] if titles is None else list(titles)
    boxes = [coadd.bbox for coadd in coadds]
    if not boxes or any(box != boxes[0] for box in boxes) or len(names) != len(boxes):
        raise RequestError(
            f"Coadds of the same pixels with a title each are shown side by side; these are {len(boxes)} "
            f"with {len(names)} titles, of {', '.join(map(str, boxes)) or 'no pixels'}."
        )
    require_package("matplotlib")
    from astropy.visualization.wcsaxes import WCSAxes  # noqa: PLC0415  # imports matplotlib
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    rows, columns = coadds[0].bbox.shape
    width = 4.2
    height = float(np.clip(width * rows / columns, 2.0, 8.0)) + 1.1
    figure = Figure(figsize=(width * len(coadds) + 1.2, height), layout="compressed")
    shades = colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR)
    norm = make_norm(to_drawable(coadds[0].image.image), stretch)
    panels = []
    for number, (coadd, name) in enumerate(zip(coadds, names, strict=True)):
        axes: Any = figure.add_subplot(1, len(coadds), number + 1, axes_class=WCSAxes)
        prepare_sky_axes(axes, coadd.sky_projection, coadd.bbox)
        drawn = axes.imshow(
            to_drawable(coadd.image.image),
            extent=get_extent(coadd.bbox),
            interpolation="nearest",
            norm=norm,
            cmap=shades,
        )
        decorate_sky(axes, coadd.sky_projection, coadd.bbox)
        if number > 0:
            axes.coords[1].set_axislabel(" ")
            axes.coords[1].set_ticklabel_visible(False)
        axes.set_title(name, fontsize="medium")
        panels.append(axes)
    draw_color_bar(figure, drawn, ax=panels, unit=coadds[0].image.image.unit, fontsize=9.0)
    if title:
        figure.suptitle(title)
    return figure


def _name_coadd(coadd: Coadd) -> str:
    """Return the recipe, the number of inputs and the width of the PSF."""
    number = int(coadd.n_inputs.array.max())
    return (
        f"{coadd.recipe.name}: {number} input{'' if number == 1 else 's'}, "
        f"FWHM {_find_fwhm(coadd):.2f} arcsec"
    )


def _draw_planes(figure: Any, coadd: Coadd, stretch: Stretch) -> None:
    """Draw the image and the number of inputs."""
    from astropy.visualization.wcsaxes import WCSAxes  # noqa: PLC0415  # imports matplotlib
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"

    image, extent = coadd.image.image, get_extent(coadd.bbox)
    values = to_drawable(image)
    for number, name in enumerate(("Image", "Inputs behind each pixel")):
        axes: Any = figure.add_subplot(1, 2, number + 1, axes_class=WCSAxes)
        prepare_sky_axes(axes, coadd.sky_projection, coadd.bbox)
        if number == 0:
            shades = colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR)
            norm = make_norm(values, stretch)
            drawn = axes.imshow(values, extent=extent, interpolation="nearest", norm=norm, cmap=shades)
            draw_color_bar(figure, drawn, ax=axes, unit=image.unit, fontsize=9.0)
        else:
            _draw_coverage(figure, axes, coadd.n_inputs.array, extent)
            axes.coords[1].set_axislabel(" ")
        decorate_sky(axes, coadd.sky_projection, coadd.bbox)
        axes.set_title(name, fontsize="medium")


def _draw_psf(figure: Any, axes: Any, coadd: Coadd) -> None:
    """Draw the PSF of the cell that is nearest to the middle of those that have one."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415  # the extra "plot"

    psf = _find_psf(coadd)
    half = psf.shape[0] // 2
    relative = psf / psf.max()
    drawn = axes.imshow(
        np.maximum(relative, 1e-9),
        origin="lower",
        extent=(-half - 0.5, half + 0.5, -half - 0.5, half + 0.5),
        norm=LogNorm(1e-4, 1.0),
        cmap="magma",
        interpolation="nearest",
    )
    axes.set_title(f"PSF, FWHM {_find_fwhm(coadd):.2f} arcsec", fontsize="medium")
    axes.set_xlabel("pixels")
    bar = figure.colorbar(drawn, ax=axes)
    bar.set_label("share of the peak")


def _find_psf(coadd: Coadd) -> NDArray[np.float64]:
    """Return the PSF of the middle, or of the cell that is nearest to it."""
    x, y = coadd.bbox.x.center, coadd.bbox.y.center
    grid = coadd.psf.bounds.grid

    def find_distance(cell: Any) -> float:
        box = grid.bbox_of(cell)
        return float(np.hypot(box.x.center - x, box.y.center - y))

    cell = min(coadd.psf.bounds.cell_indices(), key=find_distance)
    return np.asarray(coadd.psf[cell].array, np.float64)


def _find_fwhm(coadd: Coadd) -> float:
    """Return the FWHM of that PSF in arcsec."""
    from ..coadds import measure_psf_shapes  # noqa: PLC0415  # its kernels take a second to import

    width = float(measure_psf_shapes(_find_psf(coadd)[np.newaxis]).fwhm_px[0])
    return width * float(TargetGrid(coadd.sky_projection, coadd.bbox).pixel_scale.to_value(u.arcsec))


def _draw_table(axes: Any, inputs: QTable, max_rows: int) -> None:
    """List the inputs of the largest shares."""
    axes.set_axis_off()
    used = inputs[inputs["n_cells"] > 0]
    order = np.argsort(-np.asarray(used["share"]), kind="stable")[:max_rows]
    cells = [
        [
            str(row["visit"]),
            str(row["detector"]),
            str(row["band"]),
            f"{seconds:.1f}" if np.isfinite(seconds := row["effective_time"].to_value(u.s)) else "",
            str(row["n_cells"]),
            f"{100.0 * row['share']:.1f}",
        ]
        for row in used[np.sort(order)]
    ]
    if not cells:
        return
    names = ("visit", "detector", "band", "effective\ntime (s)", "cells", "share (%)")
    drawn = axes.table(
        cells,
        colLabels=names,
        loc="upper center",
        cellLoc="center",
        edges="horizontal",
        colWidths=(0.28, 0.14, 0.1, 0.16, 0.12, 0.16),
    )
    drawn.auto_set_font_size(value=False)
    drawn.set_fontsize(8.5)
    step = 0.94 / (max(len(cells), 6) + 1.8)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_height(step * (1.8 if row == 0 else 1.0))
        cell.set_edgecolor("0.8")
    if len(used) > len(cells):
        axes.text(
            0.5,
            0.0,
            f"and {len(used) - len(cells)} more of smaller shares",
            ha="center",
            va="bottom",
            fontsize=8.5,
            transform=axes.transAxes,
        )


def plot_inputs(inputs: CoaddInputs, *, title: str | None = None) -> Figure:
    """Show what would go into a coadd: seeing and weight, and the reasons of what would not.

    Parameters
    ----------
    inputs
        What `~lsst.dax.image.coadds.find_inputs` found.
    title
        Text above the picture; the name of the recipe if `None`.

    Returns
    -------
    figure
        On the left, a point per image of which seeing and weight are known:
        filled if it goes in, else open and of the colour of its reason.  On
        the right, the number of images that go in and that each reason keeps
        out.

    Raises
    ------
    RequestError
        Raised if matplotlib is not installed.
    """
    require_package("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    table = inputs.table
    is_used = np.asarray(table["is_used"])
    reasons = np.asarray(table["reason"])
    counts = Counter(reasons[~is_used].tolist())
    names = [name for name, _ in counts.most_common()]
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    points, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    fwhm = table["fwhm"].to_value(u.arcsec)
    weight = np.asarray(table["weight"].value, np.float64)
    known = np.isfinite(fwhm) & np.isfinite(weight)
    points.plot(fwhm[is_used & known], weight[is_used & known], "o", color=_USED_COLOR, label="goes in")
    for number, name in enumerate(names):
        here = ~is_used & known & (reasons == name)
        style = {"marker": _REASON_MARKERS[number % 8], "color": _REASON_COLORS[number % 8]}
        if here.any():
            points.plot(
                fwhm[here], weight[here], linestyle="none", markerfacecolor="none", label=_say(name), **style
            )
    points.set_xlabel("FWHM of the PSF (arcsec)")
    unit = table["weight"].unit
    points.set_ylabel("weight" if unit == u.dimensionless_unscaled else f"weight ({unit:unicode})")
    if known.any():
        points.set_ylim(bottom=0.0)
    if unknown := int(np.count_nonzero(~known)):
        text = f"{unknown} more, whose seeing or weight is not known"
        points.set_title(text, fontsize="small", loc="left")
    points.legend(fontsize="small")
    _draw_counts(bars, int(is_used.sum()), [(name, counts[name]) for name in names])
    figure.suptitle(title or f"{inputs.recipe.name}: {int(is_used.sum())} of {len(table)} images go in")
    return figure


def _draw_counts(axes: Any, n_used: int, counts: list[tuple[str, int]]) -> None:
    """Draw how many images go in, and how many each reason keeps out."""
    labels = ["goes in", *(_say(name) for name, _ in counts)]
    numbers = [n_used, *(count for _, count in counts)]
    colors = [_USED_COLOR, *(_REASON_COLORS[number % 8] for number in range(len(counts)))]
    drawn = axes.barh(np.arange(len(numbers)), numbers, color=colors)
    axes.bar_label(drawn, padding=3.0)
    axes.set_yticks(np.arange(len(numbers)), labels)
    axes.set_ylim(max(len(numbers), 4) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max(numbers))
    axes.set_xlabel("images")
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)


def _say(reason: str) -> str:
    """Return the name of a reason as words."""
    return reason.replace("_", " ")
