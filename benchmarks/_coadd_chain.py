"""The whole chain of a coadd, read, resample, combine and write, against SWarp.

Equal stars on noise, in visits of any rotation and seeing.  The sides are

ours    ``fetch_coadd`` from a repository and `Coadd.write`: clipped mean with
        variance, mask, number of inputs, effective time, PSFs and provenance
SWarp   the same pixels as plain FITS files with a TPV header, weight maps of one
        number each, LANCZOS3 and CLIPPED: image and weight

What is compared is processor time, of child processes included.
"""

from __future__ import annotations

__all__ = ("compare_chain",)

import re
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import astropy.io.fits
import numpy as np
from _harness import Benchmark, UnequalResultsError
from lsst.daf.butler import Butler
from lsst.images import Box, VisitImage
from tests.support.coadd_survey import make_plain_image, make_repository, make_star_positions

from lsst.dax.image.coadds import Recipe, Statistic, fetch_coadd
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.simulation import MiniSurvey, SurveyConfig, VisitPlan

BAND = "r"


def _write_plain(image: VisitImage, path: Path) -> None:
    """Write the pixels of an image as SWarp reads them."""
    bbox = image.bbox
    header = image.sky_projection.as_fits_wcs(bbox, allow_approximation=True).to_header(relax=True)
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    for card in [name for name in header if re.fullmatch(r"(A|B|AP|BP)_.*", name)]:
        del header[card]
    astropy.io.fits.writeto(path, image.image.array, header)
    astropy.io.fits.writeto(path.with_suffix(".weight.fits"), 1.0 / image.variance.array, header)


def _run_swarp(program: str, files: list[Path], grid: TargetGrid, folder: Path) -> None:
    """Coadd plain files."""
    rows, columns = grid.shape
    center = grid.center
    done = subprocess.run(
        [
            program,
            *map(str, files),
            *("-IMAGEOUT_NAME", str(folder / "swarp.fits"), "-WEIGHTOUT_NAME", str(folder / "swarp.w.fits")),
            *("-WEIGHT_TYPE", "MAP_WEIGHT", "-RESAMPLING_TYPE", "LANCZOS3", "-COMBINE_TYPE", "CLIPPED"),
            *("-SUBTRACT_BACK", "N", "-CENTER_TYPE", "MANUAL", "-PIXELSCALE_TYPE", "MANUAL"),
            *("-CENTER", f"{center.ra.deg:.10f},{center.dec.deg:.10f}", "-PIXEL_SCALE", "0.2"),
            *("-IMAGE_SIZE", f"{columns},{rows}", "-RESAMPLE_DIR", str(folder), "-NTHREADS", "1"),
            *("-VERBOSE_TYPE", "QUIET", "-WRITE_XML", "N", "-FSCALASTRO_TYPE", "FIXED"),
        ],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise UnequalResultsError(f"SWarp failed: {done.stderr.decode()}")


def compare_chain(bench: Benchmark) -> None:
    """Time the whole chain, and record ``chain_vs_swarp``."""
    program = shutil.which("swarp") or shutil.which("SWarp")
    if program is None:
        print("SWarp is not installed")
        return
    side, n_visits = (600, 6) if bench.quick else (2000, 20)
    shape = (int(1.3 * side), int(1.3 * side))
    config = SurveyConfig(visits_per_band=n_visits, detector_grid=(1, 1), detector_shape=shape)
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as name:
        folder = Path(name)
        stars = make_star_positions(config)
        files: list[Path] = []

        def draw(plan: VisitPlan, detector: int) -> VisitImage:
            image = make_plain_image(config, plan, detector, stars)
            files.append(folder / f"{plan.visit}.fits")
            _write_plain(image, files[-1])
            return image

        survey = make_repository(folder / "repository", config, draw, bands=(BAND,))
        with survey.open() as butler:
            _compare(bench, program, butler, survey, files, folder, side)


def _compare(
    bench: Benchmark,
    program: str,
    butler: Butler,
    survey: MiniSurvey,
    files: list[Path],
    folder: Path,
    side: int,
) -> None:
    """Time both sides in turn."""
    projection = survey.config.sky_map.tract_sky_projection(survey.tract)
    middle = projection.sky_to_pixel(survey.config.center_position)
    y, x = round(float(middle.y)) - side // 2, round(float(middle.x)) - side // 2
    grid = TargetGrid(projection, Box.factory[y : y + side, x : x + side])
    recipe = Recipe(name="chain", statistic=Statistic.CLIPPED_MEAN, selection={"bands": (BAND,)})
    ours, theirs = [], []
    for repeat in range(3 if bench.quick else 4):
        started = time.process_time()
        coadd = fetch_coadd(butler, recipe, grid)
        coadd.write(folder / "ours.fits", overwrite=True)
        if repeat:  # the first run compiles
            ours.append(time.process_time() - started)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run_swarp(program, files, grid, folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if repeat:
            theirs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    filled = float(np.isfinite(coadd.image.image.array).mean())
    bench.note(chain_side=side, chain_inputs=len(files))
    bench.note(chain_ours_cpu=min(ours), chain_swarp_cpu=min(theirs))
    print(f"    chain: ours {min(ours):.2f} s, SWarp {min(theirs):.2f} s; {100 * filled:.0f} % filled")
    bench.name_figure("chain_vs_swarp", min(theirs) / min(ours))
