"""Requests and images that are wrong in part or wholly: rows with reasons, or one clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Image, MaskedImage
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.testing import assert_array_equal
from tests.support import forced_million
from tests.support.forced import BOX, make_star_image

from lsst.dax.image.errors import (
    InconsistentUnitsError,
    MissingPsfError,
    RequestError,
    UnsupportedProductError,
)
from lsst.dax.image.flags import FLAGS, flag_names
from lsst.dax.image.forced import ForcedOptions, measure

PSF = GaussianPointSpreadFunction(1.7, bounds=BOX, stamp_size=25)
PLAIN = ForcedOptions(aperture_correction=None)


def make_noise(unit: u.UnitBase = u.nJy) -> MaskedImage:
    """Return an image without stars."""
    return make_star_image(np.zeros(BOX.shape), noise=3.0, rng=np.random.default_rng(2), unit=unit)


IMAGE = make_noise()
MIDDLE = IMAGE.sky_projection.pixel_to_sky(x=1080.0, y=110.0)


def test_positions_that_are_none_have_rows_that_say_so() -> None:
    ra = [MIDDLE.ra.deg, np.nan, np.inf, MIDDLE.ra.deg, MIDDLE.ra.deg, MIDDLE.ra.deg - 360.0, 1e300]
    dec = [MIDDLE.dec.deg, MIDDLE.dec.deg, 0.0, np.nan, 90.0001, MIDDLE.dec.deg, 0.0]
    table = measure(IMAGE, Table({"ra": ra, "dec": dec}), psf=PSF, options=PLAIN)
    assert len(table) == 7
    # A right ascension is one whatever turns are added to it.
    good = [0, 5]
    assert np.isfinite(table["flux"][good]).all()
    np.testing.assert_allclose(table["flux"][5].value, table["flux"][0].value, rtol=1e-6)
    for row in (1, 2, 3, 4):
        assert flag_names(table["flags"][row]) == ("BAD_POSITION",)
    assert table["flags"][6] & (FLAGS["BAD_POSITION"].value | FLAGS["NO_COVERAGE"].value)
    assert np.isnan(table["flux"][[1, 2, 3, 4, 6]]).all()
    assert not table["flags"][good].any()


def test_missing_entries_of_a_table_are_no_positions() -> None:
    ra = MaskedColumn([MIDDLE.ra.deg, MIDDLE.ra.deg], mask=[False, True], unit=u.deg)
    table = measure(IMAGE, Table({"ra": ra, "dec": [MIDDLE.dec.deg] * 2}), psf=PSF, options=PLAIN)
    assert [flag_names(word) for word in table["flags"]] == [(), ("BAD_POSITION",)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-720, 720) | st.just(np.nan), st.floats(-100, 100) | st.just(np.nan)), max_size=6
    ),
    st.lists(st.tuples(st.floats(-0.01, 0.01), st.floats(-0.01, 0.01)), max_size=6),
)
def test_every_row_has_a_flux_or_a_reason(
    anywhere: list[tuple[float, float]], near: list[tuple[float, float]]
) -> None:
    places = [*anywhere, *((MIDDLE.ra.deg + east, MIDDLE.dec.deg + north) for east, north in near)]
    ra, dec = np.array(places).reshape(-1, 2).T
    table = measure(IMAGE, Table({"ra": ra, "dec": dec}), psf=PSF, options=PLAIN)
    assert len(table) == len(places)
    has_flux = np.isfinite(table["flux"].value)
    assert_array_equal(has_flux, np.isfinite(table["flux_err"].value))
    assert np.all(table["flux_err"].value[has_flux] > 0.0)
    assert np.all(np.asarray(table["flags"])[~has_flux] != 0)


@pytest.mark.parametrize(
    "positions", [SkyCoord([], [], unit=u.deg), Table({"ra": np.empty(0), "dec": np.empty(0)})]
)
def test_no_positions_and_no_neighbours_give_an_empty_table(positions: SkyCoord | Table) -> None:
    table = measure(IMAGE, positions, psf=PSF, options=PLAIN, neighbours=positions)
    assert len(table) == 0
    assert table["joint_flux"].unit == u.nJy
    # An empty catalogue of neighbours is no error, and changes nothing.
    alone = measure(IMAGE, MIDDLE, psf=PSF, options=PLAIN, neighbours=positions)
    np.testing.assert_allclose(alone["joint_flux"], alone["flux"], rtol=1e-7)


def test_one_name_for_two_positions_is_refused() -> None:
    table = Table({"id": [7, 8, 7], "ra": [MIDDLE.ra.deg] * 3, "dec": [MIDDLE.dec.deg] * 3})
    with pytest.raises(RequestError, match=r"Each id may occur once; \[7\] occur more often"):
        measure(IMAGE, table, psf=PSF)
    # The same place under two names is two rows of the same flux.
    table["id"] = [7, 8, 9]
    found = measure(IMAGE, table, psf=PSF, options=PLAIN)
    assert found["id"].tolist() == [7, 8, 9]
    assert len(set(found["flux"].value)) == 1


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        (QTable({"ra": [1.0] * u.nJy, "dec": [1.0] * u.deg}), "Column ra must be numbers in deg"),
        (Table({"ra": ["12:30:00"], "dec": ["+10:00:00"]}), "Column ra must be numbers in deg"),
        (Table({"ra": [1.0], "declination": [2.0]}), r"\['dec'\] not in \['ra', 'declination'\]"),
        (Table({"id": ["a"], "ra": [1.0], "dec": [2.0]}), "Column id must hold integers; got <U1"),
        (SkyCoord([[1.0, 2.0]], [[1.0, 2.0]], unit=u.deg), r"one-dimensional; got shape \(1, 2\)"),
    ],
)
def test_positions_that_cannot_be_read_are_refused(positions: SkyCoord | Table, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        measure(IMAGE, positions, psf=PSF)


def test_angles_in_other_units_are_converted() -> None:
    table = QTable({"ra": [MIDDLE.ra.rad] * u.rad, "dec": [60.0 * MIDDLE.dec.deg] * u.arcmin})
    found, plain = (
        measure(IMAGE, positions, psf=PSF, options=PLAIN) for positions in (table, MIDDLE.reshape(1))
    )
    np.testing.assert_allclose(found["flux"].value, plain["flux"].value, rtol=1e-6)


def test_what_is_no_image_or_no_positions_is_refused() -> None:
    with pytest.raises(UnsupportedProductError, match="need a masked image; got a ndarray"):
        measure(IMAGE.image.array, MIDDLE, psf=PSF)
    for positions in ((150.0, 2.0), None):
        with pytest.raises(RequestError, match=r"got a (tuple|NoneType)"):
            measure(IMAGE, positions, psf=PSF)


def test_units_that_are_no_fluxes_are_refused() -> None:
    electrons = make_noise(u.electron)
    with pytest.raises(InconsistentUnitsError, match="electron"):
        measure(electrons, MIDDLE, psf=PSF)
    with pytest.raises(InconsistentUnitsError, match="adu"):
        measure(electrons, MIDDLE, psf=PSF, photometric_scaling=2.0 * u.nJy / u.adu)
    bare = MaskedImage(
        Image(IMAGE.image.array, bbox=BOX, sky_projection=IMAGE.sky_projection),
        mask=IMAGE.mask,
        variance=Image(IMAGE.variance.array, bbox=BOX),
    )
    with pytest.raises(InconsistentUnitsError, match="without"):
        measure(bare, MIDDLE, psf=PSF)


def test_images_without_a_point_spread_function_are_refused() -> None:
    with pytest.raises(MissingPsfError, match="MaskedImage has no point spread function"):
        measure(IMAGE, MIDDLE)
    with pytest.raises(MissingPsfError, match="'a star' in place of"):
        measure(IMAGE, MIDDLE, psf="a star")


def test_images_of_nothing_but_nan_have_no_flux() -> None:
    image = make_noise()
    image.image.array[:] = np.nan
    image.variance.array[:] = np.nan
    positions = image.sky_projection.pixel_to_sky(x=np.array([1080.0, 1100.0]), y=np.array([100.0, 90.0]))
    for options, reason in (
        (PLAIN, "NOT_FINITE"),
        (ForcedOptions(aperture_correction=None, bad_planes=("BAD",)), "NO_PIXELS"),
    ):
        table = measure(image, positions, psf=PSF, options=options, neighbours=positions[:0])
        assert np.isnan(table["flux"]).all()
        assert np.isnan(table["joint_flux"]).all()
        assert [reason in flag_names(word) for word in table["flags"]] == [True, True]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_million_positions_take_little_more_memory_than_their_table() -> None:
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", forced_million.__name__],
        cwd=root, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    sizes = json.loads(done.stdout)
    assert sizes["rows"] == 1_000_000
    # Pictures of all positions at once would be as large as three tables.
    assert sizes["grown"] < 2.5 * sizes["table"] + 100e6
    assert sizes["pull_std"] == pytest.approx(1.0, abs=0.05)
