"""What is known of an image without its pixels."""

from __future__ import annotations

import astropy.units as u
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box, VisitImage

from lsst.dax.image.errors import InputDataError, UnsupportedProductError
from lsst.dax.image.repository import fetch_image_summary, find_datasets
from lsst.dax.image.repository import image_summary as module


@pytest.fixture
def ref(mini_butler):
    return find_datasets(mini_butler, "visit_image", bands=["r"])[0]


@pytest.mark.parametrize("dataset_type", ["visit_image", "difference_image"])
def test_the_summary_is_what_the_whole_image_says(mini_butler, dataset_type):
    ref = find_datasets(mini_butler, dataset_type, bands=["g"])[0]
    image = mini_butler.get(ref)
    summary = fetch_image_summary(mini_butler, ref)
    assert summary.statistics == image.summary_stats
    assert summary.unit == image.unit == u.nJy
    assert summary.geometry.bbox == image.bbox
    assert summary.has_psf
    assert summary.has_scaling is (image.photometric_scaling is not None)


def test_files_that_the_butler_reads_say_the_same(mini_butler, ref, tmp_path):
    """The same image in JSON, which the reader of this library does not know."""
    image: VisitImage = mini_butler.get(ref)
    expected = fetch_image_summary(mini_butler, ref)
    corner = Box.factory[0:20, 0:20]
    bare = VisitImage(
        image.image[corner],
        mask=image.mask[corner],
        variance=image.variance[corner],
        psf=image.psf,
        detector=image.detector,
        band=image.band,
        obs_info=image.obs_info,
        summary_stats=image.summary_stats,
        sky_projection=image.sky_projection,
    )
    formatter = "lsst.images.formatters.GenericFormatter"
    config = {
        "datastore": {
            "formatters": {"VisitImage": {"formatter": formatter, "parameters": {"format": "json"}}}
        }
    }
    Butler.makeRepo(str(tmp_path / "repo"), config=config)
    butler = Butler.from_config(str(tmp_path / "repo"), writeable=True, run="copy")
    butler.transfer_dimension_records_from(mini_butler, [ref])
    butler.registry.registerDatasetType(ref.datasetType)
    stored = butler.put(bare, "visit_image", ref.dataId.required)
    summary = fetch_image_summary(butler, stored)
    assert summary.statistics == expected.statistics
    assert summary.unit == expected.unit
    assert summary.geometry.bbox.shape == (20, 20)
    assert (summary.has_psf, summary.has_scaling) == (True, False)
    butler.close()


def test_coadds_have_no_summary(mini_butler):
    ref = find_datasets(mini_butler, "deep_coadd")[0]
    with pytest.raises(
        UnsupportedProductError, match=r"CellCoadd, which has no summary_stats and no photometric"
    ):
        fetch_image_summary(mini_butler, ref)


def test_a_damaged_tree_is_an_error_of_the_data(ref):
    with pytest.raises(InputDataError, match=r"visit_image .* is not JSON"):
        module._parse_tree(ref, b"{")
    for stored in ({"psfSigma": "wide"}, {"min_read_version": 99}, 3):
        with pytest.raises(InputDataError, match=r"visit_image .* statistics that are not usable"):
            module._parse_statistics(ref, stored)
    assert module._parse_statistics(ref, None) is None
