"""Forced photometry: this library against photutils, sep and Piff's own drawing.

Isolated stars on an image in memory, with variance and mask, under a Piff PSF
of 15 terms that varies with the position.  The sides are

ours       pictures of the PSF drawn and fluxes fitted, with errors, chi2 and
           flags; five exact apertures in one pass
photutils  ``PSFPhotometry`` with a ``GriddedPSFModel`` of 7 x 7 places and
           positions that are fixed, from starts close to the fluxes;
           ``aperture_photometry``, exact, all radii in one call
sep        ``sum_circle``, exact, one call per radius
piff       ``compute_stellar_image`` of the PSF, one call per position

Answers count as equal within 0.03 sigma and 0.3 % for PSF fluxes, because the
model of photutils is interpolated between places; within 1e-6 of the flux or
of sigma for apertures; and within 1e-12 for drawings.

Then one position in many visit images of a Butler repository, one file each, of
which nothing is in the page cache, scaled to a thousand images: processor time
and the waiting for the disk, which is wall time less that in which the process
was ready and others had the processor.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
from _forced_inputs import Field, drop_from_page_cache, make_field, make_visits
from _harness import Benchmark, Side, UnequalResultsError
from astropy.nddata import NDData
from astropy.table import QTable, Table
from lsst.daf.butler import Butler

from lsst.dax.image.forced import (
    ApertureRule,
    ImageSearch,
    fetch_light_curves,
    fit_psf_flux,
    measure_apertures,
)

RADII = (3.0, 4.5, 6.0, 9.0, 12.0)
BLOCK = 1000  # positions whose pictures are in memory together, as in ``measure``


def snap(name: str, expected: np.ndarray, tolerance: np.ndarray) -> Callable[[np.ndarray], Mapping]:
    """Return a function that gives the expected values for those within a tolerance of them."""

    def compare(found: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.where(np.abs(found - expected) <= tolerance, expected, found)}

    return compare


def fit_ours(field: Field, count: int) -> np.ndarray:
    """Fit the first stars."""
    fluxes = []
    for first in range(0, count, BLOCK):
        part = slice(first, min(first + BLOCK, count))
        stamps = field.evaluator.stellar_images(field.x[part], field.y[part])
        fluxes.append(fit_psf_flux(field.pixels, stamps).flux)
    return np.concatenate(fluxes)


def make_photutils_psf(field: Field) -> object:
    """Return the PSF at 7 x 7 places, two samples per pixel."""
    from photutils.psf import GriddedPSFModel  # noqa: PLC0415  # a peer that may be absent

    rows, columns = field.pixels.image.shape
    grid = [(x, y) for y in np.linspace(0, rows - 1, 7) for x in np.linspace(0, columns - 1, 7)]
    x, y = (np.rint(axis) for axis in np.array(grid).T)
    height, width = field.evaluator.stamp_shape
    samples = np.zeros((len(grid), 2 * height + 1, 2 * width + 1))
    for shift_y in (0, 1):
        for shift_x in (0, 1):
            # Moved by half a pixel, the pixels of a star are the other samples.
            inward_x, inward_y = np.clip(x, 1, columns - 2), np.clip(y, 1, rows - 2)
            stamps = field.evaluator.stellar_images(
                inward_x - 0.5 * shift_x + 1e-9, inward_y - 0.5 * shift_y + 1e-9
            )
            begin_y, begin_x = 2 * (stamps.y0 - inward_y).astype(int), 2 * (stamps.x0 - inward_x).astype(int)
            for k in range(len(grid)):
                first_y = begin_y[k] + height + shift_y
                first_x = begin_x[k] + width + shift_x
                samples[k, first_y : first_y + 2 * height : 2, first_x : first_x + 2 * width : 2] = (
                    stamps.array[k]
                )
    meta = {"grid_xypos": list(zip(x, y, strict=True)), "oversampling": 2}
    return GriddedPSFModel(NDData(samples, meta=meta))


def fit_photutils(field: Field, model: object, count: int, start: np.ndarray) -> np.ndarray:
    """Fit the first stars with photutils, at fixed positions and from good starts."""
    from photutils.psf import PSFPhotometry  # noqa: PLC0415

    model.x_0.fixed = model.y_0.fixed = True  # type: ignore[attr-defined]
    photometry = PSFPhotometry(model, field.evaluator.stamp_shape)
    table = Table({"x_0": field.x[:count], "y_0": field.y[:count], "flux": start})
    found = photometry(field.pixels.image, init_params=table)
    return np.asarray(found["flux_fit"])


def compare_psf_fluxes(bench: Benchmark, field: Field) -> None:
    """Time PSF fluxes."""
    count = 200 if bench.quick else 500
    stamps = field.evaluator.stellar_images(field.x[:count], field.y[:count])
    expected = fit_psf_flux(field.pixels, stamps)
    compare = snap("flux", expected.flux, 0.03 * expected.flux_err + 0.003 * np.abs(expected.flux))
    if bench.has("photutils"):
        model = make_photutils_psf(field)
        start = field.flux[:count] + 1.0
        ours = Side("ours", lambda: fit_ours(field, count), compare)
        peer = Side("photutils", lambda: fit_photutils(field, model, count, start), compare)
        (figure,) = bench.compare("psf_flux", ours, [peer], repeats=3)
        bench.name_figure("psf_vs_photutils", figure.cpu_ratio, figure.ratio)
    size = field.x.size
    times = bench.measure("psf_fluxes", lambda: fit_ours(field, size), repeats=9)
    bench.name_figure("psf_per_second", *(size / seconds for seconds in times))


def compare_apertures(bench: Benchmark, field: Field) -> None:
    """Time five apertures."""
    # The peers look at a mask, so we do.
    pixels = dataclasses.replace(field.pixels, drop=np.array([3, 0, 0], np.uint8))
    x, y = field.x, field.y
    expected = measure_apertures(pixels, x=x, y=y, radii=RADII, rule=ApertureRule.EXACT)
    compare = snap("flux", expected.flux, 1e-6 * (np.abs(expected.flux) + expected.flux_err))
    mask = (pixels.mask & pixels.drop).any(axis=2)
    error = np.sqrt(pixels.variance)

    def run_sep() -> np.ndarray:
        import sep  # noqa: PLC0415

        found = [
            sep.sum_circle(pixels.image, x, y, radius, var=pixels.variance, mask=mask, subpix=0)[0]
            for radius in RADII
        ]
        return np.array(found).T

    def run_photutils() -> np.ndarray:
        from photutils.aperture import CircularAperture, aperture_photometry  # noqa: PLC0415

        places = np.column_stack([x, y])
        circles = [CircularAperture(places, radius) for radius in RADII]
        table = aperture_photometry(pixels.image, circles, error=error, mask=mask)
        return np.column_stack([table[f"aperture_sum_{k}"] for k in range(len(RADII))])

    ours = Side(
        "ours",
        lambda: measure_apertures(pixels, x=x, y=y, radii=RADII, rule=ApertureRule.EXACT).flux,
        compare,
    )
    runs = {"sep": run_sep, "photutils": run_photutils}
    peers = [Side(name, run, compare) for name, run in runs.items() if bench.has(name)]
    for figure in bench.compare("apertures", ours, peers, repeats=3 if bench.quick else 7) if peers else []:
        bench.name_figure(f"aperture_vs_{figure.peer}", figure.cpu_ratio, figure.ratio)


def compare_drawing(bench: Benchmark, field: Field) -> None:
    """Time pictures of the PSF."""
    count = 200 if bench.quick else 1000
    x, y = field.x[:count], field.y[:count]
    expected = field.evaluator.stellar_images(x, y).array
    compare = snap("pictures", expected, np.full(expected.shape, 1e-12))

    def run_piff() -> np.ndarray:
        return np.array([field.psf.compute_stellar_image(x=a, y=b).array for a, b in zip(x, y, strict=True)])

    ours = Side("ours", lambda: field.evaluator.stellar_images(x, y).array, compare)
    (figure,) = bench.compare("drawing", ours, [Side("piff", run_piff, compare)], repeats=3)
    bench.name_figure("drawing_vs_piff", figure.cpu_ratio, figure.ratio)


def measure_light_curve(bench: Benchmark, folder: Path) -> None:
    """Time one position in many images that are not in the page cache."""
    count = 20 if bench.quick else 100
    survey, paths = make_visits(folder / "visits", count, quick=bench.quick)
    bench.note(visits=count, bytes_per_visit=paths[0].stat().st_size)
    position = survey.config.center_position
    times: dict[str, list[float]] = {"wall": [], "cpu": [], "own": []}
    with Butler.from_config(str(survey.root), collections=survey.collections) as butler:

        def run() -> QTable:
            return fetch_light_curves(butler, position, images=ImageSearch(dataset_types=("visit_image",)))

        run()  # kernels are compiled
        for _ in range(3):
            for path in paths:
                drop_from_page_cache(path)
            wall, cpu, queue = time.perf_counter(), time.process_time(), read_queue_seconds()
            table = run()
            times["wall"].append(time.perf_counter() - wall)
            times["cpu"].append(time.process_time() - cpu)
            times["own"].append(times["wall"][-1] - (read_queue_seconds() - queue))
            check_light_curve(table, count)
    bench.note(**{f"light_curve_{kind}_runs": values for kind, values in times.items()})  # type: ignore[arg-type]
    wall, cpu, own = (float(np.median(times[kind])) for kind in ("wall", "cpu", "own"))
    print(
        f"    {count} visits in {own:.2f} s, {cpu:.2f} s of them processor time ({wall:.2f} s with others' "
        f"work in between); times {1000 / count:g}:"
    )
    bench.name_figure("seconds_per_1000_visits", own * 1000 / count, wall * 1000 / count)
    bench.name_figure("cpu_seconds_per_1000_visits", cpu * 1000 / count)


def read_queue_seconds() -> float:
    """Return how long this process has been ready while others had the processor; 0 if nobody counts."""
    path = Path("/proc/self/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def check_light_curve(table: QTable, count: int) -> None:
    """Raise `UnequalResultsError` if a light curve of equal images is none."""
    flux = table["flux"].to_value(u.nJy)
    if len(table) != count or len(set(table["visit"])) != count or not np.all(flux == flux[0]):
        raise UnequalResultsError(
            f"light_curve: {len(table)} rows of {len(set(table['visit']))} visits with {len(set(flux))} "
            f"fluxes of {count} images with the same pixels."
        )


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "", versions=("numba", "photutils", "sep", "piff"))
    shape, n_stars = ((1000, 1018), 600) if bench.quick else ((4000, 4072), 10_000)
    field = make_field(shape=shape, n_stars=n_stars)
    bench.note(stars=n_stars, rows=shape[0], columns=shape[1])
    try:
        compare_psf_fluxes(bench, field)
        compare_apertures(bench, field)
        compare_drawing(bench, field)
        del field
        with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as folder:
            measure_light_curve(bench, Path(folder))
    except UnequalResultsError as error:
        print(f"unequal results: {error}", file=sys.stderr)
        return 1
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
