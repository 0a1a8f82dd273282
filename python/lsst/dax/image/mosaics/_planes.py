"""Image, variance and mask as plain arrays with one box and one mask schema."""

from __future__ import annotations

__all__ = ("PixelForm", "Planes", "find_form", "to_masked", "to_planes", "write_projection")

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import YX, Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.images.json import JsonOutputArchive

from ..errors import InconsistentUnitsError, RequestError, UnsupportedProductError

NO_DATA = "NO_DATA"
_NO_DATA_PLANE = MaskPlane(NO_DATA, "No data was available for this pixel.")


@dataclass(frozen=True)
class PixelForm:
    """What the pixels of a mosaic are."""

    dtype: str
    """Type of the values: float32 or float64."""

    variance_dtype: str
    """Type of the variances."""

    schema: MaskSchema
    """Mask planes of all inputs."""

    unit: u.UnitBase | None
    """Unit of the values."""

    has_variance: bool
    """Whether all inputs have variances."""

    def octets(self, planes: Sequence[str]) -> NDArray[np.uint8]:
        """Return the mask bits of the planes that there are, shape ``(n_octets,)``."""
        return self.schema.bitmask(*(name for name in planes if name in self.schema.names))

    def allocate(self, box: Box) -> Planes:
        """Return planes without values."""
        shape = (box.y.size, box.x.size)
        return Planes(
            box,
            np.empty(shape, self.dtype),
            np.empty(shape, self.variance_dtype),
            np.empty((*shape, self.schema.mask_size), np.uint8),
        )


@dataclass(frozen=True)
class Planes:
    """Pixels of one image."""

    box: Box
    """Where they are."""

    image: NDArray[Any]
    """Values, shape ``(ny, nx)``."""

    variance: NDArray[Any]
    """Variances, shape ``(ny, nx)``."""

    mask: NDArray[np.uint8]
    """Mask octets, shape ``(ny, nx, n_octets)``."""

    def part(self, box: Box) -> Planes:
        """Return a view of the pixels in a smaller box."""
        rows = slice(box.y.start - self.box.y.start, box.y.stop - self.box.y.start)
        columns = slice(box.x.start - self.box.x.start, box.x.stop - self.box.x.start)
        return Planes(box, self.image[rows, columns], self.variance[rows, columns], self.mask[rows, columns])

    def shifted(self, shift: YX[int]) -> Planes:
        """Return the same pixels elsewhere."""
        if shift == (0, 0):
            return self
        return Planes(move_box(self.box, shift), self.image, self.variance, self.mask)

    def fill_blank(self, form: PixelForm) -> None:
        """Set all pixels to those of no image."""
        self.image[...] = np.nan
        self.variance[...] = np.nan
        self.mask[...] = form.octets([NO_DATA])

    def copy_from(self, other: Planes, where: NDArray[np.bool_] | None = None) -> None:
        """Copy the pixels of a box within this one."""
        mine = self.part(other.box)
        if where is None:
            mine.image[...] = other.image
            mine.variance[...] = other.variance
            mine.mask[...] = other.mask
        else:
            np.copyto(mine.image, other.image, where=where)
            np.copyto(mine.variance, other.variance, where=where)
            np.copyto(mine.mask, other.mask, where=where[..., None])


def move_box(box: Box, shift: YX[int]) -> Box:
    """Return a box elsewhere."""
    return Box.factory[
        box.y.start + shift.y : box.y.stop + shift.y, box.x.start + shift.x : box.x.stop + shift.x
    ]


def find_form(images: Sequence[Image | MaskedImage]) -> PixelForm:
    """Find what the pixels of a mosaic are.

    Parameters
    ----------
    images
        Inputs, or a pixel of each.

    Returns
    -------
    form
        Widest types, the union of the mask planes in order of appearance, and
        ``NO_DATA``.

    Raises
    ------
    InconsistentUnitsError
        Raised if the units differ.
    UnsupportedProductError
        Raised if an input has no values, or a unit that astropy does not know.
    RequestError
        Raised if there is none.
    """
    if not images:
        raise RequestError("A mosaic is made of one image or more, not of none.")
    for number, image in enumerate(images):
        if not isinstance(image, Image | MaskedImage):
            raise UnsupportedProductError(
                f"Input {number} is a {type(image).__name__}; a mosaic is made of Images and MaskedImages."
            )
        if image.unit != images[0].unit:
            raise InconsistentUnitsError(
                f"Input {number} is in {image.unit}, input 0 in {images[0].unit}; a mosaic has one unit."
            )
    if isinstance(images[0].unit, u.UnrecognizedUnit):
        raise UnsupportedProductError(
            f"The inputs are in {images[0].unit.to_string()!r}, a unit that astropy does not know, so that "
            f"their variances have none; give them a unit that it knows, or none."
        )
    masked = [image for image in images if isinstance(image, MaskedImage)]
    planes: dict[str, MaskPlane] = {}
    if masked and all(image.mask.schema == masked[0].mask.schema for image in masked):
        schema = masked[0].mask.schema
        if schema.dtype == np.uint8 and NO_DATA in schema.names:
            return PixelForm(*_dtypes(images), schema, images[0].unit, len(masked) == len(images))
    for image in masked:
        for plane in image.mask.schema:
            if plane is not None:
                planes.setdefault(plane.name, plane)
    planes.setdefault(NO_DATA, _NO_DATA_PLANE)
    schema = MaskSchema(planes.values())
    return PixelForm(*_dtypes(images), schema, images[0].unit, len(masked) == len(images))


def _dtypes(images: Sequence[Image | MaskedImage]) -> tuple[str, str]:
    """Return the widest types of values and variances."""
    values = {(image.image if isinstance(image, MaskedImage) else image).array.dtype for image in images}
    variances = {image.variance.array.dtype for image in images if isinstance(image, MaskedImage)}
    dtype = np.result_type(np.float32, *values)
    if dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise UnsupportedProductError(f"Pixels of types {sorted(map(str, values))} cannot be averaged.")
    return dtype.name, np.result_type(np.float32, *variances).name


def to_planes(image: Image | MaskedImage, box: Box, form: PixelForm) -> Planes:
    """Return part of an image in the form of a mosaic.

    Parameters
    ----------
    image
        Image, which has all of ``box``.
    box
        Pixels.
    form
        Form of the mosaic.

    Returns
    -------
    planes
        Views where nothing needs to be converted.  An image without variance
        gets NaN.
    """
    here = (box.y.slice_within(image.bbox.y), box.x.slice_within(image.bbox.x))
    if isinstance(image, Image):
        values = image.array[here]
        variance = np.broadcast_to(np.array(np.nan, form.variance_dtype), values.shape)
        mask = np.zeros((*values.shape, form.schema.mask_size), np.uint8)
        return Planes(box, values.astype(form.dtype, copy=False), variance, mask)
    return Planes(
        box,
        image.image.array[here].astype(form.dtype, copy=False),
        image.variance.array[here].astype(form.variance_dtype, copy=False),
        _convert_mask(image.mask, box, form.schema),
    )


def _convert_mask(mask: Mask, box: Box, schema: MaskSchema) -> NDArray[np.uint8]:
    """Return the octets of part of a mask in another schema."""
    if mask.schema is schema or mask.schema == schema:
        octets: NDArray[np.uint8] = mask.array[
            box.y.slice_within(mask.bbox.y), box.x.slice_within(mask.bbox.x)
        ]
        return octets
    mask = mask[box]
    out = np.zeros((*mask.array.shape[:2], schema.mask_size), np.uint8)
    for plane in mask.schema:
        if plane is not None:
            bit = schema.bit(plane.name)
            out[..., bit.index] |= np.where(mask.get(plane.name), bit.mask, 0).astype(np.uint8)
    return out


def to_masked(planes: Planes, form: PixelForm, sky_projection: SkyProjection[Any] | None) -> MaskedImage:
    """Return planes as an image.

    Parameters
    ----------
    planes
        Pixels, which are shared.
    form
        Their form.
    sky_projection
        Their projection.

    Returns
    -------
    image
        Image with mask and variance.

    Raises
    ------
    RequestError
        Raised if the arrays do not fill the box.
    """
    if planes.image.shape != tuple(planes.box.shape):
        raise RequestError(f"Pixels of shape {planes.image.shape} do not fill {planes.box}.")
    start = planes.box.start
    unit = form.unit
    return MaskedImage(
        Image(planes.image, yx0=start, unit=unit, sky_projection=sky_projection),
        mask=Mask(planes.mask, schema=form.schema, yx0=start, sky_projection=sky_projection),
        variance=Image(
            planes.variance, yx0=start, unit=None if unit is None else unit**2, sky_projection=sky_projection
        ),
        sky_projection=sky_projection,
    )


def write_projection(projection: SkyProjection[Any]) -> str:
    """Return a projection as JSON.

    Parameters
    ----------
    projection
        Projection.

    Returns
    -------
    text
        JSON; equal projections give equal texts.
    """
    text: str = projection.serialize(JsonOutputArchive()).model_dump_json()
    return text
