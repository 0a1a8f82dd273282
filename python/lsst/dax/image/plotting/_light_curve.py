"""Light curves, with limits and flags, and the pixels behind them."""

from __future__ import annotations

__all__ = ("plot_light_curve", "plot_residual_stamps")

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from ..errors import RequestError
from ._cutout import NO_PIXEL_COLOR
from ._planes import get_extent
from ._require import require_package
from ._stretch import Stretch, make_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..forced import ResidualStamp

BAND_COLORS = {"u": "#56b4e9", "g": "#008060", "r": "#d62728", "i": "#c77700", "z": "#8b4a9e", "y": "#5c4033"}
"""Colours of bands, told apart by readers who do not see red or green."""

_MARKERS = {"u": "o", "g": "^", "r": "v", "i": "s", "z": "*", "y": "p"}
_OTHER_COLOR = "0.35"
_MAX_PULL = 5.0


def plot_light_curve(
    table: QTable,
    *,
    target_id: int | None = None,
    min_snr: float = 3.0,
    limit_snr: float = 5.0,
    title: str | None = None,
) -> Figure:
    """Show the flux of one target over time.

    Parameters
    ----------
    table
        Fluxes as of `~lsst.dax.image.forced.measure`, of any number of images.
    target_id
        Target to show; it may be `None` where the table has one.
    min_snr
        Signal-to-noise ratio from which on a flux is a detection.
    limit_snr
        Standard deviations of the limit that is drawn for other fluxes.
    title
        Text above the picture; the target's number if `None`.

    Returns
    -------
    figure
        Flux in nJy above, with standard deviations, over the time in MJD
        (TAI), zero marked by a line.  A flux that is no detection is drawn
        pale, with an arrow from its limit of ``limit_snr`` standard
        deviations; a flux with a flag of failure has a cross.  Below, the
        same in AB magnitudes where there are detections.

    Raises
    ------
    RequestError
        Raised if the table has no flux to draw, has several targets and
        ``target_id`` is `None`, or if matplotlib is not installed.
    """
    require_package("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    from ..forced import FAILED, to_ab_magnitudes  # noqa: PLC0415  # its kernels take a second to import

    rows = _choose(table, target_id)
    flux, error = (rows[name].to_value(u.nJy) for name in ("flux", "flux_err"))
    failed = (np.asarray(rows["flags"]) & FAILED) != 0
    magnitudes = to_ab_magnitudes(rows["flux"], rows["flux_err"], min_snr=min_snr, limit_snr=limit_snr)
    detected = np.isfinite(magnitudes.magnitude)
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.axhline(0.0, color="0.6", linewidth=0.8)
    bands = np.asarray(rows["band"])
    for band in sorted(set(bands.tolist()), key="ugrizy".find):
        color = BAND_COLORS.get(band, _OTHER_COLOR)
        style: dict[str, Any] = {"color": color, "marker": _MARKERS.get(band, "D")}
        style |= {"linestyle": "none", "markersize": 5}
        for alpha, chosen in ((1.0, detected), (0.4, ~detected)):
            here = (bands == band) & chosen & np.isfinite(flux)
            label = (band or "no band") if alpha == 1.0 else None
            mjd = rows["mjd"].to_value(u.d)[here]
            above.errorbar(mjd, flux[here], error[here], alpha=alpha, label=label, elinewidth=1.0, **style)
        here = (bands == band) & ~detected & np.isfinite(flux) & np.isfinite(magnitudes.limit)
        _draw_limits(above, rows["mjd"].to_value(u.d)[here], limit_snr * error[here], color)
        here = (bands == band) & detected
        mjd = rows["mjd"].to_value(u.d)[here]
        below.errorbar(
            mjd, magnitudes.magnitude[here], magnitudes.magnitude_err[here], elinewidth=1.0, **style
        )
        here = (bands == band) & ~detected & np.isfinite(magnitudes.limit)
        below.plot(
            rows["mjd"].to_value(u.d)[here], magnitudes.limit[here], **style | {"marker": 11}, alpha=0.5
        )
    bad = failed & np.isfinite(flux)
    if bad.any():
        mjd = rows["mjd"].to_value(u.d)[bad]
        above.plot(mjd, flux[bad], "x", color="black", markersize=9, label="flagged")
    _label(figure, above, below, title=title or f"Target {rows['id'][0]}", limit_snr=limit_snr)
    return figure


def _choose(table: QTable, target_id: int | None) -> QTable:
    """Return the rows of one target that have a time, in their order."""
    ids = np.unique(np.asarray(table["id"]))
    if target_id is None and len(ids) != 1:
        raise RequestError(f"The table has {len(ids)} targets; a picture shows one: give target_id.")
    rows = table if target_id is None else table[np.asarray(table["id"]) == target_id]
    rows = rows[np.isfinite(rows["mjd"].to_value(u.d))]
    if not np.isfinite(rows["flux"].to_value(u.nJy)).any():
        raise RequestError(f"Target {target_id} has no flux with a time among {len(table)} rows of {ids}.")
    return rows[np.argsort(rows["mjd"].to_value(u.d), kind="stable")]


def _draw_limits(axes: Any, mjd: Any, limits: Any, color: str) -> None:
    """Draw limits as arrows that point down from them."""
    for time, limit in zip(mjd, limits, strict=True):
        axes.annotate(
            "",
            xy=(time, limit),
            xytext=(0, -11),
            textcoords="offset points",
            arrowprops={"arrowstyle": "<|-", "color": color, "alpha": 0.5, "shrinkA": 0, "shrinkB": 0},
        )


def _label(figure: Figure, above: Any, below: Any, *, title: str, limit_snr: float) -> None:
    """Write titles and units."""
    above.set_ylabel("Flux [nJy]")
    above.set_title(title, fontsize=10)
    handles, labels = above.get_legend_handles_labels()
    # The mark of flags comes after the bands.
    order = sorted(range(len(labels)), key=lambda i: labels[i] == "flagged")
    handles, labels = ([items[i] for i in order] for items in (handles, labels))
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    below.set_ylabel("AB magnitude")
    below.invert_yaxis()
    below.set_xlabel(f"MJD [d, TAI]; arrows and carets: limits of {limit_snr:g} standard deviations")
    below.ticklabel_format(axis="x", useOffset=False)
    above.margins(x=0.06, y=0.12)


def plot_residual_stamps(stamps: Iterable[ResidualStamp], *, title: str | None = None) -> Figure:
    """Show data, model and residual of measured positions, one row each.

    Parameters
    ----------
    stamps
        Stamps of `~lsst.dax.image.forced.make_residual_stamps`.
    title
        Text above the picture.

    Returns
    -------
    figure
        Data and model with the same shades, and the residual in standard
        deviations between -5 and 5, red where the data are brighter.

    Raises
    ------
    RequestError
        Raised if there are no stamps, or if matplotlib is not installed.
    """
    require_package("matplotlib")
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"
    from matplotlib.colors import Normalize  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = list(stamps)
    if not shown:
        raise RequestError("There are no stamps to show.")
    figure = Figure(figsize=(5.6, 1.7 * len(shown) + 0.7), layout="compressed")
    panels = figure.subplots(len(shown), 3, squeeze=False)
    drawn: Any = None
    for row, stamp in zip(panels, shown, strict=True):
        norm = make_norm(stamp.data.ravel(), Stretch.ASINH)
        with np.errstate(divide="ignore", invalid="ignore"):
            pulls = stamp.residual / stamp.sigma
        pictures = [(stamp.data, norm, "gray"), (stamp.model, norm, "gray")]
        pictures.append((pulls, Normalize(-_MAX_PULL, _MAX_PULL), "RdBu_r"))
        for panel, (values, scale, name) in zip(row, pictures, strict=True):
            colors = colormaps[name].with_extremes(bad=NO_PIXEL_COLOR)
            drawn = panel.imshow(
                values,
                origin="lower",
                extent=get_extent(stamp.bbox),
                norm=scale,
                cmap=colors,
                interpolation="nearest",
            )
            panel.set_xticks([])
            panel.set_yticks([])
        row[0].set_ylabel(f"{stamp.id}\n{stamp.label}", fontsize=7.0)
    for panel, name in zip(panels[0], ("data", "model", "residual"), strict=True):
        panel.set_title(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=panels[:, 2], pad=0.02)
    bar.set_label("standard deviations", fontsize=8.0)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
