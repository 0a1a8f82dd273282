"""Find datasets by where and when they are.  Returns references, no pixels."""

from __future__ import annotations

__all__ = (
    "find_by_uuid",
    "find_calibration",
    "find_dataset",
    "find_datasets",
    "find_exposures",
    "find_sky_maps",
)

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from lsst.daf.butler import (
    ButlerUserError,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
    Timespan,
)
from lsst.daf.butler import DatasetNotFoundError as ButlerDatasetNotFoundError
from lsst.daf.butler.registry import NoDefaultCollectionError
from lsst.sphgeom import Region

from ..errors import DatasetNotFoundError, InvalidRegionError, MissingCalibrationError, RequestError
from ..geometry import SkyStencil, StencilLike, as_stencil
from .protocol import FindsDatasets

type SkyRegion = StencilLike | SkyCoord
type TimeRange = Timespan | tuple[Time | None, Time | None]


def find_datasets(
    butler: FindsDatasets,
    dataset_type: str,
    *,
    collections: str | Sequence[str] | None = None,
    region: SkyRegion | None = None,
    time: TimeRange | None = None,
    bands: Iterable[str] | None = None,
    data_id: Mapping[str, Any] | None = None,
    where: str = "",
) -> list[DatasetRef]:
    """Return all datasets of one type that overlap a region and a time.

    Parameters
    ----------
    butler
        Butler to ask.
    dataset_type
        Name of the dataset type, for instance ``visit_image``.  A component
        (``visit_image.mask``) gives the references of that component.
    collections
        Collections to search, in order; the Butler's default if `None`.
    region
        Point or shape that the datasets overlap: a position, a stencil on the
        sky or anything else that `~lsst.dax.image.geometry.as_stencil` takes.
        What overlaps is the region that the repository records for the dataset
        (its pixel edges, often padded by a few pixels), so an image may be
        returned of which no pixel lies in the region.
    time
        Begin and end of the time range, either may be `None` for an open end;
        in any time scale (the repository holds TAI).
    bands
        Bands, for instance ``("g", "r")``.
    data_id
        Dimension values that the datasets must have.  If it names no
        instrument and the repository has a single one, that one is taken.
    where
        Further constraint in the Butler's expression language.

    Returns
    -------
    refs
        References with dimension records, ordered by time (where the
        dimensions have one) and data ID.  Empty if nothing satisfies the
        query.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such dataset type or collection.
    RequestError
        Raised if the query cannot be made for this dataset type, the region
        is a list of positions, or the Butler does not understand the query.
    InvalidRegionError
        Raised if the region is not finite or no shape on the sky.
    """
    parent_name, component = DatasetType.splitDatasetTypeName(dataset_type)
    with _translated_errors(f"Query for {dataset_type!r}"):
        parent = butler.get_dataset_type(parent_name)
        names = set(parent.dimensions.names)
        clauses: list[str] = [f"({where})"] if where else []
        bind: dict[str, Any] = {}
        if region is not None:
            clauses.append(f"{_region_element(parent)}.region OVERLAPS :dax_region")
            bind["dax_region"] = _to_region(region)
        if time is not None:
            clauses.append(f"{_time_element(parent)}.timespan OVERLAPS :dax_time")
            bind["dax_time"] = _to_timespan(time)
        if bands is not None:
            clauses.append("band IN (:dax_bands)")
            bind["dax_bands"] = _to_bands(bands)
        order = [f"{_time_element(parent)}.timespan.begin"] if names & {"visit", "exposure"} else []
        refs = butler.query_datasets(
            parent,
            collections,
            data_id=_complete_data_id(butler, names, data_id or {}),
            where=" AND ".join(clauses),
            bind=bind,
            with_dimension_records=True,
            order_by=[*order, *parent.dimensions.required],
            limit=None,
            explain=False,
        )
        return [_with_component(ref, component) for ref in refs]


def find_dataset(
    butler: FindsDatasets,
    dataset_type: str,
    data_id: Mapping[str, Any],
    *,
    collections: str | Sequence[str] | None = None,
    time: TimeRange | None = None,
) -> DatasetRef:
    """Return the one dataset of a data ID.

    Parameters
    ----------
    butler
        Butler to ask.
    dataset_type
        Name of the dataset type or, with a dot, of a component.
    data_id
        Dimension values that identify the dataset.
    collections
        Collections to search, in order; the Butler's default if `None`.
    time
        Time at which a calibration must be valid.

    Returns
    -------
    ref
        Reference of the first such dataset in the collections.

    Raises
    ------
    DatasetNotFoundError
        Raised if there is none.
    RequestError
        Raised if the data ID does not fit the dataset type.
    """
    timespan = None if time is None else _to_timespan(time)
    parent_name, component = DatasetType.splitDatasetTypeName(dataset_type)
    with _translated_errors(f"Look-up of {dataset_type!r} with data ID {dict(data_id)}"):
        ref = butler.find_dataset(parent_name, dict(data_id), collections=collections, timespan=timespan)
        if ref is None:
            searched = "the default collections" if collections is None else f"{collections!r}"
            raise DatasetNotFoundError(
                f"No {dataset_type!r} dataset with data ID {dict(data_id)} in {searched}."
            )
        return _with_component(ref, component)


def find_by_uuid(
    butler: FindsDatasets, dataset_id: uuid.UUID | str, *, component: str | None = None
) -> DatasetRef:
    """Return the dataset of a UUID.

    Parameters
    ----------
    butler
        Butler to ask.
    dataset_id
        UUID of the dataset, as an object or in any of its text forms.
    component
        Name of a component, whose reference is returned instead.

    Returns
    -------
    ref
        Reference of the dataset.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such dataset.
    RequestError
        Raised if the text is not a UUID, or the dataset has no such component.
    """
    if not isinstance(dataset_id, uuid.UUID):
        try:
            dataset_id = uuid.UUID(dataset_id)
        except ValueError as error:
            raise RequestError(f"{dataset_id!r} is not the UUID of a dataset: {error}.") from error
    ref = butler.get_dataset(dataset_id)
    if ref is None:
        raise DatasetNotFoundError(f"No dataset found with UUID {dataset_id}.")
    return _with_component(ref, component)


def find_exposures(butler: FindsDatasets, *, instrument: str, visit: int) -> list[int]:
    """Return the exposures of a visit.

    Parameters
    ----------
    butler
        Butler to ask.
    instrument, visit
        Which visit.

    Returns
    -------
    exposures
        Identifiers, ascending; empty if the visit is not known.
    """
    with _translated_errors(f"Look-up of visit {visit} of {instrument!r}"):
        records = butler.query_dimension_records(
            "visit_definition", data_id={"instrument": instrument, "visit": visit}, explain=False
        )
    return sorted({int(record.dataId["exposure"]) for record in records})


def find_sky_maps(butler: FindsDatasets) -> list[str]:
    """Return the names of the sky maps of a repository.

    Parameters
    ----------
    butler
        Butler to ask.

    Returns
    -------
    names
        Values of the dimension ``skymap``, sorted.
    """
    return sorted(str(record.name) for record in butler.query_dimension_records("skymap", explain=False))


def find_calibration(
    butler: FindsDatasets,
    dataset_type: str,
    exposure: DatasetRef,
    *,
    collections: str | Sequence[str] | None = None,
) -> DatasetRef:
    """Return the calibration that is certified for an exposure.

    Parameters
    ----------
    butler
        Butler to ask.
    dataset_type
        Name of the calibration's dataset type.
    exposure
        Dataset of one exposure, such as a raw.
    collections
        Collections to search, in order; the Butler's default if `None`.

    Returns
    -------
    ref
        The calibration for the detector, the filter where it has one, and the
        middle of the exposure.

    Raises
    ------
    MissingCalibrationError
        Raised if none is certified for that time.
    DatasetNotFoundError
        Raised if the repository does not know the exposure.
    """
    expanded = butler.get_dataset(exposure.id, dimension_records=True)
    timespan = None if expanded is None else expanded.dataId.timespan
    if expanded is None or timespan is None or not isinstance(timespan.begin, Time):
        raise DatasetNotFoundError(
            f"The repository has no time for exposure {dict(exposure.dataId.required)}."
        )
    moment = timespan.begin
    if isinstance(timespan.end, Time):
        moment = timespan.begin + 0.5 * (timespan.end - timespan.begin)
    data_id = dict(expanded.dataId.mapping)
    try:
        return find_dataset(butler, dataset_type, data_id, collections=collections, time=(moment, moment))
    except DatasetNotFoundError as error:
        raise MissingCalibrationError(
            f"No {dataset_type!r} is certified for {dict(exposure.dataId.required)} at {moment.tai.isot} "
            f"(TAI): {error}"
        ) from error


def _with_component(ref: DatasetRef, component: str | None) -> DatasetRef:
    """Return the reference of a component, or of the whole dataset."""
    if component is None:
        return ref
    known = ref.datasetType.storageClass.allComponents()
    if component not in known:
        raise RequestError(
            f"{ref.datasetType.name!r} has no component {component!r}; it has {sorted(known)}."
        )
    return ref.makeComponentRef(component)


@contextmanager
def _translated_errors(action: str) -> Iterator[None]:
    """Turn the Butler's exceptions into ours."""
    try:
        yield
    except (ButlerDatasetNotFoundError, MissingDatasetTypeError, MissingCollectionError) as error:
        raise DatasetNotFoundError(f"{action} found nothing: {error}") from error
    except (ButlerUserError, NoDefaultCollectionError) as error:
        raise RequestError(f"{action} cannot be made: {error}") from error


def _complete_data_id(butler: FindsDatasets, names: set[str], data_id: Mapping[str, Any]) -> dict[str, Any]:
    """Add the repository's single instrument where none is named."""
    completed = dict(data_id)
    if "instrument" in names and "instrument" not in completed:
        records = butler.query_dimension_records("instrument", explain=False, limit=2)
        if len(records) == 1:
            completed["instrument"] = records[0].name
    return completed


def _region_element(dataset_type: DatasetType) -> str:
    """Return the dimension element whose region bounds the dataset."""
    names = set(dataset_type.dimensions.names)
    if "detector" in names and names & {"visit", "exposure"}:
        return "visit_detector_region"
    for element in ("patch", "tract", "visit"):
        if element in names:
            return element
    raise RequestError(
        f"{dataset_type.name!r} has no region on the sky to search; its dimensions are {sorted(names)}."
    )


def _to_region(shape: SkyRegion) -> SkyCoord | Region:
    """Return a shape as the Butler takes it."""
    if isinstance(shape, SkyCoord):
        if not shape.isscalar:
            raise RequestError(f"A region is one position, not {shape.size}; ask for each, or for a shape.")
        icrs = shape.icrs
        if not (np.isfinite(icrs.ra.deg) and np.isfinite(icrs.dec.deg)):
            raise InvalidRegionError(
                f"A position must be on the sky; got RA {icrs.ra.deg} deg, Dec {icrs.dec.deg} deg."
            )
        return shape
    if isinstance(shape, Region):
        circle = shape.getBoundingCircle()
        if not np.isfinite([*circle.getCenter(), circle.getOpeningAngle().asDegrees()]).all():
            raise InvalidRegionError(f"A region must be finite and on the sky; got {shape}.")
        return shape
    stencil = as_stencil(shape)
    if not isinstance(stencil, SkyStencil):
        raise RequestError(f"{stencil} is not on the sky, so no dataset can be found by it.")
    return stencil.region


def _time_element(dataset_type: DatasetType) -> str:
    """Return the dimension element whose timespan the dataset has."""
    names = set(dataset_type.dimensions.names)
    for element in ("visit", "exposure", "day_obs"):
        if element in names:
            return element
    raise RequestError(f"{dataset_type.name!r} has no time to search; its dimensions are {sorted(names)}.")


def _to_timespan(time: TimeRange) -> Timespan:
    """Return a time range as the Butler's TAI timespan."""
    if isinstance(time, Timespan):
        return time
    begin, end = time
    if begin is not None and end is not None and begin > end:
        raise RequestError(f"The time range begins at {begin.isot} and ends before, at {end.isot}.")
    return Timespan(begin, end)


def _to_bands(bands: Iterable[str]) -> list[str]:
    """Return the bands as a list, which must not be one string."""
    names = [bands] if isinstance(bands, str) else list(bands)
    if not names:
        raise RequestError("An empty collection of bands was given; use None for all bands.")
    return names
