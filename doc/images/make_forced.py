"""Make the picture of the guide to forced photometry.

Run it in an empty folder: ``python .../doc/images/make_forced.py``.
"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.time import Time
from PIL import Image

from lsst.dax.image.forced import fetch_light_curves, make_residual_stamps, measure
from lsst.dax.image.plotting import plot_light_curve, plot_residual_stamps
from lsst.dax.image.repository import fetch_dataset, find_datasets
from lsst.dax.image.simulation import make_mini_survey

HERE = Path(__file__).resolve().parent
HEIGHT = 620


def main() -> None:
    """Measure the transient, draw its light curve and the pixels behind the r fluxes."""
    survey = make_mini_survey("mini_survey")
    with survey.open() as butler:
        target = survey.find_target("transient")
        differences = find_datasets(butler, "difference_image", region=target)
        table = fetch_light_curves(butler, target, images=differences)
        figure = plot_light_curve(table, title="A transient on difference images")
        curve = figure.axes[0]
        for band, marker in (("g", "--"), ("r", "-"), ("i", ":")):
            rows = table[table["band"] == band]
            row = int(np.flatnonzero(survey.truth["kind"] == "transient")[0])
            true = [
                survey.truth_fluxes(band, time)[row].to_value(u.nJy)
                - survey.truth_fluxes(band, survey.template_time)[row].to_value(u.nJy)
                for time in Time(rows["mjd"], format="mjd", scale="tai")
            ]
            curve.plot(rows["mjd"].value, true, marker, color="0.3", lw=0.9, zorder=0)
        figure.savefig("curve.png", dpi=100)
        stamps = []
        for ref in find_datasets(butler, "difference_image", region=target, bands="r"):
            image = fetch_dataset(butler, ref)
            stamps += make_residual_stamps(image, measure(image, target), size=25)
        plot_residual_stamps(stamps, title="r: data, PSF with the flux, what remains").savefig(
            "stamps.png", dpi=100
        )
    pictures = [Image.open(name).convert("RGB") for name in ("curve.png", "stamps.png")]
    pictures = [
        picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    sheet = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT), "white")
    sheet.paste(pictures[0], (0, 0))
    sheet.paste(pictures[1], (pictures[0].width, 0))
    sheet.quantize(256).save(HERE / "forced.png", optimize=True)


if __name__ == "__main__":
    main()
