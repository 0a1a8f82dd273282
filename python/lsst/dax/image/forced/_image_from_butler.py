"""Fluxes on one image of a repository, of which only what is needed is read."""

from __future__ import annotations

__all__ = ("Asked", "ImageFluxes", "ImagePlan", "MeasureRequest", "measure_dataset", "plan_dataset")

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray

from lsst.daf.butler import DatasetRef
from lsst.images import MaskedImage

from ..errors import (
    InconsistentUnitsError,
    InputDataError,
    MissingPsfError,
    UnsupportedProductError,
    internal_errors_reported,
)
from ..flags import FLAGS
from ..repository import (
    ButlerLike,
    DatasetReader,
    fetch_time,
    name_dataset,
    opened_dataset,
    read_components,
)
from ._columns import Columns, calibrate_columns, fill_columns, place_targets, start_columns
from ._joint_columns import measure_jointly
from ._parts import Part, plan_boxes, plan_joint_part, plan_parts
from ._scene import Setup, measure_rows
from .components import ImageComponents, find_mid_time
from .options import ForcedOptions
from .targets import Targets, find_targets

_MANY_ROWS = 256
"""Targets from which on parts are not asked whether they cost tiles that no
target needs: they hold many targets each."""

_MAX_EXTRA = 1.25
"""Bytes of parts over those of the targets' own boxes from which on the boxes
are read."""


@dataclass(frozen=True)
class Asked:
    """Positions that are asked of one image."""

    positions: SkyCoord | Table
    """Positions as `find_targets` takes them."""

    id: NDArray[np.int64] | None = None
    """Their numbers, where ``positions`` does not have them."""

    @property
    def n_targets(self) -> int:
        """How many there are."""
        if isinstance(self.positions, SkyCoord):
            return int(self.positions.size)
        if "time" not in self.positions.colnames:
            return len(self.positions)
        return len(np.unique(self.positions["id"])) if "id" in self.positions.colnames else 1

    def find(self, *, epoch: Time | None, time: Time | None) -> Targets:
        """Return the targets at a time."""
        targets = find_targets(self.positions, epoch=epoch, time=time)
        return targets if self.id is None else replace(targets, id=self.id)


@dataclass(frozen=True)
class MeasureRequest:
    """What is wanted of every image."""

    options: ForcedOptions
    neighbours: SkyCoord | Table | None
    epoch: Time | None


@dataclass(frozen=True)
class ImageFluxes:
    """Fluxes on one image."""

    columns: Columns
    """Plain arrays by column, one row per target."""

    message: str = ""
    """Why the image, or part of it, could not be measured."""


@dataclass(frozen=True)
class ImagePlan:
    """What is read of one image."""

    n_targets: int
    """Targets that have pixels."""

    n_pixels: int
    n_bytes: int
    """Stored bytes of the tiles, each once; 0 where a file is not read by tiles."""


def measure_dataset(
    butler: ButlerLike, ref: DatasetRef, asked: Asked, request: MeasureRequest
) -> ImageFluxes:
    """Measure targets on one dataset.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        The dataset.
    asked
        The targets.
    request
        How to measure.

    Returns
    -------
    fluxes
        One row per target.  What cannot be read has a flag.
    """
    with internal_errors_reported(f"Measuring on {ref.datasetType.name} {ref.id}"):
        try:
            with opened_dataset(butler, ref) as reader:
                fluxes = _measure_opened(butler, reader, ref, asked, request)
        except InputDataError as error:
            fluxes = _fail_all(butler, ref, asked, request, error)
    n = len(fluxes.columns["id"])
    fluxes.columns["dataset_type"] = np.full(n, ref.datasetType.name)
    fluxes.columns["dataset"] = np.full(n, ref.id.hex)
    return fluxes


def plan_dataset(butler: ButlerLike, ref: DatasetRef, asked: Asked, request: MeasureRequest) -> ImagePlan:
    """Find out what `measure_dataset` will read, without reading pixels.

    Parameters
    ----------
    butler, ref, asked, request
        As for `measure_dataset`.

    Returns
    -------
    plan
        Numbers of targets, pixels and bytes; all 0 for a file that cannot be
        read.
    """
    with internal_errors_reported(f"Planning {ref.datasetType.name} {ref.id}"):
        try:
            with opened_dataset(butler, ref) as reader:
                setup = _make_setup(butler, reader, ref, request.options)
                targets = asked.find(epoch=request.epoch, time=setup.components.time)
                values = start_columns(setup, targets, has_joint=request.neighbours is not None)
                rows = np.flatnonzero(place_targets(setup, values, targets))
                parts = _choose_parts(reader, setup, values, rows, targets, request)
                boxes = [part.box for part in parts]
                n_bytes = reader.count_bytes(boxes) if boxes else 0
        except InputDataError:
            return ImagePlan(0, 0, 0)
    return ImagePlan(rows.size, sum(box.area for box in boxes), n_bytes)


def _make_setup(butler: ButlerLike, reader: DatasetReader, ref: DatasetRef, options: ForcedOptions) -> Setup:
    """Read what is known of an image besides its pixels."""
    if reader.is_single_plane:
        raise UnsupportedProductError(
            f"{name_dataset(ref)} has no variance and mask; fluxes need a masked image."
        )
    geometry, stored = reader.geometry, read_components(reader)
    time = find_mid_time(stored.obs_info)
    return Setup(
        ImageComponents(
            bbox=geometry.bbox,
            sky_projection=geometry.sky_projection,
            evaluator=stored.evaluator,
            unit=stored.unit,
            bounds=stored.bounds,
            photometric_scaling=stored.photometric_scaling,
            aperture_corrections=stored.aperture_corrections,
            exposure_time=getattr(stored.obs_info, "exposure_time", None),
            time=fetch_time(butler, ref) if time is None else time,
            **_identify(ref),
        ),
        options,
    )


def _identify(ref: DatasetRef) -> dict[str, Any]:
    """Return visit, detector and band of a dataset, where it has them."""
    return {name: ref.dataId.mapping.get(name) for name in ("visit", "detector", "band")}


def _measure_opened(
    butler: ButlerLike, reader: DatasetReader, ref: DatasetRef, asked: Asked, request: MeasureRequest
) -> ImageFluxes:
    """Measure targets on an opened dataset."""
    setup = _make_setup(butler, reader, ref, request.options)
    targets = asked.find(epoch=request.epoch, time=setup.components.time)
    values = start_columns(setup, targets, has_joint=request.neighbours is not None)
    rows = np.flatnonzero(place_targets(setup, values, targets))
    neighbours = None
    if request.neighbours is not None:
        neighbours = find_targets(request.neighbours, epoch=request.epoch, time=setup.components.time)
    parts = _choose_parts(reader, setup, values, rows, targets, request)
    message = _measure_parts(reader, setup, values, parts, targets, neighbours)
    calibrate_columns(setup, values)
    return ImageFluxes(values, message)


def _choose_parts(
    reader: DatasetReader,
    setup: Setup,
    values: Columns,
    rows: NDArray[np.int64],
    targets: Targets,
    request: MeasureRequest,
) -> list[Part]:
    """Return the parts of an image to read."""
    x, y = values["x"], values["y"]
    if request.neighbours is not None:
        shaped = targets.shapes is not None or _has_shapes(request.neighbours)
        return plan_joint_part(setup, x, y, rows, has_shapes=shaped)
    parts = plan_parts(setup, x, y, rows)
    if len(parts) == rows.size or rows.size > _MANY_ROWS:
        return parts
    # A box around several targets may hold tiles that none of them needs.
    boxes = plan_boxes(setup, x, y, rows)
    together, alone = (reader.count_bytes([part.box for part in choice]) for choice in (parts, boxes))
    return parts if together <= _MAX_EXTRA * alone else boxes


def _has_shapes(neighbours: SkyCoord | Table) -> bool:
    """Tell whether there may be galaxies among neighbours."""
    return isinstance(neighbours, Table) and "half_light_radius" in neighbours.colnames


def _measure_parts(
    reader: DatasetReader,
    setup: Setup,
    values: Columns,
    parts: Sequence[Part],
    targets: Targets,
    neighbours: Targets | None,
) -> str:
    """Read and measure parts, each tile once; return what went wrong."""
    left = dict(enumerate(parts))
    try:
        for number, pixels in reader.read_many([part.box for part in parts]):
            _measure_part(setup, values, parts[number].rows, pixels, targets, neighbours)
            del left[number]
    except InputDataError as error:
        message = str(error)
    else:
        return ""
    # A damaged tile ends the reading; the rest is read target by target, so
    # that the tile costs those that need it only.
    for part in left.values():
        alone = [part] if neighbours is not None else plan_boxes(setup, values["x"], values["y"], part.rows)
        for single in alone:
            try:
                ((_, pixels),) = reader.read_many([single.box])
            except InputDataError:
                values["flags"][single.rows] |= FLAGS["READ_FAILED"].value
            else:
                _measure_part(setup, values, single.rows, pixels, targets, neighbours)
    return message


def _measure_part(
    setup: Setup,
    values: Columns,
    rows: NDArray[np.int64],
    pixels: Any,
    targets: Targets,
    neighbours: Targets | None,
) -> None:
    """Measure the targets of one part."""
    assert isinstance(pixels, MaskedImage)  # noqa: S101  # a single plane was refused
    scene = setup.make_scene(pixels)
    measure_rows(scene, values, rows)
    if neighbours is not None:
        measure_jointly(scene, values, targets, neighbours)


def _fail_all(
    butler: ButlerLike, ref: DatasetRef, asked: Asked, request: MeasureRequest, error: InputDataError
) -> ImageFluxes:
    """Return the rows of an image on which nothing can be measured."""
    match error:
        case MissingPsfError():
            flag = "NO_PSF"
        case InconsistentUnitsError():
            flag = "NO_CALIBRATION"
        case _:
            flag = "READ_FAILED"
    time = fetch_time(butler, ref)
    targets = asked.find(epoch=request.epoch, time=time)
    values = fill_columns(request.options, targets, has_joint=request.neighbours is not None)
    values["flags"] |= FLAGS[flag].value
    for name, value in _identify(ref).items():
        if value is not None:
            values[name][:] = value
    if time is not None:
        values["mjd"][:] = time.tai.mjd
    return ImageFluxes(values, str(error))
