"""The demo: its chapters in order, the check of what they made, the page."""

from __future__ import annotations

__all__ = ("run_demo",)

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from astropy.time import Time

from ..errors import InputDataError
from ..version import __version__
from . import (
    coadds,
    decam,
    decam_coadd,
    decam_mosaic,
    differences,
    galactic_centre,
    light_curves,
    mini_survey,
    mosaics,
    recreation,
    rubin_alerts,
    rubin_coadd,
)
from .chapters import Chapter, Step
from .checks import check_fits, check_picture
from .output import OutputFolder, prepare_output
from .page import render_page


class _RealData(NamedTuple):
    """A chapter on real data."""

    title: str
    text: str
    data: str
    make_steps: Callable[[OutputFolder, Path], tuple[Step, ...]]


_SIMULATED = (
    (mini_survey.TITLE, mini_survey.TEXT, mini_survey.make_steps),
    (mosaics.TITLE, mosaics.TEXT, mosaics.make_steps),
    (coadds.TITLE, coadds.TEXT, coadds.make_steps),
    (light_curves.TITLE, light_curves.TEXT, light_curves.make_steps),
    (recreation.TITLE, recreation.TEXT, recreation.make_steps),
    (differences.TITLE, differences.TEXT, differences.make_steps),
)
_REAL = (
    _RealData(rubin_coadd.TITLE, rubin_coadd.TEXT, rubin_coadd.DATA, rubin_coadd.make_steps),
    _RealData(decam.TITLE, decam.TEXT, decam.DATA, decam.make_steps),
    _RealData(decam_mosaic.TITLE, decam_mosaic.TEXT, decam_mosaic.DATA, decam_mosaic.make_steps),
    _RealData(decam_coadd.TITLE, decam_coadd.TEXT, decam_coadd.DATA, decam_coadd.make_steps),
    _RealData(galactic_centre.TITLE, galactic_centre.TEXT, galactic_centre.DATA, galactic_centre.make_steps),
    _RealData(rubin_alerts.TITLE, rubin_alerts.TEXT, rubin_alerts.DATA, rubin_alerts.make_steps),
)


def run_demo(output: Path, *, data: Path | None) -> Path:
    """Run all chapters, check every file that they made, and write the page.

    Progress and a summary are printed.

    Parameters
    ----------
    output
        Folder for the results; new, empty, or made by the demo, whose results
        are replaced.
    data
        Folder of real data; chapters whose data are absent are left out, and
        say so.  Without real data if `None`.

    Returns
    -------
    page
        The HTML page.

    Raises
    ------
    InputDataError
        Raised if real data are unusable.
    OutputError
        Raised if the folder holds something else, if a file cannot be written
        or if it fails its check.
    """
    start = time.monotonic()
    folder = prepare_output(output)
    data = None if data is None else data.resolve()
    chapters = [
        *(_make_simulated_chapter(folder, *chapter) for chapter in _SIMULATED),
        *(_make_real_chapter(folder, real, data) for real in _REAL),
    ]
    page = _check_and_write(folder, chapters, data)
    print(
        f"{len(folder.fits_files)} FITS files and {len(folder.picture_files)} pictures, all checked, in "
        f"{time.monotonic() - start:.0f} s."
    )
    for chapter in chapters:
        if chapter.absent:
            print(f"Left out: {chapter.title}. {chapter.absent}")
    print(f"Open {page}")
    return page


def _make_simulated_chapter(
    folder: OutputFolder, title: str, text: str, make_steps: Callable[[OutputFolder], tuple[Step, ...]]
) -> Chapter:
    """Make a chapter that needs no data."""
    return Chapter(title, text, _report(title, lambda: make_steps(folder)))


def _make_real_chapter(folder: OutputFolder, real: _RealData, data: Path | None) -> Chapter:
    """Make a chapter on real data, or one that says that there are none."""
    if data is None:
        absent = "No folder of real data was named (option --data, environment variable DAX_IMAGE_TESTDATA)."
    elif not (path := data / real.data).is_dir():
        absent = f"The data are absent: there is no folder {path}."
    else:
        try:
            steps = _report(real.title, lambda: real.make_steps(folder, path))
        except FileNotFoundError as error:
            raise InputDataError(f"{path} is not complete: {error}") from error
        return Chapter(real.title, real.text, steps)
    return Chapter(real.title, real.text, absent=absent)


def _report(title: str, make_steps: Callable[[], tuple[Step, ...]]) -> tuple[Step, ...]:
    """Make the steps of a chapter and print how long it took."""
    print(f"{title} ...", end=" ", flush=True)
    start = time.monotonic()
    steps = make_steps()
    print(f"{time.monotonic() - start:.1f} s", flush=True)
    return steps


def _check_and_write(folder: OutputFolder, chapters: Sequence[Chapter], data: Path | None) -> Path:
    """Check every file and write the page that names them."""
    summaries = {path.relative_to(folder.root).as_posix(): check_fits(path) for path in folder.fits_files}
    sizes = {path.relative_to(folder.root).as_posix(): check_picture(path) for path in folder.picture_files}
    facts = {
        "Made": f"{Time.now().utc.to_value('iso', 'date_hm')} UTC by lsst-dax-image {__version__}, Python "
        f"{sys.version.split()[0]}",
        "Real data": "none named" if data is None else str(data),
        "Files": f"{len(summaries)} FITS files, each opened with astropy and lsst.images, and {len(sizes)} "
        f"pictures",
        "Repositories": f"{folder.root / 'repositories'}: the Butler repositories behind this page",
    }
    return folder.save_page(render_page(chapters, facts=facts, summaries=summaries, sizes=sizes))
