"""Visit images made again from the raws of a repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box, VisitImage
from lsst.images.serialization import read_archive
from tests.support.raw_survey import shared_raw_survey

from lsst.dax.image.container import Compression
from lsst.dax.image.errors import (
    CalibrationMismatchError,
    DatasetNotFoundError,
    InputDataError,
    MissingCalibrationError,
    NoCoverageError,
    OutputError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.recreation import (
    CalibrationCache,
    VisitImageRecipe,
    make_from_recipe,
    make_visit_image_recipe,
    read_difference_recipe,
    read_recipe,
    recreate_from,
    recreate_visit_image,
    write_visit_image,
)
from lsst.dax.image.recreation.isr import LSSTCAM_DP2
from lsst.dax.image.regression import (
    BIT_IDENTICAL,
    LOSSY,
    assert_recreated,
    compare_images,
    read_steps,
    verify_recreation,
)
from lsst.dax.image.repository import fetch_uri, find_datasets
from lsst.dax.image.simulation import RawSurvey

PART = Box.factory[60:140, 100:300]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> RawSurvey:
    return shared_raw_survey(tmp_path_factory)


@pytest.fixture
def butler(survey: RawSurvey) -> Iterator[Butler]:
    with survey.open() as butler:
        yield butler


@pytest.fixture
def writeable(survey: RawSurvey, tmp_path: Path) -> Iterator[Butler]:
    """Return a Butler of a copy that a test may damage."""
    with survey.open() as butler:
        collections = list(butler.collections.defaults)
    shutil.copytree(survey.root, tmp_path / "repo")
    with Butler.from_config(tmp_path / "repo", writeable=True, collections=collections) as butler:
        yield butler


def key(survey: RawSurvey, detector: int = 0, visit: int = 0) -> dict[str, Any]:
    return {"instrument": survey.instrument, "visit": survey.visits[visit].visit, "detector": detector}


def assert_same_pixels(one: VisitImage, other: VisitImage) -> None:
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(one, plane).array, getattr(other, plane).array)


@pytest.mark.parametrize("detector", [0, 1])
def test_the_lossless_original_comes_back_to_the_bit(
    survey: RawSurvey, butler: Butler, detector: int
) -> None:
    data_id = key(survey, detector)
    image = recreate_visit_image(butler, data_id, sequence=LSSTCAM_DP2)
    comparison = compare_images(image, butler.get("visit_image", data_id))
    comparison.assert_equivalent(BIT_IDENTICAL)
    (excluded,) = comparison.planes[0].n_excluded.values()
    assert 0 < excluded < 0.01 * image.bbox.area, "only cosmic rays are left out"


@pytest.mark.parametrize("detector", [0, 1])
def test_the_lossy_original_is_half_a_step_away(survey: RawSurvey, detector: int) -> None:
    with survey.open_lossy() as butler:
        (ref,) = find_datasets(butler, "visit_image", data_id=key(survey, detector))
        image = recreate_visit_image(butler, key(survey, detector), sequence=LSSTCAM_DP2)
        steps = read_steps(fetch_uri(butler, ref))
        assert set(steps) == {"image", "variance"}
        comparison = compare_images(image, butler.get(ref), steps=steps)
    comparison.assert_equivalent(LOSSY)
    for plane in comparison.planes:
        assert plane.max_steps == pytest.approx(0.5, abs=1e-3)
        # The quantisation error is uniform: 1/sqrt(12).
        assert plane.rms_steps == pytest.approx(12**-0.5, rel=0.01)


def test_a_part_has_the_pixels_of_the_whole(survey: RawSurvey, butler: Butler) -> None:
    whole = recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2)
    part = recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, bbox=PART)
    assert part.bbox == PART
    assert_same_pixels(part, whole[PART])
    assert read_recipe(part).box == PART
    assert read_recipe(whole).box is None


def test_the_recipe_says_what_went_in(survey: RawSurvey, butler: Butler) -> None:
    recipe = make_visit_image_recipe(butler, key(survey, 1), sequence=LSSTCAM_DP2)
    (raw,) = butler.query_datasets("raw", where=f"exposure = {survey.visits[0].visit} AND detector = 1")
    assert recipe.raw.id == raw.id
    assert set(recipe.calibrations) == set(LSSTCAM_DP2.needs) - {"pedestals"}
    flat = butler.get_dataset(recipe.calibrations["flat"].id)
    assert flat is not None
    assert flat.dataId["physical_filter"] == survey.visits[0].physical_filter
    assert recipe.calibrations["flat"].run == flat.run
    assert recipe.pedestals is not None
    assert len(recipe.pedestals) == 16
    assert VisitImageRecipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("compression", Compression)
def test_a_written_file_makes_itself_again(
    survey: RawSurvey, butler: Butler, tmp_path: Path, compression: Compression
) -> None:
    image = recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, bbox=PART)
    path = tmp_path / "new" / "image.fits"
    write_visit_image(image, path, compression=compression)
    stored = read_archive(str(path), VisitImage)
    assert_same_pixels(stored, image)
    again = recreate_from(path, butler)
    assert_same_pixels(again, image)
    assert read_recipe(again) == read_recipe(image)
    with pytest.raises(OutputError, match="exists"):
        write_visit_image(image, path)
    assert [item.name for item in path.parent.iterdir()] == ["image.fits"], "nothing half-written is left"


def test_calibrations_are_read_once(survey: RawSurvey, butler: Butler, monkeypatch: Any) -> None:
    import lsst.dax.image.recreation._from_butler as module

    names: list[str] = []
    original = module.read_calibration
    monkeypatch.setattr(
        module, "read_calibration", lambda n, *a, **k: names.append(n) or original(n, *a, **k)
    )
    cache = CalibrationCache()
    first = recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, cache=cache)
    read = len(names)
    assert sorted(names) == sorted(set(names))
    again = recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, cache=cache)
    assert len(names) == read
    assert_same_pixels(first, again)
    small = CalibrationCache(1000)
    recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, cache=small, bbox=PART)
    assert small.nbytes <= 1000


def test_many_users_get_the_same_pixels(survey: RawSurvey, butler: Butler) -> None:
    cache = CalibrationCache()

    def make(number: int) -> VisitImage:
        clone = butler.clone()
        return recreate_visit_image(clone, key(survey, number % 2), sequence=LSSTCAM_DP2, cache=cache)

    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(make, range(6)))
    for number, image in enumerate(images):
        assert_same_pixels(image, images[number % 2])


def test_verification_of_a_collection(survey: RawSurvey, butler: Butler) -> None:
    refs = find_datasets(butler, "visit_image")[:2]
    results = list(verify_recreation(butler, refs, sequence=LSSTCAM_DP2, tolerance=BIT_IDENTICAL))
    assert [result.ref for result in results] == refs
    assert all(result.passed for result in results), results[0].failures
    other = LSSTCAM_DP2.without("subtract_dark")
    (failed,) = verify_recreation(butler, refs[:1], sequence=other, tolerance=BIT_IDENTICAL)
    assert not failed.passed
    assert failed.failures[0].startswith("image: fraction identical to the bit is")
    assert_recreated(butler, refs[0], sequence=LSSTCAM_DP2, tolerance=BIT_IDENTICAL)
    with pytest.raises(AssertionError, match="is not identical to the bit"):
        assert_recreated(butler, refs[0], sequence=other, tolerance=BIT_IDENTICAL)
    wrong = LSSTCAM_DP2.without("subtract_amplifier_offsets")
    with pytest.raises(AssertionError, match="cannot be made again: CalibrationMismatchError"):
        assert_recreated(butler, refs[0], sequence=wrong, tolerance=BIT_IDENTICAL)


def test_what_is_not_there(survey: RawSurvey, butler: Butler) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"No .visit_image. dataset with data ID .*.visit.: 7"):
        recreate_visit_image(butler, {**key(survey), "visit": 7}, sequence=LSSTCAM_DP2)
    with pytest.raises(RequestTooLargeError, match="has 16000 pixels, more than 100"):
        recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, bbox=PART, max_pixels=100)
    with pytest.raises(RequestTooLargeError, match="more than 100"):
        recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, max_pixels=100)
    beyond = Box.factory[0:10, 500:600]
    with pytest.raises(NoCoverageError, match="is not within"):
        recreate_visit_image(butler, key(survey), sequence=LSSTCAM_DP2, bbox=beyond)


def test_a_file_without_a_recipe(survey: RawSurvey, butler: Butler, tmp_path: Path) -> None:
    (ref, *_) = find_datasets(butler, "visit_image")
    with pytest.raises(UnsupportedProductError, match="was not re-created by this library"):
        recreate_from(butler.getURI(ref), butler)
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(InputDataError, match=r"is not a file of lsst.images"):
        recreate_from(tmp_path / "text.fits", butler)
    image = butler.get(ref)
    image.metadata["DAX_IMAGE RECIPE"] = '{"product": "visit_image"}'
    with pytest.raises(InputDataError, match=r"The recipe of the image is not usable"):
        read_recipe(image)


def test_offsets_that_the_sequence_does_not_know(survey: RawSurvey, butler: Butler) -> None:
    without = LSSTCAM_DP2.without("subtract_amplifier_offsets")
    with pytest.raises(
        CalibrationMismatchError, match=r"had offsets of its amplifiers subtracted, but LSSTCam"
    ):
        make_visit_image_recipe(butler, key(survey), sequence=without)


def test_a_calibration_that_is_not_certified(survey: RawSurvey, writeable: Butler) -> None:
    """The original names its calibrations; without their datasets there is nothing to take."""
    refs = list(writeable.query_datasets("bias", collections="*", find_first=False))
    writeable.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)
    with pytest.raises(DatasetNotFoundError, match="No dataset found with UUID"):
        recreate_visit_image(writeable, key(survey), sequence=LSSTCAM_DP2)
    (image,) = find_datasets(writeable, "visit_image", data_id=key(survey))
    recipe_of_other = LSSTCAM_DP2.model_copy(update={"name": "test"})
    import lsst.dax.image.recreation._inputs_from_butler as module

    with pytest.MonkeyPatch.context() as patch:
        header = {"LSST ISR AMPOFFSET PEDESTAL SUBTRACTED": False}
        patch.setattr(module, "fetch_metadata", lambda *_: header)
        with pytest.raises(MissingCalibrationError, match=r"No .bias. is certified for .* at 20"):
            make_visit_image_recipe(
                writeable, key(survey), sequence=recipe_of_other, inputs={"visit_image": image}
            )


def test_a_calibration_of_another_detector(survey: RawSurvey, butler: Butler) -> None:
    wrong = make_visit_image_recipe(butler, key(survey, 1), sequence=LSSTCAM_DP2).calibrations["dark"]
    recipe = make_visit_image_recipe(butler, key(survey, 0), sequence=LSSTCAM_DP2)
    mixed = recipe.model_copy(update={"calibrations": {**recipe.calibrations, "dark": wrong}})
    with pytest.raises(CalibrationMismatchError, match=r".dark. dark .* is for 1, but exposure .* needs 0"):
        make_from_recipe(butler, mixed)


def test_a_truncated_raw(survey: RawSurvey, writeable: Butler) -> None:
    (ref,) = writeable.query_datasets("raw", where=f"exposure = {survey.visits[0].visit} AND detector = 0")
    path = Path(writeable.getURI(ref).ospath)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputDataError, match="raw"):
        recreate_visit_image(writeable, key(survey), sequence=LSSTCAM_DP2)
    path.unlink()
    with pytest.raises(InputDataError, match="its file is gone"):
        recreate_visit_image(writeable, key(survey), sequence=LSSTCAM_DP2)


@pytest.mark.parametrize("read", [read_recipe, read_difference_recipe])
def test_the_recipe_of_another_product_is_named(read) -> None:
    with pytest.raises(UnsupportedProductError, match=r"made as a 'coadd'.*lsst\.dax\.image\.recreate_from"):
        read({"DAX_IMAGE RECIPE": '{"product": "coadd"}'})
