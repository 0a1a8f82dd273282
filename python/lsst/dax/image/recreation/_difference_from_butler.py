"""Make difference images of a repository again, or for the first time."""

from __future__ import annotations

__all__ = (
    "DifferenceInputs",
    "make_difference_from_recipe",
    "recreate_difference_from",
    "recreate_difference_image",
)

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsst.daf.butler import DatasetRef
from lsst.images import (
    BackgroundMap,
    Box,
    DifferenceImage,
    DifferenceImageTemplateInfo,
    Mask,
    MaskedImage,
    SkyProjection,
    VisitImage,
)
from lsst.images.convolution_kernels import ConvolutionKernel
from lsst.images.fields import BaseField
from lsst.images.serialization import open_archive
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import (
    DatasetNotFoundError,
    InputDataError,
    MissingPsfError,
    NoCoverageError,
    RequestTooLargeError,
    internal_errors_reported,
)
from ..geometry import PolygonStencil, TargetGrid
from ..repository import (
    ButlerLike,
    fetch_dataset,
    fetch_geometry,
    find_by_uuid,
    find_dataset,
    find_datasets,
    name_dataset,
    opened_dataset,
    read_metadata,
)
from ..version import __version__
from ._from_butler import make_from_recipe
from ._inputs_from_butler import describe_dataset
from ._template_parts import describe_template, find_part, find_psf_moments, find_sample_boxes
from .decorrelation import NoiseLevels
from .difference_image import (
    MatchingMode,
    SubtractionOptions,
    find_difference_source,
    find_noise_levels,
    subtract_template,
)
from .difference_recipe import DifferenceImageRecipe, read_difference_recipe
from .matching import KernelModel, find_stamp_positions, fit_matching_kernel
from .recipe import RECIPE_KEY, InputDataset, read_recipe
from .template import make_template

_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_ORIGINAL_PLANES = ("DETECTED", "DETECTED_NEGATIVE", "STREAK")


@dataclass(frozen=True, eq=False, kw_only=True)
class DifferenceInputs:
    """What goes into a difference image instead of what is found."""

    science: VisitImage | None = None
    """A whole visit image that was re-created, with its recipe; else the persisted one."""

    kernel: ConvolutionKernel | KernelModel | None = None
    """The matching kernel, or the model of one that is fitted; else that of the persisted
    difference image."""

    templates: Sequence[DatasetRef] | None = None
    """The coadds; else those of the persisted difference image or, without one, all of
    ``template_coadd`` that overlap in the band of the visit."""

    background: DatasetRef | None = None
    """Background of the difference, in nJy, that is subtracted at the end; else none."""


@dataclass(frozen=True, eq=False)
class _Science:
    """The science image, of which parts can be read."""

    butler: ButlerLike
    source: DatasetRef | VisitImage
    bbox: Box
    projection: SkyProjection[Any]

    @classmethod
    def open(cls, butler: ButlerLike, source: DatasetRef | VisitImage) -> _Science:
        """Look at an image."""
        if isinstance(source, VisitImage):
            return cls(butler, source, source.bbox, source.sky_projection)
        geometry = fetch_geometry(butler, source)
        return cls(butler, source, geometry.bbox, geometry.sky_projection)

    def read(self, bbox: Box) -> VisitImage:
        """Return a part with all its components."""
        if isinstance(self.source, VisitImage):
            return self.source[bbox]
        with opened_dataset(self.butler, self.source) as reader:
            image = reader.read_full(bbox)
        if not isinstance(image, VisitImage):
            raise InputDataError(f"{name_dataset(self.source)} is a {type(image).__name__}, no VisitImage.")
        return image

    def read_pixel(self) -> VisitImage:
        """Return the middle pixel, with all else that the image holds."""
        x, y = int(self.bbox.x.center), int(self.bbox.y.center)
        return self.read(Box.factory[y : y + 1, x : x + 1])

    def read_planes(self, bbox: Box) -> MaskedImage:
        """Return image, mask and variance of a part."""
        if isinstance(self.source, VisitImage):
            return self.source[bbox]
        return _read_planes(self.butler, self.source, bbox)


@dataclass(frozen=True, eq=False)
class _Templates:
    """The coadds, of which the parts that are needed can be brought to the science image."""

    butler: ButlerLike
    refs: Sequence[DatasetRef]
    science: _Science

    def make(self, bbox: Box, *, threads: int) -> MaskedImage:
        """Return the template on some pixels of the science image or around it."""
        parts = []
        for ref in self.refs:
            geometry = fetch_geometry(self.butler, ref)
            part = find_part(bbox, self.science.projection, geometry.sky_projection, geometry.bbox)
            if part is not None:
                parts.append(_read_planes(self.butler, ref, part))
        grid = TargetGrid(self.science.projection, bbox)
        return make_template(parts, grid, threads=threads)

    def describe(self) -> list[DifferenceImageTemplateInfo]:
        """Return what is stored of the coadds."""
        infos = []
        for ref in self.refs:
            geometry = fetch_geometry(self.butler, ref)
            part = find_part(
                self.science.bbox, self.science.projection, geometry.sky_projection, geometry.bbox
            )
            if part is None:
                continue
            x, y = int(part.x.center), int(part.y.center)
            pixel = fetch_dataset(self.butler, ref, bbox=Box.factory[y : y + 1, x : x + 1])
            science = self.science.bbox, self.science.projection
            data_id = dict(ref.dataId.required)
            infos.append(describe_template((ref.id, ref.run), data_id, pixel, geometry.bbox, science))
        return infos


@dataclass(frozen=True, eq=False)
class _Original:
    """What the persisted difference image says of how it was made."""

    ref: DatasetRef | None
    kernel: ConvolutionKernel | None
    templates: list[DifferenceImageTemplateInfo]


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that a difference image is made from."""

    recipe: DifferenceImageRecipe
    science: _Science
    templates: _Templates
    kernel: ConvolutionKernel
    infos: list[DifferenceImageTemplateInfo]


_OBSERVATORY = SubtractionOptions()


def recreate_difference_image(
    butler: ButlerLike,
    data_id: Mapping[str, Any],
    *,
    inputs: DifferenceInputs | None = None,
    options: SubtractionOptions = _OBSERVATORY,
    bbox: Box | None = None,
    max_pixels: int | None = None,
    threads: int = 1,
) -> DifferenceImage:
    """Make a difference image again, or one that never was.

    Parameters
    ----------
    butler
        Butler to read through; its default collections are searched.
    data_id
        Instrument, visit and detector.
    inputs
        What to take instead of the persisted visit image, kernel and
        templates.
    options
        How the template is subtracted.
    bbox
        Pixels to return (0-based, of the visit image); all if `None`.  The
        same bits as in the whole.
    max_pixels
        Largest number of pixels that may be returned; a larger request is
        refused before pixels are read.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    difference
        Science image minus matched template, with kernel, templates, PSF,
        variance and mask.  Its metadata hold the recipe (see
        `read_difference_recipe`).

    Raises
    ------
    DatasetNotFoundError
        Raised if there is no such visit image, or no template.
    InputDataError
        Raised if a stored file is missing or unusable.
    NoCoverageError
        Raised if ``bbox`` reaches off the visit image, or no template has
        data there.
    RequestError
        Raised if no kernel was persisted, and the stars do not determine one.
    RequestTooLargeError
        Raised if more than ``max_pixels`` would be returned.

    Notes
    -----
    Kernel and list of templates are those of the persisted difference image,
    whose pixels are not read.  Where there is none, the kernel is fitted to
    the stars of the whole visit image (see `fit_matching_kernel`).  Detections
    and streaks of the mask come from the persisted one, if kernel and
    templates do.

    The noise that the filter is made for is measured in the whole image if it
    is small, and else in 16 boxes spread over it.
    """
    with internal_errors_reported(f"Re-creation of the difference image {dict(data_id)}"):
        plan = _make_plan(butler, data_id, inputs or DifferenceInputs(), options, threads)
        plan = dataclasses.replace(plan, recipe=plan.recipe.with_box(bbox))
        return _follow(plan, max_pixels=max_pixels, threads=threads)


def make_difference_from_recipe(
    butler: ButlerLike,
    recipe: DifferenceImageRecipe,
    *,
    kernel: ConvolutionKernel | None = None,
    max_pixels: int | None = None,
    threads: int = 1,
) -> DifferenceImage:
    """Make the difference image of a recipe.

    Parameters
    ----------
    butler
        Butler to read through; the datasets are found by their UUIDs.
    recipe
        Inputs and parameters.
    kernel
        Kernel of the image that carries the recipe, if no dataset has it.
    max_pixels, threads
        As for `recreate_difference_image`.

    Returns
    -------
    difference
        The same pixels whenever and wherever the recipe is followed.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository lacks an input.
    InputDataError
        Raised if neither a dataset nor the caller has the kernel.
    """
    with internal_errors_reported(f"Re-creation of a difference image, of {recipe.templates}"):
        if isinstance(recipe.science, InputDataset):
            science = _Science.open(butler, _find(butler, recipe.science))
        else:
            science = _Science.open(butler, make_from_recipe(butler, recipe.science, threads=threads))
        templates = _Templates(butler, [_find(butler, item) for item in recipe.templates], science)
        if recipe.original is not None:
            original = _read_original(butler, _find(butler, recipe.original))
            kernel, infos = original.kernel, original.templates
        else:
            infos = templates.describe()
        if kernel is None:
            raise InputDataError(
                "The recipe has no dataset for the matching kernel, and no kernel was given."
            )
        plan = _Plan(recipe, science, templates, kernel, infos)
        return _follow(plan, max_pixels=max_pixels, threads=threads)


def recreate_difference_from(
    file: ResourcePathExpression, butler: ButlerLike, *, max_pixels: int | None = None, threads: int = 1
) -> DifferenceImage:
    """Make a difference image again from what its file says of how it was made.

    Parameters
    ----------
    file
        File of a re-created difference image; its pixels are not read.
    butler
        Butler of the repository that has the inputs.
    max_pixels, threads
        As for `recreate_difference_image`.

    Returns
    -------
    difference
        The same pixels.

    Raises
    ------
    UnsupportedProductError
        Raised if the file holds no recipe.
    InputDataError
        Raised if the file is not readable, or its recipe damaged.
    DatasetNotFoundError
        Raised if the repository lacks an input.
    """
    uri = ResourcePath(file, forceDirectory=False)
    with internal_errors_reported(f"Re-creation of {uri}"):
        recipe = read_difference_recipe(read_metadata(uri))
        kernel = None
        if recipe.original is None:
            with open_archive(uri, DifferenceImage) as archive:
                kernel = archive.get_component("kernel")
        return make_difference_from_recipe(
            butler, recipe, kernel=kernel, max_pixels=max_pixels, threads=threads
        )


def _make_plan(
    butler: ButlerLike,
    data_id: Mapping[str, Any],
    inputs: DifferenceInputs,
    options: SubtractionOptions,
    threads: int,
) -> _Plan:
    """Find all inputs, fit the kernel where there is none, and measure the noise."""
    given = find_dataset(butler, "visit_image", data_id) if inputs.science is None else inputs.science
    source = _Science.open(butler, given)
    original = _find_original(butler, data_id)
    refs = _find_templates(butler, inputs, original, source, data_id)
    templates = _Templates(butler, refs, source)
    is_original_template = inputs.templates is None and original.ref is not None
    infos = original.templates if is_original_template else templates.describe()
    kernel = original.kernel if inputs.kernel is None and is_original_template else inputs.kernel
    is_original = kernel is not None and kernel is original.kernel
    if kernel is None or isinstance(kernel, KernelModel):
        kernel = _fit(source, templates, kernel, infos, options, threads)
    recipe = DifferenceImageRecipe(
        software=f"lsst-dax-image {__version__}",
        science=read_recipe(given) if isinstance(given, VisitImage) else describe_dataset(given),
        templates=[describe_dataset(ref) for ref in refs],
        original=describe_dataset(original.ref) if is_original and original.ref is not None else None,
        with_original_mask=is_original,
        background=None if inputs.background is None else describe_dataset(inputs.background),
        noise=_measure_noise(source, templates, threads),
        options=options,
    )
    return _Plan(recipe, source, templates, kernel, infos)


def _follow(plan: _Plan, *, max_pixels: int | None, threads: int) -> DifferenceImage:
    """Make what a plan says."""
    recipe, science = plan.recipe, plan.science
    bbox = science.bbox if recipe.box is None else recipe.box
    if max_pixels is not None and bbox.area > max_pixels:
        raise RequestTooLargeError(f"{bbox} has {bbox.area} pixels, more than {max_pixels}.")
    if not science.bbox.contains(bbox):
        raise NoCoverageError(f"{bbox} is not within the visit image of {science.bbox}.")
    science_box, template_box = find_difference_source(
        bbox, science.bbox, plan.kernel, options=recipe.options, noise=recipe.noise
    )
    difference = subtract_template(
        science.read(science_box),
        plan.templates.make(template_box, threads=threads),
        plan.kernel,
        options=recipe.options,
        noise=recipe.noise,
        background=_fetch_background(science.butler, recipe.background),
        bbox=bbox,
        threads=threads,
    )
    if recipe.with_original_mask and recipe.original is not None:
        _copy_planes(science.butler, recipe.original, difference.mask)
    difference.templates = plan.infos
    difference.metadata[RECIPE_KEY] = recipe.model_dump_json()
    return difference


def _find_original(butler: ButlerLike, data_id: Mapping[str, Any]) -> _Original:
    """Return what there is of the persisted difference image."""
    try:
        ref = find_dataset(butler, "difference_image", data_id)
    except DatasetNotFoundError:
        return _Original(None, None, [])
    return _read_original(butler, ref)


def _read_original(butler: ButlerLike, ref: DatasetRef) -> _Original:
    kernel = fetch_dataset(butler, ref.makeComponentRef("kernel"))
    templates = fetch_dataset(butler, ref.makeComponentRef("templates"))
    return _Original(ref if templates else None, kernel, list(templates or []))


def _find_templates(
    butler: ButlerLike,
    inputs: DifferenceInputs,
    original: _Original,
    science: _Science,
    data_id: Mapping[str, Any],
) -> list[DatasetRef]:
    """Return the coadds, in the order in which they are merged."""
    if inputs.templates is not None:
        found = list(inputs.templates)
    elif original.ref is not None:
        found = [find_by_uuid(butler, info.dataset_id) for info in original.templates]
    else:
        box = science.bbox
        x = np.array([box.x.min, box.x.max, box.x.max, box.x.min], float)
        y = np.array([box.y.min, box.y.min, box.y.max, box.y.max], float)
        outline = PolygonStencil(science.projection.pixel_to_sky(x=x, y=y))
        bands = [science.read_pixel().band]
        found = find_datasets(butler, "template_coadd", region=outline, bands=bands)
    if not found:
        raise DatasetNotFoundError(f"There is no template for the visit image {dict(data_id)}.")
    return found


def _fit(
    science: _Science,
    templates: _Templates,
    model: KernelModel | None,
    infos: Sequence[DifferenceImageTemplateInfo],
    options: SubtractionOptions,
    threads: int,
) -> ConvolutionKernel:
    """Fit the kernel to the stars of the whole image."""
    convolves_template = options.mode is MatchingMode.CONVOLVE_TEMPLATE
    if model is None:
        model = _choose_model(science, templates, infos, convolves_template=convolves_template)
    wide = science.bbox.dilated_by(model.size // 2) if convolves_template else science.bbox
    sharp, blurred = templates.make(wide, threads=threads), science.read_planes(science.bbox)
    x, y = find_stamp_positions(blurred)
    if not convolves_template:
        sharp, blurred = blurred, sharp
    return fit_matching_kernel(blurred, sharp, x=x, y=y, model=model, bounds=science.bbox).kernel


def _choose_model(
    science: _Science,
    templates: _Templates,
    infos: Sequence[DifferenceImageTemplateInfo],
    *,
    convolves_template: bool,
) -> KernelModel:
    """Return the model for the widths of the PSFs."""
    moments = [
        info.psf_shape_xx * info.psf_shape_yy - info.psf_shape_xy**2
        for info in infos
        if not info.psf_shape_flag
    ]
    ours = find_psf_moments(science.read_pixel())
    if ours is None or not moments:
        raise MissingPsfError(
            "The widths of the PSFs are not known (there is none in the middle of the images), so no model "
            "of a matching kernel can be chosen; give one."
        )
    coadd = fetch_geometry(science.butler, templates.refs[0])
    scale = TargetGrid(coadd.sky_projection, coadd.bbox).pixel_scale
    ratio = float(scale / TargetGrid(science.projection, science.bbox).pixel_scale)
    template_fwhm = _FWHM * float(np.median(moments)) ** 0.25 * ratio
    science_fwhm = _FWHM * (ours[0] * ours[1] - ours[2] ** 2) ** 0.25
    if not convolves_template:
        science_fwhm, template_fwhm = template_fwhm, science_fwhm
    return KernelModel.for_psfs(science_fwhm_px=science_fwhm, template_fwhm_px=template_fwhm)


def _measure_noise(science: _Science, templates: _Templates, threads: int) -> NoiseLevels:
    """Measure the noise in a few boxes."""
    ours, theirs = [], []
    for box in find_sample_boxes(science.bbox):
        try:
            theirs.append(templates.make(box, threads=threads))
        except NoCoverageError:
            # No template reaches this box; another one will do.
            continue
        ours.append(science.read_planes(box))
    return find_noise_levels(ours, theirs)


def _fetch_background(butler: ButlerLike, dataset: InputDataset | None) -> BaseField | None:
    """Return the background that is subtracted at the end."""
    if dataset is None:
        return None
    ref = _find(butler, dataset)
    value = fetch_dataset(butler, ref)
    if isinstance(value, BackgroundMap) and len(value) == 1:
        value = next(iter(value.values())).field
    if not isinstance(value, BaseField):
        raise InputDataError(f"{name_dataset(ref)} holds a {type(value).__name__}, not one background.")
    return value


def _copy_planes(butler: ButlerLike, original: InputDataset, out_mask: Mask) -> None:
    """Set what detection found on the original."""
    ref = _find(butler, original).makeComponentRef("mask")
    with opened_dataset(butler, ref) as reader:
        mask = reader.read_image(out_mask.bbox)
    if not isinstance(mask, Mask):
        raise InputDataError(f"{name_dataset(ref)} is a {type(mask).__name__}, not a Mask.")
    for name in _ORIGINAL_PLANES:
        if name in mask.schema.names:
            out_mask.set(name, mask.get(name))


def _read_planes(butler: ButlerLike, ref: DatasetRef, bbox: Box) -> MaskedImage:
    with opened_dataset(butler, ref) as reader:
        image = reader.read_masked_image(bbox)
    if not isinstance(image, MaskedImage):
        raise InputDataError(f"{name_dataset(ref)} is a {type(image).__name__}, not a MaskedImage.")
    return image


def _find(butler: ButlerLike, dataset: InputDataset) -> DatasetRef:
    return find_by_uuid(butler, dataset.id)
