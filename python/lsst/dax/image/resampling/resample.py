"""One image onto a target grid: image, variance, mask and coverage together."""

from __future__ import annotations

__all__ = ("MAX_GRID_PIXELS", "Resampled", "resample")

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection

from .._kernels.resample_stretched_nb import Profile, resample_stretched_row
from .._kernels.resample_tiles_nb import LEFT_OUT, Choice, Source, Target, Tiles, resample_tile_row
from ..choices import as_choice
from ..errors import InputDataError, NoCoverageError, RequestError, RequestTooLargeError
from ..geometry import TargetGrid
from ._exact import Copy, ExactShift, find_copies
from ._mask_words import MaskWords
from ._pixel_map import PixelMap
from ._vectors import vectors_are_on
from .coordinates import TILE, SourceCoordinates, find_source_coordinates
from .kernels import (
    PROFILE_PLACES,
    FluxConvention,
    Kernel,
    MaskRule,
    MissingRule,
    make_profile,
    make_weight_table,
)

MAX_GRID_PIXELS = 2**30
"""Most pixels of a target: its planes take some 20 bytes each.  Larger ones are made in parts."""

STRETCH_SCALE = 1.1
"""Extent of a target pixel in source pixels from which on the kernel is stretched.

Below, the kernels have the width of the source's pixels, as the
observatory's; distortion alone changes scales by some hundredths.
"""

_SAME = ExactShift(matrix=np.eye(2, dtype=np.int64), offset=np.zeros(2, np.int64))
_SMALLEST_SIDE = 10  # taps of the widest kernel: smaller images are surrounded by NaN


@dataclass(frozen=True)
class Resampled:
    """One image on a target grid."""

    masked_image: MaskedImage
    """Image (float32), mask and variance on the grid.

    Pixels without a source are NaN in image and variance, and have the mask
    plane NO_DATA.
    """

    max_position_error_px: float
    """Largest error of an interpolated position that was found, in source pixels; 0 for copies."""

    is_exact_copy: bool
    """Whether the pixels of both grids coincide, so that all values were copied to the bit."""

    is_stretched: bool
    """Whether the kernel was stretched anywhere to target pixels that are coarser than the source's."""

    shares: NDArray[np.float32] | None = None
    """Values of `coverage` where they may lie between 0 and 1, else `None`."""

    @cached_property
    def coverage(self) -> Image:
        """Share of the kernel's weight that lies on source pixels with a value, 0 to 1.

        With `MissingRule.FOOTPRINT` it is 1 where there is a value and 0
        elsewhere.
        """
        image = self.masked_image.image
        values = (~np.isnan(image.array)).astype(np.float32) if self.shares is None else self.shares
        return Image(values, bbox=image.bbox, sky_projection=image.sky_projection)


def resample(
    image: MaskedImage,
    grid: TargetGrid,
    *,
    kernel: Kernel = Kernel.LANCZOS3,
    mask_rule: MaskRule = MaskRule.ANY,
    missing_rule: MissingRule = MissingRule.FOOTPRINT,
    flux_convention: FluxConvention = FluxConvention.FLUX,
    tolerance_px: float = 1e-3,
    threads: int = 1,
) -> Resampled:
    """Resample one image onto a target grid.

    Parameters
    ----------
    image
        Image with a sky projection.  Not modified.
    grid
        Target; it may extend past the image.
    kernel
        Interpolation.
    mask_rule
        Source pixels that a target pixel takes its mask from.  The plane
        DETECTION_EDGE is taken from all pixels of the kernel.
    missing_rule
        What becomes of positions next to NaN and next to the image's edge.
    flux_convention
        Whether a pixel's value or the sum over pixels is kept.
    tolerance_px
        Largest error of an interpolated position, in source pixels.
    threads
        Threads that work side by side; the result does not depend on it.

    Returns
    -------
    resampled
        Planes on the grid.  A part of a grid gets the same bits as the whole,
        and so does a part of a source where it holds all pixels that count.

    Raises
    ------
    InputDataError
        Raised if the image has no sky projection.
    NoCoverageError
        Raised if no target pixel gets a value.
    RequestTooLargeError
        Raised, before anything is allocated, if the grid has more than
        `MAX_GRID_PIXELS` pixels.
    UnsupportedProductError
        Raised if the image has more than 64 mask planes.
    RequestError
        Raised if the tolerance or the number of threads is not positive, or an
        option is none of its choices.

    Notes
    -----
    The variance is the sum of the source's variances with the squared
    weights; the covariance of neighbouring target pixels is not kept.

    Where both grids coincide up to whole pixels, quarter turns and mirror
    images, the planes are copied.  Where target pixels are coarser than
    `STRETCH_SCALE` source pixels, the kernel is stretched to the target's
    pixels, so that nothing finer than they can hold remains: white noise of
    N source pixels per target pixel comes out with about 1/N of the
    variance.  `Kernel.NEAREST` is never stretched.  Both are decided for
    each square of 64 by 64 target pixels that starts at multiples of 64, by
    what the map between the grids is there, so that neither depends on the
    parts of source and grid that are given.
    """
    kernel = as_choice(kernel, Kernel, "kernel")
    mask_rule = as_choice(mask_rule, MaskRule, "mask_rule")
    missing_rule = as_choice(missing_rule, MissingRule, "missing_rule")
    flux_convention = as_choice(flux_convention, FluxConvention, "flux_convention")
    projection = _check(image, grid, threads, tolerance_px)
    words = MaskWords.from_mask(image.mask)
    target = _allocate(grid, words, missing_rule)
    if PixelMap(grid.sky_projection, projection).is_identity:
        copies, error, is_stretched = [Copy(_SAME, grid.bbox)], 0.0, False
    else:
        coordinates = find_source_coordinates(projection, image.bbox, grid, tolerance_px=tolerance_px)
        copies = find_copies(coordinates.moves, coordinates.spacings, grid.bbox, TILE)
        error = coordinates.max_error_px
        stretched = (coordinates.scales > STRETCH_SCALE) & ~coordinates.moves.any(axis=-1)
        stretched &= kernel is not Kernel.NEAREST
        is_stretched = bool(stretched.any())
    is_copy = len(copies) == 1 and copies[0].box == grid.bbox
    if not is_copy:
        choice = _choose(kernel, mask_rule, missing_rule, flux_convention, words)
        _run(_prepare_source(image, words), coordinates, stretched, choice, kernel, threads, target)
    for copy in copies:
        _copy(image, grid, words, copy, target)
    if all(np.isnan(row).all() for row in target.image):
        raise NoCoverageError(_describe_miss(image, grid))
    return Resampled(
        masked_image=_wrap(image, grid, words, target),
        max_position_error_px=0.0 if is_copy else error,
        is_exact_copy=is_copy,
        is_stretched=is_stretched,
        shares=target.coverage if target.coverage.size else None,
    )


def _choose(
    kernel: Kernel,
    mask_rule: MaskRule,
    missing_rule: MissingRule,
    flux_convention: FluxConvention,
    words: MaskWords,
) -> Choice:
    """Return the choice for compiled functions."""
    table = make_weight_table(kernel)
    return Choice(
        table=table.coefficients,
        taps=table.taps,
        first_tap=table.first_tap,
        shift=table.shift,
        use_vectors=vectors_are_on(),
        conserve_flux=flux_convention is FluxConvention.FLUX,
        renormalise=missing_rule is MissingRule.RENORMALISE,
        nearest_mask=mask_rule is MaskRule.NEAREST,
        grown=words.grown,
        no_data=words.no_data,
    )


def _check(image: MaskedImage, grid: TargetGrid, threads: int, tolerance_px: float) -> SkyProjection[Any]:
    """Refuse what cannot be resampled, and return the image's projection."""
    if image.sky_projection is None:
        raise InputDataError(
            f"The image of pixels {image.bbox} has no sky projection, so it lies nowhere on a grid."
        )
    n_pixels = grid.bbox.x.size * grid.bbox.y.size
    if n_pixels > MAX_GRID_PIXELS:
        raise RequestTooLargeError(
            f"The grid {grid.bbox} has {n_pixels} pixels; at most {MAX_GRID_PIXELS} are made at once."
        )
    if not tolerance_px > 0.0:
        raise RequestError(f"A tolerance must be positive, not {tolerance_px} pixels.")
    if threads < 1:
        raise RequestError(f"The number of threads must be positive, not {threads}.")
    return image.sky_projection


def _describe_miss(image: MaskedImage, grid: TargetGrid) -> str:
    """Say that an image and a grid have nothing in common."""
    middle = image.bbox
    sky = (
        image.sky_projection.pixel_to_sky(x=middle.x.center, y=middle.y.center)
        if image.sky_projection
        else None
    )
    there = "off the sky" if sky is None else f"around {sky.to_string(precision=5)} deg"
    return (
        f"The image of pixels {image.bbox} {there} gives no pixel of the grid {grid.bbox} around "
        f"{grid.center.to_string(precision=5)} deg a value."
    )


def _allocate(grid: TargetGrid, words: MaskWords, missing_rule: MissingRule) -> Target:
    """Return the planes of the target, to be filled."""
    shape = tuple(grid.shape)
    has_shares = missing_rule is MissingRule.RENORMALISE
    return Target(
        image=np.empty(shape, np.float32),
        variance=np.empty(shape, np.float32),
        mask=np.empty(shape, words.words.dtype),
        coverage=np.empty(shape if has_shares else (0, 0), np.float32),
    )


def _prepare_source(image: MaskedImage, words: MaskWords) -> Source:
    """Return the planes of the source as kernels want them, copied only where they are not yet."""
    planes = [np.ascontiguousarray(plane.array, dtype=np.float32) for plane in (image.image, image.variance)]
    mask = words.words
    missing = [max(0, _SMALLEST_SIDE - size) for size in planes[0].shape]
    if any(missing):
        padding = [(0, n) for n in missing]
        planes = [np.pad(plane, padding, constant_values=np.nan) for plane in planes]
        mask = np.pad(mask, padding)
    pixels, variance, bits, blocks = (plane.view() for plane in (*planes, mask, words.find_blocks(mask)))
    for array in (pixels, variance, bits, blocks):
        # Arrays of files may be read-only, which is another type to compile
        # kernels for: all are.
        array.flags.writeable = False
    return Source(pixels, variance, bits, blocks, image.bbox.x.start, image.bbox.y.start)


def _run(
    source: Source,
    coordinates: SourceCoordinates,
    stretched: NDArray[np.bool_],
    choice: Choice,
    kernel: Kernel,
    threads: int,
    target: Target,
) -> None:
    """Fill the planes of the target, rows of tiles in threads."""
    # Tiles that are copied are blank until then.
    spacings = np.where(coordinates.moves.any(axis=-1), 0, coordinates.spacings)
    rest = coordinates.starts, coordinates.nodes, *coordinates.skipped
    fixed = Tiles(np.where(stretched, LEFT_OUT, spacings), *rest)
    wide = Tiles(np.where(stretched, spacings, LEFT_OUT), *rest)
    any_stretched = stretched.any(axis=1)
    values = make_profile(kernel)
    steps = np.stack([values[:-1], np.diff(values)], axis=1)
    profile = Profile(steps, float(PROFILE_PLACES), float(kernel.half_width))

    def work(row: int) -> None:
        resample_tile_row(source, fixed, choice, row, target)
        if any_stretched[row]:
            resample_stretched_row(source, wide, profile, choice, row, target)

    rows = range(spacings.shape[0])
    if threads == 1:
        for row in rows:
            work(row)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, rows):
            pass


def _copy(image: MaskedImage, grid: TargetGrid, words: MaskWords, copy: Copy, target: Target) -> None:
    """Copy the pixels of an image to a box of the target in which both coincide."""
    covered = copy.shift.find_target_box(image.bbox)
    overlap = _intersect(covered, copy.box)
    if overlap != copy.box:
        whole = copy.box.slice_within(grid.bbox)
        target.image[whole] = target.variance[whole] = np.nan
        target.mask[whole] = words.no_data
        if target.coverage.size:
            target.coverage[whole] = 0.0
    if overlap is None:
        return
    there, here = overlap.slice_within(grid.bbox), overlap.slice_within(covered)
    target.image[there] = copy.shift.turn(image.image.array)[here]
    target.variance[there] = copy.shift.turn(image.variance.array)[here]
    target.mask[there] = copy.shift.turn(words.words)[here]
    if target.coverage.size:
        target.coverage[there] = ~np.isnan(target.image[there])


def _intersect(one: Box, two: Box) -> Box | None:
    """Return the pixels that two boxes share, if any."""
    x0, x1 = max(one.x.start, two.x.start), min(one.x.stop, two.x.stop)
    y0, y1 = max(one.y.start, two.y.start), min(one.y.stop, two.y.stop)
    return Box.factory[y0:y1, x0:x1] if x0 < x1 and y0 < y1 else None


def _wrap(image: MaskedImage, grid: TargetGrid, words: MaskWords, target: Target) -> MaskedImage:
    """Make an image object of the target's planes."""
    projection = grid.sky_projection
    return MaskedImage(
        Image(target.image, bbox=grid.bbox, unit=image.unit, sky_projection=projection),
        mask=Mask(words.to_array(target.mask), schema=words.schema, bbox=grid.bbox),
        variance=Image(target.variance, bbox=grid.bbox, unit=image.variance.unit),
        sky_projection=projection,
    )
