"""Write small FITS files of images directly, for `lsst.images` and all other readers."""

from __future__ import annotations

__all__ = ("Compression", "can_render", "render_fits", "render_parts", "render_wcs")

import re
from collections.abc import Sequence

import astropy.io.fits
from astropy.time import Time

from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage
from lsst.images.fits import ExtensionKey, FitsOpaqueMetadata

from ..errors import UnsupportedProductError
from ._hdus import Compression, Hdu, index_hdu, json_hdu, plane_hdu, primary_header, storable
from ._json_tree import make_tree, schema_url
from ._planes import Plane, image_plane, mask_planes
from ._wcs_cards import find_forms
from .cards import CARD_SIZE, make_card

# Cards of the file's own structure, which no header passes on to another file.
_OWN = re.compile(
    rb"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|TFIELDS|EXTNAME|EXTVER|CHECKSUM"
    rb"|DATASUM|DATE|FMTVER|INDXADDR|INDXSIZE|JSONADDR|JSONSIZE|DATAMODL"
)
_COMMENTARY = frozenset((b"COMMENT", b"HISTORY", b""))
_BUTLER = b"LSST BUTLER"


def can_render(image: GeneralizedImage) -> bool:
    """Return whether `render_fits` can write an image.

    Parameters
    ----------
    image
        Any image.

    Returns
    -------
    can
        False for images with components beyond image, mask and variance, for
        pixels that FITS cannot store or that are larger than 2 GiB, and for
        images that carry their pixels as they were compressed: `lsst.images`
        writes those.
    """
    return type(image) in {Image, Mask, MaskedImage} and has_plain_pixels(image)


def has_plain_pixels(image: GeneralizedImage) -> bool:
    """Return whether FITS can store the pixels of an image, and it does not carry them compressed."""
    if _carried(image).precompressed:
        return False
    if isinstance(image, MaskedImage):
        return all(has_plain_pixels(plane) for plane in (image.image, image.mask, image.variance))
    return isinstance(image, Image | Mask) and storable(image.array)


def render_fits(
    image: Image | Mask | MaskedImage,
    *,
    header: astropy.io.fits.Header,
    created: Time,
    compression: Compression = Compression.GZIP,
) -> bytes:
    """Return the content of a FITS file of an image.

    Parameters
    ----------
    image
        Image that `can_render` accepts.  Not modified.
    header
        Cards for the primary header.  They replace cards of the same name
        that the image carries from the file that it was read from.  Cards
        that describe the file itself (its structure, date and checksums) and
        the Butler's own are left out of both.
    created
        Time that the file says it was written at, in any scale.
    compression
        How to store the pixels.

    Returns
    -------
    content
        A file that `lsst.images` reads back equal to the image, and that
        every FITS reader understands: HDUs ``IMAGE``, ``MASK`` (one per 31
        mask planes) and ``VARIANCE`` with the WCS, where the projection has a
        FITS form, and the parent's pixel coordinates as alternate WCS ``A``.
        The same arguments give the same bytes.

    Raises
    ------
    UnsupportedProductError
        Raised if `can_render` does not accept the image.
    OutputError
        Raised if FITS or JSON cannot say what the unit, a mask plane or the
        metadata say.
    """
    return b"".join(render_parts(image, header=header, created=created, compression=compression))


def render_parts(
    image: Image | Mask | MaskedImage,
    *,
    header: astropy.io.fits.Header,
    created: Time,
    compression: Compression = Compression.GZIP,
) -> list[bytes | memoryview]:
    """Return the content of a FITS file of an image in parts.

    Parameters
    ----------
    image, header, created, compression
        As for `render_fits`.

    Returns
    -------
    parts
        What `render_fits` puts together.  To write them one by one spares a
        copy of all pixels.

    Raises
    ------
    UnsupportedProductError
        Raised if `can_render` does not accept the image.
    OutputError
        Raised if FITS or JSON cannot say what the unit, a mask plane or the
        metadata say.
    """
    if not can_render(image):
        raise UnsupportedProductError(
            f"A {type(image).__name__} {image.bbox} cannot be written directly; plain images, "
            f"masks and masked images of at most 2 GiB can."
        )
    date = make_card("DATE", created.utc.fits, "UTC date this HDU was written.")
    planes = make_planes(image)
    projection = None if image.sky_projection is None else find_forms(image.sky_projection).json
    hdus = [
        *render_planes(image, planes, date, compression=compression),
        json_hdu(make_tree(image, planes, projection), date),
    ]
    return assemble_file(make_primary_cards(image, header, date, url=schema_url(image)), hdus, date)


def render_planes(
    image: Image | Mask | MaskedImage, planes: Sequence[Plane], date: bytes, *, compression: Compression
) -> list[Hdu]:
    """Return the HDUs of an image's planes, with its WCS."""
    forms = None if image.sky_projection is None else find_forms(image.sky_projection)
    grid = (b"" if forms is None else forms.wcs_cards(image.bbox)) + _parent_cards(image.bbox)
    return [
        plane_hdu(plane, plane.cards + grid + _extension_cards(image, plane, date), compression=compression)
        for plane in planes
    ]


def assemble_file(cards: bytes, hdus: Sequence[Hdu], date: bytes) -> list[bytes | memoryview]:
    """Return the parts of a file of a primary header, some HDUs, the last of them the tree, and the index."""
    start = len(primary_header(cards, index=(0, 0), json=(0, 0)))
    index = index_hdu(hdus, date, start=start)
    tree = hdus[-1]
    end = start + sum(hdu.size for hdu in hdus)
    primary = primary_header(cards, index=(end, index.size), json=(end - tree.size, tree.size))
    return [primary, *(part for hdu in (*hdus, index) for part in (hdu.header, *hdu.data))]


def render_wcs(image: Image | Mask | MaskedImage) -> bytes:
    """Return the cards of the FITS WCS of an image.

    Parameters
    ----------
    image
        Image with or without a sky projection.

    Returns
    -------
    cards
        What `render_fits` writes; nothing where there is no projection, or
        none that has a FITS form.
    """
    projection = image.sky_projection
    return b"" if projection is None else find_forms(projection).wcs_cards(image.bbox)


def make_planes(image: Image | Mask | MaskedImage) -> list[Plane]:
    """Return the planes in the order in which they are stored."""
    if isinstance(image, MaskedImage):
        variance = image_plane("VARIANCE", image.variance)
        return [image_plane("IMAGE", image.image), *mask_planes(image.mask), variance]
    return mask_planes(image) if isinstance(image, Mask) else [image_plane("IMAGE", image)]


def _parent_cards(bbox: Box) -> bytes:
    """Return the cards of the parent's pixel coordinates."""
    return b"".join(
        (
            make_card("CTYPE1A", "LINEAR"),
            make_card("CTYPE2A", "LINEAR"),
            make_card("CRPIX1A", 1.0),
            make_card("CRPIX2A", 1.0),
            make_card("CRVAL1A", float(bbox.x.start)),
            make_card("CRVAL2A", float(bbox.y.start)),
            make_card("CUNIT1A", "PIXEL"),
            make_card("CUNIT2A", "PIXEL"),
        )
    )


def _carried(image: GeneralizedImage) -> FitsOpaqueMetadata:
    """Return what an image carries from the FITS file that it was read from."""
    carried = image._opaque_metadata  # noqa: SLF001  # the public view of it has no comments
    return carried if isinstance(carried, FitsOpaqueMetadata) else FitsOpaqueMetadata()


def _extension_cards(image: GeneralizedImage, plane: Plane, date: bytes) -> bytes:
    """Return the cards that an image carries for one HDU, and the date."""
    carried = _carried(image).headers.get(ExtensionKey(plane.name, plane.version))
    if not carried:
        return date
    return _join([*_group_cards(carried), (b"DATE", date)])


def make_primary_cards(
    image: Image | Mask | MaskedImage, header: astropy.io.fits.Header, date: bytes, *, url: str
) -> bytes:
    """Return the cards of the primary header after those of the structure."""
    carried = _carried(image).headers.get(ExtensionKey())
    own = [(b"DATE", date), (b"DATAMODL", make_card("DATAMODL", url, "Schema URL."))]
    added = _group_cards(header)
    if not carried:
        return _join([*added, *own])
    replacing = {keyword: card for keyword, card in added if keyword not in _COMMENTARY}
    kept = [
        (keyword, card if keyword in _COMMENTARY else replacing.pop(keyword, card))
        for keyword, card in _group_cards(carried)
    ]
    known = set(kept)
    new = [
        (keyword, card)
        for keyword, card in added
        if (keyword in replacing if keyword not in _COMMENTARY else (keyword, card) not in known)
    ]
    return _join([*kept, *new, *own])


def _join(cards: list[tuple[bytes, bytes]]) -> bytes:
    """Return cards in the order in which astropy appends them.

    Comments and the like stay at the end of a header: what is appended after
    them comes to stand before them.
    """
    body: list[bytes] = []
    comments: list[bytes] = []
    for keyword, card in cards:
        (comments if keyword in _COMMENTARY else body).append(card)
    return b"".join((*body, *comments))


def _group_cards(header: astropy.io.fits.Header) -> list[tuple[bytes, bytes]]:
    """Return keywords and cards, without blank cards and the file's own."""
    text = header.tostring(endcard=False, padding=False).encode("ascii")
    groups: list[tuple[bytes, bytes]] = []
    for start in range(0, len(text), CARD_SIZE):
        card = text[start : start + CARD_SIZE]
        keyword = card[:8].rstrip()
        if keyword == b"CONTINUE" and groups:
            groups[-1] = (groups[-1][0], groups[-1][1] + card)
            continue
        if keyword == b"HIERARCH":
            keyword = card[8:].partition(b"=")[0].strip()
        groups.append((keyword, card))
    return [
        (keyword, card)
        for keyword, card in groups
        if card.strip() and not _OWN.fullmatch(keyword) and not keyword.startswith(_BUTLER)
    ]
