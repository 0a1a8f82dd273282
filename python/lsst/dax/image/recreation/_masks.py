"""Masks of `lsst.images` as arrays of integers, one bit per plane."""

from __future__ import annotations

__all__ = ("bits_to_mask", "mask_to_bits", "merge_masks", "select_planes")

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from lsst.images import Box, Mask, MaskPlane, MaskSchema, get_legacy_visit_image_mask_planes

from ..errors import InputDataError
from .isr import IsrPlane

type Bits = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

MAX_PLANES = 32

# Instrument signature removal finds these again; all other planes of a visit
# image come from later processing (detection, cosmic rays, star catalogues).
REMADE = (
    IsrPlane.BAD
    | IsrPlane.SATURATED
    | IsrPlane.INTERPOLATED
    | IsrPlane.SUSPECT
    | IsrPlane.NO_DATA
    | IsrPlane.CROSSTALK
    | IsrPlane.ITL_DIP
    | IsrPlane.UNMASKED_NAN
)
# Found by both.
SHARED = IsrPlane.DETECTION_EDGE


def mask_to_bits(mask: Mask) -> Bits:
    """Return a mask's planes as integers [y, x]; plane n of the schema is bit n."""
    check_schema(mask.schema)
    size = mask.array.shape[2]
    width = 2 if size <= 2 else 4
    if size != width:
        padding = [(0, 0), (0, 0), (0, width - size)]
        planes = np.pad(mask.array, padding)
    else:
        planes = np.ascontiguousarray(mask.array)
    bits: Bits = planes.view(f"<u{width}")[..., 0]
    return bits


def bits_to_mask(bits: Bits, schema: MaskSchema, bbox: Box) -> Mask:
    """Return the mask of integers [y, x] whose bit n is plane n of the schema."""
    check_schema(schema)
    little = np.ascontiguousarray(bits, dtype=f"<u{bits.itemsize}")
    planes = little[..., np.newaxis].view(np.uint8)
    return Mask(np.ascontiguousarray(planes[..., : schema.mask_size]), schema=schema, bbox=bbox)


def select_planes(schema: MaskSchema, names: Collection[str]) -> int:
    """Return the bits of some planes, of those that the schema has."""
    return sum(1 << n for n, plane in enumerate(schema) if plane is not None and plane.name in names)


def check_schema(schema: MaskSchema) -> None:
    """Raise if a schema is not one of bytes with at most 32 planes."""
    if schema.dtype != np.uint8 or len(schema) > MAX_PLANES:
        raise InputDataError(
            f"A mask of {len(schema)} planes in {schema.dtype} cannot be merged; at most {MAX_PLANES} planes "
            f"in bytes can."
        )


def merge_masks(isr_bits: npt.NDArray[np.uint16], original: Mask | None) -> tuple[Bits, MaskSchema]:
    """Merge the planes that were made again with those of later processing.

    Parameters
    ----------
    isr_bits
        Bits of `IsrPlane`, [y, x].
    original
        Mask of the original on the same pixels.

    Returns
    -------
    bits, schema
        Merged planes in the order of the original's schema, to which planes
        that it lacks are appended; in the observatory's order without one.
    """
    made = [plane for plane in IsrPlane if plane & (REMADE | SHARED)]
    schema = _extend(original.schema if original is not None else _usual_schema(), made)
    dtype: Any = np.uint16 if len(schema) <= 16 else np.uint32
    table = np.zeros(1 << 16, dtype=dtype)
    codes = np.arange(1 << 16)
    for plane in made:
        table[codes & plane != 0] |= select_planes(schema, {plane.name or ""})
    bits: Bits = table[isr_bits]
    if original is not None:
        names = {plane.name for plane in original.schema if plane is not None}
        later = select_planes(schema, names - {plane.name for plane in made if plane & REMADE})
        bits |= mask_to_bits(original).astype(dtype, copy=False) & dtype(later)
        struck = select_planes(schema, {"COSMIC_RAY"})
        # A cosmic ray is filled in, which both planes say.
        bits[bits & dtype(struck) != 0] |= select_planes(schema, {"INTERPOLATED"})
    return bits, schema


def _usual_schema() -> MaskSchema:
    return MaskSchema(list(get_legacy_visit_image_mask_planes().values()))


def _extend(schema: MaskSchema, planes: list[IsrPlane]) -> MaskSchema:
    missing = [plane for plane in planes if (plane.name or "") not in schema.names]
    if not missing:
        return schema
    added = [MaskPlane(plane.name or "", "From instrument signature removal.") for plane in missing]
    return MaskSchema([*schema, *added], dtype=schema.dtype)
