"""Write an image with components: `lsst.images` writes these, and we the pixels."""

from __future__ import annotations

__all__ = ("can_render_components", "render_components")

import json
from pathlib import Path

import astropy.io.fits
import pydantic
from astropy.time import Time

import lsst.images.fits
from lsst.images import Box, VisitImage

from ._ast_lock import AST_TEXT_LOCK
from ._hdus import Compression, Hdu, json_hdu
from ._json_tree import make_tree
from .cards import make_card
from .writer import assemble_file, has_plain_pixels, make_planes, make_primary_cards, render_planes

_PLANES = ("image", "mask", "variance")
_OWN_HDUS = frozenset(("", "PRIMARY", "IMAGE", "MASK", "VARIANCE", "JSON", "INDEX"))


def can_render_components(image: object) -> bool:
    """Return whether `render_components` can write an image.

    Parameters
    ----------
    image
        Any image.

    Returns
    -------
    can
        True for visit images whose pixels FITS can store.
    """
    return type(image) is VisitImage and has_plain_pixels(image)


def render_components(
    image: VisitImage,
    scratch: Path,
    *,
    header: astropy.io.fits.Header,
    created: Time,
    compression: Compression = Compression.GZIP,
) -> list[bytes | memoryview]:
    """Return the content of a FITS file of an image and its components, in parts.

    Parameters
    ----------
    image
        Image that `can_render_components` accepts.  Not modified.
    scratch
        Name for a small temporary file, which must not exist.
    header, created, compression
        As for `render_fits`.

    Returns
    -------
    parts
        A file that `lsst.images` reads back equal to the image.

    Notes
    -----
    `lsst.images` takes most of its time for the mask, plane by plane.  So it
    writes one pixel of the image, with all components; the planes, their
    places in the tree, and the bounds, which it cut to that pixel, are put in
    afterwards.
    """
    # lsst.images says nothing of bounds that are all of the image.
    bbox = image.bbox
    pixel = Box.factory[bbox.y.start : bbox.y.start + 1, bbox.x.start : bbox.x.start + 1]
    with AST_TEXT_LOCK:
        lsst.images.fits.write(_cut(image, pixel), str(scratch), compression_options=dict.fromkeys(_PLANES))
    tree, url, others = _take_apart(scratch)
    date = make_card("DATE", created.utc.fits, "UTC date this HDU was written.")
    planes = make_planes(image)
    tree |= {
        name: node for name, node in json.loads(make_tree(image, planes, None)).items() if name in _PLANES
    }
    if image.bounds != bbox:
        bounds = image.bounds.serialize()
        tree["bounds"] = pydantic.TypeAdapter(type(bounds)).dump_python(bounds, mode="json")
    text = json.dumps(tree, separators=(",", ":")).encode("ascii")
    hdus = [*render_planes(image, planes, date, compression=compression), *others, json_hdu(text, date)]
    cards = make_primary_cards(image, header, date, url=url)
    return assemble_file(cards, hdus, date)


def _cut(image: VisitImage, pixel: Box) -> VisitImage:
    """Return one pixel of an image with all components; it need not lie in the bounds."""
    return VisitImage(
        image.image[pixel],
        mask=image.mask[pixel],
        variance=image.variance[pixel],
        sky_projection=image.sky_projection,
        obs_info=image.obs_info,
        summary_stats=image.summary_stats,
        photometric_scaling=image.photometric_scaling,
        psf=image.psf,
        detector=image.detector,
        aperture_corrections=image.aperture_corrections,
        backgrounds=image.backgrounds,
        band=image.band,
        metadata=dict(image.metadata.native),
    )


def _take_apart(path: Path) -> tuple[dict[str, object], str, list[Hdu]]:
    """Return the tree of a file, the URL of its schema, and the HDUs of the components as they are."""
    content = path.read_bytes()
    others = []
    with astropy.io.fits.open(path, disable_image_compression=True, memmap=False) as hdus:
        tree: dict[str, object] = json.loads(bytes(hdus["JSON"].data["JSON"][0]))
        url = str(hdus[0].header["DATAMODL"])
        for hdu in hdus:
            if hdu.name in _OWN_HDUS:
                continue
            place = hdu.fileinfo()
            begin, data, size = place["hdrLoc"], place["datLoc"], place["datSpan"]
            others.append(
                Hdu(
                    name=hdu.name,
                    version=hdu.ver,
                    xtension=str(hdu.header["XTENSION"]),
                    is_compressed_image=bool(hdu.header.get("ZIMAGE", False)),
                    header=content[begin:data],
                    data=(content[data : data + size],),
                    data_size=size,
                )
            )
    return tree, url, others
