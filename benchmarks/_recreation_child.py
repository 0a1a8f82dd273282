"""One re-creation in a process of its own; prints its peak memory as JSON.

Run by ``recreation.py``, with the root of the repository and a detector.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from _peak import find_peak_bytes
from lsst.daf.butler import Butler

from lsst.dax.image.container import Compression
from lsst.dax.image.recreation import (
    CalibrationCache,
    fetch_calibrations,
    make_from_recipe,
    make_visit_image_recipe,
    write_visit_image,
)
from lsst.dax.image.recreation.isr import LSSTCAM_DP2
from lsst.dax.image.repository import find_datasets


def peak_gb() -> float:
    """Return the largest resident size so far."""
    return find_peak_bytes() / 1e9


def main(root: str, collection: str, detector: int) -> None:
    with (
        tempfile.TemporaryDirectory(dir=root) as folder,
        Butler.from_config(root, collections=collection) as butler,
    ):
        (ref,) = find_datasets(butler, "visit_image", where=f"detector = {detector}")
        cache = CalibrationCache()
        recipe = make_visit_image_recipe(butler, dict(ref.dataId.required), sequence=LSSTCAM_DP2)
        peaks = {"imported": peak_gb()}
        fetch_calibrations(butler, recipe.calibrations, cache=cache)
        peaks["calibrations"] = peak_gb()
        image = make_from_recipe(butler, recipe, cache=cache)
        peaks["recreated"] = peak_gb()
        write_visit_image(image, Path(folder) / "image.fits", compression=Compression.NONE)
        peaks["written"] = peak_gb()
    print(json.dumps(peaks))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
