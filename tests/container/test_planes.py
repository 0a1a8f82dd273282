"""The planes of an image as they are stored: units and bits."""

from __future__ import annotations

import io
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import fitsio
import numpy as np
import pytest
from lsst.images import Image, Mask, MaskPlane, MaskSchema
from tests.support.rendering import make_noise, read_rendered, render
from tests.support.scenes import BOX

from lsst.dax.image.errors import OutputError


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u8"])
@pytest.mark.parametrize("n_planes", [0, 1, 8, 9, 31, 32, 70])
def test_any_number_of_mask_planes_comes_back(n_planes: int, dtype: str, tmp_path: Path) -> None:
    schema = MaskSchema([MaskPlane(f"P{n}", f"Plane {n}") for n in range(n_planes)], dtype=dtype)
    mask = Mask(schema=schema, bbox=BOX)
    rng = np.random.default_rng(n_planes)
    for name in schema.names:
        mask.set(name, rng.random(BOX.shape) < 0.3)
    back = read_rendered(mask, tmp_path)
    assert back == mask
    assert back.schema.dtype == np.dtype(dtype)
    stored = fitsio.FITS(str(tmp_path / "rendered.fits"))
    assert [hdu.get_extname() for hdu in stored].count("MASK") == max(1, -(-n_planes // 31))
    if n_planes > 32:
        # The planes of the second HDU count from bit 0 again.
        assert np.array_equal(stored["MASK", 2].read() & 2 != 0, mask.get("P32"))


def test_reserved_bits_are_kept_free_and_not_stored(tmp_path: Path) -> None:
    planes = [None, MaskPlane("A", "a"), *[None] * 7, MaskPlane("B", "b"), None]
    schema = MaskSchema(planes)
    mask = Mask(np.full((4, 3, 2), 255, np.uint8), schema=schema)
    back = read_rendered(mask, tmp_path)
    assert back.schema == schema
    assert np.array_equal(back.array, np.broadcast_to(np.uint8([2, 2]), (4, 3, 2)))
    assert np.array_equal(fitsio.read(str(tmp_path / "rendered.fits"), ext="MASK"), np.full((4, 3), 3))


UNITS = [
    None,
    u.nJy,
    u.adu,
    u.electron**2,
    u.DN / u.s,
    u.ct / u.h,
    u.mag,
    u.Jy * u.m**0.5,
    u.dimensionless_unscaled,
]


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_units_are_written_as_lsst_images_writes_them(unit: u.UnitBase | None, tmp_path: Path) -> None:
    image = Image(make_noise("f4", (3, 4)), unit=unit)
    back = read_rendered(image, tmp_path)
    image.write(str(tmp_path / "reference.fits"))
    assert back.unit == Image.read(str(tmp_path / "reference.fits")).unit == unit
    values = [
        astropy.io.fits.getheader(tmp_path / name, "IMAGE").get("BUNIT")
        for name in ("rendered.fits", "reference.fits")
    ]
    assert values[0] == values[1]
    assert (values[0] is None) == (unit is None)


def test_a_unit_that_astropy_does_not_know_is_kept_for_people(tmp_path: Path) -> None:
    # lsst.images writes it too, and cannot read its own file back.
    image = Image(make_noise("f4", (3, 4)), unit=u.Unit("JY/BEAM", parse_strict="silent"))
    header = astropy.io.fits.getheader(io.BytesIO(render(image)), "IMAGE")
    assert header["BUNIT"] == "JY/BEAM"


def test_text_that_fits_has_not_is_refused() -> None:
    mask = Mask(schema=MaskSchema([MaskPlane("BAD", "déjà vu")]), bbox=BOX)
    with pytest.raises(OutputError, match=r"mask planes \['BAD'\] cannot be written: .*ASCII"):
        render(mask)
    image = Image(make_noise("f4", (2, 2)), unit=u.Unit("µé", parse_strict="silent"))
    with pytest.raises(OutputError, match=r"unit 'µé' cannot be written: .*ASCII"):
        render(image)


@pytest.mark.parametrize("n_planes", [3, 9, 20])
def test_bits_of_no_plane_are_not_stored(n_planes: int, tmp_path: Path) -> None:
    schema = MaskSchema([MaskPlane(f"P{n}", f"Plane {n}") for n in range(n_planes)])
    mask = Mask(np.full((4, 3, -(-n_planes // 8)), 255, np.uint8), schema=schema)
    read_rendered(mask, tmp_path)
    stored = fitsio.read(str(tmp_path / "rendered.fits"), ext="MASK")
    assert np.array_equal(stored, np.full((4, 3), 2**n_planes - 1))
