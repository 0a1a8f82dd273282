"""Difference images that were not stored, of visit images and templates that were."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from lsst.images import Box, DifferenceImage
from lsst.images.serialization import write_archive

from lsst.dax.image.cutouts import fetch_cutout
from lsst.dax.image.forced import ImageSearch, fetch_light_curves
from lsst.dax.image.recreation import DifferenceInputs, recreate_difference_image
from lsst.dax.image.regression import BIT_IDENTICAL, compare_images
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import MiniSurvey
from lsst.dax.image.virtual import DifferenceImageProduct, VirtualButler

KERNEL = "difference_kernel"
RUN = "MiniCam/runs/kernels"
GENERIC = "lsst.images.formatters.GenericFormatter"


@pytest.fixture(scope="module")
def root(mini_survey: MiniSurvey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the mini survey with kernels instead of difference images."""
    root = tmp_path_factory.mktemp("differences") / "repository"
    shutil.copytree(mini_survey.root, root)
    butler = Butler.from_config(str(root), collections=mini_survey.collections, writeable=True)
    dimensions = ("instrument", "visit", "detector")
    dataset_type = DatasetType(KERNEL, dimensions, "ConvolutionKernel", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    butler.collections.register(RUN)
    butler.collections.prepend_chain(mini_survey.collections, RUN)
    images = butler.query_datasets("difference_image")
    for number, ref in enumerate(images):
        path = root.parent / f"{number}.fits"
        write_archive(butler.get(ref).kernel, path)
        kernel = DatasetRef(dataset_type, butler.registry.expandDataId(ref.dataId), run=RUN)
        butler.ingest(FileDataset(path=str(path), refs=[kernel], formatter=GENERIC), transfer="move")
    butler.pruneDatasets(images, disassociate=True, unstore=True, purge=True)
    butler.close()
    return root


@pytest.fixture
def butler(root: Path, mini_survey: MiniSurvey) -> Iterator[VirtualButler]:
    plain = Butler.from_config(str(root), collections=mini_survey.collections)
    butler = VirtualButler(plain, [DifferenceImageProduct(KERNEL)])
    yield butler
    butler.close()


def test_a_box_is_that_of_the_whole(butler: VirtualButler, mini_butler: Butler) -> None:
    ref = find_datasets(butler, "difference_image", bands="r")[0]
    (original,) = find_datasets(mini_butler, "difference_image", data_id=dict(ref.dataId.required))
    kernel = mini_butler.get(original.makeComponentRef("kernel"))
    whole = recreate_difference_image(
        mini_butler, ref.dataId.required, inputs=DifferenceInputs(kernel=kernel)
    )
    box = Box.factory[90:130, 100:160]
    made = butler.get(ref, parameters={"bbox": box})
    assert isinstance(made, DifferenceImage)
    assert np.array_equal(made.image.array, whole[box].image.array, equal_nan=True)
    compare_images(made, whole[box]).assert_equivalent(BIT_IDENTICAL)
    assert butler.n_pixels_made == {"difference_image": box.area}


def test_cutouts_are_those_of_the_stored(
    butler: VirtualButler, mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    target = mini_survey.find_target("variable")
    refs = find_datasets(butler, "difference_image", region=target)
    originals = find_datasets(mini_butler, "difference_image", region=target)
    assert [ref.dataId for ref in refs] == [ref.dataId for ref in originals]
    circle = f"CIRCLE {target.ra.deg} {target.dec.deg} 0.0005"
    made, stored = (
        fetch_cutout(other, chosen[0], circle).image
        for other, chosen in ((butler, refs), (mini_butler, originals))
    )
    difference = (made.image.array - stored.image.array) / np.sqrt(stored.variance.array)
    # The stored one is rounded to sixteenths of the noise.
    assert np.nanmax(np.abs(difference)) < 0.25
    assert np.nanstd(difference) < 0.05


def test_light_curves_are_those_of_the_stored(
    butler: VirtualButler, mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    target = mini_survey.find_target("variable")
    search = ImageSearch(dataset_types=("difference_image",), bands=("r",))
    made = fetch_light_curves(butler, target, images=search)
    stored = fetch_light_curves(mini_butler, target, images=search)
    assert made["visit"].tolist() == stored["visit"].tolist()
    pull = (made["flux"] - stored["flux"]) / stored["flux_err"]
    assert np.isfinite(pull).any()
    # The stored ones are rounded to sixteenths of the noise of each pixel.
    assert np.nanmax(np.abs(pull)) < 0.05
    whole = sum(
        fetch_geometry(butler, ref).bbox.area for ref in find_datasets(butler, "visit_image", bands="r")
    )
    assert butler.n_pixels_made["difference_image"] < 0.1 * whole
