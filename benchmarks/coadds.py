"""Coadds: stacks of 20 and of 200 warps against NumPy, bottleneck, astropy and ccdproc.

Warps are noise with bad pixels, gaps and cosmic rays, in memory.  The sides are

ours        ``combine_warps``: image, variance, mask, number of inputs, weights and
            what was left out
astropy     ``sigma_clip``, twice at three sigma, and the weighted mean of what is left
ccdproc     ``Combiner.sigma_clipping``, once, as it offers no more, and
            ``average_combine`` without weights: with weights it divides by those of
            masked pixels, too
numpy       ``nanmedian``; the weighted sum of what is not NaN
bottleneck  ``nanmedian``

The others make an image alone, from a cube with NaN for bad pixels that they get
for nothing; ccdproc adds an uncertainty from the scatter.  Means and medians
must agree within a tenth of the noise in 99 pixels of a hundred.  Clipped means do
not all have our rules for the first round (the interquartile range against the
standard deviation, which one cosmic ray makes large), so that other values go: they
must agree within the noise of the result in 95 pixels of a hundred, and within a
hundredth of it in the median.  The 200 warps have a quarter of the rows, as the
copies that the others make do not fit into memory.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _coadd_chain import compare_chain
from _harness import Benchmark, Side, UnequalResultsError
from lsst.images import Box
from numpy.typing import NDArray

from lsst.dax.image.coadds import Combined, InputKey, Statistic, Warp, combine_warps

CHILD = Path(__file__).with_name("_coadds_child.py")
PLANES = ("NO_DATA", "BAD", "SATURATED", "DETECTED")
NOISE = 6.7
BYTES = 12  # of a pixel of an input

type Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The same pixels for all sides."""

    warps: list[Warp]
    cube: Image
    """Images with NaN for what does not count, shape ``(n, rows, columns)``."""

    weights: NDArray[np.float32]

    @property
    def gigabytes(self) -> float:
        """Size of image, variance and mask."""
        return BYTES * self.cube.size / 1e9


def make_inputs(n: int, shape: tuple[int, int]) -> Inputs:
    """Return warps with 0.6 % of bad pixels, gaps, and cosmic rays in 0.2 %."""
    rng = np.random.default_rng(n)
    box = Box.factory[0 : shape[0], 0 : shape[1]]
    warps, cube = [], np.empty((n, *shape), np.float32)
    for k in range(n):
        variance = NOISE**2 * rng.uniform(0.7, 1.4)
        image = rng.standard_normal(shape, np.float32) * np.float32(variance**0.5) + np.float32(100.0)
        chance = rng.random(shape, np.float32)
        image[chance < 0.002] += 1000.0
        mask = np.where(chance > 0.994, np.uint32(2), np.uint32(0))
        planes = np.full(shape, variance, np.float32)
        gap = int(rng.uniform(0.0, 0.1) * shape[1])
        image[:, :gap] = planes[:, :gap] = np.nan
        key = InputKey("bench", k, 0, uuid.UUID(int=k))
        warps.append(Warp(key, box, image, planes, mask, PLANES, weight=1.0 / variance))
        cube[k] = np.where(mask == 0, image, np.nan)
    return Inputs(warps, cube, np.array([warp.weight for warp in warps], np.float32))


def run_astropy(inputs: Inputs) -> Image:
    from astropy.stats import sigma_clip  # noqa: PLC0415

    clipped = sigma_clip(inputs.cube, sigma=3, maxiters=2, axis=0, masked=False, copy=True)
    return run_numpy_mean(clipped, inputs.weights)


def run_numpy_mean(cube: Image, weights: NDArray[np.float32]) -> Image:
    """Return the weighted mean of what is not NaN."""
    column = weights[:, None, None]
    total = np.sum(np.where(np.isnan(cube), np.float32(0.0), column), axis=0)
    with np.errstate(invalid="ignore"):
        mean: Image = np.nansum(cube * column, axis=0) / total
    return mean


def run_ccdproc(images: list[Any]) -> Image:
    from ccdproc import Combiner  # noqa: PLC0415

    combiner = Combiner(images, dtype=np.float32)
    combiner.sigma_clipping(low_thresh=3, high_thresh=3, func="median", dev_func="std")
    combined: Image = combiner.average_combine().data
    return combined


def make_ccds(inputs: Inputs) -> list[Any]:
    from astropy.nddata import CCDData  # noqa: PLC0415

    return [CCDData(plane, unit="adu", mask=np.isnan(plane)) for plane in inputs.cube]


def check_against(reference: Combined, *, is_clipped: bool) -> Callable[[Any], Mapping[str, np.ndarray]]:
    """Return a function that tells whether an image agrees with a reference."""

    def check(result: Any) -> Mapping[str, np.ndarray]:
        image = result.image if isinstance(result, Combined) else result
        deviation = (np.asarray(image) - reference.image) / np.sqrt(reference.variance)
        found = np.isfinite(reference.image)
        size, share = (1.0, 0.95) if is_clipped else (0.1, 0.99)
        agrees = np.mean(np.abs(deviation[found]) < size) > share
        agrees &= abs(np.median(deviation[found])) < 1e-2
        return {"agrees": np.array([agrees])}

    return check


def compare_clipped(bench: Benchmark, inputs: Inputs, suffix: str, repeats: int) -> None:
    """Time clipped means."""
    even = [dataclasses.replace(warp, weight=1.0) for warp in inputs.warps]
    sides: list[tuple[str, list[Warp], Callable[[], Image]]] = []
    if bench.has("astropy"):
        sides.append(("astropy", inputs.warps, lambda: run_astropy(inputs)))
    if bench.has("ccdproc"):
        images = make_ccds(inputs)
        sides.append(("ccdproc", even, lambda: run_ccdproc(images)))
    for peer, warps, run_peer in sides:

        def run(warps: list[Warp] = warps) -> Combined:
            return combine_warps(warps, statistic=Statistic.CLIPPED_MEAN)

        check = check_against(run(), is_clipped=True)
        (figure,) = bench.compare(
            f"clipped_mean{suffix}", Side("ours", run, check), [Side(peer, run_peer, check)], repeats=repeats
        )
        bench.name_figure(f"stack{suffix}_vs_{peer}", figure.cpu_ratio, figure.ratio)


def compare_others(bench: Benchmark, inputs: Inputs, suffix: str, repeats: int) -> dict[str, Any]:
    """Time medians and means; return the figures of the median by peer."""

    def run_median() -> Combined:
        return combine_warps(inputs.warps, statistic=Statistic.MEDIAN)

    def run_mean() -> Combined:
        return combine_warps(inputs.warps, statistic=Statistic.MEAN)

    check = check_against(run_median(), is_clipped=False)
    peers = [Side("numpy", lambda: np.nanmedian(inputs.cube, axis=0), check)]
    if bench.has("bottleneck"):
        import bottleneck  # noqa: PLC0415

        peers.append(Side("bottleneck", lambda: bottleneck.nanmedian(inputs.cube, axis=0), check))
    figures = bench.compare(f"median{suffix}", Side("ours", run_median, check), peers, repeats=repeats)
    check_mean = check_against(run_mean(), is_clipped=False)
    peer = Side("numpy", lambda: run_numpy_mean(inputs.cube, inputs.weights), check_mean)
    bench.compare(f"mean{suffix}", Side("ours", run_mean, check_mean), [peer], repeats=repeats)
    return {figure.peer: figure for figure in figures}


def compare_stacks(bench: Benchmark) -> None:
    """Time stacks in memory."""
    side = 500 if bench.quick else 2000
    for n, shape in ((20, (side, side)), (200, (side // 4, side))):
        inputs = make_inputs(n, shape)
        suffix = "" if n == 20 else f"_{n}"
        bench.note(**{f"inputs_gb{suffix}": inputs.gigabytes})
        repeats = 2 if bench.quick else 3 if n == 200 else 5
        compare_clipped(bench, inputs, suffix, repeats)
        medians = compare_others(bench, inputs, suffix, repeats)
        for peer, figure in medians.items():
            name = "nanmedian" if peer == "numpy" else peer
            bench.name_figure(f"median{suffix}_vs_{name}", figure.cpu_ratio, figure.ratio)
        cpu, wall = bench.measure(
            f"stack{suffix}",
            lambda warps=inputs.warps: combine_warps(warps, statistic=Statistic.CLIPPED_MEAN),  # type: ignore[misc]
            repeats=5,
        )
        bench.name_figure(f"stack{suffix}_gb_per_second", inputs.gigabytes / cpu, inputs.gigabytes / wall)


def measure_memory(bench: Benchmark) -> None:
    """Measure the memory of means of 20 and of 200 warps that arrive one by one."""
    side = 500 if bench.quick else 2000
    peaks = {}
    for n in (20, 200):
        command = [sys.executable, str(CHILD), str(n), str(side)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[n] = json.loads(done.stdout)["peak_bytes"]
        bench.note(**{f"peak_memory_of_{n}_gb": peaks[n] / 1e9})
    bench.name_figure("peak_memory_growth", peaks[200] / peaks[20])
    bench.name_figure("peak_memory_gb", peaks[200] / 1e9)


PARTS: tuple[Callable[[Benchmark], None], ...] = (compare_stacks, measure_memory, compare_chain)
"""What is measured, in turn."""


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "", versions=("ccdproc", "bottleneck", "numba"))
    warnings.filterwarnings("ignore", message=".*invalid values", module="astropy")  # NaN is meant
    warnings.filterwarnings("ignore", message="All-NaN slice")
    try:
        for part in PARTS:
            part(bench)
    except UnequalResultsError as error:
        print(f"unequal results: {error}", file=sys.stderr)
        return 1
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
