"""The same stamps and light curves, whoever does the work: threads, processes, dask, Parsl.

Each engine is set up as the page "Many workers" of the user guide says.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from lsst.daf.butler import Butler
from lsst.images import MaskedImage
from tests.support.light_curves import assert_same_table

from lsst.dax.image.cutouts import Stamp, fetch_stamps
from lsst.dax.image.forced import ImageSearch, fetch_light_curves
from lsst.dax.image.repository import SharedButler, find_datasets
from lsst.dax.image.simulation import MiniSurvey

SEARCH = ImageSearch(dataset_types=("visit_image", "difference_image"))


@contextmanager
def open_threads(folder: Path) -> Iterator[Executor]:
    """Threads of this process: nothing is copied."""
    del folder
    with ThreadPoolExecutor(4) as executor:
        yield executor


@contextmanager
def open_processes(folder: Path) -> Iterator[Executor]:
    """Processes of this machine, started afresh rather than forked."""
    del folder
    context = get_context("forkserver")
    context.set_forkserver_preload(["lsst.dax.image.cutouts", "lsst.dax.image.forced"])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


@contextmanager
def open_dask(folder: Path) -> Iterator[Executor]:
    """Processes that a dask scheduler knows; they may be on other machines."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None, local_directory=str(folder)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@contextmanager
def open_parsl(folder: Path) -> Iterator[Executor]:
    """Processes that a Parsl interchange feeds, as on a batch system."""
    parsl = pytest.importorskip("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    workers = HighThroughputExecutor(
        label="workers",
        address="127.0.0.1",
        max_workers_per_node=2,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    # Its processes are scripts, which it looks for in the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    config = parsl.Config(executors=[workers], run_dir=str(folder / "runinfo"), initialize_logging=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        with ParslPoolExecutor(config) as executor:
            yield executor


ENGINES: dict[str, Callable[[Path], Any]] = {
    "threads": open_threads,
    "processes": open_processes,
    "dask": open_dask,
    "parsl": open_parsl,
}


@dataclass(frozen=True)
class Answers:
    """What the calling thread finds alone."""

    stamps: list[Stamp]
    table: QTable


def choose_positions(survey: MiniSurvey) -> SkyCoord:
    """Return stars all over the field, one of them off it."""
    rows = survey.truth[:12]
    return SkyCoord(
        [*rows["ra"].to_value("deg"), survey.config.center[0] + 1.0],
        [*rows["dec"].to_value("deg"), survey.config.center[1]],
        unit="deg",
    )


def ask(butler: Butler, survey: MiniSurvey, executor: Executor | None) -> Answers:
    """Ask for stamps and for light curves."""
    positions = choose_positions(survey)
    refs = find_datasets(butler, "visit_image")[:6]
    stamps = list(fetch_stamps(butler, refs, positions, size=31, executor=executor))
    return Answers(stamps, fetch_light_curves(butler, positions, images=SEARCH, executor=executor))


def assert_same_stamps(actual: Sequence[Stamp], desired: Sequence[Stamp]) -> None:
    """Assert that stamps are the same to the bit, in the same order, where on the sky included."""
    assert len(actual) == len(desired)
    for one, other in zip(actual, desired, strict=True):
        assert (one.ref.id, one.index, one.status, one.bbox) == (
            other.ref.id,
            other.index,
            other.status,
            other.bbox,
        )
        assert (one.image is None) == (other.image is None)
        if isinstance(one.image, MaskedImage) and isinstance(other.image, MaskedImage):
            for plane in ("image", "mask", "variance"):
                values = [getattr(image, plane).array for image in (one.image, other.image)]
                assert np.array_equal(*values, equal_nan=plane != "mask"), plane
            places = [
                image.sky_projection.pixel_to_sky(x=image.bbox.x.start, y=image.bbox.y.start)
                for image in (one.image, other.image)
            ]
            assert places[0].separation(places[1]).arcsec == 0.0


@pytest.fixture(scope="module")
def alone(mini_survey: MiniSurvey) -> Answers:
    with mini_survey.open() as butler:
        answers = ask(butler, mini_survey, None)
    assert {stamp.status for stamp in answers.stamps} >= {"OK", "NO_COVERAGE"}
    assert len(answers.table) > 50
    return answers


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_what_the_caller_finds_alone(
    engine: str, alone: Answers, mini_survey: MiniSurvey, mini_butler: Butler, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        # What the engines warn of, of ports, loops and old names, is theirs.
        warnings.simplefilter("ignore")
        with ENGINES[engine](tmp_path) as executor:
            answers = ask(mini_butler, mini_survey, executor)
            workers = {executor.submit(os.getpid).result() for _ in range(3)}
    assert_same_stamps(answers.stamps, alone.stamps)
    assert_same_table(answers.table, alone.table)
    assert (os.getpid() in workers) == (engine == "threads"), "who did the work"


def count_openings(shared: SharedButler, _: int) -> tuple[int, int, bool]:
    """Return process, identity of the Butler and whether it came from elsewhere."""
    return os.getpid(), id(shared.get()), shared.was_sent


def test_a_worker_opens_its_butler_once(mini_butler: Butler) -> None:
    """Twenty tasks in two processes: at most two Butlers, none of which is the caller's."""
    shared = SharedButler(mini_butler)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        seen = set(executor.map(count_openings, [shared] * 20, range(20)))
    assert len(seen) == len({process for process, _, _ in seen}) <= 2
    assert all(sent for _, _, sent in seen)


def test_a_thread_has_a_butler_of_its_own(mini_butler: Butler) -> None:
    shared = SharedButler(mini_butler)
    with ThreadPoolExecutor(2) as executor:
        seen = set(executor.map(count_openings, [shared] * 20, range(20)))
    assert id(mini_butler) not in {butler for _, butler, _ in seen}
    assert not any(sent for _, _, sent in seen)
