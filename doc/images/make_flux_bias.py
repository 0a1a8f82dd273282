"""Make the picture of the bias of fluxes that are weighted by the noise of the data.

Run it anywhere: ``python .../doc/images/make_flux_bias.py``.  It takes a minute.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from lsst.images import Box

from lsst.dax.image.forced import Pixels, fit_psf_flux
from lsst.dax.image.psfs import GaussianPsfTables, PsfStamps, make_psf_evaluator

HERE = Path(__file__).resolve().parent
SIGMA_PX = 1.7  # 4 pixels FWHM
WIDTH = 25
PER_SIDE = 120
SKIES = (100, 200, 400, 800, 1500, 3000, 5000)
FLUXES = (300, 600, 1200, 2500, 5000, 10_000, 30_000, 100_000)


def draw_stars(flux: float, sky: float, seed: int) -> tuple[Pixels, PsfStamps]:
    """Return stars of one flux, a picture apart, in electrons, with the noise of the data in the variance."""
    rng = np.random.default_rng(seed)
    side = PER_SIDE * WIDTH
    rows, columns = np.divmod(np.arange(PER_SIDE**2), PER_SIDE)
    x, y = (axis * WIDTH + 12.0 + rng.uniform(-0.5, 0.5, rows.size) for axis in (columns, rows))
    psf = GaussianPsfTables(SIGMA_PX, (WIDTH, WIDTH), Box.factory[0:side, 0:side])
    stamps = make_psf_evaluator(psf).stellar_images(x, y)
    tiles = stamps.array.reshape(PER_SIDE, PER_SIDE, WIDTH, WIDTH)
    model = flux * tiles.transpose(0, 2, 1, 3).reshape(side, side)
    image = rng.normal(model, np.sqrt(model + sky))
    mask = np.zeros((side, side, 1), np.uint8)
    variance = np.clip(image + sky, 1.0, None)
    return Pixels(image, variance, mask, np.zeros(1, np.uint8), 0, 0), stamps


def fit_weighted(pixels: Pixels, stamps: PsfStamps) -> tuple[np.ndarray, np.ndarray]:
    """Fit with the inverse variance of each pixel as its weight; return fluxes and errors."""
    flux, error = np.empty(len(stamps)), np.empty(len(stamps))
    for k in range(len(stamps)):
        cut = slice(stamps.y0[k], stamps.y0[k] + WIDTH), slice(stamps.x0[k], stamps.x0[k] + WIDTH)
        weighted = stamps.array[k] / pixels.variance[cut]
        norm = np.sum(weighted * stamps.array[k])
        flux[k], error[k] = np.sum(weighted * pixels.image[cut]) / norm, norm**-0.5
    return flux, error


def main() -> None:
    """Simulate, print the table and draw."""
    pulls, biases = [], []
    for k, sky in enumerate(SKIES):
        pixels, stamps = draw_stars(0.0, sky, k)
        ours, (flux, error) = fit_psf_flux(pixels, stamps), fit_weighted(pixels, stamps)
        pulls.append((np.mean(ours.flux / ours.flux_err), np.mean(flux / error)))
        print(f"sky {sky:5}: pull {pulls[-1][0]:+.3f} {pulls[-1][1]:+.3f}")  # noqa: T201
    for k, true in enumerate(FLUXES):
        pixels, stamps = draw_stars(true, 400.0, 100 + k)
        ours, (flux, _) = fit_psf_flux(pixels, stamps), fit_weighted(pixels, stamps)
        biases.append((100 * (ours.flux.mean() / true - 1), 100 * (flux.mean() / true - 1)))
        print(f"flux {true:6}: bias {biases[-1][0]:+.3f} {biases[-1][1]:+.3f} %")  # noqa: T201
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    area = 4.0 * np.pi * SIGMA_PX**2
    curve = np.geomspace(80, 6000, 50)
    labels = ("no weights", "weights of the data's variance")
    for panel, x, values in ((left, SKIES, pulls), (right, FLUXES, biases)):
        for points, label, color, marker in zip(
            np.array(values).T, labels, ("C0", "C3"), ("o", "s"), strict=True
        ):
            panel.plot(x, points, marker, color=color, label=label, ms=5)
        panel.axhline(0.0, color="0.6", lw=0.8, zorder=0)
        panel.set_xscale("log")
    left.plot(curve, -np.sqrt(area / curve), color="C3", lw=1, label="$-\\sqrt{A / s}$, from theory")
    left.set(xlabel="sky $s$ (electrons per pixel)", ylabel="mean of flux / error", title="No source")
    right.set(xlabel="true flux (electrons)", ylabel="bias (per cent)", title="Stars on a sky of 400")
    left.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "flux_bias.png", dpi=110)


if __name__ == "__main__":
    main()
