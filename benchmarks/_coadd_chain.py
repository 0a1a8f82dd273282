"""The whole chain of a coadd, read, resample, combine and write, against SWarp.

Equal stars on noise, in images of any rotation.  Both sides read the same plain
FITS files, whose projection (TAN) has a meaning for both, with weight maps.

ours    `warp_image` and `make_coadd`: clipped mean with variance, mask, number
        of inputs, effective time, PSF and table of inputs, written by `Coadd.write`
SWarp   LANCZOS3 and CLIPPED, one thread: image and weight

What is compared is processor time, of child processes included.
"""

from __future__ import annotations

__all__ = ("compare_chain",)

import resource
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from _harness import Benchmark, UnequalResultsError
from astropy.coordinates import SkyCoord
from astropy.io import fits
from lsst.images import Box, Image, Mask, MaskedImage, MaskSchema, get_legacy_visit_image_mask_planes
from lsst.images.psfs import GaussianPointSpreadFunction

from lsst.dax.image.coadds import InputKey, Recipe, Statistic, make_coadd, warp_image
from lsst.dax.image.container import read_plain_image
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.psfs import make_psf_evaluator
from lsst.dax.image.resampling import Kernel

CENTER = SkyCoord(53.1, -27.8, unit=u.deg)
SCALE = 0.2 * u.arcsec
SIGMA_PX, SKY_SIGMA, FLUX = 1.6, 10.0, 2e4
SCHEMA = MaskSchema(list(get_legacy_visit_image_mask_planes().values()))
RECIPE = Recipe(name="chain", statistic=Statistic.CLIPPED_MEAN, selection={"bands": ("r",)})


@dataclass(frozen=True)
class Inputs:
    """Files of the same sky, and where they become one."""

    folder: Path
    images: list[Path]
    grid: TargetGrid
    star_x: np.ndarray
    star_y: np.ndarray


def make_inputs(folder: Path, *, n: int, side: int) -> Inputs:
    """Draw stars on noise into images that cover a grid in any rotation."""
    rng = np.random.default_rng(11)
    grid = TargetGrid.from_center(CENTER, pixel_scale=SCALE, shape=(side, side))
    star_x, star_y = (a.ravel() for a in np.meshgrid(*[np.arange(40, side - 40, 53.0)] * 2))
    star_x, star_y = (
        star_x + rng.uniform(-0.5, 0.5, star_x.size),
        star_y + rng.uniform(-0.5, 0.5, star_y.size),
    )
    sky = grid.sky_projection.pixel_to_sky(x=star_x, y=star_y)
    shape = (int(1.3 * side), int(1.3 * side))
    images = []
    for number in range(n):
        turn = rng.uniform(0.0, 360.0) * u.deg
        source = TargetGrid.from_center(CENTER, pixel_scale=SCALE, shape=shape, rotation=turn)
        pixels = rng.normal(0.0, SKY_SIGMA, shape).astype(np.float32)
        found = source.sky_projection.sky_to_pixel(sky)
        for x, y in zip(found.x, found.y, strict=True):
            x0, y0 = round(float(x)) - 12, round(float(y)) - 12
            if min(x0, y0) < 0 or max(x0, y0) + 25 > shape[0]:
                continue
            gx, gy = (
                np.exp(-0.5 * ((np.arange(o, o + 25) - c) / SIGMA_PX) ** 2) for o, c in ((x0, x), (y0, y))
            )
            pixels[y0 : y0 + 25, x0 : x0 + 25] += FLUX / (2 * np.pi * SIGMA_PX**2) * np.outer(gy, gx)
        header = _make_header(source)
        images.append(folder / f"visit{number:03d}.fits")
        fits.writeto(images[-1], pixels, header)
        weight = np.full(shape, SKY_SIGMA**-2, np.float32)
        fits.writeto(images[-1].with_suffix(".weight.fits"), weight, header)
    (folder / "swarp.head").write_text(
        fits.Header([("NAXIS1", side), ("NAXIS2", side), *_make_header(grid).cards]).tostring(
            sep="\n", endcard=True, padding=False
        )
        + "\n"
    )
    return Inputs(folder, images, grid, star_x, star_y)


def _make_header(grid: TargetGrid) -> fits.Header:
    """Return the cards of a TAN projection, and no others: SWarp takes repeated poles for distortion."""
    wcs = grid.sky_projection.as_fits_wcs(grid.bbox)
    header, found = fits.Header(), wcs.to_header()
    header["EQUINOX"], header["RADESYS"], header["BUNIT"] = 2000.0, "ICRS", "nJy"
    for axis in (1, 2):
        for key in (f"CTYPE{axis}", f"CRVAL{axis}", f"CRPIX{axis}"):
            header[key] = found[key]
        for other in (1, 2):
            header[f"CD{axis}_{other}"] = wcs.pixel_scale_matrix[axis - 1, other - 1]
    return header


def run_ours(inputs: Inputs) -> None:
    """Read, resample, combine and write."""
    warps = []
    for number, path in enumerate(inputs.images):
        image = read_plain_image(str(path))
        weight = fits.getdata(path.with_suffix(".weight.fits"))
        masked = MaskedImage(
            image,
            mask=Mask(schema=SCHEMA, bbox=image.bbox),
            variance=Image(np.float32(1.0) / weight, bbox=image.bbox, unit=u.nJy**2),
        )
        psf = GaussianPointSpreadFunction(SIGMA_PX, bounds=image.bbox, stamp_size=25)
        key = InputKey("Cam", number, 0, uuid.UUID(int=number))
        warps.append(
            warp_image(
                masked,
                inputs.grid,
                key=key,
                weight=SKY_SIGMA**-2,
                psf=make_psf_evaluator(psf),
                kernel=Kernel.LANCZOS3,
            )
        )
    coadd = make_coadd(warps, inputs.grid.sky_projection, recipe=RECIPE)
    coadd.write(inputs.folder / "ours.fits", overwrite=True)


def run_swarp(program: str, inputs: Inputs) -> None:
    """Coadd the same files."""
    options = {
        "IMAGEOUT_NAME": "swarp.fits",
        "WEIGHTOUT_NAME": "swarp.weight.fits",
        "WEIGHT_TYPE": "MAP_WEIGHT",
        "RESAMPLING_TYPE": "LANCZOS3",
        "COMBINE_TYPE": "CLIPPED",
        "SUBTRACT_BACK": "N",
        "FSCALASTRO_TYPE": "NONE",
        "WRITE_XML": "N",
        "VERBOSE_TYPE": "QUIET",
        "NTHREADS": "1",
    }
    words = [word for key, value in options.items() for word in (f"-{key}", value)]
    names = [path.name for path in inputs.images]
    done = subprocess.run(
        [program, *names, "-c", "/dev/null", *words], cwd=inputs.folder, capture_output=True, check=False
    )
    if done.returncode:
        raise UnequalResultsError(f"SWarp failed: {done.stderr.decode()}")


def check_equal(inputs: Inputs) -> float:
    """Return the largest difference of star fluxes in their sum, and refuse more than 2 %."""
    with fits.open(inputs.folder / "ours.fits") as hdus:
        ours = next(hdu.data for hdu in hdus if hdu.name == "IMAGE")
    theirs = fits.getdata(inputs.folder / "swarp.fits")
    if ours.shape != theirs.shape:
        raise UnequalResultsError(f"Coadds of {ours.shape} and {theirs.shape}.")
    ratios = []
    for x, y in zip(inputs.star_x, inputs.star_y, strict=True):
        part = Box.factory[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7]
        where = part.slice_within(inputs.grid.bbox)
        ratios.append(ours[where].sum() / theirs[where].sum())
    worst = abs(np.median(ratios) - 1.0)
    if not worst < 0.02:
        raise UnequalResultsError(f"Fluxes of stars differ by {worst:.3f}.")
    return float(worst)


def compare_chain(bench: Benchmark) -> None:
    """Time the whole chain in turn, and record ``chain_vs_swarp``."""
    program = shutil.which("swarp") or shutil.which("SWarp")
    if program is None:
        print("    chain: SWarp is not installed")
        return
    side, n = (600, 6) if bench.quick else (2000, 20)
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as name:
        inputs = make_inputs(Path(name), n=n, side=side)
        ours, theirs = [], []
        for repeat in range(4):
            before = _cpu()
            run_ours(inputs)
            between = _cpu()
            run_swarp(program, inputs)
            if repeat:  # the first run compiles
                ours.append(between - before)
                theirs.append(_cpu() - between)
        worst = check_equal(inputs)
    bench.note(chain_side=side, chain_inputs=n, chain_star_flux_difference=worst)
    bench.note(chain_ours_cpu=min(ours), chain_swarp_cpu=min(theirs))
    print(f"    chain of {n} x {side}^2: ours {min(ours):.2f} s, SWarp {min(theirs):.2f} s")
    bench.name_figure("chain_vs_swarp", float(np.median(theirs) / np.median(ours)))


def _cpu() -> float:
    """Return the processor time of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
