"""The difference of a science image and a template whose PSFs are matched by a given kernel."""

from __future__ import annotations

__all__ = (
    "Decorrelation",
    "MatchingMode",
    "SubtractionOptions",
    "find_difference_source",
    "find_noise_levels",
    "subtract_template",
)

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydantic
from numpy.typing import NDArray

from lsst.images import (
    Box,
    DifferenceImage,
    Image,
    Mask,
    MaskedImage,
    MaskPlane,
    MaskSchema,
    NoOverlapError,
    VisitImage,
    get_legacy_difference_image_mask_planes,
)
from lsst.images.convolution_kernels import ConvolutionKernel, ImageBasisConvolutionKernel
from lsst.images.fields import BaseField

from ..errors import InconsistentUnitsError, NoCoverageError, UnsupportedProductError
from .convolution import convolve, convolve_constant, find_convolution_source, find_tile_source
from .decorrelation import DecorrelationKernel, NoiseLevels, find_mean_variance, make_decorrelation_kernel
from .fields import render_background

type Floats = NDArray[np.float64]

# What a template says of its pixels in a difference image, by the name there.
_TEMPLATE_PLANES = {
    "NO_DATA": "NO_DATA",
    "BAD": "BAD",
    "HIGH_VARIANCE": "HIGH_VARIANCE",
    "SAT_TEMPLATE": "SATURATED",
}
_DETECTIONS = ("DETECTED", "DETECTED_NEGATIVE")
_NOT_SKY = ("INTERPOLATED", "DETECTION_EDGE", "SATURATED", "COSMIC_RAY", "BAD", "NO_DATA")


class MatchingMode(enum.Enum):
    """Which of the two images is convolved with the kernel."""

    CONVOLVE_TEMPLATE = "convolve_template"
    """The template, which is the sharper one as a rule."""

    CONVOLVE_SCIENCE = "convolve_science"
    """The science image; its flux scale is kept by the kernel's sum in the middle of the image."""


class Decorrelation(enum.Enum):
    """What is done about the noise of the convolved image, which is correlated."""

    NONE = "none"
    """Nothing; the variance is that of single pixels."""

    WHITE = "white"
    """A filter makes the noise white, as in the observatory's difference images."""


class SubtractionOptions(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How a template is subtracted."""

    mode: MatchingMode = MatchingMode.CONVOLVE_TEMPLATE
    """Which image is convolved."""
    decorrelation: Decorrelation = Decorrelation.WHITE
    """What is done about correlated noise."""
    science_variance_factor: pydantic.PositiveFloat = 1.0
    """The science image's variances are multiplied by this; the observatory's
    processing writes its factors to task metadata."""
    template_variance_factor: pydantic.PositiveFloat = 1.0
    """The template's variances are multiplied by this."""


_OBSERVATORY = SubtractionOptions()


def subtract_template(
    science: VisitImage,
    template: MaskedImage,
    kernel: ConvolutionKernel,
    *,
    options: SubtractionOptions = _OBSERVATORY,
    noise: NoiseLevels | None = None,
    background: BaseField | None = None,
    bbox: Box | None = None,
    threads: int = 1,
) -> DifferenceImage:
    r"""Subtract a template from a science image.

    Parameters
    ----------
    science
        Science image, or a part of one that reaches `find_difference_source`.
        Not modified.
    template
        Template on the pixels of the science image and around them, from
        `make_template`.  Not modified.
    kernel
        Kernel that matches the PSFs, as it is or was persisted; defined on
        the whole science image.
    options
        How it is done.
    noise
        Mean variances, as `find_noise_levels` returns them, before the
        factors of the options; if `None`, those of the images given.
    background
        Background of the difference in nJy, which is subtracted at the end.
    bbox
        Pixels to return; all of the science image if `None`.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    difference
        Science image minus template: what has become brighter is positive.
        All else is that of the science image.  Where science image or
        template have no value, image and variance are NaN and NO_DATA is set.

    Raises
    ------
    NoCoverageError
        Raised if ``bbox`` reaches off the science image or the kernel's
        bounds.
    InconsistentUnitsError
        Raised if the images have different units.
    InputDataError
        Raised if the noise is not known.
    UnsupportedProductError
        Raised if the kernel is of an unknown kind.

    Notes
    -----
    Where the template is convolved, with C the convolution of `convolve` and
    :math:`\psi` the filter of `make_decorrelation_kernel` for the kernel in
    the middle of its bounds,

    .. math:: D = \psi * (S - K \circ T)

    and the variance is that of S and T, each times what the filters make of
    white noise; without the filter it is :math:`V_S + K^2 \circ V_T`.  Missing
    pixels count as zero in the filter and stay missing.  A template that does
    not reach far enough is missing beyond its edge.

    The PSF of the result is taken to be that of the science image, as the
    observatory does: sums over a source are right, but the filter makes the
    core somewhat sharper than that PSF.  Where the science image is convolved,
    the PSF attached is not that of the difference, which is the template's.

    Detections are cleared: they were made on another image.  SATURATED of the
    template becomes SAT_TEMPLATE.

    References
    ----------
    Alard & Lupton 1998, ApJ 503, 325; DMTN-021; DMTN-179.
    """
    bbox = science.bbox if bbox is None else bbox
    _check(science, template, bbox)
    white: DecorrelationKernel | None = None
    if options.decorrelation is Decorrelation.WHITE:
        levels = find_noise_levels([science], [template]) if noise is None else noise
        white = _make_filter(kernel, levels, options)
    source = bbox if white is None else _clip(find_tile_source(bbox, white.reach), science.bbox)
    matched = _match(science, template, kernel, options.mode, source, threads)
    pixels = np.subtract(matched.science.image.array, matched.template.image.array, dtype=np.float64)
    if white is None:
        variance = _add_variances(matched, options)
    else:
        pixels = _whiten(pixels, source, bbox, white, threads)
        variance = _filter_variances(science, template, bbox, options, white)
    if background is not None:
        pixels = pixels - render_background(background, bbox)
    return _wrap(science, kernel, (pixels, variance), matched, bbox)


def find_difference_source(
    bbox: Box,
    science_bbox: Box,
    kernel: ConvolutionKernel,
    *,
    options: SubtractionOptions,
    noise: NoiseLevels,
) -> tuple[Box, Box]:
    """Return the pixels that a part of a difference image is made from.

    Parameters
    ----------
    bbox
        Pixels of the part.
    science_bbox
        Pixels of the whole science image.
    kernel, options, noise
        As for `subtract_template`.

    Returns
    -------
    science, template
        Pixels of either image; the template's reach beyond the science image.
    """
    source = bbox
    if options.decorrelation is Decorrelation.WHITE:
        source = find_tile_source(bbox, _make_filter(kernel, noise, options).reach)
        source = _clip(source, science_bbox)
    wide = find_convolution_source(source, kernel)
    if options.mode is MatchingMode.CONVOLVE_TEMPLATE:
        return source, wide
    return _clip(wide, science_bbox), source


def find_noise_levels(science: Sequence[MaskedImage], template: Sequence[MaskedImage]) -> NoiseLevels:
    """Measure the mean variances of a science image and its template.

    Parameters
    ----------
    science
        Science image, or several parts of it.
    template
        The same of the template.

    Returns
    -------
    noise
        Clipped means of the pixels that no mask excludes.

    Raises
    ------
    InputDataError
        Raised if no pixel is left.
    """
    return NoiseLevels(science=_find_level(science), template=_find_level(template))


@dataclass(frozen=True, eq=False)
class _Matched:
    """Both images on the same pixels, after the convolution of one."""

    science: MaskedImage
    template: MaskedImage


def _match(
    science: VisitImage,
    template: MaskedImage,
    kernel: ConvolutionKernel,
    mode: MatchingMode,
    source: Box,
    threads: int,
) -> _Matched:
    """Convolve one image, and cut both to some pixels."""
    if mode is MatchingMode.CONVOLVE_TEMPLATE:
        wide = _place(template, find_convolution_source(source, kernel), _take_planes(template.mask))
        return _Matched(_cut(science, source), convolve(wide, kernel, bbox=source, threads=threads))
    wide = _place(science, find_convolution_source(source, kernel), science.mask)
    blurred = convolve(wide, _normalise(kernel), bbox=source, threads=threads)
    return _Matched(blurred, _place(template, source, _take_planes(template.mask)))


def _make_filter(
    kernel: ConvolutionKernel, noise: NoiseLevels, options: SubtractionOptions
) -> DecorrelationKernel:
    """Return the filter for the kernel in the middle of the image."""
    science = noise.science * options.science_variance_factor
    template = noise.template * options.template_variance_factor
    if options.mode is MatchingMode.CONVOLVE_TEMPLATE:
        return make_decorrelation_kernel(_find_middle(kernel), plain=science, blurred=template)
    return make_decorrelation_kernel(_find_middle(_normalise(kernel)), plain=template, blurred=science)


def _find_middle(kernel: ConvolutionKernel) -> Floats:
    """Return the kernel in the middle of its bounds."""
    box = kernel.bounds.bbox
    picture = kernel.compute_kernel_image(x=int(box.x.center), y=int(box.y.center))
    return np.asarray(picture.array, np.float64)


def _normalise(kernel: ConvolutionKernel) -> ImageBasisConvolutionKernel:
    """Return a kernel with a sum of one in the middle."""
    if not isinstance(kernel, ImageBasisConvolutionKernel):
        raise UnsupportedProductError(f"A {type(kernel).__name__} cannot be normalised.")
    total = np.sum(_find_middle(kernel))
    start = kernel.kernel_bbox
    return ImageBasisConvolutionKernel(
        kernel.basis / total, kernel.spatial, center_y=-start.y.start, center_x=-start.x.start
    )


def _add_variances(matched: _Matched, options: SubtractionOptions) -> Floats:
    """Return the variance of single pixels of the difference."""
    science = matched.science.variance.array * options.science_variance_factor
    template = matched.template.variance.array * options.template_variance_factor
    total: Floats = np.add(science, template, dtype=np.float64)
    return total


def _filter_variances(
    science: VisitImage,
    template: MaskedImage,
    bbox: Box,
    options: SubtractionOptions,
    white: DecorrelationKernel,
) -> Floats:
    """Return the variance of the difference after the filter: that of white noise in both images."""
    factors = [white.plain_factor, white.blurred_factor]
    if options.mode is MatchingMode.CONVOLVE_SCIENCE:
        factors.reverse()
    first = science.variance[bbox].array * (factors[0] * options.science_variance_factor)
    second = _spread_plane(template.variance, bbox) * (factors[1] * options.template_variance_factor)
    total: Floats = np.add(first, second, dtype=np.float64)
    return total


def _whiten(difference: Floats, source: Box, bbox: Box, white: DecorrelationKernel, threads: int) -> Floats:
    """Return the filtered difference; what is missing stays so."""
    missing = ~np.isfinite(difference)
    filtered = convolve_constant(
        np.where(missing, 0.0, difference), source, white.picture, bbox=bbox, threads=threads
    ).astype(np.float64)
    filtered[missing[bbox.slice_within(source)]] = np.nan
    return filtered


def _find_level(parts: Sequence[MaskedImage]) -> float:
    usable = []
    for part in parts:
        good = np.isfinite(part.image.array)
        for name in _NOT_SKY:
            if name in part.mask.schema.names:
                good &= ~part.mask.get(name)
        usable.append(good)
    return find_mean_variance([part.variance.array for part in parts], usable)


def _take_planes(mask: Mask) -> Mask:
    """Return what a template's mask says in a difference image."""
    schema = get_legacy_difference_image_mask_planes()
    planes: list[MaskPlane | None] = [plane for plane in schema.values() if plane.name in _TEMPLATE_PLANES]
    taken = Mask(0, schema=MaskSchema(planes), bbox=mask.bbox)
    for name, source in _TEMPLATE_PLANES.items():
        if source in mask.schema.names:
            taken.set(name, mask.get(source))
    return taken


def _place(image: MaskedImage, bbox: Box, mask: Mask) -> MaskedImage:
    """Return an image on other pixels, missing where it does not reach."""
    whole = Mask(0, schema=mask.schema, bbox=bbox)
    overlap = _clip(bbox, image.bbox)
    whole[overlap] = mask[overlap]
    return MaskedImage(
        Image(_spread_plane(image.image, bbox), bbox=bbox, unit=image.unit),
        mask=whole,
        variance=Image(_spread_plane(image.variance, bbox), bbox=bbox, unit=image.variance.unit),
    )


def _spread_plane(plane: Image, bbox: Box) -> NDArray[np.float32]:
    """Return a plane on other pixels, NaN where it does not reach."""
    found = np.full(tuple(bbox.shape), np.nan, np.float32)
    overlap = _clip(bbox, plane.bbox)
    found[overlap.slice_within(bbox)] = plane.array[overlap.slice_within(plane.bbox)]
    return found


def _cut(image: VisitImage, bbox: Box) -> MaskedImage:
    return MaskedImage(image.image[bbox], mask=image.mask[bbox], variance=image.variance[bbox])


def _clip(bbox: Box, limits: Box) -> Box:
    """Return the pixels that two boxes share."""
    try:
        return bbox.intersection(limits)
    except NoOverlapError as error:
        raise NoCoverageError(f"{bbox} and {limits} have no pixel in common.") from error


def _check(science: VisitImage, template: MaskedImage, bbox: Box) -> None:
    if not science.bbox.contains(bbox):
        raise NoCoverageError(f"{bbox} is not within the science image of {science.bbox}.")
    if science.unit != template.unit:
        raise InconsistentUnitsError(
            f"The science image is in {science.unit}, the template in {template.unit}."
        )


def _wrap(
    science: VisitImage,
    kernel: ConvolutionKernel,
    planes: tuple[Floats, Floats],
    matched: _Matched,
    bbox: Box,
) -> DifferenceImage:
    """Make the difference image of its pixels and variances."""
    pixels, variance = planes
    missing = ~(np.isfinite(pixels) & np.isfinite(variance))
    schema: list[MaskPlane | None] = list(get_legacy_difference_image_mask_planes().values())
    known = {plane.name for plane in schema if plane is not None}
    schema += [plane for plane in science.mask.schema if plane is not None and plane.name not in known]
    mask = Mask(0, schema=MaskSchema(schema), bbox=bbox)
    mask.update(matched.science.mask[bbox])
    for name in _DETECTIONS:
        mask.clear(name)
    for plane in _TEMPLATE_PLANES:
        if plane in matched.template.mask.schema.names:
            mask.set(plane, matched.template.mask[bbox].get(plane))
    mask.set("NO_DATA", missing)
    arrays = [np.where(missing, np.nan, plane).astype(np.float32) for plane in planes]
    return DifferenceImage(
        Image(arrays[0], bbox=bbox, unit=science.unit, sky_projection=science.sky_projection),
        mask=mask,
        variance=Image(arrays[1], bbox=bbox, unit=science.variance.unit),
        obs_info=science.obs_info,
        summary_stats=science.summary_stats,
        photometric_scaling=science.photometric_scaling,
        psf=science.psf,
        detector=science.detector,
        aperture_corrections=science.aperture_corrections,
        backgrounds=science.backgrounds,
        band=science.band,
        kernel=kernel,
        metadata=dict(science.metadata.native),
    )
