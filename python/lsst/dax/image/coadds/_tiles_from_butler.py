"""Tiles of a coadd, read and made in the threads or processes of any executor."""

from __future__ import annotations

__all__ = ("PSF_PX", "TileRequest", "make_tile_from_butler")

import functools
import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.daf.butler import DatasetRef
from lsst.images import Image, Mask, MaskedImage
from lsst.images.fields import BaseField

from ..errors import InconsistentUnitsError, UnsupportedProductError, internal_errors_reported
from ..geometry import TargetGrid
from ..repository import (
    ButlerLike,
    ImageGeometry,
    StoredComponents,
    find_by_uuid,
    name_dataset,
    opened_dataset,
    read_components,
)
from ._cells import CellRange, SourceOutline, find_outline, find_source_box
from ._plan import PlannedTile
from ._tile import TileBuilder, TileInput, TileOutcome
from ._warping import find_planes, make_warp, name_planes, to_nanojansky
from .cell_psf import draw_cell_psfs
from .noise import find_kernel_noise, make_noise_realization
from .record import CoaddRecord, RecordedInput
from .warp import Warp

PSF_PX = 41
"""Side of the images of a coadd's PSF."""


@dataclass(frozen=True)
class TileRequest:
    """What is the same for all tiles; it can be sent to other processes.

    It has no reference of a dataset, which a process can receive only after it
    has opened a repository.
    """

    text: str
    """What the coadd is made from, as JSON: a projection cannot be sent."""

    @property
    def record(self) -> CoaddRecord:
        """What the coadd is made from."""
        return _read_record(self.text)


@functools.lru_cache(maxsize=4)
def _read_record(text: str) -> CoaddRecord:
    """Read a record; all tiles of a coadd have the same."""
    return CoaddRecord.model_validate_json(text)


@dataclass(frozen=True)
class _Source:
    """What an input has besides its pixels."""

    geometry: ImageGeometry
    components: StoredComponents


class _SourceCache:
    """The inputs that this process used last: a dataset does not change."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sources: OrderedDict[uuid.UUID, _Source] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: uuid.UUID, make: Callable[[], _Source]) -> _Source:
        """Return what is known of a dataset, or make it."""
        with self._lock:
            if key in self._sources:
                self._sources.move_to_end(key)
                return self._sources[key]
        # Not under the lock: threads may read different files at a time.
        made = make()
        with self._lock:
            self._sources[key] = made
            while len(self._sources) > self._size:
                self._sources.popitem(last=False)
        return made


_SOURCES = _SourceCache(64)


def make_tile_from_butler(butler: ButlerLike, request: TileRequest, tile: PlannedTile) -> TileOutcome:
    """Read the inputs of a tile, one after the other, and make it.

    Parameters
    ----------
    butler
        Butler to read through.
    request
        What is the same for all tiles.
    tile
        Its cells and their inputs.

    Returns
    -------
    outcome
        Its pixels and cells.
    """
    record = request.record
    with internal_errors_reported(f"Making the tile {tile.cells} of a coadd"):
        planes = find_planes(name_planes(record.recipe.masks))
        layout = record.layout
        grid = TargetGrid(record.grid.sky_projection, layout.padded_box(layout.inner_box(tile.cells)))
        builder = TileBuilder(
            cells=tile.cells,
            layout=layout,
            projection=record.grid.sky_projection,
            recipe=record.recipe,
            planes=planes,
            bbox=record.grid.bbox,
            psf_px=PSF_PX,
        )
        for index in tile.indices:
            found = _read_input(butler, request, index, grid, tile.cells, planes)
            if found is not None:
                builder.add(found, (n for n, members in enumerate(tile.members) if index in members))
        return builder.finish()


def _read_input(
    butler: ButlerLike,
    request: TileRequest,
    index: int,
    grid: TargetGrid,
    cells: CellRange,
    planes: tuple[str, ...],
) -> TileInput | None:
    """Read what a tile needs of one input; `None` if that is nothing."""
    item = request.record.inputs[index]
    ref = find_by_uuid(butler, item.id)
    kernel = request.record.recipe.kernel
    with opened_dataset(butler, ref) as reader:
        source = _SOURCES.get(ref.id, lambda: _Source(reader.geometry, read_components(reader)))
        projection, bbox = source.geometry.sky_projection, source.geometry.bbox
        outline = find_outline(projection, bbox, grid.sky_projection, kernel=kernel)
        needed = find_source_box(grid.sky_projection, grid.bbox, projection, bbox, kernel=kernel)
        if outline is None or needed is None or not outline.touches(grid.bbox):
            return None
        image = reader.read_masked_image(needed)
    masked = _calibrate(ref, image, source.components.photometric_scaling)
    warp = make_warp(masked, grid, key=item.key, planes=planes, weight=item.weight, kernel=kernel)
    if warp is None:
        return None
    noise = _make_noise(masked, grid, warp, request.record, item)
    return _join(warp, outline, source, request.record, item, cells, noise)


def _make_noise(
    image: MaskedImage, grid: TargetGrid, warp: Warp, record: CoaddRecord, item: RecordedInput
) -> NDArray[np.float32]:
    """Draw noise on the pixels of an input, and resample it as they are."""
    recipe = record.recipe
    layers = np.full((recipe.noise_realizations, *warp.image.shape), np.nan, np.float32)
    for index, layer in enumerate(layers):
        values = make_noise_realization(
            image.variance.array,
            bbox=image.bbox,
            seed=recipe.seed,
            visit=item.visit,
            detector=item.detector,
            index=index,
        )
        noise = MaskedImage(
            Image(values, bbox=image.bbox, unit=u.nJy),
            mask=image.mask,
            variance=image.variance,
            sky_projection=image.sky_projection,
        )
        found = make_warp(
            noise, grid, key=warp.key, planes=warp.planes, weight=warp.weight, kernel=recipe.kernel
        )
        if found is not None:
            layer[...] = np.where(np.isfinite(warp.image), found.image, np.nan)
    return layers


def _join(
    warp: Warp,
    outline: SourceOutline,
    source: _Source,
    record: CoaddRecord,
    item: RecordedInput,
    cells: CellRange,
    noise: NDArray[np.float32],
) -> TileInput:
    """Put the pixels of an input together with what else is needed of it."""
    layout = record.layout
    boxes = [layout.cell_box(cell) for cell in cells]
    psfs = draw_cell_psfs(
        source.components.evaluator,
        source_projection=source.geometry.sky_projection,
        target_projection=record.grid.sky_projection,
        x=np.array([box.x.center for box in boxes]),
        y=np.array([box.y.center for box in boxes]),
        size_px=PSF_PX,
        kernel=record.recipe.kernel,
        cell_px=layout.inner_px,
    )
    corrections: list[dict[str, float]] = [{} for _ in boxes]
    there = np.flatnonzero(psfs.is_good)
    x, y = psfs.maps.positions[there].T
    for name, field in source.components.aperture_corrections.items() if there.size else ():
        values = np.asarray(field(x=x, y=y), np.float64)
        for cell, value in zip(there.tolist(), values.tolist(), strict=True):
            corrections[cell][name] = value
    return TileInput(
        warp=warp,
        outline=outline,
        psfs=psfs.images,
        corrections=corrections,
        noise_correlations=find_kernel_noise(
            psfs.maps, kernel=record.recipe.kernel, cell_px=layout.inner_px
        ).correlations,
        noise=noise,
        pixel_areas=np.abs(np.linalg.det(psfs.maps.matrices)),
        effective_time_s=math.nan if item.effective_time_s is None else item.effective_time_s,
        band=item.band,
    )


def _calibrate(ref: DatasetRef, image: Image | Mask | MaskedImage, scaling: BaseField | None) -> MaskedImage:
    """Return an input in nJy."""
    if not isinstance(image, MaskedImage):
        raise UnsupportedProductError(
            f"{name_dataset(ref)} is a {type(image).__name__}; a coadd needs mask and variance."
        )
    unit = image.unit
    if unit == u.nJy:
        return image
    if unit is not None and unit.is_equivalent(u.nJy):
        return to_nanojansky(image, unit.to(u.nJy))
    if unit is None or scaling is None or scaling.unit is None:
        raise InconsistentUnitsError(
            f"{name_dataset(ref)} has the unit {unit} and {'a' if scaling is not None else 'no'} "
            f"photometric scaling; a coadd is made in nJy."
        )
    factor = unit * scaling.unit
    if not factor.is_equivalent(u.nJy):
        raise InconsistentUnitsError(
            f"{name_dataset(ref)} has the unit {unit} and a scaling in {scaling.unit}, not nJy together."
        )
    rendered: NDArray[np.float64] = scaling.render(image.bbox, dtype=np.float64).array
    return to_nanojansky(image, rendered * factor.to(u.nJy))
