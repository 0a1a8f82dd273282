"""Read through a Butler.

Only here and in `find` are methods of a Butler called.  What the formatters
raise is turned into `InputDataError`.
"""

from __future__ import annotations

__all__ = ("fetch_dataset", "fetch_sky_map", "fetch_time", "fetch_uri", "name_dataset")

from collections.abc import Iterator
from typing import Any

from astropy.time import Time

from lsst.daf.butler import DatasetRef, FileIntegrityError, MissingDatasetTypeError
from lsst.images import Box
from lsst.resources import ResourcePath

from ..errors import DatasetNotFoundError, DaxImageError, InputDataError, InputNotFoundError
from .protocol import FindsDatasets, LocatesDatasets, ReadsDatasets
from .skymap import RingsSkyMap, find_known_sky_map


def fetch_dataset(butler: ReadsDatasets, ref: DatasetRef, *, bbox: Box | None = None) -> Any:
    """Read a dataset or a component; what goes wrong inside is the data's fault.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Dataset or component.
    bbox
        Pixels to read, for what has pixels; all if `None`.

    Returns
    -------
    value
        What is stored.

    Raises
    ------
    InputDataError
        Raised if the stored file is missing or unusable.
    DaxImageError
        Raised if the dataset is made when it is asked for, and cannot be.

    Notes
    -----
    The formatters report every failure as a `ValueError` with the cause
    chained; a file that is gone is a `FileNotFoundError`, one that has not the
    recorded size a `FileIntegrityError`.
    """
    parameters = None if bbox is None else {"bbox": bbox}
    try:
        return butler.get(ref, parameters=parameters)
    except DaxImageError:
        raise  # a dataset that is made says itself what went wrong
    except FileNotFoundError as error:
        raise InputDataError(f"{name_dataset(ref)} is registered, but its file is gone: {error}") from error
    except FileIntegrityError as error:
        raise InputDataError(f"{name_dataset(ref)} is not the file that was stored: {error}") from error
    except ValueError as error:
        cause = error.__cause__ or error
        where = "" if bbox is None else f" within {bbox}"
        raise InputDataError(
            f"{name_dataset(ref)} cannot be read{where}: {type(cause).__name__}: {cause}"
        ) from error


def fetch_uri(butler: LocatesDatasets, ref: DatasetRef) -> ResourcePath:
    """Return where the file of a dataset is.

    Parameters
    ----------
    butler
        Butler that knows.
    ref
        Dataset, or a component of the dataset.

    Returns
    -------
    uri
        URI of the file; a signed one where the Butler is remote.

    Raises
    ------
    InputDataError
        Raised if the file is registered, but gone.
    """
    parent = ref.makeCompositeRef() if ref.isComponent() else ref
    try:
        uri = butler.getURI(parent)
    except FileNotFoundError as error:
        raise InputDataError(f"{name_dataset(ref)} is registered, but its file is gone: {error}") from error
    if uri.isLocal and not uri.exists():
        raise InputDataError(f"{name_dataset(ref)} is registered, but its file is gone: {uri}")
    return uri


def fetch_time(butler: FindsDatasets, ref: DatasetRef) -> Time | None:
    """Return the middle of a dataset's exposure.

    Parameters
    ----------
    butler
        Butler to ask where the reference has no dimension records.
    ref
        Dataset or component.

    Returns
    -------
    time
        Middle of the timespan that the repository records, TAI; `None` for a
        dataset without one, such as a coadd.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository does not know the dataset.
    """
    data_id = ref.dataId
    if not data_id.dimensions.temporal:
        return None
    if not data_id.hasRecords():
        found = butler.get_dataset(ref.id, dimension_records=True)
        if found is None:
            raise DatasetNotFoundError(f"The repository does not know {name_dataset(ref)}.")
        data_id = found.dataId
    timespan = data_id.timespan
    if timespan is None:
        return None
    begin, end = timespan.begin, timespan.end
    if not (isinstance(begin, Time) and isinstance(end, Time)):
        return None  # an open or empty timespan has no middle
    middle: Time = begin + 0.5 * (end - begin)
    return middle


def fetch_sky_map(butler: FindsDatasets, name: str) -> RingsSkyMap:
    """Return the sky map of a name.

    The registry records a hash of its parameters.  They are those of a public
    release with that hash, or stand in a ``skyMapConfig`` dataset in any
    collection, which must have that hash too.

    Parameters
    ----------
    butler
        Butler to ask.
    name
        Name of the sky map, the value of the dimension ``skymap``.

    Returns
    -------
    sky_map
        The sky map.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such sky map, or nobody knows its
        parameters.
    """
    records = butler.query_dimension_records(
        "skymap", where="skymap = :name", bind={"name": name}, explain=False
    )
    if not records:
        raise DatasetNotFoundError(f"The repository has no sky map {name!r}.")
    sha1: bytes = records[0].hash
    try:
        return find_known_sky_map(sha1)
    except InputNotFoundError as unknown:
        for config in _fetch_sky_map_configs(butler, name):
            sky_map = RingsSkyMap.from_config(config)
            if sky_map.sha1() == sha1:
                return sky_map
        raise DatasetNotFoundError(
            f"The parameters of sky map {name!r} are in no 'skyMapConfig' dataset, and: {unknown}"
        ) from unknown


def _fetch_sky_map_configs(butler: FindsDatasets, name: str) -> Iterator[dict[str, Any]]:
    """Read what is recorded of a sky map's parameters, wherever it is."""
    try:
        refs = butler.query_datasets(
            "skyMapConfig", "*", find_first=False, data_id={"skymap": name}, explain=False
        )
    except MissingDatasetTypeError:
        return
    for ref in refs:
        yield fetch_dataset(butler, ref)


def name_dataset(ref: DatasetRef) -> str:
    """Return a dataset's name for a message.

    Parameters
    ----------
    ref
        Dataset or component.

    Returns
    -------
    name
        Dataset type, data ID and UUID.
    """
    return f"{ref.datasetType.name} {dict(ref.dataId.required)} ({ref.id})"
