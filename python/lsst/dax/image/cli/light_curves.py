"""Light curves: forced photometry on the mini survey, beside the truth."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.time import Time

from lsst.daf.butler import Butler

from ..forced import ImageSearch, fetch_light_curves, to_sdm
from ..plotting import plot_light_curve
from ..simulation import MiniSurvey
from .chapters import Picture, Step, show_code
from .output import OutputFolder

TITLE = "Light curves"
"""Heading of the chapter."""

TEXT = (
    "Fluxes of the mini survey at positions that are given, on every image that they lie on, whether a "
    "source is seen there or not. Of each file only the rows around the position are read, and its PSF comes "
    "from the archived tables."
)
"""What the data are."""

# The functions up to `join` are shown on the page.


def measure_direct(butler: Butler, target: SkyCoord) -> QTable:
    """Measure a target on all visit images; its proper motion moves it to each exposure."""
    return fetch_light_curves(butler, target)


def measure_difference(butler: Butler, target: SkyCoord) -> QTable:
    """Measure what has changed since the template."""
    return fetch_light_curves(butler, target, images=ImageSearch(dataset_types=["difference_image"]))


def join(butler: Butler, target: SkyCoord) -> QTable:
    """Put both fluxes of a visit into one row, with the observatory's names."""
    search = ImageSearch(dataset_types=["visit_image", "difference_image"])
    return to_sdm(fetch_light_curves(butler, target, images=search), id_name="diaObjectId")


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Measure the variable, the transient and the moving star.

    Parameters
    ----------
    folder
        Where the results go.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    OutputError
        Raised if a file cannot be written.
    """
    survey = MiniSurvey.load(folder.repository("mini_survey"))  # the first chapter made it
    butler = survey.open()
    try:
        return (
            _show_direct(butler, folder, survey),
            _show_difference(butler, folder, survey),
            _show_joined(butler, survey),
        )
    finally:
        butler.close()


def _show_direct(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Draw the variable and the moving star."""
    pictures, told = [], []
    for kind, name in (("variable", "a variable star"), ("proper_motion", "a star that moves")):
        table = measure_direct(butler, survey.find_target(kind))
        told.append(f"{name}: {_compare(survey, table, kind):.1f} for {len(table)} fluxes")
        pictures.append(_draw(folder, table, kind, f"Light curve of {name} in three bands."))
    return Step(
        "Direct images",
        "The sum of the squared differences from the true fluxes, in units of the errors: "
        + "; ".join(told)
        + ".",
        show_code(measure_direct),
        tuple(pictures),
    )


def _show_difference(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Draw the transient on difference images."""
    table = measure_difference(butler, survey.find_target("transient"))
    chi2 = _compare(survey, table, "transient")
    return Step(
        "Difference images",
        f"A transient is nothing at first, and so are its fluxes within their errors: {chi2:.1f} for "
        f"{len(table)} fluxes. An arrow is a limit of five standard deviations.",
        show_code(measure_difference),
        (_draw(folder, table, "transient", "Light curve of a transient: nothing, then three detections."),),
    )


def _show_joined(butler: Butler, survey: MiniSurvey) -> Step:
    """Say what is in the observatory's table."""
    table = join(butler, survey.find_target("transient"))
    return Step(
        "In the observatory's columns",
        f"{len(table)} rows of {len(table.colnames)} columns: {', '.join(table.colnames)}.",
        show_code(join),
    )


def _draw(folder: OutputFolder, table: QTable, kind: str, alt: str) -> Picture:
    """Draw a light curve."""
    caption = "Forced fluxes with their errors, and magnitudes of what is detected."
    return folder.save_figure(plot_light_curve(table), f"light_curve_{kind}", caption=caption, alt=alt)


def _compare(survey: MiniSurvey, table: QTable, kind: str) -> float:
    """Return the sum of squared differences from the truth in units of the errors."""
    row = survey.truth["kind"].tolist().index(kind)
    truth = [
        survey.truth_fluxes(band, Time(mjd, format="mjd", scale="tai"))[row].to_value(u.nJy)
        for band, mjd in zip(table["band"].tolist(), table["mjd"].value.tolist(), strict=True)
    ]
    return float(np.sum(((table["flux"].value - truth) / table["flux_err"].value) ** 2))
