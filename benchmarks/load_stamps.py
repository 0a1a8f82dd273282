"""Load that Rubin names: 51-pixel stamps of an object in 800 visits, for ten users.

Each user is a process of its own, as a service has it, with a Butler of its
own.  All begin at the same moment and cut one position each, another for every
user, out of a series of visit images: the query, the look-ups, image, mask and
variance in memory.  Ours is ``find_datasets`` and ``fetch_stamps``; the other
side is a loop over ``Butler.get`` with a box.

The run is of reduced size.  What is said of 800 visits and ten users at once is
extrapolated from the processor time of one stamp, and assumes that

- time grows with the number of visits and of users, and that they share the
  cores evenly: the largest run of this script is a check of it;
- the files are in the page cache, as here, where all visits of the series are
  hard links to one file; a disk or a store adds its own time;
- each file is read for the first time: nothing is known of it beforehand.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from _harness import Benchmark, UnequalResultsError, digest_arrays
from _inputs import DATA_ID, RUN, add_series, make_repository
from _many import STAMP_SIZE, fetch_series_lsst_images, find_series, planes_of_stamps, stacked
from _peers import forget
from lsst.daf.butler import Butler

from lsst.dax.image.cutouts import fetch_stamps
from lsst.dax.image.repository import fetch_geometry, find_dataset

USERS = 10
VISITS = 800
AIM_SECONDS = 10
_PRELOADED = ["_many", "_peers", "lsst.daf.butler", "lsst.images.formatters", "lsst.dax.image.cutouts"]


@dataclass(frozen=True)
class UserResult:
    """What one user had."""

    user: int
    wall: float
    """Seconds from the common start to the last stamp."""

    cpu: float
    digest: str


def choose_position(butler: Butler, user: int) -> Any:
    """Return the position of a user."""
    geometry = fetch_geometry(butler, find_dataset(butler, "visit_image", DATA_ID))
    bbox = geometry.bbox
    rng = np.random.default_rng(user)
    x = rng.uniform(bbox.x.start + STAMP_SIZE, bbox.x.stop - STAMP_SIZE)
    y = rng.uniform(bbox.y.start + STAMP_SIZE, bbox.y.stop - STAMP_SIZE)
    return geometry.sky_projection.pixel_to_sky(x=np.array(x), y=np.array(y))


def cut_ours(butler: Butler, position: Any, visits: int) -> dict[str, np.ndarray]:
    refs = find_series(butler, visits)
    return planes_of_stamps(list(fetch_stamps(butler, refs, position, size=STAMP_SIZE)))


def cut_lsst_images(butler: Butler, position: Any, visits: int) -> dict[str, np.ndarray]:
    return stacked(fetch_series_lsst_images(butler, position, visits))


SIDES: dict[str, Callable[[Butler, Any, int], dict[str, np.ndarray]]] = {
    "ours": cut_ours,
    "lsst_images": cut_lsst_images,
}


def serve(side: str, root: str, user: int, visits: int, begin: Barrier, results: Queue[UserResult]) -> None:
    """Be one user; runs in a process of its own."""
    with Butler.from_config(root, collections=RUN) as butler:
        position = choose_position(butler, user)
        # What is loaded or compiled at the first use is no part of the load.
        SIDES[side](butler, position, 1)
        forget()
        begin.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        planes = SIDES[side](butler, position, visits)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        results.put(UserResult(user, wall, cpu, digest_arrays(planes)))


def run_users(side: str, root: Path, *, users: int, visits: int) -> list[UserResult]:
    """Have several users cut at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    begin, results = context.Barrier(users), context.Queue()
    processes = [
        context.Process(target=serve, args=(side, str(root), user, visits, begin, results))
        for user in range(users)
    ]
    for process in processes:
        process.start()
    try:
        found = [results.get(timeout=600) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=60)
    return sorted(found, key=lambda result: result.user)


def measure(bench: Benchmark, root: Path, *, users: int, visits: int, repeats: int) -> dict[str, float]:
    """Run both sides in turn, compare their pixels, and return seconds of CPU per stamp."""
    name = f"load_{users}_users_{visits}_visits"
    seen: dict[str, list[list[UserResult]]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in list(SIDES)[:: 1 if repeat % 2 == 0 else -1]:
            seen[side].append(run_users(side, root, users=users, visits=visits))
    digests = {side: [[result.digest for result in run] for run in runs] for side, runs in seen.items()}
    if len({tuple(run) for runs in digests.values() for run in runs}) != 1:
        raise UnequalResultsError(f"{name}: the sides have other pixels: {digests}.")
    per_stamp = {}
    for side, runs in seen.items():
        cpu = [sum(result.cpu for result in run) for run in runs]
        last = [max(result.wall for result in run) for run in runs]
        per_stamp[side] = statistics.median(cpu) / (users * visits)
        which = "ours" if side == "ours" else "peer"
        bench.note(
            **{
                f"{name}_cpu_seconds_{which}": cpu,
                f"{name}_seconds_{which}": last,
                f"{name}_digest_{which}": digests[side][0][0],
            }  # type: ignore[arg-type]
        )
        print(
            f"{users:3} users x {visits:3} visits  {side:11} last user: {statistics.median(last):6.2f} s,"
            f" {statistics.median(cpu):7.2f} s of processor time, {1e3 * per_stamp[side]:7.2f} ms per stamp",
            flush=True,
        )
    bench.note(**{f"{name}_repeats": repeats})
    return per_stamp


def extrapolate(bench: Benchmark, per_stamp: dict[str, float]) -> None:
    """Say what the whole load takes."""
    cores = os.cpu_count() or 1
    stamps = USERS * VISITS
    print(f"\nextrapolated to {USERS} users x {VISITS} visits = {stamps} stamps, aim {AIM_SECONDS} s:")
    for side, seconds in per_stamp.items():
        total = stamps * seconds
        bench.name_figure(f"load_cpu_seconds_{side}", total)
        bench.name_figure(f"load_seconds_on_{cores}_cores_{side}", total / cores)
        bench.name_figure(f"load_cores_for_{AIM_SECONDS}_s_{side}", total / AIM_SECONDS)
    bench.name_figure("load_speedup_vs_lsst_images", per_stamp["lsst_images"] / per_stamp["ours"])
    bench.name_figure("load_ms_per_visit_stamp", 1e3 * per_stamp["ours"])


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "")
    sizes = [(2, 4), (3, 8)] if bench.quick else [(1, 20), (USERS, 20)]
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as folder:
        root = Path(folder) / "repo"
        make_repository(root, quick=bench.quick, dataset_types=["visit_image"]).close()
        add_series(root, max(visits for _, visits in sizes)).close()
        bench.note(load_users=USERS, load_visits=VISITS, load_stamp_size=STAMP_SIZE)
        try:
            for users, visits in sizes:
                per_stamp = measure(bench, root, users=users, visits=visits, repeats=1 if bench.quick else 3)
        except UnequalResultsError as error:
            print(f"unequal results: {error}", file=sys.stderr)
            return 1
    extrapolate(bench, per_stamp)
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
