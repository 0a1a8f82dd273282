"""Recipes: as values, as JSON text, by their fingerprints."""

from __future__ import annotations

import json
import pickle
import random

import astropy.units as u
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.dax.image.coadds import (
    READY_MADE,
    ArtifactRules,
    Best,
    CellRules,
    ClipRules,
    Criterion,
    MaskRules,
    PsfMatching,
    PsfQuality,
    PsfTarget,
    Recipe,
    Selection,
    Statistic,
    Weighting,
    make_nightly_recipe,
    make_template_recipe,
    make_weekly_recipe,
    parse_recipe,
)
from lsst.dax.image.errors import RequestError
from lsst.dax.image.resampling import Kernel

positive = st.floats(1e-6, 1e6)
times = st.floats(58000.0, 63000.0).map(lambda mjd: Time(mjd, format="mjd", scale="tt"))
visits = st.lists(st.integers(1, 10**13), max_size=4).map(tuple)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    begin, end = sorted(draw(st.tuples(times, times)))
    best = draw(
        st.none()
        | st.builds(Best, criterion=st.sampled_from(Criterion), number=st.integers(1, 99))
        | st.builds(
            Best,
            criterion=st.sampled_from(Criterion),
            fraction=st.floats(0.01, 1.0),
            at_least=st.integers(1, 20),
        )
    )
    return Selection(
        bands=draw(st.none() | st.lists(st.sampled_from("ugrizy"), min_size=1).map(tuple)),
        begin=draw(st.none() | st.just(begin)),
        end=draw(st.none() | st.just(end + 1.0 * u.day)),
        max_fwhm_arcsec=draw(st.none() | positive),
        max_sky_njy_per_arcsec2=draw(st.none() | positive),
        min_depth_mag=draw(st.none() | st.floats(-30, 30)),
        max_airmass=draw(st.none() | st.floats(1, 10)),
        psf_quality=draw(st.none() | st.builds(PsfQuality, min_stars=st.none() | st.integers(1, 50))),
        exclude_visits=draw(visits),
        where=draw(st.text(max_size=40)),
        best=best,
    )


recipes = st.builds(
    Recipe,
    name=st.text(min_size=1, max_size=30),
    selection=selections(),
    kernel=st.sampled_from(Kernel),
    weighting=st.sampled_from(Weighting),
    statistic=st.sampled_from([s for s in Statistic if s not in (Statistic.PROPER, Statistic.CHI_SQUARED)]),
    clip=st.builds(ClipRules, n_sigma=positive, iterations=st.integers(1, 10)),
    cells=st.builds(CellRules, inner_px=st.integers(8, 500), padding_px=st.integers(50, 99)),
    psf_matching=st.builds(
        PsfMatching, target=st.none() | st.builds(PsfTarget, fwhm_arcsec=st.floats(0.1, 9))
    ),
    seed=st.integers(0, 2**63 - 1),
)


def shuffle(value, rng):
    """Return JSON values with the fields of all objects in another order."""
    if isinstance(value, dict):
        names = list(value)
        rng.shuffle(names)
        return {name: shuffle(value[name], rng) for name in names}
    return value


def without_defaults(value, default):
    """Return JSON values without the fields that have their defaults."""
    if not isinstance(value, dict) or not isinstance(default, dict):
        return value
    return {
        name: without_defaults(inner, default.get(name))
        for name, inner in value.items()
        if inner != default.get(name) or name in ("schema_version", "name")
    }


@given(recipe=recipes, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_json_gives_the_same_recipe_back_however_it_is_spelled(recipe, seed):
    text = recipe.to_json()
    back = Recipe.from_json(text)
    assert back == recipe
    assert back.to_json() == text
    assert hash(back) == hash(recipe)
    full = json.loads(text)
    shuffled = json.dumps(shuffle(full, random.Random(seed)), indent=3)  # noqa: S311
    assert Recipe.from_json(shuffled).fingerprint == recipe.fingerprint
    short = without_defaults(full, json.loads(Recipe(name="x").to_json()))
    assert Recipe.from_json(json.dumps(short)) == recipe
    assert Recipe.from_json(json.dumps(short).encode()).fingerprint == recipe.fingerprint


@given(one=recipes, other=recipes)
@settings(max_examples=40, deadline=None)
def test_fingerprints_are_equal_just_for_equal_recipes(one, other):
    assert (one.fingerprint == other.fingerprint) is (one == other)
    assert pickle.loads(pickle.dumps(one)).fingerprint == one.fingerprint  # noqa: S301


def test_the_fingerprint_is_that_of_the_first_release():
    # A fingerprint that changes makes strangers of coadds that are the same.
    assert Recipe(name="x").fingerprint == "7cdb193ddbbd5c145af33948c8762a7a"
    assert Recipe(name="y").fingerprint != Recipe(name="x").fingerprint


def test_sets_have_no_order_and_zero_has_no_sign():
    one = Recipe(
        name="x", selection=Selection(bands=("r", "g", "r"), exclude_visits=(3, 1), min_depth_mag=0.0)
    )
    other = Recipe(name="x", selection=Selection(bands=("g", "r"), exclude_visits=(1, 3), min_depth_mag=-0.0))
    assert one == other
    assert one.fingerprint == other.fingerprint
    masks = [MaskRules(bad_planes=planes) for planes in (("BAD", "NO_DATA"), ("NO_DATA", "BAD"))]
    assert Recipe(name="x", masks=masks[0]).fingerprint == Recipe(name="x", masks=masks[1]).fingerprint


def test_one_band_may_be_given_as_text():
    assert Selection(bands="r").bands == ("r",)


def test_times_are_kept_as_tai_to_the_nanosecond():
    selection = Selection(begin=Time("2026-01-01T00:00:00", scale="utc"), end="2027-01-01T00:00:00.123456789")
    assert selection.begin.scale == "tai"
    assert selection.begin.isot == "2026-01-01T00:00:37.000"
    assert json.loads(selection.model_dump_json())["end"] == "2027-01-01T00:00:00.123456789"


def test_changes_are_checked():
    recipe = Recipe(name="x").with_selection(bands=("r",), max_fwhm_arcsec=0.8).with_(kernel=Kernel.LANCZOS3)
    assert recipe.selection.max_fwhm_arcsec == 0.8
    assert recipe.kernel is Kernel.LANCZOS3
    assert recipe.statistic is Recipe(name="x").statistic
    with pytest.raises(RequestError, match=r"max_fwhm_arcsec is -1: input should be greater than 0"):
        recipe.with_selection(max_fwhm_arcsec=-1)
    with pytest.raises(RequestError, match=r"seeing is no field; there are bands, begin"):
        recipe.with_selection(seeing=1.0)
    with pytest.raises(RequestError, match=r"weights is no field; there are schema_version, name"):
        recipe.with_(weights="equal")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ('{"schema_version": 1, "name": "x", "seed": NaN}', "NaN is no number"),
        ("[1, 2]", "is a JSON list; an object"),
        ('{"name": "x"}', "says no schema_version; this library reads version 1"),
        ('{"schema_version": 2, "name": "x"}', "is of schema version 2; this library reads version 1"),
        ('{"schema_version": true, "name": "x"}', "is of schema version True"),
        ('{"schema_version": 1, "name": "x", "name": "y"}', "'name' is there twice"),
        ('{"schema_version": 1}', "name is missing"),
        ('{"schema_version": 1, "name": "x", "colour": 1}', "colour is no field; there are schema_version"),
        (
            '{"schema_version": 1, "name": "x", "selection": {"fwhm": 1}}',
            "selection: This is no Selection: fwhm is no field; there are bands",
        ),
        (
            '{"schema_version": 1, "name": "x", "kernel": "sinc"}',
            "kernel is 'sinc': input should be 'lanczos3'",
        ),
        ('{"schema_version": 1, "name": "x", "seed": -1}', "seed is -1"),
    ],
)
def test_what_is_no_recipe_is_refused_with_both_sides(text, complaint):
    with pytest.raises(RequestError, match=r"(?i)recipe") as caught:
        Recipe.from_json(text)
    assert complaint in str(caught.value)


@given(st.binary(max_size=60) | st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_raises_anything_else(text):
    with pytest.raises(RequestError, match="recipe"):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema_version": 3}, "version 3 is not known, 1 is"),
        ({"dataset_type": "visit_image.image"}, "is a component"),
        ({"statistic": "median", "noise_realizations": 2}, "noise_realizations is 2"),
        ({"statistic": "mean", "noise_realizations": 11}, "noise_realizations is 11"),
        (
            {"psf_matching": {"target": {"fwhm_arcsec": 1.0}, "kernel_px": 51}, "cells": {"padding_px": 24}},
            "cells.padding_px is 24: a matching kernel of 51 pixels needs 25",
        ),
        ({"artifacts": {"grow_px": 60}}, "artifacts that are grown by 60 pixels"),
        ({"statistic": "proper", "cells": {"is_edge_free": False}}, "is_edge_free must be true"),
        ({"statistic": "proper", "weighting": "equal"}, "weights of its own, not weighting equal"),
        (
            {"statistic": "proper", "psf_matching": {"target": {"fwhm_arcsec": 1.0}}},
            "psf_matching.target is given",
        ),
        ({"statistic": "chi_squared", "weighting": "effective_time"}, "chi_squared is in units of the noise"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes, complaint):
    with pytest.raises(RequestError, match="This is no Recipe") as caught:
        Recipe(name="x", **changes)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"begin": "2026-01-02T00:00:00", "end": "2026-01-01T00:00:00"}, "not before end"),
        ({"begin": "tomorrow"}, "'tomorrow' is no ISO time"),
        ({"begin": Time([60000.0, 60001.0], format="mjd")}, "is no single time"),
        ({"begin": 60000.0}, "60000.0 is no single time"),
        ({"day_obs": (20260230, 20260301)}, "20260230 is no day of the form YYYYMMDD"),
        ({"day_obs": (20260302, 20260301)}, "the first day 20260302 is after the last day 20260301"),
        ({"bands": ()}, "bands is empty"),
        ({"visits": ()}, "visits is empty"),
        ({"visits": (1, 2), "exclude_visits": (2, 3)}, r"both have [2]"),
        ({"visits": (1, 2), "min_visits": 3}, "min_visits is 3, but there are 2 visits"),
        ({"best": {"criterion": "depth", "number": 2}, "min_visits": 3}, "but the best 2 are taken"),
        ({"best": {"criterion": "depth"}}, "either number or fraction is needed"),
        ({"best": {"criterion": "depth", "number": 2, "fraction": 0.5}}, "either number or fraction"),
        ({"best": {"criterion": "depth", "number": 2, "at_least": 3}}, "at_least is 3"),
        ({"max_airmass": 0.9}, "max_airmass is 0.9"),
        ({"min_depth_mag": float("nan")}, "finite number"),
    ],
)
def test_selections_that_make_no_sense_are_refused(fields, complaint):
    with pytest.raises(RequestError, match="This is no Selection") as caught:
        Selection(**fields)
    assert complaint in str(caught.value)


def test_recipes_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Recipe(name="x").name = "y"


def test_parts_of_a_recipe_refuse_unknown_fields():
    for part in (ArtifactRules, CellRules, ClipRules, MaskRules, PsfMatching, PsfQuality, Selection):
        with pytest.raises(RequestError, match=f"This is no {part.__name__}: nonsense is no field"):
            part(nonsense=1)


@pytest.mark.parametrize("name", READY_MADE)
def test_ready_made_recipes_are_what_their_names_say(name):
    recipe = READY_MADE[name]
    assert recipe.name == name
    assert Recipe.from_json(recipe.to_json(indent=2)) == recipe
    assert parse_recipe(recipe.to_json()) == recipe
    assert parse_recipe(recipe) is recipe


def test_a_third_is_a_third():
    best = READY_MADE["good_seeing"].selection.best
    assert best.criterion is Criterion.SEEING
    assert [best.count(n) for n in (0, 1, 3, 4, 6, 7, 300)] == [0, 1, 1, 2, 2, 3, 100]


def test_a_number_or_a_least_number_is_never_more_than_there_are():
    assert [Best(criterion="depth", number=4).count(n) for n in (0, 3, 4, 9)] == [0, 3, 4, 4]
    template = make_template_recipe(None, None).selection.best
    assert [template.count(n) for n in (5, 12, 30, 36, 37)] == [5, 12, 12, 12, 13]


def test_templates_have_their_range():
    begin, end = Time("2026-01-01", scale="tai"), Time("2027-01-01", scale="tai")
    selection = make_template_recipe(begin, end, fraction=0.5, at_least=3).selection
    assert (selection.begin, selection.end) == (begin, end)
    with pytest.raises(RequestError, match="not before end"):
        make_template_recipe(end, begin)


def test_weeks_have_seven_days():
    assert make_nightly_recipe(20260228).selection.day_obs == (20260228, 20260228)
    assert make_weekly_recipe(20280226).selection.day_obs == (20280226, 20280303)  # a leap year
    with pytest.raises(RequestError, match="20260231 is no day"):
        make_weekly_recipe(20260231)
    with pytest.raises(RequestError, match="99991231 is no day"):
        make_weekly_recipe(99991231)
