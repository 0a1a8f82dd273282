"""A virtual Butler is a Butler: what is stored passes through, and the rest is found as if it were."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from lsst.daf.butler import Butler, DimensionNameError, EmptyQueryResultError, MissingDatasetTypeError
from lsst.images import Box
from tests.support.virtual_survey import COMPONENTS, OpenVirtual, VirtualSurvey

from lsst.dax.image.coadds import Recipe
from lsst.dax.image.cutouts import fetch_stamps
from lsst.dax.image.errors import (
    DatasetNotFoundError,
    InputDataError,
    NoCoverageError,
    RequestError,
    UnsupportedProductError,
    VirtualCycleError,
)
from lsst.dax.image.recreation import read_recipe
from lsst.dax.image.recreation.isr import LSSTCAM_DP2
from lsst.dax.image.regression import BIT_IDENTICAL, SINGLE_PRECISION, compare_images
from lsst.dax.image.repository import (
    ButlerLike,
    DatasetHandle,
    MakesDatasets,
    fetch_geometry,
    fetch_uri,
    find_by_uuid,
    find_dataset,
    find_datasets,
)
from lsst.dax.image.virtual import (
    VIRTUAL_RUN,
    CoaddProduct,
    MosaicProduct,
    VirtualButler,
    VisitImageProduct,
)

BOX = Box.factory[40:60, 100:130]
VISITS = VisitImageProduct(LSSTCAM_DP2, COMPONENTS)


def _accepts(butler: ButlerLike, maker: MakesDatasets) -> None:
    """Take one; mypy checks the call below."""


@pytest.fixture
def writeable(virtual_survey: VirtualSurvey, tmp_path: Path) -> Iterator[VirtualSurvey]:
    """Return a copy of the survey that may be written to."""
    shutil.copytree(virtual_survey.virtual_root, tmp_path / "copy")
    yield dataclasses.replace(virtual_survey, virtual_root=tmp_path / "copy")


def test_it_is_a_butler_that_makes(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    _accepts(virtual_butler, virtual_butler)
    assert isinstance(virtual_butler, ButlerLike)
    assert isinstance(virtual_butler, MakesDatasets)
    assert not isinstance(stored_butler, MakesDatasets)
    ref = find_datasets(virtual_butler, "visit_image")[0]
    handle = virtual_butler.getDeferred(ref)
    assert isinstance(handle, DatasetHandle)
    assert handle.dataId == ref.dataId
    assert handle.get(component="bbox") == fetch_geometry(virtual_butler, ref).bbox
    assert handle.get(component="image", parameters={"bbox": BOX}).bbox == BOX


def test_what_is_stored_passes_through(virtual_survey: VirtualSurvey, stored_butler: Butler) -> None:
    butler = VirtualButler(stored_butler, [VISITS])
    refs = find_datasets(butler, "visit_image")
    assert refs == find_datasets(stored_butler, "visit_image")
    assert not any(butler.is_made(ref) for ref in refs)
    assert fetch_uri(butler, refs[0]) == fetch_uri(stored_butler, refs[0])
    compare_images(butler.get(refs[0]), stored_butler.get(refs[0])).assert_equivalent(BIT_IDENTICAL)
    assert butler.n_pixels_made == {}


def test_a_part_of_what_is_stored_is_completed(virtual_survey: VirtualSurvey, tmp_path: Path) -> None:
    shutil.copytree(virtual_survey.stored_root, tmp_path / "copy")
    plain = Butler.from_config(
        str(tmp_path / "copy"), collections=virtual_survey.survey.collections, writeable=True
    )
    gone, *others = find_datasets(plain, "visit_image")
    original = plain.get(gone)
    plain.pruneDatasets([gone], disassociate=False, unstore=True)
    butler = VirtualButler(plain, [VISITS])
    # The registry still knows it: it keeps its UUID, and with it the noise in place of cosmic rays.
    assert [ref.id for ref in find_datasets(butler, "visit_image")] == [gone.id, *(ref.id for ref in others)]
    assert butler.is_made(gone)
    assert [butler.is_made(ref) for ref in others] == [False] * len(others)
    compare_images(butler.get(gone), original).assert_equivalent(SINGLE_PRECISION)
    plain.pruneDatasets([gone], disassociate=True, unstore=True, purge=True)
    refs = find_datasets(butler, "visit_image")
    assert [ref.dataId for ref in refs] == [gone.dataId, *(ref.dataId for ref in others)]
    assert refs[0].id != gone.id
    plain.close()


def test_uuids_are_stable(
    virtual_survey: VirtualSurvey, virtual_butler: VirtualButler, open_virtual: OpenVirtual
) -> None:
    refs = find_datasets(virtual_butler, "visit_image")
    assert len({ref.id for ref in refs}) == len(refs) == 6
    # Another Butler, which has handed out nothing, finds what this one did.
    assert find_by_uuid(open_virtual(), refs[3].id) == refs[3]
    other = VirtualButler(
        virtual_butler._butler, [dataclasses.replace(VISITS, sequence=LSSTCAM_DP2.without("subtract_dark"))]
    )
    assert {ref.id for ref in find_datasets(other, "visit_image")}.isdisjoint(ref.id for ref in refs)
    # A reference of one recipe is not that of another.
    assert not other.is_made(refs[0])
    with pytest.raises(DatasetNotFoundError, match="No dataset found with UUID"):
        find_by_uuid(other, refs[0].id)
    with pytest.raises(InputDataError, match="file is gone"):
        fetch_geometry(other, refs[0])
    assert virtual_butler.get_dataset(UUID(int=5)) is None


def test_uuids_are_the_same_in_another_process(
    virtual_survey: VirtualSurvey, virtual_butler: VirtualButler
) -> None:
    code = (
        "import sys, pathlib; from tests.support.virtual_survey import VirtualSurvey;"
        "from lsst.dax.image.repository import find_datasets;"
        "root = pathlib.Path(sys.argv[1]);"
        "butler = VirtualSurvey(root, root, None).open_virtual();"
        "print(*(ref.id.hex for ref in find_datasets(butler, 'visit_image'))); butler.close()"
    )
    command = [sys.executable, "-c", code, str(virtual_survey.virtual_root)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == [ref.id.hex for ref in find_datasets(virtual_butler, "visit_image")]


def test_queries(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    center = fetch_geometry(virtual_butler, find_datasets(virtual_butler, "visit_image")[0])
    place = center.sky_projection.pixel_to_sky(x=200.0, y=100.0)
    cases: list[dict[str, Any]] = [
        {"region": place},
        {"bands": ("g", "i")},
        {"where": "detector = 1"},
        {"data_id": {"detector": 0}, "bands": "r"},
        {"region": place, "where": "visit.exposure_time > 1000"},
    ]
    for case in cases:
        made = [ref.dataId for ref in find_datasets(virtual_butler, "visit_image", **case)]
        assert made == [ref.dataId for ref in find_datasets(stored_butler, "visit_image", **case)]
    order = ["-visit.timespan.begin", "detector"]
    made, stored = (
        [ref.dataId for ref in butler.query_datasets("visit_image", order_by=order, limit=3)]
        for butler in (virtual_butler, stored_butler)
    )
    assert made == stored
    assert len(made) == 3
    with pytest.raises(EmptyQueryResultError, match="No 'visit_image' is stored or can be made"):
        virtual_butler.query_datasets("visit_image", where="visit = 7", instrument="MiniCam")
    with pytest.raises(RequestError, match=r"cannot be ordered by 'visit\.colour'"):
        virtual_butler.query_datasets("visit_image", order_by="visit.colour")
    with pytest.raises(MissingDatasetTypeError, match="no_such"):
        virtual_butler.query_datasets("no_such")


def test_collections(virtual_butler: VirtualButler, virtual_survey: VirtualSurvey) -> None:
    named = virtual_survey.survey.collections
    assert find_datasets(virtual_butler, "visit_image", collections=named) == []
    assert len(find_datasets(virtual_butler, "visit_image", collections=[named, VIRTUAL_RUN])) == 6
    assert len(find_datasets(virtual_butler, "visit_image", collections=VIRTUAL_RUN)) == 6
    key = find_datasets(virtual_butler, "visit_image")[0].dataId.required
    assert find_dataset(virtual_butler, "visit_image", key, collections=VIRTUAL_RUN).run == VIRTUAL_RUN
    with pytest.raises(DatasetNotFoundError, match="No 'visit_image' dataset"):
        find_dataset(virtual_butler, "visit_image", key, collections=named)


def test_data_ids(virtual_butler: VirtualButler) -> None:
    ref = find_datasets(virtual_butler, "visit_image")[0]
    key = dict(ref.dataId.required)
    assert virtual_butler.find_dataset("visit_image", **key) == ref
    assert virtual_butler.find_dataset("visit_image", ref.dataId) == ref
    assert virtual_butler.find_dataset("visit_image", key | {"visit": 7}) is None
    with pytest.raises(DimensionNameError, match="detector"):
        virtual_butler.find_dataset("visit_image", instrument="MiniCam", visit=key["visit"])


def test_components_cost_no_pixels(virtual_butler: VirtualButler, stored_butler: Butler) -> None:
    ref = find_datasets(virtual_butler, "visit_image")[0]
    original = stored_butler.get("visit_image", ref.dataId)
    names = set(ref.datasetType.storageClass.allComponents())
    names -= {"image", "mask", "variance", "masked_image", "components"}
    for name in names:
        made = virtual_butler.get(ref.makeComponentRef(name))
        assert type(made) is type(getattr(original, name)), name
    assert virtual_butler.get(ref.makeComponentRef("bounds")) == original.bounds
    assert virtual_butler.get(ref.makeComponentRef("obs_info")) == original.obs_info
    assert virtual_butler.n_pixels_made == {}
    several = ref.makeComponentRef("components")
    found = virtual_butler.get(several, parameters={"components": ["image", "unit"], "bbox": BOX})
    assert found["image"] == original.image[BOX]
    assert found["unit"] == original.unit
    assert virtual_butler.n_pixels_made == {"visit_image": BOX.area}


def test_what_is_returned_is_the_callers_own(virtual_butler: VirtualButler) -> None:
    ref = find_datasets(virtual_butler, "visit_image")[0]
    first = virtual_butler.get(ref, parameters={"bbox": BOX})
    value = float(first.image.array[0, 0])
    first.image.array[:] = -1.0
    assert virtual_butler.get(ref, parameters={"bbox": BOX}).image.array[0, 0] == value
    assert read_recipe(first).box == BOX


@pytest.mark.parametrize("max_bytes", [0, 10**9])
def test_memory_is_bounded(max_bytes: int, open_virtual: OpenVirtual) -> None:
    butler = open_virtual(max_bytes=max_bytes)
    ref = find_datasets(butler, "visit_image")[0]
    for _ in range(2):
        butler.get(ref, parameters={"bbox": BOX})
    inner = Box.factory[45:50, 110:120]
    butler.get(ref.makeComponentRef("image"), parameters={"bbox": inner})
    kept = butler._workshop.images.n_bytes
    assert kept <= max_bytes
    made = BOX.area if max_bytes else 2 * BOX.area + inner.area
    assert butler.n_pixels_made == {"visit_image": made}


def test_boxes_off_the_image_and_unknown_parameters(virtual_butler: VirtualButler) -> None:
    ref = find_datasets(virtual_butler, "visit_image")[0]
    with pytest.raises(NoCoverageError, match=r"is not within .*512"):
        virtual_butler.get(ref, parameters={"bbox": Box.factory[0:10, 500:600]})
    with pytest.raises(RequestError, match=r"takes the parameters \['bbox'\], not \['amp'\]"):
        virtual_butler.get(ref, parameters={"amp": 3})
    with pytest.raises(UnsupportedProductError, match="has no file: it is made when it is asked for"):
        virtual_butler.getURI(ref)


def test_cycles_are_found() -> None:
    first = CoaddProduct("first", Recipe(name="first", dataset_type="second"))
    second = MosaicProduct("second", "third", ("skymap", "tract"))
    third = CoaddProduct("third", Recipe(name="third", dataset_type="first"))
    plain = create_unused_butler()
    with pytest.raises(VirtualCycleError, match="first from second from third from first"):
        VirtualButler(plain, [first, second, third])
    itself = CoaddProduct("coadd", Recipe(name="itself", dataset_type="coadd"))
    with pytest.raises(VirtualCycleError, match="coadd from coadd"):
        VirtualButler(plain, [itself])


def create_unused_butler() -> Any:
    class Unused:
        def clone(self) -> Unused:
            return self

    return Unused()


def test_what_is_being_made_is_not_found_by_its_own_maker(open_virtual: OpenVirtual) -> None:
    class Undeclared(VisitImageProduct):
        def plan(self, context: Any, ref: Any) -> Any:
            other = "two" if self.name == "one" else "one"
            key = dict(ref.dataId.required)
            return fetch_geometry(context.butler, find_dataset(context.butler, other, key))

    butler = open_virtual(*(Undeclared(LSSTCAM_DP2, COMPONENTS, name) for name in ("one", "two")))
    ref = find_datasets(butler, "one")[0]
    # One asks for two, which asks for one again.
    with pytest.raises(DatasetNotFoundError, match=r"Look-up of 'one' .* found nothing"):
        butler.get(ref)


def test_products_that_make_no_sense(virtual_survey: VirtualSurvey, stored_butler: Butler) -> None:
    with pytest.raises(RequestError, match="Two products are named 'visit_image'"):
        VirtualButler(stored_butler, [VISITS, VISITS])
    coadd = CoaddProduct("visit_image", Recipe(name="r", dataset_type="other"))
    with pytest.raises(RequestError, match="is registered as VisitImage with the dimensions"):
        VirtualButler(stored_butler, [coadd])
    with pytest.raises(RequestError, match=r"background, .* are missing among \['psf'\]"):
        VisitImageProduct(LSSTCAM_DP2, {"psf": "visit_psf"})
    with pytest.raises(RequestError, match=r"no components \['colour'\]"):
        VisitImageProduct(LSSTCAM_DP2, COMPONENTS | {"colour": "visit_colour"})
    with pytest.raises(RequestError, match="the Butler is read-only"):
        VirtualButler(stored_butler, [VISITS], write_to="u/me/run")
    with pytest.raises(RequestError, match="has no clones"):
        VirtualButler(object(), [VISITS])  # type: ignore[arg-type]


def test_missing_inputs(writeable: VirtualSurvey) -> None:
    plain = writeable.open_plain(writeable=True)
    butler = VirtualButler(plain, [VISITS])
    refs = find_datasets(butler, "visit_image")
    (raw,) = plain.query_datasets(
        "raw", where=f"exposure = {refs[0].dataId['visit']} AND detector = 0", instrument="MiniCam"
    )
    plain.pruneDatasets([raw], disassociate=True, unstore=True, purge=True)
    # Without a raw it is no dataset any more; who asks for it nonetheless is told what is missing.
    assert find_datasets(butler, "visit_image") == refs[1:]
    with pytest.raises(DatasetNotFoundError, match="No 'raw' dataset with data ID"):
        butler.get(refs[0], parameters={"bbox": BOX})
    biases = plain.query_datasets("bias", collections="*", find_first=False)
    plain.pruneDatasets(biases, disassociate=False, unstore=True)
    with pytest.raises(InputDataError, match=r"bias .* is registered, but its file is gone"):
        butler.get(refs[1], parameters={"bbox": BOX})
    plain.close()


def test_writing_through(writeable: VirtualSurvey) -> None:
    butler = writeable.open_virtual(write_to="u/tests/made")
    refs = find_datasets(butler, "visit_image")
    butler.get(refs[0], parameters={"bbox": BOX})
    assert butler.is_made(refs[0])
    made = butler.get(refs[0])
    assert not butler.is_made(refs[0])
    assert fetch_uri(butler, refs[1]).exists()
    butler.close()
    plain = writeable.open_plain()
    stored = find_by_uuid(plain, refs[0].id)
    assert stored.run == "u/tests/made"
    again = plain.get(stored)
    assert np.abs(again.image.array - made.image.array).max() == 0.0
    assert read_recipe(again) == read_recipe(made)
    assert plain.get_dataset(refs[2].id) is None
    plain.close()


def test_threads_share_what_is_made(virtual_butler: VirtualButler) -> None:
    ref = find_datasets(virtual_butler, "visit_image")[0]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: virtual_butler.get(ref, parameters={"bbox": BOX}), range(8)))
    for image in images[1:]:
        compare_images(image, images[0]).assert_equivalent(BIT_IDENTICAL)
    assert virtual_butler.n_pixels_made == {"visit_image": BOX.area}
    assert virtual_butler.clone().n_pixels_made == {"visit_image": BOX.area}
    assert virtual_butler.clone(collections=virtual_butler._butler.collections.defaults).n_pixels_made == {}


def test_processes_make_what_this_one_makes(virtual_butler: VirtualButler) -> None:
    refs = find_datasets(virtual_butler, "visit_image", bands="g")
    position = fetch_geometry(virtual_butler, refs[0]).sky_projection.pixel_to_sky(x=200.0, y=100.0)
    here = list(fetch_stamps(virtual_butler, refs, position, size=9))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = list(fetch_stamps(virtual_butler, refs, position, size=9, executor=pool))
    for one, other in zip(here, there, strict=True):
        assert one.flags == other.flags
        if one.image is not None:
            assert np.array_equal(one.image.image.array, other.image.image.array, equal_nan=True)
