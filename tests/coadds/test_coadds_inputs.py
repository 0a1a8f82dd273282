"""What would go into a coadd of the mini survey, before a pixel is read."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler
from lsst.images import Box, ObservationSummaryStats
from lsst.resources import ResourcePath

from lsst.dax.image.coadds import (
    CHI_SQUARED,
    DEEP,
    GOOD_SEEING,
    READY_MADE,
    CellRules,
    Weighting,
    find_coadd_grid,
    find_inputs,
    make_nightly_recipe,
)
from lsst.dax.image.errors import (
    DatasetNotFoundError,
    InputDataError,
    InvalidRegionError,
    NoCoverageError,
    RequestError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, TargetGrid
from lsst.dax.image.repository import fetch_image_summary, fetch_uri
from lsst.dax.image.simulation._camera import READ_NOISE_ELECTRONS
from lsst.dax.image.simulation._config import BANDS

RED = DEEP.with_selection(bands="r")


@pytest.fixture(scope="module")
def detector_middle(mini_survey):
    """A position well within one detector of every visit."""
    return mini_survey.config.center_position.directional_offset_by(90 * u.deg, 27 * u.arcsec)


@pytest.fixture(scope="module")
def patch(mini_survey):
    return {"skymap": mini_survey.skymap, "tract": mini_survey.tract, "patch": mini_survey.patches[0]}


def test_weights_are_the_inverse_of_the_true_variance(mini_survey, mini_butler, patch):
    inputs = find_inputs(mini_butler, RED, patch)
    plans = {plan.visit: plan for plan in mini_survey.visits}
    assert set(inputs.table["visit"]) == {plan.visit for plan in mini_survey.visits if plan.band == "r"}
    assert inputs.table["weight"].unit == u.nJy**-2
    for row, ref in zip(inputs.table, inputs.refs, strict=True):
        plan = plans[row["visit"]]
        # The truth that the pixels were drawn from: Poisson noise of the sky's electrons, and readout.
        scale = BANDS["r"].nanojansky_per_electron / plan.transparency
        sky = plan.sky * mini_survey.config.pixel_scale**2
        truth = sky * scale + (READ_NOISE_ELECTRONS * scale) ** 2
        # Gradients of 3 % and wings of sources.
        assert row["sky_variance"].to_value(u.nJy**2) == pytest.approx(truth, rel=0.05)
        # Closer, as the truth in these pixels: the middle of the variance plane.
        plane = np.median(mini_butler.get(ref.makeComponentRef("variance")).array)
        assert row["weight"].value * plane == pytest.approx(1.0, rel=0.01)
        assert row["fwhm"].to_value(u.arcsec) > plan.fwhm * 0.9
        assert row["airmass"] == pytest.approx(1.0 / np.cos(np.radians(30.0)))


def test_no_pixel_is_read(mini_survey, mini_butler, patch, monkeypatch):
    read = []
    monkeypatch.setattr(
        "lsst.dax.image.container.ContainerReader.read_arrays", lambda *args, **_: read.append(args)
    )
    assert find_inputs(mini_butler, RED, patch).rows
    assert not read


def test_a_cell_takes_the_same_images_whatever_is_asked_for(mini_butler, patch, detector_middle):
    recipe = GOOD_SEEING.with_selection(bands="r")
    one = find_inputs(mini_butler, recipe, detector_middle)
    assert one.grid.target.bbox.area == 50 * 50
    around = find_inputs(mini_butler, recipe, CircleStencil(detector_middle, 12 * u.arcsec))
    assert around.grid.target.bbox.contains(one.grid.target.bbox)
    everything = find_inputs(mini_butler, recipe, patch)
    assert everything.table["n_cells"].max() > around.table["n_cells"].max() > 1
    best = {(row["visit"], row["detector"]): row["weight"] for row in one.chosen}
    for larger in (around, everything):
        found = {(row["visit"], row["detector"]): row["weight"] for row in larger.chosen}
        assert best.items() <= found.items()


def test_the_best_third_of_three_visits_is_the_sharpest(mini_butler, detector_middle):
    every = find_inputs(mini_butler, RED, detector_middle)
    best = find_inputs(mini_butler, GOOD_SEEING.with_selection(bands="r"), detector_middle)
    assert len(every.chosen) == 3
    (row,) = best.chosen
    assert row["fwhm"] == every.chosen["fwhm"].min()
    assert row["rank"] == row["fwhm"].value
    others = best.rejected[best.rejected["reason"] == "not_best"]
    assert len(others) == 2
    assert "the best 0.333 of all in seeing are other visits in its only cell" in set(others["detail"])


def test_reasons_say_what_there_was_and_what_was_asked_for(mini_butler, detector_middle):
    every = find_inputs(mini_butler, RED, detector_middle).chosen
    limit = float(np.sort(every["fwhm"].value)[1])
    inputs = find_inputs(
        mini_butler,
        RED.with_selection(max_fwhm_arcsec=limit, exclude_visits=(int(every["visit"][0]),)),
        detector_middle,
    )
    rows = {(row["visit"], row["detector"]): row for row in inputs.table}
    for row in every:
        found = rows[row["visit"], row["detector"]]
        if row["visit"] == every["visit"][0]:
            assert found["reason"] == "excluded"
            # Nobody looked into its file.
            assert np.isnan(found["fwhm"])
            assert not found["is_used"]
        elif row["fwhm"].value > limit:
            assert found["reason"] == "seeing"
            assert f"{row['fwhm'].value:.4g} arcsec; at most {limit:g} arcsec" in found["detail"]
        else:
            assert (found["reason"], found["is_used"]) == ("", True)
    assert len(inputs.chosen) + len(inputs.rejected) == len(inputs.table)
    assert inputs.chosen["visit"].tolist() == [ref.dataId["visit"] for ref in inputs.chosen_refs]


def test_dates_and_times_select_nights(mini_survey, mini_butler, detector_middle):
    plans = [plan for plan in mini_survey.visits if plan.band == "r"]
    nightly = find_inputs(
        mini_butler, make_nightly_recipe(plans[1].day_obs).with_selection(bands="r"), detector_middle
    )
    assert set(nightly.chosen["visit"]) == {plans[1].visit}
    early = RED.with_selection(end=plans[1].mid)
    assert set(find_inputs(mini_butler, early, detector_middle).chosen["visit"]) == {plans[0].visit}
    where = RED.with_selection(where=f"visit.seq_num = {plans[2].sequence}")
    assert set(find_inputs(mini_butler, where, detector_middle).chosen["visit"]) == {plans[2].visit}
    listed = RED.with_selection(visits=(plans[0].visit, plans[2].visit))
    assert set(find_inputs(mini_butler, listed, detector_middle).chosen["visit"]) == {
        plans[0].visit,
        plans[2].visit,
    }


@pytest.mark.parametrize("weighting", Weighting)
def test_all_weights_are_known(mini_butler, detector_middle, weighting):
    chosen = find_inputs(mini_butler, RED.with_(weighting=weighting), detector_middle).chosen
    assert len(chosen) == 3
    assert (chosen["weight"].value > 0).all()
    if weighting is Weighting.POINT_SOURCE:
        # Signal to noise of a point source squared: what the depth is in magnitudes.
        depth = 10.0 ** (0.8 * (chosen["depth"].value - chosen["depth"].value[0]))
        np.testing.assert_allclose(chosen["weight"] / chosen["weight"][0], depth, rtol=1e-10)


@pytest.mark.parametrize("name", READY_MADE)
def test_ready_made_recipes_find_inputs(mini_butler, detector_middle, name):
    recipe = READY_MADE[name]
    recipe = recipe if recipe is CHI_SQUARED else recipe.with_selection(bands="i")
    inputs = find_inputs(mini_butler, recipe.to_json(), detector_middle)
    assert set(inputs.chosen["band"]) == ({"g", "r", "i"} if recipe is CHI_SQUARED else {"i"})
    assert inputs.table.meta["fingerprint"] == recipe.fingerprint


def test_executors_find_the_same(mini_survey, mini_butler, patch):
    alone = find_inputs(mini_butler, RED, patch).table
    with ThreadPoolExecutor(2) as executor:
        threads = find_inputs(mini_butler, RED, patch, executor=executor).table
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        processes = find_inputs(mini_butler, RED, patch, executor=executor).table
    for name in ("uuid", "weight", "rank", "n_cells", "n_cells_used", "reason"):
        np.testing.assert_array_equal(alone[name], threads[name])
        np.testing.assert_array_equal(alone[name], processes[name])


def test_nothing_there_is_said_with_both_sides(mini_survey, mini_butler, detector_middle):
    tract = {"tract": mini_survey.tract, "patch": 0}
    with pytest.raises(NoCoverageError, match=r"there is none at all; the region is outside of the survey"):
        find_inputs(mini_butler, RED, tract)
    with pytest.raises(NoCoverageError, match=r"of the \d+ there, in bands g, i, r, none satisfies bands z"):
        find_inputs(mini_butler, DEEP.with_selection(bands="z"), detector_middle)
    with pytest.raises(NoCoverageError, match=r"FWHM is [\d.]+ arcsec; at most 0.1 arcsec is asked for"):
        find_inputs(mini_butler, RED.with_selection(max_fwhm_arcsec=0.1), detector_middle)
    with pytest.raises(NoCoverageError, match=r"\d+ too_few"):
        find_inputs(mini_butler, RED.with_selection(min_visits=4), detector_middle)
    with pytest.raises(NoCoverageError, match=r"\d+ no_cell.*does not have 100 % of a cell"):
        # No detector is as large as one of these cells.
        grid = TargetGrid.from_center(detector_middle, pixel_scale=0.2 * u.arcsec, shape=(300, 300))
        find_inputs(mini_butler, RED.with_(cells=CellRules(inner_px=300)), grid)


def test_bands_are_mixed_on_demand_only(mini_butler, detector_middle):
    with pytest.raises(RequestError, match=r"'deep' names no bands, and there are images in g, i, r"):
        find_inputs(mini_butler, DEEP, detector_middle)
    white = find_inputs(mini_butler, DEEP.with_selection(bands=("g", "r")), detector_middle)
    assert set(white.chosen["band"]) == {"g", "r"}


def test_queries_that_make_no_sense_are_refused(mini_butler, detector_middle):
    with pytest.raises(DatasetNotFoundError, match="'nothing' does not exist"):
        find_inputs(mini_butler, RED.with_(dataset_type="nothing"), detector_middle)
    with pytest.raises(UnsupportedProductError, match=r"'deep_coadd' has no detector, instrument, visit"):
        find_inputs(mini_butler, RED.with_(dataset_type="deep_coadd"), detector_middle)
    with pytest.raises(RequestError, match="cannot be made"):
        find_inputs(mini_butler, RED.with_selection(where="visit <"), detector_middle)
    with pytest.raises(RequestError, match="The recipe is not JSON"):
        find_inputs(mini_butler, "deep", detector_middle)


def test_regions_become_cells_of_the_sky_map(mini_survey, mini_butler, detector_middle, patch):
    rules = CellRules()
    sky_map = mini_survey.config.sky_map
    whole = find_coadd_grid(mini_butler, patch, cells=rules)
    assert whole.target.bbox == sky_map.patch_bbox(patch["patch"])
    assert (whole.tract, whole.patch.id, whole.layout.inner_px) == (mini_survey.tract, patch["patch"], 50)
    point = find_coadd_grid(mini_butler, detector_middle, cells=rules)
    place = point.target.sky_projection.sky_to_pixel(detector_middle)
    assert point.target.bbox.contains(x=np.round(place.x), y=np.round(place.y))
    assert point.target.bbox.x.start % 50 == point.target.bbox.y.start % 50 == 0
    circle = find_coadd_grid(mini_butler, CircleStencil(detector_middle, 2 * u.arcsec), cells=rules)
    assert 20 <= circle.target.bbox.x.size <= 22
    # The same pixels as a grid of the tract, and pixels of no sky map.
    again = find_coadd_grid(mini_butler, circle.target, cells=rules)
    assert (again.layout, again.tract, again.patch) == (circle.layout, circle.tract, circle.patch)
    free = TargetGrid.from_center(detector_middle, pixel_scale=0.3 * u.arcsec, shape=(40, 60))
    grid = find_coadd_grid(mini_butler, free, cells=CellRules(inner_px=32))
    assert (grid.layout.inner_px, grid.tract, grid.patch) == (32, None, None)
    assert grid.cells_box == Box.factory[0:64, 0:64]


def test_the_polygon_of_a_grid_holds_its_cells(mini_butler, detector_middle):
    grid = find_coadd_grid(mini_butler, CircleStencil(detector_middle, 9 * u.arcsec), cells=CellRules())
    box = grid.cells_box
    x, y = np.meshgrid(
        np.linspace(box.x.start - 0.4, box.x.stop - 0.6, 9),
        np.linspace(box.y.start - 0.4, box.y.stop - 0.6, 9),
    )
    sky = grid.target.sky_projection.pixel_to_sky(x=x.ravel(), y=y.ravel())
    assert grid.region.contains(sky.ra.rad, sky.dec.rad).all()


@pytest.mark.parametrize(
    ("region", "error", "complaint"),
    [
        ({"patch": 3}, RequestError, "A region needs tract"),
        ({"tract": 1, "cell": 3}, RequestError, "A region needs tract"),
        ({"tract": 10**9}, DatasetNotFoundError, "has tracts 0 to"),
        ({"tract": 1, "patch": 10**6}, DatasetNotFoundError, "have patches 0 to 120"),
        ({"tract": "x"}, DatasetNotFoundError, "There is no"),
        ({"tract": 1, "skymap": "other"}, DatasetNotFoundError, "no sky map 'other'"),
        (Box.factory[0:3, 0:3], InvalidRegionError, "is no shape on the sky"),
        ("CIRCLE 1 2", InvalidRegionError, "needs 3 numbers"),
        (SkyCoord([1, 2] * u.deg, [1, 2] * u.deg), InvalidRegionError, "one finite position"),
        (17, InvalidRegionError, "not a shape"),
    ],
)
def test_regions_that_are_none_are_refused(mini_butler, region, error, complaint):
    with pytest.raises(error, match=complaint):
        find_inputs(mini_butler, RED, region)


@pytest.mark.parametrize(
    ("change", "reason", "text"),
    [
        ({"has_psf": False}, "no_psf", "the image has no PSF"),
        (
            {"unit": u.electron, "has_scaling": False},
            "no_scaling",
            "the unit is electron, no flux, and there",
        ),
        ({"unit": None}, "no_scaling", "the unit is None, no flux"),
        ({"statistics": None}, "unknown", "the image has no summary statistics"),
        (
            {"statistics": ObservationSummaryStats(psfSigma=2, pixelScale=0.2)},
            "no_scaling",
            "no zero point for",
        ),
    ],
)
def test_an_image_that_lacks_something_is_left_out_with_a_reason(
    mini_butler, detector_middle, monkeypatch, change, reason, text
):
    def lack(butler, ref):
        summary = fetch_image_summary(butler, ref)
        return dataclasses.replace(summary, **change) if ref.dataId["visit"] == bad else summary

    every = find_inputs(mini_butler, RED, detector_middle).chosen
    bad = int(every["visit"][1])
    monkeypatch.setattr("lsst.dax.image.coadds._inputs_from_butler.fetch_image_summary", lack)
    inputs = find_inputs(mini_butler, RED, detector_middle)
    assert set(inputs.chosen["visit"]) == set(every["visit"]) - {bad}
    rows = inputs.table[inputs.table["visit"] == bad]
    assert set(rows["reason"]) == {reason}
    assert all(text in detail for detail in rows["detail"])


def test_counts_with_a_photometric_scaling_may_go_in(mini_butler, detector_middle, monkeypatch):
    def in_electrons(butler, ref):
        return dataclasses.replace(fetch_image_summary(butler, ref), unit=u.electron)

    monkeypatch.setattr("lsst.dax.image.coadds._inputs_from_butler.fetch_image_summary", in_electrons)
    assert len(find_inputs(mini_butler, RED, detector_middle).chosen) == 3


def test_a_file_that_is_gone_is_an_error(mini_survey, detector_middle, tmp_path):
    root = shutil.copytree(mini_survey.root, tmp_path / "repo")
    butler = Butler.from_config(str(root), collections=mini_survey.collections)
    (ref,) = find_inputs(butler, RED, detector_middle).chosen_refs[:1]
    (root / fetch_uri(butler, ref).relative_to(ResourcePath(f"{root}/"))).unlink()
    with pytest.raises(InputDataError, match=f"{ref.dataId['visit']}.*file is gone"):
        find_inputs(butler, RED, detector_middle)
    butler.close()
