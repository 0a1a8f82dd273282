"""Mosaics that are written as Zarr groups, and to stores of objects."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import astropy.units as u
import boto3
import numpy as np
import pytest
import zarr
from astropy.io.fits import Header
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, MaskedImage, MaskPlane, MaskSchema
from lsst.resources import ResourcePath
from moto import mock_aws
from tests.support.mosaics import assert_same_bits, make_grid, make_part, make_whole

from lsst.dax.image.errors import OutputError, RequestError, UnsupportedProductError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    BackgroundMatch,
    Mosaic,
    MosaicRules,
    fetch_mosaic,
    find_mosaic_grid,
    make_mosaic,
    write_mosaic,
)
from lsst.dax.image.mosaics import _stream_from_butler as stream
from lsst.dax.image.repository import fetch_geometry, find_datasets

CREATED = Time("2026-03-01T00:00:00", scale="utc")
RULES = MosaicRules(background=BackgroundMatch.LEVEL, feather_px=12)


@pytest.fixture
def visits(mini_butler: Butler) -> list[DatasetRef]:
    return find_datasets(mini_butler, "visit_image", bands=["r"])


@pytest.fixture
def grid(mini_butler: Butler, visits: list[DatasetRef]) -> TargetGrid:
    """Return a grid of six blocks."""
    return find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in visits], pixel_scale=0.1 * u.arcsec)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URI of a bucket of a mocked S3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="mosaics")
        yield "s3://mosaics"


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_group_is(group: zarr.Group, mosaic: Mosaic) -> None:
    """Check that a group has the pixels, mask planes, units and inputs of a mosaic."""
    image = mosaic.masked_image
    np.testing.assert_array_equal(group["image"][:], image.image.array)
    np.testing.assert_array_equal(group["variance"][:], image.variance.array)
    np.testing.assert_array_equal(group["coverage"][:], mosaic.coverage.array)
    assert u.Unit(group["image"].attrs["unit"]) == image.unit
    assert u.Unit(group["variance"].attrs["unit"]) == image.unit**2
    mask = group["mask"][:]
    planes = {plane["name"]: plane["bit"] for plane in group["mask"].attrs["mask_planes"]}
    assert set(planes) == set(image.mask.schema.names)
    for name, bit in planes.items():
        np.testing.assert_array_equal(mask >> bit & 1, image.mask.get(name), err_msg=name)
    assert group.attrs["yx0"] == list(image.bbox.start)
    wcs = WCS(Header.fromstring(group.attrs["wcs"]))
    there = wcs.pixel_to_world(100, 50)
    here = mosaic.grid.sky_projection.pixel_to_sky(x=image.bbox.x.start + 100, y=image.bbox.y.start + 50)
    assert there.separation(here) < 1e-6 * u.arcsec
    for name in mosaic.inputs.colnames:
        column = mosaic.inputs[name]
        np.testing.assert_array_equal(
            group["inputs"][name][:], getattr(column, "value", column), err_msg=name
        )


def test_the_group_is_what_is_fetched_whatever_the_tiles(
    mini_butler: Butler, visits: list[DatasetRef], grid: TargetGrid, tmp_path: Path
) -> None:
    whole = fetch_mosaic(mini_butler, visits, grid, rules=RULES)
    small, large, made = (tmp_path / f"{name}.zarr" for name in ("small", "large", "made"))
    for path, size in ((small, 512), (large, 1024)):
        written = write_mosaic(mini_butler, visits, grid, path, rules=RULES, tile_size=size, created=CREATED)
        assert Path(written.uri.ospath) == path
        assert_group_is(zarr.open_group(path, mode="r"), whole)
    assert list_files(small) == list_files(large)
    whole.write(made, created=CREATED)
    assert list_files(made) == list_files(large)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.zarr", "made.zarr", "small.zarr"]
    group = zarr.open_group(made, mode="r")
    assert group["image"].chunks == (512, 512)
    assert group.attrs["rules"]["background"] == "level"
    assert group.attrs["created"] == "2026-03-01T00:00:00.000"


def test_an_interrupted_run_goes_on_and_gives_the_same(
    mini_butler: Butler,
    visits: list[DatasetRef],
    grid: TargetGrid,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, whole = tmp_path / "broken.zarr", tmp_path / "whole.zarr"
    made: list[Box] = []
    make_tile = stream._make_tile

    def stop_at_the_third(*arguments: object, **options: object) -> bytes:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments[2].tile)  # type: ignore[attr-defined]
        return make_tile(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "_make_tile", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_mosaic(mini_butler, visits, grid, broken, tile_size=512, created=CREATED)
    assert not broken.exists()
    # The tiles of a FITS file are of no use here.
    (tmp_path / ".broken.zarr.part").rename(tmp_path / ".broken.fits.part")
    with pytest.raises(OutputError, match="tiles of another mosaic"):
        write_mosaic(mini_butler, visits, grid, tmp_path / "broken.fits", tile_size=512, created=CREATED)
    (tmp_path / ".broken.fits.part").rename(tmp_path / ".broken.zarr.part")
    again: list[Box] = []
    monkeypatch.setattr(stream, "_make_tile", lambda *a, **o: again.append(a[2].tile) or make_tile(*a, **o))
    write_mosaic(mini_butler, visits, grid, broken, tile_size=512, created=CREATED)
    assert len(again) == 4
    assert not set(map(str, again)) & set(map(str, made))
    monkeypatch.undo()
    write_mosaic(mini_butler, visits, grid, whole, tile_size=512, created=CREATED)
    assert list_files(broken) == list_files(whole)


def test_pixels_of_no_image_take_no_room(tmp_path: Path) -> None:
    grid = make_grid((1100, 700))
    image = make_part(Box.factory[10:20, 600:620], grid.sky_projection, planes=("BAD",))
    mosaic = make_mosaic([image], grid)
    mosaic.write(tmp_path / "a.zarr")
    assert_group_is(zarr.open_group(tmp_path / "a.zarr", mode="r"), mosaic)
    chunks = [name for name in list_files(tmp_path / "a.zarr") if name.startswith(("image/c/", "mask/c/"))]
    assert sorted(chunks) == ["image/c/0/1", "mask/c/0/1"]


@pytest.mark.parametrize("n_planes", [9, 17, 40])
def test_masks_of_many_planes_are_wider_integers(tmp_path: Path, n_planes: int) -> None:
    grid = make_grid((30, 20))
    rng = np.random.default_rng(31)
    schema = MaskSchema(
        [MaskPlane("NO_DATA", "None."), *(MaskPlane(f"P{i}", "") for i in range(n_planes - 1))]
    )
    part = make_part(grid.bbox, grid.sky_projection)
    image = MaskedImage(part.image, variance=part.variance, mask_schema=schema)
    for name in schema.names:
        image.mask.set(name, rng.random((30, 20)) < 0.3)
    mosaic = make_mosaic([image], grid)
    mosaic.write(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["mask"].dtype.itemsize * 8 >= n_planes
    assert_group_is(group, mosaic)


def test_what_zarr_cannot_hold_is_refused(tmp_path: Path) -> None:
    grid = make_grid((10, 10))
    part = make_part(grid.bbox, grid.sky_projection)
    schema = MaskSchema([MaskPlane("NO_DATA", "None."), *(MaskPlane(f"P{i}", "") for i in range(70))])
    image = MaskedImage(part.image, variance=part.variance, mask_schema=schema)
    with pytest.raises(UnsupportedProductError, match="64 planes at most; this one takes 9 octets"):
        make_mosaic([image], grid).write(tmp_path / "a.zarr")


def test_groups_are_replaced_when_it_is_said_and_other_folders_never(tmp_path: Path) -> None:
    grid = make_grid((20, 30))
    one, two = (make_mosaic([make_part(grid.bbox, grid.sky_projection, value=v)], grid) for v in (1, 2))
    path = tmp_path / "a.zarr"
    one.write(path)
    with pytest.raises(OutputError, match=r"a\.zarr.* cannot be written"):
        two.write(path)
    assert_group_is(zarr.open_group(path, mode="r"), one)
    two.write(path, overwrite=True)
    assert_group_is(zarr.open_group(path, mode="r"), two)
    other = tmp_path / "other.zarr"
    other.mkdir()
    (other / "precious").write_text("x")
    with pytest.raises(OutputError, match=r"other\.zarr.* cannot be written"):
        two.write(other, overwrite=True)
    assert list_files(other) == {"precious": b"x"}
    assert {item.name for item in tmp_path.iterdir()} == {"a.zarr", "other.zarr"}


def test_without_the_package_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid((20, 30))
    mosaic = make_mosaic([make_part(grid.bbox, grid.sky_projection)], grid)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(RequestError, match="needs the package 'zarr', which is not installed"):
        mosaic.write(tmp_path / "a.zarr")
    importlib.import_module("lsst.dax.image.mosaics")
    mosaic.write(tmp_path / "a.fits")


def test_stores_of_objects_are_written_to(bucket: str, tmp_path: Path) -> None:
    grid = make_grid((600, 530))
    mosaic = make_mosaic([make_whole(grid, np.random.default_rng(32))], grid)
    for name in ("a.fits", "a.zarr"):
        uri = mosaic.write(f"{bucket}/folder/{name}", created=CREATED)
        assert str(uri).rstrip("/") == f"{bucket}/folder/{name}"
        with pytest.raises(OutputError, match="cannot be written"):
            mosaic.write(f"{bucket}/folder/{name}", created=CREATED)
        mosaic.write(f"{bucket}/folder/{name}", created=CREATED, overwrite=True)
        mosaic.write(tmp_path / name, created=CREATED)
    assert ResourcePath(f"{bucket}/folder/a.fits").read() == (tmp_path / "a.fits").read_bytes()
    root = ResourcePath(f"{bucket}/folder/a.zarr", forceDirectory=True)
    stored = {key.relative_to(root): key.read() for key in ResourcePath.findFileResources([root])}
    assert stored == list_files(tmp_path / "a.zarr")


def test_streamed_mosaics_go_to_stores_of_objects(
    bucket: str, mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path
) -> None:
    geometry = fetch_geometry(mini_butler, visits[0])
    grid = TargetGrid(geometry.sky_projection, geometry.bbox)
    for name in ("b.fits", "b.zarr"):
        written = write_mosaic(mini_butler, visits, grid, f"{bucket}/{name}", created=CREATED)
        assert written.uri.geturl().rstrip("/") == f"{bucket}/{name}"
        with pytest.raises(OutputError, match=rf"{name}/? exists; it is not replaced"):
            write_mosaic(mini_butler, visits, grid, f"{bucket}/{name}", created=CREATED)
    local = ResourcePath(f"{bucket}/b.fits")
    with local.as_local() as file:
        whole = fetch_mosaic(mini_butler, visits, grid)
        assert_same_bits(MaskedImage.read(file.ospath), whole.masked_image)
