"""Fluxes of many positions on many images of a repository."""

from __future__ import annotations

__all__ = ("LightCurveBatch", "fetch_light_curves", "plan_light_curves")

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time

from lsst.daf.butler import DatasetRef
from lsst.daf.butler.progress import Progress
from lsst.resources import ResourcePathExpression

from ..errors import RequestError, RequestTooLargeError
from ..repository import ButlerLike, SharedButler, map_in_order
from ._columns import Columns
from ._image_from_butler import Asked, ImageFluxes, MeasureRequest, measure_dataset, plan_dataset
from ._positions import as_positions
from ._search_from_butler import ImageSearch, ask_all, find_images
from .light_curve_store import LightCurveStore, join_columns
from .options import ForcedOptions
from .schema import Column, light_curve_columns, make_table

type _Item = tuple[DatasetRef, Asked]


class LightCurveBatch:
    """Positions and the images to measure them on; `plan_light_curves` makes it.

    No pixel is read before fluxes are fetched, and each fetching reads again.
    """

    def __init__(
        self,
        butler: ButlerLike,
        items: Sequence[_Item],
        request: MeasureRequest,
        digest: Mapping[str, str],
    ) -> None:
        self._butler = butler
        self._items = items
        self._request = request
        self._digest = digest

    @property
    def refs(self) -> tuple[DatasetRef, ...]:
        """The images, in the order in which they are measured on."""
        return tuple(ref for ref, _ in self._items)

    @functools.cached_property
    def n_pairs(self) -> int:
        """Number of pairs of a position and an image, which is that of rows."""
        return sum(asked.n_targets for _, asked in self._items)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the fluxes."""
        has_joint = self._request.neighbours is not None
        return light_curve_columns(radii=self._request.options.radii, has_joint=has_joint)

    def plan(self, *, executor: Executor | None = None) -> QTable:
        """Find out what will be read, without reading pixels.

        Parameters
        ----------
        executor
            Where to work, as for `fetch`.

        Returns
        -------
        plan
            One row per image: ``dataset_type``, ``dataset`` (UUID), ``n_rows``
            (of fluxes), ``n_targets`` (that have pixels), ``n_pixels`` (that are
            read) and ``bytes`` (of the tiles, each once; 0 where the file is
            not read by tiles).

        Raises
        ------
        UnsupportedProductError
            Raised if a dataset is not a masked image with a sky projection.
        """
        plans = list(self._run(plan_dataset, self._items, executor))
        table = QTable()
        table["dataset_type"] = [ref.datasetType.name for ref in self.refs]
        table["dataset"] = [ref.id.hex for ref in self.refs]
        table["n_rows"] = [asked.n_targets for _, asked in self._items]
        for name in ("n_targets", "n_pixels"):
            table[name] = [getattr(plan, name) for plan in plans]
        table["bytes"] = u.Quantity([plan.n_bytes for plan in plans], u.byte, dtype=np.int64)
        return table

    def stream(self, *, executor: Executor | None = None) -> Iterator[QTable]:
        """Measure, and yield one table per image.

        Parameters
        ----------
        executor
            Where to work, as for `fetch`.

        Yields
        ------
        table
            Rows of one image, in the order of the positions; see `fetch`.

        Raises
        ------
        UnsupportedProductError
            Raised if a dataset is not a masked image with a sky projection.
        """
        for ref, fluxes in self._measure(self._items, executor):
            table = make_table(self.columns, fluxes.columns)
            if fluxes.message:
                table.meta["failures"] = {ref.id.hex: fluxes.message}
            yield table

    def fetch(
        self, *, executor: Executor | None = None, resume_from: ResourcePathExpression | None = None
    ) -> QTable:
        """Measure, and return all fluxes.

        Parameters
        ----------
        executor
            Where to work on images side by side: threads or processes of
            `concurrent.futures`, dask's ``Client.get_executor()``, ...  In
            the calling thread if `None`.  The result is the same.
        resume_from
            Local folder in which fluxes are kept while they are measured, as
            Parquet files; made if it does not exist.  A run that was
            interrupted goes on there, and measures what is missing.

        Returns
        -------
        table
            As `fetch_light_curves` returns it.

        Raises
        ------
        UnsupportedProductError
            Raised if a dataset is not a masked image with a sky projection.
        OutputError
            Raised if the folder cannot be written to, another run writes to
            it, or it holds fluxes of another request.
        RequestError
            Raised if ``resume_from`` is given without pyarrow.
        """
        if resume_from is None:
            parts = [(ref, fluxes) for ref, fluxes in self._measure(self._items, executor)]
            return self._collect(parts, [])
        with LightCurveStore(resume_from, self.columns, self._digest) as store:
            failed = self._save(store, executor)
            return self._collect(failed, [store.read()])

    def save(self, folder: ResourcePathExpression, *, executor: Executor | None = None) -> int:
        """Measure into a folder of Parquet files, without holding all fluxes in memory.

        Parameters
        ----------
        folder
            Local folder, as ``resume_from`` of `fetch`.
        executor
            Where to work, as for `fetch`.

        Returns
        -------
        n_failed
            Number of images that could not be read; they have no rows in the
            folder, and another run tries them again.

        Raises
        ------
        OutputError
            Raised as by `fetch`.
        """
        with LightCurveStore(folder, self.columns, self._digest) as store:
            return len(self._save(store, executor))

    def _save(
        self, store: LightCurveStore, executor: Executor | None
    ) -> list[tuple[DatasetRef, ImageFluxes]]:
        """Measure what a store does not have; return what could not be read."""
        left = [item for item in self._items if item[0].id.hex not in store.finished]
        failed = []
        for ref, fluxes in self._measure(left, executor):
            if fluxes.message:
                failed.append((ref, fluxes))
            else:
                store.add(ref.id.hex, fluxes.columns)
        return failed

    def _measure(
        self, items: Sequence[_Item], executor: Executor | None
    ) -> Iterator[tuple[DatasetRef, ImageFluxes]]:
        """Measure on images, and report the progress."""
        results = self._run(measure_dataset, items, executor)
        pairs = zip((ref for ref, _ in items), results, strict=True)
        progress = Progress("lsst.dax.image.forced")
        yield from progress.wrap(pairs, desc="Measuring fluxes", total=len(items))

    def _run[Result](
        self,
        function: Callable[[ButlerLike, DatasetRef, Asked, MeasureRequest], Result],
        items: Sequence[_Item],
        executor: Executor | None,
    ) -> Iterator[Result]:
        """Apply a function to images, here or in an executor."""
        if executor is None:
            return (function(self._butler, ref, asked, self._request) for ref, asked in items)
        shared = SharedButler(self._butler)
        return map_in_order(
            executor, functools.partial(_run_in_worker, function, shared, self._request), items
        )

    def _collect(self, parts: Sequence[tuple[DatasetRef, ImageFluxes]], stored: list[Columns]) -> QTable:
        """Return all fluxes in their order."""
        wanted = {ref.id.hex for ref in self.refs}
        kept = [_keep_datasets(columns, wanted) for columns in stored]
        values = join_columns(self.columns, [*kept, *(fluxes.columns for _, fluxes in parts)])
        order = np.lexsort([values[name] for name in ("dataset", "dataset_type", "mjd", "id")])
        table = make_table(self.columns, {name: array[order] for name, array in values.items()})
        failures = {ref.id.hex: fluxes.message for ref, fluxes in parts if fluxes.message}
        if failures:
            table.meta["failures"] = failures
        return table


def plan_light_curves(
    butler: ButlerLike,
    positions: SkyCoord | Table,
    *,
    images: ImageSearch | Iterable[DatasetRef] | None = None,
    options: ForcedOptions | None = None,
    neighbours: SkyCoord | Table | None = None,
    epoch: Time | None = None,
    max_pairs: int | None = None,
) -> LightCurveBatch:
    """Find the images of positions, and measure nothing yet.

    Parameters
    ----------
    butler, positions, images, options, neighbours, epoch
        As for `fetch_light_curves`.
    max_pairs
        Largest number of pairs of a position and an image; any if `None`.

    Returns
    -------
    batch
        What is to be measured.  Its ``plan`` is a dry run; ``fetch`` returns
        all fluxes, ``stream`` yields them image by image, and ``save`` writes
        them to a folder.

    Raises
    ------
    RequestTooLargeError
        Raised if there are more pairs.
    RequestError, DatasetNotFoundError
        Raised as by `fetch_light_curves`.
    """
    images = ImageSearch() if images is None else images
    positions = as_positions(positions)
    neighbours = None if neighbours is None else as_positions(neighbours)
    request = MeasureRequest(ForcedOptions() if options is None else options, neighbours, epoch)
    digest = {
        "options": repr(request.options),
        "epoch": "" if epoch is None else epoch.tdb.isot,
        "positions": _hash_positions(positions),
        "neighbours": "" if neighbours is None else _hash_positions(neighbours),
        "pairs": "found" if isinstance(images, ImageSearch) else "all",
    }
    if isinstance(images, ImageSearch):
        items = find_images(butler, positions, images, epoch=epoch)
    else:
        asked = ask_all(positions)
        items = [(ref, asked) for ref in images]
        if len({ref.id for ref, _ in items}) != len(items):
            raise RequestError(f"Each image may be named once; of {len(items)} some are the same.")
    batch = LightCurveBatch(butler, items, request, digest)
    if max_pairs is not None and batch.n_pairs > max_pairs:
        raise RequestTooLargeError(
            f"{len(items)} images and their positions make {batch.n_pairs} pairs; {max_pairs} are allowed."
        )
    return batch


def fetch_light_curves(
    butler: ButlerLike,
    positions: SkyCoord | Table,
    *,
    images: ImageSearch | Iterable[DatasetRef] | None = None,
    options: ForcedOptions | None = None,
    neighbours: SkyCoord | Table | None = None,
    epoch: Time | None = None,
    executor: Executor | None = None,
    resume_from: ResourcePathExpression | None = None,
) -> QTable:
    """Measure fluxes at given positions on the images of a repository.

    Parameters
    ----------
    butler
        Butler to read through.
    positions
        Positions, or a table of stars or of an ephemeris; see `find_targets`.
    images
        Which images.  A search (by default for all visit images) finds those
        that positions lie on, and asks each for the positions in the region
        that the repository records for it, and for those that are not on the
        sky, which have the flag BAD_POSITION.  Images that are named are
        asked for all positions.
    options
        How fluxes are measured; the observatory's estimator if `None`.
    neighbours
        Sources around the positions for a joint fit; see `measure`.
    epoch
        Time at which the positions hold; see `find_targets`.
    executor
        Where to work on images side by side; see `LightCurveBatch.fetch`.
    resume_from
        Local folder in which fluxes are kept while they are measured; a run
        that was interrupted goes on there.  See `LightCurveBatch.fetch`.

    Returns
    -------
    table
        One row per pair of a position and an image, measured or not, ordered
        by ``id``, ``mjd``, ``dataset_type`` and ``dataset``; the columns are
        those of `measure` and the last two.  Where there is no flux it is NaN,
        and ``flags`` says why: a file that cannot be read ends nothing, and
        its message is in ``meta["failures"]`` by UUID.  `to_sdm` makes one row
        of direct and difference fluxes, with the observatory's names.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such dataset type or collection.
    RequestError
        Raised if positions, options or the query are wrong, or a position is
        not on the sky and no image was found.
    UnsupportedProductError
        Raised if a dataset is not a masked image with a sky projection.
    OutputError
        Raised if the folder cannot be used; see `LightCurveBatch.fetch`.

    Notes
    -----
    Each file is opened once, and of its pixels those tiles are decoded, once
    each, that hold a position's surroundings.  The fluxes are those of
    `measure` on the whole image, to the bit.
    """
    batch = plan_light_curves(
        butler, positions, images=images, options=options, neighbours=neighbours, epoch=epoch
    )
    return batch.fetch(executor=executor, resume_from=resume_from)


def _run_in_worker[Result](
    function: Callable[[ButlerLike, DatasetRef, Asked, MeasureRequest], Result],
    shared: SharedButler,
    request: MeasureRequest,
    item: _Item,
) -> Result:
    """Apply a function to one image in another thread or process."""
    return function(shared.get(), *item, request)


def _keep_datasets(columns: Columns, wanted: set[str]) -> Columns:
    """Return the rows of some images; a folder may have those of a larger search."""
    names, place = np.unique(columns["dataset"], return_inverse=True)
    keep = np.isin(names, sorted(wanted))[place.reshape(-1)]
    return columns if keep.all() else {name: array[keep] for name, array in columns.items()}


def _hash_positions(positions: SkyCoord | Table) -> str:
    """Return a number that stands for positions."""
    digest = hashlib.sha256()
    if isinstance(positions, SkyCoord):
        icrs = positions.reshape(-1).transform_to("icrs")
        columns: dict[str, Any] = {"ra": icrs.ra, "dec": icrs.dec}
        if "s" in icrs.data.differentials:
            columns |= {"pmra": icrs.pm_ra_cosdec, "pmdec": icrs.pm_dec}
        if positions.obstime is not None:
            columns["obstime"] = positions.obstime
    else:
        columns = {name: positions[name] for name in positions.colnames}
    for name, column in columns.items():
        values = column.tai.mjd if isinstance(column, Time) else getattr(column, "value", column)
        array = np.ma.filled(np.ma.asarray(values))
        digest.update(f"{name} {getattr(column, 'unit', None)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
