"""Make the picture of the guide to re-created visit images.

Run it in an empty folder: ``python .../doc/images/make_recreation.py``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm, Normalize
from PIL import Image

from lsst.dax.image.recreation import recreate_visit_image
from lsst.dax.image.recreation.isr import LSSTCAM_DP2, read_raw
from lsst.dax.image.regression import compare_images, read_steps
from lsst.dax.image.repository import fetch_dataset, fetch_uri, find_dataset, find_datasets
from lsst.dax.image.simulation import make_raw_survey

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Re-create a visit image and draw it beside its lossy original."""
    survey = make_raw_survey("raw_survey")
    with survey.open() as butler, survey.open_lossy() as lossy:
        where = "detector = 1 AND band = 'i'"
        (ref,) = find_datasets(butler, "visit_image", where=where)
        (stored,) = find_datasets(lossy, "visit_image", where=where)
        image = recreate_visit_image(butler, ref.dataId.required, sequence=LSSTCAM_DP2)
        original = fetch_dataset(lossy, stored)
        raw_ref = find_dataset(butler, "raw", {**ref.dataId.required, "exposure": ref.dataId["visit"]})
        raw = read_raw(fetch_uri(butler, raw_ref), image.detector).image
        steps = read_steps(fetch_uri(lossy, stored))
        found = compare_images(image, original, steps=steps).planes[0]
    difference = (image.image.array - original.image.array) / np.sqrt(original.variance.array)
    difference[image.mask.get("COSMIC_RAY")] = np.nan
    light = AsinhNorm(linear_width=100.0, vmin=-150.0, vmax=6000.0)
    counts = Normalize(*np.percentile(raw, (1.0, 99.0)))
    figure, panels = plt.subplots(2, 2, figsize=(11.0, 5.0), layout="constrained")
    for panel, pixels, norm, colors, unit, title in (
        (panels[0, 0], raw, counts, "gray", "adu", "raw, with prescans and overscans"),
        (panels[0, 1], image.image.array, light, "gray", "nJy", "made again from the raw"),
        (panels[1, 1], original.image.array, light, "gray", "nJy", "the original, as it was stored"),
        (
            panels[1, 0],
            difference,
            Normalize(-0.05, 0.05),
            "RdBu_r",
            "sigma",
            f"difference; {found.max_steps:.2f} steps of the compression at most",
        ),
    ):
        drawn = panel.imshow(pixels, norm=norm, cmap=colors, origin="lower", interpolation="nearest")
        bar = figure.colorbar(drawn, ax=panel, shrink=0.8)
        if norm is light:
            bar.set_ticks([-100, 0, 100, 1000, 5000])
            bar.minorticks_off()
        bar.set_label(unit)
        panel.set_title(title, fontsize="medium")
    figure.savefig("recreation.png", dpi=90, bbox_inches="tight", pad_inches=0.1)
    Image.open("recreation.png").convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        HERE / "recreation.png", optimize=True
    )


if __name__ == "__main__":
    main()
