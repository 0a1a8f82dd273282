"""Stamps in bulk equal cutouts one by one, whoever does the work."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import MaskedImage

from lsst.dax.image.container import LocalSource
from lsst.dax.image.cutouts import Detail, Stamp, StampKey, fetch_cutout, fetch_stamps
from lsst.dax.image.errors import RequestError, UnsupportedProductError
from lsst.dax.image.geometry import PixelBoxStencil
from lsst.dax.image.repository import fetch_geometry, find_datasets

SIZE = 21


@pytest.fixture
def refs(mini_butler: Butler) -> list[DatasetRef]:
    return find_datasets(mini_butler, "visit_image")[:3]


@pytest.fixture
def positions(mini_butler: Butler, refs: list[DatasetRef]) -> SkyCoord:
    """Forty positions in and around the first image."""
    geometry = fetch_geometry(mini_butler, refs[0])
    rng = np.random.default_rng(11)
    x = rng.uniform(geometry.bbox.x.start - 20, geometry.bbox.x.stop + 20, 40)
    y = rng.uniform(geometry.bbox.y.start - 20, geometry.bbox.y.stop + 20, 40)
    return geometry.sky_projection.pixel_to_sky(x=x, y=y)


def digest(stamps: Sequence[Stamp]) -> list[tuple[object, ...]]:
    """Return what must be equal of stamps, in the order of their keys."""
    rows = []
    for stamp in sorted(stamps, key=lambda stamp: (str(stamp.ref and stamp.ref.id), stamp.index)):
        pixels: tuple[bytes, ...] = ()
        if isinstance(stamp.image, MaskedImage):
            image = stamp.image
            pixels = (image.image.array.tobytes(), image.mask.array.tobytes(), image.variance.array.tobytes())
        psf = None if stamp.psf is None else stamp.psf.array.tobytes()
        rows.append((stamp.ref and stamp.ref.id, stamp.index, stamp.status, str(stamp.bbox), pixels, psf))
    return rows


def test_every_stamp_equals_a_cutout_of_its_box(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord
) -> None:
    stamps = list(fetch_stamps(mini_butler, refs, positions, size=SIZE))
    assert len(stamps) == len(refs) * positions.size
    assert {stamp.status for stamp in stamps} == {"OK", "EDGE", "NO_COVERAGE"}
    for stamp in stamps:
        if stamp.status != "OK":
            continue
        assert stamp.bbox is not None
        assert stamp.ref is not None
        expected = fetch_cutout(mini_butler, stamp.ref, PixelBoxStencil(stamp.bbox)).image
        assert isinstance(stamp.image, MaskedImage)
        assert isinstance(expected, MaskedImage)
        assert np.array_equal(stamp.image.image.array, expected.image.array, equal_nan=True)
        assert np.array_equal(stamp.image.variance.array, expected.variance.array, equal_nan=True)
        assert stamp.image.mask == expected.mask
        assert stamp.image.sky_projection == expected.sky_projection


def test_each_tile_is_read_once(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = fetch_stamps(mini_butler, refs[:1], positions, size=SIZE)
    plan = batch.plan()
    seen: list[tuple[int, int]] = []
    read_ranges = LocalSource.read_ranges

    def recording(source: LocalSource, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        seen.extend(ranges)
        return read_ranges(source, ranges)

    monkeypatch.setattr(LocalSource, "read_ranges", recording)
    stamps = list(batch)
    seen.sort()
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(seen))
    # The plan said how many bytes; what lies between tiles may come along.
    promised = plan.datasets["bytes"][0].to_value(u.byte)
    assert promised <= sum(stop - start for start, stop in seen) <= 1.1 * promised + 2**16
    assert plan.datasets["n_stamps"][0] == sum(stamp.is_good for stamp in stamps)


def test_a_plan_tells_the_stamps_without_pixels(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = fetch_stamps(mini_butler, refs, positions, size=SIZE)
    list(batch)  # now the layouts of the files are known

    def refuse(source: LocalSource, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise AssertionError(f"A plan read {ranges}.")

    monkeypatch.setattr(LocalSource, "read_ranges", refuse)
    plan = batch.plan()
    monkeypatch.undo()
    found = {(stamp.ref and stamp.ref.id, stamp.index): stamp for stamp in batch}
    for planned in plan.stamps:
        stamp = found[planned.ref and planned.ref.id, planned.index]
        assert planned.image is None
        assert dataclasses.replace(planned, image=stamp.image) == stamp
    boxes = [stamp.bbox for stamp in plan.stamps if stamp.status == "OK"]
    assert plan.datasets["n_pixels"].sum() >= len(boxes) * SIZE**2


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(4) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            yield processes


def test_any_executor_gives_the_same(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord, executor: Executor
) -> None:
    alone = fetch_stamps(mini_butler, refs, positions, size=SIZE, with_psf=True)
    together = fetch_stamps(mini_butler, refs, positions, size=SIZE, with_psf=True, executor=executor)
    found = list(together)
    assert digest(found) == digest(list(alone))
    projection = fetch_geometry(mini_butler, refs[-1]).sky_projection
    last = [stamp.image for stamp in found if stamp.image and stamp.ref and stamp.ref.id == refs[-1].id]
    assert last
    assert all(image.sky_projection == projection for image in last)
    assert [stamp.ref.id for stamp in together if stamp.ref] == [stamp.ref.id for stamp in alone if stamp.ref]


def test_whole_images_do_not_travel_between_processes(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        batch = fetch_stamps(mini_butler, refs[:1], positions[:1], detail=Detail.FULL, executor=processes)
        with pytest.raises(RequestError, match="cannot be sent between processes"):
            list(batch)


def test_stamps_that_are_skipped_are_not_made(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord
) -> None:
    batch = fetch_stamps(mini_butler, refs, positions, size=SIZE)
    keys = {StampKey(refs[0].id.hex, index) for index in range(0, 40, 2)} | {StampKey(refs[2].id.hex, 7)}
    kept = list(batch.skipping(keys))
    assert len(kept) == 3 * 40 - 21
    assert not keys & {StampKey(stamp.ref.id.hex, stamp.index) for stamp in kept if stamp.ref}
    assert set(digest(kept)) < set(digest(list(batch)))


def test_the_psf_is_that_of_the_image_at_the_target(mini_butler: Butler, refs: list[DatasetRef]) -> None:
    geometry = fetch_geometry(mini_butler, refs[0])
    x, y = geometry.bbox.x.center - 31.3, geometry.bbox.y.center + 17.8
    target = geometry.sky_projection.pixel_to_sky(x=x, y=y)
    (stamp,) = fetch_stamps(mini_butler, refs[:1], target, size=SIZE, with_psf=True)
    expected = mini_butler.get(refs[0]).psf.compute_kernel_image(x=stamp.x, y=stamp.y)
    assert stamp.psf is not None
    assert np.array_equal(stamp.psf.array, expected.array)
    assert stamp.psf.array.sum() == pytest.approx(1, abs=1e-3)


def test_where_there_is_no_psf_the_stamp_says_so(mini_butler: Butler, refs: list[DatasetRef]) -> None:
    geometry = fetch_geometry(mini_butler, refs[0])
    middle = geometry.sky_projection.pixel_to_sky(x=geometry.bbox.x.center, y=geometry.bbox.y.center)
    mask = refs[0].makeComponentRef("mask")
    (good,) = fetch_stamps(mini_butler, [mask], middle, size=5, with_psf=True)
    assert good.message == ""
    assert good.status == "OK"  # the mask's parent has a PSF
    coadd = find_datasets(mini_butler, "template_coadd")[0]
    off = fetch_geometry(mini_butler, coadd)
    corner = off.sky_projection.pixel_to_sky(x=off.bbox.x.start - 1.0, y=off.bbox.y.start - 1.0)
    (stamp,) = fetch_stamps(mini_butler, [coadd], corner, size=5, with_psf=True)
    assert stamp.status == "EDGE,NO_PSF"
    assert stamp.psf is None
    assert stamp.is_good


@pytest.mark.parametrize("detail", [Detail.IMAGE, Detail.FULL])
def test_other_details(mini_butler: Butler, refs: list[DatasetRef], detail: Detail) -> None:
    geometry = fetch_geometry(mini_butler, refs[0])
    middle = geometry.sky_projection.pixel_to_sky(x=geometry.bbox.x.center, y=geometry.bbox.y.center)
    (stamp,) = fetch_stamps(mini_butler, refs[:1], middle, size=9, detail=detail)
    assert stamp.bbox is not None
    expected = fetch_cutout(mini_butler, refs[0], PixelBoxStencil(stamp.bbox), detail=detail).image
    assert type(stamp.image) is type(expected)


def test_requests_that_make_no_sense(
    mini_butler: Butler, refs: list[DatasetRef], positions: SkyCoord
) -> None:
    with pytest.raises(RequestError, match="at least 1 pixel; got 0"):
        fetch_stamps(mini_butler, refs, positions, size=0)
    with pytest.raises(UnsupportedProductError, match="no pixels to cut"):
        list(fetch_stamps(mini_butler, [refs[0].makeComponentRef("psf")], positions))
    assert list(fetch_stamps(mini_butler, [], positions)) == []
    assert len(fetch_stamps(mini_butler, [], positions).plan().datasets) == 0
