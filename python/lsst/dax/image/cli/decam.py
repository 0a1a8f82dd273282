"""Real exposures of DECam: plain FITS files, read in place through a Butler."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from astropy.time import Time

from lsst.daf.butler import Butler

from ..cutouts import Cutout, Stamp, fetch_cutout, fetch_stamps
from ..geometry import CircleStencil, EdgePolicy
from ..plotting import plot_cutout, plot_gallery
from ..repository import find_datasets
from .chapters import Step, show_code
from .decam_repository import calibrate, ingest_in_place, make_decam_repository, put_calibrated
from .output import OutputFolder

TITLE = "DECam: nine exposures of one field"
"""Heading of the chapter."""

TEXT = (
    "Nine exposures of the DECam Legacy Survey from 2015 to 2018, processed by the DECam Community Pipeline: "
    "plain FITS files with a TPV projection, of a camera of which the library knows nothing."
)
"""What the data are."""

DATA = "A_decam_ls/brick1867p255_9epochs"
"""The exposures, relative to the folder of real data."""

_FIELD_CENTER = SkyCoord(186.744, 25.462, unit=u.deg)
_GALAXY_SIDE = SkyCoord(186.7488, 25.4645, unit=u.deg)


def find_star(gaia: Path, center: SkyCoord) -> SkyCoord:
    """Return the Gaia star with a proper motion that is nearest to a position."""
    tables = [Table.read(path) for path in sorted(gaia.glob("chunk-*.fits"))]
    stars = vstack(tables, metadata_conflicts="silent")
    stars = stars[np.isfinite(np.ma.filled(stars["pmra"], np.nan))]
    distance = SkyCoord(stars["ra"], stars["dec"], unit=u.deg).separation(center)
    star = stars[int(np.argmin(distance))]
    return SkyCoord(
        star["ra"] * u.deg,
        star["dec"] * u.deg,
        pm_ra_cosdec=star["pmra"] * u.mas / u.yr,
        pm_dec=star["pmdec"] * u.mas / u.yr,
        obstime=Time(star["ref_epoch"], format="jyear", scale="tcb"),
    )


def cut_stamps(butler: Butler, star: SkyCoord) -> list[Stamp]:
    """Cut the star out of every exposure, at its place at that time."""
    refs = find_datasets(butler, "decam_calibrated", region=SkyCoord(star.ra, star.dec))
    return list(fetch_stamps(butler, refs, star, size=45))


def cut_files(butler: Butler, star: SkyCoord) -> list[Cutout]:
    """Cut a circle out of every file that was registered in place."""
    circle = CircleStencil(SkyCoord(star.ra, star.dec), 6 * u.arcsec)
    refs = find_datasets(butler, "decam_image", region=circle)
    return [fetch_cutout(butler, ref, circle, edge=EdgePolicy.PAD) for ref in refs]


def cut_masked(butler: Butler, center: SkyCoord) -> Cutout:
    """Cut a circle out of the z exposure of March 2017."""
    circle = CircleStencil(center, 16 * u.arcsec)
    march = (Time("2017-03-01"), Time("2017-04-01"))
    (ref,) = find_datasets(butler, "decam_calibrated", region=circle, time=march, bands=["z"])
    return fetch_cutout(butler, ref, circle).mask_outside()


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Make a repository of the exposures and cut them.

    Parameters
    ----------
    folder
        Where the results go.
    data
        The brick of the Legacy Survey; not written to.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    InputDataError
        Raised if an image is missing or unusable.
    OutputError
        Raised if a file cannot be written.
    """
    star = find_star(data / "gaia", _FIELD_CENTER)
    butler = make_decam_repository(folder, data)
    try:
        return (
            _show_files(butler, folder, star),
            _show_stamps(butler, folder, star),
            _show_masked(butler, folder),
        )
    finally:
        butler.close()


def _show_files(butler: Butler, folder: OutputFolder, star: SkyCoord) -> Step:
    """Cut the files as they are."""
    cutouts = cut_files(butler, star)
    picture = folder.save_figure(
        plot_cutout(cutouts[0]).figure,
        "decam_file",
        caption="The first exposure, in counts and with the sky, as the file has it.",
        alt="Grey-scale image of a star in sky coordinates with the outline of a circle.",
    )
    return Step(
        "Files read in place",
        "The files stay where they are and as they are; the repository records when and where each exposure "
        "looked. The library reads just the rows that it needs, and the cutouts keep the cards of the files.",
        show_code(ingest_in_place, cut_files),
        (picture,),
        tuple(
            folder.save_fits(cutout.write, f"decam/file_{number}_{cutout.ref.dataId['band']}")
            for number, cutout in enumerate(cutouts, start=1)
            if cutout.ref is not None
        ),
    )


def _show_stamps(butler: Butler, folder: OutputFolder, star: SkyCoord) -> Step:
    """Follow a star of Gaia."""
    picture = folder.save_figure(
        plot_gallery(cut_stamps(butler, star), columns=9),
        "decam_stamps",
        caption="The Gaia star nearest to the field's centre, moved by its proper motion from 2015.5 to each "
        "exposure, in bands g, r and z.",
        alt="Nine stamps in order of time with a faint star in the middle of each.",
    )
    return Step(
        "A Gaia star over three years",
        "Images in nJy by the survey's zero points, without the sky, so that one scale fits all bands.",
        show_code(find_star, cut_stamps),
        (picture,),
    )


def _show_masked(butler: Butler, folder: OutputFolder) -> Step:
    """Cut a masked image."""
    cutout = cut_masked(butler, _GALAXY_SIDE)
    picture = folder.save_figure(
        plot_cutout(cutout).figure,
        "decam_masked",
        caption="A galaxy, and the cosmic ray that the data quality file knows of.",
        alt="Grey-scale image of a galaxy with the outline of a circle and a coloured cosmic ray.",
    )
    return Step(
        "With mask and variance",
        "Image, weights and data quality of an exposure, put together as one masked image.",
        show_code(calibrate, put_calibrated, cut_masked),
        (picture,),
        (folder.save_fits(cutout.write, "decam/masked"),),
    )
