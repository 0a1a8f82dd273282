"""Small `lsst.images` files in every flavour of storage."""

from __future__ import annotations

__all__ = (
    "BBOX",
    "FLAVOURS",
    "MASKS",
    "assert_same",
    "assert_same_plane",
    "make_masked_image",
    "random_boxes",
    "write_flavour",
)

from pathlib import Path

import astropy.units as u
import lsst.images.fits
import numpy as np
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.fits import FitsCompressionOptions, FitsQuantizationOptions

from .scenes import make_sky_projection

BBOX = Box.factory[-7:113, 30:180]

PLANES = ("image", "mask", "variance")
LOSSY_PLANES = ("image", "variance")
type Options = dict[str, FitsCompressionOptions | None]


def _lossless(algorithm: str, tile_shape: tuple[int, int] | None = None) -> Options:
    return dict.fromkeys(PLANES, FitsCompressionOptions(algorithm=algorithm, tile_shape=tile_shape))


def _lossy(algorithm: str, dither: str, tile_shape: tuple[int, int] | None = None) -> Options:
    # The seed makes the dither sequences of the later tiles begin anew.
    quantization = FitsQuantizationOptions(dither=dither, level=16.0, seed=9990)
    options = FitsCompressionOptions(algorithm=algorithm, tile_shape=tile_shape, quantization=quantization)
    return {
        **dict.fromkeys(LOSSY_PLANES, options),
        "mask": FitsCompressionOptions(tile_shape=tile_shape),
    }


FLAVOURS: dict[str, Options] = {
    "rows": {},
    "uncompressed": dict.fromkeys(PLANES),
    "gzip_2_tiles": _lossless("GZIP_2", (32, 47)),
    "gzip_1_rows": _lossless("GZIP_1"),
    "gzip_1_tiles": _lossless("GZIP_1", (50, 33)),
    "lossy_rows": _lossy("RICE_1", "SUBTRACTIVE_DITHER_2"),
    "lossy_tiles": _lossy("RICE_1", "SUBTRACTIVE_DITHER_2", (32, 47)),
    "lossy_dither_1": _lossy("RICE_1", "SUBTRACTIVE_DITHER_1", (32, 47)),
    "lossy_no_dither": _lossy("RICE_1", "NO_DITHER", (50, 50)),
    "lossy_gzip_2": _lossy("GZIP_2", "SUBTRACTIVE_DITHER_2"),
    "lossy_gzip_1_tiles": _lossy("GZIP_1", "SUBTRACTIVE_DITHER_1", (40, 40)),
    "rice_mask": {**dict.fromkeys(LOSSY_PLANES), "mask": FitsCompressionOptions(algorithm="RICE_1")},
}

MASKS: dict[str, MaskSchema] = {
    f"{count}_planes_{np.dtype(dtype).name}{'_with_gaps' if gaps else ''}": MaskSchema(
        [None if number in gaps else MaskPlane(f"P{number}", f"plane {number}") for number in range(count)],
        dtype=dtype,
    )
    for count, dtype, gaps in [
        (0, np.uint8, ()),
        (1, np.uint8, ()),
        (14, np.uint8, ()),
        (20, np.uint8, ()),
        (31, np.uint8, ()),
        (40, np.uint8, ()),
        (14, np.uint8, (3, 9)),
        (14, np.uint16, ()),
        (40, np.int32, ()),
    ]
}


def make_masked_image(
    *, schema: MaskSchema = MASKS["14_planes_uint8"], dtype: type[np.floating] = np.float32
) -> MaskedImage:
    """Make noise with NaN, zeros and constant rows, which each flavour stores in its own way."""
    rng = np.random.default_rng(8)
    image = rng.normal(100.0, 10.0, BBOX.shape).astype(dtype)
    image[5, 7:20] = np.nan
    image[30] = 3.5
    image[31] = np.nan
    image[40:44, 50:60] = 0.0
    image[60, 3] = 1e6
    variance = rng.normal(20.0, 1.0, BBOX.shape).astype(dtype)
    mask = Mask(0, schema=schema, bbox=BBOX)
    for name in schema.names:
        mask.set(name, rng.random(BBOX.shape) < 0.1)
    return MaskedImage(
        Image(image, bbox=BBOX, unit=u.nJy),
        mask=mask,
        variance=Image(variance, bbox=BBOX, unit=u.nJy**2),
        sky_projection=make_sky_projection(bbox=BBOX),
    )


def write_flavour(image: Image | Mask | MaskedImage, flavour: str, path: Path) -> Path:
    """Write an image, and return the path."""
    lsst.images.fits.write(image, str(path), compression_options=FLAVOURS[flavour])
    return path


def random_boxes(count: int, rng: np.random.Generator, bbox: Box = BBOX) -> list[Box]:
    """Return boxes of all sizes within an image: the whole, corners and single pixels among them."""
    y, x = bbox.y, bbox.x
    boxes = [
        bbox,
        Box.factory[y.start : y.start + 1, x.start : x.start + 1],
        Box.factory[y.stop - 1 : y.stop, x.stop - 1 : x.stop],
        Box.factory[y.start : y.start + 1, x.start : x.stop],
        Box.factory[y.start : y.stop, x.stop - 1 : x.stop],
    ]
    while len(boxes) < count:
        (y0, y1), (x0, x1) = (
            np.sort(rng.choice(side.stop - side.start + 1, 2, replace=False)) + side.start for side in (y, x)
        )
        boxes.append(Box.factory[int(y0) : int(y1), int(x0) : int(x1)])
    return boxes


def assert_same_plane(mine: Image | Mask, theirs: Image | Mask) -> None:
    """Same bits, NaN payloads included, on the same pixels."""
    assert mine.array.dtype == theirs.array.dtype
    assert mine.array.shape == theirs.array.shape
    assert mine.array.tobytes() == theirs.array.tobytes()
    assert mine.bbox == theirs.bbox
    assert mine.metadata == theirs.metadata
    if isinstance(mine, Mask):
        assert mine.schema == theirs.schema
    else:
        assert mine.unit == theirs.unit


def assert_same(mine: MaskedImage, theirs: MaskedImage) -> None:
    """Same bits in every plane, on the same pixels."""
    for plane in ("image", "mask", "variance"):
        assert_same_plane(getattr(mine, plane), getattr(theirs, plane))
    assert mine.bbox == theirs.bbox
    assert mine.metadata == theirs.metadata
    assert mine.sky_projection is not None
