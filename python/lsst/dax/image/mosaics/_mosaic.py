"""Make a mosaic of images in memory."""

from __future__ import annotations

__all__ = ("Mosaic", "make_mosaic")

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, Image, MaskedImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InputDataError, NoCoverageError, RequestError, RequestTooLargeError
from ..geometry import TargetGrid
from ._background import add_moments, solve_backgrounds, sum_block
from ._compute import Pixels, Tally, compute_block
from ._output import check_target, encode, put_mosaic
from ._plan import BLOCK, Plan, split_box
from ._planes import Planes, find_form, to_masked, to_planes
from .rules import BackgroundMatch, Combine, MosaicRules, as_rules

MAX_PIXELS = 2**28
"""Pixels of a mosaic in memory that are allowed by default: 4 GB for all planes."""

_BACKGROUNDS = {
    "background": "Subtracted from the image: value of a pixel at the middle of the grid",
    "background_x": "Change of the background from one pixel of the grid to the next along x",
    "background_y": "Change of the background from one pixel of the grid to the next along y",
}


@dataclass(frozen=True)
class Mosaic:
    """Many images on one pixel grid."""

    masked_image: MaskedImage
    """Image, variance and mask.  Without an image that has a value, a pixel
    is NaN and has the mask plane ``NO_DATA``."""

    coverage: Image
    """Number of images that contribute to each pixel."""

    inputs: QTable
    """One row per image, in their order: ``dataset`` (UUID, empty for an image that is no
    dataset), ``n_pixels`` (pixels of the mosaic with values from it), ``weight`` (sum of its
    shares in them), and what has been subtracted from its values on the pixels of the grid:
    ``background`` at the middle of the grid, in the unit of the image, and its slopes
    ``background_x`` and ``background_y``, in that unit per pixel of the grid."""

    grid: TargetGrid
    """Pixels of the mosaic."""

    rules: MosaicRules
    """How the images became one."""

    def write(
        self, uri: ResourcePathExpression, *, overwrite: bool = False, created: Time | None = None
    ) -> ResourcePath:
        """Write the mosaic as a FITS file or a Zarr group, as `write_mosaic` does.

        Parameters
        ----------
        uri
            Where to write it: a local path or a URI that `lsst.resources` can
            write to, ending in ``.fits`` or ``.zarr``.
        overwrite
            Whether an output of that name may be replaced.
        created
            Time that the output says it was written at; now if `None`.

        Returns
        -------
        uri
            Where it is now.

        Raises
        ------
        RequestError
            Raised if the name ends in neither, or the package ``zarr`` is
            needed and not installed.
        OutputError
            Raised if it cannot be written, or exists and may not be replaced.
        """
        target, storage = check_target(uri)
        form = find_form([self.masked_image])
        planes = to_planes(self.masked_image, self.grid.bbox, form)
        corner = self.grid.bbox.start
        chunks = []
        for block in split_box(self.grid.bbox, BLOCK):
            rows = slice(block.y.start - corner.y, block.y.stop - corner.y)
            columns = slice(block.x.start - corner.x, block.x.stop - corner.x)
            part = self.coverage.array[rows, columns]
            chunks.append(encode(planes.part(block), part, form, storage=storage))
        time = Time.now() if created is None else created
        put_mosaic(
            target, storage, chunks, self.grid, form, self.rules, self.inputs, time, overwrite=overwrite
        )
        return target


def make_mosaic(
    images: Iterable[Image | MaskedImage],
    grid: TargetGrid,
    *,
    rules: MosaicRules | None = None,
    threads: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> Mosaic:
    """Put images together on one pixel grid.

    Parameters
    ----------
    images
        Images with a sky projection and of one unit: patches of tracts,
        detectors of a visit, or any others.  Not modified.
    grid
        Pixels of the mosaic, as of `find_mosaic_grid`.
    rules
        How the images become one; the defaults of `MosaicRules` if `None`.
    threads
        Threads to work in.  The result does not depend on it.
    max_pixels
        Largest number of pixels that is allowed.

    Returns
    -------
    mosaic
        Image, coverage and where they come from.

    Raises
    ------
    RequestTooLargeError
        Raised, before anything is allocated, if the grid has more than
        ``max_pixels`` pixels.
    NoCoverageError
        Raised if no image overlaps the grid, or none gives it a value.
    InconsistentUnitsError
        Raised if the units of the images differ.
    InputDataError
        Raised if an image has no sky projection.
    UnsupportedProductError
        Raised if an input is not an image.
    RequestError
        Raised if the rules need variances that an image does not have, or
        exclude mask planes that none has.

    Notes
    -----
    Images on the same pixels as the grid, up to a shift by whole pixels, are
    copied; where a pixel has one image only, to the bit.  All others are
    resampled, those that share their pixels as one image.
    """
    images = list(images)
    check_size(grid, max_pixels)
    check_threads(threads)
    plan = make_plan(images, grid, as_rules(rules))
    pixels = dict(enumerate(images))
    blocks = list(split_box(grid.bbox, BLOCK))
    if plan.rules.background is not BackgroundMatch.NONE:
        sums = _in_threads(lambda block: sum_block(plan, block, pixels), blocks, threads)
        plan = dataclasses.replace(plan, backgrounds=solve_backgrounds(plan, add_moments(sums)))
    out = plan.form.allocate(grid.bbox)
    coverage = np.empty(tuple(grid.bbox.shape), np.uint16)

    def work(block: Box) -> list[Tally]:
        return fill_block(plan, block, pixels, out, coverage)

    parts = list(plan.split(grid.bbox))
    tallies = [tally for found in _in_threads(work, parts, threads) for tally in found]
    inputs = make_table(plan, [""] * len(images), tallies)
    return assemble_mosaic(plan, out, coverage, inputs)


def check_size(grid: TargetGrid, max_pixels: int) -> None:
    """Refuse a grid that is too large.

    Parameters
    ----------
    grid
        Pixels that are asked for.
    max_pixels
        Pixels that are allowed.

    Raises
    ------
    RequestTooLargeError
        Raised if there are more.
    """
    n_pixels = grid.bbox.y.size * grid.bbox.x.size
    if n_pixels > max_pixels:
        raise RequestTooLargeError(
            f"The grid has {grid.bbox.x.size} x {grid.bbox.y.size} = {n_pixels} pixels; {max_pixels} are "
            f"allowed.  A mosaic that does not fit into memory can be written to a file tile by tile."
        )


def check_threads(threads: int) -> None:
    """Refuse a number of threads that is not positive.

    Parameters
    ----------
    threads
        Number.

    Raises
    ------
    RequestError
        Raised if it is below one.
    """
    if threads < 1:
        raise RequestError(f"The number of threads must be positive, not {threads}.")


def make_plan(images: Sequence[Image | MaskedImage], grid: TargetGrid, rules: MosaicRules) -> Plan:
    """Plan a mosaic of images in memory.

    Parameters
    ----------
    images
        Images.
    grid
        Pixels of the mosaic.
    rules
        How the images become one.

    Returns
    -------
    plan
        The plan, which has been checked.
    """
    form = find_form(images)
    for number, image in enumerate(images):
        if image.sky_projection is None:
            raise InputDataError(f"Image {number}, of pixels {image.bbox}, has no sky projection.")
    plan = Plan(grid, rules, form, images)  # type: ignore[arg-type]  # a projection has been checked
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> None:
    """Refuse what cannot be done.

    Parameters
    ----------
    plan
        What the mosaic is made of.

    Raises
    ------
    NoCoverageError
        Raised if no image overlaps the grid.
    RequestError
        Raised if the rules need variances, or exclude mask planes, that the
        images do not have.
    """
    if plan.rules.combine is Combine.INVERSE_VARIANCE and not plan.form.has_variance:
        raise RequestError(
            f"Images are combined by {plan.rules.combine}, and one of {len(plan.sources)} has no variance; "
            f"use {Combine.MEAN} or another rule."
        )
    unknown = [name for name in plan.rules.exclude_planes if name not in plan.form.schema.names]
    if unknown:
        raise RequestError(
            f"None of {len(plan.sources)} images has the mask planes {unknown} that are excluded; there are "
            f"{sorted(plan.form.schema.names)}."
        )
    plan.check_overlap()


def fill_block(
    plan: Plan, block: Box, pixels: Pixels, out: Planes, out_coverage: NDArray[np.uint16]
) -> list[Tally]:
    """Compute a block within larger planes.

    Parameters
    ----------
    plan, block, pixels
        As for `compute_block`.
    out
        Planes that hold the block, which is filled.
    out_coverage
        Number of images, of the same box, which is filled.

    Returns
    -------
    tallies
        What each image gives.
    """
    rows, columns = block.y.slice_within(out.box.y), block.x.slice_within(out.box.x)
    return compute_block(plan, block, pixels, out.part(block), out_coverage[rows, columns])


def make_table(plan: Plan, datasets: Sequence[str], tallies: Iterable[Tally]) -> QTable:
    """Return what each image gave.

    Parameters
    ----------
    plan
        What the mosaic was made of.
    datasets
        UUID of each image; empty for none.
    tallies
        What each gave to each block, in the order of the blocks.

    Returns
    -------
    inputs
        See `Mosaic.inputs`.
    """
    n = len(datasets)
    n_pixels = np.zeros(n, np.int64)
    shares: list[list[float]] = [[] for _ in range(n)]
    for tally in tallies:
        n_pixels[tally.index] += tally.n_pixels
        shares[tally.index].append(tally.weight)
    # Exact sums, which do not depend on the order of the blocks.
    weights = np.array([math.fsum(share) for share in shares])
    backgrounds = np.zeros((n, 3)) if plan.backgrounds is None else plan.backgrounds
    table = QTable(
        {"dataset": np.array(list(datasets), dtype="U32"), "n_pixels": n_pixels, "weight": weights}
    )
    level = u.dimensionless_unscaled if plan.form.unit is None else plan.form.unit
    for column, (name, description) in enumerate(_BACKGROUNDS.items()):
        table[name] = u.Quantity(backgrounds[:, column], level if column == 0 else level / u.pix)
        table[name].info.description = description
    return table


def check_result(plan: Plan, inputs: QTable) -> None:
    """Refuse a mosaic without a value.

    Parameters
    ----------
    plan
        What the mosaic was made of.
    inputs
        See `Mosaic.inputs`.

    Raises
    ------
    NoCoverageError
        Raised if no image gave a pixel.
    """
    if not (inputs["n_pixels"] > 0).any():
        raise NoCoverageError(
            f"None of {len(plan.sources)} images gives a value to any of the {plan.grid.bbox.x.size} x "
            f"{plan.grid.bbox.y.size} pixels around {plan.grid.center.to_string('decimal')}: what they have "
            f"there is blank or excluded, or lies next to the grid."
        )


def with_table_backgrounds(plan: Plan, inputs: QTable) -> Plan:
    """Return a plan with the backgrounds that a finished mosaic was made with.

    Parameters
    ----------
    plan
        Plan of the mosaic.
    inputs
        See `Mosaic.inputs`.

    Returns
    -------
    plan
        Plan that gives the mosaic again.
    """
    if plan.rules.background is BackgroundMatch.NONE:
        return plan
    columns = [inputs[name] for name in _BACKGROUNDS]
    values = [np.asarray(getattr(column, "value", column), np.float64) for column in columns]
    return dataclasses.replace(plan, backgrounds=np.stack(values, axis=1))


def assemble_mosaic(plan: Plan, planes: Planes, coverage: NDArray[np.uint16], inputs: QTable) -> Mosaic:
    """Return finished pixels as a mosaic.

    Parameters
    ----------
    plan
        What the mosaic was made of.
    planes
        Its pixels.
    coverage
        Number of images behind each pixel.
    inputs
        See `Mosaic.inputs`.

    Returns
    -------
    mosaic
        The mosaic.

    Raises
    ------
    NoCoverageError
        Raised if no image gave a pixel.
    """
    check_result(plan, inputs)
    grid = plan.grid
    return Mosaic(
        to_masked(planes, plan.form, grid.sky_projection),
        Image(coverage, yx0=grid.bbox.start, sky_projection=grid.sky_projection),
        inputs,
        grid,
        plan.rules,
    )


def _in_threads[Result](
    work: Callable[[Box], Result], blocks: Sequence[Box], threads: int
) -> Iterator[Result]:
    """Work on blocks, and yield the results in their order."""
    if threads == 1 or len(blocks) == 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, blocks)
