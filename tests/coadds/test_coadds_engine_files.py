"""Coadds in files: everything is read back, from anywhere."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box
from lsst.images.cells import CellCoadd
from lsst.resources import ResourcePath
from moto import mock_aws

from lsst.dax.image.coadds import (
    READY_MADE,
    Coadd,
    InputKey,
    Recipe,
    Statistic,
    Warp,
    fetch_coadd,
    make_coadd,
    read_coadd,
)
from lsst.dax.image.errors import InputDataError, UnsupportedProductError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.simulation import MiniSurvey

MEAN = Recipe(name="mean", statistic=Statistic.MEAN, selection={"bands": ("r",)}, noise_realizations=2)


def make_grid(survey: MiniSurvey, half: int) -> TargetGrid:
    projection = survey.config.sky_map.tract_sky_projection(survey.tract)
    middle = projection.sky_to_pixel(survey.config.center_position)
    y, x = round(float(middle.y)), round(float(middle.x))
    return TargetGrid(projection, Box.factory[y - half : y + half, x - half : x + half])


def assert_equal_coadds(one: Coadd, two: Coadd) -> None:
    assert type(one.image) is type(two.image)
    assert one.sky_projection.pixel_to_sky_transform == two.sky_projection.pixel_to_sky_transform
    pairs = [(getattr(one.image, name), getattr(two.image, name)) for name in ("image", "variance", "mask")]
    pairs += [(getattr(one, name), getattr(two, name)) for name in ("n_inputs", "effective_time", "rejected")]
    pairs += zip(one.noise_realizations, two.noise_realizations, strict=True)
    for first, second in pairs:
        assert first.bbox == second.bbox
        assert getattr(first, "unit", None) == getattr(second, "unit", None)
        assert first.array.dtype == second.array.dtype
        np.testing.assert_array_equal(first.array, second.array)
    assert one.psf.bounds == two.psf.bounds
    assert one.aperture_corrections.keys() == two.aperture_corrections.keys()
    for cell in one.psf.bounds.cell_indices():
        np.testing.assert_array_equal(one.psf[cell].array, two.psf[cell].array)
        fields = [(one.noise_correlation, two.noise_correlation)]
        fields += [
            (field, two.aperture_corrections[name]) for name, field in one.aperture_corrections.items()
        ]
        for first, second in fields:
            assert first.value_in_cell(cell) == second.value_in_cell(cell)
    assert one.inputs.colnames == two.inputs.colnames
    for name in one.inputs.colnames:
        np.testing.assert_array_equal(one.inputs[name], two.inputs[name], name)
    assert (one.recipe, one.record) == (two.recipe, two.record)
    # What is no cell coadd has no place for it.
    assert (one.provenance is not None) == isinstance(one.image, CellCoadd)


@pytest.mark.parametrize(("name", "half"), [("patch", 40), ("chi_squared", 40), ("beyond", 110)])
def test_all_of_a_coadd_is_read_back(
    field: MiniSurvey, field_butler: Butler, tmp_path: Path, name: str, half: int
) -> None:
    recipe = READY_MADE["chi_squared"] if name == "chi_squared" else MEAN
    coadd = fetch_coadd(field_butler, recipe, make_grid(field, half))
    found = read_coadd(coadd.write(tmp_path / "coadd.fits"))
    assert isinstance(found.image, CellCoadd) == (name == "patch")
    assert_equal_coadds(found, coadd)
    again = read_coadd(found.write(tmp_path / "again.fits"))
    assert_equal_coadds(again, coadd)


def test_a_coadd_of_warps_is_read_back(field: MiniSurvey, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    box = Box.factory[100:160, 200:250]
    psf = np.zeros((11, 11))
    psf[4:7, 4:7] = 1 / 9
    warps = [
        Warp(
            key=InputKey("Cam", visit, 0, uuid.UUID(int=visit)),
            bbox=box,
            image=rng.normal(size=tuple(box.shape)).astype(np.float32),
            variance=np.ones(tuple(box.shape), np.float32),
            mask=np.zeros(tuple(box.shape), np.uint32),
            planes=("NO_DATA", "REJECTED", "CLIPPED", "SENSOR_EDGE", "INEXACT_PSF"),
            weight=1.0,
            psf=psf,
        )
        for visit in range(3)
    ]
    recipe = MEAN.with_(noise_realizations=0)
    coadd = make_coadd(warps, make_grid(field, 5).sky_projection, recipe=recipe)
    # Nobody said the times.
    assert np.isnan(coadd.effective_time.array).all()
    assert_equal_coadds(read_coadd(coadd.write(tmp_path / "warps.fits")), coadd)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("LSST_DISABLE_BUCKET_VALIDATION", "1")
    monkeypatch.delenv("S3_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="coadds")
        yield "s3://coadds"


def test_an_object_store_holds_a_coadd(field: MiniSurvey, field_butler: Butler, bucket: str) -> None:
    coadd = fetch_coadd(field_butler, MEAN, make_grid(field, 20))
    uri = coadd.write(f"{bucket}/deep/coadd.fits")
    assert uri == ResourcePath(f"{bucket}/deep/coadd.fits")
    assert_equal_coadds(read_coadd(uri), coadd)


def test_what_is_no_coadd_is_refused(field_butler: Butler, tmp_path: Path) -> None:
    ref = field_butler.query_datasets("visit_image", limit=1)[0]
    with pytest.raises(UnsupportedProductError, match="has no N_INPUTS"):
        read_coadd(field_butler.getURI(ref))
    with pytest.raises(InputDataError, match="not readable"):
        read_coadd(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("no file of this kind")
    with pytest.raises(InputDataError, match="not readable"):
        read_coadd(tmp_path / "text.fits")
