"""Re-creation of the visit image of a full detector: how fast, how near, how much memory.

A raw with every effect that the simulation knows, its calibrations and the visit
image that a slow, independent reduction made of them.  They are simulated once,
into a folder that is kept (option ``--inputs``).

preset_seconds         find inputs, read raw and components, all steps of the
                       preset ``LSSTCam DP2``, stitch, write uncompressed; the
                       calibrations are in memory
isr_vs_ccdproc         the steps that ccdproc has, in turns with it, on the same
                       counts, with the same pixels to the rounding of float32
peak_memory_gb         of a process that does all of this once
pull_mean, pull_std    (image without instrument signature - truth) over the
                       true sigma, of pixels without mask and without cosmic ray
max_error_in_steps     re-created image less the lossy original, in steps of its
rms_error_in_steps     quantisation
memory_fraction        time that the bytes of all steps take at the bandwidth of
                       ``a = b + s c``, as a part of the time that they took

All on one core and with one thread.  Times are medians of processor time; wall
time stands beside it with ``_wall`` at the end.  With ``--both`` the sensor of
the second vendor follows, its figures with ``itl_`` at the beginning.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from _harness import Benchmark, UnequalResultsError
from _recreation_inputs import Truth, load_truth, prepare_survey
from _recreation_steps import Part, measure_bandwidth, run_parts
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import VisitImage

from lsst.dax.image.container import Compression
from lsst.dax.image.recreation import (
    CalibrationCache,
    fetch_calibrations,
    make_visit_image_recipe,
    recreate_visit_image,
    write_visit_image,
)
from lsst.dax.image.recreation.isr import LSSTCAM_DP2, IsrExposure, IsrPlane
from lsst.dax.image.regression import compare_images, read_steps
from lsst.dax.image.repository import find_datasets
from lsst.dax.image.simulation import RawSurvey

VENDORS = ("", "itl_")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inputs",
        type=Path,
        default=Path(tempfile.gettempdir()) / "dax-image-benchmark",
        metavar="DIR",
        help="folder in which the simulated inputs are kept (default: %(default)s)",
    )
    parser.add_argument("--both", action="store_true", help="sensors of both vendors")


def find_ref(butler: Butler, detector: int) -> DatasetRef:
    (ref,) = find_datasets(butler, "visit_image", where=f"detector = {detector}")
    return ref


def time_preset(bench: Benchmark, butler: Butler, detector: int, cache: CalibrationCache) -> None:
    """Time the whole, as somebody calls it; the compressed file apart."""
    prefix = VENDORS[detector]
    data_id = dict(find_ref(butler, detector).dataId.required)

    def recreate() -> VisitImage:
        return recreate_visit_image(butler, data_id, sequence=LSSTCAM_DP2, cache=cache)

    with tempfile.TemporaryDirectory(dir=bench.options.inputs) as folder:
        path = Path(folder) / "image.fits"

        def write(image: VisitImage, compression: Compression) -> None:
            write_visit_image(image, path, compression=compression, overwrite=True)

        repeats = 3 if bench.quick else 5
        times = bench.measure(f"{prefix}preset", lambda: write(recreate(), Compression.NONE), repeats=repeats)
        bench.note(**{f"{prefix}bytes_uncompressed": path.stat().st_size})
        bench.name_figure(f"{prefix}preset_seconds", *times)
        compress = functools.partial(write, recreate(), Compression.GZIP)
        times = bench.measure(f"{prefix}write_compressed", compress, repeats=1)
        bench.note(**{f"{prefix}bytes_compressed": path.stat().st_size})
        bench.name_figure(f"{prefix}write_compressed_seconds", *times)


def time_parts(
    bench: Benchmark, butler: Butler, detector: int, cache: CalibrationCache, *, bandwidth: float
) -> tuple[IsrExposure, IsrExposure]:
    """Time the parts, print them beside what memory allows, and return the raw and the last exposure."""
    recipe = make_visit_image_recipe(
        butler, dict(find_ref(butler, detector).dataId.required), sequence=LSSTCAM_DP2
    )
    runs: dict[str, list[Part]] = defaultdict(list)
    exposures: list[IsrExposure] = []
    with tempfile.TemporaryDirectory(dir=bench.options.inputs) as folder:
        for repeat in range(-1, 3 if bench.quick else 5):
            exposures = []
            for part, result in run_parts(butler, recipe, cache, Path(folder) / "image.fits"):
                if isinstance(result, IsrExposure):
                    exposures = [*exposures[:1], result]
                if repeat >= 0:
                    runs[part.name].append(part)
    prefix = VENDORS[detector]
    # On a busy machine the bandwidth is that which others leave, and changes.
    bandwidth = max(bandwidth, measure_bandwidth())
    bench.name_figure(f"{prefix}memory_bandwidth_gb_per_second", bandwidth / 1e9)
    moved = spent = 0.0
    print(f"    {'part':42}{'CPU ms':>9}{'wall ms':>9}{'MB':>7}{'of limit':>10}")
    for name, parts in runs.items():
        cpu, wall = (statistics.median(getattr(part, kind) for part in parts) for kind in ("cpu", "wall"))
        size = parts[0].bytes_moved
        fraction = f"{size / bandwidth / cpu:10.2f}" if size and cpu else ""
        print(f"    {name:42}{1e3 * cpu:9.1f}{1e3 * wall:9.1f}{size / 1e6:7.0f}{fraction}", flush=True)
        bench.note(
            **{
                f"{prefix}part_{name}_cpu_seconds": cpu,
                f"{prefix}part_{name}_wall_seconds": wall,
                f"{prefix}part_{name}_bytes": size,
            }
        )
        if name in {step.name for step in recipe.sequence.steps}:
            moved, spent = moved + size, spent + cpu
    bench.name_figure(f"{prefix}isr_seconds", spent)
    bench.name_figure(f"{prefix}memory_fraction", moved / bandwidth / spent)
    raw, last = exposures
    return raw, last


def judge_pull(bench: Benchmark, exposure: IsrExposure, truth: Truth, *, prefix: str) -> None:
    """Compare electrons with the truth of the simulation."""
    good = (exposure.mask == 0) & ~truth.cosmic_rays
    pull = (exposure.image[good] - truth.expected[good]) / np.sqrt(truth.variance[good])
    bench.note(**{f"{prefix}pull_pixels": pull.size})
    bench.name_figure(f"{prefix}pull_mean", float(pull.mean()))
    bench.name_figure(f"{prefix}pull_std", float(pull.std()))
    missed = {
        "saturated_missed": truth.saturated & (exposure.mask & IsrPlane.SATURATED == 0),
        "defects_missed": truth.defects & (exposure.mask & IsrPlane.BAD == 0),
    }
    for name, where in missed.items():
        bench.name_figure(f"{prefix}{name}", int(np.count_nonzero(where)))


def judge_originals(bench: Benchmark, survey: RawSurvey, detector: int, cache: CalibrationCache) -> None:
    """Compare visit images with the persisted ones, lossless and lossy."""
    prefix = VENDORS[detector]
    for butler in (survey.open(), survey.open_lossy()):
        with butler:
            ref = find_ref(butler, detector)
            image = recreate_visit_image(butler, dict(ref.dataId.required), sequence=LSSTCAM_DP2, cache=cache)
            found = compare_images(image, butler.get(ref), steps=read_steps(butler.getURI(ref)))
        plane = found.planes[0]
        different = sum(mask.n_different for mask in found.masks)
        if plane.max_steps is None or plane.rms_steps is None:
            bench.name_figure(f"{prefix}identical_to_lossless", plane.identical)
            bench.name_figure(f"{prefix}within_4_ulp_of_lossless", plane.within_4_ulp)
            bench.name_figure(f"{prefix}mask_bits_unlike_lossless", different)
        else:
            bench.name_figure(f"{prefix}max_error_in_steps", plane.max_steps)
            bench.name_figure(f"{prefix}rms_error_in_steps", plane.rms_steps)


def measure_memory(bench: Benchmark, survey: RawSurvey, detector: int) -> None:
    """Re-create once in a process of its own."""
    script = Path(__file__).with_name("_recreation_child.py")
    command = [sys.executable, str(script), str(survey.root), survey.collections, str(detector)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peaks: Mapping[str, float] = json.loads(done.stdout)
    prefix = VENDORS[detector]
    bench.note(**{f"{prefix}peak_memory_gb_{name}": peak for name, peak in peaks.items()})
    bench.name_figure(f"{prefix}peak_memory_gb", max(peaks.values()))


def run_detector(bench: Benchmark, survey: RawSurvey, detector: int, *, bandwidth: float) -> None:
    """Measure all of one detector."""
    prefix = VENDORS[detector]
    cache = CalibrationCache()
    with survey.open() as butler:
        time_preset(bench, butler, detector, cache)
        raw, last = time_parts(bench, butler, detector, cache, bandwidth=bandwidth)
        judge_pull(bench, last, load_truth(survey, detector), prefix=prefix)
        if bench.has("ccdproc"):
            from _recreation_ccdproc import compare_ccdproc  # noqa: PLC0415  # may be absent

            recipe = make_visit_image_recipe(
                butler, dict(find_ref(butler, detector).dataId.required), sequence=LSSTCAM_DP2
            )
            calibrations = fetch_calibrations(butler, recipe.calibrations, cache=cache)
            figure = compare_ccdproc(
                bench, raw, calibrations, name=f"{prefix}isr_steps", repeats=3 if bench.quick else 5
            )
            bench.name_figure(f"{prefix}isr_vs_ccdproc", figure.cpu_ratio, figure.ratio)
    judge_originals(bench, survey, detector, cache)


def main() -> int:
    """Run the benchmark; return the exit code."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        # Libraries read these when they are loaded, which has happened.
        os.execve(  # noqa: S606
            sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(ONE_THREAD, "1")
        )
    bench = Benchmark(__doc__ or "", versions=("ccdproc", "numba"), add_options=add_options)
    detectors = (0, 1) if bench.options.both else (0,)
    bench.options.inputs.mkdir(parents=True, exist_ok=True)
    survey = prepare_survey(bench.options.inputs, quick=bench.quick, detectors=detectors)
    for detector in detectors:
        # First of all: what Linux reports of a child begins with the size of its parent.
        measure_memory(bench, survey, detector)
    bandwidth = measure_bandwidth()
    try:
        for detector in detectors:
            run_detector(bench, survey, detector, bandwidth=bandwidth)
    except UnequalResultsError as error:
        print(f"unequal results: {error}", file=sys.stderr)
        return 1
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
