"""What all stamps of a stack of arrays have in common."""

from __future__ import annotations

__all__ = ("StackLayout",)

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import Image, Mask, MaskPlane, MaskSchema

from ...errors import InconsistentUnitsError, UnsupportedProductError
from ...version import __version__
from .._padding import NO_DATA
from ._planes import PSF, pack_mask

_MASK_TYPES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True)
class StackLayout:
    """Shape, types, units and mask planes of the arrays of a stack."""

    shapes: Mapping[str, tuple[int, int]]
    """Rows and columns of a stamp by array; only those of a PSF differ."""

    dtypes: Mapping[str, np.dtype[Any]]
    """Type of the pixels by array: ``image``, ``mask``, ``variance`` and,
    from the first stamp that has one on, ``psf``.  Images are floating point,
    so that they can hold NaN; masks are integers."""

    units: Mapping[str, u.UnitBase | None]
    """Unit by array, without the mask."""

    mask_planes: tuple[MaskPlane, ...]
    """Planes of the mask, for the bits from 0."""

    @classmethod
    def of(cls, planes: Mapping[str, Image | Mask]) -> Self:
        """Return the layout of a stack that begins with a stamp.

        Parameters
        ----------
        planes
            Planes of the stamp.

        Returns
        -------
        layout
            Layout of the stamp's size and units.  The mask has the plane
            ``NO_DATA`` too, which a stamp at the edge of its image needs.
        """
        dtypes = {}
        units = {}
        mask_planes: tuple[MaskPlane, ...] = ()
        for name, plane in planes.items():
            if isinstance(plane, Mask):
                mask_planes = _add_planes((), plane)
                if NO_DATA.name not in plane.schema.names:
                    mask_planes = (*mask_planes, NO_DATA)
                dtypes[name] = _find_mask_type(mask_planes)
            else:
                dtypes[name] = _find_image_type(plane.array.dtype)
                units[name] = plane.unit
        shapes = {name: _find_shape(plane) for name, plane in planes.items()}
        return cls(shapes, dtypes, units, mask_planes)

    def extended(self, planes: Mapping[str, Image | Mask]) -> Self:
        """Check that a stamp fits, and make room for its mask planes.

        Parameters
        ----------
        planes
            Planes of the stamp.

        Returns
        -------
        layout
            This layout; with further mask planes, if the stamp has some.

        Raises
        ------
        UnsupportedProductError
            Raised if the stamp has another size or other planes, or does not
            fit into the types of the arrays.
        InconsistentUnitsError
            Raised if the stamp has another unit.
        """
        if set(planes) - {PSF} != set(self.dtypes) - {PSF}:
            raise UnsupportedProductError(
                f"The stamps of a stack have {sorted(self.dtypes)}; this one has {sorted(planes)}."
            )
        if PSF in planes and PSF not in self.dtypes:
            return self._with_psf(planes[PSF]).extended(planes)
        mask_planes = self.mask_planes
        for name, plane in planes.items():
            ours, its = self.shapes[name], _find_shape(plane)
            if ours != its:
                raise UnsupportedProductError(
                    f"The {name} of the stamps of a stack has {ours[0]} rows and {ours[1]} columns; that of "
                    f"this one has {its[0]} and {its[1]}."
                )
            if isinstance(plane, Mask):
                mask_planes = _add_planes(mask_planes, plane)
                self._check_bits(plane, mask_planes)
            else:
                self._check_values(name, plane)
        return self if mask_planes == self.mask_planes else dataclasses.replace(self, mask_planes=mask_planes)

    def arrays(self, planes: Mapping[str, Image | Mask]) -> dict[str, NDArray[Any]]:
        """Return the pixels of a stamp as they are stored.

        Parameters
        ----------
        planes
            Planes of a stamp that fits.

        Returns
        -------
        arrays
            Pixels by array; NaN for a PSF that there is not.
        """
        names = [plane.name for plane in self.mask_planes]
        return {
            name: pack_mask(plane, names, self.dtypes[name])
            if isinstance(plane, Mask)
            else plane.array.astype(self.dtypes[name])
            for name, plane in planes.items()
        } | {name: self.blank_array(name) for name in self.dtypes if name not in planes}

    def blank_array(self, name: str) -> NDArray[Any]:
        """Return the pixels of a stamp that has none.

        Parameters
        ----------
        name
            Name of the array.

        Returns
        -------
        array
            New array, full of what `blank` returns.
        """
        return np.full(self.shapes[name], self.blank(name), self.dtypes[name])

    def blank(self, name: str) -> float | int:
        """Return the value of a pixel that there is not.

        Parameters
        ----------
        name
            Name of the array.

        Returns
        -------
        value
            NaN, or for the mask the bit of ``NO_DATA``.
        """
        if name not in self.units:
            return 1 << [plane.name for plane in self.mask_planes].index(NO_DATA.name)
        return float("nan")

    def describe(self) -> dict[str, Any]:
        """Return the layout as plain values.

        Returns
        -------
        description
            What `from_text` takes, as JSON.
        """
        return {
            "creator": f"lsst-dax-image {__version__}",
            "arrays": {
                name: {"dtype": dtype.name, "shape": list(self.shapes[name])}
                | ({"unit": _unit_text(self.units[name])} if name in self.units else {})
                for name, dtype in self.dtypes.items()
            },
            "mask_planes": [
                {"bit": bit, "name": plane.name, "description": plane.description}
                for bit, plane in enumerate(self.mask_planes)
            ],
        }

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the layout of a description.

        Parameters
        ----------
        text
            What `describe` returned, as JSON.

        Returns
        -------
        layout
            The layout.
        """
        description = json.loads(text)
        arrays = description["arrays"]
        return cls(
            {name: (array["shape"][0], array["shape"][1]) for name, array in arrays.items()},
            {name: np.dtype(array["dtype"]) for name, array in arrays.items()},
            {
                name: None if array["unit"] is None else u.Unit(array["unit"], parse_strict="silent")
                for name, array in arrays.items()
                if "unit" in array
            },
            tuple(MaskPlane(plane["name"], plane["description"]) for plane in description["mask_planes"]),
        )

    def _with_psf(self, psf: Image | Mask) -> Self:
        """Return a layout with an array for PSFs."""
        added = type(self).of({PSF: psf})
        return dataclasses.replace(
            self,
            shapes={**self.shapes, **added.shapes},
            dtypes={**self.dtypes, **added.dtypes},
            units={**self.units, **added.units},
        )

    def _check_bits(self, mask: Mask, mask_planes: tuple[MaskPlane, ...]) -> None:
        """Check that the integers of the mask have room for further planes."""
        room = MaskSchema.bits_per_element(self.dtypes["mask"])
        if len(mask_planes) > room:
            raise UnsupportedProductError(
                f"The masks of a stack have {room} bits for the planes "
                f"{[plane.name for plane in self.mask_planes]}; this one has {sorted(mask.schema.names)}."
            )

    def _check_values(self, name: str, image: Image) -> None:
        """Check that an array can hold the values of an image."""
        if image.unit != self.units[name]:
            raise InconsistentUnitsError(
                f"The {name} of the stamps of a stack is in {_unit_text(self.units[name]) or 'no unit'}; "
                f"that of this one is in {_unit_text(image.unit) or 'no unit'}."
            )
        if not np.can_cast(image.array.dtype, self.dtypes[name], "safe"):
            raise UnsupportedProductError(
                f"The {name} of the stamps of a stack is {self.dtypes[name]}, which does not hold "
                f"{image.array.dtype} exactly."
            )


def _add_planes(mask_planes: tuple[MaskPlane, ...], mask: Mask) -> tuple[MaskPlane, ...]:
    """Return mask planes with those of a mask that are not among them."""
    known = {plane.name for plane in mask_planes}
    return (
        *mask_planes,
        *(plane for plane in mask.schema if plane is not None and plane.name not in known),
    )


def _find_shape(plane: Image | Mask) -> tuple[int, int]:
    """Return rows and columns of a plane."""
    return int(plane.bbox.shape.y), int(plane.bbox.shape.x)


def _find_mask_type(mask_planes: tuple[MaskPlane, ...]) -> np.dtype[Any]:
    """Return the smallest integers that have a bit for each plane."""
    for dtype in _MASK_TYPES:
        if len(mask_planes) <= MaskSchema.bits_per_element(dtype):
            return dtype
    raise UnsupportedProductError(f"A mask of {len(mask_planes)} planes does not fit into the 63 of a stack.")


def _find_image_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest floating point numbers that hold pixels exactly."""
    for found in (np.dtype(np.float32), np.dtype(np.float64)):
        if np.can_cast(dtype, found, "safe"):
            return found
    raise UnsupportedProductError(f"A stack has pixels of at most 64 bits, and these are {dtype}.")


def _unit_text(unit: u.UnitBase | None) -> str | None:
    """Return a unit as text that astropy reads."""
    return None if unit is None else str(unit.to_string())
