"""Cutouts and stamps: this library against reading and writing by other means.

Single cutouts, from the name of a dataset to a file on disk, image, mask and
variance, for circles of three radii.  The sides are

ours         ``find_dataset``, ``fetch_cutout``, ``Cutout.write``
lsst_images  ``Butler.get`` of the same box, ``.write``: same layout and
             compression of the file, no stencil and no provenance
astropy      ``.section`` of the same box for three HDUs, ``writeto``:
             uncompressed, no Butler, no lsst.images structure
fitsio       the same with fitsio
astrocut     ``fits_cut`` of the same three HDUs: uncompressed, no Butler
floor        the overlapped tiles decoded, and the bytes of our file written;
             where the tiles are is known (ours is without the Butler here)

so that all but the second do less than we do.  Then a thousand stamps of one
image; one position in a hundred images, which are hard links to one file under
different UUIDs; and cutouts from a web server on this machine that answers each
request 20 ms late and counts.  ``dax_images_cutout``, the software behind
Rubin's cutout service, is not on PyPI and not among them.

The Butler is open and the file in the page cache before the first run.  What
this library and the Butler's formatter remember of a file is forgotten before
each run, except in figures with ``warm`` or ``known_layout`` in their names.
Named figures are made of medians of processor time, and stand with ``_wall``
at the end of wall time.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
from _floor import decode_floor, make_floor
from _harness import Benchmark, Figure, Side, UnequalResultsError
from _inputs import DATA_ID, DATASET_TYPES, add_series, make_repository
from _many import compare_series, compare_stamps
from _peers import (
    FixedPlace,
    Task,
    forget,
    make_task,
    planes_of_file,
    write_astrocut,
    write_astropy,
    write_fitsio,
    write_lsst_images,
    write_ours,
)
from _remote import compare_remote
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath

from lsst.dax.image.container import Compression
from lsst.dax.image.container.inflate import INFLATE_LIBRARY
from lsst.dax.image.cutouts import fetch_cutout
from lsst.dax.image.repository import find_dataset

RADII = {"10arcsec": 10 * u.arcsec, "30arcsec": 30 * u.arcsec, "2arcmin": 2 * u.arcmin}
NAMES = {"visit_image": "", "visit_image_lossy": "lossy_", "deep_coadd": "coadd_"}
OTHERS: dict[str, Callable[[Task], Path]] = {
    "astropy": write_astropy,
    "fitsio": write_fitsio,
}


def make_side(
    task: Task, folder: Path, label: str, write: Callable[[Task], Path], *, warm: bool = False
) -> Side:
    """Return a side that writes a file of its own."""
    own = dataclasses.replace(task, output=folder / f"{label}.fits")

    def before() -> None:
        if not warm:
            forget()
        own.output.unlink(missing_ok=True)

    return Side(label, lambda: write(own), planes_of_file, before)


def compare_cutouts(bench: Benchmark, butler: Butler, folder: Path, dataset_type: str, radius: str) -> None:
    """Time single cutouts as everybody writes them by default."""
    task = make_task(butler, dataset_type, RADII[radius], folder / "cutout.fits")
    name = f"{dataset_type}_{radius}"
    bench.note(**{f"{name}_rows": task.box.y.size, f"{name}_columns": task.box.x.size})
    side = functools.partial(make_side, task, folder)
    others = [side(label, write) for label, write in OTHERS.items() if bench.has(label)]
    repeats = 3 if bench.quick else 7
    figure, *_ = bench.compare(
        f"{name}_file",
        side("ours", write_ours),
        [side("lsst_images", write_lsst_images), *others],
        repeats=repeats,
    )
    if bench.has("astrocut"):
        # It reads whole planes, for seconds: few runs, and none between those of the others.
        peer = side("astrocut", write_astrocut)
        bench.compare(f"{name}_file", side("ours", write_ours), [peer], repeats=2)
    speedup = f"speedup_vs_lsst_images_{NAMES[dataset_type]}{radius}"
    name_speedup(bench, speedup, figure)
    if dataset_type != "visit_image":
        return
    for suffix, compression in (("like_for_like", Compression.GZIP), ("uncompressed", Compression.NONE)):
        sides = [
            side(label, functools.partial(write, compression=compression))
            for label, write in (("ours", write_ours), ("lsst_images", write_lsst_images))
        ]
        (figure,) = bench.compare(f"{name}_{suffix}", sides[0], sides[1:], repeats=repeats)
        name_speedup(bench, f"{speedup}_{suffix}", figure)
    warm = [
        make_side(task, folder, label, write, warm=True)
        for label, write in (("ours", write_ours), ("lsst_images", write_lsst_images))
    ]
    (figure,) = bench.compare(f"{name}_warm", warm[0], warm[1:], repeats=repeats)
    name_speedup(bench, f"{speedup}_warm", figure)


def name_speedup(bench: Benchmark, name: str, figure: Figure) -> None:
    bench.name_figure(name, figure.cpu_ratio, figure.ratio)


def compare_floor(bench: Benchmark, butler: Butler, folder: Path, radius: str) -> None:
    """Time a cutout without the Butler's look-up against the least that it costs."""
    task = make_task(butler, "visit_image", RADII[radius], folder / "cutout.fits")
    ref = find_dataset(butler, "visit_image", DATA_ID)
    place = FixedPlace(ResourcePath(task.path))

    def write(task: Task, compression: Compression) -> Path:
        fetch_cutout(place, ref, task.stencil).write(task.output, compression=compression)
        return task.output

    for compression in (Compression.GZIP, Compression.NONE):
        suffix = "" if compression is Compression.GZIP else "_uncompressed"
        ours = make_side(task, folder, "ours", functools.partial(write, compression=compression))
        ours.before()
        floor = make_floor(task, ours.run().read_bytes(), folder / "floor.fits")
        least = Side(
            "floor", functools.partial(decode_floor, floor), dict, functools.partial(unlink, floor.output)
        )
        (figure,) = bench.compare(f"floor_{radius}{suffix}", ours, [least], repeats=3 if bench.quick else 9)
        bench.note(**{f"floor_{radius}{suffix}_bytes_written": len(floor.content)})
        bench.name_figure(f"ratio_to_floor_{radius}{suffix}", 1 / figure.cpu_ratio, 1 / figure.ratio)
    warm = make_side(
        task, folder, "ours_warm", functools.partial(write, compression=Compression.GZIP), warm=True
    )
    (figure,) = bench.compare(f"floor_{radius}_warm", warm, [least], repeats=3 if bench.quick else 9)
    bench.name_figure(f"ratio_to_floor_{radius}_warm", 1 / figure.cpu_ratio, 1 / figure.ratio)


def unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "", versions=("fitsio", "astrocut"))
    bench.note(inflate_library=INFLATE_LIBRARY)
    print(f"tiles are inflated by {INFLATE_LIBRARY}")
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as name:
        folder = Path(name)
        root = folder / "repo"
        make_repository(root, quick=bench.quick).close()
        count = 10 if bench.quick else 100
        with add_series(root, count) as butler:
            radii = ("10arcsec",) if bench.quick else tuple(RADII)
            try:
                for dataset_type in DATASET_TYPES:
                    ref = find_dataset(butler, dataset_type, DATA_ID)
                    bench.note(**{f"{dataset_type}_bytes": butler.getURI(ref).size()})
                    for radius in radii:
                        compare_cutouts(bench, butler, folder, dataset_type, radius)
                compare_floor(bench, butler, folder, radii[-2 if len(radii) > 1 else 0])
                compare_stamps(bench, butler)
                compare_series(bench, butler, count)
                for dataset_type in DATASET_TYPES[:1] if bench.quick else DATASET_TYPES:
                    compare_remote(bench, butler, root, dataset_type)
            except UnequalResultsError as error:
                print(f"unequal results: {error}", file=sys.stderr)
                return 1
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
