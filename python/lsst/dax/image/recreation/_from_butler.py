"""Make visit images of a repository again."""

from __future__ import annotations

__all__ = (
    "fetch_calibrations",
    "make_from_recipe",
    "make_isr_image",
    "recreate_from",
    "recreate_visit_image",
)

import dataclasses
from collections.abc import Mapping
from typing import Any

from lsst.daf.butler import DatasetRef
from lsst.images import Box, MaskedImage, VisitImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import CalibrationMismatchError, RequestTooLargeError, internal_errors_reported
from ..repository import (
    ButlerLike,
    fetch_uri,
    find_by_uuid,
    name_dataset,
    read_metadata,
)
from ._components_from_butler import fetch_components
from ._inputs_from_butler import make_visit_image_recipe
from .calibration_cache import CalibrationCache
from .components import VisitComponents
from .isr import IsrCalibrations, IsrSequence, read_calibration, read_raw, run_isr
from .recipe import RECIPE_KEY, InputDataset, VisitImageRecipe, read_recipe
from .stitching import stitch_visit_image


def recreate_visit_image(
    butler: ButlerLike,
    data_id: Mapping[str, Any],
    *,
    sequence: IsrSequence,
    inputs: Mapping[str, DatasetRef] | None = None,
    bbox: Box | None = None,
    max_pixels: int | None = None,
    cache: CalibrationCache | None = None,
    threads: int = 1,
) -> VisitImage:
    """Make a processed visit image again from its raw and what was persisted of it.

    Parameters
    ----------
    butler
        Butler to read through; its default collections are searched.
    data_id
        Instrument, visit and detector.
    sequence
        Steps of the instrument signature removal, such as
        `lsst.dax.image.recreation.isr.LSSTCAM_DP2`.
    inputs
        Datasets to take for some inputs instead of those that are found: see
        `make_visit_image_recipe`.
    bbox
        Pixels to return (0-based, of the trimmed detector); all if `None`.
    max_pixels
        Largest number of pixels that may be returned; a larger request is
        refused before anything is read.
    cache
        Keeps calibrations from one call to the next.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    visit_image
        Background-subtracted image in nJy with variance, mask, WCS, PSF,
        aperture corrections and all else of the original.  Its metadata hold
        the recipe (see `read_recipe`).

    Raises
    ------
    DatasetNotFoundError
        Raised if there is no such raw or visit image.
    MissingCalibrationError, CalibrationMismatchError
        Raised if a calibration is missing or does not belong to the exposure.
    InputDataError
        Raised if a stored file is missing or unusable.
    RequestTooLargeError
        Raised if more than ``max_pixels`` would be returned.
    NoCoverageError
        Raised if ``bbox`` reaches off the detector.
    """
    with internal_errors_reported(f"Re-creation of the visit image {dict(data_id)}"):
        if bbox is not None:
            _check_size(bbox, max_pixels)
        recipe = make_visit_image_recipe(butler, data_id, sequence=sequence, inputs=inputs, bbox=bbox)
        return make_from_recipe(butler, recipe, max_pixels=max_pixels, cache=cache, threads=threads)


def make_from_recipe(
    butler: ButlerLike,
    recipe: VisitImageRecipe,
    *,
    max_pixels: int | None = None,
    cache: CalibrationCache | None = None,
    threads: int = 1,
) -> VisitImage:
    """Make the visit image of a recipe.

    Parameters
    ----------
    butler
        Butler to read through; the datasets are found by their UUIDs.
    recipe
        Inputs and parameters.
    max_pixels, cache, threads
        As for `recreate_visit_image`.

    Returns
    -------
    visit_image
        The same pixels whenever and wherever the recipe is followed.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository lacks an input.
    """
    with internal_errors_reported(f"Re-creation of the visit image {recipe.raw.data_id}"):
        components = fetch_components(
            butler,
            {name: _find(butler, dataset) for name, dataset in recipe.components.items()},
            detector=int(recipe.raw.data_id["detector"]),
            background=recipe.background,
            with_mask=recipe.with_original_mask,
        )
        bbox = recipe.box
        _check_size(components.detector.bbox if bbox is None else bbox, max_pixels)
        isr_image = make_isr_image(butler, recipe, components, cache=cache, threads=threads)
        return stitch_visit_image(
            isr_image,
            components,
            seed=recipe.seed,
            bbox=bbox,
            metadata=dict(isr_image.metadata.native) | {RECIPE_KEY: recipe.model_dump_json()},
            threads=threads,
        )


def recreate_from(
    file: ResourcePathExpression,
    butler: ButlerLike,
    *,
    max_pixels: int | None = None,
    cache: CalibrationCache | None = None,
    threads: int = 1,
) -> VisitImage:
    """Make a product again from what its file says of how it was made.

    Parameters
    ----------
    file
        File of a re-created image; its pixels are not read.
    butler
        Butler of the repository that has the inputs.
    max_pixels, cache, threads
        As for `recreate_visit_image`.

    Returns
    -------
    visit_image
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
        recipe = read_recipe(read_metadata(uri))
        return make_from_recipe(butler, recipe, max_pixels=max_pixels, cache=cache, threads=threads)


def fetch_calibrations(
    butler: ButlerLike, calibrations: Mapping[str, InputDataset], *, cache: CalibrationCache | None = None
) -> IsrCalibrations:
    """Read calibrations by their UUIDs.

    Parameters
    ----------
    butler
        Butler to read through.
    calibrations
        Datasets by their names in `~lsst.dax.image.recreation.isr.IsrCalibrations`.
    cache
        Keeps them for the next call.

    Returns
    -------
    calibrations
        What the files hold.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository lacks one.
    InputDataError
        Raised if a file is unusable.
    """
    cache = CalibrationCache(0) if cache is None else cache
    return IsrCalibrations(
        **{
            name: cache.get(dataset.id, lambda n=name, d=dataset: _read_calibration(butler, n, d))  # type: ignore[misc]
            for name, dataset in calibrations.items()
        }
    )


def _read_calibration(butler: ButlerLike, name: str, dataset: InputDataset) -> Any:
    ref = _find(butler, dataset)
    calibration = read_calibration(name, fetch_uri(butler, ref))
    info = dataclasses.replace(
        calibration.info,
        dataset_id=ref.id,
        run=ref.run,
        source=f"{name_dataset(ref)} {calibration.info.source}",
    )
    return dataclasses.replace(calibration, info=info)


def make_isr_image(
    butler: ButlerLike,
    recipe: VisitImageRecipe,
    components: VisitComponents,
    *,
    cache: CalibrationCache | None = None,
    threads: int = 1,
) -> MaskedImage:
    """Make the image without instrument signature that a recipe goes on from.

    Parameters
    ----------
    butler
        Butler to read through.
    recipe
        Inputs and parameters; its box does not matter.
    components
        What `fetch_components` returned for the recipe.
    cache, threads
        As for `recreate_visit_image`.

    Returns
    -------
    isr_image
        The whole detector in electron, for `stitch_visit_image`; its metadata
        hold what the steps recorded.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository lacks an input.
    CalibrationMismatchError
        Raised if the raw or a calibration is not what the recipe says.
    InputDataError
        Raised if a stored file is missing or unusable.
    """
    raw_ref = _find(butler, recipe.raw)
    raw = read_raw(fetch_uri(butler, raw_ref), components.detector, threads=threads)
    expected = (recipe.raw.data_id.get("exposure"), recipe.raw.data_id.get("detector"))
    if (raw.info.exposure, raw.info.detector) != expected:
        raise CalibrationMismatchError(
            f"{name_dataset(raw_ref)} holds exposure {raw.info.exposure} of detector {raw.info.detector}."
        )
    calibrations = fetch_calibrations(butler, recipe.calibrations, cache=cache)
    calibrations = dataclasses.replace(calibrations, pedestals=recipe.pedestals)
    return run_isr(raw, calibrations, sequence=recipe.sequence, threads=threads)


def _find(butler: ButlerLike, dataset: InputDataset) -> DatasetRef:
    _, _, component = dataset.dataset_type.partition(".")
    return find_by_uuid(butler, dataset.id, component=component or None)


def _check_size(bbox: Box, max_pixels: int | None) -> None:
    if max_pixels is not None and bbox.area > max_pixels:
        raise RequestTooLargeError(f"{bbox} has {bbox.area} pixels, more than {max_pixels}.")
