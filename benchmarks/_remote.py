"""Cutouts from a web server on this machine that answers late, and counts."""

from __future__ import annotations

__all__ = ("compare_remote",)

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from _harness import Benchmark, Side
from _inputs import DATA_ID
from _peers import PLANES, FixedPlace, Task, forget, make_task, planes_of_image
from _range_server import Counts, RangeServer, running_server
from lsst.daf.butler import Butler
from lsst.images import MaskedImage
from lsst.images.serialization import open_archive
from lsst.resources import ResourcePath

from lsst.dax.image.container import open_container
from lsst.dax.image.cutouts import fetch_cutout
from lsst.dax.image.repository import find_dataset

DELAY = 0.02
RADIUS = 30 * u.arcsec


def compare_remote(bench: Benchmark, butler: Butler, root: Path, dataset_type: str) -> None:
    """Time, and count, one cutout in memory; with and without a known layout."""
    radius = RADIUS / 3 if bench.quick else RADIUS
    task = make_task(butler, dataset_type, radius, root / "unused.fits")
    name = f"remote_{dataset_type.removesuffix('_image')}"
    prefix = "remote" if dataset_type == "visit_image" else name
    with running_server(root, delay=DELAY) as server:
        counts: dict[str, Counts] = {}
        ours, peers = _sides(task, server, root, counts)
        bench.compare(f"{name}_cold", ours, peers, repeats=3)
        warm = dataclasses.replace(
            ours,
            label="ours_warm",
            before=None,
            run=_count("ours_warm", server, counts, lambda: _cut_ours(task, server, root)),
        )
        bench.compare(f"{name}_known_layout", warm, peers[:1], repeats=3)
    needed = count_needed(task)
    bench.note(**{f"{name}_bytes_needed": needed, f"{prefix}_delay_seconds": DELAY})
    for label, seen in counts.items():
        bench.note(
            **{
                f"{name}_requests_{label}": seen.requests,
                f"{name}_rounds_{label}": seen.rounds,
                f"{name}_bytes_{label}": seen.bytes_sent,
            }
        )
        print(
            f"{'':34} {label:14} {seen.requests} requests in {seen.rounds} rounds, "
            f"{seen.bytes_sent / 1e6:.2f} MB, {seen.bytes_sent / needed:.2f} of what is needed"
        )
    bench.name_figure(f"{prefix}_bytes_ratio", counts["ours"].bytes_sent / needed)
    bench.name_figure(f"{prefix}_rounds", counts["ours"].rounds)
    bench.name_figure(f"{prefix}_rounds_known_layout", counts["ours_warm"].rounds)


def count_needed(task: Task) -> int:
    """Return the bytes of the overlapped tiles, all headers, JSON tree, index and tile tables."""
    with open_container(task.path) as reader:
        layout = reader.layout
        arrays = [array for plane in layout.arrays.values() for array in plane]
        tables = sum(0 if array.tiles is None else array.tiles.table.nbytes for array in arrays)
        headers = len(layout.primary) + sum(len(array.header) for array in arrays)
        last = max(entry.data + entry.size for entry in layout.index)
        # JSON tree and index stand at the end of the file, after all pixels.
        return headers + tables + Path(task.path).stat().st_size - last + reader.count_bytes([task.box])


def _sides(task: Task, server: RangeServer, root: Path, counts: dict[str, Counts]) -> tuple[Side, list[Side]]:
    """Return ourselves and the others."""
    url = _url(task, server, root)

    def by_lsst_images() -> MaskedImage:
        with open_archive(ResourcePath(url)) as archive:
            if task.dataset_type != "deep_coadd":
                return archive.get_component("masked_image", bbox=task.box)
            image, mask, variance = (archive.get_component(name.lower(), bbox=task.box) for name in PLANES)
            return MaskedImage(image, mask=mask, variance=variance)

    def by_astropy() -> dict[str, np.ndarray]:
        with astropy.io.fits.open(url, use_fsspec=True) as hdus:
            return {name: hdus[name].section[task.rows, task.columns] for name in PLANES}

    def side(label: str, run: Callable[[], Any], arrays: Callable[[Any], dict[str, np.ndarray]]) -> Side:
        return Side(label, _count(label, server, counts, run), arrays, forget)

    ours = side("ours", lambda: _cut_ours(task, server, root), planes_of_image)
    return ours, [
        side("lsst_images", by_lsst_images, planes_of_image),
        side("astropy", by_astropy, dict),
    ]


def _count(
    label: str, server: RangeServer, counts: dict[str, Counts], run: Callable[[], Any]
) -> Callable[[], Any]:
    """Return work that notes what the server was asked for."""

    def counted() -> Any:
        server.reset()
        result = run()
        counts[label] = server.counts
        return result

    return counted


def _cut_ours(task: Task, server: RangeServer, root: Path) -> Any:
    ref = find_dataset(task.butler, task.dataset_type, DATA_ID)
    place = FixedPlace(ResourcePath(_url(task, server, root)))
    return fetch_cutout(place, ref, task.stencil).image


def _url(task: Task, server: RangeServer, root: Path) -> str:
    return f"{server.url}/{Path(task.path).relative_to(root).as_posix()}"
