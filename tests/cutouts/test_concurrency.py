"""Threads and processes that cut at once get what a single one gets."""

from __future__ import annotations

import concurrent.futures
import hashlib
import multiprocessing
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import GeneralizedImage, Image, Mask, MaskedImage

from lsst.dax.image.cutouts import Detail, fetch_cutout, fetch_stamps
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import MiniSurvey

CREATED = Time("2026-11-24T12:00:00", scale="utc")
THREADS = 10
PROCESSES = 4


@dataclass(frozen=True)
class Job:
    """One cutout, or the stamps of one dataset."""

    number: int
    ref: DatasetRef
    center: SkyCoord
    detail: Detail | None
    """`None` for stamps."""


def digest(image: GeneralizedImage) -> str:
    """Return a digest of all planes, bit for bit."""
    planes = []
    if isinstance(image, MaskedImage):
        planes = [image.image.array, image.mask.array, image.variance.array]
    elif isinstance(image, Image | Mask):
        planes = [image.array]
    assert planes
    total = hashlib.blake2b(repr(image.bbox).encode())
    for plane in planes:
        total.update(f"{plane.dtype} {plane.shape}".encode() + plane.tobytes())
    return total.hexdigest()


def normalised_file(path: Path) -> str:
    """Return a digest of a FITS file without the time of writing.

    lsst.images writes it into a DATE card of each HDU, and zlib into the
    header of each compressed tile (in whole seconds); all other bytes count.
    """
    data = re.sub(rb"DATE    = '[-0-9T:.]*' / UTC date this HDU was written[. ]{13}", b"", path.read_bytes())
    data = re.sub(rb"(?s)(\x1f\x8b\x08\x00)....", rb"\1", data)
    return hashlib.blake2b(data).hexdigest()


def run_job(butler: Butler, job: Job, folder: Path) -> tuple[str, ...]:
    """Cut, write and return digests of the pixels and of the file."""
    if job.detail is None:
        stamps = list(fetch_stamps(butler, [job.ref], job.center, size=21))
        return tuple(stamp.status if stamp.image is None else digest(stamp.image) for stamp in stamps)
    stencil = CircleStencil(job.center, 5 * u.arcsec)
    cutout = fetch_cutout(butler, job.ref, stencil, detail=job.detail, created=CREATED)
    path = folder / f"{job.number}.fits"
    cutout.write(path)
    return digest(cutout.image), normalised_file(path)


@pytest.fixture(scope="module")
def jobs(mini_survey: MiniSurvey) -> list[Job]:
    """Return some cutouts of each detail out of each type, and stamps."""
    offsets = [(11.0, -7.0), (-23.0, 16.0)]
    jobs = []
    with mini_survey.open() as butler:
        for name in ("visit_image", "difference_image", "deep_coadd"):
            for ref in find_datasets(butler, name)[:4]:
                geometry = fetch_geometry(butler, ref)
                for detail in (*Detail, None):
                    dx, dy = offsets[len(jobs) % 2]
                    x = geometry.bbox.x.center + dx + np.array([0.0, 30.0])
                    y = geometry.bbox.y.center + dy + np.array([0.0, -9.0])
                    positions = geometry.sky_projection.pixel_to_sky(x=x, y=y)
                    jobs.append(Job(len(jobs), ref, positions if detail is None else positions[0], detail))
    return jobs


@pytest.fixture(scope="module")
def serial(
    mini_survey: MiniSurvey, jobs: list[Job], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, ...]]:
    """Return what a single thread gets, in a fresh process' worth of order."""
    folder = tmp_path_factory.mktemp("serial")
    with mini_survey.open() as butler:
        return [run_job(butler, job, folder) for job in jobs]


def test_the_jobs_differ(jobs: list[Job], serial: list[tuple[str, ...]]) -> None:
    digests = [text for result in serial for text in result]
    assert len(jobs) == 48
    assert len(set(digests)) == len(digests)
    assert not any(text.isupper() for text in digests)  # no flag: every job has pixels


def test_ten_threads_get_what_one_gets(
    mini_survey: MiniSurvey, jobs: list[Job], serial: list[tuple[str, ...]], tmp_path: Path
) -> None:
    local = threading.local()
    clones: list[Butler] = []
    # All ten are at work before the first one begins.
    barrier = threading.Barrier(THREADS)
    with mini_survey.open() as butler:

        def begin() -> None:
            local.butler = butler.clone()
            clones.append(local.butler)
            barrier.wait()

        def work(job: Job) -> tuple[str, ...]:
            return run_job(local.butler, job, tmp_path)

        with concurrent.futures.ThreadPoolExecutor(THREADS, initializer=begin) as executor:
            results = list(executor.map(work, jobs))
        assert len(clones) == THREADS
        for clone in clones:
            clone.close()
    assert results == serial


_OF_PROCESS: dict[str, Butler] = {}


def open_butler(root: Path) -> None:
    """Open the repository once per process."""
    _OF_PROCESS["butler"] = MiniSurvey.load(root).open()


def run_in_process(job: Job, folder: Path) -> tuple[str, ...]:
    return run_job(_OF_PROCESS["butler"], job, folder)


def test_four_processes_get_what_one_gets(
    mini_survey: MiniSurvey, jobs: list[Job], serial: list[tuple[str, ...]], tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=open_butler, initargs=(mini_survey.root,)
    ) as executor:
        results = list(executor.map(run_in_process, jobs, [tmp_path] * len(jobs)))
    assert results == serial


def test_two_threads_on_one_dataset_do_not_share_pixels(mini_survey: MiniSurvey, jobs: list[Job]) -> None:
    job = jobs[1]
    stencil = CircleStencil(job.center, 5 * u.arcsec)
    with mini_survey.open() as butler, concurrent.futures.ThreadPoolExecutor(2) as executor:
        butlers = [butler.clone() for _ in range(2)]
        first, second = executor.map(lambda clone: fetch_cutout(clone, job.ref, stencil).image, butlers)
        for clone in butlers:
            clone.close()
    expected = digest(second)
    first.image.array[:] = -1.0
    first.variance.array[:] = -1.0
    assert digest(second) == expected
    assert digest(first) != expected
