"""Visit images from datasets that were persisted one by one, their own pixels being lost."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from lsst.images import BackgroundMap, Box, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.images.serialization import write_archive
from tests.support.raw_survey import shared_raw_survey
from tests.support.recreation import make_components, make_original
from tests.support.visit_summaries import summarize

from lsst.dax.image.errors import (
    CalibrationMismatchError,
    DatasetNotFoundError,
    InputDataError,
    MissingCalibrationError,
    MissingPsfError,
    RequestError,
    UnsupportedProductError,
)
from lsst.dax.image.recreation import (
    VisitComponents,
    make_visit_image_recipe,
    read_recipe,
    read_visit_summary,
    recreate_from,
    recreate_visit_image,
    render_background,
)
from lsst.dax.image.recreation.isr import LSSTCAM_DP2
from lsst.dax.image.regression import BIT_IDENTICAL, compare_images
from lsst.dax.image.simulation._raw_repository import RAW_RUN
from lsst.dax.image.simulation._raw_survey import CALIBRATION_COLLECTION

RUN = "MiniCam/runs/separate"
GENERIC = "lsst.images.formatters.GenericFormatter"
JSON = "lsst.daf.butler.formatters.json.JsonFormatter"
FILE = "lsst.dax.image.repository.file_formatter.FileFormatter"
STORAGE = {
    "background": "BackgroundMap",
    "visit_summary": "CalibrationFile",
    "psf": "PointSpreadFunction",
    "detector": "DetectorV2",
    "obs_info": "ObservationInfo",
    "mask": "MaskV2",
    "metadata": "StructuredDataDict",
    "background_file": "CalibrationFile",
    "background_field": "ImageField",
    "other_psf": "PointSpreadFunction",
}
NEEDED = ("background", "visit_summary", "psf", "detector", "obs_info")


@dataclass
class Repository:
    """A repository whose visit images are cut up, and what they were before."""

    butler: Butler
    data_id: dict[str, Any]
    original: VisitImage
    recreated: VisitImage
    """Made while the visit image was still there."""
    refs: dict[str, DatasetRef]

    def take(self, *names: str) -> dict[str, DatasetRef]:
        return {name: self.refs[name] for name in names}

    def recreate(self, inputs: Mapping[str, DatasetRef], **options: Any) -> VisitImage:
        return recreate_visit_image(self.butler, self.data_id, sequence=LSSTCAM_DP2, inputs=inputs, **options)


def ingest(butler: Butler, name: str, data_id: Mapping[str, Any], path: Path, formatter: str) -> DatasetRef:
    dimensions = set(data_id) if name != "visit_summary" else {"instrument", "visit"}
    dataset_type = DatasetType(f"lone_{name}", dimensions, STORAGE[name], universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    key = butler.registry.expandDataId(data_id, dimensions=dataset_type.dimensions)
    ref = DatasetRef(dataset_type, key, run=RUN)
    butler.ingest(FileDataset(path=str(path), refs=[ref], formatter=formatter), transfer="copy")
    return ref


def write_parts(original: VisitImage, folder: Path) -> dict[str, tuple[Path, str]]:
    """Write what the image holds, each into a file of its own."""
    objects = {
        "background": original.backgrounds,
        "background_field": original.backgrounds["subtracted"].field,
        "psf": original.psf,
        "detector": original.detector,
        "mask": original.mask,
        "other_psf": GaussianPointSpreadFunction(2.0, original.detector.bbox, 21),
    }
    files = {}
    for name, value in objects.items():
        files[name] = folder / f"{name}.fits", GENERIC
        write_archive(value, files[name][0])
    files["visit_summary"] = summarize(original).write(folder / "summary.fits"), FILE
    files["obs_info"] = folder / "obs_info.json", JSON
    files["obs_info"][0].write_text(original.obs_info.model_dump_json())
    files["background_file"] = write_flat_background(original, folder / "flat.fits"), FILE
    return files


def write_flat_background(original: VisitImage, path: Path) -> Path:
    """Write a background of 700 electrons everywhere."""
    height, width = original.detector.bbox.shape
    cards = {"INTERPSTYLE": 5, "UNDERSAMPLESTYLE": 1, "APPROXSTYLE": -1}
    cards |= {"BKGD_X0": 0, "BKGD_Y0": 0, "BKGD_WIDTH": width, "BKGD_HEIGHT": height}
    header = fits.Header({k if len(k) <= 8 else f"HIERARCH {k}": v for k, v in cards.items()})
    values = np.full((5, 6), 700.0, np.float32)
    planes = [fits.PrimaryHDU(values, header), fits.ImageHDU(values.astype(np.int32)), fits.ImageHDU(values)]
    fits.HDUList(planes).writeto(path)
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    survey = shared_raw_survey(tmp_path_factory)
    folder = tmp_path_factory.mktemp("separate")
    shutil.copytree(survey.root, folder / "repository")
    butler = Butler.from_config(str(folder / "repository"), collections=survey.collections, writeable=True)
    data_id = {"instrument": survey.instrument, "visit": survey.visits[0].visit, "detector": 0}
    original = butler.get("visit_image", data_id)
    recreated = recreate_visit_image(butler, data_id, sequence=LSSTCAM_DP2)
    butler.collections.register(RUN)
    refs = {
        name: ingest(butler, name, data_id, path, formatter)
        for name, (path, formatter) in write_parts(original, folder).items()
    }
    dataset_type = DatasetType("lone_metadata", set(data_id), STORAGE["metadata"], universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    refs["metadata"] = butler.put(dict(original.metadata), "lone_metadata", data_id, run=RUN)
    images = butler.query_datasets("visit_image", data_id=data_id, collections="*", find_first=False)
    butler.pruneDatasets(images, disassociate=False, unstore=True)
    yield Repository(butler, data_id, original, recreated, refs)
    butler.close()


def assert_same_pixels(image: VisitImage, other: VisitImage) -> None:
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(image, name).array, getattr(other, name).array)


def test_the_lost_image_comes_back_to_the_bit(repository: Repository) -> None:
    names = (*NEEDED, "mask", "metadata")
    image = repository.recreate(repository.take(*names))
    assert_same_pixels(image, repository.recreated)
    comparison = compare_images(image, repository.original)
    comparison.assert_equivalent(BIT_IDENTICAL)
    assert image.detector == repository.original.detector
    assert image.obs_info == repository.original.obs_info
    assert image.aperture_corrections == repository.original.aperture_corrections
    assert set(image.backgrounds) == set(repository.original.backgrounds)


def test_the_recipe_names_each_dataset(repository: Repository, tmp_path: Path) -> None:
    names = (*NEEDED, "mask", "metadata")
    image = repository.recreate(repository.take(*names))
    recipe = read_recipe(image)
    assert {name: dataset.id for name, dataset in recipe.components.items()} == {
        name: repository.refs[name].id for name in names
    }
    assert recipe.components["visit_summary"].dataset_type == "lone_visit_summary"
    assert recipe.with_original_mask
    write_archive(image, tmp_path / "again.fits")
    assert_same_pixels(recreate_from(tmp_path / "again.fits", repository.butler), image)


def test_a_part_has_the_pixels_of_the_whole(repository: Repository) -> None:
    part = Box.factory[20:50, 30:90]
    image = repository.recreate(repository.take(*NEEDED, "mask", "metadata"), bbox=part)
    assert_same_pixels(image, repository.recreated[part])


def test_without_a_mask_there_are_no_cosmic_rays(repository: Repository) -> None:
    image = repository.recreate(repository.take(*NEEDED, "metadata"))
    assert not read_recipe(image).with_original_mask
    assert not image.mask.get("COSMIC_RAY").any()
    hit = repository.original.mask.get("COSMIC_RAY")
    same = image.image.array == repository.original.image.array
    assert same[~hit].all()
    assert not same[hit].any()


def test_other_forms_of_a_background(repository: Repository) -> None:
    """A field of lsst.images gives the same pixels, a file of old pipelines its own."""
    inputs = repository.take(*NEEDED, "mask", "metadata")
    field = repository.recreate({**inputs, "background": repository.refs["background_field"]})
    assert_same_pixels(field, repository.recreated)
    flat = repository.recreate({**inputs, "background": repository.refs["background_file"]})
    box, clear = flat.bbox, ~repository.original.mask.get("COSMIC_RAY")
    sky = render_background(repository.original.backgrounds["subtracted"].field, box)
    expected = flat.photometric_scaling.render(box, dtype=np.float64).array * (sky - 700.0)
    change = flat.image.array.astype(np.float64) - repository.recreated.image.array
    np.testing.assert_allclose(change[clear], expected[clear], atol=0.01)
    np.testing.assert_array_equal(flat.variance.array, repository.recreated.variance.array)


def test_obs_info_of_another_image(repository: Repository) -> None:
    """An image that has one stands for it; only that is read of it."""
    other = repository.original[Box.factory[0:2, 0:2]]
    name, key = "lone_image", repository.data_id
    butler = repository.butler
    dataset_type = DatasetType(name, set(key), "VisitImage", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    inputs = repository.take(*NEEDED, "metadata")
    inputs["obs_info"] = inputs["metadata"] = butler.put(other, name, key, run=RUN)
    image = repository.recreate(inputs)
    assert image.obs_info == repository.original.obs_info
    inputs["psf"] = butler.get_dataset(inputs["obs_info"].id).makeComponentRef("psf")
    again = repository.recreate(inputs)
    assert read_recipe(again).components["psf"].dataset_type == "lone_image.psf"
    assert_same_pixels(again, image)
    # A visit image supplies what is not given otherwise, and not more.
    mixed = repository.recreate(
        {
            "visit_image": inputs["obs_info"],
            **repository.take("mask", "detector"),
            "psf": repository.refs["other_psf"],
        }
    )
    assert_same_pixels(mixed[Box.factory[0:2, 0:2]], repository.recreated[Box.factory[0:2, 0:2]])


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_missing_in_the_end_is_named(repository: Repository, name: str) -> None:
    """The visit image would be taken for it, but its file is gone."""
    inputs = repository.take(*NEEDED, "mask", "metadata")
    del inputs[name]
    with pytest.raises(InputDataError, match=r"visit_image.* file is gone"):
        repository.recreate(inputs)


def test_missing_without_a_visit_image_in_the_collections(repository: Repository) -> None:
    butler = repository.butler.clone(collections=[RUN])
    given, options = repository.take("psf", "visit_summary"), {"sequence": LSSTCAM_DP2}
    with pytest.raises(InputDataError, match="have no background, detector, obs_info, and there is no visit"):
        make_visit_image_recipe(butler, repository.data_id, inputs=given, **options)
    with pytest.raises(DatasetNotFoundError, match="No 'visit_image' dataset"):
        make_visit_image_recipe(butler, repository.data_id, **options)


def test_the_noise_is_that_of_the_image_or_else_of_its_raw(repository: Repository) -> None:
    inputs = repository.take(*NEEDED, "mask", "metadata")
    assert read_recipe(repository.recreated).seed == read_recipe(repository.recreate(inputs)).seed
    butler = repository.butler.clone(collections=[RUN, RAW_RUN, CALIBRATION_COLLECTION])
    recipe = make_visit_image_recipe(butler, repository.data_id, sequence=LSSTCAM_DP2, inputs=inputs)
    assert recipe.seed == recipe.raw.id.int % 2**32


def test_pedestals_need_metadata(repository: Repository) -> None:
    with pytest.raises(MissingCalibrationError, match="but the inputs have no 'LSST ISR AMPOFFSET PEDESTAL'"):
        repository.recreate(repository.take(*NEEDED, "mask"))


def test_inputs_that_do_not_fit(repository: Repository) -> None:
    inputs = repository.take(*NEEDED, "metadata")
    refs = repository.refs
    with pytest.raises(
        UnsupportedProductError, match=r"\['wcs'\] are not known; known are raw, visit_image, backg"
    ):
        repository.recreate({**inputs, "wcs": refs["psf"]})
    with pytest.raises(InputDataError, match="storage class 'DetectorV2'; as 'psf' a PointSpreadFunction is"):
        repository.recreate({**inputs, "psf": refs["detector"]})
    with pytest.raises(UnsupportedProductError, match="lone_psf"):
        repository.recreate({**inputs, "mask": refs["psf"]})
    with pytest.raises(InputDataError, match="has no table 'ARCHIVE_INDEX'"):
        repository.recreate({**inputs, "visit_summary": refs["background_file"]})
    other = {**repository.data_id, "detector": 1}
    with pytest.raises(CalibrationMismatchError, match=r"lone_background.* its detector is 0"):
        recreate_visit_image(repository.butler, other, sequence=LSSTCAM_DP2, inputs=inputs)
    with pytest.raises(RequestError, match="has no visit"):
        recreate_visit_image(
            repository.butler, {"instrument": "MiniCam", "detector": 0}, sequence=LSSTCAM_DP2, inputs=inputs
        )


def make_summary(folder: Path, original: VisitImage, **options: Any) -> Any:
    (row,) = read_visit_summary(summarize(original, **options).write(folder / "s.fits")).values()
    return row


def test_components_of_datasets_alone(tmp_path: Path) -> None:
    expected = make_components()
    original = make_original(expected)
    summary = make_summary(tmp_path, original)
    given = {name: getattr(expected, name) for name in ("background", "psf", "detector", "obs_info")}
    components = VisitComponents.from_datasets(summary=summary, **given)
    for name in ("photometric_scaling", "aperture_corrections", "band", *given):
        assert getattr(components, name) == getattr(expected, name)
    assert components.backgrounds.subtracted.field is expected.background
    assert components.mask is None
    for name in ("detector", "obs_info", "background"):
        with pytest.raises(
            InputDataError, match=f"No input has the .*{name}.*no visit image, a visit summary"
        ):
            VisitComponents.from_datasets(summary=summary, **{**given, name: None})
    with pytest.raises(MissingPsfError, match="the visit summary has a PiffPsf, which is not read"):
        VisitComponents.from_datasets(summary=summary, **{**given, "psf": None})
    with pytest.raises(
        InputDataError,
        match=r"has the sky_projection, photometric_scaling, .*; given: no visit image, no visit summary",
    ):
        VisitComponents.from_datasets(**given)


def test_a_summary_without_a_scaling_leaves_that_of_the_image(tmp_path: Path) -> None:
    original = make_original(make_components())
    summary = make_summary(tmp_path, original, without=["photoCalib"])
    components = VisitComponents.from_datasets(visit_image=original, summary=summary)
    assert components.photometric_scaling == original.photometric_scaling
    assert components.sky_projection is summary.sky_projection
    original._photometric_scaling = None
    with pytest.raises(InputDataError, match="has no photometric scaling"):
        VisitComponents.from_datasets(visit_image=original, summary=summary)


def test_given_backgrounds_take_the_place_of_the_same_name() -> None:
    original = make_original(make_components())
    new = ChebyshevField(original.detector.bbox, np.array([[800.0]]), unit=u.electron)
    components = VisitComponents.from_datasets(visit_image=original, background=new)
    assert components.background is new
    assert set(components.backgrounds) == {"subtracted", "skyCorr"}
    other = BackgroundMap()
    other.add("skyCorr", new)
    with pytest.raises(
        InputDataError, match=r"given map of backgrounds has no background 'subtracted', but \['sky"
    ):
        VisitComponents.from_datasets(visit_image=original, background=other)


def test_components_of_other_pixels(tmp_path: Path) -> None:
    original = make_original(make_components())
    detector = original.detector
    small = ChebyshevField(Box.factory[0:10, 0:10], np.array([[800.0]]), unit=u.electron)
    with pytest.raises(InputDataError, match=r"background covers \[y=0:10, x=0:10\], detector"):
        VisitComponents.from_datasets(visit_image=original, background=small)
    summary = dataclasses.replace(make_summary(tmp_path, original), detector=detector.id + 1)
    with pytest.raises(InputDataError, match=f"summary is of detector {detector.id + 1} with"):
        VisitComponents.from_datasets(visit_image=original, summary=summary)
