"""Mosaics as Zarr groups, format 3."""

from __future__ import annotations

__all__ = ("CHUNK", "encode_planes", "put_zarr", "require_zarr")

import dataclasses
import importlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, MaskSchema
from lsst.resources import ResourcePath

from ..container import upload_errors_reported
from ..container.tiled_fits import TileChunk
from ..errors import OutputError, RequestError, UnsupportedProductError
from ..geometry import TargetGrid
from ..version import __version__
from ._file import MemoryChunk
from ._plan import BLOCK, split_box
from ._planes import NO_DATA, PixelForm, Planes, write_projection
from .rules import MosaicRules, has_psf

CHUNK = BLOCK
"""Rows and columns of a chunk, counted from the corner of the mosaic."""

_ROOT = "zarr.json"
_NAMES = ("image", "mask", "variance", "coverage")
_MASK_DTYPES = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}


def require_zarr() -> Any:
    """Return the package that writes Zarr.

    Raises
    ------
    RequestError
        Raised if it is not installed.
    """
    try:
        return importlib.import_module("zarr")
    except ModuleNotFoundError as error:
        if error.name != "zarr":
            raise
        raise RequestError("A mosaic in Zarr needs the package 'zarr', which is not installed.") from error


def encode_planes(planes: Planes, coverage: NDArray[np.uint16], form: PixelForm) -> MemoryChunk:
    """Compress part of a mosaic into the chunks of a Zarr array.

    Parameters
    ----------
    planes
        Pixels; their corner is that of a chunk.
    coverage
        Number of images behind each pixel.
    form
        What the pixels are.

    Returns
    -------
    chunk
        The chunks, row by row; without bytes where all pixels are those of no image.
    """
    zarr = require_zarr()
    store: dict[str, Any] = {}
    group = zarr.open_group(zarr.storage.MemoryStore(store), mode="w", zarr_format=3)
    arrays = (planes.image, _join_octets(planes.mask, form.schema), planes.variance, coverage)
    for array, values in zip(_create_arrays(group, planes.box, form), arrays, strict=True):
        array[...] = values
    keys = list(_list_keys(planes.box, planes.box))
    parts = [
        [store[path].to_bytes() if (path := f"{name}/{key}") in store else b"" for key in keys]
        for name in _NAMES
    ]
    sizes = np.array([[len(part) for part in plane] for plane in parts], np.int64)
    return MemoryChunk(planes.box, sizes, [b"".join(plane) for plane in parts])


def put_zarr(
    target: ResourcePath,
    chunks: Sequence[TileChunk],
    grid: TargetGrid,
    form: PixelForm,
    rules: MosaicRules,
    inputs: QTable,
    created: Time,
    *,
    overwrite: bool,
) -> None:
    """Write the group of a mosaic: complete, or not at all.

    Parameters
    ----------
    target
        Where to write it.
    chunks
        Parts that together make the mosaic.
    grid
        Pixels of the mosaic.
    form
        What the pixels are.
    rules
        How the images became one.
    inputs
        One row per image.
    created
        Time that the group says it was written at.
    overwrite
        Whether a group of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if the group cannot be written, or exists and may not be
        replaced.
    """
    try:
        with tempfile.TemporaryDirectory(
            dir=_find_parent(target), prefix=".dax-image-", suffix=".part"
        ) as name:
            staged = Path(name) / "mosaic.zarr"
            _write_group(staged, chunks, grid, form, rules, inputs, created)
            if target.isLocal:
                _move(staged, Path(target.ospath), overwrite=overwrite)
            else:
                _upload(staged, target, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {type(error).__name__}: {error}") from error


def _find_parent(target: ResourcePath) -> Path | None:
    """Return the folder beside which a local group is made; None for a remote one."""
    if not target.isLocal:
        return None
    parent = Path(target.ospath).parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def _write_group(
    path: Path,
    chunks: Sequence[TileChunk],
    grid: TargetGrid,
    form: PixelForm,
    rules: MosaicRules,
    inputs: QTable,
    created: Time,
) -> None:
    """Write a group into a new folder."""
    group = require_zarr().open_group(path, mode="w", zarr_format=3)
    group.attrs.update(_describe(grid, form, rules, created))
    _create_arrays(group, grid.bbox, form)
    _write_inputs(group, inputs)
    for chunk in chunks:
        keys = list(_list_keys(chunk.box, grid.bbox))
        for plane, name in enumerate(_NAMES):
            content, start = memoryview(chunk.read(plane)), 0
            for key, size in zip(keys, chunk.sizes[plane].tolist(), strict=True):
                if size:
                    file = path / name / key
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content[start : start + size])
                start += size


def _create_arrays(group: Any, box: Box, form: PixelForm) -> list[Any]:
    """Create the arrays of a mosaic, or of part of it, without pixels."""
    no_data = int(_join_octets(form.octets([NO_DATA])[None, None], form.schema)[0, 0])
    unit = None if form.unit is None else form.unit.to_string()
    squared = None if form.unit is None else (form.unit**2).to_string()
    kinds: list[tuple[Any, float | int, dict[str, Any]]] = [
        (form.dtype, np.nan, {"unit": unit}),
        (_mask_dtype(form.schema), no_data, {"mask_planes": _list_planes(form.schema)}),
        (form.variance_dtype, np.nan, {"unit": squared}),
        ("uint16", 0, {}),
    ]
    return [
        group.create_array(
            name,
            shape=(box.y.size, box.x.size),
            chunks=(CHUNK, CHUNK),
            dtype=dtype,
            fill_value=fill_value,
            dimension_names=("y", "x"),
            attributes=attributes,
        )
        for name, (dtype, fill_value, attributes) in zip(_NAMES, kinds, strict=True)
    ]


def _describe(grid: TargetGrid, form: PixelForm, rules: MosaicRules, created: Time) -> dict[str, Any]:
    """Return the attributes of a group."""
    wcs = grid.sky_projection.as_fits_wcs(grid.bbox)
    named = {
        field.name: value.value if hasattr(value := getattr(rules, field.name), "value") else value
        for field in dataclasses.fields(rules)
    }
    return {
        "creator": f"lsst-dax-image {__version__}",
        "created": created.utc.isot,
        "unit": None if form.unit is None else form.unit.to_string(),
        "yx0": [grid.bbox.y.start, grid.bbox.x.start],
        "wcs": None if wcs is None else wcs.to_header_string(relax=True),
        "sky_projection": write_projection(grid.sky_projection),
        "psf": "inputs" if has_psf(rules) else "none",
        "rules": {
            **named,
            "exclude_planes": list(rules.exclude_planes),
            "background_exclude": list(rules.background_exclude),
        },
    }


def _list_planes(schema: MaskSchema) -> list[Mapping[str, Any]]:
    """Return what the bits of a mask mean."""
    return [
        {"bit": 8 * bit.index + int(bit.mask).bit_length() - 1, "name": name, "description": description}
        for name, description in schema.descriptions.items()
        for bit in (schema.bit(name),)
    ]


def _write_inputs(group: Any, inputs: QTable) -> None:
    """Write the table of inputs as one array per column."""
    table = group.create_group("inputs")
    for name in inputs.colnames:
        column = inputs[name]
        values = np.asarray(getattr(column, "value", column))
        is_text = values.dtype.kind == "U"
        array = table.create_array(
            name,
            shape=values.shape,
            chunks=(max(1, len(values)),),
            dtype=str if is_text else values.dtype,
            dimension_names=("input",),
        )
        array[:] = values.astype(object) if is_text else values
        if getattr(column, "unit", None) is not None:
            array.attrs["unit"] = column.unit.to_string()


def _mask_dtype(schema: MaskSchema) -> str:
    """Return the type of a mask with one integer per pixel."""
    for size, name in _MASK_DTYPES.items():
        if schema.mask_size <= size:
            return name
    raise UnsupportedProductError(
        f"A mask in Zarr has 64 planes at most; this one takes {schema.mask_size} octets."
    )


def _join_octets(octets: NDArray[np.uint8], schema: MaskSchema) -> NDArray[Any]:
    """Return a mask as one integer per pixel, the first octet lowest."""
    mask = np.zeros(octets.shape[:2], _mask_dtype(schema))
    for index in range(octets.shape[2]):
        mask |= octets[..., index].astype(mask.dtype) << mask.dtype.type(8 * index)
    return mask


def _list_keys(box: Box, bbox: Box) -> Iterator[str]:
    """Yield the keys of the chunks of a part, row by row."""
    for part in split_box(box, CHUNK):
        yield f"c/{(part.y.start - bbox.y.start) // CHUNK}/{(part.x.start - bbox.x.start) // CHUNK}"


def _move(staged: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished group its name."""
    if overwrite and (path / _ROOT).exists():
        old = staged.with_name(f"old-{uuid.uuid4().hex}")
        path.replace(old)
        staged.replace(path)
        shutil.rmtree(old)
    else:
        # A folder with something in it is never replaced.
        staged.replace(path)


def _upload(staged: Path, target: ResourcePath, *, overwrite: bool) -> None:
    """Copy a finished group to a store; without its root, which comes last, it is none."""
    with upload_errors_reported():
        root = target.join(_ROOT, forceDirectory=False)
        if not overwrite and root.exists():
            raise FileExistsError(f"{root} exists")
        for file in sorted(staged.rglob("*")):
            if file.is_file() and file != staged / _ROOT:
                key = target.join(file.relative_to(staged).as_posix(), forceDirectory=False)
                key.transfer_from(ResourcePath(file), transfer="copy", overwrite=True)
        root.transfer_from(ResourcePath(staged / _ROOT), transfer="copy", overwrite=overwrite)
