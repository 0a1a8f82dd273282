"""The real DP2 coadd: a repository of one fuzzed 64 x 64 pixel ``deep_coadd``."""

from __future__ import annotations

__all__ = ("CENTER", "COADD_ID", "COLLECTION", "open_dp2")

import shutil
from pathlib import Path

from astropy import units as u
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler

from .testdata import testdata

COLLECTION = "LSSTCam/runs/DRP/DP2/v30_0_8/DM-55060/deep_coadd_rewrite/20260612T200929Z"
COADD_ID = {"skymap": "lsst_cells_v2", "tract": 5428, "patch": 76, "band": "g"}
CENTER = SkyCoord(0.25708, -3.03694, unit=u.deg)


def open_dp2(folder: Path) -> Butler:
    """Open a copy of the repository; the original must not be written to."""
    root = shutil.copytree(testdata("C_rubin_dp2_butler"), folder / "dp2", copy_function=shutil.copyfile)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Butler.from_config(str(root), collections=COLLECTION)
