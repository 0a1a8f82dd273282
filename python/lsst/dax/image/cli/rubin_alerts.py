"""Real alert stamps of LSSTCam: images in memory, without a Butler."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Row, Table
from astropy.wcs import WCS

from lsst.images import GeneralFrame, Image, SkyProjection

from ..cutouts import Cutout, make_cutout
from ..geometry import CircleStencil
from ..plotting import plot_cutout
from .chapters import Picture, Step, show_code
from .output import OutputFolder

TITLE = "Rubin alerts: LSSTCam stamps"
"""Heading of the chapter."""

TEXT = (
    "Stamps that Rubin's alert stream sent out: the science image, the template, and their difference, as "
    "plain FITS files. The fluxes below the pictures are those that the alerts carry."
)
"""What the data are."""

DATA = "A_rubin_alerts"
"""The alerts, relative to the folder of real data."""


def read_stamp(path: Path) -> Image:
    """Read a stamp; its header leaves out that the projection is TAN."""
    with astropy.io.fits.open(path) as hdus:
        header, pixels = hdus[0].header, hdus[0].data.astype(np.float32)
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    projection = SkyProjection.from_fits_wcs(WCS(header), GeneralFrame(unit=u.pix))
    return Image(pixels, unit=u.Unit(header["BUNIT"]), sky_projection=projection)


def cut_alert(stamps: Path, alert: Row) -> dict[str, Cutout]:
    """Cut a circle around the source of an alert out of its three stamps."""
    circle = CircleStencil(SkyCoord(alert["ra"], alert["dec"], unit=u.deg), 2.5 * u.arcsec)
    planes = ("science", "template", "difference")
    paths = {plane: stamps / f"{alert['diaSourceId']}_{plane}.fits" for plane in planes}
    return {plane: make_cutout(read_stamp(path), circle) for plane, path in paths.items()}


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Cut the stamps of three alerts.

    Parameters
    ----------
    folder
        Where the results go.
    data
        Folder with ``alerts.csv`` and ``stamps``.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    OutputError
        Raised if a file cannot be written.
    """
    pictures: list[Picture] = []
    files: list[str] = []
    for name, alert in _choose_alerts(Table.read(data / "alerts.csv")).items():
        cutouts = cut_alert(data / "stamps", alert)
        figure = _plot_triple(
            cutouts, alert, f"{name}, diaSource {alert['diaSourceId']}, band {alert['band']}"
        )
        key = name.lower().replace(" ", "_")
        pictures.append(
            folder.save_figure(
                figure,
                f"alert_{key}",
                caption=f"{name}. Flux on the difference {_flux(alert, 'psfFlux')}, on the science image "
                f"{_flux(alert, 'scienceFlux')}, on the template {_flux(alert, 'templateFlux')}.",
                alt=f"Science, template and difference image of a {name.lower()}; a cross marks the source.",
            )
        )
        files += [
            folder.save_fits(cutout.write, f"rubin_alerts/{key}_{plane}") for plane, cutout in cutouts.items()
        ]
    step = Step(
        "Science, template and difference",
        "Cutouts of images in memory, without a Butler.",
        show_code(read_stamp, cut_alert),
        tuple(pictures),
        tuple(files),
    )
    return (step,)


def _choose_alerts(alerts: Table) -> dict[str, Row]:
    """Return the clearest alert of each kind."""
    dipole = np.asarray(alerts["isDipole"]) == "True"
    # The trails were collected in one file; only those on empty sky are clear.
    trail = np.char.endswith(np.asarray(alerts["source_file"], dtype=str), "faint_trails.parquet")
    empty = np.abs(alerts["templateFlux"]) < 0.05 * np.abs(alerts["scienceFlux"])
    kinds = {"New point source": ~dipole & ~trail, "Dipole": dipole, "Trailed mover": trail & empty}
    chosen = {}
    for name, of_kind in kinds.items():
        rows = alerts[of_kind]
        chosen[name] = rows[int(np.argmax(rows["snr"]))]
    return chosen


def _flux(alert: Row, column: str) -> str:
    """Return a flux with its error."""
    return f"{alert[column]:.0f} ± {alert[f'{column}Err']:.0f} nJy"


def _plot_triple(cutouts: dict[str, Cutout], alert: Row, title: str) -> Any:
    """Draw three cutouts side by side, with the source marked."""
    from astropy.visualization.wcsaxes import WCSAxes  # noqa: PLC0415  # imports matplotlib
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "demo"

    figure = Figure(figsize=(15.0, 4.4), layout="compressed")
    source = SkyCoord(alert["ra"], alert["dec"], unit=u.deg)
    for number, (plane, cutout) in enumerate(cutouts.items(), start=1):
        axes: Any = figure.add_subplot(1, len(cutouts), number, axes_class=WCSAxes)
        plot_cutout(cutout, axes=axes, title=plane)
        axes.scatter(
            source.ra.deg,
            source.dec.deg,
            transform=axes.get_transform("icrs"),
            marker="+",
            s=140,
            color="#d55e00",
        )
    figure.suptitle(title)
    return figure
