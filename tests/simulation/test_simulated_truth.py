"""The truth catalogue: positions and fluxes at any time."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._truth import (
    MINIMUM_SEPARATION_PX,
    evaluate_fluxes,
    evaluate_positions,
    field_radius_px,
    first_night,
    make_truth,
)

CONFIG = SurveyConfig()
TRUTH = make_truth(CONFIG)
FIELDS = [(149.994416, 2.165386), (0.0005, -30.0), (359.9995, 10.0), (210.0, 89.98), (45.0, -89.99)]


def row_of(kind: str) -> int:
    (rows,) = np.nonzero(TRUTH["kind"] == kind)
    return int(rows[0])


def same_table(a: QTable, b: QTable) -> bool:
    return all(
        np.array_equal(a[name].mjd, b[name].mjd)
        if name in ("epoch", "reference_time")
        else np.array_equal(a[name], b[name])
        for name in a.colnames
    )


def test_same_seed_same_truth():
    assert same_table(make_truth(SurveyConfig()), TRUTH)
    other = make_truth(SurveyConfig(seed=2))
    assert not np.array_equal(other["ra"][-20:], TRUTH["ra"][-20:])


def test_every_kind_is_there():
    kinds, counts = np.unique(TRUTH["kind"], return_counts=True)
    found = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    for kind in ("saturated", "proper_motion", "variable", "transient"):
        assert found[kind] == 1
    assert found["pair"] == 2
    assert np.array_equal(TRUTH["id"], np.arange(1, len(TRUTH) + 1))


def test_density_is_what_was_asked():
    area = np.pi * (field_radius_px(CONFIG) * 0.2 / 60) ** 2
    galaxies = np.count_nonzero(TRUTH["kind"] == "galaxy")
    assert galaxies == pytest.approx(CONFIG.galaxy_density * area, abs=1)
    assert np.all((TRUTH["half_light_radius"] > 0 * u.arcsec) == (TRUTH["kind"] == "galaxy"))


@pytest.mark.parametrize("center", FIELDS)
def test_sources_are_apart_and_in_the_field(center):
    config = SurveyConfig(center=center)
    truth = make_truth(config)
    sky = SkyCoord(truth["ra"], truth["dec"])
    # The tract is flat to 1e-6 over the field.
    radius = sky.separation(config.center_position).to_value(u.arcsec)
    assert np.max(radius) < field_radius_px(config) * 0.2 * 1.0001
    single = sky[truth["kind"] != "pair"]
    _, nearest, _ = single.match_to_catalog_sky(single, nthneighbor=2)
    assert np.min(nearest.to_value(u.arcsec)) > MINIMUM_SEPARATION_PX * 0.2 * 0.9999
    pair = sky[truth["kind"] == "pair"]
    assert pair[0].separation(pair[1]).to_value(u.arcsec) == pytest.approx(np.hypot(6, 2) * 0.2, rel=1e-3)


def test_positions_at_epoch_are_the_columns():
    positions = evaluate_positions(TRUTH, first_night())
    assert np.max(positions.separation(SkyCoord(TRUTH["ra"], TRUTH["dec"])).to_value(u.arcsec)) < 1e-9


@pytest.mark.parametrize("center", FIELDS)
def test_moving_star_agrees_with_astropy(center):
    truth = make_truth(SurveyConfig(center=center))
    row = truth["kind"] == "proper_motion"
    time = first_night() + 730 * u.d
    moved = evaluate_positions(truth, time)
    star = truth[row][0]
    start = SkyCoord(
        ra=star["ra"],
        dec=star["dec"],
        pm_ra_cosdec=star["pm_ra_cosdec"],
        pm_dec=star["pm_dec"],
        # The largest distance that ERFA does not replace with a warning.
        distance=1 * u.Mpc,
        radial_velocity=0 * u.km / u.s,
    )
    # Angles alone: at 1 Mpc the motion would be faster than light.
    step = 730 / 365.25
    expected = start.spherical_offsets_by(star["pm_ra_cosdec"] * step * u.yr, star["pm_dec"] * step * u.yr)
    assert moved[row][0].separation(expected).to_value(u.mas) < 0.1
    distance = moved.separation(SkyCoord(truth["ra"], truth["dec"])).to_value(u.arcsec)
    assert distance[row][0] == pytest.approx(np.hypot(1.5, 1.0) * step, rel=1e-6)
    assert np.max(distance[~row]) < 1e-9


def test_transient_rises_at_once_and_fades():
    row = row_of("transient")
    start, peak = TRUTH["reference_time"][row], TRUTH["flux_r"][row]
    decay = TRUTH["decay"][row]
    flux = [evaluate_fluxes(TRUTH, "r", start + dt)[row] for dt in (-1 * u.s, 0 * u.s, decay)]
    assert flux[0] == 0 * u.nJy
    assert flux[1].to_value(u.nJy) == pytest.approx(peak.to_value(u.nJy), rel=1e-9)
    assert flux[2].to_value(u.nJy) == pytest.approx(peak.to_value(u.nJy) / np.e, rel=1e-6)


def test_variable_swings_about_its_mean():
    row = row_of("variable")
    period = TRUTH["period"][row]
    times = first_night() + np.arange(200) / 200 * period
    flux = np.array([evaluate_fluxes(TRUTH, "g", t)[row].to_value(u.nJy) for t in times])
    mean = TRUTH["flux_g"][row].to_value(u.nJy)
    assert np.mean(flux) == pytest.approx(mean, rel=1e-6)
    assert np.max(flux) == pytest.approx(1.5 * mean, rel=1e-3)
    assert np.min(flux) == pytest.approx(0.5 * mean, rel=1e-3)


def test_constant_sources_are_constant_and_bands_differ():
    constant = ~np.isin(TRUTH["kind"], ("variable", "transient"))
    late = evaluate_fluxes(TRUTH, "i", first_night() + 400 * u.d)
    assert np.array_equal(late[constant], TRUTH["flux_i"][constant])
    assert np.all(TRUTH["flux_i"][TRUTH["kind"] == "star"] > TRUTH["flux_g"][TRUTH["kind"] == "star"])
