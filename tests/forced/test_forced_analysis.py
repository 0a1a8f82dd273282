"""Means over epochs and baselines: facts about Gaussian fluxes."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, vstack
from astropy.time import Time
from numpy.testing import assert_allclose, assert_array_equal

from lsst.dax.image.errors import RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import StackBy, correct_baseline, find_usable, stack_fluxes


def make_table(flux, error, *, sky=None, mjd=None, band="r", target=7) -> QTable:
    """Return a table of fluxes with the columns that are looked at."""
    flux, error = np.broadcast_arrays(np.asarray(flux, float), np.asarray(error, float))
    n = flux.size
    table = QTable()
    table["id"] = np.full(n, target)
    table["band"] = np.full(n, band, dtype="U16")
    table["mjd"] = (60000.0 + np.arange(n) if mjd is None else np.asarray(mjd, float)) * u.d
    table["flux"] = flux * u.nJy
    table["flux_err"] = error * u.nJy
    table["flux_err_sky"] = (error if sky is None else np.broadcast_to(sky, n)) * u.nJy
    table["snr"] = flux / error
    table["masked_fraction"] = np.zeros(n)
    table["flags"] = np.zeros(n, dtype=np.int64)
    return table


def test_the_mean_of_equal_epochs_is_plain_and_its_error_falls_as_the_root_of_n() -> None:
    (row,) = stack_fluxes(make_table([1.0, 2.0, 3.0, 6.0], 2.0))
    assert row["flux"] == 3.0 * u.nJy
    assert row["flux_err"] == 1.0 * u.nJy
    assert (row["n_epochs"], row["dof"], row["n_left_out"]) == (4, 3, 0)
    assert_allclose(row["chi2"], (4 + 1 + 0 + 9) / 4)
    assert_allclose(row["scatter"].to_value(u.nJy), np.sqrt(14 / 4))
    assert row["max_share"] == 0.25


def test_weights_do_not_know_the_source_so_825_empty_epochs_have_no_bias() -> None:
    # Errors that hold the noise of the source's own measured flux, as planes of variance do.
    rng = np.random.default_rng(5)
    sky = 30.0
    flux = rng.normal(0.0, sky, (400, 825))
    own = np.sqrt(np.maximum(sky**2 + 12.0 * flux, sky**2 / 4))
    pulls, naive = [], []
    for values, errors in zip(flux, own, strict=True):
        (row,) = stack_fluxes(make_table(values, errors, sky=sky))
        pulls.append((row["flux"] / row["flux_err_sky"]).value)
        weights = errors**-2.0
        naive.append((weights * values).sum() / np.sqrt(weights.sum()))
    assert abs(np.mean(pulls)) < 3 / np.sqrt(400)
    assert 0.93 < np.std(pulls) < 1.07
    assert np.mean(naive) < -3.0


def test_targets_and_bands_are_apart_and_in_order() -> None:
    parts = [make_table([k, k], 1.0, band=band, target=k) for k in (9, 2) for band in ("r", "g")]
    stacked = stack_fluxes(vstack(parts))
    assert_array_equal(stacked["id"], [2, 2, 9, 9])
    assert_array_equal(stacked["band"], ["g", "r", "g", "r"])
    assert_array_equal(stacked["flux"].value, [2, 2, 9, 9])


def test_a_night_is_one_row_across_midnight_utc() -> None:
    # 23 h and 1 h 30 of one night, and the evening after.
    stacked = stack_fluxes(
        make_table([1.0, 3.0, 10.0], 1.0, mjd=[60000.96, 60001.06, 60001.96]), StackBy.NIGHT
    )
    assert_array_equal(stacked["flux"].value, [2.0, 10.0])
    assert_array_equal(stacked["n_epochs"], [2, 1])
    assert_allclose(stacked["mjd_end"][0].value, 60001.06)


def test_windows_begin_at_multiples_of_their_length() -> None:
    stacked = stack_fluxes(make_table([1.0, 3.0, 10.0], 1.0, mjd=[60004.0, 60010.9, 60011.1]), 7 * u.d)
    assert_array_equal(stacked["n_epochs"], [2, 1])  # 60004.0 = 7 * 8572
    with pytest.raises(RequestError, match=r"positive length of time, not 3\.0 m"):
        stack_fluxes(make_table([1.0], 1.0), 3 * u.m)
    with pytest.raises(RequestError, match=r"positive length of time, not 7"):
        stack_fluxes(make_table([1.0], 1.0), 7)


def test_groups_may_be_named_by_their_values() -> None:
    table = make_table([1.0, 3.0, 10.0], 1.0, mjd=[60004.0, 60010.9, 60011.1])
    for by in StackBy:
        assert_array_equal(stack_fluxes(table, by.value)["n_epochs"], stack_fluxes(table, by)["n_epochs"])
    with pytest.raises(RequestError, match=r"The option by is one of .*, not 'week'"):
        stack_fluxes(table, "week")


def test_epochs_that_failed_are_left_out_and_a_group_of_none_is_nan() -> None:
    table = make_table([1.0, 99.0, np.nan, 5.0], 1.0)
    table["flags"][1] = FLAGS["NO_CALIBRATION"].value
    table["masked_fraction"][3] = 0.31
    assert_array_equal(find_usable(table), [True, False, False, False])
    (row,) = stack_fluxes(table)
    assert (row["flux"], row["n_left_out"]) == (1.0 * u.nJy, 3)
    (row,) = stack_fluxes(table[1:])
    assert np.isnan(row["flux"])
    assert (row["n_epochs"], row["n_left_out"]) == (0, 3)


def test_an_edge_alone_is_no_reason_to_leave_a_flux_out() -> None:
    table = make_table([1.0], 1.0)
    table["flags"] = FLAGS["EDGE"].value
    assert find_usable(table)[0]
    assert not find_usable(table, ignore=())[0]
    with pytest.raises(RequestError, match=r"no flags .'RIM'."):
        find_usable(table, ignore=("RIM",))


def test_clipping_drops_a_cosmic_ray() -> None:
    (row,) = stack_fluxes(make_table([*np.zeros(30), 500.0], 1.0), clip_sigma=20.0)
    assert (row["flux"], row["n_left_out"]) == (0.0 * u.nJy, 1)
    with pytest.raises(RequestError, match="not 0"):
        stack_fluxes(make_table([1.0], 1.0), clip_sigma=0)


def test_an_empty_table_gives_an_empty_table() -> None:
    assert len(stack_fluxes(make_table([], 1.0))) == 0


def test_a_baseline_takes_the_flux_of_the_template_off() -> None:
    rng = np.random.default_rng(2)
    truth = np.where(np.arange(400) > 200, 1000.0, 0.0)
    table = make_table(truth - 250.0 + rng.normal(0.0, 20.0, 400), 20.0)
    corrected = correct_baseline(table, end=Time(60200, format="mjd", scale="tai"))
    error = np.sqrt(np.pi / 2) * 20.0 / np.sqrt(201)
    assert_array_equal(corrected["baseline_n_epochs"], 201)
    assert_allclose(corrected["baseline_err"].value, error)
    assert abs(corrected["baseline"][0].value + 250.0) < 4 * error
    assert_allclose(corrected["flux_err"].value, np.hypot(20.0, error))
    pulls = (corrected["flux"].value - truth) / 20.0
    assert abs(pulls.mean()) < 4 * error / 20.0
    assert_allclose(corrected["snr"], corrected["flux"] / corrected["flux_err"])
    assert table["flux"][0] != corrected["flux"][0]  # the input is left alone


def test_the_error_of_a_baseline_is_that_of_a_median() -> None:
    rng = np.random.default_rng(8)
    levels = [
        correct_baseline(make_table(rng.normal(0, 3.0, 41), 3.0), begin=Time(5e4, format="mjd"))["baseline"][
            0
        ]
        for _ in range(300)
    ]
    assert_allclose(np.std([level.value for level in levels]), 1.2533 * 3.0 / np.sqrt(41), rtol=0.12)


def test_without_epochs_before_the_event_there_is_no_flux() -> None:
    parts = [
        make_table(np.ones(9), 1.0, target=1),
        make_table(np.ones(9), 1.0, target=2, mjd=60100 + np.arange(9)),
    ]
    corrected = correct_baseline(vstack(parts), end=Time(60050, format="mjd", scale="tai"))
    assert_array_equal(corrected["flux"][:9].value, 0.0)
    assert np.isnan(corrected["flux"][9:].value).all()
    assert_array_equal(corrected["flags"][9:], FLAGS["NO_BASELINE"].value)
    with pytest.raises(RequestError, match="a begin or an end"):
        correct_baseline(parts[0])
    with pytest.raises(RequestError, match=r"no columns .'chip'."):
        correct_baseline(parts[0], end=Time(60050, format="mjd"), by=("id", "chip"))


def test_targets_whose_numbers_differ_in_the_last_digit_are_apart() -> None:
    first = 2**60 + 1  # a float has no such number
    parts = [make_table([float(k)], 1.0, target=first + k) for k in range(3)]
    stacked = stack_fluxes(vstack(parts))
    assert stacked["id"].tolist() == [first, first + 1, first + 2]
    assert_array_equal(stacked["flux"].value, [0, 1, 2])


def test_direct_and_difference_fluxes_are_never_averaged() -> None:
    direct, difference = make_table(np.full(6, 500.0), 1.0), make_table(np.full(6, 20.0), 1.0)
    direct["dataset_type"], difference["dataset_type"] = "visit_image", "difference_image"
    both = vstack([direct, difference])
    stacked = stack_fluxes(both)
    assert stacked["dataset_type"].tolist() == ["difference_image", "visit_image"]
    assert_array_equal(stacked["flux"].value, [20, 500])
    corrected = correct_baseline(both, end=Time(60100, format="mjd", scale="tai"))
    assert_array_equal(corrected["baseline"].value, np.repeat([500.0, 20.0], 6))


def test_the_baseline_of_an_even_number_of_epochs_is_between_the_middle_two() -> None:
    table = make_table([1.0, 9.0, 2.0, 4.0], 1.0)
    corrected = correct_baseline(table, end=Time(60100, format="mjd", scale="tai"), min_epochs=4)
    assert_array_equal(corrected["baseline"].value, 3.0)


def test_tables_without_the_columns_are_refused() -> None:
    with pytest.raises(RequestError, match=r"no columns .'masked_fraction', 'flags'."):
        stack_fluxes(make_table([1.0], 1.0)["id", "band", "mjd", "flux", "flux_err", "flux_err_sky"])
    with pytest.raises(RequestError, match="got a NoneType"):
        find_usable(None)
