"""What is known of an image without its pixels."""

from __future__ import annotations

__all__ = ("ImageSummary", "fetch_image_summary")

import json
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import pydantic

from lsst.daf.butler import DatasetRef
from lsst.images import ObservationSummaryStats
from lsst.images.serialization import ArchiveReadError

from ..errors import InputDataError, UnsupportedProductError
from .fetch import fetch_dataset, name_dataset
from .reader import ImageGeometry, ReadsAndLocates, opened_dataset

_PARTS = ("summary_stats", "psf", "photometric_scaling")


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """What is known of an image without its pixels."""

    geometry: ImageGeometry
    """Where its pixels are."""

    unit: u.UnitBase | None
    """Unit of the pixels."""

    statistics: ObservationSummaryStats | None
    """Summary statistics."""

    has_psf: bool
    """Whether it has a PSF model.  Nobody looked whether that is usable."""

    has_scaling: bool
    """Whether it has a photometric scaling: what calibrates its pixels or, where they are in a
    unit of flux, has calibrated them."""


def fetch_image_summary(butler: ReadsAndLocates, ref: DatasetRef) -> ImageSummary:
    """Read what is known of a visit image or difference image, and no pixels.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Dataset.

    Returns
    -------
    summary
        What its file says.

    Raises
    ------
    UnsupportedProductError
        Raised if such datasets have no summary statistics and PSFs, or this
        one has no sky projection.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    components = ref.datasetType.storageClass.allComponents()
    if missing := [name for name in _PARTS if name not in components]:
        raise UnsupportedProductError(
            f"{name_dataset(ref)} holds a {ref.datasetType.storageClass.name}, which has no "
            f"{' and no '.join(missing)}; images of visits are needed."
        )
    with opened_dataset(butler, ref) as reader:
        geometry = reader.geometry
        if reader.container is None:
            parts = {name: fetch_dataset(butler, ref.makeComponentRef(name)) for name in _PARTS}
            unit = fetch_dataset(butler, ref.makeComponentRef("unit"))
            statistics = parts["summary_stats"]
        else:
            # Of a PSF it matters here whether there is one; to read it would cost more than all else.
            tree = _parse_tree(ref, reader.container.layout.json)
            parts = {name: tree.get(name) for name in _PARTS}
            unit = reader.container.unit
            statistics = _parse_statistics(ref, parts["summary_stats"])
    return ImageSummary(
        geometry,
        unit,
        statistics,
        has_psf=parts["psf"] is not None,
        has_scaling=parts["photometric_scaling"] is not None,
    )


def _parse_tree(ref: DatasetRef, text: bytes) -> dict[str, Any]:
    """Return what a file says besides its pixels, in its stored form."""
    try:
        tree: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputDataError(f"The tree of {name_dataset(ref)} is not JSON: {error}") from error
    return tree


def _parse_statistics(ref: DatasetRef, stored: Any) -> ObservationSummaryStats | None:
    """Return statistics of their stored form."""
    try:
        return None if stored is None else ObservationSummaryStats.model_validate(stored)
    except (pydantic.ValidationError, ArchiveReadError) as error:
        raise InputDataError(
            f"{name_dataset(ref)} has summary statistics that are not usable: {error}"
        ) from error
