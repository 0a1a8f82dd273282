"""Cutouts and stamps: this library against reading and writing by other means.

From the name of a dataset to a file on disk, image, mask and variance, for
circles of three radii; from the name to pixels in memory; and many stamps of
one image.  The sides are

ours         ``find_dataset``, ``fetch_cutout``, ``Cutout.write``
lsst_images  ``Butler.get`` of the same box, ``.write``: same layout and
             compression of the file, no stencil and no provenance
astropy      ``.section`` of the same box for three HDUs, ``writeto``:
             uncompressed, no Butler, no lsst.images structure
fitsio       the same with fitsio
astrocut     ``fits_cut`` of the same three HDUs: uncompressed, no Butler

so that all but the second do less than we do.  ``dax_images_cutout``, the
software behind Rubin's cutout service, is not on PyPI and not among them.

The Butler is open and the file in the page cache before the first run.  What
the Butler's formatter remembers of a file is forgotten before each run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from _harness import Benchmark, Side, UnequalResultsError
from _inputs import DATA_ID, make_repository
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler
from lsst.images import Box, MaskedImage
from lsst.images.formatters import GenericFormatter

from lsst.dax.image.cutouts import Stamp, fetch_cutout, fetch_stamps
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.repository import fetch_geometry, find_dataset

PLANES = ("IMAGE", "MASK", "VARIANCE")
RADII = {"10arcsec": 10 * u.arcsec, "30arcsec": 30 * u.arcsec, "2arcmin": 2 * u.arcmin}
STAMP_SIZE = 51


@dataclasses.dataclass(frozen=True)
class Task:
    """One circle in one dataset."""

    butler: Butler
    dataset_type: str
    stencil: CircleStencil
    box: Box
    path: str
    """Local file of the dataset."""

    shift: tuple[int, int]
    """Row and column of the first pixel of the file."""

    nudged: SkyCoord
    """Centre of the circle, a quarter of a pixel up and right.  From the very
    centre of a pixel, astrocut rounds a half, so that its box is chance."""

    output: Path

    @property
    def rows(self) -> slice:
        """Rows of the box in the file."""
        return slice(self.box.y.start - self.shift[0], self.box.y.stop - self.shift[0])

    @property
    def columns(self) -> slice:
        """Columns of the box in the file."""
        return slice(self.box.x.start - self.shift[1], self.box.x.stop - self.shift[1])


def forget() -> None:
    """Empty the cache of the Butler's formatter: one file per thread."""
    GenericFormatter._tree_cache.__dict__.clear()  # noqa: SLF001  # it has no public way


def make_task(butler: Butler, dataset_type: str, radius: u.Quantity, output: Path) -> Task:
    """Choose a circle whose centre is that of a pixel, so that its box is odd and symmetric."""
    ref = find_dataset(butler, dataset_type, DATA_ID)
    geometry = fetch_geometry(butler, ref)
    bbox = geometry.bbox
    x, y = bbox.x.start + bbox.x.size // 2 + 17, bbox.y.start + bbox.y.size // 2 - 29
    center, nudged = (
        geometry.sky_projection.pixel_to_sky(x=np.array(x + step), y=np.array(y + step))
        for step in (0.0, 0.25)
    )
    stencil = CircleStencil(center, radius)
    box = stencil.to_pixels(geometry.sky_projection, bbox).bbox
    path = butler.getURI(ref).ospath
    return Task(butler, dataset_type, stencil, box, path, (bbox.y.start, bbox.x.start), nudged, output)


def fetch_ours(task: Task) -> MaskedImage:
    ref = find_dataset(task.butler, task.dataset_type, DATA_ID)
    return fetch_cutout(task.butler, ref, task.stencil).image


def write_ours(task: Task) -> Path:
    ref = find_dataset(task.butler, task.dataset_type, DATA_ID)
    fetch_cutout(task.butler, ref, task.stencil).write(task.output)
    return task.output


def fetch_lsst_images(task: Task) -> MaskedImage:
    if task.dataset_type == "deep_coadd":
        # A coadd has no component of the three planes together.
        wanted = {"components": ["image", "mask", "variance"], "bbox": task.box}
        planes = task.butler.get("deep_coadd.components", DATA_ID, parameters=wanted)
        return MaskedImage(planes["image"], mask=planes["mask"], variance=planes["variance"])
    return task.butler.get(f"{task.dataset_type}.masked_image", DATA_ID, parameters={"bbox": task.box})


def write_lsst_images(task: Task) -> Path:
    fetch_lsst_images(task).write(str(task.output))
    return task.output


def fetch_astropy(task: Task) -> dict[str, np.ndarray]:
    with astropy.io.fits.open(task.path) as hdus:
        return {name: hdus[name].section[task.rows, task.columns] for name in PLANES}


def write_astropy(task: Task) -> Path:
    with astropy.io.fits.open(task.path) as hdus:
        parts = [astropy.io.fits.PrimaryHDU(header=hdus[0].header)]
        for name in PLANES:
            header = hdus[name].header.copy()
            for axis, part in ((1, task.columns), (2, task.rows)):
                if f"CRPIX{axis}" in header:
                    header[f"CRPIX{axis}"] -= part.start
            pixels = hdus[name].section[task.rows, task.columns]
            parts.append(astropy.io.fits.ImageHDU(pixels, header, name=name))
    astropy.io.fits.HDUList(parts).writeto(task.output)
    return task.output


def write_fitsio(task: Task) -> Path:
    import fitsio  # noqa: PLC0415  # may be absent

    with fitsio.FITS(task.path) as source, fitsio.FITS(str(task.output), "rw") as target:
        for name in PLANES:
            header = source[name].read_header()
            for axis, part in ((1, task.columns), (2, task.rows)):
                if f"CRPIX{axis}" in header:
                    header[f"CRPIX{axis}"] -= part.start
            target.write(source[name][task.rows, task.columns], header=header, extname=name)
    return task.output


def write_astrocut(task: Task) -> Path:
    import astrocut  # noqa: PLC0415  # may be absent

    made = astrocut.fits_cut(
        task.path,
        task.nudged,
        task.box.shape,
        extension=[1, 2, 3],
        cutout_prefix=task.output.stem,
        output_dir=task.output.parent,
    )
    return Path(made).replace(task.output)


def planes_of_file(path: Path) -> dict[str, np.ndarray]:
    """Return the planes of a written cutout: its images, in their order."""
    with astropy.io.fits.open(path) as hdus:
        images = [hdu for hdu in hdus if hdu.is_image and hdu.shape]
        return {name: np.array(hdu.data) for name, hdu in zip(PLANES, images, strict=True)}


def planes_of_image(image: MaskedImage) -> dict[str, np.ndarray]:
    return {"IMAGE": image.image.array, "MASK": image.mask.array, "VARIANCE": image.variance.array}


def without_mask(planes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drop the mask, whose planes lsst.images packs otherwise in memory."""
    return {name: pixels for name, pixels in planes.items() if name != "MASK"}


WRITERS: dict[str, Callable[[Task], Path]] = {
    "lsst_images": write_lsst_images,
    "astropy": write_astropy,
    "fitsio": write_fitsio,
    "astrocut": write_astrocut,
}


def compare_cutouts(bench: Benchmark, butler: Butler, folder: Path, dataset_type: str, radius: str) -> None:
    """Time single cutouts, to a file and in memory."""
    task = make_task(butler, dataset_type, RADII[radius], folder / "cutout.fits")
    name = f"{dataset_type}_{radius}"
    bench.note(**{f"{name}_rows": task.box.y.size, f"{name}_columns": task.box.x.size})

    def side(label: str, write: Callable[[Task], Path]) -> Side:
        own = dataclasses.replace(task, output=folder / f"{label}.fits")

        def clean() -> None:
            forget()
            own.output.unlink(missing_ok=True)

        return Side(label, lambda: write(own), planes_of_file, clean)

    present = [label for label in WRITERS if label == "lsst_images" or importlib.util.find_spec(label)]
    peers = [side(label, WRITERS[label]) for label in present]
    bench.compare(f"{name}_file", side("ours", write_ours), peers, repeats=3 if bench.quick else 7)
    for label in sorted(set(WRITERS) - set(present)):
        print(f"{name}_file: {label} is not installed")
    bench.compare(
        f"{name}_memory",
        Side("ours", lambda: fetch_ours(task), planes_of_image, forget),
        [
            Side("lsst_images", lambda: fetch_lsst_images(task), planes_of_image, forget),
            Side("astropy", lambda: fetch_astropy(task), without_mask),
        ],
        repeats=3 if bench.quick else 7,
    )


def compare_stamps(bench: Benchmark, butler: Butler) -> None:
    """Time stamps of one image: as many as make a second or so."""
    count = 10 if bench.quick else 40
    ref = find_dataset(butler, "visit_image", DATA_ID)
    geometry = fetch_geometry(butler, ref)
    rng = np.random.default_rng(1)
    bbox = geometry.bbox
    x = rng.uniform(bbox.x.start + STAMP_SIZE, bbox.x.stop - STAMP_SIZE, count)
    y = rng.uniform(bbox.y.start + STAMP_SIZE, bbox.y.stop - STAMP_SIZE, count)
    positions: SkyCoord = geometry.sky_projection.pixel_to_sky(x=x, y=y)

    def ours() -> list[Stamp]:
        return list(fetch_stamps(butler, [ref], positions, size=STAMP_SIZE))

    def loop() -> list[MaskedImage]:
        projection = butler.get("visit_image.sky_projection", DATA_ID)
        pixel = projection.sky_to_pixel(positions)
        half = STAMP_SIZE // 2
        starts = [(round(b) - half, round(a) - half) for a, b in zip(pixel.x, pixel.y, strict=True)]
        boxes = [Box.from_shape((STAMP_SIZE, STAMP_SIZE), start=start) for start in starts]
        return [butler.get("visit_image.masked_image", DATA_ID, parameters={"bbox": box}) for box in boxes]

    def stacked(images: list[Any]) -> dict[str, np.ndarray]:
        planes = [planes_of_image(image) for image in images]
        return {name: np.stack([plane[name] for plane in planes]) for name in PLANES}

    (figure,) = bench.compare(
        f"stamps_{count}x{STAMP_SIZE}px_memory",
        Side("ours", ours, lambda stamps: stacked([stamp.image for stamp in stamps]), forget),
        [Side("lsst_images", loop, stacked, forget)],
        repeats=3 if bench.quick else 5,
    )
    bench.note(stamps_per_second=count / figure.seconds_ours, stamps_count=count, stamps_size=STAMP_SIZE)
    print(f"stamps per second: {count / figure.seconds_ours:.1f}")


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "", versions=("fitsio", "astrocut"))
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as name:
        folder = Path(name)
        with make_repository(folder / "repo", quick=bench.quick) as butler:
            radii = ("10arcsec",) if bench.quick else tuple(RADII)
            try:
                for dataset_type in ("visit_image", "visit_image_lossy", "deep_coadd"):
                    ref = find_dataset(butler, dataset_type, DATA_ID)
                    bench.note(**{f"{dataset_type}_bytes": butler.getURI(ref).size()})
                    for radius in radii:
                        compare_cutouts(bench, butler, folder, dataset_type, radius)
                compare_stamps(bench, butler)
            except UnequalResultsError as error:
                print(f"unequal results: {error}", file=sys.stderr)
                return 1
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
