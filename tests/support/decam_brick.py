"""The exposures of a Legacy Survey brick as warps, calibrated as SWarp was told to calibrate them."""

from __future__ import annotations

__all__ = ("BRICK", "NANOMAGGY", "PLANES", "make_brick_warps", "place_gaia_stars", "read_swarp_mean")

import json
import uuid
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema

from lsst.dax.image.coadds import InputKey, Warp, warp_image
from lsst.dax.image.container import read_plain_image
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.psfs import make_psf_evaluator

from .legacy_survey import read_gaia, read_psf

BRICK = "A_decam_ls/brick1867p255_9epochs"
NANOMAGGY = 3630.7805477
PLANES = ("NO_DATA", "SATURATED", "COSMIC_RAY")
_SWARP = "reference_independent/swarp"


def read_swarp_mean(brick: Path) -> tuple[TargetGrid, np.ndarray]:
    """Return the grid and the pixels, in nJy, of the mean of SWarp; NaN where its weight is zero."""
    path = brick / _SWARP / "coadd_z_swarp.fits.gz"
    image = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace(".fits", ".weight.fits"))).array
    assert image.sky_projection is not None
    values = np.where(weight > 0, image.array.astype(np.float64) * NANOMAGGY, np.nan)
    return TargetGrid(image.sky_projection, image.bbox), values


def make_brick_warps(brick: Path, grid: TargetGrid, band: str) -> list[Warp]:
    """Return the exposures of a band with their PSFEx models, in the order of their numbers."""
    listed = json.loads((brick / _SWARP / "meta.json").read_text())
    chosen = sorted((each for each in listed if each["filter"] == band), key=lambda each: each["expnum"])
    return [_make_warp(brick, grid, each) for each in chosen]


def _make_warp(brick: Path, grid: TargetGrid, epoch: dict[str, Any]) -> Warp:
    path = brick / "images" / epoch["image"]
    counts = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace("_ooi_", "_oow_"))).array
    code = read_plain_image(path.with_name(path.name.replace("_ooi_", "_ood_"))).array
    scale = epoch["flxscale_nmgy_per_adu"] * NANOMAGGY
    # The weight of cosmic rays is zero: they get that of the rest, so that it is seen what removes them.
    usual = np.median(weight[weight > 0])
    is_ray = code == 5
    good = (weight > 0.1 * usual) | is_ray
    variance = np.where(good, scale**2 / np.where(is_ray, usual, np.where(good, weight, 1.0)), np.nan)
    values = (counts.array.astype(np.float64) - epoch["median_sky_subtracted_adu"]) * scale
    mask = Mask(schema=MaskSchema([MaskPlane(name, f"{name}.") for name in PLANES]), bbox=counts.bbox)
    mask.set("NO_DATA", ~good | ~np.isin(code, (0, 3, 4, 5)))
    mask.set("SATURATED", np.isin(code, (3, 4)))
    mask.set("COSMIC_RAY", is_ray)
    stem = path.name.replace(f".{epoch['ccdname']}.fits", f"-{epoch['ccdname']}-psfex.fits")
    (psf,) = (brick / "calib").rglob(stem)
    return warp_image(
        MaskedImage(
            Image(values.astype(np.float32), bbox=counts.bbox, unit=u.nJy),
            mask=mask,
            variance=Image(variance.astype(np.float32), bbox=counts.bbox, unit=u.nJy**2),
            sky_projection=counts.sky_projection,
        ),
        grid,
        key=InputKey("DECam", epoch["expnum"], 0, uuid.UUID(int=epoch["expnum"])),
        weight=usual / scale**2,
        psf=make_psf_evaluator(read_psf(psf, counts)),
    )


def place_gaia_stars(brick: Path, grid: TargetGrid) -> np.ndarray:
    """Return x and y of the stars of Gaia on a grid, shape (n, 2)."""
    gaia = read_gaia(brick)
    places = grid.sky_projection.sky_to_pixel(SkyCoord(gaia["ra"], gaia["dec"], unit=u.deg))
    return np.column_stack([np.asarray(places.x), np.asarray(places.y)])
