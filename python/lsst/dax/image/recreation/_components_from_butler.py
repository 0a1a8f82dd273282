"""Read through a Butler what the original processing persisted, in one dataset or in several."""

from __future__ import annotations

__all__ = ("SEPARATE_INPUTS", "fetch_components", "fetch_metadata")

import dataclasses
from collections.abc import Mapping
from typing import Any

from astro_metadata_translator import ObservationInfo

from lsst.daf.butler import DatasetRef
from lsst.images import BackgroundMap, Box, Mask, VisitImage
from lsst.images.cameras import Detector
from lsst.images.fields import BaseField, Field
from lsst.images.psfs import PointSpreadFunction

from ..errors import InputDataError
from ..repository import ButlerLike, fetch_dataset, fetch_uri, name_dataset, opened_dataset, read_metadata
from .background_file import read_background_list
from .components import VisitComponents
from .visit_summary import VisitSummaryRow, read_visit_summary

SEPARATE_INPUTS = ("background", "visit_summary", "psf", "detector", "obs_info", "mask", "metadata")
"""Names of the datasets that may take the place of parts of the visit image:

``background``
    A `~lsst.images.BackgroundMap` or a field of `lsst.images`; or a file for `read_background_list`.
``visit_summary``
    A file for `read_visit_summary`: WCS, photometric scaling, aperture corrections, statistics, band.
``psf``, ``detector``, ``mask``
    A `~lsst.images.psfs.PointSpreadFunction`, a `~lsst.images.cameras.Detector`, a
    `~lsst.images.Mask`.
``obs_info``
    An `~astro_metadata_translator.ObservationInfo`, or an image of `lsst.images` that has one.
``metadata``
    A mapping, or an image of `lsst.images`, with the header that instrument signature removal left.
"""


def fetch_components(
    butler: ButlerLike,
    inputs: Mapping[str, DatasetRef],
    *,
    detector: int,
    background: str,
    with_mask: bool = True,
) -> VisitComponents:
    """Read what was persisted of a visit image besides image and variance.

    Parameters
    ----------
    butler
        Butler to read through.
    inputs
        Datasets by name: ``visit_image``, and any of `SEPARATE_INPUTS`, which
        go before it.
    detector
        Detector of the image.
    background
        Name of the background that was subtracted from it.
    with_mask
        Whether to read its mask.

    Returns
    -------
    components
        Everything that there is.

    Raises
    ------
    InputDataError
        Raised if a file is unusable, or a component is missing in the end.
    """
    image = _fetch_image(butler, inputs["visit_image"]) if "visit_image" in inputs else None
    components = VisitComponents.from_datasets(
        visit_image=image,
        summary=_fetch_summary(butler, inputs, detector),
        background=_fetch_background(butler, inputs),
        psf=_fetch_as(PointSpreadFunction, butler, inputs, "psf"),
        detector=_fetch_as(Detector, butler, inputs, "detector"),
        obs_info=_fetch_observation(butler, inputs),
        mask=_fetch_mask(butler, inputs) if with_mask else None,
        background_name=background,
    )
    if "metadata" in inputs:
        components = dataclasses.replace(components, metadata=fetch_metadata(butler, inputs))
    return components


def fetch_metadata(butler: ButlerLike, inputs: Mapping[str, DatasetRef]) -> Mapping[str, Any]:
    """Read the metadata of a visit image, or what takes their place; empty if there is neither.

    Parameters
    ----------
    butler
        Butler to read through.
    inputs
        Datasets by name, as for `fetch_components`.

    Returns
    -------
    metadata
        Values by key.

    Raises
    ------
    InputDataError
        Raised if the file is unusable.
    """
    ref = inputs.get("metadata")
    if ref is not None:
        pytype = _find_type(ref)
        if pytype is not None and issubclass(pytype, Mapping):
            return dict(fetch_dataset(butler, ref))
        return read_metadata(fetch_uri(butler, ref))
    if "visit_image" in inputs:
        return _fetch_image(butler, inputs["visit_image"]).metadata
    return {}


def _fetch_image(butler: ButlerLike, ref: DatasetRef) -> VisitImage:
    """Return one pixel of a visit image, with all else that it holds."""
    with opened_dataset(butler, ref) as reader:
        bbox = reader.geometry.bbox
        # A corner may lie outside of the bounds of a vignetted detector, and then cannot be cut out.
        y, x = (interval.start + interval.size // 2 for interval in (bbox.y, bbox.x))
        pixel = Box.factory[y : y + 1, x : x + 1]
        image = reader.read_full(pixel)
    if not isinstance(image, VisitImage):
        raise InputDataError(f"{name_dataset(ref)} is a {type(image).__name__}, not a VisitImage.")
    return image


def _fetch_summary(
    butler: ButlerLike, inputs: Mapping[str, DatasetRef], detector: int
) -> VisitSummaryRow | None:
    ref = inputs.get("visit_summary")
    if ref is None:
        return None
    rows = read_visit_summary(fetch_uri(butler, ref), detectors=[detector])
    if detector not in rows:
        raise InputDataError(f"{name_dataset(ref)} has no row for detector {detector}.")
    row = rows[detector]
    if row.visit != ref.dataId.get("visit", row.visit):
        raise InputDataError(f"{name_dataset(ref)} holds visit {row.visit}.")
    return row


def _fetch_background(butler: ButlerLike, inputs: Mapping[str, DatasetRef]) -> Field | BackgroundMap | None:
    ref = inputs.get("background")
    if ref is None:
        return None
    pytype = _find_type(ref)
    if pytype is not None and issubclass(pytype, BackgroundMap | BaseField):
        value: Field | BackgroundMap = fetch_dataset(butler, ref)
        return value
    return read_background_list(fetch_uri(butler, ref))


def _fetch_observation(butler: ButlerLike, inputs: Mapping[str, DatasetRef]) -> ObservationInfo | None:
    ref = inputs.get("obs_info")
    if ref is not None and "obs_info" in ref.datasetType.storageClass.allComponents():
        inputs = {"obs_info": ref.makeComponentRef("obs_info")}
    return _fetch_as(ObservationInfo, butler, inputs, "obs_info")


def _fetch_mask(butler: ButlerLike, inputs: Mapping[str, DatasetRef]) -> Mask | None:
    ref = inputs.get("mask")
    if ref is None:
        if "visit_image" not in inputs:
            return None
        ref = inputs["visit_image"].makeComponentRef("mask")
    with opened_dataset(butler, ref) as reader:
        mask = reader.read_image(reader.geometry.bbox)
    if not isinstance(mask, Mask):
        raise InputDataError(f"{name_dataset(ref)} is a {type(mask).__name__}, not a Mask.")
    return mask


def _fetch_as[T](
    needed: type[T], butler: ButlerLike, inputs: Mapping[str, DatasetRef], name: str
) -> T | None:
    """Return a dataset that must be of some type; `None` if it is not given."""
    ref = inputs.get(name)
    if ref is None:
        return None
    pytype = _find_type(ref)
    if pytype is None or not issubclass(pytype, needed):
        raise InputDataError(
            f"{name_dataset(ref)} has storage class {ref.datasetType.storageClass_name!r}; as {name!r} a "
            f"{needed.__name__} is needed."
        )
    value: T = fetch_dataset(butler, ref)
    return value


def _find_type(ref: DatasetRef) -> type | None:
    """Return the Python type of a dataset; `None` if it is of a stack that is not here."""
    try:
        return ref.datasetType.storageClass.pytype
    except ImportError:
        return None
