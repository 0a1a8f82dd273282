"""Make the picture of the guide to mosaics: all r visits of the simulated survey.

Run it in an empty folder: ``python .../doc/images/make_mosaic.py``.
"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
from PIL import Image

from lsst.dax.image.mosaics import MosaicRules, VarianceRule, fetch_mosaic, find_mosaic_grid
from lsst.dax.image.plotting import plot_mosaic
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import make_mini_survey

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Average the visits and draw them."""
    butler = make_mini_survey("mini_survey").open()
    visits = find_datasets(butler, "visit_image", bands="r")
    grid = find_mosaic_grid([fetch_geometry(butler, ref) for ref in visits], pixel_scale=0.2 * u.arcsec)
    rules = MosaicRules(variance=VarianceRule.INDEPENDENT, exclude_planes=("COSMIC_RAY",))
    mosaic = fetch_mosaic(butler, visits, grid, rules=rules)
    plot_mosaic(mosaic).savefig("mosaic.png", dpi=90, bbox_inches="tight", pad_inches=0.1)
    Image.open("mosaic.png").convert("RGB").quantize(256).save(HERE / "mosaic.png", optimize=True)
    butler.close()


if __name__ == "__main__":
    main()
