"""Stamps of datasets in a repository, planned before they are read."""

from __future__ import annotations

__all__ = ("StampBatch", "StampPlan", "fetch_stamps")

import dataclasses
import functools
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.time import Time

from lsst.daf.butler import DatasetRef
from lsst.daf.butler.progress import Progress
from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection

from ..container import PLANES
from ..errors import DaxImageError, InputDataError, MissingPsfError, RequestError, internal_errors_reported
from ..flags import FLAGS
from ..geometry import locate_positions
from ..repository import ButlerLike, DatasetReader, SharedButler, fetch_time, map_in_order, opened_dataset
from ._detail import Detail
from ._stamps import Stamp, StampKey, fail_stamp, fill_stamp, find_available, move_positions, plan_stamps

# What a PSF raises where it is not defined: off its bounds, or in a cell that
# has none.
_NO_PSF_HERE = (ValueError, LookupError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class StampPlan:
    """What a request for stamps will read: a dry run."""

    stamps: list[Stamp] = dataclasses.field(repr=False)
    """All stamps, without pixels, dataset by dataset; their flags say which
    will have none."""

    datasets: QTable
    """One row per dataset: ``dataset`` (UUID), ``n_stamps`` (that will have
    pixels), ``n_pixels`` (of these stamps together) and ``bytes`` (of the tiles
    that they need, each once; 0 where the file is not read by tiles)."""


@dataclasses.dataclass(frozen=True)
class _Request:
    """What is wanted of every dataset."""

    positions: SkyCoord
    size: int
    detail: Detail
    epoch: Time | None
    with_psf: bool


class StampBatch:
    """The stamps of a request; `fetch_stamps` makes it.

    Nothing is read before the batch is iterated over, and each iteration
    reads again.
    """

    def __init__(
        self,
        butler: ButlerLike,
        refs: Sequence[DatasetRef],
        request: _Request,
        executor: Executor | None,
        skipped: Container[StampKey] = frozenset(),
    ) -> None:
        self._butler = butler
        self._refs = refs
        self._request = request
        self._executor = executor
        self._skipped = skipped

    def skipping(self, keys: Container[StampKey]) -> StampBatch:
        """Return the batch without some stamps, which are not read.

        Parameters
        ----------
        keys
            Keys of the stamps, such as those that a sink has finished.

        Returns
        -------
        batch
            The rest.
        """
        return StampBatch(self._butler, self._refs, self._request, self._executor, keys)

    def plan(self) -> StampPlan:
        """Find out what the batch will read, without reading pixels.

        Returns
        -------
        plan
            Boxes, overlaps and bytes.

        Raises
        ------
        RequestError
            Raised if positions have proper motions and their epoch or an
            image's time is not known.
        UnsupportedProductError
            Raised if a dataset is not an image with a sky projection.
        """
        stamps: list[Stamp] = []
        rows = []
        for ref in self._refs:
            with internal_errors_reported(f"Planning stamps of {ref.datasetType.name} {ref.id}"):
                try:
                    with opened_dataset(self._butler, ref) as reader:
                        planned, boxes = _plan(self._butler, reader, ref, self._request)
                        planes = _planes(self._request.detail)
                        n_bytes = reader.count_bytes(list(boxes.values()), planes=planes)
                except InputDataError as error:
                    planned = _fail_all(self._butler, ref, self._request, error)
                    boxes, n_bytes = {}, 0
            stamps += planned
            n_pixels = sum(box.area for box in boxes.values())
            rows.append((ref.id.hex, len(boxes), n_pixels, n_bytes))
        columns = zip(*rows, strict=True) if rows else ((), (), (), ())
        datasets = QTable(
            dict(zip(("dataset", "n_stamps", "n_pixels", "bytes"), map(list, columns), strict=True))
        )
        datasets["bytes"] = datasets["bytes"] * u.byte
        return StampPlan(stamps, datasets)

    def __iter__(self) -> Iterator[Stamp]:
        progress = Progress("lsst.dax.image.cutouts")
        if self._executor is None:
            for ref in progress.wrap(self._refs, desc="Cutting stamps", total=len(self._refs)):
                yield from _cut_one(self._butler, ref, self._request, self._indices_to_skip(ref))
            return
        task = functools.partial(_cut_one_in_worker, SharedButler(self._butler), self._request)
        items = ((ref, self._indices_to_skip(ref)) for ref in self._refs)
        results = map_in_order(self._executor, task, items)
        pairs = zip(self._refs, results, strict=True)
        for ref, stamps in progress.wrap(pairs, desc="Cutting stamps", total=len(self._refs)):
            yield from self._unpacked(ref, stamps)

    def _unpacked(self, ref: DatasetRef, stamps: list[Stamp]) -> list[Stamp]:
        """Give the pixels of another process their sky projection back."""
        if all(stamp.image is None or stamp.image.sky_projection is not None for stamp in stamps):
            return stamps
        with opened_dataset(self._butler, ref) as reader:
            sky_projection = reader.geometry.sky_projection
        return [_with_projection(stamp, sky_projection) for stamp in stamps]

    def _indices_to_skip(self, ref: DatasetRef) -> frozenset[int]:
        """Return the positions that are not wanted of a dataset."""
        count = self._request.positions.size
        return frozenset(i for i in range(count) if StampKey(ref.id.hex, i) in self._skipped)


def fetch_stamps(
    butler: ButlerLike,
    refs: Iterable[DatasetRef],
    positions: SkyCoord,
    *,
    size: int = 51,
    detail: Detail = Detail.MASKED_IMAGE,
    epoch: Time | None = None,
    with_psf: bool = False,
    executor: Executor | None = None,
) -> StampBatch:
    """Cut stamps around many positions out of many datasets.

    Each file is opened once, its WCS is called once, and each of its tiles is
    read and decoded once.

    Parameters
    ----------
    butler
        Butler to read through.
    refs
        Datasets, as for `fetch_cutout`; with dimension records, as the
        ``find_`` functions return them, if positions are to be moved.
    positions
        Positions in any frame; one-dimensional, or a single one.  If they
        carry proper motions, they are moved to the middle of each exposure.
    size
        Width and height of a stamp in pixels.  The target lies within half a
        pixel of the stamp's centre: in the central pixel for odd sizes, next
        to the central corner for even ones.
    detail
        What to read of the datasets.
    epoch
        Time at which the positions hold; the positions' own ``obstime`` if
        `None`.
    with_psf
        Whether to evaluate the point spread function at each target.
    executor
        Where to work on datasets side by side: threads or processes of
        `concurrent.futures`, dask's ``Client.get_executor()``, ...  In the
        calling thread if `None`.  `Detail.FULL` works in threads only.

    Returns
    -------
    batch
        Iterate over it to read.  It yields one stamp per dataset and position,
        dataset by dataset in their order; within a dataset those without
        pixels first, then by rows of the image.  A target or file that cannot
        be cut has a flag and no pixels; it never ends the batch.  Where part
        of a stamp lies off the image, its pixels are NaN, the mask plane
        ``NO_DATA`` is set and so is the flag ``EDGE``.

    Raises
    ------
    RequestError
        Raised if the size is not positive; and by the iteration if positions
        have proper motions and their epoch or an image's time is not known.
    UnsupportedProductError
        Raised by the iteration if a dataset is not an image with a sky
        projection.
    """
    if size < 1:
        raise RequestError(f"The size of a stamp must be at least 1 pixel; got {size}.")
    request = _Request(positions, size, detail, epoch, with_psf)
    return StampBatch(butler, list(refs), request, executor)


def _cut_one_in_worker(
    shared: SharedButler, request: _Request, item: tuple[DatasetRef, frozenset[int]]
) -> list[Stamp]:
    """Cut the stamps of one dataset in another thread or process.

    Sky projections and PSFs do not pickle.  A projection is taken off before a
    stamp is sent home, where it is known.
    """
    if shared.was_sent and request.detail is Detail.FULL:
        raise RequestError("Images with all components cannot be sent between processes; use threads.")
    stamps = list(_cut_one(shared.get(), item[0], request, item[1]))
    return [_with_projection(stamp, None) for stamp in stamps] if shared.was_sent else stamps


def _with_projection(stamp: Stamp, sky_projection: SkyProjection[Any] | None) -> Stamp:
    """Return a stamp whose pixels have another sky projection, or none."""
    image = stamp.image
    if image is None:
        return stamp
    if isinstance(image, MaskedImage):
        image = MaskedImage(
            image.image.view(sky_projection=sky_projection),
            mask=image.mask.view(sky_projection=sky_projection),
            variance=image.variance.view(sky_projection=sky_projection),
        )
    else:
        image = image.view(sky_projection=sky_projection)
    return dataclasses.replace(stamp, image=image)


def _cut_one(butler: ButlerLike, ref: DatasetRef, request: _Request, skip: frozenset[int]) -> Iterator[Stamp]:
    """Cut the stamps of one dataset."""
    with internal_errors_reported(f"Cutting stamps out of {ref.datasetType.name} {ref.id}"):
        try:
            with opened_dataset(butler, ref) as reader:
                planned, boxes = _plan(butler, reader, ref, request)
                yield from (stamp for i, stamp in enumerate(planned) if i not in boxes and i not in skip)
                wanted = {i: box for i, box in boxes.items() if i not in skip}
                yield from _read_planned(reader, planned, wanted, request)
        except InputDataError as error:
            failed = _fail_all(butler, ref, request, error)
            yield from (stamp for i, stamp in enumerate(failed) if i not in skip)


def _plan(
    butler: ButlerLike, reader: DatasetReader, ref: DatasetRef, request: _Request
) -> tuple[list[Stamp], dict[int, Box]]:
    """Plan the stamps of one dataset; return them, and what to read of which."""
    time = fetch_time(butler, ref)
    moved = move_positions(request.positions, epoch=request.epoch, time=time)
    bbox = reader.geometry.bbox
    x, y = locate_positions(reader.geometry.sky_projection, moved, bbox=bbox)
    planned = plan_stamps(moved, x=x, y=y, image_bbox=bbox, size=request.size, time=time, ref=ref)
    found = ((i, find_available(stamp, bbox)) for i, stamp in enumerate(planned))
    return planned, {i: box for i, box in found if box is not None}


def _fail_all(butler: ButlerLike, ref: DatasetRef, request: _Request, error: InputDataError) -> list[Stamp]:
    """Return the stamps of a dataset that cannot be opened."""
    time = fetch_time(butler, ref)
    moved = move_positions(request.positions, epoch=request.epoch, time=time)
    nowhere = float("nan")
    return [
        fail_stamp(Stamp(i, ra, dec, nowhere, nowhere, None, ref=ref, time=time), str(error))
        for i, (ra, dec) in enumerate(zip(moved.ra.deg.tolist(), moved.dec.deg.tolist(), strict=True))
    ]


def _read_planned(
    reader: DatasetReader, planned: Sequence[Stamp], boxes: dict[int, Box], request: _Request
) -> Iterator[Stamp]:
    """Read the pixels of planned stamps, each tile once."""
    fill = _Filler(reader, with_psf=request.with_psf)
    left = dict(boxes)
    if request.detail is not Detail.FULL:
        order = list(left)
        try:
            boxes_to_read = [left[i] for i in order]
            for number, pixels in reader.read_many(boxes_to_read, planes=_planes(request.detail)):
                yield fill(planned[order[number]], pixels)
                del left[order[number]]
        except InputDataError:
            # A damaged tile ends the batch; the rest is read one by one, so
            # that the tile costs the stamps that need it only.
            pass
    for i, box in left.items():
        try:
            yield fill(planned[i], _read_one(reader, box, request.detail))
        except DaxImageError as error:
            yield fail_stamp(planned[i], str(error))


def _planes(detail: Detail) -> tuple[str, ...]:
    """Return the planes that a detail needs."""
    return ("image",) if detail is Detail.IMAGE else PLANES


def _read_one(reader: DatasetReader, box: Box, detail: Detail) -> Image | Mask | MaskedImage:
    """Read one box in some detail."""
    if detail is Detail.FULL:
        return reader.read_full(box)
    return reader.read_image(box) if detail is Detail.IMAGE else reader.read_masked_image(box)


class _Filler:
    """Puts pixels, and a PSF where it is wanted, into planned stamps."""

    def __init__(self, reader: DatasetReader, *, with_psf: bool) -> None:
        self._with_psf = with_psf
        self._psf: Any = None
        if with_psf:
            try:
                self._psf = reader.read_psf()
            except MissingPsfError:
                self._psf = None  # each stamp says so

    def __call__(self, stamp: Stamp, pixels: Image | Mask | MaskedImage) -> Stamp:
        """Return a stamp with pixels."""
        if not self._with_psf:
            return fill_stamp(stamp, pixels)
        kernel = self._evaluate(stamp)
        flags = FLAGS["NO_PSF"].value if kernel is None else 0
        return fill_stamp(stamp, pixels, psf=kernel, flags=flags)

    def _evaluate(self, stamp: Stamp) -> Image | None:
        """Return the PSF at a target; None where it is not defined."""
        if self._psf is None:
            return None
        try:
            kernel: Image = self._psf.compute_kernel_image(x=stamp.x, y=stamp.y)
        except _NO_PSF_HERE:
            return None
        return kernel
