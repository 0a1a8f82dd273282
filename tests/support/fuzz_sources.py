"""Sound files of every kind, to be damaged."""

from __future__ import annotations

__all__ = ("SUBSET", "Source", "make_sources")

import contextlib
import dataclasses
import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import astropy.io.fits
import numpy as np
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.images import Box, SkyProjection
from lsst.images.serialization import write_archive

from lsst.dax.image.cutouts import Detail, fetch_cutout
from lsst.dax.image.geometry import PixelBoxStencil
from lsst.dax.image.repository import find_datasets

from .mutations import Layout, read_layout
from .scenes import make_wcs

RECORDS = "file_datastore_records"
PLAIN_FORMATTER = "lsst.dax.image.repository.fits_image.FitsImageFormatter"
SUBSET = Box.factory[37:70, 50:93]
"""The box of most cutouts, relative to the image."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A sound file and how to read it."""

    name: str
    butler: Butler
    data: bytes
    layout: Layout
    ref: DatasetRef
    info: StoredFileInfo
    bbox: Box
    sky_projection: SkyProjection

    @property
    def is_plain(self) -> bool:
        """Whether it is a FITS file without the tree of `lsst.images`."""
        return self.layout.json is None

    @property
    def subset(self) -> Box:
        """The usual box in parent pixels."""
        start = (self.bbox.y.start + SUBSET.y.start, self.bbox.x.start + SUBSET.x.start)
        return Box.from_shape(SUBSET.shape, start=start)

    def make_ref(self, path: Path, size: int) -> DatasetRef:
        """Return a reference to a file that no repository has seen.

        It has an identifier of its own, so that no cache of an earlier file
        can answer for this one.
        """
        info = self.info.update(path=path.as_uri(), file_size=size)
        return self.ref.replace(id=uuid.uuid4(), datastore_records={RECORDS: [info]})


@contextlib.contextmanager
def make_sources(butler: Butler, folder: Path) -> Iterator[list[Source]]:
    """Make sound files of every kind, from a mini survey and from numpy.

    Parameters
    ----------
    butler
        Butler of a mini survey.
    folder
        Where to put files that the survey does not have.

    Yields
    ------
    sources
        The files; usable within the context only.
    """
    sources = []
    for name in ("visit_image", "difference_image", "deep_coadd"):
        ref = find_datasets(butler, name)[0]
        path = Path(butler.getURI(ref).ospath)
        sources.append(_make_source(f"{name}, lossy", butler, ref, path))
        if name != "difference_image":
            again = folder / f"{name}.fits"
            image = butler.get(ref)
            # Without the stored tiles, the pixels are compressed anew: GZIP_2.
            image._opaque_metadata = type(image._opaque_metadata)()
            write_archive(image, str(again))
            sources.append(_make_source(f"{name}, lossless", butler, ref, again))
    plain_butler, plain_ref = _make_plain_repository(folder / "plain")
    with plain_butler:
        for name, data in _make_plain_files().items():
            path = folder / f"{name}.fits"
            path.write_bytes(data)
            sources.append(_make_source(f"plain, {name}", plain_butler, plain_ref, path))
        yield sources


def _make_plain_repository(root: Path) -> tuple[Butler, DatasetRef]:
    """Make a repository that knows a type of plain image, and a reference of it."""
    Butler.makeRepo(str(root))
    with Butler.from_config(str(root), writeable=True) as writer:
        plain_type = DatasetType("plain_image", (), "ImageV2", universe=writer.dimensions)
        writer.registry.registerDatasetType(plain_type)
    data_id = DataCoordinate.make_empty(plain_type.dimensions.universe)
    return Butler.from_config(str(root)), DatasetRef(plain_type, data_id, run="plain")


def _make_source(name: str, butler: Butler, ref: DatasetRef, path: Path) -> Source:
    """Describe a sound file."""
    data = path.read_bytes()
    layout = read_layout(data)
    storage_class = ref.datasetType.storageClass
    formatter = "lsst.images.formatters.GenericFormatter" if layout.json else PLAIN_FORMATTER
    info = StoredFileInfo(formatter, path.as_uri(), storage_class, None, None, len(data))
    part = fetch_cutout(
        butler,
        ref.replace(datastore_records={RECORDS: [info]}),
        PixelBoxStencil(Box.factory[-(10**6) : 10**6, -(10**6) : 10**6]),
        detail=Detail.IMAGE,
    )
    return Source(name, butler, data, layout, ref, info, part.bbox, part.image.sky_projection)


def _make_plain_files() -> dict[str, bytes]:
    """Return plain FITS files of 120 x 150 pixels, one per way of storing them."""
    box = Box.factory[0:120, 0:150]
    header = make_wcs(bbox=box).to_header()
    header["BUNIT"] = "nJy"
    rng = np.random.default_rng(20261124)
    pixels = rng.normal(100.0, 10.0, box.shape).astype(np.float32)
    whole = pixels.astype(np.int16)
    primary = astropy.io.fits.PrimaryHDU
    compressed = astropy.io.fits.CompImageHDU
    scaled_header = header.copy()
    scaled_header["BLANK"] = 100
    scaled = primary(whole, scaled_header)
    scaled.header["BSCALE"], scaled.header["BZERO"] = 0.5, 7.0
    hdus = {
        "float": primary(pixels, header),
        "scaled integers": scaled,
        "GZIP_1": compressed(pixels, header, compression_type="GZIP_1", quantize_level=0.0),
        "GZIP_2": compressed(
            pixels, header, compression_type="GZIP_2", tile_shape=(32, 40), quantize_level=0
        ),
        "RICE_1": compressed(whole, header, compression_type="RICE_1"),
        "RICE_1, dithered": compressed(
            pixels, header, compression_type="RICE_1", quantize_method=1, dither_seed=7, tile_shape=(1, 150)
        ),
        "PLIO_1": compressed(whole, header, compression_type="PLIO_1"),
        "HCOMPRESS_1": compressed(whole, header, compression_type="HCOMPRESS_1", tile_shape=(60, 75)),
    }
    files = {}
    for name, hdu in hdus.items():
        listed = [hdu] if isinstance(hdu, primary) else [primary(), hdu]
        stream = io.BytesIO()
        astropy.io.fits.HDUList(listed).writeto(stream)
        files[name] = stream.getvalue()
    return files
