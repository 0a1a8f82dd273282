"""Images for mosaics whose every pixel is known, and the slow way to combine them."""

from __future__ import annotations

__all__ = (
    "SCHEMA",
    "assert_same_bits",
    "combine_slowly",
    "make_grid",
    "make_part",
    "make_whole",
    "split_patches",
)

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import Combine

SCHEMA = MaskSchema([MaskPlane("BAD", "Bad."), MaskPlane("NO_DATA", "None."), MaskPlane("EDGE", "Edge.")])
CENTER = SkyCoord(150.1, 2.2, unit=u.deg)


def make_grid(shape: tuple[int, int], *, center: SkyCoord = CENTER, **options: object) -> TargetGrid:
    """Return a tangent plane of 0.2 arcsec per pixel."""
    return TargetGrid.from_center(center, **{"pixel_scale": 0.2 * u.arcsec, "shape": shape, **options})


def make_part(
    box: Box,
    projection: SkyProjection,
    *,
    value: float | np.ndarray = 1.0,
    variance: float | np.ndarray = 1.0,
    planes: tuple[str, ...] = (),
    dtype: type = np.float32,
) -> MaskedImage:
    """Return an image with one value, or given ones, and mask planes set everywhere."""
    shape = tuple(box.shape)
    mask = Mask(schema=SCHEMA, bbox=box)
    for plane in planes:
        mask.set(plane)
    return MaskedImage(
        Image(np.broadcast_to(value, shape).astype(dtype), bbox=box, unit=u.nJy),
        mask=mask,
        variance=Image(np.broadcast_to(variance, shape).astype(dtype), bbox=box, unit=u.nJy**2),
        sky_projection=projection,
    )


def make_whole(grid: TargetGrid, rng: np.random.Generator) -> MaskedImage:
    """Return noise with random masks and some NaN."""
    whole = make_part(
        grid.bbox,
        grid.sky_projection,
        value=rng.normal(size=tuple(grid.shape)),
        variance=rng.uniform(1, 2, size=tuple(grid.shape)),
    )
    whole.mask.set("BAD", rng.random(tuple(grid.shape)) < 0.1)
    whole.image.array[rng.random(tuple(grid.shape)) < 0.01] = np.nan
    return whole


def split_patches(whole: MaskedImage, *, inner: int, border: int) -> list[MaskedImage]:
    """Cut an image into overlapping patches, as a tract is cut."""
    box = whole.bbox
    patches = []
    for y in range(box.y.start + border, box.y.stop - border, inner):
        for x in range(box.x.start + border, box.x.stop - border, inner):
            outer = Box.factory[y - border : y + inner + border, x - border : x + inner + border]
            patches.append(whole[outer].copy())
    return patches


def assert_same_bits(one: MaskedImage, two: MaskedImage) -> None:
    """Check that two images are the same, NaN included."""
    assert one.bbox == two.bbox
    for a, b in ((one.image, two.image), (one.variance, two.variance)):
        assert a.array.dtype.itemsize == b.array.dtype.itemsize
        np.testing.assert_array_equal(a.array.astype(a.array.dtype.newbyteorder("=")), b.array)
    for name in one.mask.schema.names | two.mask.schema.names:
        np.testing.assert_array_equal(one.mask.get(name), two.mask.get(name), err_msg=name)


def combine_slowly(
    values: np.ndarray, variances: np.ndarray, combine: Combine, *, independent: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Combine values, shape ``(n, ny, nx)``, with NumPy; NaN does not count."""
    n = np.isfinite(values).sum(axis=0)
    known = np.where(np.isfinite(values), variances, np.nan)
    if combine in {Combine.MEAN, Combine.INVERSE_VARIANCE}:
        weights = np.isfinite(values) / (known if combine is Combine.INVERSE_VARIANCE else 1.0)
        total = np.nansum(weights, axis=0)
        mean = np.nansum(weights * values, axis=0) / total
        power = 2 if independent else 1
        return mean, np.nansum(weights**power * known, axis=0) / total**power
    if combine is Combine.MEDIAN:
        sigma = n / np.nansum(1 / np.sqrt(known), axis=0)
        extra = np.where(n % 2, np.pi - 2, 2 * np.pi - 4)
        spread = sigma**2 * np.pi / (2 * n + extra)
        return np.nanmedian(values, axis=0), spread if independent else np.nanmean(known, axis=0)
    order = {
        Combine.MIN: np.nanargmin,
        Combine.MAX: np.nanargmax,
        Combine.FIRST: lambda v, axis: np.isfinite(v).argmax(axis=axis),
        Combine.LAST: lambda v, axis: len(v) - 1 - np.isfinite(v)[::-1].argmax(axis=axis),
    }[combine](values, axis=0)[None]
    return np.take_along_axis(values, order, 0)[0], np.take_along_axis(variances, order, 0)[0]
