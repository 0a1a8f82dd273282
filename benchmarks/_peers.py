"""The sides of the cutout benchmark: ourselves and the others, on one task."""

from __future__ import annotations

__all__ = (
    "PLANES",
    "FixedPlace",
    "Task",
    "forget",
    "make_task",
    "planes_of_file",
    "planes_of_image",
    "write_astrocut",
    "write_astropy",
    "write_fitsio",
    "write_lsst_images",
    "write_ours",
)

import dataclasses
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from _inputs import DATA_ID
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, MaskedImage
from lsst.images.formatters import GenericFormatter
from lsst.resources import ResourcePath

from lsst.dax.image.container import Compression, _wcs_cards
from lsst.dax.image.cutouts import fetch_cutout
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.repository import fetch_geometry, find_dataset
from lsst.dax.image.repository import reader as _reader

PLANES = ("IMAGE", "MASK", "VARIANCE")


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


@dataclasses.dataclass(frozen=True)
class FixedPlace:
    """What stands for a Butler where a figure is without one: it knows one file."""

    uri: ResourcePath

    def getURI(self, _ref: DatasetRef) -> ResourcePath:  # noqa: N802  # the name that Butlers give it
        """Return where the file is."""
        return self.uri


def forget() -> None:
    """Empty what either side remembers of the files that it read.

    Of ours: layouts and the FITS forms of projections.  Of the Butler's
    formatter: the tree of the last file of each thread.
    """
    # There are no public ways.
    GenericFormatter._tree_cache.__dict__.clear()  # noqa: SLF001
    _reader._LAYOUTS.clear()  # noqa: SLF001
    _wcs_cards._by_identity.clear()  # noqa: SLF001
    _wcs_cards._by_json.clear()  # noqa: SLF001


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


def write_ours(task: Task, compression: Compression | None = None) -> Path:
    """Cut and write; in the default way where no compression is given."""
    ref = find_dataset(task.butler, task.dataset_type, DATA_ID)
    cutout = fetch_cutout(task.butler, ref, task.stencil)
    if compression is None:
        cutout.write(task.output)
    else:
        cutout.write(task.output, compression=compression)
    return task.output


def fetch_lsst_images(task: Task) -> MaskedImage:
    if task.dataset_type == "deep_coadd":
        # A coadd has no component of the three planes together.
        wanted = {"components": ["image", "mask", "variance"], "bbox": task.box}
        planes = task.butler.get("deep_coadd.components", DATA_ID, parameters=wanted)
        return MaskedImage(planes["image"], mask=planes["mask"], variance=planes["variance"])
    return task.butler.get(f"{task.dataset_type}.masked_image", DATA_ID, parameters={"bbox": task.box})


def write_lsst_images(task: Task, compression: Compression | None = None) -> Path:
    """Read a box and write it; `lsst.images` compresses by default."""
    options: dict[str, Any] = {}
    if compression is Compression.NONE:
        options["compression_options"] = {name.lower(): None for name in PLANES}
    fetch_lsst_images(task).write(str(task.output), **options)
    return task.output


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
    """Return the planes of an image in memory, the mask as the file has it."""
    return {
        "IMAGE": image.image.array,
        "MASK": packed_mask(image.mask.array),
        "VARIANCE": image.variance.array,
    }


def packed_mask(bits: np.ndarray) -> np.ndarray:
    """Return the bytes of a mask in memory as the 32-bit words of the file."""
    words = np.zeros(bits.shape[:2], np.int32)
    for number in range(bits.shape[2]):
        words |= bits[..., number].astype(np.int32) << (8 * number)
    return words
