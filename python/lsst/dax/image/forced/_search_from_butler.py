"""Which images of a repository positions lie on."""

from __future__ import annotations

__all__ = ("ImageSearch",)

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray

from lsst.daf.butler import DatasetRef, Timespan
from lsst.sphgeom import Angle, Circle, Region, UnionRegion, UnitVector3d

from ..errors import RequestError
from ..repository import ButlerLike, fetch_time, find_datasets
from ._image_from_butler import Asked
from ._positions import as_positions, find_lost, read_epochs, read_ids, read_mjd, read_motions
from .targets import Targets, find_targets

type Floats = NDArray[np.float64]

_CELL_RAD = 0.02  # of a grid in space; neighbours in a cell are asked for together
_CIRCLES_PER_QUERY = 64
_MAX_CIRCLES = 4096  # more are all over the sky
_MAX_YEARS = 60.0
_PARALLAX_RAD = math.radians(2.0 / 3600.0)  # more than of any star, with the Earth's orbit
_ROUNDING_RAD = 1e-9
_ANY_TIME = Time(2000.0, format="jyear", scale="tdb")


@dataclass(frozen=True, kw_only=True)
class ImageSearch:
    """Which images to measure on."""

    dataset_types: Sequence[str] = ("visit_image",)
    """Names of dataset types, such as ``visit_image``, ``difference_image``
    or ``deep_coadd``."""

    collections: str | Sequence[str] | None = None
    """Collections to search, in order; the Butler's default if `None`."""

    time: Timespan | tuple[Time | None, Time | None] | None = None
    """Begin and end of the time range; either may be `None`.  Not for coadds."""

    bands: Sequence[str] | None = None
    """Bands; all if `None`."""

    data_id: Mapping[str, Any] = field(default_factory=dict)
    """Dimension values that the datasets must have."""

    where: str = ""
    """Further constraint in the Butler's expression language."""

    def __post_init__(self) -> None:
        if isinstance(self.dataset_types, str) or not self.dataset_types:
            raise RequestError(f"Name one dataset type or more in a list; got {self.dataset_types!r}.")


def find_images(
    butler: ButlerLike, positions: SkyCoord | Table, search: ImageSearch, *, epoch: Time | None = None
) -> list[tuple[DatasetRef, Asked]]:
    """Find the images that positions lie on.

    Parameters
    ----------
    butler
        Butler to ask.
    positions
        Positions, or a table of stars or of an ephemeris; see `find_targets`.
    search
        Which images.
    epoch
        Time at which the positions hold; see `find_targets`.

    Returns
    -------
    found
        Images by dataset type and time, each with the positions that lie in
        the region on the sky that the repository records for it, at the time
        that it records, and with all positions that are not on the sky.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such dataset type or collection.
    RequestError
        Raised if positions or the query are wrong, or no image was found and
        a position is not on the sky.

    Notes
    -----
    The search is for circles around groups of positions, made wider by the
    motion of stars within the time range, at most 60 years from their epoch;
    what the circles hold besides is left out afterwards.
    """
    positions = as_positions(positions)
    moves = has_motion(positions)
    if moves and not isinstance(positions, SkyCoord):
        # What is wrong with the columns shows before anything is searched for.
        find_targets(positions[:0], epoch=epoch, time=_ANY_TIME)
    fixed = None if moves else find_targets(positions)
    is_lost = find_lost(positions)
    regions = list(_make_regions(positions, search, epoch))
    found = []
    for name in search.dataset_types:
        for ref in _query(butler, name, search, regions):
            time = fetch_time(butler, ref) if moves else None
            targets = find_targets(positions, epoch=epoch, time=time) if fixed is None else fixed
            is_inside = _lies_in(targets, ref.dataId.region) & ~is_lost
            if is_inside.any():
                found.append((ref, select(positions, targets, np.flatnonzero(is_inside | is_lost))))
    if is_lost.any() and not found:
        raise RequestError(
            f"{is_lost.sum()} of {is_lost.size} positions are not on the sky, "
            "and no image was found to show them."
        )
    return found


def ask_all(positions: SkyCoord | Table) -> Asked:
    """Return all positions, to be asked of an image."""
    return Asked(positions.reshape(-1) if isinstance(positions, SkyCoord) else positions)


def has_motion(positions: SkyCoord | Table) -> bool:
    """Tell whether positions depend on the time."""
    if isinstance(positions, SkyCoord):
        return "s" in positions.data.differentials
    return bool({"time", "pmra", "pmdec", "parallax"} & set(positions.colnames))


def select(positions: SkyCoord | Table, targets: Targets, rows: NDArray[np.int64]) -> Asked:
    """Return some of the positions, with the numbers that they have among all."""
    if isinstance(positions, SkyCoord):
        return Asked(positions.reshape(-1)[rows], targets.id[rows])
    if "time" not in positions.colnames:
        return Asked(positions[rows], targets.id[rows])
    if "id" not in positions.colnames:
        return Asked(positions)  # all rows are one object
    return Asked(positions[np.isin(np.asarray(positions["id"]), targets.id[rows])])


def _lies_in(targets: Targets, region: Region | None) -> NDArray[np.bool_]:
    """Return whether targets lie in a region; all do where none is recorded."""
    inside = np.ones(len(targets), dtype=np.bool_)
    if region is not None:
        known = targets.is_known
        inside[~known] = False
        lon, lat = np.radians(targets.ra[known]), np.radians(targets.dec[known])
        inside[known] = region.contains(lon, lat)
    return inside


def _query(
    butler: ButlerLike, name: str, search: ImageSearch, regions: Sequence[Region | None]
) -> list[DatasetRef]:
    """Return the datasets of one type in any of some regions, in order of time."""
    options: dict[str, Any] = {
        "collections": search.collections,
        "time": search.time,
        "bands": search.bands,
        "data_id": search.data_id,
        "where": search.where,
    }
    found: dict[Any, DatasetRef] = {}
    for region in regions:
        for ref in find_datasets(butler, name, region=region, **options):
            found.setdefault(ref.id, ref)
    refs = list(found.values())
    if len(regions) > 1:
        refs.sort(key=_sort_key)
    return refs


def _sort_key(ref: DatasetRef) -> tuple[float, tuple[Any, ...]]:
    """Return time and data ID."""
    timespan = ref.dataId.timespan
    begin = getattr(timespan, "begin", None)
    mjd = begin.mjd if isinstance(begin, Time) else 0.0
    return mjd, tuple(ref.dataId.required.values())


def _make_regions(
    positions: SkyCoord | Table, search: ImageSearch, epoch: Time | None
) -> Iterator[Region | None]:
    """Yield regions that hold all positions at all times of a search; None for the whole sky."""
    centers, radii = _find_circles(positions, search, epoch)
    if len(centers) == 0:
        return
    cells, place = np.unique(np.floor(centers / _CELL_RAD).astype(np.int64), axis=0, return_inverse=True)
    if len(cells) > _MAX_CIRCLES:
        yield None
        return
    place = place.reshape(-1)
    sums = np.stack([np.bincount(place, centers[:, k], len(cells)) for k in range(3)], axis=1)
    means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    chords = np.linalg.norm(centers - means[place], axis=1)
    reach = np.zeros(len(cells))
    np.maximum.at(reach, place, 2.0 * np.arcsin(np.minimum(0.5 * chords, 1.0)) + radii)
    circles = [
        Circle(UnitVector3d(*mean), Angle(float(radius) + _ROUNDING_RAD))
        for mean, radius in zip(means.tolist(), reach, strict=True)
    ]
    for first in range(0, len(circles), _CIRCLES_PER_QUERY):
        some = circles[first : first + _CIRCLES_PER_QUERY]
        yield some[0] if len(some) == 1 else UnionRegion(*some)


def _find_circles(
    positions: SkyCoord | Table, search: ImageSearch, epoch: Time | None
) -> tuple[Floats, Floats]:
    """Return unit vectors, shape ``(n, 3)``, and angles in radians around them."""
    if isinstance(positions, SkyCoord):
        icrs = positions.reshape(-1).transform_to("icrs")
        fixed = find_targets(SkyCoord(icrs.ra, icrs.dec, frame="icrs"))
    else:
        # Not the positions at any time: where they were said to be.
        fixed = find_targets(_in_order(positions)["ra", "dec"])
    vectors = np.asarray(fixed.positions.cartesian.xyz.value.T, dtype=np.float64)
    radii = np.full(len(vectors), _find_motion(positions, search, epoch))
    if not isinstance(positions, SkyCoord) and "time" in positions.colnames and len(vectors) > 1:
        # An object is anywhere between neighbouring rows of its ephemeris.
        radii[:-1] += 1.1 * np.linalg.norm(np.diff(vectors, axis=0), axis=1)
    return vectors, radii


def _in_order(table: Table) -> Table:
    """Return an ephemeris object by object, in order of time; other tables as they are."""
    if "time" not in table.colnames:
        return table
    ids = read_ids(table) if "id" in table.colnames else np.zeros(len(table), dtype=np.int64)
    return table[np.lexsort((read_mjd(table), ids))]


def _find_motion(positions: SkyCoord | Table, search: ImageSearch, epoch: Time | None) -> float:
    """Return the angle in radians that any star moves within the times of a search, at most."""
    if not has_motion(positions):
        return 0.0
    if isinstance(positions, SkyCoord):
        icrs = positions.reshape(-1).transform_to("icrs")
        epoch = positions.obstime if epoch is None else epoch
        speeds = np.hypot(icrs.pm_ra_cosdec, icrs.pm_dec).to_value(u.rad / u.yr)
        epochs = None if epoch is None else np.atleast_1d(epoch.tdb.jyear)
    else:
        speeds = np.zeros(1)
        motions = read_motions(positions)
        if motions is not None:
            speeds = (np.hypot(*motions) * (u.mas / u.yr)).to_value(u.rad / u.yr)
        epochs = read_epochs(positions)
        if epochs is None and epoch is not None:
            epochs = np.atleast_1d(epoch.tdb.jyear)
    fastest = float(np.nanmax(speeds, initial=0.0))
    moved: float = fastest * _find_years(search, epochs)
    return moved + _PARALLAX_RAD


def _find_years(search: ImageSearch, epochs: Any) -> float:
    """Return how far from their epochs positions are looked for, in years."""
    if epochs is None or search.time is None:
        return _MAX_YEARS
    bounds = search.time
    ends = (bounds.begin, bounds.end) if isinstance(bounds, Timespan) else bounds
    times = [end.tdb.jyear for end in ends if isinstance(end, Time)]
    if len(times) < 2:
        return _MAX_YEARS
    years: Floats = np.asarray(epochs, dtype=np.float64)
    return max(float(np.nanmax(np.abs(years - time), initial=0.0)) for time in times)
