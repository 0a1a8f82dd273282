"""Make the picture of the guide to difference images.

Run it in an empty folder: ``python .../doc/images/make_differences.py``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm, Normalize
from PIL import Image

from lsst.dax.image.recreation import recreate_difference_image
from lsst.dax.image.repository import fetch_dataset, find_dataset, find_datasets
from lsst.dax.image.simulation import make_mini_survey

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Make the last r difference image with the transient again, and draw what it is made of."""
    survey = make_mini_survey("mini_survey")
    target = survey.find_target("transient")
    with survey.open() as butler:
        ref = find_datasets(butler, "difference_image", region=target, bands="r")[-1]
        difference = recreate_difference_image(butler, ref.dataId.required)
        stored = fetch_dataset(butler, ref)
        science = fetch_dataset(butler, find_dataset(butler, "visit_image", ref.dataId.required))
    box = difference.bbox
    science = science[box]
    sigma = np.sqrt(stored.variance.array)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = (difference.image.array - stored.image.array) / sigma
    x, y = difference.sky_projection.sky_to_pixel(target)
    light = AsinhNorm(linear_width=100.0, vmin=-150.0, vmax=6000.0)
    noise = Normalize(-250.0, 250.0)
    extent = (box.x.start - 0.5, box.x.stop - 0.5, box.y.start - 0.5, box.y.stop - 0.5)
    figure, panels = plt.subplots(1, 3, figsize=(12.0, 3.8), layout="constrained")
    for panel, pixels, norm, colors, unit, title in (
        (panels[0], science.image.array, light, "gray", "nJy", "science"),
        (panels[1], difference.image.array, noise, "gray", "nJy", "difference, made again"),
        (panels[2], rest, Normalize(-0.1, 0.1), "RdBu_r", "sigma", "made again minus stored"),
    ):
        drawn = panel.imshow(pixels, norm=norm, cmap=colors, origin="lower", extent=extent)
        bar = figure.colorbar(drawn, ax=panel, shrink=0.8)
        if norm is light:
            bar.set_ticks([-100, 0, 100, 1000, 5000])
            bar.minorticks_off()
        bar.set_label(unit)
        panel.plot(float(x), float(y), "o", mfc="none", mec="#e69f00", ms=22, mew=1.5)
        panel.set_title(title, fontsize="medium")
    figure.savefig("differences.png", dpi=85, bbox_inches="tight", pad_inches=0.1)
    Image.open("differences.png").convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        HERE / "differences.png", optimize=True
    )


if __name__ == "__main__":
    main()
