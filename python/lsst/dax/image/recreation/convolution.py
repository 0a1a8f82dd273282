"""Convolution with a kernel that varies over the image, as the observatory defines it."""

from __future__ import annotations

__all__ = (
    "convolve",
    "convolve_constant",
    "find_convolution_box",
    "find_convolution_source",
    "find_tile_source",
)

from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lsst.images import Box, Image, Mask, MaskedImage
from lsst.images.convolution_kernels import ConvolutionKernel, ImageBasisConvolutionKernel
from lsst.images.fields import BaseField, ChebyshevField

from ..errors import NoCoverageError, UnsupportedProductError
from .isr._threads import map_threads

type Floats = NDArray[np.float64]

_TILE = 216
"""Side of the tiles whose sums are done at once; they begin at multiples of it in parent pixels."""


@dataclass(frozen=True)
class _Term:
    """One part of a kernel: a picture whose amplitude depends on the position."""

    fields: tuple[BaseField, ...]
    """Factors of the amplitude."""

    picture: Floats
    """Kernel of unit amplitude."""


def convolve(
    image: MaskedImage, kernel: ConvolutionKernel, *, bbox: Box | None = None, threads: int = 1
) -> MaskedImage:
    """Convolve an image with a kernel that varies over it.

    Parameters
    ----------
    image
        Image, variance and mask.  Not modified.
    kernel
        Kernel K, in the pixels of the image.
    bbox
        Pixels to return; by default all whose sums lie within the image.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    convolved
        Image (float32), with the variance through the squared kernel.  Pixels
        whose kernel touches a value that is not finite are NaN in image and
        variance.  A mask plane is set where the kernel touches a pixel that
        has it.

    Raises
    ------
    NoCoverageError
        Raised if a sum would need pixels beyond the image, or the kernel is
        not defined on ``bbox``.
    UnsupportedProductError
        Raised if the kernel is of an unknown kind.

    Notes
    -----
    In the observatory's convention the kernel is not reflected, and its sum
    is not normalised::

        out[y, x] = sum_ij K(x, y)[j, i] image[y + j, x + i]

    with i and j relative to the kernel's centre, and the variance the same sum
    with K**2 [1]_.  A kernel whose basis images have Chebyshev amplitudes is
    one picture per polynomial of the position, whatever the number of basis
    images: three for order 1.  So is its square.  Sums are done in double
    precision, through Fourier transforms of tiles that lie at fixed places:
    a part has the bits of the whole, if the image reaches
    `find_convolution_source` in both cases.  The cost is one transform per
    picture and pixel.

    References
    ----------
    .. [1] Alard & Lupton 1998, ApJ 503, 325; Rubin's ``ip_diffim`` and ``afw``.
    """
    whole = find_convolution_box(image.bbox, kernel)
    bbox = whole if bbox is None else bbox
    if not whole.contains(bbox):
        raise NoCoverageError(
            f"{bbox} needs pixels beyond {image.bbox}: a kernel of {kernel.kernel_bbox} reaches {whole}."
        )
    bounds = kernel.bounds.bbox
    if not bounds.contains(bbox):
        raise NoCoverageError(f"The kernel is defined on {bounds}, which does not hold {bbox}.")
    terms = _find_terms(kernel)
    missing = ~(np.isfinite(image.image.array) & np.isfinite(image.variance.array))
    spread = partial(_spread, bbox=image.bbox, kernel_bbox=kernel.kernel_bbox, part=bbox)
    is_missing = spread(missing)
    planes = []
    for array, picked in ((image.image.array, terms), (image.variance.array, _square(terms))):
        clean = np.where(missing, 0.0, array)
        out = np.empty(tuple(bbox.shape), np.float32)
        _sum_tiles(clean, image.bbox, picked, kernel.kernel_bbox, bbox, out, threads)
        out[is_missing] = np.nan
        planes.append(out)
    mask = Mask(spread(image.mask.array), schema=image.mask.schema, bbox=bbox)
    return MaskedImage(
        Image(planes[0], bbox=bbox, unit=image.unit),
        mask=mask,
        variance=Image(planes[1], bbox=bbox, unit=image.variance.unit),
        sky_projection=image.sky_projection,
    )


def find_convolution_box(bbox: Box, kernel: ConvolutionKernel) -> Box:
    """Return the pixels whose sums lie within an image.

    Parameters
    ----------
    bbox
        Pixels of the image.
    kernel
        Kernel.

    Returns
    -------
    box
        Pixels of the largest result.

    Raises
    ------
    NoCoverageError
        Raised if the kernel is larger than the image.
    """
    reach = kernel.kernel_bbox
    x0, x1 = bbox.x.start - reach.x.start, bbox.x.stop - reach.x.stop + 1
    y0, y1 = bbox.y.start - reach.y.start, bbox.y.stop - reach.y.stop + 1
    if x1 <= x0 or y1 <= y0:
        raise NoCoverageError(f"A kernel of {reach} does not fit into an image of {bbox}.")
    return Box.factory[y0:y1, x0:x1]


def find_convolution_source(bbox: Box, kernel: ConvolutionKernel) -> Box:
    """Return the pixels of an image that the bits of a part of its convolution depend on.

    Parameters
    ----------
    bbox
        Pixels of the part.
    kernel
        Kernel.

    Returns
    -------
    box
        The tiles that hold the part, and the kernel's reach around them.
    """
    return find_tile_source(bbox, kernel.kernel_bbox)


def find_tile_source(bbox: Box, reach: Box) -> Box:
    """Return the pixels that the sums of a part are made from.

    Parameters
    ----------
    bbox
        Pixels of the part.
    reach
        Pixels of the kernel, relative to its centre.

    Returns
    -------
    box
        The tiles that hold the part, and the kernel's reach around them.
    """
    x, y = _tiles(bbox.x.start, bbox.x.stop), _tiles(bbox.y.start, bbox.y.stop)
    return Box.factory[
        y[0] + reach.y.start : y[-1] + _TILE + reach.y.stop - 1,
        x[0] + reach.x.start : x[-1] + _TILE + reach.x.stop - 1,
    ]


def convolve_constant(
    array: Floats, array_bbox: Box, picture: Floats, *, bbox: Box, threads: int = 1
) -> NDArray[np.float32]:
    """Convolve pixels with one kernel; beyond them there is zero.

    Parameters
    ----------
    array
        Finite pixels.
    array_bbox
        Their place.
    picture
        Kernel with odd sides, centred on its middle.
    bbox
        Pixels to return.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    sums
        ``sum_ij picture[j, i] array[y + j, x + i]``, shape of ``bbox``; the
        same bits for any ``array`` that holds what there is within
        `find_tile_source`.
    """
    height, width = picture.shape
    reach = Box.factory[-(height // 2) : height // 2 + 1, -(width // 2) : width // 2 + 1]
    out = np.empty(tuple(bbox.shape), np.float32)
    _sum_tiles(array, array_bbox, [_Term((), picture)], reach, bbox, out, threads)
    return out


def _tiles(start: int, stop: int) -> range:
    """Return where the tiles begin that hold a range of pixels."""
    return range(start // _TILE * _TILE, stop, _TILE)


def _find_terms(kernel: ConvolutionKernel) -> list[_Term]:
    """Split a kernel into pictures with amplitudes, as few as there can be."""
    if not isinstance(kernel, ImageBasisConvolutionKernel):
        raise UnsupportedProductError(
            f"A {type(kernel).__name__} is no sum of images with amplitudes; only such kernels are known."
        )
    terms: list[_Term] = []
    polynomials: dict[str, tuple[ChebyshevField, Floats]] = {}
    for picture, field in zip(kernel.basis, kernel.spatial, strict=True):
        if not isinstance(field, ChebyshevField):
            terms.append(_Term((field,), np.asarray(picture, np.float64)))
            continue
        for p, q in np.argwhere(field.coefficients).tolist():
            key = f"{field.bounds.bbox} {p} {q}"
            if key not in polynomials:
                polynomials[key] = (_polynomial(field, p, q), np.zeros(picture.shape))
            polynomials[key][1][...] += field.coefficients[p, q] * picture
    return terms + [_Term((field,), picture) for field, picture in polynomials.values()]


def _polynomial(field: ChebyshevField, p: int, q: int) -> ChebyshevField:
    """Return ``T_p(y) T_q(x)`` on the bounds of a field."""
    coefficients = np.zeros((p + 1, q + 1))
    coefficients[p, q] = 1.0
    return ChebyshevField(field.bounds, coefficients)


def _square(terms: list[_Term]) -> list[_Term]:
    """Return the terms of the squared kernel."""
    squared: list[_Term] = []
    for i, a in enumerate(terms):
        for b in terms[i:]:
            factor = 1.0 if a is b else 2.0
            squared.append(_Term(a.fields + b.fields, factor * a.picture * b.picture))
    return squared


def _sum_tiles(
    array: Floats,
    array_bbox: Box,
    terms: list[_Term],
    reach: Box,
    bbox: Box,
    out: NDArray[np.float32],
    threads: int,
) -> None:
    """Fill the sums of a part, tile by tile."""
    height, width = reach.shape
    shape = tuple(scipy.fft.next_fast_len(_TILE + side - 1, real=True) for side in (height, width))
    # Reversed pictures: a product of transforms reflects one of its factors.
    transforms = np.stack([scipy.fft.rfft2(term.picture[::-1, ::-1], s=shape) for term in terms])

    def run(corner: tuple[int, int]) -> None:
        y, x = corner
        source = Box.factory[
            y + reach.y.start : y + _TILE + reach.y.stop - 1, x + reach.x.start : x + _TILE + reach.x.stop - 1
        ]
        part = np.zeros(tuple(source.shape))
        inside = source.intersection(array_bbox)
        part[inside.slice_within(source)] = array[inside.slice_within(array_bbox)]
        tile = Box.factory[y : y + _TILE, x : x + _TILE].intersection(bbox)
        sums = scipy.fft.irfft2(scipy.fft.rfft2(part, s=shape) * transforms, s=shape)
        rows = slice(tile.y.start - y + height - 1, tile.y.stop - y + height - 1)
        columns = slice(tile.x.start - x + width - 1, tile.x.stop - x + width - 1)
        total = np.zeros(tuple(tile.shape))
        rendered = {id(field): _render(field, tile) for term in terms for field in term.fields}
        for term, values in zip(terms, sums, strict=True):
            product = values[rows, columns]
            for field in term.fields:
                product = product * rendered[id(field)]
            total += product
        out[tile.slice_within(bbox)] = total

    tiles_y, tiles_x = _tiles(bbox.y.start, bbox.y.stop), _tiles(bbox.x.start, bbox.x.stop)
    map_threads(run, [(y, x) for y in tiles_y for x in tiles_x], threads=threads)


def _render(field: BaseField, tile: Box) -> Floats:
    """Return an amplitude at the pixels of a tile; each has the same bits in any tile."""
    if not isinstance(field, ChebyshevField):
        return np.asarray(field(x=tile.meshgrid().x, y=tile.meshgrid().y), np.float64)
    box = field.bounds.bbox
    y = (2.0 * tile.y.arange - (box.y.start + box.y.stop - 1)) / box.y.size
    x = (2.0 * tile.x.arange - (box.x.start + box.x.stop - 1)) / box.x.size
    values: Floats = np.polynomial.chebyshev.chebgrid2d(y, x, field.coefficients)
    return values


def _spread[T: (np.uint8, np.bool_)](
    array: NDArray[T], *, bbox: Box, kernel_bbox: Box, part: Box
) -> NDArray[T]:
    """Return the union of the bits that a kernel touches, for the pixels of a part."""
    y, x = (
        part.y.start - bbox.y.start + kernel_bbox.y.start,
        part.x.start - bbox.x.start + kernel_bbox.x.start,
    )
    height, width = kernel_bbox.shape
    found = array[y : y + part.y.size + height - 1, x : x + part.x.size + width - 1]
    return _spread_along(_spread_along(found, height, axis=0), width, axis=1)


def _spread_along[T: (np.uint8, np.bool_)](array: NDArray[T], length: int, *, axis: int) -> NDArray[T]:
    """Return the union over windows of a length, each called after its first pixel."""
    found, done = np.moveaxis(array, axis, 0), 1
    # Windows of doubled length, the last of which overlap.
    while done < length:
        step = min(done, length - done)
        found = found[: len(found) - step] | found[step:]
        done += step
    return np.moveaxis(found, 0, axis)
