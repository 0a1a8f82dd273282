"""Rendered files, and what lsst.images and astropy say of them."""

from __future__ import annotations

__all__ = (
    "CREATED",
    "TYPES",
    "check_same_structure",
    "make_noise",
    "make_noisy_image",
    "open_stored",
    "read_rendered",
    "render",
)

import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import pytest
from astropy.time import Time
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema

from lsst.dax.image.container import render_fits
from tests.support.scenes import make_image

CREATED = Time("2026-03-01T01:02:03.456", scale="utc")
NO_CARDS = astropy.io.fits.Header()
TYPES = ["f4", "f8", "i2", "i4", "u1", "i1", "u2", "u4", "i8", "u8"]

# The only cards that differ from those of lsst.images: positions and sizes of
# what is stored in fewer and larger tiles, and the time, which is an argument.
DIFFERENT = {"DATE", "INDXADDR", "JSONADDR", "NAXIS2", "PCOUNT", "TFORM1", "ZTILE2"}


def render(image: Any, **kwargs: Any) -> bytes:
    return render_fits(image, **{"header": NO_CARDS, "created": CREATED} | kwargs)


def read_rendered(image: Any, folder: Path, **kwargs: Any) -> Any:
    """Render an image and read it with lsst.images."""
    path = folder / "rendered.fits"
    path.write_bytes(render(image, **kwargs))
    return type(image).read(str(path))


def open_stored(content: bytes | Path) -> astropy.io.fits.HDUList:
    """Open a file with compressed images as the tables that they are."""
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    return astropy.io.fits.open(source, disable_image_compression=True, lazy_load_hdus=False)


def check_same_structure(content: bytes, reference: Path, *, inexact: Collection[str] = ()) -> None:
    """Check HDUs, cards, tree and index against a file of lsst.images."""
    with open_stored(content) as ours, open_stored(reference) as theirs:
        assert [hdu.name for hdu in ours] == [hdu.name for hdu in theirs]
        for one, other in zip(ours, theirs, strict=True):
            pairs = zip(one.header.cards, other.header.cards, strict=True)
            different = {a.keyword: (a.value, b.value) for a, b in pairs if str(a) != str(b)}
            for keyword in different.keys() - DIFFERENT:
                assert keyword in inexact
                assert different[keyword][0] == pytest.approx(different[keyword][1], rel=1e-9)
            assert [card.comment for card in one.header.cards] == [
                card.comment for card in other.header.cards
            ]
        trees = [json.loads(bytes(hdus["JSON"].data[0]["JSON"])) for hdus in (ours, theirs)]
        assert trees[0] == trees[1]
        assert ours["INDEX"].data.dtype == theirs["INDEX"].data.dtype
        for column in ("EXTNAME", "EXTVER", "XTENSION", "ZIMAGE"):
            assert list(ours["INDEX"].data[column]) == list(theirs["INDEX"].data[column])


def make_noise(dtype: str, shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    """Return pixels that use the whole range of a type."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(kind)
    bounds = np.iinfo(kind)
    pixels = rng.integers(bounds.min, bounds.max, shape, dtype=kind, endpoint=True)
    pixels.flat[0], pixels.flat[-1] = bounds.min, bounds.max
    return pixels


def make_noisy_image(n_planes: int = 15, **kwargs: Any) -> MaskedImage:
    """Return a masked image with noise, NaN and infinity in it."""
    image = make_image(**kwargs)
    rng = np.random.default_rng(3)
    image.array[...] = rng.normal(0, 30, image.array.shape)
    image.array[3, 5:9] = [np.nan, np.inf, -np.inf, -0.0]
    schema = MaskSchema([MaskPlane(f"P{n}", f"Plane number {n}.") for n in range(n_planes)])
    mask = Mask(schema=schema, bbox=image.bbox)
    for n in range(n_planes):
        mask.set(f"P{n}", rng.random(image.array.shape) < 0.1)
    variance = Image(rng.gamma(9, 100, image.array.shape).astype(np.float32), bbox=image.bbox)
    return MaskedImage(image, mask=mask, variance=variance, metadata={"when": 3, "why": "none", "k": 0.1})
