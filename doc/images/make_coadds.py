"""Make the picture of the guide to coadds: three recipes on nine visits of the simulated survey.

Run it in an empty folder: ``python .../doc/images/make_coadds.py``.
"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
from PIL import Image

from lsst.dax.image.coadds import DEEP, GOOD_SEEING, fetch_coadd, make_weekly_recipe
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.plotting import plot_coadds
from lsst.dax.image.repository import find_datasets
from lsst.dax.image.simulation import SurveyConfig, make_mini_survey

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Make the coadds and draw them."""
    config = SurveyConfig(visits_per_band=9, detector_grid=(1, 1), detector_shape=(400, 400))
    survey = make_mini_survey("nine_visits", config=config)
    region = CircleStencil(survey.config.center_position, 14 * u.arcsec)
    with survey.open() as butler:
        last = max(int(ref.dataId["day_obs"]) for ref in find_datasets(butler, "visit_image", bands="r"))
        recipes = [DEEP, GOOD_SEEING, make_weekly_recipe(last)]
        coadds = [fetch_coadd(butler, recipe.with_selection(bands="r"), region) for recipe in recipes]
    plot_coadds(coadds).savefig("coadds.png", dpi=80, bbox_inches="tight", pad_inches=0.1)
    Image.open("coadds.png").convert("RGB").quantize(256).save(HERE / "coadds.png", optimize=True)


if __name__ == "__main__":
    main()
