"""A real deep coadd of Rubin's Data Preview 2."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

import shutil
from pathlib import Path

from lsst.daf.butler import Butler

from ..cutouts import Cutout, fetch_cutout
from ..errors import OutputError
from ..geometry import parse_stencil
from ..plotting import plot_cutout
from ..repository import find_dataset
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "Rubin DP2: a deep coadd"
"""Heading of the chapter."""

TEXT = (
    "A cell coadd of 64 x 64 pixels of Data Preview 2, in the Butler repository of Rubin's own tests. Its "
    "authors scrambled its pixels and moved it on the sky."
)
"""What the data are."""

DATA = "C_rubin_dp2_butler"
"""The repository, relative to the folder of real data."""

_COLLECTION = "LSSTCam/runs/DRP/DP2/v30_0_8/DM-55060/deep_coadd_rewrite/20260612T200929Z"


def cut_coadd(butler: Butler) -> Cutout:
    """Cut a circle out of the coadd of one patch and band."""
    circle = parse_stencil("CIRCLE 0.25708 -3.03694 0.00083333")
    patch = {"skymap": "lsst_cells_v2", "tract": 5428, "patch": 76, "band": "g"}
    ref = find_dataset(butler, "deep_coadd", patch)
    return fetch_cutout(butler, ref, circle).mask_outside()


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Copy the repository and cut its coadd.

    Parameters
    ----------
    folder
        Where the results go.
    data
        The repository; not written to.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    OutputError
        Raised if a file cannot be written.
    """
    root = folder.repository("rubin_dp2")
    # SQLite writes beside the database even to read it, so it gets a copy.
    try:
        shutil.copytree(data, root, copy_function=shutil.copyfile)
        for path in (root, *root.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    except OSError as error:
        raise OutputError(f"{data} cannot be copied to {root}: {error}") from error
    butler = Butler.from_config(str(root), collections=_COLLECTION, writeable=False)
    try:
        cutout = cut_coadd(butler)
    finally:
        butler.close()
    picture = folder.save_figure(
        plot_cutout(cutout).figure,
        "dp2_circle",
        caption="A circle of 3 arcsec on the coadd, with its mask planes.",
        alt="Grey-scale image in sky coordinates with the outline of a circle.",
    )
    step = Step(
        "A circle by its SODA text",
        "The text is the value of the parameter POS of a cutout service.",
        show_code(cut_coadd),
        (picture,),
        (folder.save_fits(cutout.write, "rubin_dp2/circle"),),
    )
    return (step,)
