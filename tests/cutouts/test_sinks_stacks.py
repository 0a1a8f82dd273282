"""Stamps in arrays and in cells of tables: values, units, masks and positions survive."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import fitsio
import numpy as np
import pyarrow.parquet
import pytest
import zarr
from astropy.table import Table
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from tests.support.scenes import BOX, make_image, make_masked_image, make_sky_projection
from tests.support.stamps import make_stamp_mix

from lsst.dax.image.cutouts import Detail, Stamp, make_stamps
from lsst.dax.image.cutouts.sinks import StampStack, StampTable, save_stamps, target_wcs
from lsst.dax.image.errors import (
    InconsistentUnitsError,
    InputDataError,
    RequestError,
    UnsupportedProductError,
)

SIZE = 7


def plane_of(mask: Mask, name: str) -> np.ndarray:
    """Return one plane of a mask; none of its pixels where there is no such plane."""
    return mask.get(name) if name in mask.schema.names else np.zeros(mask.bbox.shape, bool)


def assert_holds(
    stamp: Stamp, *, image: np.ndarray, mask: np.ndarray, variance: np.ndarray, bits: dict[str, int]
) -> None:
    """Check that arrays are the pixels of a stamp."""
    assert isinstance(stamp.image, MaskedImage)
    assert np.array_equal(image, stamp.image.image.array, equal_nan=True)
    assert np.array_equal(variance, stamp.image.variance.array, equal_nan=True)
    for name, bit in bits.items():
        assert np.array_equal(mask & (1 << bit) != 0, plane_of(stamp.image.mask, name)), name
    assert set(bits) >= set(stamp.image.mask.schema.names)


def bits_of(layout: dict[str, Any]) -> dict[str, int]:
    return {plane["name"]: plane["bit"] for plane in layout["mask_planes"]}


@pytest.mark.parametrize("name", ["stack", "stack.zarr"])
def test_arrays_hold_the_stamps_that_have_pixels(name: str, tmp_path: Path) -> None:
    stamps = make_stamp_mix(12, size=SIZE, visits=2)
    path = tmp_path / name
    with StampStack(path) as sink:
        save_stamps(stamps, sink)
    if name == "stack":
        arrays: dict[str, Any] = {
            plane: np.load(path / f"{plane}.npy", mmap_mode="r") for plane in ("image", "mask", "variance")
        }
        layout = json.loads((path / "layout.json").read_text())
        rows = Table.read(path / "targets.ecsv", format="ascii.ecsv")["row"].tolist()
        assert {file.name for file in path.iterdir()} == {
            *(f"{plane}.npy" for plane in arrays),
            "layout.json",
            "targets.ecsv",
        }
    else:
        group = zarr.open_group(path, mode="r")
        arrays = {plane: group[plane] for plane in ("image", "mask", "variance")}
        layout = dict(group.attrs)
        rows = group["targets"]["row"][:].tolist()
        assert group["targets"]["ra"].attrs["unit"] == "deg"
        assert group["targets"]["status"][3] == "NO_COVERAGE"
    good = [stamp for stamp in stamps if stamp.is_good]
    assert {array.shape for array in arrays.values()} == {(len(good), SIZE, SIZE)}
    assert layout["arrays"]["image"] == {"dtype": "float32", "shape": [7, 7], "unit": "nJy"}
    assert layout["arrays"]["variance"]["unit"] == "nJy2"
    assert [row >= 0 for row in rows] == [stamp.is_good for stamp in stamps]
    for stamp, row in zip(stamps, rows, strict=True):
        if row >= 0:
            assert_holds(stamp, **{k: a[row] for k, a in arrays.items()}, bits=bits_of(layout))


def test_fits_cells_are_images_in_the_right_order(tmp_path: Path) -> None:
    stamps = make_stamp_mix(8, size=SIZE)
    with StampTable(tmp_path / "table.fits") as sink:
        save_stamps(stamps, sink)
    with astropy.io.fits.open(tmp_path / "table.fits") as hdus:
        hdus.verify("exception")
        rows = hdus["STAMPS"].data.copy()
        header = hdus["STAMPS"].header
    schema = MaskSchema.from_fits_header(header, dtype=np.int32)
    bits = {name: int(schema.bit(name).mask).bit_length() - 1 for name in schema.names}
    units = {header[f"TTYPE{n}"]: header.get(f"TUNIT{n}") for n in range(1, header["TFIELDS"] + 1)}
    assert (units["image"], units["variance"], units["ra"]) == ("nJy", "nJy2", "deg")
    with fitsio.FITS(str(tmp_path / "table.fits")) as other:
        again = other["STAMPS"].read()
    for stamp, row, same in zip(stamps, rows, again, strict=True):
        assert np.array_equal(row["image"], same["image"], equal_nan=True)
        assert (row["status"], row["index"]) == (stamp.status, stamp.index)
        if stamp.is_good:
            assert_holds(stamp, image=row["image"], mask=row["mask"], variance=row["variance"], bits=bits)
        else:
            assert np.isnan(row["image"]).all()
            assert np.isnan(row["variance"]).all()
            assert np.all(row["mask"] == 1 << bits["NO_DATA"])


def test_parquet_cells_are_tensors_or_null(tmp_path: Path) -> None:
    stamps = make_stamp_mix(8, size=SIZE)
    with StampTable(tmp_path / "table.parquet") as sink:
        save_stamps(stamps, sink)
    table = pyarrow.parquet.read_table(tmp_path / "table.parquet")
    layout = json.loads(table.schema.metadata[b"layout"])
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    assert list(table.schema.field("image").type.shape) == [SIZE, SIZE]
    present = [cell is not None for cell in table["image"].to_pylist()]
    assert present == [stamp.is_good for stamp in stamps]
    arrays = {
        name: table[name].combine_chunks().drop_null().to_numpy_ndarray()
        for name in ("image", "mask", "variance")
    }
    for n, stamp in enumerate(stamp for stamp in stamps if stamp.is_good):
        assert_holds(stamp, **{name: array[n] for name, array in arrays.items()}, bits=bits_of(layout))


def test_a_large_table_is_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = make_stamp_mix(11, size=SIZE)
    monkeypatch.setattr("lsst.dax.image.cutouts.sinks._stamp_table._PIECE_BYTES", 2000)  # 3 rows
    for name in ("table.fits", "table.parquet"):
        with StampTable(tmp_path / name) as sink:
            save_stamps(stamps, sink)
    assert pyarrow.parquet.ParquetFile(tmp_path / "table.parquet").num_row_groups == 4
    column = pyarrow.parquet.read_table(tmp_path / "table.parquet")["image"].to_pylist()
    cells = astropy.io.fits.getdata(tmp_path / "table.fits", "STAMPS")["image"]
    for stamp, cell, found in zip(stamps, column, cells, strict=True):
        if stamp.is_good:
            assert np.array_equal(found, stamp.image.image.array, equal_nan=True)
            assert np.array_equal(np.reshape(cell, (SIZE, SIZE)), found, equal_nan=True)


def test_the_wcs_of_a_row_is_that_of_the_stamp(tmp_path: Path) -> None:
    stamps = make_stamp_mix(3, size=51, bbox=Box.factory[0:4000, 0:4000])
    with StampStack(tmp_path / "stack") as sink:
        save_stamps(stamps, sink)
    rows = Table.read(tmp_path / "stack" / "targets.ecsv", format="ascii.ecsv")
    corner = np.array([0.0, 50.0, 50.0, 20.0])
    for stamp, row in zip(stamps, rows, strict=True):
        wcs = target_wcs(row)
        x, y = wcs.world_to_pixel(stamp.position)
        assert (x + stamp.bbox.x.start, y + stamp.bbox.y.start) == pytest.approx((stamp.x, stamp.y), abs=1e-6)
        expected = stamp.image.sky_projection.pixel_to_sky(
            x=corner + stamp.bbox.x.start, y=corner[::-1] + stamp.bbox.y.start
        )
        apart = wcs.pixel_to_world(corner, corner[::-1]).separation(expected)
        assert np.all(apart < 1e-4 * 0.2 * u.arcsec)


def test_integer_pixels_become_floats_that_hold_them(tmp_path: Path) -> None:
    position = make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)
    for number, (dtype, found) in enumerate(
        [("i2", "f4"), ("u2", "f4"), ("i4", "f8"), ("f4", "f4"), ("f8", "f8")]
    ):
        image = make_image()
        pixels = Image(
            (image.array % 30000).astype(dtype),
            bbox=image.bbox,
            unit=u.adu,
            sky_projection=image.sky_projection,
        )
        stamps = make_stamps(pixels, position, size=5)
        with StampStack(tmp_path / str(number)) as sink:
            save_stamps(stamps, sink)
        array = np.load(tmp_path / str(number) / "image.npy")
        assert array.dtype == found
        assert np.array_equal(array[0], stamps[0].image.array)


def two_masks(first: list[str], second: list[str]) -> list[Stamp]:
    """Return stamps whose mask has one plane set in each: the last of the list."""
    stamps = []
    for index, names in enumerate((first, second)):
        image = make_masked_image()
        schema = MaskSchema([MaskPlane(name, f"About {name}.") for name in names])
        mask = Mask(schema=schema, bbox=BOX, sky_projection=image.sky_projection)
        mask.set(names[-1], np.ones(BOX.shape, bool))
        image.mask = mask
        position = make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)
        stamps.append(dataclasses.replace(make_stamps(image, position, size=5)[0], index=index))
    return stamps


def test_planes_of_masks_are_matched_by_name(tmp_path: Path) -> None:
    stamps = two_masks(["BAD", "SATURATED"], ["SATURATED", "STREAK", "BAD"])
    with StampStack(tmp_path / "stack") as sink:
        save_stamps(stamps, sink)
    layout = json.loads((tmp_path / "stack" / "layout.json").read_text())
    assert bits_of(layout) == {"BAD": 0, "SATURATED": 1, "NO_DATA": 2, "STREAK": 3}
    assert layout["mask_planes"][3]["description"] == "About STREAK."
    assert np.load(tmp_path / "stack" / "mask.npy")[:, 0, 0].tolist() == [0b10, 0b1]


def test_a_mask_of_many_planes_has_wider_integers(tmp_path: Path) -> None:
    names = [f"PLANE{n}" for n in range(40)]
    with StampStack(tmp_path / "stack") as sink:
        save_stamps(two_masks(names, names[::-1]), sink)
    masks = np.load(tmp_path / "stack" / "mask.npy")
    assert masks.dtype == np.int64
    assert masks[:, 0, 0].tolist() == [1 << 39, 1]


def psf_mix() -> list[Stamp]:
    """Return stamps of which the second and fourth have a PSF."""
    (stamp,) = make_stamp_mix(1, size=SIZE)
    psf = Image(np.arange(15, dtype=np.float64).reshape(3, 5), bbox=Box.factory[-1:2, -2:3])
    return [dataclasses.replace(stamp, index=i, psf=psf if i in {1, 3} else None) for i in range(4)]


def test_psfs_are_kept_where_there_are_some(tmp_path: Path) -> None:
    stamps = psf_mix()
    names = ("stack", "stack.zarr", "table.fits", "table.parquet")
    for name in names:
        make: Any = StampStack if name.startswith("stack") else StampTable
        with make(tmp_path / name) as sink:
            save_stamps(stamps, sink)
    found = {
        "stack": np.load(tmp_path / "stack" / "psf.npy"),
        "stack.zarr": zarr.open_group(tmp_path / "stack.zarr", mode="r")["psf"][:],
        "table.fits": astropy.io.fits.getdata(tmp_path / "table.fits", "STAMPS")["psf"],
        "table.parquet": np.reshape(
            pyarrow.parquet.read_table(tmp_path / "table.parquet")["psf"].to_pylist(), (4, 3, 5)
        ),
    }
    for psfs in found.values():
        assert psfs.shape == (4, 3, 5)
        assert np.isnan(psfs[[0, 2]]).all()
        assert np.array_equal(psfs[[1, 3]], [stamps[1].psf.array] * 2)


def test_psfs_survive_an_interruption(tmp_path: Path) -> None:
    stamps = psf_mix()
    for stop in (1, 2, 3):
        path = tmp_path / f"stack{stop}"
        with pytest.raises(KeyError, match="stop"), StampStack(path) as sink:
            save_stamps(stamps[:stop], sink)
            raise KeyError("stop")
        with StampStack(path) as sink:
            save_stamps(stamps, sink)
        psfs = np.load(path / "psf.npy")
        assert np.isnan(psfs).all(axis=(1, 2)).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (64, 1, "A mask of 65 planes does not fit into the 63"),
        (30, 32, r"31 bits for the planes \['P0', .*'NO_DATA'\]; this one has \['P0', "),
    ],
)
def test_too_many_planes_are_refused(first: int, second: int, complaint: str, tmp_path: Path) -> None:
    stamps = two_masks([f"P{n}" for n in range(first)], [f"P{n}" for n in range(second)])
    with pytest.raises(UnsupportedProductError, match=complaint), StampStack(tmp_path / "stack") as sink:
        save_stamps(stamps, sink)


def unlike_stamps() -> dict[str, tuple[Stamp, type[Exception], str]]:
    """Return stamps that do not fit to one of 5 by 5 pixels in nJy."""
    image = make_masked_image()
    position = make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)
    other = MaskedImage(
        Image(image.image.array, bbox=BOX, unit=u.mJy, sky_projection=image.sky_projection),
        mask=image.mask,
        variance=Image(image.variance.array, bbox=BOX, unit=u.mJy**2),
    )
    double = MaskedImage(
        Image(
            image.image.array.astype(np.float64), bbox=BOX, unit=u.nJy, sky_projection=image.sky_projection
        ),
        mask=image.mask,
        variance=image.variance,
    )

    def cut(source: MaskedImage, **kwargs: Any) -> Stamp:
        return dataclasses.replace(make_stamps(source, position, **kwargs)[0], index=1)

    return {
        "size": (
            cut(image, size=6),
            UnsupportedProductError,
            "5 rows and 5 columns; that of this one has 6 and 6",
        ),
        "unit": (cut(other, size=5), InconsistentUnitsError, "is in nJy; that of this one is in mJy"),
        "planes": (
            cut(image, size=5, detail=Detail.IMAGE),
            UnsupportedProductError,
            r"have \['image', 'mask', 'variance'\]; this one has \['image'\]",
        ),
        "type": (cut(double, size=5), UnsupportedProductError, "is float32, which does not hold float64"),
    }


@pytest.mark.parametrize("kind", ["size", "unit", "planes", "type"])
def test_a_stamp_that_does_not_fit_is_refused_and_harms_nothing(kind: str, tmp_path: Path) -> None:
    image, position = make_masked_image(), make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)
    (good,) = make_stamps(image, position, size=5)
    odd, error, complaint = unlike_stamps()[kind]
    with StampStack(tmp_path / "stack") as sink:
        sink.add(good)
        with pytest.raises(error, match=complaint):
            sink.add(odd)
        sink.add(dataclasses.replace(good, index=2))
    assert np.load(tmp_path / "stack" / "image.npy").shape == (2, 5, 5)


def test_units_still_count_when_a_run_goes_on(tmp_path: Path) -> None:
    image, position = make_masked_image(), make_sky_projection().pixel_to_sky(x=1080.0, y=80.0)
    (good,) = make_stamps(image, position, size=5)
    with pytest.raises(KeyError, match="stop"), StampStack(tmp_path / "stack") as sink:
        sink.add(good)
        raise KeyError("stop")
    odd, error, complaint = unlike_stamps()["unit"]
    with StampStack(tmp_path / "stack") as sink:
        with pytest.raises(error, match=complaint):
            sink.add(odd)
        sink.add(dataclasses.replace(good, index=1))  # nJy and nJy2 are what they were


def test_arrays_that_lost_stamps_are_not_continued(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="stop"), StampStack(tmp_path / "stack") as sink:
        save_stamps(make_stamp_mix(3), sink)
        raise KeyError("stop")
    with (tmp_path / ".stack.part" / "stack" / "variance.npy").open("r+b") as file:
        file.truncate(400)
    with pytest.raises(InputDataError, match=r"variance.npy has 400 bytes; 3 stamps need 716"):
        StampStack(tmp_path / "stack")


def test_a_table_has_one_of_two_formats(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'.fits' or '.parquet' files, and not 'table.csv'"):
        StampTable(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("make", "name", "package"), [(StampStack, "a.zarr", "zarr"), (StampTable, "a.parquet", "pyarrow")]
)
def test_a_missing_package_is_named(
    make: Any, name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RequestError, match=f"needs the package '{package}', which is not installed"):
        make(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
