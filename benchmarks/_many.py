"""Many stamps: of one image, and of one position in many images."""

from __future__ import annotations

__all__ = (
    "STAMP_SIZE",
    "compare_series",
    "compare_stamps",
    "fetch_series_lsst_images",
    "find_series",
    "planes_of_stamps",
    "stacked",
)

from collections.abc import Sequence
from typing import Any

import astropy.io.fits
import numpy as np
from _harness import Benchmark, Side
from _inputs import DATA_ID
from _peers import PLANES, forget, planes_of_image
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage
from lsst.images.serialization import open_archive

from lsst.dax.image.cutouts import Stamp, fetch_stamps
from lsst.dax.image.repository import fetch_geometry, find_dataset, find_datasets

STAMP_SIZE = 51
SERIES = "detector > 0"


def compare_stamps(bench: Benchmark, butler: Butler) -> None:
    """Time stamps of one image, at positions all over it.

    The others read the whole image and slice it, which at a thousand stamps is
    the fastest that they can do.
    """
    count = 100 if bench.quick else 1000
    ref = find_dataset(butler, "visit_image", DATA_ID)
    geometry = fetch_geometry(butler, ref)
    bbox, path = geometry.bbox, butler.getURI(ref).ospath
    rng = np.random.default_rng(1)
    half = STAMP_SIZE // 2 + 1
    x = rng.uniform(bbox.x.start + half, bbox.x.stop - half, count)
    y = rng.uniform(bbox.y.start + half, bbox.y.stop - half, count)
    positions: SkyCoord = geometry.sky_projection.pixel_to_sky(x=x, y=y)
    boxes = [stamp_box(a, b) for a, b in zip(x, y, strict=True)]

    def ours() -> list[Stamp]:
        return list(fetch_stamps(butler, [ref], positions, size=STAMP_SIZE))

    def by_lsst_images() -> list[MaskedImage]:
        with open_archive(path) as archive:
            image = archive.get_component("masked_image")
        return [image[box].copy() for box in boxes]

    def by_astropy() -> dict[str, np.ndarray]:
        with astropy.io.fits.open(path) as hdus:
            return {name: np.stack([hdus[name].data[slices(box, bbox)] for box in boxes]) for name in PLANES}

    def by_fitsio() -> dict[str, np.ndarray]:
        import fitsio  # noqa: PLC0415  # may be absent

        with fitsio.FITS(path) as hdus:
            whole = {name: hdus[name].read() for name in PLANES}
        return {name: np.stack([whole[name][slices(box, bbox)] for box in boxes]) for name in PLANES}

    peers = [
        Side("lsst_images", by_lsst_images, stacked, forget),
        Side("astropy", by_astropy, dict),
        *([Side("fitsio", by_fitsio, dict)] if bench.has("fitsio") else []),
    ]
    figure, *_ = bench.compare(
        f"stamps_{count}x{STAMP_SIZE}px",
        Side("ours", ours, planes_of_stamps, forget),
        peers,
        repeats=3 if bench.quick else 5,
    )
    bench.note(stamps_count=count, stamps_size=STAMP_SIZE)
    bench.name_figure("stamps_per_second", count / figure.cpu_seconds_ours, count / figure.seconds_ours)


def compare_series(bench: Benchmark, butler: Butler, count: int) -> None:
    """Time one position in many visit images, the Butler's query included."""
    first = find_dataset(butler, "visit_image", DATA_ID)
    geometry = fetch_geometry(butler, first)
    bbox = geometry.bbox
    x, y = bbox.x.start + bbox.x.size / 2 + 3.2, bbox.y.start + bbox.y.size / 2 + 7.4
    position = geometry.sky_projection.pixel_to_sky(x=np.array(x), y=np.array(y))
    box = stamp_box(x, y)
    paths = [butler.getURI(ref).ospath for ref in find_series(butler)]
    assert len(paths) == count

    def ours() -> list[Stamp]:
        return list(fetch_stamps(butler, find_series(butler), position, size=STAMP_SIZE))

    def by_astropy() -> dict[str, np.ndarray]:
        parts = []
        for path in paths:
            with astropy.io.fits.open(path) as hdus:
                parts.append({name: hdus[name].section[slices(box, bbox)] for name in PLANES})
        return {name: np.stack([part[name] for part in parts]) for name in PLANES}

    def by_fitsio() -> dict[str, np.ndarray]:
        import fitsio  # noqa: PLC0415  # may be absent

        parts = []
        for path in paths:
            with fitsio.FITS(path) as hdus:
                parts.append({name: hdus[name][slices(box, bbox)] for name in PLANES})
        return {name: np.stack([part[name] for part in parts]) for name in PLANES}

    peers = [
        Side("lsst_images", lambda: fetch_series_lsst_images(butler, position), stacked, forget),
        Side("astropy", by_astropy, dict),
        *([Side("fitsio", by_fitsio, dict)] if bench.has("fitsio") else []),
    ]
    figure, *_ = bench.compare(
        f"series_{count}_visits",
        Side("ours", ours, planes_of_stamps, forget),
        peers,
        repeats=3,
    )
    bench.note(series_visits=count)
    milliseconds = 1e3 / count
    bench.name_figure(
        "ms_per_visit_stamp", milliseconds * figure.cpu_seconds_ours, milliseconds * figure.seconds_ours
    )


def find_series(butler: Butler, count: int | None = None) -> list[Any]:
    """Ask the Butler for the images of the series."""
    where = SERIES if count is None else f"{SERIES} AND detector <= {count}"
    return find_datasets(butler, "visit_image", where=where)


def fetch_series_lsst_images(
    butler: Butler, position: SkyCoord, count: int | None = None
) -> list[MaskedImage]:
    """Cut one position out of the series with the Butler and `lsst.images`."""
    images = []
    for ref in find_series(butler, count):
        pixel = butler.get(ref.makeComponentRef("sky_projection")).sky_to_pixel(position)
        box = stamp_box(float(pixel.x), float(pixel.y))
        images.append(butler.get(ref.makeComponentRef("masked_image"), parameters={"bbox": box}))
    return images


def stamp_box(x: float, y: float) -> Box:
    """Return the box whose central pixel holds a position."""
    half = STAMP_SIZE // 2
    return Box.from_shape((STAMP_SIZE, STAMP_SIZE), start=(round(y) - half, round(x) - half))


def slices(box: Box, bbox: Box) -> tuple[slice, slice]:
    """Return rows and columns of a box within the arrays of an image."""
    return (
        slice(box.y.start - bbox.y.start, box.y.stop - bbox.y.start),
        slice(box.x.start - bbox.x.start, box.x.stop - bbox.x.start),
    )


def stacked(images: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return the planes of many images of one size."""
    planes = [planes_of_image(image) for image in images]
    return {name: np.stack([plane[name] for plane in planes]) for name in PLANES}


def planes_of_stamps(stamps: Sequence[Stamp]) -> dict[str, np.ndarray]:
    """Return the planes of stamps, in the order of datasets and positions."""
    datasets: dict[Any, int] = {}
    for stamp in stamps:
        datasets.setdefault(None if stamp.ref is None else stamp.ref.id, len(datasets))
    order = sorted(
        stamps, key=lambda stamp: (datasets[None if stamp.ref is None else stamp.ref.id], stamp.index)
    )
    return stacked([stamp.image for stamp in order])
