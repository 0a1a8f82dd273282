"""Positions at the time of an image."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from numpy.testing import assert_allclose

from lsst.dax.image.errors import RequestError
from lsst.dax.image.forced import find_targets

EPOCH = Time(2016.0, format="jyear", scale="tdb")
TIME = Time(2026.5, format="jyear", scale="tdb")


def separation_mas(targets, ra: float, dec: float, k: int = 0) -> float:
    at = SkyCoord(targets.ra[k], targets.dec[k], unit=u.deg)
    return at.separation(SkyCoord(ra, dec, unit=u.deg)).mas


def test_coordinates_are_numbered_in_their_order() -> None:
    targets = find_targets(SkyCoord([10.0, 20.0], [-5.0, 5.0], unit=u.deg))
    assert targets.id.tolist() == [0, 1]
    assert_allclose([targets.ra, targets.dec], [[10.0, 20.0], [-5.0, 5.0]], rtol=1e-12)
    assert len(find_targets(SkyCoord(10.0, -5.0, unit=u.deg))) == 1
    assert len(find_targets(SkyCoord([], [], unit=u.deg))) == 0


def test_coordinates_in_other_frames_come_out_as_icrs() -> None:
    icrs = SkyCoord(10.0, -5.0, unit=u.deg)
    assert separation_mas(find_targets(icrs.galactic), 10.0, -5.0) < 1e-3


def test_stars_move_once_by_their_proper_motion() -> None:
    table = Table(
        {"id": [7], "ra": [150.0], "dec": [60.0], "pmra": [1000.0], "pmdec": [-500.0], "ref_epoch": [2016.0]}
    )
    targets = find_targets(table, time=TIME)
    expected = SkyCoord(
        150.0 * u.deg, 60.0 * u.deg, pm_ra_cosdec=1 * u.arcsec / u.yr, pm_dec=-0.5 * u.arcsec / u.yr,
        distance=100 * u.pc, obstime=EPOCH,
    ).apply_space_motion(new_obstime=TIME)  # fmt: skip
    assert targets.id.tolist() == [7]
    assert separation_mas(targets, expected.ra.deg, expected.dec.deg) < 0.01
    assert_allclose((targets.dec[0] - 60.0) * 3.6e6, -500.0 * 10.5, rtol=1e-3)
    # An epoch given beside the table is the same.
    table.remove_column("ref_epoch")
    again = find_targets(table, epoch=EPOCH, time=TIME)
    assert_allclose([again.ra, again.dec], [targets.ra, targets.dec], rtol=1e-14)


def test_missing_motions_count_as_zero() -> None:
    motion = MaskedColumn([100.0, 0.0, np.nan], mask=[False, True, False], unit=u.mas / u.yr)
    table = Table(
        {"ra": [1.0, 2.0, 3.0], "dec": [0.0] * 3, "pmra": motion, "pmdec": motion, "ref_epoch": [2016.0] * 3}
    )
    targets = find_targets(table, time=TIME)
    assert_allclose((targets.ra - [1.0, 2.0, 3.0]) * 3.6e6, [1050.0, 0.0, 0.0], atol=1e-5)


@pytest.mark.parametrize("name", ["pmra", "pmdec"])
def test_one_motion_alone_moves_a_star(name: str) -> None:
    both = {"ra": [150.0], "dec": [60.0], "ref_epoch": [2016.0], "pmra": [0.0], "pmdec": [0.0]}
    both[name] = [800.0]
    alone = {key: both[key] for key in ("ra", "dec", "ref_epoch", name)}
    one, two = (find_targets(Table(given), time=TIME) for given in (alone, both))
    assert_allclose([one.ra, one.dec], [two.ra, two.dec], rtol=1e-15)
    assert_allclose(separation_mas(one, 150.0, 60.0), 800.0 * 10.5, rtol=1e-6)


def test_columns_may_have_the_names_and_types_of_coordinates() -> None:
    columns = {"ra": [150.0], "dec": [60.0], "pmra": [1000.0], "pmdec": [-500.0], "ref_epoch": [2016.0]}
    ours = find_targets(Table(columns), time=TIME)
    names = {"pmra": "pm_ra_cosdec", "pmdec": "pm_dec", "ref_epoch": "epoch"}
    theirs = Table({names.get(name, name): values for name, values in columns.items()})
    by_time = QTable(theirs)
    by_time["epoch"] = EPOCH.tai.reshape(1)
    kept = by_time.colnames
    for table in (theirs, by_time):
        targets = find_targets(table, time=TIME)
        assert_allclose([targets.ra, targets.dec], [ours.ra, ours.dec], rtol=1e-14)
    assert by_time.colnames == kept  # what is given stays


def test_a_time_that_is_masked_is_no_epoch() -> None:
    epochs = Time([2016.0, 2016.0], format="jyear", scale="tdb")
    epochs[1] = np.ma.masked
    table = QTable({"pmra": [1.0, 1.0] * u.mas / u.yr, **STAR})
    table["ref_epoch"] = epochs
    with pytest.raises(RequestError, match="no value for 1 of the positions"):
        find_targets(table, time=TIME)


def test_motions_of_zero_need_no_time() -> None:
    still = {"pm_ra_cosdec": 0 * u.mas / u.yr, "pm_dec": 0 * u.mas / u.yr}
    positions = SkyCoord(10 * u.deg, 5 * u.deg, obstime=EPOCH, **still)
    away = SkyCoord(10 * u.deg, 5 * u.deg, radial_velocity=20 * u.km / u.s)
    table = Table({"ra": [10.0], "dec": [5.0], "pmra": [0.0], "pmdec": [np.nan], "parallax": [0.0]})
    for given in (positions, positions.galactic, away, table):
        targets = find_targets(given)
        assert_allclose([targets.ra[0], targets.dec[0]], [10.0, 5.0], rtol=1e-12)


def test_parallax_is_the_ellipse_of_the_earths_orbit() -> None:
    # Towards the ecliptic pole the star keeps its parallax from its place.
    pole = SkyCoord(0.0, 90.0, unit=u.deg, frame="barycentrictrueecliptic").icrs
    table = Table({"ra": [pole.ra.deg], "dec": [pole.dec.deg], "parallax": [100.0]})
    times = Time(2026.0 + np.arange(0.0, 1.0, 0.05), format="jyear", scale="tdb")
    found = [find_targets(table, epoch=EPOCH, time=time) for time in times]
    distance = np.array([separation_mas(t, pole.ra.deg, pole.dec.deg) for t in found])
    assert_allclose(distance, 100.0, rtol=0.03)
    assert (
        96.0 < distance.min() < 99.5 < 100.5 < distance.max() < 104.0
    )  # eccentricity, and the Sun's own motion
    # Seen in the equinoctial direction of the Sun, a star north of it has none in longitude.
    sun_side = Table({"ra": [0.0], "dec": [0.0], "parallax": [100.0]})
    march = find_targets(sun_side, epoch=EPOCH, time=Time("2026-03-20T15:00:00", scale="tdb"))
    june = find_targets(sun_side, epoch=EPOCH, time=Time("2026-06-21T08:00:00", scale="tdb"))
    assert separation_mas(march, 0.0, 0.0) < 2.0
    # In June the Earth is at ecliptic longitude 270 degrees: the star shifts to the east.
    assert_allclose(
        (june.ra[0] + 180.0) % 360.0 - 180.0, 101.6 * np.cos(np.radians(23.44)) / 3.6e6, rtol=0.02
    )


def test_positions_off_the_sky_are_not_known_and_spoil_no_other() -> None:
    table = Table(
        {
            "ra": [10.0, np.nan, 10.0, np.inf, 370.0],
            "dec": [0.0, 0.0, 95.0, 0.0, -90.0],
            "pmra": [0.0] * 5,
            "pmdec": [0.0] * 5,
            "ref_epoch": [2016.0] * 5,
        }
    )
    for positions in (table, table["ra", "dec"]):
        targets = find_targets(positions, time=TIME)
        assert targets.is_known.tolist() == [True, False, False, False, True]
        assert targets.positions.shape == (2,)
        assert_allclose(targets.dec[[0, 4]], [0.0, -90.0], atol=1e-9)


def test_units_of_columns_are_used() -> None:
    table = QTable({"ra": [1.0] * u.hourangle, "dec": [60.0] * u.arcmin})
    targets = find_targets(table)
    assert_allclose([targets.ra[0], targets.dec[0]], [15.0, 1.0], rtol=1e-12)


def make_track(times, name: int = 3, phase: float = 0.0) -> Table:
    """Return a body on a great circle through the equator, a degree a day."""
    angle = np.radians(times - 61000.0 + phase)
    vectors = np.array([np.cos(angle), np.sin(angle) * np.cos(0.4), np.sin(angle) * np.sin(0.4)])
    return Table(
        {
            "id": np.full(times.size, name),
            "time": times,
            "ra": np.degrees(np.arctan2(vectors[1], vectors[0])),
            "dec": np.degrees(np.arcsin(vectors[2])),
        }
    )


@pytest.mark.parametrize(("n", "error_mas"), [(3, 100.0), (5, 5.0), (9, 0.5)])
def test_moving_objects_are_interpolated_along_their_arc(n: int, error_mas: float) -> None:
    table = make_track(61000.0 + np.linspace(-1.0, 1.0, n))
    expected = make_track(np.array([61000.3]))
    targets = find_targets(table, time=Time(61000.3, format="mjd", scale="tai"))
    assert targets.id.tolist() == [3]
    assert separation_mas(targets, expected["ra"][0], expected["dec"][0]) < error_mas


def test_each_object_of_an_ephemeris_has_its_own_track() -> None:
    times = 61000.0 + np.linspace(-1.0, 1.0, 6)
    one, two = make_track(times, 8, 0.2), make_track(times, 5, 0.0)
    mixed = Table({name: np.concatenate([one[name], two[name]])[::-1] for name in one.colnames})
    mixed["time"] = Time(mixed["time"], format="mjd", scale="tai")
    targets = find_targets(mixed, time=Time(61000.1, format="mjd", scale="tai").utc)
    assert targets.id.tolist() == [5, 8]
    expected = make_track(np.array([61000.1]), 5)
    assert separation_mas(targets, expected["ra"][0], expected["dec"][0], 0) < 3.6


def test_an_ephemeris_is_not_continued() -> None:
    table = make_track(61000.0 + np.linspace(-1.0, 1.0, 6))
    targets = find_targets(table, time=Time(61001.01, format="mjd", scale="tai"))
    assert targets.is_known.tolist() == [False]


STAR = {"ra": [1.0, 2.0], "dec": [0.0, 0.0]}
BAD = [
    (Table({"ra": [1.0]}), r"\['dec'\] not in \['ra'\]"),
    (Table({"id": [4, 4], **STAR}), r"once; \[4\] occur more"),
    (Table({"id": ["a", "b"], **STAR}), "integers; got <U1"),
    (Table({"ra": ["x", "y"], "dec": [0.0, 0.0]}), "Column ra must be numbers in deg"),
    (Table({"pmra": [1.0, 1.0], "pmdec": [1.0, 1.0], **STAR}), "epoch of the positions is not known"),
    (
        Table({"pmra": [1.0, 1.0], "pmdec": [1.0, 1.0], "ref_epoch": [2016.0, np.nan], **STAR}),
        "no value for 1 of the positions",
    ),
    (SkyCoord([[1.0]], [[2.0]], unit=u.deg), r"one-dimensional; got shape \(1, 1\)"),
    (Table({"time": [61000.0, 61000.0], **STAR}), "object 0 has several positions at one time"),
    (Table({"pmra": [1.0] * 2, "pm_ra_cosdec": [1.0] * 2, **STAR}), "pm_ra_cosdec and pmra mean the same"),
    (Table({"pmRA": [1.0] * 2, "pmDE": [1.0] * 2, **STAR}), r"\['pmRA', 'pmDE'\] are not known"),
    (Table({"pmra": [1.0] * 2, "epoch": [57388.0] * 2, **STAR}), "57388 is no year"),
    ((150.0, 2.0), "a table with ra and dec; got a tuple"),
    (None, "a table with ra and dec; got a NoneType"),
    (QTable({"ra": [1.0] * u.m, "dec": [1.0] * u.deg}), "Column ra must be numbers in deg"),
]


@pytest.mark.parametrize(("positions", "message"), BAD)
def test_requests_that_make_no_sense_are_refused(positions: Table | SkyCoord, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_targets(positions, time=Time(61000.0, format="mjd", scale="tai"))


def test_motion_needs_the_time_of_the_image() -> None:
    with pytest.raises(RequestError, match="time of the image is not known"):
        find_targets(Table({"parallax": [1.0, 1.0], **STAR}))
    with pytest.raises(RequestError, match="ephemeris, but the time of the image is not known"):
        find_targets(make_track(np.array([61000.0])))
